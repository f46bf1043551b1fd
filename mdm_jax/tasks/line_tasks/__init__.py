"""Texts whose rows have a length of their own: lines of a text, sequences of a FASTA file."""

from mdm_jax.tasks.line_tasks.sequence_files import SETTINGS as SEQUENCES
from mdm_jax.tasks.line_tasks.sequence_files import fasta
from mdm_jax.tasks.line_tasks.sequence_files import from_settings as sequences
from mdm_jax.tasks.line_tasks.text_lines import LinesTask, lines

__all__ = ["SEQUENCES", "LinesTask", "fasta", "lines", "sequences"]
