"""The kinetic energy against quadrature in 30 digits, in another variable, from formulas written here."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special
from selecting import thorough_but

from mdm_jax.support.errors import InputError
from mdm_jax.theory import energies, schedules
from mdm_jax.theory.energies import batches
from mdm_jax.theory.schedules import Schedule

LINEAR, SINE, SINE_SQUARED, MASKGIT = (
    schedules.linear(),
    schedules.sine(),
    schedules.sine_squared(),
    schedules.maskgit(),
)


# Logarithms of theta'(t), with t and u = 1 - t both exact.
def log_beta(a, b):
    return lambda log_t, log_u: (a - 1) * log_t + (b - 1) * log_u - special.betaln(a, b)


def log_sine(log_t, log_u):
    return np.log(np.cos(np.pi / 4 * np.exp(log_u))) - 0.5 * _log_sin(log_t) - 0.5 * np.log(2)


def log_maskgit(log_t, log_u):
    return log_sine(log_u, log_t)


def log_polynomial(p):
    def log_rate(log_t, log_u):
        log_masked = np.where(log_t < np.log(0.5), np.log(-np.expm1(p * np.minimum(log_t, -1e-300))), 0.0)
        late = np.log(-np.expm1(p * np.log1p(-np.exp(np.minimum(log_u, -0.5)))) + 1e-320)
        late = np.where(log_u < -30, np.log(p) + log_u, late)  # 1 - (1 - u)^p ~ p u
        log_masked = np.where(log_t < np.log(0.5), log_masked, late)
        return np.log(p / np.pi) + (0.5 * p - 1) * log_t - 0.5 * log_masked

    return log_rate


def _log_sin(log_t):
    """log sin(pi t / 2), also where t underflows."""
    return np.where(log_t < -30, np.log(np.pi / 2) + log_t, np.log(np.sin(np.pi / 2 * np.exp(np.maximum(log_t, -40)))))


def energy(log_rate, log_weight):
    """``pi^2 integral theta'^2 / gamma' dt`` by scipy in ``x = log(t / (1 - t))``, where no end is singular."""

    def integrand(x):
        log_t, log_u = -np.logaddexp(0, -x), -np.logaddexp(0, x)
        return np.exp(2 * log_rate(log_t, log_u) - log_weight(log_t, log_u) + log_t + log_u)

    pieces = [-3000, -300, -60, -12, 0, 12, 60, 300, 3000]
    parts = [
        integrate.quad(integrand, *ends, limit=400, epsabs=1e-14, epsrel=1e-12)[0]
        for ends in itertools.pairwise(pieces)
    ]
    return np.pi**2 * sum(parts)


BETAS = [(0.9, 0.3), (0.3, 0.9), (1.0, 0.2), (0.5, 0.5), (0.9, 0.9), (2.0, 3.0), (1.3, 1.3)]
CLOSED = [(s, w) for s in BETAS for w in BETAS if s != w and 2 * s[0] - w[0] > 0.05 and 2 * s[1] - w[1] > 0.05]


@pytest.mark.core
def test_closed_form_is_the_integral(double):
    assert len(CLOSED) > 15
    for ours, theirs in CLOSED:
        value = energies.kinetic(schedules.beta(*ours), schedules.beta(*theirs))
        assert value == pytest.approx(energy(log_beta(*ours), log_beta(*theirs)), rel=1e-8), (ours, theirs)


@pytest.mark.core
def test_closed_form_in_float32():
    for ours, theirs in CLOSED:
        value = energies.kinetic(schedules.beta(*ours), schedules.beta(*theirs))
        assert value == pytest.approx(energy(log_beta(*ours), log_beta(*theirs)), rel=2e-5), (ours, theirs)


def test_closed_form_in_thirty_digits(double):
    mpmath = pytest.importorskip("mpmath")

    def density(a, b, t, u):
        return t ** (mpmath.mpf(str(a)) - 1) * u ** (mpmath.mpf(str(b)) - 1) / mpmath.beta(str(a), str(b))

    def truth(ours, theirs):
        def integrand(x):
            t, u = 1 / (1 + mpmath.exp(-x)), 1 / (1 + mpmath.exp(x))
            return density(*ours, t, u) ** 2 / density(*theirs, t, u) * t * u

        with mpmath.workdps(30):
            return float(mpmath.pi**2 * mpmath.quad(integrand, [-800, -100, -20, -5, 0, 5, 20, 100, 800]))

    for ours, theirs in CLOSED[::5]:
        value = energies.kinetic(schedules.beta(*ours), schedules.beta(*theirs))
        assert float(value) == pytest.approx(truth(ours, theirs), rel=1e-11)


@pytest.mark.core
@pytest.mark.parametrize(
    "schedule", [LINEAR, SINE_SQUARED, schedules.beta(0.9, 0.3), schedules.beta(1.7, 0.2)], ids=str
)
def test_pi_squared_where_the_schedule_is_its_own_weight(schedule):
    assert float(energies.kinetic(schedule, schedule)) == float(np.float32(np.pi**2))


@pytest.mark.core
@pytest.mark.parametrize("schedule", [SINE, MASKGIT, schedules.polynomial(2.0), schedules.polynomial(0.3)], ids=str)
def test_pi_squared_by_quadrature_too(schedule):
    assert energies.kinetic(schedule, schedule) == pytest.approx(np.pi**2, rel=2e-5)


@pytest.mark.core
@pytest.mark.parametrize(
    ("schedule", "weight", "converges"),
    [
        # theta ~ t^p, gamma ~ t^c at 0 and q, d at 1: finite exactly if 2p > c and 2q > d
        (LINEAR, None, False),
        (SINE, None, False),
        (MASKGIT, None, False),
        (schedules.polynomial(2.0), None, False),
        (schedules.polynomial(0.9), None, False),
        (schedules.beta(0.5, 0.9), None, False),
        (schedules.beta(0.501, 0.501), None, True),
        (SINE_SQUARED, LINEAR, True),
        (SINE, LINEAR, True),
        (SINE, schedules.beta(1.01, 1.0), False),
        (SINE, schedules.beta(0.99, 1.0), True),
        (MASKGIT, schedules.beta(1.0, 1.01), False),
        (MASKGIT, schedules.beta(1.0, 0.99), True),
        (schedules.polynomial(0.5), LINEAR, False),
        (schedules.polynomial(0.52), LINEAR, True),
        (schedules.beta(0.3, 0.3), schedules.beta(0.6, 0.1), False),
    ],
    ids=str,
)
def test_infinite_exactly_where_it_diverges(schedule, weight, converges):
    value = float(energies.kinetic(schedule, weight))
    assert np.isfinite(value) == converges
    assert value > np.pi**2 * (1 - 1e-6)


QUADRATURES = [
    (SINE, LINEAR, log_sine, log_beta(0.5, 0.5)),
    (MASKGIT, LINEAR, log_maskgit, log_beta(0.5, 0.5)),
    (SINE, schedules.beta(0.9, 0.3), log_sine, log_beta(0.9, 0.3)),
    (SINE, schedules.beta(0.2, 1.6), log_sine, log_beta(0.2, 1.6)),
    (MASKGIT, schedules.beta(0.6, 0.3), log_maskgit, log_beta(0.6, 0.3)),
    (SINE_SQUARED, SINE, log_beta(1, 1), log_sine),
    (SINE_SQUARED, MASKGIT, log_beta(1, 1), log_maskgit),
    (schedules.beta(0.7, 0.8), SINE, log_beta(0.7, 0.8), log_sine),
    (SINE, MASKGIT, None, None),  # 2p - c = 0: infinite
    (schedules.polynomial(2.0), LINEAR, log_polynomial(2), log_beta(0.5, 0.5)),
    (schedules.polynomial(0.7), LINEAR, log_polynomial(0.7), log_beta(0.5, 0.5)),
    (schedules.polynomial(3.0), schedules.beta(2.5, 0.9), log_polynomial(3), log_beta(2.5, 0.9)),
    (schedules.polynomial(0.2), schedules.beta(0.1, 0.3), log_polynomial(0.2), log_beta(0.1, 0.3)),
    (schedules.polynomial(12.0), schedules.beta(5.0, 0.4), log_polynomial(12), log_beta(5, 0.4)),
    (schedules.beta(1.5, 0.6), schedules.polynomial(2.0), log_beta(1.5, 0.6), log_polynomial(2)),
]


@pytest.mark.core
def test_quadrature_in_float32():
    for schedule, weight, log_rate, log_weight in QUADRATURES:
        truth = np.inf if log_rate is None else energy(log_rate, log_weight)
        assert energies.kinetic(schedule, weight) == pytest.approx(truth, rel=1e-4), (schedule, weight)


@pytest.mark.thorough
def test_quadrature_in_float64(double):
    for schedule, weight, log_rate, log_weight in QUADRATURES:
        # rebuilt, so that the parameters are float64
        schedule, weight = (
            type(s)(**{k: jnp.asarray(round(float(v), 6)) for k, v in s.parameters().items()})
            for s in (schedule, weight)
        )
        truth = np.inf if log_rate is None else energy(log_rate, log_weight)
        # the slowest tail here is t^0.1, whose first correction is left out
        assert energies.kinetic(schedule, weight) == pytest.approx(truth, rel=5e-6), (schedule, weight)


def test_steep_ends_cost_accuracy_as_documented():
    value = energies.kinetic(schedules.polynomial(30.0), schedules.beta(29.0, 0.5))
    truth = energy(log_polynomial(30), log_beta(29, 0.5))
    assert value == pytest.approx(truth, rel=5e-3)


@pytest.mark.core
@pytest.mark.parametrize("weight", [(0.5, 0.5), (0.9, 0.4), (0.2, 0.6)])
def test_maskgit_is_sine_in_the_mirror(weight):
    a, b = weight
    forwards = energies.kinetic(SINE, schedules.beta(a, b))
    assert np.isfinite(forwards)
    assert energies.kinetic(MASKGIT, schedules.beta(b, a)) == pytest.approx(float(forwards), rel=1e-6)


class Mixture(Schedule):
    """A user's schedule, ``alpha`` and nothing else: between smoothstep and a power."""

    share: jax.Array
    power: jax.Array

    def alpha(self, t):
        t = schedules.as_float(t)
        return self.share * t * t * (3 - 2 * t) + (1 - self.share) * t**self.power


def log_mixture(share, power):
    def log_rate(log_t, log_u):
        t, u = np.exp(log_t), np.exp(log_u)
        alpha = share * t * t * (3 - 2 * t) + (1 - share) * t**power
        # 1 - smoothstep(t) = u^2 (3 - 2u)
        masked = share * u * u * (3 - 2 * u) - (1 - share) * np.expm1(power * log_t)
        slope = share * 6 * t * u + (1 - share) * power * t ** (power - 1)
        return np.log(slope / (np.pi * np.sqrt(alpha * masked)))

    return log_rate


def _quad_in_t(log_rate, log_weight):
    """In ``t``: the mixture's formula underflows far out in ``x``."""

    def integrand(t):
        return np.exp(2 * log_rate(np.log(t), np.log1p(-t)) - log_weight(np.log(t), np.log1p(-t)))

    # t = s^4 and its mirror image take the singularities out
    first = integrate.quad(lambda s: integrand(s**4) * 4 * s**3, 0, 0.5**0.25, epsabs=0, epsrel=1e-10, limit=400)[0]
    last = integrate.quad(lambda s: integrand(1 - s**4) * 4 * s**3, 0, 0.5**0.25, epsabs=0, epsrel=1e-7, limit=400)[0]
    return np.pi**2 * (first + last)


@pytest.mark.core
@pytest.mark.parametrize(("share", "power"), [(1.0, 1.0), (0.5, 1.0), (0.3, 2.0), (0.0, 3.0)])
@pytest.mark.parametrize("weight", [(0.5, 0.5), (0.8, 0.3)])
@pytest.mark.filterwarnings("ignore:.*:scipy.integrate.IntegrationWarning")
def test_a_schedule_known_by_alpha_alone(share, power, weight):
    mine = Mixture(jnp.asarray(share), jnp.asarray(power))
    truth = _quad_in_t(log_mixture(share, power), log_beta(*weight))
    assert energies.kinetic(mine, schedules.beta(*weight)) == pytest.approx(truth, rel=1e-3)


@pytest.mark.core
def test_a_weight_known_by_alpha_alone():
    # its angle, t^(3/2) at 0 and 1 - u^(1/2) at 1, is that of polynomial(3)
    mine = Mixture(jnp.asarray(0.0), jnp.asarray(3.0))
    assert energies.kinetic(mine, mine) == pytest.approx(np.pi**2, rel=1e-3)
    truth = energy(log_beta(1.2, 0.6), log_polynomial(3))
    assert energies.kinetic(schedules.beta(1.2, 0.6), mine) == pytest.approx(truth, rel=1e-3)
    assert energies.kinetic(LINEAR, mine) == np.inf  # 2 * .5 < 1.5


@pytest.mark.parametrize("power", [1.0, 3.0])
def test_divergence_is_measured_for_alpha_alone(power):
    # theta ~ t^(power / 2) and 1 - theta ~ u^(1/2): infinite in uniform time
    assert energies.kinetic(Mixture(jnp.asarray(0.0), jnp.asarray(power))) == np.inf


@pytest.mark.thorough
def test_alpha_alone_in_float64(double):
    mine = Mixture(jnp.asarray(0.0), jnp.asarray(3.0))
    assert energies.kinetic(mine, LINEAR) == pytest.approx(energy(log_polynomial(3), log_beta(0.5, 0.5)), rel=1e-5)


def _differences(function, *at, step=1e-5):
    slopes = []
    for i in range(len(at)):
        up, down = ([x + sign * step * (i == j) for j, x in enumerate(at)] for sign in (1, -1))
        slopes.append((float(function(*up)) - float(function(*down))) / (2 * step))
    return slopes


def closed(a, b):
    return energies.kinetic(schedules.beta(a, b), schedules.beta(0.7, 0.4))


def closed_weight(a, b):
    return energies.kinetic(schedules.beta(0.8, 0.6), schedules.beta(a, b))


def quadrature_schedule(a, b):
    return energies.kinetic(schedules.beta(a, b), SINE)


def quadrature_weight(a, b):
    return energies.kinetic(SINE, schedules.beta(a, b))


def alpha_alone(share, power):
    return energies.kinetic(Mixture(share, 1 + power), LINEAR)


@pytest.mark.core
@pytest.mark.parametrize(
    "function",
    thorough_but(
        [closed, closed_weight, quadrature_schedule],
        [closed, closed_weight, quadrature_schedule, quadrature_weight, alpha_alone],
    ),
)
@pytest.mark.few(1)
def test_gradient(function, double):
    compiled, slope = jax.jit(function), jax.jit(jax.grad(function, argnums=(0, 1)))
    for at in [(0.9, 0.7), (0.6, 0.8)]:
        close = 3e-5 if function is alpha_alone else 1e-6  # where the tails begin is not differentiated
        np.testing.assert_allclose(slope(*at), _differences(compiled, *at), rtol=close, atol=1e-6)


@pytest.mark.thorough
def test_gradient_in_the_degree(double):
    def function(degree):
        return energies.kinetic(schedules.polynomial(degree), LINEAR)

    truth = (energy(log_polynomial(2.01), log_beta(0.5, 0.5)) - energy(log_polynomial(1.99), log_beta(0.5, 0.5))) / 0.02
    assert jax.grad(function)(2.0) == pytest.approx(truth, rel=1e-4)


@pytest.mark.core
@pytest.mark.parametrize("weight", [None, LINEAR, SINE], ids=str)
def test_the_gradient_vanishes_at_the_optimum(weight, double):
    a, b = (1.0, 1.0) if weight is None else (0.5, 0.5)
    if weight is SINE:
        slope = jax.grad(lambda p: energies.kinetic(schedules.polynomial(p), schedules.polynomial(1.5)))(1.5)
        assert slope == pytest.approx(0, abs=1e-6)
    else:
        slope = jax.grad(energies.kinetic)(schedules.beta(a, b), weight)
        assert [slope.a, slope.b] == pytest.approx([0, 0], abs=1e-9)


@pytest.mark.core
@pytest.mark.parametrize("weight", [SINE_SQUARED, SINE], ids=str)
def test_infinite_neighbours_do_not_spoil_gradients(weight):
    slopes_of = jax.jit(jax.vmap(jax.grad(lambda s: energies.kinetic(s, weight))))
    a, b = np.array([0.2, 0.9, 5.0, 0.9]), np.array([0.9, 0.9, 0.2, 0.7])
    values, slopes = energies.batch(schedules.beta(a, b), weight), slopes_of(schedules.beta(a, b))
    finite = np.array([False, True, False, True])
    assert np.isfinite(values).tolist() == finite.tolist()
    assert np.isfinite([slopes.a, slopes.b]).all()
    among_finite = slopes_of(schedules.beta(np.where(finite, a, 0.8), np.where(finite, b, 0.8)))
    np.testing.assert_array_equal(slopes.a[finite], among_finite.a[finite])
    np.testing.assert_array_equal(slopes.b[finite], among_finite.b[finite])
    assert (np.abs(slopes.a[finite]) > 0.01).all()


@pytest.mark.core
@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.few(1)
def test_one_executable_for_any_number_of_schedules(gradient):
    traces = []

    def energy(schedule, weight):
        traces.append(type(schedule))
        return energies.kinetic(schedule, weight)

    generator = np.random.default_rng(0)
    for count in (1, 3, 1000, batches.CHUNK, batches.CHUNK + 1):
        a, b = generator.uniform(0.3, 2, (2, count)).astype(np.float32)
        weight = schedules.beta(*generator.uniform(0.3, 1, 2))
        values = energies.batch(schedules.beta(a, b), weight, energy=energy, gradient=gradient)
        values, slopes = values if gradient else (values, None)
        assert values.shape == (count,)
        left, right = 2 * a - np.float32(weight.a), 2 * b - np.float32(weight.b)
        assert (np.isfinite(values) == ((left > 0) & (right > 0))).all()
        some = [jax.value_and_grad(energies.kinetic)(schedules.beta(x, y), weight) for x, y in zip(a[-3:], b[-3:])]
        np.testing.assert_allclose(values[-3:], [value for value, _ in some], rtol=1e-5)
        if gradient:
            np.testing.assert_allclose(slopes.a[-3:], [slope.a for _, slope in some], rtol=1e-5, atol=1e-5)
    assert traces == [schedules.Beta]
    for degrees in (generator.uniform(1, 3, 5), generator.uniform(1, 3, 50)):
        energies.batch(schedules.polynomial(degrees), schedules.linear(), energy=energy, gradient=gradient)
    assert traces == [schedules.Beta, schedules.Polynomial]


@pytest.mark.parametrize("stack", [schedules.beta(1.0, 1.0), schedules.linear()])
def test_a_stack_has_a_leading_axis(stack):
    with pytest.raises(InputError, match="stack must be a schedule whose leaves share one leading axis"):
        energies.batch(stack)
