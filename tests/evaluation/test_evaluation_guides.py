"""The guides of the wings work as they stand there."""

import jax
import pytest
from examples import ROOT, example

WINGS = ROOT / "mdm_jax" / "evaluation"


def run(names, *examples, wing):
    page = WINGS / wing / "README.md"
    with jax.numpy_rank_promotion("allow"):  # a user's setting
        for name in examples:
            exec(compile(example(name, page=page), str(page), "exec"), names)
    return names


@pytest.mark.thorough
def test_the_guide_to_samples(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = run({}, "samples", "race", wing="samples")
    assert names["found"].nfe.tolist() == [[4] * 8] * 2
    assert names["raced"].winner in names["raced"].plans
    printed = capsys.readouterr().out
    assert "less random" in printed
    assert len(names["raced"].conclusions()) == len(names["raced"].test.names) - 1
    assert (tmp_path / "rows.jsonl").exists()


def test_the_guide_to_exact_distributions():
    names = run({}, "exact", wing="exact")
    assert float(names["law"].sum()) == pytest.approx(1, abs=1e-5)
    assert names["free"].value <= names["best"].value + 1e-6
