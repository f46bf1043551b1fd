"""What the experiment on any-order models counts: costs along orders, bounds of a curve, and what a tokenizer takes."""

import any_orders
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import mdm_jax as mdm
from experiments import any_order_theory
from experiments.any_order_theory import LENGTH, costs_of, missing_spread, plans_of
from experiments.tools.row_bounds import ONE, RATE, bounded, counted
from mdm_jax import oracles
from mdm_jax.sampling import path_log_prob
from mdm_jax.theory import plans, profiles
from mdm_jax.theory.profiles import bounds

FALLING = profiles.from_values(1.0 + 2.0 * np.exp(-np.arange(LENGTH) / 10))


def test_costs_along_orders_are_those_of_paths(monkeypatch):
    """One token a step and all at once, where the order within a step changes nothing."""
    monkeypatch.setattr(any_order_theory, "LENGTH", 6)
    model, params = any_orders.tiny(length=6, vocab_size=3)
    rows = np.array([[0, 1, 2, 0, 1, 2], [2, 2, 0, 1, 0, 0]])
    named = {ONE: plans.uniform(6, 6), "all": plans.uniform(6, 1)}
    first, paths, curves = costs_of(model, params, rows, named, 2, 5)
    draw = np.random.default_rng(5)
    for i in range(2):
        rank = draw.permuted(np.tile(np.arange(6, dtype=np.int32), (2, 1)), axis=1)
        for name, steps in ((ONE, rank), ("all", np.zeros_like(rank))):
            found = path_log_prob(model, params, jnp.asarray(rows), jnp.asarray(steps), key=mdm.key(2))
            np.testing.assert_allclose(paths[name][:, i], -np.asarray(found), rtol=1e-5)
    np.testing.assert_allclose(curves.sum(axis=2), paths[ONE], rtol=1e-6)
    np.testing.assert_allclose(6 * first, paths["all"][:, 0], rtol=1e-5)
    assert len(np.unique(paths[ONE])) == 4


def test_rows_that_have_the_law_s_curve_keep_its_bounds():
    """The excess is the error of the library, and each limit its bound but for what the tail is above the last."""
    named = plans_of(FALLING)
    every = {name: np.full((3, 2), FALLING.expected_nelbo(plan.sizes)) for name, plan in named.items()}
    curves = np.tile(FALLING.values, (3, 2, 1))
    found = bounded(np.full(3, FALLING.values[0]), every, curves, named)
    assert ONE not in found
    of_rate = {
        "TC": bounds.tc_schedule(FALLING, RATE),
        "DTC": bounds.dtc_schedule(FALLING, RATE),
    }
    for name, one in found.items():
        sizes = named[name].sizes
        np.testing.assert_allclose(one["excess"], bounds.factorisation_error(FALLING, sizes), atol=1e-4)
        np.testing.assert_allclose(one["error"], 0, atol=1e-4)
        whole = of_rate.get(name, float(bounds.any_sizes(FALLING, sizes)))
        assert 0.99 * whole < one["limit"][0] <= whole + 1e-4
        assert one["excess"][0] < one["limit"][0]


def test_rows_above_a_bound_are_counted_beyond_three_standard_errors():
    one = {"excess": np.array([1.0, 2.0, 5.0]), "limit": np.full(3, 2.0), "error": np.full(3, 0.9)}
    found = counted([one, one])
    assert found["below zero"] == 0
    assert counted([one | {"limit": np.array([2.0, 2.0, -0.1])}])["below zero"] == 1
    assert (found["rows"], found["exceeded"]) == (6, 2)
    assert found["worst in standard errors"] == pytest.approx(3 / 0.9)
    assert found["seen from"] == pytest.approx(2.7)


def row_curve(ones):
    """A row's own curve under the exact urn, by enumeration: its mean cost at each rank over all orders, nats."""
    seen = np.arange(LENGTH + 1)
    curve = []
    for i in range(LENGTH):
        before = scipy.stats.hypergeom.pmf(seen, LENGTH, ones, i)  # ones among the first i of a random order
        left, chance = (ones - seen) / (LENGTH - i), (seen + 0.5) / (i + 1.0)
        costs = np.where(before > 0, -left * np.log(chance) - (1 - left) * np.log1p(-np.minimum(chance, 1 - 1e-12)), 0)
        curve.append(before @ costs)
    return profiles.from_values(np.array(curve))


def test_a_bound_of_a_law_need_not_hold_for_a_row_s_own_curve():
    """The law's curve is the mean of its rows' curves; a row of as many ones as zeros ends above where it begins."""
    law = oracles.polya(LENGTH, 0.5)
    counts = np.arange(LENGTH + 1)
    shares = scipy.stats.betabinom.pmf(counts, LENGTH, 0.5, 0.5)
    mean = sum(share * row_curve(ones).values for share, ones in zip(shares, counts))
    np.testing.assert_allclose(mean, law.entropies(), rtol=1e-9)
    exact, even = profiles.from_values(law.entropies()), row_curve(LENGTH // 2)
    for steps in (8, 16, 32):
        sizes = plans.optimal(exact, steps).sizes
        assert bounds.factorisation_error(exact, sizes) <= bounds.any_sizes(exact, sizes)
        assert bounds.factorisation_error(even, sizes) > 0 > bounds.any_sizes(even, sizes)
    assert even.values[1] > even.values[-1] > even.values[0]


def test_exact_samples_of_the_urn_lack_no_spread_and_coins_do():
    """4,096 rows: the mean within 4 standard errors of 0; fair coins lack most of it."""
    exact = missing_spread(np.asarray(oracles.polya(LENGTH, 0.5).sample(mdm.key(3), 4096)))
    assert abs(exact.mean()) < 4 * exact.std(ddof=1) / 64
    coins = np.random.default_rng(0).integers(0, 2, (512, LENGTH))
    assert missing_spread(coins).mean() > 0.5
