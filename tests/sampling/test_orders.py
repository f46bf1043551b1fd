import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdm_jax.sampling import GIVEN, plan_knots, random_order
from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans
from mdm_jax.theory.plans import Plan

pytestmark = pytest.mark.usefixtures("strict_types")


@pytest.mark.core
def test_every_row_reveals_its_plan_s_sizes():
    chosen = [Plan(np.array(s), "t") for s in ((1, 2, 3, 4), (10,), (5, 5), (1,) * 10)]
    steps = random_order(jax.random.key(0), jnp.asarray(plan_knots(chosen, 4)), jnp.ones((4, 10), bool))
    for row, plan in zip(np.asarray(steps), chosen):
        assert np.bincount(row, minlength=plan.steps).tolist() == plan.sizes.tolist()


def test_every_ordered_partition_is_equally_likely():
    """30,000 rows over the 12 ways to reveal 4 positions in sizes (1, 2, 1): chi-square, 11 d.f., mean + 4 s.d."""
    rows = 30_000
    knots = jnp.asarray(plan_knots(Plan(np.array([1, 2, 1]), "t"), rows))
    steps = np.asarray(random_order(jax.random.key(7), knots, jnp.ones((rows, 4), bool)))
    kinds = sorted(set(itertools.permutations([0, 1, 1, 2])))
    counts = np.array([(steps == np.array(kind)).all(axis=1).sum() for kind in kinds])
    assert counts.sum() == rows
    expected = rows / len(kinds)
    assert ((counts - expected) ** 2 / expected).sum() < 11 + 4 * np.sqrt(22)


@pytest.mark.core
def test_given_positions_stay_out_and_the_plan_is_scaled_to_the_rest():
    free = jnp.asarray(np.array([[1, 0, 1, 1, 0, 1, 0, 1], [1] * 8, [0] * 8, [0] * 7 + [1]], bool))
    knots = jnp.asarray(plan_knots(plans.uniform(8, 4), 4))
    steps = np.asarray(random_order(jax.random.key(0), knots, free))
    assert np.all((steps == GIVEN) == ~np.asarray(free))
    # five free positions under knots 0, 2, 4, 6, 8 of 8: round(5 N / 8) = 0, 1, 3, 4, 5
    assert np.bincount(steps[0][steps[0] >= 0]).tolist() == [1, 2, 1, 1]
    assert np.bincount(steps[1]).tolist() == [2, 2, 2, 2]
    assert np.all(steps[2] == GIVEN)
    assert (steps[3] >= 0).sum() == 1


def test_plans_of_one_row_share_their_order():
    """Common random numbers: who comes first is the same under every plan."""
    free = jnp.ones((2, 12), bool)
    fine = random_order(jax.random.key(3), jnp.asarray(plan_knots(plans.uniform(12, 12), 2)), free)
    coarse = random_order(jax.random.key(3), jnp.asarray(plan_knots(plans.uniform(12, 3), 2)), free)
    np.testing.assert_array_equal(np.asarray(fine) // 4, coarse)


def test_lengths_beyond_int32_arithmetic_are_refused_not_garbled():
    with pytest.raises(InputError, match="length must be such that"):
        random_order(jax.random.key(0), jnp.zeros((1, 46_402), jnp.int32), jnp.ones((1, 46_401), bool))
