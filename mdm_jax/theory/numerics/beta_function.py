r"""The regularised incomplete beta function ``I_t(a, b)``, its derivatives of every order and its inverse.

JAX's ``betainc`` has no derivative in ``a`` and ``b`` and errs by 1e-5 in float32. Here, for ``a, b`` in [0.05, 50] and
every ``t``, the error in float32 is below 2e-6 for the value and 1e-5 for its derivatives in ``a`` and ``b``
(``tests/theory/numerics/test_incomplete_beta.py``; in float64 it is about 1e-13).

**Method** (ours). With ``x = t e^{-m/a}`` the integral becomes one against ``e^{-m}`` on the half-line (DLMF 8.17.8):

    I_t(a, b) = t^a (1-t)^b / (a B(a, b)) * F,    F = integral_0^inf e^{-m} (1 + t (e^{-m/a} - 1))^{-(a+b)} dm,

and one double-exponential rule serves all ``a, b, t`` left of ``max(a,1) / (max(a,1) + max(b,1))``; right of it,
``a, t`` trade places with ``b, 1 - t``. The factor before ``F`` is evaluated as a relative entropy plus Stirling's
remainders, so that nothing large cancels. The sum is differentiated in ``a`` and ``b`` as it stands; the derivative in
``t`` is the density.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from mdm_jax.theory.numerics.special import (
    digamma,
    digamma_of_next,
    entropy_excess,
    is_positive,
    log_beta_remainder,
    log_of,
)

_NEWTON = 40


def incomplete_beta(
    a: ArrayLike, b: ArrayLike, t: ArrayLike, complement: ArrayLike | None = None
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """``(I_t(a, b), 1 - I_t(a, b))``, the smaller of the two with all its digits.

    Args:
        a: positive, broadcast against the others.
        b: positive.
        t: in [0, 1].
        complement: ``1 - t`` where it is known more exactly than ``t`` tells; no derivative is taken in it.

    Returns:
        Two float[...]. Differentiable in ``a``, ``b`` and ``t``, forwards, backwards and repeatedly; at ``t = 0`` and
        ``t = 1`` the derivative in ``t`` is the one-sided one (which may be infinite).

    Example:
        >>> from mdm_jax.theory.numerics import incomplete_beta
        >>> low, high = incomplete_beta(0.5, 0.5, 0.25)
        >>> round(float(low), 6), round(float(high), 6)
        (0.333333, 0.666667)
    """
    a, b, t, u = _broadcast(a, b, t, complement)
    return _value(a, b, t, u)


def incomplete_beta_inverse(
    a: ArrayLike, b: ArrayLike, value: ArrayLike, complement: ArrayLike | None = None
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """``(t, 1 - t)`` where ``I_t(a, b) = value``; each underflows to zero only at the end it belongs to.

    Args:
        a: positive, broadcast against the others.
        b: positive.
        value: in [0, 1].
        complement: ``1 - value`` where it is known more exactly than ``value`` tells; no derivative is taken in it.

    Returns:
        Two float[...], differentiable in ``a``, ``b`` and ``value`` (implicit function theorem).

    Example:
        >>> from mdm_jax.theory.numerics import incomplete_beta_inverse
        >>> t, rest = incomplete_beta_inverse(1.0, 0.25, 0.999999)
        >>> float(t), float(rest) < 2e-24
        (1.0, True)
    """
    a, b, value, complement = _broadcast(a, b, value, complement)
    return _inverse(a, b, value, complement)


def _broadcast(a: ArrayLike, b: ArrayLike, t: ArrayLike, complement: ArrayLike | None) -> tuple[Array, ...]:
    a, b, t = (jnp.asarray(x, float) for x in (a, b, t))
    u = 1 - t if complement is None else jnp.asarray(complement, float)
    a, b, t, u = jnp.broadcast_arrays(a, b, t, u)
    return a, b, t, _follow(u, t)


@jax.custom_jvp
def _follow(u: Array, t: Array) -> Array:
    """``u``, differentiated as ``1 - t`` (by no arithmetic, which would lose subnormal numbers)."""
    return u


@_follow.defjvp
def _follow_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    return primals[0], -tangents[1]


@jax.custom_jvp
def _value(a: Array, b: Array, t: Array, u: Array) -> tuple[Array, Array]:
    swap = _beyond(a, b, t, u)
    tail = jnp.where(is_positive(t) & is_positive(u), jnp.exp(_log_tail(*_sides(swap, a, b, t, u))), 0.0)
    rest = 1 - tail
    return jnp.where(swap, rest, tail), jnp.where(swap, tail, rest)


@_value.defjvp
def _value_jvp(
    primals: tuple[Array, Array, Array, Array], tangents: tuple[Array, Array, Array, Array]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    a, b, t, u = primals
    da, db, dt, _ = tangents
    swap = _beyond(a, b, t, u)
    inside = is_positive(t) & is_positive(u)
    t_in, u_in = jnp.where(inside, t, 0.5), jnp.where(inside, u, 0.5)

    def tail(a: Array, b: Array) -> Array:
        return jnp.exp(_log_tail(*_sides(swap, a, b, t_in, u_in)))

    _, slope = jax.jvp(tail, (a, b), (da, db))
    steep = density(a, b, t, u)
    along = _finite(steep) * dt * jnp.where(jnp.isinf(steep), jnp.finfo(t.dtype).max, 1.0)
    change = jnp.where(inside, jnp.where(swap, -slope, slope), 0.0) + along
    return _value(a, b, t, u), (change, -change)


def density(a: ArrayLike, b: ArrayLike, t: ArrayLike, complement: ArrayLike | None = None) -> Float[Array, "..."]:
    """The Beta density ``t^(a-1) (1-t)^(b-1) / B(a, b)``; at the ends its limit, zero, infinite or in between."""
    return _density(*_broadcast(a, b, t, complement))


def beta_hazard(a: ArrayLike, b: ArrayLike, t: ArrayLike) -> Float[Array, "..."]:
    """The density over ``1 - I_t(a, b)`` inside (0, 1): neither need be representable.

    Example:
        >>> from mdm_jax.theory.numerics.beta_function import beta_hazard
        >>> round(float(beta_hazard(1.0, 1.0, 0.75)), 4)
        4.0
    """
    a, b, t, u = _broadcast(a, b, t, None)
    swap = _beyond(a, b, t, u)
    late_t, late_u = jnp.where(swap, t, 0.5), jnp.where(swap, u, 0.5)
    late = b / (late_t * late_u * _half_line(b, a, late_u))
    rest = _value(a, b, jnp.where(swap, 0.5, t), jnp.where(swap, 0.5, u))[1]
    there = rest > 0
    early = jnp.where(there, _density(a, b, t, u) / jnp.where(there, rest, 1.0), jnp.inf)
    return jnp.where(swap, late, early)


@jax.custom_jvp
def _density(a: Array, b: Array, t: Array, u: Array) -> Array:
    inside, _, _, log_value = _inside(a, b, t, u)
    # B(1, b) = 1 / b: the limit at 0 for a = 1, and the mirror image at 1.
    at_0 = jnp.where(a > 1, 0.0, jnp.where(a < 1, jnp.inf, b))
    at_1 = jnp.where(b > 1, 0.0, jnp.where(b < 1, jnp.inf, a))
    return jnp.where(inside, jnp.exp(log_value), jnp.where(is_positive(u), at_0, at_1))


@_density.defjvp
def _density_jvp(
    primals: tuple[Array, Array, Array, Array], tangents: tuple[Array, Array, Array, Array]
) -> tuple[Array, Array]:
    a, b, t, u = primals
    da, db, dt, _ = tangents
    inside, log_t, log_u, log_value = _inside(a, b, t, u)
    value = jnp.exp(log_value)
    most = jnp.finfo(t.dtype).max
    left = (a - 1) * jnp.minimum(jnp.exp(log_value - log_t), most)  # most, not infinity: nothing at a = 1
    right = (b - 1) * jnp.minimum(jnp.exp(log_value - log_u), most)
    total = digamma(a + b)
    by_a = _finite(value * (log_t - digamma(a) + total))
    by_b = _finite(value * (log_u - digamma(b) + total))
    at_0 = is_positive(u)
    by_t = _finite(jnp.where(inside, left - right, jnp.where(at_0, _slope_at_0(a, b), -_slope_at_0(b, a))))
    by_a = jnp.where(inside, by_a, jnp.where(~at_0 & (b == 1), 1.0, 0.0))
    by_b = jnp.where(inside, by_b, jnp.where(at_0 & (a == 1), 1.0, 0.0))
    return _density(a, b, t, u), by_a * da + by_b * db + by_t * dt


def _inside(a: Array, b: Array, t: Array, u: Array) -> tuple[Array, Array, Array, Array]:
    """Whether ``0 < t < 1``; there ``log t``, ``log(1 - t)`` and the logarithm of the density, elsewhere 1/2's."""
    inside = is_positive(t) & is_positive(u)
    t, u = jnp.where(inside, t, 0.5), jnp.where(inside, u, 0.5)
    log_t, log_u = log_of(t), log_of(u)
    return inside, log_t, log_u, _log_density_over_a(a, b, t, u, log_t, log_u) + jnp.log(a) - log_t - log_u


def _slope_at_0(a: Array, b: Array) -> Array:
    """The limit at 0 of the density's derivative."""
    return jnp.where(
        a < 1, -jnp.inf, jnp.where(a == 1, b * (1 - b), jnp.where(a < 2, jnp.inf, jnp.where(a > 2, 0.0, b * (1 + b))))
    )


def _finite(x: Array) -> Array:
    """The largest number for infinity, so that a zero tangent stays zero."""
    return jnp.where(jnp.isinf(x), jnp.sign(x) * jnp.finfo(x.dtype).max, x)


@jax.custom_jvp
def _inverse(a: Array, b: Array, value: Array, complement: Array) -> tuple[Array, Array]:
    # Left of the split, log I is a concave function of the log-odds y of t, so Newton's method cannot fail: whatever
    # its first step, it then rises to the root from the left.
    left, right = jnp.maximum(a, 1.0), jnp.maximum(b, 1.0)
    at_split = _value(a, b, left / (left + right), right / (left + right))[0]
    swap = value > at_split
    inside = is_positive(value) & is_positive(complement)
    target = log_of(jnp.where(inside, jnp.where(swap, complement, value), 0.5))
    a_, b_ = jnp.where(swap, b, a), jnp.where(swap, a, b)
    start = jnp.log(jnp.maximum(a_, 1.0)) - jnp.log(jnp.maximum(b_, 1.0))
    close = 4 * jnp.finfo(value.dtype).eps

    def unfinished(state: tuple[Array, Array, Array]) -> Array:
        _, moved, count = state
        return jnp.any(moved) & (count < _NEWTON)

    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        y, _, count = state
        log_t, log_u = -jnp.logaddexp(-y, 0.0), -jnp.logaddexp(y, 0.0)
        t, u = jnp.exp(log_t), jnp.exp(log_u)
        log_f = jnp.log(_half_line(a_, b_, t))
        log_value = _log_density_over_a(a_, b_, t, u, log_t, log_u) + log_f
        change = (target - log_value) * jnp.exp(log_f) / a_
        y = y + change
        return y, jnp.abs(change) > close * (1 + jnp.abs(y)), count + 1

    y, _, _ = jax.lax.while_loop(unfinished, step, (start, jnp.ones_like(inside), jnp.asarray(0)))
    small, large = jnp.exp(-jnp.logaddexp(-y, 0.0)), jnp.exp(-jnp.logaddexp(y, 0.0))
    t, u = jnp.where(swap, large, small), jnp.where(swap, small, large)
    at_end = jnp.where(is_positive(complement), 0.0, 1.0)
    return jnp.where(inside, t, at_end), jnp.where(inside, u, 1 - at_end)


@_inverse.defjvp
def _inverse_jvp(
    primals: tuple[Array, Array, Array, Array], tangents: tuple[Array, Array, Array, Array]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    a, b, value, complement = primals
    da, db, dvalue, _ = tangents
    t, u = _inverse(a, b, value, complement)
    inside = is_positive(t) & is_positive(u)
    t_in, u_in = jnp.where(inside, t, 0.5), jnp.where(inside, u, 0.5)
    swap = _beyond(a, b, t_in, u_in)
    _, relative = jax.jvp(lambda a, b: _log_tail(*_sides(swap, a, b, t_in, u_in)), (a, b), (da, db))
    # the tail over the density, neither of which need be representable
    near_a, near_b, near_t, _ = _sides(swap, a, b, t_in, u_in)
    ratio = t_in * u_in * _half_line(near_a, near_b, near_t) / near_a
    steep = _finite(1 / density(a, b, t_in, u_in))
    change = jnp.where(inside, steep * dvalue + jnp.where(swap, ratio, -ratio) * relative, 0.0)
    return (t, u), (change, -change)


def _log_tail(a: Array, b: Array, t: Array, u: Array) -> Array:
    """``log I_t(a, b)`` left of the split."""
    return _log_density_over_a(a, b, t, u, log_of(t), log_of(u)) + jnp.log(_half_line(a, b, t))


def _half_line(a: Array, b: Array, t: Array) -> Array:
    """``F`` of the module's text."""
    m, log_mass = (jnp.asarray(x, t.dtype).reshape((1,) * t.ndim + (-1,)) for x in _nodes(jnp.finfo(t.dtype).bits))
    a, b, t = a[..., None], b[..., None], t[..., None]
    return jnp.sum(jnp.exp(log_mass - (a + b) * jnp.log1p(t * jnp.expm1(-m / a))), axis=-1)


@functools.cache
def _nodes(bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes ``m`` of the double-exponential rule for the half-line, and the logarithms of mass times ``e^{-m}``."""
    low, high, count = (-2.6, 8.6, 60) if bits < 64 else (-3.6, 9.0, 180)
    z = np.linspace(low, high, count)
    m = 2 * np.exp(z - np.exp(-z))
    log_mass = np.log(m * (1 + np.exp(-z)) * (z[1] - z[0])) - m
    return m, log_mass - np.log(np.exp(log_mass).sum())


@jax.custom_jvp
def _log_density_over_a(a: Array, b: Array, t: Array, u: Array, log_t: Array, log_u: Array) -> Array:
    """``log(t^a u^b / (a B(a, b)))``."""
    total = a + b
    p, q = a / total, b / total
    # t / p and u / q by way of the difference from 1, taken on the side where it has its digits
    shift = jnp.where(p < q, t - p, q - u)
    excess = entropy_excess(a, shift / p, log_t - jnp.log(p)) + entropy_excess(b, -shift / q, log_u - jnp.log(q))
    return jnp.log(q) - excess - log_beta_remainder(a, b)


@functools.partial(_log_density_over_a.defjvp, symbolic_zeros=True)
def _log_density_over_a_jvp(
    primals: tuple[Array, ...], tangents: tuple[Array | SymbolicZero, ...]
) -> tuple[Array, Array]:
    a, b, t, u, log_t, log_u = primals
    da, db, dt, _, _, _ = tangents
    total = digamma(a + b)
    change = jnp.zeros_like(a)
    if not isinstance(da, SymbolicZero):
        change += (log_t - digamma_of_next(a) + total) * da
    if not isinstance(db, SymbolicZero):
        change += (log_u - digamma(b) + total) * db
    if not isinstance(dt, SymbolicZero):  # 0 * infinity where t is tiny
        most = jnp.finfo(t.dtype).max
        change += jnp.clip((a * u - b * t) / t / u, -most, most) * dt
    return _log_density_over_a(*primals), change


def _beyond(a: Array, b: Array, t: Array, u: Array) -> Array:
    return t * jnp.maximum(b, 1.0) > u * jnp.maximum(a, 1.0)


def _sides(swap: Array, a: Array, b: Array, t: Array, u: Array) -> tuple[Array, Array, Array, Array]:
    return jnp.where(swap, b, a), jnp.where(swap, a, b), jnp.where(swap, u, t), jnp.where(swap, t, u)
