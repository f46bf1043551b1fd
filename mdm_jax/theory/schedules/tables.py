"""Schedules given by a table: any family on common terms, and a schedule that is free to learn."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from mdm_jax.support.errors import require, require_whole, verbatim
from mdm_jax.support.flags import usual
from mdm_jax.support.keys import threefry
from mdm_jax.theory.numerics.given import as_float, require_array
from mdm_jax.theory.schedules.base import HALF_PI, AngleSchedule, Schedule, angle, checked_schedule

_MOST_CELLS = 2**20
"""Of a table: float32 tells equally spaced knots apart up to there."""


class Tabulated(AngleSchedule):
    """``theta`` piecewise linear in ``t``: from knot to knot it rises by the softmax of ``logits``.

    Rising, and from 0 to 1, whatever the logits are: a schedule that a gradient can shape freely. ``times`` stay where
    they are put. (Two schedules of different families with as many knots are two members of this one.)

    Example:
        >>> import jax.numpy as jnp, mdm_jax as mdm
        >>> table = mdm.schedules.Tabulated(times=jnp.array([0.0, 0.5, 1.0]), logits=jnp.log(jnp.array([1.0, 3.0])))
        >>> float(table.theta(0.5))  # a quarter of the rise in the first half
        0.25
    """

    times: Float[Array, "*stack knots"]
    logits: Float[Array, "*stack cells"]
    name: ClassVar[str] = "tabulated"
    ends: ClassVar[tuple[float, float] | None] = (1.0, 1.0)

    def increments(self) -> Float[Array, "*stack cells"]:
        """How much ``theta`` rises in each cell; they sum to 1."""
        return jax.nn.softmax(self.logits, axis=-1)

    def theta(self, t: ArrayLike) -> Float[Array, "..."]:
        rises, cell, before, _, width, _ = self._cell(t)
        below = jnp.cumsum(rises) - rises
        value = below[cell] + rises[cell] * before / width
        return _between(t, value, 0.0, 1.0)

    def one_minus_theta(self, t: ArrayLike) -> Float[Array, "..."]:
        rises, cell, _, after, width, _ = self._cell(t)
        above = jnp.cumsum(rises[::-1])[::-1] - rises
        value = above[cell] + rises[cell] * after / width
        return _between(t, value, 1.0, 0.0)

    def log_theta_rate(self, t: ArrayLike, complement: ArrayLike | None = None) -> Float[Array, "..."]:
        del complement
        _, cell, _, _, width, log_rises = self._cell(t)
        return log_rises[cell] - jnp.log(width)

    def hazard(self, t: ArrayLike) -> Float[Array, "..."]:
        _, cell, _, after, width, log_rises = self._cell(t)
        log_above = jnp.append(jax.lax.cumlogsumexp(log_rises, reverse=True)[1:], -jnp.inf)
        ahead = jnp.exp(log_above - log_rises)[cell]  # of what this cell rises
        left = width * ahead + after
        return jnp.where(left > 0, 1 / jnp.where(left > 0, left, 1.0), jnp.inf)

    def inverse(self, alpha: ArrayLike) -> Float[Array, "..."]:
        alpha = as_float(alpha)
        target, rest = angle(alpha, 1 - alpha), angle(1 - alpha, alpha)
        rises = self.increments()
        at = jnp.concatenate([jnp.zeros((1,), rises.dtype), jnp.cumsum(rises)])
        cell = jnp.clip(jnp.searchsorted(at, target, side="right") - 1, 0, len(rises) - 1)
        above = jnp.cumsum(rises[::-1])[::-1] - rises
        share = jnp.where(target < 0.5, (target - at[cell]) / rises[cell], 1 - (rest - above[cell]) / rises[cell])
        value = self.times[cell] + jnp.clip(share, 0.0, 1.0) * (self.times[cell + 1] - self.times[cell])
        return jnp.where(target <= 0, 0.0, jnp.where(rest <= 0, 1.0, value))

    def pieces(self) -> Float[Array, " knots"] | None:
        return self.times

    def coordinates(self) -> Any:
        return {"logits": self.logits}

    def at_coordinates(self, coordinates: Any) -> Schedule:
        return dataclasses.replace(self, logits=coordinates["logits"])

    def _check(self, argument: str) -> None:
        for name, given in self.parameters().items():
            kind = getattr(getattr(given, "dtype", None), "kind", "")
            require(kind == "f", f"{name} of {argument}", given, "an array of floats (schedules.tabulated makes one)")
        shapes = np.shape(self.times), np.shape(self.logits)
        single = len(shapes[0]) == 1 and shapes[1] == (shapes[0][0] - 1,) and shapes[1] != (0,)
        require(
            single, argument, verbatim(f"shapes {shapes[0]} and {shapes[1]}"), "one table, with a cell between knots"
        )
        times, logits = (np.asarray(x, np.float64) for x in (self.times, self.logits))
        rising = times[0] == 0 and times[-1] == 1 and bool((np.diff(times) >= 0).all())
        require(bool(rising), argument, verbatim(f"times {times.tolist()}"), "a table whose times rise from 0 to 1")
        good = bool(np.isfinite(logits.max()) and not np.isnan(logits).any())
        require(good, argument, verbatim(f"logits {logits.tolist()}"), "a table of logits, not NaN and not all -inf")

    def _cell(self, t: ArrayLike) -> tuple[Array, Array, Array, Array, Array, Array]:
        t = as_float(t)
        last = self.logits.shape[-1] - 1
        cell = jnp.clip(jnp.searchsorted(self.times, t, side="right") - 1, 0, last)
        start, end = self.times[cell], self.times[cell + 1]
        width = jnp.where(end > start, end - start, 1.0)
        log_rises = jax.nn.log_softmax(self.logits, axis=-1)
        return jnp.exp(log_rises), cell, t - start, end - t, width, log_rises


def tabulated(times: ArrayLike, angles: ArrayLike) -> Tabulated:
    """The schedule whose angle ``theta`` has the given values at the given times, straight lines in between.

    Args:
        times: float[knots], rising from 0 to 1.
        angles: float[knots], rising from 0 to 1 (``(2/pi) arcsin sqrt(alpha)``).

    Raises:
        InputError: shapes that differ, fewer than 2 knots, or values that do not rise from 0 to 1.

    Example:
        >>> import jax.numpy as jnp, mdm_jax as mdm
        >>> late = mdm.schedules.tabulated(jnp.array([0.0, 0.5, 1.0]), jnp.array([0.0, 0.2, 1.0]))
        >>> float(late.theta(0.75))
        0.6
    """
    if isinstance(times, jax.core.Tracer) or isinstance(angles, jax.core.Tracer):
        logits = jnp.log(jnp.diff(as_float(angles)))
    else:
        arrays = require_array("times", times), require_array("angles", angles)
        for argument, numbers in zip(("times", "angles"), arrays):
            require(numbers.dtype.kind in "fiu", argument, numbers.tolist(), "numbers that rise from 0 to 1")
        given, values = (x.astype(float) for x in arrays)
        for argument, numbers in (("times", given), ("angles", values)):
            good = numbers.ndim == 1 and len(numbers) > 1 and numbers[0] == 0 and numbers[-1] == 1
            require(bool(good and np.all(np.diff(numbers) > 0)), argument, numbers.tolist(), "rising from 0 to 1")
        shapes = verbatim(f"{given.shape} and {values.shape}")
        require(given.shape == values.shape, "times and angles", shapes, "of one shape")
        logits = as_float(np.log(np.diff(values)))
    return Tabulated(times=as_float(times), logits=logits)


def tabulate(schedule: Schedule, cells: int = 256) -> Tabulated:
    """``schedule`` as a table, with knots at equally spaced angles: wherever it rises fast, the knots are dense.

    Every family becomes the same one, so that schedules of different families can be stacked and share an executable.
    With 256 cells ``alpha`` is off by less than 1e-4 (2e-4 for exponents near 0.05); the slope at singular ends is lost
    (:meth:`Schedule.end_exponents` becomes 1), so compute energies before tabulating.

    Args:
        schedule: one schedule (``vmap`` for a stack).
        cells: number of straight pieces, at least 2.

    Raises:
        InputError: no schedule, or a number of pieces out of range.

    Example:
        >>> import mdm_jax as mdm
        >>> table = mdm.schedules.tabulate(mdm.schedules.maskgit(), 64)
        >>> float(table.alpha(2 / 3)), table.logits.shape
        (0.500, (64,))
    """
    checked_schedule(schedule)
    require_whole("cells", cells, 2, _MOST_CELLS)
    thetas = jnp.arange(cells + 1) / cells
    knots = schedule.inverse(jnp.square(jnp.sin(HALF_PI * thetas)))
    knots = jax.lax.cummax(jnp.asarray(knots, float)).at[jnp.array([0, -1])].set(jnp.array([0.0, 1.0]))
    return Tabulated(times=knots, logits=jnp.zeros((cells,)))


def free(cells: int = 64, key: Array | None = None, times: ArrayLike | None = None) -> Tabulated:
    """A schedule to learn: ``sine_squared`` in ``cells`` straight pieces, or a random one near it.

    Its slope is finite at both ends, so its energy is infinite under a ``gamma`` that goes as ``t^2`` or flatter there.

    Args:
        cells: number of pieces, at least 2.
        key: draw the logits from a standard normal law.
        times: float[cells + 1], rising from 0 to 1; equally spaced if left out. Denser knots where ``gamma`` is steep
            bring it nearer to the optimum (knots within 1e-6 of 1 are too fine for float32).

    Raises:
        InputError: fewer than 2 pieces, no key, or times of another shape or that do not rise from 0 to 1.

    Example:
        >>> import mdm_jax as mdm
        >>> schedule = mdm.schedules.free(8, key=mdm.key(0))
        >>> schedule.logits.shape, float(schedule.alpha(0.0)), float(schedule.alpha(1.0))
        ((8,), 0.0, 1.0)
    """
    require_whole("cells", cells, 2, _MOST_CELLS)
    knots = jnp.arange(cells + 1) / cells if times is None else as_float(times)
    require(knots.shape == (cells + 1,), "times", verbatim(str(knots.shape)), f"of shape ({cells + 1},)")
    start = tabulated(knots, knots)
    if key is None:
        return start
    with usual(key):
        # (in float32: other types draw other numbers)
        moves = jax.random.normal(threefry(key), (cells,), jnp.float32)
    return Tabulated(times=start.times, logits=start.logits + moves.astype(start.logits.dtype))


def _between(t: ArrayLike, value: Array, at_0: float, at_1: float) -> Array:
    """``value`` inside (0, 1); knots that float32 cannot tell from an end do not move the end."""
    t = as_float(t)
    return jnp.where(t <= 0, at_0, jnp.where(t >= 1, at_1, value))
