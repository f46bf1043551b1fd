"""Minimisation against minima known otherwise: the theorem, the exact answer for tables, SciPy on other formulas."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.tree_util import Partial
from scipy import integrate, optimize, special

from mdm_jax.support.errors import InputError
from mdm_jax.theory import energies, schedules
from mdm_jax.theory.energies import actions
from mdm_jax.theory.energies.optimising import minimise
from mdm_jax.theory.schedules import Schedule

WEIGHTS = [(1.0, 1.0), (0.5, 0.5), (0.9, 0.3), (5.0, 0.1), (20.0, 3.0)]
LOGIT = np.linspace(-120, 120, 4801)  # of t: no end is singular in it
LOG_T, LOG_U = -np.logaddexp(0, -LOGIT), -np.logaddexp(0, LOGIT)
T = np.exp(LOG_T)
STEP = LOGIT[1] - LOGIT[0]


def energy_over_pi2(log_rate, log_weight):
    """``integral theta'^2 / gamma' dt`` by the trapezoidal rule in the logit of t."""
    return np.sum(np.exp(2 * log_rate - log_weight + LOG_T + LOG_U)) * STEP


def log_beta(a, b):
    return (a - 1) * LOG_T + (b - 1) * LOG_U - special.betaln(a, b)


def log_from_alpha(log_slope, log_alpha, log_masked):
    return log_slope - np.log(np.pi) - 0.5 * (log_alpha + log_masked)


def log_polynomial(degree):
    log_t = np.where(LOGIT > 0, np.log1p(-np.exp(np.minimum(LOG_U, -1e-9))), LOG_T)
    log_masked = np.where(LOGIT > 30, np.log(degree) + LOG_U, np.log(-np.expm1(degree * np.minimum(log_t, -1e-300))))
    return log_from_alpha(np.log(degree) + (degree - 1) * log_t, degree * log_t, log_masked)


def log_geometric(sigma_min, ratio):
    """With ``sigma = sigma_min exp(ratio u)``."""
    u = np.exp(LOG_U)
    late = sigma_min * np.expm1(ratio * u)
    early = sigma_min * np.exp(ratio) * -np.expm1(-ratio * T)
    scale = np.log(-np.expm1(-sigma_min * np.expm1(ratio)))
    log_slope = np.log(ratio * sigma_min) + ratio * u - late - scale
    log_alpha = np.where(LOGIT < -30, np.log(early), np.log(-np.expm1(-early))) - late - scale
    return log_from_alpha(log_slope, log_alpha, np.log(-np.expm1(-late)) - scale)


def starts(count, seed=0):
    """Beta parameters over four decades, most of infinite energy under some weight."""
    a, b = np.exp(np.random.default_rng(seed).uniform(np.log(0.05), np.log(300), (2, count)))
    return schedules.beta(a, b)


@jax.jit
def best_betas(stack, weights):
    def one(start, weight):
        return minimise(Partial(energies.kinetic, weight=weight), start)

    return jax.vmap(jax.vmap(one, (0, None)), (None, 0))(stack, weights)


def check_betas(tolerance):
    a, b = (jnp.asarray(x) for x in zip(*WEIGHTS))
    stack = starts(60)
    first = jax.vmap(jax.vmap(energies.kinetic, (0, None)), (None, 0))(stack, schedules.beta(a, b))
    assert 0.2 < float(jnp.mean(jnp.isinf(first))) < 0.8
    found = best_betas(stack, schedules.beta(a, b))
    assert bool(found.converged.all())
    assert int(found.steps.max()) <= 100
    np.testing.assert_allclose(found.schedule.a, np.tile(a[:, None], (1, 60)), rtol=tolerance)
    np.testing.assert_allclose(found.schedule.b, np.tile(b[:, None], (1, 60)), rtol=tolerance)
    np.testing.assert_allclose(found.energy, np.pi**2, rtol=max(1e-5 * tolerance, 4e-6 if tolerance > 1e-5 else 1e-12))


@pytest.mark.core
@pytest.mark.thorough
def test_beta_finds_a_beta_weight_from_any_start():
    check_betas(3e-4)


@pytest.mark.thorough
def test_beta_finds_a_beta_weight_from_any_start_in_float64(double):
    check_betas(1e-9)


@pytest.mark.thorough
def test_beta_under_another_weight(double):
    sine = np.sin(np.pi / 2 * T)
    log_weight = 0.5 * np.log((1 + sine) / sine) - np.log(2)  # gamma' of (2/pi) arcsin sqrt(sin(pi t / 2))
    wanted = optimize.minimize(
        lambda x: energy_over_pi2(log_beta(*np.exp(x)), log_weight), [0.0, 0.0], tol=1e-11, method="Nelder-Mead"
    )
    found = minimise(Partial(energies.kinetic, weight=schedules.sine()), schedules.beta(0.2, 0.2))
    assert bool(found.converged)
    np.testing.assert_allclose([found.schedule.a, found.schedule.b], np.exp(wanted.x), rtol=1e-5)
    assert float(found.energy) / np.pi**2 == pytest.approx(wanted.fun, rel=1e-9)


@pytest.mark.thorough
def test_degree_of_a_polynomial():
    optimum = jax.jit(lambda weight, start: minimise(Partial(energies.kinetic, weight=weight), start))
    for a, b in ((0.5, 0.5), (0.9, 0.3), (2.0, 0.6)):
        wanted = optimize.minimize_scalar(
            lambda x: energy_over_pi2(log_polynomial(np.exp(x)), log_beta(a, b)),  # noqa: B023
            bounds=(np.log(a) + 0.01, 4.0),
            method="bounded",
            options={"xatol": 1e-9},
        )
        for degree in (0.05, 1.0, 40.0):
            found = optimum(schedules.beta(a, b), schedules.polynomial(degree))
            assert bool(found.converged), (a, b, degree)
            assert float(found.schedule.degree) == pytest.approx(np.exp(wanted.x), rel=1e-3), (a, b, degree)
            assert float(found.energy) / np.pi**2 == pytest.approx(wanted.fun, rel=1e-5), (a, b, degree)


@pytest.mark.thorough
def test_both_numbers_of_geometric():
    wanted = optimize.minimize(
        lambda x: energy_over_pi2(log_geometric(*np.exp(x)), log_beta(0.9, 0.3)),
        [2.0, -0.5],
        tol=1e-10,
        method="Nelder-Mead",
    )
    found = minimise(Partial(energies.kinetic, weight=schedules.beta(0.9, 0.3)), schedules.geometric())
    ratio = jnp.log(found.schedule.sigma_max / found.schedule.sigma_min)
    assert bool(found.converged)
    np.testing.assert_allclose([found.schedule.sigma_min, ratio], np.exp(wanted.x), rtol=5e-3)
    assert float(found.energy) / np.pi**2 == pytest.approx(wanted.fun, rel=1e-5)


def resistances(knots, a, b):
    """``integral over the cell of dt / gamma'``, over the squared width, for a Beta gamma: an incomplete beta again."""
    covered = np.diff(special.betainc(2 - a, 2 - b, knots)) * special.beta(2 - a, 2 - b)
    return special.beta(a, b) * covered / np.diff(knots) ** 2


def optimal_alpha(angles):
    return np.sin(np.pi / 2 * np.asarray(angles, float)) ** 2


GAMMAS = [(1.0, 1.0), (0.5, 0.5), (0.9, 0.3), (1.5, 1.0)]


@jax.jit
def best_tables(stack, weights):
    return jax.vmap(lambda start, weight: minimise(Partial(energies.kinetic, weight=weight), start))(stack, weights)


def check_tables(cells, tolerance):
    """Finds the best table exactly; returns how far that is from ``sin^2(pi/2 gamma)``, and its excess energy."""
    keys = jax.random.split(jax.random.key(3), len(GAMMAS))
    stack = jax.vmap(lambda key: schedules.free(cells, key=key))(keys)
    a, b = (jnp.asarray(x) for x in zip(*GAMMAS))
    found = best_tables(stack, schedules.beta(a, b))
    assert bool(found.converged.all())
    knots = np.linspace(0, 1, cells + 1)
    gaps, excesses = [], []
    for i, (a, b) in enumerate(GAMMAS):
        ease = 1 / resistances(knots, a, b)
        exact = optimal_alpha(np.concatenate([[0.0], np.cumsum(ease) / ease.sum()]))
        schedule = jax.tree.map(lambda leaf: leaf[i], found.schedule)  # noqa: B023
        ours = schedule.alpha(jnp.asarray(knots, float))
        np.testing.assert_allclose(ours, exact, atol=tolerance, err_msg=f"{(a, b)}")
        assert float(found.energy[i]) == pytest.approx(np.pi**2 / ease.sum(), rel=max(tolerance**1.5, 1e-12))
        gaps.append(np.max(np.abs(ours - optimal_alpha(special.betainc(a, b, knots)))))
        excesses.append(1 / ease.sum() - 1)
    return np.array(gaps), np.array(excesses)


@pytest.mark.core
def test_a_free_schedule_finds_the_theorem():
    gaps, excesses = check_tables(64, 2e-4)
    assert gaps[0] < 1e-5  # gamma = t is among the tables
    assert gaps[3] < 2e-3
    assert gaps[1] < 0.02  # gamma' is infinite at both ends
    assert abs(excesses[0]) < 1e-12
    assert excesses[3] < 1e-3


@pytest.mark.thorough
def test_a_free_schedule_comes_nearer_with_more_cells():
    coarse, fine = (check_tables(cells, 2e-4) for cells in (16, 64))
    assert (fine[0][1:] < 0.9 * coarse[0][1:]).all(), (coarse[0], fine[0])
    assert (fine[1][1:] < 0.7 * coarse[1][1:]).all(), (coarse[1], fine[1])
    assert fine[0][3] < coarse[0][3] / 5  # smooth but for a square root in gamma'


@pytest.mark.thorough
def test_a_free_schedule_with_knots_where_gamma_is_steep():
    """With cells that shrink towards singular ends it comes as near to the theorem's answer as for smooth gammas."""
    s = np.linspace(0, 1, 65)
    knots = np.where(s < 0.5, 2 * s**2, 1 - 2 * (1 - s) ** 2)
    found = minimise(energy_of_linear, schedules.free(64, key=jax.random.key(0), times=knots))
    assert bool(found.converged)
    ease = 1 / resistances(knots, 0.5, 0.5)
    assert float(found.energy) == pytest.approx(np.pi**2 / ease.sum(), rel=1e-5)
    assert float(found.energy) / np.pi**2 - 1 < 2e-2
    np.testing.assert_allclose(found.schedule.alpha(jnp.asarray(knots, float)), knots, atol=1e-2)


def energy_of_linear(schedule):
    return energies.kinetic(schedule, schedules.linear())


@pytest.mark.thorough
def test_a_free_schedule_under_a_gamma_of_any_form():
    """``gamma = t^1.5 (3 - t^1.5)/2`` has no formula here: SciPy integrates the cells."""

    class Rise(Schedule):
        def alpha(self, t):
            power = jnp.asarray(t, float) ** 1.5
            return power * (3 - power) / 2

    def slope(t):
        return 0.75 * t**0.5 * (3 - 2 * t**1.5)

    cells = 32
    knots = np.linspace(0, 1, cells + 1)
    covered = [integrate.quad(lambda t: 1 / slope(t), *ends)[0] for ends in itertools.pairwise(knots)]
    ease = np.diff(knots) ** 2 / np.array(covered)
    exact = optimal_alpha(np.concatenate([[0.0], np.cumsum(ease) / ease.sum()]))
    weight = schedules.kinetic_optimum(Rise())
    found = minimise(lambda s: energies.kinetic(s, weight), schedules.free(cells, key=jax.random.key(1)))
    ours = np.asarray(found.schedule.alpha(jnp.asarray(knots, float)))
    np.testing.assert_allclose(ours, exact, atol=3e-3)
    rise = knots**1.5 * (3 - knots**1.5) / 2
    np.testing.assert_allclose(ours, optimal_alpha(rise), atol=5e-3)
    assert float(found.energy) / np.pi**2 == pytest.approx(1 / ease.sum(), rel=2e-3)


@pytest.mark.thorough
def test_another_metric_leads_to_its_geodesic():
    def metric(alpha, one_minus_alpha):
        del one_minus_alpha
        return 1 + 3 * alpha

    # Of least action is ``integral sqrt(1 + 3 a) da = t`` of the whole: ((1 + 3 alpha)^(3/2) - 1) / 7 = t.
    s = np.linspace(0, 1, 33)
    knots = np.where(s < 0.5, 2 * s**2, 1 - 2 * (1 - s) ** 2)
    wanted = ((7 * knots + 1) ** (2 / 3) - 1) / 3
    times = jnp.asarray(knots, float)
    np.testing.assert_allclose(energies.geodesic(metric).alpha(times), wanted, atol=1e-5)
    found = minimise(lambda s: actions.action(s, metric), schedules.free(32, key=jax.random.key(2), times=knots))
    assert bool(found.converged)
    np.testing.assert_allclose(found.schedule.alpha(times), wanted, atol=5e-3)
    assert 1 < float(found.energy) / (14 / 9) ** 2 < 1.01


# Toy energies, in numbers whose minimum is plain.


def bowl(schedule):
    return jnp.log(schedule.a / 3) ** 2 + 4 * jnp.log(schedule.b / 0.2) ** 2 + 1


def walled(schedule):
    """Not a number for a <= 1/2; least at a = 0.6, b = 2."""
    return schedule.a - 0.1 * jnp.log(schedule.a - 0.5) + (schedule.b - 2) ** 2


def valley(schedule):
    """Rosenbrock's."""
    return 100 * (schedule.b - schedule.a**2) ** 2 + (1 - schedule.a) ** 2


@pytest.mark.core
@pytest.mark.thorough
def test_energies_that_end_and_energies_that_bend(strict_types):
    start = schedules.beta(5.0, 0.1)
    for energy, a, b in ((bowl, 3.0, 0.2), (walled, 0.6, 2.0), (valley, 1.0, 1.0)):
        found = minimise(energy, start)
        assert bool(found.converged), energy
        np.testing.assert_allclose([found.schedule.a, found.schedule.b], [a, b], rtol=1e-3)
        gradient = jax.grad(lambda x, energy=energy: energy(start.at_coordinates(x)))(found.schedule.coordinates())
        assert float(found.gradient_norm) == pytest.approx(float(optax.tree.norm(gradient)), abs=1e-4)


@pytest.mark.parametrize("unit", [1e-12, 1e12])
def test_units_of_the_energy_do_not_matter(unit):
    found = minimise(lambda s: unit * bowl(s), schedules.beta(5.0, 0.1))
    assert bool(found.converged)
    np.testing.assert_allclose([found.schedule.a, found.schedule.b], [3.0, 0.2], rtol=1e-3)


@pytest.mark.thorough
def test_what_has_no_smooth_minimum_ends_too():
    start = schedules.beta(5.0, 0.1)
    kink = minimise(lambda s: jnp.abs(jnp.log(s.a)) + jnp.abs(s.b - 3), start)
    assert not bool(kink.converged)
    falling = minimise(lambda s: -s.a, start)
    assert not bool(falling.converged)
    assert float(falling.energy) < -5
    level = minimise(lambda s: 0 * s.a + 3, start)
    assert bool(level.converged)
    assert int(level.steps) == 0


@pytest.mark.thorough
def test_steps_and_tolerance():
    start = schedules.beta(5.0, 0.1)
    for steps in (0, 1, 2):
        found = minimise(valley, start, steps=steps)
        assert int(found.steps) == steps
        assert not bool(found.converged)
        assert float(found.energy) <= float(valley(start)) * (1 + 1e-6)
    loose, tight = (minimise(bowl, start, tolerance=tolerance) for tolerance in (1e-1, 1e-5))
    assert int(loose.steps) < int(tight.steps)
    assert float(tight.gradient_norm) <= 1e-5 * float(tight.energy) < float(loose.gradient_norm)


@pytest.mark.parametrize("optimizer", [optax.adam(0.1), optax.sgd(0.01, momentum=0.5)])
def test_another_optimiser(optimizer):
    found = minimise(energies.kinetic, schedules.beta(0.2, 0.7), optimizer=optimizer)
    assert bool(found.converged)
    np.testing.assert_allclose([found.schedule.a, found.schedule.b], 1.0, rtol=1e-3)


def test_another_optimiser_takes_back_steps_off_the_edge():
    found = minimise(walled, schedules.beta(1.0, 2.0), optimizer=optax.adam(0.9))
    np.testing.assert_allclose([found.schedule.a, found.schedule.b], [0.6, 2.0], rtol=1e-2)


@pytest.mark.core
def test_traced_once_per_family():
    count = 0

    def energy(schedule, weight):
        nonlocal count
        count += 1
        return energies.kinetic(schedule, weight)

    minimise(Partial(energy, weight=schedules.beta(1.0, 1.0)), schedules.beta(1.0, 3.0))
    once = count
    for a, b in ((0.5, 0.5), (2.0, 0.1)):
        found = minimise(Partial(energy, weight=schedules.beta(a, b)), schedules.beta(b, a), steps=300, tolerance=1e-5)
        assert float(found.schedule.a) == pytest.approx(a, rel=1e-2)
    assert count == once

    def other(schedule):
        return energy(schedule, schedules.sine_squared())

    minimise(other, schedules.beta(1.0, 3.0))
    once = count
    minimise(other, schedules.beta(4.0, 3.0))
    assert count == once


def test_any_family_and_any_subclass():
    class Warped(Schedule):
        """``t^a`` until ``1 - (1 - t)^b`` of it."""

        a: jax.Array
        b: jax.Array

        def alpha(self, t):
            return 1 - (1 - jnp.asarray(t, float) ** self.a) ** self.b

    start = Warped(jnp.array(1.0), jnp.array(1.0))
    times = jnp.array([0.25, 0.75])
    found = minimise(lambda s: jnp.sum((s.alpha(times) - jnp.array([0.2, 0.6])) ** 2), start)
    assert isinstance(found.schedule, Warped)
    np.testing.assert_allclose(found.schedule.alpha(times), [0.2, 0.6], atol=1e-4)

    rise = schedules.kinetic_optimum(schedules.polynomial(4.0))  # theta = t^4
    found = minimise(lambda s: (s.theta(0.5) - 0.125) ** 2, rise)
    assert float(found.schedule.gamma.degree) == pytest.approx(3.0, rel=1e-3)


def test_no_finite_energy_near():
    with pytest.raises(
        InputError, match=r"^start must have a finite energy, or one near it; that of polynomial is inf"
    ):
        minimise(nowhere_finite, schedules.polynomial(1.0))
    traced = jax.vmap(lambda s: minimise(nowhere_finite, s))(schedules.polynomial(jnp.array([1.0, 2.0])))
    assert np.isinf(traced.energy).all()
    assert np.isinf(traced.gradient_norm).all()
    assert not traced.converged.any()
    assert traced.steps.tolist() == [0, 0]
    np.testing.assert_allclose(traced.schedule.degree, [1.0, 2.0], rtol=1e-6)


def nowhere_finite(schedule):
    return schedule.degree * jnp.inf


@pytest.mark.core
def test_bad_input_is_refused_in_one_sentence():
    beta = schedules.beta(1.0, 2.0)
    for arguments, message in (
        ((energies.kinetic, schedules.linear()), "start must have numbers to change; linear has none."),
        ((energies.kinetic, 3.0), "start must be a Schedule ("),
        ((3.0, beta), "energy must be a function of a schedule; got 3.0."),
        ((lambda s: s.alpha(jnp.ones(3)), beta), "energy must be a function of one schedule to one real number"),
        ((lambda s: (s.a, s.b), beta), "to one real number, float[]; got a tuple"),
        ((lambda s: None, beta), "energy must be a function of one schedule to one real number"),
        ((lambda s: 3, beta), "energy must be a function of one schedule to one real number"),
        ((energies.kinetic, beta, -1), "steps must be a whole number from 0 to"),
        ((energies.kinetic, beta, 10, -1.0), "tolerance must be a number of at least 0; got -1.0."),
        ((lambda s: s.a, schedules.beta(jnp.array([1.0, 2.0]), 1.0)), "start must be one schedule, not a stack"),
    ):  # fmt: skip
        with pytest.raises(InputError) as error:
            getattr(minimise, "__wrapped__", minimise)(*arguments)  # without the tests' own check of types
        assert message in str(error.value)
