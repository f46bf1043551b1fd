"""Text as the tokens of a published model's tokenizer, or of one that is trained on the text itself."""

from mdm_jax.tasks.subwords.subword_lines import SubwordLinesTask, by_stored, from_settings, tokenized_lines
from mdm_jax.tasks.subwords.subword_texts import SETTINGS, SubwordsTask, tokenized
from mdm_jax.tasks.subwords.tokenizer_files import read_tokenizer, train_tokenizer

__all__ = [
    "SETTINGS",
    "SubwordLinesTask",
    "SubwordsTask",
    "by_stored",
    "from_settings",
    "read_tokenizer",
    "tokenized",
    "tokenized_lines",
    "train_tokenizer",
]
