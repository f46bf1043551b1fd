"""Choosing on one part, judging on another: what may be said of an advantage, and how far a prediction is off.

A plan that was chosen on the sequences that judge it flatters itself. So plans are judged by sequences that had no part
in choosing them: the test half, or by cross-fitting, where each tenth of the sequences judges what the others chose.
Differences are paired, sequence by sequence; an interval that contains 0 is no advantage.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from mdm_jax.support.errors import InputError, is_list, require, require_whole, verbatim
from mdm_jax.support.intervals import Interval, mean_intervals
from mdm_jax.support.progress import bar
from mdm_jax.support.statistics import standard_error
from mdm_jax.support.text import in_words
from mdm_jax.theory import plans
from mdm_jax.theory.plans import Plan, beta_search
from mdm_jax.theory.plans.rules import for_budgets
from mdm_jax.theory.profiles import Profile, checked_profile, from_rows, posterior_profile
from mdm_jax.theory.schedules import text as schedule_text

FOLDS = 10
"""Parts of the sequences, each judged by what the others chose."""
LEAST_ROWS = 4
"""Fewer cannot both choose and judge."""
ROLES = ("optimal", "best beta", "best hand-crafted")
TEST_HALF, CROSS_FITTED = "test half", "cross-fitted"
NAMED = "the cheapest named schedule"
"""The rival where it is not one and the same: each fold has its own, and each budget."""
_BEST_BETA = "the best Beta schedule"
_LEVELS = {TEST_HALF: 0.95, CROSS_FITTED: 0.97}
"""Of intervals that are to hold 95 times in 100. Cross-fitted ones are wider: the sequences that judge a fold choose
for the others, and between measured counts their costs are read off a curve. At .95 they held in .92 to .93 of
simulated measurements (``experiments/coverage.py`` has what they hold now)."""
_ROUNDING = 1e-12
"""Of costs: no difference is known to more digits."""
_VISIBLE = 0.05
"""Steps saved below which the difference is told in bits."""
Costs = Mapping[int, Mapping[str, Float[np.ndarray, " rows"]]]
"""Of each budget and role, what each sequence costs, nats."""


def choose(
    profile: Profile, budgets: Sequence[int], betas: Mapping[int, Plan], hand_crafted: Sequence[str]
) -> dict[int, dict[str, Plan]]:
    """The plan of each role at each budget, by the profile alone.

    Args:
        profile: as it is believed to be.
        budgets: numbers of steps.
        betas: the best Beta schedule's plan at each.
        hand_crafted: schedules as text, of which the cheapest is taken at each.
    """
    optimal = plans.optimal_for_every_budget(profile, max(budgets))
    crafted = {text: for_budgets(schedule_text.parse(text), profile.length, list(budgets)) for text in hand_crafted}
    chosen: dict[int, dict[str, Plan]] = {}
    for i, budget in enumerate(budgets):
        best = min((every[i] for every in crafted.values()), key=lambda plan: float(profile.expected_nelbo(plan.sizes)))
        chosen[budget] = dict(zip(ROLES, (optimal.plan(budget), betas[budget], best)))
    return chosen


def cross_fitted(
    profile: Profile,
    budgets: Sequence[int],
    *,
    hand_crafted: Sequence[str] = schedule_text.HAND_CRAFTED,
    folds: int = FOLDS,
    progress: bool = False,
) -> dict[int, dict[str, Float[np.ndarray, " rows"]]]:
    """What plans cost that the other sequences chose: each fold is judged by plans that it had no part in choosing.

    All is chosen anew for each fold, from the posterior of the other folds' profile: the optimal plan, the best Beta
    schedule, and which of the named schedules is the cheapest. So differences of these costs are what such a choice is
    worth on fresh sequences, when it is made from nine tenths of these.

    Args:
        profile: measured, with its shares.
        budgets: numbers of steps.
        hand_crafted: schedules to choose from, as text.
        folds: parts of the sequences; fewer where there are not two sequences for each.
        progress: show a progress bar.

    Returns:
        Of each budget and role the cost that each sequence (or group of them) says, nats, in the order of the shares.

    Raises:
        InputError: a profile without shares or with fewer than four; budgets that are not from 1 to the length.

    Example:
        >>> import numpy as np
        >>> import mdm_jax as mdm
        >>> urn = mdm.oracles.polya(8, 0.5)
        >>> rows = np.asarray(urn.sample(mdm.key(0), 64))
        >>> profile = mdm.estimate_profile(urn.denoiser, urn.params, rows, 512, key=mdm.key(1))
        >>> costs = mdm.evaluation.cross_fitted(profile, [4])
        >>> sorted(costs[4]), costs[4]["optimal"].shape
        (['best beta', 'best hand-crafted', 'optimal'], (64,))
    """
    shares, length = checked_profile(profile).shares, profile.length
    if shares is None:
        raise InputError("the profile must hold its shares, which estimate_profile keeps; this one has none.")
    require(is_list(budgets) and len(budgets) > 0, "budgets", budgets, "a list of numbers of steps, as in [4, 8]")
    asked = sorted({require_whole("budgets", budget, 1, length) for budget in budgets})
    rows = len(shares)
    require(rows >= LEAST_ROWS, "profile", verbatim(f"one of {rows} sequences"), f"one of at least {LEAST_ROWS}")
    folds = min(require_whole("folds", folds, 2), rows // 2)
    mine = np.random.default_rng(0).permutation(rows) % folds
    costs = {budget: {role: np.zeros(rows) for role in ROLES} for budget in asked}
    with bar(folds, "cross-fitting", "fold", progress) as advance:
        for fold in range(folds):
            here = mine == fold
            believed = posterior_profile(from_rows(length, profile.counts, shares[~here])).profile
            search = beta_search.quick_search(believed, asked)
            chosen = choose(believed, asked, {budget: search.plan(budget) for budget in asked}, hand_crafted)
            for budget, by_role in chosen.items():
                for role, plan in by_role.items():
                    costs[budget][role][here] = profile.row_costs(plan.sizes)[here]
            advance(1)
    return costs


def advantages(
    result: Mapping[str, Any], costs: Costs, judged_on: str, rows: int | None = None
) -> list[dict[str, Any]]:
    """What the optimal plan saves over its rivals, budget by budget: paired, each with an interval that holds in 95%.

    Args:
        result: the content of ``tuning.json``: names of plans, and the optimal plan's cost at every number of steps.
        costs: of each budget and role what each sequence costs, nats; the same sequences for all.
        judged_on: whose sequences these are.
        rows: how many sequences; as many as there are costs if left out (which may be those of groups).

    Returns:
        For each budget and rival "nats" with "low" and "high", positive where the optimal plan is cheaper, and
        "steps_saved": how many steps fewer the optimal plan needs for what the rival costs, with its interval; ``None``
        where the interval of the nats contains 0.

    Example:
        >>> import numpy as np
        >>> import mdm_jax as mdm
        >>> profile = mdm.profiles.from_values([1.0, 0.5, 0.25, 0.25])  # K = 1, 2, 3, 4: 4, 2.5, 2, 2 nats
        >>> result = mdm.tune(profile, [3], grid=4).result
        >>> costs = {3: {"optimal": np.full(9, 2.0), "best hand-crafted": np.full(9, 2.5)}}
        >>> one = mdm.evaluation.advantages(result, costs, "test half")[0]
        >>> one["nats"], one["low"], [round(steps, 3) for steps in one["steps_saved"]]
        (0.5, 0.5, [1.0, 1.0, 1.0])
    """
    asked = [(budget, role) for budget in result["budgets"] for role in ROLES[1:] if role in costs[budget["steps"]]]
    apart = np.stack([costs[budget["steps"]][role] - costs[budget["steps"]][ROLES[0]] for budget, role in asked])
    most = max(float(np.abs(cost).max()) for by_role in costs.values() for cost in by_role.values())
    apart = np.where(np.abs(apart) <= _ROUNDING * most, 0.0, apart)
    found = []
    for (budget, role), interval in zip(asked, mean_intervals(apart, _LEVELS.get(judged_on, 0.95))):
        steps = budget["steps"]
        name = next(entry["plan"]["name"] for entry in budget["plans"] if entry["role"] == role)
        if judged_on == CROSS_FITTED:  # each fold has chosen its own
            name = NAMED if role == ROLES[2] else _BEST_BETA
        found.append(
            {
                "steps": steps,
                "over": name,
                "role": role,
                "nats": interval.mean,
                "low": interval.low,
                "high": interval.high,
                "rows": len(apart[0]) if rows is None else rows,
                "judged_on": judged_on,
                "steps_saved": _steps_saved(result, steps, interval),
            }
        )
    return found


def _steps_saved(result: Mapping[str, Any], steps: int, interval: Interval) -> list[float] | None:
    """How many steps fewer the optimal plan needs for so many nats more, along its own curve of costs."""
    if interval.low <= 0 <= interval.high:
        return None
    curve = np.asarray(result["optimal_nats"], float)
    rising = curve[::-1] + np.arange(len(curve)) * 1e-12 * max(abs(curve[0]), 1.0)  # so that flat ends have an inverse
    numbers = np.arange(len(curve), 0, -1.0)
    found = [steps - float(np.interp(curve[steps - 1] + nats, rising, numbers)) for nats in interval]
    return [found[0], min(found), max(found)]


def told_of_advantages(result: Mapping[str, Any]) -> list[str]:
    """What a person wants to know, in sentences: what the optimal plan saves over the best rival of each kind.

    Args:
        result: the content of ``tuning.json``.

    Example:
        >>> import mdm_jax as mdm
        >>> one = {"steps": 8, "over": "maskgit", "role": "best hand-crafted", "nats": 1.0, "low": 0.2, "high": 1.8}
        >>> one |= {"rows": 64, "judged_on": "test half", "steps_saved": [0.9, 0.2, 1.6]}
        >>> none = one | {"steps": 32, "low": -0.1, "steps_saved": None}
        >>> mdm.evaluation.told_of_advantages({"length": 128, "advantages": [one, none]})
        ['At 8 steps the best plan saves 0.9 steps (0.2 to 1.6) over maskgit; at 32 steps no difference is seen.']
    """
    listed, said = result.get("advantages") or [], []
    for role in ROLES[:0:-1]:
        mine = [one for one in listed if one["role"] == role]
        if not mine:
            continue
        told = [(_told(one, result["length"]), one["steps"]) for one in mine]
        parts = [f"at {_steps(steps)} {what}" for what, steps in told if what]
        silent = [one for one, (what, _) in zip(mine, told) if not what]
        if silent:
            names = {_rival(one) for one in silent}
            over = f" from {names.pop() if len(names) == 1 else NAMED}" if not parts else ""
            parts.append(f"at {_and([one['steps'] for one in silent])} no difference{over} is seen")
        text = "; ".join(parts)
        said.append(f"{text[0].upper()}{text[1:]}.")
    return said


def _told(one: Mapping[str, Any], length: int) -> str:
    """What is said of one comparison; nothing where its interval contains 0."""
    if one["low"] <= 0 <= one["high"]:
        return ""
    bits = [one[name] / (length * math.log(2)) for name in ("nats", "low", "high")]
    if one["high"] < 0:
        return f"{_rival(one)} is better by {-bits[0]:.4f} ({-bits[2]:.4f} to {-bits[1]:.4f}) bits per token"
    value, low, high = one["steps_saved"]
    if value < _VISIBLE:
        return f"the best plan saves {bits[0]:.2g} ({bits[1]:.2g} to {bits[2]:.2g}) bits per token over {_rival(one)}"
    return f"the best plan saves {value:.1f} steps ({low:.1f} to {high:.1f}) over {_rival(one)}"


def _rival(one: Mapping[str, Any]) -> str:
    return _BEST_BETA if one["role"] == ROLES[1] else str(one["over"])


def _steps(number: int) -> str:
    return f"{number} step{'' if number == 1 else 's'}"


def _and(numbers: Sequence[int]) -> str:
    return in_words([*numbers[:-1], _steps(numbers[-1])])


def check(
    result: dict[str, Any], profile: Profile, costs: Float[np.ndarray, "plans rows"], judged_on: str = TEST_HALF
) -> None:
    """Put what plans cost on sequences that the profile has not seen beside what it predicts, in place.

    It is the measured profile that predicts, whose errors are known; what smoothing moves is no part of this. All plans
    share one offset, that of these sequences from the profile's: it is told once, as "check". What is left
    of a difference is that plan's own: "apart", whose "z" is in its standard errors. Then come the "advantages".

    Args:
        result: the content of ``tuning.json``.
        profile: the one that plans were made from, as measured.
        costs: teacher-forced ``-log q`` of the sequences, nats: of all plans, in the order of ``result``.
        judged_on: whose sequences these are.

    Raises:
        InputError: another number of plans, fewer than two sequences, which have no standard error, or one whose cost
            is not finite.

    Example:
        >>> import numpy as np
        >>> import mdm_jax as mdm
        >>> profile = mdm.profiles.from_values(mdm.oracles.polya(8, 0.5).entropies())
        >>> result = mdm.tune(profile, [4], grid=8, steps=[4]).result
        >>> mdm.evaluation.check(result, profile, np.array([[4.0, 5.0], [4.1, 5.1], [4.0, 5.0]]))
        >>> result["check"]["rows"], result["budgets"][0]["plans"][1]["checked"]["nelbo_nats"]
        (2, 4.6)
    """
    costs = np.asarray(costs, np.float64)
    entries = [(budget["steps"], entry) for budget in result["budgets"] for entry in budget["plans"]]
    good = costs.ndim == 2 and len(costs) == len(entries) and costs.shape[1] >= 2
    wanted = f"of shape ({len(entries)}, rows): all plans, 2 sequences or more"
    require(good, "costs", verbatim(f"shape {costs.shape}"), wanted)
    for row in np.flatnonzero(~np.isfinite(costs).all(axis=0)).tolist():
        raise InputError(
            f"costs must be finite; one of row {row} is not: the model gives one of its tokens probability 0."
        )
    told = np.array([float(profile.expected_nelbo(np.asarray(entry["plan"]["sizes"]))) for _, entry in entries])
    weights = np.stack([_weights(entry["plan"]["sizes"]) for _, entry in entries])
    apart, shared = costs - told[:, None], costs.mean(axis=0) - told.mean()
    # No difference is known to more digits than costs have, which are sums in float32.
    digits = float(np.finfo(np.float32).eps) * max(float(np.abs(costs).max()), 1.0)

    def error(values: np.ndarray, of_profile: np.ndarray) -> float:
        return max(math.hypot(standard_error(values), profile.standard_error_of(of_profile)), digits)

    offset, middle = float(shared.mean()), weights.mean(axis=0)
    offset_error = error(shared, middle)
    result["check"] = {
        "rows": costs.shape[1],
        "judged_on": judged_on,
        "offset_nats": offset,
        "offset_standard_error": offset_error,
        "offset_z": offset / offset_error,
    }
    for (_, entry), cost, own, weight in zip(entries, costs, apart, weights):
        left = float(own.mean()) - offset
        its_error = error(own - shared, weight - middle)
        entry["checked"] = {
            "rows": len(cost),
            "nelbo_nats": float(cost.mean()),
            "standard_error": standard_error(cost),
            "apart_nats": left,
            "apart_standard_error": its_error,
            "z": left / its_error,
        }
    by_role: dict[int, dict[str, np.ndarray]] = {}
    for (steps, entry), cost in zip(entries, costs):
        by_role.setdefault(steps, {})[entry["role"]] = cost
    result["advantages"] = advantages(result, by_role, judged_on)


def _weights(sizes: Sequence[int]) -> Float[np.ndarray, " length"]:
    """The plan's cost as a linear function of the profile."""
    steps = np.asarray(sizes, np.int64)
    weights = np.zeros(int(steps.sum()))
    np.add.at(weights, np.minimum(np.cumsum(steps) - steps, len(weights) - 1), steps)
    return weights
