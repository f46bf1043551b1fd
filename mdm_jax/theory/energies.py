r"""The energy of a mask schedule, per token, as a differentiable JAX function.

For one token the three energies of arXiv 2509.13866 (kinetic, conditional kinetic, geodesic; equations 5, 7, 9)
coincide (example 3.3, equation 14):

    E = integral alpha'(t)^2 / (gamma'(t) alpha (1 - alpha)) dt  =  pi^2 integral theta'(t)^2 / gamma'(t) dt  >=  pi^2,

with equality exactly when ``theta = gamma``. For longer sequences they differ from it by constants alone (theorems
3.1 and 3.2), so the minimisers are the same.

A weight ``gamma`` is given as *the schedule that it makes optimal*: ``gamma(t) = weight.theta(t)``. Thus uniform
time is ``sine_squared`` (the default), the arcsine law is ``linear``, and ``Beta(a, b)`` is ``beta(a, b)``.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betaln
from jaxtyping import Array, Float

from mdm_jax.theory.schedules import HALF_PI, Beta, Linear, Schedule, SineSquared

_NODES = 129
_MEASURED = 0.02
"""An energy whose measured power at an end is not above this counts as infinite (a known power: not above 0)."""


def kinetic(schedule: Schedule, weight: Schedule | None = None) -> Float[Array, ""]:
    """The one-token energy of ``schedule`` under ``weight``, in units in which the optimum is ``pi^2``.

    Between Beta schedules (``linear`` and ``sine_squared`` are two of them) it is the closed form
    ``pi^2 B(a, b) B(2a'-a, 2b'-b) / B(a', b')^2``; otherwise a double-exponential quadrature in ``t`` with the tails
    beyond its last nodes added. Its relative error in float32 is about 1e-5 (1e-4 where the integral barely
    converges), and up to 1e-3 where one of the two is known by ``alpha`` alone (``theta_rate`` and ``ends`` give the
    digits back) or has an exponent in the tens at an end.

    Args:
        schedule: one schedule (``vmap`` over a stack).
        weight: the schedule whose angle is ``gamma``; ``sine_squared()``, that is ``gamma(t) = t``, if left out.

    Returns:
        float[]; ``inf`` where the integral diverges. Differentiable in the numbers of both. For a schedule without
        ``ends`` the behaviour at the ends is measured, and an energy about to diverge may count as infinite.

    Source: arXiv 2509.13866, example 3.3 and section 3.3; closed form derived.

    >>> from mdm_jax.theory import schedules
    >>> round(float(kinetic(schedules.sine_squared()) / np.pi**2), 4)
    1.0
    >>> float(kinetic(schedules.linear()))
    inf
    """
    weight = SineSquared() if weight is None else weight
    ours, theirs = _beta_parameters(schedule), _beta_parameters(weight)
    if ours is not None and theirs is not None:
        return _closed_form(ours, theirs)
    return _quadrature(schedule, weight)


def _beta_parameters(schedule: Schedule) -> tuple[Array, Array] | None:
    match schedule:
        case Beta(a=a, b=b):
            return a, b
        case Linear():
            return jnp.asarray(0.5, float), jnp.asarray(0.5, float)
        case SineSquared():
            return jnp.asarray(1.0, float), jnp.asarray(1.0, float)
    return None


def _closed_form(ours: tuple[Array, Array], theirs: tuple[Array, Array]) -> Array:
    (a, b), (c, d) = ours, theirs
    left, right = 2 * a - c, 2 * b - d
    finite = (left > 0) & (right > 0)
    # Both branches of `where` are differentiated, so the unused one is fed safe numbers.
    left, right = jnp.where(finite, left, 1.0), jnp.where(finite, right, 1.0)
    value = jnp.exp(betaln(c, d) + betaln(left, right) - 2 * betaln(a, b))
    return np.pi**2 * jnp.where(finite, value, jnp.inf)


def _quadrature(schedule: Schedule, weight: Schedule) -> Array:
    t, u, mass = (jnp.asarray(x, float) for x in _double_exponential(str(jnp.zeros((), float).dtype)))
    usable = _trusted(schedule, t, u) & _trusted(weight, t, u)
    first, last = jnp.argmax(usable), len(mass) - 1 - jnp.argmax(usable[::-1])
    # The integrand behaves as t^(2p - c - 1) at 0: what lies before the first node is value * t / (2p - c).
    (p, q, sharp), (c, d, sharp_too) = (_end_exponents(s, t[first], u[last]) for s in (schedule, weight))
    least = 0.0 if sharp and sharp_too else _MEASURED
    powers = (2 * p - c, 2 * q - d)
    finite = (powers[0] > least) & (powers[1] > least)
    # Nodes out of use are fed a safe time, because every branch of `where` is differentiated.
    at = jnp.arange(len(mass))
    inside = (at >= first) & (at <= last) & finite
    t, u = jnp.where(inside, t, 0.5), jnp.where(inside, u, 0.5)
    rate = schedule.theta_rate(t, u)
    inverse = jnp.exp(-jnp.log(weight.theta_rate(t, u)))  # the derivative of 1 / x would square a tiny x
    values = jnp.where(inside, rate * inverse * rate, 0.0)
    ends = (at == first) | (at == last)
    value = jnp.sum(values * mass * jnp.where(ends, 0.5, 1.0))
    value = value + values[first] * t[first] / jnp.where(finite, powers[0], 1.0)
    value = value + values[last] * u[last] / jnp.where(finite, powers[1], 1.0)
    return np.pi**2 * jnp.where(finite, value, jnp.inf)


def _own_rate(schedule: Schedule) -> bool:
    """Whether ``schedule`` has a formula of its own for ``theta_rate``, good to the last digit at both ends."""
    return type(schedule).theta_rate is not Schedule.theta_rate and schedule.end_exponents() is not None


def _trusted(schedule: Schedule, t: Array, u: Array) -> Array:
    """Where ``theta_rate`` has its digits: no underflow, and for ``alpha`` alone no cancellation in ``1 - alpha``."""
    if _own_rate(schedule):
        return schedule.theta_rate(t, u) > jnp.finfo(t.dtype).tiny
    cut = float(jnp.finfo(t.dtype).eps) ** 0.6
    return (schedule.alpha(t) > cut) & (schedule.one_minus_alpha(t) > cut)


def _end_exponents(schedule: Schedule, t: Array, u: Array) -> tuple[Array, Array, bool]:
    """The powers of ``theta`` at 0 and of ``1 - theta`` at 1, and whether they are known (or measured at ``t, u``)."""
    known = schedule.end_exponents()
    if known is not None:
        return jnp.asarray(known[0], float), jnp.asarray(known[1], float), True
    late = 1 - u
    masked = jnp.arctan2(jnp.sqrt(schedule.one_minus_alpha(late)), jnp.sqrt(schedule.alpha(late))) / HALF_PI
    return t * schedule.theta_rate(t) / schedule.theta(t), u * schedule.theta_rate(late, u) / masked, False


@functools.cache
def _double_exponential(dtype: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes ``t``, their complements ``1 - t`` and weights of the tanh-sinh rule on (0, 1)."""
    reach = 4.0 if dtype == "float64" else 3.3
    s = np.linspace(-reach, reach, _NODES)
    odds = np.pi * np.sinh(s)
    t = 1 / (1 + np.exp(-odds))
    u = 1 / (1 + np.exp(odds))
    mass = np.pi * np.cosh(s) * t * u * (s[1] - s[0])
    return t, u, mass


batch = jax.jit(jax.vmap(kinetic, in_axes=(0, None)))
"""``kinetic`` of a stack of schedules (every leaf with a leading axis) under one weight: ``float[stack]``."""
