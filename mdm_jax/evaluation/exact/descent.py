"""Following gradients of the divergence by L-BFGS, in float64 on the host: for Beta schedules and free fractions."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from mdm_jax.evaluation.exact.divergences import DIVERGENCES
from mdm_jax.evaluation.exact.laws import ancestral_law
from mdm_jax.theory.plans.grids import Grid

MOST_STEPS = 2**20
"""And starts: more would not end."""
_ITERATIONS = 500


class Objective:
    """The divergence as a function of the fractions, and its slope, in float64 (inside ``jax.enable_x64``)."""

    def __init__(self, logits: Array, target: np.ndarray, divergence: str) -> None:
        self.logits, self.target = jnp.asarray(np.asarray(logits), float), jnp.asarray(target, float)
        self.number = number_of(divergence)

    def __call__(self, fractions: np.ndarray) -> tuple[float, np.ndarray]:
        """``inf`` where the value is not finite, and no slope where that is not."""
        value, slope = _value_and_slope(jnp.asarray(fractions, float), self.logits, self.target, self.number)
        value, slope = float(value), np.asarray(slope, np.float64)
        good = np.isfinite(value) and bool(np.isfinite(slope).all())
        return max(value, 0.0) if np.isfinite(value) else np.inf, slope if good else np.zeros_like(slope)


@jax.jit
def _value_and_slope(fractions: Array, logits: Array, target: Array, number: ArrayLike) -> tuple[Array, Array]:
    def value(fractions: Array) -> Array:
        return distance(number, target, ancestral_law(logits, fractions))

    return jax.value_and_grad(value)(fractions)


def number_of(divergence: str) -> int:
    return list(DIVERGENCES).index(divergence)


def distance(number: ArrayLike, target: Array, law: Array) -> Float[Array, ""]:
    """The divergence of that number: all in one executable, since the law is nearly all there is to compile."""
    return jax.lax.switch(number, list(DIVERGENCES.values()), target, law)


def descend(
    objective: Callable[[np.ndarray], tuple[float, np.ndarray]],
    start: np.ndarray,
    box: Sequence[tuple[float, float]] | None = None,
) -> tuple[float, np.ndarray]:
    """The least value seen on the way down from ``start``, and where."""
    best = (np.inf, start)

    def seen(x: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal best
        value, slope = objective(x)
        if value < best[0]:
            best = (value, x.copy())
        return min(value, 1e30), slope  # L-BFGS cannot work with infinity

    options = {"maxiter": _ITERATIONS, "ftol": 1e-15, "gtol": 1e-10}
    scipy.optimize.minimize(seen, start, jac=True, method="L-BFGS-B", bounds=box, options=options)
    return best


def grid_of(fractions: Float[np.ndarray, " knots"], name: str, origin: Mapping[str, Any]) -> Grid:
    """A grid of the distinct fractions."""
    inside = fractions[(fractions > 0) & (fractions < 1)]
    return Grid(np.concatenate([[0.0], np.unique(inside), [1.0]]), name=name, origin=origin)
