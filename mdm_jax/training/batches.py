"""The data order: a pure function of (seed, step), so there is no iterator state to lose.

A batch is drawn in two parts: *places* in the data, and what stands there. Data in memory are drawn from inside of the
compiled step; of data in a file the host draws the same places and reads them ahead (:mod:`mdm_jax.training.feeding`).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32, Int64, PRNGKeyArray, UInt32

from mdm_jax.support.keys import key_of
from mdm_jax.training.objective import Examples

LARGEST = 2**31 - 1
"""So many places int32 can count; where there are more, 64 bits draw them."""


class Drawn(NamedTuple):
    """What is given to a step instead of all data: batches that are drawn already.

    Attributes:
        examples: of several steps, with a leading axis of steps before that of rows; or of one step, without it.
    """

    examples: Examples


def keys(seed: int, step: Any) -> tuple[PRNGKeyArray, PRNGKeyArray]:
    """The two keys of a step: which rows it takes, and all else that is random in it.

    Args:
        seed: of the training.
        step: steps done before it, a number or int32[].
    """
    data_key, mask_key = jax.random.split(jax.random.fold_in(key_of(seed), step))
    return data_key, mask_key


def places_in(shape: tuple[int, ...], length: int) -> int:
    """How many places there are: rows of [examples, length], or offsets of windows in a stream."""
    return shape[0] if len(shape) == 2 else shape[0] - length + 1


def places(key: PRNGKeyArray, count: int, rows: int) -> Int32[Array, " rows"]:
    """Uniform places below ``count``, with replacement.

    Args:
        key: the first of :func:`keys`, by convention.
        count: of the places there are, at most ``LARGEST``.
        rows: how many to draw.
    """
    return jax.random.randint(key, (rows,), 0, count, jnp.int32)


def words(key: PRNGKeyArray, rows: int) -> UInt32[Array, "rows 2"]:
    """What :func:`far_places` makes of a key: two random words for each row."""
    return jax.random.bits(key, (rows, 2), jnp.uint32)


def far_places(drawn: UInt32[np.ndarray, "*steps rows 2"], count: int) -> Int64[np.ndarray, "*steps rows"]:
    """Uniform places below any ``count`` up to 2^40, of random words: ``(first 2^32 + second) mod count``.

    No place is more than one part in 2^24 likelier than another (in 2^30, of 20 GB of uint16). NumPy computes it, since
    JAX has no 64-bit integers by default.

    Args:
        drawn: what :func:`words` gives.
        count: of the places there are.
    """
    high, low = drawn[..., 0].astype(np.uint64), drawn[..., 1].astype(np.uint64)
    return (((high << np.uint64(32)) | low) % np.uint64(count)).astype(np.int64)


def draw(key: PRNGKeyArray, train: Examples, rows: int, length: int) -> Examples:
    """The batch that ``key`` names: windows at uniform offsets of a stream, or uniform examples, with replacement.

    Args:
        key: the first of :func:`keys`, by convention.
        train: all of them: int32[tokens], a stream, or int32[examples, length] and what is known of each row.
        rows: batch size.
        length: window length.
    """
    tokens = train.tokens
    chosen = places(key, places_in(tokens.shape, length), rows)
    if tokens.ndim == 2:
        return jax.tree.map(lambda leaf: leaf[chosen], train)
    return Examples(tokens[chosen[:, None] + jnp.arange(length, dtype=jnp.int32)[None, :]])


def at(train: Any, index: Any) -> Any:
    """The data of one step of a block: all of them, or its own batch where batches are drawn already.

    Args:
        train: data of a block of steps.
        index: of the step in the block.
    """
    return jax.tree.map(lambda leaf: leaf[index], train) if isinstance(train, Drawn) else train
