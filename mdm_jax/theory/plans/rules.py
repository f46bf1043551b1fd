"""Plans by rule: from schedules and back, from the square root of a profile's falls, from TC and DTC."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Float, Int

from mdm_jax.support.errors import require, require_choice, require_number
from mdm_jax.theory.numerics.given import check_budget, told_nats
from mdm_jax.theory.plans.plan import Plan, checked_plan
from mdm_jax.theory.plans.rounding import ROUNDINGS
from mdm_jax.theory.profiles import Profile, checked_profile
from mdm_jax.theory.profiles.curves import dual_total_correlation, falling, total_correlation
from mdm_jax.theory.schedules import HALF_PI, Beta, Schedule, Tabulated, checked_schedule, tabulated
from mdm_jax.theory.schedules import text as schedule_text
from mdm_jax.theory.schedules.checks import check_values


def uniform(length: int, steps: int) -> Plan:
    """Equal sizes; where ``steps`` does not divide ``length``, the first steps reveal one token more.

    Raises:
        InputError: a number of steps that is not from 1 to the length.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.plans.uniform(8, 3).sizes.tolist()
        [3, 3, 2]
    """
    steps = check_budget(length, steps)
    base, more = divmod(length, steps)
    return Plan(np.full(steps, base) + (np.arange(steps) < more), name="uniform", origin={"rule": "uniform"})


def from_schedule(
    schedule: Schedule, length: int, steps: int, name: str | None = None, rounding: str = "largest remainder"
) -> Plan:
    """The sizes by which ``schedule`` reveals ``length`` tokens in ``steps`` equal time steps.

    Rounding is by largest remainder: step ``k`` gets the whole part of ``length (alpha(k/K) - alpha((k-1)/K))``, and
    the tokens left over go to the steps with the largest fractional parts, earlier steps first. ``rounding`` may also
    be that of another program: "llada" gives the tokens left over to the first steps, and "dllm" rounds each step's
    share of what is still masked (:mod:`mdm_jax.theory.plans.rounding`). Steps that get nothing are dropped.

    Raises:
        InputError: no schedule, or one that does not rise from 0 to 1; numbers of steps and tokens out of range.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.plans.from_schedule(mdm.schedules.maskgit(), 16, 4).sizes.tolist()
        [1, 4, 5, 6]
    """
    return for_budgets(schedule, length, [steps], name, rounding)[0]


def for_budgets(
    schedule: Schedule,
    length: int,
    budgets: Sequence[int],
    name: str | None = None,
    rounding: str = "largest remainder",
) -> list[Plan]:
    """What :func:`from_schedule` makes of ``schedule`` for each of several numbers of steps, evaluated all at once."""
    budgets = [check_budget(length, steps) for steps in budgets]
    checked_schedule(schedule)
    require_choice("rounding", rounding, ROUNDINGS)
    definition = schedule_text.definition(schedule)
    more = {} if definition is None else {"definition": definition}
    label, plans = schedule_text.label(schedule), []
    for steps, fractions in zip(budgets, _fractions(schedule, budgets)):
        check_values(schedule, np.arange(steps + 1) / steps, fractions, "schedule")
        sizes = ROUNDINGS[rounding](fractions, length)
        plans.append(rounded_plan(sizes, label, steps, name=name, rounding=rounding, **more))
    return plans


def to_schedule(plan: Plan) -> Tabulated:
    """The schedule that reveals as ``plan`` does: ``from_schedule`` of it, in ``plan.steps`` steps, is ``plan`` again.

    A table with ``alpha(k / K) = N_k / length``, its angle straight in between; any other number of steps interpolates
    the plan.

    Raises:
        InputError: no plan.

    Example:
        >>> import mdm_jax as mdm
        >>> schedule = mdm.plans.to_schedule(mdm.plans.uniform(8, 4))
        >>> [mdm.plans.from_schedule(schedule, 8, steps).sizes.tolist() for steps in (4, 2)]
        [[2, 2, 2, 2], [4, 4]]
    """
    checked_plan(plan)
    share = plan.knots / plan.length
    return tabulated(np.arange(plan.steps + 1) / plan.steps, np.arcsin(np.sqrt(share)) / HALF_PI)


def square_root(profile: Profile, steps: int) -> Plan:
    """The geodesic of the profile, rounded: equal steps in the cumulative square root of its falls.

    ``G(i) = sum_{j <= i} sqrt(g(j - 1) - g(j))`` of the profile made to fall, ``N_k = round(G^-1(k G(d - 1) / K))``,
    then every step at least one token. For many tokens per step it is the optimum (the least action of
    :func:`mdm_jax.theory.profiles.information_metric`), for few it stays near, at the cost of one sum. Where the
    profile is flat, sizes are equal.

    Raises:
        InputError: a number of steps that is not from 1 to the length.

    Source: ``DERIVATIONS.md``, "Many tokens per step: the square-root rule".

    Example:
        >>> import mdm_jax as mdm
        >>> profile = mdm.profiles.from_values(mdm.oracles.polya(128, 0.5).entropies())
        >>> mdm.plans.square_root(profile, 8).sizes.tolist()  # optimal: 1, 2, 3, 6, 10, 18, 32, 56
        [1, 2, 3, 6, 11, 18, 32, 55]
    """
    length = checked_profile(profile).length
    check_budget(length, steps)
    arc = np.append(0.0, np.cumsum(np.sqrt(-np.diff(falling(profile).values))))
    if arc[-1] == 0:
        knots = uniform(length, steps).knots
    else:
        k = np.arange(steps + 1)
        inside = np.rint(np.interp(k[1:-1] / steps * arc[-1], arc, np.arange(length)))
        knots = np.concatenate([[0], inside, [length]]).astype(np.int64)
        knots = np.minimum(np.maximum.accumulate(knots - k) + k, length - steps + k)
    return _measured_plan(np.diff(knots), "square root", profile, steps_asked=steps)


def total_correlation_plan(profile: Profile, *, nats: float | None = None, steps: int | None = None) -> Plan:
    """Sizes in proportion to the tokens that *remain*: ``n_k = 1 + floor(rate (d - N_{k-1} - 1))``.

    Their factorisation error is at most ``rate TC`` whatever the law, its shape being all that is assumed about it.

    Args:
        profile: the model's profile; with ``nats`` its total correlation sets the rate, with ``steps`` it is not used.
        nats: the error to stay within, ``rate = nats / TC``.
        steps: or the most steps to take: the smallest rate that takes no more.

    Raises:
        InputError: neither or both of ``nats`` and ``steps``, or one out of range.

    Source: ``DERIVATIONS.md``, "Plans that need only TC or DTC"; form of the schedules of arXiv 2511.04647.

    Example:
        >>> import mdm_jax as mdm
        >>> profile = mdm.profiles.from_values(mdm.oracles.polya(128, 0.5).entropies())
        >>> mdm.plans.total_correlation_plan(profile, steps=8).sizes.tolist()
        [64, 32, 16, 8, 4, 2, 1, 1]
    """
    return _proportional(
        profile, nats, steps, "TC", total_correlation(checked_profile(profile)), lambda done, d: d - done - 1, 1.0
    )


def dual_total_correlation_plan(profile: Profile, *, nats: float | None = None, steps: int | None = None) -> Plan:
    """Sizes in proportion to the tokens that are *revealed*: ``n_k = 1 + floor(rate (N_{k-1} + 1))``.

    They grow geometrically; the error is at most ``rate DTC``. Arguments and errors as in
    :func:`total_correlation_plan`.

    Source: ``DERIVATIONS.md``, "Plans that need only TC or DTC"; form of the schedules of arXiv 2511.04647.

    Example:
        >>> import mdm_jax as mdm
        >>> profile = mdm.profiles.from_values(mdm.oracles.polya(128, 0.5).entropies())
        >>> mdm.plans.dual_total_correlation_plan(profile, steps=8).sizes.tolist()
        [1, 2, 4, 7, 12, 21, 37, 44]
    """
    most = float(checked_profile(profile).length)
    return _proportional(profile, nats, steps, "DTC", dual_total_correlation(profile), lambda done, _: done + 1, most)


def _proportional(
    profile: Profile,
    nats: float | None,
    steps: int | None,
    name: str,
    correlation: float,
    tokens: Callable[[int, int], int],
    most_rate: float,
) -> Plan:
    require((nats is None) != (steps is None), "nats and steps", (nats, steps), "one number, the other left out")
    length = profile.length
    if nats is not None:
        require_number("nats", nats, 0, np.inf, "a number of at least 0")
        rate = min(nats / correlation, most_rate) if correlation > 0 else most_rate
    else:
        steps = check_budget(length, steps)
        low, rate = 0.0, most_rate  # the number of steps never rises with the rate; it may skip a value
        if steps == length:
            rate = 0.0
        for _ in range(60 if rate else 0):
            middle = 0.5 * (low + rate)
            if len(_grow(length, middle, tokens)) <= steps:
                rate = middle
            else:
                low = middle
    asked = {"nats": told_nats(nats)} if nats is not None else {"steps_asked": steps}
    return _measured_plan(_grow(length, rate, tokens), name, profile, rate=float(rate), **asked)


def _grow(length: int, rate: float, tokens: Callable[[int, int], int]) -> Int[np.ndarray, " steps"]:
    """Sizes ``1 + floor(rate tokens)`` until the length is reached."""
    sizes, done = [], 0
    while done < length:
        # A rate from a division may be a rounding error short of a whole number of tokens.
        size = min(1 + int(np.floor(rate * tokens(done, length) * (1 + 1e-12))), length - done)
        sizes.append(size)
        done += size
    return np.array(sizes)


def _measured_plan(sizes: np.ndarray, rule: str, profile: Profile, **more: Any) -> Plan:
    nelbo = float(profile.expected_nelbo(sizes))
    origin = {"rule": rule, **more, "expected_nelbo_nats": nelbo, "profile_digest": profile.measured_digest}
    return Plan(sizes, name=rule, origin=origin)


def rounded_plan(
    sizes: np.ndarray,
    schedule: str,
    steps: int,
    name: str | None = None,
    rounding: str = "largest remainder",
    **more: Any,
) -> Plan:
    """The plan of a schedule's rounded sizes, idle steps dropped, with its origin."""
    origin = {"rule": "schedule", "schedule": schedule, "steps_asked": steps, "rounding": rounding, **more}
    return Plan(sizes[sizes > 0], name=name or schedule, origin=origin)


def _fractions(schedule: Schedule, budgets: Sequence[int]) -> list[Float[np.ndarray, " knots"]]:
    """For each budget ``alpha`` at the ``steps + 1`` knots of equal time steps."""
    if type(schedule) is Beta:  # a subclass may be anything
        return [beta_fractions(np.asarray(schedule.a), np.asarray(schedule.b), steps) for steps in budgets]
    times = np.concatenate([np.arange(steps + 1) / steps for steps in budgets])
    # JAX compiles for every shape: powers of two serve all numbers of steps.
    room = (1 << (len(times) - 1).bit_length()) + 1
    padded = np.pad(times, (0, room - len(times)), mode="edge")
    values = np.asarray(schedule.alpha(jnp.asarray(padded, float)), dtype=np.float64)
    return np.split(values[: len(times)], np.cumsum([steps + 1 for steps in budgets])[:-1])


def beta_fractions(a: np.ndarray, b: np.ndarray, steps: int) -> Float[np.ndarray, "*stack knots"]:
    """``alpha`` of Beta schedules at the knots, on the host in float64.

    Thousands of schedules take milliseconds, and rounding sees no noise (JAX's ``betainc`` errs by 1e-5 in float32).
    """
    theta = scipy.special.betainc(a, b, np.arange(steps + 1) / steps)
    return np.square(np.sin(0.5 * np.pi * theta))
