"""Oracles at the ends of their ranges, under 64 bits and with keys of other kinds: the law they promise, exactly."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from selecting import thorough_but

from mdm_jax import models, oracles
from mdm_jax.support.errors import InputError

pytestmark = [pytest.mark.core, pytest.mark.usefixtures("strict_types")]

EVERY = {
    "toy_right": oracles.toy_right,
    "polya": lambda: oracles.polya(6, 0.5, 2.0),
    "markov": lambda: oracles.markov(np.array([[0.7, 0.3, 0.0], [0.2, 0.2, 0.6], [0.5, 0.0, 0.5]]), 6),
    "mixture": lambda: oracles.binsaw(6, shifts=8),
}


def half_shown(oracle, seed=0):
    tokens = np.asarray(oracle.sample(jax.random.key(3), 20))
    masked = np.random.default_rng(seed).random(tokens.shape) < 0.5
    return np.where(masked, oracle.vocab_size, tokens).astype(np.int32)


@pytest.mark.parametrize("length", [1, 2, 16])
def test_a_chain_that_never_flips_is_one_fair_bit(length):
    """Flip 0: all tokens equal, each of the two rows with probability 1/2; the profile is log 2, then 0."""
    chain = oracles.from_spec(f"markov:0,{length}")
    assert chain.entropy() == pytest.approx(np.log(2), abs=1e-15)
    np.testing.assert_allclose(chain.entropies(), [np.log(2)] + [0.0] * (length - 1), atol=1e-15)
    rows = np.array([[0] * length, [1] * length])
    np.testing.assert_allclose(chain.log_prob(rows), np.log(0.5))
    if length > 1:
        other = rows[:1].copy()
        other[0, -1] = 1
        assert chain.log_prob(other).tolist() == [-np.inf]
    shown = np.full((2, length), 2, np.int32)
    shown[1, length // 2] = 1
    logits = np.asarray(models.logits(chain.denoiser, chain.params, jnp.asarray(shown)))
    np.testing.assert_allclose(logits[0], np.log(0.5), atol=1e-6)
    assert np.all(logits[1, :, 0] == -np.inf)
    np.testing.assert_allclose(logits[1, :, 1], 0, atol=1e-6)
    tokens = np.asarray(chain.sample(jax.random.key(0), 4096))
    assert np.all(tokens == tokens[:, :1])
    assert abs(tokens[:, 0].mean() - 0.5) < 4 * 0.5 / 64  # 4 s.e.


def test_flip_one_alternates_and_small_flips_approach_flip_nought():
    alternating = oracles.from_spec("markov:1,5")
    assert alternating.log_prob(np.array([[0, 1, 0, 1, 0], [0, 1, 1, 0, 1]])).tolist() == [np.log(0.5), -np.inf]
    np.testing.assert_allclose(alternating.entropies(), [np.log(2), 0, 0, 0, 0], atol=1e-15)
    rare = oracles.from_spec("markov:1e-12,5")
    np.testing.assert_allclose(rare.entropies(), oracles.from_spec("markov:0,5").entropies(), atol=1e-9)


def test_a_stationary_law_may_be_said_and_must_be_one():
    """Two islands: any mixture of them is stationary."""
    islands = np.array([[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1.0]])
    chain = oracles.markov(islands, 3, np.array([0.1, 0.1, 0.8]))
    assert chain.entropy() == pytest.approx(-0.2 * np.log(0.1) - 0.8 * np.log(0.8) + 2 * 0.2 * np.log(2))
    with pytest.raises(InputError, match="transition must be a chain with only one stationary law, unless stationary"):
        oracles.markov(islands, 3)
    with pytest.raises(InputError, match="stationary must be a law that the transition keeps"):
        oracles.markov(islands, 3, np.array([0.3, 0.1, 0.6]))
    with pytest.raises(InputError, match="stationary must be a law, not negative and summing to 1"):
        oracles.markov(islands, 3, np.array([0.3, 0.3, 0.6]))


@pytest.mark.parametrize("weight", [1e-30, 1e-12, 1e12, 1e30])
def test_extreme_urns(weight):
    """Tiny weights: all tokens are equal but for probability about n w; large ones: fair coins. By exact products."""
    urn = oracles.polya(4, weight)
    states = np.array(list(itertools.product([0, 1], repeat=4)))
    law = urn.log_prob(states)
    assert np.exp(law).sum() == pytest.approx(1, rel=1e-12)
    wanted = {0: np.log(0.5), 4: np.log(0.5)} if weight < 1 else {ones: -4 * np.log(2) for ones in range(5)}
    for ones, value in wanted.items():
        np.testing.assert_allclose(law[states.sum(axis=1) == ones], value, atol=1e-11)
    if weight < 1:  # w (w + 1) (w + 2) w / (2w (2w + 1) (2w + 2) (2w + 3)) for three ones and a nought
        np.testing.assert_allclose(law[states.sum(axis=1) == 3], np.log(weight) - np.log(6), atol=1e-9)
    logits = np.asarray(models.logits(urn.denoiser, urn.params, jnp.asarray([[2, 2, 2, 2], [2, 1, 1, 2]])))
    assert np.all(np.isfinite(logits[0]))
    np.testing.assert_allclose(logits[0], np.log(0.5), atol=1e-5)
    np.testing.assert_allclose(
        logits[1, 0], [np.log(weight) - np.log(2 + 2 * weight), np.log((weight + 2) / (2 + 2 * weight))], atol=1e-5
    )
    tokens = np.asarray(urn.sample(jax.random.key(0), 4096))
    assert abs(tokens[:, 0].mean() - 0.5) < 4 * 0.5 / 64  # 4 s.e.
    equal = np.all(tokens == tokens[:, :1], axis=1).mean()
    assert equal == 1 if weight < 1 else abs(equal - 1 / 8) < 4 * np.sqrt(7 / 64 / 4096)


@pytest.mark.parametrize("weight", [0.0, -1.0, 1e-31, 1e31, float("nan"), float("inf")])
def test_urns_beyond_float32_are_refused(weight):
    with pytest.raises(InputError, match="a must be a positive number, from 1e-30 to 1e"):
        oracles.polya(4, weight)


def test_components_without_weight_do_not_count():
    """A component of weight 0 changes nothing, though it alone allows some tokens."""
    laws = np.array([[[0.5, 0.5, 0]] * 3, [[0.9, 0.1, 0]] * 3, [[0, 0, 1.0]] * 3])
    three, two = oracles.mixture(np.array([0.3, 0.7, 0.0]), laws), oracles.mixture(np.array([0.3, 0.7]), laws[:2])
    states = np.indices((3,) * 3).reshape(3, -1).T
    np.testing.assert_allclose(three.log_prob(states), two.log_prob(states), atol=1e-12)
    shown = np.array([[3, 3, 3], [1, 3, 0], [2, 3, 3]], np.int32)
    logits = [np.asarray(models.logits(o.denoiser, o.params, jnp.asarray(shown))) for o in (three, two)]
    np.testing.assert_allclose(*logits, atol=1e-6)
    np.testing.assert_allclose(logits[0][2, 1:], -np.log(3), atol=1e-6)  # what cannot be: the uniform law
    assert np.asarray(three.sample(jax.random.key(0), 1000)).max() == 1


@pytest.mark.parametrize("name", thorough_but(["markov"], EVERY))
@pytest.mark.thorough
def test_the_same_with_64_bits_and_with_keys_of_another_kind(name):
    oracle = EVERY[name]()
    shown = half_shown(oracle)
    single = (
        np.asarray(oracle.sample(jax.random.key(1), 30)),
        models.logits(oracle.denoiser, oracle.params, jnp.asarray(shown)),
    )
    with jax.enable_x64(True):
        again = EVERY[name]()
        tokens = again.sample(jax.random.key(1), 30)
        logits = models.logits(again.denoiser, again.params, jnp.asarray(shown))
        assert (tokens.dtype, logits.dtype) == (jnp.int32, jnp.float32)
        np.testing.assert_array_equal(single[0], tokens)
        np.testing.assert_array_equal(single[1], logits)
    other = oracle.sample(jax.random.key(1, impl="rbg"), 30)
    np.testing.assert_array_equal(single[0], other)
    np.testing.assert_array_equal(single[0][:7], oracle.sample(jax.random.key(1, impl="unsafe_rbg"), 7))


@pytest.mark.parametrize("name", EVERY)
def test_ids_that_are_no_tokens_are_refused_not_looked_up(name):
    oracle = EVERY[name]()
    good = np.asarray(oracle.sample(jax.random.key(1), 2)).astype(np.int64)
    for bad in (-1, oracle.vocab_size, 2**32, 2**32 + 1):
        rows = good.copy()
        rows[1, 2] = bad
        with pytest.raises(InputError, match=rf"tokens must be ids from 0 to {oracle.vocab_size - 1}; got \[{bad}\]"):
            oracle.log_prob(rows)
    for rows in (good + 0.5, good.astype(bool), good[0], good[:, :-1]):
        with pytest.raises(InputError, match=rf"tokens must be token ids of shape \[rows, {oracle.length}\]"):
            oracle.log_prob(rows)
