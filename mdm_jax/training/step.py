"""One training step: a pure function of (state, data). Every way of running it compiles this same function."""

import dataclasses
import math
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
import optax.contrib
from flax import struct
from jaxtyping import Array, Float, Int

from mdm_jax.models.denoiser import Denoiser, Initialisable, Params
from mdm_jax.support.errors import require, require_choice
from mdm_jax.training import batches, tally
from mdm_jax.training.corruption import mask_counts
from mdm_jax.training.losses import nelbo
from mdm_jax.training.tally import Tally

BLOCK = 10
"""Steps per compiled call: what Ctrl-C waits for, and what a progress bar moves by."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to train. Every field changes the run; all of them are saved with it.

    Attributes:
        steps: optimiser steps.
        batch: sequences per step.
        length: tokens per sequence.
        optimizer: "muon" (Muon for the matrices between hidden layers, Adam for everything else) or "adamw".
        learning_rate: at its peak; of Muon, or of AdamW.
        adam_fraction: the learning rate of the parameters that Muon leaves to Adam, as a fraction of Muon's.
        warmup: fraction of the steps over which the learning rate rises linearly; it then falls linearly towards 0.
        weight_decay: decoupled; under Muon on the matrices between hidden layers, under AdamW on every parameter of
            two axes or more.
        clip: global gradient norm.
        average: decay of the exponential moving average of the parameters, which is what is evaluated and sampled;
            at step ``n`` no more than ``(1 + n) / (10 + n)``, so that the start is soon forgotten.
        seed: of the parameters, the data order and the masks.
    """

    steps: int = 2000
    batch: int = 8
    length: int = 128
    optimizer: str = "muon"
    learning_rate: float = 0.02
    adam_fraction: float = 0.25
    warmup: float = 0.03
    weight_decay: float = 0.0
    clip: float = 1.0
    average: float = 0.99
    seed: int = 0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, kind = getattr(self, field.name), type(field.default)
            right = type(value) is kind or (kind is float and type(value) is int)
            require(right, field.name, value, {int: "a whole number", float: "a number", str: "text"}[kind])
        require(self.steps >= 1, "steps", self.steps, "at least 1")
        require(self.batch >= 1, "batch", self.batch, "at least 1")
        require(self.length >= 2, "length", self.length, "at least 2")
        require(0 < self.learning_rate < math.inf, "learning_rate", self.learning_rate, "positive and finite")
        require(0 <= self.warmup < 1, "warmup", self.warmup, "a fraction of the steps, from 0 to below 1")
        require(0 < self.adam_fraction < math.inf, "adam_fraction", self.adam_fraction, "positive and finite")
        require_choice("optimizer", self.optimizer, ("adamw", "muon"))
        require(0 <= self.weight_decay < math.inf, "weight_decay", self.weight_decay, "0 or more, and finite")
        require(0 < self.clip < math.inf, "clip", self.clip, "positive and finite")
        require(0 <= self.average < 1, "average", self.average, "from 0 to below 1")
        require(0 <= self.seed < 2**31, "seed", self.seed, "from 0 to 2^31 - 1")


@struct.dataclass
class TrainState:
    """Everything that a step changes.

    Attributes:
        step: int32[], steps done.
        params: the parameters that are trained.
        average: their exponential moving average, which is evaluated and sampled.
        optimizer: the state of the optimiser.
        tally: losses by number of revealed tokens: the profile that training measures as it goes.
    """

    step: Any  # abstract (shapes only) as often as not
    params: Params
    average: Params
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


def optimizer_of(settings: Settings, vocab_size: int) -> optax.GradientTransformation:
    """The Optax optimiser that ``settings`` describe: clipping, warm-up and linear decay, decoupled weight decay.

    Args:
        settings: how to train.
        vocab_size: tells embeddings and heads, which Muon is not meant for, from the matrices between hidden layers.
    """
    warm = round(settings.warmup * settings.steps)

    def rate(peak: float) -> optax.Schedule:
        def at(count: Any) -> Any:
            rise = (count + 1) / max(1, warm)
            fall = (settings.steps - count) / max(1, settings.steps - warm)
            return peak * jnp.clip(jnp.minimum(rise, fall), 0.0, 1.0)

        return at

    if settings.optimizer == "adamw":
        chosen = optax.adamw(
            rate(settings.learning_rate), b1=0.9, b2=0.98, weight_decay=settings.weight_decay, mask=_matrices
        )
    else:
        chosen = optax.contrib.muon(
            rate(settings.learning_rate),
            weight_decay=settings.weight_decay,
            adam_learning_rate=rate(settings.adam_fraction * settings.learning_rate),
            adam_b1=0.9,
            adam_b2=0.95,
            muon_weight_dimension_numbers=lambda params: _muon_dimensions(params, vocab_size),
        )
    return optax.chain(optax.clip_by_global_norm(settings.clip), chosen)


def initial_state(denoiser: Denoiser, settings: Settings, params: Params = None) -> TrainState:
    """The state before the first step, a pure function of its arguments.

    Args:
        denoiser: the model.
        settings: how to train.
        params: initial parameters, for a denoiser that cannot make its own (NNX modules, plain functions).

    Raises:
        InputError: no ``params`` and a denoiser without ``init``.
    """
    if params is None:
        able = hasattr(denoiser, "init")
        require(able, "params", params, f"given, since {type(denoiser).__name__} cannot make its own parameters")
        params = cast(Initialisable, denoiser).init(jax.random.key(settings.seed), settings.length)
    average = jax.tree.map(jnp.copy, params)
    optimizer = optimizer_of(settings, denoiser.vocab_size).init(params)
    return TrainState(jnp.zeros((), jnp.int32), params, average, optimizer, tally.empty(settings.length))


def train_step(
    denoiser: Denoiser,
    settings: Settings,
    state: TrainState,
    train: Int[Array, " tokens"] | Int[Array, "examples length"],
) -> tuple[TrainState, Metrics]:
    """One step of optimisation on the batch that ``(settings.seed, state.step)`` names.

    Args:
        denoiser: the model.
        settings: how to train.
        state: before the step.
        train: all training data, int32[tokens] (a stream) or int32[examples, length].
    """
    data_key, mask_key = jax.random.split(jax.random.fold_in(jax.random.key(settings.seed), state.step))
    tokens = batches.draw(data_key, train, settings.batch, settings.length)
    corrupted = mask_counts(mask_key, tokens, denoiser.mask_id)

    def objective(params: Params) -> tuple[Array, Array]:
        losses = nelbo(denoiser, params, tokens, corrupted) / settings.length
        return jnp.mean(losses), losses

    (value, losses), gradient = jax.value_and_grad(objective, has_aux=True)(state.params)
    optimizer_step = optimizer_of(settings, denoiser.vocab_size).update
    updates, optimizer = optimizer_step(gradient, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)
    # The average forgets the first steps faster than its final decay would.
    decay = jnp.minimum(settings.average, (1 + state.step) / (10 + state.step))
    average = optax.incremental_update(params, state.average, step_size=1 - decay)
    # With these weights a row's NELBO per token is its mean loss over the hidden tokens.
    revealed = settings.length - jnp.sum(corrupted.masked, axis=-1)
    tallied = tally.add(state.tally, revealed, losses, settings.steps)
    state = TrainState(state.step + 1, params, average, optimizer, tallied)
    return state, Metrics(value, optax.tree.norm(gradient))


def train_steps(
    denoiser: Denoiser,
    settings: Settings,
    state: TrainState,
    train: Int[Array, " tokens"] | Int[Array, "examples length"],
    count: Int[Array, ""],
) -> tuple[TrainState, Metrics]:
    """``count`` steps, at most ``BLOCK``, in one call: one executable for every count.

    A loop inside the program keeps its temporary buffers from one step to the next; calling a compiled step from
    Python allocates, faults in and frees them each time, which on CPU costs a third of the step.

    Returns:
        The state, and metrics of shape [BLOCK] of which the first ``count`` entries are filled.
    """
    empty = Metrics(jnp.zeros(BLOCK, jnp.float32), jnp.zeros(BLOCK, jnp.float32))

    def body(i: Array, carry: tuple[TrainState, Metrics]) -> tuple[TrainState, Metrics]:
        state, history = carry
        state, metrics = train_step(denoiser, settings, state, train)
        return state, jax.tree.map(lambda row, value: row.at[i].set(value.astype(row.dtype)), history, metrics)

    return jax.lax.fori_loop(0, count, body, (state, empty))


def _matrices(params: Params) -> Any:
    return jax.tree.map(lambda leaf: leaf.ndim >= 2, params)


def _muon_dimensions(params: Params, vocab_size: int) -> Any:
    """Which axes Muon contracts, for the kernels between hidden layers; ``None`` leaves a parameter to Adam.

    The head is told by its name, "head"; in a model that names none so, by its output axis of ``vocab_size``.
    """

    def name_of(path: tuple[Any, ...]) -> str:
        return jax.tree_util.keystr(path, simple=True, separator="/")

    names = [name_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(params, is_leaf=_masked)]
    named = any("head/" in f"{name}/" for name in names)

    def one(path: tuple[Any, ...], leaf: Any) -> Any:
        if _masked(leaf):
            return leaf
        name = f"{name_of(path)}/"
        is_head = "head/" in name if named else leaf.shape[-1:] == (vocab_size,)
        inside = name.endswith("kernel/") and leaf.ndim == 2 and not is_head
        return optax.contrib.MuonDimensionNumbers(0, 1) if inside else None

    return jax.tree_util.tree_map_with_path(one, params, is_leaf=_masked)


def _masked(leaf: Any) -> bool:
    """Whether Optax has put this in the place of a parameter that another optimiser takes."""
    return isinstance(leaf, optax.MaskedNode)
