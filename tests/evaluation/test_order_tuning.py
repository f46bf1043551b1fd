"""Plans for an order that looks: what they cost against every composition in an enumerated world, and who chose."""

import itertools
import math

import jax.numpy as jnp
import numpy as np
import pytest
from compiled import programs
from selecting import thorough_but
from worlds import draw_rows, exact_world

import mdm_jax as mdm
from mdm_jax.evaluation import HeldOut, exact, order_shortlist, tune_order
from mdm_jax.evaluation.inputs import per_token
from mdm_jax.sampling import readings
from mdm_jax.support.errors import InputError
from mdm_jax.support.intervals import mean_interval
from mdm_jax.theory import plans, profiles

LENGTH, TOKENS = 5, 3
TABLE, DENOISER, PARAMS = exact_world(LENGTH, TOKENS, seed=3)
SCORES = {"probability": readings.max_probability, "margin": readings.margin, "entropy": readings.negative_entropy}
MARGIN = SCORES["margin"]  # so that all of these share one program
KEY = mdm.key(0)
CHOOSE, JUDGE = draw_rows(TABLE, 20, seed=1), draw_rows(TABLE, 37, seed=2)
DIGITS = 1e-5
"""Of costs: sums of five float32 logarithms."""


@pytest.fixture(scope="module")
def profile():
    """The law's own."""
    logits = exact.conditionals(DENOISER, PARAMS, LENGTH)
    return profiles.from_values(np.asarray(exact.exact_profile(logits, TABLE)))


def compositions(length, steps):
    """Every plan of so many steps."""
    for inner in itertools.combinations(range(1, length), steps - 1):
        yield tuple(np.diff((0, *inner, length)).tolist())


def sureness(law, order):
    top = np.sort(law)[::-1]
    return {"probability": top[0], "margin": top[0] - top[1], "entropy": (law * np.log(law)).sum()}[order]


def cost(row, sizes, order, given=()):
    """``-log q`` of a row, by the table of the law: no code of the library is asked."""
    logits, known, nats = np.asarray(PARAMS, np.float64), list(given), 0.0
    for size in sizes:
        state = [row[j] if j in known else TOKENS for j in range(LENGTH)]
        laws = np.exp(logits[int(np.polyval(state, TOKENS + 1))])
        hidden = [j for j in range(LENGTH) if j not in known]
        surest = sorted(hidden, key=lambda j: -sureness(laws[j], order))[:size]
        nats -= sum(math.log(laws[j][row[j]]) for j in surest)
        known += surest
    return nats


def costs(rows, sizes, order):
    return np.array([cost(row, sizes, order) for row in rows])


@pytest.mark.parametrize("order", thorough_but(["margin"], SCORES))
def test_the_cheapest_of_the_shortlist_is_chosen_and_judged_by_the_order_s_own_law(order, profile):
    """Every composition of five tokens by its enumerated law: the choice, its figures and its differences."""
    found = tune_order(DENOISER, PARAMS, profile, CHOOSE, JUDGE, [3, 2], score=SCORES[order], key=KEY)
    assert list(found.plans) == [2, 3]
    for one in found.result["budgets"]:
        steps, chosen = one["steps"], tuple(one["plan"]["sizes"])
        every = {
            sizes: costs(CHOOSE, sizes, order) for few in range(1, steps + 1) for sizes in compositions(LENGTH, few)
        }
        listed = {tuple(entry["sizes"]): entry["nats"] for entry in one["shortlist"]}
        assert len(listed) == len(one["shortlist"]) >= 4  # different plans
        assert min(every, key=lambda sizes: profile.expected_nelbo(np.array(sizes))) in listed
        assert tuple(plans.uniform(LENGTH, steps).sizes) in listed
        for sizes, nats in listed.items():
            assert nats == pytest.approx(every[sizes].mean() / LENGTH, abs=DIGITS)
        assert chosen == min(listed, key=lambda sizes: every[sizes].mean())
        assert chosen == tuple(found.plans[steps].sizes)
        assert one["validation"] == listed[chosen]
        own = costs(JUDGE, chosen, order)
        assert one["test"] == pytest.approx(mean_interval(own / LENGTH)._asdict(), abs=DIGITS)
        rivals = plans.uniform(LENGTH, steps), plans.optimal(profile, steps)
        assert [rival["rival"] for rival in one["above"]] == ["equal steps", "the profile's optimum"]
        for rival, told in zip(rivals, one["above"], strict=True):
            assert told["same_plan"] == (tuple(rival.sizes) == chosen)
            apart = mean_interval((own - costs(JUDGE, rival.sizes, order)) / LENGTH)
            assert [told[end] for end in ("mean", "low", "high")] == pytest.approx(list(apart), abs=DIGITS)
    assert found.result["calls"]["choosing"] == sum(
        len(entry["sizes"]) * len(CHOOSE) for one in found.result["budgets"] for entry in one["shortlist"]
    )


def test_what_is_given_costs_nothing_and_plans_are_for_the_rest(profile):
    """Two positions of each row are known: a plan for three tokens, against the same by hand."""
    given = np.random.default_rng(0).permuted(np.tile(np.arange(LENGTH) < 2, (len(CHOOSE), 1)), axis=1)
    known = HeldOut(CHOOSE, given=given)
    short = profiles.from_values(profile.values[2:])
    (one,) = tune_order(DENOISER, PARAMS, short, known, known, [2], score=MARGIN, key=KEY).result["budgets"]
    for entry in one["shortlist"]:
        own = [
            cost(row, entry["sizes"], "margin", np.flatnonzero(mine).tolist())
            for row, mine in zip(CHOOSE, given, strict=True)
        ]
        assert entry["nats"] == pytest.approx(np.mean(own) / 3, abs=DIGITS)


def test_of_rows_that_differ_in_length_the_mean_is_that_per_token():
    """Its standard error is the ratio's, to first order: against leaving one row out, 200 rows, within a tenth."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(4, 17, 200)
    nats = tokens * rng.gamma(4.0, 0.5, 200)
    told = per_token(np.stack([nats, 2 * nats]), tokens)
    np.testing.assert_allclose(told.mean(axis=1), [nats.sum() / tokens.sum(), 2 * nats.sum() / tokens.sum()])
    without = (nats.sum() - nats) / (tokens.sum() - tokens)
    jackknife = math.sqrt(199 / 200 * ((without - without.mean()) ** 2).sum())
    assert told[0].std(ddof=1) / math.sqrt(200) == pytest.approx(jackknife, rel=0.1)


def test_the_shortlist_holds_different_plans_and_the_two_rivals_first(profile):
    urn = profiles.from_values(mdm.oracles.polya(32, 0.5).entropies())
    found = order_shortlist(urn, 4)
    sizes = [tuple(plan.sizes) for plan in found]
    assert len(set(sizes)) == len(sizes) == 8
    assert sizes[:2] == [tuple(plans.uniform(32, 4).sizes), tuple(plans.optimal(urn, 4).sizes)]
    betas = [float(urn.expected_nelbo(plan.sizes)) for plan in found[2:]]
    assert betas == sorted(betas)
    assert [plan.sizes.tolist() for plan in order_shortlist(profile, 1)] == [[LENGTH]]


def test_of_plans_that_cost_the_same_equal_steps_are_chosen():
    """Of independent tokens no plan costs more than another."""
    flat = profiles.from_values(np.full(LENGTH, math.log(3)))
    found = tune_order(DENOISER, jnp.zeros_like(PARAMS), flat, CHOOSE, JUDGE, [3], score=MARGIN, key=KEY)
    assert found.plans[3].name == "uniform"
    (one,) = found.result["budgets"]
    assert one["above"][0] == {"rival": "equal steps", "same_plan": True, "mean": 0.0, "low": 0.0, "high": 0.0}
    assert repr(found) == "OrderTuned(bits per token on test rows\n    3 steps: uniform 1.5850)"


def test_other_plans_budgets_and_rows_compile_nothing_anew(profile):
    tune_order(DENOISER, PARAMS, profile, CHOOSE, JUDGE, [2], score=MARGIN, key=KEY)
    other = profiles.from_values(np.linspace(1.0, 0.1, LENGTH))
    with programs() as made:
        found = tune_order(DENOISER, PARAMS, other, CHOOSE[:5], JUDGE[:33], [3, 4, 5], score=MARGIN, key=KEY)
    assert made == []
    assert list(found.plans) == [3, 4, 5]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"budgets": [6]}, "budgets must be a whole number from 1 to 5; got 6."),
        ({"budgets": []}, "budgets must be a list of numbers of steps, as in [4, 8]; got []."),
        ({"test": JUDGE[:1]}, "test must be of shape [rows, length] with at least 2 rows; got shape (1, 5)."),
        (
            {"profile": profiles.from_values([1.0, 0.5])},
            "profile must be one of 5 tokens, the length of the validation",
        ),
        (
            {"score": readings.proposal_probability},
            "rule must be one whose order looks at the model's predictions alone",
        ),
        ({"validation": CHOOSE + 9}, "validation must be"),
    ],
)
def test_what_cannot_be_gets_one_sentence(change, said, profile):
    asked = {"profile": profile, "validation": CHOOSE, "test": JUDGE, "budgets": [2], **change}
    with pytest.raises(InputError) as refused:
        tune_order(DENOISER, PARAMS, key=KEY, **asked)
    assert str(refused.value).startswith(said)
    assert str(refused.value).count("\n") == 0
