"""A text in subwords as a task: windows of tokens from a UTF-8 file."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int, Int32, Int64

from mdm_jax.support.errors import InputError, require, require_whole
from mdm_jax.support.files import digest
from mdm_jax.support.ragged import present
from mdm_jax.tasks import dealing, parts
from mdm_jax.tasks.ngram import NGram, fit
from mdm_jax.tasks.notations import Subwords
from mdm_jax.tasks.parts import Parts
from mdm_jax.tasks.source_files import SourceFile, read_text
from mdm_jax.tasks.spelling import spelled
from mdm_jax.tasks.subwords.tokenizer_files import LARGEST_TEXT, LEAST_SIZE, MOST_SIZE, read_tokenizer, trained_on
from mdm_jax.tasks.task import token_ids

LENGTH = 128
"""Tokens in one row, unless another number is asked for."""
SETTINGS = {"tokenizer": "FILE", "bpe": "SIZE", "lines": None, **dealing.SETTING}
"""What may stand behind ``tokens:PATH?``: one of the first two, and whether rows are lines, of which a share is held
out."""
ORDERS = ("unigram", "bigram", "trigram")
"""The baselines, by order."""
_FEWEST = 4
"""Windows that must be held out: two to choose by, two to judge by."""


@dataclass(frozen=True, eq=False)
class SubwordsTask:
    """A text in subwords as a :class:`mdm_jax.tasks.Task`. Made by :func:`tokenized`; the arrays are read-only."""

    spec: str
    length: int
    vocabulary: Subwords
    train: Int32[np.ndarray, " tokens"]
    validation: Int32[np.ndarray, "validation_rows length"]
    test: Int32[np.ndarray, "test_rows length"]
    digest: str
    notes: tuple[str, ...] = ()
    """What a person should know: how many bytes a token has."""
    made: Parts | None = field(default=None, repr=False)
    """The arrays that ``spec`` makes, so that a run notices when others were put in their place."""

    def __post_init__(self) -> None:
        require(type(self.vocabulary) is Subwords, "vocabulary", self.vocabulary, "Subwords, which a run can store")
        object.__setattr__(self, "length", require_whole("length", self.length, 2))
        parts.check(self)

    @property
    def vocab_size(self) -> int:
        """Number of the tokenizer's real tokens, whether they occur in the text or not."""
        return self.vocabulary.size

    @property
    def score_name(self) -> str:
        """The heading of :meth:`score`."""
        return "trigram bits per token"

    @property
    def lower_is_better(self) -> bool:
        """Lower is more like the training text; far below the score of held-out rows, it means repetition."""
        return True

    @cached_property
    def _grams(self) -> NGram:
        return fit(self.train, self.vocab_size, order=len(ORDERS))

    def show(self, tokens: Int[Any, " length"]) -> str:
        """The text of one row, with "·" for masks; raises ``InputError`` for ids that are no tokens."""
        return self.vocabulary.decode(tokens)

    def score(self, tokens: Int[Any, "rows length"]) -> Float64[np.ndarray, " rows"]:
        """Bits per token of each row under the back-off trigram of the training part; lower is more like it.

        Raises ``InputError`` for rows with masks or other wrong ids.
        """
        return self._grams.bits_per_character(tokens, order=len(ORDERS))

    def baselines(self, tokens: Int[Any, "rows length"]) -> dict[str, Float64[np.ndarray, " rows"]]:
        """Bits per token of each row under back-off n-grams of the training part, unigram to trigram.

        Raises ``InputError`` as :meth:`score`.
        """
        return {name: self._grams.bits_per_character(tokens, order=k) for k, name in enumerate(ORDERS, start=1)}

    def bytes_of(self, tokens: Int[Any, "rows length"]) -> Int64[np.ndarray, " rows"]:
        r"""How many bytes of text each complete row writes: bits per row over these are bits per byte.

        Bits per token cannot be compared between vocabularies, bits per byte can.

        Raises:
            InputError: rows with masks or other wrong ids.

        Example:
            >>> import pathlib, mdm_jax as mdm
            >>> pathlib.Path("vocab.txt").write_text("[MASK]\na\nb\nab") > 0
            True
            >>> pathlib.Path("abs.txt").write_text("aabb" * 100) > 0
            True
            >>> task = mdm.tasks.tokenized("abs.txt", "vocab.txt", length=4)
            >>> task.show(task.test[0]), task.bytes_of(task.test[:1])
            ('aabba', array([5]))
        """
        ids = self._complete(tokens)
        return np.where(there := present(ids), self.vocabulary.byte_lengths[np.where(there, ids, 0)], 0).sum(axis=1)

    def describe(self) -> dict[str, Any]:
        """What a run stores (JSON), its tokenizer too; :func:`mdm_jax.tasks.restore` and ``vocabulary_of`` read it.

        Where ``dataclasses.replace`` or a subclass made a task that its spec does not, "arrays" or "class" say so.
        """
        return parts.described(self, self.made)

    def _complete(self, tokens: Int[Any, "rows length"]) -> np.ndarray:
        wanted = f"ids from 0 to {self.vocab_size - 1}, without masks"
        return token_ids(tokens, "rows length", self.vocab_size, wanted, ragged=True)


def tokenized(
    path: str | Path, tokenizer: str | Path | Subwords | int, length: int = LENGTH, spec: str | None = None
) -> SubwordsTask:
    """Windows of subwords from a text, by the tokenizer of a published model or one that is trained on the text.

    The first nine tenths of the characters are the training stream; the last tenth is tokenized by itself and cut into
    disjoint windows of ``length`` tokens, which a fixed permutation deals into two halves, ``validation`` and ``test``.
    The vocabulary is every real token of the tokenizer, whether it occurs or not, so that it does not depend on the
    text; special tokens are no part of it. A run keeps the tokenizer whole, and is restored by what it kept.

    Args:
        path: any UTF-8 file.
        tokenizer: the path of a ``tokenizer.json`` or a ``vocab.txt`` (:func:`mdm_jax.tasks.read_tokenizer`), what that
            returns, or a number of tokens: of a byte-level BPE that is trained on the training part.
        length: tokens in one row, at least 2.
        spec: the name of the task, of a run that keeps its tokenizer.

    Raises:
        InputError: a file cannot be read or is something else, a text that the tokenizer cannot write, too few tokens
            for two windows in each half; the package ``tokenizers`` is missing, which a ``vocab.txt`` does not need.

    Example:
        >>> import pathlib, mdm_jax as mdm
        >>> pathlib.Path("story.txt").write_text("once upon a time there was a tokenizer; " * 100) > 0
        True
        >>> task = mdm.tasks.tokenized("story.txt", 280, length=8)
        >>> task.show(task.train[:8]), round(float(task.bytes_of(task.test).mean() / 8), 1)
        ('once upon a time there was a token', 3.7)
    """
    length = require_whole("length", length, 2)
    require(str(path) != "", "path", str(path), "the path of a UTF-8 text file")
    file = SourceFile(path, "a readable UTF-8 text file")
    content = read_text(file, LARGEST_TEXT)
    first, last = content[: (cut := len(content) - len(content) // 10)], content[cut:]
    vocabulary, settings = chosen(tokenizer, first, spec)
    told = spec or spelled("tokens", str(file.path), settings, SETTINGS)
    train, held = (encoded(file, vocabulary, part) for part in (first, last))
    rows = len(held) // length
    if rows < _FEWEST:
        raise InputError(
            f"length {length} needs a text whose last tenth has at least {_FEWEST * length} tokens (two validation and "
            f"two test rows); that of {str(file.path)!r} has {len(held)}."
        )
    windows = held[: rows * length].reshape(rows, length)
    # RandomState, because NumPy promises its stream for all versions; default_rng's may change.
    windows = windows[np.random.RandomState(0).permutation(rows)]
    made = train, windows[: rows // 2], windows[rows // 2 :]
    for part in made:
        part.flags.writeable = False
    size = int(vocabulary.byte_lengths[train].sum())
    notes = (f"A token has {size / len(train):.2f} bytes on average, in {len(train):,} training tokens.",)
    known = digest(f"{digest(content)} {vocabulary.digest}")
    return SubwordsTask(told, length, vocabulary, *made, known, notes, made)


def chosen(tokenizer: Any, text: str, spec: str | None) -> tuple[Subwords, dict[str, object]]:
    """The vocabulary that ``tokenizer`` says, as :func:`tokenized` takes it, and the settings that name it.

    Args:
        tokenizer: as it was given.
        text: what a BPE is trained on.
        spec: of a run that keeps its tokenizer.
    """
    if isinstance(tokenizer, Subwords):
        require(spec is not None, "tokenizer", tokenizer, "the path of its file, by which a run can name it")
        return tokenizer, {}
    if isinstance(tokenizer, str | Path):
        return read_tokenizer(tokenizer), {"tokenizer": str(SourceFile(tokenizer, "", "tokenizer").path)}
    size = require_whole("bpe", tokenizer, LEAST_SIZE, MOST_SIZE)
    return trained_on(text, size), {"bpe": size}


def encoded(file: SourceFile, vocabulary: Subwords, text: str, where: str = "") -> Int32[np.ndarray, " tokens"]:
    """The ids of a part of a file; what cannot be written is told with the file's name."""
    try:
        return vocabulary.encode(text)
    except InputError as error:
        raise InputError(f"{str(error).rstrip('.')} ({where}in {str(file.path)!r}).") from None
