"""The data order: a pure function of (seed, step), so there is no iterator state to lose."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray


def draw(
    key: PRNGKeyArray, train: Int[Array, " tokens"] | Int[Array, "examples length"], rows: int, length: int
) -> Int[Array, "rows length"]:
    """The batch that ``key`` names: windows at uniform offsets of a stream, or uniform examples, with replacement.

    Args:
        key: ``fold_in(key(seed), step)``, by convention.
        train: int32[tokens], a stream, or int32[examples, length].
        rows: batch size.
        length: window length.
    """
    if train.ndim == 2:
        return train[jax.random.randint(key, (rows,), 0, train.shape[0], jnp.int32)]
    offset = jax.random.randint(key, (rows, 1), 0, train.shape[0] - length + 1, jnp.int32)
    return train[offset + jnp.arange(length, dtype=jnp.int32)[None, :]]
