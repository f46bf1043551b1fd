"""Measures against float64 NumPy, ruled-out tokens and near-certainties among them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

from mdm_jax.sampling import readings

pytestmark = pytest.mark.usefixtures("strict_types")

ROWS = 300
MEASURES = {
    "max": readings.max_probability,
    "margin": readings.margin,
    "entropy": readings.negative_entropy,
    "proposal": readings.proposal_probability,
    "held": readings.held_probability,
}


@jax.jit
def measured(logits, proposal, held):
    """Every measure, the best token and what the others weigh."""
    reading = readings.Reading(logits, proposal, held, held == logits.shape[-1])
    return {name: measure(reading) for name, measure in MEASURES.items()}, reading.best, reading.rest


def some_logits(vocab_size):
    """From flat to peaked over 80 nats, a third of the tokens ruled out in half of the rows, one token left in five."""
    rng = np.random.default_rng(vocab_size)
    scale = np.exp(rng.uniform(np.log(0.01), np.log(20.0), size=(ROWS, 1)))
    logits = (scale * rng.normal(size=(ROWS, vocab_size))).astype(np.float32)
    out = rng.uniform(size=logits.shape) < 1 / 3
    out[::2] = False
    out[np.arange(ROWS), rng.integers(vocab_size, size=ROWS)] = False
    out[:5] = True
    out[np.arange(5), rng.integers(vocab_size, size=5)] = False
    logits[out] = -np.inf
    return logits, rng


@pytest.mark.core
@pytest.mark.parametrize("vocab_size", [3, 1000, pytest.param(257, marks=pytest.mark.thorough)])
def test_measures_agree_with_float64(vocab_size):
    """300 rows: logarithms to 2e-6 nats of themselves or 4e-6 relative, margins to 1e-5, where p > 1e-37."""
    logits, rng = some_logits(vocab_size)
    proposal = rng.integers(vocab_size, size=ROWS)
    proposal[:5] = logits[:5].argmax(axis=1)
    held = rng.integers(vocab_size, size=ROWS)
    held[::7] = vocab_size  # the mask: clipped, of no meaning
    found, best, rest = measured(jnp.asarray(logits), jnp.asarray(proposal, jnp.int32), jnp.asarray(held, jnp.int32))
    assert np.all(np.asarray(best) == logits.argmax(axis=1))
    tight = {"rtol": 4e-6, "atol": 1e-37}
    np.testing.assert_allclose(found["max"], references.max_probability(logits), **tight)
    np.testing.assert_allclose(rest, np.expm1(-references.max_probability(logits)), **tight)
    np.testing.assert_allclose(found["entropy"], references.negative_entropy(logits), **tight)
    np.testing.assert_allclose(np.exp(found["margin"]), references.margin(logits), rtol=1e-5, atol=1e-7)
    log_p = references.log_softmax(logits)
    at = np.arange(ROWS)
    np.testing.assert_allclose(found["proposal"], log_p[at, proposal], rtol=2e-6, atol=2e-6)
    real = held < vocab_size
    np.testing.assert_allclose(found["held"][real], log_p[at, held % vocab_size][real], rtol=2e-6, atol=2e-6)
    assert np.all(np.isneginf(found["proposal"]) == np.isneginf(logits[at, proposal]))
    # one token left: certain, and nothing is NaN
    assert np.all(np.asarray(found["max"])[:5] == 0)
    assert np.all(np.asarray(found["entropy"])[:5] == 0)
    assert np.all(np.asarray(found["margin"])[:5] == 0)
    assert not any(np.isnan(values).any() for values in found.values())


def test_ties_take_the_first_token_and_have_no_margin():
    logits = np.zeros((4, 300), np.float32)
    logits[1, [200, 70, 299]] = 5.0
    logits[2, 299] = 1e-3
    logits[3] = -np.inf
    logits[3, [17, 280]] = -3.0
    zero = jnp.zeros(4, jnp.int32)
    found, best, _ = measured(jnp.asarray(logits), zero, zero)
    assert np.asarray(best).tolist() == [0, 70, 299, 17]
    assert np.asarray(found["margin"])[[0, 1, 3]].tolist() == [-np.inf] * 3
    np.testing.assert_allclose(found["max"][0], -np.log(300), rtol=1e-6)
    np.testing.assert_allclose(found["entropy"][3], -np.log(2), rtol=1e-6)


def peaked_logits():
    """128 rows of three bfloat16 logits, as float32: the best from 1 - 1e-4 to 1 - 1e-9, all different, shuffled."""
    top = np.asarray(jnp.linspace(9.91, 21.41, 4000).astype(jnp.bfloat16).astype(jnp.float32))
    top = np.unique(top)
    top = top[np.linspace(0, len(top) - 1, 128).astype(int)]
    top = np.random.default_rng(0).permutation(top)
    return np.stack([np.zeros(128), top, np.zeros(128)], axis=1).astype(np.float32)


@pytest.mark.core
def test_near_certainties_keep_their_order():
    """128 confidences from 1 - 1e-4 to 1 - 1e-9: all told apart, in the order of float64."""
    logits = peaked_logits()
    exact = references.max_probability(logits)
    assert len(set(exact)) == 128
    assert 0.9e-9 < np.expm1(-exact).min() < 1.2e-9
    assert 0.9e-4 < np.expm1(-exact).max() < 1.1e-4
    token = jnp.ones(128, jnp.int32)
    found = measured(jnp.asarray(logits), token, token)[0]
    for name, truth in (
        ("max", exact),
        ("entropy", references.negative_entropy(logits)),
        ("proposal", exact),
        ("held", exact),
    ):
        assert len(set(np.asarray(found[name]).tolist())) == 128, name
        assert np.all(np.argsort(found[name]) == np.argsort(truth)), name


def test_the_naive_way_merges_near_certainties():
    """Softmax in bfloat16 leaves at most three of the 128 confidences, softmax in float32 fewer than 100."""
    logits = jnp.asarray(peaked_logits())
    narrow = np.asarray(jax.nn.softmax(logits.astype(jnp.bfloat16), axis=-1).astype(jnp.float32))[:, 1]
    plain = np.asarray(jax.nn.softmax(logits, axis=-1))[:, 1]
    assert len(set(narrow.tolist())) <= 3
    assert len(set(plain.tolist())) < 100


def test_only_the_proposal_s_probability_looks_at_the_draw():
    looked = {}

    def ask(logits, token):
        for name, measure in MEASURES.items():
            reading = readings.Reading(logits, token, token, token == 3)
            measure(reading)
            looked[name] = reading.looked_at_draw
        return logits

    jax.eval_shape(ask, jnp.zeros((2, 3)), jnp.zeros(2, jnp.int32))
    assert looked == {"max": False, "margin": False, "entropy": False, "proposal": True, "held": False}
