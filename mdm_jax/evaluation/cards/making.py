"""One card for every decoder: what families of samplers cost at equal numbers of passes, chosen and judged apart."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Int, PRNGKeyArray

from mdm_jax.evaluation.cards.decoders import OPTIMAL, Family, plan_families, rule_families
from mdm_jax.evaluation.cards.families import (
    JudgedFamily,
    OptimalCosts,
    PlanCosts,
    comparison,
    interval_of,
    optimal_near,
    point,
)
from mdm_jax.evaluation.cards.forced_costs import Judge
from mdm_jax.evaluation.cards.results import FORMAT, Card
from mdm_jax.evaluation.cards.scored_decoders import scored
from mdm_jax.evaluation.inputs import require_context, sequences
from mdm_jax.evaluation.measuring.estimation import estimate_profile
from mdm_jax.evaluation.samples import Score
from mdm_jax.models.denoiser import Context, Denoiser, Params, require_model
from mdm_jax.models.extending import block_length
from mdm_jax.support.arrays import as_array
from mdm_jax.support.errors import is_list, require, require_whole, verbatim
from mdm_jax.support.flags import usual
from mdm_jax.support.keys import threefry
from mdm_jax.support.progress import bar
from mdm_jax.support.ragged import present
from mdm_jax.theory.plans import Plan
from mdm_jax.theory.profiles import Profile, checked_profile, from_values, posterior_profile

SHARES = (32, 16, 8, 4)
"""Of the length: the passes of a card, unless others are asked for."""
CHOOSING = 10
"""One row chooses for so many that judge."""
LEAST = 8
"""Rows that choose, at least: five of text chose a bound that lost .046 nats per token (``experiments/card.py``)."""
_GRID, _SAMPLES = 32, 32


@usual()
def card(
    denoiser: Denoiser,
    params: Params,
    validation: Int[np.ndarray, "validation_rows length"],
    test: Int[np.ndarray, "rows length"],
    *,
    key: PRNGKeyArray,
    profile: Profile | None = None,
    passes: Sequence[int] | None = None,
    law: ArrayLike | None = None,
    choosing_rows: int | None = None,
    hindsight: bool = False,
    score: Score | Mapping[str, Score] | None = None,
    lower_is_better: bool | None = None,
    samples: int = _SAMPLES,
    grid: int = _GRID,
    context: Context = None,
    progress: bool = False,
) -> Card:
    """What families of samplers cost, in nats per token, at equal mean numbers of passes: plans beside rules.

    Every family is judged by the probability with which it draws rows of the data (teacher-forced: no sampler earns
    anything there by drawing little). Plans in random order are those of the posterior of the profile. Of thresholds,
    entropy bounds and blocks a setting, or a mixture of two (:mod:`mdm_jax.evaluation.cards.mixing`), is *chosen* for
    each number of passes on a few validation rows, and *judged* on the test rows, beside the optimal plan at as many
    passes as it took there, row by row. Thresholds and bounds are tried from few passes to many, until one takes as
    many as the most that is asked for: mixtures with settings beyond are not looked at, nor by ``hindsight``. Passes
    are those on the rows of the data; a model that writes surer or less sure text than the data's takes other numbers
    in its own samples, which the second table shows.

    Args:
        denoiser: the model; it must predict by itself.
        params: its parameters.
        validation: int32[validation_rows, length], of which some choose.
        test: int32[rows, length], which judge; at least two, of one length.
        key: a PRNG key.
        profile: of the model, from validation rows; measured on all of them if left out.
        passes: mean model calls for each row, with a model that goes by blocks multiples of their number; a 32nd to a
            quarter of the length if left out.
        law: float[rows], the probability of each test row, if these are all the rows that there are. Costs are then
            exact, and intervals as wide as the digits of the model's logits (1e-5 nats to either side); orders that
            chance decides are left out, but for the plans.
        choosing_rows: how many validation rows choose; a tenth of the test rows (8 at least) if left out.
        hindsight: judge every setting on the test rows too, and say what the chosen one loses against the best of them
            there. It takes some ten times the passes that choosing takes.
        score: of samples, or several by name, for a second table: samplers without a probability (remasking) have no
            other.
        lower_is_better: the direction of the first score, by which the strength of remasking is then chosen, on samples
            that are not judged; ReMDM's usual strength if left out.
        samples: of each sampler in that table.
        grid: Beta schedules that are tried: so many values of each parameter.
        context: passed to the denoiser, leading axis 1: the same for all rows.
        progress: show a progress bar.

    Returns:
        A :class:`~mdm_jax.evaluation.cards.results.Card`.

    Raises:
        InputError: rows of different lengths, passes that cannot be, a law that does not sum to 1, a row to which the
            model gives probability 0.

    Source: thresholds, arXiv 2505.22618; entropy bounds, arXiv 2505.24857; margin order, arXiv 2502.06768; optimal
    plans, arXiv 2510.25544. The comparison is ours.

    Example:
        >>> import numpy as np
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.polya(8, 0.5)  # a model that is exact
        >>> rows = [np.asarray(world.sample(mdm.key(part), 40)) for part in (1, 2)]
        >>> exact = mdm.profiles.from_values(world.entropies())
        >>> mdm.evaluation.card(
        ...     world.denoiser, world.params, *rows, key=mdm.key(0), profile=exact, passes=[2], grid=8)
        Card(8 tokens; chosen on 8 rows, judged on 40 rows;
            bits per token         2 passes
            optimal plan            0.7669
            ...
            + costs more than the optimal plan at as many passes, - less; 95 % intervals, paired)
    """
    require_model(denoiser, params)
    choosers, judged = sequences(denoiser, validation, 2, "validation"), sequences(denoiser, test, 2, "test")
    length = judged.shape[1]
    for name, given in {"validation": choosers, "test": judged}.items():
        good = bool(present(given).all()) and given.shape[1] == length
        require(good, name, verbatim("rows of different lengths"), "rows of one length, with a token everywhere")
    require_context(denoiser, context, 1)
    key = threefry(key)
    own = block_length(denoiser)
    block = min(own or length, length)
    require(length % block == 0, "test", verbatim(f"rows of {length}"), f"whole blocks of {block}, the model's")
    blocks = length // block
    each = blocks * denoiser.passes
    asked = _passes(passes, block, each)
    budgets = [wanted // each for wanted in asked]
    weights = None if law is None else _law(law, len(judged))
    if weights is not None:
        judged, weights = judged[weights > 0], weights[weights > 0]
    few = max(LEAST, len(judged) // CHOOSING) if choosing_rows is None else choosing_rows
    few = min(require_whole("choosing_rows", few, 1), len(choosers))
    choosing = choosers[np.linspace(0, len(choosers) - 1, few).round().astype(int)]  # neighbours may be of one text
    profile_key, judge_key, sample_key = jax.random.split(key, 3)
    if profile is None:
        profile = estimate_profile(denoiser, params, choosers, key=profile_key, context=context, progress=progress)
    length_of = checked_profile(profile).length
    require(length_of == block, "profile", verbatim(f"one of {length_of} tokens"), f"one of {block} tokens")
    believed = posterior_profile(profile).profile
    exact = None if weights is None else _exact(denoiser, params, judged, weights, context)

    judge = Judge(denoiser, params, judge_key, context, blocks)
    of_plans = plan_families(believed, budgets, grid)
    of_rules = rule_families(believed, budgets, denoiser.vocab_size, own is not None, weights is None)
    with bar(2 * sum(len(family.settings) for family in of_rules), "card", "setting", progress) as advance:
        told = [
            JudgedFamily(family, asked, each, judge, choosing, judged, weights, hindsight, advance)
            for family in of_rules
        ]
    chosen = [one.sampler for family in of_plans for one in family.settings if isinstance(one.sampler, Plan)]
    taken = [*asked, *(plan.steps * each for plan in chosen), *(passes for one in told for passes in one.taken())]
    near = optimal_near(believed, taken, each)
    costs = PlanCosts(judge, judged, [*near, *chosen], exact)
    best = OptimalCosts(near, costs, each)
    families, comparisons = _of_plans(of_plans, asked, believed, costs, best, each, length, weights)
    for one in told:
        families.append({"name": one.family.name, "kind": one.family.kind, "points": one.points(length)})
        comparisons += one.compared(best, length)
    table: list[dict[str, Any]] = []
    if score is not None:
        settings = {
            steps: {OPTIMAL: of_plans[0].settings[at], **{one.family.name: one.main(asked[at]) for one in told}}
            for at, steps in enumerate(budgets)
        }
        table = scored(
            denoiser, params, settings, score, samples, length, sample_key, context, progress, lower_is_better
        )
    every = sum(one.all_passes for one in told)
    return Card(
        {
            "format": FORMAT,
            "unit": "nats per token",
            "length": length,
            "passes": asked,
            "profile_digest": profile.digest,
            "exact": weights is not None,
            "rows": {"chosen_on": len(choosing), "judged_on": len(judged)},
            "work": {
                "choosing": sum(one.choosing_passes for one in told),
                "judging": sum(one.judging_passes for one in told),
                "judging_every_setting": every if hindsight else None,
            },
            "families": families,
            "comparisons": sorted(comparisons, key=lambda entry: entry["passes"]),
            "scored": table,
        }
    )


def _of_plans(
    of_plans: Sequence[Family],
    asked: Sequence[int],
    believed: Profile,
    costs: PlanCosts,
    best: OptimalCosts,
    each: int,
    length: int,
    weights: Float[np.ndarray, " rows"] | None,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Points of families of plans, and what they cost more than the optimal plan in as many steps."""
    families, comparisons = [], []
    for family in of_plans:
        points = []
        for wanted, setting in zip(asked, family.settings, strict=True):
            plan = setting.sampler
            assert isinstance(plan, Plan)
            own, steps = costs.of(plan), float(plan.steps * each)
            predicted = float(believed.expected_nelbo(plan.sizes)) / believed.length
            points.append(point(wanted, plan.name, steps, interval_of(own / length, weights), predicted, 0, len(own)))
            if family.name != OPTIMAL:
                apart = interval_of((own - best.at(steps)[0]) / length, weights)
                comparisons.append(comparison(wanted, steps, family.name, apart, None))
        families.append({"name": family.name, "kind": family.kind, "points": points})
    return families, comparisons


def _passes(passes: Sequence[int] | None, block: int, each: int) -> list[int]:
    """Mean passes of a row, rising, each a whole number of steps of every block."""
    if passes is None:
        return [each * steps for steps in sorted({max(1, min(2, block), block // share) for share in SHARES})]
    require(is_list(passes) and len(passes) > 0, "passes", passes, "a list of numbers of passes, as in [8, 16]")
    wanted = f"a whole number from {each} to {each * block}" + (f", a multiple of {each}" if each > 1 else "")
    for one in passes:
        good = require_whole("passes", one, each, each * block) % each == 0
        require(good, "passes", one, wanted)
    return sorted({int(one) for one in passes})


def _law(law: Any, rows: int) -> Float[np.ndarray, " rows"]:
    weights = as_array(law).astype(np.float64)
    shown = verbatim(f"shape {weights.shape}")
    require(weights.shape == (rows,), "law", shown, f"one probability for each of the {rows} test rows")
    good = bool((weights >= 0).all() and abs(weights.sum() - 1) < 1e-6)
    require(good, "law", verbatim(f"numbers that sum to {weights.sum():.6g}"), "probabilities that sum to 1")
    return weights / weights.sum()


def _exact(denoiser: Denoiser, params: Params, rows: np.ndarray, weights: np.ndarray, context: Context) -> Profile:
    """The profile on rows of known probabilities, which are all that there are."""
    from mdm_jax.evaluation.exact import conditionals, exact_profile  # slow to import, and rarely needed

    length, vocab_size = rows.shape[1], denoiser.vocab_size
    target = np.zeros((vocab_size,) * length)
    np.add.at(target, tuple(rows.T), weights)
    return from_values(np.asarray(exact_profile(conditionals(denoiser, params, length, context), target)))
