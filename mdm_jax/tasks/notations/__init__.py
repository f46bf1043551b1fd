"""How token ids are written for people and read back: characters, letters of an alphabet, numbers, pictures, grids."""

from mdm_jax.tasks.notations.grid_notation import Grid
from mdm_jax.tasks.notations.notation import Notation, Numbers, from_json, is_number
from mdm_jax.tasks.notations.vocabulary import Alphabet, Vocabulary, is_text

__all__ = ["Alphabet", "Grid", "Notation", "Numbers", "Vocabulary", "from_json", "is_number", "is_text"]
