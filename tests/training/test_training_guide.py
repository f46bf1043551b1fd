"""What the guides to training and footprint show works as it stands there, but for the size of it."""

import sys
import types

import numpy as np
import pytest
from examples import ROOT, example
from toys import LENGTH, VOCAB, PatternTask

import mdm_jax as mdm

GUIDE = ROOT / "mdm_jax" / "training" / "README.md"
FOOTPRINT = ROOT / "mdm_jax" / "footprint" / "README.md"
FEW = {"steps=1_600": "steps=3"}


@pytest.fixture(scope="module")
def shown():
    """The names that the guide's examples begin with, in small."""
    task = PatternTask()
    return {"mdm": mdm, "task": task, "model": mdm.models.transformer(VOCAB, length=LENGTH, width=8, depth=1, heads=1)}


def run(name, names, instead=None):
    exec(compile(example(name, instead, GUIDE), str(GUIDE), "exec"), names)


@pytest.mark.thorough
def test_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    small = {"task.vocab_size, length=128)": "task.vocab_size, length=128, width=8, depth=1, heads=1)"}
    run("training", names, FEW | small)
    assert names["run"].step == 3
    assert (tmp_path / "runs" / "text" / "config.json").exists()


@pytest.mark.thorough
def test_optimisers(shown):
    run("optimisers", dict(shown), {"steps=1_600": "steps=2"})


@pytest.mark.thorough
def test_classes(shown, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = shown["task"]
    labels = {"train_labels": task.train[:, 0], "validation_labels": task.validation[:, 0]}
    small = {
        "length=task.length)": "length=task.length, width=8, depth=1, heads=1)",
        'directory="runs/classes"': 'directory="runs/classes", steps=2',
    }
    names = shown | labels
    run("classes", names, small)
    assert names["run"].step == 2


def told(monkeypatch, module):
    """A module of this name whose logger keeps what it is told."""
    said = []
    logger = types.SimpleNamespace(add_scalar=lambda *told: said.append(told))
    fake = types.ModuleType(module)
    fake.__dict__.update(
        SummaryWriter=lambda folder: logger, init=lambda **_: None, log=lambda of, step: said.append((of, step))
    )
    monkeypatch.setitem(sys.modules, module, fake)
    return said


@pytest.mark.thorough
def test_reports(shown, capsys, tmp_path, monkeypatch):
    """TensorBoard and Weights & Biases are played by modules that keep what they are told."""
    monkeypatch.chdir(tmp_path)
    few = {"model, task,": "model, task, 2,"}
    run("reports", dict(shown), few)
    step, bits = capsys.readouterr().out.splitlines()[-1].split()
    assert step == "2"
    assert np.isfinite(float(bits))
    said = told(monkeypatch, "tensorboardX")
    run("tensorboard", dict(shown), {'directory="runs/text"': 'directory="runs/one", steps=2'})
    assert ("held_out_bits_per_token", 2) in {(name, step) for name, _, step in said}
    said = told(monkeypatch, "wandb")
    run("wandb", dict(shown), {'directory="runs/text"': 'directory="runs/other", steps=2'})
    assert said[-1][1] == 2


@pytest.mark.thorough
def test_a_loop_of_ones_own(shown):
    names = dict(shown)
    run("loop", names, {"range(100)": "range(2)"})
    assert np.isfinite(float(names["metrics"].loss))
    assert int(names["state"].step) == 2


@pytest.mark.thorough
@pytest.mark.processes
def test_footprint(capsys):
    small = {"width=256, depth=12": "width=64, depth=2"}
    names = {}
    exec(compile(example("footprint", small, FOOTPRINT), str(FOOTPRINT), "exec"), names)
    assert names["what"].compiled.temporaries > 0
    assert "params" in capsys.readouterr().out
