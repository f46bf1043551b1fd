"""The best sizes for a profile, exactly: for every number of steps, a price per step, a budget of nats or of time."""

import dataclasses
import math
import sys

import numpy as np
from jaxtyping import Float, Int

from mdm_jax.support.errors import InputError, require, require_number
from mdm_jax.theory.numerics.given import check_budget, told_nats
from mdm_jax.theory.plans.plan import Plan
from mdm_jax.theory.profiles import Profile, checked_profile

_ROUNDING = 1e-14
"""Of the values: rises no larger are those of interpolation between equal ones."""


def optimal(profile: Profile, steps: int) -> Plan:
    """The sizes with the smallest expected NELBO among all sizes of at most ``steps`` steps.

    By :func:`optimal_for_every_budget`; where another step could not help, the plan has fewer. It takes the profile as
    it is: of one measured with few encodings the optimum follows the noise, and
    ``optimal(profiles.posterior_profile(profile).profile, steps)`` does not; so do :func:`mdm_jax.tune` and
    :func:`mdm_jax.presets.best`.

    Raises:
        InputError: a number of steps that is not from 1 to the length.

    Example:
        >>> import mdm_jax as mdm
        >>> profile = mdm.profiles.from_values(mdm.oracles.polya(128, 0.5).entropies())
        >>> mdm.plans.optimal(profile, 8).sizes.tolist()
        [1, 2, 3, 6, 10, 18, 32, 56]
    """
    check_budget(checked_profile(profile).length, steps)
    return optimal_for_every_budget(profile, steps).plan(steps)


@dataclasses.dataclass(frozen=True, eq=False)
class OptimalPlans:
    """The answer of the dynamic programme for every budget ``K = 1 .. most_steps``.

    Attributes:
        profile: the profile that was optimised.
        nelbo: float64[most_steps]; entry ``K - 1`` is the smallest expected NELBO with at most ``K`` steps, nats. It
            never rises, and is convex in ``K`` where the profile falls.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.plans.optimal_for_every_budget(mdm.profiles.from_values([1.0, 0.5, 0.25, 0.25])).plan(2).sizes.tolist()
        [1, 3]
    """

    profile: Profile
    nelbo: Float[np.ndarray, " most_steps"]
    _previous: Int[np.ndarray, "most_steps knots"] = dataclasses.field(repr=False)

    def __repr__(self) -> str:
        """What the first and the last budget cost."""
        scale = 1 / (self.profile.length * math.log(2))
        first, last = (f"{nats * scale:.4g}" for nats in self.nelbo[[0, -1]])
        told = f"{first} bits per token in one step, {last} in {len(self.nelbo)}"
        return f"OptimalPlans({self.profile.length} tokens, at most {len(self.nelbo)} steps: {told})"

    def sizes(self, steps: int) -> Int[np.ndarray, " used"]:
        """The optimal sizes for a budget of ``steps``; fewer steps where another could not help."""
        check_budget(len(self.nelbo), steps)
        knot, sizes = self.profile.length, []
        for step in range(steps - 1, -1, -1):
            before = int(self._previous[step, knot])
            sizes.append(knot - before)
            knot = before
        return np.array([n for n in reversed(sizes) if n > 0])

    def plan(self, steps: int) -> Plan:
        """The optimal plan for a budget of ``steps``."""
        sizes = self.sizes(steps)
        origin = {
            "rule": "optimal",
            "steps_asked": steps,
            "expected_nelbo_nats": float(self.nelbo[steps - 1]),
            "profile_digest": self.profile.measured_digest,
        }
        return Plan(sizes, name="optimal", origin=origin)


def optimal_for_every_budget(
    profile: Profile, most_steps: int | None = None, monge: bool | None = None
) -> OptimalPlans:
    """Exact optimal sizes for every budget at once, by dynamic programming in float64.

    ``D_k(m) = min_{m' <= m} D_{k-1}(m') + (m - m') g(m')`` is the least expected NELBO of revealing ``m`` tokens in at
    most ``k`` steps. Where ``g`` never rises the cost is Monge, so that the best ``m'`` rises with ``m``, and dividing
    and conquering takes O(K length log length) time. Without that assumption (learning error, noise) it is
    O(K length^2), with length^2 numbers in memory.

    Args:
        profile: the model's profile.
        most_steps: the largest budget wanted; ``length`` if left out.
        monge: whether to take the fast way; wherever ``g`` never rises if left out.

    Raises:
        InputError: a budget that is not from 1 to the length, or ``monge`` asked for a profile that rises
            (:func:`mdm_jax.theory.profiles.falling` makes it fall).

    Source: arXiv 2511.04647; ``DERIVATIONS.md``, "The best sizes by dynamic programming" and "The fast way, for
    profiles that fall".

    Example:
        >>> import mdm_jax as mdm
        >>> found = mdm.plans.optimal_for_every_budget(mdm.profiles.from_values([1.0, 0.5, 0.25, 0.25]))
        >>> found.nelbo.tolist()  # nothing is gained by a fourth step
        [4.0, 2.5, 2.0, 2.0]
        >>> found.plan(3).sizes.tolist()
        [1, 1, 2]
    """
    length = checked_profile(profile).length
    most_steps = length if most_steps is None else most_steps
    check_budget(length, most_steps)
    g = profile.values
    falls = bool(np.all(np.diff(g) <= _ROUNDING * np.abs(g).max()))
    require(falls or not monge, "monge", monge, "false for a profile that rises somewhere")
    step = _MongeStep(g) if (falls if monge is None else monge) else _PlainStep(g)
    best = np.arange(length + 1) * g[0]
    nelbo = np.empty(most_steps)
    previous = np.zeros((most_steps, length + 1), dtype=np.int32)
    for k in range(most_steps):
        if k:
            best, previous[k] = step(best)
        nelbo[k] = best[length]
    return OptimalPlans(profile, nelbo, previous)


def at_price(profile: Profile, nats_per_step: float | int) -> Plan:
    """The sizes of least ``NELBO + nats_per_step * K`` over all numbers of steps ``K``, in one pass of O(length^2).

    It finds its own ``K``, and is optimal for that ``K``: another step would save less than the price, one fewer would
    cost more. Where the profile falls the optimum is convex in ``K``, so that every ``K`` has its prices.

    Args:
        profile: the model's profile.
        nats_per_step: what a step is worth, nats per sequence, 0 or more.

    Raises:
        InputError: a negative price, or no number.

    Example:
        >>> import mdm_jax as mdm
        >>> profile = mdm.profiles.from_values([1.0, 0.5, 0.25, 0.25])  # K = 1, 2, 3, 4: 4, 2.5, 2, 2 nats
        >>> mdm.plans.at_price(profile, 0.4).sizes.tolist(), mdm.plans.at_price(profile, 0.6).sizes.tolist()
        ([1, 1, 2], [1, 3])
    """
    require_number("nats_per_step", nats_per_step, 0, sys.float_info.max, "a number of at least 0")
    length, g = checked_profile(profile).length, profile.values
    best, previous = np.zeros(length + 1), np.zeros(length + 1, dtype=np.int64)
    intercepts = np.empty(length)  # of the lines D(m') + (m - m') g(m') in m
    for m in range(1, length + 1):
        intercepts[m - 1] = best[m - 1] - (m - 1) * g[m - 1]
        through = intercepts[:m] + m * g[:m]
        previous[m] = np.argmin(through)
        best[m] = through[previous[m]] + nats_per_step
    knots = [length]
    while knots[-1] > 0:
        knots.append(int(previous[knots[-1]]))
    sizes = np.diff(knots[::-1])
    origin = {
        "rule": "price per step",
        "nats_per_step": float(nats_per_step),
        "expected_nelbo_nats": float(profile.expected_nelbo(sizes)),
        "profile_digest": profile.measured_digest,
    }
    return Plan(sizes, name="price per step", origin=origin)


def within(profile: Profile, nats: float | int, entropy: float | int | None = None) -> Plan:
    """The fewest steps that lose at most ``nats``, with the best sizes for so many steps.

    What is lost is the *excess NELBO*: the expected NELBO above that of one token per step. For a profile of exact
    conditionals, or one made to fall (:func:`mdm_jax.theory.profiles.falling`), that is the factorisation error; for a
    model's profile as measured, the learning error at the starts of steps is in it. With ``entropy`` it is the whole
    divergence, factorisation and learning, from the law of the data.

    Args:
        profile: the model's profile.
        nats: the budget, per sequence.
        entropy: of the data's law, nats per sequence, if known.

    Raises:
        InputError: a budget that no number of steps meets.

    Example:
        >>> import mdm_jax as mdm
        >>> profile = mdm.profiles.from_values([1.0, 0.5, 0.25, 0.25])  # K = 1, 2, 3, 4: 4, 2.5, 2, 2 nats
        >>> mdm.plans.within(profile, nats=0.5).sizes.tolist()
        [1, 3]
    """
    require_number("nats", nats, -math.inf, math.inf, "a number")
    if entropy is not None:
        require_number("entropy", entropy, -sys.float_info.max, sys.float_info.max, "a number of nats")
    checked_profile(profile)
    floor = profile.nelbo() if entropy is None else float(entropy)
    most = floor + nats + 1e-12 * abs(floor)  # a budget of 0 is met by one token per step, whatever roundings say
    steps, best = min(8, profile.length), optimal_for_every_budget(profile, min(8, profile.length))
    while best.nelbo[-1] > most and steps < profile.length:
        steps = min(4 * steps, profile.length)
        best = optimal_for_every_budget(profile, steps)
    if best.nelbo[-1] > most:
        least = float(best.nelbo[-1] - floor)
        raise InputError(f"nats must be at least {least:.6g}, which {steps} steps lose; got {nats!r}.")
    plan = best.plan(int(np.argmax(best.nelbo <= most)) + 1)
    more = {} if entropy is None else {"entropy_nats": float(entropy)}
    origin = {**plan.origin, "rule": "nats budget", "nats": told_nats(nats), **more}
    return Plan(plan.sizes, name=f"within {nats:g} nats", origin=origin)


def within_time(profile: Profile, milliseconds: float | int, per_step: float | int, besides: float | int = 0.0) -> Plan:
    """The best sizes for as many steps as a time allows, where ``K`` steps take ``per_step * K + besides``.

    :func:`mdm_jax.evaluation.sampling_time` measures the two numbers. They keep a budget meaningful for models whose
    steps cost little besides their tokens: ``besides`` then has the work on all tokens, which no plan changes. A price
    of time is a price per step: ``at_price(profile, nats_per_millisecond * per_step)``.

    Args:
        profile: the model's profile.
        milliseconds: what sampling may take.
        per_step: milliseconds of a step, whatever it reveals.
        besides: milliseconds of all the rest.

    Raises:
        InputError: no time for a step, a negative time, or no number.

    Example:
        >>> import mdm_jax as mdm
        >>> profile = mdm.profiles.from_values([1.0, 0.5, 0.25, 0.25])
        >>> mdm.plans.within_time(profile, 25.0, per_step=5.0, besides=10.0).sizes.tolist()  # 3 steps take 25
        [1, 1, 2]
    """
    for name, value in (("milliseconds", milliseconds), ("per_step", per_step), ("besides", besides)):
        require_number(name, value, 0, sys.float_info.max, "a number of at least 0")
    length = checked_profile(profile).length
    least = float(per_step + besides)
    room = milliseconds - besides + 1e-9 * milliseconds  # what K steps take, as told, is enough for K
    require(room >= per_step, "milliseconds", milliseconds, f"at least {least:.6g}, which one step takes")
    steps = length if room >= per_step * length else int(room / per_step)
    plan = optimal(profile, steps)
    times = {"milliseconds": milliseconds, "milliseconds_per_step": per_step, "milliseconds_besides": besides}
    origin = {**plan.origin, "rule": "time budget", **{name: float(value) for name, value in times.items()}}
    return Plan(plan.sizes, name=f"within {milliseconds:g} ms", origin=origin)


class _PlainStep:
    """From ``D_{k-1}`` to ``D_k`` and the best ``m'``: every pair is looked at."""

    def __init__(self, g: np.ndarray) -> None:
        start, end = np.arange(len(g) + 1)[:, None], np.arange(len(g) + 1)[None, :]
        self.cost = np.where(end >= start, (end - start) * np.append(g, 0.0)[:, None], np.inf)

    def __call__(self, best: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        through = best[:, None] + self.cost
        previous = np.argmin(through, axis=0)
        return np.take_along_axis(through, previous[None, :], axis=0)[0], previous


class _MongeStep:
    """The same where the best ``m'`` rises with ``m``: first every 2^j-th ``m``, then those between, in bounds.

    All ``m`` of a round are one pass of NumPy over their candidates, which number at most ``2 length``.
    """

    def __init__(self, g: np.ndarray) -> None:
        self.g = np.append(np.minimum.accumulate(g), 0.0)

    def __call__(self, best: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        g, length = self.g, len(best) - 1
        intercepts = best - np.arange(length + 1) * g
        value, previous = np.zeros(length + 1), np.zeros(length + 1, dtype=np.int64)
        stride = 1 << (length.bit_length() - 1)
        while stride:
            m = np.arange(stride, length + 1, 2 * stride)
            low, after = previous[m - stride], m + stride
            high = np.where(after <= length, np.minimum(previous[np.minimum(after, length)], m), m)
            counts = np.maximum(high - low, 0) + 1
            starts = np.cumsum(counts) - counts
            owner = np.repeat(np.arange(len(m)), counts)
            candidates = np.arange(counts.sum()) - starts[owner] + low[owner]
            through = intercepts[candidates] + m[owner] * g[candidates]
            least = np.minimum.reduceat(through, starts)
            hits = np.flatnonzero(through == least[owner])
            value[m], previous[m] = least, candidates[hits[np.searchsorted(hits, starts)]]
            stride //= 2
        return value, previous
