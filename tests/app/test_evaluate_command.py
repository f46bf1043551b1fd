"""``mdm-jax evaluate`` and ``race``: which numbers can be, what is printed, kept and written. Untrained model."""

import json
import shutil

import jax
import numpy as np
import pytest

from mdm_jax import models, tasks
from mdm_jax.app.cli import main
from mdm_jax.sampling import sample
from mdm_jax.theory import plans, profiles, schedules
from mdm_jax.training import RunDirectory, Settings, load
from mdm_jax.training.checkpoints import Checkpoints
from mdm_jax.training.runs import claim, configuration
from mdm_jax.training.step import initial_state
from mdm_jax.training.ways import Job

LENGTH = 8
FEW = ["--samples", "4", "--batch", "6", "--budgets", "2,4"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run directory as training leaves it at step 0."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "text.txt").write_text("a cat sat on a mat and that was that. " * 40)
    task = tasks.text(LENGTH, folder / "text.txt")
    settings = Settings(steps=1, length=LENGTH)
    model = models.transformer(task.vocab_size, length=LENGTH, width=16, depth=1, heads=2)
    directory = RunDirectory(folder / "letters")
    state = jax.jit(lambda: initial_state(model, settings))()
    claim(directory, configuration(task, Job(model, settings), state, None, None))
    with Checkpoints(directory.checkpoints) as checkpoints:
        checkpoints.save(state)
    return directory.path


@pytest.fixture
def said(run, capsys):
    """``mdm-jax COMMAND RUN ...``: what it printed."""

    def call(command, *arguments):
        capsys.readouterr()
        assert main([command, str(run), *map(str, arguments)]) == 0
        out = capsys.readouterr().out
        return json.loads(out) if "--json" in arguments else out

    return call


@pytest.mark.core
def test_a_table_of_scores_passes_and_paired_differences(said):
    text = said("evaluate", "linear", "beta:0.9,0.3", *FEW)
    lines = text.splitlines()
    assert [line.split("  ")[0] for line in lines[2:6]] == [
        "linear, 2 steps", "linear, 4 steps", "beta:0.9,0.3, 2 steps", "beta:0.9,0.3, 4 steps",
    ]  # fmt: skip
    assert "trigram bits per character" in lines[0]
    assert "own bigram entropy (bits)" in lines[0]
    assert [line.count("±") for line in lines[2:6]] == [2, 2, 3, 3]
    assert "lower is better" in text


def test_json_has_what_sample_and_the_task_give(said, run):
    found = said("evaluate", "linear", "sine", *FEW, "--seed", 3, "--json")
    trained = load(run)
    plan = plans.from_schedule(schedules.sine(), LENGTH, 2)
    drawn = sample(trained.denoiser, trained.params, plan, 6, key=jax.random.key(3), row_ids=range(6))
    scores = trained.task.score(np.asarray(drawn.tokens)[:4])
    entry = next(entry for entry in found["samplers"] if entry["name"] == "sine, 2 steps")
    assert entry["trigram bits per character"]["mean"] == pytest.approx(scores.mean())
    assert entry["nfe"]["mean"] == 2
    assert entry["less_baseline"]["baseline"] == "linear, 2 steps"
    assert found["lower_is_better"] is True


def test_what_was_drawn_is_kept_and_more_is_added(said, run, tmp_path):
    plans.uniform(LENGTH, 2).save(tmp_path / "even.json")
    arguments = ["--plan", tmp_path / "even.json", *FEW, "--seed", 7, "--picture", tmp_path / "a.svg", "--json"]
    first = said("evaluate", "linear", *arguments)
    assert first["drawn"] == 12
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")
    assert (run / "evaluations" / "step-0.jsonl").exists()
    again = said("evaluate", "linear", "sine", *arguments)
    assert again["drawn"] == 8
    assert again["samplers"][:2] == first["samplers"][:2]
    even = again["samplers"][-1]
    assert even["less_baseline"]["baseline"] == "linear, 2 steps"
    assert even["less_baseline"]["trigram bits per character"]["mean"] == 0  # the same plan, the same rows


def test_prompts_come_from_held_out_rows(said, run, tmp_path):
    said(
        "evaluate",
        "linear",
        "--samples",
        3,
        "--batch",
        6,
        "--budgets",
        2,
        "--given",
        5,
        "--store",
        tmp_path / "r.jsonl",
    )
    rows = json.loads((tmp_path / "r.jsonl").read_text().splitlines()[1])["rows"]
    begun = sorted((row[1], row[-1][:5]) for row in rows)
    assert begun == [(i, given[:5]) for i, given in enumerate(load(run).task.test[:3].tolist())]


def test_a_race_writes_plans_scores_and_the_landscape(said, run):
    arguments = [
        "--budgets", 2, "--order", "random", "--grid", 2, "--samples", 2, "--finalists", 2, "--final-samples", 3,
        "--batch", 6,
    ]  # fmt: skip
    text = said("race", *arguments)
    name = "random-step-0-seed-0-grid-2-finalists-2-final-samples-3-samples-2"
    place = run / "races" / name
    result = json.loads((place / "race-2.json").read_text())
    won = plans.load(place / "winner-2.json")
    assert won.length == LENGTH
    assert result["races"][0]["winner"] == won.name
    assert result["races"][0]["conclusions"] == text.splitlines()[-2 - len(result["races"][0]["conclusions"]) : -2]
    assert f"not the {len(result['races'][0]['conclusions'])} of them together" in text.splitlines()[-1]
    assert (place / "landscape-2.png").stat().st_size > 5000
    again = said("race", *arguments, "--json")
    assert again["races"][0]["test"]["drawn"] == 0
    assert again["races"][0]["winner"] == won.name
    kept = (place / "race-2.json").read_bytes()
    said("race", *arguments, "--budgets", 1)
    said("race", *arguments, "--seed", 1)
    assert (place / "race-2.json").read_bytes() == kept  # neither other steps nor another seed overwrites it
    assert (place / "race-1.json").exists()
    assert (run / "races" / name.replace("seed-0", "seed-1") / "race-2.json").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["evaluate", "--temperature", "-1"], "--temperature must be 0, or from 1.2e-38 to 3.4e+38; got -1.0."),
        (["evaluate", "--samples", "1"], "--samples must be from 2 (for a standard error) to"),
        (["evaluate", "--samples", str(10**12)], "--samples must be from 2"),
        (["evaluate", "--batch", "0"], "--batch must be from 1 to"),
        (["evaluate", "--devices", "99"], "--devices must be from 1 to"),
        (["evaluate", "--seed", "-1"], "--seed must be from 0"),
        (["evaluate", "--picture", "a.gif"], "--picture must end in .png, .svg or .pdf"),
        (["evaluate", "--budgets", "9"], "--budgets must be numbers of steps from 1 to 8"),
        (["evaluate", "cosin"], "schedule must be one of"),
        (["evaluate", "sine", "--baseline", "linear"], "--baseline must be one of the schedules or plans"),
        (["evaluate", "--given", "8"], "--given must be less than 8, the model's length"),
        (["evaluate", "--given", "2", "--samples", "9999"], "--samples must be at most"),
        (["evaluate", "--store", "rows.txt"], "--store must be a .jsonl file"),
        (["evaluate", "--plan", "no.json"], "no.json does not exist"),
        (["race", "--grid", "1"], "--grid must be from 2 to 64"),
        (["race", "--final-samples", "1"], "--final-samples must be from 2 to"),
        (["race", "--given", "2", "--samples", "9999"], "--samples must be so few that the last round"),
        (["race", "--given", "2", "--final-samples", "9999"], "--final-samples must be at most"),
        (["race", "--eta", "1"], "--eta must be from 2 to"),
    ],
)
def test_bad_input_is_one_sentence(run, capsys, arguments, says):
    assert main([arguments[0], str(run), *arguments[1:]]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert says in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.thorough
def test_a_report_of_a_run_whose_profile_is_flat(run, tmp_path):
    """Every family costs the least possible, so that no logarithm shows any."""
    shutil.copytree(run, tmp_path / "flat")
    flat = RunDirectory(tmp_path / "flat")
    profiles.from_values(np.ones(LENGTH)).save(flat.profile)
    for command in (["tune", "--budgets", "2,4", "--check-rows", "0", "--grid", "4"], ["report"]):
        assert main([command[0], str(flat.path), *command[1:], "--quiet"]) == 0
    assert "All at zero, for the profile is flat" in " ".join(flat.report.read_text().split())
