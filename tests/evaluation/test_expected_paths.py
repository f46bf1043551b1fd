"""Costs of plans told from one path: against enumeration, exact profiles, and the paths of each plan by itself."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from any_orders import LENGTH as RANKED
from any_orders import random_tokens, tiny
from compiled import programs
from worlds import conditional, draw_rows, exact_world

import mdm_jax as mdm
from mdm_jax import models
from mdm_jax.evaluation import path_nelbo, plan_costs
from mdm_jax.sampling import first_hitting
from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans, profiles
from mdm_jax.theory.plans import Plan

LENGTH, VOCABULARY = 4, 3
PLANS = [Plan(np.array(sizes), "t") for sizes in ((4,), (1, 3), (3, 1), (2, 1, 1), (1, 1, 1, 1))]
KEY = jax.random.key(5)


@pytest.fixture(scope="module")
def world():
    return exact_world(LENGTH, VOCABULARY, seed=1)


def loss(table, row, revealed):
    """The mean ``-log p`` of the hidden tokens of a row, by summing the table."""
    seen = tuple(int(row[j]) if j in revealed else VOCABULARY for j in range(LENGTH))
    hidden = [j for j in range(LENGTH) if j not in revealed]
    return np.mean([-np.log(conditional(table, seen, VOCABULARY, j)[row[j]]) for j in hidden])


def mean_cost(table, row, plan):
    """The expected cost of a plan on a row, over all orders: of every set that may be revealed, the mean loss."""
    begins = np.cumsum(plan.sizes) - plan.sizes
    sets = [list(itertools.combinations(range(LENGTH), int(begin))) for begin in begins]
    return sum(size * np.mean([loss(table, row, set(one)) for one in each]) for size, each in zip(plan.sizes, sets))


@pytest.fixture(scope="module")
def by_order(world):
    """Costs of one row along 2,048 random orders, and along each of its 24 orders once: of plans, of paths."""
    table, denoiser, params = world
    rows = np.repeat(draw_rows(table, 1, 7), 2048, axis=0)
    found = plan_costs(denoiser, params, rows, PLANS, key=KEY)
    paths = path_nelbo(denoiser, params, rows, PLANS, key=KEY)
    ranks = np.asarray(first_hitting(KEY, jnp.ones(rows.shape, bool), jnp.arange(len(rows))))
    first = np.unique(ranks, axis=0, return_index=True)[1]
    assert len(first) == 24
    return rows[0], found[:, first], paths[:, first]


@pytest.mark.core
def test_over_all_orders_the_mean_is_exact(world, by_order):
    row, found, paths = by_order
    exact = [mean_cost(world[0], row, plan) for plan in PLANS]
    np.testing.assert_allclose(found.mean(axis=1), exact, rtol=1e-5)
    np.testing.assert_allclose(paths.mean(axis=1), exact, rtol=1e-5)


@pytest.mark.core
def test_differences_vary_less_than_those_of_paths(by_order):
    """Over all orders of a row: no difference of two plans by more, all together by a fifth; no plan's own by more."""
    _, found, paths = by_order
    pairs = list(itertools.combinations(range(len(PLANS)), 2))
    mine, theirs = (np.array([(of[one] - of[other]).var() for one, other in pairs]) for of in (found, paths))
    assert (mine <= theirs + 1e-6).all()
    assert mine.sum() < 0.8 * theirs.sum()
    assert (found.var(axis=1) <= paths.var(axis=1) + 1e-6).all()


@pytest.mark.parametrize("world", [mdm.oracles.polya(16, 0.5), mdm.oracles.binsaw(8)], ids=["urn", "binsaw"])
def test_on_exact_laws_they_agree_with_the_profile_and_vary_less(world):
    """512 rows: differences within 3.5 standard errors of the exact ones; their variance at most 4/5 of paths'."""
    length = world.length
    rows, exact = np.asarray(world.sample(mdm.key(0), rows=512)), profiles.from_values(world.entropies())
    chosen = [plans.uniform(length, steps) for steps in (2, 4)] + [plans.optimal(exact, steps) for steps in (3, 5)]
    found = plan_costs(world.denoiser, world.params, rows, chosen, key=KEY)
    paths = path_nelbo(world.denoiser, world.params, rows, chosen, key=KEY)
    for one, other in itertools.combinations(range(len(chosen)), 2):
        apart = found[one] - found[other]
        wanted = float(exact.expected_nelbo(chosen[one].sizes) - exact.expected_nelbo(chosen[other].sizes))
        assert abs(apart.mean() - wanted) < 3.5 * apart.std(ddof=1) / np.sqrt(len(apart))
        assert apart.var() < 0.8 * (paths[one] - paths[other]).var()


@pytest.mark.core
def test_alone_a_plan_costs_its_path(world):
    table, denoiser, params = world
    rows = draw_rows(table, 40, 11)
    for plan in PLANS:
        alone = plan_costs(denoiser, params, rows, [plan], key=KEY)
        np.testing.assert_allclose(alone, path_nelbo(denoiser, params, rows, [plan], key=KEY), rtol=1e-5)
    found = plan_costs(denoiser, params, rows, PLANS, key=KEY)
    some = plan_costs(denoiser, params, rows[:33], PLANS, key=KEY)
    np.testing.assert_allclose(some, found[:, :33], rtol=1e-6)  # a row's order is its own


def test_other_plans_reuse_what_was_compiled(world):
    table, denoiser, params = world
    rows = draw_rows(table, 8, 0)
    plan_costs(denoiser, params, rows, PLANS[:2], key=jax.random.key(1))
    with programs() as made:
        plan_costs(denoiser, params, rows, PLANS[2:], key=jax.random.key(6))
    assert made == []


def test_a_token_that_is_ruled_out_costs_infinitely_where_plans_pass():
    """Two equal coins: known once one is seen. A model that then says the opposite is infinitely wrong there alone."""

    def wrong(params, tokens):
        ones, zeros = jnp.any(tokens == 1, axis=1), jnp.any(tokens == 0, axis=1)
        scores = jnp.where(jnp.stack([ones, zeros], axis=1), -jnp.inf, 0.0)[:, None, :]
        return jnp.broadcast_to(scores[:, :, ::-1], (*tokens.shape, 2))

    rows = np.ones((3, 2), np.int32)
    found = plan_costs(models.from_function(wrong, 2), None, rows, [plans.uniform(2, 1), plans.uniform(2, 2)], key=KEY)
    np.testing.assert_allclose(found[0], 2 * np.log(2), rtol=1e-6)
    assert np.isinf(found[1]).all()


def test_what_cannot_be_averaged_costs_its_path(world):
    table, denoiser, params = world
    rows = draw_rows(table, 4, 2)
    given = np.arange(LENGTH) < 1
    np.testing.assert_array_equal(
        plan_costs(denoiser, params, rows, PLANS, key=KEY, given=given),
        path_nelbo(denoiser, params, rows, PLANS, key=KEY, given=given),
    )
    by_rank, weights = tiny()
    rows, chosen = random_tokens(3), [plans.uniform(RANKED, 4)]
    np.testing.assert_array_equal(
        plan_costs(by_rank, weights, rows, chosen, key=KEY), path_nelbo(by_rank, weights, rows, chosen, key=KEY)
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"plans": [plans.uniform(5, 2)]}, r"^plans must be plans of the sequences' length 4; got one for 5 tokens\.$"),
        ({"tokens": np.full((2, 4), 7)}, r"^tokens "),
        ({"tokens": np.zeros((0, 4), int)}, r"^tokens must be of shape "),
    ],
)
def test_bad_input(world, arguments, message):
    _, denoiser, params = world
    asked = {"tokens": np.zeros((2, 4), int), "plans": PLANS, **arguments}
    with pytest.raises(InputError, match=message):
        plan_costs(denoiser, params, asked["tokens"], asked["plans"], key=KEY)


def test_no_plans_cost_nothing(world):
    _, denoiser, params = world
    assert plan_costs(denoiser, params, np.zeros((2, 4), int), [], key=KEY).shape == (0, 2)
