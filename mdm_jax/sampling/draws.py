"""Random draws: each keyed by the row and the position it is for, so that a sample does not depend on its batch."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray, UInt32


def position_keys(
    key: PRNGKeyArray, rows: Int[Array, " draws"], positions: Int[Array, " draws"]
) -> Key[Array, " draws"]:
    """``fold_in(fold_in(key, row), position)`` for each pair: keys[draws]."""
    return jax.vmap(lambda row, position: jax.random.fold_in(jax.random.fold_in(key, row), position))(rows, positions)


def position_bits(key: PRNGKeyArray, rows: Int[Array, " rows"], length: int) -> UInt32[Array, "rows length"]:
    """Thirty-two random bits for every position of every row; ranking them gives a uniform order."""

    def row_bits(row: Array) -> Array:
        row_key = jax.random.fold_in(key, row)
        return jax.vmap(lambda position: jax.random.bits(jax.random.fold_in(row_key, position)))(jnp.arange(length))

    return jax.vmap(row_bits)(rows)


def categorical(
    keys: Key[Array, " draws"], logits: Float[Array, "draws vocab_size"], temperature: Float[Array, ""]
) -> tuple[Int[Array, " draws"], Float[Array, " draws"]]:
    """One token per row of logits, from ``softmax(logits / temperature)``; the argmax at temperature 0.

    Gumbel noise is drawn with the full range of a float32 exponent (``mode="high"``): JAX's default cuts it at 15.94,
    which starves rare tokens (arXiv 2409.02908).

    Args:
        keys: one key per draw, keys[draws].
        logits: float32[draws, vocab_size].
        temperature: float[], at least 0; traced, so changing it does not recompile.

    Returns:
        The tokens, int32[draws], and their log-probability under the law they were drawn from (0 at temperature 0),
        nats, float32[draws].
    """
    vocab_size = logits.shape[-1]
    greedy = temperature <= 0
    scaled = logits / jnp.where(greedy, 1.0, temperature)
    noise = jax.vmap(lambda key: jax.random.gumbel(key, (vocab_size,), jnp.float32, mode="high"))(keys)
    tokens = jnp.argmax(scaled + jnp.where(greedy, 0.0, noise), axis=-1).astype(jnp.int32)
    return tokens, jnp.where(greedy, 0.0, log_prob_of(scaled, tokens))


def log_prob_of(logits: Float[Array, "draws vocab_size"], tokens: Int[Array, " draws"]) -> Float[Array, " draws"]:
    """``logit - logsumexp`` of the given tokens, float32[draws], nats."""
    chosen = jnp.take_along_axis(logits, tokens[:, None], axis=-1)[:, 0]
    return chosen - jax.nn.logsumexp(logits, axis=-1)
