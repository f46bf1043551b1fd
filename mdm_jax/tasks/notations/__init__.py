"""How token ids are written for people and read back: characters, letters, subwords, numbers, pictures, grids."""

from mdm_jax.tasks.notations.grid_notation import Grid
from mdm_jax.tasks.notations.notation import Notation, Numbers, from_json, is_number
from mdm_jax.tasks.notations.subword_notation import Subwords, tokenizers_package
from mdm_jax.tasks.notations.vocabulary import Alphabet, Vocabulary, is_text

__all__ = [
    "Alphabet",
    "Grid",
    "Notation",
    "Numbers",
    "Subwords",
    "Vocabulary",
    "from_json",
    "is_number",
    "is_text",
    "tokenizers_package",
]
