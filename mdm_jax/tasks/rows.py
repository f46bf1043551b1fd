"""Separate rows of numbers as a task: how they are divided, shown, scored and compared with simple laws."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float64, Int, Int32, Int64, Integer

from mdm_jax.support.errors import require, verbatim
from mdm_jax.tasks import parts
from mdm_jax.tasks.frequencies import Frequencies, count
from mdm_jax.tasks.grid_notation import Grid
from mdm_jax.tasks.notation import Numbers
from mdm_jax.tasks.parts import Parts
from mdm_jax.tasks.task import token_ids

FEWEST_ROWS = 20
"""A tenth must be two rows: with fewer there are no standard errors."""


@dataclass(frozen=True, eq=False)
class RowsTask:
    """Rows as a :class:`mdm_jax.tasks.Task`; the arrays are read-only.

    Rows that the data hold several times may lie in several parts.
    """

    spec: str
    vocabulary: Numbers | Grid
    train: Int32[np.ndarray, "train_rows length"]
    validation: Int32[np.ndarray, "validation_rows length"]
    test: Int32[np.ndarray, "test_rows length"]
    digest: str
    made: Parts | None = field(default=None, repr=False)
    """The arrays that ``spec`` makes, so that a run notices when others were put in their place."""

    def __post_init__(self) -> None:
        storable = type(self.vocabulary) in (Numbers, Grid)
        require(storable, "vocabulary", self.vocabulary, "Numbers or a Grid, which a run can store")
        parts.check(self)

    @property
    def length(self) -> int:
        """Numbers in one row."""
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

    def show(self, tokens: Int[Any, " length"]) -> str:
        """One row as numbers, a picture or a grid, "·" for masks; raises ``InputError`` for ids that are no tokens."""
        return self.vocabulary.decode(tokens)

    def score(self, tokens: Int[Any, "rows length"]) -> Float64[np.ndarray, " rows"]:
        """The last of :meth:`baselines`; raises ``InputError`` for rows with masks, or of another length."""
        return list(self.baselines(tokens).values())[-1]

    def baselines(self, tokens: Int[Any, "rows length"]) -> dict[str, Float64[np.ndarray, " rows"]]:
        """Bits per token of each row under four laws counted on the training rows, with Witten and Bell's smoothing.

        "unigram": one law for all tokens. "unigram by position": independent positions, each with a law of its own.
        "bigram": the token given the one before it, the row's beginning counting as a token. "bigram by position": the
        same with a law for each position. The first backs off to the uniform law, the second and third to the first,
        the fourth to the second. Raises ``InputError`` as :meth:`score`.
        """
        rows = self.complete(tokens).astype(np.int64)
        laws: dict[str, np.ndarray] = {"": np.full(rows.shape, 1 / self.vocab_size)}
        for (name, (lower, counted)), contexts in zip(self._frequencies.items(), self._contexts(rows).values()):
            laws[name] = counted.law(contexts, rows, laws[lower])
        return {name: -np.log2(law).mean(axis=1) for name, law in laws.items() if name}

    def describe(self) -> dict[str, Any]:
        """What a run stores (JSON); :func:`mdm_jax.tasks.restore` and ``vocabulary_of`` read it.

        Where ``dataclasses.replace`` or a subclass made a task that its spec does not, "arrays" or "class" say so.
        """
        return {
            "spec": self.spec,
            "length": self.length,
            "vocab_size": self.vocab_size,
            "digest": self.digest,
            "vocabulary": self.vocabulary.to_json(),
            **parts.by_hand(self, self.made),
        }

    def complete(self, tokens: Int[Any, "rows length"]) -> np.ndarray:
        """``tokens`` as a NumPy array, checked to be rows of this task without masks."""
        ids = token_ids(tokens, "rows length", self.vocab_size, f"ids from 0 to {self.vocab_size - 1}, without masks")
        require(ids.shape[1] == self.length, "tokens", verbatim(f"shape {ids.shape}"), f"rows of length {self.length}")
        return ids

    @cached_property
    def _frequencies(self) -> dict[str, tuple[str, Frequencies]]:
        """By name, the law to back off to and the counts."""
        rows = self.train.astype(np.int64)
        lower = ("", "unigram", "unigram", "unigram by position")
        contexts = self._contexts(rows).items()
        return {name: (base, count(each, rows, self.vocab_size)) for base, (name, each) in zip(lower, contexts)}

    def _contexts(self, rows: Int64[np.ndarray, "rows length"]) -> dict[str, Int64[np.ndarray, "rows length"]]:
        before = np.concatenate([np.full_like(rows[:, :1], self.vocab_size), rows[:, :-1]], axis=1)
        place = np.broadcast_to(np.arange(self.length), rows.shape)
        return {
            "unigram": np.zeros_like(rows),
            "unigram by position": place,
            "bigram": before,
            "bigram by position": place * (self.vocab_size + 1) + before,
        }


def deal(rows: Integer[np.ndarray, "rows length"]) -> Parts:
    """Training, validation and test rows by a fixed permutation: eight tenths and one tenth each, int32, read-only."""
    held_out = len(rows) // 10
    # RandomState, because NumPy promises its stream for all versions; default_rng's may change.
    order = np.random.RandomState(0).permutation(len(rows))
    train, validation, test = (
        np.asarray(rows[places], dtype=np.int32)
        for places in (order[2 * held_out :], order[:held_out], order[held_out : 2 * held_out])
    )
    for part in (train, validation, test):
        part.flags.writeable = False
    return train, validation, test
