"""Judged by sequences that had no part in choosing: offsets, differences, steps saved, cross-fitting."""

import numpy as np
import pytest
from known_profiles import polya

from mdm_jax import evaluation, oracles
from mdm_jax.evaluation.judging import ROLES, TEST_HALF
from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans, profiles

LENGTH, ROWS = 24, 60


@pytest.fixture(scope="module")
def profile():
    return polya(0.5, LENGTH)


@pytest.fixture(scope="module")
def tuned(profile):
    return evaluation.tune(profile, [4, 8], grid=8)


def told(result):
    return np.array([entry["expected_nelbo_nats"] for budget in result["budgets"] for entry in budget["plans"]])


@pytest.fixture
def result(tuned):
    import copy

    return copy.deepcopy(tuned.result)


@pytest.mark.core
def test_what_all_plans_share_is_said_once(result, profile):
    rows = np.random.default_rng(0).normal(0.4, 1.0, ROWS)
    evaluation.check(result, profile, told(result)[:, None] + rows[None])
    check = result["check"]
    assert (check["rows"], check["judged_on"]) == (ROWS, TEST_HALF)
    assert check["offset_nats"] == pytest.approx(rows.mean())
    assert check["offset_standard_error"] == pytest.approx(rows.std(ddof=1) / ROWS**0.5)
    for budget in result["budgets"]:
        for entry in budget["plans"]:
            assert entry["checked"]["apart_nats"] == pytest.approx(0, abs=1e-9)
            assert abs(entry["checked"]["z"]) < 1e-3
    for one in result["advantages"]:  # every row says the same difference, the predicted one
        gap = {entry["role"]: entry["expected_nelbo_nats"] for entry in _of(result, one["steps"])}
        for name in ("nats", "low", "high"):
            assert one[name] == pytest.approx(gap[one["role"]] - gap["optimal"], abs=1e-9)


@pytest.mark.core
def test_a_plan_that_costs_more_than_it_should_stands_apart_by_what_is_its_own(result, profile):
    rng = np.random.default_rng(1)
    noise = 0.1 * rng.normal(size=(len(told(result)), ROWS))
    costs = told(result)[:, None] + rng.normal(size=ROWS)[None] + noise
    costs[1] += 0.5
    evaluation.check(result, profile, costs)
    entries = [entry["checked"] for budget in result["budgets"] for entry in budget["plans"]]
    apart = costs - told(result)[:, None]
    own = apart - apart.mean(axis=0)[None]
    for entry, values in zip(entries, own):
        assert entry["apart_nats"] == pytest.approx(values.mean(), abs=1e-12)
        assert entry["apart_standard_error"] == pytest.approx(values.std(ddof=1) / ROWS**0.5, rel=1e-6)
    assert sum(entry["apart_nats"] for entry in entries) == pytest.approx(0, abs=1e-9)
    assert [entry["z"] > 8 for entry in entries] == [place == 1 for place in range(len(entries))]


@pytest.mark.core
def test_steps_saved_are_those_of_the_optimal_curve(result):
    optimal = result["families"]["optimal"]  # at every number of steps
    costs = {4: dict.fromkeys(ROLES, np.full(ROWS, optimal[3])), 8: dict.fromkeys(ROLES, np.full(ROWS, optimal[7]))}
    assert result["optimal_nats"] == pytest.approx(optimal, rel=1e-12)
    costs[8] = costs[8] | {"best hand-crafted": np.full(ROWS, optimal[5]), "best beta": np.full(ROWS, optimal[9])}
    found = {(one["steps"], one["role"]): one for one in evaluation.advantages(result, costs, TEST_HALF)}
    assert found[8, "best hand-crafted"]["steps_saved"] == pytest.approx([2, 2, 2], abs=1e-6)
    assert found[8, "best beta"]["steps_saved"] == pytest.approx([-2, -2, -2], abs=1e-6)
    assert found[4, "best beta"]["steps_saved"] is None
    result["advantages"] = list(found.values())
    name = found[8, "best hand-crafted"]["over"]
    assert evaluation.told_of_advantages(result) == [
        f"At 8 steps the best plan saves 2.0 steps (2.0 to 2.0) over {name}; at 4 steps no difference is seen.",
        f"At 8 steps the best Beta schedule is better by {(optimal[7] - optimal[9]) / LENGTH / np.log(2):.4f} "
        f"({(optimal[7] - optimal[9]) / LENGTH / np.log(2):.4f} to "
        f"{(optimal[7] - optimal[9]) / LENGTH / np.log(2):.4f}) bits per token; at 4 steps no difference is seen.",
    ]


@pytest.mark.core
def test_nothing_is_said_of_nothing(result):
    assert evaluation.told_of_advantages(result) == []
    one = {"steps": 4, "over": "sine", "role": "best hand-crafted", "nats": 0.1, "low": -0.1, "high": 0.3}
    result["advantages"] = [one | {"steps_saved": None}, one | {"steps": 8, "steps_saved": None}]
    assert evaluation.told_of_advantages(result) == ["At 4 and 8 steps no difference from sine is seen."]
    result["advantages"][0]["over"] = "maskgit"
    assert evaluation.told_of_advantages(result) == [
        "At 4 and 8 steps no difference from the cheapest named schedule is seen."
    ]


@pytest.mark.core
def test_a_small_difference_that_is_seen_is_told_in_bits(result):
    bit = LENGTH * np.log(2)
    one = {"steps": 1, "over": "sine", "role": "best hand-crafted", "nats": 2e-3 * bit, "low": 1e-3 * bit}
    result["advantages"] = [one | {"high": 3e-3 * bit, "steps_saved": [0.01, 0.0, 0.02]}]
    assert evaluation.told_of_advantages(result) == [
        "At 1 step the best plan saves 0.002 (0.001 to 0.003) bits per token over sine."
    ]


def test_a_fold_is_judged_by_what_the_others_chose():
    """By hand: for one fold the optimal plan of the posterior of the other rows, and its cost on the fold's rows."""
    urn = oracles.polya(LENGTH, 0.5)
    rng = np.random.default_rng(2)
    counts, rows = np.arange(LENGTH), 20
    shares = urn.entropies()[None] + 0.3 * rng.normal(size=(rows, LENGTH)) + rng.normal(size=(rows, 1))
    shares -= np.minimum(shares.mean(axis=0) - urn.entropies(), 0)[None]
    measured = profiles.from_rows(LENGTH, counts, shares)
    costs = evaluation.cross_fitted(measured, [4], folds=5)
    fold = np.random.default_rng(0).permutation(rows) % 5
    for place in range(5):
        others = profiles.from_rows(LENGTH, counts, shares[fold != place])
        plan = plans.optimal(profiles.posterior_profile(others).profile, 4)
        before = np.cumsum(plan.sizes) - plan.sizes
        by_hand = (plan.sizes * shares[fold == place][:, before]).sum(axis=1)
        np.testing.assert_allclose(costs[4]["optimal"][fold == place], by_hand, rtol=1e-9)


@pytest.mark.core
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda costs: costs[:5],
            r"^costs must be of shape \(6, rows\): all plans, 2 sequences or more; got shape \(5, ",
        ),
        (lambda costs: costs[:, :1], r"^costs must be of shape \(6, rows\)"),
        (
            lambda costs: costs * np.where(np.arange(ROWS) == 3, np.inf, 1.0),
            r"^costs must be finite; one of row 3 is not",
        ),
    ],
)
def test_costs_that_are_none_are_refused(result, profile, change, message):
    with pytest.raises(InputError, match=message):
        evaluation.check(result, profile, change(told(result)[:, None] + np.zeros((1, ROWS))))
    assert result["check"] is None


@pytest.mark.core
def test_what_cannot_be_cross_fitted_is_refused(profile):
    with pytest.raises(InputError, match=r"^the profile must hold its shares"):
        evaluation.cross_fitted(profile, [4])
    three = profiles.from_rows(2, np.arange(2), np.array([[2.0, 1.0], [4.0, 2.0], [3.0, 2.0]]))
    with pytest.raises(InputError, match=r"^profile must be one of at least 4; got one of 3 sequences"):
        evaluation.cross_fitted(three, [1])


def _of(result, steps):
    return next(budget["plans"] for budget in result["budgets"] if budget["steps"] == steps)
