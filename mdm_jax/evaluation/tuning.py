"""Choosing a schedule from the profile: every family at every budget, the best named, the prediction checked."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from mdm_jax.support.progress import bar
from mdm_jax.theory import plans, schedule_text
from mdm_jax.theory.plans import Plan
from mdm_jax.theory.profiles import Profile

FORMAT = "mdm_jax tuning 1"
MOST_STEPS = 1024
"""The curves end here for longer sequences: the dynamic programme costs steps x length^2."""
ROLES = ("optimal", "best beta", "best hand-crafted")


def tune(
    profile: Profile,
    budgets: Sequence[int],
    *,
    hand_crafted: Sequence[str] = schedule_text.HAND_CRAFTED,
    progress: bool = False,
) -> tuple[dict[str, Any], dict[int, dict[str, Plan]]]:
    """Score every schedule family at every budget by the profile alone: no model call, no sampling.

    Args:
        profile: the model's profile.
        budgets: numbers of steps for which plans are wanted.
        hand_crafted: schedules to compare with, as text.
        progress: show a progress bar.

    Returns:
        The content of ``tuning.json`` (without the check), and the plans: ``{budget: {role: plan}}`` for the roles
        optimal, best beta and best hand-crafted.
    """
    length = profile.length
    steps = sorted({*_budget_grid(length), *budgets})
    optimal = plans.optimal_for_every_budget(profile, steps[-1])
    named = {text: schedule_text.parse(text) for text in hand_crafted}
    curves: dict[str, list[float]] = {name: [] for name in ("optimal", "best beta", *named)}
    best_betas: list[str] = []
    chosen: dict[int, dict[str, Plan]] = {}
    with bar(len(steps), "tune", "budget", progress) as advance:
        for budget in steps:
            beta, _ = plans.best_beta(profile, budget)
            crafted = {text: plans.from_schedule(schedule, length, budget) for text, schedule in named.items()}
            candidates = {"optimal": optimal.plan(budget), "best beta": beta, **crafted}
            for name, plan in candidates.items():
                curves[name].append(float(profile.expected_nelbo(plan.sizes)))
            best_betas.append(beta.name)
            if budget in budgets:
                best = min(named, key=lambda name: curves[name][-1])
                chosen[budget] = dict(zip(ROLES, (candidates["optimal"], beta, crafted[best])))
            advance(1)
    result = {
        "format": FORMAT,
        "length": length,
        "profile_digest": profile.digest,
        "nelbo_nats": profile.nelbo(),
        "steps": steps,
        "families": curves,
        "best_beta": best_betas,
        "budgets": [
            {
                "steps": budget,
                "plans": [
                    {
                        "role": role,
                        "plan": plan.to_json(),
                        "expected_nelbo_nats": float(profile.expected_nelbo(plan.sizes)),
                        "standard_error": float(profile.standard_error(plan.sizes)),
                        "checked": None,
                    }
                    for role, plan in chosen[budget].items()
                ],
            }
            for budget in budgets
        ],
    }
    return result, chosen


def check(entry: dict[str, Any], nelbo: Float[np.ndarray, " rows"]) -> None:
    """Put the measured cost of a plan beside the predicted one, in place.

    Args:
        entry: one plan of ``tuning.json``.
        nelbo: teacher-forced ``-log q`` of sequences that the profile has not seen, nats per sequence.
    """
    standard_error = float(nelbo.std(ddof=1) / np.sqrt(len(nelbo)))
    combined = float(np.hypot(standard_error, entry["standard_error"]))
    entry["checked"] = {
        "rows": len(nelbo),
        "nelbo_nats": float(nelbo.mean()),
        "standard_error": standard_error,
        "z": (float(nelbo.mean()) - entry["expected_nelbo_nats"]) / combined,
    }


def _budget_grid(length: int) -> list[int]:
    """1, 2, 3, 4, 6, 8, 12, 16, ... up to the length, or to ``MOST_STEPS`` of a long one."""
    most = min(length, MOST_STEPS)
    powers = [2**k for k in range(most.bit_length())]
    return sorted({n for power in powers for n in (power, power * 3 // 2) if n <= most} | {most})
