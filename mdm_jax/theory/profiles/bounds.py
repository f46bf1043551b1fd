r"""Upper bounds on the factorisation error of random-order sampling, each a function of a profile.

The error is ``F = sum_k n_k h(N_{k-1}) - sum_i h(i)`` for a profile ``h`` that falls (exact, or
:func:`mdm_jax.theory.profiles.falling`); all bounds follow from its other form, a weighted sum of the falls
``delta(i) = h(i - 1) - h(i)``:

    F = sum_i w_i delta(i),   w_i = N_{k(i)} - i  inside a block,  0 where a block starts,

next to ``TC = sum_i (d - i) delta(i)``, ``DTC = sum_i i delta(i)`` and ``TC + DTC = d (h(0) - h(d - 1))``. They are
tests of the theory and statements about scaling; to choose sizes, use the exact error and :mod:`mdm_jax.theory.plans`.

Source: ``DERIVATIONS.md``, "Bounds"; the schedules of (c) and (d) have the form of those in arXiv 2511.04647.
"""

import math

import numpy as np
import scipy.special
from jaxtyping import Float, Int

from mdm_jax.support.errors import require, require_number
from mdm_jax.theory.numerics.given import check_budget
from mdm_jax.theory.profiles.curves import dual_total_correlation, total_correlation
from mdm_jax.theory.profiles.profile import Profile, checked_profile, checked_sizes


def factorisation_error(profile: Profile, sizes: Int[np.ndarray, "*stack steps"]) -> Float[np.ndarray, "*stack"]:
    """``F = sum_k n_k h(N_{k-1}) - sum_i h(i)``, nats: what drawing tokens independently within a step costs.

    It is the expected KL divergence, over the random order, from the data's law to the sampler's where the profile is
    that of exact conditionals. For a learned model it is the *excess NELBO*: the learning error of the steps' starts
    is in it, and it may be negative where ``g`` rises.

    Args:
        profile: ``h``.
        sizes: tokens revealed at each step, summing to the length along the last axis.

    Raises:
        InputError: negative sizes, or a sum other than the length.

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> profile = mdm.profiles.from_values([1.0, 0.5, 0.25, 0.25])
        >>> float(mdm.profiles.bounds.factorisation_error(profile, np.array([2, 2])))  # g(0) - g(1) + g(2) - g(3)
        0.5
    """
    return np.asarray(checked_profile(profile).expected_nelbo(sizes) - profile.nelbo())


def any_sizes(profile: Profile, sizes: Int[np.ndarray, "*stack steps"]) -> Float[np.ndarray, "*stack"]:
    """``F <= (max_k n_k - 1) (h(0) - h(d - 1))``: tokens per step count, the length does not.

    In nats. Attained by ``h`` that falls only just after the start of the longest step. ``h(0) - h(d - 1)`` is at most
    the logarithm of the vocabulary's size.

    Raises:
        InputError: negative sizes, or a sum other than the length.

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> profile = mdm.profiles.from_values([1.0, 0.5, 0.25, 0.25])
        >>> float(mdm.profiles.bounds.any_sizes(profile, np.array([2, 2])))  # the error is 0.5
        0.75
    """
    most = checked_sizes(sizes, checked_profile(profile).length).max(axis=-1)
    return np.asarray((most - 1) * _fall(profile))


def constant_sizes(profile: Profile, steps: int) -> float:
    """``F <= (n - 1) (TC + DTC) / d`` for ``steps`` equal sizes, ``n = ceil(d / steps)``; at most ``(TC + DTC) / K``.

    In nats. Attained as in :func:`any_sizes`; half of it is typical.

    Raises:
        InputError: a number of steps that is not from 1 to the length.

    Example:
        >>> import mdm_jax as mdm
        >>> profile = mdm.profiles.from_values([1.0, 0.5, 0.25, 0.25])
        >>> mdm.profiles.bounds.constant_sizes(profile, 2)  # the error is 0.5
        0.75
    """
    check_budget(checked_profile(profile).length, steps)
    return (math.ceil(profile.length / steps) - 1) * _fall(profile)


def tc_schedule(profile: Profile, rate: float) -> float:
    """``F <= rate TC`` for the sizes ``n_k = 1 + floor(rate (d - N_{k-1} - 1))``, ``0 < rate <= 1``.

    In nats. Attained where ``rate (d - 1)`` is whole by ``h`` that falls only from ``h(0)`` to ``h(1)``.

    Raises:
        InputError: a rate out of range.

    Example:
        >>> import mdm_jax as mdm
        >>> profile = mdm.profiles.from_values([1.0, 0.5, 0.25, 0.25])
        >>> mdm.profiles.bounds.tc_schedule(profile, 0.25)  # a quarter of TC = 2
        0.5
    """
    require_number("rate", rate, 0, 1, "from 0 to 1")
    return rate * total_correlation(profile)


def dtc_schedule(profile: Profile, rate: float) -> float:
    """``F <= rate DTC`` for the sizes ``n_k = 1 + floor(rate (N_{k-1} + 1))``, ``rate > 0``.

    In nats. Attained where ``rate`` is whole by ``h`` that falls only just after the start of a step.

    Raises:
        InputError: a negative rate.

    Example:
        >>> import mdm_jax as mdm
        >>> profile = mdm.profiles.from_values([1.0, 0.5, 0.25, 0.25])
        >>> mdm.profiles.bounds.dtc_schedule(profile, 0.25)  # a quarter of DTC = 1
        0.25
    """
    require_number("rate", rate, 0, math.inf, "a number of at least 0")
    return rate * dual_total_correlation(profile)


def tc_schedule_steps(length: int, rate: float) -> float:
    """``K <= (1 + log^+(rate (d - 1))) / rate + 2`` steps are what the schedule of :func:`tc_schedule` takes.

    While ``rate (r - 1) >= 1`` each step shrinks what is left, ``r - 1``, by more than ``1 - rate``; then it is one
    token a step.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.profiles.bounds.tc_schedule_steps(1000, 0.1)  # (1 + log(99.9)) / 0.1 + 2
        58.04
    """
    return (1 + math.log(max(1.0, rate * (length - 1)))) / rate + 2


def dtc_schedule_steps(length: int, rate: float) -> float:
    """``K <= 1 / rate + log^+(rate d) / log(1 + rate) + 2`` steps are what the schedule of :func:`dtc_schedule` takes.

    One token a step until ``rate (N + 1) >= 1``; from there on each step multiplies ``N + 1`` by more than
    ``1 + rate``.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.profiles.bounds.dtc_schedule_steps(1000, 0.1)  # 10 + log(100) / log(1.1) + 2
        60.32
    """
    return 1 / rate + math.log(max(1.0, rate * length)) / math.log1p(rate) + 2


def independent_clocks(profile: Profile, fractions: Float[np.ndarray, " knots"]) -> float:
    """A bound on the ancestral sampler's error, whose every token falls into step ``k`` with ``a_k - a_{k-1}``.

    Step by step, from ``p`` to ``q``, the error ``d integral_p^q (q - u) |hb'(u)| du`` is at most

        (psi(q) / psi(p) - 1) D(p, q),   psi(u) = u / (1 - u),   D(p, q) = d integral_p^q u (1 - u) |hb'(u)| du,

    since ``(q - u) (1 - u) / (1 - q) >= q - u``. At the ends, where that is infinite: ``D(p, 1) / p``, and
    ``d q (hb(0) - hb(q))`` for the first step. ``D(0, 1) = sum_i delta(i) i (d - i) / (d + 1)``, and its parts are
    that with incomplete beta functions. Equal steps in the log-odds of ``a`` make all factors equal: the bound that
    several papers have for their schedules.

    Args:
        profile: ``h``.
        fractions: ``a_0 .. a_K``, rising from 0 to 1.

    Returns:
        nats per sequence.

    Raises:
        InputError: fractions that do not rise from 0 to 1.

    Example:
        >>> import mdm_jax as mdm
        >>> profile, grid = mdm.profiles.from_values([1.0, 0.5, 0.25, 0.25]), mdm.grids.uniform(2)
        >>> mdm.profiles.bounds.independent_clocks(profile, grid.fractions)
        1.4375
        >>> mdm.grids.ancestral_nelbo(profile, grid) - profile.nelbo()  # the error itself
        0.875
    """
    length = checked_profile(profile).length
    a = np.asarray(fractions, dtype=np.float64)
    good = len(a) > 1 and a[0] == 0 and a[-1] == 1 and np.all(np.diff(a) > 0)
    require(bool(good), "fractions", a.tolist(), "rising from 0 to 1")
    i = np.arange(1, length)
    falls = -np.diff(profile.values)
    below = scipy.special.betainc(i + 1, length - i + 1, a[:, None])  # of D up to a
    shares = np.diff(below, axis=0) @ (falls * i * (length - i) / (length + 1))
    # hb(0) - hb(q) = sum_i delta(i) P(Binomial(d - 1, q) >= i)
    first = length * a[1] * float(falls @ scipy.special.betainc(i, length - i, a[1]))
    if len(a) == 2:
        return first
    odds = a[1:-1] / (1 - a[1:-1])
    factors = np.append(odds[1:] / odds[:-1] - 1, 1 / a[-2])
    return float(first + factors @ shares[1:])


def _fall(profile: Profile) -> float:
    return float(profile.values[0] - profile.values[-1])
