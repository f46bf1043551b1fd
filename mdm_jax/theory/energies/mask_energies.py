r"""The energies of a mask schedule, per token, as differentiable JAX functions.

arXiv 2509.13866 defines three energies of a masked diffusion process: kinetic (equation 5), conditional kinetic (7) and
geodesic (9). For one token they coincide (example 3.3, equation 14):

    E = integral alpha'(t)^2 / (gamma'(t) alpha (1 - alpha)) dt  =  pi^2 integral theta'(t)^2 / gamma'(t) dt  >=  pi^2,

with equality exactly when ``theta = gamma``; indeed ``E = pi^2 (1 + chi^2(theta' || gamma'))``. For a sequence each is
that number times a constant which no schedule changes (theorems 3.1 and 3.2): :func:`log_multiplicity`.
``THEOREM.md`` beside this file says what follows from it and what does not;
:mod:`mdm_jax.theory.energies.enumeration` computes all three from their definitions, state by state.

A weight ``gamma`` is given as *the schedule that it makes optimal*: ``gamma(t) = weight.theta(t)``. Thus uniform
time is ``sine_squared`` (the default), the arcsine law is ``linear``, ``Beta(a, b)`` is ``beta(a, b)``, and any rise
from 0 to 1 is ``kinetic_optimum(rise)``.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mdm_jax.support.errors import InputError, require, require_whole, verbatim
from mdm_jax.theory.energies import actions
from mdm_jax.theory.numerics.special import digamma, entropy_excess, log_beta_remainder
from mdm_jax.theory.schedules import Beta, Linear, Schedule, SineSquared

_FLOOR = 0.01
"""A chi-squared below this may be off by as much as one of this size: it is the square of a small difference."""


def kinetic(schedule: Schedule, weight: Schedule | None = None) -> Float[Array, ""]:
    """The kinetic energy of ``schedule`` under ``weight``, per token: ``pi^2`` at the optimum.

    Equation 5 of the paper is ``integral 1/gamma' sum_{z != x} p_t(z)/p_t(x) Q_t(z, x)^2 dt``; it is this number times
    ``exp(log_multiplicity(...).kinetic)``.

    Between Beta schedules (``linear`` and ``sine_squared`` are two of them) it is :func:`closed_form`; otherwise the
    quadrature of :func:`mdm_jax.theory.energies.action` with its errors.

    Args:
        schedule: one schedule (``vmap`` over a stack, or :func:`mdm_jax.theory.energies.batch`).
        weight: the schedule whose angle is ``gamma``; ``sine_squared()``, that is ``gamma(t) = t``, if left out.

    Returns:
        float[]; ``inf`` where the integral diverges. Differentiable in the numbers of both, with finite derivatives
        wherever the value is finite.

    Raises:
        InputError: a pair that the quadrature does not resolve (NaN under ``jit`` and ``vmap``;
            :func:`mdm_jax.theory.energies.action` has the range), no schedule, or one that does not rise from 0 to 1.

    Source: arXiv 2509.13866, equation 5, example 3.3; ``DERIVATIONS.md``, "The least energy is pi squared per token".

    Example:
        >>> import mdm_jax as mdm
        >>> float(mdm.energies.kinetic(mdm.schedules.sine_squared()))  # pi^2, the least there is
        9.8696
        >>> float(mdm.energies.kinetic(mdm.schedules.linear()))
        inf
    """
    schedule, weight = actions.checked_pair(schedule, weight)
    if _beta_parameters(schedule) is not None and _beta_parameters(weight) is not None:
        return closed_form(schedule, weight)
    return actions.action(schedule, actions.fisher, weight)


def conditional_kinetic(schedule: Schedule, weight: Schedule | None = None) -> Float[Array, ""]:
    """The conditional kinetic energy, per token: the same number as :func:`kinetic`, with another multiplicity.

    Equation 7 of the paper is ``E_x1 integral 1/gamma' sum_{z != x} p_{t|1}(z)/p_{t|1}(x) Q_{t|1}(z, x)^2 dt``: it is
    ``length 2^(length-1)`` times this (theorem 3.1).

    Example:
        >>> import mdm_jax as mdm
        >>> float(mdm.energies.conditional_kinetic(mdm.schedules.sine_squared()))  # pi^2, as of the other two
        9.8696
    """
    return kinetic(schedule, weight)


def geodesic_energy(schedule: Schedule, weight: Schedule | None = None) -> Float[Array, ""]:
    """The geodesic energy, per token: the same number as :func:`kinetic`, with multiplicity ``length``.

    Equation 9 of the paper is ``E_x1 integral 1/gamma' sum_i sum_z 4 (d/dt sqrt(p_{t|1}(z_i)))^2 dt``: the length of
    the path on the sphere of ``sqrt(p)``, squared, at the pace that ``gamma`` sets (theorem 3.2).

    Example:
        >>> import mdm_jax as mdm
        >>> float(mdm.energies.geodesic_energy(mdm.schedules.sine_squared()))  # pi^2, as of the other two
        9.8696
    """
    return kinetic(schedule, weight)


class LogMultiplicity(NamedTuple):
    """``log(energy of the sequence / energy per token)`` of each energy; see :func:`log_multiplicity`."""

    kinetic: float
    conditional_kinetic: float
    geodesic: float


def log_multiplicity(
    length: int, vocab_size: int | None = None, support: Int[np.ndarray, "rows length"] | None = None
) -> LogMultiplicity:
    """The constants between the energies of a sequence and the energy per token, as logarithms (they are huge).

    The kinetic one counts the masked tokens of all states that the process can be in: ``length (V + 1)^(length - 1)``
    if every sequence is possible. It depends on the *support* of the data, not on its length and vocabulary alone as
    the paper's theorem 3.1 says (27 for three binary tokens, 21 if they are always equal). The others are
    ``length 2^(length - 1)`` and ``length``.

    Args:
        length: tokens per sequence.
        vocab_size: number of real tokens, where every sequence has positive probability.
        support: int[rows, length], the possible sequences, instead; length at most 20.

    Raises:
        InputError: neither or both of ``vocab_size`` and ``support``, or numbers and shapes that fit no sequence.

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> np.exp(mdm.energies.log_multiplicity(3, vocab_size=2)).round().tolist()
        [27.0, 12.0, 3.0]
        >>> np.exp(mdm.energies.log_multiplicity(3, support=np.array([[0, 0, 0], [1, 1, 1]]))).round().tolist()
        [21.0, 12.0, 3.0]
    """
    length = require_whole("length", length, 1)
    if support is not None and vocab_size is None:
        kinetic = math.log(_masked_tokens(length, np.asarray(support)))
    elif vocab_size is not None and support is None:
        vocab_size = require_whole("vocab_size", vocab_size, 1)
        kinetic = math.log(length) + (length - 1) * math.log(vocab_size + 1)
    else:
        raise InputError("vocab_size or support must be given, and not both.")
    return LogMultiplicity(kinetic, math.log(length) + (length - 1) * math.log(2), math.log(length))


def _masked_tokens(length: int, support: np.ndarray) -> int:
    shape = verbatim(str(support.shape))
    require(
        support.ndim == 2 and support.shape[1] == length and len(support) > 0, "support", shape, f"[rows, {length}]"
    )
    require(length <= 20, "length", length, "at most 20 where a support is given: its masked states are counted")
    total = 0
    for subset in range(2**length - 1):  # the revealed positions; all revealed has no masked token
        shown = [i for i in range(length) if subset >> i & 1]
        distinct = len(np.unique(support[:, shown], axis=0)) if shown else 1
        total += (length - len(shown)) * distinct
    return total


def chi_squared(schedule: Schedule, weight: Schedule | None = None) -> Float[Array, ""]:
    """``chi^2(theta' || gamma') = integral (theta' - gamma')^2 / gamma' dt``, so that ``E = pi^2 (1 + chi^2)``.

    How far a schedule is from optimal, with all its digits near the optimum, where the energy has lost them.

    Args:
        schedule: one schedule.
        weight: the schedule whose angle is ``gamma``; ``sine_squared()``, that is ``gamma(t) = t``, if left out.

    Raises:
        InputError: a pair that is not resolved (:func:`mdm_jax.theory.energies.action`), or no schedule.

    Example:
        >>> import mdm_jax as mdm
        >>> sine, linear = mdm.schedules.sine(), mdm.schedules.linear()
        >>> float(mdm.energies.chi_squared(sine, linear)), float(mdm.energies.kinetic(sine, linear)) / 9.8696 - 1
        (0.1402, 0.1402)
    """
    schedule, weight = actions.checked_pair(schedule, weight)

    def log_integrand(
        value: Callable[[actions.LogRate], Array], ours: actions.LogRate, theirs: actions.LogRate
    ) -> Array:
        ahead = value(actions.combine(1.0, ours, -1.0, theirs))  # log(theta' / gamma')
        steep = ahead > 1  # here theta'^2 / gamma' is taken out, elsewhere gamma'
        far = value(actions.combine(2.0, ours, -1.0, theirs)) + 2 * jnp.log1p(-jnp.exp(-jnp.where(steep, ahead, 1.0)))
        excess = jnp.abs(jnp.expm1(jnp.where(steep, 0.0, ahead)))
        near = 2 * jnp.log(jnp.where(excess > 0, excess, 1.0)) + value(theirs)
        return jnp.where(steep, far, jnp.where(excess > 0, near, -jnp.inf))

    value = actions.integral(schedule, weight, log_integrand, lambda p, c: jnp.minimum(2 * p - c, c), floor=_FLOOR)
    return actions.resolved(value, schedule, weight)


def closed_form(schedule: Schedule, weight: Schedule) -> Float[Array, ""]:
    """The energy of a Beta(a, b) schedule under a Beta(r, s) weight: ``pi^2 B(r, s) B(2a - r, 2b - s) / B(a, b)^2``.

    Infinite exactly where the integral diverges, ``2a <= r`` or ``2b <= s``. The beta functions are combined as
    relative entropies, so that nothing cancels: the relative error in float32 is about 1e-6.

    Args:
        schedule: a Beta schedule, ``linear`` (.5, .5) or ``sine_squared`` (1, 1).
        weight: another.

    Raises:
        InputError: a schedule of another family.

    Source: example 3.3 and section 3.3 of arXiv 2509.13866; ``DERIVATIONS.md``, "Beta schedules in closed form".

    Example:
        >>> import mdm_jax as mdm
        >>> float(mdm.energies.closed_form(mdm.schedules.sine_squared(), mdm.schedules.linear())) / 9.8696  # pi^2 / 8
        1.2337
        >>> float(mdm.energies.closed_form(mdm.schedules.beta(0.9, 0.5), mdm.schedules.sine_squared()))  # 2 b = s
        inf
    """
    schedule, weight = actions.checked_pair(schedule, weight)
    ours, theirs = _beta_parameters(schedule), _beta_parameters(weight)
    if ours is None or theirs is None:
        given = type(schedule if ours is None else weight).__name__
        raise InputError(f"schedule and weight must be of the Beta family (linear and sine_squared are); got {given}.")
    if any(jnp.ndim(x) for x in (*ours, *theirs)):
        raise InputError("schedule and weight must be one each, not a stack (vmap, or energies.batch).")
    (a, b), (c, d) = ours, theirs
    finite = (2 * a > c) & (2 * b > d)
    # Both branches of `where` are differentiated, so the unused one is fed safe numbers.
    safe = (jnp.where(finite, x, 1.0) for x in (a, b, c, d))
    return np.pi**2 * jnp.where(finite, jnp.exp(_log_closed_form(*safe)), jnp.inf)


def _beta_parameters(schedule: Schedule) -> tuple[Array, Array] | None:
    if type(schedule) is Beta:  # a subclass may have other formulas
        return schedule.a, schedule.b
    known = {Linear: 0.5, SineSquared: 1.0}.get(type(schedule))
    return None if known is None else (jnp.asarray(known, float), jnp.asarray(known, float))


@jax.custom_jvp
def _log_closed_form(a: Array, b: Array, c: Array, d: Array) -> Array:
    left, right = 2 * a - c, 2 * b - d
    cross, total = a * d - b * c, a + b
    # (c + d) KL(c : d || a : b) + (left + right) KL(left : right || a : b)
    entropy = jnp.zeros_like(total)
    for part, other, sign in ((c, d, 1), (left, right, -1)):
        share = (part + other) / total
        entropy += entropy_excess(part, sign * cross / (total * part), jnp.log(share * (a / part)))
        entropy += entropy_excess(other, -sign * cross / (total * other), jnp.log(share * (b / other)))
    remainder = log_beta_remainder(c, d) + log_beta_remainder(left, right) - 2 * log_beta_remainder(a, b)
    means = (a * b / total) ** 2 / ((c * d / (c + d)) * (left * right / (left + right)))
    return entropy + remainder + jnp.log(means)


@_log_closed_form.defjvp
def _log_closed_form_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    a, b, c, d = primals
    da, db, dc, dd = tangents
    left, right = 2 * a - c, 2 * b - d
    middle, theirs, sides = digamma(a + b), digamma(c + d), digamma(left + right)
    change = 2 * (digamma(left) - sides - digamma(a) + middle) * da
    change = change + 2 * (digamma(right) - sides - digamma(b) + middle) * db
    change = change + (digamma(c) - theirs - digamma(left) + sides) * dc
    change = change + (digamma(d) - theirs - digamma(right) + sides) * dd
    return _log_closed_form(*primals), change
