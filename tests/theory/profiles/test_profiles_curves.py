"""The monotone projection, the Bernstein curve in JAX against float64 sums, and the information metric."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from known_profiles import polya, random_falling
from scipy import stats

from mdm_jax.support.errors import InputError
from mdm_jax.theory import energies, plans, profiles, schedules
from mdm_jax.theory.energies import actions
from mdm_jax.theory.plans import grids
from mdm_jax.theory.profiles import Profile, curves


@pytest.mark.core
def test_projection_is_the_nearest_that_falls():
    generator = np.random.default_rng(0)
    for m in (1, 2, 4):
        means, variances = generator.normal(0, 1, m), generator.uniform(0.1, 2, m)
        profile = Profile(m, np.arange(m), means, np.diag(variances))
        best = curves.falling(profile).means
        assert (np.diff(best) <= 0).all()

        def distance(x, means=means, variances=variances):
            return np.sum((x - means) ** 2 / variances)

        grid = np.linspace(-2.5, 2.5, 14)
        rivals = (np.array(x) for x in itertools.product(grid, repeat=m) if (np.diff(x) <= 0).all())
        assert distance(best) <= min(distance(x) for x in rivals) + 1e-12


@pytest.mark.core
def test_projection_pools_and_carries_the_covariance():
    covariance = np.array([[0.1, 0.02, 0.0], [0.02, 0.2, 0.01], [0.0, 0.01, 0.4]])
    profile = Profile(5, np.array([0, 2, 4]), np.array([3.0, 1.0, 2.0]), covariance, {"rows": 7})
    fallen = curves.falling(profile)
    pooled = (1.0 / 0.2 + 2.0 / 0.4) / (1 / 0.2 + 1 / 0.4)
    np.testing.assert_allclose(fallen.means, [3.0, pooled, pooled], rtol=1e-12)
    share = np.array([0.0, 2 / 3, 1 / 3])
    assert fallen.covariance[1, 1] == pytest.approx(share @ covariance @ share)
    assert fallen.covariance[1, 2] == pytest.approx(fallen.covariance[1, 1])
    assert fallen.provenance == {"rows": 7}
    assert plans.optimal_for_every_budget(fallen, monge=True).nelbo.shape == (5,)  # interpolation keeps it falling
    already = random_falling(0, 20)
    assert curves.falling(already).values.tolist() == already.values.tolist()
    exact_beside_noisy = Profile(2, np.arange(2), np.array([1.0, 2.0]), np.diag([0.0, 1.0]))
    np.testing.assert_allclose(curves.falling(exact_beside_noisy).means, [1.0, 1.0], atol=1e-9)


FRACTIONS = np.concatenate([[0.0], np.geomspace(1e-20, 1e-2, 60), np.linspace(0.01, 1, 400)])


@pytest.mark.core
@pytest.mark.parametrize("length", [1, 2, 100, 1024])
def test_the_curve_is_the_binomial_mean(length, strict_types):
    values = np.random.default_rng(length).normal(5, 1, length)
    at = FRACTIONS.astype(np.float32)
    weights = stats.binom.pmf(np.arange(length), length - 1, at.astype(np.float64)[:, None])
    np.testing.assert_allclose(curves.bernstein_weights(length, at), weights, rtol=1e-9, atol=1e-13)
    bernstein = jax.jit(curves.bernstein)
    curve = bernstein(values, at)
    assert curve.dtype == jnp.float32
    scale = weights @ np.abs(values)
    assert np.abs((curve - weights @ values) / scale).max() < 1e-6
    assert at[0] == 0
    assert at[-1] == 1
    np.testing.assert_allclose(curve[jnp.array([0, -1])], values[[0, -1]], rtol=1e-6)
    # near 1, with the digits of 1 - alpha
    late = jax.jit(curves.bernstein)(values, 1 - at, at)
    np.testing.assert_allclose(late, bernstein(values[::-1], at), rtol=1e-5, atol=1e-6)


@pytest.mark.core
@pytest.mark.parametrize("length", [2, 3, 400])
@pytest.mark.thorough
def test_slopes_in_double(length, double, strict_types):
    values = np.random.default_rng(length).normal(5, 1, length)
    at = jnp.asarray([0.0, 1e-6, 0.2, 0.5, 0.9, 1.0])

    @jax.jit
    def derivatives(values, a):
        slope = jax.grad(curves.bernstein, argnums=1)
        by_value = jax.grad(curves.bernstein)(values, a[2])
        return (*(jax.vmap(f, (None, 0))(values, a) for f in (slope, jax.grad(slope, argnums=1))), by_value)

    slope, bend, by_value = derivatives(jnp.asarray(values), at)

    def expected(order):
        pmf = stats.binom.pmf(np.arange(length - order), length - 1 - order, np.asarray(at)[:, None])
        return pmf @ np.diff(values, order)

    np.testing.assert_allclose(slope, (length - 1) * expected(1), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(jax.jit(curves.bernstein_slope)(values, at), slope, rtol=1e-12)
    if length > 2:
        scale = (length - 1) * (length - 2)
        np.testing.assert_allclose(bend / scale, expected(2), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(by_value, curves.bernstein_weights(length, np.array(0.2)), rtol=1e-9, atol=1e-12)


@pytest.mark.core
def test_the_curve_is_the_loss_at_a_mask_rate():
    # length times its integral is the NELBO
    profile = polya(0.5, 64)
    points, masses = np.polynomial.legendre.leggauss(64)
    curve = curves.bernstein_weights(64, 0.5 + 0.5 * points) @ profile.values
    assert 64 * float(masses @ curve) / 2 == pytest.approx(profile.nelbo(), rel=1e-12)


@jax.jit
def along(metric, times):
    """``alpha`` of the geodesic, its length and its slope at 0.7, compiled once for all profiles of one length."""
    value, slope = jax.value_and_grad(energies.arc_length, argnums=1)(metric, 0.7)
    return energies.geodesic(metric).alpha(times), energies.arc_length(metric), value, slope


TIMES = jnp.arange(33) / 32


@pytest.mark.core
def test_information_metric():
    profile = polya(0.5, 128)
    metric = curves.information_metric(profile)
    at = np.linspace(0.01, 0.99, 50)
    exact = -127 * curves.bernstein_weights(127, at) @ np.diff(profile.values)
    np.testing.assert_allclose(metric(jnp.asarray(at), jnp.asarray(1 - at)), exact, rtol=5e-6)
    alpha, length, *_ = along(metric, TIMES)
    theta = (np.arange(5000) + 0.5) / 5000
    root = np.sqrt(-127 * curves.bernstein_weights(127, np.sin(np.pi / 2 * theta) ** 2) @ np.diff(profile.values))
    assert float(length) == pytest.approx(np.mean(root * np.sin(np.pi * theta)) * np.pi / 2, rel=1e-5)
    # the same on the host, and nearly the best sizes
    np.testing.assert_allclose(alpha, grids.geodesic(profile, 32).fractions, atol=2e-5)
    sizes = plans.round_sizes(np.asarray(alpha)[::4], 128)
    best = plans.optimal_for_every_budget(profile, 8).nelbo[-1] - profile.nelbo()
    assert profile.expected_nelbo(sizes) - profile.nelbo() < 1.1 * best


@pytest.mark.core
@pytest.mark.thorough
def test_the_geodesic_has_the_least_action():
    metric = curves.information_metric(polya(0.5, 128))
    length = float(along(metric, TIMES)[1])
    best = jax.jit(lambda metric: actions.action(energies.geodesic(metric), metric))(metric)
    assert float(best) == pytest.approx(length**2, rel=1e-3)
    action = jax.jit(lambda a, b: actions.action(schedules.beta(a, b), metric))
    for a, b in ((0.5, 0.5), (1.0, 1.0), (0.9, 0.3)):  # (.5, .5) is linear
        assert float(action(a, b)) > float(best)


@pytest.mark.core
def test_a_straight_profile_has_a_flat_metric():
    metric = curves.information_metric(profiles.from_values(np.linspace(3, 1, 128)))
    at = jnp.asarray([1e-18, 0.1, 0.5, 1.0])
    np.testing.assert_allclose(metric(at, 1 - at), 2.0, rtol=1e-6)
    np.testing.assert_allclose(along(metric, TIMES)[0], TIMES, atol=1e-5)


@pytest.mark.core
def test_a_metric_that_all_but_vanishes():
    early = profiles.from_values((np.arange(128) < 1).astype(float))  # falls once, at the start
    assert all(np.isfinite(x).all() for x in along(curves.information_metric(early), TIMES))
    for flat in (np.ones(8), np.array([1.0])):
        with pytest.raises(InputError, match=r"^profile must be one that falls somewhere; got \[1\.0, 1\.0\]\.$"):
            curves.information_metric(profiles.from_values(flat))
