"""What the README shows works as it stands there."""

import re
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.core
def test_the_tour_of_energies_runs():
    names: dict = {}
    code = BLOCKS[1].replace("100_000", "1_000")
    assert code != BLOCKS[1]
    exec(compile(code, "README.md", "exec"), names)
    assert names["values"].shape == names["slopes"].a.shape == (1000,)
    assert bool(names["found"].converged)
    assert float(names["found"].schedule.alpha(0.5)) == pytest.approx(0.5, abs=1e-3)


def test_the_tour_runs(tmp_path, monkeypatch, capsys):
    """The Python blocks about models, word for word but for the size of the training."""
    code, _, tuning, _, _ = BLOCKS
    for shown, small in (
        ("width=128, depth=3", "width=16, depth=1"),
        ("steps=1600", "steps=3"),
        ("key=key)\nbest", ""),
    ):
        assert shown in code
        if small:
            code = code.replace(shown, small)
    code = code.replace("task.validation, key=key)", "task.validation, 96, key=key)")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    with jax.numpy_rank_promotion("allow"):  # a user's setting
        exec(compile(code, "README.md", "exec"), names)
    assert names["out"].tokens.shape == (6, 128)
    assert names["out"].nfe.tolist() == [4, 8, 16, 4, 8, 16]
    assert (tmp_path / "plan.json").exists()
    assert capsys.readouterr().out
    tuning = tuning.replace("task.validation, key=key)", "task.validation, 96, key=key)")
    with jax.numpy_rank_promotion("allow"):
        exec(compile(tuning, "README.md", "exec"), names)
    assert names["found"].plan(8).steps <= 8
    assert names["h"].nelbo() > 0
    assert (tmp_path / "profile.json").exists()


@pytest.mark.thorough
def test_the_tour_of_samplers_runs():
    """Word for word, on an untrained model; it compiles some seven loops."""
    import mdm_jax as mdm
    from mdm_jax.theory import plans

    task, key = mdm.tasks.text(length=128), jax.random.key(0)
    model = mdm.models.transformer(task.vocab_size, width=16, depth=1)
    run = SimpleNamespace(params=model.init(key, 128))
    names: dict = {"model": model, "run": run, "task": task, "key": key, "plans": plans, "best": plans.uniform(128, 16)}
    with jax.numpy_rank_promotion("allow"):  # a user's setting
        exec(compile(BLOCKS[3], "README.md", "exec"), names)
    assert names["out"].nfe.tolist() == [32, 32]  # guidance costs two passes a step
    assert names["rule"].steps.tolist() == [64]


@pytest.mark.thorough
def test_the_tour_of_evaluations_runs(tmp_path, monkeypatch):
    """Word for word, on an untrained model."""
    import mdm_jax as mdm

    monkeypatch.chdir(tmp_path)
    task, key = mdm.tasks.text(length=128), jax.random.key(0)
    model = mdm.models.transformer(task.vocab_size, width=16, depth=1)
    run = SimpleNamespace(params=model.init(key, 128))
    names: dict = {"model": model, "run": run, "task": task, "key": key}
    with jax.numpy_rank_promotion("allow"):  # a user's setting
        exec(compile(BLOCKS[4], "README.md", "exec"), names)
    assert names["found"].names == ("beta 0.5", "beta 0.7", "beta 0.9")
    assert names["found"].tokens.shape == (3, 4, 128)
    assert (tmp_path / "rows.jsonl").exists()
    assert names["raced"].plan.sizes.sum() == 128


@pytest.mark.core
def test_both_commands_are_there_and_every_shown_command_parses():
    from mdm_jax.app.cli import make_parser

    installs = re.findall(r"^python3 -m venv .*$", README, flags=re.MULTILINE)
    assert [line.rsplit(" ", 1)[-1] for line in installs] == ["demo", "pytest"]
    shown = re.findall(r"^mdm-jax (.*?)(?:   .*)?$", README, flags=re.MULTILINE)
    assert len(shown) >= 9
    for line in shown:
        words = [word.strip('"') for word in re.findall(r'"[^"]*"|\S+', line)]
        assert make_parser().parse_args(words).command == words[0]
