"""Tasks: what a model is trained on, shown as and judged by. NumPy only: nothing here imports JAX."""

from mdm_jax.tasks.arrays import npy
from mdm_jax.tasks.notation import Notation, Numbers
from mdm_jax.tasks.pictures import digits
from mdm_jax.tasks.python_code import code
from mdm_jax.tasks.specs import from_spec, restore, vocabulary_of
from mdm_jax.tasks.task import Task
from mdm_jax.tasks.text_files import text
from mdm_jax.tasks.vocabulary import Vocabulary

__all__ = [
    "Notation",
    "Numbers",
    "Task",
    "Vocabulary",
    "code",
    "digits",
    "from_spec",
    "npy",
    "restore",
    "text",
    "vocabulary_of",
]
