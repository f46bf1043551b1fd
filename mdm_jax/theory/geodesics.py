"""Arc length, and the schedule of least action under a metric and a weight."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from mdm_jax.theory import metrics, quadrature
from mdm_jax.theory.metrics import Metric, fisher
from mdm_jax.theory.schedule import HALF_PI, AngleSchedule, Schedule, as_float
from mdm_jax.theory.schedules import SineSquared

_CELLS = 128
_GAUSS = np.polynomial.legendre.leggauss(8)


def arc_length(metric: Metric = fisher, alpha: ArrayLike = 1.0) -> Float[Array, "..."]:
    """``integral_0^alpha sqrt(G(a)) da``, the length of the way from all masked to a revealed fraction ``alpha``.

    >>> round(float(arc_length()), 5)
    3.14159
    """
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
        1e-7 in ``theta`` for a smooth metric.

    >>> abs(geodesic(flat).alpha(0.3) - 0.3) < 1e-6  # the linear schedule
    Array(True, dtype=bool)
    """
    weight = SineSquared() if weight is None else weight
    points, masses = (jnp.asarray(x, float) for x in _GAUSS)
    theta = (jnp.arange(_CELLS)[:, None] + 0.5 + 0.5 * points[None, :]) / _CELLS
    lengths = jnp.sum(metrics.speed(metric, theta) * masses[None, :], axis=1)
    slopes = metrics.speed(metric, jnp.arange(_CELLS + 1) / _CELLS)
    total = jnp.sum(lengths)
    return Geodesic(pace=weight, lengths=lengths / total, slopes=slopes * 2 / total)


class Geodesic(AngleSchedule):
    """What :func:`geodesic` returns: ``theta = S^-1(gamma(t))``, the arc length ``S(theta)`` in cubic pieces."""

    pace: Schedule
    lengths: Float[Array, "*stack cells"]
    slopes: Float[Array, "*stack knots"]
    name: ClassVar[str] = "geodesic"

    def theta(self, t: ArrayLike) -> Float[Array, "..."]:
        return self._invert(t)[0]

    def one_minus_theta(self, t: ArrayLike) -> Float[Array, "..."]:
        return self._invert(t)[1]

    def log_theta_rate(self, t: ArrayLike, complement: ArrayLike | None = None) -> Float[Array, "..."]:
        slope = self._invert(t)[2] * self.lengths.shape[-1]
        return self.pace.log_theta_rate(t, complement) - jnp.log(slope)

    def end_exponents(self) -> tuple[ArrayLike, ArrayLike] | None:
        known = self.pace.end_exponents()
        if known is None:
            return None
        # S rises linearly at an end, or as x^k where the metric falls to nothing there: then its slope at the cell's
        # far side is k times its mean slope (and at most 3, as a cubic has it).
        sides = ((self.slopes, self.lengths), (self.slopes[..., ::-1], self.lengths[..., ::-1]))
        orders = [
            jnp.where(slopes[..., 0] > 1e-3 * slopes[..., 1], 1.0, jnp.minimum(slopes[..., 1] / lengths[..., 0], 3.0))
            for slopes, lengths in sides
        ]
        return as_float(known[0]) / orders[0], as_float(known[1]) / orders[1]

    def pieces(self) -> Float[Array, " knots"] | None:
        return self.pace.pieces()

    def coordinates(self) -> Any:
        return self.pace.coordinates()

    def at_coordinates(self, coordinates: Any) -> Schedule:
        return type(self)(self.pace.at_coordinates(coordinates), self.lengths, self.slopes)

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
        theta = jnp.where(late, cell + 1 - x, cell + x) / cells
        rest = jnp.where(late, cells - 1 - cell + x, cells - cell - x) / cells
        return theta, rest, slope


def _solve(value: Array, length: Array, near: Array, far: Array) -> tuple[Array, Array]:
    """``x`` in [0, 1] where the cubic from 0 to ``length`` with slopes ``near`` and ``far`` is ``value``; the slope."""

    def cubic(x: Array) -> tuple[Array, Array]:
        bend, twist = 3 * length - 2 * near - far, near + far - 2 * length
        return x * (near + x * (bend + x * twist)), near + x * (2 * bend + 3 * x * twist)

    def halve(_: ArrayLike, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = 0.5 * (low + high)
        below = cubic(middle)[0] < value
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    low, high = jax.lax.stop_gradient(jax.lax.fori_loop(0, 12, halve, (jnp.zeros_like(value), jnp.ones_like(value))))
    x = jax.lax.stop_gradient(0.5 * (low + high))
    for _ in range(3):  # Newton; the last step carries the derivative of the implicit equation
        height, slope = cubic(jax.lax.stop_gradient(x))
        x = jax.lax.stop_gradient(x) - (height - value) / jax.lax.stop_gradient(jnp.where(slope > 0, slope, 1.0))
    x = jnp.where(value > 0, jnp.maximum(x, 0.0), 0.0)
    return x, cubic(x)[1]
