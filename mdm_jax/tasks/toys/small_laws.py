"""Two and four tokens that depend on each other as strongly as one likes: all about their law is known."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float64, Int

from mdm_jax.support.errors import is_list, require, require_number, require_whole
from mdm_jax.support.files import digest
from mdm_jax.tasks.drawing import PARTS, parts_of
from mdm_jax.tasks.notations import Numbers
from mdm_jax.tasks.rows import RowsTask

SYMBOLS = 4
MOST_SYMBOLS = 16
"""Then the law of four tokens has 65,536 entries."""
_Steps = Callable[[np.ndarray], list[np.ndarray]]


@dataclass(frozen=True, eq=False, kw_only=True)
class LawTask(RowsTask):
    """Rows drawn from a law that is known as a table; made by :func:`pairs` and :func:`two_blocks`.

    The score is that of every :class:`RowsTask`, bits per token of the bigram by position. Here a token depends on the
    one before it alone, so that this is the law itself but for smoothing, and finite for rows that it never makes.
    """

    law: Float64[np.ndarray, " sequences"] = field(repr=False)
    """The probability of each of the ``vocab_size ** length`` rows, in lexicographic order, the first token leading."""

    def log_prob(self, tokens: Int[Any, "rows length"]) -> Float64[np.ndarray, " rows"]:
        """``log p`` of each row under the law, in nats; ``-inf`` where it never occurs. Errors as in :meth:`score`."""
        rows = self.complete(tokens).astype(np.int64)
        places = rows @ self._symbols ** np.arange(self.length - 1, -1, -1)
        with np.errstate(divide="ignore"):
            return np.log(self.law[places])

    @property
    def entropy(self) -> float:
        """Of a row, in nats: no model has a lower expected negative log-likelihood."""
        return _entropy(self.law)

    @property
    def total_correlation(self) -> float:
        """What independent tokens lose, in nats per row: the least KL of an MDM's samples made in one step."""
        return sum(self._entropy_of([place]) for place in range(self.length)) - self.entropy

    def mutual_information(self, first: Sequence[int], second: Sequence[int]) -> float:
        """What the tokens at some positions tell of those at others, in nats.

        Args:
            first: positions from 0 on, at least one.
            second: likewise, others than the first.

        Raises:
            InputError: positions out of range or in both.

        Example:
            >>> import mdm_jax as mdm
            >>> round(mdm.tasks.pairs(0.5).mutual_information([0], [1]), 4)
            0.3128
        """
        groups = [self._positions(name, places) for name, places in (("first", first), ("second", second))]
        require(not set(groups[0]) & set(groups[1]), "second", groups[1], f"positions other than {groups[0]}")
        return self._entropy_of(groups[0]) + self._entropy_of(groups[1]) - self._entropy_of(groups[0] + groups[1])

    def _positions(self, name: str, places: Sequence[int]) -> list[int]:
        require(is_list(places) and len(places) > 0, name, places, "a list of positions, at least one")
        return sorted({require_whole(name, place, 0, self.length - 1) for place in places})

    def _entropy_of(self, places: list[int]) -> float:
        others = tuple(place for place in range(self.length) if place not in places)
        return _entropy(self.law.reshape((self._symbols,) * self.length).sum(axis=others))

    @property
    def _symbols(self) -> int:
        return round(len(self.law) ** (1 / self.length))


def pairs(p: float | int, symbols: int = SYMBOLS) -> LawTask:
    """Two tokens: the first is uniform; the second equals it with probability ``p``, or else is uniform too.

    An MDM that reveals both in one step makes them independent, so that its KL is at least their mutual information:
    0, .0830, .3128, .6977 and 1.3863 nats at ``p`` = 0, .25, .5, .75 and 1 for four symbols.

    Args:
        p: from 0 (independent) to 1 (equal).
        symbols: number of different tokens, from 2 to ``MOST_SYMBOLS``.

    Returns:
        The task ``pairs:P`` (``pairs:P,SYMBOLS`` for another number than four), with its exact ``law``.

    Raises:
        InputError: a number out of range.

    Source: the synthetic data of VMD (arXiv 2510.23606) as reviews of it describe them; our reading.

    Example:
        >>> import mdm_jax as mdm
        >>> task = mdm.tasks.pairs(0.75)
        >>> round(task.total_correlation, 4), round(task.entropy, 4), task.train.shape
        (0.6977, 2.0749, (65536, 2))
    """
    return _chain("pairs", p, symbols, lambda pair: [pair])


def two_blocks(p: float | int, symbols: int = SYMBOLS) -> LawTask:
    """Four tokens: two pairs as in :func:`pairs`, the second beginning with the successor of the first one's end.

    ``x_3 = x_2 + 1`` modulo the number of symbols, so that the blocks depend on each other, at every ``p``, by
    ``log(symbols)`` nats: what a model that draws one block after the other must pass on.

    Args:
        p: from 0 to 1, the probability that the second token of a pair is set equal to the first.
        symbols: number of different tokens, from 2 to ``MOST_SYMBOLS``.

    Returns:
        The task ``blocks:P`` (``blocks:P,SYMBOLS`` for another number than four), with its exact ``law``.

    Raises:
        InputError: a number out of range.

    Source: as :func:`pairs`; which function links the blocks is our choice.

    Example:
        >>> import mdm_jax as mdm
        >>> task = mdm.tasks.two_blocks(1)
        >>> task.show(task.test[0]), round(task.mutual_information([0, 1], [2, 3]), 4)
        ('0 0 1 1', 1.3863)
    """
    return _chain("blocks", p, symbols, lambda pair: [pair, np.roll(np.eye(len(pair)), 1, axis=1), pair])


def law_from_spec(spec: str) -> LawTask:
    """The task of a spec: ``pairs:P``, ``blocks:P``, or one of them with ``,SYMBOLS`` behind."""
    name, _, text = spec.partition(":")
    words = text.split(",")
    try:
        numbers = [float(words[0]), *map(int, words[1:])]
    except ValueError:
        numbers = []
    require(1 <= len(numbers) <= 2, "spec", spec, f"{name}:P, with P from 0 to 1, or {name}:P,SYMBOLS")
    return {"pairs": pairs, "blocks": two_blocks}[name](*numbers)


def _chain(name: str, p: float | int, symbols: int, steps: _Steps) -> LawTask:
    """The task whose first token is uniform and whose others follow by the matrices that ``steps`` makes of a pair."""
    require_number("p", p, 0, 1, "a probability from 0 to 1")
    symbols, p = require_whole("symbols", symbols, 2, MOST_SYMBOLS), float(p)
    law = np.full(symbols, 1 / symbols)
    for step in steps(p * np.eye(symbols) + (1 - p) / symbols):
        law = (law.reshape(-1, symbols)[:, :, None] * step).reshape(-1)
    length = round(math.log(len(law), symbols))
    drawn = np.searchsorted(np.cumsum(law), np.random.RandomState(0).random_sample(sum(PARTS)) * law.sum(), "right")
    powers = symbols ** np.arange(length - 1, -1, -1)
    rows = (np.minimum(drawn, len(law) - 1)[:, None] // powers % symbols).astype(np.uint8)
    spec = f"{name}:{p!r}".removesuffix(".0")
    spec += "" if symbols == SYMBOLS else f",{symbols}"
    law.flags.writeable = False
    parts = parts_of(rows)
    return LawTask(spec, Numbers(symbols), *parts, digest(rows.tobytes()), parts, law=law)


def _entropy(law: Float64[np.ndarray, "*any"]) -> float:
    positive = law[law > 0]
    return float(-(positive * np.log(positive)).sum())
