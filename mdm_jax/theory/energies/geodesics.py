"""Arc length, and the schedule of least action under a metric and a weight."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from mdm_jax.support.errors import require, verbatim
from mdm_jax.theory.energies import metrics
from mdm_jax.theory.energies.metrics import Metric, fisher
from mdm_jax.theory.numerics import quadrature
from mdm_jax.theory.numerics.given import as_float
from mdm_jax.theory.schedules import SineSquared
from mdm_jax.theory.schedules.base import HALF_PI, AngleSchedule, Schedule, checked_schedule, times

_CELLS = 128
_NEAR = 1e-10
"""Where the power law of a metric at an end is measured."""
_FAR = 1e-30
"""Of the angle that is left: below this the power law of the end is all of it."""
_GAUSS = np.polynomial.legendre.leggauss(8)


def arc_length(metric: Metric = fisher, alpha: ArrayLike = 1.0) -> Float[Array, "..."]:
    """``integral_0^alpha sqrt(G(a)) da``, the length of the way from all masked to a revealed fraction ``alpha``.

    Args:
        metric: ``G``, with a finite length.
        alpha: float[...] in [0, 1].

    Example:
        >>> import mdm_jax as mdm
        >>> float(mdm.energies.arc_length())
        3.14159
    """
    metrics.check(metric)
    if not isinstance(alpha, jax.core.Tracer):
        inside = (np.asarray(alpha) >= 0) & (np.asarray(alpha) <= 1)
        require(bool(np.all(inside)), "alpha", alpha, "from 0 to 1")
    s, _, log_mass = (x.reshape((1,) * jnp.ndim(alpha) + (-1,)) for x in quadrature.nodes())
    end = jnp.arcsin(jnp.sqrt(as_float(alpha)))[..., None] / HALF_PI
    theta = end * s
    return np.pi * jnp.sum(metrics.speed(metric, theta) * jnp.exp(log_mass) * end, axis=-1)


def geodesic(metric: Metric, weight: Schedule | None = None) -> "Geodesic":
    """The schedule of least action under ``metric`` and ``weight``: its arc length is ``gamma(t)`` of the whole.

    Args:
        metric: ``G``.
        weight: the schedule whose angle is ``gamma``; ``sine_squared()``, that is ``gamma(t) = t``, if left out.

    Returns:
        A schedule that is differentiable (once) in the numbers of both. Its table of 128 cubic pieces costs it about
        1e-7 in ``theta`` where ``sqrt(G alpha (1 - alpha))`` is smooth in the angle, and its own energies are good to
        1e-3 (1e-2 under weights with steep ends).

    Raises:
        InputError: a metric of infinite length. (Not seen under ``jit``, where the metric's numbers are unknown.)

    Example:
        >>> import mdm_jax as mdm
        >>> float(mdm.energies.geodesic(mdm.energies.flat).alpha(0.3))  # the linear schedule
        0.3
    """
    metrics.check(metric)
    weight = SineSquared() if weight is None else checked_schedule(weight, "weight")
    points, masses = (jnp.asarray(x, float) for x in _GAUSS)
    theta = (jnp.arange(_CELLS, dtype=float)[:, None] + 0.5 + 0.5 * points[None, :]) / _CELLS
    lengths = jnp.sum(metrics.speed(metric, theta) * masses[None, :], axis=1)
    slopes = metrics.speed(metric, jnp.arange(_CELLS + 1, dtype=float) / _CELLS)
    total = jnp.sum(lengths)
    # A metric that falls to nothing at an end has slope 0 there, and an arc length of another order.
    ends, inner = slopes[jnp.array([0, -1])], slopes[jnp.array([1, -2])]
    flat = ends < 1e-3 * inner
    slopes = slopes.at[jnp.array([0, -1])].set(jnp.where(flat, 0.0, ends))
    orders = 1 + jnp.stack(metrics.exponents(metric, *(jnp.full((), _NEAR, float) for _ in range(2))))
    # A half that was measured is a half: a hair above, an energy that diverges would be a large number.
    halves = jnp.round(2 * orders) / 2
    orders = orders + jax.lax.stop_gradient(jnp.where(jnp.abs(orders - halves) < 1e-6, halves - orders, 0.0))
    if not isinstance(orders, jax.core.Tracer):
        require(bool((orders > 0).all()), "metric", metric, "of finite length, that is below alpha^-2 and (1-alpha)^-2")
    return Geodesic(pace=weight, lengths=lengths / total, slopes=slopes * 2 / total, orders=orders)


class Geodesic(AngleSchedule):
    """What :func:`geodesic` returns: ``theta = S^-1(gamma(t))``, the arc length ``S(theta)`` in cubic pieces."""

    pace: Schedule
    lengths: Float[Array, "*stack cells"]
    slopes: Float[Array, "*stack knots"]
    orders: Float[Array, "*stack ends"]
    name: ClassVar[str] = "geodesic"

    def theta(self, t: ArrayLike) -> Float[Array, "..."]:
        return self._invert(t)[0]

    def one_minus_theta(self, t: ArrayLike) -> Float[Array, "..."]:
        return self._invert(t)[1]

    def log_theta_rate(self, t: ArrayLike, complement: ArrayLike | None = None) -> Float[Array, "..."]:
        t, u = times(t, complement)
        # Later than the cut, t itself does not know u: the rate goes on as the power law that it is there.
        cut = 64 * float(jnp.finfo(t.dtype).eps)
        late = u < cut
        t, kept = jnp.where(late, 1 - cut, t), jnp.where(late, cut, u)
        slope = self._invert(t)[2] * self.lengths.shape[-1]
        rate = self.pace.log_theta_rate(t, kept) - jnp.log(slope)
        known = self.end_exponents()
        power = 0.0 if known is None else as_float(known[1]) - 1
        return rate + power * (jnp.log(jnp.where(late, u, cut)) - float(np.log(cut)))

    def hazard(self, t: ArrayLike) -> Float[Array, "..."]:
        _, rest, slope = self._invert(t)
        left = self.pace.one_minus_theta(t)
        # gamma' / (1 - gamma) as the pace has it; at the very end 1 - gamma goes as (1 - theta)^order
        there = (left > _FAR) & (rest > 0)
        ratio = left / jnp.where(there, slope * self.lengths.shape[-1] * rest, 1.0)
        return self.pace.hazard(t) * jnp.where(there, ratio, 1 / self.orders[..., 1])

    def end_exponents(self) -> tuple[ArrayLike, ArrayLike] | None:
        known = self.pace.end_exponents()
        if known is None:
            return None
        return as_float(known[0]) / self.orders[..., 0], as_float(known[1]) / self.orders[..., 1]

    def pieces(self) -> Float[Array, " knots"] | None:
        return self.pace.pieces()

    def coordinates(self) -> Any:
        return self.pace.coordinates()

    def at_coordinates(self, coordinates: Any) -> Schedule:
        return dataclasses.replace(self, pace=self.pace.at_coordinates(coordinates))

    def _check(self, argument: str) -> None:
        checked_schedule(self.pace, f"pace of {argument}")
        given = np.concatenate([np.ravel(x) for x in (self.lengths, self.slopes, self.orders)])
        good = bool(np.isfinite(given).all() and (given >= 0).all())
        require(good, argument, verbatim(f"a table of {given.min()} to {given.max()}"), "a geodesic of finite length")

    def _invert(self, t: ArrayLike) -> tuple[Array, Array, Array]:
        """``theta``, ``1 - theta``, and the slope of ``S`` per cell there."""
        covered, left = self.pace.theta(t), self.pace.one_minus_theta(t)
        cells = self.lengths.shape[-1]
        ahead = jnp.cumsum(self.lengths[::-1])[::-1]
        behind = jnp.cumsum(self.lengths)
        late = covered > 0.5
        # Early cells are entered from the left, late ones from the right: each end keeps its digits.
        from_left = jnp.searchsorted(behind, covered, side="right")
        from_right = cells - 1 - jnp.searchsorted(ahead[::-1], left, side="right")
        cell = jnp.clip(jnp.where(late, from_right, from_left), 0, cells - 1)
        length = self.lengths[cell]
        before, after = (jnp.minimum(self.slopes[i], 3 * length) for i in (cell, cell + 1))  # so that the cubic rises
        entered = jnp.where(late, left - (ahead[cell] - length), covered - (behind[cell] - length))
        near, far = jnp.where(late, after, before), jnp.where(late, before, after)
        x, slope = _solve(jnp.clip(entered, 0.0, length), length, near, far)
        begun, to_come = cell.astype(x.dtype), (cells - cell).astype(x.dtype)
        theta = jnp.where(late, begun + 1 - x, begun + x) / cells
        rest = jnp.where(late, to_come - 1 + x, to_come - x) / cells
        return theta, rest, slope


def _solve(value: Array, length: Array, near: Array, far: Array) -> tuple[Array, Array]:
    """``x`` in [0, 1] where the cubic from 0 to ``length`` with slopes ``near`` and ``far`` is ``value``; the slope."""
    bend, twist = 3 * length - 2 * near - far, near + far - 2 * length

    def cubic(x: Array) -> tuple[Array, Array]:
        return x * (near + x * (bend + x * twist)), near + x * (2 * bend + 3 * x * twist)

    def halve(_: ArrayLike, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = 0.5 * (low + high)
        below = cubic(middle)[0] < value
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    low, high = jax.lax.stop_gradient(jax.lax.fori_loop(0, 12, halve, (jnp.zeros_like(value), jnp.ones_like(value))))
    # In the first interval halving has no relative accuracy: there, from where one term of the three is all of it.
    terms = jnp.stack([near, bend, twist])
    alone = [(value / jnp.where(c > 0, c, 1.0)) ** power for c, power in zip(terms, (1, 1 / 2, 1 / 3))]
    start = jnp.min(jnp.where(terms > 0, jnp.stack(alone), 1.0), axis=0)
    x = jax.lax.stop_gradient(jnp.where(low > 0, 0.5 * (low + high), start))
    for _ in range(5):  # Newton; the last step carries the derivative of the implicit equation
        height, slope = cubic(jax.lax.stop_gradient(x))
        x = jax.lax.stop_gradient(x) - (height - value) / jax.lax.stop_gradient(jnp.where(slope > 0, slope, 1.0))
    x = jnp.where(value > 0, jnp.maximum(x, 0.0), 0.0)
    return x, cubic(x)[1]
