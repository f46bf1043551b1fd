"""Latents and hybrid noise on the command line: which options go together, what is kept, said, written and shown."""

import dataclasses
import html
import json
import re

import numpy as np
import pytest

import mdm_jax as mdm
from mdm_jax import models, tasks
from mdm_jax.app.cli import main, make_parser
from mdm_jax.app.commands import profile as profile_command
from mdm_jax.app.options import common, latents
from mdm_jax.app.report import latents as section
from mdm_jax.app.report import run_files, shapes
from mdm_jax.app.work import training as train
from mdm_jax.evaluation import latents as predictors
from mdm_jax.plot import report_charts
from mdm_jax.support.errors import InputError
from mdm_jax.support.files import write_json
from mdm_jax.training import (
    FixedLatentBound,
    HybridNoise,
    LatentSurrogate,
    MaskedNelbo,
    Run,
    RunDirectory,
    Settings,
    StepwiseLatentBound,
    objectives,
)
from mdm_jax.training.runs import examine, own_part

start = getattr(train.start, "__wrapped__", train.start)  # without the check of what the stand-in for fit returns
PAIRS = "pairs:0.9"
TINY = ["--width", "16", "--depth", "1", "--heads", "2", "--steps", "30", "--batch", "32", "--learning-rate", "0.01"]


def config_of(denoiser, objective):
    """The parts of ``config.json`` that say what is trained."""
    settings = dataclasses.asdict(Settings(steps=7, length=8))
    told = {**objective.describe(), "is_bound": objective.is_bound}
    return {"format": "mdm_jax run 1", "task": {}, "model": models.describe(denoiser), "settings": settings,
            "objective": told}  # fmt: skip


@pytest.fixture(scope="module")
def task():
    return tasks.from_spec("blocks:0.5")


def made(said, task, there=None):
    chosen = latents.merged(said, there or {})
    sizes = {"width": 16, "depth": 1, "heads": 2}
    return latents.model_of(chosen, task, sizes), latents.objective_of(chosen, task.length)


ASKED = {
    "none": ({}, "transformer", {"name": "masked NELBO"}),
    "uniform": ({"uniform": 0.1}, "transformer",
                {"name": "hybrid noise", "uniform": 0.1, "weights": "elbo", "gamma": 1.0}),
    "global": ({"latent": "global"}, "latent transformer",
               {"name": "latent surrogate", "warmup": 1.0, "free_bits": 0.0, "draws": 1}),
    "block": ({"latent": "block", "latent_block": 2, "latent_size": 3, "latent_prior": 2, "latent_draws": 4},
              "latent transformer", {"name": "latent surrogate", "warmup": 1.0, "free_bits": 0.0, "draws": 4}),
    "fixed": ({"latent": "global", "latent_objective": "fixed", "kl_warmup": 0.5, "free_bits": 2.0},
              "latent transformer", {"name": "fixed-latent bound", "warmup": 0.5, "free_bits": 2.0}),
    "stepwise": ({"latent": "global", "latent_objective": "stepwise", "latent_steps": 2},
                 "latent transformer",
                 {"name": "stepwise latent bound", "warmup": 1.0, "free_bits": 0.0, "draws": 1, "steps": 2}),
}  # fmt: skip


@pytest.mark.parametrize("kind", ASKED)
def test_options_make_a_model_and_an_objective_and_are_read_back_from_the_run(kind, task):
    said, family, described = ASKED[kind]
    model, objective = made(said, task)
    told = models.describe(model) or {}
    assert (told["family"], objective.describe()) == (family, described)
    if family == "latent transformer":
        wanted = said.get("latent_size", latents.SIZE), said.get("latent_block"), said.get("latent_prior", 0)
        assert (told["latent_size"], told["block"], told["prior"]) == wanted
    config = json.loads(json.dumps(config_of(model, objective)))
    assert made({}, task, latents.of_run(config)) == (model, objective)
    assert own_part(config, Settings(steps=7, length=8)) is None
    assert objectives.from_description(config["objective"]) == objective


def test_what_is_there_and_means_nothing_any_more_is_let_go(task):
    there = latents.of_run(config_of(*made(ASKED["stepwise"][0], task)))
    for said in ({"latent": "none"}, {"uniform": 0.2}):
        assert latents.merged(said, there) == {"latent": "none", **said}
    assert "latent_steps" not in latents.merged({"latent_objective": "fixed"}, there)
    assert latents.merged({"latent_size": 4}, there) == {**there, "latent_size": 4}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--latent-size", "4"], "--latent-size must be given beside --latent global or block"),
        (["--latent", "none", "--kl-warmup", "0.1"], "--kl-warmup must be given beside --latent global or block"),
        (["--latent", "global", "--latent-block", "4"], "--latent-block must be given beside --latent block"),
        (["--latent", "global", "--latent-steps", "2"], "--latent-steps must be given beside --latent-objective stepw"),
        (["--latent", "global", "--latent-objective", "fixed", "--latent-draws", "2"], "--latent-draws must be given"),
        (["--latent", "global", "--free-bits", "1", "--latent-draws", "2"], "--free-bits cannot be given beside"),
        (["--latent", "global", "--uniform", "0.1"], "--uniform cannot be given beside --latent"),
        (["--latent", "global", "--latent-size", "0"], "--latent-size must be from 1 to 1,048,576"),
        (["--latent", "global", "--kl-warmup", "1.5"], "--kl-warmup must be from 0 to 1, a fraction of the training"),
        (["--uniform", "nan"], "--uniform must be from 0 to 0.99"),
        (["--task", PAIRS, "--latent", "block"], "--latent-block must be less than 2, the length"),
        (["--task", PAIRS, "--latent", "global", "--latent-objective", "stepwise", "--latent-steps", "3"],
         "--latent-steps must be at most 2, the length"),
    ],
)  # fmt: skip
def test_what_does_nothing_or_cannot_be_is_refused(words, sentence, tmp_path, capsys):
    assert main(["train", str(tmp_path / "run"), *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"mdm-jax: {sentence}")
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_the_words_of_the_options_are_those_of_the_library():
    assert predictors.PREDICTORS == profile_command.PREDICTORS
    assert set(latents.TOLD) == set(common.LATENT_DRAWS)
    assert {said.get("latent_objective", "surrogate") for said, *_ in ASKED.values()} == set(common.LATENT_OBJECTIVES)
    options = vars(make_parser().parse_args(["train", "D", "--latent", "global"]))
    assert set(latents.NAMES) <= set(options)
    assert latents.said_by(make_parser().parse_args(["train", "D"])) == {}


def test_another_kind_of_model_or_objective_is_told_by_its_name_alone(task, tmp_path):
    place = RunDirectory(tmp_path)
    write_json(place.config, config_of(*made(ASKED["global"][0], task)))
    for kind, told in {
        "none": 'model family ("latent transformer", not "transformer"), objective name ("latent surrogate", not '
        '"masked NELBO");',
        "fixed": 'objective name ("latent surrogate", not "fixed-latent bound");',
    }.items():
        with pytest.raises(InputError, match=re.escape(f"differs in {told} name another directory")):
            examine(place, config_of(*made(ASKED[kind][0], task)))
    with pytest.raises(InputError, match=r"differs in latent_size \(16, not 4\); name"):
        examine(place, config_of(*made({"latent": "global", "latent_size": 4}, task)))


def test_a_run_goes_on_with_its_own_objective(tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr(train, "fit", lambda denoiser, task, **more: asked.update(denoiser=denoiser, **more))
    start(tmp_path / "none", PAIRS, learning={"latent": "global", "latent_objective": "stepwise"})
    model, objective = asked["denoiser"], asked["objective"]
    assert objective.describe()["steps"] == 1  # half of the length: one token at a time has no use of a latent
    learnt = tasks.from_spec(PAIRS)
    config = config_of(model, objective) | {"task": {**learnt.describe(), "digest": learnt.digest}}
    config["settings"] = vars(asked["settings"])
    write_json(tmp_path / "config.json", config)
    for more in ({}, {"overrides": {"steps": 9}}, {"learning": {"latent_size": latents.SIZE}}):
        asked.clear()
        start(tmp_path, **more)
        assert (asked["denoiser"], asked["objective"]) == (model, objective)
    dynamic = HybridNoise(uniform=0.1, weights="dynamic")  # which no option makes
    write_json(tmp_path / "config.json", config | config_of(model, dynamic) | {"task": config["task"]})
    start(tmp_path, overrides={"steps": 9})
    assert asked["objective"] == dynamic
    deeper = models.from_description({**config["model"], "recognition_depth": 2})  # nor this
    write_json(tmp_path / "config.json", config | {"model": models.describe(deeper)})
    start(tmp_path, overrides={"width": 64})
    assert asked["denoiser"] == models.from_description({**config["model"], "recognition_depth": 2, "width": 64})


@pytest.mark.parametrize("kind", ASKED)
def test_where_a_prompt_tells_of_the_latent_that_is_said(kind, task, tmp_path):
    place = RunDirectory(tmp_path)
    model, objective = made(ASKED[kind][0], task)
    write_json(place.config, config_of(model, objective))
    trained = Run(model, {}, place, Settings(steps=7, length=8), 7, {})
    assert (latents.prompt_note(trained) is not None) == (kind == "fixed")
    bound = latents.own_bound(trained)  # the masked NELBO and the like are judged by as ever
    assert (None if bound is None else bound.describe()) == (ASKED[kind][2] if kind in ("fixed", "stepwise") else None)


# One tiny run, and what all the commands make of it.


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("latents") / "pairs"
    words = ["--task", PAIRS, "--latent", "global", "--latent-size", "3", *TINY]
    assert main(["train", str(directory), *words]) == 0
    assert main(["profile", str(directory), "--encodings", "128"]) == 0
    assert main(["tune", str(directory), "--budgets", "1,2", "--check-rows", "16", "--grid", "5"]) == 0
    return directory


@pytest.fixture
def said(run, capsys):
    """``mdm-jax COMMAND RUN ...``: what it printed, or the JSON of it."""

    def call(command, *words):
        capsys.readouterr()
        assert main([command, str(run), *words]) == 0
        out = capsys.readouterr().out
        return json.loads(out) if "--json" in words else out

    return call


@pytest.mark.thorough
def test_a_run_says_what_its_figure_is_and_how_much_its_latents_tell(run, said):
    line = json.loads((run / "log.jsonl").read_text().splitlines()[-1])
    text = said("train")  # nothing is left to be trained
    rows = f"{line['held_out_rows']} rows of the validation half"
    assert f"{line['held_out_bits_per_token']:.3f} bits per token ({rows}; latent surrogate, no bound)" in text
    assert f"KL of its latents {line['held_out_kl_nats']:.2f} nats per sequence" in text
    found = said("train", "--json")
    assert found["objective"]["is_bound"] is False
    assert found["held_out_kl_nats"] == line["held_out_kl_nats"]


@pytest.mark.thorough
def test_profile_and_tune_say_what_the_latents_add(run, said, tmp_path):
    stored = json.loads((run / "profile.json").read_text())
    kl = stored["provenance"]["kl_nats"]
    text = said("profile", "--encodings", "128")
    assert f"whose KL is {kl:.3f} ± " in text
    assert "model (fixed-latent bound)" in text
    assert "NELBO" not in text
    tuned = said("tune", "--budgets", "1,2", "--check-rows", "16", "--grid", "5", "--json")
    assert tuned["kl_nats"] == kl
    for entry in (entry for budget in tuned["budgets"] for entry in budget["plans"]):
        assert abs(entry["checked"]["z"]) < 4  # of one model and one kind of latents: four standard errors of 16 rows
    text = said("tune", "--budgets", "1,2", "--check-rows", "0", "--grid", "5")
    assert "cost given latents (bits/token)" in text
    assert f"adds {kl / (2 * np.log(2)):.4f} bits per token to each cost. The sums are bounds" in text
    for words in (["--given", "1"], ["--prompt", "1", "--predictor", "marginal"]):
        said("profile", "--encodings", "64", "--output", str(tmp_path / f"{words[0][2:]}.json"), *words)
    given = json.loads((tmp_path / "given.json").read_text())["provenance"]
    assert given["kl_nats"] != kl  # of latents that are to tell of one token alone


@pytest.mark.thorough
def test_the_average_over_latents_is_a_predictor_like_any_other(run, said, tmp_path):
    output = str(tmp_path / "marginal.json")
    text = said("profile", "--predictor", "marginal", "--encodings", "128", "--output", output)
    assert "Of the average over 16 latents: nothing is added." in text
    assert "kl_nats" not in json.loads((tmp_path / "marginal.json").read_text())["provenance"]


@pytest.mark.thorough
def test_latents_are_drawn_once_or_at_each_step(said, run, capsys):
    words = ["--schedule", "linear", "--steps", "2", "--rows", "8", "--json"]
    once, again, anew = (
        said("sample", *words, *more) for more in ([], ["--latent-draw", "once"], ["--latent-draw", "each-step"])
    )
    assert once == again
    assert (once["latent_draw"], anew["latent_draw"]) == ("once", "each-step")
    assert [row["log_prob"] for row in once["samples"]] != [row["log_prob"] for row in anew["samples"]]
    assert "log-probability along its path given its latent" in said("sample", *words[:-1])
    few = ["linear", "--budgets", "1,2", "--samples", "4"]
    assert "Drawn with one latent for each sample." in said("evaluate", *few)
    assert "Drawn with a latent at each step." in said("evaluate", *few, "--latent-draw", "each-step")
    step = json.loads((run / "log.jsonl").read_text().splitlines()[-1])["step"]
    stores = {path.name for path in (run / "evaluations").iterdir() if path.suffix == ".jsonl"}
    assert stores == {f"step-{step}.jsonl", f"step-{step}-each-step.jsonl"}
    tight = ["--budgets", "1", "--samples", "2", "--grid", "2", "--final-samples", "4", "--latent-draw", "each-step"]
    assert said("race", *tight, "--json")["latent_draw"] == "each-step"
    with_prompt = ["--prompt", "1", "--guidance", "1", "--schedule", "linear", "--steps", "1"]
    said("sample", *with_prompt)
    assert main(["sample", str(run), *with_prompt, "--latent-draw", "each-step"]) == 2
    assert "--guidance cannot be given beside --latent-draw each-step" in capsys.readouterr().err


@pytest.mark.thorough
def test_a_run_without_latents_refuses_what_is_said_of_them(trained, capsys):
    for command, *words in (
        ("profile", "--predictor", "fixed"),
        ("sample", "--latent-draw", "once"),
        ("evaluate", "linear", "--latent-draw", "each-step"),
    ):
        assert main([command, str(trained), *words]) == 2
        assert f"{words[-2]} needs a run with latents (train --latent ...)" in capsys.readouterr().err
    assert main(["sample", str(trained), "--preset", "gidd"]) == 2
    assert "--preset gidd needs a run trained under hybrid noise" in capsys.readouterr().err


@pytest.mark.thorough
def test_the_report_shows_what_a_latent_knows(run, said):
    said("report", "--samples")
    page = (run / "report.html").read_text()
    drawn = json.loads((run / "samples.json").read_text())["latents"]
    assert [len(group) for group in drawn["groups"]] == [4] * 5
    # One row's random numbers: the same order of positions under every latent.
    orders = [[row["reveal_step"] for row in group] for group in drawn["groups"]]
    assert all(order == orders[0] for order in orders)
    part = page[page.index('<h2 id="latents">') : page.index('<h2 id="steps">')]
    assert part.count('<th scope="row">latent ') == 5
    assert f"<strong>{drawn['equal_under_one']:.0%}</strong> of their positions under one latent" in part
    assert "latent surrogate (no bound)" in part
    for name in shapes.MONITORS:
        assert html.escape(section._ABOUT[name][1]) in part
    assert "Held-out fixed-latent bound" in page
    assert "The loss is the latent surrogate (no bound)." in page
    assert "The sums are bounds for sampling with one latent." in page
    marked = re.findall(r"<mark>(.*?)</mark>", part)
    same = [
        row["pieces"][i]
        for group in drawn["groups"]
        for row in group
        for i in range(2)
        if len({one["pieces"][i] for one in group}) == 1
    ]
    assert "".join(marked) == "".join(same)


@pytest.mark.thorough
def test_without_samples_or_monitors_the_section_says_what_makes_them(run, tmp_path):
    place = RunDirectory(tmp_path / "copy")
    place.path.mkdir()
    for name in ("config.json", "log.jsonl"):
        (place.path / name).write_bytes((run / name).read_bytes())
    text = section.knows(run_files.read(place))
    assert f"mdm-jax report {place.path} --samples" in text
    lines = [json.loads(line) for line in place.log.read_text().splitlines()]
    for figures, told in (
        (
            {"held_out_kl_nats": 0.01, "held_out_active_units": 2.0},
            "their KL is 0.010 nats per sequence, with 2 active",
        ),
        ({"held_out_kl_nats": 3.0, "held_out_active_units": 0.0}, "their KL is 3.000 nats per sequence, with 0 active"),
        ({"held_out_kl_nats": 3.0, "held_out_active_units": 2.0}, None),
    ):
        place.log.write_text("".join(json.dumps({**line, **figures}) + "\n" for line in lines))
        text = section.knows(run_files.read(place))
        assert ("The latents have collapsed" in text) == (told is not None)
        assert told is None or told in text
    bare = [{name: value for name, value in line.items() if name not in shapes.MONITORS} for line in lines]
    place.log.write_text("".join(json.dumps(line) + "\n" for line in bare))
    assert "Does the model use its latents?" not in section.knows(run_files.read(place))


def test_a_monitor_is_drawn_from_zero_and_takes_what_is_no_number():
    log = [{"step": step, "held_out_kl_nats": value} for step, value in ((10, 2.0), (20, float("nan")), (30, 1.0))]
    axes = report_charts.monitor(log, "held_out_kl_nats")
    assert axes.get_ylim()[0] == 0
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [2.0, np.nan, 1.0])


@pytest.mark.thorough
def test_hybrid_noise_trains_and_samples_by_its_own_reverse(tmp_path, capsys):
    run = str(tmp_path / "hybrid")
    assert main(["train", run, "--task", PAIRS, "--uniform", "0.2", *TINY]) == 0
    assert "rows of the validation half; hybrid noise, a bound)" in capsys.readouterr().out
    assert main(["sample", run, "--preset", "gidd", "--steps", "4", "--correct", "2", "--rows", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sampler"] == {"name": "gidd", "steps": 4, "correct": 2}
    assert all(row["remaining"] == 0 and row["log_prob"] is None for row in found["samples"])
    for words, sentence in (
        (["--correct", "2"], "--correct must be given beside --preset gidd"),
        (["--preset", "gidd", "--block", "1"], "--block cannot be given beside --preset gidd"),
    ):
        assert main(["sample", run, *words]) == 2
        assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("objective", "figures", "says"),
    [
        (LatentSurrogate(), (0.01, 3.0), "--kl-warmup 1, or --latent-draws 8"),
        (LatentSurrogate(), (2.0, 0.0), "--kl-warmup 1, or --latent-draws 8"),
        (FixedLatentBound(), (0.01, 0.0), "--latent-objective surrogate or stepwise"),
        (LatentSurrogate(), (2.0, 3.0), None),
        (MaskedNelbo(), (None, None), None),
    ],
)
def test_a_collapsed_latent_is_told_of_with_what_helps(objective, figures, says, tmp_path):
    place = RunDirectory(tmp_path)
    write_json(place.config, config_of(models.transformer(2, length=8), objective))
    line = dict(zip(("held_out_kl_nats", "held_out_active_units"), figures, strict=True))
    place.log.write_text(json.dumps({"step": 7, **{k: v for k, v in line.items() if v is not None}}) + "\n")
    told = train._remedy(Run(models.transformer(2, length=8), None, place, Settings(steps=7, length=8), 7, {}))
    assert told is None if says is None else told.endswith(f"In a new directory try {says}.")


@pytest.mark.parametrize(
    ("objective", "latent", "warns"),
    [
        (LatentSurrogate(draws=8), "fixed", True),
        (StepwiseLatentBound(steps=2, draws=2), "fixed", True),
        (LatentSurrogate(draws=8), "marginal", False),
        (LatentSurrogate(), "fixed", False),
    ],
)
def test_costs_given_one_latent_of_a_run_with_several_draws_come_with_a_caution(objective, latent, warns, tmp_path):
    place = RunDirectory(tmp_path)
    write_json(place.config, config_of(models.transformer(2, length=8), objective))
    profile = mdm.theory.profiles.from_values([1.0, 0.5], {"latent": latent})
    told = latents.caution(
        Run(models.transformer(2, length=8), None, place, Settings(steps=7, length=8), 7, {}), profile
    )
    assert (told is not None) == warns
