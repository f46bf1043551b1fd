"""Bounds and symmetries of the energy that hold for every schedule and weight."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mdm_jax.theory import energies, schedules

number = st.floats(0.0625, 5.0, width=32)
of_beta = jax.jit(lambda a, b, c, d: energies.kinetic(schedules.beta(a, b), schedules.beta(c, d)))
of_power = jax.jit(lambda p, c, d: energies.kinetic(schedules.polynomial(p), schedules.beta(c, d)))
of_power_twice = jax.jit(lambda p, q: energies.kinetic(schedules.polynomial(p), schedules.polynomial(q)))
tuned = settings(max_examples=80, deadline=None)


@tuned
@given(number, number, number, number)
def test_never_below_pi_squared(a, b, c, d):
    value = float(of_beta(a, b, c, d))
    assert value >= np.pi**2 * (1 - 2e-5)  # float32
    assert np.isfinite(value) == bool(np.float32(2 * a) - np.float32(c) > 0 and np.float32(2 * b) - np.float32(d) > 0)


@tuned
@given(number, number, number, number)
def test_time_may_run_backwards(a, b, c, d):
    np.testing.assert_allclose(of_beta(a, b, c, d), of_beta(b, a, d, c), rtol=1e-4)


@tuned
@given(number, number, number)
def test_never_below_pi_squared_by_quadrature(p, c, d):
    assert of_power(p, c, d) >= np.pi**2 * (1 - 1e-3)
    twice = of_power_twice(p, c)
    assert twice >= np.pi**2 * (1 - 1e-3) or (np.isnan(twice) and p < 0.1)  # not resolved, and told


@tuned
@given(number, number, number)
def test_gradients_are_never_nan(p, c, d):
    slopes = [slope(*(jnp.asarray(x) for x in (p, c, d))) for slope in (_slope_of_power, _slope_of_weight)]
    assert np.isfinite(slopes).all()


_slope_of_power = jax.jit(jax.grad(lambda p, c, d: energies.kinetic(schedules.polynomial(p), schedules.beta(c, d))))
_slope_of_weight = jax.jit(jax.grad(lambda p, c, d: energies.kinetic(schedules.beta(c, d), schedules.polynomial(p))))
