"""Tuning by a profile: every family at every budget, by arithmetic alone."""

import json

import numpy as np
import pytest
from known_profiles import markov, polya, random_falling

from mdm_jax import evaluation
from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans, schedules

LENGTH = 24


@pytest.fixture(scope="module")
def tuned():
    return evaluation.tune(markov(0.2, LENGTH), [8, 4], grid=21, steps=[2, 16])


@pytest.mark.core
def test_steps_and_grid_are_what_was_asked_for(tuned):
    result = tuned.result
    assert result["steps"] == [2, 4, 8, 16]
    assert result["searched"]["values_per_axis"] == 21
    assert tuned.search.budgets == (4, 8)  # the others are curves alone
    np.testing.assert_array_equal(tuned.search.values, plans.beta_search.beta_values(21))
    assert [budget["steps"] for budget in result["budgets"]] == [8, 4]
    assert list(tuned.plans) == [4, 8]
    assert json.loads(json.dumps(result, allow_nan=False, default=float)) is not None
    values = evaluation.tune(markov(0.2, LENGTH), [4], grid=[0.5, 1.0], steps=[4])
    assert values.search.values.tolist() == [0.5, 1.0]


@pytest.mark.core
def test_every_figure_is_what_its_plan_costs(tuned):
    profile, result = markov(0.2, LENGTH), tuned.result
    families = result["families"]
    assert list(families) == ["optimal", "best beta", *schedules.HAND_CRAFTED]
    for i, steps in enumerate(result["steps"]):
        for text in schedules.HAND_CRAFTED:
            plan = plans.from_schedule(schedules.parse(text), LENGTH, steps)
            assert families[text][i] == float(profile.expected_nelbo(plan.sizes))
        assert families["optimal"][i] <= families["best beta"][i] + 1e-9
        assert families["best beta"][i] <= min(families[text][i] for text in ("linear", "sine_squared")) + 1e-9
    for budget in result["budgets"]:
        by_role = {entry["role"]: entry["plan"]["name"] for entry in budget["plans"]}
        i = result["steps"].index(budget["steps"])
        assert by_role["best beta"] == result["best_beta"][i]
        assert by_role["best hand-crafted"] == min(schedules.HAND_CRAFTED, key=lambda text: families[text][i])


@pytest.mark.core
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budgets": []}, r"^budgets must be at least one number of steps; got none\.$"),
        ({"budgets": [25]}, r"^budgets must be a whole number from 1 to 24; got 25\.$"),
        ({"steps": [0]}, r"^steps must be a whole number from 1 to 24; got 0\.$"),
        ({"grid": 1}, r"^grid must be a whole number from 2 to 1024; got 1\.$"),
        ({"hand_crafted": []}, r"^hand_crafted must be at least one schedule to compare with; got none\.$"),
    ],
    ids=str,
)
def test_bad_input(arguments, message):
    with pytest.raises(InputError, match=message):
        evaluation.tune(markov(0.2, LENGTH), **{"budgets": [4], **arguments})


@pytest.mark.thorough
@pytest.mark.parametrize("profile", [polya(0.5, LENGTH), random_falling(3, LENGTH)], ids=["urn", "random"])
def test_the_default_search(profile):
    # 256 x 256 schedules at every number of steps: what `mdm-jax tune` does unless told otherwise.
    tuned = evaluation.tune(profile, [4, 8])
    search = tuned.search
    assert tuned.result["steps"] == list(range(1, LENGTH + 1))
    assert search.budgets == (4, 8)
    assert search.landscape.shape == (2, 256, 256)
    assert tuned.result["searched"] == {
        "least": search.values[0],
        "most": search.values[-1],
        "values_per_axis": 256,
    }
    floor, optimal = profile.nelbo(), plans.optimal_for_every_budget(profile)
    rng, agree = np.random.default_rng(0), []
    for place, steps in enumerate(search.budgets):
        for i, j in rng.integers(0, 256, (64, 2)):  # as SciPy and the rounding rule have them, one schedule at a time
            schedule = schedules.beta(search.values[i], search.values[j])
            cost = float(profile.expected_nelbo(plans.from_schedule(schedule, LENGTH, steps).sizes)) - floor
            off = abs(search.landscape[place, i, j] - cost)
            assert off <= 2 * np.ptp(profile.values)  # a tie that float32 sees elsewhere moves a token or two
            agree.append(off <= 1e-5 * abs(cost) + 1e-9)
        least = float(search.landscape[place].min()) + floor
        assert optimal.nelbo[steps - 1] - 1e-9 <= search.nelbo[place] <= least + 1e-5
    assert np.mean(agree) >= 0.98


def test_a_tuning_prints_what_each_plan_costs(tuned):
    lines = repr(tuned).splitlines()
    assert lines[0] == "Tuned(24 tokens; expected NELBO in bits per token"
    assert [line.split()[:2] for line in lines[1:]] == [["8", "steps:"], ["4", "steps:"]]
    optimal = tuned.result["budgets"][0]["plans"][0]["expected_nelbo_nats"] / (LENGTH * np.log(2))
    assert f"optimal {optimal:.4f}, best beta (beta:" in lines[1]
    assert "<svg" in tuned._repr_html_()
    many = evaluation.tune(markov(0.2, LENGTH), range(1, LENGTH + 1), grid=[0.5, 1.0])
    assert repr(many).splitlines()[-1] == "    and 16 more budgets)"
