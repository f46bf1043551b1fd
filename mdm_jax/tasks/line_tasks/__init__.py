"""Texts whose rows have a length of their own: lines of a text, sequences of a FASTA file."""

from mdm_jax.tasks.line_tasks.sequence_files import fasta
from mdm_jax.tasks.line_tasks.text_lines import LinesTask, lines

__all__ = ["LinesTask", "fasta", "lines"]
