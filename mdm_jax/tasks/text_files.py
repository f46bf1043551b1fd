"""Text as a task: windows of characters from the documentation inside every CPython, from a file or from memory."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int, Int32

from mdm_jax.support.errors import InputError, require, require_whole
from mdm_jax.support.files import digest
from mdm_jax.tasks import dealing, parts
from mdm_jax.tasks.ngram import NGram, fit
from mdm_jax.tasks.notations import Vocabulary, is_text
from mdm_jax.tasks.parts import Parts
from mdm_jax.tasks.source_files import SourceFile, read_text
from mdm_jax.tasks.spelling import spelled

LARGEST_FILE = 2**30
"""Bytes; a larger file is refused before it is read (reading takes some 20 bytes of memory per character)."""

SETTINGS = {"lines": None, "end": None, "prompt": "SEP", **dealing.SETTING}
"""What may stand behind ``text:PATH?``; the lines of a text are those of :func:`mdm_jax.tasks.lines`."""
ORDERS = ("unigram", "bigram", "trigram", "4-gram", "5-gram")
"""The baselines of text, by order."""


@dataclass(frozen=True, eq=False)
class TextTask:
    """A text as a :class:`mdm_jax.tasks.Task`. Made by :func:`text`; the arrays are read-only."""

    spec: str
    length: int
    vocabulary: Vocabulary
    train: Int32[np.ndarray, " tokens"]
    validation: Int32[np.ndarray, "validation_rows length"]
    test: Int32[np.ndarray, "test_rows length"]
    digest: str
    made: Parts | None = field(default=None, repr=False)
    """The arrays that ``spec`` makes, so that a run notices when others were put in their place."""

    def __post_init__(self) -> None:
        require(
            type(self.vocabulary) is Vocabulary, "vocabulary", self.vocabulary, "a Vocabulary, which a run can store"
        )
        object.__setattr__(self, "length", require_whole("length", self.length, 2))
        parts.check(self)

    @property
    def vocab_size(self) -> int:
        """Number of different characters in the whole text."""
        return self.vocabulary.size

    @property
    def score_name(self) -> str:
        """The heading of :meth:`score`."""
        return "trigram bits per character"

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
        """Bits per character of each row under the back-off trigram of the training part; lower is more like it.

        The trigram is fitted once, when first needed. Raises ``InputError`` for rows with masks or other wrong ids.
        """
        return self._grams.bits_per_character(tokens, order=3)

    def baselines(self, tokens: Int[Any, "rows length"]) -> dict[str, Float64[np.ndarray, " rows"]]:
        """Bits per character of each row under back-off n-grams of the training part, unigram to 5-gram.

        They see the same windows as the model, from the first character on. Raises ``InputError`` as :meth:`score`.
        """
        return {name: self._grams.bits_per_character(tokens, order=k) for k, name in enumerate(ORDERS, start=1)}

    def describe(self) -> dict[str, Any]:
        """What a run stores (JSON); :func:`mdm_jax.tasks.restore` and ``vocabulary_of`` read it.

        Where ``dataclasses.replace`` or a subclass made a task that its spec does not, "arrays" or "class" say so.
        """
        return parts.described(self, self.made)


def text(length: int = 128, path: str | Path | None = None) -> TextTask:
    r"""Windows of characters from a text; :func:`from_content` says how it is divided.

    Args:
        length: characters in one row, at least 2.
        path: any UTF-8 file; "\r\n" becomes "\n" and a byte-order mark is dropped. By default the text is the
            reference documentation that comes with CPython (``pydoc_data.topics``), some 450,000 characters, which
            differ a little between Python versions.

    Raises:
        InputError: ``length`` is too small; the file cannot be read, is not UTF-8 text, has more than ``LARGEST_FILE``
            bytes, fewer than two different characters, or too few for two windows of ``length`` in each half.

    Example:
        >>> import pathlib, mdm_jax as mdm
        >>> pathlib.Path("story.txt").write_text("once upon a time " * 100)
        1700
        >>> task = mdm.tasks.text(length=17, path="story.txt")
        >>> task.vocabulary.characters, task.train.shape, task.validation.shape
        (' aceimnoptu', (1530,), (5, 17))
        >>> task.show(task.train[:17])
        'once upon a time '
    """
    _check_length(length)
    if path is None:
        return from_content(_documentation(), length, "text", "CPython's documentation")
    require(str(path) != "", "path", str(path), "the path of a UTF-8 text file")
    file = SourceFile(path, "a readable UTF-8 text file")
    return from_content(
        read_text(file, LARGEST_FILE), length, spelled("text", str(file.path), {}, SETTINGS), str(file.path)
    )


def from_content(content: str, length: int, spec: str, source: str) -> TextTask:
    """The task of a text in memory.

    The first nine tenths of the text are the training stream. The last tenth, which training never sees, is cut into
    disjoint windows of ``length``; a fixed permutation deals them into two halves, ``validation`` and ``test``, so that
    the first rows of each are a random sample of it. The vocabulary is that of the whole text.

    Args:
        content: the text.
        length: characters in one row, at least 2.
        spec: the name of the task.
        source: where the text comes from, for error messages.

    Raises:
        InputError: ``length`` is too small, or ``content`` has fewer than two different characters, or too few for two
            windows of ``length`` in each half, or half a character (a lone surrogate).

    Example:
        >>> from mdm_jax.tasks.text_files import from_content
        >>> task = from_content("once upon a time " * 100, length=17, spec="story", source="a story")
        >>> task.train.shape, task.validation.shape, task.test.shape, task.vocab_size
        ((1530,), (5, 17), (5, 17), 11)
    """
    _check_length(length)
    require(is_text(content), "content", content, "text without lone surrogates")
    needed = 40 * length  # a tenth of it is four windows, two for each half
    if len(content) < needed:
        raise InputError(
            f"length {length} needs a text of at least {needed} characters (its last tenth must hold two validation "
            f"and two test rows); {source} has {len(content)}."
        )
    vocabulary = Vocabulary.of(content)
    require(vocabulary.size >= 2, "path", source, "a text with at least two different characters")
    tokens = vocabulary.encode(content)
    held_out = len(tokens) // 10
    made = _split(tokens, len(tokens) - held_out, length)
    return TextTask(spec, length, vocabulary, *made, digest(content), made)


def _check_length(length: int) -> None:
    require_whole("length", length, 2)


def _split(tokens: np.ndarray, boundary: int, length: int) -> Parts:
    rows = (len(tokens) - boundary) // length
    windows = tokens[boundary : boundary + rows * length].reshape(rows, length)
    # RandomState, because NumPy promises its stream for all versions; default_rng's may change.
    windows = windows[np.random.RandomState(0).permutation(rows)]
    made = tokens[:boundary], windows[: rows // 2], windows[rows // 2 :]
    for part in made:
        part.flags.writeable = False
    return made


def _documentation() -> str:
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise InputError(
            'The task "text" needs CPython\'s documentation (the module pydoc_data), which this Python lacks; '
            "give the path of a UTF-8 text file instead."
        ) from None
    return "\n\n".join(topics[name] for name in sorted(topics))
