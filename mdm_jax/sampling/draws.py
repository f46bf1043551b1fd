"""Random draws: each keyed by the row and the position it is for, so that a sample does not depend on its batch.

A token is drawn by halving the vocabulary: *which half?*, asked some ``log2(vocab_size)`` times, each answer with a
random number of its own. A plain inverse distribution function asks one number for everything, and a float32
cumulative sum cannot hold a class rarer than 6e-8 beside the others; a Gumbel race costs one random number per class,
and JAX's default ones end at 15.94. Here each question compares a number with the smaller half's share, and both keep
their relative precision: a class of probability 1e-13 still gets it to a few millionths (the grain is 2^-64). The
first questions are about blocks of the vocabulary, the later ones about the classes of the block that was chosen, so
the whole of the logits is read twice: once for the maximum, once for the sums (which the log-probability needs anyway).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray, UInt32

_WHOLE_ROW = 0x7FFFFFFF
"""Folded into a row's key in place of a position; no position has this number."""
_ONE_BLOCK = 256
"""Vocabularies up to this size are one block."""


def position_keys(
    key: PRNGKeyArray, rows: Int[Array, " draws"], positions: Int[Array, " draws"]
) -> Key[Array, " draws"]:
    """``fold_in(fold_in(key, row), position)`` for each pair: keys[draws]."""
    return jax.vmap(lambda row, position: jax.random.fold_in(jax.random.fold_in(key, row), position))(rows, positions)


def row_keys(key: PRNGKeyArray, rows: Int[Array, " rows"]) -> Key[Array, " rows"]:
    """A key for each row as a whole, apart from those of its positions: keys[rows]."""
    return position_keys(key, rows, jnp.full(rows.shape, _WHOLE_ROW, jnp.int32))


def all_position_keys(key: PRNGKeyArray, rows: Int[Array, " rows"], length: int) -> Key[Array, "rows length"]:
    """:func:`position_keys` of every position of every row."""

    def of_row(row: Array) -> Array:
        row_key = jax.random.fold_in(key, row)
        return jax.vmap(lambda position: jax.random.fold_in(row_key, position))(jnp.arange(length, dtype=jnp.int32))

    return jax.vmap(of_row)(rows)


def position_bits(key: PRNGKeyArray, rows: Int[Array, " rows"], length: int) -> UInt32[Array, "rows length"]:
    """Thirty-two random bits for every position of every row; ranking them gives a uniform order."""
    return bits_of(all_position_keys(key, rows, length))


def bits_of(keys: Key[Array, "rows length"]) -> UInt32[Array, "rows length"]:
    """Thirty-two random bits of each key. The type is said, since JAX's default is 64 bits under ``jax_enable_x64``."""
    return jax.vmap(jax.vmap(lambda key: jax.random.bits(key, dtype=jnp.uint32)))(keys)


def uniform(bits: UInt32[Array, "*any"]) -> Float[Array, "*any"]:
    """A multiple of 2^-24 in [0, 1) from random bits."""
    return (bits >> 8).astype(jnp.float32) * jnp.float32(2.0**-24)


def categorical(
    keys: Key[Array, " draws"], logits: Float[Array, "draws vocab_size"], temperature: Float[Array, ""]
) -> tuple[Int[Array, " draws"], Float[Array, " draws"]]:
    """One token per row of logits, from ``softmax(logits / temperature)``; the argmax at temperature 0.

    Exact to float32 precision for every token, however rare (the drawing itself is :func:`halving`). Only real tokens
    take part: whether a position is revealed at all is decided elsewhere, never in one draw with the token
    (``DERIVATIONS.md``, "Two draws against one race", says what that costs; it was found by arXiv 2409.02908).

    Args:
        keys: one key per draw, keys[draws].
        logits: float32[draws, vocab_size]; -inf rules a token out.
        temperature: float[], at least 0; traced, so changing it does not recompile.

    Returns:
        The tokens, int32[draws], and their log-probability under the law they were drawn from (0 at temperature 0),
        nats, float32[draws]; NaN where the logits are NaN or all -inf, and the token then means nothing.
    """
    blocks = in_blocks(logits)
    best, largest = best_of_blocks(blocks)

    def draw() -> tuple[Array, Array]:
        def weights(part: Array, extra: int) -> Array:
            top = largest.reshape(-1, *(1,) * extra)
            return jnp.where(part == -jnp.inf, 0.0, jnp.exp((part - top) / temperature))

        count, width = blocks.shape[1:]
        first, second = _levels(count), _levels(width)
        bits = jax.vmap(lambda key: jax.random.bits(key, (first + second, 2), jnp.uint32))(keys)
        sums = jnp.sum(weights(blocks, 2), axis=-1)
        which = halving(bits[:, :first], sums)
        block = _pick(blocks, which)
        within = halving(bits[:, first:], weights(block, 1))
        scaled = (_pick(block, within) - largest) / temperature
        return which * width + within, scaled - jnp.log(jnp.sum(sums, axis=-1))

    def take_best() -> tuple[Array, Array]:
        return best, jnp.where(largest > -jnp.inf, jnp.zeros_like(largest), jnp.nan)

    tokens, log_prob = jax.lax.cond(temperature > 0, draw, take_best)
    return jnp.where(jnp.isnan(log_prob), 0, tokens), log_prob


def halving(bits: UInt32[Array, "draws levels 2"], weights: Float[Array, "draws classes"]) -> Int[Array, " draws"]:
    """A class with probability proportional to its weight, by halving the classes again and again.

    The sums of all halves, quarters and so on form a tree: the node ``i`` among ``n`` of its generation has the
    children ``i`` and ``i + n`` of the next, so that a generation is the sum of the two halves of the one below it.

    Args:
        bits: 64 random bits for each halving; ``levels`` is the logarithm of ``classes`` to base 2, rounded up.
        weights: 0 or more, not all 0. A class of weight 0 is never drawn.

    Returns:
        int32[draws].
    """
    levels = bits.shape[1]
    if levels == 0:
        return jnp.zeros(weights.shape[0], jnp.int32)
    generations = [jnp.pad(weights, ((0, 0), (0, (1 << levels) - weights.shape[1])))]
    for level in reversed(range(levels)):
        below, count = generations[-1], 1 << level
        generations.append(below[:, :count] + below[:, count:])
    tree = jnp.concatenate(generations[::-1], axis=1)  # generation k begins at 2^k - 1

    def descend(level: Array, node: Array) -> Array:
        count = jnp.left_shift(jnp.int32(1), level)
        child = 2 * count - 1 + node
        left, right = _pick(tree, child), _pick(tree, child + count)
        number = _full_range(jax.lax.dynamic_index_in_dim(bits, level, axis=1, keepdims=False))
        # Asking whether the *smaller* half is meant keeps the relative precision of small shares.
        go_small = number * (left + right) < jnp.minimum(left, right)
        return node + jnp.where(go_small == (right < left), count, jnp.int32(0))

    return jax.lax.fori_loop(0, levels, descend, jnp.zeros(weights.shape[0], jnp.int32))


def log_prob_of(logits: Float[Array, "draws vocab_size"], tokens: Int[Array, " draws"]) -> Float[Array, " draws"]:
    """``logit - logsumexp`` of the given tokens, float32[draws], nats."""
    return _pick(logits, tokens) - jax.nn.logsumexp(logits, axis=-1)


def in_blocks(logits: Float[Array, "draws vocab_size"]) -> Float[Array, "draws blocks width"]:
    """The vocabulary cut into blocks, some ``sqrt(vocab_size)`` of them, filled up with -inf."""
    draws, vocab_size = logits.shape
    width = _block_width(vocab_size)
    if vocab_size % width != 0:
        logits = jnp.pad(logits, ((0, 0), (0, -vocab_size % width)), constant_values=-jnp.inf)
        logits = jax.lax.optimization_barrier(logits)  # pad once, not in each of the passes that read it
    return logits.reshape(draws, -1, width)


def best_of_blocks(
    blocks: Float[Array, "draws blocks width"],
) -> tuple[Int[Array, " draws"], Float[Array, " draws"]]:
    """The first token with the largest logit, and that logit.

    By blocks, because XLA on CPU vectorises a maximum and not an argmax: that alone costs more than the matrix product
    that makes the logits (``experiments/throughput.py``).
    """
    maxima = jnp.max(blocks, axis=-1)
    which = jnp.argmax(maxima, axis=-1).astype(jnp.int32)
    block = _pick(blocks, which)
    within = jnp.argmax(block, axis=-1).astype(jnp.int32)
    return which * blocks.shape[-1] + within, _pick(block, within)


def _block_width(vocab_size: int) -> int:
    """The least divisor from the square root up, if there is one near it; else a power of two."""
    if vocab_size <= _ONE_BLOCK:
        return vocab_size
    root = int(vocab_size**0.5)
    return next((w for w in range(root, 4 * root) if vocab_size % w == 0), 1 << root.bit_length())


def _levels(classes: int) -> int:
    return (classes - 1).bit_length()


def _pick(values: Array, index: Array) -> Array:
    """``values[i, index[i]]``."""
    at = index.reshape(-1, *(1,) * (values.ndim - 1))
    return jnp.take_along_axis(values, at, axis=1)[:, 0]


def _full_range(bits: UInt32[Array, "draws 2"]) -> Float[Array, " draws"]:
    """A number in [0, 1] from 64 random bits; small ones keep 24 significant bits down to 2^-40, the least is 2^-64."""
    high, low = bits[:, 0].astype(jnp.float32), bits[:, 1].astype(jnp.float32)
    return high * jnp.float32(2.0**-32) + (low + 1.0) * jnp.float32(2.0**-64)
