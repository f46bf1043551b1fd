"""Cards: costs against enumerated laws, choices apart from judgement, and intervals that cover."""

import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import ConvexHull

from mdm_jax import models, oracles
from mdm_jax.evaluation import Evaluation, card, exact
from mdm_jax.evaluation.cards import scored_decoders
from mdm_jax.evaluation.cards.decoders import Family, Setting, rule_families
from mdm_jax.evaluation.cards.families import JudgedFamily, OptimalCosts, PlanCosts, optimal_near
from mdm_jax.evaluation.cards.forced_costs import Judge
from mdm_jax.evaluation.cards.mixing import Mixture, cheapest
from mdm_jax.evaluation.cards.scored_decoders import scored
from mdm_jax.sampling import rules
from mdm_jax.sampling.adaptive import _adaptive_loop
from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans, profiles

pytestmark = pytest.mark.usefixtures("strict_types")

LENGTH, VOCAB = 5, 2
EVERY = np.array(list(itertools.product(range(VOCAB), repeat=LENGTH)), np.int32)
KEY = jax.random.key(3)


WORLD = oracles.table(np.random.default_rng(0).dirichlet(np.full(VOCAB**LENGTH, 0.3)), VOCAB)
LAW = np.exp(np.asarray(WORLD.log_prob(EVERY), np.float64))
KNOWN = profiles.from_values(WORLD.entropies())


@functools.cache
def rows():
    return np.asarray(WORLD.sample(jax.random.key(8), 40))


def exactly(passes, **more):
    more = {"key": KEY, "profile": KNOWN, "law": LAW, "grid": 8, **more}
    return card(WORLD.denoiser, WORLD.params, rows(), EVERY, passes=passes, **more)


@functools.cache
def found():
    """Within a test: what is compiled outside of one is compiled under other flags."""
    return exactly([2, 3], hindsight=True)


def point_of(card, family, passes):
    (points,) = [one["points"] for one in card.to_json()["families"] if one["name"] == family]
    (point,) = [one for one in points if one["asked"] == passes]
    return point


def of_comparisons(card, family, passes):
    (one,) = [one for one in card.to_json()["comparisons"] if (one["family"], one["passes"]) == (family, passes)]
    return one


def cost_of(drawn):
    """The cross-entropy per token of the target and what a sampler draws."""
    here = LAW > 0
    return float(-(LAW[here] * np.log(np.asarray(drawn, np.float64)[here])).sum() / LENGTH)


@functools.cache
def logits():
    return exact.conditionals(WORLD.denoiser, WORLD.params, LENGTH)


def test_costs_are_those_of_enumerated_laws():
    """To 1e-5 nats per token: plans by the exact profile, rules by their laws, comparisons by both."""
    for steps in (2, 3):
        sizes, equal = plans.optimal(KNOWN, steps).sizes, plans.uniform(LENGTH, steps).sizes
        optimal = float(KNOWN.expected_nelbo(sizes)) / LENGTH
        point = point_of(found(), "optimal plan", steps)
        assert (point["cost_nats"], point["predicted_nats"]) == pytest.approx((optimal, optimal), abs=1e-5)
        for family, of_rule in {"margin, optimal sizes": sizes, "margin, equal sizes": equal}.items():
            expected = cost_of(exact.adaptive_law(logits(), "margin", of_rule, tie=0.0))
            assert point_of(found(), family, steps)["cost_nats"] == pytest.approx(expected, abs=1e-5)
            assert of_comparisons(found(), family, steps)["nats"] == pytest.approx(expected - optimal, abs=2e-5)
    at_once = exact.random_order_law(logits(), [LENGTH])  # the one plan whose law is its path's
    assert cost_of(at_once) == pytest.approx(float(KNOWN.expected_nelbo(np.array([LENGTH]))) / LENGTH, abs=1e-5)


def test_a_threshold_is_chosen_on_other_rows_and_told_as_a_mixture():
    """The mixture's cost by the enumerated laws of its two settings, to 1e-3 of whole per cents' rounding."""
    optimal = {steps: float(KNOWN.expected_nelbo(plans.optimal(KNOWN, steps).sizes)) / LENGTH for steps in range(1, 6)}
    free = exact.all_states(LENGTH, VOCAB) == VOCAB
    surest = np.where(free, np.exp(np.asarray(logits())).max(axis=-1), -1.0)
    for passes in (2, 3):
        point, compared = point_of(found(), "threshold", passes), of_comparisons(found(), "threshold", passes)
        assert (point["chosen_on_rows"], point["judged_on_rows"]) == (8, len(EVERY))
        assert point["passes"] == compared["taken"]
        assert compared["hindsight_loss_nats"] >= -1e-6
        beside = np.interp(point["passes"], list(optimal), list(optimal.values()))
        assert compared["nats"] == pytest.approx(point["cost_nats"] - beside, abs=1e-5)
        settings = [float(part) for part in re.findall(r"(?<!\()\b[0-9.]+\b(?!%)", point["setting"])]
        share = float((re.findall(r"\((\d+)%\)", point["setting"]) or ["100"])[0]) / 100
        costs = []
        for setting in (settings[0], settings[-1]):
            chosen = free & ((surest > setting) | (np.arange(LENGTH) == surest.argmax(axis=1)[:, None]))
            costs.append(cost_of(exact.selective_law(logits(), jnp.asarray(chosen))))
        assert point["cost_nats"] == pytest.approx(share * costs[0] + (1 - share) * costs[1], abs=1e-3)


def test_other_passes_and_settings_make_no_new_program():
    found()
    made = _adaptive_loop._cache_size()  # pyright: ignore[reportFunctionMemberAccess]
    more = exactly([4], choosing_rows=7)
    assert _adaptive_loop._cache_size() == made  # pyright: ignore[reportFunctionMemberAccess]
    assert more.to_json()["work"]["judging_every_setting"] is None
    assert point_of(more, "threshold", 4)["chosen_on_rows"] == 7


def test_a_card_shows_itself():
    lines = repr(found()).splitlines()
    assert lines[0] == "Card(5 tokens; chosen on 8 rows, exact;"
    assert lines[1].split() == ["bits", "per", "token", "2", "passes", "3", "passes"]
    assert any(line.strip().startswith("margin, equal sizes") for line in lines)


def test_the_cheapest_mixture_is_the_lower_hull():
    """400 random clouds of points against SciPy's hull."""
    rng = np.random.default_rng(1)
    for _ in range(400):
        passes, costs = rng.random(9), rng.random(9)
        hull = ConvexHull(np.stack([passes, costs], axis=1))
        wanted = rng.uniform(passes.min(), passes.max())
        # Each facet is normal @ x + offset <= 0; those that look down bound the cost from below.
        low = max(-(x * wanted + offset) / y for x, y, offset in hull.equations if y < -1e-12)
        one = cheapest(passes, costs, wanted)
        assert one.weight * costs[one.first] + (1 - one.weight) * costs[one.second] == pytest.approx(low)
        assert one.weight * passes[one.first] + (1 - one.weight) * passes[one.second] == pytest.approx(wanted)
    assert cheapest(np.array([2.0, 4.0]), np.array([1.0, 0.5]), 5.0) is None
    assert cheapest(np.array([2.0, 4.0]), np.array([1.0, 0.5]), 4.0) == Mixture(1, 1, 1.0)


class Known(Judge):
    """A judge that looks costs and passes up: rows are numbers of sequences."""

    def __init__(self, costs, passes, of_plans):
        self.costs, self.passes, self.of_plans = costs, passes, of_plans

    def rule(self, rows, rule, name):
        at = int(name.split()[-1].strip(","))
        return self.costs[at][rows[:, 0]], self.passes[at][rows[:, 0]]

    def plans(self, rows, chosen):
        return np.stack([self.of_plans[plan.steps][rows[:, 0]] for plan in chosen])


def test_comparisons_cover_the_truth_of_what_was_chosen():
    """800 cards of 60 judging rows: 95 % intervals hold the chosen mixture's true difference in 93 % or more.

    Costs and passes of 512 made-up sequences, skewed and dependent; 3 standard errors of .95 in 800 are .023.
    """
    rng = np.random.default_rng(5)
    many = 512
    hard = rng.gamma(2.0, 1.0, many)
    passes = [np.clip(np.round(scale * (2 + hard + rng.normal(size=many) / 3)), 1, 32) for scale in (1, 1.5, 2.2, 3.4)]
    costs = [12 * hard / (1 + 0.1 * one) + rng.gamma(1.0, 1.0, many) for one in passes]
    falling = profiles.from_values(np.linspace(1, 0.2, 32))
    of_plans = {steps: 12 * hard / (1 + 0.1 * steps) + rng.normal(size=many) for steps in range(1, 33)}
    judge = Known(costs, passes, of_plans)
    family = Family("made", "rule", [Setting(str(at), rules.confident(0.5)) for at in range(4)])
    chances = np.full(many, 1 / many)
    truth = {at: (float(chances @ one), float(chances @ cost)) for at, (one, cost) in enumerate(zip(passes, costs))}
    inside = total = 0
    for seed in range(400):
        drawn = np.random.default_rng(seed).integers(0, many, (66, 1))
        told = JudgedFamily(family, [5, 8], 1, judge, drawn[:6], drawn[6:], None, False, lambda _: None)
        near = optimal_near(falling, [5, 8, *told.taken()], 1)
        best = OptimalCosts(near, PlanCosts(judge, drawn[6:], near, None), 1)
        for one in told.compared(best, 1):
            mixture = told.chosen[one["passes"]]
            mean, cost = (
                mixture.weight * truth[mixture.first][part] + (1 - mixture.weight) * truth[mixture.second][part]
                for part in (0, 1)
            )
            rival = np.interp(mean, range(1, 33), [of_plans[steps].mean() for steps in range(1, 33)])
            inside += one["low"] <= cost - rival <= one["high"]
            total += 1
    assert total > 600
    assert inside / total > 0.93


def test_scores_stand_in_a_table_of_their_own():
    chosen = {2: {"optimal plan": Setting("optimal", plans.uniform(LENGTH, 2)), "threshold": None}}
    score = {"ones": lambda tokens: tokens.sum(axis=1)}
    table = scored(WORLD.denoiser, WORLD.params, chosen, score, 6, LENGTH, KEY, None, False)
    assert [one["name"] for one in table] == ["optimal plan", "remasking"]
    for one in table:
        (point,) = one["points"]
        assert point["samples"] == 6
        assert point["passes"] <= 2
        assert point["scores"]["ones"]["low"] <= point["scores"]["ones"]["mean"] <= point["scores"]["ones"]["high"]


@pytest.mark.parametrize("lower_is_better", [True, False])
def test_the_strength_of_remasking_is_chosen_on_samples_that_are_not_judged(monkeypatch, lower_is_better):
    """A double of the measurement says of a strength that its samples score so much, plus the steps."""
    asked = []

    def double(denoiser, params, samplers, samples, score, *, key, **_):
        asked.append((list(samplers), key))
        means = np.array([float(name.split(", ")[1]) for name in samplers])
        values, counts = np.repeat(means[:, None], samples, axis=1), np.ones((len(means), samples), np.int32)
        tokens = np.zeros((len(means), samples, LENGTH), np.int32)
        return Evaluation(tuple(samplers), {"ones": values}, counts, 0 * counts, values.astype(np.float32), tokens)

    monkeypatch.setattr(scored_decoders, "evaluate", double)
    table = scored(WORLD.denoiser, WORLD.params, {2: {}, 4: {}}, len, 6, LENGTH, KEY, None, False, lower_is_better)
    (tried, of_choice), (judged, of_judgement) = asked
    assert len(tried) == 2 * len(scored_decoders.STRENGTHS)
    assert judged == ["remasking, 2", "remasking, 4"]
    assert not (jax.random.key_data(of_choice) == jax.random.key_data(of_judgement)).all()
    best = (min if lower_is_better else max)(scored_decoders.STRENGTHS)
    assert [point["setting"] for point in table[0]["points"]] == [f"ReMDM {best:g}, {k} steps" for k in (2, 4)]


def test_blocks_take_the_passes_that_they_say():
    (family,) = [one for one in rule_families(KNOWN, [2, 4], VOCAB, False, True) if one.name.startswith("blocks")]
    assert [(setting.name, steps) for setting, steps in zip(family.settings, family.steps, strict=True)] == [
        ("2 blocks, 1 step each", 2),
        ("2 blocks, 2 steps each", 4),
    ]


@pytest.mark.thorough
def test_a_model_by_blocks_and_one_by_ranks_have_cards():
    model = models.block_causal(3, length=8, block=4, width=8, depth=1, heads=2)
    params = model.init(jax.random.key(0), length=8)
    rows = np.random.default_rng(2).integers(0, 3, (24, 8)).astype(np.int32)
    found = card(model, params, rows, rows, key=KEY, passes=[4], grid=8)
    assert point_of(found, "optimal plan", 4)["cost_nats"] == pytest.approx(np.log(3), abs=1e-4)  # untrained
    assert point_of(found, "margin, equal sizes", 4)["passes"] == 4
    model = models.any_order(3, length=8, width=8, depth=1, heads=2)
    params = model.init(jax.random.key(0), length=8)
    found = card(model, params, rows, rows, key=KEY, passes=[4], grid=8)
    assert point_of(found, "optimal plan", 4)["cost_nats"] == pytest.approx(np.log(3), abs=1e-4)
    with pytest.raises(InputError, match="passes must be a whole number from 2 to 8, a multiple of 2; got 3"):
        card(models.block_causal(3, length=8, block=4), params, rows, rows, key=KEY, passes=[3])


def test_what_cannot_be_judged_is_refused():
    def refused(match, **more):
        given = {"key": KEY, "profile": KNOWN, "passes": [2], **more}
        with pytest.raises(InputError, match=match):
            card(WORLD.denoiser, WORLD.params, rows(), rows(), **given)

    refused("passes must be a whole number", passes=[6])
    refused("passes must be a list", passes=[])
    refused("law must be one probability for each of the 40 test rows", law=LAW)
    refused("law must be probabilities that sum to 1", law=np.full(len(rows()), 0.5))
    refused("profile must be one of 5 tokens", profile=profiles.from_values(np.full(4, 0.5)))
    refused("choosing_rows must be a whole number", choosing_rows=0)
    broken = oracles.toy_left()  # sequences of five equal tokens
    with pytest.raises(InputError, match=r"rows must be such as every sampler can draw; under .* its probability is 0"):
        Judge(broken.denoiser, broken.params, KEY, None, 1).plans(
            EVERY[1:9], [plans.uniform(LENGTH, 1), plans.uniform(5, 5)]
        )
