"""Metrics on the revealed fraction: how far apart two values of ``alpha`` are.

A metric is any function ``metric(alpha, one_minus_alpha) -> G > 0`` (the second argument keeps the digits near 1); one
with numbers of its own to differentiate or batch over is a ``jax.tree_util.Partial``. Against the Fisher-Rao metric of
a mask bit its measure is ``M = G alpha (1 - alpha)``: in the angle, ``G alpha'^2 = pi^2 M theta'^2``.
"""

from collections.abc import Callable

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mdm_jax.support.errors import InputError, require, verbatim
from mdm_jax.theory.schedules.base import HALF_PI

_INSIDE = np.linspace(0, 1, 66)[1:-1]
Metric = Callable[[Array, Array], Array]
"""``metric(alpha, 1 - alpha) -> G``, both float[...] of one shape, as the value is."""


def fisher(alpha: Array, one_minus_alpha: Array) -> Array:
    """The Fisher-Rao metric of a mask bit, ``1 / (alpha (1 - alpha))``: the metric of all three energies.

    Example:
        >>> import jax.numpy as jnp, mdm_jax as mdm
        >>> float(mdm.energies.fisher(jnp.array(0.25), jnp.array(0.75)))
        5.3333
    """
    return 1 / (alpha * one_minus_alpha)


def flat(alpha: Array, one_minus_alpha: Array) -> Array:
    """``1``: the metric whose geodesic in uniform time is the linear schedule.

    Example:
        >>> import jax.numpy as jnp, mdm_jax as mdm
        >>> float(mdm.energies.flat(jnp.array(0.25), jnp.array(0.75)))
        1.0
    """
    del one_minus_alpha
    return jnp.ones_like(alpha)


def check(metric: Metric, argument: str = "metric") -> None:
    """Refuse what is no metric: no function of two arrays, or one that is negative or no number inside (0, 1)."""
    require(callable(metric), argument, metric, "a function of alpha and 1 - alpha, such as metrics.fisher")
    if metric in (fisher, flat):
        return
    at = jnp.asarray(_INSIDE, float)
    try:
        given = metric(at, 1 - at)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{argument} must be a function of alpha and 1 - alpha, each an array; it says: {error}"
        ) from error
    if isinstance(given, jax.core.Tracer):
        return
    shape = np.shape(given)
    require(
        shape == at.shape, argument, verbatim(f"{shape} for {at.shape}"), "a function that returns a value for each"
    )
    values = np.asarray(given, np.float64)
    good = np.isfinite(values) & (values >= 0)
    i = int(np.argmin(good))
    shown = verbatim(f"{values[i]:g} at alpha = {_INSIDE[i]:g}")
    require(bool(good.all() and values.any()), argument, shown, "positive inside (0, 1)")


def speed(metric: Metric, theta: Array) -> Array:
    """``sqrt(M)`` at an angle."""
    alpha, masked = jnp.square(jnp.sin(HALF_PI * theta)), jnp.square(jnp.sin(HALF_PI * (1 - theta)))
    return jnp.exp(0.5 * log_ratio(metric, alpha, masked))


def log_ratio(metric: Metric, alpha: Array, masked: Array) -> Array:
    """``log M = log(G alpha (1 - alpha))``: how the metric compares with Fisher's."""
    tiny = _least(alpha)
    alpha, masked = jnp.maximum(alpha, tiny), jnp.maximum(masked, tiny)
    return jnp.log(metric(alpha, masked)) + jnp.log(alpha) + jnp.log(masked)


def exponents(metric: Metric, alpha: Array, one_minus_alpha: Array) -> tuple[Array, Array]:
    """The powers of ``alpha`` at 0 and of ``1 - alpha`` at 1 with which ``M`` goes, measured at two values."""
    least, most = (jnp.maximum(x, 8 * _least(x)) for x in (alpha, one_minus_alpha))

    def measure(ratio: Callable[[Array], Array], x: Array) -> Array:
        return jax.lax.stop_gradient(jax.jvp(ratio, (x,), (x,))[1])  # its own slope would square a 1 / alpha

    return (
        measure(lambda alpha: log_ratio(metric, alpha, 1 - alpha), least),
        measure(lambda masked: log_ratio(metric, 1 - masked, masked), most),
    )


def _least(alpha: Array) -> float:
    """So small that ``M`` has its limit there, and the slope of ``G`` is not infinite yet."""
    return float(jnp.finfo(alpha.dtype).tiny) ** 0.4
