"""Families of samplers that a card compares: plans in random order, and rules that look at the model's predictions."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mdm_jax.sampling import presets, rules
from mdm_jax.sampling.readings import margin
from mdm_jax.sampling.rule import Rule
from mdm_jax.theory import plans
from mdm_jax.theory.plans import Plan
from mdm_jax.theory.plans.rules import for_budgets
from mdm_jax.theory.profiles import Profile
from mdm_jax.theory.schedules import text as schedule_text

OPTIMAL = "optimal plan"
"""The family that the others are compared with."""
NAMED = ("sine", "maskgit")
"""Schedules by name beside the optimum, the best Beta and equal sizes."""
THRESHOLDS = (0.02, 0.03, 0.05, 0.07, 0.1, 0.14, 0.2, 0.28, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
_BOUNDS = 18
_LEAST_BOUND = 0.01


class Setting(NamedTuple):
    """A sampler of a family, and what it is called there."""

    name: str
    sampler: Plan | Rule


class Family(NamedTuple):
    """Samplers of one kind.

    Attributes:
        name: as the card shows it.
        kind: ``"plan"`` (random order) or ``"rule"``.
        settings: from few passes to many.
        steps: the passes of each setting where they are known beforehand; then there is nothing to choose but between
            settings of the same number. ``None``: they are measured.
    """

    name: str
    kind: str
    settings: Sequence[Setting]
    steps: Sequence[int] | None = None


def plan_families(profile: Profile, budgets: Sequence[int], grid: int) -> list[Family]:
    """Plans of every budget: the optimum, the best Beta schedule, equal sizes, and schedules by name.

    Args:
        profile: what they are chosen by.
        budgets: steps, rising.
        grid: of Beta schedules, values per axis.
    """
    length = profile.length
    best = plans.optimal_for_every_budget(profile, max(budgets))
    search = plans.search_beta(profile, budgets, grid=grid)
    every = {
        OPTIMAL: [best.plan(steps) for steps in budgets],
        "best Beta": [search.plan(steps) for steps in budgets],
        "equal sizes": [plans.uniform(length, steps) for steps in budgets],
        **{name: for_budgets(schedule_text.parse(name), length, budgets) for name in NAMED},
    }
    return [
        Family(name, "plan", [Setting(plan.name, plan) for plan in many], list(budgets)) for name, many in every.items()
    ]


def rule_families(
    profile: Profile, budgets: Sequence[int], vocab_size: int, own_block: bool, random_too: bool
) -> list[Family]:
    """Rules whose cost can be forced: thresholds, entropy bounds, margin order, random order in blocks.

    Args:
        profile: whose optimal sizes the margin order takes too.
        budgets: steps, rising.
        vocab_size: of the model: it says how large an entropy bound may be.
        own_block: whether the model has blocks of its own, so that no others are tried.
        random_too: whether orders that chance decides, whose costs are along random paths, take part.
    """
    length = profile.length
    best = plans.optimal_for_every_budget(profile, max(budgets))
    bounds = np.geomspace(length * np.log(max(vocab_size, 2)), _LEAST_BOUND, _BOUNDS)
    found = [
        Family("threshold", "rule", [Setting(f"{one:g}", rules.confident(one)) for one in THRESHOLDS]),
        Family("entropy bound", "rule", [Setting(f"{one:.3g}", presets.eb(float(one))) for one in bounds]),
        Family(
            "margin, optimal sizes",
            "rule",
            [Setting(told_steps(steps), rules.surest(best.plan(steps), margin)) for steps in budgets],
            list(budgets),
        ),
        Family(
            "margin, equal sizes",
            "rule",
            [Setting(told_steps(steps), rules.surest(plans.uniform(length, steps), margin)) for steps in budgets],
            list(budgets),
        ),
    ]
    in_blocks = [] if own_block or not random_too else _in_blocks(length, budgets)
    if in_blocks:
        found.append(Family("blocks, random inside", "rule", *zip(*in_blocks, strict=True)))
    return found


def _in_blocks(length: int, budgets: Sequence[int]) -> list[tuple[Setting, int]]:
    """Blocks from left to right of half the length or less, so many equal steps each, and the steps in all."""
    found = []
    for steps in budgets:
        for blocks in (2**k for k in range(1, length.bit_length())):
            block = -(-length // blocks)
            each = steps // blocks
            if steps % blocks == 0 and -(-length // block) == blocks and each <= length - (blocks - 1) * block:
                rule = rules.at_random(plans.uniform(block, each))
                rule = rule.replace(block=block)  # pyright: ignore[reportAttributeAccessIssue]
                found.append((Setting(f"{blocks} blocks, {told_steps(each)} each", rule), steps))
    return found


def told_steps(steps: int) -> str:
    """``1 step``, ``2 steps``."""
    return f"{steps} {'step' if steps == 1 else 'steps'}"
