"""Actions, geodesics, arc lengths, discrete steps and constants, against closed forms and sums over every state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, special
from worlds import random_table

from mdm_jax.support.errors import InputError
from mdm_jax.theory import energies, schedules
from mdm_jax.theory.energies import actions, enumeration

SINE_SQUARED, LINEAR, SINE, MASKGIT = (
    schedules.sine_squared(),
    schedules.linear(),
    schedules.sine(),
    schedules.maskgit(),
)


def fisher_action(schedule, weight):
    """Form (a) of the energy, whatever the families."""
    return actions.action(schedule, energies.fisher, weight)


def tilted(alpha, one_minus_alpha):
    """A metric of no family: the arc length is ``integral sqrt(1 + 5 a) da``."""
    del one_minus_alpha
    return 1 + 5 * alpha


def exact(a, b, c, d):
    """The closed form in float64 by SciPy."""
    return np.pi**2 * np.exp(special.betaln(c, d) + special.betaln(2 * a - c, 2 * b - d) - 2 * special.betaln(a, b))


def beta_pairs(most, count=4000):
    """Random Beta schedules and weights whose energy is finite and below 1e3 pi^2, a quarter of them nearly not."""
    generator = np.random.default_rng(20250922)
    a, b = np.exp(generator.uniform(np.log(0.05), np.log(most), (2, count)))
    gap = generator.uniform(0, 1, (2, count))
    gap[:, : count // 4] = np.exp(generator.uniform(np.log(1e-4), 0, (2, count // 4)))
    c, d = 2 * np.stack([a, b]) * (1 - gap)
    a, b, c, d = (x.astype(np.float32) for x in (a, b, c, d))
    with np.errstate(invalid="ignore"):
        truth = exact(*(x.astype(np.float64) for x in (a, b, c, d)))
    kept = (2 * a > c) & (2 * b > d) & (truth < 1e3 * np.pi**2) & (np.minimum(c, d) > 0.05) & (np.maximum(c, d) < most)
    return [x[kept] for x in (a, b, c, d, truth)]


both_forms = jax.jit(lambda a, b, c, d: jax.vmap(lambda a, b, c, d: (
    fisher_action(schedules.Beta(a, b), schedules.Beta(c, d)),
    energies.closed_form(schedules.Beta(a, b), schedules.Beta(c, d)),
))(a, b, c, d))  # fmt: skip


@pytest.mark.core
@pytest.mark.parametrize(("most", "close"), [(10.0, 1e-5), (50.0, 5e-5)])
def test_quadrature_and_closed_form_agree(most, close):
    *numbers, truth = beta_pairs(most)
    assert len(truth) > 2000
    by_quadrature, closed = both_forms(*numbers)
    np.testing.assert_allclose(by_quadrature, closed, rtol=close)
    np.testing.assert_allclose(closed, truth, rtol=close)
    np.testing.assert_allclose(by_quadrature, truth, rtol=close)


def test_quadrature_and_closed_form_agree_in_float64(double):
    *numbers, truth = beta_pairs(10.0)
    by_quadrature, closed = both_forms(*(x.astype(np.float64) for x in numbers))
    np.testing.assert_allclose(closed, truth, rtol=1e-11)
    np.testing.assert_allclose(by_quadrature, truth, rtol=2e-8)


@pytest.mark.parametrize("a", [0.6, 0.51, 0.505, 0.501, 0.5005, 0.50001])
def test_near_divergence(a):
    """Under gamma = t, Beta(a, 1) diverges at a = 1/2: the energy goes as 1 / (2a - 1)."""
    mpmath = pytest.importorskip("mpmath")
    a = np.float32(a)
    with mpmath.workdps(30):
        x = mpmath.mpf(float(a))
        truth = float(mpmath.pi**2 * mpmath.beta(2 * x - 1, 1) / mpmath.beta(x, 1) ** 2)
    for schedule in (schedules.beta(a, 1.0), schedules.beta(1.0, a)):
        assert float(energies.closed_form(schedule, SINE_SQUARED)) == pytest.approx(truth, rel=2e-6)
        assert float(fisher_action(schedule, SINE_SQUARED)) == pytest.approx(truth, rel=1e-5)


def digamma_slopes(a, b, c, d):
    """Derivatives of the closed form in all four numbers, float64."""
    value, psi = exact(a, b, c, d), special.digamma
    left, right, sides = 2 * a - c, 2 * b - d, psi(2 * a - c + 2 * b - d)
    return np.stack([
        2 * value * (psi(left) - sides - psi(a) + psi(a + b)),
        2 * value * (psi(right) - sides - psi(b) + psi(a + b)),
        value * (psi(c) - psi(c + d) - psi(left) + sides),
        value * (psi(d) - psi(c + d) - psi(right) + sides),
    ])  # fmt: skip


@pytest.mark.core
@pytest.mark.parametrize("energy", [energies.closed_form, fisher_action])
def test_gradients_are_digamma_differences(energy):
    a, b, c, d, truth = beta_pairs(3.0, 600)
    slope = jax.jit(jax.vmap(jax.grad(lambda a, b, c, d: energy(schedules.Beta(a, b), schedules.Beta(c, d)), range(4))))
    expected = digamma_slopes(*(x.astype(np.float64) for x in (a, b, c, d)))
    # near divergence slopes are large, and their errors in proportion; near the optimum they cancel
    scale = np.abs(expected) + truth
    assert (np.abs(np.stack(slope(a, b, c, d)) - expected) < 3e-5 * scale).all()


@pytest.mark.parametrize(
    ("energy", "form"),
    [
        (energies.kinetic, "closed form"),
        (energies.conditional_kinetic, "closed form"),
        (energies.geodesic_energy, "closed form"),
        pytest.param(energies.kinetic, "quadrature", marks=pytest.mark.thorough),
    ],
)
def test_gradients_of_each_energy_in_both_precisions(energy, form):
    weight = schedules.beta(0.7, 0.4) if form == "closed form" else SINE

    def value(numbers):
        return energy(schedules.beta(numbers[0], numbers[1]), weight)

    at = np.float32([0.9, 0.8])
    slope = jax.grad(value)(jnp.asarray(at))
    with jax.enable_x64(True):
        weight = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), weight)
        at = at.astype(np.float64)
        steps = 1e-5 * np.eye(2)
        truth = [float(value(at + step) - value(at - step)) / 2e-5 for step in steps]
        np.testing.assert_allclose(jax.grad(value)(jnp.asarray(at)), truth, rtol=1e-7)
    np.testing.assert_allclose(slope, truth, rtol=2e-5)


def sixty_fourths(least, most):
    """Multiples of 1/64, which float32 holds exactly."""
    return st.integers(int(least * 64), int(most * 64)).map(lambda x: x / 64)


smooth = st.one_of(
    st.builds(schedules.beta, sixty_fourths(0.25, 4), sixty_fourths(0.25, 4)),
    st.builds(schedules.polynomial, sixty_fourths(0.25, 5)),
    st.builds(schedules.geometric, sixty_fourths(0.02, 0.5), sixty_fourths(1, 9)),
    st.sampled_from([LINEAR, SINE, SINE_SQUARED, MASKGIT]),
    st.builds(lambda degree: schedules.kinetic_optimum(schedules.polynomial(degree)), sixty_fourths(0.25, 3)),
    st.builds(
        lambda rises: schedules.tabulated(np.linspace(0, 1, 5), np.cumsum([0, *rises]) / sum(rises)),
        st.lists(st.sampled_from([1, 2, 5]), min_size=4, max_size=4).map(lambda x: [*x[:3], 16 - sum(x[:3])]),
    ),
)
by_definition = jax.jit(
    lambda schedule, weight, t: (schedule.alpha(t), jax.grad(schedule.alpha)(t), jax.grad(weight.theta)(t))
)
in_the_angle = jax.jit(lambda schedule, weight, t: 2 * schedule.log_theta_rate(t) - weight.log_theta_rate(t))


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(st.integers(1, 3), st.integers(2, 3)), st.integers(0, 10**6), sixty_fourths(0.05, 0.97), smooth, smooth
)  # fmt: skip
@pytest.mark.thorough
def test_instantaneous_energies_are_those_of_every_state(shape, seed, t, schedule, weight):
    """Form (c): all states of (V+1)^n, all rates, a random target; against the angle's one-dimensional integrand.

    The left side has alpha, alpha' and gamma' in float64, the slopes by autodiff of alpha and of theta.
    """
    assume(not any(isinstance(s, schedules.Tabulated) and t * 4 % 1 == 0 for s in (schedule, weight)))  # a kink
    with jax.enable_x64(True):
        exactly = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), (schedule, weight))
        alpha, rate, pace = map(float, by_definition(*exactly, jnp.float64(t)))
    assume(1e-6 < alpha < 1 - 1e-6)
    brute = enumeration.instantaneous(random_table(*shape, seed), alpha, rate)
    ours = np.pi**2 * np.exp(float(in_the_angle(schedule, weight, jnp.float32(t))))
    scales = np.exp(energies.log_multiplicity(shape[0], vocab_size=shape[1]))
    found = np.array([brute.kinetic, brute.conditional_kinetic, brute.geodesic]) / pace
    np.testing.assert_allclose(found, ours * scales, rtol=1e-5)


@pytest.mark.core
def test_multiplicities_count_the_masked_tokens():
    for length, vocab_size in [(1, 3), (2, 2), (2, 4), (3, 2), (3, 3), (4, 2)]:
        counted = enumeration.constants(random_table(length, vocab_size, 0))
        every = np.stack(np.unravel_index(np.arange(vocab_size**length), (vocab_size,) * length), axis=1)
        for found in (
            energies.log_multiplicity(length, vocab_size=vocab_size),
            energies.log_multiplicity(length, support=every),
        ):
            np.testing.assert_allclose(np.exp(found), counted, rtol=1e-12)
    both = np.array([[0] * 5, [1] * 5])
    assert round(np.exp(energies.log_multiplicity(5, support=both).kinetic)) == 155
    rows = np.stack(np.unravel_index(np.arange(32), (2,) * 5), axis=1)
    two_or_three = rows[(rows.sum(1) == 2) | (rows.sum(1) == 3)]
    assert round(np.exp(energies.log_multiplicity(5, support=two_or_three).kinetic)) == 395
    assert round(np.exp(energies.log_multiplicity(5, vocab_size=2).kinetic)) == 405
    assert energies.log_multiplicity(10_000, vocab_size=50_000).kinetic > 1e5  # no overflow


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 3}, "vocab_size or support must be given"),
        ({"length": 3, "vocab_size": 2, "support": np.zeros((1, 3), int)}, "and not both"),
        ({"length": 0, "vocab_size": 2}, "length must be a whole number, 1 or more; got 0"),
        ({"length": 2, "vocab_size": 0}, "vocab_size must be a whole number, 1 or more; got 0"),
        ({"length": 30, "support": np.zeros((1, 30), int)}, "length must be at most 20"),
    ],
)
def test_multiplicities_of_nothing(options, message):
    with pytest.raises(InputError, match=message):
        energies.log_multiplicity(**options)


@pytest.mark.core
@pytest.mark.parametrize("weight", [SINE_SQUARED, LINEAR, schedules.beta(0.9, 0.4)], ids=str)
@pytest.mark.parametrize("schedule", [SINE, schedules.beta(1.3, 0.8), schedules.polynomial(2.5), MASKGIT], ids=str)
def test_energy_is_one_plus_chi_squared(schedule, weight):
    energy, chi = energies.kinetic(schedule, weight), energies.chi_squared(schedule, weight)
    assert float(energy) == pytest.approx(np.pi**2 * (1 + float(chi)), rel=2e-5)


@pytest.mark.core
def test_chi_squared_near_the_optimum():
    def density(t, a, b):
        return t ** (a - 1) * (1 - t) ** (b - 1) / special.beta(a, b)

    for step in (0.1, 1e-2, 1e-3):
        mine = np.float32(1.5 + step)
        truth = integrate.quad(
            lambda t, mine=float(mine): (density(t, mine, 2.0) - density(t, 1.5, 2.0)) ** 2 / density(t, 1.5, 2.0),
            0, 1, epsabs=0, epsrel=1e-10,
        )[0]  # fmt: skip
        found = energies.chi_squared(schedules.beta(mine, 2.0), schedules.beta(1.5, 2.0))
        assert float(found) == pytest.approx(truth, rel=1e-3 if step == 1e-3 else 1e-4)
    assert energies.chi_squared(schedules.beta(1.5, 2.0), schedules.beta(1.5, 2.0)) == 0
    assert energies.chi_squared(LINEAR) == np.inf


METRICS = {
    "fisher": (energies.fisher, lambda a: 2 * np.arcsin(np.sqrt(a))),
    "flat": (energies.flat, lambda a: a),
    "tilted": (tilted, lambda a: ((1 + 5 * a) ** 1.5 - 1) * 2 / 15),
    "decaying": (lambda a, u: u, lambda a: (1 - (1 - a) ** 1.5) * 2 / 3),
}


@pytest.mark.core
@pytest.mark.parametrize("name", METRICS)
def test_arc_length(name):
    metric, truth = METRICS[name]
    alpha = np.linspace(0, 1, 9)
    np.testing.assert_allclose(energies.arc_length(metric, jnp.asarray(alpha)), truth(alpha), rtol=3e-6, atol=1e-7)
    assert energies.arc_length(metric).shape == ()


@pytest.mark.core
@pytest.mark.parametrize("weight", [SINE_SQUARED, schedules.beta(0.9, 0.4)], ids=str)
@pytest.mark.parametrize("name", METRICS)
@pytest.mark.thorough
def test_a_geodesic_covers_its_length_at_the_weights_pace(name, weight):
    metric, length = METRICS[name]
    found = energies.geodesic(metric, weight)
    t = jnp.linspace(0, 1, 65)
    # the inverse of the arc length, by a root finder in float64
    share = np.asarray(weight.theta(t), np.float64)
    truth = [
        0 if s <= 0 else 1 if s >= 1 else optimize.brentq(lambda a, s=s: length(a) - s * length(1), 0, 1) for s in share
    ]
    np.testing.assert_allclose(found.alpha(t), truth, atol=3e-6 if name != "decaying" else 2e-4)
    np.testing.assert_allclose(found.alpha(t) + found.one_minus_alpha(t), 1, atol=1e-6)
    assert float(actions.action(found, metric, weight)) == pytest.approx(length(1) ** 2, rel=1e-3)


@pytest.mark.core
@pytest.mark.parametrize("name", METRICS)
def test_no_schedule_has_less_action_than_the_geodesic(name):
    metric, length = METRICS[name]
    weight = schedules.beta(0.8, 0.7)
    least = length(1) ** 2
    others = [SINE, MASKGIT, LINEAR, SINE_SQUARED, schedules.beta(0.9, 0.4), schedules.polynomial(2.0)]
    values = np.array([float(actions.action(other, metric, weight)) for other in others])
    assert (values > least * (1 - 1e-5)).all()
    assert (values > least * 1.001).sum() >= 5


@pytest.mark.core
def test_action_of_closed_forms():
    # integral alpha'^2 dt: 1 for t, pi^2/8 for the sines, p^2 / (2p - 1) for t^p
    assert actions.action(LINEAR, energies.flat) == pytest.approx(1, rel=1e-6)
    assert actions.action(SINE, energies.flat) == pytest.approx(np.pi**2 / 8, rel=1e-6)
    assert actions.action(MASKGIT, energies.flat) == pytest.approx(np.pi**2 / 8, rel=1e-6)
    for p in (0.6, 2.0, 3.0):
        assert actions.action(schedules.polynomial(p), energies.flat) == pytest.approx(p * p / (2 * p - 1), rel=1e-4)
    assert actions.action(schedules.polynomial(0.5), energies.flat) == np.inf
    # a metric with numbers of its own
    scaled = jax.tree_util.Partial(lambda scale, alpha, rest: scale / (alpha * rest), jnp.asarray(3.0))
    assert actions.action(SINE, scaled, LINEAR) == pytest.approx(3 * float(energies.kinetic(SINE, LINEAR)), rel=1e-4)
    slope = jax.grad(lambda x: actions.action(SINE, jax.tree_util.Partial(lambda s, a, u: s + a, x)))(2.0)
    assert slope == pytest.approx(np.pi**2 / 8, rel=1e-5)


@pytest.mark.core
@pytest.mark.thorough
def test_energies_of_a_geodesic():
    own = jax.jit(lambda g: energies.kinetic(g, g))
    for metric in (energies.flat, tilted, METRICS["decaying"][0]):
        for weight, close in ((SINE_SQUARED, 1e-4), (LINEAR, 1e-3), (schedules.beta(0.9, 0.3), 1e-2)):
            assert float(own(energies.geodesic(metric, weight))) == pytest.approx(np.pi**2, rel=close)
    line = energies.geodesic(energies.flat)  # alpha = t
    assert float(energies.kinetic(line, LINEAR)) == pytest.approx(np.pi**2, rel=1e-4)
    assert energies.kinetic(line) == np.inf
    early = jnp.array([1e-20, 1e-12, 1e-5])
    np.testing.assert_allclose(line.alpha(early), early, rtol=2e-4)
    with pytest.raises(InputError, match="metric must be of finite length"):
        energies.geodesic(lambda alpha, rest: alpha**-2.0)


def test_stacks_are_for_vmap():
    stack = schedules.beta(np.linspace(0.6, 2, 129), np.float64(0.8))
    for weight in (SINE, LINEAR):
        with pytest.raises(InputError, match="schedule must be one schedule, not a stack"):
            energies.kinetic(stack, weight)
    with pytest.raises(InputError, match="at least one schedule"):
        energies.batch(schedules.beta(np.zeros(0) + 1, 1.0))


@pytest.mark.thorough
def test_tables_in_batches():
    stack = jax.vmap(lambda key: schedules.free(64, key=key))(jax.random.split(jax.random.key(0), 3))
    values, slopes = energies.batch(stack, schedules.beta(0.8, 0.9), gradient=True)
    alone = [
        jax.value_and_grad(energies.kinetic)(jax.tree.map(lambda x, i=i: x[i], stack), schedules.beta(0.8, 0.9))
        for i in range(3)
    ]
    np.testing.assert_allclose(values, [value for value, _ in alone], rtol=1e-5)
    np.testing.assert_allclose(slopes.logits, [slope.logits for _, slope in alone], rtol=1e-3, atol=1e-4)


class Twisted(schedules.Beta):
    """A subclass with an angle of its own has no closed form."""

    def theta(self, t):
        return schedules.as_float(t)

    def one_minus_theta(self, t):
        return 1 - schedules.as_float(t)

    def log_theta_rate(self, t, complement=None):
        return jnp.zeros_like(schedules.as_float(t))

    def log_regular_rate(self, t, complement=None):
        return jnp.zeros_like(schedules.as_float(t))

    def end_exponents(self):
        return 1.0, 1.0


def test_a_subclass_has_its_own_energy():
    mine = Twisted(jnp.float32(0.9), jnp.float32(0.8))
    assert float(energies.kinetic(mine)) == pytest.approx(np.pi**2, rel=1e-5)


SCALED = {
    "optimum of beta": lambda x: schedules.kinetic_optimum(schedules.beta(x, 0.7)),
    "optimum of geometric": lambda x: schedules.kinetic_optimum(schedules.geometric(x / 10, 5.0)),
    "table": lambda x: schedules.tabulate(schedules.geometric(x / 10, 5.0), 16),
}


@pytest.mark.parametrize("name", SCALED)
@pytest.mark.thorough
def test_slopes_in_the_parameters(name, double):
    t = jnp.array([0.0, 0.31, 0.77, 1.0])

    def value(x):
        schedule = SCALED[name](x)
        return jnp.stack([schedule.alpha(t), schedule.derivative(t), schedule.inverse(t), schedule.weight(0.9 * t)])

    slopes = jax.jit(jax.jacrev(value))(0.9)
    assert not np.isnan(slopes).any()
    compiled = jax.jit(value)
    truth = (compiled(0.9 + 1e-6) - compiled(0.9 - 1e-6)) / 2e-6
    np.testing.assert_allclose(slopes[:, 1:3], truth[:, 1:3], rtol=2e-5, atol=1e-6)


@pytest.mark.thorough
def test_a_metric_with_poles_has_slopes_too():
    def written_out(alpha, one_minus_alpha):
        return 1 / (alpha * one_minus_alpha)

    weight = schedules.beta(0.8, 0.7)
    schedule = schedules.beta(0.9, 0.6)
    by_metric = jax.jit(jax.grad(lambda s: actions.action(s, written_out, weight)))(schedule)
    known = jax.jit(jax.grad(lambda s: energies.kinetic(s, weight)))(schedule)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=5e-3, atol=5e-3), by_metric, known)


@pytest.mark.thorough
def test_a_geodesic_is_differentiable_in_metric_and_weight(double):
    def alpha(scale, a):
        metric = jax.tree_util.Partial(lambda s, x, _: 1 + s * x, scale)
        return energies.geodesic(metric, schedules.beta(a, 0.8)).alpha(0.3)

    slopes = jax.jit(jax.grad(alpha, argnums=(0, 1)))(2.0, 0.7)
    alpha = jax.jit(alpha)
    steps = [
        (alpha(2.0 + 1e-5, 0.7) - alpha(2.0 - 1e-5, 0.7)) / 2e-5,
        (alpha(2.0, 0.7 + 1e-5) - alpha(2.0, 0.7 - 1e-5)) / 2e-5,
    ]
    np.testing.assert_allclose(slopes, steps, rtol=1e-5)


@pytest.mark.core
def test_discrete_steps():
    for steps, value in [(2, 9.373), (4, 9.743), (8, 9.838), (16, 9.862)]:
        even = jnp.linspace(0, 1, steps + 1)
        assert float(energies.chord_energy(even, even)) == pytest.approx(
            8 * steps**2 * (1 - np.cos(np.pi / 2 / steps)), rel=1e-5
        )
        assert float(energies.chord_energy(even, even)) == pytest.approx(value, abs=6e-4)
        assert float(energies.angle_energy(even, even)) == pytest.approx(np.pi**2, rel=1e-6)
    # arXiv 2509.13866, appendix D.5: for unequal steps theta = gamma is not quite the optimum of chords
    gammas = np.cumsum([0, 0.1, 0.2, 0.3, 0.4])

    def chords(inner):
        angles = np.concatenate([[0], inner, [1]]) * np.pi / 2
        return np.sum(4 * (2 - 2 * np.cos(np.diff(angles))) / np.diff(gammas))

    best = optimize.minimize(chords, gammas[1:-1], method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-12})
    assert float(energies.chord_energy(gammas, gammas)) == pytest.approx(9.66882, abs=2e-5)
    assert best.fun == pytest.approx(9.66345, abs=1e-5)
    found = energies.chord_energy(np.concatenate([[0], best.x, [1]]), gammas)
    assert float(found) == pytest.approx(best.fun, rel=1e-5)
    assert float(energies.angle_energy(gammas, gammas)) == pytest.approx(np.pi**2, rel=1e-6)
    slope = jax.grad(energies.angle_energy)(jnp.asarray(gammas, float), jnp.asarray(gammas, float))
    np.testing.assert_allclose(slope[1:-1], 0, atol=1e-4)
    stacked = energies.angle_energy(jnp.stack([even, even]), jnp.stack([even, even]))
    assert stacked.shape == (2,)
    with pytest.raises(
        InputError, match=r"angles and gammas must be arrays with the same number of knots.*\(3,\) and \(4,\)"
    ):
        energies.chord_energy(jnp.ones(3), jnp.ones(4))


def test_finer_steps_rise_to_the_energy():
    schedule, weight = schedules.beta(1.2, 0.9), schedules.beta(0.8, 0.7)
    exact_value = float(energies.kinetic(schedule, weight))
    last, t = 0.0, jnp.linspace(0, 1, 257)
    angles, gammas = (np.asarray(s.theta(t)) for s in (schedule, weight))
    for stride in (64, 16, 4, 1):
        value = float(energies.angle_energy(angles[::stride], gammas[::stride]))
        assert last < value < exact_value
        last = value
    assert last == pytest.approx(exact_value, rel=1e-2)


def test_the_closed_form_is_for_beta_schedules():
    with pytest.raises(InputError, match=r"schedule and weight must be of the Beta family.*got Sine"):
        energies.closed_form(SINE, LINEAR)
