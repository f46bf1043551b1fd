"""Objectives as values: contexts reach the denoiser, what else is logged, what a run goes on with and with what not."""

import dataclasses
import json
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import LENGTH, SETTINGS, VOCAB, PatternTask

import mdm_jax
from mdm_jax import models
from mdm_jax.support.devices import make_mesh
from mdm_jax.support.errors import InputError
from mdm_jax.theory import schedules
from mdm_jax.training import Losses, MaskedNelbo, RunDirectory, fit, mask_times, nelbo

CLASSES = 3
BLIND = np.log2(VOCAB)
"""Bits per token of rows whose tokens are all alike, to a model that sees neither tokens nor class: 2.58."""


class ClassTask(PatternTask):
    """Rows of one class have two tokens of their own, independent coins: 1 bit per token to who knows the class."""

    def __init__(self):
        generator = np.random.default_rng(0)
        self.classes = {name: generator.integers(0, CLASSES, rows) for name, rows in (("train", 240), ("held", 60))}
        rows = {
            name: (2 * one[:, None] + generator.integers(0, 2, (len(one), LENGTH))).astype(np.int32)
            for name, one in self.classes.items()
        }
        self.train, self.validation, self.test = rows["train"], rows["held"], rows["held"]

    @property
    def known(self):
        return tuple({"class": self.classes[name]} for name in ("train", "held"))


def by_class(params, tokens, context):
    """Logits by the class alone."""
    return jnp.broadcast_to(params["table"][context["class"]][:, None, :], (*tokens.shape, VOCAB))


DENOISER = models.from_function(by_class, VOCAB)
SHORT = dataclasses.replace(SETTINGS, steps=100, optimizer="adamw", learning_rate=0.1, weight_decay=0.0)
BARE = {"settings": SHORT, "progress": False}


class Other(MaskedNelbo):
    """The same under another name."""

    def describe(self):
        return {"name": "other"}


def table():
    return {"table": jnp.zeros((CLASSES, VOCAB))}


def train(denoiser=DENOISER, **more):
    task, untyped = ClassTask(), getattr(fit, "__wrapped__", fit)  # without jaxtyping's checks, which only tests have
    return untyped(denoiser, task, **BARE | {"params": table(), "context": task.known} | more)


def same(one, two):
    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)
    return all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in leaves)


def figure(run):
    return run.place.read_log()[-1]["held_out_bits_per_token"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return train(directory=tmp_path_factory.mktemp("runs") / "plain")


def test_a_class_conditional_model_reaches_what_only_the_class_can_give(plain, tmp_path):
    assert figure(plain) == pytest.approx(1.0, abs=0.05)
    shuffled = [{"class": np.random.default_rng(1).permutation(part["class"])} for part in ClassTask().known]
    other = train(context=shuffled, directory=tmp_path / "run")
    assert figure(other) > BLIND - 0.1  # of a class that says nothing nothing is learnt
    profile = mdm_jax.estimate_profile(
        DENOISER, plain.params, ClassTask().test[ClassTask().classes["held"] == 1], encodings=64, key=jax.random.key(0),
        context={"class": jnp.ones(1, jnp.int32)},
    )  # fmt: skip
    assert profile.nelbo() / np.log(2) / LENGTH == pytest.approx(1.0, abs=0.1)


@pytest.mark.core
@pytest.mark.parametrize(
    ("how", "changes"),
    [({"devices": 1}, {}), ({"mesh": {"data": 1}}, {}), ({}, {"accumulate": 2}), ({"devices": 1}, {"accumulate": 4})],
)
@pytest.mark.thorough
def test_contexts_go_along_in_every_way_and_part_by_part(plain, how, changes):
    how = {name: make_mesh(value) if name == "mesh" else value for name, value in how.items()}
    run = train(settings=dataclasses.replace(SHORT, **changes), **how)
    np.testing.assert_allclose(run.params["table"], plain.params["table"], atol=2e-5)
    np.testing.assert_allclose(run.tally.loss, plain.tally.loss, atol=1e-3)


@pytest.mark.core
def test_such_a_run_goes_on_bitwise_and_with_no_other_data_or_objective(plain, tmp_path):
    class Stop(Exception):
        pass

    def stop(step, _):
        if step == 30:
            raise Stop

    directory = tmp_path / "run"
    with pytest.raises(Stop):
        train(directory=directory, on_report=stop)
    assert mdm_jax.load(directory, DENOISER, table()).step == 30
    other = tuple({"class": (part["class"] + 1) % CLASSES} for part in ClassTask().known)
    with pytest.raises(InputError, match="holds a run that differs in context;"):
        train(directory=directory, context=other)
    wider = tuple({"class": np.eye(CLASSES)[part["class"]]} for part in ClassTask().known)
    for context, model in ((wider, by_one_hot), (None, lookup)):  # what the model is shown is another too
        with pytest.raises(InputError, match="holds a run that differs in context;"):
            train(models.from_function(model, VOCAB), directory=directory, context=context)
    with pytest.raises(InputError, match=r'differs in objective name \("masked NELBO", not "other"\)'):
        train(directory=directory, objective=Other())
    assert same(train(directory=directory).params, plain.params)


def test_runs_that_name_no_objective_are_the_nelbos(tmp_path):
    directory = tmp_path / "run"
    settings = dataclasses.replace(SHORT, steps=2)
    denoiser = models.from_function(lookup, VOCAB)
    arguments = {"params": {"table": jnp.zeros((VOCAB + 1, VOCAB))}, "settings": settings, "progress": False}
    fit(denoiser, PatternTask(), directory=directory, **arguments)
    path = RunDirectory(directory).config
    config = json.loads(path.read_text())
    assert config["objective"] == {"name": "masked NELBO", "is_bound": True}
    assert not config.keys() & {"context", "shown", "optimizer"}
    del config["objective"]
    path.write_text(json.dumps(config))
    for manifest in directory.rglob("manifest.json"):
        manifest.unlink()  # it names the other config.json
    path.write_text(json.dumps(config | {"manifests": False}))
    assert fit(denoiser, PatternTask(), directory=directory, **arguments).step == 2
    with pytest.raises(InputError, match=r'differs in objective name \("masked NELBO", not "other"\)'):
        fit(denoiser, PatternTask(), directory=directory, objective=Other(), **arguments)


def lookup(params, tokens):
    return params["table"][tokens]


def by_one_hot(params, tokens, context):
    return jnp.broadcast_to((context["class"] @ params["table"])[:, None, :], (*tokens.shape, VOCAB))


@dataclasses.dataclass(frozen=True)
class Timed:
    """A model that is told the time: it makes contexts itself, logs a term, tallies nothing and is no bound."""

    power: float = 1.0
    is_bound: ClassVar[bool] = False
    terms: ClassVar[tuple[str, ...]] = ("hidden", "progress")

    def describe(self):
        return {"name": "timed", "power": self.power}

    def context(self, given):
        assert given is None
        return jnp.zeros((1,), jnp.float32)

    def corrupt(self, key, denoiser, examples, progress):
        rows = examples.tokens.shape[0]
        corrupted = mask_times(key, examples.tokens, denoiser.mask_id, schedules.linear())
        time = jnp.mean(corrupted.masked.astype(jnp.float32), axis=-1)
        return {"corrupted": corrupted, "time": time, "progress": jnp.broadcast_to(progress, (rows,))}

    def losses(self, denoiser, params, examples, corrupted):
        loss = nelbo(denoiser, params, examples.tokens, corrupted["corrupted"], corrupted["time"])
        hidden = jnp.sum(corrupted["corrupted"].masked.astype(jnp.float32), axis=-1)
        return Losses(loss**self.power, {"hidden": hidden, "progress": corrupted["progress"]})


def told_the_time(params, tokens, context):
    return params["table"][tokens] + context[:, None, None] * params["late"][None, None]


@pytest.mark.core
@pytest.mark.thorough
def test_an_objective_of_ones_own_makes_contexts_logs_terms_and_tallies_as_it_says(tmp_path, capsys):
    """All that latents, times and hybrid noise need: and the same step, accumulated, on a mesh, resumed."""
    denoiser = models.from_function(told_the_time, VOCAB)
    params = {"table": jnp.zeros((VOCAB + 1, VOCAB)), "late": jnp.zeros(VOCAB)}
    arguments = {"params": params, "settings": SHORT, "objective": Timed()}
    run = fit(denoiser, PatternTask(), directory=tmp_path / "run", **arguments)
    assert "bits/token (no bound)" in capsys.readouterr().err
    log = run.place.read_log()
    assert np.all(np.asarray(run.params["late"]) != 0)  # it is moved by what the time has to do with the tokens
    # Per token and in bits, as everything in the log: the mean mask of a linear schedule is a half.
    assert np.mean([line["train_hidden"] for line in log]) == pytest.approx(0.5 / np.log(2), abs=0.05)
    # Progress is that of the step before the report's, on average half way back to the last one; held out it is 1.
    scale = LENGTH * np.log(2)
    for line in log:
        assert line["train_progress"] * scale == pytest.approx((line["step"] - 3) / SHORT.steps, abs=1e-5)
        assert line["held_out_progress"] * scale == pytest.approx(1, rel=1e-5)
    with pytest.raises(InputError, match="this run has no training profile"):
        _ = run.training_profile
    assert not run.place.training_profile.exists()
    assert same(mdm_jax.load(tmp_path / "run", denoiser, params).params, run.params)
    arguments["settings"] = dataclasses.replace(SHORT, accumulate=2)
    parts = fit(denoiser, PatternTask(), mesh=make_mesh({"data": 1}), progress=False, **arguments)
    for one, two in zip(jax.tree.leaves(parts.params), jax.tree.leaves(run.params)):
        np.testing.assert_allclose(one, two, atol=2e-4)
    with pytest.raises(InputError, match=r"differs in objective power \(1.0, not 2.0\)"):
        fit(
            denoiser,
            PatternTask(),
            directory=tmp_path / "run",
            **arguments | {"objective": Timed(2.0), "settings": SHORT},
        )


@pytest.mark.core
@pytest.mark.thorough
def test_a_transformer_with_a_context_is_rebuilt_by_load_and_asks_for_one(tmp_path):
    task = ClassTask()
    denoiser = models.transformer(VOCAB, length=LENGTH, width=16, depth=1, heads=2)
    context = tuple(np.eye(CLASSES)[part["class"]] for part in task.known)
    settings = dataclasses.replace(SETTINGS, steps=4, optimizer="adamw", learning_rate=1e-2)
    run = fit(denoiser, task, directory=tmp_path / "run", settings=settings, context=context, progress=False)
    found = mdm_jax.load(tmp_path / "run")
    assert found.denoiser == denoiser
    assert same(found.params, run.params)
    tokens = jnp.asarray(task.test[:2])
    assert models.logits(denoiser, found.params, tokens, jnp.eye(CLASSES)[:2]).shape == (2, LENGTH, VOCAB)
    with pytest.raises(InputError, match="context must be given, as this model's parameters were made for one"):
        models.logits(denoiser, found.params, tokens)


@pytest.mark.core
def test_contexts_that_do_not_fit_are_refused():
    task = ClassTask()
    train_classes, held = (part["class"] for part in task.known)
    for context, says in (
        ((train_classes[1:], held), "context must be of 240 rows, as many as task.train has; got shapes"),
        ((train_classes, held[1:]), "context must be of 60 rows, as many as task.validation has; got shapes"),
        ((train_classes, np.eye(CLASSES)[held]), "context must be of one structure, shape and type; got"),
        ((train_classes, np.float32(3)), "context must be of 60 rows"),
        ((np.full(240, np.nan), np.zeros(60)), "context must be of finite numbers"),
        ((np.full(240, 2**40), np.zeros(60, int)), "context must be of whole numbers that 32 bits hold"),
        ((["a"] * 240, ["a"] * 60), "context must be of numbers"),
        (({}, {}), "context must be of 240 rows"),
        (train_classes, r"context must be \(train, validation\): two pytrees of arrays"),
    ):
        with pytest.raises(InputError, match=says):
            train(context=context)
    task = ClassTask()
    task.train = task.train.ravel()
    with pytest.raises(InputError, match="context must be left out: the windows of a stream"):
        fit(DENOISER, task, params=table(), context=task.known, **BARE)


class Twice(MaskedNelbo):
    """Tallies every row twice, as an objective does that predicts at several numbers of revealed tokens at once."""

    def losses(self, *given):
        one = super().losses(*given)
        twice = {name: jnp.stack([getattr(one, name)] * 2, axis=1) for name in ("revealed", "cost", "weight")}
        return one._replace(**twice)


@pytest.mark.core
@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.thorough
def test_a_row_may_be_tallied_at_several_counts(plain, accumulate):
    run = train(objective=Twice(), settings=dataclasses.replace(SHORT, accumulate=accumulate))
    np.testing.assert_allclose(run.tally.weight, 2 * plain.tally.weight, rtol=1e-5)
    np.testing.assert_allclose(run.tally.loss, 2 * plain.tally.loss, rtol=1e-3)


class Mean(MaskedNelbo):
    """One number for all rows."""

    def losses(self, *given):
        return Losses(jnp.mean(super().losses(*given).loss), {})


class Nameless(MaskedNelbo):
    def losses(self, *given):
        return Losses(super().losses(*given).loss, {"more": jnp.zeros(SHORT.batch)})


class Half(MaskedNelbo):
    def losses(self, *given):
        return super().losses(*given)._replace(cost=None)


class Number(MaskedNelbo):
    def losses(self, *given):
        return super().losses(*given).loss


@pytest.mark.core
@pytest.mark.parametrize(
    ("objective", "says"),
    [
        (MaskedNelbo, "objective must be an objective, as training.MaskedNelbo"),
        ("nelbo", "objective must be an objective, as training.MaskedNelbo"),
        (Mean(), r"objective.losses must be of shape \(16,\), one number for each row; got loss of shape \(\)"),
        (Nameless(), "objective.losses must be terms by the names that objective.terms says: none; got those of more"),
        (Half(), "objective.losses must be both of revealed and cost, or neither"),
        (Number(), "objective.losses must be a function that returns training.Losses"),
    ],
)
def test_what_is_no_objective_is_refused_before_anything_is_written(objective, says, tmp_path):
    with pytest.raises(InputError, match=says):
        train(objective=objective, directory=tmp_path / "run")
    assert not (tmp_path / "run").exists()
