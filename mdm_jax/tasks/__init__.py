"""Tasks: what a model is trained on, shown as and judged by. NumPy only: nothing here imports JAX."""

from mdm_jax.tasks.arrays import npy
from mdm_jax.tasks.grid_notation import Grid
from mdm_jax.tasks.grids import sudoku4, sudoku6, sudoku9
from mdm_jax.tasks.notation import Notation, Numbers
from mdm_jax.tasks.pictures import digits
from mdm_jax.tasks.python_code import code
from mdm_jax.tasks.specs import from_spec, restore, vocabulary_of
from mdm_jax.tasks.task import Task
from mdm_jax.tasks.text_files import text
from mdm_jax.tasks.toys import binsaw, pairs, two_blocks
from mdm_jax.tasks.vocabulary import Vocabulary

__all__ = [
    "Grid",
    "Notation",
    "Numbers",
    "Task",
    "Vocabulary",
    "binsaw",
    "code",
    "digits",
    "from_spec",
    "npy",
    "pairs",
    "restore",
    "sudoku4",
    "sudoku6",
    "sudoku9",
    "text",
    "two_blocks",
    "vocabulary_of",
]
