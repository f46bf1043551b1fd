"""Grids: Sudoku of three sizes, to be made from nothing or to be completed."""

from mdm_jax.tasks.grids.puzzles import Puzzles
from mdm_jax.tasks.grids.sudoku import SudokuTask, UniformSudokuTask, sudoku4, sudoku6, sudoku9

__all__ = ["Puzzles", "SudokuTask", "UniformSudokuTask", "sudoku4", "sudoku6", "sudoku9"]
