"""Text as the tokens of a published model's tokenizer, or of one that is trained on the text itself."""

from mdm_jax.tasks.subwords.subword_texts import SETTINGS, SubwordsTask, from_settings, tokenized
from mdm_jax.tasks.subwords.tokenizer_files import read_tokenizer, train_tokenizer

__all__ = ["SETTINGS", "SubwordsTask", "from_settings", "read_tokenizer", "tokenized", "train_tokenizer"]
