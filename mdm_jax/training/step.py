"""One training step: a pure function of (state, data). Every way of running it compiles this same function."""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int

from mdm_jax.models.denoiser import Denoiser, Initialisable, Params
from mdm_jax.models.parameters import joined, parted
from mdm_jax.support.errors import require
from mdm_jax.support.keys import key_of
from mdm_jax.training import batches, tally
from mdm_jax.training.corruption import Corrupted, mask_counts
from mdm_jax.training.devices.rows import TOGETHER, Rows
from mdm_jax.training.losses import nelbo
from mdm_jax.training.optimizer import optimizer_of
from mdm_jax.training.settings import Settings
from mdm_jax.training.tally import Tally

BLOCK = 10
"""Steps per compiled call: what Ctrl-C waits for, and what a progress bar moves by."""


@struct.dataclass
class TrainState:
    """Everything that a step changes.

    Attributes:
        step: int32[], steps done.
        params: the model's arrays: its parameters, and what is held beside them (:mod:`mdm_jax.models.parameters`).
        ema_params: their exponential moving average, which is evaluated and sampled.
        optimizer: the state of the optimiser.
        tally: losses by number of revealed tokens: the profile that training measures as it goes.
    """

    step: Any  # abstract (shapes only) as often as not
    params: Params
    ema_params: Params
    optimizer: Any
    tally: Tally


class Metrics(NamedTuple):
    """What a step reports, or a block of steps.

    Attributes:
        nelbo: float32[*steps], the batch's NELBO estimate in nats per token.
        gradient_norm: float32[*steps], before clipping.
    """

    nelbo: Float[Array, "*steps"]
    gradient_norm: Float[Array, "*steps"]


def initial_state(denoiser: Denoiser, settings: Settings, params: Params = None) -> TrainState:
    """The state before the first step, a pure function of its arguments.

    Args:
        denoiser: the model.
        settings: how to train.
        params: initial parameters, for a denoiser that cannot make its own (NNX modules, plain functions).

    Raises:
        InputError: no ``params`` and a denoiser without ``init``; or ``params`` of which nothing can be trained.
    """
    if params is None:
        able = hasattr(denoiser, "init")
        require(able, "params", params, f"given, since {type(denoiser).__name__} cannot make its own parameters")
        params = cast(Initialisable, denoiser).init(key_of(settings.seed), settings.length)
    ema_params = jax.tree.map(jnp.copy, params)
    optimizer = optimizer_of(settings, denoiser.vocab_size).init(parted(denoiser, params)[0])
    return TrainState(jnp.zeros((), jnp.int32), params, ema_params, optimizer, tally.empty(settings.length))


def batch_of(
    denoiser: Denoiser,
    settings: Settings,
    step: Int[Array, ""],
    train: Int[Array, " tokens"] | Int[Array, "examples length"],
) -> tuple[Int[Array, "batch length"], Corrupted]:
    """The batch that ``(settings.seed, step)`` names, and its masks: the same whatever the number of devices.

    Args:
        denoiser: the model.
        settings: how to train.
        step: steps done before it.
        train: as in :func:`train_step`.
    """
    data_key, mask_key = jax.random.split(jax.random.fold_in(key_of(settings.seed), step))
    tokens = batches.draw(data_key, train, settings.batch, settings.length)
    return tokens, mask_counts(mask_key, tokens, denoiser.mask_id)


def train_step(
    denoiser: Denoiser,
    settings: Settings,
    state: TrainState,
    train: Int[Array, " tokens"] | Int[Array, "examples length"],
    rows: Rows = TOGETHER,
) -> tuple[TrainState, Metrics]:
    """One step of optimisation on the batch that ``(settings.seed, state.step)`` names.

    A step whose loss, gradient or update is not finite is not taken: the state comes back as it was, ``step`` included.

    Args:
        denoiser: the model.
        settings: how to train.
        state: before the step.
        train: all training data, int32[tokens] (a stream) or int32[examples, length].
        rows: how the batch is divided over devices; what comes out is the same up to rounding.
    """
    tokens, corrupted = batch_of(denoiser, settings, state.step, train)
    revealed = settings.length - jnp.sum(corrupted.masked, axis=-1)
    value, losses, gradient = _gradient(denoiser, settings, state.params, rows, *rows.take_share((tokens, corrupted)))
    value, gradient = rows.mean_over_shares((value, gradient))
    trained, held = parted(denoiser, state.params)
    updates, optimizer = optimizer_of(settings, denoiser.vocab_size).update(gradient, state.optimizer, trained)
    moved = optax.apply_updates(trained, updates)
    # The average forgets the first steps faster than its final decay would.
    steps = state.step.astype(jnp.float32)
    decay = jnp.minimum(settings.ema_decay, (1 + steps) / (10 + steps))
    ema = optax.incremental_update(moved, parted(denoiser, state.ema_params)[0], step_size=1 - decay)
    params, ema_params = joined(moved, held), joined(ema, held)
    # With these weights a row's NELBO per token is its mean loss over the hidden tokens.
    tallied = tally.add(state.tally, revealed, rows.gather_rows(losses), settings.steps)
    metrics = Metrics(value, optax.tree.norm(gradient))
    good = jnp.isfinite(value) & jnp.isfinite(metrics.gradient_norm) & jnp.isfinite(optax.tree.norm(updates))
    taken = TrainState(state.step + 1, params, ema_params, optimizer, tallied)
    return jax.tree.map(lambda new, old: jnp.where(good, new, old), taken, state), metrics


def _gradient(
    denoiser: Denoiser, settings: Settings, params: Params, rows: Rows, tokens: Array, corrupted: Corrupted
) -> tuple[Array, Array, Params]:
    """Mean loss, each row's loss, and the gradient of the mean, in nats per token."""
    trained, held = parted(denoiser, params)

    def objective(trained: Params, tokens: Array, corrupted: Corrupted) -> tuple[Array, Array]:
        whole = rows.gather_params(cast_params(joined(trained, held), settings.compute))
        losses = nelbo(denoiser, whole, tokens, corrupted) / settings.length
        return jnp.mean(losses), losses

    slope = jax.value_and_grad(objective, has_aux=True)
    parts = settings.accumulate
    if parts == 1:
        (value, losses), gradient = slope(trained, tokens, corrupted)
        return value, losses, gradient

    # Every so-manieth row makes a part, so that rows which lie on one device stay there.
    def in_parts(leaf: Array) -> Array:
        return jnp.moveaxis(leaf.reshape(-1, parts, *leaf.shape[1:]), 1, 0)

    def add(total: tuple[Array, Params], part: tuple[Array, Corrupted]) -> tuple[tuple[Array, Params], Array]:
        (value, losses), gradient = slope(trained, *rows.pin_rows(part))
        return jax.tree.map(lambda whole, one: whole + one / parts, total, (value, gradient)), losses

    zero = (jnp.zeros((), jnp.float32), jax.tree.map(jnp.zeros_like, trained))
    (value, gradient), losses = jax.lax.scan(add, zero, jax.tree.map(in_parts, (tokens, corrupted)))
    return value, jnp.moveaxis(losses, 0, 1).reshape(-1), gradient


def cast_params(params: Params, compute: str) -> Params:
    """Parameters as the forward pass is to see them; their gradients come back in their own type."""
    if compute == "float32":
        return params
    return jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16) if leaf.dtype == jnp.float32 else leaf, params)


def train_steps(
    denoiser: Denoiser,
    settings: Settings,
    state: TrainState,
    train: Int[Array, " tokens"] | Int[Array, "examples length"],
    count: Int[Array, ""],
    rows: Rows = TOGETHER,
) -> tuple[TrainState, Metrics]:
    """``count`` steps, at most ``BLOCK``, in one call: one executable for every count.

    A loop inside the program keeps its temporary buffers from one step to the next; calling a compiled step from
    Python allocates, faults in and frees them each time, which on CPU costs a third of the step.

    Returns:
        The state, and metrics of shape [BLOCK] of which as many entries are filled as steps were tried: ``count``, or
        one more than were taken if a step was not finite; ``state.step`` tells which.
    """
    empty = Metrics(jnp.zeros(BLOCK, jnp.float32), jnp.zeros(BLOCK, jnp.float32))
    first = state.step

    def goes_on(carry: tuple[Array, TrainState, Metrics]) -> Array:
        i, state, _ = carry
        return (i < count) & (state.step == first + i)

    def body(carry: tuple[Array, TrainState, Metrics]) -> tuple[Array, TrainState, Metrics]:
        i, state, history = carry
        state, metrics = train_step(denoiser, settings, state, train, rows)
        return i + 1, state, jax.tree.map(lambda row, value: row.at[i].set(value.astype(row.dtype)), history, metrics)

    _, state, history = jax.lax.while_loop(goes_on, body, (jnp.zeros((), jnp.int32), state, empty))
    return state, history
