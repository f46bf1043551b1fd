"""The dynamic programme in its several forms: all budgets, a price, a budget of nats, the fast way."""

import numpy as np
import pytest
from known_profiles import markov, polya, random_falling

from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans, profiles
from mdm_jax.theory.profiles import bounds, curves

CURVES = {
    "early": lambda t: 0.5 + 1 / (1 + 40 * t),
    "exponential": lambda t: np.exp(-3 * t),
    "late": lambda t: 1 - t**6,
}


def continuum(name, length=1024):
    return profiles.from_values(CURVES[name](np.arange(length) / length))


def error(profile, plan):
    return float(bounds.factorisation_error(profile, plan.sizes))


@pytest.mark.core
@pytest.mark.parametrize("length", [1, 2, 3, 4, 7, 8, 9, 33, 100])
def test_dividing_and_conquering_is_the_plain_programme(length):
    flat_parts = profiles.from_values(np.round(random_falling(1, length).values, 1))
    whole = profiles.from_values(length - np.floor(np.arange(length) / 3))  # many ties, no roundings
    for profile in (random_falling(0, length), flat_parts, whole, polya(0.5, length)):
        fast = plans.optimal_for_every_budget(profile, monge=True)
        plain = plans.optimal_for_every_budget(profile, monge=False)
        np.testing.assert_allclose(fast.nelbo, plain.nelbo, rtol=1e-13)
        for steps in range(1, length + 1):
            for best in (fast, plain):
                assert profile.expected_nelbo(best.sizes(steps)) == pytest.approx(best.nelbo[steps - 1], rel=1e-12)
                assert len(best.sizes(steps)) <= steps
    same = plans.optimal_for_every_budget(whole, monge=True), plans.optimal_for_every_budget(whole, monge=False)
    for steps in range(1, length + 1):
        assert same[0].sizes(steps).tolist() == same[1].sizes(steps).tolist()


@pytest.mark.core
def test_the_fast_way_is_for_profiles_that_fall():
    rising = profiles.from_values(np.array([2.0, 1.0, 1.5, 0.5]))
    with pytest.raises(InputError, match=r"^monge must be false for a profile that rises somewhere; got True\.$"):
        plans.optimal_for_every_budget(rising, monge=True)
    fallen = curves.falling(rising)
    assert plans.optimal_for_every_budget(fallen, monge=True).nelbo.shape == (4,)


@pytest.mark.core
@pytest.mark.parametrize("name", CURVES)
def test_the_optimum_is_what_the_continuum_predicts(name):
    profile = continuum(name)
    best = plans.optimal_for_every_budget(profile, 64)
    assert (np.diff(best.nelbo, 2) >= -1e-9).all()
    optimum = best.nelbo[-1] - profile.nelbo()
    rule = error(profile, plans.square_root(profile, 64))
    uniform = error(profile, plans.uniform(1024, 64))
    assert optimum <= rule <= 1.01 * optimum
    assert rule < 0.9 * uniform
    # F* ~ (d/K (integral sqrt|eta'|)^2 - (eta(0) - eta(1))) / 2
    root = np.sum(np.sqrt(-np.diff(CURVES[name](np.linspace(0, 1, 100_001))) / 100_000))
    predicted = 0.5 * (1024 / 64 * root**2 - (profile.values[0] - profile.values[-1]))
    assert optimum == pytest.approx(predicted, rel=0.04)
    if name == "early":
        assert uniform == pytest.approx(8.12, abs=5e-3)
        assert rule == pytest.approx(2.347, abs=1e-3)
        assert optimum == pytest.approx(2.336, abs=1e-3)
        assert predicted == pytest.approx(2.270, abs=2e-2)


@pytest.mark.core
def test_the_urn_and_the_chain_by_every_rule():
    urn, chain = polya(0.5, 128), markov(0.2, 48)
    assert chain.nelbo() == pytest.approx(np.log(2) + 47 * (-0.2 * np.log(0.2) - 0.8 * np.log(0.8)), abs=1e-11)
    for profile, uniform, rule, optimum, sizes in (
        (urn, 3.855, 0.5137, 0.5135, [1, 2, 3, 6, 10, 18, 32, 56]),
        (chain, 0.8196, 0.7926, 0.7890, [4, 5, 5, 6, 6, 7, 7, 8]),
    ):
        assert error(profile, plans.uniform(profile.length, 8)) == pytest.approx(uniform, abs=5e-4)
        assert error(profile, plans.square_root(profile, 8)) == pytest.approx(rule, abs=5e-5)
        best = plans.optimal(profile, 8)
        assert error(profile, best) == pytest.approx(optimum, abs=5e-5)
        assert best.sizes.tolist() == sizes
    assert error(urn, plans.dual_total_correlation_plan(urn, steps=8)) == pytest.approx(0.521, abs=5e-4)


@pytest.mark.core
@pytest.mark.parametrize("length", [1, 2, 9, 40])
@pytest.mark.parametrize("falls", [True, False])
def test_a_price_per_step_is_the_best_of_all_budgets(length, falls):
    generator = np.random.default_rng(length)
    profile = random_falling(3, length) if falls else profiles.from_values(generator.normal(5, 1, length))
    best = plans.optimal_for_every_budget(profile)
    budgets = np.arange(1, length + 1)
    for price in (0.0, 1e-3, 0.05, 0.3, 1.0, 7.0, 1e4, 3):
        plan = plans.at_price(profile, price)
        nelbo = profile.expected_nelbo(plan.sizes)
        assert nelbo + price * plan.steps == pytest.approx(np.min(best.nelbo + price * budgets), rel=1e-12)
        assert nelbo == pytest.approx(best.nelbo[plan.steps - 1], rel=1e-12)  # the optimum for its own K
        assert plan.origin["expected_nelbo_nats"] == nelbo
    if falls:  # convex: every K has a price
        worth = np.append(np.append(np.inf, -np.diff(best.nelbo)), 0.0)
        for steps in budgets:
            high, low = worth[steps - 1], worth[steps]
            if high > low + 1e-9:
                assert plans.at_price(profile, low + 1.0 if high == np.inf else (low + high) / 2).steps == steps


@pytest.mark.core
@pytest.mark.parametrize("length", [1, 2, 9, 40, 130])
def test_a_budget_of_nats_takes_the_fewest_steps(length):
    profile = random_falling(5, length)
    best = plans.optimal_for_every_budget(profile)
    for nats in (0, 1e-3, 0.1, 1.0, 5.0, 1e3):
        plan = plans.within(profile, nats)
        assert error(profile, plan) <= nats + 1e-9
        if plan.steps > 1:
            assert best.nelbo[plan.steps - 2] - profile.nelbo() > nats
    strict = profiles.from_values(np.linspace(3, 1, length))
    assert plans.within(strict, 0).steps == length


@pytest.mark.core
def test_a_budget_of_nats_above_the_entropy():
    exact = polya(0.5, 32)
    model = profiles.from_values(exact.values + 0.01)  # it learned all but 0.01 nats per token
    plan = plans.within(model, 1.0, entropy=exact.nelbo())
    assert model.expected_nelbo(plan.sizes) - exact.nelbo() <= 1.0
    assert plan.sizes.tolist() == plans.within(model, 1.0 - 0.32).sizes.tolist()
    assert plan.origin["rule"] == "nats budget"
    assert plan.origin["entropy_nats"] == exact.nelbo()
    assert plan.name == "within 1 nats"
    with pytest.raises(InputError, match=r"^nats must be at least 0\.32, which 32 steps lose; got 0\.1\.$"):
        plans.within(model, 0.1, entropy=exact.nelbo())
    with pytest.raises(InputError, match=r"^nats must be at least 0, which 32 steps lose; got -1\.$"):
        plans.within(profiles.from_values(np.arange(32.0)[::-1]), -1)


@pytest.mark.core
def test_where_a_profile_rises_fewer_steps_may_gain_nats():
    profile = profiles.from_values(np.array([1.0, 2.0, 0.5, 3.0]))
    plan = plans.within(profile, -1.0)  # one token per step would cost 6.5
    assert profile.expected_nelbo(plan.sizes) <= 5.5
    assert plan.sizes.tolist() == [4]


@pytest.mark.core
@pytest.mark.parametrize("price", [-1.0, float("nan"), float("inf")])
def test_prices_out_of_range(price):
    with pytest.raises(InputError, match=r"^nats_per_step must be a number of at least 0; got "):
        plans.at_price(polya(0.5, 4), price)


@pytest.mark.core
@pytest.mark.parametrize("length", [1, 2, 9, 40])
def test_a_budget_of_time_takes_as_many_steps_as_fit(length):
    profile = random_falling(3, length)
    for steps in range(1, length + 1):
        best = plans.optimal(profile, steps)
        for budget in (0.7 * steps + 0.3, 0.7 * steps + 0.99):  # exactly enough; not enough for another
            plan = plans.within_time(profile, budget, per_step=0.7, besides=0.3)
            assert plan.sizes.tolist() == best.sizes.tolist()
    assert plans.within_time(profile, 1e6, 0.7).steps == plans.optimal(profile, length).steps
    assert plans.within_time(profile, 5, per_step=0, besides=5).steps == plans.optimal(profile, length).steps
    assert plan.name == f"within {budget:g} ms"
    assert {
        "rule": "time budget",
        "milliseconds_per_step": 0.7,
        "milliseconds_besides": 0.3,
    }.items() <= plan.origin.items()


@pytest.mark.core
def test_times_that_allow_no_step():
    profile = polya(0.5, 4)
    with pytest.raises(InputError, match=r"^milliseconds must be at least 3\.5, which one step takes; got 3\.$"):
        plans.within_time(profile, 3, per_step=1.5, besides=2)
    for times in ((-1, 1, 0), (1, float("nan"), 0), (5, 1, -1)):
        with pytest.raises(InputError, match=r"^(milliseconds|per_step|besides) must be a number of at least 0; got "):
            plans.within_time(profile, *times)
