"""What schedules, profiles, plans and searches print: a screen at most; and the picture that notebooks show."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from known_profiles import markov

from mdm_jax.theory import energies, grids, plans, profiles, schedules

pytestmark = pytest.mark.core


@pytest.mark.parametrize(
    ("make", "shown"),
    [
        (schedules.linear, "Linear()"),
        (lambda: schedules.beta(0.9, 0.3), "Beta(a=0.9, b=0.3)"),
        (lambda: schedules.geometric(), "Geometric(sigma_min=0.0001, sigma_max=20)"),
        (
            lambda: schedules.kinetic_optimum(schedules.polynomial(2)),
            "KineticOptimum(gamma=Polynomial(degree=2))",
        ),
        (
            lambda: schedules.beta(jnp.linspace(0.1, 1, 1000), 0.5),
            "Beta(a=float32[1000] from 0.1 to 1, b=float32[1000] of 0.5)",
        ),
        (
            lambda: schedules.free(64),
            "Tabulated(times=float32[65] from 0 to 1, logits=float32[64] of -4.15888)",
        ),
        (
            lambda: profiles.from_values([3.0, 2.0]),
            "Profile(2 tokens, known exactly: g from 3 to 2 nats per token; NELBO 3.607 bits per token)",
        ),
        (lambda: plans.uniform(10, 4), "Plan('uniform', 4 steps for 10 tokens: 3 3 2 2)"),
        (lambda: plans.uniform(3, 1), "Plan('uniform', 1 step for 3 tokens: 3)"),
        (
            lambda: plans.Plan(np.array([2]), "\x1b[31m" + 99 * "x"),
            f"Plan('\\x1b[31m{37 * 'x'}...', 1 step for 2 tokens: 2)",
        ),
        (lambda: grids.uniform(4), "Grid('uniform', 4 steps: 0 0.25 0.5 0.75 1)"),
    ],
)  # fmt: skip
def test_a_line(make, shown):
    assert repr(make()) == shown


def test_geodesics_and_minima():
    geodesic = repr(energies.geodesic(energies.fisher))
    assert geodesic.startswith("Geodesic(pace=SineSquared(), lengths=float32[128] ")
    assert len(geodesic) < 250
    found = energies.minimise(energies.kinetic, schedules.beta(1.5, 0.8))
    assert repr(found).startswith(f"Minimum(schedule={found.schedule!r}, energy=9.8")
    assert repr(found).endswith(f", steps={int(found.steps)}, converged=True)")


def test_what_is_traced_has_its_shape():
    seen = []

    @jax.jit
    def alpha(schedule):
        seen.append(repr(schedule))
        return schedule.alpha(0.5)

    alpha(schedules.beta(0.9, 0.3))
    assert seen == ["Beta(a=float32[], b=float32[])"]
    anything = jax.tree.map(lambda _: "anything", schedules.beta(0.9, 0.3))
    assert repr(anything) == "Beta(a='anything', b='anything')"


def test_searches_and_optima():
    profile = markov(0.2, 16)
    assert repr(plans.optimal_for_every_budget(profile)) == (
        "OptimalPlans(16 tokens, at most 16 steps: 1 bits per token in one step, 0.7393 in 16)"
    )
    search = plans.search_beta(profile, [2, 4, 8], grid=11)
    names = [search.plan(steps).name for steps in (2, 4, 8)]
    assert repr(search) == (
        "BetaSearch(11 x 11 schedules at 2, 4, 8 steps; best: "
        f"2 steps {names[0]}, 4 steps {names[1]}, 8 steps {names[2]})"
    )
    for value in (profile, search, plans.uniform(10, 4), grids.uniform(4)):
        page = value._repr_html_()
        assert page.startswith("<figure")
        assert page.count("<svg") == 1
        assert repr(value).split("(")[0] in page
