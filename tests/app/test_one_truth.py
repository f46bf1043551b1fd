"""What one command writes and another reads: the plans of ``tune``, the commands that the report names."""

import dataclasses
import json
import re
import shlex
import shutil
import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from selecting import thorough_but
from stories import ENCODINGS

import mdm_jax
from mdm_jax.app import cli
from mdm_jax.app.cli import main, make_parser
from mdm_jax.app.options import canvas, samplers
from mdm_jax.app.options.recipes import RECIPES
from mdm_jax.app.report import writing as report
from mdm_jax.app.work import sampling as sample
from mdm_jax.app.work import tuning_by_law
from mdm_jax.evaluation import exact
from mdm_jax.evaluation.measuring import estimation
from mdm_jax.sampling import Sampled
from mdm_jax.support.errors import InputError
from mdm_jax.support.files import write_json
from mdm_jax.theory import plans, profiles
from mdm_jax.training import RunDirectory


@pytest.fixture(scope="module")
def tuned(trained, tmp_path_factory):
    """A run with a profile whose optimum is no uniform plan, and plans by the command."""
    directory = RunDirectory(tmp_path_factory.mktemp("one truth") / "my run")
    shutil.copytree(trained, directory.path)
    measured = profiles.load(directory.profile)
    slope = profiles.from_values(np.linspace(3.0, 0.5, 16) ** 2, measured.provenance)
    slope.save(directory.profile)
    shutil.rmtree(directory.plans)
    assert main(["tune", str(directory.path), "--budgets", "3,4", "--check-rows", "0", "--grid", "21"]) == 0
    return directory


@pytest.fixture
def copy(tuned, tmp_path):
    shutil.copytree(tuned.path, tmp_path / "my run")
    return RunDirectory(tmp_path / "my run")


def drawn(capsys, *words):
    """What ``sample --json`` printed, and said on standard error."""
    capsys.readouterr()
    assert main(["sample", *map(str, words), "--rows", "2", "--json"]) == 0
    out, err = capsys.readouterr()
    return json.loads(out), err


def sizes_run(row):
    """The sizes that a sample was really drawn with."""
    return np.bincount(np.array(row["reveal_step"])).tolist()


@pytest.mark.parametrize("preset", [[], ["--preset", "best"]], ids=["default", "best"])
@pytest.mark.thorough
def test_sample_follows_the_plan_file_that_tune_wrote(preset, copy, capsys):
    """Another plan of the same cost in the file (equally good by the profile) is the one that is run."""
    flat = profiles.from_values(np.ones(16), profiles.load(copy.profile).provenance)
    flat.save(copy.profile)
    assert main(["tune", str(copy.path), *CHEAPLY["tune"]]) == 0
    path = copy.plan("optimal", 3)
    plan = json.loads(path.read_text())
    computed = plans.optimal(flat, 3).sizes.tolist()
    assert plan["sizes"] == computed
    other = [2, 5, 9] if computed != [2, 5, 9] else [9, 5, 2]
    write_json(path, plan | {"sizes": other, "name": "of this file", "steps": 3})
    result, err = drawn(capsys, copy.path, "--steps", 3, *preset)
    assert result["plan"]["sizes"] == other
    assert result["sampler"]["plan_from"] == "plans/optimal-3.json"
    assert [sizes_run(row) for row in result["samples"]] == [other, other]
    assert "profile" not in err
    assert main(["sample", str(copy.path), "--steps", "3", "--rows", "1", *preset]) == 0
    assert "plan of this file (plans/optimal-3.json), 3 steps" in capsys.readouterr().out


@pytest.mark.parametrize(
    "edit",
    [
        {"sizes": [14, 1, 1], "steps": 3},
        {"sizes": [5, 3], "steps": 2, "length": 8},
        {"sizes": [4, 4, 4, 4], "steps": 4},
        "rule",
        "best-beta-3.json",
    ],
    ids=["sizes", "length", "steps", "rule", "another role"],
)
def test_a_plan_file_that_was_changed_is_refused_with_both_ways_out(edit, copy, capsys):
    path = copy.plan("optimal", 3)
    plan = json.loads(path.read_text())
    if edit == "best-beta-3.json":
        plan = json.loads((copy.plans / edit).read_text())
    elif edit == "rule":
        plan["origin"]["rule"] = "uniform"
    else:
        plan |= edit
    write_json(path, plan)
    for preset in ([], ["--preset", "best"], ["--order", "margin"]):
        assert main(["sample", str(copy.path), "--steps", "3", *preset]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(
            f"mdm-jax: {path} is not the plan that mdm-jax tune writes there: it was changed, or another version wrote "
            "it. Delete it"
        )
        assert err.count("\n") == 1
        assert shlex.split(err.rpartition("with ")[2].strip().removesuffix("."))[:2] == ["--plan", str(path)]
    if plan["length"] == 16:
        result, _ = drawn(capsys, copy.path, "--plan", path)
        assert [sizes_run(row) for row in result["samples"]] == [plan["sizes"]] * 2
    path.unlink()
    result, _ = drawn(capsys, copy.path, "--steps", 3)
    believed = profiles.posterior_profile(profiles.load(copy.profile)).profile
    assert result["plan"]["sizes"] == plans.optimal(believed, 3).sizes.tolist()


def test_a_plan_of_an_older_profile_gives_way_and_that_is_said(copy, capsys):
    newer = profiles.from_values(np.linspace(3.0, 2.9, 16), profiles.load(copy.profile).provenance)
    newer.save(copy.profile)
    old = json.loads(copy.plan("optimal", 3).read_text())["sizes"]
    result, err = drawn(capsys, copy.path, "--steps", 3)
    assert result["plan"]["sizes"] == plans.optimal(newer, 3).sizes.tolist() != old
    assert result["sampler"]["plan_from"] == "profile.json"
    assert f"{copy.plan('optimal', 3)} was made from another profile than {copy.profile} is now" in err
    line = err[err.index("mdm-jax tune") :].partition(" makes")[0]
    assert shlex.split(line) == ["mdm-jax", "tune", str(copy.path)]
    assert main([*shlex.split(line)[1:], *CHEAPLY["tune"]]) == 0
    again, err = drawn(capsys, copy.path, "--steps", 3)
    assert again["plan"]["sizes"] == result["plan"]["sizes"]
    assert again["sampler"]["plan_from"] == "plans/optimal-3.json"
    assert err == ""


def test_without_a_plan_file_the_same_is_computed_and_that_is_said(copy, capsys):
    with_file, _ = drawn(capsys, copy.path, "--steps", 4)
    copy.plan("optimal", 4).unlink()
    without, _ = drawn(capsys, copy.path, "--steps", 4)
    assert without["samples"] == with_file["samples"]
    assert main(["sample", str(copy.path), "--steps", "4", "--rows", "1"]) == 0
    assert "plan optimal (computed from profile.json), 4 steps" in capsys.readouterr().out


def test_a_flag_about_random_bits_changes_no_sample(copy, capsys):
    words = [copy.path, "--steps", 3]
    expected, _ = drawn(capsys, *words)
    with jax.threefry_partitionable(False):
        found, _ = drawn(capsys, *words)
    assert found == expected


def test_a_blank_that_the_text_itself_has_is_refused_by_its_name(tuned):
    """The default blank too; with another one the same text is taken."""
    run = mdm_jax.load(tuned.path)
    letters = run.description["vocabulary"][:-1] + canvas.BLANK
    run = dataclasses.replace(run, description={**run.description, "vocabulary": letters})
    said = f"^--blank must be one character that does not occur in the vocabulary; got '{canvas.BLANK}'"
    with pytest.raises(InputError, match=said):
        canvas.make_canvas(run, "--infill", f"a{canvas.BLANK}", canvas.BLANK)
    made = canvas.make_canvas(run, "--infill", f"a{canvas.BLANK}?", "?")
    assert made[:3].tolist() == [letters.index("a"), len(letters) - 1, run.denoiser.mask_id]
    with pytest.raises(InputError, match=r"^--infill must use only the 36 characters of the vocabulary; got '\^'"):
        canvas.make_canvas(run, "--infill", "a^", "?")


@pytest.mark.thorough
def test_the_report_says_which_plan_files_are_not_what_it_shows(copy):
    assert "Changed since" not in report.render(copy)
    plans.uniform(16, 3).save(copy.plan("optimal", 3))
    copy.plan("best beta", 4).write_text("{")
    page = report.render(copy)
    assert "Changed since, and not what this page shows: <code>optimal-3.json</code>, <code>best-beta-4.json" in page


def commands_of(page):
    """Every command that the page names, as a shell takes it apart."""
    named = [*re.findall(r"(?:Make|Begin) (?:it )?with <code>(mdm-jax .*?)</code>", page)]
    named += re.findall(r"^(mdm-jax .*?) +<span>#", page, flags=re.MULTILINE)
    return [shlex.split(line.replace("&#x27;", "'")) for line in named]


LATER = ["samples.json", "tuning.json", "landscape.png", "plans", "profile.json", "held_out.json"]


@pytest.mark.parametrize("missing", thorough_but([3], range(len(LATER) + 1)))
@pytest.mark.thorough
def test_every_command_of_the_report_works_and_makes_what_was_missing(missing, copy, capsys):
    """From any state: what the page says first is run, until nothing is missing. None of it refuses."""
    for name in LATER[:missing]:
        path = copy.path / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for _ in range(6):
        page = report.render(copy)
        wanted = commands_of(page)
        assert {words[2] for words in wanted} == {str(copy.path)}
        left = [words for words in wanted if f"with <code>mdm-jax {words[1]} " in page]
        if not left:
            break
        assert main([*left[0][1:], *CHEAPLY.get(left[0][1], [])]) == 0, left[0]
    assert 'class="missing"' not in page
    assert (copy.path / "samples.json").exists()
    assert [words[1] for words in wanted] == ["sample", "tune"]  # few rows: more encodings of them are not advised
    for words in wanted:
        assert main([*words[1:], *CHEAPLY[words[1]]]) == 0


CHEAPLY = {
    "profile": ENCODINGS,
    "tune": ["--budgets", "3", "--check-rows", "0", "--grid", "21"],
    "sample": ["--rows", "1"],
}


def test_the_report_of_a_model_of_ones_own_names_no_command(copy):
    config = json.loads(copy.config.read_text()) | {"model": None}
    write_json(copy.config, config)
    for name in ("samples.json", "tuning.json", "profile.json", "held_out.json"):
        (copy.path / name).unlink(missing_ok=True)
    page = report.render(copy)
    assert "<code>mdm-jax" not in page
    assert commands_of(page) == []
    assert "since the model is your own" in page
    assert ", denoiser)" in page


def test_samples_by_plans_of_an_older_profile_are_refused(copy, capsys):
    profiles.from_values(np.linspace(3.0, 2.9, 16), profiles.load(copy.profile).provenance).save(copy.profile)
    copy.samples.unlink(missing_ok=True)  # what other commands drew from the run that this is a copy of
    assert main(["report", str(copy.path), "--samples"]) == 2
    err = capsys.readouterr().err
    assert "tuning.json was made from another profile than" in err
    assert shlex.split(err[err.rindex("mdm-jax tune") :]) == ["mdm-jax", "tune", str(copy.path)]
    assert not copy.samples.exists()


@pytest.mark.core
def test_what_the_parser_offers_is_what_the_library_has():
    """Names are written down once more where no JAX is imported; here they are compared."""
    parsers = next(action for action in make_parser()._actions if isinstance(action.choices, dict)).choices
    choices = {
        (name, action.dest): set(action.choices)
        for name, parser in parsers.items()
        for action in parser._actions
        if action.choices is not None
    }
    assert choices["profile", "estimator"] == set(estimation.ESTIMATORS)
    assert choices["tune", "by_law"] == set(tuning_by_law.DIVERGENCES)
    assert set(tuning_by_law.DIVERGENCES.values()) == set(exact.DIVERGENCES)
    assert choices["train", "recipe"] == set(RECIPES)
    for name in ("sample", "evaluate", "race"):
        assert choices[name, "order"] == {*samplers.MEASURES, *samplers.BLIND}


@pytest.mark.core
@pytest.mark.parametrize(
    "error",
    [
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8796093022208 bytes.\n page two"),
        MemoryError("Unable to allocate 64.0 GiB for an array"),
        MemoryError(),
    ],
    ids=["XLA", "NumPy", "Python"],
)
def test_too_little_memory_is_one_sentence(error, capsys, monkeypatch):
    def run(options):
        raise error

    monkeypatch.setattr("mdm_jax.app.work.energies.run", run)
    assert main(["energy"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("mdm-jax: there is not enough memory for this: ")
    assert said.count("\n") == 1
    assert "page two" not in said


@pytest.mark.core
def test_other_errors_of_xla_are_not_taken_for_that(monkeypatch):
    def run(options):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    monkeypatch.setattr("mdm_jax.app.work.energies.run", run)
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        main(["energy"])


@pytest.mark.processes
@pytest.mark.thorough
def test_xla_itself_without_memory_is_one_sentence(tuned):
    """A million rows, and no more memory than the program needs: what XLA raises is recognised."""
    limited = (
        "import resource, sys; from mdm_jax.app.work import sampling; from mdm_jax.app.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))\n"
        f"sys.exit(main(['sample', {str(tuned.path)!r}, '--steps', '3', '--rows', '1000000', '--json']))"
    )
    done = subprocess.run([sys.executable, "-c", limited], capture_output=True, text=True, timeout=300)
    assert done.returncode == 2, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("mdm-jax: there is not enough memory for this: ")
    assert done.stdout == ""


@pytest.mark.core
def test_a_warning_is_a_line_of_its_own(capsys, monkeypatch):
    def run(options):
        warnings.warn("the \x1b[31mmodel is odd", stacklevel=1)

    monkeypatch.setattr("mdm_jax.app.work.energies.run", run)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert cli.main(["energy"]) == 0
    assert capsys.readouterr().err == "mdm-jax: warning: the \\x1b[31mmodel is odd\n"


def drew(tokens, reveal_step):
    """What a sampler returns, with these tokens."""
    tokens, reveal_step = jnp.asarray(tokens, jnp.int32), jnp.asarray(reveal_step, jnp.int32)
    zero, many = jnp.int32(0), jnp.zeros(len(tokens), jnp.int32)
    return Sampled(tokens, many, zero, many, reveal_step, jnp.zeros(len(tokens)), zero)


@pytest.mark.parametrize(
    ("tokens", "steps", "said"),
    [
        ([[0] * 16], [[0] * 16], "in the sample is one token, ' '"),
        ([[0] * 15 + [3]], [[0] * 16], "in the sample is one token, ' '"),
        ([[0] * 14 + [3, 3]], [[0] * 16], None),
        ([[0] * 16, [1, 2] * 8], [[0] * 16] * 2, "in 1 of 2 samples is one token, ' '"),
        ([[0] * 9 + [1, 2, 3, 1, 2, 3, 1]], [[0] * 9 + [-1] * 7], "in the sample is one token, ' '"),  # a prompt
        ([[0] * 9 + [1] * 7], [[0, 1] * 4 + [1] + [-2] * 7], "in the sample is one token, ' '"),  # behind the end
        ([[0] * 7 + [1] * 9], [[0] * 7 + [-1] * 9], None),  # too few to tell
    ],
)
def test_monotony_counts_what_was_drawn(tokens, steps, said, tuned):
    found = sample.monotony(mdm_jax.load(tuned.path), drew(tokens, steps))
    assert (found is None) == (said is None)
    assert said is None or said in found


def test_a_preset_that_draws_nothing_but_blanks_says_so(tuned, capsys, monkeypatch):
    """The output is only blanks, which a terminal does not show: the note names the token and what to try."""

    def blank(denoiser, params, sampler, rows, **_):
        return drew(np.zeros((rows, 16)), np.zeros((rows, 16)))

    assert mdm_jax.load(tuned.path).vocabulary.decode(np.array([0])) == " "
    monkeypatch.setattr(sample, "sample", blank)
    cures = {
        "llada": "Try --preset best, or --order probability.",
        "best": "Try --temperature 1.",
    }
    for preset, cure in cures.items():
        words = ["sample", str(tuned.path), "--preset", preset, "--steps", "4", "--rows", "2", "--temperature", "0"]
        assert main(words) == 0
        err = capsys.readouterr().err
        assert "almost all that was drawn in 2 of 2 samples is one token, ' '." in err
        assert err.strip().endswith(cure)
        assert err.count("\n") == 1
