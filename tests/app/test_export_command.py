"""``mdm-jax export``: parameters and plans leave as other programs take them, over nothing that is there."""

import json
import random
import shutil

import jax
import numpy as np
import pytest
from llada_folders import LLADA, llada_arrays, save_folder
from safetensors.numpy import load_file

import mdm_jax as mdm
from mdm_jax.app.cli import main

pytestmark = pytest.mark.core


def exported(capsys, *words):
    assert main(["export", *map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, *words):
    assert main(["export", *map(str, words)]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    return told


def test_a_runs_parameters_come_back_bit_for_bit(trained, tmp_path, capsys):
    run, path = mdm.load(trained), tmp_path / "out" / "story.safetensors"
    told = exported(capsys, trained, "--parameters", path)["parameters"]
    assert (told["bytes"], told["step"], told["run"]) == (path.stat().st_size, run.step, run.identity)
    assert (told["types"], told["like"]) == (["float32"], None)
    assert told["parameters"] == sum(leaf.size for leaf in jax.tree.leaves(run.params))
    model, params = mdm.models.load_exported(path)
    assert model == run.denoiser
    jax.tree.map(np.testing.assert_array_equal, params, run.params)
    assert "a new file, or one that --force replaces; this one is there" in refused(
        capsys, trained, "--parameters", path
    )
    before = path.read_bytes()
    path.write_bytes(b"something else")
    assert main(["export", str(trained), "--parameters", str(path), "--force"]) == 0
    assert "mdm.models.load_exported" in capsys.readouterr().out
    assert path.read_bytes() == before


@pytest.fixture
def imported(tmp_path, capsys):
    """A checkpoint's folder, what lies in it, and a run of it."""
    arrays, draw = llada_arrays(), random.Random(0)
    folder = save_folder(tmp_path / "published", arrays, LLADA)
    (tmp_path / "lines.txt").write_text("".join("".join(draw.choices("abcd", k=6)) + "\n" for _ in range(60)))
    (folder / "vocab.txt").write_text("\n".join(["<pad>", *"dcba", *(f"[{i}]" for i in range(11))]) + "\n")
    assert main(["import", str(folder), str(tmp_path / "run"), "--task", f"text:{tmp_path / 'lines.txt'}?lines"]) == 0
    capsys.readouterr()
    return folder, arrays, tmp_path / "run"


def test_what_was_imported_leaves_as_it_came(imported, tmp_path, capsys):
    folder, arrays, run = imported
    told = exported(capsys, run, "--parameters", tmp_path / "out.safetensors", "--like", folder)
    assert told["parameters"]["like"] == str(folder)
    out = load_file(tmp_path / "out.safetensors")
    assert {name: value.tobytes() for name, value in out.items()} == {n: v.tobytes() for n, v in arrays.items()}


def test_what_was_trained_on_leaves_and_comes_back_bit_for_bit(imported, tmp_path, capsys):
    """Imported, trained for two steps, exported under the checkpoint's names, and imported again from there."""
    folder, arrays, run = imported
    trained, again, lines = (str(tmp_path / name) for name in ("trained", "again", "lines.txt"))
    assert main(["train", trained, "--from", str(run), "--steps", "2", "--batch", "4", "--quiet"]) == 0
    new = tmp_path / "new"
    shutil.copytree(folder, new, ignore=shutil.ignore_patterns("*.safetensors"))
    assert main(["export", trained, "--parameters", str(new / "model.safetensors"), "--like", str(folder)]) == 0
    assert main(["import", str(new), again, "--task", f"text:{lines}?lines", "--quiet"]) == 0
    capsys.readouterr()
    wanted, found = mdm.load(trained), mdm.load(again)
    assert (wanted.settings.optimizer, wanted.settings.learning_rate) == ("adamw", 5e-5)  # gently, as nothing was said
    assert (wanted.step, found.step, found.denoiser) == (2, 0, wanted.denoiser)
    jax.tree.map(np.testing.assert_array_equal, found.params, wanted.params)
    out = load_file(new / "model.safetensors")
    assert out.keys() == arrays.keys()
    assert all(np.any(out[name] != value) for name, value in arrays.items())  # every tensor was trained
    assert main(["export", str(run), "--parameters", str(tmp_path / "own.safetensors")]) == 0
    assert "those of LLaDA need its folder: --like FOLDER." in capsys.readouterr().err
    model, params = mdm.models.load_exported(tmp_path / "own.safetensors")
    again = mdm.load(run)
    assert model == again.denoiser
    jax.tree.map(np.testing.assert_array_equal, params, again.params)
    (folder / "config.json").write_text(json.dumps({**LLADA, "rope_theta": 1.0}))
    told = refused(capsys, run, "--parameters", tmp_path / "a.safetensors", "--like", folder)
    assert "like must be the checkpoint that the model was made of" in told


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--optimizer", "adamw"], ("adamw", 5e-5)),
        (["--learning-rate", "1e-5"], ("adamw", 1e-5)),
        (["--optimizer", "muon", "--learning-rate", "0.001"], ("muon", 1e-3)),
    ],
)
def test_what_is_not_said_of_training_on_is_gentle(imported, tmp_path, capsys, words, wanted):
    run = imported[2]
    assert main(["train", str(tmp_path / "new"), "--from", str(run), "--steps", "1", "--batch", "4", *words]) == 0
    settings = mdm.load(tmp_path / "new").settings
    assert (settings.optimizer, settings.learning_rate) == wanted
    told = "A published model is trained on gently" in capsys.readouterr().err
    assert told == (len(words) < 4)


def test_a_rate_of_muon_must_be_said(imported, tmp_path, capsys):
    assert main(["train", str(tmp_path / "new"), "--from", str(imported[2]), "--optimizer", "muon"]) == 2
    assert "--learning-rate must be given beside --optimizer muon" in capsys.readouterr().err


def test_temperatures_stay_and_it_is_said(imported, tmp_path, capsys):
    folder, _, run = imported
    mdm.training.import_pretrained(
        folder,
        tmp_path / "warm",
        mdm.load(run).task,
        adapt=lambda denoiser, params: (mdm.models.calibrated(denoiser, [1.0], [2.0]), {}),
    )
    out = ["--parameters", str(tmp_path / "o.safetensors"), "--like", str(folder)]
    assert main(["export", str(tmp_path / "warm"), *out]) == 0
    assert "The temperatures of this run stay here" in capsys.readouterr().err


def test_a_plan_leaves_as_counts_and_as_fractions(trained, tmp_path, capsys):
    known = sorted(trained.glob("plans/optimal-*.json"))
    plan = mdm.plans.load(known[0])
    told = exported(capsys, trained, "--plan", known[0].stem)
    assert (told["format"], told["values"]) == ("counts", plan.sizes.tolist())
    assert told["plan"] == plan.to_json()
    path = tmp_path / "fractions.json"
    told = exported(capsys, trained, "--plan", known[0], "--format", "fractions", "--output", path)
    revealed = [sum(plan.sizes[:k].tolist()) / plan.length for k in range(plan.steps + 1)]
    assert told["values"] == json.loads(path.read_text())["values"] == revealed
    assert main(["export", str(trained), "--plan", known[0].stem, "--output", str(tmp_path / "counts.npy")]) == 0
    assert f"{plan.steps} steps for {plan.length} tokens:" in capsys.readouterr().out
    counts = np.load(tmp_path / "counts.npy")
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts, plan.sizes)


def test_a_grid_leaves_as_fractions_alone(trained, tmp_path, capsys):
    path = mdm.grids.uniform(4).save(tmp_path / "grid.json")
    told = exported(capsys, trained, "--plan", path, "--format", "fractions")
    assert told["values"] == [0, 0.25, 0.5, 0.75, 1]
    assert "--format must be fractions for a grid" in refused(capsys, trained, "--plan", path)


def test_both_leave_together(trained, tmp_path, capsys):
    name = next(iter(sorted(trained.glob("plans/*.json")))).stem
    told = exported(capsys, trained, "--plan", name, "--parameters", tmp_path / "both.safetensors")
    assert {"parameters", "plan", "values"} <= told.keys()


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], "--parameters or --plan must be given"),
        (["--plan", "optimal-2", "--like", "folder"], "--like must be given beside --parameters"),
        (["--parameters", "a.safetensors", "--format", "counts"], "--format must be given beside --plan"),
        (["--parameters", "a.safetensors", "--output", "a.npy"], "--output must be given beside --plan"),
        (["--plan", "optimal-2", "--force"], "--force must be given beside --parameters or --output"),
        (["--parameters", "a.npz"], "--parameters must be a .safetensors file; got 'a.npz'."),
        (["--parameters", "folder.safetensors"], "--parameters must be a file, not a folder"),
        (["--plan", "optimal-2", "--output", "a.txt"], "--output must be a .json or .npy file"),
        (["--plan", "optimal-2", "--output", "there.json"], "--output must be a new file, or one that --force"),
        (["--plan", "optimal-999"], "--plan must be a file, or one of"),
        (["--plan", "none.json"], "none.json does not exist"),
        (["--plan", "there.json"], "there.json is not a plan"),
        (["--parameters", "a.safetensors", "--like", "none"], "folder must be a folder with config.json"),
        (["--parameters", "a.safetensors", "--checkpoint", "77"], "checkpoint"),
    ],
)
def test_what_does_not_go_is_one_sentence_and_writes_nothing(trained, tmp_path, monkeypatch, capsys, words, wanted):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.json").write_text("{}")
    (tmp_path / "folder.safetensors").mkdir()
    assert wanted in refused(capsys, trained, *words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.safetensors", "there.json"]


def test_without_a_run_there_is_nothing_to_export(tmp_path, capsys):
    assert "config.json" in refused(capsys, tmp_path, "--plan", "optimal-2")
