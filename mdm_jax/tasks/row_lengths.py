"""The law of the lengths of rows: counted on the training rows, stored with a run, and drawn from."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int, Int32, Int64

from mdm_jax.support.errors import InputError, require, require_whole, verbatim
from mdm_jax.support.ragged import lengths, present
from mdm_jax.tasks.parts import Parts

_STRIDE = 0x9E3779B97F4A7C15
"""2^64 over the golden ratio, which is odd: multiples of it, modulo 2^64, are spread as evenly as can be."""


def length_counts(train: Int[np.ndarray, "rows length"]) -> list[int]:
    """How many rows have 0, 1, ... ``length`` tokens, as a description has it under "lengths".

    Example:
        >>> import numpy as np
        >>> from mdm_jax.tasks.row_lengths import length_counts
        >>> length_counts(np.array([[3, 1, -1], [2, -1, -1], [0, 1, 2], [2, 2, -1]]))
        [0, 1, 2, 1]
    """
    return np.bincount(lengths(train), minlength=train.shape[1] + 1).tolist()


def told_lengths(train: Int[np.ndarray, "..."]) -> dict[str, list[int]]:
    """What a description adds about rows of different lengths: nothing if none of ``train`` ends early."""
    return {} if train.ndim == 1 or present(train).all() else {"lengths": length_counts(train)}


def said_lengths(made: Parts) -> tuple[str, ...]:
    """A sentence about how many tokens rows have; none if all have as many."""
    found = np.concatenate([lengths(part) for part in made])
    if (found == made[0].shape[1]).all():
        return ()
    return (f"Rows have {found.min():,} to {found.max():,} tokens, {found.mean():,.1f} on average.",)


def lengths_of(description: Mapping[str, Any]) -> Int64[np.ndarray, " lengths"] | None:
    """How many training rows have each length, as a run has stored it.

    Args:
        description: what ``describe()`` of a task returned.

    Returns:
        int64[length + 1], the number of rows of 0, 1, ... tokens; ``None`` if all rows have the same length.

    Raises:
        InputError: ``description`` is malformed.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.tasks.lengths_of({"length": 3, "lengths": [0, 5, 0, 2]}).tolist()
        [0, 5, 0, 2]
    """
    stored, length = description.get("lengths"), description.get("length")
    if stored is None:
        return None
    counts = isinstance(stored, list) and all(type(count) is int and count >= 0 for count in stored)
    if not counts or type(length) is not int or len(stored) != length + 1 or stored[0] or not sum(stored):
        raise InputError("description must be what a task's describe() returned; its lengths are malformed.")
    return np.array(stored, np.int64)


def draw_lengths(counts: Int[np.ndarray, " lengths"], rows: int, seed: int = 0) -> Int32[np.ndarray, " rows"]:
    """Lengths for new rows: each is a draw from the law of ``counts``, and together they follow it closely.

    Row ``r`` takes the quantile ``u + r / golden ratio``, modulo 1, with one uniform ``u`` for each seed. So the first
    rows of a larger number are those of a smaller one, and the share of a length is off by far less than that of
    independent draws (``tasks/DERIVATIONS.md``, "Lengths that are drawn evenly").

    Args:
        counts: the number of rows of 0, 1, ... tokens, as :func:`lengths_of` returns it.
        rows: how many to draw.
        seed: of ``u``, from 0 to 2^32 - 1.

    Raises:
        InputError: ``counts`` are no counts, or an argument is out of range.

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> mdm.tasks.draw_lengths(np.array([0, 10, 0, 30]), rows=8, seed=1).tolist()
        [3, 1, 3, 3, 3, 3, 1, 3]
    """
    rows, seed = require_whole("rows", rows, 0), require_whole("seed", seed, 0, 2**32 - 1)
    table = np.asarray(counts)
    right = table.dtype.kind in "iu" and table.ndim == 1 and table.size > 0 and table.min() >= 0 and table.sum() > 0
    require(bool(right), "counts", verbatim(f"{table.dtype} of shape {table.shape}"), "counts of rows by length")
    start = np.random.RandomState(seed).randint(0, 2**64, dtype=np.uint64)
    quantiles = (start + np.arange(rows, dtype=np.uint64) * np.uint64(_STRIDE)) >> np.uint64(11)  # 53 bits, exactly
    ends = np.cumsum(table, dtype=np.int64)
    return np.searchsorted(ends, quantiles * 2.0**-53 * ends[-1], side="right").astype(np.int32)
