"""One training step: a pure function of (state, data). Every way of running it compiles this same function."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.contrib
from flax import struct
from jaxtyping import Array, Float, Int

from mdm_jax.models.denoiser import Denoiser, Initialisable, Params
from mdm_jax.support.errors import require, require_choice
from mdm_jax.training import batches
from mdm_jax.training.corruption import mask_counts
from mdm_jax.training.losses import nelbo

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
        warmup: fraction of the steps over which the learning rate rises linearly from 0; it then falls linearly to 0.
        weight_decay: decoupled, on matrices only.
        clip: global gradient norm.
        average: decay of the exponential moving average of the parameters, which is what is evaluated and sampled.
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
        require(self.steps >= 1, "steps", self.steps, "at least 1")
        require(self.batch >= 1, "batch", self.batch, "at least 1")
        require(self.length >= 2, "length", self.length, "at least 2")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "positive")
        require(0 <= self.warmup < 1, "warmup", self.warmup, "a fraction of the steps, from 0 to below 1")
        require(self.adam_fraction > 0, "adam_fraction", self.adam_fraction, "positive")
        require_choice("optimizer", self.optimizer, ("adamw", "muon"))
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "0 or more")
        require(self.clip > 0, "clip", self.clip, "positive")
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
    """

    step: Any  # abstract (shapes only) as often as not
    params: Params
    average: Params
    optimizer: Any


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
    warm = max(1, round(settings.warmup * settings.steps))

    def rate(peak: float) -> optax.Schedule:
        rise = optax.linear_schedule(0.0, peak, warm)
        fall = optax.linear_schedule(peak, 0.0, max(1, settings.steps - warm))
        return optax.join_schedules([rise, fall], [warm])

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


def initial_state(denoiser: Initialisable, settings: Settings) -> TrainState:
    """Fresh parameters and optimiser state; a pure function of ``settings``."""
    params = denoiser.init(jax.random.key(settings.seed), settings.length)
    average = jax.tree.map(jnp.copy, params)
    return TrainState(
        jnp.zeros((), jnp.int32), params, average, optimizer_of(settings, denoiser.vocab_size).init(params)
    )


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

    def objective(params: Params) -> Array:
        return jnp.mean(nelbo(denoiser, params, tokens, corrupted)) / settings.length

    value, gradient = jax.value_and_grad(objective)(state.params)
    optimizer_step = optimizer_of(settings, denoiser.vocab_size).update
    updates, optimizer = optimizer_step(gradient, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)
    # The average forgets the first steps faster than its final decay would.
    decay = jnp.minimum(settings.average, (1 + state.step) / (10 + state.step))
    average = optax.incremental_update(params, state.average, step_size=1 - decay)
    state = TrainState(state.step + 1, params, average, optimizer)
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
        return state, jax.tree.map(lambda row, value: row.at[i].set(value), history, metrics)

    return jax.lax.fori_loop(0, count, body, (state, empty))


def _matrices(params: Params) -> Any:
    return jax.tree.map(lambda leaf: leaf.ndim >= 2, params)


def _muon_dimensions(params: Params, vocab_size: int) -> Any:
    """Which axes Muon contracts, for the kernels between hidden layers; ``None`` leaves a parameter to Adam."""

    def one(path: tuple[Any, ...], leaf: Any) -> Any:
        last = jax.tree_util.keystr(path[-1:], simple=True) if path else ""
        inside = last == "kernel" and leaf.ndim == 2 and not {vocab_size, vocab_size + 1} & set(leaf.shape)
        return optax.contrib.MuonDimensionNumbers(0, 1) if inside else None

    return jax.tree_util.tree_map_with_path(one, params)
