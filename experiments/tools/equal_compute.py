"""Bidirectional and any-order models trained for equal compute, and how they are measured (``any_order_quality``).

Equal compute twice over: equal processor seconds, by what a step of each takes on one pinned core; and equal
operations by formula, for which an any-order model may take a few more steps.
"""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from experiments.tools.latents import placed
from mdm_jax import models, tasks
from mdm_jax.footprint import step_flops
from mdm_jax.footprint.flops import optimizer_flops
from mdm_jax.models.adapters import LinenDenoiser
from mdm_jax.models.denoiser import Params
from mdm_jax.training import AnyOrderNelbo, Settings, initial_state
from mdm_jax.training.muon import muon
from mdm_jax.training.objective import MASKED_NELBO, Examples, Objective, score
from mdm_jax.training.settings import OWN
from mdm_jax.training.step import BLOCK, TrainState, train_steps

BIDIRECTIONAL, ANY_ORDER, BY_OPERATIONS = "bidirectional", "any-order", "any-order, by operations"
MASKINGS, ORDERS = 6, 3
"""Of each held-out row: they cost the same, since an order asks in two streams."""


class Case(NamedTuple):
    """What is learned, by models of which sizes, for how long.

    Attributes:
        spec: of the task.
        size: of both models.
        batch: sequences of a training step.
        seconds: of training, each a training of its own.
        rows: held-out rows that are scored, at most.
        samples: that are drawn with each number of steps.
        told_places: whether the bidirectional model gets a learned vector for each position, which it can do without
            where it sees the masks at both ends. An any-order model is told its places anyway.
        optimizer: as :class:`~mdm_jax.training.Settings` names it.
    """

    spec: str
    size: dict[str, int]
    batch: int
    seconds: tuple[int, ...]
    rows: int
    samples: int
    told_places: bool = False
    optimizer: str = "muon"


SMALL = {"width": 64, "depth": 2, "heads": 4}
CASES = {
    "text": Case("text", SMALL, 8, (4, 8, 16), 182, 96),
    "sudoku6": Case("sudoku6", SMALL, 32, (2, 4, 8), 512, 128, told_places=True),
    "digits": Case("digits", SMALL, 16, (2, 4, 8), 179, 64),
    "code": Case("code", SMALL, 8, (4, 8), 182, 96),
}


def model_of(case: Case, arm: str) -> LinenDenoiser:
    """The denoiser of an arm."""
    task = tasks.from_spec(case.spec)
    make = models.transformer if arm == BIDIRECTIONAL else models.any_order
    plain = make(task.vocab_size, length=task.length, **case.size)
    return placed(plain) if case.told_places and arm == BIDIRECTIONAL else plain


def objective_of(arm: str) -> Objective:
    """What an arm is trained on, and scored by."""
    return MASKED_NELBO if arm == BIDIRECTIONAL else AnyOrderNelbo()


def operations(case: Case, arm: str) -> int:
    """Floating-point operations of one training step, as ``mdm_jax.footprint`` counts them.

    The optimiser's part is that of the bidirectional model for both.
    """
    length = tasks.from_spec(case.spec).length
    settings = Settings(batch=case.batch, length=length)
    plain, model = model_of(case, BIDIRECTIONAL), model_of(case, arm)
    usual, own = (jax.eval_shape(lambda m=m: m.init(jax.random.key(0), length)) for m in (plain, model))
    passes = step_flops(model, own, settings, objective=objective_of(arm))
    return passes.forward + passes.backward + optimizer_flops(usual, settings, plain.vocab_size)


def steps_of(case: Case, arm: str, seconds: float, milliseconds: Mapping[str, float]) -> int:
    """Training steps of an arm that cost what the bidirectional model's cost in so many processor seconds.

    Args:
        case: whose.
        arm: which.
        seconds: of the bidirectional model.
        milliseconds: of a step of both models.
    """
    if arm != BY_OPERATIONS:
        return max(1, round(1000 * seconds / milliseconds[arm]))
    steps = steps_of(case, BIDIRECTIONAL, seconds, milliseconds)
    return round(steps * operations(case, BIDIRECTIONAL) / operations(case, ANY_ORDER))


def recipe(steps: Float[Array, ""], optimizer: str = "muon") -> optax.GradientTransformation:
    """The optimiser of the default :class:`~mdm_jax.training.Settings` for a number of steps that is an array.

    So trainings of all lengths share one compiled step. Quick runs take AdamW, which compiles sooner.
    """
    default = Settings()
    warm = jnp.maximum(1.0, jnp.round(default.warmup * steps))

    def rate(peak: float) -> optax.Schedule:
        def at(count: Any) -> Array:
            count = jnp.asarray(count, jnp.float32)
            fall = (steps - count) / jnp.maximum(1.0, steps - warm)
            return peak * jnp.clip(jnp.minimum((count + 1) / warm, fall), 0.0, 1.0)

        return at

    def takers(params: Params) -> Any:
        def one(path: tuple[Any, ...], leaf: Array) -> str:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            return "muon" if name.endswith("kernel") and leaf.ndim == 2 and "head" not in name else "adam"

        return jax.tree_util.tree_map_with_path(one, params)

    if optimizer == "adamw":
        return optax.adamw(rate(default.learning_rate), b1=0.9, b2=0.98, weight_decay=default.weight_decay)
    fast, slow = rate(default.learning_rate), rate(default.learning_rate * default.adam_fraction)
    return optax.chain(optax.clip_by_global_norm(default.clip), muon(fast, slow, default.weight_decay, takers))


class Training(NamedTuple):
    """How an arm of a case is trained.

    Attributes:
        run: ``(state, train, count, total)`` to the state after ``count`` more steps, at most ``BLOCK``, of ``total``.
        fresh: the state before the first step, of a seed.
    """

    run: Callable[[TrainState, Array, Array, Array], TrainState]
    fresh: Callable[[int], TrainState]


@functools.cache
def _training(denoiser: LinenDenoiser, settings: Settings, objective: Objective, optimizer: str) -> Training:
    def block(state: TrainState, train: Array, count: Array, total: Array) -> TrainState:
        own = recipe(total.astype(jnp.float32), optimizer)
        return train_steps(denoiser, settings, state, train, count, objective=objective, optimizer=own)[0]

    def fresh(seed: int) -> TrainState:
        own = recipe(jnp.float32(1), optimizer)
        return initial_state(denoiser, dataclasses.replace(settings, seed=seed), optimizer=own)

    return Training(jax.jit(block, donate_argnums=0), fresh)


def training(case: Case, arm: str) -> Training:
    """Of an arm; one for all seeds and lengths, so that it compiles once."""
    settings = Settings(batch=case.batch, length=tasks.from_spec(case.spec).length, optimizer=OWN)
    return _training(model_of(case, arm), settings, objective_of(arm), case.optimizer)


def learned(case: Case, arm: str, steps: int, seed: int) -> tuple[Params, float]:
    """A training: its EMA, and the processor seconds that it took without compiling.

    A seed is one of the parameters and of the order of the data: a stream is rolled, rows are permuted. Both models of
    a seed begin with the same parameters.
    """
    data, draw = tasks.from_spec(case.spec).train, np.random.default_rng(seed)
    data = np.roll(data, int(draw.integers(len(data)))) if data.ndim == 1 else draw.permutation(data, axis=0)
    train, total, (run, fresh) = jnp.asarray(data), jnp.int32(steps), training(case, arm)
    run(fresh(seed), train, jnp.int32(0), total)  # compiles
    state = jax.block_until_ready(fresh(seed))
    begun = time.process_time()
    for done in range(0, steps, BLOCK):
        state = run(state, train, jnp.int32(min(BLOCK, steps - done)), total)
    jax.block_until_ready(state)
    seconds = time.process_time() - begun
    if int(state.step) != steps:
        raise RuntimeError("A training step was not finite.")
    return state.ema_params, seconds


def step_times(case: Case, rounds: int = 8) -> dict[str, float]:
    """Processor milliseconds of a training step of both models: the median of blocks of steps that take turns."""
    train, total = jnp.asarray(tasks.from_spec(case.spec).train), jnp.int32(1000)
    arms = {arm: training(case, arm) for arm in (BIDIRECTIONAL, ANY_ORDER)}
    states = {arm: one.run(one.fresh(0), train, jnp.int32(1), total) for arm, one in arms.items()}
    spent: dict[str, list[float]] = {arm: [] for arm in arms}
    for _ in range(rounds):
        for arm, one in arms.items():
            begun = time.process_time()
            states[arm] = jax.block_until_ready(one.run(states[arm], train, jnp.int32(BLOCK), total))
            spent[arm].append(1000 * (time.process_time() - begun) / BLOCK)
    return {arm: float(np.median(times)) for arm, times in spent.items()}


def octaves(length: int) -> list[int]:
    """Where bins of the profile begin: at 0, 1, 2, 4, 8, ... tokens revealed."""
    return [0, *(2**k for k in range(math.ceil(math.log2(length))))]


class Scored(NamedTuple):
    """Held-out rows under a model.

    Attributes:
        bits: of each row, its NELBO per token.
        profile: bits per token by number of revealed tokens, a mean over each of :func:`octaves`.
    """

    bits: Float[np.ndarray, " rows"]
    profile: list[float]


def scored(denoiser: LinenDenoiser, params: Params, arm: str, tokens: Int[np.ndarray, "rows length"]) -> Scored:
    """The NELBO of held-out rows by the model's own objective, in uniformly random orders, and its profile."""
    objective, length = objective_of(arm), tokens.shape[1]
    many = MASKINGS if arm == BIDIRECTIONAL else ORDERS
    total, sums, times = np.zeros(len(tokens)), np.zeros(length), np.zeros(length)
    for repeat in range(many):
        key = jax.random.fold_in(jax.random.key(7), repeat)
        losses = score(objective, key, denoiser, params, Examples(jnp.asarray(tokens)))
        total += np.asarray(losses.loss, np.float64)
        revealed, cost = (np.asarray(one).reshape(-1) for one in (losses.revealed, losses.cost))
        sums += np.bincount(revealed, cost, length)
        times += np.bincount(revealed, minlength=length)
    begins = octaves(length)
    profile = np.add.reduceat(sums, begins) / np.add.reduceat(times, begins) / np.log(2)
    return Scored(total / many / length / np.log(2), profile.tolist())
