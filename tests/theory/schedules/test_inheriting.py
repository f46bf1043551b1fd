"""A subclass is never taken for its base: what it writes is what counts, everywhere."""

import jax.numpy as jnp
import numpy as np
import pytest

from mdm_jax.support.errors import InputError
from mdm_jax.theory import energies, plans, schedules
from mdm_jax.theory.energies import geodesics, metrics
from mdm_jax.theory.plans import grids
from mdm_jax.theory.schedules import Schedule
from mdm_jax.theory.schedules import text as schedule_text

pytestmark = pytest.mark.core

BASES = {
    "linear": schedules.linear(),
    "sine": schedules.sine(),
    "sine_squared": schedules.sine_squared(),
    "maskgit": schedules.maskgit(),
    "polynomial": schedules.polynomial(0.5),
    "geometric": schedules.geometric(),
    "beta": schedules.beta(0.5, 0.5),
    "kinetic_optimum": schedules.kinetic_optimum(schedules.linear()),
    "tabulated": schedules.tabulated(np.array([0.0, 0.4, 1.0]), np.array([0.0, 0.3, 1.0])),
    "geodesic": geodesics.geodesic(metrics.flat),
}
"""All but the last three have the square root of time at 0 or are linear in it, so that cubes have finite energies."""
TIMES = np.linspace(0.05, 0.95, 19)
WEIGHT = schedules.beta(0.4, 0.4)


class Cubic(Schedule):
    """``t^3``, known by ``alpha`` alone."""

    def alpha(self, t):
        return schedules.as_float(t) ** 3


def cube(base, **more):
    """A subclass of the base's class whose ``alpha`` is ``t^3``, with the base's numbers."""
    mine = type("Mine", (type(base),), {"alpha": lambda self, t: schedules.as_float(t) ** 3, **more})
    return mine(**base.parameters())


@pytest.mark.parametrize("name", BASES)
def test_a_subclass_with_an_alpha_of_its_own_has_companions_of_its_own(name):
    mine = cube(BASES[name])
    np.testing.assert_allclose(mine.one_minus_alpha(TIMES), 1 - TIMES**3, rtol=1e-5)
    np.testing.assert_allclose(mine.theta(TIMES), 2 / np.pi * np.arcsin(TIMES**1.5), rtol=1e-5)
    np.testing.assert_allclose(mine.one_minus_theta(TIMES), 2 / np.pi * np.arccos(TIMES**1.5), rtol=1e-4)
    np.testing.assert_allclose(mine.derivative(TIMES), 3 * TIMES**2, rtol=1e-5)
    np.testing.assert_allclose(mine.weight(TIMES), 3 * TIMES**2 / (1 - TIMES**3), rtol=1e-4)
    np.testing.assert_allclose(mine.inverse(TIMES**3), TIMES, rtol=1e-5)
    rate = 3 * TIMES**2 / (np.pi * np.sqrt(TIMES**3 * (1 - TIMES**3)))
    np.testing.assert_allclose(mine.theta_rate(TIMES), rate, rtol=1e-4)
    assert mine.end_exponents() is None
    assert mine.name == "Mine"


@pytest.mark.parametrize("name", BASES)
def test_its_plans_grids_and_names_are_its_own(name):
    mine = cube(BASES[name])
    assert plans.from_schedule(mine, 64, 4).sizes.tolist() == [1, 7, 19, 37]
    np.testing.assert_allclose(grids.from_schedule(mine, 4).fractions, np.arange(5) ** 3 / 64, rtol=1e-6)
    assert schedule_text.label(mine) == "Mine"
    assert schedule_text.definition(mine) is None
    for write in (schedule_text.text_of, schedule_text.to_json):
        with pytest.raises(InputError, match=r"^schedule must be of a named family to be written down; got Mine\.$"):
            write(mine)


@pytest.mark.parametrize("name", ["linear", "beta", "polynomial", "sine_squared"])
def test_its_energy_is_its_own(name):
    truth = float(energies.kinetic(schedules.polynomial(3.0), WEIGHT))
    assert float(energies.kinetic(cube(BASES[name]), WEIGHT)) == pytest.approx(truth, rel=1e-3)
    assert float(energies.kinetic(WEIGHT, cube(BASES[name]))) == np.inf  # 2 * .4 < 1.5
    assert float(energies.kinetic(cube(BASES[name], ends=(1.5, 0.5)), WEIGHT)) == pytest.approx(truth, rel=1e-3)


def test_super_is_the_base():
    """``super().alpha`` of an angle schedule stands on the base's angle, not on what is computed from the new alpha."""

    class Squared(schedules.Beta):
        def alpha(self, t):
            return super().alpha(t) ** 2

        def derivative(self, t):
            return 2 * super().alpha(t) * super().derivative(t)

    mine = Squared(a=jnp.float32(0.9), b=jnp.float32(0.8))
    base = schedules.beta(0.9, 0.8)
    np.testing.assert_allclose(mine.alpha(TIMES), base.alpha(TIMES) ** 2, rtol=1e-6)
    np.testing.assert_allclose(mine.derivative(TIMES), 2 * base.alpha(TIMES) * base.derivative(TIMES), rtol=1e-6)
    np.testing.assert_allclose(mine.theta(TIMES), 2 / np.pi * np.arcsin(base.alpha(TIMES)), rtol=1e-5)

    class Below(Squared):
        """Nothing of its own but the name."""

    below = Below(a=jnp.float32(0.9), b=jnp.float32(0.8))
    np.testing.assert_array_equal(below.theta(TIMES), mine.theta(TIMES))
    assert below.name == "Below"


@pytest.mark.parametrize("base", [schedules.Linear, schedules.SineSquared, schedules.MaskGIT, schedules.AngleSchedule])
@pytest.mark.parametrize("written", ["theta", "one_minus_theta", "one_minus_alpha"])
def test_any_one_definition_is_enough(base, written):
    t = TIMES[5:]  # earlier, float32 has too few digits of 1 - alpha
    formula = {
        "theta": lambda self, t: schedules.as_float(t) ** 2,
        "one_minus_theta": lambda self, t: 1 - schedules.as_float(t) ** 2,
        "one_minus_alpha": lambda self, t: jnp.cos(np.pi / 2 * schedules.as_float(t) ** 2) ** 2,
    }[written]
    mine = type("Mine", (base,), {written: formula})()
    alpha = np.sin(np.pi / 2 * t**2) ** 2
    np.testing.assert_allclose(mine.alpha(t), alpha, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(mine.theta(t), t**2, rtol=1e-3)
    np.testing.assert_allclose(mine.one_minus_alpha(t), 1 - alpha, rtol=1e-3)
    np.testing.assert_allclose(mine.theta_rate(t), 2 * t, rtol=1e-3)
    np.testing.assert_allclose(mine.inverse(alpha), t, rtol=1e-3)


def test_a_rate_of_its_own_is_the_one_that_energies_take():
    class Precise(schedules.Linear):
        def log_theta_rate(self, t, complement=None):
            return super().log_theta_rate(t, complement) + np.log(1.02)

    assert float(energies.kinetic(Precise(), WEIGHT)) == pytest.approx(
        1.02**2 * float(energies.kinetic(schedules.linear(), WEIGHT)), rel=1e-4
    )
