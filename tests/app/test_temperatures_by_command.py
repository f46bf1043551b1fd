"""``mdm-jax import --calibrate``: the rows that it looks at, what the run is then, and what is said of it."""

import dataclasses
import json

import numpy as np
import pytest
from golden_cases import golden
from llada_folders import save_folder
from made_tensors import checkpoint
from safetensors.numpy import load_file, save_file

import mdm_jax as mdm
from experiments.tools.made_checkpoints import made_up
from mdm_jax import evaluation, tasks
from mdm_jax.app import cli
from mdm_jax.app.work import importing
from mdm_jax.models.calibrating import Calibrated
from mdm_jax.support.files import to_json
from mdm_jax.support.intervals import Interval
from mdm_jax.training import load

pytestmark = pytest.mark.core

LINES = "text:lines.txt?lines"
FIGURES = {
    "rows": 49,
    "fractions": [0.5, 1.0],
    "temperatures": [1.0, 6.5],
    "before_nats": [1.0, 4.0],
    "after_nats": [1.0, 3.0],
    "gain_nats": {"mean": 0.13, "low": 0.1, "high": 0.15},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A model of random numbers that is sure of "=" wherever it looks, and lines in which that is rare."""
    place, draw = tmp_path_factory.mktemp("world"), np.random.default_rng(0)
    weights = made_up("bert", "abcd=", 8, place / "published") / "model.safetensors"
    tensors = load_file(weights)
    tensors["cls.predictions.bias"][-1] = 4
    save_file(tensors, weights)
    lines = ["".join(draw.choice(list("aaab"), draw.integers(1, 5))) for _ in range(80)]
    (place / "lines.txt").write_text("".join(f"{line}={line[:3]}\n" for line in lines))
    (place / "book.txt").write_text("".join(f"{line}=" for line in lines) * 4)
    return place


def imported(capsys, *words):
    code = cli.main(["import", "published", *words, "--mask-id", "4"])
    said = capsys.readouterr()
    return code, said.out, said.err


def checked(run, told, rows, given=None):
    """Temperatures are those of the public function on these rows, and the run's model has them."""
    assert isinstance(run.denoiser, Calibrated)
    found = evaluation.calibrate(run.denoiser.denoiser, run.params, rows, key=mdm.key(0), given=given)
    np.testing.assert_allclose(told["temperatures"], found.temperatures, rtol=1e-3)
    np.testing.assert_allclose(told["after_nats"], found.after, rtol=1e-3)
    np.testing.assert_allclose(list(told["gain_nats"].values()), found.gain, atol=6e-5)  # four decimals
    assert told["rows"] == len(rows)
    assert run.denoiser.temperatures == tuple(told["temperatures"])
    np.testing.assert_array_equal(run.denoiser.fractions, found.fractions)


def test_the_training_rows_are_looked_at_and_the_run_has_the_temperatures(world, tmp_path, monkeypatch, capsys):
    """Rows of different lengths; the same words find the same run, and others are refused."""
    monkeypatch.chdir(world)
    place = str(tmp_path / "run")
    code, out, _ = imported(capsys, place, "--task", LINES, "--calibrate", "--quiet", "--json")
    assert code == 0
    run = load(place)
    told = json.loads(out)["calibration"]
    assert told == run.place.read_config()["source"]["calibration"]
    checked(run, told, run.task.train)
    assert run.task.train.min() == -1
    before = run.place.config.read_bytes()
    assert imported(capsys, place, "--task", LINES, "--calibrate", "--quiet")[0] == 0
    assert run.place.config.read_bytes() == before
    for words in ([], ["--calibrate", "16"]):
        code, _, err = imported(capsys, place, "--task", LINES, "--quiet", *words)
        assert code == cli.BAD_INPUT
        assert "holds a run that differs in" in err
    assert cli.main(["sample", place, "--steps", "2", "--rows", "2", "--schedule", "linear", "--quiet"]) == 0


def test_few_rows_are_spread_evenly_and_prompts_are_given(world, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(world)
    task = f"{LINES}&prompt=="
    code, out, _ = imported(capsys, str(tmp_path / "run"), "--task", task, "--calibrate", "16", "--quiet", "--json")
    assert code == 0
    run, told = load(tmp_path / "run"), json.loads(out)["calibration"]
    chosen = [number * len(run.task.train) // 16 for number in range(16)]
    given = tasks.given_of(run.task, "train")
    assert given is not None
    checked(run, told, run.task.train[chosen], given[chosen])
    assert told["fractions"][-1] < 0.8  # of what is there, prompts included


def test_of_a_stream_windows_are_looked_at(world, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(world)
    words = ["--task", "text:book.txt", "--length", "8", "--calibrate", "8", "--quiet", "--json"]
    code, out, _ = imported(capsys, str(tmp_path / "run"), *words)
    assert code == 0
    run = load(tmp_path / "run")
    assert run.task.train.ndim == 1
    windows = run.task.train[: len(run.task.train) // 8 * 8].reshape(-1, 8)
    chosen = [number * len(windows) // 8 for number in range(8)]
    checked(run, json.loads(out)["calibration"], windows[chosen])


def test_what_is_said_of_it(world, tmp_path, monkeypatch, capsys):
    """The table, and a note that this family saw few masks, which names the option where it was not used."""
    monkeypatch.chdir(world)
    _, out, err = imported(capsys, str(tmp_path / "plain"), "--task", LINES)
    assert "temperature" not in out
    assert err.count("models of the family BERT saw few masks in training and are no diffusion models") == 1
    assert "Temperatures (--calibrate) make" in err
    _, out, err = imported(capsys, str(tmp_path / "warm"), "--task", LINES, "--calibrate", "16")
    assert "masked  temperature  bits per masked token" in out
    assert "Temperatures were chosen on half of 16 training rows and judged on the others." in out
    assert err.count("saw few masks") == 1
    assert "--calibrate" not in err


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({}, "They lower the NELBO by 0.188 (0.144 to 0.216) bits per token."),
        (
            {"gain_nats": {"mean": 0.01, "low": -0.02, "high": 0.04}},
            "No gain is seen: with them the NELBO is 0.014 bits per token lower (0.029 higher to 0.058 lower). The "
            "model stays as it was.",
        ),
        (
            {"gain_nats": {"mean": -0.02, "low": -0.05, "high": 0.01}},
            "No gain is seen: with them the NELBO is 0.029 bits per token higher (0.072 higher to 0.014 lower).",
        ),
        (
            {"gain_nats": {"mean": -0.03, "low": -0.05, "high": -0.01}},
            "They raise the NELBO by 0.043 (0.014 to 0.072) bits per token. The model stays as it was.",
        ),
        (
            {"gain_nats": {"mean": 0.0, "low": 0.0, "high": 0.0}, "temperatures": [1.0, 1.0]},
            "No temperature gains anything. The model stays as it was.",
        ),
    ],
)
def test_a_gain_and_none_are_told_apart(changed, says):
    assert says in importing._described({**FIGURES, **changed})


def test_a_model_that_is_worse_than_a_guess_is_told_once(capsys):
    importing._warn({"family": "LLaDA", "vocab_size": 20, "calibration": FIGURES})  # log 20 is 2.996
    assert capsys.readouterr().err.strip() == (
        "mdm-jax: with 100% of a row masked, the model needs 4.328 bits per token even at a temperature of 6.5, more "
        "than a uniform guess, 4.322: it knows nothing there. Give a prompt, or reveal the first tokens one by one."
    )
    importing._warn({"family": "LLaDA", "vocab_size": 21, "calibration": FIGURES})
    importing._warn({"family": "LLaDA", "vocab_size": 20, "calibration": {**FIGURES, "before_nats": [1.0, 2.9]}})
    importing._warn({"family": "DPLM", "vocab_size": 21, "calibration": None})
    assert capsys.readouterr().err == ""


def test_temperatures_that_lose_are_not_named_where_a_guess_is_better(capsys):
    """3.1 nats without them and 3.2 with them, where a guess costs 2.996."""
    figures = {**FIGURES, "before_nats": [1.0, 3.1], "after_nats": [1.0, 3.2]}
    importing._warn({"family": "LLaDA", "vocab_size": 20, "calibration": figures})
    assert "the model needs 4.472 bits per token, more than a uniform guess, 4.322:" in capsys.readouterr().err


def test_without_a_gain_the_run_is_that_of_an_import_without_temperatures(world, tmp_path, monkeypatch, capsys):
    """What is found is told, and the configuration is the same to the byte."""
    monkeypatch.chdir(world)
    real, none = importing.calibrate, Interval(0.01, -0.02, 0.04)
    monkeypatch.setattr(importing, "calibrate", lambda *a, **k: dataclasses.replace(real(*a, **k), gain=none))
    told = {}
    for name, words in {"plain": [], "warm": ["--calibrate", "16"]}.items():
        code, out, _ = imported(capsys, str(tmp_path / name), "--task", LINES, "--quiet", "--json", *words)
        assert code == 0
        told[name] = json.loads(out)
    assert (tmp_path / "warm" / "config.json").read_bytes() == (tmp_path / "plain" / "config.json").read_bytes()
    assert not told["warm"]["calibrated"]
    assert told["warm"]["calibration"]["gain_nats"] == none._asdict()
    assert told["plain"]["calibration"] is None


def test_last_digits_of_a_figure_near_0_are_not_kept():
    """As two processors may tell a gain of nothing: the same text."""
    ours, theirs = ({"gain_nats": {"mean": gain}, "after_nats": [1.23456 + gain]} for gain in (3.1e-7, -2.4e-7))
    assert to_json(importing._rounded(ours)) == to_json(importing._rounded(theirs))
    assert importing._rounded(ours) == {"gain_nats": {"mean": 0.0}, "after_nats": [1.2346]}


@pytest.mark.parametrize("rows", ["3", "-1"])
def test_too_few_rows_are_refused(capsys, rows):
    code, _, err = imported(capsys, "run", "--task", LINES, "--calibrate", rows)
    assert code == cli.BAD_INPUT
    assert err == f"mdm-jax: --calibrate must be from 4 to 2,147,483,647 training rows; got {rows}.\n"


def test_a_model_by_blocks_is_refused_and_nothing_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    case = golden("decoders")["SDAR"]
    save_folder(tmp_path / "published", checkpoint(case["tensors"]), case["config"])
    (tmp_path / "lines.txt").write_text("abcd\n" * 40)
    words = ["--task", LINES, "--ids", "0,1,2,3", "--calibrate"]
    assert cli.main(["import", "published", "run", *words]) == cli.BAD_INPUT
    assert capsys.readouterr().err == (
        "mdm-jax: --calibrate must be left out for a model that goes by blocks, which is never shown how much of a row "
        "is masked; got 256.\n"
    )
    assert not (tmp_path / "run").exists()
