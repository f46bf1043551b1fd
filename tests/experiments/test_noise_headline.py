"""How the experiment about headlines reads steps off curves: against what is put in."""

import numpy as np
import pytest

from experiments.noise_headline import headlines_before, is_true, steps_for, steps_saved
from mdm_jax import oracles
from mdm_jax.theory import plans, profiles


def test_steps_are_interpolated_in_their_logarithm():
    costs = [8.0, 6.0, 4.0, 3.0]
    assert steps_for(costs, 8.5) == 1.0
    assert steps_for(costs, 4.0) == pytest.approx(3.0)
    assert steps_for(costs, 5.0) == pytest.approx(np.sqrt(2 * 3))
    assert steps_for(costs, 2.9) is None


def test_steps_saved_invert_the_curve():
    curve = np.array([[9.0], [5.0], [3.0], [2.0]]) + np.random.default_rng(0).normal(size=(1, 500)) * 0.1
    value, low, high = steps_saved(curve, 4, curve[1])  # what 2 steps cost
    assert (value, low, high) == pytest.approx((2.0, 2.0, 2.0), abs=1e-6)
    value, low, high = steps_saved(curve, 4, curve[3] + 0.5 + np.random.default_rng(1).normal(size=500))
    assert low < 0.5 < high
    assert value == pytest.approx(0.5, abs=0.15)


def test_a_headline_of_before_names_the_schedule_that_is_there_first():
    exact = profiles.from_values(oracles.polya(48, 0.5).entropies())
    found = headlines_before(exact, [4, 8, 16])
    assert set(found) == {"8 best", "8 rival", "16 best", "16 rival"}  # none of 4 steps
    assert found["8 best"] == plans.optimal(exact, 8).sizes.tolist()
    assert len(found["8 rival"]) <= 8


@pytest.mark.parametrize(
    ("said", "fresh", "steps_said", "steps_fresh", "true"),
    [
        ((0.2, 0.1, 0.3), (0.15, 0.12, 0.18), (1.0, 0.5, 1.5), (1.2, 1.1, 1.3), True),
        ((0.2, 0.1, 0.3), (0.15, 0.12, 0.18), (1.0, 0.5, 1.5), (2.2, 2.1, 2.3), False),
        ((0.2, 0.1, 0.3), (0.05, 0.02, 0.08), None, None, False),
        ((0.2, 0.1, 0.3), (-0.05, -0.2, -0.01), None, None, False),
    ],
)
def test_what_is_true(said, fresh, steps_said, steps_fresh, true):
    assert is_true({"said": said, "fresh": fresh, "steps_said": steps_said, "steps_fresh": steps_fresh}) is true
