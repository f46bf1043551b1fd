"""Exact laws of samplers with latents, against enumeration by hand and against samples."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from latent_worlds import LENGTH, SEQUENCES, VOCAB, logits_at, quadrature, table_world

from mdm_jax import models
from mdm_jax.evaluation import exact
from mdm_jax.sampling import sample
from mdm_jax.support.errors import InputError
from mdm_jax.theory.plans import Plan

SIZES = [(3,), (1, 2), (2, 1), (1, 1, 1)]
WEIGHTS = np.array([0.5, 0.2, 0.3])


@pytest.fixture(scope="module")
def three():
    """Log-probabilities under three values of a latent."""
    return logits_at(*table_world(), np.array([-1.0, 0.2, 1.5]))


def code_of(state):
    return int(np.dot(state, (VOCAB + 1) ** np.arange(LENGTH - 1, -1, -1)))


def blocks_of(sizes):
    """Every way to deal the positions to steps of these sizes."""
    for order in itertools.permutations(range(LENGTH)):
        ends = np.cumsum(sizes)
        yield [order[end - size : end] for size, end in zip(sizes, ends)]


def chance(logits, tokens, blocks):
    """Log-probability of each step of a path: a list of float[latents]."""
    state, steps = np.full(LENGTH, VOCAB), []
    for block in blocks:
        steps.append(sum(logits[:, code_of(state), j, tokens[j]].astype(np.float64) for j in block))
        state[list(block)] = tokens[list(block)]
    return steps


@pytest.mark.parametrize("sizes", SIZES)
def test_one_latent_for_all_steps_against_enumeration(three, sizes):
    truth = [
        np.mean([WEIGHTS @ np.exp(np.sum(chance(three, tokens, blocks), axis=0)) for blocks in blocks_of(sizes)])
        for tokens in SEQUENCES
    ]
    found = exact.latent_law(jnp.asarray(three), sizes, WEIGHTS)
    np.testing.assert_allclose(found, truth, rtol=1e-5)
    assert float(found.sum()) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("sizes", SIZES)
def test_a_latent_for_each_step_against_enumeration(three, sizes):
    truth = [
        np.mean([np.prod(np.exp(chance(three, tokens, blocks)) @ WEIGHTS) for blocks in blocks_of(sizes)])
        for tokens in SEQUENCES
    ]
    found = exact.latent_law(jnp.asarray(three), sizes, WEIGHTS, redrawn=True)
    np.testing.assert_allclose(found, truth, rtol=1e-5)


@pytest.mark.thorough
@pytest.mark.parametrize("redrawn", [False, True])
def test_samples_follow_the_law(redrawn):
    """8,192 samples in two steps: every frequency within 4 standard errors; the other law is further away."""
    model, params = table_world()
    nodes, weights = quadrature()
    logits = jnp.asarray(logits_at(model, params, nodes))
    law, other = (np.asarray(exact.latent_law(logits, [1, 2], weights, redrawn=one)) for one in (redrawn, not redrawn))
    sampled = models.redrawn(model) if redrawn else model
    plan, rows = Plan(np.array([1, 2]), "two steps"), 8192
    tokens = np.asarray(sample(sampled, params, plan, rows, key=jax.random.key(5)).tokens)
    seen = np.bincount(tokens @ VOCAB ** np.arange(LENGTH - 1, -1, -1), minlength=len(law)) / rows
    errors = np.sqrt(law * (1 - law) / rows)
    assert np.abs((seen - law) / errors).max() < 4
    assert np.abs((seen - other) / errors).max() > 8


def test_what_is_no_law_of_latents_is_refused(three):
    for sizes, weights, says in (
        ([3], [0.5, 0.5], "weights must be 3 probabilities, one for each latent; got [0.5, 0.5]"),
        ([3], [0.5, 0.6, -0.1], "weights must be 3 probabilities"),
        ([2], None, "sizes must be whole numbers, 0 or more, that sum to the length 3; got [2]"),
    ):
        with pytest.raises(InputError) as caught:
            exact.latent_law(jnp.asarray(three), sizes, weights)
        assert says in str(caught.value)
