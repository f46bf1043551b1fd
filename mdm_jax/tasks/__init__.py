"""Tasks: what a model is trained on, shown as and judged by. NumPy only: nothing here imports JAX."""

from mdm_jax.tasks.specs import from_spec, restore, vocabulary_of
from mdm_jax.tasks.task import Task
from mdm_jax.tasks.text import text
from mdm_jax.tasks.vocabulary import Vocabulary

__all__ = ["Task", "Vocabulary", "from_spec", "restore", "text", "vocabulary_of"]
