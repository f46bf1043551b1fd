"""Schedules against formulas in float64 that share no code with them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import programs
from flax import struct
from scipy import special

from mdm_jax.support.errors import InputError
from mdm_jax.theory import energies, plans, schedules
from mdm_jax.theory.schedules import Schedule
from mdm_jax.theory.schedules import text as schedule_text

T = np.linspace(0, 1, 257)
INSIDE = T[1:-1]


def _beta(a, b):
    """alpha, 1 - alpha and d alpha / dt of Beta(a, b); the derivative inside (0, 1) only."""

    def rate(t):
        angle = np.pi * np.minimum(special.betainc(a, b, t), special.betainc(b, a, 1 - t))
        return 0.5 * np.pi * np.sin(angle) * t ** (a - 1) * (1 - t) ** (b - 1) / special.beta(a, b)

    return (
        lambda t: np.sin(0.5 * np.pi * special.betainc(a, b, t)) ** 2,
        lambda t: np.sin(0.5 * np.pi * special.betainc(b, a, 1 - t)) ** 2,
        rate,
    )


def _power(p):
    return (
        lambda t: t**p,
        lambda t: -np.expm1(p * np.log(t, out=np.full_like(t, -np.inf), where=t > 0)),
        lambda t: p * t ** (p - 1),
    )


def _sine():
    return (
        lambda t: np.sin(np.pi * t / 2),
        lambda t: 2 * np.sin(np.pi * (1 - t) / 4) ** 2,
        lambda t: np.pi / 2 * np.sin(np.pi * (1 - t) / 2),
    )


def _geometric(least, most):
    def sigma(t):
        return most ** (1 - t) * least**t

    scale = np.exp(-least) - np.exp(-most)
    return (
        lambda t: (np.exp(-sigma(t)) - np.exp(-most)) / scale,
        lambda t: np.exp(-least) * -np.expm1(-least * np.expm1((1 - t) * np.log(most / least))) / scale,
        lambda t: np.exp(-sigma(t)) * sigma(t) * np.log(most / least) / scale,
    )


def _optimum(gamma, rest, rate):
    """``sin^2(pi/2 gamma)``."""
    return (
        lambda t: np.sin(np.pi / 2 * gamma(t)) ** 2,
        lambda t: np.sin(np.pi / 2 * rest(t)) ** 2,
        lambda t: np.pi / 2 * np.sin(np.pi * np.minimum(gamma(t), rest(t))) * rate(t),
    )


def _table(angles):
    """``theta`` linear between equally spaced knots."""
    at, angles = np.linspace(0, 1, len(angles)), np.asarray(angles)
    return _optimum(
        lambda t: np.interp(t, at, angles),
        lambda t: np.interp(1 - t, at, 1 - angles[::-1]),
        lambda t: (np.diff(angles) / np.diff(at))[np.minimum((t * (len(at) - 1)).astype(int), len(at) - 2)],
    )


# name: (schedule, (alpha, 1 - alpha, d alpha / dt) in float64, relative error allowed in float32)
FAMILIES = {
    "linear": (schedules.linear, (lambda t: t, lambda t: 1 - t, np.ones_like), 1e-6),
    "sine": (schedules.sine, _sine(), 1e-6),
    "sine_squared": (
        schedules.sine_squared,
        (
            lambda t: np.sin(np.pi * t / 2) ** 2,
            lambda t: np.sin(np.pi * (1 - t) / 2) ** 2,
            lambda t: np.pi / 2 * np.sin(np.pi * np.minimum(t, 1 - t)),
        ),
        1e-6,
    ),
    "maskgit": (
        schedules.maskgit,
        (
            lambda t: 2 * np.sin(np.pi * t / 4) ** 2,
            lambda t: np.sin(np.pi * (1 - t) / 2),
            lambda t: np.pi / 2 * np.sin(np.pi * t / 2),
        ),
        1e-6,
    ),
    "polynomial:2": (lambda: schedules.polynomial(2.0), _power(2.0), 1e-6),
    "polynomial:0.5": (lambda: schedules.polynomial(0.5), _power(0.5), 1e-6),
    "polynomial:3.5": (lambda: schedules.polynomial(3.5), _power(3.5), 2e-6),
    "geometric": (schedules.geometric, _geometric(1e-4, 20.0), 2e-5),
    "geometric:0.1,3": (lambda: schedules.geometric(0.1, 3.0), _geometric(0.1, 3.0), 4e-6),
    "beta:0.9,0.3": (lambda: schedules.beta(0.9, 0.3), _beta(0.9, 0.3), 1e-5),
    "beta:0.3,0.9": (lambda: schedules.beta(0.3, 0.9), _beta(0.3, 0.9), 1e-5),
    "beta:0.5,0.5": (lambda: schedules.beta(0.5, 0.5), _beta(0.5, 0.5), 1e-5),
    "beta:1,0.2": (lambda: schedules.beta(1.0, 0.2), _beta(1.0, 0.2), 1e-5),
    "beta:2,3": (lambda: schedules.beta(2.0, 3.0), _beta(2.0, 3.0), 1e-5),
    "kinetic_optimum:polynomial:2": (
        lambda: schedules.kinetic_optimum(schedules.polynomial(2.0)),
        _optimum(*_power(2.0)),
        2e-6,
    ),
    "kinetic_optimum:sine": (lambda: schedules.kinetic_optimum(schedules.sine()), _optimum(*_sine()), 2e-6),
    "tabulated": (
        lambda: schedules.tabulated(jnp.array([0.0, 0.25, 0.5, 0.75, 1.0]), jnp.array([0.0, 0.1, 0.45, 0.7, 1.0])),
        _table([0.0, 0.1, 0.45, 0.7, 1.0]),
        2e-6,
    ),
}
every_family = pytest.mark.parametrize("name", FAMILIES)


class Smoothstep(Schedule):
    """What a user writes: ``alpha`` and nothing else."""

    steepness: jax.Array

    def alpha(self, t):
        t = schedules.as_float(t)
        return t * t * (3 - 2 * t) * self.steepness + (1 - self.steepness) * t


class AlphaOnly(Schedule):
    """A built-in schedule stripped to its ``alpha``: every method is the base class's."""

    of: Schedule

    def alpha(self, t):
        return self.of.alpha(t)


def _truth(name):
    return FAMILIES[name][1]


@functools.partial(jax.jit, static_argnames="method")
def call(schedule, method, t):
    """``schedule.method(t)``; the members of a family share an executable."""
    return getattr(schedule, method)(t)


@functools.partial(jax.jit, static_argnames="method")
def slopes(schedule, method, t):
    """The autodiff derivative of ``schedule.method`` in time at every ``t``."""
    return jax.vmap(jax.grad(getattr(schedule, method)))(t)


@pytest.mark.core
@every_family
def test_values_are_those_of_the_formula(name, strict_types):
    make, (alpha, masked, rate), close = FAMILIES[name]
    schedule, t = make(), jnp.asarray(T, jnp.float32)
    # `atol` is float32's smallest scale that matters; 1 - alpha is held to *relative* accuracy right up to t = 1
    np.testing.assert_allclose(call(schedule, "alpha", t), alpha(T), rtol=close, atol=1e-30)
    np.testing.assert_allclose(call(schedule, "one_minus_alpha", t), masked(T), rtol=close, atol=1e-30)
    angle = np.arctan2(np.sqrt(alpha(T)), np.sqrt(masked(T))) * 2 / np.pi
    np.testing.assert_allclose(call(schedule, "theta", t), angle, rtol=close, atol=1e-30)
    slope = rate(INSIDE) / (np.pi * np.sqrt(alpha(INSIDE) * masked(INSIDE)))
    np.testing.assert_allclose(call(schedule, "theta_rate", t)[1:-1], slope, rtol=4 * close)
    np.testing.assert_allclose(call(schedule, "derivative", t)[1:-1], rate(INSIDE), rtol=4 * close)
    np.testing.assert_allclose(call(schedule, "weight", t)[1:-1], rate(INSIDE) / masked(INSIDE), rtol=4 * close)
    assert call(schedule, "alpha", t).dtype == jnp.float32


@pytest.mark.core
@every_family
@pytest.mark.few(4)
def test_ends_are_the_limits(name):
    schedule, t = FAMILIES[name][0](), jnp.asarray(T, jnp.float32)
    assert call(schedule, "alpha", t)[jnp.array([0, -1])].tolist() == [0, 1]
    assert call(schedule, "one_minus_alpha", t)[jnp.array([0, -1])] == pytest.approx(np.array([1, 0]), rel=1e-7)
    assert call(schedule, "theta", t)[jnp.array([0, -1])].tolist() == [0, 1]
    assert call(schedule, "inverse", t)[jnp.array([0, -1])] == pytest.approx(np.array([0, 1]), abs=2e-7)
    # alpha'/(1 - alpha) ~ 2q / (1 - t) at the end of every schedule
    assert call(schedule, "weight", t)[-1] == np.inf
    assert not np.isnan(call(schedule, "derivative", t)).any()
    assert not np.isnan(call(schedule, "weight", t)).any()


@pytest.mark.core
@every_family
def test_inverse_undoes_alpha(name):
    schedule, (alpha, _, rate) = FAMILIES[name][0](), _truth(name)
    found = np.asarray(call(schedule, "inverse", jnp.asarray(alpha(T), jnp.float32)), np.float64)
    # a time is known as well as alpha is: to a few float32 roundings over the slope
    slack = 4 * max(FAMILIES[name][2] / 10, 1.2e-7)
    assert (np.abs(found - T)[1:-1] <= slack / rate(INSIDE) + 1e-6).all()


@every_family
@pytest.mark.thorough
def test_float64_is_exact(name, double):
    make, (alpha, masked, rate), _ = FAMILIES[name]
    schedule = make()
    for leaf in jax.tree.leaves(schedule):
        assert leaf.dtype == jnp.float64
    np.testing.assert_allclose(call(schedule, "alpha", T), alpha(T), rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(call(schedule, "one_minus_alpha", T), masked(T), rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(call(schedule, "derivative", T)[1:-1], rate(INSIDE), rtol=1e-10)
    found = call(schedule, "inverse", alpha(T))
    assert found.dtype == jnp.float64
    assert (np.abs(found[1:-1] - INSIDE) < 2e-11 + 1e-15 / rate(INSIDE)).all()


@pytest.mark.parametrize("name", ["linear", "sine", "sine_squared", "maskgit", "polynomial:3.5", "beta:0.9,0.3"])
@pytest.mark.few(2)
def test_closed_forms_agree_with_the_defaults_of_the_base_class(name, double):
    schedule = FAMILIES[name][0]()
    plain = AlphaOnly(schedule)
    middle = slice(12, -12)  # nearer to the end, 1 - alpha has lost its digits in `plain`
    # (betainc is slow to compile, and inverse and theta_rate of Beta rest on the rest)
    methods = ["derivative", "one_minus_alpha", "theta", "weight", "theta_rate", "inverse"]
    for method in methods[: 2 if "beta" in name else None]:
        default, closed = call(plain, method, T), call(schedule, method, T)
        np.testing.assert_allclose(default[middle], closed[middle], rtol=1e-8, err_msg=method)


@pytest.mark.core
@pytest.mark.parametrize(
    ("schedule", "at_0", "at_1"),
    [
        (schedules.linear(), 1, 1),
        (schedules.sine(), np.pi / 2, 0),
        (schedules.sine_squared(), 0, 0),
        (schedules.maskgit(), 0, np.pi / 2),
        (schedules.polynomial(2.0), 0, 2),
        (schedules.polynomial(1.0), 1, 1),
        (schedules.polynomial(0.5), np.inf, 0.5),
        # alpha ~ (pi t^a / (2 a B))^2: infinite slope for a < 1/2, zero for a > 1/2, finite between; mirrored at 1
        (schedules.beta(0.3, 0.9), np.inf, 0),
        (schedules.beta(0.9, 0.3), 0, np.inf),
        (schedules.beta(0.5, 0.5), 1, 1),
        (schedules.beta(0.5, 2.0), np.pi**2 / special.beta(0.5, 2.0) ** 2, 0),
        (schedules.beta(2.0, 0.5), 0, np.pi**2 / special.beta(0.5, 2.0) ** 2),
    ],
    ids=str,
)
@pytest.mark.few(2)
def test_slopes_at_the_ends(schedule, at_0, at_1):
    np.testing.assert_allclose(call(schedule, "derivative", jnp.array([0.0, 1.0])), [at_0, at_1], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(call(schedule, "weight", 0.0), at_0, rtol=1e-5)  # 1 - alpha(0) = 1


@pytest.mark.core
@every_family
def test_the_masked_fraction_keeps_its_digits_near_the_end(name):
    schedule, (_, masked, _) = FAMILIES[name][0](), _truth(name)
    gaps = 2.0 ** -np.arange(4, 24, 2)  # 1 - t is exact in float32 down to 2^-24
    t = (1 - gaps).astype(np.float32)
    t = np.concatenate([np.full(len(T) - len(t), 0.5, np.float32), t])  # (a shape that is compiled already)
    assert (1 - t.astype(np.float64))[-len(gaps) :].tolist() == gaps.tolist()
    # np.float64(t) is exact, so the truth has all its digits; 1 - alpha itself would have none left
    truth, close = masked(t.astype(np.float64)), max(FAMILIES[name][2], 2e-6)
    np.testing.assert_allclose(call(schedule, "one_minus_alpha", jnp.asarray(t)), truth, rtol=close, atol=1e-37)


@every_family
@pytest.mark.few(3)
def test_gradient_in_time_is_finite_inside_and_right(name):
    schedule, (_, _, rate) = FAMILIES[name][0](), _truth(name)
    t = jnp.asarray(T, jnp.float32)
    np.testing.assert_allclose(slopes(schedule, "alpha", t)[1:-1], rate(INSIDE), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(slopes(schedule, "one_minus_alpha", t)[1:-1], -rate(INSIDE), rtol=1e-3, atol=1e-6)
    for method in () if "beta" in name else ("theta", "derivative", "weight"):  # betainc is slow to compile
        assert np.isfinite(slopes(schedule, method, t)[1:-1]).all(), method


@pytest.mark.parametrize("degree", [0.5, 1.0, 2.0])
def test_slopes_of_alpha_and_of_its_complement_are_opposite_at_the_start(degree):
    schedule = schedules.polynomial(degree)
    assert jax.grad(schedule.one_minus_alpha)(0.0) == -jax.grad(schedule.alpha)(0.0) == -schedule.derivative(0.0)


@every_family
@pytest.mark.few(2)
def test_inverse_has_the_slope_of_the_implicit_function(name):
    schedule = FAMILIES[name][0]()
    levels = jnp.linspace(0.05, 0.95, len(T))
    expected = 1 / call(schedule, "derivative", call(schedule, "inverse", levels))
    np.testing.assert_allclose(slopes(schedule, "inverse", levels), expected, rtol=1e-3)


def test_default_inverse_is_differentiable_in_the_parameters(double):
    def time(degree):
        return AlphaOnly(schedules.polynomial(degree)).inverse(0.3)

    # t = .3^(1/p), so dt/dp = -t log(.3) / p^2
    assert jax.grad(time)(2.0) == pytest.approx(-(0.3**0.5) * np.log(0.3) / 4, rel=1e-9)


@pytest.mark.parametrize("degree", [0.4, 1.0, 3.0])
def test_gradient_in_the_degree(degree, double):
    t = jnp.array([0.0, 1e-6, 0.3, 0.5, 0.9, 1.0])
    slope = jax.vmap(jax.grad(lambda p, t: schedules.polynomial(p).alpha(t)), (None, 0))(degree, t)
    np.testing.assert_allclose(slope, special.xlogy(t**degree, t), atol=1e-12)
    slope = jax.vmap(jax.grad(lambda p, t: schedules.polynomial(p).one_minus_alpha(t)), (None, 0))(degree, t)
    np.testing.assert_allclose(slope, -special.xlogy(t**degree, t), atol=1e-12)


@pytest.mark.core
def test_a_stack_is_a_loop_and_compiles_once():
    a, b = np.random.default_rng(0).uniform(0.2, 2, (2, 50)).astype(np.float32)
    t = jnp.linspace(0, 1, 9)
    stacked = jax.vmap(lambda s: s.alpha(t))(schedules.beta(a, b))
    assert stacked.shape == (50, 9)
    alpha = jax.jit(lambda schedule, t: schedule.alpha(t))
    with programs() as made:
        one_by_one = np.stack([alpha(schedules.beta(x, y), t) for x, y in zip(a, b)])
    assert sum("lambda" in name for name in made) == 1
    np.testing.assert_allclose(stacked, one_by_one, rtol=1e-4)
    exact = np.stack([_beta(float(x), float(y))[0](np.asarray(t, np.float64)) for x, y in zip(a, b)])
    np.testing.assert_allclose(stacked, exact, atol=2e-5)
    degrees = jnp.array([0.5, 1.0, 2.0])
    powers = jax.vmap(lambda s: s.inverse(0.25))(schedules.polynomial(degrees))
    np.testing.assert_allclose(powers, [0.25**2, 0.25, 0.5], rtol=1e-6)


@pytest.mark.core
@pytest.mark.thorough
def test_alpha_alone_makes_a_schedule():
    mine = Smoothstep(jnp.asarray(1.0))
    np.testing.assert_allclose(call(mine, "derivative", T.astype(np.float32)), 6 * T * (1 - T), atol=1e-6)
    np.testing.assert_allclose(mine.inverse(mine.alpha(0.3)), 0.3, rtol=1e-6)
    assert mine.inverse(jnp.array([-0.5, 0.0, 1.0, 2.0])).tolist() == [0, 0, 1, 1]
    assert mine.theta(jnp.array([0.0, 0.5, 1.0])) == pytest.approx(np.array([0, 0.5, 1]), abs=1e-6)
    assert mine.weight(0.5) == pytest.approx(1.5 / 0.5)
    assert mine.weight(1.0) == np.inf
    assert mine.end_exponents() is None
    assert mine.parameters() == {"steepness": mine.steepness}
    assert plans.from_schedule(mine, 128, 8).sizes.sum() == 128
    assert plans.from_schedule(mine, 128, 8).name == "Smoothstep"
    assert np.isfinite(energies.kinetic(mine))
    assert np.isfinite(energies.kinetic(schedules.sine_squared(), weight=mine))
    with pytest.raises(NotImplementedError, match="must define alpha"):
        Schedule().alpha(0.5)


@struct.dataclass
class DecoratedToo(Schedule):
    """As a user of Flax may write it."""

    def alpha(self, t):
        return schedules.as_float(t)


@pytest.mark.core
def _kinds(schedule):
    return type(schedule), *(_kinds(schedule.gamma) if isinstance(schedule, schedules.KineticOptimum) else ())


def test_structures_tell_schedules_apart():
    # JAX takes two register_dataclass-ed classes of equally many fields for equal, and jit then mixes them up.
    everyone = [make() for make, _, _ in FAMILIES.values()]
    everyone += [DecoratedToo(), Smoothstep(jnp.asarray(1.0)), AlphaOnly(schedules.sine())]
    for one in everyone:
        for other in everyone:
            assert (jax.tree.structure(one) == jax.tree.structure(other)) == (_kinds(one) == _kinds(other))
    nested = [jax.tree.structure(AlphaOnly(one)) for one in (schedules.sine(), schedules.linear())]
    assert nested[0] != nested[1]


@pytest.mark.core
def test_a_schedule_is_a_frozen_pytree():
    schedule = schedules.beta(0.9, 0.3)
    leaves, structure = jax.tree.flatten(schedule)
    assert leaves == [schedule.a, schedule.b]
    assert jax.tree.unflatten(structure, leaves) == schedule
    assert [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(schedule)] == [".a", ".b"]
    assert jax.tree.map(lambda _: "anything", schedule).a == "anything"
    with pytest.raises(AttributeError):
        schedule.a = 1.0
    assert repr(schedules.linear()) == "Linear()"


@pytest.mark.core
def test_numbers_take_the_default_float_type():
    assert schedules.polynomial(2).degree.dtype == jnp.float32
    assert schedules.beta(np.float64(1), np.int32(2)).b.dtype == jnp.float32
    stack = schedules.beta(np.ones(3), 0.5)
    assert stack.a.shape == stack.b.shape == (3,)


@pytest.mark.core
@pytest.mark.parametrize("bad", [0, -1.0, np.nan, np.inf, 1e-50, 1e300, [1.0, 0.0]])
def test_only_positive_numbers_of_the_float_type_are_parameters(bad):
    bad = np.asarray(bad)
    for make, argument in [
        (lambda: schedules.polynomial(bad), "degree"),
        (lambda: schedules.beta(bad, 1.0), "a"),
        (lambda: schedules.beta(1.0, bad), "b"),
    ]:
        with pytest.raises(InputError, match=rf"^{argument} must be a positive, finite number that float32 can"):
            make()


def test_float64_holds_more(double):
    assert schedules.beta(1e-9, 1e3).a == 1e-9
    with pytest.raises(InputError, match=r"^a must be at least 1e-09; got 1e-50"):
        schedules.beta(1e-50, 1e3)
    assert schedules.polynomial(1e300).degree == 1e300


@pytest.mark.core
def test_hand_crafted_schedules_can_be_read():
    names = [schedule_text.parse(text).name for text in schedule_text.HAND_CRAFTED]
    assert len(set(names)) == len(names)
