r"""One action, many metrics: ``A = integral G(alpha) alpha'(t)^2 / gamma'(t) dt``.

A *metric* ``G`` says how far apart two revealed fractions are; an *action* is the effort of a schedule that moves
through them, with ``1 / gamma'`` as the price of speed at each time; a *geodesic* is the schedule of least action. By
Cauchy-Schwarz

    A  >=  ( integral_0^1 sqrt(G(a)) da )^2 ,   equal exactly where the arc length covered is ``gamma(t)``.

The three energies of arXiv 2509.13866 share the Fisher-Rao metric of a mask bit, :func:`fisher`, of length ``pi``; its
geodesic under ``gamma`` is ``sin^2(pi/2 gamma)``. The theorem is the case where the metric does not look at the data;
minus the slope of a model's loss curve is one that does.

A metric is any function ``metric(alpha, one_minus_alpha) -> G > 0`` (the second argument keeps the digits near 1);
one with numbers of its own to differentiate or batch over is a ``jax.tree_util.Partial``.

A weight ``gamma`` is given as *the schedule that it makes optimal* for the Fisher-Rao metric: ``gamma = weight.theta``.
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from mdm_jax.support.errors import require, verbatim
from mdm_jax.theory import quadrature
from mdm_jax.theory.schedule import HALF_PI, AngleSchedule, Schedule, as_float
from mdm_jax.theory.schedules import SineSquared

Metric = Callable[[Array, Array], Array]
_MEASURED = 0.02
"""An action whose measured power at an end is not above this counts as infinite (a known power: not above 0)."""
_CELLS = 128
_GAUSS = np.polynomial.legendre.leggauss(8)


def fisher(alpha: Array, one_minus_alpha: Array) -> Array:
    """The Fisher-Rao metric of a mask bit, ``1 / (alpha (1 - alpha))``: the metric of all three energies."""
    return 1 / (alpha * one_minus_alpha)


def flat(alpha: Array, one_minus_alpha: Array) -> Array:
    """``1``: the metric whose geodesic in uniform time is the linear schedule."""
    del one_minus_alpha
    return jnp.ones_like(alpha)


def action(schedule: Schedule, metric: Metric = fisher, weight: Schedule | None = None) -> Float[Array, ""]:
    """``integral G(alpha) alpha'^2 / gamma' dt`` by quadrature in the angle, where singular ends cost no accuracy.

    In the angle ``alpha' = pi sqrt(alpha (1 - alpha)) theta'``, so the integrand is ``pi^2 M theta'^2 / gamma'`` with
    ``M = G alpha (1 - alpha)``, which is 1 for :func:`fisher`. A double-exponential rule runs over its logarithm; beyond
    the last nodes the integrand is a power law. In float32 the relative error is about 1e-6, and up to 1e-3 where a
    schedule is known by ``alpha`` alone (``log_theta_rate`` and ``ends`` give the digits back).

    Args:
        schedule: one schedule (``vmap`` over a stack).
        metric: ``G``, as above.
        weight: the schedule whose angle is ``gamma``; ``sine_squared()``, that is ``gamma(t) = t``, if left out.

    Returns:
        float[]; ``inf`` where the integral diverges. Differentiable in the numbers of all three. Where a schedule has
        no ``ends`` (or for a metric other than Fisher's) the behaviour at the ends is measured, and an action about to
        diverge may count as infinite.

    Source: the energies of arXiv 2509.13866 (example 3.3, equation 14), with the metric left free.

    >>> from mdm_jax.theory import schedules
    >>> round(float(action(schedules.linear(), flat)), 6)  # its geodesic
    1.0
    >>> round(float(action(schedules.sine(), fisher, schedules.linear()) / np.pi**2), 4)
    1.2732
    """
    weight = SineSquared() if weight is None else weight

    def log_integrand(value: Callable[[LogRate], Array], ours: LogRate, theirs: LogRate) -> Array:
        return value(combine(2.0, ours, -1.0, theirs))

    return np.pi**2 * integral(schedule, weight, log_integrand, lambda p, c: 2 * p - c, metric)


class LogRate(NamedTuple):
    """``log(x) = early log(t) + late log(1-t) + rest`` of a positive rate ``x``: power laws at the ends, kept apart.

    Near an end a schedule's rate and a weight's may each be 10^100 and their quotient of order 1. Combined before they
    meet ``log(t)``, the exponents lose nothing.
    """

    early: Array
    late: Array
    rest: Array


def combine(x: float, ours: LogRate, y: float, theirs: LogRate) -> LogRate:
    """The logarithm of ``ours^x theirs^y``."""
    return LogRate(*(x * mine + y * yours for mine, yours in zip(ours, theirs)))


def integral(
    schedule: Schedule,
    weight: Schedule,
    log_integrand: Callable[[Callable[[LogRate], Array], LogRate, LogRate], Array],
    power: Callable[[Array, Array], Array],
    metric: Metric = fisher,
) -> Float[Array, ""]:
    """The integral over time of ``M`` (as in :func:`action`) times a function of ``theta'`` and ``gamma'``.

    Args:
        schedule: gives ``theta'``.
        weight: gives ``gamma'``.
        log_integrand: from ``value`` (which evaluates a :class:`LogRate` at the nodes) and the rates of the two, the
            logarithm of the integrand without ``M``, at the nodes.
        power: from the exponents of ``theta`` and ``gamma`` at an end, that of the integral there (without ``M``).
        metric: ``G``.
    """
    where = quadrature.nodes(quadrature.merge(schedule.pieces(), weight.pieces()))
    t, u, _ = where
    usable = _trusted(schedule, t, u) & _trusted(weight, t, u)
    first, last = quadrature.ends(usable)
    (p, q, sharp), (c, d, sharp_too) = (_end_exponents(s, t[first], u[last]) for s in (schedule, weight))
    powers = (power(p, c), power(q, d))
    if metric is not fisher:
        from_0, from_1 = _metric_exponents(metric, schedule, t[first], u[last])
        powers = (powers[0] + 2 * p * from_0, powers[1] + 2 * q * from_1)
    least = 0.0 if sharp and sharp_too and metric is fisher else _MEASURED
    finite = (powers[0] > least) & (powers[1] > least)
    # Nodes out of use are fed a safe time, because every branch of `where` is differentiated.
    at = jnp.arange(len(t))
    inside = (at >= first) & (at <= last) & finite
    t, u = jnp.where(inside, t, 0.5), jnp.where(inside, u, 0.5)
    log_t, log_u = jnp.log(t), jnp.log(u)

    def value(rate: LogRate) -> Array:
        return rate.early * log_t + rate.late * log_u + rate.rest

    log_values = log_integrand(value, _log_rate(schedule, t, u), _log_rate(weight, t, u))
    if metric is not fisher:
        log_values = log_values + _log_ratio(metric, *_fractions(schedule, t, u))
    powers = (jnp.where(finite, powers[0], 1.0), jnp.where(finite, powers[1], 1.0))
    return jnp.where(finite, quadrature.integrate(log_values, where, inside, powers), jnp.inf)


def _log_rate(schedule: Schedule, t: Array, u: Array) -> LogRate:
    exponents = schedule.end_exponents()
    if exponents is None:
        zero = jnp.zeros((), t.dtype)
        return LogRate(zero, zero, schedule.log_theta_rate(t, u))
    p, q = exponents
    return LogRate(as_float(p) - 1, as_float(q) - 1, schedule.log_regular_rate(t, u))


def arc_length(metric: Metric = fisher, alpha: ArrayLike = 1.0) -> Float[Array, "..."]:
    """``integral_0^alpha sqrt(G(a)) da``, the length of the way from all masked to a revealed fraction ``alpha``.

    >>> round(float(arc_length()), 5)
    3.14159
    """
    s, _, log_mass = (x.reshape((1,) * jnp.ndim(alpha) + (-1,)) for x in quadrature.nodes())
    end = jnp.arcsin(jnp.sqrt(as_float(alpha)))[..., None] / HALF_PI
    theta = end * s
    values = jnp.sqrt(jnp.exp(_log_ratio(metric, jnp.sin(HALF_PI * theta) ** 2, jnp.cos(HALF_PI * theta) ** 2)))
    return np.pi * jnp.sum(values * jnp.exp(log_mass) * end, axis=-1)


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
    lengths = jnp.sum(_speed(metric, theta) * masses[None, :], axis=1)
    slopes = _speed(metric, jnp.arange(_CELLS + 1) / _CELLS)
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
        # S rises linearly at an end, or, where the metric falls to nothing there, as a square.
        shares = (jnp.where(slope > 1e-6, 1.0, 2.0) for slope in (self.slopes[..., 0], self.slopes[..., -1]))
        p, q = (jnp.asarray(exponent, float) / share for exponent, share in zip(known, shares))
        return p, q

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
        length, before, after = self.lengths[cell], self.slopes[cell], self.slopes[cell + 1]
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

    def halve(_: int, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = 0.5 * (low + high)
        below = cubic(middle)[0] < value
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    low, high = jax.lax.stop_gradient(
        jax.lax.fori_loop(0, 12, halve, (jnp.zeros_like(value), jnp.ones_like(value)))
    )
    x = jax.lax.stop_gradient(0.5 * (low + high))
    for _ in range(3):  # Newton; the last step carries the derivative of the implicit equation
        height, slope = cubic(jax.lax.stop_gradient(x))
        x = jax.lax.stop_gradient(x) - (height - value) / jax.lax.stop_gradient(jnp.where(slope > 0, slope, 1.0))
    x = jnp.where(value > 0, jnp.maximum(x, 0.0), 0.0)
    return x, cubic(x)[1]


def chord_energy(angles: Float[Array, "*stack knots"], gammas: Float[Array, "*stack knots"]) -> Float[Array, "*stack"]:
    """The energy of finitely many steps with straight chords on the circle of ``(sqrt(1 - alpha), sqrt(alpha))``.

    ``sum_k 4 |chord_k|^2 / (gamma_k - gamma_{k-1})``, which is below the energy of any path through the same points.
    At ``theta = gamma`` and equal steps it is ``8 K^2 (1 - cos(pi / 2K))``, rising to ``pi^2``; for unequal steps the
    optimum is near, but not at, ``theta = gamma`` (the paper's appendix D.5 takes it to be there).

    Args:
        angles: ``theta`` at the ``K + 1`` knots, from 0 to 1 along the last axis.
        gammas: ``gamma`` at the knots, from 0 to 1.

    >>> thetas = jnp.linspace(0.0, 1.0, 5)
    >>> round(float(chord_energy(thetas, thetas)), 3)
    9.743
    """
    turns, times = _steps(angles, gammas)
    # |chord|^2 = 2 - 2 cos(turn) = 4 sin^2(turn / 2)
    return jnp.sum(16 * jnp.square(jnp.sin(0.5 * HALF_PI * turns)) / times, axis=-1)


def angle_energy(angles: Float[Array, "*stack knots"], gammas: Float[Array, "*stack knots"]) -> Float[Array, "*stack"]:
    """The energy of finitely many steps along the arc: ``pi^2 sum_k (theta_k - theta_{k-1})^2 / (gamma_k - gamma_{k-1})``.

    It is the energy of the schedule whose angle is piecewise linear in ``gamma``; its minimum is exactly ``pi^2``, at
    ``theta = gamma``, for any steps.

    Args:
        angles: ``theta`` at the ``K + 1`` knots, from 0 to 1 along the last axis.
        gammas: ``gamma`` at the knots, from 0 to 1.
    """
    turns, times = _steps(angles, gammas)
    return np.pi**2 * jnp.sum(jnp.square(turns) / times, axis=-1)


def _steps(angles: Array, gammas: Array) -> tuple[Array, Array]:
    angles, gammas = as_float(angles), as_float(gammas)
    shapes = verbatim(f"{angles.shape} and {gammas.shape}")
    good = angles.ndim > 0 and gammas.ndim > 0 and angles.shape[-1] == gammas.shape[-1] > 1
    require(good, "angles and gammas", shapes, "arrays with the same number of knots, at least 2, along the last axis")
    return jnp.diff(angles), jnp.diff(gammas)


def _speed(metric: Metric, theta: Array) -> Array:
    """``sqrt(M)`` at an angle."""
    alpha, masked = jnp.square(jnp.sin(HALF_PI * theta)), jnp.square(jnp.sin(HALF_PI * (1 - theta)))
    return jnp.exp(0.5 * _log_ratio(metric, alpha, masked))


def _log_ratio(metric: Metric, alpha: Array, masked: Array) -> Array:
    """``log M = log(G alpha (1 - alpha))``: how the metric compares with Fisher's."""
    tiny = jnp.finfo(alpha.dtype).tiny
    alpha, masked = jnp.maximum(alpha, tiny), jnp.maximum(masked, tiny)
    return jnp.log(metric(alpha, masked)) + jnp.log(alpha) + jnp.log(masked)


def _fractions(schedule: Schedule, t: Array, u: Array) -> tuple[Array, Array]:
    return schedule.alpha(t), schedule.one_minus_alpha(1 - u)


def _metric_exponents(metric: Metric, schedule: Schedule, t: Array, u: Array) -> tuple[Array, Array]:
    """The powers of ``alpha`` at 0 and of ``1 - alpha`` at 1 with which ``M`` goes, measured at ``t`` and ``u``."""
    tiny = jnp.finfo(t.dtype).tiny ** 0.5
    least, most = (jnp.maximum(x, tiny) for x in (schedule.alpha(t), schedule.one_minus_alpha(1 - u)))

    def measure(ratio: Callable[[Array], Array], x: Array) -> Array:
        return jax.jvp(ratio, (x,), (x,))[1]

    return (
        measure(lambda alpha: _log_ratio(metric, alpha, 1 - alpha), least),
        measure(lambda masked: _log_ratio(metric, 1 - masked, masked), most),
    )


def _own_rate(schedule: Schedule) -> bool:
    """Whether ``schedule`` has a formula for ``theta'``, good to the last digit at both ends."""
    return type(schedule).log_theta_rate is not Schedule.log_theta_rate and schedule.end_exponents() is not None


def _trusted(schedule: Schedule, t: Array, u: Array) -> Array:
    """Where ``theta'`` has its digits: everywhere, or for ``alpha`` alone where ``1 - alpha`` does not cancel."""
    if _own_rate(schedule):
        return jnp.isfinite(schedule.log_theta_rate(t, u))
    cut = float(jnp.finfo(t.dtype).eps) ** 0.6
    return (schedule.alpha(t) > cut) & (schedule.one_minus_alpha(t) > cut)


def _end_exponents(schedule: Schedule, t: Array, u: Array) -> tuple[Array, Array, bool]:
    """The powers of ``theta`` at 0 and of ``1 - theta`` at 1, and whether they are known (or measured at ``t, u``)."""
    known = schedule.end_exponents()
    if known is not None:
        return jnp.asarray(known[0], float), jnp.asarray(known[1], float), True
    late = 1 - u
    from_0 = t * schedule.theta_rate(t) / schedule.theta(t)
    return from_0, u * schedule.theta_rate(late, u) / schedule.one_minus_theta(late), False
