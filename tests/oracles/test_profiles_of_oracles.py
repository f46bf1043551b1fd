"""Closed forms and long sequences: what a table of all states cannot check."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from mdm_jax import models, oracles
from mdm_jax.theory import plans, profiles

pytestmark = pytest.mark.usefixtures("strict_types")


def excess(oracle, plan):
    """Expected KL of a plan, the oracle's own entropy taken off: nats."""
    profile = profiles.from_values(oracle.entropies())
    return float(profile.expected_nelbo(plan.sizes)) - oracle.entropy()


@pytest.mark.core
def test_the_best_sizes_on_the_urn():
    urn = oracles.polya(128, 0.5)
    best = plans.optimal(profiles.from_values(urn.entropies()), 8)
    assert best.sizes.tolist() == [1, 2, 3, 6, 10, 18, 32, 56]
    assert excess(urn, best) == pytest.approx(0.5135, abs=5e-5)
    assert excess(urn, plans.uniform(128, 8)) == pytest.approx(3.855, abs=5e-4)


@pytest.mark.core
def test_the_best_sizes_on_the_chain():
    chain = oracles.markov(np.array([[0.8, 0.2], [0.2, 0.8]]), 48)
    best = plans.optimal(profiles.from_values(chain.entropies()), 8)
    assert best.sizes.tolist() == [4, 5, 5, 6, 6, 7, 7, 8]
    assert excess(chain, best) == pytest.approx(0.7890, abs=5e-5)
    assert excess(chain, plans.uniform(48, 8)) == pytest.approx(0.8196, abs=5e-5)


@pytest.mark.core
@pytest.mark.parametrize("vocab_size", [2, 3, 20])
def test_a_chain_of_any_length_has_its_entropy(vocab_size):
    transition = np.random.default_rng(vocab_size).dirichlet(np.ones(vocab_size), vocab_size)
    for length in (7, 300, 1024):
        chain = oracles.markov(transition, length)
        h = chain.entropies()
        assert h.sum() == pytest.approx(chain.entropy(), rel=1e-13)
        assert h[0] == pytest.approx(special.entr(chain.stationary).sum(), rel=1e-14)
        assert (np.diff(h) <= 1e-13).all()


@pytest.mark.core
def test_an_urn_of_any_length_has_its_entropy():
    """The law of the number of ones is beta-binomial; given it, all orders are equally likely."""
    for length, a, b in [(7, 2.0, 0.3), (1024, 0.5, 0.5), (3000, 30.0, 4.0)]:
        urn, ones = oracles.polya(length, a, b), np.arange(length + 1)
        each = special.betaln(ones + a, length - ones + b) - special.betaln(a, b)
        ways = -special.betaln(ones + 1, length - ones + 1) - np.log(length + 1)
        assert urn.entropy() == pytest.approx(-np.sum(np.exp(each + ways) * each), rel=1e-9)


@pytest.mark.core
def test_stationary_laws():
    rng = np.random.default_rng(0)
    for vocab_size in (2, 3, 17):
        chain = oracles.markov(rng.dirichlet(np.ones(vocab_size), vocab_size), 2)
        np.testing.assert_allclose(chain.stationary @ chain.transition, chain.stationary, atol=1e-15)
    nearly_apart = oracles.markov(np.array([[1 - 1e-12, 1e-12], [3e-12, 1 - 3e-12]]), 2)
    np.testing.assert_allclose(nearly_apart.stationary, [0.75, 0.25], rtol=1e-4)  # 1 - 1e-12 itself is rounded
    absorbing = oracles.markov(np.array([[0.5, 0.5], [0.0, 1.0]]), 3)
    assert absorbing.stationary.tolist() == [0, 1]
    assert absorbing.entropy() == 0
    around = oracles.markov(np.roll(np.eye(3), 1, axis=1), 4)  # periodic
    np.testing.assert_allclose(around.stationary, 1 / 3)
    np.testing.assert_allclose(around.entropies(), [np.log(3), 0, 0, 0], atol=1e-15)


@pytest.mark.core
def test_a_long_chain_by_powers_of_its_matrix():
    """4,096 tokens: between the nearest revealed tokens the law is a product of two powers, here in float64."""
    length, vocab_size = 4096, 3
    chain = oracles.markov(np.random.default_rng(5).dirichlet(np.full(vocab_size, 0.3), vocab_size), length)
    truth = np.asarray(chain.sample(jax.random.key(0), 2))
    masked = np.random.default_rng(6).random(truth.shape) < np.array([[0.5], [0.995]])
    shown = np.where(masked, vocab_size, truth).astype(np.int32)
    found = np.asarray(models.logits(chain.denoiser, chain.params, jnp.asarray(shown)))
    for row in range(2):
        known = np.flatnonzero(~masked[row])
        for j in np.flatnonzero(masked[row])[::7]:
            law = chain.stationary
            if (left := known[known < j]).size:
                law = np.linalg.matrix_power(chain.transition, int(j - left[-1]))[truth[row, left[-1]]]
            if (right := known[known > j]).size:
                law = law * np.linalg.matrix_power(chain.transition, int(right[0] - j))[:, truth[row, right[0]]]
            np.testing.assert_allclose(found[row, j], np.log(law / law.sum()), atol=5e-6)


@pytest.mark.core
def test_rare_is_not_impossible():
    """Conditionals far below the least float32 keep their logarithms."""
    rare = 1e-30
    chain = oracles.markov(np.array([[1 - rare, rare, 0], [0, 1 - rare, rare], [rare, 0, 1 - rare]]), 4)
    logits = np.asarray(models.logits(chain.denoiser, chain.params, jnp.array([[0, 3, 3, 0]])))
    np.testing.assert_allclose(logits[0, 1], [0, 3 * np.log(rare), -np.inf], rtol=1e-6)
    law = np.array([1 - 1e-60, 1e-60])
    pair = oracles.table(np.outer(law, law))
    logits = np.asarray(models.logits(pair.denoiser, pair.params, jnp.array([[2, 1]])))
    np.testing.assert_allclose(logits[0, 0], np.log(law), rtol=1e-6, atol=1e-6)
    blend = oracles.mixture(law, np.array([[[1, 0], [1, 0]], [[0, 1], [0, 1]]], float))
    logits = np.asarray(models.logits(blend.denoiser, blend.params, jnp.array([[2, 2], [2, 1]])))
    np.testing.assert_allclose(logits[0, 0], np.log(law), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(logits[1, 0], [-np.inf, 0])


@pytest.mark.core
def test_the_largest_tables():
    """2^16 states: bits that copy one hidden bit with noise, whose conditionals are known by counting."""
    flip, one = 0.1, np.indices((2,) * 16).sum(axis=0)
    law = 0.5 * (flip**one * (1 - flip) ** (16 - one) + flip ** (16 - one) * (1 - flip) ** one)
    table, blend = oracles.table(law), oracles.mixture(np.full(2, 0.5), _copies(flip, 16))
    shown = np.random.default_rng(0).integers(0, 3, (40, 16)).astype(np.int32)  # more rows than fit at once
    found, expected = (np.asarray(models.logits(o.denoiser, o.params, jnp.asarray(shown))) for o in (table, blend))
    np.testing.assert_allclose(found, expected, atol=5e-6)
    assert table.entropy() == pytest.approx(-np.sum(law * np.log(law)), rel=1e-12)
    wide = oracles.table(np.full((256, 256), 2.0**-16))
    logits = np.asarray(models.logits(wide.denoiser, wide.params, jnp.array([[256, 7]])))
    np.testing.assert_allclose(logits[0, 0], -np.log(256), atol=1e-5)
    np.testing.assert_allclose(wide.entropies(), np.log(256), rtol=1e-12)


def _copies(flip, length):
    return np.broadcast_to(np.array([[[1 - flip, flip]], [[flip, 1 - flip]]]), (2, length, 2))


@pytest.mark.core
def test_profiles_without_closed_forms_are_sums_over_states():
    """An urn is a mixture over its hidden bias: by Gauss and Jacobi, exactly one for 10 bits."""
    places, weights = special.roots_jacobi(8, 1.0, 0.5)  # weight (1 - x)^(b - 1) (1 + x)^(a - 1)
    one = (places + 1) / 2
    laws = np.repeat(np.stack([1 - one, one], axis=-1)[:, None], 10, axis=1)
    blend, urn = oracles.mixture(weights / weights.sum(), laws), oracles.polya(10, 1.5, 2)
    np.testing.assert_allclose(blend.entropies(), urn.entropies(), atol=1e-12)
    shown = np.random.default_rng(1).integers(0, 3, (30, 10)).astype(np.int32)
    found, expected = (models.logits(o.denoiser, o.params, jnp.asarray(shown)) for o in (blend, urn))
    np.testing.assert_allclose(found, expected, atol=5e-6)


@pytest.mark.core
@pytest.mark.thorough
def test_binsaw():
    """Marginals are 1/2; neighbours agree as their hidden shift says; 4,096 samples, 5 standard errors at 64 places."""
    saw = oracles.binsaw()
    assert (saw.length, saw.vocab_size, len(saw.weights)) == (64, 2, 512)
    # bits half a period (16) apart: one is at u where the other is at 1 - u; u is uniform on [.05, .95]
    u = 0.05 + 0.9 * (1 - np.abs(2 * np.arange(512) / 512 - 1))
    same = np.mean(2 * u * (1 - u))
    tokens = np.asarray(saw.sample(jax.random.key(0), 4096))
    assert np.abs(tokens.mean(axis=0) - 0.5).max() < 5 * 0.5 / np.sqrt(4096)
    found = np.mean(tokens == np.roll(tokens, 16, axis=1), axis=0)
    assert np.abs(found - same).max() < 5 * np.sqrt(same * (1 - same) / 4096)
    blank = models.logits(saw.denoiser, saw.params, jnp.full((1, 64), 2))
    np.testing.assert_allclose(blank, -np.log(2), atol=1e-5)
    # one more shift in between changes nothing that matters: the hidden shift is as good as continuous
    fine = oracles.binsaw(shifts=4096)
    np.testing.assert_allclose(saw.log_prob(tokens[:200]), fine.log_prob(tokens[:200]), atol=2e-3)
