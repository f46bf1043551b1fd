"""One training step: a pure function of (state, data). Every way of running it compiles this same function."""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int

from mdm_jax.models.denoiser import Context, Denoiser, Initialisable, Params, is_readable, layers
from mdm_jax.models.extending import block_length
from mdm_jax.models.parameters import joined, parted, summary
from mdm_jax.support.errors import require
from mdm_jax.support.keys import key_of
from mdm_jax.training import batches, tally
from mdm_jax.training.batches import Drawn
from mdm_jax.training.devices import TOGETHER, Rows
from mdm_jax.training.objective import MASKED_NELBO, Examples, Losses, Objective
from mdm_jax.training.optimizer import optimizer_of
from mdm_jax.training.settings import Settings
from mdm_jax.training.tally import Tally

BLOCK = 10
"""Steps per compiled call: what Ctrl-C waits for, and what a progress bar moves by.

XLA on CPU allocates a program's temporaries at each call: for 0.6 M parameters and a batch of 32 x 64 that was 104 MB
and 27,400 page faults per step, spread evenly over all operations, which is why rewriting operations never helped,
nor did XLA's flags (one-off probes). Inside one loop the buffers are reused.
"""

_ANNEALED = 1.0 - 2.0**-24
"""The progress of steps behind the first stage: the largest float32 below 1, which stands for held-out rows."""

Data = Int[Array, " tokens"] | Int[Array, "examples length"] | Examples | Drawn
"""All training data: a stream of tokens or rows of them, alone or with what is known of each row; or batches of it."""


@struct.dataclass
class TrainState:
    """Everything that a step changes.

    Attributes:
        step: int32[], steps done.
        params: the model's arrays: its parameters, and what is held beside them (:mod:`mdm_jax.models.parameters`).
        ema_params: their exponential moving average (EMA), which is evaluated and sampled.
        optimizer: the state of the optimiser.
        tally: losses by number of revealed tokens: the profile that training measures as it goes.
    """

    step: Any  # abstract (shapes only) as often as not
    params: Params
    ema_params: Params
    optimizer: Any
    tally: Tally

    def __repr__(self) -> str:
        parts = (f"{name}={summary(getattr(self, name))}" for name in ("params", "ema_params", "optimizer"))
        step = self.step if is_readable(self.step) else summary(self.step)
        return f"TrainState(step={step}, {', '.join(parts)}, tally={self.tally!r})"


class Metrics(NamedTuple):
    """What a step reports, or a block of steps.

    Attributes:
        loss: float32[*steps], the batch's mean loss in nats per token: under the default objective, its NELBO estimate.
        gradient_norm: float32[*steps], before clipping.
        terms: what else the objective logs, by name: float32[*steps], nats per token.
    """

    loss: Float[Array, "*steps"]
    gradient_norm: Float[Array, "*steps"]
    terms: dict[str, Float[Array, "*steps"]]


def initial_params(denoiser: Denoiser, settings: Settings, params: Params = None, context: Context = None) -> Params:
    """The parameters before the first step, a pure function of its arguments.

    Args:
        denoiser: the model.
        settings: how to train.
        params: the parameters themselves, for a denoiser that cannot make its own (NNX modules, plain functions).
        context: one row of what the denoiser gets as a context, if it gets any.

    Raises:
        InputError: no ``params`` and a denoiser without ``init``.
    """
    if params is not None:
        return params
    inner = list(layers(denoiser))[-1]  # a wrapper has the parameters of what it wraps
    able = hasattr(inner, "init")
    require(able, "params", params, f"given, since {type(inner).__name__} cannot make its own parameters")
    return cast(Initialisable, inner).init(key_of(settings.seed), settings.length, context)


def initial_state(
    denoiser: Denoiser,
    settings: Settings,
    params: Params = None,
    context: Context = None,
    optimizer: optax.GradientTransformation | None = None,
) -> TrainState:
    """The state before the first step, a pure function of its arguments.

    Args:
        denoiser: the model.
        settings: how to train.
        params: as :func:`initial_params` takes them.
        context: likewise.
        optimizer: a transformation of one's own instead of the recipe that ``settings`` name.

    Raises:
        InputError: no ``params`` and a denoiser without ``init``; or ``params`` of which nothing can be trained.

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> def unigram(params, tokens):  # one law for every position
        ...     return jnp.broadcast_to(params["logits"], (*tokens.shape, 2))
        >>> model, params = mdm.models.from_function(unigram, 2), {"logits": jnp.zeros(2)}
        >>> mdm.training.initial_state(model, mdm.training.Settings(length=8), params)
        TrainState(step=0, params=<1 array, 2 numbers>, ema_params=<1 array, 2 numbers>, ...
    """
    params = initial_params(denoiser, settings, params, context)
    ema_params = jax.tree.map(jnp.copy, params)
    moments = optimizer_of(settings, denoiser.vocab_size, optimizer).init(parted(denoiser, params)[0])
    length = min(settings.length, block_length(denoiser) or settings.length)  # what a profile of it is of
    return TrainState(jnp.zeros((), jnp.int32), params, ema_params, moments, tally.empty(length))


def batch_of(
    denoiser: Denoiser, settings: Settings, step: Int[Array, ""], train: Data, objective: Objective = MASKED_NELBO
) -> tuple[Examples, Any]:
    """The batch that ``(settings.seed, step)`` names, and what the objective makes of it.

    It is the same whatever the number of devices.

    Args:
        denoiser: the model.
        settings: how to train.
        step: steps done before it.
        train: as in :func:`train_step`.
        objective: as in :func:`train_step`.
    """
    data_key, mask_key = batches.keys(settings.seed, step)
    if isinstance(train, Drawn):
        examples = train.examples
    else:
        data = train if isinstance(train, Examples) else Examples(train)
        examples = batches.draw(data_key, data, settings.batch, settings.length)
    progress = jnp.asarray(step, jnp.float32) / (settings.anneal_steps or settings.steps)
    progress = jnp.minimum(progress, _ANNEALED) if settings.anneal_steps else progress
    return examples, objective.corrupt(mask_key, denoiser, examples, progress)


def train_step(
    denoiser: Denoiser,
    settings: Settings,
    state: TrainState,
    train: Data,
    rows: Rows = TOGETHER,
    objective: Objective = MASKED_NELBO,
    optimizer: optax.GradientTransformation | None = None,
) -> tuple[TrainState, Metrics]:
    """One step of optimisation on the batch that ``(settings.seed, state.step)`` names.

    A step whose loss, gradient or update is not finite is not taken: the state comes back as it was, ``step`` included.

    Args:
        denoiser: the model.
        settings: how to train.
        state: before the step.
        train: all training data, int32[tokens] (a stream) or int32[examples, length]; or ``Examples`` of them.
        rows: how the batch is divided over devices; what comes out is the same up to rounding.
        objective: what is learned.
        optimizer: a transformation of one's own instead of the recipe that ``settings`` name; it gets the loss as
            ``value``, if it takes it.

    Returns:
        The state after the step, and its :class:`Metrics`, each a float32[].

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> def unigram(params, tokens):  # one law for every position
        ...     return jnp.broadcast_to(params["logits"], (*tokens.shape, 2))
        >>> model, params = mdm.models.from_function(unigram, 2), {"logits": jnp.zeros(2)}
        >>> settings, data = mdm.training.Settings(steps=4, batch=2, length=8), jnp.ones((16, 8), int)
        >>> state = mdm.training.initial_state(model, settings, params)
        >>> step = jax.jit(mdm.training.train_step, static_argnums=(0, 1))
        >>> state, metrics = step(model, settings, state, data)
        >>> print(state.step, metrics.loss)  # log 2 at first, and the ones are more likely now
        1 0.6931472
        >>> bool(state.params["logits"][1] > 0)
        True
    """
    examples, corrupted = rows.take_share(batch_of(denoiser, settings, state.step, train, objective))
    value, losses, gradient = loss_and_gradient(denoiser, settings, state.params, examples, corrupted, rows, objective)
    value, gradient = rows.mean_over_shares((value, gradient))
    trained, held = parted(denoiser, state.params)
    moving = optimizer_of(settings, denoiser.vocab_size, optimizer)
    updates, moments = moving.update(gradient, state.optimizer, trained, value=value)
    moved = optax.apply_updates(trained, updates)
    # The EMA forgets the first steps faster than its final decay would.
    steps = state.step.astype(jnp.float32)
    decay = jnp.minimum(settings.ema_decay, (1 + steps) / (10 + steps))
    ema = optax.incremental_update(moved, parted(denoiser, state.ema_params)[0], step_size=1 - decay)
    params, ema_params = joined(moved, held), joined(ema, held)
    tallied = state.tally
    if losses.revealed is not None and losses.cost is not None:
        weight = None if losses.weight is None else rows.gather_rows(losses.weight)
        revealed, cost = (rows.gather_rows(one) for one in (losses.revealed, losses.cost))
        tallied = tally.add(tallied, revealed, cost, settings.steps, weight)
    tokens = settings.tokens_per_row
    terms = {name: jnp.mean(rows.gather_rows(losses.terms[name])) / tokens for name in objective.terms}
    metrics = Metrics(value, optax.tree.norm(gradient), terms)
    good = jnp.isfinite(value) & jnp.isfinite(metrics.gradient_norm) & jnp.isfinite(optax.tree.norm(updates))
    taken = TrainState(state.step + 1, params, ema_params, moments, tallied)
    return jax.tree.map(lambda new, old: jnp.where(good, new, old), taken, state), metrics


def loss_and_gradient(
    denoiser: Denoiser,
    settings: Settings,
    params: Params,
    examples: Examples,
    corrupted: Any,
    rows: Rows = TOGETHER,
    objective: Objective = MASKED_NELBO,
) -> tuple[Float[Array, ""], Losses, Params]:
    """Mean loss of a batch in nats per token, what each of its rows costs, and the gradient of the mean.

    Args:
        denoiser: the model.
        settings: how to train: in how many parts, and in what precision.
        params: where.
        examples: of the batch, or the share of them that this device works on.
        corrupted: what the objective makes of them.
        rows: as in :func:`train_step`.
        objective: as in :func:`train_step`.
    """
    batch = examples, corrupted
    trained, held = parted(denoiser, params)

    def mean(trained: Params, examples: Examples, corrupted: Any) -> tuple[Array, Losses]:
        whole = rows.gather_params(cast_params(joined(trained, held), settings.compute))
        losses = objective.losses(denoiser, whole, examples, corrupted)
        return jnp.mean(losses.loss / settings.tokens_per_row), losses

    slope = jax.value_and_grad(mean, has_aux=True)
    parts = settings.accumulate
    if parts == 1:
        (value, losses), gradient = slope(trained, *batch)
        return value, losses, gradient

    # Every so-manieth row makes a part, so that rows which lie on one device stay there.
    def in_parts(leaf: Array) -> Array:
        return jnp.moveaxis(leaf.reshape(-1, parts, *leaf.shape[1:]), 1, 0)

    def add(total: tuple[Array, Params], part: tuple[Examples, Any]) -> tuple[tuple[Array, Params], Losses]:
        (value, losses), gradient = slope(trained, *rows.pin_rows(part))
        return jax.tree.map(lambda whole, one: whole + one / parts, total, (value, gradient)), losses

    zero = (jnp.zeros((), jnp.float32), jax.tree.map(jnp.zeros_like, trained))
    (value, gradient), losses = jax.lax.scan(add, zero, jax.tree.map(in_parts, batch))
    in_order = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, 1).reshape(-1, *leaf.shape[2:]), losses)
    return value, in_order, gradient


def cast_params(params: Params, compute: str) -> Params:
    """Parameters as the forward pass is to see them; their gradients come back in their own type."""
    if compute == "float32":
        return params
    return jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16) if leaf.dtype == jnp.float32 else leaf, params)


def train_steps(
    denoiser: Denoiser,
    settings: Settings,
    state: TrainState,
    train: Data,
    count: Int[Array, ""],
    rows: Rows = TOGETHER,
    objective: Objective = MASKED_NELBO,
    optimizer: optax.GradientTransformation | None = None,
) -> tuple[TrainState, Metrics]:
    """``count`` steps, at most ``BLOCK``, in one call: one executable for every count.

    A loop inside the program keeps its temporary buffers from one step to the next; calling a compiled step from
    Python allocates, faults in and frees them each time, which on CPU costs a third of the step.

    Returns:
        The state, and metrics of shape [BLOCK] of which as many entries are filled as steps were tried: ``count``, or
        one more than were taken if a step was not finite; ``state.step`` tells which.
    """
    none = jnp.zeros(BLOCK, jnp.float32)
    empty = Metrics(none, none, dict.fromkeys(objective.terms, none))
    first = state.step

    def goes_on(carry: tuple[Array, TrainState, Metrics]) -> Array:
        i, state, _ = carry
        return (i < count) & (state.step == first + i)

    def body(carry: tuple[Array, TrainState, Metrics]) -> tuple[Array, TrainState, Metrics]:
        i, state, history = carry
        data = batches.at(train, i)
        state, metrics = train_step(denoiser, settings, state, data, rows, objective, optimizer)
        return i + 1, state, jax.tree.map(lambda row, value: row.at[i].set(value.astype(row.dtype)), history, metrics)

    _, state, history = jax.lax.while_loop(goes_on, body, (jnp.zeros((), jnp.int32), state, empty))
    return state, history
