"""The Beta schedule whose ancestral sampler is nearest to the target: every pair of a grid, then gradients."""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from mdm_jax.evaluation.exact.descent import MOST_STEPS, Objective, descend, distance, grid_of, number_of
from mdm_jax.evaluation.exact.divergences import checked
from mdm_jax.evaluation.exact.laws import ancestral_law
from mdm_jax.evaluation.exact.states import Numbers
from mdm_jax.support.arrays import as_array
from mdm_jax.support.errors import InputError, require, require_whole
from mdm_jax.support.progress import bar
from mdm_jax.theory import schedules
from mdm_jax.theory.plans.beta_search import beta_values
from mdm_jax.theory.plans.grids import Grid

REFINED = 4
"""How many of the grid's local minima gradients start from."""
CHUNK = 4096
"""Schedules per call of the search's executable."""
_AT_ONCE, _MOST_ENTRIES = 64, 2**20
_ENTRIES_AT_ONCE = 2e8
"""Of the tensor of :mod:`~mdm_jax.evaluation.exact.moves`, times steps, between two moves of the progress bar: about a
second."""
MOST_WORK = 2e10
"""The same for a whole search with as many points as there is time for: a few minutes."""
_LEAST, _MOST = 0.02, 50.0
"""Bounds of ``a`` and ``b`` for gradients: as far as incomplete beta functions have their digits."""
_LARGEST = 1000.0
"""Value that a grid may have."""
_KNOTS = 64


@dataclasses.dataclass(frozen=True, eq=False)
class BetaByLaw:
    """The Beta schedules that :func:`search_beta_by_law` scored, and the best one.

    Attributes:
        divergence: its name, one of :data:`~mdm_jax.evaluation.exact.divergences.DIVERGENCES`.
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

    def __repr__(self) -> str:
        """How much was searched, and the best schedule."""
        size = len(self.values)
        best = f"Beta({self.a:.4g}, {self.b:.4g}), {self.divergence} {self.value:.4g}"
        return f"BetaByLaw({size} x {size} schedules at {self.steps} steps; best: {best})"

    def _repr_html_(self) -> str:
        from mdm_jax.plot import cost_landscapes, drawing  # a notebook alone pays for Matplotlib

        axes = drawing.wide(3.4, lines=False)
        return drawing.fragment(cost_landscapes.landscape(self, axes=axes), repr(self))

    @property
    def schedule(self) -> schedules.Beta:
        """The best schedule."""
        return schedules.beta(self.a, self.b)

    @property
    def best_of_grid(self) -> tuple[float, float, float]:
        """``(a, b, divergence)`` of the best schedule of the landscape, before gradients."""
        i, j = _least(self.landscape)
        return float(self.values[i]), float(self.values[j]), float(self.landscape[i, j])


def search_beta_by_law(
    logits: Float[Array, "states length vocab_size"],
    target: Numbers,
    steps: int,
    divergence: str = "total variation",
    grid: int | Sequence[float] | np.ndarray | None = None,
    *,
    progress: bool = False,
) -> BetaByLaw:
    """The Beta(a, b) schedule whose ancestral sampler of ``steps`` equal time steps is nearest to ``target``.

    Every pair of values is scored; gradients in ``(log a, log b)`` then start from the least local minima of that
    landscape (as many as :data:`REFINED`), with ``a`` and ``b`` kept between 1/50 and 50. Total variation has kinks,
    where they may stop short of the optimum; but the best of the grid is where the first of them starts, so the result
    is no worse.

    Each pair costs one output law, in proportion to ``(2 vocab_size + 1)^length`` and to ``steps``.

    Args:
        logits: of every partial state (:func:`~mdm_jax.evaluation.exact.states.conditionals`).
        target: the law to be sampled, ``float[vocab_size^length]`` or of shape ``(vocab_size,) * length``.
        steps: number of steps, 1 or more; step ``k`` ends at the revealed fraction ``alpha(k / steps)``.
        divergence: one of :data:`~mdm_jax.evaluation.exact.divergences.DIVERGENCES`; KL is from the target to the
            sampler's law.
        grid: how many values of ``a`` and of ``b`` to try, at most :data:`CHUNK`
            (:func:`mdm_jax.theory.plans.beta_search.beta_values`: N x N schedules), or the values themselves, rising,
            up to 1000; if left out 256, or as many as take a few minutes.
        progress: show a progress bar.

    Raises:
        InputError: an argument out of its range, or a landscape without a finite value.

    Source: arXiv 2509.13866, section 3.3 and appendix E.1 (there a coarser grid, without gradients).

    Example:
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.toy_left()  # five equal tokens: one tells the others
        >>> logits = mdm.evaluation.exact.conditionals(world.denoiser, world.params, length=5)
        >>> mdm.evaluation.search_beta_by_law(logits, world.probabilities, steps=3, grid=8)
        BetaByLaw(8 x 8 schedules at 3 steps; best: Beta(0.4961, 0.2722), total variation 0.2811)
    """
    target = checked(logits, target, divergence)
    steps = require_whole("steps", steps, 1, MOST_STEPS)
    tried = _values(affordable_points(logits, steps) if grid is None else grid)
    landscape = _landscape(logits, target, tried, steps, divergence, progress)
    if not np.isfinite(landscape).any():
        raise InputError(f"divergence must be finite somewhere; {divergence} is infinite for every schedule tried.")
    low, high = np.log(min(_LEAST, tried.min())), np.log(max(_MOST, tried.max()))
    found = []
    with jax.enable_x64(True):
        objective = Objective(logits, target, divergence)
        times = np.arange(steps + 1) / steps

        def of_logarithms(x: np.ndarray) -> tuple[float, np.ndarray]:
            fractions, by_logarithms = _beta_fractions(x, times)
            value, slope = objective(fractions)
            return value, slope @ by_logarithms

        for i, j in _local_minima(landscape, tried)[:REFINED]:
            found.append(descend(of_logarithms, np.log(tried[[i, j]]), [(low, high)] * 2))
        value, x = min(found, key=lambda pair: pair[0])
        fractions, _ = _beta_fractions(x, times)
    a, b = np.exp(x).tolist()
    origin = {"rule": "Beta schedule of least divergence", "divergence": divergence, "value": value, "a": a, "b": b}
    best = grid_of(fractions, f"beta:{a:.4g},{b:.4g}", origin)
    return BetaByLaw(divergence, steps, tried, landscape, a, b, value, best)


def affordable_points(logits: Float[Array, "states length vocab_size"], steps: int) -> int:
    """Values of ``a`` and of ``b`` for which a search takes at most a few minutes: from 8 to 256.

    Args:
        logits: as in :func:`search_beta_by_law`; their shape alone counts.
        steps: of each schedule.

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> mdm.evaluation.exact.affordable_points(jnp.zeros((243, 5, 2)), steps=1000)
        80
    """
    _, length, vocab_size = logits.shape
    schedules_at_most = MOST_WORK / ((2 * vocab_size + 1) ** length * steps)
    return int(np.clip(math.isqrt(int(schedules_at_most)), 8, 256))


def _values(grid: int | Sequence[float] | np.ndarray) -> Float[np.ndarray, " points"]:
    """The values of ``a`` and ``b`` that ``grid`` asks for, checked."""
    if isinstance(grid, int | np.integer) and not isinstance(grid, bool):
        return beta_values(require_whole("grid", grid, 2, CHUNK))
    given = as_array(grid)
    numbers = given.ndim == 1 and len(given) > 0 and given.dtype.kind in "fiu"
    tried = given.astype(np.float64) if numbers else np.zeros(1)
    good = tried[0] > 0 and tried[-1] <= _LARGEST and bool(np.all(np.diff(tried) > 0))
    wanted = f"a number of values, 2 to {CHUNK}, or rising numbers above 0, up to {_LARGEST:g}"
    require(bool(good), "grid", given.tolist() if numbers else grid, wanted)
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
            scores = _scores(
                logits, law, *(jnp.asarray(x, float) for x in filled), times, blocks, number_of(divergence)
            )
            found[part] = np.asarray(scores, np.float64).reshape(-1)[:few]
            advance(few)
    return found.reshape(len(values), len(values))


@jax.jit
def _scores(
    logits: Array, target: Array, a: Array, b: Array, times: Array, blocks: ArrayLike, number: ArrayLike
) -> Float[Array, "rows together"]:
    """Divergences of the first ``blocks`` rows of schedules; the others are left 0."""

    def score(a: Array, b: Array) -> Array:
        law = ancestral_law(logits, schedules.Beta(a=a, b=b).alpha(times))
        return distance(number, target, law)

    def row(i: Array, scores: Array) -> Array:
        return scores.at[i].set(jax.vmap(score)(a[i], b[i]).astype(scores.dtype))

    return jax.lax.fori_loop(0, blocks, row, jnp.zeros_like(a))


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
