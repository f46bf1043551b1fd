"""Choosing a schedule from the profile: every family at every budget, the best named, the prediction checked."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from mdm_jax.support.errors import InputError, is_list, require, require_whole, verbatim
from mdm_jax.support.progress import bar
from mdm_jax.support.statistics import standard_error
from mdm_jax.support.text import printable, shortened
from mdm_jax.theory import plans
from mdm_jax.theory.plans import Plan, beta_search
from mdm_jax.theory.plans.beta_search import GRID, BetaSearch
from mdm_jax.theory.plans.rules import for_budgets
from mdm_jax.theory.profiles import Profile, checked_profile
from mdm_jax.theory.schedules import text as schedule_text

FORMAT = "mdm_jax tuning 1"
_SHOWN = 8
"""Budgets that ``repr`` shows."""
_OF_LATENTS = ("latent", "kl_nats", "kl_standard_error")
"""What a profile says of latents, which every plan's cost needs beside it."""
ROLES = ("optimal", "best beta", "best hand-crafted")


class Tuned(NamedTuple):
    """What :func:`tune` finds.

    Attributes:
        result: the content of ``tuning.json``, without the check. If the profile was measured with a latent for each
            sequence, "kl_nats" is what that latent adds to the cost of every plan alike.
        plans: ``{budget: {role: plan}}`` for the roles optimal, best beta and best hand-crafted.
        search: every Beta schedule that was scored: the landscape.
    """

    result: dict[str, Any]
    plans: Mapping[int, Mapping[str, Plan]]
    search: BetaSearch

    def __repr__(self) -> str:
        """What each plan costs, budget by budget."""
        scale, budgets = 1 / (self.result["length"] * math.log(2)), self.result["budgets"]
        lines = [f"Tuned({self.result['length']} tokens; expected NELBO in bits per token"]
        if "kl_nats" in self.result:
            lines[0] += f", to which the latent adds {self.result['kl_nats'] * scale:.4f}"
        for budget in budgets[:_SHOWN]:
            costs = (f"{_named(entry)} {entry['expected_nelbo_nats'] * scale:.4f}" for entry in budget["plans"])
            lines.append(f"    {budget['steps']} steps: {', '.join(costs)}")
        lines += [f"    and {len(budgets) - _SHOWN} more budgets"] if len(budgets) > _SHOWN else []
        return "\n".join(lines) + ")"

    def _repr_html_(self) -> str:
        from mdm_jax.plot import charts, drawing  # a notebook alone pays for Matplotlib

        return drawing.fragment(charts.excess(self, axes=drawing.wide(3.0)), repr(self))


def tune(
    profile: Profile,
    budgets: Sequence[int],
    *,
    grid: int | Sequence[float] = GRID,
    steps: Sequence[int] | None = None,
    hand_crafted: Sequence[str] = schedule_text.HAND_CRAFTED,
    progress: bool = False,
) -> Tuned:
    """Score every schedule family at every budget by the profile alone: no model call, no sampling.

    The optimum is exact for every number of steps at once (:func:`mdm_jax.theory.plans.optimal_for_every_budget`);
    ``grid x grid`` Beta schedules are scored at each, then refined by gradients
    (:mod:`mdm_jax.theory.plans.beta_search`).

    Args:
        profile: the model's profile.
        budgets: numbers of steps for which plans are wanted.
        grid: values of ``a`` and of ``b`` to try, as :func:`mdm_jax.theory.plans.search_beta` takes them.
        steps: numbers of steps at which the families are compared besides; if left out
            :func:`mdm_jax.theory.plans.beta_search.default_budgets`, that is every one up to a length of 128.
        hand_crafted: schedules to compare with, as text.
        progress: show a progress bar.

    Returns:
        The plans of each budget by role, the Beta schedules that were scored, and what ``tuning.json`` keeps.

    Raises:
        InputError: no profile, no budgets, numbers of steps that are not from 1 to the length, or schedules that are
            not given as text.

    Source: arXiv 2510.25544 (costs by the profile), arXiv 2509.13866 (Beta schedules).

    Example:
        >>> import mdm_jax as mdm
        >>> profile = mdm.profiles.from_values(mdm.oracles.polya(8, 0.5).entropies())
        >>> found = mdm.tune(profile, [2, 4], grid=8, steps=[2, 4])
        >>> found.plans[4]["optimal"].sizes.tolist()
        [1, 1, 2, 4]
        >>> found
        Tuned(8 tokens; expected NELBO in bits per token
            2 steps: optimal 0.8031, best beta (beta:...) 0.8031, best hand-crafted (maskgit) 0.8031
            4 steps: optimal 0.7470, best beta (beta:...) 0.7546, best hand-crafted (maskgit) 0.7479)
    """
    length = checked_profile(profile).length
    for name, given in (("budgets", budgets), ("steps", [] if steps is None else steps)):
        require(is_list(given), name, given, "a list of numbers of steps, as in [4, 8]")
    texts = is_list(hand_crafted) and all(isinstance(one, str) for one in hand_crafted)
    require(texts, "hand_crafted", hand_crafted, 'a list of schedules as text, as in ["linear", "polynomial:2"]')
    require(len(budgets) > 0, "budgets", verbatim("none"), "at least one number of steps")
    budgets = [require_whole("budgets", budget, 1, length) for budget in budgets]
    require(len(hand_crafted) > 0, "hand_crafted", verbatim("none"), "at least one schedule to compare with")
    steps = beta_search.default_budgets(length) if steps is None else steps
    compared = sorted({*(require_whole("steps", one, 1, length) for one in steps), *budgets})
    search = plans.search_beta(profile, compared, grid=grid, progress=progress)
    optimal = plans.optimal_for_every_budget(profile, compared[-1])
    crafted = {text: for_budgets(schedule_text.parse(text), length, compared) for text in hand_crafted}
    curves: dict[str, list[float]] = {name: [] for name in ("optimal", "best beta", *crafted)}
    best_betas: list[str] = []
    chosen: dict[int, dict[str, Plan]] = {}
    with bar(len(compared), "tune", "budget", progress) as advance:
        for i, budget in enumerate(compared):
            beta = search.plan(budget)
            named = {text: every[i] for text, every in crafted.items()}
            candidates = {"optimal": optimal.plan(budget), "best beta": beta, **named}
            for name, plan in candidates.items():
                curves[name].append(float(profile.expected_nelbo(plan.sizes)))
            best_betas.append(beta.name)
            if budget in budgets:
                best = min(named, key=lambda name: curves[name][-1])
                chosen[budget] = dict(zip(ROLES, (candidates["optimal"], beta, named[best])))
            advance(1)
    result = {
        "format": FORMAT,
        "length": length,
        "profile_digest": profile.digest,
        "nelbo_nats": profile.nelbo(),
        **{name: profile.provenance[name] for name in _OF_LATENTS if name in profile.provenance},
        "steps": compared,
        "families": curves,
        "best_beta": best_betas,
        "searched": {"least": search.values[0], "most": search.values[-1], "values_per_axis": len(search.values)},
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
    return Tuned(result, chosen, search)


def _named(entry: dict[str, Any]) -> str:
    """The role of a plan, and its name where that says more."""
    role, name = entry["role"], shortened(printable(entry["plan"]["name"]), 32)
    return role if name == role else f"{role} ({name})"


def check(entry: dict[str, Any], nelbo: Float[np.ndarray, " rows"]) -> None:
    """Put the measured cost of a plan beside the predicted one, in place.

    Args:
        entry: one plan of ``tuning.json``.
        nelbo: teacher-forced ``-log q`` of sequences that the profile has not seen, nats per sequence.

    Raises:
        InputError: fewer than two sequences, which have no standard error, or one whose cost is not finite.

    Example:
        >>> import numpy as np
        >>> import mdm_jax as mdm
        >>> entry = {"expected_nelbo_nats": 5.4, "standard_error": 0.0, "checked": None}
        >>> mdm.evaluation.check(entry, np.asarray([5.0, 6.0, 5.5]))
        >>> entry["checked"]
        {'rows': 3, 'nelbo_nats': 5.5, 'standard_error': 0.2887, 'z': 0.3464}
    """
    nelbo = np.asarray(nelbo, np.float64)
    require(nelbo.ndim == 1 and len(nelbo) >= 2, "nelbo", verbatim(f"shape {nelbo.shape}"), "of at least 2 sequences")
    for row in np.flatnonzero(~np.isfinite(nelbo)).tolist():
        raise InputError(
            f"nelbo must be finite; that of row {row} is {nelbo[row]}: the model gives one of its tokens probability 0."
        )
    error = standard_error(nelbo)
    # No difference is known to more digits than costs have, which are sums in float32.
    digits = float(np.finfo(np.float32).eps) * max(float(np.abs(nelbo).max()), 1.0)
    combined = max(float(np.hypot(error, entry["standard_error"])), digits)
    entry["checked"] = {
        "rows": len(nelbo),
        "nelbo_nats": float(nelbo.mean()),
        "standard_error": error,
        "z": (float(nelbo.mean()) - entry["expected_nelbo_nats"]) / combined,
    }
