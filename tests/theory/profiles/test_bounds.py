"""Every bound on random profiles, and as an equality where its docstring says it is attained."""

import numpy as np
import pytest
from known_profiles import Table, compositions, polya, random_composition, random_falling

from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans, profiles
from mdm_jax.theory.plans import grids
from mdm_jax.theory.profiles import bounds, curves

LENGTHS = (2, 3, 8, 31, 64)


def drop(length, at):
    """``h`` that falls from 1 to 0 just before ``at``."""
    return profiles.from_values((np.arange(length) < at).astype(float))


@pytest.mark.core
@pytest.mark.parametrize("length", LENGTHS)
def test_the_error_is_the_sum_of_the_falls(length):
    generator, profile = np.random.default_rng(length), random_falling(length, length)
    falls = -np.diff(profile.values)
    for _ in range(20):
        sizes = random_composition(generator, length, int(generator.integers(1, length + 1)))
        ends = np.repeat(np.cumsum(sizes), sizes)
        starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
        i = np.arange(length)
        weights = np.where(i == starts, 0, ends - i)
        error = float(bounds.factorisation_error(profile, sizes))
        assert error == pytest.approx(weights[1:] @ falls, abs=1e-12)
        assert -1e-12 <= error <= bounds.any_sizes(profile, sizes) + 1e-12


@pytest.mark.core
@pytest.mark.parametrize("seed", [0, 1])
def test_correlations_are_those_of_the_law(seed):
    table = Table(seed, True)
    profile, n = table.profile(), len(table.states[0])
    law = np.array([table.law[x] for x in table.states]).reshape((2,) * n)

    def entropy(p):
        return -np.sum(p * np.log(p))

    alone = sum(entropy(law.sum(tuple(k for k in range(n) if k != j))) for j in range(n))
    others = sum(entropy(law) - entropy(law.sum(j)) for j in range(n))  # H(X_j | all others)
    tc, dtc = curves.total_correlation(profile), curves.dual_total_correlation(profile)
    assert tc == pytest.approx(alone - entropy(law), abs=1e-12)
    assert dtc == pytest.approx(entropy(law) - others, abs=1e-12)
    assert tc + dtc == pytest.approx(n * (profile.values[0] - profile.values[-1]), abs=1e-12)
    for sizes in compositions(n):
        error = table.divergence(sizes)
        assert error <= bounds.any_sizes(profile, np.array(sizes)) + 1e-12


@pytest.mark.core
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_bounds_hold(length, seed):
    profile = random_falling(seed, length)
    tc, dtc = curves.total_correlation(profile), curves.dual_total_correlation(profile)
    for steps in {1, 2, length // 2, length - 1, length} - {0}:
        error = bounds.factorisation_error(profile, plans.uniform(length, steps).sizes)
        assert error <= bounds.constant_sizes(profile, steps) + 1e-12
        assert bounds.constant_sizes(profile, steps) <= (tc + dtc) / steps + 1e-12
    for rate in (0.003, 0.02, 0.1, 0.35, 0.5, 0.9, 1.0):
        plan = plans.total_correlation_plan(profile, nats=rate * tc)
        assert bounds.factorisation_error(profile, plan.sizes) <= bounds.tc_schedule(profile, rate) + 1e-10
        assert plan.steps <= bounds.tc_schedule_steps(length, rate)
    for rate in (0.003, 0.02, 0.1, 0.5, 1.0, 2.5, 40.0):
        plan = plans.dual_total_correlation_plan(profile, nats=rate * dtc)
        assert bounds.factorisation_error(profile, plan.sizes) <= bounds.dtc_schedule(profile, rate) + 1e-10
        assert plan.steps <= bounds.dtc_schedule_steps(length, rate)


@pytest.mark.core
def test_bounds_are_attained():
    early = drop(33, 1)
    assert bounds.factorisation_error(early, np.array([33])) == bounds.any_sizes(early, np.array([33])) == 32
    after = drop(32, 17)  # just after the start of the third of four steps
    assert bounds.factorisation_error(after, np.full(4, 8)) == bounds.constant_sizes(after, 4) == 7
    for rate in (0.25, 0.5, 1.0):  # 32 rate is whole
        plan = plans.total_correlation_plan(early, nats=rate * curves.total_correlation(early))
        error = bounds.factorisation_error(early, plan.sizes)
        assert error == pytest.approx(bounds.tc_schedule(early, rate), rel=1e-12)
    third = drop(33, 4)  # rate 2: sizes 3, 9, 21
    plan = plans.dual_total_correlation_plan(third, nats=2 * curves.dual_total_correlation(third))
    assert plan.sizes.tolist() == [3, 9, 21]
    assert bounds.factorisation_error(third, plan.sizes) == pytest.approx(bounds.dtc_schedule(third, 2.0), rel=1e-12)


@pytest.mark.core
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_bound_for_independent_clocks(length, seed):
    profile = random_falling(seed, length)
    generator = np.random.default_rng(seed)
    for steps in (1, 2, 5, 40):
        for a in (np.linspace(0, 1, steps + 1), np.sort(np.append([0, 1], generator.random(steps - 1)))):
            error = grids.ancestral_nelbo(profile, grids.Grid(a, "test")) - profile.nelbo()
            assert error <= bounds.independent_clocks(profile, a) + 1e-12
    # one step: d (hb(0) - hb(1)) bounds the error, which is TC, and they differ by DTC
    single = bounds.independent_clocks(profile, np.array([0.0, 1.0]))
    both = curves.total_correlation(profile) + curves.dual_total_correlation(profile)
    assert single == pytest.approx(both, rel=1e-12)


@pytest.mark.core
def test_equal_steps_in_log_odds():
    # The form in the literature: (e^s - 1) times the whole of D, plus two ends that die with their width.
    profile, reach = polya(0.5, 64), 12.0
    falls, i = -np.diff(profile.values), np.arange(1, 64)
    whole = falls @ (i * (64 - i)) / 65
    for steps in (50, 200, 800):
        log_odds = np.linspace(-reach, reach, steps - 1)
        a = np.concatenate([[0.0], 1 / (1 + np.exp(-log_odds)), [1.0]])
        bound = bounds.independent_clocks(profile, a)
        step = 2 * reach / (steps - 2)
        assert bound <= np.expm1(step) * whole + 0.01
        error = grids.ancestral_nelbo(profile, grids.Grid(a, "log odds")) - profile.nelbo()
        assert 0.3 * bound < error < bound


@pytest.mark.core
def test_refusals():
    profile = polya(0.5, 8)
    with pytest.raises(InputError, match=r"^steps must be a whole number from 1 to 8; got 9\.$"):
        bounds.constant_sizes(profile, 9)
    with pytest.raises(InputError, match=r"^fractions must be rising from 0 to 1; got \[0\.0, 0\.5\]\.$"):
        bounds.independent_clocks(profile, np.array([0.0, 0.5]))
    with pytest.raises(InputError, match=r"^sizes must be non-negative and sum to the length 8"):
        bounds.any_sizes(profile, np.array([9]))
