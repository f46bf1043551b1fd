r"""One action, many metrics: ``A = integral G(alpha) alpha'(t)^2 / gamma'(t) dt``.

A *metric* ``G`` says how far apart two revealed fractions are; an *action* is the effort of a schedule that moves
through them, with ``1 / gamma'`` as the price of speed at each time; a *geodesic* is the schedule of least action. By
Cauchy-Schwarz

    A  >=  ( integral_0^1 sqrt(G(a)) da )^2 ,   equal exactly where the arc length covered is ``gamma(t)``.

The three energies of arXiv 2509.13866 share the Fisher-Rao metric of a mask bit, :func:`fisher`, of length ``pi``; its
geodesic under ``gamma`` is ``sin^2(pi/2 gamma)``. The theorem is the case where the metric does not look at the data;
minus the slope of a model's loss curve is one that does.

A metric is any function ``metric(alpha, one_minus_alpha) -> G > 0``; see :mod:`mdm_jax.theory.energies.metrics`.

A weight ``gamma`` is given as *the schedule that it makes optimal* for the Fisher-Rao metric: ``gamma = weight.theta``.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mdm_jax.support.errors import InputError, require, verbatim
from mdm_jax.theory.energies import metrics
from mdm_jax.theory.energies.metrics import Metric, fisher
from mdm_jax.theory.numerics import quadrature
from mdm_jax.theory.numerics.given import as_float
from mdm_jax.theory.schedules import SineSquared
from mdm_jax.theory.schedules import text as schedule_text
from mdm_jax.theory.schedules.base import AngleSchedule, Schedule, checked_schedule

_BETWEEN, _BEYOND = 0.1, 1e-3
"""How far off every other node may be, of the integral (the error by all of them is about the fourth power of that),
and what lies beyond the nodes."""
_BETWEEN_ALONE, _BEYOND_ALONE = 3e-3, 0.02
"""The same where a schedule is known by ``alpha`` alone, which may have jumps; its powers at the ends are measured."""
_JUMP = {32: 5e-4, 64: 1e-5}
"""What slopes may miss of the way that ``theta`` makes between its first and its last node, by bits: more is a jump."""
_MEASURED = 0.02
"""An action whose measured power at an end is not above this counts as infinite (a known power: not above 0)."""


def action(schedule: Schedule, metric: Metric = fisher, weight: Schedule | None = None) -> Float[Array, ""]:
    """``integral G(alpha) alpha'^2 / gamma' dt`` by quadrature in the angle, where singular ends cost no accuracy.

    In the angle ``alpha' = pi sqrt(alpha (1 - alpha)) theta'``, so the integrand is ``pi^2 M theta'^2 / gamma'`` with
    ``M = G alpha (1 - alpha)``, which is 1 for :func:`fisher`. A double-exponential rule runs over its logarithm;
    beyond the last nodes the integrand is a power law. The relative error in float32 is below 1e-5 for schedules and
    weights no sharper than Beta(10, 10), also next to divergence, 2e-5 for a ``kinetic_optimum``, and 5e-5 up to
    Beta(50, 50), where numbers of size 70 are rounded. It is up to 1e-2 where a schedule is known by ``alpha`` alone
    and the other is steep at an end, 1e-3 else (``log_theta_rate`` and ``ends`` give the digits back).

    **Range.** What the nodes do not resolve is refused: a peak between them (in float32 from about Beta(65, 65) on, a
    ``kinetic_optimum`` of half that), and an integrand that is no power law yet where they end (in float32
    ``polynomial(0.1)`` under itself, ``polynomial(0.2)`` under any weight that leaves it finite, are taken,
    ``polynomial(0.05)`` is not). Degrees up to 1e6 and any ``geometric`` are taken. float64 reaches further.

    Args:
        schedule: one schedule (``vmap`` over a stack).
        metric: ``G``, as above.
        weight: the schedule whose angle is ``gamma``; ``sine_squared()``, that is ``gamma(t) = t``, if left out.

    Returns:
        float[]; ``inf`` where the integral diverges, and under ``jit`` or ``vmap``, where nothing can be refused, NaN
        where it is not resolved. Differentiable in the numbers of all three. Where a schedule has no ``ends`` (or for a
        metric other than Fisher's) the behaviour at the ends is measured, and an action about to diverge may count as
        infinite.

    Raises:
        InputError: a pair that is not resolved, no schedule (or one that does not rise from 0 to 1), a metric that is
            no positive number somewhere.

    Source: the energies of arXiv 2509.13866 (example 3.3, equation 14), with the metric left free; ``DERIVATIONS.md``,
    "A metric, its action and its geodesic".

    Example:
        >>> from mdm_jax import energies, schedules
        >>> float(energies.action(schedules.linear(), energies.flat))  # its geodesic
        1.0
        >>> float(energies.action(schedules.sine(), energies.fisher, schedules.linear())) / 3.14159265**2
        1.1402
    """
    schedule, weight = checked_pair(schedule, weight)
    metrics.check(metric)

    def log_integrand(value: Callable[[LogRate], Array], ours: LogRate, theirs: LogRate) -> Array:
        return value(combine(2.0, ours, -1.0, theirs))

    value = integral(schedule, weight, log_integrand, lambda p, c: 2 * p - c, metric)
    return np.pi**2 * resolved(value, schedule, weight)


def checked_pair(schedule: Schedule, weight: Schedule | None) -> tuple[Schedule, Schedule]:
    """A schedule and a weight (``sine_squared`` if left out), each checked (:func:`checked_schedule`)."""
    return checked_schedule(schedule), SineSquared() if weight is None else checked_schedule(weight, "weight")


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
    floor: float = 0.0,
) -> Float[Array, ""]:
    """The integral over time of ``M`` (as in :func:`action`) times a function of ``theta'`` and ``gamma'``.

    Args:
        schedule: gives ``theta'``.
        weight: gives ``gamma'``.
        log_integrand: from ``value`` (which evaluates a :class:`LogRate` at the nodes) and the rates of the two, the
            logarithm of the integrand without ``M``, at the nodes.
        power: from the exponents of ``theta`` and ``gamma`` at an end, that of the integral there (without ``M``).
        metric: ``G``.
        floor: what is added to the integral before its error is held against it.
    """
    for given in (schedule, weight):
        if any(jnp.ndim(exponent) for exponent in given.end_exponents() or ()):
            raise InputError(
                f"schedule and weight must be one each, not a stack (vmap, or energies.batch); got {given}."
            )
    pieces = quadrature.merge(schedule.pieces(), weight.pieces())
    where = quadrature.nodes(pieces)
    t, u, log_mass = where
    if metric is fisher and pieces is None and _exact(schedule) and _exact(weight):
        usable = None  # all of them
    else:
        usable = log_mass > -jnp.inf
        for given in (schedule, weight):
            # One known by alpha alone goes on as a power law; the other keeps its own rate beside it.
            usable &= (
                _trusted(given, t, u) if _own_rate(given) or (given is schedule and metric is not fisher) else True
            )
        if metric is not fisher:
            usable &= u > 8 * jnp.finfo(u.dtype).eps  # later than this, alpha(1 - u) does not know u
    first, last = quadrature.ends(usable, len(t))
    sides = tuple(_side(s, where) for s in (schedule, weight))
    (p, q, sharp), (c, d, sharp_too) = (
        _end_exponents(s, t[first if side is None else side.first], u[last if side is None else side.last])
        for s, side in zip((schedule, weight), sides)
    )
    powers = (power(p, c), power(q, d))
    if metric is not fisher:
        from_0, from_1 = metrics.exponents(metric, *_fractions(schedule, t[first], u[last]))
        powers = (powers[0] + 2 * p * from_0, powers[1] + 2 * q * from_1)
    least = 0.0 if sharp and sharp_too and metric is fisher else _MEASURED
    finite = (powers[0] > least) & (powers[1] > least)
    # Every branch of `where` is differentiated: nodes out of use are fed a safe time, diverging integrals safe powers.
    if usable is not None:
        at = jnp.arange(len(t))
        usable = (at >= first) & (at <= last) & finite
        t, u = jnp.where(usable, t, 0.5), jnp.where(usable, u, 0.5)
    log_t, log_u = jnp.log(t), jnp.log(u)

    def value(rate: LogRate) -> Array:
        early, late = jnp.where(finite, rate.early, 0.0), jnp.where(finite, rate.late, 0.0)
        return early * log_t + late * log_u + rate.rest

    rates = (
        _log_rate(s, t, u) if side is None else _continued(s, t, u, side) for s, side in zip((schedule, weight), sides)
    )
    log_values = log_integrand(value, *rates)
    if metric is not fisher:
        log_values = log_values + metrics.log_ratio(metric, *_fractions(schedule, t, u))
    powers = (jnp.where(finite, powers[0], 1.0), jnp.where(finite, powers[1], 1.0))
    total = quadrature.integrate(log_values, where, usable, powers)
    seen = jax.lax.stop_gradient((powers, (jnp.minimum(p, c), jnp.minimum(q, d))))
    between, beyond = quadrature.doubt(*jax.lax.stop_gradient((log_values, where)), usable, *seen)
    for side in sides:
        if side is not None:
            inside = True if usable is None else usable
            between = jnp.where(side.smooth, between, jnp.inf)
            beyond += jax.lax.stop_gradient(
                jnp.sum(jnp.where(inside, jnp.exp(log_values + log_mass) * side.doubt, 0.0))
            )
    scale = jax.lax.stop_gradient(total) + floor
    smooth = _own_rate(schedule) and _own_rate(weight)
    resolved = (between <= (_BETWEEN if smooth else _BETWEEN_ALONE) * scale) & (
        beyond <= (_BEYOND if smooth else _BEYOND_ALONE) * scale
    )
    return jnp.where(finite, jnp.where(resolved, total, jnp.nan), jnp.inf)


def resolved(value: Array, schedule: Schedule, weight: Schedule) -> Array:
    """``value`` of an integral; refuse one that the nodes did not resolve, unless it is being traced."""
    if not isinstance(value, jax.core.Tracer) and bool(jnp.isnan(value)):
        given = verbatim(" and ".join(schedule_text.label(one) for one in (schedule, weight)))
        held = jnp.finfo(value.dtype).bits
        wanted = f"a pair that float{held} nodes resolve: neither sharper nor with smaller powers at its ends"
        if not (_own_rate(schedule) and _own_rate(weight)):
            wanted += ", nor with jumps (pieces() tells of kinks, log_theta_rate and ends give a rate its digits)"
        require(False, "schedule and weight", given, wanted)
    return value


def _exact(schedule: Schedule) -> bool:
    """Whether the rate is a formula with all its digits at every node."""
    return type(schedule).log_regular_rate is not Schedule.log_regular_rate


def _log_rate(schedule: Schedule, t: Array, u: Array) -> LogRate:
    exponents = schedule.end_exponents()
    if exponents is None:
        zero = jnp.zeros((), t.dtype)
        return LogRate(zero, zero, schedule.log_theta_rate(t, u))
    p, q = exponents
    return LogRate(as_float(p) - 1, as_float(q) - 1, schedule.log_regular_rate(t, u))


def _fractions(schedule: Schedule, t: Array, u: Array) -> tuple[Array, Array]:
    """``alpha`` at ``t``, and ``1 - alpha`` at ``1 - u``."""
    return schedule.alpha(t), schedule.one_minus_alpha(1 - u)


def _own_rate(schedule: Schedule) -> bool:
    """Whether ``schedule`` has a formula for ``theta'``, good to the last digit at both ends."""
    measured = (Schedule.log_theta_rate, AngleSchedule.log_theta_rate)
    return type(schedule).log_theta_rate not in measured and schedule.end_exponents() is not None


class _Side(NamedTuple):
    """Of a schedule known by ``alpha`` alone, the first and the last node at which its rate has digits.

    Attributes:
        first: int[].
        last: int[].
        powers: of ``theta`` at 0 and of ``1 - theta`` at 1, measured there.
        doubt: float[nodes], by how much the logarithm of its rate may be off, outside of them.
        smooth: bool[], whether the integral of the rate is what ``theta`` rises by: neither a jump, which has no rate,
            nor a rise between two nodes.
    """

    first: Array
    last: Array
    powers: tuple[Array, Array]
    doubt: Array
    smooth: Array


def _side(schedule: Schedule, where: tuple[Array, Array, Array]) -> _Side | None:
    """What there is to know of a schedule known by ``alpha`` alone; ``None`` of one that has a rate of its own."""
    if _own_rate(schedule):
        return None
    t, u, log_mass = where
    trusted = _trusted(schedule, t, u)
    first, last = quadrature.ends(trusted, len(t))
    p, q, _ = _end_exponents(schedule, t[first], u[last])
    # The power a little further in is another one as far as the rate is no power law yet.
    inward = _end_exponents(schedule, t[jnp.minimum(first + 4, last)], u[jnp.maximum(last - 4, first)])
    noise = float(jnp.finfo(t.dtype).eps) ** 0.4
    off = jnp.abs(p - inward[0]) + noise, jnp.abs(q - inward[1]) + noise
    early, late = _outside(t, u, first, last)
    at = jnp.arange(len(t))
    inside = (at >= first) & (at <= last)
    half = jnp.where((at == first) | (at == last), 0.5, 1.0)
    rate = schedule.log_theta_rate(jnp.where(inside, t, 0.5), jnp.where(inside, u, 0.5))
    rises = jnp.sum(jnp.where(inside, half * jnp.exp(rate + log_mass), 0.0))
    theta = schedule.theta(jnp.stack([t[first], t[last]]))
    smooth = jnp.abs(rises - (theta[1] - theta[0])) <= _JUMP[jnp.finfo(t.dtype).bits]
    return _Side(first, last, (p, q), -off[0] * early - off[1] * late, smooth)


def _outside(t: Array, u: Array, first: Array, last: Array) -> tuple[Array, Array]:
    """How far the logarithms of ``t`` and of ``1 - t`` are below those at the first and the last node: 0 or less."""
    return jnp.minimum(jnp.log(t / t[first]), 0.0), jnp.minimum(jnp.log(u / u[last]), 0.0)


def _continued(schedule: Schedule, t: Array, u: Array, side: _Side) -> LogRate:
    """The rate of a schedule known by ``alpha`` alone: at its own nodes, and as power laws beyond them."""
    at, zero = jnp.arange(len(t)), jnp.zeros((), t.dtype)
    place = jnp.clip(at, side.first, side.last)
    early, late = _outside(t, u, side.first, side.last)
    (p, q), rate = side.powers, schedule.log_theta_rate(t[place], u[place])
    return LogRate(zero, zero, rate + (p - 1) * early + (q - 1) * late)


def _trusted(schedule: Schedule, t: Array, u: Array) -> Array:
    """Where ``theta'`` has its digits: everywhere, or for ``alpha`` alone where ``1 - alpha`` and ``1 - t`` do."""
    if _own_rate(schedule):
        return jnp.isfinite(schedule.log_theta_rate(t, u))
    cut = float(jnp.finfo(t.dtype).eps) ** 0.6
    return (schedule.alpha(t) > cut) & (schedule.one_minus_alpha(t) > cut) & (u > cut)


def _end_exponents(schedule: Schedule, t: Array, u: Array) -> tuple[Array, Array, bool]:
    """The powers of ``theta`` at 0 and of ``1 - theta`` at 1, and whether they are known (or measured at ``t, u``)."""
    known = schedule.end_exponents()
    if known is not None:
        return jnp.asarray(known[0], float), jnp.asarray(known[1], float), True
    late = 1 - u
    from_0 = t * schedule.theta_rate(t) / schedule.theta(t)
    return from_0, u * schedule.theta_rate(late, u) / schedule.one_minus_theta(late), False
