"""What a plan that was chosen on a measured profile costs at most: more than the best plan, more than one token a step.

A profile is measured with errors, and the plan that looks best on it was chosen by them. So what it costs more than the
plan that *is* best, its regret, is not 0, and is not known; nor is what it loses by revealing several tokens at once,
its excess. A certificate bounds both, with a probability.

It asks the posterior of the profile (:func:`mdm_jax.theory.profiles.posterior_profile`): curves ("worlds") as the truth
may be, given the evidence. In each world the best plan is found exactly, and the plan at hand is held against it. The
posterior rests on a prior, which may be wrong; so bounds are wider than it says, by more than it takes to hold on five
exact laws: there those of 95% hold in 99% (the experiment ``coverage``; ``DERIVATIONS.md`` has figures). Where the
profile holds its shares, what the sequences themselves say of an excess bounds it too
(:mod:`mdm_jax.support.intervals`), and the larger of the two counts.

**What no certificate sees**: a token that is dear and so rare that no measured sequence has it. Few sequences say least
of models that are nearly sure of most tokens: there take hundreds (``DERIVATIONS.md``, "A certificate", has figures).
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from mdm_jax.support.errors import InputError, require, require_number, require_whole, verbatim
from mdm_jax.support.intervals import mean_intervals
from mdm_jax.theory.numerics.given import brief
from mdm_jax.theory.plans.least_costs import least_costs
from mdm_jax.theory.plans.optimal_plans import optimal_for_every_budget
from mdm_jax.theory.plans.plan import Plan, checked_plan
from mdm_jax.theory.profiles import Profile, ProfilePosterior, posterior_profile

MOST_BUDGETS = 64
"""Budgets that are certified where none are asked for: every number of steps up to here."""
_MOST_LEVEL = 0.9999
_WORLDS = 512
"""That a profile's posterior has at least."""
_MOST_OF_ROWS = 0.995
"""The level of an interval whose upper end bounds an excess, at most: its resamples tell no higher ones."""
_DOUBT = 0.2
"""What part of the doubt the worlds are given: the quantile of 95% is taken at 99%, their law being a guess of ours."""
_WIDER = 1.25
"""How much farther from the mean of the worlds an excess is bounded than that quantile, which falls short somewhere."""
_MOST_LINES = 8
"""Budgets that ``repr`` shows."""


class Bounds(NamedTuple):
    """Two bounds for each budget, nats per sequence."""

    regret_nats: Float[np.ndarray, " budgets"]
    excess_nats: Float[np.ndarray, " budgets"]


@dataclasses.dataclass(frozen=True, eq=False)
class Certificate:
    """With probability ``level`` each plan costs at most so much more than the best, and than one token per step.

    Attributes:
        length: positions of a sequence.
        level: with which each bound holds by itself, and all of ``uniform`` at once.
        steps: the budgets ``K``.
        plans: what is certified for each, a plan of at most ``K`` steps unless it was given.
        regret_nats: float64[budgets], at most so much more than the best plan of ``K`` steps, nats per sequence.
        excess_nats: float64[budgets], at most so much more than one token per step, nats per sequence.
        uniform: the same two, so large that all of them hold at once.
        worlds: the curves that were asked; 1 where the profile is exact.
        posterior_of: the digest of the measured profile.
    """

    length: int
    level: float
    steps: tuple[int, ...]
    plans: tuple[Plan, ...]
    regret_nats: Float[np.ndarray, " budgets"]
    excess_nats: Float[np.ndarray, " budgets"]
    uniform: Bounds
    worlds: int
    posterior_of: str

    def __repr__(self) -> str:
        """The bounds of a few budgets, in bits per token."""
        scale = self.length * math.log(2)
        shown = [
            f"\n    {plan.name}, {steps} step{'' if steps == 1 else 's'}: at most {regret / scale:.2g} more than the "
            f"best, {excess / scale:.2g} more than one token per step"
            for steps, plan, regret, excess in zip(
                self.steps[:_MOST_LINES], self.plans, self.regret_nats, self.excess_nats, strict=False
            )
        ]
        more = len(self.steps) - _MOST_LINES
        if more > 0:
            shown.append(f"\n    and {more} more budgets")
        head = f"Certificate({self.length} tokens, each with probability {self.level:g}; bits per token"
        return head + "".join(shown) + ")"

    def to_json(self) -> dict[str, Any]:
        """The content of a certificate, as JSON: nats per sequence, a list with one number for each budget."""
        return {
            "level": self.level,
            "length": self.length,
            "steps": list(self.steps),
            "plans": [plan.name for plan in self.plans],
            "regret_nats": self.regret_nats.tolist(),
            "excess_nats": self.excess_nats.tolist(),
            "uniform": {name: value.tolist() for name, value in self.uniform._asdict().items()},
            "worlds": self.worlds,
            "posterior_of": self.posterior_of,
        }


def certify(
    posterior: ProfilePosterior | Profile,
    steps: int | Sequence[int] | None = None,
    plan: Plan | None = None,
    level: float = 0.95,
) -> Certificate:
    """Bound what the plans of some budgets cost more than the best plans, and than one token per step.

    Args:
        posterior: of the measured profile; of a profile its posterior is taken. With an exact profile the bounds are
            the regret and the excess themselves.
        steps: the budgets ``K``: one, several, or every one up to 64 if left out (that of ``plan``, if there is one).
        plan: what is certified, for all budgets; for each the plan of least expected cost in the posterior if left out.
            It may have been chosen on the same profile, in whatever way.
        level: the probability with which a bound holds.

    Raises:
        InputError: a budget that is not from 1 to the length, a plan of another length, a level that is none, a
            posterior of too few worlds for it, or a posterior's mean, which says nothing of its errors.

    Source: ``DERIVATIONS.md``, "A certificate".

    Example:
        >>> import mdm_jax as mdm
        >>> exact = mdm.profiles.from_values([1.0, 0.5, 0.25, 0.25])
        >>> print(mdm.plans.certify(exact, 2, plan=mdm.plans.uniform(4, 2)))  # 2.5 nats; the best costs 2.5
        Certificate(4 tokens, each with probability 0.95; bits per token
            uniform, 2 steps: at most 0 more than the best, 0.18 more than one token per step)
    """
    known = isinstance(posterior, ProfilePosterior | Profile)
    require(known, "posterior", verbatim(brief(posterior)), "a ProfilePosterior, or the Profile that it is to be of")
    require_number("level", level, 0, _MOST_LEVEL, f"above 0 and at most {_MOST_LEVEL}")
    require(level > 0, "level", level, f"above 0 and at most {_MOST_LEVEL}")
    # The quantile is to be one of the worlds, not beyond them all.
    needed = math.ceil(round(1 / (_DOUBT * (1 - level)), 6)) - 1
    source = posterior.measured if isinstance(posterior, ProfilePosterior) else posterior
    if source.believed:
        raise InputError(
            "posterior must be a ProfilePosterior or the measured profile; got the mean of one, which says nothing of "
            "its errors."
        )
    given = posterior_profile(posterior, max(needed, _WORLDS)) if isinstance(posterior, Profile) else posterior
    if not given.measured.exact:
        wanted = f"a posterior of at least {needed} worlds for a level of {level:g}"
        require(len(given.worlds) >= needed, "posterior", verbatim(f"{len(given.worlds)} worlds"), wanted)
    length = given.profile.length
    budgets = _budgets(steps, plan, length)
    if plan is None:
        best = optimal_for_every_budget(given.profile, max(budgets))
        chosen = tuple(best.plan(k) for k in budgets)
    else:
        require(checked_plan(plan).length == length, "plan", verbatim(f"one for {plan.length} tokens"), f"for {length}")
        chosen = (plan,) * len(budgets)
    costs = np.stack([given.worlds[:, one.knots[:-1]] @ one.sizes for one in chosen])
    least = least_costs(given.worlds, max(budgets))[np.array(budgets) - 1]
    regrets = np.maximum(costs - least, 0.0)  # in both there are roundings
    excesses = costs - given.worlds.sum(axis=1)
    middles = excesses.mean(axis=1, keepdims=True)
    found = _bounds(np.concatenate([regrets, middles + _WIDER * (excesses - middles)]), level=1 - _DOUBT * (1 - level))
    regrets_each, excesses_each = np.split(found.each, 2)
    regrets_at_once, excesses_at_once = np.split(found.at_once, 2)
    if given.measured.shares is not None:
        means, highest = _by_rows(given.measured, chosen, level)
        excesses_each = np.maximum(excesses_each, highest)
        excesses_at_once = np.maximum(excesses_at_once, means + found.factor * (highest - means))
    return Certificate(
        length=length,
        level=float(level),
        steps=budgets,
        plans=chosen,
        regret_nats=regrets_each,
        excess_nats=excesses_each,
        uniform=Bounds(regrets_at_once, excesses_at_once),
        worlds=len(given.worlds),
        posterior_of=given.measured.digest,
    )


def _by_rows(
    measured: Profile, chosen: Sequence[Plan], level: float
) -> tuple[Float[np.ndarray, " budgets"], Float[np.ndarray, " budgets"]]:
    """Means of the excesses that sequences themselves have, and the upper ends of their intervals."""
    alone = measured.row_costs(np.ones(measured.length, np.int64))
    apart = np.stack([measured.row_costs(one.sizes) for one in chosen]) - alone
    found = mean_intervals(apart, min(level, _MOST_OF_ROWS))
    return np.array([one.mean for one in found]), np.array([one.high for one in found])


def _budgets(steps: int | Sequence[int] | None, plan: Plan | None, length: int) -> tuple[int, ...]:
    """The budgets asked for, checked."""
    if steps is None:
        return tuple(range(1, min(MOST_BUDGETS, length) + 1)) if plan is None else (checked_plan(plan).steps,)
    asked = list(steps) if isinstance(steps, Sequence) and not isinstance(steps, str) else [steps]
    require(len(asked) > 0, "steps", asked, f"one or more whole numbers from 1 to {length}")
    return tuple(require_whole("steps", k, 1, length) for k in asked)


class _Quantiles(NamedTuple):
    """Of each row over worlds, the same stretched so that all hold at once, and how far they are stretched."""

    each: Float[np.ndarray, " bounds"]
    at_once: Float[np.ndarray, " bounds"]
    factor: float


def _bounds(values: Float[np.ndarray, "bounds worlds"], level: float) -> _Quantiles:
    """The quantile of each row over worlds; and these stretched from the rows' means, so that all hold at once."""
    at = min(math.ceil(level * (values.shape[1] + 1)), values.shape[1]) - 1
    each, middles = np.sort(values, axis=1)[:, at], values.mean(axis=1)
    reach = each - middles
    reach = np.where(reach > 0, reach, values.std(axis=1))  # a row may be 0 in nearly all worlds
    stretched = np.max((values - middles[:, None]) / np.where(reach > 0, reach, 1.0)[:, None], axis=0)
    factor = float(np.sort(stretched)[at])
    return _Quantiles(each, np.maximum(each, middles + factor * reach), max(factor, 1.0))
