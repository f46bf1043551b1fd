"""What is told of plans along an order's own path, against the path taken one plan at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.tools.own_paths import between, forced_costs, table, told
from experiments.winner_in_advance import stretched
from mdm_jax import oracles
from mdm_jax.sampling import forced_log_prob, plan_knots, rules
from mdm_jax.sampling.knots import scaled_knots
from mdm_jax.sampling.readings import Measure, margin, max_probability
from mdm_jax.theory import plans

WORLD = oracles.markov(np.array([[0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.3, 0.1, 0.6]]), 8)
ROWS = np.asarray(WORLD.sample(jax.random.key(0), rows=5))
GIVEN = np.broadcast_to(np.arange(8) < 2, ROWS.shape)
EVERY = [
    plans.uniform(6, 6),
    plans.uniform(6, 1),
    plans.Plan(np.array([1, 3, 2]), "own"),
    plans.Plan(np.array([4, 2]), "own"),
]


@pytest.mark.parametrize("measure", [max_probability, margin])
def test_costs_are_those_of_each_plan_alone(measure: Measure) -> None:
    made = forced_costs(WORLD.denoiser, WORLD.params, ROWS, GIVEN, EVERY, measure)
    for plan, costs in zip(EVERY, made):
        rule = rules.surest(plan, score=measure)
        alone = forced_log_prob(WORLD.denoiser, WORLD.params, ROWS, rule, key=jax.random.key(0), given=GIVEN)
        np.testing.assert_allclose(costs, -np.asarray(alone.log_prob), rtol=1e-5)


def test_a_table_is_exact_for_its_own_path() -> None:
    """One token at a time, and all at once."""
    made = table(WORLD.denoiser, WORLD.params, ROWS, GIVEN, range(6), max_probability)
    truth = forced_costs(WORLD.denoiser, WORLD.params, ROWS, GIVEN, EVERY[:2], max_probability).mean(axis=1)
    assert [told(made, plan) for plan in EVERY[:2]] == pytest.approx(truth, rel=1e-5)
    assert np.isnan(made[3, 4:]).all()


def test_a_chain_tells_its_own_steps_exactly() -> None:
    made = table(WORLD.denoiser, WORLD.params, ROWS, GIVEN, (0, 4, 5), max_probability)
    plan = plans.Plan(np.array([4, 1, 1]), "own")
    truth = forced_costs(WORLD.denoiser, WORLD.params, ROWS, GIVEN, [plan], max_probability)
    assert told(made, plan) == pytest.approx(truth.mean(), rel=1e-5)


def test_between_counts_costs_by_token_are_interpolated() -> None:
    """After 1 of 4 tokens, halfway between 0 and 2: of equal shares each token costs the mean of the two."""
    costs = np.array([[0.0, 1.0, 2.0, 3.0, 4.0], [0.0, 3.0, 6.0, np.nan, np.nan], [0.0, 5.0] + [np.nan] * 3])
    made = between(costs, (0, 2, 3))
    np.testing.assert_allclose(made[0], costs[0])
    np.testing.assert_allclose(made[1, :4], [0.0, 2.0, 4.0, 6.0])
    np.testing.assert_allclose(made[2, :3], costs[1, :3])
    np.testing.assert_allclose(made[3, :2], costs[2, :2])


def test_a_stretched_plan_is_the_plan_again_where_it_is_scaled() -> None:
    for plan in (plans.uniform(33, 2), plans.uniform(33, 8), plans.uniform(33, 33)):
        long = stretched(plan, 67)
        assert long.length == 67
        scaled = scaled_knots(jnp.asarray(plan_knots(long, 1)), jnp.array([[33]]), 67)
        assert np.unique(np.asarray(scaled)).tolist() == plan.knots.tolist()
