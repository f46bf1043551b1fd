"""Draws against exact products of decision probabilities, and against softmax in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from references import chi_square

from mdm_jax.sampling import draws

pytestmark = pytest.mark.usefixtures("strict_types", "quick_loops")

ONE = jnp.float32(1.0)
DRAWS = 1_000_000
categorical = jax.jit(draws.categorical)


def spread_logits(vocab_size, span=60.0, seed=0):
    """Logits over ``span`` nats, both ends among them, in random order."""
    rng = np.random.default_rng(seed)
    logits = span * rng.uniform(size=vocab_size)
    logits[:2] = 0.0, span
    return rng.permutation(logits).astype(np.float32)


@jax.jit
def some_tokens(keys, logits, temperature):
    return jax.vmap(lambda key: draws.categorical(key[None], logits[None], temperature)[0][0])(keys)


def tokens_drawn(key, logits, temperature, count):
    """So many tokens, all from one row of logits: what depends on the logits alone is computed once per 20,000."""
    logits, temperature, each = jnp.asarray(logits), jnp.float32(temperature), 20_000
    keys = (jax.random.split(jax.random.fold_in(key, i), each) for i in range(count // each))
    return np.concatenate([np.asarray(some_tokens(batch, logits, temperature)) for batch in keys])


@pytest.mark.core
@pytest.mark.parametrize("temperature", [1.0, 0.8])
@pytest.mark.parametrize("vocab_size", [2, 3, 32, 257, 1000, 1024, 5000])
def test_every_class_has_its_probability_however_rare(vocab_size, temperature):
    """With ideal bits, over 60 nats: every class to 1e-5 of its probability, or to 2^-64 in each of its decisions.

    A decision is a whole number of 2^64 patterns, so the second bound takes over below some 1e-14.
    """
    logits = spread_logits(vocab_size)
    law = references.blocked_law(logits, temperature)
    exact = references.softmax(logits.astype(np.float64) / temperature)
    assert exact.min() < 1e-20
    assert law.sum() == pytest.approx(1, abs=1e-12)
    decisions = 1 + np.log2(vocab_size) + 1
    assert np.all(np.abs(law - exact) < 1e-5 * exact + decisions * 2.0**-64)
    assert ((exact > 1e-13) & (exact < 1e-7)).sum() > 0.05 * vocab_size - 1


@pytest.mark.parametrize("classes", [5, *(pytest.param(n, marks=pytest.mark.thorough) for n in (3, 64, 241))])
def test_halving_is_the_tree_that_the_law_was_computed_of(classes):
    """100,000 draws with the same bits by the library and by NumPy: the same class every time."""
    weights = np.exp(spread_logits(classes, 20.0) - 20)
    weights[classes // 2] = 0
    bits = jax.random.bits(jax.random.key(classes), (100_000, (classes - 1).bit_length(), 2))
    rows = jnp.broadcast_to(jnp.asarray(weights)[None], (100_000, classes))
    ours = np.asarray(jax.jit(draws.halving)(bits, rows))
    assert np.all(ours == references.halving(np.asarray(bits), weights))
    assert np.all(ours != classes // 2)


@pytest.mark.parametrize(
    "vocab_size", [257, *(pytest.param(v, marks=pytest.mark.thorough) for v in (3, 32, 1000, 1024, 5000))]
)
def test_a_million_draws_follow_softmax(vocab_size):
    """Chi-square of 10^6 draws at temperature .7, a class in ten ruled out: below its mean + 4 s.d."""
    logits = spread_logits(vocab_size, 2.0 if vocab_size == 3 else 12.0)
    logits[1::10] = -np.inf
    tokens = tokens_drawn(jax.random.key(1), logits, 0.7, DRAWS)
    counts = np.bincount(tokens, minlength=vocab_size)
    law = references.softmax(logits.astype(np.float64) / 0.7)
    assert len(counts) == vocab_size
    assert np.all(counts[law == 0] == 0)
    assert chi_square(counts, law) < 4
    # The same executable at other temperatures: hot, and cold: the argmax, the first of equals.
    hot = np.bincount(tokens_drawn(jax.random.key(2), logits, 1e6, 100_000), minlength=vocab_size)
    assert np.all(hot[law == 0] == 0)
    assert chi_square(hot, np.isfinite(logits) / np.isfinite(logits).sum()) < 4
    first = np.flatnonzero(np.isfinite(logits))[-2:]
    logits[first] = logits.max() + 1
    assert set(tokens_drawn(jax.random.key(3), logits, 0.0, 20_000)) == {first[0]}
    assert set(tokens_drawn(jax.random.key(3), logits, 1e-30, 20_000)) == set(first)


@pytest.mark.core
def test_log_prob_is_that_of_the_law_drawn_from():
    """200 draws of 257 classes, among them -inf, at temperature .5 and 0, against float64: 1e-5 nats."""
    logits = np.stack([spread_logits(257, 20.0, seed) for seed in range(200)])
    logits[:, 5:9] = -np.inf
    keys = jax.random.split(jax.random.key(2), 200)
    for temperature in (0.5, 2.0):
        tokens, log_prob = categorical(keys, jnp.asarray(logits), jnp.float32(temperature))
        exact = references.log_softmax(logits.astype(np.float64) / temperature)[np.arange(200), np.asarray(tokens)]
        np.testing.assert_allclose(log_prob, exact, atol=1e-5)
        assert len(set(np.asarray(tokens).tolist())) > 100
    tokens, log_prob = categorical(keys, jnp.asarray(logits), jnp.float32(0))
    assert np.all(np.asarray(tokens) == logits.argmax(axis=1))
    assert np.all(np.asarray(log_prob) == 0)
    log_prob = draws.log_prob_of(jnp.asarray(logits), jnp.asarray(logits.argmax(axis=1), jnp.int32))
    np.testing.assert_allclose(log_prob, references.log_softmax(logits).max(axis=1), atol=1e-5)


@pytest.mark.thorough
def test_a_draw_depends_on_its_key_and_its_logits_alone():
    """200 rows drawn together, in reverse and some one by one: the same tokens; no two keys are equal."""
    logits = jnp.asarray(np.stack([spread_logits(257, 3.0, seed) for seed in range(200)]))
    keys = draws.position_keys(jax.random.key(3), jnp.arange(200) // 5, jnp.arange(200) % 5)
    grid = draws.all_position_keys(jax.random.key(3), jnp.arange(40), 5)
    assert np.all(jax.random.key_data(grid).reshape(200, -1) == jax.random.key_data(keys))
    assert len({tuple(k) for k in np.asarray(jax.random.key_data(keys)).tolist()}) == 200
    together = np.asarray(categorical(keys, logits, ONE)[0])
    back = np.asarray(categorical(keys[::-1], logits[::-1], ONE)[0])[::-1]
    alone = [int(categorical(keys[i : i + 1], logits[i : i + 1], ONE)[0][0]) for i in range(20)]
    assert together.tolist() == back.tolist()
    assert together[:20].tolist() == alone


def rare_classes():
    """4,095 classes of 4e-8 each beside one that has the rest; expected share of the rare ones together."""
    logits = np.zeros(4096, np.float32)
    logits[100] = -np.log(4e-8)
    return logits, float(1 - references.softmax(logits)[100])


def test_rare_classes_are_hit_as_often_as_they_should():
    """A million draws, 164 hits expected (s.e. 12.8): within 4 s.e., and no class more than a few times."""
    logits, share = rare_classes()
    count = 1_000_000
    tokens = tokens_drawn(jax.random.key(4), logits, 1.0, count)
    hits = tokens[tokens != 100]
    expected = count * share
    assert abs(len(hits) - expected) < 4 * np.sqrt(expected)
    assert np.bincount(hits).max() <= 4  # 164 over 4,095: five in one has a chance of 3e-6


@pytest.mark.thorough
def test_the_default_of_jax_starves_rare_classes():
    """The same with ``jax.random.categorical`` in its default mode, 150,000 draws, 25 hits expected: 4 s.e. short."""

    logits, share = rare_classes()
    count = 150_000
    drawn = jax.jit(
        lambda keys: jax.lax.map(lambda key: jax.random.categorical(key, jnp.asarray(logits)), keys, batch_size=2_000)
    )
    keys = jax.random.split(jax.random.key(5), count)
    hits = int((np.asarray(drawn(keys)) != 100).sum())
    assert hits < count * share - 4 * np.sqrt(count * share)


def test_uniform_numbers_never_reach_one():
    bits = jnp.asarray([0, 255, 256, 2**31, 2**32 - 1], jnp.uint32)
    assert np.asarray(draws.uniform(bits)).tolist() == [0, 0, 2.0**-24, 0.5, 1 - 2.0**-24]
