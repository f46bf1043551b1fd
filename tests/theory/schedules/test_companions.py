"""What a user's schedule writes beside ``alpha`` must say the same; what its ``alpha`` raises is one sentence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from selecting import thorough_but

from mdm_jax.support.errors import InputError
from mdm_jax.theory import energies, plans, schedules
from mdm_jax.theory.energies import geodesics, metrics
from mdm_jax.theory.plans import grids
from mdm_jax.theory.schedules import AngleSchedule, Beta, Linear, Schedule, checked_schedule

pytestmark = pytest.mark.core


def as_float(t):
    return jnp.asarray(t, float)


def made(base=Schedule, **methods):
    """An instance of a class of the user's own."""

    def method(value):
        return (lambda self, *given: value(*given)) if callable(value) else value

    return type("Mine", (base,), {name: method(value) for name, value in methods.items()})()


def cube(t):
    return as_float(t) ** 3


CONTRADICTORY = {
    "one_minus_alpha": made(alpha=cube, one_minus_alpha=lambda t: 1 - as_float(t)),
    "one_minus_theta": made(AngleSchedule, theta=cube, one_minus_theta=lambda t: 1 - as_float(t)),
    "log_theta_rate": made(AngleSchedule, theta=cube, log_theta_rate=lambda t, u=None: 0 * as_float(t)),
    "theta_rate": made(alpha=cube, theta_rate=lambda t, u=None: 1 + 0 * as_float(t)),
    "theta": made(alpha=cube, theta=as_float),
    "inverse": made(Linear, inverse=lambda alpha: 1 - as_float(alpha)),
    "derivative": made(Linear, derivative=lambda t: 2 * as_float(t)),
    "weight": made(alpha=cube, weight=lambda t: 1 / (1 - as_float(t))),
    "hazard": made(alpha=cube, hazard=lambda t: 1 / (1 - as_float(t))),
    "ends": made(alpha=as_float, ends=(5.0, 5.0)),
}


@pytest.mark.parametrize("name", CONTRADICTORY)
def test_a_method_that_contradicts_alpha_is_named(name):
    with pytest.raises(
        InputError, match=rf"^schedule must be a schedule whose {name} do(es)? not contradict alpha; got"
    ):
        energies.kinetic(CONTRADICTORY[name])


def test_the_sentence_has_the_time_and_both_numbers():
    with pytest.raises(InputError, match=r"one_minus_alpha\(t\) is 0.5 at t = 0.5, where alpha makes it 0.875\.$"):
        checked_schedule(CONTRADICTORY["one_minus_alpha"])
    with pytest.raises(InputError, match=r"with 5 where theta goes as t\^0.5 "):
        checked_schedule(made(Linear, ends=(5.0, 0.5)))
    with pytest.raises(InputError, match=r"with 5 where 1 - theta goes as \(1 - t\)\^0.5 "):
        checked_schedule(made(Linear, ends=(0.5, 5.0)))


@pytest.mark.parametrize("ends", [(1.0, -1.0), (np.nan, 1.0), (np.inf, 1.0)])
def test_ends_that_are_none(ends):
    with pytest.raises(InputError, match=r"whose ends are two positive numbers, or None; got Mine with ends"):
        checked_schedule(made(alpha=as_float, ends=ends))


FAMILIES = [
    *(getattr(schedules, name)() for name in ("linear", "sine", "sine_squared", "maskgit")),
    schedules.beta(0.05, 1.0),
    schedules.polynomial(0.5),
    schedules.geometric(49.0, 50.0),
    schedules.kinetic_optimum(schedules.linear()),
    schedules.tabulate(schedules.beta(2.0, 0.4), 32),
]
MORE = [
    *(schedules.beta(a, b) for a in (0.05, 0.5, 3.0, 300.0) for b in (0.05, 1.0, 40.0) if (a, b) != (0.05, 1.0)),
    *(schedules.polynomial(p) for p in (0.01, 2.0, 30.0)),
    *(schedules.geometric(s, m) for s, m in ((1e-4, 20.0), (1e-30, 50.0))),
    *(schedules.kinetic_optimum(s) for s in (schedules.maskgit(), schedules.beta(2.0, 0.3))),
    schedules.free(5, key=jax.random.key(1)),
    schedules.tabulated(np.array([0.0, 0.3, 0.30001, 0.8, 1.0]), np.array([0.0, 1e-6, 0.5, 0.5000001, 1.0])),
    geodesics.geodesic(metrics.flat, schedules.beta(0.5, 10.0)),
]
METHODS = (
    "alpha", "one_minus_alpha", "theta", "one_minus_theta", "inverse", "derivative", "log_theta_rate", "theta_rate",
    "weight", "hazard", "end_exponents",
)  # fmt: skip


@pytest.mark.parametrize(
    "schedule",
    thorough_but(lambda one: type(one).__name__ in ("Linear", "Polynomial"), [*FAMILIES, *MORE]),
    ids=lambda schedule: type(schedule).__name__,
)
def test_no_family_contradicts_itself(schedule):
    """As a class of the user's own that writes every method as the family has it."""
    own = made(**{name: getattr(schedule, name) for name in METHODS})
    assert checked_schedule(own) is own


@pytest.mark.parametrize(
    "error", [AttributeError("no\nsuch"), IndexError(1), KeyError("x"), ZeroDivisionError(), RecursionError("deep")]
)
def test_whatever_alpha_raises_is_one_sentence(error):
    def alpha(t):
        raise error

    with pytest.raises(InputError, match=rf"that of Mine raises {type(error).__name__}[^\n]*\.$") as caught:
        checked_schedule(made(alpha=alpha))
    assert caught.value.__cause__ is error


def test_an_alpha_in_numpy_is_told_to_use_jax_numpy():
    for front in (energies.kinetic, lambda s: plans.from_schedule(s, 8, 2)):
        with pytest.raises(
            InputError, match=r"whose alpha is written with jax.numpy, so that JAX can trace it; got Mine"
        ):
            front(made(alpha=lambda t: np.asarray(t, np.float32) ** 2))


def test_an_alpha_in_half_precision_is_refused():
    for kind in (jnp.bfloat16, jnp.float16):
        with pytest.raises(InputError, match=r"of float32 at least; got Mine, which .* of (bfloat16|float16)"):
            checked_schedule(made(alpha=lambda t, kind=kind: as_float(t).astype(kind)))


def test_a_table_of_lists_is_told_what_makes_one():
    table = schedules.free(2)
    object.__setattr__(table, "logits", [0.0, 0.0])  # (beartype would object first)
    with pytest.raises(InputError, match=r"^logits of schedule must be an array of floats"):
        checked_schedule(table)


def test_a_bump_between_the_times_of_the_check_is_seen_at_the_knots():
    bump = made(alpha=lambda t: as_float(t) + 3 * jnp.exp(-jnp.square((as_float(t) - 1 / 3) / 2e-4)))
    for front in (lambda: plans.from_schedule(bump, 12, 3), lambda: grids.from_schedule(bump, 3)):
        with pytest.raises(
            InputError, match=r"rises from 0 at t = 0 to 1 at t = 1; got Mine with alpha\(0.333333\) = "
        ):
            front()


class OnlyTheta(Linear):
    def theta(self, t):
        return jnp.square(as_float(t))


class OwnAlpha(Beta):
    def alpha(self, t):
        return cube(t)


class ItsTheta(OwnAlpha):
    def theta(self, t):
        return super().theta(t)


class SquaredTheta(Linear):
    def theta(self, t):
        return jnp.square(super().theta(t))


class SquaredRest(Linear):
    def one_minus_alpha(self, t):
        return jnp.square(super().one_minus_alpha(t))


class SquaredLeft(OnlyTheta):
    def one_minus_theta(self, t):
        return jnp.square(super().one_minus_theta(t))


def test_the_weight_of_a_class_that_writes_theta_alone():
    """``alpha' / (1 - alpha) = pi theta' tan(pi theta / 2)``, late and early."""
    t = np.array([0.3, 0.95])
    expected = np.pi * 2 * t * np.tan(np.pi / 2 * t**2)
    np.testing.assert_allclose(OnlyTheta().weight(t), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("schedule", "alpha"),
    [
        (ItsTheta(a=jnp.float32(2), b=jnp.float32(3)), 0.3**3),
        (SquaredTheta(), np.sin(np.pi / 2 * (2 / np.pi * np.arcsin(np.sqrt(0.3))) ** 2) ** 2),
        (SquaredRest(), 1 - 0.7**2),
        (SquaredLeft(), np.cos(np.pi / 2 * (1 - 0.3**2) ** 2) ** 2),
    ],
    ids=lambda x: type(x).__name__,
)
def test_a_definition_may_stand_on_what_it_replaces(schedule, alpha):
    assert checked_schedule(schedule) is schedule
    np.testing.assert_allclose(schedule.alpha(0.3), alpha, rtol=1e-5)
    np.testing.assert_allclose(schedule.one_minus_alpha(0.3), 1 - alpha, rtol=1e-5)
    np.testing.assert_allclose(schedule.theta(0.3), 2 / np.pi * np.arcsin(np.sqrt(alpha)), rtol=1e-5)
    np.testing.assert_allclose(schedule.inverse(alpha), 0.3, rtol=1e-5)
    assert np.isfinite(
        [schedule.weight(0.3), schedule.derivative(0.3), energies.kinetic(schedule, schedules.linear())]
    ).all()


def test_rates_at_an_end_where_they_are_finite():
    """``theta = 2/pi arcsin t`` for the square; ``theta = t`` for the others."""
    np.testing.assert_allclose(schedules.polynomial(2.0).theta_rate(0.0), 2 / np.pi, rtol=1e-6)
    np.testing.assert_allclose(schedules.beta(1.0, 1.0).theta_rate(jnp.array([0.0, 1.0])), 1.0, rtol=1e-6)
    np.testing.assert_allclose(schedules.kinetic_optimum(schedules.polynomial(1.0)).theta_rate(0.0), 1.0)
    slope = jax.grad(lambda p: schedules.Polynomial(degree=p).log_theta_rate(0.25))(2.0)
    # d/dp [log p + (p/2 - 1) log t - log(1 - t^p) / 2] at p = 2
    exact = 0.5 + 0.5 * np.log(0.25) + 0.5 * 0.25**2 * np.log(0.25) / (1 - 0.25**2)
    np.testing.assert_allclose(slope, exact, rtol=1e-5)


def test_a_random_table_is_that_of_its_key_under_any_flag():
    usual = schedules.free(8, key=jax.random.key(3)).logits
    expected = jax.random.normal(jax.random.key(3), (8,), jnp.float32)
    np.testing.assert_allclose(usual, expected + np.log(1 / 8), rtol=1e-6)
    with jax.threefry_partitionable(False):
        np.testing.assert_array_equal(schedules.free(8, key=jax.random.key(3)).logits, usual)
    with jax.enable_x64(True):
        other = schedules.free(8, key=jax.random.key(3)).logits
        assert other.dtype == jnp.float64
        np.testing.assert_allclose(other, usual, rtol=1e-6)


def test_a_table_of_too_many_cells_is_refused():
    with pytest.raises(InputError, match=r"^cells must be a whole number from 2 to 1048576; got 1000000000000\.$"):
        schedules.free(10**12)
