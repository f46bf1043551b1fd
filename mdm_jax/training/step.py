"""One training step: a pure function of (state, data). Every way of running it compiles this same function."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
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
        learning_rate: at its peak.
        warmup: fraction of the steps over which the learning rate rises linearly from 0; it then falls along a
            cosine to ``final_learning_rate`` times its peak.
        final_learning_rate: as a fraction of the peak.
        optimizer: "adamw" or "muon".
        weight_decay: decoupled, on matrices only.
        clip: global gradient norm.
        average: decay of the exponential moving average of the parameters, which is what is evaluated and sampled.
        seed: of the parameters, the data order and the masks.
    """

    steps: int = 2000
    batch: int = 32
    length: int = 128
    learning_rate: float = 3e-3
    warmup: float = 0.05
    final_learning_rate: float = 0.02
    optimizer: str = "adamw"
    weight_decay: float = 0.1
    clip: float = 1.0
    average: float = 0.995
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.steps >= 1, "steps", self.steps, "at least 1")
        require(self.batch >= 1, "batch", self.batch, "at least 1")
        require(self.length >= 2, "length", self.length, "at least 2")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "positive")
        require(0 <= self.warmup < 1, "warmup", self.warmup, "a fraction of the steps, from 0 to below 1")
        require(0 <= self.final_learning_rate <= 1, "final_learning_rate", self.final_learning_rate, "from 0 to 1")
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


def optimizer_of(settings: Settings) -> optax.GradientTransformation:
    """The Optax optimiser that ``settings`` describe: warm-up, cosine decay, clipping, decoupled weight decay."""
    rate = optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=settings.learning_rate,
        warmup_steps=round(settings.warmup * settings.steps),
        decay_steps=settings.steps,
        end_value=settings.final_learning_rate * settings.learning_rate,
    )
    adamw = optax.adamw(rate, b1=0.9, b2=0.98, weight_decay=settings.weight_decay, mask=_matrices)
    return optax.chain(optax.clip_by_global_norm(settings.clip), adamw)


def initial_state(denoiser: Initialisable, settings: Settings) -> TrainState:
    """Fresh parameters and optimiser state; a pure function of ``settings``."""
    params = denoiser.init(jax.random.key(settings.seed), settings.length)
    average = jax.tree.map(jnp.copy, params)
    return TrainState(jnp.zeros((), jnp.int32), params, average, optimizer_of(settings).init(params))


def train_step(
    denoiser: Denoiser,
    settings: Settings,
    state: TrainState,
    train: Int[Array, "tokens"] | Int[Array, "examples length"],
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
    updates, optimizer = optimizer_of(settings).update(gradient, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)
    # The average forgets the first steps faster than its final decay would.
    decay = jnp.minimum(settings.average, (1 + state.step) / (10 + state.step))
    average = optax.incremental_update(params, state.average, step_size=1 - decay)
    state = TrainState(state.step + 1, params, average, optimizer)
    return state, Metrics(value, optax.global_norm(gradient))


def train_steps(
    denoiser: Denoiser,
    settings: Settings,
    state: TrainState,
    train: Int[Array, "tokens"] | Int[Array, "examples length"],
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
