"""The rows, columns and boxes of a Sudoku, and what they hold."""

from functools import lru_cache

import numpy as np
from jaxtyping import Int, Int64

Box = tuple[int, int]
"""Rows and columns of one box; a grid has as many digits, rows and columns as a box has cells."""


def size_of(box: Box) -> int:
    """Digits, rows and columns of the grid."""
    return box[0] * box[1]


@lru_cache
def unit_of(box: Box) -> tuple[list[int], list[int], list[int]]:
    """Of each cell, in raster order, the numbers of its row, its column and its box among all the units."""
    size = size_of(box)
    rows, columns = np.divmod(np.arange(size**2), size)
    boxes = rows // box[0] * box[0] + columns // box[1]  # as many boxes lie beside each other as a box has rows
    return rows.tolist(), (size + columns).tolist(), (2 * size + boxes).tolist()


@lru_cache
def cells_of(box: Box) -> Int64[np.ndarray, "units size"]:
    """The cells of each unit: rows, columns and boxes, in the order of :func:`unit_of`."""
    cells = np.concatenate([np.argsort(unit, kind="stable").reshape(size_of(box), -1) for unit in unit_of(box)])
    cells.flags.writeable = False
    return cells


def broken(tokens: Int[np.ndarray, "rows length"], box: Box) -> Int64[np.ndarray, " rows"]:
    """How many units do not hold every digit; none with a mask does."""
    bits = np.left_shift(1, tokens.astype(np.int64))
    held = np.bitwise_or.reduce(bits[:, cells_of(box)], axis=-1)
    return np.asarray((held != 2 ** size_of(box) - 1).sum(axis=1))
