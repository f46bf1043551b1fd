"""The compiled search over Beta schedules, against a double in NumPy and SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from compiled import programs
from known_profiles import markov, polya, random_falling

from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans, profiles
from mdm_jax.theory.plans import beta_search
from mdm_jax.theory.plans.beta_search import refining
from mdm_jax.theory.profiles import bounds
from mdm_jax.theory.schedules import text as schedule_text

LENGTH = 48
BUDGETS = (1, 2, 5, 8, 31, 40, 47, 48)
VALUES = beta_search.beta_values(256).tolist()
SMALL = VALUES[8::12]  # 21 values, 0.5 and 1 among them


def excess(profile, grid, steps):
    """The excess NELBO of every (a, b) at ``steps`` steps, by SciPy in float64."""
    a, b = (x.ravel()[:, None] for x in np.meshgrid(grid, grid, indexing="ij"))
    knots = np.sin(np.pi / 2 * scipy.special.betainc(a, b, np.arange(steps + 1) / steps)) ** 2
    nelbo = profile.expected_nelbo(plans.round_sizes(knots, profile.length))
    return nelbo.reshape(len(grid), len(grid)) - profile.values.sum()


def rising():
    """A profile with learning error: it rises somewhere."""
    return profiles.from_values(random_falling(1, LENGTH).values + np.random.default_rng(0).normal(0, 0.1, LENGTH))


PROFILES = {"markov": lambda: markov(0.2, LENGTH), "urn": lambda: polya(0.5, LENGTH), "rising": rising}


@pytest.fixture(scope="module")
def found():
    with jax.numpy_rank_promotion("raise"):  # as in every test, which then share the executable
        return {name: beta_search.search(make(), BUDGETS, grid=SMALL, chunk=100) for name, make in PROFILES.items()}


def test_the_grid_has_linear_and_sine_squared():
    assert len(VALUES) == 256
    assert {0.5, 1.0} <= set(VALUES)
    assert VALUES[0] == pytest.approx(0.085, abs=1e-3)
    assert VALUES[-1] == pytest.approx(11.54, abs=1e-2)
    np.testing.assert_allclose(np.diff(np.log(VALUES)), np.log(2) / 36, rtol=1e-4)


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.few(1)
def test_every_cell_is_what_scipy_finds(found, name):
    # A remainder within float32's noise of a tie moves one token elsewhere. Of the 3 x 3528 numbers here fewer than
    # 0.2 % differ; all others agree to 1e-6, relative (and 1e-9 nats, where the excess is nothing).
    search = found[name]
    true = np.stack([excess(search.profile, search.values, steps) for steps in BUDGETS])
    off = np.abs(search.landscape - true)
    agree = off <= 1e-6 * np.abs(true) + 1e-9
    assert np.mean(agree) >= 0.998
    span = np.ptp(search.profile.values)
    assert off.max() <= 2 * span  # two tokens at most change places


@pytest.mark.parametrize("name", PROFILES)
def test_the_best_is_no_worse_than_the_grid(found, name):
    search = found[name]
    optimal = plans.optimal_for_every_budget(search.profile)
    for i, steps in enumerate(BUDGETS):
        plan = search.plan(steps)
        nelbo = float(search.profile.expected_nelbo(plan.sizes))
        assert nelbo == search.nelbo[i]
        assert nelbo <= excess(search.profile, search.values, steps).min() + search.profile.nelbo() + 1e-9
        assert nelbo >= optimal.nelbo[steps - 1] - 1e-9
        again = plans.from_schedule(schedule_text.parse(plan.name), LENGTH, steps)
        assert again.sizes.tolist() == plan.sizes.tolist()
        assert plan.origin["schedule"] == plan.name
        assert plan.origin["steps_asked"] == steps
        assert plan.origin["profile_digest"] == search.profile.digest
        assert plan.origin["searched"]["values_per_axis"] == len(SMALL)
    assert search.plan(1).name == "beta:0.5,0.5"  # where all are equal, linear


def test_one_executable_for_all_profiles_and_any_number_of_chunks(found):
    profile, coarse = markov(0.1, LENGTH), SMALL[1::3]  # another profile; 49 schedules in one chunk instead of five
    with programs() as made:
        first = beta_search.search(profile, BUDGETS, grid=SMALL, chunk=100)
        other = beta_search.search(profile, BUDGETS, grid=(*coarse, *VALUES[-4:-1]), chunk=100)
    assert made == []
    np.testing.assert_array_equal(other.landscape[:, :7, :7], first.landscape[:, 1::3, 1::3])


def test_gradients_improve_on_a_coarse_grid(found):
    profile, coarse = markov(0.2, LENGTH), (0.125, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)
    bare = beta_search.search(profile, BUDGETS, grid=coarse, chunk=100, starts=0)
    refined = beta_search.search(profile, BUDGETS, grid=coarse, chunk=100)
    assert (refined.nelbo <= bare.nelbo).all()
    assert (refined.nelbo < bare.nelbo).sum() >= 4  # of the eight budgets, in two of which all schedules are equal
    assert bare.gradient_steps == 0
    assert (refined.best >= 0.125).all()
    assert (refined.best <= 7.0).all()


def test_the_best_beta_on_the_urn():
    profile = polya(0.5, 128)  # the optimum of 8 steps loses .5135 nats (plans/DERIVATIONS.md, "Known optima")
    search = beta_search.search(profile, [8], starts=0)
    best = bounds.factorisation_error(profile, search.plan(8).sizes)
    assert 0.5135 < best < 0.5175


def test_long_sequences():
    length, steps = 10_000, 1500
    counts = np.array([0, 40, 400, length - 1])
    profile = profiles.Profile(length, counts, 1 / (1 + counts / 40), np.zeros((4, 4)))
    search = beta_search.search(profile, [steps], grid=(0.5, 0.8), starts=0)
    np.testing.assert_allclose(search.landscape[0], excess(profile, search.values, steps), rtol=1e-3)
    assert search.nelbo[0] == profile.expected_nelbo(search.plan(steps).sizes)
    assert beta_search.default_budgets(length)[-3:] == (512, 768, 1024)
    every = beta_search.EVERY_BUDGET
    assert beta_search.default_budgets(every) == tuple(range(1, every + 1))


def test_slope_of_the_smooth_cost(double):
    profile, h = markov(0.2, LENGTH), 1e-6
    heights = jnp.asarray(np.append(profile.values - profile.values[-1], 0.0))
    at = np.array([-0.4, -0.7])
    points = jnp.asarray(at + h * np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1], [0, 0]]))
    knots = refining.knots_of(np.array([7, 7, 7, 7, 7, 9]))
    cost, slope, alpha = jax.jit(refining.smooth, static_argnums=3)(points, knots, heights, LENGTH)
    np.testing.assert_allclose(slope[0], (cost[1:5:2] - cost[2:5:2]) / (2 * h), rtol=1e-5)
    assert alpha.shape == (10, 6)
    assert (alpha[7:, :5] == 1).all()
    assert alpha[8, 5] < 1
    assert cost[5] < cost[0]
    # with many more tokens than steps, rounding changes little
    alpha = np.sin(np.pi / 2 * scipy.special.betainc(*np.exp(at), np.arange(8) / 7)) ** 2
    rounded = profile.expected_nelbo(plans.round_sizes(alpha, LENGTH)) - LENGTH * profile.values[-1]
    assert cost[0] == pytest.approx(float(rounded), rel=0.02)


GRIDS = r"^grid must be a number of values, 2 to 1024, or rising numbers from 0\.05 to 50; got "


@pytest.mark.core
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budgets": []}, r"^budgets must be at least one number of steps; got none\.$"),
        ({"budgets": [0]}, r"^steps must be a whole number from 1 to 8; got 0\.$"),
        ({"budgets": [3, 9]}, r"^steps must be a whole number from 1 to 8; got 9\.$"),
        (
            {"grid": [0.5, 0.5]},
            GRIDS + r"\[0\.5, 0\.5\]\.$",
        ),
        (
            {"grid": [0.01, 0.5]},
            GRIDS + r"\[0\.01, 0\.5\]\.$",
        ),
        (
            {"grid": [1.0, float("nan")]},
            GRIDS + r"\[1\.0, nan\]\.$",
        ),
        ({"grid": True}, GRIDS + r"True\.$"),
        ({"grid": 1}, r"^grid must be a whole number from 2 to 1024; got 1\.$"),
        ({"grid": []}, GRIDS + r"\[\]\.$"),
        ({"starts": -1}, r"^starts must be a whole number, 0 or more; got -1\.$"),
        ({"gradient_steps": -1}, r"^gradient_steps must be a whole number, 0 or more; got -1\.$"),
        ({"chunk": 0}, r"^chunk must be a whole number, 1 or more; got 0\.$"),
    ],
    ids=str,
)
def test_bad_input(arguments, message):
    with pytest.raises(InputError, match=message):
        beta_search.search(profiles.from_values(np.ones(8)), **arguments)


def test_a_budget_that_was_not_searched(found):
    with pytest.raises(InputError, match=r"^steps must be a budget that was searched \(1, 2, 5, .*\); got 3\.$"):
        found["urn"].plan(3)
