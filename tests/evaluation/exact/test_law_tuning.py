"""Tuning by the exact law: the paper's toy table, closed forms, and brute force over the only free fraction."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
import worlds
from compiled import programs

from mdm_jax import evaluation, oracles
from mdm_jax.evaluation import exact, optimal_grid_by_law, search_beta_by_law
from mdm_jax.evaluation.exact import descent
from mdm_jax.support.errors import InputError
from mdm_jax.theory import profiles
from mdm_jax.theory.plans import beta_search, grids

pytestmark = pytest.mark.usefixtures("strict_types")

TENTHS = np.arange(1, 11) / 10
TOYS = {"left": oracles.toy_left, "right": oracles.toy_right}
OPTIMA = {"left": (0.2811, (0.158, 0.381)), "right": (0.1013, (0.484, 0.780))}
"""Of three steps, in total variation: the value and the two free fractions."""


@functools.cache
def toy(name):
    table = TOYS[name]()
    return exact.conditionals(table.denoiser, table.params, table.length), table.probabilities


def small_world():
    """A random law of three bits with zeros nowhere: its table and its conditionals."""
    table = worlds.random_table(3, 2, seed=7)
    oracle = oracles.table(table)
    return table, exact.conditionals(oracle.denoiser, oracle.params, 3)


def beta_fractions(a, b, steps):
    """By SciPy, on the host."""
    theta = scipy.special.betainc(a[..., None], b[..., None], np.arange(steps + 1) / steps)
    return np.sin(np.pi / 2 * theta) ** 2


def left_toy_by_hand(fractions):
    """Total variation on ``aaaaa or bbbbb``: what is lost when the first step with any token disagrees with itself.

    ``m`` tokens of it agree with probability ``2^(1-m)``, and all later ones follow: summed over the binomial ``m``.
    """
    before, after = 1 - fractions[..., :-1], 1 - fractions[..., 1:]
    return 1 - 2 * np.sum(((before + after) / 2) ** 5 - after**5, axis=-1)


def two_steps(table):
    """The law of three bits in two steps, as a function of the chance that a bit is in the first: all eight subsets."""
    subsets = list(itertools.product((False, True), repeat=3))
    laws_by_subset = np.ones((8, 8))
    for row, first in zip(laws_by_subset, subsets):
        for code, x in enumerate(itertools.product(range(2), repeat=3)):
            known = tuple(token if now else 2 for token, now in zip(x, first))
            for j, now in enumerate(first):
                row[code] *= worlds.conditional(table, (2, 2, 2) if now else known, 2, j)[x[j]]
    sizes = np.sum(subsets, axis=1)
    return lambda a: (a**sizes * (1 - a) ** (3 - sizes)) @ laws_by_subset


BY_HAND = {
    "total variation": lambda p, q: np.abs(p - q).sum() / 2,
    "KL": scipy.stats.entropy,
    "Jensen-Shannon": lambda p, q: (scipy.stats.entropy(p, (p + q) / 2) + scipy.stats.entropy(q, (p + q) / 2)) / 2,
}


# ------------------------------------------------------------------------------------------------ the paper's toys


@pytest.mark.parametrize(
    ("name", "best", "worst"),
    [("left", (0.5, 0.3, 0.2844), (0.1, 1.0, 0.9288)), ("right", (0.4, 0.6, 0.1026), (1.0, 0.1, 0.3660))],
)
def test_the_grid_of_the_paper_and_gradients_beyond_it(name, best, worst):
    logits, target = toy(name)
    found = search_beta_by_law(logits, target, 3, grid=TENTHS)
    np.testing.assert_allclose(found.best_of_grid, best, atol=6e-5)
    i, j = np.unravel_index(found.landscape.argmax(), found.landscape.shape)
    np.testing.assert_allclose((TENTHS[i], TENTHS[j], found.landscape.max()), worst, atol=6e-5)
    value, place = OPTIMA[name]  # two numbers of a schedule move two fractions: nothing is left to gain
    assert found.value == pytest.approx(value, abs=6e-5)
    np.testing.assert_allclose(found.grid.fractions[1:3], place, atol=1e-3)
    again = evaluation.law_divergence(logits, target, found.schedule.alpha(np.arange(4) / 3))
    assert again == pytest.approx(found.value, abs=1e-6)


@pytest.mark.core
@pytest.mark.parametrize("name", TOYS)
def test_the_free_optimum_from_every_random_start(name):
    value, place = OPTIMA[name]
    found = optimal_grid_by_law(*toy(name), 3, starts=8, key=jax.random.key(0))
    assert isinstance(found.grid, grids.Grid)
    np.testing.assert_allclose(found.values, value, atol=6e-5)
    assert np.ptp(found.values) < 1e-9
    np.testing.assert_allclose(found.fractions[:, 1:3], np.broadcast_to(place, (8, 2)), atol=1e-3)
    assert found.value == found.values.min() == found.grid.origin["value"]
    law = exact.ancestral_law(toy(name)[0], found.grid.fractions)
    assert exact.total_variation(toy(name)[1], law) == pytest.approx(found.value, abs=1e-6)


def test_starts_do_not_depend_on_how_many_there_are():
    few = optimal_grid_by_law(*toy("left"), 3, starts=2, key=jax.random.key(0))
    more = optimal_grid_by_law(*toy("left"), 3, starts=3, key=jax.random.key(0))
    np.testing.assert_array_equal(few.fractions, more.fractions[:2])


# ------------------------------------------------------------------------------------------------ the landscape


@pytest.mark.core
def test_the_landscape_against_a_closed_form():
    for points in (8, 72):  # 64 schedules, and two chunks
        found = search_beta_by_law(*toy("left"), 3, grid=points)
        a, b = np.meshgrid(found.values, found.values, indexing="ij")
        np.testing.assert_allclose(found.landscape, left_toy_by_hand(beta_fractions(a, b, 3)), atol=2e-6)
        assert found.value == pytest.approx(OPTIMA["left"][0], abs=6e-5)
        assert found.value < found.landscape.min() - 1e-5 * (points == 8)


@pytest.mark.core
def test_values_hold_linear_and_sine_squared_exactly():
    for points in (2, 3, 16, 100, 256):
        values = beta_search.beta_values(points)
        assert len(values) == points
        assert {0.5, 1.0} <= set(values.tolist()) | ({0.5} if points == 2 else set())
        np.testing.assert_array_equal(values, values.astype(np.float32))
        ratios = values[1:] / values[:-1]
        np.testing.assert_allclose(ratios, ratios[0], rtol=1e-6)
    np.testing.assert_allclose(beta_search.beta_values(256), 2 ** ((np.arange(256) - 128) / 36), rtol=1e-7)


def test_one_executable_for_all_chunks_numbers_and_targets():
    search_beta_by_law(*toy("left"), 3, grid=4)
    with programs() as made:
        search_beta_by_law(*toy("right"), 3, grid=66)  # 4,356 schedules
        search_beta_by_law(toy("left")[0], toy("right")[1], 3, grid=[0.3, 0.7, 1.1])
        optimal_grid_by_law(*toy("right"), 3, starts=1, key=jax.random.key(1))
    assert not [name for name in made if "scores" in name or "slope" in name]


# ------------------------------------------------------------------------------------------------ every divergence


@pytest.mark.parametrize("divergence", exact.DIVERGENCES)
@pytest.mark.thorough
def test_two_steps_against_a_scan_of_the_only_free_fraction(divergence):
    table, logits = small_world()
    by_hand, law = functools.partial(BY_HAND[divergence], table.ravel()), two_steps(table)
    scan = np.linspace(0.2, 0.8, 601)
    values = [by_hand(law(a)) for a in scan]
    least = int(np.argmin(values))
    free = optimal_grid_by_law(logits, table, 2, divergence, starts=2, key=jax.random.key(0))
    np.testing.assert_allclose(free.values, values[least], rtol=1e-4)
    assert free.value < values[least] + 1e-7
    assert free.grid.fractions[1] == pytest.approx(scan[least], abs=2e-3)
    found = search_beta_by_law(logits, table, 2, divergence, grid=4)
    assert found.value == pytest.approx(free.value, rel=1e-5)
    for i, j in ((0, 0), (1, 2), (3, 1)):
        a = beta_fractions(found.values[i], found.values[j], 2)[1]
        assert found.landscape[i, j] == pytest.approx(by_hand(law(a)), abs=1e-6)
        directly = evaluation.law_divergence(logits, table, np.array([0.0, a, 1.0]), divergence)
        assert directly == pytest.approx(found.landscape[i, j], abs=1e-6)


@pytest.mark.thorough
def test_the_profile_bounds_what_the_law_has():
    table, logits = small_world()
    profile = profiles.from_values(oracles.table(table).entropies())
    by_profile = grids.optimal(profile, 2)
    by_law = optimal_grid_by_law(logits, table, 2, "KL", starts=1, key=jax.random.key(0))
    bound = grids.ancestral_nelbo(profile, by_profile) - profile.nelbo()
    assert 0 < by_law.value < evaluation.law_divergence(logits, table, by_profile.fractions, "KL") + 1e-7 < bound


# ------------------------------------------------------------------------------------------------ edges


def test_steps_that_reveal_nothing_are_left_out():
    grid = descent.grid_of(np.array([0.0, 0.0, 0.3, 0.3, 1.0, 1.0]), "test", {})
    assert grid.fractions.tolist() == [0.0, 0.3, 1.0]


def test_what_is_refused(capsys):
    logits, target = toy("left")
    key = jax.random.key(0)
    for call, message in [
        (lambda: search_beta_by_law(logits, target, 0), "steps must be a whole number from 1 to 1048576; got 0."),
        (
            lambda: search_beta_by_law(logits, target, 3, grid=1),
            "grid must be a whole number from 2 to 4096; got 1.",
        ),
        (lambda: search_beta_by_law(logits, target, 3, grid=[1.0, -1.0]), "or rising numbers above 0, up to 1000; got"),
        (lambda: search_beta_by_law(logits, target, 3, "distance"), "one of Jensen-Shannon, KL, total variation"),
        (lambda: search_beta_by_law(logits, target[0], 3), r"target must be a law of the 2\^5 sequences"),
        (lambda: search_beta_by_law(logits, 2 * target, 3), r"target must be a law of the 2\^5 sequences"),
        (lambda: optimal_grid_by_law(logits, target, 3, starts=0, key=key), "starts must be a whole number from 1"),
        (lambda: evaluation.law_divergence(logits, target, [0.0, 0.5]), "rise from 0 to 1"),
    ]:
        with pytest.raises(InputError, match=message):
            call()
    assert capsys.readouterr().err == ""


def test_a_denoiser_that_rules_out_what_the_target_allows():
    logits = jnp.log(jnp.array([[[1.0, 0.0]]] * 3))
    target = np.array([0.5, 0.5])
    with pytest.raises(InputError, match="KL is infinite for every schedule tried"):
        search_beta_by_law(logits, target, 2, "KL", grid=2)
    with pytest.raises(InputError, match="KL is infinite at all 2 starts"):
        optimal_grid_by_law(logits, target, 2, "KL", starts=2, key=jax.random.key(0))
    assert search_beta_by_law(logits, target, 2, grid=2).value == pytest.approx(0.5)


def test_one_step_has_nothing_to_choose():
    logits, target = jnp.zeros((3, 1, 2)), np.array([0.7, 0.3])
    found = optimal_grid_by_law(logits, target, 1, starts=2, key=jax.random.key(0))
    assert found.grid.fractions.tolist() == [0.0, 1.0]
    np.testing.assert_allclose(found.values, 0.2, atol=1e-7)


def test_progress_is_shown(capsys):
    search_beta_by_law(*toy("left"), 3, grid=[0.5, 1.0], progress=True)
    assert "Beta by law" in capsys.readouterr().err
