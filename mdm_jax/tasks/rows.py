"""Separate rows of numbers as a task: how they are shown, scored and compared with simple laws."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int, Int32, Int64

from mdm_jax.support.arrays import as_array
from mdm_jax.support.errors import require, verbatim
from mdm_jax.support.ragged import present
from mdm_jax.tasks import parts
from mdm_jax.tasks.dealing import HELD_OUT, spelled_share
from mdm_jax.tasks.extras import given_of
from mdm_jax.tasks.frequencies import Frequencies, count
from mdm_jax.tasks.notations import Alphabet, Grid, Numbers, Subwords, Vocabulary
from mdm_jax.tasks.parts import Parts
from mdm_jax.tasks.row_lengths import told_lengths
from mdm_jax.tasks.task import token_ids

_STORABLE = (Numbers, Grid, Vocabulary, Alphabet, Subwords)


@dataclass(frozen=True, eq=False)
class RowsTask:
    """Rows as a :class:`mdm_jax.tasks.Task`; the arrays are read-only. Rows may end in ``ABSENT`` (-1).

    Rows that the data hold several times may lie in several parts.
    """

    spec: str
    vocabulary: Numbers | Grid | Vocabulary | Subwords
    train: Int32[np.ndarray, "train_rows length"]
    validation: Int32[np.ndarray, "validation_rows length"]
    test: Int32[np.ndarray, "test_rows length"]
    digest: str
    made: tuple[np.ndarray, ...] | None = field(default=None, repr=False)
    """The arrays that ``spec`` makes, so that a run notices when others were put in their place."""
    prompts: Parts | None = field(default=None, repr=False)
    """Of each part, which positions are given; see :meth:`given`."""
    labels: Parts | None = field(default=None, repr=False)
    """Of each part, the class of each row, from 0 to ``classes - 1``; see :meth:`context`."""
    classes: int | None = None
    """How many classes there are, if rows have labels."""
    notes: tuple[str, ...] = ()
    """What a person should know of the data."""
    held_out: float = HELD_OUT
    """The share of rows that was dealt into validation and test."""

    def __post_init__(self) -> None:
        storable = type(self.vocabulary) in _STORABLE
        wanted = "Numbers, a Grid, a Vocabulary or an Alphabet, which a run can store, or Subwords"
        require(storable, "vocabulary", self.vocabulary, wanted)
        parts.check(self, ragged=True)
        for part in parts.NAMES:
            given_of(self, part)
        for name, labels in zip(parts.NAMES, self.labels or ()):
            rows = len(getattr(self, name))
            good = labels.dtype == np.int32 and labels.shape == (rows,) and self.classes is not None
            require(good, "labels", verbatim(f"{labels.dtype} of shape {labels.shape}"), f"int32 of shape [{rows}]")

    @property
    def length(self) -> int:
        """Tokens in one row, the longest if they differ."""
        return self.train.shape[1]

    @property
    def vocab_size(self) -> int:
        """Number of different tokens, whether they occur or not."""
        return self.vocabulary.size

    @property
    def score_name(self) -> str:
        """The heading of :meth:`score`."""
        return "bits per token of the bigram by position"

    @property
    def lower_is_better(self) -> bool:
        """Lower is more like the training rows; far below the score of held-out rows, it means repetition."""
        return True

    def given(self, part: str) -> Bool[np.ndarray, "rows length"] | None:
        """Which positions of each row of a part are given, see :func:`mdm_jax.tasks.given_of`."""
        return None if self.prompts is None else self.prompts[parts.NAMES.index(part)]

    def context(self, part: str) -> dict[str, Int32[np.ndarray, " rows"]] | None:
        """The labels of each row of a part, as ``{"label": labels}``, see :func:`mdm_jax.tasks.context_of`."""
        return None if self.labels is None else {"label": self.labels[parts.NAMES.index(part)]}

    def show(self, tokens: Int[Any, " length"]) -> str:
        """One row as numbers, text, a picture or a grid, "·" for masks; ``InputError`` for ids that are no tokens."""
        return self.vocabulary.decode(tokens)

    def score(self, tokens: Int[Any, "rows length"]) -> Float64[np.ndarray, " rows"]:
        """The last of :meth:`baselines`; raises ``InputError`` for rows with masks, or of another length."""
        return list(self.baselines(tokens).values())[-1]

    def baselines(
        self, tokens: Int[Any, "rows length"], given: Bool[Any, "rows length"] | None = None
    ) -> dict[str, Float64[np.ndarray, " rows"]]:
        """Bits per token of each row under four laws counted on the training rows, with Witten and Bell's smoothing.

        "unigram": one law for all tokens. "unigram by position": independent positions, each with a law of its own.
        "bigram": the token given the one before it, the row's beginning counting as a token. "bigram by position": the
        same with a law for each position. The first backs off to the uniform law, the second and third to the first,
        the fourth to the second. No end of a row is predicted: they are laws of its tokens given its length.

        Args:
            tokens: complete rows; they may end in ``ABSENT``, which is not counted.
            given: positions that are not counted either, as those of a prompt; a row of which nothing would be left is
                counted whole.

        Raises:
            InputError: rows with masks, or of another length.
        """
        rows = self.ending(tokens)
        free, rows = counted(rows, given), np.where(present(rows), rows, 0).astype(np.int64)
        laws: dict[str, np.ndarray] = {"": np.full(rows.shape, 1 / self.vocab_size)}
        for (name, (lower, frequencies)), contexts in zip(self._frequencies.items(), self._contexts(rows).values()):
            laws[name] = frequencies.law(contexts, rows, laws[lower])
        return {name: mean_of(-np.log2(law), free) for name, law in laws.items() if name}

    def describe(self) -> dict[str, Any]:
        """What a run stores (JSON); :func:`mdm_jax.tasks.restore` and ``vocabulary_of`` read it.

        Where ``dataclasses.replace`` or a subclass made a task that its spec does not, "arrays" or "class" say so.
        """
        classes = {} if self.classes is None else {"classes": self.classes}
        told = {**told_lengths(self.train), **classes, **spelled_share(self.held_out)}
        return {**parts.described(self, self.made), **told}

    def complete(self, tokens: Int[Any, "rows length"]) -> np.ndarray:
        """``tokens`` as a NumPy array, checked to be whole rows of this task without masks."""
        return self._checked(tokens, ragged=False)

    def ending(self, tokens: Int[Any, "rows length"]) -> np.ndarray:
        """The same of rows that may end early."""
        return self._checked(tokens, ragged=True)

    def _checked(self, tokens: Int[Any, "rows length"], ragged: bool) -> np.ndarray:
        wanted = f"ids from 0 to {self.vocab_size - 1}, without masks"
        ids = token_ids(tokens, "rows length", self.vocab_size, wanted, ragged=ragged)
        require(ids.shape[1] == self.length, "tokens", verbatim(f"shape {ids.shape}"), f"rows of length {self.length}")
        return ids

    @cached_property
    def _frequencies(self) -> dict[str, tuple[str, Frequencies]]:
        """By name, the law to back off to and the counts."""
        there, rows = present(self.train), np.where(present(self.train), self.train, 0).astype(np.int64)
        lower = ("", "unigram", "unigram", "unigram by position")
        contexts = self._contexts(rows).items()
        return {
            name: (base, count(each[there][None], rows[there][None], self.vocab_size))
            for base, (name, each) in zip(lower, contexts)
        }

    def _contexts(self, rows: Int64[np.ndarray, "rows length"]) -> dict[str, Int64[np.ndarray, "rows length"]]:
        before = np.concatenate([np.full_like(rows[:, :1], self.vocab_size), rows[:, :-1]], axis=1)
        place = np.broadcast_to(np.arange(self.length), rows.shape)
        return {
            "unigram": np.zeros_like(rows),
            "unigram by position": place,
            "bigram": before,
            "bigram by position": place * (self.vocab_size + 1) + before,
        }


def counted(rows: Int[np.ndarray, "rows length"], given: Any) -> Bool[np.ndarray, "rows length"]:
    """The positions of each row that are there and not given; all that are there where that would leave none."""
    there = present(rows)
    if given is None:
        return there
    mask = as_array(given)
    wanted = f"a bool array of shape {list(rows.shape)}"
    require(mask.dtype == bool and mask.shape == rows.shape, "given", verbatim(f"{mask.dtype} {mask.shape}"), wanted)
    left = there & ~mask
    return np.where(left.any(axis=1, keepdims=True), left, there)


def mean_of(
    bits: Float64[np.ndarray, "rows length"], free: Bool[np.ndarray, "rows length"]
) -> Float64[np.ndarray, " rows"]:
    """The mean of each row over the positions that are counted."""
    return np.where(free, bits, 0).sum(axis=1) / np.maximum(free.sum(axis=1), 1)
