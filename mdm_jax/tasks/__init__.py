"""Tasks: what a model is trained on, shown as and judged by. NumPy only: nothing here imports JAX."""

from mdm_jax.tasks.array_files import npy, tokens
from mdm_jax.tasks.extras import baselines_of, context_of, given_of, notes_of
from mdm_jax.tasks.grids import sudoku4, sudoku6, sudoku9
from mdm_jax.tasks.line_tasks import fasta, lines
from mdm_jax.tasks.notations import Alphabet, Grid, Notation, Numbers, Subwords, Vocabulary
from mdm_jax.tasks.pictures import digits
from mdm_jax.tasks.python_code import code
from mdm_jax.tasks.recoding import in_vocabulary
from mdm_jax.tasks.row_lengths import draw_lengths, lengths_of
from mdm_jax.tasks.rules import arithmetic, brackets
from mdm_jax.tasks.specs import from_spec, restore, vocabulary_of
from mdm_jax.tasks.subwords import read_tokenizer, tokenized, tokenized_lines, train_tokenizer
from mdm_jax.tasks.task import Task
from mdm_jax.tasks.text_files import text
from mdm_jax.tasks.toys import binsaw, pairs, two_blocks

__all__ = [
    "Alphabet",
    "Grid",
    "Notation",
    "Numbers",
    "Subwords",
    "Task",
    "Vocabulary",
    "arithmetic",
    "baselines_of",
    "binsaw",
    "brackets",
    "code",
    "context_of",
    "digits",
    "draw_lengths",
    "fasta",
    "from_spec",
    "given_of",
    "in_vocabulary",
    "lengths_of",
    "lines",
    "notes_of",
    "npy",
    "pairs",
    "read_tokenizer",
    "restore",
    "sudoku4",
    "sudoku6",
    "sudoku9",
    "text",
    "tokenized",
    "tokenized_lines",
    "tokens",
    "train_tokenizer",
    "two_blocks",
    "vocabulary_of",
]
