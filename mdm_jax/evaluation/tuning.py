"""Choosing a schedule from the profile: every family at every budget, the best named."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mdm_jax.evaluation.judging import ROLES, choose
from mdm_jax.support.errors import is_list, require, require_whole, verbatim
from mdm_jax.support.text import printable, shortened
from mdm_jax.theory import plans
from mdm_jax.theory.plans import Certificate, Plan, beta_search, certify
from mdm_jax.theory.plans.beta_search import GRID, QUICK_GRID, BetaSearch
from mdm_jax.theory.plans.rules import for_budgets
from mdm_jax.theory.profiles import Profile, checked_profile, posterior_profile
from mdm_jax.theory.schedules import text as schedule_text

FORMAT = "mdm_jax tuning 2"
_SHOWN = 8
"""Budgets that ``repr`` shows."""
_OF_LATENTS = ("latent", "kl_nats", "kl_standard_error")
"""What a profile says of latents, which every plan's cost needs beside it."""


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

    An optimum of a noisy curve chases the noise. So all is chosen on the posterior of the profile
    (:func:`mdm_jax.theory.profiles.posterior_profile`), whose mean is what a plan's expected cost is linear in; of an
    exact profile that is the profile itself.

    The optimum is exact for every number of steps at once (:func:`mdm_jax.theory.plans.optimal_for_every_budget`);
    ``grid x grid`` Beta schedules are scored at each budget and refined by gradients; at the other numbers of steps a
    quick search does (:mod:`mdm_jax.theory.plans.beta_search`). What the costs say of advantages is for others to
    judge: :func:`~mdm_jax.evaluation.check` on fresh sequences, :func:`~mdm_jax.evaluation.cross_fitted` on these.

    Args:
        profile: the model's profile.
        budgets: numbers of steps for which plans are wanted.
        grid: values of ``a`` and of ``b`` to try, as :func:`mdm_jax.theory.plans.search_beta` takes them.
        steps: numbers of steps at which the families are compared besides; if left out
            :func:`mdm_jax.theory.plans.beta_search.default_budgets`, that is every one up to a length of 128.
        hand_crafted: schedules to compare with, as text.
        progress: show a progress bar.

    Returns:
        The plans of each budget by role, the Beta schedules that were scored for them, and what ``tuning.json`` keeps;
        its costs are those of the posterior, its standard errors those of the measurement.

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
            2 steps: optimal 0.8031, best beta (beta:...) 0.8031, maskgit 0.8031
            4 steps: optimal 0.7470, best beta (beta:...) 0.7546, maskgit 0.7479)
    """
    length = checked_profile(profile).length
    require(not profile.believed, "profile", verbatim("the mean of a posterior"), "the measured one, with its errors")
    for name, given in (("budgets", budgets), ("steps", [] if steps is None else steps)):
        require(is_list(given), name, given, "a list of numbers of steps, as in [4, 8]")
    texts = is_list(hand_crafted) and all(isinstance(one, str) for one in hand_crafted)
    require(texts, "hand_crafted", hand_crafted, 'a list of schedules as text, as in ["linear", "polynomial:2"]')
    require(len(budgets) > 0, "budgets", verbatim("none"), "at least one number of steps")
    budgets = [require_whole("budgets", budget, 1, length) for budget in budgets]
    require(len(hand_crafted) > 0, "hand_crafted", verbatim("none"), "at least one schedule to compare with")
    steps = beta_search.default_budgets(length) if steps is None else steps
    compared = sorted({*(require_whole("steps", one, 1, length) for one in steps), *budgets})
    posterior = posterior_profile(profile)
    believed = posterior.profile
    search = plans.search_beta(believed, budgets, grid=grid, progress=progress)
    betas = {budget: search.plan(budget) for budget in budgets}
    others = [one for one in compared if one not in betas]
    if others:
        quick = beta_search.quick_search(believed, others, grid=_coarse(grid))
        betas |= {one: quick.plan(one) for one in others}
    optimal = plans.optimal_for_every_budget(believed, compared[-1])
    crafted = {text: for_budgets(schedule_text.parse(text), length, compared) for text in hand_crafted}
    every: dict[str, list[Plan]] = {
        "optimal": [optimal.plan(one) for one in compared],
        "best beta": [betas[one] for one in compared],
        **crafted,
    }
    curves = {
        name: [float(believed.expected_nelbo(plan.sizes)) for plan in of_steps] for name, of_steps in every.items()
    }
    chosen = choose(believed, sorted(set(budgets)), betas, hand_crafted)
    certified = None if profile.exact else certify(posterior, sorted(chosen))
    result = {
        "format": FORMAT,
        "length": length,
        "profile_digest": profile.digest,
        "nelbo_nats": believed.nelbo(),
        "falls": posterior.falls,
        **{name: profile.provenance[name] for name in _OF_LATENTS if name in profile.provenance},
        "steps": compared,
        "families": curves,
        "optimal_nats": optimal.nelbo.tolist(),
        "best_beta": [plan.name for plan in every["best beta"]],
        "searched": {"least": search.values[0], "most": search.values[-1], "values_per_axis": len(search.values)},
        "budgets": [
            {
                "steps": budget,
                "plans": [
                    {
                        "role": role,
                        "plan": plan.to_json(),
                        "expected_nelbo_nats": float(believed.expected_nelbo(plan.sizes)),
                        "standard_error": float(profile.standard_error(plan.sizes)),
                        "checked": None,
                    }
                    for role, plan in chosen[budget].items()
                ],
                "certificate": _certificate(certified, budget),
            }
            for budget in budgets
        ],
        "check": None,
        "advantages": None,
    }
    return Tuned(result, chosen, search)


def _certificate(certified: Certificate | None, budget: int) -> dict[str, float] | None:
    """What the optimal plan of a budget costs at most; nothing of an exact profile, whose optimum is known."""
    if certified is None:
        return None
    at = certified.steps.index(budget)
    return {
        "level": certified.level,
        "regret_nats": float(certified.regret_nats[at]),
        "excess_nats": float(certified.excess_nats[at]),
        "regret_nats_at_once": float(certified.uniform.regret_nats[at]),
        "excess_nats_at_once": float(certified.uniform.excess_nats[at]),
    }


def _coarse(grid: int | Sequence[float]) -> int | Sequence[float]:
    """The grid where only a curve is wanted."""
    return min(grid, QUICK_GRID) if isinstance(grid, int) else grid[:: -(-len(grid) // QUICK_GRID)]


def _named(entry: dict[str, Any]) -> str:
    """The role of a plan, and its name where that says more; a named schedule by its name alone."""
    role, name = entry["role"], shortened(printable(entry["plan"]["name"]), 32)
    return name if role == ROLES[-1] else role if name == role else f"{role} ({name})"
