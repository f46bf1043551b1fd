"""Measurements and evaluations of bad input, and under JAX's global flags: the same numbers, or one sentence."""

import contextlib
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiler_flags import with_devices
from jax.sharding import AxisType
from worlds import draw_rows, exact_world, wrong_world

from mdm_jax import models, oracles
from mdm_jax.evaluation import (
    Execution,
    estimate_profile,
    estimate_prompted_profile,
    evaluate,
    exact,
    held_out_nelbo,
    judging,
    path_nelbo,
    tune,
)
from mdm_jax.sampling import rules
from mdm_jax.theory import plans
from mdm_jax.theory.plans import grids
from mdm_jax.theory.profiles import from_values

LENGTH = 3
KEY = jax.random.key(3)
SAMPLERS = {
    "two steps": plans.uniform(LENGTH, 2),
    "grid": grids.uniform(2),
    "surest": rules.surest(plans.uniform(LENGTH, 3)),
}


def total(tokens):
    return tokens.sum(axis=1)


def in_a_process_of_its_own(script, **environment):
    """What a script beside this file prints, as JSON."""
    path = os.pathsep.join([str(Path(__file__).parents[2]), str(Path(__file__).parents[1])])
    command = [sys.executable, str(Path(__file__).with_name(script))]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path} | environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.processes
@pytest.mark.core
@pytest.mark.thorough
def test_what_is_no_token_no_number_no_key_and_no_cost_is_refused_in_a_sentence():
    """Some 320 calls: ids outside the vocabulary, masks, floats, wrong shapes, models that rule a token out or say NaN,
    numbers that are truths, fractions or huge, keys that are none. No warning, no traceback, no flattering number."""
    found = in_a_process_of_its_own("bad_measurements.py")
    assert len(found) > 300
    wrong = [(name, told) for name, wanted, told in found if wanted not in told or told[-1] != "." or "\n" in told]
    assert not wrong


@pytest.mark.core
def test_an_infinite_cost_is_the_right_value_of_a_row():
    """A model that never says 2: rows with a 2 cost infinitely many nats, the others log 2 per token."""
    law = jnp.log(jnp.array([0.5, 0.5, 0.0]))
    model = models.from_function(lambda params, tokens: jnp.broadcast_to(law, (*tokens.shape, 3)), 3)
    rows = np.array([[0, 1, 0, 1], [0, 1, 2, 1], [1, 1, 1, 1]], np.int32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        held_out = held_out_nelbo(model, None, rows, key=KEY, repeats=64)
        paths = path_nelbo(model, None, rows, [plans.uniform(4, 2)], key=KEY)[0]
    for costs in (held_out, paths):
        np.testing.assert_allclose(costs, [4 * np.log(2), np.inf, 4 * np.log(2)], rtol=1e-5)


@pytest.mark.core
def test_a_check_of_equal_costs_has_finite_figures():
    profile = from_values(np.array([1.0, 0.5, 0.25, 0.25]))
    result = tune(profile, [2], grid=2, steps=[2]).result
    told = np.array([entry["expected_nelbo_nats"] for entry in result["budgets"][0]["plans"]])
    judging.check(result, profile, np.repeat(told[:, None], 3, axis=1))
    entries = [entry["checked"] for entry in result["budgets"][0]["plans"]]
    assert [entry["z"] for entry in entries] == [0.0] * 3
    assert result["check"]["offset_z"] == 0
    judging.check(result, profile, np.repeat(told[:, None] + np.array([[1.0], [0.0], [0.0]]), 3, axis=1))
    entries = [entry["checked"] for entry in result["budgets"][0]["plans"]]
    assert all(np.isfinite(entry["z"]) for entry in entries)
    assert entries[0]["z"] > 1000
    assert result["check"]["offset_z"] > 1000


def measured(key=KEY):
    """Everything that is measured or drawn, by name: tokens to be the same, numbers to rounding."""
    table, denoiser, params = exact_world(LENGTH)
    rows = draw_rows(table, 24, 0)
    canvas = np.full(LENGTH, denoiser.mask_id, np.int32)
    canvas[0] = 1
    found = evaluate(denoiser, params, SAMPLERS, 5, total, key=key, length=LENGTH, execution=Execution(batch=5))
    return {
        "profile": estimate_profile(denoiser, params, rows, 96, key=key).means,
        "increments": estimate_profile(denoiser, params, rows, 96, key=key, estimator="increments").means,
        "held-out": held_out_nelbo(denoiser, params, rows, key=key),
        "paths": path_nelbo(denoiser, params, rows, [SAMPLERS["two steps"]], key=key),
        "prompted": estimate_prompted_profile(denoiser, params, canvas, 64, key=key, completions=6).means,
        "tokens": found.tokens,
        "nfe": found.nfe,
    }


@pytest.fixture(scope="module")
def usual():
    return measured()


def check(found, usual):
    for name, value in usual.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6, err_msg=name)


@pytest.mark.thorough
def test_under_float64_the_same_numbers(usual):
    with jax.enable_x64(True):
        check(measured(), usual)


def test_under_float64_with_keys_of_another_kind_and_in_a_mesh_the_same_profile_by_increments():
    """Of what compiles quickly, what had failed."""

    def increments(key=KEY):
        table, denoiser, params = exact_world(LENGTH)
        rows = draw_rows(table, 24, 0)
        return estimate_profile(denoiser, params, rows, 96, key=key, estimator="increments").means

    usual = increments()
    np.testing.assert_allclose(increments(jax.random.key(3, impl="rbg")), usual, rtol=1e-6)
    with jax.enable_x64(True):
        np.testing.assert_allclose(increments(), usual, rtol=1e-6)
    with jax.set_mesh(jax.make_mesh((1,), ("data",), (AxisType.Explicit,))):
        np.testing.assert_allclose(increments(), usual, rtol=1e-6)


@pytest.mark.thorough
def test_keys_of_another_implementation_give_the_same_numbers(usual):
    check(measured(jax.random.key(3, impl="rbg")), usual)


@pytest.mark.thorough
@pytest.mark.parametrize("flag", ["jax_debug_nans, strict", "jax_debug_key_reuse", "jax_threefry_partitionable"])
def test_under_other_flags_the_same_numbers(usual, flag):
    keys = iter(jax.random.key(3) for _ in range(9))
    with contextlib.ExitStack() as flags:
        for context in {
            "jax_debug_nans, strict": [jax.debug_nans(True), jax.numpy_dtype_promotion("strict")],
            "jax_debug_key_reuse": [jax.debug_key_reuse(True)],
            "jax_threefry_partitionable": [jax.threefry_partitionable(False)],
        }[flag]:
            flags.enter_context(context)
        if flag == "jax_debug_key_reuse":
            denoiser, params = wrong_world(LENGTH)
            rows = np.zeros((4, LENGTH), np.int32)
            estimate_profile(denoiser, params, rows, 12, key=next(keys))
            where = Execution(batch=5)
            evaluate(denoiser, params, SAMPLERS, 5, total, key=next(keys), length=LENGTH, execution=where)
        else:
            check(measured(), usual)


@pytest.mark.thorough
def test_a_mesh_around_them_changes_nothing(usual):
    """One device in a mesh of its own; on some devices, by ``pmap``, the active mesh would be taken for another."""
    _, denoiser, params = exact_world(LENGTH)
    with jax.set_mesh(jax.make_mesh((1,), ("data",), (AxisType.Explicit,))):
        where = Execution(batch=5, devices=1)
        found = evaluate(denoiser, params, SAMPLERS, 5, total, key=KEY, length=LENGTH, execution=where)
        np.testing.assert_array_equal(found.tokens, usual["tokens"])
        check(measured(), usual)


@pytest.mark.processes
@pytest.mark.thorough
def test_a_mesh_of_eight_devices_around_them_changes_nothing():
    found = in_a_process_of_its_own("under_a_mesh.py", XLA_FLAGS=with_devices(8))
    assert len(found) == 5
    for name, value in found["none"].items():
        for where, other in found.items():
            np.testing.assert_allclose(other[name], value, rtol=1e-6, err_msg=f"{name} {where}")


@pytest.mark.core
def test_laws_have_the_digits_of_their_logits():
    """In float64 a chain's law and divergences come out to 1e-13, against the table by enumeration."""
    chain = oracles.markov(np.array([[0.9, 0.1], [0.2, 0.8]]), 3)
    rows = np.stack(np.meshgrid(*[[0, 1]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    start = np.array([2 / 3, 1 / 3])
    step = np.array([[0.9, 0.1], [0.2, 0.8]])
    truth = start[rows[:, 0]] * step[rows[:, 0], rows[:, 1]] * step[rows[:, 1], rows[:, 2]]
    np.testing.assert_allclose(np.exp(chain.log_prob(rows)), truth, rtol=1e-12)
    states = exact.all_states(3, 2)
    logits = np.zeros((27, 3, 2))
    for state, tokens in enumerate(states):
        agree = ((rows == tokens) | (tokens == 2)).all(axis=1)
        for position in range(3):
            for token in range(2):
                logits[state, position, token] = np.log(truth[agree & (rows[:, position] == token)].sum() or 1.0)
    with jax.enable_x64(True):
        logits = jnp.asarray(logits)
        law = exact.random_order_law(logits, [1, 1, 1])
        assert law.dtype == np.float64
        np.testing.assert_allclose(law, truth, rtol=1e-13)
        fine = exact.ancestral_law(logits, np.linspace(0, 1, 3))
        assert float(fine.sum()) == pytest.approx(1, abs=1e-14)
        assert float(exact.total_variation(truth, law)) < 1e-15
        coarse = exact.random_order_law(logits, [3])
        product = np.prod([np.where(rows[:, j] == 0, *start) for j in range(3)], axis=0)
        np.testing.assert_allclose(coarse, product, rtol=1e-13)
        distance = np.sum(truth * np.log(truth / product))
        assert float(exact.kl_divergence(truth, coarse)) == pytest.approx(distance, rel=1e-13)
