"""Brackets that match, as a task: every word of a length and so many kinds of brackets is as likely."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int, Int64, UInt8

from mdm_jax.support.errors import require, require_whole
from mdm_jax.support.files import digest
from mdm_jax.tasks.drawing import PARTS, parts_of
from mdm_jax.tasks.notations import Vocabulary
from mdm_jax.tasks.repeats import told_repeats
from mdm_jax.tasks.rows import RowsTask

LENGTH, KINDS = 32, 3
LONGEST = 1024
CHARACTERS = ("()", "()[]", "()[]{}", "()<>[]{}")
"""By the number of kinds. Ascending, with each closing bracket behind its opening one: ids that differ in bit 0."""


@dataclass(frozen=True, eq=False, kw_only=True)
class BracketsTask(RowsTask):
    """Brackets that match as a :class:`mdm_jax.tasks.Task`; made by :func:`brackets`."""

    words: int
    """How many valid rows there are."""

    @property
    def entropy(self) -> float:
        """Of a row, in nats: ``log(words)``."""
        return math.log(self.words)

    @property
    def score_name(self) -> str:
        """The heading of :meth:`score`."""
        return "brackets without a match"

    def log_prob(self, tokens: Int[Any, "rows length"]) -> Float64[np.ndarray, " rows"]:
        """``log p`` of each row, in nats: ``-entropy`` if it is valid, else ``-inf``. Errors as in :meth:`score`."""
        return np.where(self.score(tokens) == 0, -self.entropy, -np.inf)

    def score(self, tokens: Int[Any, "rows length"]) -> Float64[np.ndarray, " rows"]:
        """How many brackets of each row have no match: 0 of a valid row, at most ``length``.

        Two brackets match if they are of one kind, the first opens, the second closes, and all brackets between them
        match each other. Raises ``InputError`` for rows with masks, or of another length.
        """
        return unmatched(self.complete(tokens)).astype(np.float64)

    def is_valid(self, tokens: Int[Any, "rows length"]) -> Bool[np.ndarray, " rows"]:
        """Whether all brackets of each row match. Errors as in :meth:`score`."""
        return self.score(tokens) == 0


def brackets(length: int = LENGTH, kinds: int = KINDS) -> BracketsTask:
    """Words of brackets that match (Dyck words), all of one length as likely.

    Draws are exactly uniform and independent; a row that recurs in several parts, as short ones do, is told by
    ``notes``. What is to be learned is a rule of which each token's share depends on tokens far away. Time and memory
    grow with the length: rows of 1,024 tokens take about 20 s and 1.4 GB to draw, rows of 32 a moment.

    Args:
        length: of a row in tokens, even, from 2 to ``LONGEST``.
        kinds: of brackets, from 1 to 4: ``()``, ``[]``, ``{}`` and ``<>`` (the last with four kinds alone).

    Returns:
        The task ``brackets`` (``brackets?kinds=KINDS`` for another number than three), whose law is known: there are
        ``Catalan(length / 2) kinds^(length / 2)`` words.

    Raises:
        InputError: a number out of range.

    Source: ``tasks/DERIVATIONS.md``, "Each word of brackets has as many shuffles".

    Example:
        >>> import mdm_jax as mdm
        >>> task = mdm.tasks.brackets(length=8, kinds=2)
        >>> task.words, round(task.entropy, 3), task.show(task.test[0])
        (224, 5.412, '(()[[]])')
        >>> task.score(task.vocabulary.encode("([)]()()")[None]).tolist()  # of the first four, none has a match
        [4.0]
    """
    length, kinds = require_whole("length", length, 2, LONGEST), require_whole("kinds", kinds, 1, len(CHARACTERS))
    require(length % 2 == 0, "length", length, "even: each bracket that opens needs one that closes")
    pairs, stream = length // 2, np.random.RandomState(0)
    rows = named(stream, shapes(stream, sum(PARTS), pairs), kinds)
    parts = parts_of(rows)
    return BracketsTask(
        "brackets" + (f"?kinds={kinds}" if kinds != KINDS else ""),
        Vocabulary(CHARACTERS[kinds - 1]),
        *parts,
        digest(rows.tobytes()),
        parts,
        notes=told_repeats(parts),
        words=math.comb(length, pairs) // (pairs + 1) * kinds**pairs,
    )


def shapes(stream: np.random.RandomState, count: int, pairs: int) -> Bool[np.ndarray, "rows length"]:
    """Words of one kind, exactly uniform: where each bracket opens.

    A shuffle of ``pairs`` opening and ``pairs + 1`` closing brackets, begun behind the place where it first is deepest
    below its start; the bracket of that place, which closes, is left out.

    Source: ``tasks/DERIVATIONS.md``, "Each word of brackets has as many shuffles".
    """
    steps = np.repeat(np.array([1, -1], np.int16), [pairs, pairs + 1])[:, None].repeat(count, axis=1)
    every = np.arange(count)
    for last in range(2 * pairs, 0, -1):
        other = stream.randint(last + 1, size=count, dtype=np.int64)
        steps[other, every], steps[last] = steps[last].copy(), steps[other, every]
    return begun_behind_the_deepest(steps).T > 0


def begun_behind_the_deepest(steps: Int[np.ndarray, "steps rows"]) -> Int[np.ndarray, "length rows"]:
    """Each column of steps up (1) and down (-1), one more of these, as a word: turned round, without its last step."""
    deepest = np.argmin(np.cumsum(steps, axis=0), axis=0)
    turned = (deepest + 1 + np.arange(len(steps) - 1)[:, None]) % len(steps)
    return np.take_along_axis(steps, turned, axis=0)


def named(
    stream: np.random.RandomState, opens: Bool[np.ndarray, "rows length"], kinds: int
) -> UInt8[np.ndarray, "rows length"]:
    """Ids of the brackets: a kind is drawn for each that opens, and the one that closes it has the same."""
    drawn = 2 * stream.randint(kinds, size=opens.T.shape, dtype=np.int64)
    rows, every = np.empty(opens.shape, np.uint8), np.arange(len(opens))
    held, depth = np.zeros((opens.shape[1] + 1, len(opens)), np.int64), np.zeros(len(opens), np.int64)
    for place, opening in enumerate(opens.T):
        depth += opening
        held[depth, every] = np.where(opening, drawn[place], held[depth, every])
        rows[:, place] = held[depth, every] + ~opening
        depth -= ~opening
    return rows


def unmatched(tokens: Int[np.ndarray, "rows length"]) -> Int64[np.ndarray, " rows"]:
    """How many brackets of each row are left when neighbours that match are taken out until there are none."""
    every, columns = np.arange(len(tokens)), np.asarray(tokens, np.int64).T
    left, depth = np.full((len(columns) + 1, len(tokens)), -1), np.zeros(len(tokens), np.int64)
    for token in columns:
        closes = left[depth, every] == np.where(token % 2 == 1, token - 1, -2)
        left[depth + 1, every] = token  # beyond what is left, if it closes
        depth += np.where(closes, -1, 1)
    return depth
