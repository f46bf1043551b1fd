"""Refining, compiled: gradients of a smooth cost, in ``log a`` and ``log b``, from many starts at once."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from mdm_jax.theory.numerics.beta_function import incomplete_beta
from mdm_jax.theory.plans.beta_search.scoring import Table, excess_of, single
from mdm_jax.theory.schedules import HALF_PI

_RATE = (0.03, 0.002)
"""Of the gradient steps, first and last, in log a and log b (cells of the default grid are 0.02 apart)."""


class Knots(NamedTuple):
    """The times at which points on the way are looked at, one after the other: no padding where time is spent.

    Attributes:
        steps: int32[points], the budget of each point.
        owner: int32[pairs], the point of each time.
        times: float32[2, pairs], ``t = k / K`` and ``1 - t``.
        spread: int32[most + 1, points], where among the pairs ``k = 0 .. K`` of a point are; then ``K`` again.
    """

    steps: Int[Array, " points"]
    owner: Int[Array, " pairs"]
    times: Float[Array, "2 pairs"]
    spread: Int[Array, "knots points"]


def knots_of(steps: Int[np.ndarray, " points"]) -> Knots:
    owner = np.repeat(np.arange(len(steps)), steps + 1)
    before = np.cumsum(steps + 1) - (steps + 1)
    k = np.arange(len(owner)) - before[owner]
    times = np.stack([k, steps[owner] - k]) / steps[owner]
    spread = before + np.minimum(np.arange(steps.max() + 1)[:, None], steps)
    whole = {"steps": steps, "owner": owner, "spread": spread}
    return Knots(times=single(times), **{name: jnp.asarray(x, jnp.int32) for name, x in whole.items()})


def smooth(
    logs: Float[Array, "points 2"], knots: Knots, heights: Float[Array, " heights"], length: int
) -> tuple[Float[Array, " points"], Float[Array, "points 2"], Float[Array, "knots points"]]:
    """The cost of unrounded knots, ``sum_k (N_k - N_{k-1}) heights(N_{k-1})``, straight between whole numbers.

    Args:
        logs: ``log a`` and ``log b``.
        knots: of the points' budgets.
        heights: of :class:`Table`.
        length: number of tokens.

    Returns:
        The cost, its gradient in ``logs``, and ``alpha`` at the knots.
    """

    def angle(both: Array) -> Array:
        a, b = jnp.exp(both)
        return incomplete_beta(a, b, knots.times[0], knots.times[1])[0]

    def angle_and_slope(direction: Array) -> tuple[Array, Array]:
        return jax.jvp(angle, (both,), (jnp.broadcast_to(direction[:, None], both.shape),))

    def cost(theta: Array) -> tuple[Array, Array]:
        alpha = jnp.square(jnp.sin(HALF_PI * theta))
        revealed = length * alpha
        cell = jnp.clip(jax.lax.stop_gradient(revealed).astype(jnp.int32), 0, length - 1)
        height = heights[cell] + (revealed - cell.astype(revealed.dtype)) * (heights[cell + 1] - heights[cell])
        return jnp.sum((revealed[1:] - revealed[:-1]) * height[:-1], axis=0), alpha

    both = logs[knots.owner].T
    theta, slopes = jax.vmap(angle_and_slope, out_axes=(None, 0))(jnp.eye(2, dtype=both.dtype))
    value, pull, alpha = jax.vjp(cost, theta[knots.spread], has_aux=True)
    slope = pull(jnp.ones_like(value))[0]
    gradient = jnp.stack([jnp.sum(slope * by[knots.spread], axis=0) for by in slopes], axis=1)
    return value, gradient, alpha


@functools.partial(jax.jit, static_argnames=("length", "gradient_steps"))
def refined(
    begin: Float[Array, "points 2"],
    knots: Knots,
    table: Table,
    bounds: Float[Array, " 2"],
    length: int,
    gradient_steps: int,
) -> Float[Array, "points 2"]:
    """The ``(a, b)`` of least rounded cost on the way down from each start."""
    descent = optax.adam(optax.exponential_decay(_RATE[0], max(gradient_steps, 1), _RATE[1] / _RATE[0]), b1=0.7, b2=0.9)

    def step(state: tuple, _: None) -> tuple[tuple, None]:
        logs, memory, best, least = state
        gradient, alpha = smooth(logs, knots, table.heights, length)[1:]
        cost = excess_of(alpha, knots.steps, table, length)
        better = cost < least
        best, least = jnp.where(better[:, None], logs, best), jnp.where(better, cost, least)
        with jax.numpy_dtype_promotion("standard"):  # Optax mixes types
            change, memory = descent.update(gradient.astype(logs.dtype), memory)
        logs = jnp.clip(logs + change, bounds[0], bounds[1]).astype(logs.dtype)
        return (logs, memory, best, least), None

    state = (begin, descent.init(begin), begin, jnp.full(len(begin), jnp.inf, begin.dtype))
    (_, _, best, _), _ = jax.lax.scan(step, state, None, length=gradient_steps + 1)
    return jnp.exp(best)
