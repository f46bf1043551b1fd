"""Kinds of models on the command line: which options go together, what is kept, measured, drawn, said and refused."""

import dataclasses
import json
import re

import pytest
from stories import ENCODINGS, TINY, TUNING

from mdm_jax import models, tasks
from mdm_jax.app.cli import main, make_parser
from mdm_jax.app.options import common
from mdm_jax.app.options import models as kinds
from mdm_jax.app.options.recipes import RECIPES, settings_and_model
from mdm_jax.app.report import run_files
from mdm_jax.evaluation.tuning import ROLES
from mdm_jax.footprint import KINDS
from mdm_jax.training import RunDirectory, Settings, objectives
from mdm_jax.training.runs import own_part

ASKED = {
    "bidirectional": ({"model": "bidirectional"}, "transformer", {"name": "masked NELBO"}),
    "any_order": ({"model": "any_order"}, "any-order transformer",
                  {"name": "any-order NELBO", "ordered": 0.0, "block": 1, "progressive": False}),
    "ordered": ({"model": "any_order", "ordered": 0.5, "order_block": 2, "progressive": True}, "any-order transformer",
                {"name": "any-order NELBO", "ordered": 0.5, "block": 2, "progressive": True}),
    "block_causal": ({"model": "block_causal", "block": 4}, "block-causal transformer", {"name": "block NELBO"}),
    "latent": ({"latent": "global"}, "latent transformer",
               {"name": "latent surrogate", "warmup": 1.0, "free_bits": 0.0, "draws": 1}),
}  # fmt: skip


@pytest.fixture(scope="module")
def task():
    return tasks.from_spec("blocks:0.5")


def made(said, task, there=None, usual="bidirectional"):
    chosen = kinds.merged(said, there or {}, usual)
    model = kinds.model_of(chosen, task, {"width": 16, "depth": 1, "heads": 2})
    return model, kinds.objective_of(chosen, task.length)


def config_of(denoiser, objective):
    return json.loads(json.dumps({
        "model": models.describe(denoiser), "settings": dataclasses.asdict(Settings(steps=7, length=8)),
        "objective": {**objective.describe(), "is_bound": objective.is_bound},
    }))  # fmt: skip


@pytest.mark.parametrize("kind", ASKED)
def test_options_make_a_model_and_an_objective_and_are_read_back_from_the_run(kind, task):
    said, family, described = ASKED[kind]
    model, objective = made(said, task)
    assert ((models.describe(model) or {})["family"], objective.describe()) == (family, described)
    config = config_of(model, objective)
    assert made({}, task, kinds.of_run(config)) == (model, objective)
    assert own_part(config, Settings(steps=7, length=8)) is None
    assert objectives.from_description(config["objective"]) == objective


def test_the_recipe_says_the_kind_where_nothing_else_does(task):
    assert made({}, task, usual="any_order") == made({"model": "any_order"}, task)
    # Latents are asked for: there is one kind of model that can have them, whatever is usual and whatever is there.
    there = kinds.of_run(config_of(*made(ASKED["ordered"][0], task)))
    assert made({"latent": "global"}, task, there, "any_order") == made({"latent": "global"}, task)
    assert made({"ordered": 0.1}, task, there) == made(
        {"model": "any_order", "ordered": 0.1, "order_block": 2, "progressive": True}, task
    )
    for recipe, values in RECIPES.items():
        steps = {kind: settings_and_model(recipe, task, {}, {"model": kind})[0].steps for kind in common.MODELS}
        assert steps == values["steps"]
        assert settings_and_model(recipe, task, {"steps": 7})[0].steps == 7
        assert settings_and_model(recipe, task, {})[1] == settings_and_model(
            recipe, task, {}, {"model": values["model"]}
        )[1]  # fmt: skip


def test_the_words_of_the_options_are_those_of_the_library():
    assert set(common.MODELS) == set(KINDS) == {"bidirectional", "any_order", "block_causal"}
    assert {values["model"] for values in RECIPES.values()} <= set(common.MODELS)
    for command in (["train", "D"], ["demo"]):
        options = make_parser().parse_args(command)
        assert set(kinds.NAMES) <= set(vars(options))
        assert kinds.said_by(options) == {}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--model", "any_order", "--latent", "global"], "--latent cannot be given beside --model any_order"),
        (["--model", "block_causal", "--uniform", "0.1"], "--uniform cannot be given beside --model block_causal"),
        (["--model", "bidirectional", "--ordered", "0.1"], "--ordered must be given beside --model any_order"),
        (["--model", "block_causal", "--progressive"], "--progressive must be given beside --model any_order"),
        (["--model", "any_order", "--block", "4"], "--block must be given beside --model block_causal"),
        (["--model", "any_order", "--order-block", "4"], "--order-block must be given beside --ordered above 0"),
        (["--model", "any_order", "--ordered", "0", "--progressive"], "--progressive must be given beside --ordered"),
        (["--model", "any_order", "--ordered", "nan"], "--ordered must be a share of the rows, from 0 to 1"),
        (["--model", "any_order", "--ordered", "1", "--order-block", "0"], "--order-block must be from 1 to"),
        (["--model", "any_order", "--ordered", "1", "--order-block", "8"], "--order-block must be less than 4"),
        (["--model", "block_causal", "--block", "0"], "--block must be at least 1"),
        (["--model", "block_causal", "--block", "9"], "--block must be at most 4, the length"),
    ],
)  # fmt: skip
def test_what_does_nothing_or_cannot_be_is_refused(words, sentence, tmp_path, capsys):
    assert main(["train", str(tmp_path / "run"), "--task", "blocks:0.5", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"mdm-jax: {sentence}")
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


# A tiny run of either kind, and what all the commands make of it.


@pytest.fixture(scope="module", params=["any_order", "block_causal"])
def run(request, story, tmp_path_factory):
    directory = tmp_path_factory.mktemp("kinds") / request.param
    words = ["--task", f"text:{story}", *TINY, "--model", request.param]
    if request.param == "any_order":  # all in one go
        assert main(["demo", "--directory", str(directory), *words, *ENCODINGS, *TUNING]) == 0
        return directory
    assert main(["train", str(directory), *words, "--block", "8"]) == 0
    assert main(["profile", str(directory), *ENCODINGS]) == 0
    assert main(["tune", str(directory), *TUNING]) == 0
    return directory


@pytest.fixture
def said(run, capsys):
    """``mdm-jax COMMAND RUN ...``: what it printed, or the JSON of it; or what it refused."""

    def call(command, *words, refused=False):
        capsys.readouterr()
        assert main([command, str(run), *words]) == (2 if refused else 0)
        out, err = capsys.readouterr()
        if refused:
            assert err.count("\n") == 1, err
            return err
        return json.loads(out) if "--json" in words else out

    return call


@pytest.fixture
def causal(run):
    return run.name == "block_causal"


@pytest.mark.thorough
def test_a_run_goes_on_as_it_is_and_another_model_is_refused(run, said, causal, capsys):
    objective = "block NELBO" if causal else "any-order NELBO"
    assert f"rows of the validation half; {objective})" in said("train")
    family = "block-causal transformer" if causal else "any-order transformer"
    assert said("train", "--model", run.name, "--json")["step"] == 60
    told = said("train", "--model", "bidirectional", refused=True)
    assert f'differs in model family ("{family}", not "transformer")' in told
    assert "differs in model family" in said("train", "--latent", "global", refused=True)


@pytest.mark.thorough
def test_predictions_hold_and_say_what_they_are_of(run, said, causal):
    text = said("profile", *ENCODINGS)
    assert ("Of a block of 8 tokens" if causal else "In uniformly random order") in text
    assert f"model ({'block' if causal else 'any-order'} NELBO)" in text
    assert "--estimator must be loss" in said("profile", "--estimator", "increments", refused=True)
    tuned = said("tune", *TUNING, "--json")
    assert tuned["length"] == (8 if causal else 16)
    for entry in (entry for budget in tuned["budgets"] for entry in budget["plans"]):
        assert abs(entry["checked"]["z"]) < 4  # four standard errors of 32 rows
    assert ("those of one block of 8 tokens" in said("tune", *TUNING)) == causal


@pytest.mark.thorough
def test_samples_follow_the_run_s_own_plans(said, causal):
    for line in ("", "--prompt the", "--infill the□□□sat", "--preset best", "--top-k 5",
                 "--order margin --schedule linear", "--guidance 0.5 --prompt the"):  # fmt: skip
        words = line.split()
        drawn = said("sample", "--steps", "4", "--rows", "2", "--json", *words)
        assert [row["remaining"] for row in drawn["samples"]] == [0, 0], words
        calls = (2 if "--guidance" in words else 1) * (8 if causal else 4)
        assert max(row["nfe"] for row in drawn["samples"]) <= calls, words
        assert drawn["sampler"].get("blocks_of") == (8 if causal else None)
    text = said("sample", "--steps", "4", "--rows", "1")
    plan = r"random order, plan optimal \(plans/optimal-4\.json\), \d steps?"
    assert re.match(f"{plan} in each block, blocks of 8\n" if causal else f"{plan}\n", text)
    assert bool(re.search(r"── sample 0: nfe \d in 2 blocks, log-prob", text)) == causal
    for preset in ("mdlm", "llada", "eb"):
        assert said("sample", "--preset", preset, "--rows", "1", "--json")["samples"][0]["remaining"] == 0
    assert "step" in said("sample", "--steps", "2", "--rows", "1", "--replay", "--replay-seconds", "0")


@pytest.mark.thorough
def test_what_cannot_be_drawn_is_refused_with_a_way_out(run, said, causal):
    told = said("sample", "--preset", "remdm", refused=True)
    assert (
        f"--preset remdm masks tokens again, but the model of {run} keeps what it made of them. Take --preset" in told
    )
    assert "--preset gidd needs a run trained under hybrid noise" in said("sample", "--preset", "gidd", refused=True)
    if causal:
        assert "--block must be left out, or 8 as the blocks of this" in said("sample", "--block", "4", refused=True)
        assert "--steps must be from 1 to 8, the length of a block" in said("sample", "--steps", "9", refused=True)
        assert "--order must be another than left_to_right" in said("sample", "--order", "left_to_right", refused=True)
        assert "--given must be left out" in said("profile", "--given", "2", refused=True)
        assert said("sample", "--block", "8", "--steps", "2", "--json") == said("sample", "--steps", "2", "--json")


@pytest.mark.thorough
def test_schedules_are_compared_and_raced(said, causal):
    table = said("evaluate", "linear", "sine", "--budgets", "2,4", "--samples", "4", "--json")
    assert table["length"] == 16
    told = "Steps are those of each block of 8 tokens; nfe is that of all 2 blocks of a sequence."
    assert (told in said("evaluate", "linear", "sine", "--budgets", "2,4", "--samples", "4")) == causal
    tight = ["--budgets", "2", "--samples", "2", "--grid", "2", "--final-samples", "4", "--json"]
    (race,) = said("race", *tight)["races"]
    assert sum(race["plan"]["sizes"]) == (8 if causal else 16)


@pytest.mark.thorough
def test_the_report_says_what_is_kept_and_what_steps_cost(run, said, causal):
    said("report", "--samples")
    page = (run / "report.html").read_text()
    kind, kept = (
        ("a block-causal", "those of one block")
        if causal
        else ("an any-order", "a further step costs a fraction of one encoding")
    )
    assert f"{kind} transformer for sequences of 16 tokens" in page
    assert f"<strong>{kept}</strong>" in page
    assert re.search(r"Here 16 samples took <strong>[\d.e-]+ s</strong> in 2 steps", page)
    samples = run_files.read(RunDirectory(run)).samples or {}
    tuned = [panel for panel in samples["panels"] if panel["role"] in ROLES]
    assert tuned
    assert all(panel["seconds"] > 0 for panel in tuned)


@pytest.mark.thorough
def test_the_footprint_tells_the_cache(run, said, capsys):
    found = json.loads(_footprint(run, capsys, "--json"))
    assert found["cache_bytes_per_sequence"] == sum(line["bytes"] for line in found["cache"]) > 0
    assert "for each sequence of 16 tokens that is drawn. Exact." in _footprint(run, capsys)
    assert main(["footprint", "--model", str(run), "--kind", "any_order"]) == 2
    assert "--kind must be given beside a size by name" in capsys.readouterr().err


def _footprint(run, capsys, *words):
    capsys.readouterr()
    assert main(["footprint", "--model", str(run), "--no-compile", *words]) == 0
    return capsys.readouterr().out
