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

from mdm_jax.theory.schedules import Beta, Linear, Schedule, SineSquared

_NODES = 129


def kinetic(schedule: Schedule, weight: Schedule | None = None) -> Float[Array, ""]:
    """The one-token energy of ``schedule`` under ``weight``, in units in which the optimum is ``pi^2``.

    Between Beta schedules (``linear`` and ``sine_squared`` are two of them) it is the closed form
    ``pi^2 B(a, b) B(2a'-a, 2b'-b) / B(a', b')^2``; otherwise a double-exponential quadrature in ``t`` with the tails
    beyond its last nodes added, relative error about 1e-5 in float32 unless the energy is about to diverge.

    Args:
        schedule: one schedule (``vmap`` over a stack).
        weight: the schedule whose angle is ``gamma``; ``sine_squared()``, that is ``gamma(t) = t``, if left out.

    Returns:
        float[]; ``inf`` where the integral diverges. Differentiable in the numbers of both.

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

    def density(t: Array, u: Array) -> Array:
        return jnp.square(schedule.theta_rate(t, u)) / weight.theta_rate(t, u)

    values = density(t, u)
    value = jnp.sum(values * mass)
    ours, theirs = schedule.end_exponents(), weight.end_exponents()
    if ours is None or theirs is None:
        return np.pi**2 * value
    # The integrand behaves as t^(2p - c - 1) at 0: what lies beyond the first node is value * t / (2p - c).
    powers = [2 * jnp.asarray(p, float) - jnp.asarray(c, float) for p, c in zip(ours, theirs)]
    finite = (powers[0] > 0) & (powers[1] > 0)
    safe = [jnp.where(finite, power, 1.0) for power in powers]
    value = value + values[0] * t[0] / safe[0] + values[-1] * u[-1] / safe[1]
    return np.pi**2 * jnp.where(finite, value, jnp.inf)


@functools.cache
def _double_exponential(dtype: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes ``t``, their complements ``1 - t`` and weights of the tanh-sinh rule on (0, 1)."""
    reach = 4.0 if dtype == "float64" else 3.3
    s = np.linspace(-reach, reach, _NODES)
    odds = np.pi * np.sinh(s)
    t = 1 / (1 + np.exp(-odds))
    u = 1 / (1 + np.exp(odds))
    mass = np.pi * np.cosh(s) * t * u * (s[1] - s[0])
    mass[[0, -1]] *= 0.5
    return t, u, mass


batch = jax.jit(jax.vmap(kinetic, in_axes=(0, None)))
"""``kinetic`` of a stack of schedules (every leaf with a leading axis) under one weight: ``float[stack]``."""
