"""The double-exponential (tanh-sinh) rule on (0, 1), whole or in pieces, and power-law tails beyond its last nodes.

Integrands are given by their logarithm, so that none overflows or underflows on its way to the sum.
"""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

_WHOLE = {32: 129, 64: 289}
_PIECE = {32: 41, 64: 81}
_REACH = {32: 3.3, 64: 5.5}  # t = 1 / (1 + exp(pi sinh(reach))), 6e-19 and 1e-167, at the first node
"""By bits of the float type."""
_STRIDE = 4
"""Nodes between which a slope is measured."""


def nodes(pieces: Float[Array, " knots"] | None = None) -> tuple[Array, Array, Array]:
    """``t``, ``1 - t`` (each with all its digits) and the logarithm of the mass of every node.

    Args:
        pieces: float[knots] rising from 0 to 1, between which integrands are smooth; one piece if left out. Pieces
            of no width have no mass.

    Returns:
        Three float[nodes], in increasing order of ``t``.
    """
    zero = jnp.zeros((), float)
    held = jnp.finfo(zero.dtype)
    rule = _double_exponential((_WHOLE if pieces is None else _PIECE)[held.bits], _REACH[held.bits])
    s, rest, log_mass = (jnp.asarray(x, float) for x in rule)
    if pieces is None:
        return s, rest, log_mass
    start, end = pieces[:-1, None], pieces[1:, None]
    width = end - start
    s, rest = s[None, :], rest[None, :]
    t = jnp.maximum(start + width * s, held.tiny)
    u = jnp.maximum((1 - end) + width * rest, held.tiny)
    log_width = jnp.where(width > 0, jnp.log(jnp.where(width > 0, width, 1.0)), -jnp.inf)
    return t.ravel(), u.ravel(), (log_width + log_mass[None, :]).ravel()


def merge(*pieces: Float[Array, " _"] | None) -> Float[Array, " knots"] | None:
    """All knots in one rising list (with repetitions); ``None`` stands for no knots."""
    known = [knots for knots in pieces if knots is not None]
    return jnp.sort(jnp.concatenate(known)) if known else None


def integrate(
    log_values: Float[Array, " nodes"],
    where: tuple[Float[Array, " nodes"], Float[Array, " nodes"], Float[Array, " nodes"]],
    usable: Bool[Array, " nodes"] | None,
    powers: tuple[Array, Array],
) -> Float[Array, ""]:
    """The integral of ``exp(log_values)`` over (0, 1).

    Args:
        log_values: logarithm of the integrand at the nodes.
        where: what :func:`nodes` returned.
        usable: nodes at which the integrand has its digits (``None``: all). Outside the first and the last of them it
            is taken for a power law.
        powers: the integrand goes as ``t^(powers[0] - 1)`` at 0 and as ``(1-t)^(powers[1] - 1)`` at 1; both positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from mdm_jax.theory.numerics import quadrature
        >>> t, rest, masses = quadrature.nodes()
        >>> powers = jnp.array(0.5), jnp.array(1.0)
        >>> float(quadrature.integrate(-0.5 * jnp.log(t), (t, rest, masses), None, powers))  # of 1 / sqrt(t)
        2.0
    """
    t, u, log_mass = where
    first, last = ends(usable, len(t))
    at = jnp.arange(len(t))
    half = jnp.where((at == first) | (at == last), 0.5, 1.0)
    if usable is not None:
        log_values = jnp.where((at >= first) & (at <= last), log_values, -jnp.inf)
    body = jnp.sum(half * jnp.exp(log_values + log_mass))
    head = _beyond(log_values, log_mass, jnp.log(t), first, first + 1, powers[0])
    tail = _beyond(log_values, log_mass, jnp.log(u), last, last - 1, powers[1])
    return body + head + tail


def doubt(
    log_values: Float[Array, " nodes"],
    where: tuple[Float[Array, " nodes"], Float[Array, " nodes"], Float[Array, " nodes"]],
    usable: Bool[Array, " nodes"] | None,
    powers: tuple[Array, Array],
    gains: tuple[Array, Array],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """How far off :func:`integrate` may be, from the same values; arguments as there.

    ``gains`` are the least powers of ``t`` and ``1 - t`` by which the next terms at the ends are below the first.

    Returns:
        The integral by every other node, less the integral by all: a peak narrower than the nodes are apart, or a jump
        between them, shows here first. And how far what lies beyond the outermost nodes may be off, since the integrand
        is no power law yet where its slope there is another than at the end.
    """
    t, u, log_mass = where
    first, last = ends(usable, len(t))
    at = jnp.arange(len(t))
    half = jnp.where((at == first) | (at == last), 0.5, 1.0)
    inside = (at >= first) & (at <= last)
    values = jnp.where(inside, half * jnp.exp(jnp.where(inside, log_values + log_mass, -jnp.inf)), 0.0)
    starts = jnp.log(t), first, first + _STRIDE, powers[0], gains[0]
    beyond = jnp.zeros((), t.dtype)
    for log_t, end, inward, power, gain in (starts, (jnp.log(u), last, last - _STRIDE, powers[1], gains[1])):
        slope = 1 + (log_values[inward] - log_values[end]) / (log_t[inward] - log_t[end])
        outside = jnp.exp(log_values[end] + log_t[end]) / power
        beyond += jnp.where(outside > 0, outside * jnp.abs(slope - power) / (power + gain), 0.0)
    return jnp.abs(jnp.sum(jnp.where(at % 2 == 0, values, -values))), beyond


def _beyond(log_values: Array, log_mass: Array, log_t: Array, end: Any, inward: Any, power: Array) -> Array:
    """What a power law has beyond the ``end`` node, and Euler and Maclaurin's correction for the sum's end there."""
    log_step = log_mass - log_t  # of the change of log(t) per node
    growth = power * jnp.exp(log_step[end]) + log_step[inward] - log_step[end]  # of log(value * mass), per node
    outside = jnp.exp(log_values[end] + log_t[end]) / power
    return outside + jnp.exp(log_values[end] + log_mass[end]) * growth * (1 / 12 - growth**2 / 720 + growth**4 / 30240)


def ends(usable: Bool[Array, " nodes"] | None, count: int) -> tuple[Any, Any]:
    """The first and the last usable node out of ``count`` (``None``: all are)."""
    if usable is None:
        return 0, count - 1
    return jnp.argmax(usable), count - 1 - jnp.argmax(usable[::-1])


@functools.cache
def _double_exponential(count: int, reach: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``t``, ``1 - t`` and log-masses of the rule on (0, 1)."""
    s = np.linspace(-reach, reach, count)
    odds = np.pi * np.sinh(s)
    log_t, log_u = -np.logaddexp(0, -odds), -np.logaddexp(0, odds)
    log_mass = np.log(np.pi * np.cosh(s) * (s[1] - s[0])) + log_t + log_u
    return np.exp(log_t), np.exp(log_u), log_mass
