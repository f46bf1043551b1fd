"""Our Muon moves parameters as Optax's does, and as a double in float64, whatever the shapes and their conditions."""

import jax
import jax.numpy as jnp
import numpy as np
import optax.contrib
import pytest

from mdm_jax.training.muon import COEFFICIENTS, muon, orthogonalised, spans

SHAPES = {"tall": (96, 24), "wide": (24, 72), "square": (32, 32), "nearly square": (40, 32), "row": (1, 16)}


def double(matrix):
    """Five iterations as they are written, in float64."""
    x = np.asarray(matrix, np.float64)
    x = x / (np.linalg.norm(x) + 1e-8)
    for _ in range(5):
        gram = x @ x.T
        x = COEFFICIENTS[0] * x + (COEFFICIENTS[1] * gram + COEFFICIENTS[2] * gram @ gram) @ x
    return x


def conditioned(generator, shape, condition):
    """A random matrix with singular values from 1 down to ``1 / condition``."""
    left, values, right = np.linalg.svd(generator.standard_normal(shape), full_matrices=False)
    return ((left * np.geomspace(1, 1 / condition, len(values))) @ right).astype(np.float32)


def matrices(seed, conditions):
    generator = np.random.default_rng(seed)
    return {
        f"{name} {condition:.0e}": conditioned(generator, shape, condition)
        for name, shape in SHAPES.items()
        for condition in conditions
    }


def gradients(seed):
    gain = np.random.default_rng(seed).standard_normal(4).astype(np.float32)
    return matrices(seed, (1e4,)) | {"zero": np.zeros((8, 4), np.float32), "gain": gain}


def rate(count):
    return 0.1 / (1 + count)


def adam_rate(count):
    return rate(count) / 4


def takers(params):
    return {name: "adam" if leaf.ndim < 2 else "muon" for name, leaf in params.items()}


@pytest.mark.core
def test_rounding_is_that_of_optaxs_form_at_every_condition():
    """Against float64, of the largest singular value: at most 3e-5 (found: 1.6e-5; of Optax's own form, 1.3e-5).

    One Gram matrix for all five iterations is off by up to 7e-4 here.
    """
    given = matrices(0, (1.0, 1e2, 1e4, 1e8))
    found = jax.jit(lambda given: jax.tree.map(lambda one: orthogonalised(one, jnp.asarray(COEFFICIENTS)), given))(
        given
    )
    for name, matrix in given.items():
        wanted = double(matrix)
        error = np.linalg.norm(np.asarray(found[name], np.float64) - wanted, 2)
        assert error <= 3e-5 * np.linalg.norm(wanted, 2), name


@pytest.mark.core
def test_updates_and_state_are_optaxs_and_either_goes_on_from_the_others():
    """Three steps, and a fourth from the other's state: a run that was saved under Optax's Muon goes on under ours."""
    ours = muon(rate, adam_rate, 0.1, takers)
    theirs = optax.contrib.muon(
        rate, weight_decay=0.1, adam_learning_rate=adam_rate, adam_b1=0.9, adam_b2=0.95
    )  # which takes every matrix
    update, update_theirs = jax.jit(ours.update), jax.jit(theirs.update)
    params = jax.tree.map(jnp.asarray, gradients(1))
    state, other = ours.init(params), theirs.init(params)
    assert jax.tree.structure(state) == jax.tree.structure(other)
    for step in range(4):
        if step == 3:
            state, other = other, state
        moved, state = update(gradients(2 + step), state, params)
        wanted, other = update_theirs(gradients(2 + step), other, params)
        for name in params:
            np.testing.assert_allclose(moved[name], wanted[name], rtol=0, atol=1e-4 * rate(step), err_msg=name)
        for one, two in zip(jax.tree.leaves(state), jax.tree.leaves(other), strict=True):
            assert (one.shape, one.dtype) == (two.shape, two.dtype)
            np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-7)


def test_a_gram_matrix_serves_more_than_one_iteration_where_that_saves_products():
    """Products of small matrices, those with the matrix itself counting as many as its sides' ratio."""

    def cost(counts, ratio):
        return sum(4 * count - 3 + 2 * ratio for count in counts)

    for short, long in ((32, 32), (32, 40), (32, 64), (32, 128), (1, 3)):
        assert spans(short, long) == spans(long, short)
        assert sum(spans(short, long)) == 5
        assert cost(spans(short, long), long / short) <= min(cost(way, long / short) for way in ((1,) * 5, (3, 2)))
