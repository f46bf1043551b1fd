"""Puzzles made of whole grids: with one solution, or with several."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, Int64

from mdm_jax.support.errors import InputError
from mdm_jax.tasks.grids.solver import solve
from mdm_jax.tasks.grids.units import Box, size_of

TRIES = 200
"""Orders of removal, or choices of cells, before a number of clues is given up."""


class Puzzles(NamedTuple):
    """Puzzles, and what is known of them.

    Attributes:
        canvas: what a sampler is given; the mask where a cell is to be filled in.
        solution: the grid that each puzzle was made of.
        solutions: how many there are, counted up to the ``most`` that was asked for.
    """

    canvas: Int32[np.ndarray, "puzzles length"]
    solution: Int32[np.ndarray, "puzzles length"]
    solutions: Int64[np.ndarray, " puzzles"]


def make(
    grids: Int32[np.ndarray, "puzzles length"], box: Box, stream: np.random.RandomState, clues: int, most: int | None
) -> Puzzles:
    """One puzzle of each grid.

    Args:
        grids: whole ones.
        box: rows and columns of one box.
        stream: of random numbers.
        clues: how many each puzzle has.
        most: how far to count solutions, of which each puzzle then has two at least; ``None``: it has one.

    Raises:
        InputError: no such puzzle was found of some grid.
    """
    canvas, solutions = [], []
    for grid in grids.tolist():
        for _ in range(TRIES):
            order = stream.permutation(len(grid)).tolist()
            if most is None:
                puzzle, count = _dug(grid, box, order, clues), 1
            else:
                puzzle = _cleared(grid, box, order[clues:])
                count = len(solve(puzzle, box, most))
            if puzzle is not None and (most is None or count > 1):
                break
        else:
            kind = "one solution" if most is None else "several solutions"
            way = "larger" if most is None else "smaller"
            raise InputError(
                f"clues must be {way}: of some grid no puzzle with {kind} and {clues} clues was found in {TRIES} tries."
            )
        canvas.append(puzzle)
        solutions.append(count)
    shape = grids.shape
    return Puzzles(np.array(canvas, np.int32).reshape(shape), grids, np.array(solutions, np.int64))


def _cleared(grid: Sequence[int], box: Box, cells: Sequence[int]) -> list[int]:
    """The grid without what stands in ``cells``."""
    puzzle = list(grid)
    for cell in cells:
        puzzle[cell] = size_of(box)
    return puzzle


def _dug(grid: Sequence[int], box: Box, order: Sequence[int], clues: int) -> list[int] | None:
    """A puzzle with ``clues`` clues whose one solution is ``grid``; ``None`` if this order of removal ends earlier.

    A cell is cleared if no other digit in it has a solution. One that could not be cleared never can later, when there
    are fewer clues; so each cell is tried once.
    """
    puzzle, left = list(grid), len(grid)
    for cell in order:
        if left == clues:
            break
        token, puzzle[cell] = puzzle[cell], size_of(box)
        if solve(puzzle, box, 1, barred=(cell, token)):
            puzzle[cell] = token
        else:
            left -= 1
    return puzzle if left == clues else None
