"""Additions with their carries written out, as a task: two numbers are given, carries and sum are to be found."""

import math
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int, Int8

from mdm_jax.support.errors import require_whole
from mdm_jax.support.files import digest
from mdm_jax.tasks.drawing import PARTS, parts_of
from mdm_jax.tasks.notations import Alphabet
from mdm_jax.tasks.repeats import repeated
from mdm_jax.tasks.rows import RowsTask

DIGITS = 16
FEWEST, MOST = 4, 256
"""With fewer digits, held-out rows would be most of the likely ones that there are."""
CHARACTERS = "0123456789+=_^"
"""A digit is its own id; "_" is no carry and "^" is one."""
_PLUS, _EQUALS, _NO_CARRY = 10, 11, 12
_SPARE = PARTS[0] // 4
"""So many rows more are drawn for training, of which those that are held out are dropped."""
_ONE_IN, _LIKELY = 4, 31
"""One column in so many is uniform, the others add up to 9: a pair of digits that does is so many times as likely."""


class ArithmeticTask(RowsTask):
    """Additions as a :class:`mdm_jax.tasks.Task`; made by :func:`arithmetic`."""

    @property
    def digits(self) -> int:
        """Of each of the two numbers."""
        return self.length // 4

    @property
    def entropy(self) -> float:
        """Of a row, in nats: that of its two numbers, since what follows them is certain."""
        return self.digits * (math.log(400) - 10 * _LIKELY / 400 * math.log(_LIKELY))

    @property
    def score_name(self) -> str:
        """The heading of :meth:`score`."""
        return "wrong carries and digits"

    def log_prob(self, tokens: Int[Any, "rows length"]) -> Float64[np.ndarray, " rows"]:
        """``log p`` of each row, in nats; ``-inf`` if carries or sum are wrong. Errors as in :meth:`score`."""
        nines = (np.add(*_numbers(self.complete(tokens))) == 9).sum(axis=1)
        law = nines * math.log(_LIKELY) - self.digits * math.log(400)
        return np.where(self.is_valid(tokens), law, -np.inf)

    def score(self, tokens: Int[Any, "rows length"]) -> Float64[np.ndarray, " rows"]:
        """How many tokens of each row are not those of the addition of its two numbers: 0 of a right row.

        Where a number has something else than a digit, that token is counted, and read as 0. Raises ``InputError`` for
        rows with masks, or of another length.
        """
        rows = self.complete(tokens)
        return (rows != added(*_numbers(rows))).sum(axis=1).astype(np.float64)

    def is_valid(self, tokens: Int[Any, "rows length"]) -> Bool[np.ndarray, " rows"]:
        """Whether carries and sum of each row are right. Errors as in :meth:`score`."""
        return self.score(tokens) == 0

    def baselines(
        self, tokens: Int[Any, "rows length"], given: Bool[Any, "rows length"] | None = None
    ) -> dict[str, Float64[np.ndarray, " rows"]]:
        """As :meth:`RowsTask.baselines`; of carries and sum alone where it is not said what is ``given``."""
        return super().baselines(tokens, _given(self.complete(tokens)) if given is None else given)


def arithmetic(digits: int = DIGITS) -> ArithmeticTask:
    """Sums of two numbers with their carries, as ``0027+0095=__^^00122``.

    A row is the two numbers, of ``digits`` digits each, the carry into each digit of the sum but its last, "^" or "_",
    and the sum, which has one digit more. All up to "=" is given: a model learns what follows, ``2 digits + 1`` tokens,
    which is certain. A carry passes on through each column that adds up to 9, so that it depends on digits far behind
    it: whoever finds a row in few steps must look through them at once. Columns are independent. One in four has two
    uniform digits; in the others the first digit is uniform, and the second is what it lacks to 9, which makes long
    chains common. Training rows that are held-out rows were left out.

    Args:
        digits: of each number, from ``FEWEST`` to ``MOST``.

    Returns:
        The task ``arithmetic`` (``arithmetic?digits=DIGITS`` for another number than 16), with rows of
        ``4 digits + 3`` tokens.

    Raises:
        InputError: a number out of range.

    Example:
        >>> import mdm_jax as mdm
        >>> task = mdm.tasks.arithmetic(digits=4)
        >>> row = task.vocabulary.encode("0027+0095=__^^00122")
        >>> task.length, task.is_valid(row[None]), task.show(row[mdm.tasks.given_of(task, "test")[0]])
        (19, array([ True]), '0027+0095=')
    """
    digits, stream = require_whole("digits", digits, FEWEST, MOST), np.random.RandomState(0)
    train, held_out = PARTS[0], sum(PARTS[1:])
    size = held_out + train + _SPARE, digits
    first, second = stream.randint(10, size=(2, *size), dtype=np.int8)
    passing = stream.randint(_ONE_IN, size=size, dtype=np.int8) > 0
    rows = added(first, np.where(passing, 9 - first, second))
    others = rows[held_out:][~repeated(rows[:held_out], rows[held_out:])]
    kept = np.concatenate([others[:train], rows[:held_out]])
    parts = parts_of(kept)
    given = _given(parts[0]), _given(parts[1]), _given(parts[2])
    spec = "arithmetic" + (f"?digits={digits}" if digits != DIGITS else "")
    return ArithmeticTask(spec, Alphabet(CHARACTERS), *parts, digest(kept.tobytes()), (*parts, *given), given)


def added(
    first: Int[np.ndarray, "rows digits"], second: Int[np.ndarray, "rows digits"]
) -> Int8[np.ndarray, "rows length"]:
    """The rows of two numbers each, whose digits are given, the leading one first."""
    rows, digits = first.shape
    carries = np.zeros((rows, digits + 1), np.int64)  # into each digit of the sum
    for column in range(digits - 1, -1, -1):
        carries[:, column] = (first[:, column] + second[:, column] + carries[:, column + 1]) >= 10
    padded = (np.pad(number, ((0, 0), (1, 0))) for number in (first, second))
    total = (sum(padded) + carries) % 10
    between = [np.full((rows, 1), token) for token in (_PLUS, _EQUALS)]
    whole = first, between[0], second, between[1], carries[:, :-1] + _NO_CARRY, total
    return np.concatenate(whole, axis=1).astype(np.int8)


def _numbers(rows: Int[np.ndarray, "rows length"]) -> tuple[np.ndarray, np.ndarray]:
    """The digits of both numbers; 0 where there is none."""
    digits = rows.shape[1] // 4
    first, second = (np.where(each < 10, each, 0) for each in (rows[:, :digits], rows[:, digits + 1 : 2 * digits + 1]))
    return first, second


def _given(rows: Int[np.ndarray, "rows length"]) -> Bool[np.ndarray, "rows length"]:
    """The two numbers, up to and with "="."""
    length = rows.shape[1]
    return np.broadcast_to(np.arange(length) < 2 * (length // 4) + 2, rows.shape)
