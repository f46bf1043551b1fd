"""Work on some (row, position) pairs in chunks of one fixed shape, so that the cost follows the data.

A chunk has at least :data:`LEAST` pairs: XLA on CPU computes each row of a matrix product alike, bit for bit, in every
shape from 64 rows up, and otherwise in smaller ones (measured on jax 0.10.2), so that what is read at a position does
not depend on what is read beside it.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

LEAST = 64
"""Pairs of a chunk where the vocabulary is large."""
_MOST = 512
_ENTRIES = 1 << 17

Carry = TypeVar("Carry")


def chunk_size(vocab_size: int) -> int:
    """Pairs of a chunk: a compromise between work on what a chunk has too much of, and overhead for each chunk."""
    return min(max(_ENTRIES // vocab_size // LEAST * LEAST, LEAST), _MOST)


def in_chunks(
    pairs: Int[Array, " total"],
    start: Int[Array, ""],
    end: Int[Array, ""],
    size: int,
    body: Callable[[Carry, Int[Array, " chunk"], Bool[Array, " chunk"]], Carry],
    carry: Carry,
) -> Carry:
    """Fold ``body(carry, pair[size], inside[size])`` over ``pairs[start:end]``.

    The last chunk is filled up with other pairs; ``inside`` says which of its entries count.
    """
    last = pairs.shape[0] - 1

    def one_chunk(state: tuple[Array, Carry]) -> tuple[Array, Carry]:
        cursor, carry = state
        at = cursor + jnp.arange(size, dtype=cursor.dtype)
        return cursor + size, body(carry, pairs[jnp.minimum(at, last)], at < end)

    return jax.lax.while_loop(lambda state: state[0] < end, one_chunk, (start, carry))[1]
