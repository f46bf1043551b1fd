r"""What a profile says beyond the cost of sizes: its monotone projection, its Bernstein curve, a metric, correlations.

The **Bernstein curve** of a profile of length ``d`` is

    gb(a) = E g(m),   m ~ Binomial(d - 1, a):

the expected loss per masked token where every other token is revealed with probability ``a``. That is the curve of a
training loss against the mask rate ``1 - a``; ``d`` times its integral is the NELBO. Its slope is a Bernstein curve
too, of the differences: ``gb'(a) = (d - 1) E [g(m + 1) - g(m)]``, ``m ~ Binomial(d - 2, a)``.

Source: ``DERIVATIONS.md``, "The Bernstein curve".
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jax.tree_util import Partial
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from scipy.optimize import isotonic_regression

from mdm_jax.support.errors import require
from mdm_jax.theory.numerics.given import as_float
from mdm_jax.theory.profiles.profile import Profile, checked_profile

_LEAST_WEIGHT = 1e-12
"""Of the largest variance: what a variance of zero counts as beside others that are not."""
_LEAST_METRIC = 1e-12
"""Of the mean of the metric: below this a metric is held, so that its logarithm and its root have slopes."""


def falling(profile: Profile) -> Profile:
    """The nearest profile that falls: what the true conditional entropies do, and measured ones nearly.

    Measured values out of order are replaced by their mean, weighted by inverse variances (pool adjacent violators).
    The covariance is that of those means, taking for granted which values are pooled.

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> mdm.profiles.falling(mdm.profiles.from_values(np.array([3.0, 1.0, 2.0, 0.5]))).values.tolist()
        [3.0, 1.5, 1.5, 0.5]
    """
    variances = np.diagonal(checked_profile(profile).covariance)
    most = variances.max()
    weights = 1 / np.maximum(variances, _LEAST_WEIGHT * most) if most > 0 else np.ones_like(variances)
    fit = isotonic_regression(profile.means, weights=weights / weights.max(), increasing=False)
    pooled = np.zeros((len(weights), len(weights)))
    for start, end in zip(fit.blocks[:-1], fit.blocks[1:]):
        pooled[start:end, start:end] = weights[start:end] / weights[start:end].sum()
    means = np.minimum.accumulate(np.asarray(fit.x, dtype=np.float64))
    shares = None if profile.shares is None else profile.shares @ pooled.T
    spread = pooled @ profile.covariance @ pooled.T
    return dataclasses.replace(profile, means=means, covariance=spread, shares=shares)


def total_correlation(profile: Profile) -> float:
    """``TC = d g(0) - sum_i g(i)``, nats: what all tokens at once would cost beyond one at a time.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.profiles.total_correlation(mdm.profiles.from_values([1.0, 0.5, 0.25, 0.25]))  # 4 g(0) - 2
        2.0
    """
    return float(checked_profile(profile).length * profile.values[0] - profile.nelbo())


def dual_total_correlation(profile: Profile) -> float:
    """``DTC = sum_i g(i) - d g(d - 1)``, nats: how much of the sequence its tokens share.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.profiles.dual_total_correlation(mdm.profiles.from_values([1.0, 0.5, 0.25, 0.25]))  # 2 - 4 g(3)
        1.0
    """
    return float(checked_profile(profile).nelbo() - profile.length * profile.values[-1])


def bernstein(
    values: Float[ArrayLike, " length"], alpha: ArrayLike, one_minus_alpha: ArrayLike | None = None
) -> Float[Array, "..."]:
    """``gb(alpha)``, in JAX: differentiable in both arguments, any number of times, at the ends too.

    Binomial weights are relative entropies and Stirling remainders known in float64, scaled to sum to one. In float32
    the relative error is below 1e-6 for a length of 1024, wherever ``alpha`` lies in [0, 1].

    Args:
        values: ``g(0) .. g(length - 1)``.
        alpha: float[...], revealed fractions.
        one_minus_alpha: ``1 - alpha`` where it is known with more digits.

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> float(mdm.profiles.bernstein(np.array([2.0, 1.0]), 0.25))
        1.75
    """
    alpha = as_float(alpha)
    masked = 1 - alpha if one_minus_alpha is None else as_float(one_minus_alpha)
    return _bernstein(as_float(values), alpha, masked)


def bernstein_slope(
    values: Float[ArrayLike, " length"], alpha: ArrayLike, one_minus_alpha: ArrayLike | None = None
) -> Float[Array, "..."]:
    """``gb'(alpha)``, nats per token and unit of revealed fraction; arguments as in :func:`bernstein`.

    In float32 the differences of neighbouring values carry 6e-8 of the values, times the length:
    :func:`information_metric`, which takes them in float64, has more digits.

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> float(mdm.profiles.bernstein_slope(np.array([2.0, 1.0]), 0.25))
        -1.0
    """
    values = as_float(values)
    degree = values.shape[0] - 1
    return bernstein(degree * jnp.diff(values), alpha, one_minus_alpha) if degree else jnp.zeros_like(as_float(alpha))


def information_metric(profile: Profile) -> Partial:
    """The metric ``G(a) = -gb'(a)``: how fast revealing tokens tells about the others.

    For ``actions.action`` and ``geodesics.geodesic``. An ancestral sampler of ``K`` equal steps along a schedule loses
    about ``d A / 2K`` nats, ``A`` being the schedule's action, so that the geodesic is the best schedule for many
    steps; sizes rounded from the schedule lose ``(g(0) - g(d - 1)) / 2`` less. The profile is made to fall first.

    Raises:
        InputError: a profile that falls nowhere, whose metric would be zero.

    Source: calculus of variations on the left-Riemann error of arXiv 2511.04647 (continuum of arXiv 2510.25544);
    ``plans/DERIVATIONS.md``, "Many steps: the information metric".

    Example:
        >>> import jax.numpy as jnp, mdm_jax as mdm
        >>> metric = mdm.profiles.information_metric(mdm.profiles.from_values([3.0, 2.0, 1.0]))  # an even fall
        >>> float(metric(jnp.array(0.1), jnp.array(0.9))), float(metric(jnp.array(0.9), jnp.array(0.1)))
        (2.0, 2.0)
    """
    values = falling(profile).values
    require(bool(values[-1] < values[0]), "profile", [float(values[0]), float(values[-1])], "one that falls somewhere")
    return Partial(_information, as_float((len(values) - 1) * -np.diff(values)))


def bernstein_weights(length: int, fractions: Float[np.ndarray, "*stack"]) -> Float[np.ndarray, "*stack length"]:
    """The weights of ``gb(a) = sum_i w_i g(i)`` at every ``a`` in ``fractions``: on the host, in float64.

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> mdm.profiles.bernstein_weights(3, np.array([0.5])).tolist()
        [[0.25, 0.5, 0.25]]
    """
    degree = length - 1
    at, count = np.arange(length), np.asarray(fractions, dtype=np.float64)[..., None]
    choose = scipy.special.gammaln(length) - scipy.special.gammaln(at + 1) - scipy.special.gammaln(degree - at + 1)
    powers = scipy.special.xlogy(at, count) + scipy.special.xlog1py(degree - at, -count)
    weights = np.exp(choose + powers)
    return weights / weights.sum(axis=-1, keepdims=True)


def _information(falls: Array, alpha: Array, one_minus_alpha: Array) -> Array:
    return jnp.maximum(_bernstein(falls, alpha, one_minus_alpha), _LEAST_METRIC * jnp.mean(falls))


@jax.custom_jvp
def _bernstein(values: Array, alpha: Array, masked: Array) -> Array:
    """The curve as a function of ``alpha / (alpha + masked)``."""
    weights = _weights(values.shape[0] - 1, alpha, masked)
    return jnp.sum(weights * values.reshape((1,) * alpha.ndim + (-1,)), axis=-1) / jnp.sum(weights, axis=-1)


@_bernstein.defjvp
def _(primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]) -> tuple[Array, Array]:
    values, alpha, masked = primals
    change, further, more_masked = tangents
    tangent = _bernstein(change, alpha, masked)
    degree = values.shape[0] - 1
    if degree:
        slope = _bernstein(degree * jnp.diff(values), alpha, masked)
        tangent = tangent + slope * (masked * further - alpha * more_masked)
    return _bernstein(values, alpha, masked), tangent


def _weights(degree: int, alpha: Array, masked: Array) -> Array:
    """Binomial weights up to a common factor: ``exp(-degree KL(m / degree || alpha))`` times what depends on ``m``."""
    m = np.arange(degree + 1)
    gone = degree - m
    log_ways = scipy.special.gammaln(degree + 1) - scipy.special.gammaln(m + 1) - scipy.special.gammaln(gone + 1)
    entropy = scipy.special.xlogy(m, m) + scipy.special.xlogy(gone, gone) - scipy.special.xlogy(degree, degree)
    lead = (1,) * alpha.ndim + (-1,)
    deviance = _deviance(m.reshape(lead), degree * alpha[..., None])
    deviance = deviance + _deviance(gone.reshape(lead), degree * masked[..., None])
    return jnp.exp(jnp.asarray((log_ways + entropy).reshape(lead), alpha.dtype) - deviance)


def _deviance(count: np.ndarray, mean: Array) -> Array:
    """``count log(count / mean) + mean - count``, with its digits where the two are near each other."""
    x = jnp.asarray(count, mean.dtype)
    excess = (x - mean) / jnp.where(mean > 0, mean, 1.0)
    near = jnp.abs(excess) < 0.5
    small = jnp.where(near, excess, 0.0)
    close = mean * ((1 + small) * jnp.log1p(small) - small)
    log_ratio = jnp.log(jnp.where(x > 0, x, 1.0)) - jnp.log(mean)  # inf at mean = 0: no such count
    far = jnp.where(x > 0, x * log_ratio + mean - x, mean)
    return jnp.where(near, close, far)
