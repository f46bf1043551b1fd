"""What a user does at a terminal, from training to the report, on a text of their own."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from stories import ENCODINGS, TINY, TUNING

import mdm_jax
from mdm_jax.app.cli import main
from mdm_jax.app.options.budgets import fitting
from mdm_jax.theory import plans, profiles, schedules
from mdm_jax.theory.schedules import text as schedule_text
from mdm_jax.training import RunDirectory


def command(arguments, **options):
    """``mdm-jax`` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "mdm_jax.app.cli", *arguments], capture_output=True, text=True, timeout=300, **options
    )


@pytest.fixture(scope="session")
def trained_on_text(tmp_path_factory):
    """The documentation inside CPython, length 128, budgets 4 to 32, by a model that has just begun to learn."""
    directory = tmp_path_factory.mktemp("runs") / "text"
    small = ["--steps", "60", "--width", "32", "--depth", "1", "--heads", "2"]
    assert main(["train", str(directory), *small]) == 0
    assert main(["profile", str(directory), "--encodings", "1200"]) == 0
    assert main(["tune", str(directory), "--check-rows", "64", "--grid", "21"]) == 0
    return directory


def printed_json(capsys, arguments):
    capsys.readouterr()
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.core
@pytest.mark.thorough
def test_tuning_is_optimal_and_its_prediction_holds(trained):
    check_tuning(trained, 16, [2, 4, 8])


@pytest.mark.thorough
def test_on_held_out_text_too(trained_on_text):
    """Real text, length 128: the optimum beats every family at every budget, and paths cost what was predicted."""
    check_tuning(trained_on_text, 128, [4, 8, 16, 32])
    held_out = json.loads((trained_on_text / "held_out.json").read_text())
    assert [row["name"] for row in held_out["baselines"]] == ["unigram", "bigram", "trigram", "4-gram", "5-gram"]


def check_tuning(directory, length, budgets):
    """A theorem (optimal <= all others) and a prediction (|z| < 3 on sequences that the profile has not seen)."""
    tuning = json.loads((directory / "tuning.json").read_text())
    assert [budget["steps"] for budget in tuning["budgets"]] == budgets
    optimal = tuning["families"]["optimal"]
    assert len(tuning["families"]) == 7
    for family, values in tuning["families"].items():
        assert all(best <= value + 1e-9 for best, value in zip(optimal, values, strict=True)), family
    for budget in tuning["budgets"]:
        assert [entry["role"] for entry in budget["plans"]] == ["optimal", "best beta", "best hand-crafted"]
        for entry in budget["plans"]:
            assert sum(entry["plan"]["sizes"]) == length
            assert len(entry["plan"]["sizes"]) <= budget["steps"]
            z = entry["checked"]["z"]
            assert abs(z) < 3, f"{budget['steps']} steps, {entry['role']}: z = {z:.2f}"


@pytest.mark.thorough
def test_a_run_is_trained_further_and_its_profile_must_be_measured_anew(trained, tmp_path, capsys):
    directory = shutil.copytree(trained, tmp_path / "further")
    steps = json.loads((trained / "config.json").read_text())["settings"]["steps"]
    result = printed_json(capsys, ["train", directory, "--steps", steps + 4])
    assert (result["step"], result["stages"][1:]) == (steps + 4, [{"begin": steps, "steps": steps + 4}])
    assert main(["tune", str(directory), "--budgets", "4"]) == 2
    assert f"was measured at step {steps}; the run is at {steps + 4}; measure it with:" in capsys.readouterr().err
    assert main(["train", str(directory)]) == 0  # finished: nothing is left to do
    said = capsys.readouterr().out
    assert f"To train it further: mdm-jax train {directory} --steps {2 * (steps + 4)}" in said


@pytest.mark.core
def test_samples_come_from_the_run_s_own_plan_or_any_other(trained, capsys):
    own = printed_json(capsys, ["sample", trained, "--steps", "4", "--rows", "2"])
    assert own["plan"]["name"] == "optimal"
    assert own["batch_nfe"] == own["plan"]["steps"] <= 4
    assert [len(row["text"]) for row in own["samples"]] == [16, 16]
    again = printed_json(capsys, ["sample", trained, "--plan", trained / "plans" / "optimal-4.json", "--rows", "2"])
    assert [row["text"] for row in again["samples"]] == [row["text"] for row in own["samples"]]
    sine = printed_json(capsys, ["sample", trained, "--schedule", "sine", "--steps", "5", "--rows", "1"])
    assert sine["plan"]["name"] == "sine"
    other = printed_json(capsys, ["sample", trained, "--steps", "4", "--rows", "2", "--seed", "1"])
    assert [row["text"] for row in other["samples"]] != [row["text"] for row in own["samples"]]


@pytest.mark.core
def test_prompts_and_blanks_are_kept(trained, capsys):
    prompt = printed_json(capsys, ["sample", trained, "--prompt", "the cat ", "--rows", "3", "--steps", "4"])
    assert all(row["text"].startswith("the cat ") for row in prompt["samples"])
    filled = printed_json(capsys, ["sample", trained, "--infill", "the ?????? sat", "--blank", "?", "--rows", "3"])
    for row in filled["samples"]:
        assert row["text"].startswith("the ")
        assert row["text"][10:14] == " sat"
        assert row["reveal_step"][:4] == [-1] * 4
        assert min(row["reveal_step"][4:10]) >= 0


@pytest.mark.core
def test_the_landscape_is_drawn(trained):
    assert (trained / "landscape.png").read_bytes()[:4] == b"\x89PNG"
    tuning = json.loads((trained / "tuning.json").read_text())
    assert tuning["steps"] == list(range(1, 17))  # every number of steps
    assert tuning["searched"]["values_per_axis"] == 21


@pytest.mark.core
def test_a_profile_and_an_oracle_are_tuned_without_a_run(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(trained / "profile.json", tmp_path / "mine.json")
    assert main(["tune", "mine.json", "--budgets", "4", "--grid", "21"]) == 0
    capsys.readouterr()
    ours, theirs = (
        json.loads((place / "plans" / "optimal-4.json").read_text()) for place in (tmp_path / "mine", trained)
    )
    assert ours == theirs
    result = printed_json(capsys, ["tune", "oracle:polya:0.5,16", "--budgets", "4", "--output", "urn", "--grid", "21"])
    assert result["budgets"][0]["plans"][0]["checked"] is None
    assert (tmp_path / "urn" / "landscape.png").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "mine.json", "urn"]


@pytest.mark.thorough
def test_an_oracle_is_tuned_by_its_law(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ask = ["tune", "oracle:toy_right", "--budgets", "3", "--by-law", "total_variation", "--grid", "16"]
    result = printed_json(capsys, ask)
    (budget,) = result["budgets"]
    assert budget["hand_crafted"]["linear"] == pytest.approx(0.1169, abs=5e-5)
    assert budget["optimal"]["value"] == pytest.approx(0.1013, abs=5e-5)
    assert budget["optimal"]["value"] - 1e-9 < budget["best_beta"]["value"] < 0.103
    folder = tmp_path / "runs" / "toy_right"
    assert (folder / "landscape_by_total_variation.png").exists()
    grid = json.loads((folder / "plans" / "grid-total_variation-optimal-3.json").read_text())
    assert grid["fractions"] == budget["optimal"]["fractions"]


@pytest.mark.core
@pytest.mark.thorough
def test_profiles_of_what_follows_something_given(trained, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    given = printed_json(capsys, ["profile", copy, "--given", "6", "--encodings", "256"])
    assert given["profile"]["length"] == 10
    assert given["profile"]["provenance"]["given_positions"] == 6
    ask = ["profile", copy, "--prompt", "the cat ", "--encodings", "256", "--output", tmp_path / "prompted.json"]
    prompted = printed_json(capsys, ask)
    assert prompted["profile"]["length"] == 8
    assert prompted["profile"]["provenance"]["prompt"] == "the cat "
    assert main(["tune", str(tmp_path / "prompted.json"), "--budgets", "3", "--grid", "21"]) == 0
    capsys.readouterr()
    plan = tmp_path / "prompted" / "plans" / "optimal-3.json"
    drawn = printed_json(capsys, ["sample", copy, "--prompt", "the cat ", "--plan", plan, "--rows", "2"])
    sizes = json.loads(plan.read_text())["sizes"]
    for row in drawn["samples"]:
        assert np.bincount(np.array(row["reveal_step"]) + 1)[1:].tolist() == sizes
    assert json.loads((copy / "profile.json").read_text()) == json.loads((trained / "profile.json").read_text())
    assert main(["sample", str(copy), "--plan", str(plan)]) == 2
    assert "prompted/plans/optimal-3.json of length 8'" in capsys.readouterr().err


@pytest.mark.core
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"run": "0" * 64}, "profile.json is the profile of another run; measure it with: mdm-jax profile"),
        ({"run_step": 30}, "profile.json was measured at step 30; the run is at 60; measure it with"),
    ],
)
def test_a_profile_that_is_not_the_run_s_is_refused(change, says, trained, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    profile = json.loads((copy / "profile.json").read_text())
    profile["provenance"] |= change
    (copy / "profile.json").write_text(json.dumps(profile))
    for command in (["tune", copy], ["sample", copy, "--steps", "4"], ["tune", copy / "profile.json"]):
        assert main([*map(str, command)]) == 2
        captured = capsys.readouterr()
        assert says in captured.err
        assert captured.err.count("\n") == 1


@pytest.mark.core
def test_a_checkpoint_may_be_named(trained, tmp_path, capsys):
    """The newest, the best, or one that is kept; any other is refused, and so is what is none of these."""
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    kept = sorted(int(path.name) for path in (copy / "checkpoints").iterdir())
    assert kept[-1] == 60
    drawn = ["sample", copy, "--schedule", "linear", "--steps", "4", "--rows", "1"]
    newest = printed_json(capsys, drawn)["samples"]
    assert printed_json(capsys, [*drawn, "--checkpoint", "60"])["samples"] == newest
    printed_json(capsys, [*drawn, "--checkpoint", "best"])
    older = printed_json(capsys, [*drawn, "--checkpoint", kept[0]])["samples"]
    assert older[0]["log_prob"] != newest[0]["log_prob"]
    assert main([*map(str, drawn), "--checkpoint", "7"]) == 2
    assert "60" in capsys.readouterr().err
    for wrong in ("last", "1e2", "0x3"):
        with pytest.raises(SystemExit):
            main([*map(str, drawn), "--checkpoint", wrong])
        assert "must be newest, best or a step" in capsys.readouterr().err


@pytest.mark.core
def test_python_is_as_easy(trained):
    run = mdm_jax.load(trained)
    out = mdm_jax.sampling.sample(
        run.denoiser, run.params, mdm_jax.theory.plans.optimal(run.profile, 4), 2, key=jax.random.key(0)
    )
    assert len(run.task.show(np.asarray(out.tokens[0]))) == 16
    assert run.task.score(np.asarray(out.tokens)).shape == (2,)


@pytest.mark.core
@pytest.mark.thorough
def test_energy_prints_a_table_and_json(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = printed_json(capsys, ["energy", "linear", "sine_squared", "beta:0.9,0.6", "--weight", "linear"])
    assert result["energies"]["linear"]["linear"] == pytest.approx(1.0, abs=1e-5)
    assert result["energies"]["sine_squared"]["linear"] == pytest.approx(np.pi**2 / 8, abs=1e-5)
    assert (tmp_path / result["picture"]).stat().st_size > 10_000
    assert printed_json(capsys, ["energy", "linear", "--no-picture"])["energies"]["linear"]["sine_squared"] is None
    assert main(["energy"]) == 0
    out = capsys.readouterr().out
    assert "diverges" in out
    assert "\nlandscape: runs/energy.png\n" in out


@pytest.mark.core
@pytest.mark.thorough
def test_sample_by_a_schedule_in_a_file(trained, capsys, tmp_path):
    path = schedule_text.save(schedules.tabulate(schedules.beta(0.9, 0.3), 32), tmp_path / "schedule.json")
    arguments = ["sample", str(trained), "--steps", "8", "--rows", "1", "--schedule"]
    plan = printed_json(capsys, [*arguments, f"tabulated:{path}"])["plan"]
    assert plan["name"] == "tabulated"
    assert plan["sizes"] == plans.from_schedule(schedules.beta(0.9, 0.3), 16, 8).sizes.tolist()
    assert plan["origin"]["definition"]["family"] == "tabulated"
    assert main([*arguments, "tabulated:missing.json"]) == 2
    assert "missing.json does not exist; expected a schedule" in capsys.readouterr().err


@pytest.mark.core
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["profile", "nowhere"], "nowhere is not a run directory"),
        (["report", "nowhere"], "nowhere is not a run directory"),
        (["train", "out", "--task", "text:missing.txt"], "missing.txt"),
        (["train", "out", "--task", "poems"], "poems"),
        (["train", "out", "--steps", "0"], "steps must be at least 1; got 0"),
        (["train", "out", "--steps", "1000000000000"], "steps must be below 2^31: they are counted in 32 bits; got 10"),
        (["train", "out", "--batch", "2147483648"], "batch must be below 2^31: they are counted in 32 bits; got 21"),
        (["train", "out", "--optimizer", "sgd"], "optimizer must be adamw or muon; got 'sgd'"),
        (["train", "out", "--optimizer", "own"], "--optimizer must be adamw or muon; got 'own'"),
        (["train", "out", "--width", "10"], "width must be a multiple of 2 * heads = 8; got 10"),
        (["train", "out", "--checkpoint-every", "0"], "--checkpoint-every must be at least 1; got 0"),
        (["train", "out", "--seed", "-1"], "seed must be from 0 to 2^31 - 1; got -1"),
        (["train", "out", "--mesh", "rows=4"], "--mesh must be axes and sizes, as in data=4,model=2; got 'rows=4'"),
        (["train", "out", "--mesh", "data=1", "--devices", "1"], "--devices cannot be given beside --mesh"),
        (["train", "out", "--devices", "4096"], "--devices must be from 1 to"),
        (["train", "out", "--accumulate", "3"], "accumulate must be a divisor of the batch, 8; got 3"),
        (["train", "out", "--compute", "float64"], "compute must be one of bfloat16, float32; got 'float64'"),
        (["energy", "sin"], "schedule must be one of linear, sine, sine_squared"),
        (["energy", "beta:1"], "beta takes 2, as in beta:A,B"),
        (["tune", "oracle:urn"], "oracle must be one of"),
        (["tune", "oracle:polya:0.5,16", "--check-rows", "4"], "--check-rows needs a run"),
        (["tune", "nowhere", "--by-law", "kl"], "--by-law needs a law that is known, as in oracle:toy_left; got 'now"),
        (["tune", "oracle:toy_left", "--by-law", "kl", "--check-rows", "64"], "--check-rows must be left out"),
        (["tune", "nowhere.json"], "nowhere.json is neither a run directory nor a profile file"),
        (["tune", "oracle:polya:0.5,64", "--by-law", "kl"], "(vocab_size + 1)^length must be at most 100000"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(arguments, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.core
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["sample", "--steps", "0"], "--steps must be from 1 to 16; got 0"),
        (["sample", "--rows", "0"], "--rows must be at least 1"),
        (["sample", "--temperature", "-1"], "--temperature must be 0, or from 1.2e-38"),
        (["sample", "--temperature", "inf"], "--temperature must be 0, or from 1.2e-38 to 3.4e+38; got inf"),
        (["sample", "--temperature", "nan"], "--temperature must be 0, or from 1.2e-38 to 3.4e+38; got nan"),
        (["sample", "--seed", "-1"], "--seed must be from 0 to 2^31 - 1; got -1"),
        (["sample", "--plan", "nothing.json", "--steps", "4"], "--steps cannot be given beside --plan"),
        (["sample", "--blank", "?"], "--blank must be given beside --infill"),
        (["sample", "--prompt", "the", "--blank", "?"], "--blank must be given beside --infill"),
        (["sample", "--schedule", "beta:0,1"], "needs a positive number for a"),
        (["sample", "--plan", "nothing.json"], "nothing.json does not exist"),
        (["sample", "--prompt", "ÿ"], "ÿ"),
        (["sample", "--prompt", "the cat " * 3], "--prompt must be at most 16 characters long"),
        (
            ["sample", "--infill", "a?", "--blank", "??"],
            "--blank must be one character that does not occur in the vocab",
        ),
        (
            ["sample", "--infill", "a?", "--blank", "t"],
            "--blank must be one character that does not occur in the vocab",
        ),
        (["sample", "--infill", "ÿ□"], "--infill must use only the"),
        (["tune", "--budgets", "4,x"], "--budgets must be whole numbers separated by commas"),
        (["tune", "--budgets", "4,17"], "--budgets must be numbers of steps from 1 to 16"),
        (["tune", "--check-rows", "-1"], "--check-rows must be 0 (no check), or 2 or more; got -1"),
        (["tune", "--check-rows", "1"], "--check-rows must be 0 (no check), or 2 or more; got 1"),
        (["tune", "--seed", "-1"], "--seed must be from 0 to 2^31 - 1; got -1"),
        (["tune", "--seed", "2147483648"], "--seed must be from 0 to 2^31 - 1; got 2147483648"),
        (["tune", "--output", "."], "--output must be a folder that is not a run directory"),
        (["profile", "--encodings", "3"], "encodings must be at least"),
        (["profile", "--output", "./config.json"], "--output must be a new file, or a profile to replace"),
        (["profile", "--output", "."], "--output must be a new file, or a profile to replace, not a folder"),
        (["profile", "--given", "3", "--output", "./profile.json"], "this is the run's own, which is given nothing"),
        (["profile", "--prompt", ""], "--prompt must be a text of at least one token; got ''"),
        (["profile", "--prompt", "the", "--encodings", "3"], "encodings must be at least"),
        (["profile", "--given", "16"], "--given must be from 1 to 15, the model's length less one; got 16"),
        (["profile", "--prompt", "the cat " * 2], "--prompt must be shorter than the 16 characters of the model"),
        (["profile", "--seed", "2147483648"], "--seed must be from 0 to 2^31 - 1; got 2147483648"),
        (
            ["train", "--seed", "5"],
            "holds a run that differs in seed (0, not 5); name another directory, or use the same",
        ),
        (["train", "--steps", "1"], "or more, to train it further; got 1."),
        (["train", "--from", "."], "--from must be another run than the one that is trained (more --steps alone train"),
        (["train", "--from-checkpoint", "3"], "--from-checkpoint must be left out, or given beside --from"),
        (["train", "--held-out-rows", "1"], "--held-out-rows must be at least 2; got 1"),
    ],
)
def test_bad_requests_to_a_run_change_nothing(arguments, says, trained, capsys):
    before = {path: path.read_bytes() for path in trained.rglob("*.json")}
    arguments = [
        str(trained / argument) if argument == "." or argument.startswith("./") else argument for argument in arguments
    ]
    assert main([arguments[0], str(trained), *arguments[1:]]) == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert before == {path: path.read_bytes() for path in trained.rglob("*.json")}


@pytest.mark.core
def test_defaults_fit_a_short_run(trained, tmp_path, capsys):
    """16 tokens: 32 steps are too many to ask for, and no default asks for them."""
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    tuned = printed_json(capsys, ["tune", copy, "--check-rows", "0", "--grid", "21"])
    assert [budget["steps"] for budget in tuned["budgets"]] == [4, 8, 16]
    assert printed_json(capsys, ["sample", copy, "--schedule", "linear", "--rows", "1"])["plan"]["sizes"] == [1] * 16
    assert main(["tune", str(copy), "--budgets", "4,32"]) == 2
    assert [fitting((4, 8), length) for length in (2, 4, 7, 8, 128)] == [[2], [4], [4], [4, 8], [4, 8]]


@pytest.mark.core
@pytest.mark.parametrize(
    ("name", "content", "commands", "says"),
    [
        ("config.json", {"model": None}, ["train", "sample"], "trained with a model of your own"),
        ("config.json", {"settings": {"colour": 1}}, ["train", "sample"], "config.json has settings"),
        ("config.json", {"settings": {"steps": 0}}, ["train", "sample"], "steps must be at least 1; got 0"),
        ("tuning.json", {"families": {}}, ["report"], "families must be of at least one entry"),
        ("tuning.json", {"steps": []}, ["report"], "steps must be of at least one entry"),
        ("tuning.json", {"nelbo_nats": float("nan")}, ["report"], "not valid JSON (NaN is no number)"),
        ("profile.json", profiles.from_values(np.ones(4)).to_json(), ["report", "tune"], "profile.json"),
    ],
)
def test_files_that_were_edited_are_refused(name, content, commands, says, trained, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    path = copy / name
    path.write_text(json.dumps(json.loads(path.read_text()) | content))
    before = contents(copy)
    for command in commands:
        assert main([command, str(copy)]) == 2
        captured = capsys.readouterr()
        assert says in captured.err
        assert captured.err.count("\n") == 1
        assert captured.out == ""
    assert contents(copy) == before


@pytest.mark.processes
def test_configurations_of_wrong_types_are_refused(trained, tmp_path):
    """In a process of its own: the type checks of the tests would object first, in many lines."""
    wrong = [
        ("model", "transformer text", "'transformer text'"),
        ("model", [1], "[1]"),
        ("model", {"family": "transformer", "width": "wide"}, "model width must be a whole number"),
        ("settings", {"steps": "many"}, "config.json has settings"),
        ("settings", {"learning_rate": None}, "config.json has settings"),
    ]
    calls = []
    for i, (part, value, _) in enumerate(wrong):
        config = json.loads((trained / "config.json").read_text()) | {part: value}
        (tmp_path / str(i)).mkdir()
        (tmp_path / str(i) / "config.json").write_text(json.dumps(config))
        calls += [[name, str(tmp_path / str(i))] for name in ("train", "sample")]
    script = f"from mdm_jax.app.cli import main\nassert all(main(call) == 2 for call in {calls!r})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    said = done.stderr.splitlines()
    assert len(said) == len(calls)
    for (_, _, says), *lines in zip(wrong, said[::2], said[1::2], strict=True):
        assert all(says in line for line in lines)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"config.json"}


@pytest.mark.core
@pytest.mark.parametrize("lose", [lambda log: log.unlink(), lambda log: log.write_text("")], ids=["deleted", "empty"])
def test_a_finished_run_without_its_log_is_still_loaded(lose, trained, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    lose(copy / "log.jsonl")
    result = printed_json(capsys, ["train", copy])
    assert result["step"] == 60
    assert result["seconds"] is result["held_out_bits_per_token"] is result["held_out_standard_error"] is None
    assert main(["train", str(copy)]) == 0
    assert "held-out unknown bits per token" in capsys.readouterr().out


@pytest.mark.core
@pytest.mark.parametrize(("place", "says"), [("file", "Not a directory"), ("file/run", "Not a directory")])
def test_a_directory_that_cannot_be_one_is_refused(place, says, story, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    for arguments in (["train", "--task", f"text:{story}", *TINY], ["demo", "--task", f"text:{story}", "--directory"]):
        assert main([*arguments, str(tmp_path / place)]) == 2
        sentence = capsys.readouterr().err.splitlines()[-1]
        assert sentence.startswith("mdm-jax: directory must be one that can be made and written to; of ")
        assert str(tmp_path / place) in sentence
        assert sentence.endswith(f"{says}.")
    assert (tmp_path / "file").read_text() == "mine"
    assert main(["sample", str(tmp_path / place)]) == 2
    assert "is not a run directory" in capsys.readouterr().err


@pytest.mark.core
@pytest.mark.parametrize("kind", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_files_that_cannot_be_written_are_named(kind, trained, capsys, monkeypatch):
    def fail(*_):
        raise OSError(kind, os.strerror(kind))

    before = contents(trained)
    monkeypatch.setattr(os, "fsync", fail)
    assert main(["tune", str(trained), "--budgets", "2", "--check-rows", "0", "--grid", "21"]) == 2
    sentence = capsys.readouterr().err.splitlines()[-1]
    assert sentence == f"mdm-jax: {trained / 'plans' / 'optimal-2.json'} cannot be used: {os.strerror(kind)}."
    assert contents(trained) == before


@pytest.mark.processes
@pytest.mark.core
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_standard_output_that_is_full_is_a_sentence():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "mdm_jax.app.cli", "energy", "--no-picture"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 2
    assert done.stderr == "mdm-jax: standard output or a file cannot be used: No space left on device.\n"


def contents(directory):
    """Every file that commands write, by path."""
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.processes
@pytest.mark.core
def test_help_is_instant_because_jax_is_not_imported():
    check = (
        "import sys; from mdm_jax.app.cli import make_parser; make_parser().format_help(); print('jax' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
    for arguments in (["--help"], ["train", "--help"], []):
        done = command(arguments)
        assert done.returncode == 0
        assert "usage: mdm-jax" in done.stdout
    assert command(["sing"]).returncode == 2


@pytest.mark.core
def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"mdm-jax {mdm_jax.__version__}\n"


@pytest.mark.core
def test_quiet_leaves_results_and_errors(trained, tmp_path, capsys):
    """No bars, no headings, no notes; results as ever, and what is wrong is said."""
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    words = {
        "profile": ["profile", copy, *ENCODINGS],
        "tune": ["tune", copy, *TUNING],
        "sample": ["sample", copy, "--steps", "4", "--rows", "1", "--temperature", "0"],
    }
    for each in words.values():
        assert main([*map(str, each)]) == 0
        loud = capsys.readouterr()
        assert loud.err != ""
        assert main([*map(str, each), "--quiet"]) == 0
        quiet = capsys.readouterr()
        assert (quiet.err, quiet.out) == ("", loud.out)
    assert main(["tune", str(copy), "--budgets", "0", "--quiet"]) == 2
    assert capsys.readouterr().err.startswith("mdm-jax: --budgets must be")


def newest_checkpoint(directory):
    """The step of the newest complete checkpoint, -1 if there is none: its manifest is what is written last."""
    made = directory.glob("checkpoints/*/manifest.json")
    return max((int(path.parent.name) for path in made if path.parent.name.isdigit()), default=-1)


def wait_for_checkpoint(process, directory, step):
    """Return once a checkpoint of ``step`` or later is complete and ``process`` still runs."""
    deadline = time.monotonic() + 120
    while newest_checkpoint(directory) < step:
        assert process.poll() is None, "it ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.01)


KILLED_AT = """
import os, signal, sys
from mdm_jax.app import cli
from mdm_jax.training.checkpoints import manifest
write = manifest.write
def written(folder, step, *more):
    if step == 80 and when == "before": os.kill(os.getpid(), signal.SIGKILL)
    write(folder, step, *more)
    if step == 80: os.kill(os.getpid(), signal.SIGKILL)
manifest.write, when = written, sys.argv[1]
sys.exit(cli.main(sys.argv[2:]))
"""
"""``mdm-jax`` that gets kill -9 just before or just after the manifest of step 80, while it goes on training."""


@pytest.fixture(scope="module")
def killing(story):
    """The command that is killed, but for the directory."""
    return ["--task", f"text:{story}", *TINY, "--steps", "600", "--checkpoint-every", "40", "--json"]


@pytest.fixture(scope="module")
def whole(killing, tmp_path_factory):
    """The same training, never stopped."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    done = command(["train", str(directory), *killing])
    assert done.returncode == 0, done.stderr
    return directory


@pytest.mark.processes
@pytest.mark.thorough
@pytest.mark.parametrize(("when", "reached"), [("after", 80), ("before", 40)])
def test_kill_9_and_the_same_command_again_ends_bitwise_equal(when, reached, killing, whole, tmp_path):
    """A real process, killed without warning once a checkpoint is complete, or is all but complete (Orbax has renamed
    its folder, the manifest is not there yet): started again by the same command it goes on from the last complete one.
    """
    cut = tmp_path / "cut"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_AT, when, "train", str(cut), *killing], capture_output=True, timeout=300
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert newest_checkpoint(cut) == reached
    assert (cut / "checkpoints" / "80").is_dir()
    kept = [line for line in RunDirectory(cut).read_log() if line["step"] <= reached]
    assert [line["step"] for line in kept] == list(range(30, reached + 1, 30))  # figures are logged every 30 steps
    done = command(["train", str(cut), *killing])
    assert done.returncode == 0, done.stderr
    logged = RunDirectory(cut).read_log()
    assert logged[: len(kept)] == kept, "it went on from an earlier step: the times differ"
    assert [line["step"] for line in logged] == list(range(30, 601, 30))
    one, two = (mdm_jax.load(directory) for directory in (cut, whole))
    assert one.step == two.step == 600
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(two.params), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.processes
@pytest.mark.thorough
def test_ctrl_c_at_the_terminal_saves_and_says_how_to_go_on(story, tmp_path):
    directory = tmp_path / "stopped"
    train = ["--task", f"text:{story}", *TINY, "--steps", "200000", "--checkpoint-every", "20"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mdm_jax.app.cli", "train", str(directory), *train],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    wait_for_checkpoint(process, directory, 20)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "the same command goes on from there" in errors
    assert "Traceback" not in errors
    assert f"stopped at step {newest_checkpoint(directory)} of 200000" in errors


def test_the_demo_leaves_everything_and_can_be_run_again(story, tmp_path, capsys):
    directory = tmp_path / "demo"
    words = ["demo", "--directory", directory, "--task", f"text:{story}", *TINY, *ENCODINGS, *TUNING]
    assert main([*map(str, words)]) == 0
    said = capsys.readouterr()
    assert "report.html in a browser" in said.out
    assert re.findall(r"^\[\d/5\]", said.err, flags=re.MULTILINE) == [f"[{i}/5]" for i in range(1, 6)]
    (directory / "log.jsonl").unlink()
    assert main([*map(str, words), "--json", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    result = json.loads(out)
    assert result["training"]["step"] == 60
    assert result["training"]["seconds"] is None
    assert list(result["stages"]) == ["training", "profile", "tuning", "samples", "report"]
    for took in result["stages"].values():
        assert took["seconds"] > 0
        assert took["processor_seconds"] > 0
    assert [budget["steps"] for budget in result["tuning"]["budgets"]] == [2, 4, 8]
    assert result["tuning"]["searched"]["values_per_axis"] == 21
    made = {path.name for path in directory.iterdir()}
    assert made >= {"config.json", "log.jsonl", "checkpoints", "profile.json", "held_out.json", "tuning.json", "plans"}
    assert made >= {"samples.json", "report.html"}
    page = (directory / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page
