"""What is no schedule is refused in one sentence; what only float32 or its shape makes odd is taken."""

import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdm_jax.support.errors import InputError
from mdm_jax.theory import energies, plans, schedules
from mdm_jax.theory.energies import actions, enumeration, geodesics, metrics, optimising
from mdm_jax.theory.plans import grids
from mdm_jax.theory.schedules import Schedule, checked_schedule
from mdm_jax.theory.schedules import text as schedule_text

pytestmark = pytest.mark.core


def made(alpha):
    return type("Mine", (Schedule,), {"alpha": lambda self, t: alpha(jnp.asarray(t, float))})()


BAD = {
    "reversed": (lambda t: 1 - t, r"alpha\(0\) = 1 and alpha\(1\) = 0 \(the reversed convention"),
    "half": (lambda t: 0.5 * t, r"alpha\(0\) = 0 and alpha\(1\) = 0.5"),
    "from a tenth": (lambda t: 0.1 + 0.9 * t, r"alpha\(0\) = 0.1 and alpha\(1\) = 1"),
    "stops short": (lambda t: (1 - 1e-3) * t, r"alpha\(1\) = 0.999"),
    "turns back": (lambda t: t + 0.3 * jnp.sin(2 * jnp.pi * t), r"alpha\(0.33.*\) = 0.59.* and alpha\(0.66.*\) = 0.40"),
    "above 1": (lambda t: t + 2 * t * (1 - t), r"alpha\(0.75\) = 1.125 and alpha\(1\) = 1"),
    "NaN": (lambda t: t * jnp.nan, r"alpha\(0\) = nan"),
    "infinite": (lambda t: jnp.where(t == 0.5, jnp.inf, t), r"alpha\(0.5\) = inf"),
    "whole numbers": (lambda t: t.astype(int), r"returns a float for every time; got Mine, which .* int32"),
    "one number": (lambda t: jnp.float32(0.5), r"returns a float for every time; got Mine, which .* \(\) of"),
    "too many": (lambda t: t[:, None] * jnp.ones((1, 2)), r"returns a float for every time; got Mine"),
    "one time at a time": (lambda t: t if t < 0.5 else 1.0, r"takes an array of times; that of Mine raises"),
}
FRONTS = {
    "plans": lambda s: plans.from_schedule(s, 16, 4),
    "grids": lambda s: grids.from_schedule(s, 4),
    "tabulate": schedules.tabulate,
    "kinetic": energies.kinetic,
    "weight": lambda s: energies.kinetic(schedules.beta(0.9, 0.9), s),
    "chi squared": energies.chi_squared,
    "action": lambda s: actions.action(s, energies.flat),
    "geodesic": lambda s: geodesics.geodesic(metrics.flat, s),
    "enumeration": lambda s: enumeration.energies(np.array([1.0]), s),
    "minimise": lambda s: optimising.minimise(energies.kinetic, s),
    "kinetic optimum": schedules.kinetic_optimum,
    "text": schedule_text.to_json,
}


@pytest.mark.parametrize("fault", BAD)
def test_what_does_not_rise_from_0_to_1_is_refused(fault):
    alpha, sentence = BAD[fault]
    with pytest.raises(InputError, match=f"^schedule must be .*{sentence}") as caught:
        checked_schedule(made(alpha))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("front", FRONTS)
def test_at_every_front(front):
    with pytest.raises(InputError, match=r"must be a schedule whose alpha, .*reversed convention"):
        FRONTS[front](made(BAD["reversed"][0]))


GOOD = [
    *(schedules.beta(a, b) for a in (0.01, 1.0, 1000.0) for b in (0.01, 1.0, 1000.0)),
    *(schedules.polynomial(p) for p in (1e-30, 0.01, 1.0, 1e30)),
    *(schedules.geometric(s, m) for s, m in ((1e-30, 50.0), (1e-4, 20.0), (1e-6, 1e-5), (49.0, 50.0))),
    *(schedules.kinetic_optimum(s) for s in (schedules.beta(1000.0, 1000.0), schedules.maskgit(), schedules.free(3))),
    schedules.tabulated(np.array([0.0, 0.3, 0.30001, 0.8, 1.0]), np.array([0.0, 1e-6, 0.5, 0.5000001, 1.0])),
    schedules.Tabulated(times=jnp.asarray([0.0, 0.5, 1.0]), logits=jnp.asarray([-jnp.inf, 0.0])),
    *(schedules.tabulate(s) for s in (schedules.maskgit(), schedules.beta(1000.0, 1000.0), schedules.beta(0.05, 50.0))),
    geodesics.geodesic(metrics.flat, schedules.beta(0.5, 10.0)),
    made(lambda t: t - 1e-6 * jnp.sin(1e4 * t) ** 2),
    made(lambda t: jnp.clip(2 * t - 0.5, 0.0, 1.0)),
]


@pytest.mark.parametrize("schedule", GOOD, ids=lambda s: schedule_text.label(s)[:40])
@pytest.mark.few(2)
def test_extreme_shapes_are_taken(schedule):
    assert checked_schedule(schedule) is schedule
    own = type("Own", (Schedule,), {"alpha": lambda self, t: schedule.alpha(t)})()
    assert checked_schedule(own) is own  # by its values too
    assert plans.from_schedule(schedule, 16, 4).length == 16


def test_numbers_out_of_range_are_refused_and_traced_ones_are_not():
    for bad in (schedules.Polynomial(degree=jnp.float32(-1)), schedules.Beta(a=jnp.float32(jnp.nan), b=jnp.float32(1))):
        with pytest.raises(InputError, match=r"^schedule must be made of positive, finite numbers; got"):
            energies.kinetic(bad)
    with pytest.raises(InputError, match=r"^schedule must be one schedule, not a stack; got a stack of shape"):
        plans.from_schedule(schedules.beta(np.ones(2), np.ones(2)), 8, 2)
    count = 0

    @jax.jit
    def energy(degree):
        nonlocal count
        count += 1
        return energies.kinetic(schedules.Polynomial(degree=degree), schedules.linear())

    assert np.isfinite(energy(2.0))
    assert not np.isfinite(energy(-1.0))
    assert count == 1


WRONG_KINDS = """
    plans.from_schedule(lambda t: t, 196, 8)
    plans.from_schedule("linear", 196, 8)
    plans.from_schedule(schedules.Linear, 196, 8)
    plans.from_schedule(schedules.linear(), 196.0, 8)
    plans.from_schedule(schedules.linear(), 196, 8.0)
    plans.from_schedule(schedules.linear(), 196, True)
    plans.uniform("8", 2)
    plans.optimal([3.0, 2.0], 1)
    plans.optimal(profile, 2.5)
    plans.to_schedule(profile)
    plans.square_root(None, 2)
    plans.search_beta(None)
    plans.search_beta(profile, 3)
    plans.search_beta(profile, "3")
    plans.load(None)
    profiles.load(3)
    grids.load(None)
    plans.uniform(4, 2).save(3)
    profile.save(None)
    grids.uniform(2).save(3)
    plans.Plan([1, 2], name="x", origin=3)
    plans.Plan([1, 2], name="x", origin={"a": [np.ones(2)]})
    plans.Plan([1, 2], name="half " + chr(0xD800))
    profiles.from_values(np.ones(2), provenance={"a": float("nan")})
    profiles.from_values(np.ones(2), provenance={3: 4})
    profiles.from_values([-5.0, 1.0, 2.0])
    plans.total_correlation_plan(profile, steps=2.5)
    plans.total_correlation_plan(profile, nats=float("nan"))
    plans.within(profile, None)
    plans.at_price(profile, "1")
    plans.Plan([[1], [1, 2]], name="x")
    plans.Plan([1, 2], name=None)
    grids.optimal(profile, 2.5)
    grids.ancestral_nelbo(profile, plans.uniform(4, 2))
    grids.Grid(["0", "1"], name="x")
    curves.falling(3)
    bounds.factorisation_error(None, [1, 3])
    bounds.constant_sizes(profile, 2.5)
    profiles.from_values("abc")
    profile.expected_nelbo([[1], [1, 3]])
    energies.kinetic(None)
    energies.kinetic(schedules.linear(), "linear")
    energies.batch(None)
    actions.action(schedules.linear(), 3)
    actions.action(schedules.beta(2, 2), lambda alpha, rest: -alpha)
    enumeration.energies([[1, 2], [3]], schedules.linear())
    optimising.minimise(3, schedules.beta(2, 2))
    optimising.minimise(energies.kinetic, schedules.beta(2, 2), steps=2.5)
    schedules.polynomial(True)
    schedules.checked_schedule(type("Mine", (schedules.Linear,), {"ends": "ab"})())
    schedules.checked_schedule(type("Mine", (schedules.Linear,), {"ends": (1.0,)})())
    schedules.checked_schedule(type("Mine", (schedules.Linear,), {"ends": 3.0})())
    schedules.checked_schedule(schedules.Tabulated(times=[0, 1], logits=[0.0]))
    schedules.free(3, key=0)
    schedules.polynomial("2")
    schedules.tabulated([0, 1], "ab")
    schedules.free(2.5)
    schedule_text.parse(3)
    schedule_text.label(None)
"""


@pytest.mark.processes
def test_the_wrong_kind_of_thing_is_one_sentence():
    """In a process of its own: here beartype would object first."""
    script = f"""
        import numpy as np
        from mdm_jax.support.errors import InputError
        from mdm_jax.theory import energies, plans
        from mdm_jax.theory.energies import actions
        from mdm_jax.theory.profiles import bounds
        from mdm_jax.theory.profiles import curves
        from mdm_jax.theory.energies import enumeration
        from mdm_jax.theory.plans import grids
        from mdm_jax.theory.energies import optimising
        from mdm_jax.theory import profiles, schedules
        from mdm_jax.theory.schedules import text as schedule_text
        profile = profiles.from_values(np.array([3.0, 2.0, 1.0, 0.5]))
        for line in {[line.strip() for line in WRONG_KINDS.strip().splitlines()]!r}:
            try:
                eval(line)
                print(line, "was taken")
            except InputError as error:
                if chr(10) in str(error) or not str(error).endswith("."):
                    print(line, "is no sentence:", error)
            except Exception as error:
                print(line, "raised", type(error).__name__, error)
        print(plans.from_schedule(schedules.linear(), np.int64(8), np.int32(2)).sizes.tolist())
        print(type(plans.optimal(profile, np.int64(3)).to_json()["origin"]["steps_asked"]).__name__)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    assert done.stdout == "[4, 4]\nint\n"
