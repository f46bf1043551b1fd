r"""Tuning by the exact output law: what a profile only bounds, small worlds let one minimise itself.

:mod:`mdm_jax.evaluation.exact.laws` gives the law of an ancestral sampler's output as a differentiable function of its
grid.
So the distance of that law from the data's is too, and it can be tuned directly, without samples and without noise:

| searched                                       | by                                   | here                        |
|------------------------------------------------|--------------------------------------|-----------------------------|
| Beta(a, b) schedules in ``K`` equal time steps | every pair of a grid, then gradients | :func:`search_beta_by_law`  |
| any revealed fractions of ``K`` steps          | gradients from random starts         | :func:`optimal_grid_by_law` |
| one grid                                       | its law                              | :func:`law_divergence`      |

The profile's cost (:func:`mdm_jax.theory.plans.grids.ancestral_nelbo`), less the target's entropy, is an upper bound
on the KL divergence found here, and another schedule may be best for it; it is what remains to tune by where
there are too many states to list.

The search over a grid is one executable in float32, run over chunks. Gradients are followed in float64 on the host by
L-BFGS; divergence and slope by the fractions are one executable for Beta schedules and free fractions alike.

Source: choosing ``(a, b)`` from a grid is arXiv 2509.13866 (section 3.3, appendix E.1); law and gradient are ours.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
import scipy.special
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from mdm_jax.evaluation.exact import laws
from mdm_jax.support.errors import InputError, require, require_choice, require_whole, verbatim
from mdm_jax.support.keys import threefry
from mdm_jax.support.progress import bar
from mdm_jax.theory import schedules
from mdm_jax.theory.plans.beta_search import beta_values
from mdm_jax.theory.plans.grids import Grid

DIVERGENCES: Mapping[str, Callable[[Any, Any], Float[Array, ""]]] = {
    "total variation": laws.total_variation,
    "KL": laws.kl_divergence,
    "Jensen-Shannon": laws.jensen_shannon,
}
"""Divergences by name, each a function of the target and of the sampler's law: from 0 to 1, nats, nats."""

REFINED = 4
"""How many of the grid's local minima gradients start from."""
MOST_STEPS = 2**20
"""And starts: more would not end."""
CHUNK = 4096
"""Schedules per call of the search's executable."""
_AT_ONCE, _MOST_ENTRIES = 64, 2**20
_ENTRIES_AT_ONCE = 2e8
"""Of the tensor of :mod:`laws`, times steps, between two moves of the progress bar: about a second."""
MOST_WORK = 2e10
"""The same for a whole search with as many points as there is time for: a few minutes."""
_LEAST, _MOST = 0.02, 50.0
"""Bounds of ``a`` and ``b`` for gradients: as far as incomplete beta functions have their digits."""
_ITERATIONS, _KNOTS = 500, 64


@dataclasses.dataclass(frozen=True, eq=False)
class BetaByLaw:
    """The Beta schedules that :func:`search_beta_by_law` scored, and the best one.

    Attributes:
        divergence: its name, one of :data:`DIVERGENCES`.
        steps: number of equal time steps.
        values: float64[points], the values of ``a`` and of ``b`` that were tried.
        landscape: float64[points, points], the divergence at ``a = values[i]``, ``b = values[j]`` (float32 digits).
        a: of the best schedule, after gradients.
        b: of the best schedule.
        value: its divergence from the target in float64; no larger than that of the best of the landscape (to float32's
            digits).
        grid: its revealed fractions. Steps that reveal nothing are left out, so there may be fewer than ``steps``.
    """

    divergence: str
    steps: int
    values: Float[np.ndarray, " points"]
    landscape: Float[np.ndarray, "points points"]
    a: float
    b: float
    value: float
    grid: Grid

    @property
    def schedule(self) -> schedules.Beta:
        """The best schedule."""
        return schedules.beta(self.a, self.b)

    @property
    def best_of_grid(self) -> tuple[float, float, float]:
        """``(a, b, divergence)`` of the best schedule of the landscape, before gradients."""
        i, j = _least(self.landscape)
        return float(self.values[i]), float(self.values[j]), float(self.landscape[i, j])


@dataclasses.dataclass(frozen=True, eq=False)
class GridByLaw:
    """The grid of least divergence that :func:`optimal_grid_by_law` found, and where every start led.

    Attributes:
        divergence: its name, one of :data:`DIVERGENCES`.
        grid: the best fractions. Steps that nothing gains shrink to nothing and are left out.
        value: the divergence of its law from the target.
        values: float64[starts], the divergence where each start led.
        fractions: float64[starts, steps + 1], the fractions there.
    """

    divergence: str
    grid: Grid
    value: float
    values: Float[np.ndarray, " starts"]
    fractions: Float[np.ndarray, "starts knots"]


def law_divergence(
    logits: Float[Array, "states length vocab_size"],
    target: laws.Numbers,
    grid: laws.Numbers,
    divergence: str = "total variation",
) -> float:
    """How far the output law of ancestral sampling with ``grid`` is from ``target``.

    Args:
        logits: of every partial state (``laws.conditionals``).
        target: the law to be sampled, ``float[vocab_size^length]`` or of shape ``(vocab_size,) * length``.
        grid: float[K + 1], revealed fractions from 0 to 1 (``Grid.fractions``, ``schedule.alpha(arange(K + 1) / K)``).
        divergence: one of :data:`DIVERGENCES`; KL is from the target to the sampler's law.

    Raises:
        InputError: no such divergence, a target of other states, or fractions that do not rise from 0 to 1.
    """
    target = _checked(logits, target, divergence)
    value = float(DIVERGENCES[divergence](target, laws.ancestral_law(logits, grid)))
    require(not math.isnan(value), "logits", verbatim("some that are none"), "log-probabilities in every partial state")
    return value


def search_beta_by_law(
    logits: Float[Array, "states length vocab_size"],
    target: laws.Numbers,
    steps: int,
    divergence: str = "total variation",
    points: int | None = None,
    *,
    values: Sequence[float] | np.ndarray | None = None,
    progress: bool = False,
) -> BetaByLaw:
    """The Beta(a, b) schedule whose ancestral sampler of ``steps`` equal time steps is nearest to ``target``.

    Every pair of ``values`` is scored; gradients in ``(log a, log b)`` then start from the least local minima of that
    landscape (as many as :data:`REFINED`), with ``a`` and ``b`` kept between 1/50 and 50. Total variation has kinks,
    where they may stop short of the optimum; but the best of the grid is where the first of them starts, so the result
    is no worse.

    The cost is that of ``points^2`` output laws, each in proportion to ``(2 vocab_size + 1)^length`` and to ``steps``.

    Args:
        logits: of every partial state (``laws.conditionals``).
        target: the law to be sampled, ``float[vocab_size^length]`` or of shape ``(vocab_size,) * length``.
        steps: number of steps, 1 or more; step ``k`` ends at the revealed fraction ``alpha(k / steps)``.
        divergence: one of :data:`DIVERGENCES`; KL is from the target to the sampler's law.
        points: number of values of ``a`` and of ``b``, at most :data:`CHUNK`: those of
            :func:`mdm_jax.theory.plans.beta_search.beta_values`; 256 if left out, or as many as take a few minutes.
        values: other values of ``a`` and ``b``, instead of ``points``.
        progress: show a progress bar.

    Raises:
        InputError: an argument out of its range, or a landscape without a finite value.
    """
    target = _checked(logits, target, divergence)
    steps = require_whole("steps", steps, 1, MOST_STEPS)
    points = require_whole("points", affordable_points(logits, steps) if points is None else points, 2, CHUNK)
    tried = beta_values(points) if values is None else _checked_values(values)
    landscape = _landscape(logits, target, tried, steps, divergence, progress)
    if not np.isfinite(landscape).any():
        raise InputError(f"divergence must be finite somewhere; {divergence} is infinite for every schedule tried.")
    low, high = np.log(min(_LEAST, tried.min())), np.log(max(_MOST, tried.max()))
    found = []
    with jax.enable_x64(True):
        objective = _Objective(logits, target, divergence)
        times = np.arange(steps + 1) / steps

        def of_logarithms(x: np.ndarray) -> tuple[float, np.ndarray]:
            fractions, by_logarithms = _beta_fractions(x, times)
            value, slope = objective(fractions)
            return value, slope @ by_logarithms

        for i, j in _local_minima(landscape, tried)[:REFINED]:
            found.append(_descend(of_logarithms, np.log(tried[[i, j]]), [(low, high)] * 2))
        value, x = min(found, key=lambda pair: pair[0])
        fractions, _ = _beta_fractions(x, times)
    a, b = np.exp(x).tolist()
    origin = {"rule": "Beta schedule of least divergence", "divergence": divergence, "value": value, "a": a, "b": b}
    grid = _grid(fractions, f"beta:{a:.4g},{b:.4g}", origin)
    return BetaByLaw(divergence, steps, tried, landscape, a, b, value, grid)


def affordable_points(logits: Float[Array, "states length vocab_size"], steps: int) -> int:
    """Values of ``a`` and of ``b`` for which a search takes at most a few minutes: from 8 to 256."""
    _, length, vocab_size = logits.shape
    schedules_at_most = MOST_WORK / ((2 * vocab_size + 1) ** length * steps)
    return int(np.clip(math.isqrt(int(schedules_at_most)), 8, 256))


def optimal_grid_by_law(
    logits: Float[Array, "states length vocab_size"],
    target: laws.Numbers,
    steps: int,
    divergence: str = "total variation",
    starts: int = 8,
    *,
    key: PRNGKeyArray,
    progress: bool = False,
) -> GridByLaw:
    """The revealed fractions, whatever they are, whose ancestral sampler is nearest to ``target``.

    Increments are a softmax of free numbers; L-BFGS follows gradients from ``starts`` sets of standard normal ones.
    Where all starts end at one value, that is likely the optimum; nothing proves it.

    Args:
        logits: of every partial state (``laws.conditionals``).
        target: the law to be sampled, ``float[vocab_size^length]`` or of shape ``(vocab_size,) * length``.
        steps: number of steps, 1 or more.
        divergence: one of :data:`DIVERGENCES`; KL is from the target to the sampler's law.
        starts: number of random starts; start ``s`` depends on ``fold_in(key, s)`` alone.
        key: a typed PRNG key.
        progress: show a progress bar.

    Raises:
        InputError: an argument out of its range, or starts that all have an infinite divergence.
    """
    target = _checked(logits, target, divergence)
    steps, starts = require_whole("steps", steps, 1, MOST_STEPS), require_whole("starts", starts, 1, MOST_STEPS)
    key = threefry(key)
    normals = [np.asarray(jax.random.normal(jax.random.fold_in(key, s), (steps,)), np.float64) for s in range(starts)]
    found = []
    with jax.enable_x64(True), bar(starts, "grid by law", "start", progress) as advance:
        objective = _Objective(logits, target, divergence)

        def of_free_numbers(x: np.ndarray) -> tuple[float, np.ndarray]:
            shares = scipy.special.softmax(x)
            value, slope = objective(_sums(shares))
            by_share = np.append(np.cumsum(slope[1:-1][::-1])[::-1], 0.0)  # a_k is the sum of the first k shares
            return value, shares * (by_share - shares @ by_share)

        for start in normals:
            value, x = _descend(of_free_numbers, start)
            found.append((value, _sums(scipy.special.softmax(x))))
            advance(1, least=min(found, key=lambda pair: pair[0])[0])
    values, fractions = np.array([pair[0] for pair in found]), np.stack([pair[1] for pair in found])
    best = int(np.argmin(values))
    if not np.isfinite(values[best]):
        raise InputError(f"divergence must be finite somewhere; {divergence} is infinite at all {starts} starts.")
    value = float(values[best])
    origin = {"rule": "grid of least divergence", "divergence": divergence, "value": value, "starts": starts}
    return GridByLaw(divergence, _grid(fractions[best], "optimal by law", origin), value, values, fractions)


# ---------------------------------------------------------------------------------------------- machinery


def _checked(logits: Array, target: laws.Numbers, divergence: str) -> np.ndarray:
    """The target as float64[sequences], after checks."""
    require_choice("divergence", divergence, DIVERGENCES)
    return laws.checked_target(logits, target)


def _checked_values(values: Sequence[float] | np.ndarray) -> Float[np.ndarray, " points"]:
    try:
        tried = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        tried = np.full(1, np.nan)
    good = tried.ndim == 1 and tried.size > 0 and bool(np.all((tried > 0) & (tried <= 1000)))
    require(good, "values", tried.tolist(), "a list of positive numbers up to 1000")
    return tried


def _landscape(
    logits: Array, target: np.ndarray, values: np.ndarray, steps: int, divergence: str, progress: bool
) -> Float[np.ndarray, "points points"]:
    """The divergence at every pair of values, in chunks of one shape."""
    _, length, vocab_size = logits.shape
    pairs = (2 * vocab_size + 1) ** length
    together = max(1, min(_AT_ONCE, _MOST_ENTRIES // pairs))
    together = 1 << (together.bit_length() - 1)
    a, b = (x.ravel() for x in np.meshgrid(values, values, indexing="ij"))
    law, times = jnp.asarray(target, logits.dtype), jnp.asarray(np.arange(steps + 1) / steps, float)
    found = np.empty(a.size)
    stride = int(np.clip(_ENTRIES_AT_ONCE / (pairs * steps), together, CHUNK)) // together * together
    with bar(a.size, "Beta by law", "schedule", progress) as advance:
        for at in range(0, a.size, stride):
            part = slice(at, at + stride)
            few = len(a[part])
            filled = (np.pad(x[part], (0, CHUNK - few), mode="edge").reshape(-1, together) for x in (a, b))
            blocks = -(-few // together)
            scores = _scores(logits, law, *(jnp.asarray(x, float) for x in filled), times, blocks, _number(divergence))
            found[part] = np.asarray(scores, np.float64).reshape(-1)[:few]
            advance(few)
    return found.reshape(len(values), len(values))


@jax.jit
def _scores(
    logits: Array, target: Array, a: Array, b: Array, times: Array, blocks: ArrayLike, number: ArrayLike
) -> Float[Array, "rows together"]:
    """Divergences of the first ``blocks`` rows of schedules; the others are left 0."""

    def score(a: Array, b: Array) -> Array:
        law = laws.ancestral_law(logits, schedules.Beta(a=a, b=b).alpha(times))
        return _distance(number, target, law)

    def row(i: Array, scores: Array) -> Array:
        return scores.at[i].set(jax.vmap(score)(a[i], b[i]).astype(scores.dtype))

    return jax.lax.fori_loop(0, blocks, row, jnp.zeros_like(a))


def _number(divergence: str) -> int:
    return list(DIVERGENCES).index(divergence)


def _distance(number: ArrayLike, target: Array, law: Array) -> Float[Array, ""]:
    """The divergence of that number: all in one executable, since the law is nearly all there is to compile."""
    return jax.lax.switch(number, list(DIVERGENCES.values()), target, law)


class _Objective:
    """The divergence as a function of the fractions, and its slope, in float64 (inside ``jax.enable_x64``)."""

    def __init__(self, logits: Array, target: np.ndarray, divergence: str) -> None:
        self.logits, self.target = jnp.asarray(np.asarray(logits), float), jnp.asarray(target, float)
        self.number = _number(divergence)

    def __call__(self, fractions: np.ndarray) -> tuple[float, np.ndarray]:
        """``inf`` where the value is not finite, and no slope where that is not."""
        value, slope = _value_and_slope(jnp.asarray(fractions, float), self.logits, self.target, self.number)
        value, slope = float(value), np.asarray(slope, np.float64)
        good = np.isfinite(value) and bool(np.isfinite(slope).all())
        return max(value, 0.0) if np.isfinite(value) else np.inf, slope if good else np.zeros_like(slope)


@jax.jit
def _value_and_slope(fractions: Array, logits: Array, target: Array, number: ArrayLike) -> tuple[Array, Array]:
    def value(fractions: Array) -> Array:
        return _distance(number, target, laws.ancestral_law(logits, fractions))

    return jax.value_and_grad(value)(fractions)


def _beta_fractions(
    logarithms: np.ndarray, times: Float[np.ndarray, " knots"]
) -> tuple[Float[np.ndarray, " knots"], Float[np.ndarray, "knots 2"]]:
    """``alpha`` of Beta(a, b) at the times, and its derivatives by ``log a`` and ``log b``."""
    filled = np.pad(times, (0, -len(times) % _KNOTS), mode="edge")  # one executable for nearly all numbers of steps
    alpha, slopes = _alpha_and_slopes(logarithms, filled)
    return np.asarray(alpha, np.float64)[: len(times)], np.asarray(slopes, np.float64)[: len(times)]


@jax.jit
def _alpha_and_slopes(
    logarithms: ArrayLike, times: ArrayLike
) -> tuple[Float[Array, " knots"], Float[Array, "knots 2"]]:
    def fractions(logarithms: Array) -> tuple[Array, Array]:
        a, b = jnp.exp(logarithms)
        alpha = schedules.Beta(a=a, b=b).alpha(times)
        return alpha, alpha

    slopes, alpha = jax.jacfwd(fractions, has_aux=True)(jnp.asarray(logarithms, float))
    return alpha, slopes


def _descend(
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


def _local_minima(landscape: np.ndarray, values: np.ndarray) -> list[tuple[int, int]]:
    """Places no higher than their eight neighbours, the lowest first; of those equal to seven digits linear first."""
    padded = np.pad(np.where(np.isnan(landscape), np.inf, landscape), 1, constant_values=np.inf)
    rows, columns = landscape.shape
    around = [padded[1 + i : 1 + i + rows, 1 + j : 1 + j + columns] for i in (-1, 0, 1) for j in (-1, 0, 1)]
    inside = padded[1:-1, 1:-1]
    low = np.argwhere((inside <= np.min(around, axis=0)) & np.isfinite(inside))

    def rank(at: np.ndarray) -> tuple[float, float]:
        return round(float(inside[tuple(at)]), 7), float(np.abs(np.log(2 * values[at])).sum())

    return [(int(i), int(j)) for i, j in sorted(low, key=rank)]


def _least(landscape: np.ndarray) -> tuple[int, int]:
    i, j = np.unravel_index(np.nanargmin(landscape), landscape.shape)
    return int(i), int(j)


def _sums(shares: Float[np.ndarray, " steps"]) -> Float[np.ndarray, " knots"]:
    return np.concatenate([[0.0], np.minimum(np.cumsum(shares)[:-1], 1.0), [1.0]])


def _grid(fractions: Float[np.ndarray, " knots"], name: str, origin: Mapping[str, Any]) -> Grid:
    """A grid of the distinct fractions."""
    inside = fractions[(fractions > 0) & (fractions < 1)]
    return Grid(np.concatenate([[0.0], np.unique(inside), [1.0]]), name=name, origin=origin)
