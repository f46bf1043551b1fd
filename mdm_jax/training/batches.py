"""The data order: a pure function of (seed, step), so there is no iterator state to lose."""

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from mdm_jax.training.objective import Examples


def draw(key: PRNGKeyArray, train: Examples, rows: int, length: int) -> Examples:
    """The batch that ``key`` names: windows at uniform offsets of a stream, or uniform examples, with replacement.

    Args:
        key: ``fold_in(key(seed), step)``, by convention.
        train: all of them: int32[tokens], a stream, or int32[examples, length] and what is known of each row.
        rows: batch size.
        length: window length.
    """
    tokens = train.tokens
    if tokens.ndim == 2:
        chosen = jax.random.randint(key, (rows,), 0, tokens.shape[0], jnp.int32)
        return jax.tree.map(lambda leaf: leaf[chosen], train)
    offset = jax.random.randint(key, (rows, 1), 0, tokens.shape[0] - length + 1, jnp.int32)
    return Examples(tokens[offset + jnp.arange(length, dtype=jnp.int32)[None, :]])
