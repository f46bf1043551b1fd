"""Plans for an order that looks at the model: a shortlist by the profile, measured in that order on held-out rows.

The profile knows what a plan costs in random order, and for another order it only roughly says which plans are cheap.
So it names a few, each is measured by the cost of the order itself, and the cheapest is judged on other rows.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, PRNGKeyArray

from mdm_jax.evaluation.forced_paths import BATCH, rule_costs
from mdm_jax.evaluation.inputs import known_positions, per_token, require_context, sequences
from mdm_jax.models.denoiser import Context, Denoiser, Params, require_model
from mdm_jax.models.extending import block_length
from mdm_jax.sampling import rules
from mdm_jax.sampling.readings import Measure, margin, max_probability, negative_entropy
from mdm_jax.support.errors import is_list, require, require_whole, verbatim
from mdm_jax.support.flags import usual
from mdm_jax.support.intervals import mean_interval
from mdm_jax.support.keys import threefry
from mdm_jax.support.progress import bar
from mdm_jax.support.text import printable, shortened
from mdm_jax.theory import plans, schedules
from mdm_jax.theory.plans import Plan
from mdm_jax.theory.profiles import Profile, checked_profile, posterior_profile

FORMAT = "mdm_jax order tuning 1"
BETAS = tuple((a, b) for a in (0.4, 0.7, 1.0, 1.5, 2.2) for b in (0.4, 0.7, 1.0, 1.6))
"""Beta schedules that the shortlist is taken from: far enough apart to be different plans."""
MEASURES = {"probability": max_probability, "margin": margin, "entropy": negative_entropy}
"""The orders that look at the model, by the names that commands and files have for them."""
BEST_BETAS = 6
"""How many of them are measured."""
EQUAL, OPTIMAL = "equal steps", "the profile's optimum"
"""The plans that the chosen one is compared with."""
_DIGITS = 4 * float(np.finfo(np.float32).eps)
"""Of costs, relatively: they are sums in float32, and no plan is chosen by what lies below."""


class HeldOut(NamedTuple):
    """Rows that choose or judge, and what the model is shown of them.

    Attributes:
        tokens: int32[rows, length], complete sequences; -1 where there is no position.
        context: passed to the denoiser: leading axis 1, the same for all rows; or ``rows``, one for each.
        given: bool[length] or bool[rows, length], positions that are known from the start and cost nothing.
    """

    tokens: Int[np.ndarray, "rows length"]
    context: Context = None
    given: Bool[np.ndarray, "*rows length"] | None = None


class OrderTuned(NamedTuple):
    """What :func:`tune_order` finds.

    Attributes:
        result: as JSON: of each budget the shortlist with what it costs on the validation rows, the chosen plan, what
            that costs on the test rows, and how much more than its rivals; all in nats per token, with intervals of
            95 %. "calls" are model calls, summed over the rows.
        plans: the chosen plan of each budget.
    """

    result: dict[str, Any]
    plans: Mapping[int, Plan]

    def __repr__(self) -> str:
        """What was chosen, budget by budget."""
        bits = 1 / math.log(2)
        lines = [
            f"{one['steps']} steps: {shortened(printable(one['plan']['name']), 32)} {one['test']['mean'] * bits:.4f}"
            for one in self.result["budgets"]
        ]
        return "\n    ".join(["OrderTuned(bits per token on test rows", *lines]) + ")"


@usual()
def tune_order(
    denoiser: Denoiser,
    params: Params,
    profile: Profile,
    validation: HeldOut | Int[np.ndarray, "choosing length"],
    test: HeldOut | Int[np.ndarray, "judging length"],
    budgets: Sequence[int],
    *,
    score: Measure = max_probability,
    key: PRNGKeyArray,
    progress: bool = False,
) -> OrderTuned:
    """Choose plans for the order that reveals the surest positions first, at several budgets.

    For each budget the profile names a shortlist (:func:`order_shortlist`): about 8 plans. Each costs every validation
    row its teacher-forced ``-log q`` in the order itself (:func:`~mdm_jax.sampling.forced_log_prob` of
    ``rules.surest(plan, score)``), and the plan of the least total cost is chosen. On the test rows, which chose
    nothing, it is compared with equal steps and with the profile's optimum, row by row. All plans and budgets share one
    program. On 64 validation rows and 128 test rows a budget of K steps takes at most ``(8 * 64 + 3 * 128) K`` calls.

    Args:
        denoiser: the model; it must predict by itself.
        params: its parameters.
        profile: of the model, in random order; of one block for a model that goes by blocks, as are the plans.
        validation: rows that choose, or a :class:`HeldOut` of them. All are used; 64 are enough in most cases.
        test: rows that judge, two or more, likewise.
        budgets: numbers of steps.
        score: what is surest: a measure of :mod:`mdm_jax.sampling.readings` that does not look at the draw.
        key: a PRNG key, of the order within a step for a model that goes by ranks; no other draws anything.
        progress: show a progress bar.

    Returns:
        The plans and what they cost. A plan's ``origin`` says what chose it.

    Raises:
        InputError: budgets that are not from 1 to the profile's length, a profile of another length, a score that looks
            at the draw, a model with latents that is not told any, or rows that the model rules out.

    Source: ``WHICH.md``, "Plans for an order that looks"; ours.

    Example:
        >>> import numpy as np
        >>> import mdm_jax as mdm
        >>> urn = mdm.oracles.polya(8, 0.5)
        >>> profile = mdm.profiles.from_values(urn.entropies())
        >>> validation, test = (np.asarray(urn.sample(mdm.key(part), 16)) for part in (0, 1))
        >>> found = mdm.evaluation.tune_order(urn.denoiser, urn.params, profile, validation, test, [3], key=mdm.key(2))
        >>> found.plans[3].steps, found.result["calls"]["judging"] >= 3 * 16
        (3, True)
    """
    require_model(denoiser, params)
    length = checked_profile(profile).length
    require(not profile.believed, "profile", verbatim("the mean of a posterior"), "the measured one, with its errors")
    good = is_list(budgets) and len(budgets) > 0
    require(good, "budgets", budgets, "a list of numbers of steps, as in [4, 8]")
    asked = sorted({require_whole("budgets", budget, 1, length) for budget in budgets})
    choosers = _checked(denoiser, validation, length, 1, "validation")
    judges = _checked(denoiser, test, length, 2, "test")
    key, believed = threefry(key), posterior_profile(profile).profile
    shortlists = {steps: order_shortlist(believed, steps) for steps in asked}

    def measured(rows: _Rows, every: Mapping[int, Sequence[Plan]], label: str) -> tuple[dict[int, _Costs], int]:
        """What each plan of each budget costs each row, nats, and the model calls of all."""
        found: dict[int, _Costs] = {}
        batches, calls = -(-len(rows.tokens) // BATCH), 0
        with bar(sum(map(len, every.values())) * batches, label, "batch", progress) as advance:
            for steps, listed in every.items():
                found[steps] = {}
                for plan in listed:
                    rule, name = rules.surest(plan, score), f"the plan {printable(plan.name)!r} of {steps} steps"
                    found[steps][_sizes(plan)], passes = rule_costs(
                        denoiser, params, rows.tokens, rule, name, key=key, context=rows.context, given=rows.given,
                        advance=advance,
                    )  # fmt: skip
                    calls += int(passes.sum())
        return found, calls

    choosing, calls = measured(choosers, shortlists, "choosing")
    chosen = {steps: _cheapest(shortlist, choosing[steps]) for steps, shortlist in shortlists.items()}
    rivals = {steps: dict(zip((EQUAL, OPTIMAL), _rivals(believed, steps))) for steps in asked}
    compared = {steps: _distinct([chosen[steps], *rivals[steps].values()]) for steps in asked}
    judging, more = measured(judges, compared, "judging")
    entries, kept = [], {}
    for steps, plan in chosen.items():
        listed = [
            {"plan": one.name, "sizes": one.sizes.tolist(), "nats": _mean(choosing[steps][_sizes(one)], choosers)}
            for one in shortlists[steps]
        ]
        own, cheapest = judging[steps][_sizes(plan)], _mean(choosing[steps][_sizes(plan)], choosers)
        judged = {
            "test": mean_interval(per_token(own, judges.left))._asdict(),
            "above": [
                {"rival": name, "same_plan": _sizes(rival) == _sizes(plan)}
                | mean_interval(per_token(own - judging[steps][_sizes(rival)], judges.left))._asdict()
                for name, rival in rivals[steps].items()
            ],
        }
        kept[steps] = Plan(
            plan.sizes,
            plan.name,
            {
                "rule": "order",
                "profile_digest": profile.digest,
                "expected_nelbo_nats": float(believed.expected_nelbo(plan.sizes)),
                "chosen_from": len(listed),
                "chosen_on_rows": len(choosers.tokens),
                "nats_per_token": cheapest,
                "judged": {"rows": len(judges.tokens), **judged},
                "made_by": dict(plan.origin),
            },
        )
        entries.append(
            {
                "steps": steps,
                "plan": kept[steps].to_json(),
                "shortlist": listed,
                "validation": cheapest,
                **judged,
            }
        )
    return OrderTuned(
        {
            "format": FORMAT,
            "unit": "nats per token",
            "length": length,
            "profile_digest": profile.digest,
            "rows": {"chosen_on": len(choosers.tokens), "judged_on": len(judges.tokens)},
            "calls": {"choosing": calls, "judging": more},
            "budgets": entries,
        },
        kept,
    )


def order_shortlist(profile: Profile, steps: int) -> list[Plan]:
    """Different plans of at most ``steps`` steps that may be good in an order that looks: about 8.

    They are equal steps, the profile's optimum, and of a coarse grid of Beta schedules the six that cost least by the
    profile, in random order.

    Args:
        profile: as it is believed to be (:func:`mdm_jax.theory.profiles.posterior_profile`).
        steps: the budget.

    Raises:
        InputError: no profile, or a number of steps that is not from 1 to its length.

    Source: ours, ``WHICH.md``, "Plans for an order that looks".

    Example:
        >>> import mdm_jax as mdm
        >>> profile = mdm.profiles.from_values(mdm.oracles.polya(16, 0.5).entropies())
        >>> [plan.sizes.tolist() for plan in mdm.evaluation.order_shortlist(profile, 2)][:3]
        [[8, 8], [3, 13], [4, 12]]
    """
    length = checked_profile(profile).length
    found = _distinct(_rivals(profile, steps))
    betas = (plans.from_schedule(schedules.beta(a, b), length, steps) for a, b in BETAS)
    cheap = sorted(betas, key=lambda plan: float(profile.expected_nelbo(plan.sizes)))
    new = [plan for plan in _distinct(cheap) if _sizes(plan) not in map(_sizes, found)]
    return [*found, *new[:BEST_BETAS]]


_Costs = dict[tuple[int, ...], Float[np.ndarray, " rows"]]
"""Of each plan, by its sizes, what every row costs, nats."""


class _Rows(NamedTuple):
    """Checked rows."""

    tokens: Int[np.ndarray, "rows length"]
    context: Context
    given: Bool[np.ndarray, "rows length"]
    left: Int[np.ndarray, " rows"]


def _checked(denoiser: Denoiser, rows: Any, planned: int, least: int, argument: str) -> _Rows:
    held_out = rows if isinstance(rows, HeldOut) else HeldOut(rows)
    tokens = sequences(denoiser, held_out.tokens, least, argument)
    require_context(denoiser, held_out.context, len(tokens))
    given, left = known_positions(held_out.given, tokens)
    own = block_length(denoiser)
    whole = min(own or tokens.shape[1], tokens.shape[1])
    fits = planned == whole or (own is None and bool((left == planned).all()))
    wanted = f"one of {whole} tokens, the length of {'a block' if own else f'the {argument} rows'}"
    require(fits, "profile", verbatim(f"one of {planned} tokens"), wanted)
    return _Rows(tokens, held_out.context, given, left)


def _rivals(profile: Profile, steps: int) -> list[Plan]:
    """Equal steps, and the profile's optimum."""
    return [plans.uniform(profile.length, steps), plans.optimal(profile, steps)]


def _sizes(plan: Plan) -> tuple[int, ...]:
    return tuple(plan.sizes.tolist())


def _distinct(every: Sequence[Plan]) -> list[Plan]:
    """Each plan once, as it is named first."""
    found: dict[tuple[int, ...], Plan] = {}
    for plan in every:
        found.setdefault(_sizes(plan), plan)
    return list(found.values())


def _cheapest(shortlist: Sequence[Plan], costs: _Costs) -> Plan:
    """The plan of the least cost; of those that differ only by rounding the first."""
    sums = np.array([costs[_sizes(plan)].sum() for plan in shortlist])
    return shortlist[int(np.argmax(sums <= sums.min() * (1 + _DIGITS)))]


def _mean(costs: Float[np.ndarray, " rows"], rows: _Rows) -> float:
    """Per token."""
    return float(costs.sum() / rows.left.sum())
