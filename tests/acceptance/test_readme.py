"""What the README shows works as it stands there: its examples, by name, and its commands."""

import re

import jax
import numpy as np
import pytest
from examples import README, example, examples, guides

from mdm_jax import sampling

TEXT = README.read_text(encoding="utf-8")
SMALL = {"width=128, depth=3": "width=16, depth=1", "steps=1600": "steps=3"}
FEW = {"task.validation, key=key)": "task.validation, 96, key=key)"}


def run(code, names):
    """``names`` with what an example adds to them."""
    with jax.numpy_rank_promotion("allow"):  # a user's setting
        exec(compile(code, "README.md", "exec"), names)
    return names


@pytest.mark.core
def test_every_example_has_a_name_of_its_own():
    for page in guides():
        assert list(examples(page.read_text(encoding="utf-8"))) or page != README
    shown = "text\n<!-- example: one -->\n```python\n1\n```\n"
    assert examples(shown) == {"one": "1\n"}
    for wrong in (
        "```python\n2\n```\n",
        "<!-- example: one -->\n```python\n2\n```\n",
        "<!-- note -->\n```python\n3\n```\n",
    ):
        with pytest.raises(AssertionError, match=r"no name|two examples"):
            examples(shown + wrong)


@pytest.mark.core
@pytest.mark.thorough
def test_energies():
    names = run(example("energies", {"100_000": "1_000"}), {})
    assert names["values"].shape == names["slopes"].a.shape == (1000,)
    assert bool(names["found"].converged)
    assert float(names["found"].schedule.alpha(0.5)) == pytest.approx(0.5, abs=1e-3)


@pytest.fixture(scope="module")
def toured(tmp_path_factory):
    """The names that the tour leaves to the examples after it, of a smaller model, and the folder it was taken in."""
    folder = tmp_path_factory.mktemp("tour")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return run(example("tour", SMALL | FEW), {}), folder


@pytest.mark.thorough
def test_tour(toured):
    names, folder = toured
    assert names["out"].tokens.shape == (6, 128)
    assert names["out"].nfe.tolist() == [4, 8, 16, 4, 8, 16]
    assert (folder / "plan.json").exists()
    assert (folder / "runs" / "text" / "config.json").exists()


@pytest.mark.thorough
def test_tuning(toured, tmp_path, monkeypatch):
    """With the whole search of Beta schedules."""
    monkeypatch.chdir(tmp_path)
    names = run(example("tuning", FEW), dict(toured[0]))
    assert names["found"].plan(8).steps <= 8
    assert names["h"].nelbo() > 0
    assert (tmp_path / "profile.json").exists()


@pytest.mark.thorough
def test_samplers(toured):
    """Word for word; it compiles some seven loops."""
    names = run(example("samplers"), dict(toured[0]))
    out = names["out"]
    steps = [len(set(row.tolist()) - {sampling.GIVEN}) for row in np.asarray(out.reveal_step)]
    assert out.nfe.tolist() == [2 * taken for taken in steps]  # guidance costs two calls a step
    assert all(names["best"].steps - 2 <= taken <= names["best"].steps for taken in steps)  # scaled to what is free
    assert names["rule"].steps.tolist() == [64]


@pytest.mark.thorough
def test_evaluations(toured, tmp_path, monkeypatch):
    """Word for word."""
    monkeypatch.chdir(tmp_path)
    names = run(example("evaluations"), dict(toured[0]))
    assert names["found"].names == ("beta 0.5", "beta 0.7", "beta 0.9")
    assert names["found"].tokens.shape == (3, 4, 128)
    assert (tmp_path / "rows.jsonl").exists()
    assert names["raced"].plan.sizes.sum() == 128


@pytest.mark.core
def test_both_commands_are_there_and_every_shown_command_parses():
    from mdm_jax.app.cli import make_parser

    installs = re.findall(r"^python3 -m venv .*$", TEXT, flags=re.MULTILINE)
    assert [line.rsplit(" ", 1)[-1] for line in installs] == ["demo", "pytest"]
    shown = re.findall(r"^mdm-jax (.*?)(?:   .*)?$", TEXT, flags=re.MULTILINE)
    assert len(shown) >= 9
    for line in shown:
        words = [word.strip('"') for word in re.findall(r'"[^"]*"|\S+', line)]
        assert make_parser().parse_args(words).command == words[0]
