"""Grids: their cost against every assignment of tokens to steps, their gradient, their optimum and its limit."""

import itertools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from known_profiles import D, Table, polya, random_falling

from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans, profiles, schedules
from mdm_jax.theory.plans import grids
from mdm_jax.theory.plans.grids import Grid
from mdm_jax.theory.profiles import Profile, curves


def excess(profile, grid):
    return grids.ancestral_nelbo(profile, grid) - profile.nelbo()


@pytest.mark.core
@pytest.mark.parametrize("exact", [True, False], ids=["exact conditionals", "inconsistent conditionals"])
@pytest.mark.parametrize("inner", [[], [0.3], [0.1, 0.55]], ids=str)
def test_the_cost_is_the_divergence_over_all_assignments(inner, exact):
    table, a = Table(0, exact), [0.0, *inner, 1.0]
    shares, total = np.diff(a), 0.0
    for steps in itertools.product(range(len(shares)), repeat=D):
        chance = math.prod(shares[k] for k in steps)
        for x, p in table.law.items():
            log_q = sum(table.log_q(x, j, {i for i in range(D) if steps[i] < steps[j]}) for j in range(D))
            total += chance * p * (math.log(p) - log_q)
    cost = grids.ancestral_nelbo(table.profile(), Grid(np.array(a), "test"))
    assert cost - table.entropy() == pytest.approx(total, abs=1e-12)


@pytest.mark.core
def test_random_sizes_cost_more_than_fixed_ones():
    profile = profiles.from_values(2 - np.arange(64) / 32)  # it falls by 1/32 at every count
    for steps, random, fixed in [(4, 15.75, 15.0), (16, 3.9375, 3.0), (64, 0.984375, 0.0)]:
        assert excess(profile, grids.uniform(steps)) == pytest.approx(random, abs=1e-11)
        assert profile.expected_nelbo(plans.uniform(64, steps).sizes) - profile.nelbo() == pytest.approx(fixed)
    assert grids.uniform(64).expected_steps(64) == pytest.approx(40.6, abs=0.05)
    assert grids.uniform(1).expected_steps(64) == 1
    assert grids.uniform(3).expected_steps(1) == pytest.approx(1)


@pytest.mark.core
def test_expected_steps_by_enumeration():
    shares = np.array([0.2, 0.5, 0.3])
    mean = sum(math.prod(shares[k] for k in steps) * len(set(steps)) for steps in itertools.product(range(3), repeat=4))
    assert Grid(np.array([0, 0.2, 0.7, 1.0]), "test").expected_steps(4) == pytest.approx(mean, rel=1e-13)


@pytest.mark.core
@pytest.mark.parametrize("length", [1, 2, 3, 40])
def test_the_gradient_is_that_of_finite_differences(length):
    profile = profiles.from_values(np.random.default_rng(length).normal(5, 1, length))  # it may rise
    a = np.array([0.0, 0.04, 0.3, 0.31, 0.8, 1.0])
    cost, slope = grids.cost_and_slope(profile, a)
    assert cost == pytest.approx(grids.ancestral_nelbo(profile, Grid(a, "test")), rel=1e-14)
    for k in range(1, 5):
        side = 1e-5 * np.eye(6)[k]
        rise = grids.cost_and_slope(profile, a + side)[0] - grids.cost_and_slope(profile, a - side)[0]
        assert slope[k] == pytest.approx(rise / 2e-5, abs=2e-7 * length)


@pytest.mark.core
def test_jax_finds_the_same_cost_and_gradient(double):
    profile, a = polya(0.5, 32), np.array([0.0, 0.04, 0.3, 0.31, 0.8, 1.0])

    @jax.jit
    @jax.value_and_grad
    def cost(a):
        return 32 * jnp.sum(jnp.diff(a) * curves.bernstein(profile.values, a[:-1]))

    value, slope = cost(jnp.asarray(a))
    expected, by_hand = grids.cost_and_slope(profile, a)
    assert float(value) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(slope, by_hand, rtol=1e-9, atol=1e-9)


@pytest.mark.core
@pytest.mark.parametrize("steps", [2, 3])
def test_the_optimum_of_few_steps_is_that_of_a_fine_search(steps):
    profile = polya(0.5, 24)
    best = grids.optimal(profile, steps)
    line = np.linspace(0, 1, 401)[1:-1]
    costs = [
        excess(profile, Grid(np.array([0.0, *inner, 1.0]), "search"))
        for inner in itertools.combinations(line[:: 1 if steps == 2 else 8], steps - 1)
    ]
    assert min(costs) - 1e-2 < excess(profile, best) <= min(costs)
    slope = grids.cost_and_slope(profile, best.fractions)[1][1:-1]
    assert np.abs(slope).max() < 1e-4
    assert best.origin["expected_nelbo_nats"] == pytest.approx(excess(profile, best) + profile.nelbo(), rel=1e-14)
    again = grids.optimal(profile, steps, start=grids.uniform(steps))
    np.testing.assert_allclose(again.fractions, best.fractions, atol=1e-5)


@pytest.mark.core
def test_the_optimum_approaches_the_geodesic_of_the_information_metric():
    profile = polya(0.5, 64)
    theta = (np.arange(5000) + 0.5) / 5000
    root = np.sqrt(-63 * curves.bernstein_weights(63, np.sin(np.pi / 2 * theta) ** 2) @ np.diff(profile.values))
    limit = 64 * (np.mean(root * np.sin(np.pi * theta)) * np.pi / 2) ** 2 / 2  # of steps times error
    distances, losses = [], []
    for steps in (8, 32, 128):
        best, along = grids.optimal(profile, steps), grids.geodesic(profile, steps)
        assert excess(profile, best) <= excess(profile, along)
        assert excess(profile, best) < 0.7 * excess(profile, grids.uniform(steps))
        distances.append(np.abs(best.fractions - along.fractions).max())
        losses.append(steps * excess(profile, best) / limit - 1)
    assert distances[0] > 3 * distances[1] > 9 * distances[2]
    assert np.abs(losses[0]) > 3 * np.abs(losses[1]) > 9 * np.abs(losses[2])
    assert np.abs(losses[-1]) < 0.01


@pytest.mark.core
def test_profiles_without_an_optimum_inside():
    flat = profiles.from_values(np.ones(16))
    assert excess(flat, grids.optimal(flat, 4)) == pytest.approx(0, abs=1e-12)
    rising = profiles.from_values(np.linspace(1, 2, 16))  # each step makes it worse
    assert excess(rising, grids.optimal(rising, 3)) <= excess(rising, grids.uniform(3))
    single = profiles.from_values(np.array([0.7]))
    assert grids.ancestral_nelbo(single, grids.optimal(single, 3)) == pytest.approx(0.7)
    steep = profiles.from_values((np.arange(256) < 1).astype(float))  # one revealed token tells all
    best = grids.optimal(steep, 16)
    assert excess(steep, best) <= excess(steep, grids.geodesic(steep, 16))
    assert excess(steep, best) < 0.5 * excess(steep, grids.uniform(16))


@pytest.mark.core
def test_the_standard_error_is_that_of_a_linear_function():
    generator = np.random.default_rng(0)
    factor = generator.normal(0, 0.02, (4, 6))
    covariance = factor @ factor.T
    profile = Profile(20, np.array([0, 2, 9, 19]), 1 + generator.random(4), covariance)
    grid = Grid(np.array([0, 0.1, 0.5, 1.0]), "test")
    slope = []  # by each of the means, by central differences
    for move in 1e-5 * np.eye(4):
        moved = (Profile(20, profile.counts, profile.means + sign * move, covariance) for sign in (1, -1))
        slope.append(np.subtract(*(grids.ancestral_nelbo(each, grid) for each in moved)) / 2e-5)
    expected = np.sqrt(np.array(slope) @ covariance @ np.array(slope))
    assert grids.ancestral_standard_error(profile, grid) == pytest.approx(expected, rel=1e-4)
    sizes = np.array([3, 7, 10])
    weights = np.zeros(20)
    weights[[0, 3, 10]] = sizes
    assert profile.standard_error_of(weights) == pytest.approx(float(profile.standard_error(sizes)), rel=1e-12)


@pytest.mark.core
def test_schedules_give_grids():
    grid = grids.from_schedule(schedules.sine_squared(), 6)
    np.testing.assert_allclose(grid.fractions, np.sin(np.pi / 12 * np.arange(7)) ** 2, atol=1e-6)
    assert grid.name == grid.origin["schedule"] == "sine_squared"
    with pytest.raises(InputError, match=r"^schedule must be one whose 4 equal time steps are distinct"):
        grids.from_schedule(schedules.polynomial(1000.0), 4)


@pytest.mark.core
def test_file_round_trip(tmp_path):
    grid = grids.optimal(random_falling(0, 12), 5)
    path = grid.save(tmp_path / "grid.json")
    again = grids.load(path)
    assert again.fractions.tolist() == grid.fractions.tolist()
    assert again.to_json() == grid.to_json()
    assert again.steps == 5
    with pytest.raises(InputError, match=r"is not a plan: it is a grid, with random sizes"):
        plans.load(path)
    with pytest.raises(InputError, match=r"is not a grid: its format must be"):
        grids.load(plans.uniform(4, 2).save(tmp_path / "plan.json"))
    bare = tmp_path / "by hand.json"
    bare.write_text(json.dumps({"format": grids.FORMAT, "fractions": [0, 0.5, 1]}))
    assert grids.load(bare).name == "by hand"


@pytest.mark.core
@pytest.mark.parametrize(
    "change",
    [
        *({"fractions": x} for x in (None, [], 3, "01", [0, 1, 1], [0.1, 1], [0, 0.9], [1, 0], [[0, 1]], [False, True],
                                     [0, "a", 1], [0, 10**400, 1], {"0": 1})),
        {"origin": 3},
        {"format": None},
    ],
    ids=str,
)  # fmt: skip
def test_malformed_file(change, tmp_path):
    path = tmp_path / "grid.json"
    path.write_text(json.dumps({"format": grids.FORMAT, "fractions": [0, 1], **change}))
    with pytest.raises(InputError) as caught:
        grids.load(path)
    assert str(caught.value).startswith(f"{path} is not a grid: ")


@pytest.mark.core
def test_refusals():
    profile = polya(0.5, 8)
    with pytest.raises(InputError, match=r"^steps must be a whole number, 1 or more; got 0\.$"):
        grids.optimal(profile, 0)
    with pytest.raises(InputError, match=r"^start must be a grid of 3 steps"):
        grids.optimal(profile, 3, start=grids.uniform(2))
    with pytest.raises(InputError, match=r"^fractions must be rising from 0 to 1"):
        Grid(np.array([0.0, 0.5, 0.5, 1.0]), "x")
