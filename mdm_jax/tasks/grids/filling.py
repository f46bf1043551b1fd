"""Whole grids: all of a small size, and as many of 9 x 9 as are wanted."""

import itertools
from functools import lru_cache

import numpy as np
from jaxtyping import Int64, UInt8

from mdm_jax.tasks.grids.solver import solve
from mdm_jax.tasks.grids.units import Box, size_of


@lru_cache
def first_row_sorted(box: Box) -> UInt8[np.ndarray, "grids length"]:
    """Every grid whose first row is 0, 1, 2, ...: 12 of 4 x 4, 39,168 of 6 x 6.

    Every other grid is one of these with its digits renamed, in one way: the first row tells how. Row by row, each
    grid so far is continued by all permutations that repeat no digit in a column or a box; a row is one 64-bit number,
    the bit of each column's digit.
    """
    size = size_of(box)
    rows = np.array(list(itertools.permutations(range(size))), np.uint8)
    words = _words(rows, np.arange(size))
    in_box = np.stack([_words(rows, np.arange(size) // box[1] * box[1] + shift) for shift in range(box[1])])
    spread = np.bitwise_or.reduce(in_box, axis=0)  # a digit anywhere in a box bars it from all columns of the box
    grids, columns, boxes = rows[:1], words[:1], spread[:1]
    for row in range(1, size):
        boxes = np.zeros_like(boxes) if row % box[0] == 0 else boxes
        before, chosen = np.nonzero(((columns | boxes)[:, None] & words[None, :]) == 0)
        grids = np.concatenate([grids[before], rows[chosen]], axis=1)
        columns, boxes = columns[before] | words[chosen], boxes[before] | spread[chosen]
    grids.flags.writeable = False
    return grids


def _words(rows: UInt8[np.ndarray, "rows size"], columns: Int64[np.ndarray, " size"]) -> np.ndarray:
    """The digits of each row as bits of one number: ``size`` bits for each column."""
    size = rows.shape[1]
    # Of digits in one box, those that ``columns`` puts into the same column must be gathered there, not added up.
    return np.bitwise_or.reduce(np.left_shift(1, columns * size + rows.astype(np.int64)), axis=1)


def renamed(
    stream: np.random.RandomState, grids: UInt8[np.ndarray, "rows length"], size: int
) -> UInt8[np.ndarray, "rows length"]:
    """Each grid with its digits renamed by a random permutation."""
    names = stream.random_sample((len(grids), size)).argsort(axis=1, kind="stable").astype(np.uint8)
    return np.take_along_axis(names, grids.astype(np.int64), axis=1)


def filled(stream: np.random.RandomState, count: int, box: Box) -> UInt8[np.ndarray, "grids length"]:
    """Grids by a search that tries the digits of each cell in an order of its own: various, but not uniform."""
    size = size_of(box)
    orders = stream.random_sample((count, size**2, size)).argsort(axis=-1, kind="stable").tolist()
    blank = [size] * size**2
    return np.array([solve(blank, box, 1, order=order)[0] for order in orders], np.uint8).reshape(count, size**2)


def transformed(
    stream: np.random.RandomState, grids: UInt8[np.ndarray, "rows length"], box: Box
) -> UInt8[np.ndarray, "rows length"]:
    """Each grid after a random symmetry of the rules, for square boxes.

    Rows change places within their band, bands change places, columns and stacks likewise, half of the grids are
    transposed, and the digits are renamed.
    """
    size, count = size_of(box), len(grids)
    assert box[0] == box[1], "transposition needs square boxes"
    rows, columns = (_shuffled(stream, count, box[0]) for _ in range(2))
    places = rows[:, :, None] * size + columns[:, None, :]
    turned = stream.random_sample(count) < 0.5
    places[turned] = places[turned].transpose(0, 2, 1)
    moved = np.take_along_axis(grids, places.reshape(count, -1), axis=1)
    return renamed(stream, moved, size)


def _shuffled(stream: np.random.RandomState, count: int, side: int) -> Int64[np.ndarray, "count size"]:
    """Orders of the lines of a grid: bands permuted, and the lines within each."""
    bands = stream.random_sample((count, side)).argsort(axis=1, kind="stable")
    lines = stream.random_sample((count, side, side)).argsort(axis=2, kind="stable")
    return (bands[:, :, None] * side + lines).reshape(count, -1)
