import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import programs

from mdm_jax.sampling import (
    GIVEN,
    ancestral_order,
    first_hitting,
    grid_fractions,
    in_blocks,
    in_order,
    left_to_right,
    plan_knots,
    random_order,
)
from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans
from mdm_jax.theory.plans import Plan, grids
from mdm_jax.theory.plans.grids import Grid

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


def test_ancestral_order_follows_its_grid():
    """20,000 rows of 3 positions over 3 steps: all 27 outcomes by chi-square, 26 d.f., mean + 4 s.d."""
    rows, fractions = 20_000, np.array([0.0, 0.2, 0.7, 1.0])
    padded = jnp.asarray(grid_fractions(Grid(fractions, "t"), rows))
    steps = np.asarray(ancestral_order(jax.random.key(1), padded, jnp.ones((rows, 3), bool)))
    counts = np.bincount(steps @ [9, 3, 1], minlength=27)
    share = np.diff(fractions)
    expected = rows * np.einsum("i,j,k->ijk", share, share, share).ravel()
    assert counts.sum() == rows
    assert ((counts - expected) ** 2 / expected).sum() < 26 + 4 * np.sqrt(52)


def test_rows_have_grids_of_their_own_and_one_executable():
    free = jnp.asarray(np.array([[1, 1, 1, 1], [1, 0, 1, 1]], bool))
    steps = ancestral_order(
        jax.random.key(0), jnp.asarray(grid_fractions([grids.uniform(1), grids.uniform(64)], 2)), free
    )
    assert np.asarray(steps)[0].tolist() == [0] * 4
    assert np.asarray(steps)[1, 1] == GIVEN
    with programs() as made:
        for k in (2, 7, 33):
            ancestral_order(jax.random.key(k), jnp.asarray(grid_fractions(grids.uniform(k), 2)), free)
    assert not [name for name in made if "order" in name]


def test_first_hitting_is_one_token_at_a_time():
    free = jnp.asarray(np.array([[1, 1, 0, 1, 1], [0, 0, 0, 1, 0]], bool))
    steps = np.asarray(first_hitting(jax.random.key(0), free))
    assert sorted(steps[0].tolist()) == [-1, 0, 1, 2, 3]
    assert steps[1].tolist() == [-1, -1, -1, 0, -1]
    ones = jnp.asarray(plan_knots(plans.uniform(5, 5), 2))
    assert (
        np.asarray(random_order(jax.random.key(0), ones, jnp.ones((2, 5), bool))).tolist()
        == np.asarray(first_hitting(jax.random.key(0), jnp.ones((2, 5), bool))).tolist()
    )


def test_left_to_right_and_any_permutation():
    free = jnp.asarray(np.array([[1, 0, 1, 1, 1, 0], [1] * 6], bool))
    knots = jnp.asarray(plan_knots(Plan(np.array([1, 2, 3]), "t"), 2))
    # four free positions under knots 0, 1, 3, 6 of 6: round(4 N / 6) = 0, 1, 2, 4
    assert np.asarray(left_to_right(knots, free)).tolist() == [[0, -1, 1, 2, 2, -1], [0, 1, 1, 2, 2, 2]]
    order = jnp.asarray(np.array([[5, 4, 3, 2, 1, 0], [2, 0, 4, 1, 5, 3]]), jnp.int32)
    assert np.asarray(in_order(order, knots, free)).tolist() == [[2, -1, 2, 1, 0, -1], [1, 2, 0, 2, 1, 2]]


def test_blocks_are_done_one_after_the_other():
    """Every block reveals its plan, and orders inside are uniform (chi-square, 1 d.f. each: below 1 + 4 sqrt 2)."""
    rows = 4000
    knots = jnp.asarray(plan_knots(Plan(np.array([1, 1]), "t"), rows))
    steps = np.asarray(in_blocks(jax.random.key(0), knots, jnp.ones((rows, 5), bool), 2))
    assert np.all(np.sort(steps[:, :2]) == [0, 1])
    assert np.all(np.sort(steps[:, 2:4]) == [2, 3])
    assert np.all(steps[:, 4] >= 4)
    for at in (0, 2):
        first = (steps[:, at] < steps[:, at + 1]).sum()
        assert (2 * first - rows) ** 2 / rows < 1 + 4 * np.sqrt(2)
    given = np.ones((1, 5), bool)
    given[0, 2] = False
    steps = np.asarray(in_blocks(jax.random.key(0), knots[:1], jnp.asarray(given), 2))
    assert steps[0, 2] == GIVEN
    assert steps[0, 3] in (2, 3)
    steps = np.asarray(in_blocks(jax.random.key(0), knots, jnp.ones((rows, 5), bool), 2, origin=3))
    assert np.all(steps[:, 0] < 2)  # a block begins at 3 and at 1, and what is before that is a shorter one
    assert np.all(np.sort(steps[:, 1:]) == [2, 3, 4, 5])
    assert np.all(steps[:, 1:3] < 4)
    with pytest.raises(InputError, match="block must be a whole number from 1 to 2147483647; got 0"):
        in_blocks(jax.random.key(0), knots[:1], jnp.asarray(given), 0)
