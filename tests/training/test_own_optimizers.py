"""Any Optax transformation trains, is told of the loss, goes on bitwise, and is refused in another's place."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from toys import SETTINGS, VOCAB, PatternTask

import mdm_jax
from mdm_jax import models
from mdm_jax.support.errors import InputError
from mdm_jax.training import RunDirectory, Settings, fit
from mdm_jax.training.checkpoints import manifest

PLAIN = dataclasses.replace(SETTINGS, steps=40, weight_decay=0.0)


def look_up(params, tokens):
    return params["table"][tokens]


DENOISER = models.from_function(look_up, VOCAB)
NONE = '^optimizer must be "adamw", "muon" or any optax.GradientTransformation'


class Unhashable:
    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __call__(self, *_):
        raise NotImplementedError


def train(**more):
    untyped = getattr(fit, "__wrapped__", fit)  # without jaxtyping's checks, which only tests have
    arguments = {"settings": PLAIN, "progress": False, "params": {"table": jnp.zeros((VOCAB + 1, VOCAB))}}
    return untyped(DENOISER, PatternTask(), **arguments | more)


def same(one, two):
    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)
    return all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in leaves)


@pytest.mark.core
@pytest.mark.thorough
def test_the_recipe_written_by_hand_is_the_recipe():
    """What ``settings`` say of AdamW, given as a transformation: the same steps, EMA and all."""
    settings = dataclasses.replace(PLAIN, optimizer="adamw", learning_rate=0.01)
    warm = round(settings.warmup * settings.steps)

    def rate(count):
        rise, fall = (count + 1) / max(1, warm), (settings.steps - count) / (settings.steps - warm)
        return 0.01 * jnp.clip(jnp.minimum(rise, fall), 0, 1)

    by_hand = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, b1=0.9, b2=0.98, weight_decay=0.0))
    np.testing.assert_allclose(
        train(optimizer=by_hand).params["table"], train(settings=settings).params["table"], atol=1e-6
    )
    assert same(train(optimizer="adamw").params, train(settings=dataclasses.replace(PLAIN, optimizer="adamw")).params)


@pytest.mark.core
def test_a_run_of_ones_own_goes_on_bitwise_and_refuses_another_shape(tmp_path):
    def halt(step, _):
        if step == 20:
            raise RuntimeError("enough")

    adam = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.05))
    whole, directory = train(optimizer=adam), tmp_path / "run"
    with pytest.raises(RuntimeError, match="enough"):
        train(optimizer=adam, directory=directory, on_report=halt)
    config = json.loads(RunDirectory(directory).config.read_text())
    assert config["settings"]["optimizer"] == "own"
    assert config["optimizer"]["state"] == ["EmptyState", "ScaleByAdamState", "EmptyState"]
    assert config["optimizer"]["arrays"] == 3
    with pytest.raises(InputError, match=r"holds a run that differs in optimizer state .*, optimizer arrays"):
        train(optimizer=optax.sgd(0.05, momentum=0.9), directory=directory)
    with pytest.raises(InputError, match=r'differs in optimizer \("own", not "muon"\)'):
        train(directory=directory)
    own = dataclasses.replace(PLAIN, optimizer="own")
    with pytest.raises(
        InputError, match=r"optimizer must be given where, and only where, settings\.optimizer is 'own'"
    ):
        train(settings=own, directory=directory)
    assert same(train(optimizer=adam, directory=directory).params, whole.params)
    assert same(mdm_jax.load(directory, DENOISER, {"table": jnp.zeros((VOCAB + 1, VOCAB))}).params, whole.params)


@pytest.mark.core
@pytest.mark.thorough
def test_a_transformation_that_asks_for_the_loss_gets_it():
    seen = optax.GradientTransformationExtraArgs(
        lambda params: jnp.zeros(()), lambda updates, state, params=None, *, value, **_: (updates, value)
    )
    kept = []
    run = train(optimizer=optax.chain(optax.sgd(0.0), seen), on_report=lambda _, figures: kept.append(figures))
    assert same(run.params, {"table": np.zeros((VOCAB + 1, VOCAB))})  # a rate of 0 moves nothing
    assert kept[0]["train_bits_per_token"] == pytest.approx(np.log2(VOCAB), rel=1e-5)
    plateau = optax.chain(optax.adam(0.05), optax.contrib.reduce_on_plateau(patience=5))
    assert np.any(np.asarray(train(optimizer=plateau).params["table"]) != 0)


def test_the_loss_is_given_where_it_is_taken_and_nowhere_else():
    """Optax's sharpness-aware minimisation takes other arguments than the loss, by name, and no others."""
    sam = optax.contrib.sam(optax.sgd(0.5), optax.sgd(0.1), sync_period=2)
    assert train(optimizer=sam).step == PLAIN.steps
    sgd = optax.sgd(0.5)
    strict = optax.GradientTransformationExtraArgs(sgd.init, lambda updates, state, params: sgd.update(updates, state))
    assert same(train(optimizer=strict).params, train(optimizer=sgd).params)


def made(update):
    return optax.GradientTransformation(lambda params: jnp.zeros(()), update)


@pytest.mark.core
@pytest.mark.parametrize(
    ("optimizer", "says"),
    [
        (optax.lbfgs(), r"the loss \(as value\); this one fails: .* missing 2 .*'grad' and 'value_fn'"),
        (optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.1), opaque_mode=True), "fails: grad_fn must be provided"),
        (optax.chain(optax.clip(1.0), optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.1))), "unexpected .* 'value'"),
        (made(lambda updates, state, params: (updates, (state, state))), "this one fails: "),
        (made(lambda updates, state, params: (updates["table"], state)), "this one fails: "),
        (
            made(lambda updates, state, params: (updates, jnp.zeros(3))),
            r"whose update keeps shapes and types: float32 of shape \(\) at .*; got float32 of shape \(3,\)",
        ),
    ],
)
def test_what_cannot_move_the_parameters_is_refused_before_anything_is_written(optimizer, says, tmp_path):
    with pytest.raises(InputError, match=f"^optimizer must be .*{says}"):
        train(optimizer=optimizer, directory=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.core
@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"optimizer": "sgd"}, f"{NONE}; got 'sgd'"),
        ({"optimizer": optax.adam}, f"{NONE}; got <function adam"),
        ({"optimizer": "own"}, f"{NONE}; got 'own'"),
        (
            {"settings": dataclasses.replace(PLAIN, optimizer="own")},
            "optimizer must be given where, and only where, settings.optimizer is 'own'",
        ),
        ({"on_report": 3}, "on_report must be a function of step and figures; got 3"),
        (
            {"optimizer": optax.adam(0.1), "settings": dataclasses.replace(PLAIN, learning_rate=0.1)},
            "learning_rate must be left out where the optimizer is one of your own; got 0.1",
        ),
        (
            {"optimizer": optax.GradientTransformation(Unhashable(), Unhashable())},
            "optimizer must be of hashable functions",
        ),
    ],
)
def test_what_is_no_optimizer_is_refused(more, says, tmp_path):
    with pytest.raises(InputError, match=says):
        train(directory=tmp_path / "run", **more)
    assert not (tmp_path / "run").exists()


def test_reports_are_told_as_they_are_logged_and_what_a_caller_raises_loses_nothing(tmp_path):
    told, directory = [], tmp_path / "run"

    def tell(step, figures):
        told.append({"step": step, **figures})
        if step == 30:
            raise KeyError("a caller's own")

    arguments = {"settings": dataclasses.replace(PLAIN, optimizer="adamw"), "report_every": 10}
    with pytest.raises(KeyError, match="a caller's own"):
        train(directory=directory, on_report=tell, **arguments)
    assert told == RunDirectory(directory).read_log()
    assert [line["step"] for line in told] == [10, 20, 30]
    with RunDirectory(directory).open_checkpoints() as checkpoints:
        assert checkpoints.latest() == 30
    said = manifest.read(directory / "checkpoints" / "30")
    assert said.figure == told[-1]["held_out_bits_per_token"]
    run = train(directory=directory, on_report=tell, **arguments)
    assert [line["step"] for line in told] == [10, 20, 30, 40]  # what was told is not told again
    assert told == RunDirectory(directory).read_log()
    assert same(run.params, train(**arguments).params)
    with pytest.raises(KeyError):
        train(on_report=lambda *_: {}["missing"])


@pytest.mark.core
def test_settings_say_which_optimizers_they_can_name():
    with pytest.raises(InputError, match=r"^optimizer must be adamw or muon; got 'sgd'"):
        Settings(optimizer="sgd")


@pytest.mark.few(1)
@pytest.mark.parametrize("form", [lambda given: given, lambda given: given.gradient_transformation()])
def test_gradients_gathered_over_steps_go_on_bitwise_from_between_two_moves(form, tmp_path):
    """Three steps make a move, and the run stops after 20: two thirds of a gradient are in the checkpoint."""

    def halt(step, _):
        if step == 20:
            raise RuntimeError("enough")

    arguments = {"optimizer": form(optax.MultiSteps(optax.adam(0.05), every_k_schedule=3)), "report_every": 20}
    whole, directory = train(**arguments), tmp_path / "run"
    with pytest.raises(RuntimeError, match="enough"):
        train(directory=directory, on_report=halt, **arguments)
    assert same(whole.params, train(directory=directory, **arguments).params)
    assert not same(whole.params, train(optimizer=optax.adam(0.05)).params)


@pytest.mark.thorough
def test_settings_of_ones_own_say_nothing_that_is_not_done():
    assert Settings(optimizer="own").optimizer == "own"
    for name in ("learning_rate", "adam_fraction", "warmup", "weight_decay", "clip"):
        with pytest.raises(InputError, match=f"{name} must be left out where the optimizer is one of your own"):
            Settings(optimizer="own", **{name: 0.25 if name != "adam_fraction" else 0.5})
