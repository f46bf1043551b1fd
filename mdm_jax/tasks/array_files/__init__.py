"""Token ids in files: arrays of rows, and streams of ids however many."""

from mdm_jax.tasks.array_files import arrays, token_files
from mdm_jax.tasks.array_files.arrays import npy
from mdm_jax.tasks.array_files.token_files import TokensTask, spread_windows, tokens
from mdm_jax.tasks.array_files.token_maps import Read, first_byte, is_piece_of_a_file, opened, stays_in_file

KINDS = {
    "npy": (arrays.SETTINGS, arrays.from_settings),
    "bin": (token_files.SETTINGS, token_files.from_settings),
}
"""By kind of spec: its settings, and what makes its tasks."""

__all__ = [
    "KINDS",
    "Read",
    "TokensTask",
    "first_byte",
    "is_piece_of_a_file",
    "npy",
    "opened",
    "spread_windows",
    "stays_in_file",
    "tokens",
]
