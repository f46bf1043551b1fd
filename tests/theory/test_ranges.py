"""Right or refused, at both ends of every family's range: energies by the identity that a schedule costs pi^2 under
itself and by closed forms, weights by mpmath's incomplete beta and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdm_jax.support.errors import InputError
from mdm_jax.theory import energies, schedules
from mdm_jax.theory.energies import enumeration
from mdm_jax.theory.schedules import Schedule

pytestmark = pytest.mark.core


@pytest.mark.parametrize(
    ("small", "least", "most", "large"),
    [
        (schedules.polynomial(0.05), schedules.polynomial(0.2), schedules.polynomial(1e6), None),
        (None, schedules.geometric(1e-30, 1e-20), schedules.geometric(40.0, 50.0), None),
        (
            None,
            schedules.kinetic_optimum(schedules.polynomial(0.1)),
            schedules.kinetic_optimum(schedules.polynomial(1e3)),
            None,
        ),
    ],
    ids=["polynomial", "geometric", "kinetic optimum"],
)
def test_a_schedule_costs_pi_squared_under_itself_or_is_refused(small, least, most, large):
    for schedule in (least, most):
        assert float(energies.kinetic(schedule, schedule)) == pytest.approx(np.pi**2, rel=1e-3)
    for schedule in filter(None, (small, large)):
        with pytest.raises(InputError, match=r"^schedule and weight must be a pair that float32 nodes resolve"):
            energies.kinetic(schedule, schedule)
        assert np.isnan(jax.jit(energies.kinetic)(schedule, schedule))


def test_sharp_peaks_are_right_or_refused():
    """Under the linear weight Beta(a, a) has a closed form; by quadrature it is right as far as it is taken."""
    from mdm_jax.theory.energies import actions

    for a, taken in ((10.0, True), (50.0, True), (100.0, False), (1000.0, False)):
        schedule = schedules.beta(a, a)
        if taken:
            truth = float(energies.closed_form(schedule, schedules.linear()))
            assert float(actions.action(schedule, weight=schedules.linear())) == pytest.approx(truth, rel=1e-4)
        else:
            with pytest.raises(InputError, match=r"float32 nodes resolve.*; got beta:\d+,\d+ and linear"):
                actions.action(schedule, weight=schedules.linear())


@pytest.mark.parametrize(("a", "b"), [(0.5, 10.0), (0.05, 50.0), (1000.0, 1000.0), (0.01, 0.01), (0.01, 1000.0)])
@pytest.mark.few(1)
def test_weights_of_beta_have_no_nan_and_are_right(a, b):
    mpmath = pytest.importorskip("mpmath")
    schedule = schedules.beta(a, b)
    assert not np.isnan(schedule.weight(np.linspace(0, 1, 1001))).any()
    times = [0.125, 0.5, 0.75, 0.9375, 0.9921875]
    with mpmath.workdps(400):
        exact = [mpmath.mpf(float(np.float32(x))) for x in (a, b)]
        truth = []
        for t in times:
            rate = mpmath.mpf(t) ** (exact[0] - 1) * mpmath.mpf(1 - t) ** (exact[1] - 1) / mpmath.beta(*exact)
            left = mpmath.betainc(exact[1], exact[0], 0, 1 - t, regularized=True)
            truth.append(float(mpmath.pi * rate / mpmath.tan(mpmath.pi / 2 * left)))
    np.testing.assert_allclose(schedule.weight(np.array(times)), truth, rtol=2e-3)


def test_weights_of_the_other_families():
    t = np.linspace(0.01, 0.99, 99)
    by_hand = {
        "polynomial": (schedules.polynomial(1e-6), -1 / (t * np.log(t))),
        "geometric": (schedules.geometric(1e-30, 1.0), None),
        "optimum": (schedules.kinetic_optimum(schedules.linear()), np.pi / np.tan(np.pi / 2 * (1 - t))),
        "table": (schedules.tabulated(np.array([0.0, 1.0]), np.array([0.0, 1.0])), np.pi / np.tan(np.pi / 2 * (1 - t))),
    }
    for name, (schedule, truth) in by_hand.items():
        weight = np.asarray(schedule.weight(t))
        assert np.isfinite(weight).all()
        if truth is not None:
            np.testing.assert_allclose(weight, truth, rtol=1e-4, err_msg=name)
        assert np.isinf(schedule.weight(1.0))


class Wiggle(Schedule):
    """``sin^2`` of a bent line: ``theta' - 1`` is a cosine, so that ``E = pi^2 (1 + c^2 / 2)``."""

    c: jax.Array

    def alpha(self, t):
        t = jnp.asarray(t, float)
        return jnp.sin(jnp.pi / 2 * (t + self.c * jnp.sin(2 * jnp.pi * t) / (2 * jnp.pi))) ** 2


@pytest.mark.parametrize("c", [-0.7, 0.3])
def test_enumeration_takes_what_energies_take(c, double):
    found = enumeration.energies(np.full((2, 2), 0.25), Wiggle(jnp.asarray(c)), schedules.sine_squared())
    truth = np.pi**2 * (1 + c * c / 2)
    np.testing.assert_allclose(found[:3], [6 * truth, 4 * truth, 2 * truth], rtol=1e-6)
    again = enumeration.energies(np.full((2, 2), 0.25), schedules.sine_squared(), Wiggle(jnp.asarray(c)))
    by_angle = np.pi**2 / np.sqrt(1 - c * c)  # the mean of 1 / (1 + c cos)
    np.testing.assert_allclose(again[:3], [6 * by_angle, 4 * by_angle, 2 * by_angle], rtol=1e-6)
