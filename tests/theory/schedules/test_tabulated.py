"""Tabulated schedules: the learnable one, and any family on common terms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special
from selecting import thorough_but

from mdm_jax.support.errors import InputError
from mdm_jax.theory import energies, schedules

EVERY = {
    "linear": schedules.linear(),
    "sine": schedules.sine(),
    "maskgit": schedules.maskgit(),
    "polynomial:0.3": schedules.polynomial(0.3),
    "polynomial:5": schedules.polynomial(5.0),
    "geometric": schedules.geometric(),
    "beta:0.9,0.3": schedules.beta(0.9, 0.3),
    "beta:0.05,0.3": schedules.beta(0.05, 0.3),
    "beta:3,5": schedules.beta(3.0, 5.0),
    "kinetic_optimum:sine": schedules.kinetic_optimum(schedules.sine()),
}
T = jnp.asarray(
    np.concatenate([np.linspace(0, 1, 1001), np.geomspace(1e-30, 1e-3, 50), 1 - np.geomspace(1e-7, 1e-3, 50)])
)


@pytest.mark.parametrize("name", thorough_but(["linear", "beta:0.9,0.3"], EVERY))
def test_a_table_is_close_to_its_schedule(name):
    schedule, t = EVERY[name], T.astype(jnp.float32)
    table = schedules.tabulate(schedule)
    close = 2e-4 if "0.05" in name else 1e-4
    np.testing.assert_allclose(table.alpha(t), schedule.alpha(t), atol=close)
    np.testing.assert_allclose(table.one_minus_alpha(t), schedule.one_minus_alpha(t), atol=close)
    assert (table.alpha(jnp.array([0.0, 1.0])) == jnp.array([0.0, 1.0])).all()
    levels = jnp.linspace(0.01, 0.99, 99)
    np.testing.assert_allclose(table.alpha(table.inverse(levels)), levels, atol=1e-4)


@pytest.mark.core
def test_families_mix_in_one_executable():
    traces = []

    @jax.jit
    def halfway(stack):
        traces.append(1)
        return jax.vmap(lambda s: s.alpha(0.5))(stack)

    tables = [schedules.tabulate(schedule) for schedule in EVERY.values()]
    found = halfway(jax.tree.map(lambda *leaves: jnp.stack(leaves), *tables))
    np.testing.assert_allclose(found, [s.alpha(0.5) for s in EVERY.values()], atol=1e-4)
    halfway(jax.tree.map(lambda *leaves: jnp.stack(leaves), *tables[::-1]))
    assert len(traces) == 1


@pytest.mark.core
@pytest.mark.parametrize("key", [0, 1])
def test_a_free_schedule_rises_whatever_its_logits(key):
    schedule = schedules.free(16, key=jax.random.key(key))
    t = jnp.linspace(0, 1, 500)
    theta = schedule.theta(t)
    assert theta[0] == 0
    assert theta[-1] == 1
    assert (jnp.diff(theta) > 0).all()
    np.testing.assert_allclose(theta + schedule.one_minus_theta(t), 1, atol=1e-6)
    assert schedule.increments().sum() == pytest.approx(1, abs=1e-6)
    knots = np.concatenate([[0], np.cumsum(np.asarray(schedule.increments(), np.float64))])
    np.testing.assert_allclose(theta, np.interp(t, np.linspace(0, 1, 17), knots), atol=1e-6)
    slope = jax.grad(lambda logits: schedules.Tabulated(schedule.times, logits).alpha(0.37))(schedule.logits)
    assert slope.sum() == pytest.approx(0, abs=1e-5)  # a common shift of the logits changes nothing
    assert (slope[:5] > 0).all()
    assert (slope[7:] < 0).all()


@pytest.mark.core
@pytest.mark.parametrize("weight", [(1.0, 1.0), (0.5, 0.5), (0.9, 0.3), (1.9, 1.5)])
def test_energy_of_a_table_is_a_sum_over_its_cells(weight):
    """``pi^2 sum_k (rise_k / width_k)^2 integral over cell k of dt / gamma'``."""
    schedule = schedules.free(8, key=jax.random.key(3))
    a, b = weight
    cells = [
        integrate.quad(lambda t: special.beta(a, b) * t ** (1 - a) * (1 - t) ** (1 - b), k / 8, (k + 1) / 8)[0]
        for k in range(8)
    ]
    truth = np.pi**2 * np.sum((np.asarray(schedule.increments()) * 8) ** 2 * cells)
    assert float(energies.kinetic(schedule, schedules.beta(a, b))) == pytest.approx(truth, rel=1e-5)


@pytest.mark.core
@pytest.mark.thorough
def test_tables_as_weights():
    table = schedules.free(8, key=jax.random.key(4))
    assert float(energies.kinetic(table, table)) == pytest.approx(np.pi**2, rel=1e-5)
    coarse = schedules.tabulated(jnp.array([0.0, 0.4, 1.0]), jnp.array([0.0, 0.7, 1.0]))
    # pi^2 sum over the common cells of (slope of theta)^2 width / slope of gamma
    knots = np.unique(np.concatenate([np.linspace(0, 1, 9), [0.4]]))
    mine = np.interp(
        knots, np.linspace(0, 1, 9), np.concatenate([[0], np.cumsum(np.asarray(table.increments(), np.float64))])
    )
    theirs = np.interp(knots, [0, 0.4, 1], [0, 0.7, 1])
    truth = np.pi**2 * np.sum(np.diff(mine) ** 2 / np.diff(theirs))
    assert float(energies.kinetic(table, coarse)) == pytest.approx(truth, rel=1e-5)
    # under gamma' ~ t^1.5 a finite slope at 0 costs an infinite energy
    assert energies.kinetic(table, schedules.beta(2.5, 1.0)) == np.inf


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: schedules.tabulated(np.array([0.0, 1.0]), np.array([0.0, 0.5, 1.0])),
            r"times and angles must be of one",
        ),
        (
            lambda: schedules.tabulated(np.array([0.0, 0.6, 0.5, 1.0]), np.linspace(0, 1, 4)),
            r"times must be rising from 0",
        ),
        (
            lambda: schedules.tabulated(np.linspace(0, 1, 3), np.array([0.1, 0.5, 1.0])),
            r"angles must be rising from 0 to 1",
        ),
        (lambda: schedules.tabulated(np.linspace(0, 1, 3), np.array([0.0, np.nan, 1.0])), r"angles must be rising"),
        (lambda: schedules.tabulate(schedules.linear(), 1), r"cells must be a whole number from 2 to 1048576; got 1"),
        (lambda: schedules.free(0), r"cells must be a whole number from 2 to 1048576; got 0"),
        (lambda: schedules.free(4, times=np.linspace(0, 1, 4)), r"times must be of shape \(5,\); got \(4,\)"),
        (lambda: schedules.geometric(2.0, 1.0), r"sigma_min must be below sigma_max"),
        (lambda: schedules.geometric(1.0, 80.0), r"sigma_max must be at most 50; got 80"),
        (lambda: schedules.beta(1.0, 2000.0), r"b must be at most 1000; got 2000"),
    ],
)
def test_bad_input_is_one_sentence(make, message):
    with pytest.raises((InputError, TypeError), match=message):
        make()


@pytest.mark.core
@pytest.mark.thorough
def test_coordinates_go_both_ways():
    for schedule in (
        schedules.beta(0.9, 0.3),
        schedules.polynomial(2.5),
        schedules.geometric(0.01, 7.0),
        schedules.free(5, key=jax.random.key(0)),
        schedules.kinetic_optimum(schedules.polynomial(2.0)),
    ):
        again = schedule.at_coordinates(schedule.coordinates())
        assert jax.tree.structure(again) == jax.tree.structure(schedule)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-6), again, schedule)
        moved = schedule.at_coordinates(
            jax.tree.map(lambda x: x + 0.1 * jnp.arange(1.0, 1 + x.size).reshape(x.shape), schedule.coordinates())
        )
        assert float(jnp.abs(moved.alpha(0.4) - schedule.alpha(0.4))) > 1e-4
        assert 0 < moved.alpha(0.4) < 1
