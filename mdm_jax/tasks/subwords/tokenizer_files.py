"""Files of tokenizers: read, or trained on a text and written."""

from pathlib import Path
from typing import Any

from mdm_jax.support.errors import InputError, require_whole
from mdm_jax.support.files import write_text
from mdm_jax.tasks.notations import Subwords, tokenizers_package
from mdm_jax.tasks.source_files import SourceFile, read_text

LARGEST_TOKENIZER = 2**26
"""Bytes of a tokenizer's file; the largest ones published have some 20 million."""
LARGEST_TEXT = 2**28
"""Bytes of a text that is tokenized, or trained on."""
LEAST_SIZE = 257
"""A token for each byte, and one that is made of two."""
MOST_SIZE = 2**20


def read_tokenizer(path: str | Path) -> Subwords:
    r"""The vocabulary of a ``tokenizer.json``, or of a ``vocab.txt`` with a token on each line.

    What the file is, its name tells: one that ends in ``.txt`` is a list.

    Raises:
        InputError: it cannot be read, or is something else.

    Example:
        >>> import pathlib, mdm_jax as mdm
        >>> pathlib.Path("vocab.txt").write_text("[PAD]\n[MASK]\nA\nC\nD") > 0
        True
        >>> mdm.tasks.read_tokenizer("vocab.txt").encode("DAC").tolist()
        [2, 0, 1]
    """
    file = SourceFile(path, "a tokenizer.json, or a vocab.txt with a token on each line", "tokenizer")
    content = read_text(file, LARGEST_TOKENIZER)
    kind = "vocab.txt" if file.path.suffix == ".txt" else "tokenizer.json"
    try:
        return Subwords(kind, content)
    except InputError as error:
        raise InputError(f"{str(error).rstrip('.')} (in {str(file.path)!r}).") from None


def train_tokenizer(path: str | Path, size: int, save: str | Path | None = None) -> Subwords:
    """A byte-level BPE of ``size`` tokens, trained on a text: it writes every text, and loses nothing.

    Training it again on the same text makes the same tokens.

    Args:
        path: a UTF-8 file.
        size: number of tokens, from 257 on; fewer are made if the text has not so many pairs that occur twice.
        save: where to write it, as a ``tokenizer.json``.

    Raises:
        InputError: the file cannot be read or is no text; ``size`` is out of range; the package ``tokenizers`` is
            missing.

    Source: BPE is that of arXiv 1508.07909, on bytes that of GPT-2.

    Example:
        >>> import pathlib, mdm_jax as mdm
        >>> pathlib.Path("story.txt").write_text("once upon a time there was a tokenizer; " * 50) > 0
        True
        >>> words = mdm.tasks.train_tokenizer("story.txt", 300, save="tokenizer.json")
        >>> words.decode(words.encode("once upon a tïme")), mdm.tasks.read_tokenizer("tokenizer.json") == words
        ('once upon a tïme', True)
    """
    size = require_whole("size", size, LEAST_SIZE, MOST_SIZE)
    file = SourceFile(path, "a readable UTF-8 text file")
    made = trained_on(read_text(file, LARGEST_TEXT), size)
    if save is not None:
        write_text(save, made.content)
    return made


def trained_on(text: str, size: int) -> Subwords:
    """The same of a text in memory."""
    tokenizers: Any = tokenizers_package()
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        show_progress=False,
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
    )
    made.train_from_iterator([text], trainer)
    return Subwords("tokenizer.json", made.to_str())
