"""What experiments on latents share: trainings of several replicas at once, intervals over seeds."""

import dataclasses
import functools
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
from flax import linen as nn
from jaxtyping import Array, PRNGKeyArray

from mdm_jax.models.adapters import LinenDenoiser
from mdm_jax.models.denoiser import Context, Denoiser, Params
from mdm_jax.models.latent.network import LatentTransformer
from mdm_jax.models.transformers import Transformer
from mdm_jax.tasks import Task
from mdm_jax.training import Settings, initial_state
from mdm_jax.training.objective import Examples, Losses, Objective
from mdm_jax.training.step import TrainState, train_step


@dataclasses.dataclass(frozen=True)
class Apart:
    """An objective whose random numbers are each replica's own: the context of an example is its replica's number."""

    objective: Objective

    @property
    def is_bound(self) -> bool:
        return self.objective.is_bound

    @property
    def terms(self) -> tuple[str, ...]:
        return self.objective.terms

    def describe(self) -> dict[str, Any]:
        return self.objective.describe()

    def context(self, given: Context) -> Context:
        del given
        return self.objective.context(None)

    def corrupt(self, key: PRNGKeyArray, denoiser: Denoiser, examples: Examples, progress: Array) -> Any:
        own = jax.random.fold_in(key, examples.context[0])
        return self.objective.corrupt(own, denoiser, Examples(examples.tokens), progress)

    def losses(self, denoiser: Denoiser, params: Params, examples: Examples, corrupted: Any) -> Losses:
        return self.objective.losses(denoiser, params, Examples(examples.tokens), corrupted)


class Replicas(NamedTuple):
    """Models that were trained at once.

    Attributes:
        params: of each, the EMA.
        parameters: how many numbers each has.
        step_flops: floating-point operations of one step of one of them, as the compiler counts them.
        seconds: processor seconds of the training of one, on average, without compiling.
    """

    params: list[Params]
    parameters: int
    step_flops: float
    seconds: float


def step_flops(denoiser: Denoiser, settings: Settings, objective: Objective) -> float:
    """Floating-point operations of one training step, as the compiler counts them before it compiles."""
    state = jax.eval_shape(lambda: initial_state(denoiser, settings))
    train = jax.ShapeDtypeStruct((settings.batch, settings.length), jnp.int32)
    step = functools.partial(train_step, denoiser, settings, objective=objective)
    counted: Any = jax.jit(step).lower(state, train).cost_analysis()
    return float(counted["flops"])


def learned_together(
    denoiser: Denoiser, replicas: Sequence[tuple[Task, int]], settings: Settings, objective: Objective
) -> Replicas:
    """The library's training steps of several replicas at once, compiled once.

    A replica is a task, all of one shape, and a seed: of its parameters, its order of the data and its masks.
    """
    fit_for = dataclasses.replace(settings, length=replicas[0][0].length)
    apart = Apart(objective)
    step = functools.partial(train_step, denoiser, fit_for, objective=apart)
    data = [np.random.default_rng(seed).permutation(task.train, axis=0) for task, seed in replicas]
    numbers = [np.full(len(rows), seed, np.int32) for rows, (_, seed) in zip(data, replicas, strict=True)]
    train = Examples(jnp.asarray(np.stack(data)), jnp.asarray(np.stack(numbers)))
    states = [initial_state(denoiser, dataclasses.replace(fit_for, seed=seed)) for _, seed in replicas]
    state = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)

    def all_steps(state: TrainState, train: Examples) -> TrainState:
        def body(_: Array, state: TrainState) -> TrainState:
            return jax.vmap(lambda state, train: step(state, train)[0])(state, train)

        return jax.lax.fori_loop(0, settings.steps, body, state)

    program = jax.jit(all_steps, donate_argnums=0).lower(state, train).compile()
    begun = time.process_time()
    ended = jax.block_until_ready(program(state, train))
    seconds = (time.process_time() - begun) / len(replicas)
    if not bool(jnp.all(ended.step == settings.steps)):
        raise RuntimeError("A training step was not finite.")
    params = [jax.tree.map(lambda leaf, k=k: leaf[k], ended.ema_params) for k in range(len(replicas))]
    many = sum(leaf.size for leaf in jax.tree.leaves(params[0]))
    return Replicas(params, many, step_flops(denoiser, fit_for, objective), seconds)


def over_seeds(values: Sequence[float]) -> list[float] | float:
    """The mean of one number a seed, with its 95% interval by Student's law: what seeds and samples make it vary by.

    One number alone is itself.
    """
    array = np.asarray(values, np.float64)
    mean = float(array.mean())
    if len(array) == 1:
        return mean
    half = float(scipy.stats.t.ppf(0.975, len(array) - 1) * array.std(ddof=1) / np.sqrt(len(array)))
    return [mean, mean - half, mean + half]


class Placed(Transformer):
    """A transformer that is told where each position lies: a learned vector is added to each embedding."""

    def setup(self) -> None:
        super().setup()
        places = self.param("places", nn.initializers.normal(self.embedding_scale), (self.length, self.width))
        tokens: Any = self.embedding
        # Flax keeps what it knows of the embedding; who asks for it gets the sum.
        object.__setattr__(self, "embedding", lambda ids: tokens(ids) + places[: ids.shape[1]])


class PlacedLatent(LatentTransformer, Placed):
    """The same of a latent transformer, in its recognition network as well."""


def placed(denoiser: LinenDenoiser) -> LinenDenoiser:
    """A :func:`~mdm_jax.models.transformer`, or one with latents, as one that is told where each position lies."""
    kind = PlacedLatent if isinstance(denoiser.module, LatentTransformer) else Placed
    fields = [field.name for field in dataclasses.fields(denoiser.module) if field.name not in ("parent", "name")]
    return dataclasses.replace(denoiser, module=kind(**{name: getattr(denoiser.module, name) for name in fields}))
