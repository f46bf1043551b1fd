"""The quick search over Beta schedules: exact costs, no program, and nearly what the full search finds."""

import numpy as np
import pytest
from compiled import programs
from known_profiles import markov, polya

from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans, profiles, schedules
from mdm_jax.theory.plans import beta_search

LENGTH = 48


@pytest.mark.parametrize("profile", [markov(0.2, LENGTH), polya(0.5, LENGTH)], ids=["markov", "urn"])
def test_costs_are_exact_and_nearly_the_best(profile):
    with programs() as made:
        found = beta_search.quick_search(profile)
    assert made == []
    assert found.budgets == tuple(range(1, LENGTH + 1))
    optimal = plans.optimal_for_every_budget(profile, LENGTH)
    least = np.array([float(profile.expected_nelbo(optimal.plan(steps).sizes)) for steps in found.budgets])
    full = beta_search.search(profile, grid=64)
    for i, steps in enumerate(found.budgets):
        plan = found.plan(steps)
        assert found.nelbo[i] == float(profile.expected_nelbo(plan.sizes))
        named = plans.from_schedule(schedules.parse(plan.name), LENGTH, steps)
        np.testing.assert_array_equal(plan.sizes, named.sizes)
        for text in ("linear", "sine_squared"):
            other = plans.from_schedule(schedules.parse(text), LENGTH, steps)
            assert found.nelbo[i] <= float(profile.expected_nelbo(other.sizes)) + 1e-9
    assert (found.nelbo >= least - 1e-9).all()
    assert (found.nelbo - full.nelbo).mean() < 1e-3 * (full.nelbo - profile.nelbo()).mean()


def test_the_landscape_is_that_of_the_grid():
    profile = markov(0.2, LENGTH)
    found = beta_search.quick_search(profile, [5, 2], grid=[0.5, 1.0, 2.0])
    assert found.budgets == (2, 5)
    assert found.landscape.shape == (2, 3, 3)
    for i, steps in enumerate(found.budgets):
        for j, a in enumerate(found.values):
            plan = plans.from_schedule(schedules.beta(a, 2.0), LENGTH, steps)
            above = float(profile.expected_nelbo(plan.sizes)) - profile.nelbo()
            assert found.landscape[i, j, 2] == pytest.approx(above, rel=1e-6)
    one = beta_search.quick_search(profile, [4], grid=[0.7])
    assert one.landscape.shape == (1, 1, 1)
    assert one.plan(4).steps <= 4


def test_flat_and_short():
    flat = beta_search.quick_search(profiles.from_values(np.full(6, 0.3)))
    np.testing.assert_allclose(flat.nelbo, 1.8)
    assert beta_search.quick_search(profiles.from_values([0.4])).plan(1).sizes.tolist() == [1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budgets": []}, r"^budgets must be at least one number of steps; got none\.$"),
        ({"budgets": [49]}, r"49"),
        ({"grid": 1}, r"^grid must be "),
    ],
    ids=str,
)
def test_bad_input(arguments, message):
    with pytest.raises(InputError, match=message):
        beta_search.quick_search(markov(0.2, LENGTH), **arguments)
