"""A dead network is noticed and nothing else is taken for one; an explosion that does not come back is told."""

import dataclasses
import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from selecting import thorough_but
from toys import LENGTH, SETTINGS, VOCAB, PatternTask, tiny_transformer

import mdm_jax
from mdm_jax import models
from mdm_jax.app import cli
from mdm_jax.support.stops import Dead, NonFinite
from mdm_jax.training import fit, watch

SHORT = dataclasses.replace(SETTINGS, steps=30, optimizer="adamw", warmup=0.0)
STARTS = {"table": jnp.zeros((VOCAB + 1, VOCAB)), "more": jnp.ones(3)}


def look_up(params, tokens):
    return params["table"][tokens]


def frozen(params, tokens):
    return jax.lax.stop_gradient(params["table"])[tokens]


def partly_frozen(params, tokens):
    return jax.lax.stop_gradient(params["table"])[tokens] + params["more"][None]


def normalised(params, tokens):
    """RMSNorm: a mean square of more than float32 holds makes the whole vector zero, and every gradient with it."""
    hidden = 1e10 * params["table"][tokens]
    return hidden * jax.lax.rsqrt(jnp.mean(hidden**2, axis=-1, keepdims=True) + 1e-6)


def constant(params, tokens):
    """Logits that see nothing."""
    return jnp.broadcast_to(params["table"][:1, None, :], (*tokens.shape, VOCAB))


def train(function, params, task=None, directory=None, **changes):
    settings = dataclasses.replace(SHORT, **changes)
    denoiser = models.from_function(function, VOCAB)
    task = PatternTask() if task is None else task
    return fit(denoiser, task, settings=settings, params=params, directory=directory, progress=False)


def tasks_of(rows):
    """The toy task with other rows."""
    task = PatternTask()
    task.train, task.validation = rows.astype(np.int32), rows[:8].astype(np.int32)
    return task


@pytest.mark.core
def test_a_network_that_died_of_a_step_stops_and_says_so(tmp_path, monkeypatch, capsys):
    """The fault: it ended with status 0 and the figure of a uniform guess."""
    denoiser = models.from_function(normalised, VOCAB)
    arguments = {
        "settings": dataclasses.replace(SHORT, learning_rate=1e10, weight_decay=0.0),
        "params": {"table": 1e-10 * jax.random.normal(jax.random.key(0), (VOCAB + 1, VOCAB))},
        "directory": tmp_path / "run",
        "checkpoint_every": 1,
        "progress": False,
    }
    with pytest.raises(Dead) as caught:
        fit(denoiser, PatternTask(), **arguments)
    # One step is taken; from the second on there is no gradient.
    assert str(caught.value) == (
        "step 6 of 30: the network has died (of too large a step, most likely): the gradient of the last 5 steps is "
        f"exactly zero at {math.log2(VOCAB):.3f} bits per token, a uniform guess has 2.585, so no more steps would "
        f"change anything; of the checkpoints the last good one is 6 in {tmp_path / 'run' / 'checkpoints'}. Start anew "
        "in another directory with a lower learning rate, a longer warmup or other initial parameters."
    )
    assert isinstance(caught.value, NonFinite)
    # What it left is finite, and zero for the masks (no other row is trained). Going on ends likewise.
    params = mdm_jax.load(tmp_path / "run", denoiser, arguments["params"], checkpoint=6).params
    assert np.all(np.isfinite(params["table"]))
    assert not np.any(models.logits(denoiser, params, jnp.full((1, LENGTH), VOCAB, jnp.int32)))
    monkeypatch.setattr("mdm_jax.app.work.training.run", lambda _: fit(denoiser, PatternTask(), **arguments))
    for _ in range(2):
        assert cli.main(["train", str(tmp_path / "run")]) == cli.FAILED
        error = capsys.readouterr().err
        assert "the network has died" in error
        assert "of the checkpoints the last good one is 6 in " in error


@pytest.mark.thorough
def test_a_transformer_at_a_learning_rate_of_a_million_is_not_taken_for_finished():
    """Whether its loss, its update or its gradient goes first is a matter of rounding."""
    settings = dataclasses.replace(SETTINGS, steps=30, learning_rate=1e6, batch=4)
    with pytest.raises(NonFinite):
        fit(tiny_transformer(), PatternTask(), settings=settings, progress=False)


@pytest.mark.core
@pytest.mark.thorough
def test_one_that_dies_in_its_last_steps_is_not_taken_for_finished(tmp_path):
    for _ in range(2):
        with pytest.raises(Dead, match=r"step 2 of 2: .*: the gradient of the last 2 steps is exactly zero"):
            train(normalised, {"table": 1e12 * jnp.ones((VOCAB + 1, VOCAB))}, directory=tmp_path / "run", steps=2)


def test_a_model_whose_loss_does_not_depend_on_its_parameters_has_nothing_to_learn():
    with pytest.raises(Dead, match="step 5 of 30: the loss does not depend on the parameters it started with: the"):
        train(frozen, STARTS)


@pytest.mark.parametrize(
    ("function", "changes"),
    [
        (look_up, {}),
        (constant, {}),
        *thorough_but(
            [],
            [
                (look_up, {"optimizer": "muon"}),
                (look_up, {"compute": "bfloat16"}),
                (look_up, {"learning_rate": 1e-30, "weight_decay": 0.0}),
                (partly_frozen, {}),
            ],
        ),
    ],
)
def test_a_living_network_goes_on(function, changes):
    """From logits of zero; by steps of nothing; in eight bits; with one parameter of many that counts; blind."""
    params = STARTS if function is not partly_frozen else {**STARTS, "more": jnp.linspace(0, 1, VOCAB)[None, :]}
    run = train(function, params, **changes)
    assert run.step == 30


@pytest.mark.thorough
@pytest.mark.core
def test_unigram_data_that_are_learnt_to_their_entropy_are_no_death():
    """Logits that see nothing are then right, and their gradient is noise around zero."""
    rows = np.random.default_rng(0).integers(0, 2, (64, LENGTH))
    start = jnp.tile(jnp.where(jnp.arange(VOCAB) < 2, 0.0, -30.0), (VOCAB + 1, 1))
    run = train(constant, {"table": start, "more": jnp.zeros(3)}, tasks_of(rows), steps=60, learning_rate=1e-3)
    assert run.step == 60


@pytest.mark.core
@pytest.mark.thorough
def test_constant_data_whose_loss_and_gradient_are_gone_are_an_end_and_no_death():
    """Probability 1 in every digit: the loss is 0 and so is the gradient, from the first step on."""
    start = jnp.tile(jnp.where(jnp.arange(VOCAB) == 3, 200.0, 0.0), (VOCAB + 1, 1))
    run = train(look_up, {"table": start, "more": jnp.zeros(3)}, tasks_of(np.full((64, LENGTH), 3)))
    assert run.step == 30
    assert float(run.tally.loss.sum()) == 0.0


@pytest.mark.core
def test_a_gradient_that_comes_back_is_alive_again():
    """Zero for four steps, not for the fifth; and one of zero where there is no loss."""
    loss = np.ones(9)
    assert watch.still(0, loss, np.zeros(9)) == 9
    assert watch.still(0, loss, np.array([0, 0, 0, 0, 1e-30, 0, 0, 0, 0])) == 4
    assert watch.still(3, loss[:1], np.zeros(1)) == 4
    assert watch.still(3, 1e-7 * loss, np.zeros(9)) == 0
    assert [watch.is_dead(count, False) for count in (4, 5)] == [False, True]
    assert [watch.is_dead(count, True) for count in (1, 2)] == [False, True]


def test_an_explosion_that_does_not_come_back_is_told_and_one_that_does_is_not():
    table = 1e4 * jax.random.normal(jax.random.key(0), (VOCAB + 1, VOCAB))
    with pytest.warns(RuntimeWarning, match=r"training ended at \d.* bits per token on its own data, where a uniform"):
        train(look_up, {"table": table, "more": jnp.zeros(3)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # It begins at some 400 bits, and ends where it should.
        run = train(look_up, {"table": table / 50, "more": jnp.zeros(3)}, steps=400, learning_rate=5.0)
    assert run.step == 400
