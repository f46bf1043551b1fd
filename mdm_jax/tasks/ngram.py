"""Character n-grams with back-off: a law of text that needs no training, to judge samples and to compare models with.

Interpolated Witten-Bell smoothing (Witten and Bell 1991, the zero-frequency problem, method C; Chen and Goodman 1998).
With ``h`` a context of ``k - 1`` characters, ``h'`` the same without its first, ``N(h c)`` the number of times that
``c`` followed ``h``, ``N(h)`` their sum and ``T(h)`` the number of different characters that followed ``h``::

    p_0(c)     = 1 / vocab_size
    p_k(c | h) = (N(h c) + T(h) p_{k-1}(c | h')) / (N(h) + T(h)),     p_k = p_{k-1} where h never occurred

Every probability is positive, and each conditional law sums to one over the vocabulary.

Of one stream of text, contexts are what stands before, however far from where a window begins. Of separate rows, each
begins with a mark, which is a symbol of contexts alone: it is never predicted, and no context reaches behind it. Nor is
the end of a row. So these are laws of its tokens given its length.

Why not Kneser-Ney: its lower orders count contexts, not occurrences, so they serve as a back-off but are no laws of
short contexts; here ``p_k`` is exactly the model of order ``k``, so that one fit gives all orders and the start of a
window is scored by the true unigram and bigram. Nor is a discount to be estimated from counts of counts, which a file
with few characters may lack. What it costs on CPython's documentation, in held-out bits per character for orders 2 to
5: Witten-Bell 3.35, 2.49, 2.06, 1.94; interpolated Kneser-Ney 3.35, 2.48, 2.00, 1.83.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int, Int64

from mdm_jax.support.errors import require, require_whole, verbatim
from mdm_jax.support.ragged import present
from mdm_jax.tasks.frequencies import at, places, smoothed
from mdm_jax.tasks.task import token_ids


@dataclass(frozen=True, eq=False)
class Level:
    """The grams of one length, with their counts, and the statistics of the contexts that they extend.

    A gram is coded as ``rank of its context * symbols + last token``, where the rank of the context is its place
    among the grams one shorter. Ranks are smaller than the text is long, so codes stay far below 2^63 at any order.
    """

    codes: Int64[np.ndarray, " grams"]
    """Ascending; the place of a code is the rank of its gram."""
    counts: Int64[np.ndarray, " grams"]
    """``N(h c)``."""
    totals: Float64[np.ndarray, " contexts"]
    """``N(h)``, by the rank of ``h``."""
    kinds: Int64[np.ndarray, " contexts"]
    """``T(h)``, by the rank of ``h``."""

    def ranks(self, codes: Int64[np.ndarray, "*any"]) -> Int64[np.ndarray, "*any"]:
        """The rank of each gram, -1 where it never occurred."""
        return places(self.codes, codes)


@dataclass(frozen=True, eq=False)
class NGram:
    """A fitted model; ``levels[k]`` holds the grams of ``k + 1`` characters. Made by :func:`fit`, :func:`fit_rows`."""

    vocab_size: int
    levels: tuple[Level, ...]
    marked: bool = False
    """Whether rows begin with a mark, the symbol ``vocab_size``."""

    @property
    def order(self) -> int:
        """The longest gram; contexts are one shorter."""
        return len(self.levels)

    def log_prob(self, tokens: Int[Any, "rows length"], order: int | None = None) -> Float64[np.ndarray, "rows length"]:
        """``log p(token | the tokens before it in its row)``, in nats.

        The context starts with the row: fitted on a stream, its first token is scored by the unigram, its second by the
        bigram, and so on; fitted on rows, the mark of their beginning stands before the first.

        Args:
            tokens: complete rows, ids below ``vocab_size`` (no masks); they may end in ``ABSENT``, which has 0.
            order: score as the model of this order does, from 1 up to the fitted order, which is the default.

        Raises:
            InputError: ``tokens`` is not such an array, or ``order`` is out of range.
        """
        order = self.order if order is None else order
        order = require_whole("order", order, 1, self.order)
        wanted = f"ids from 0 to {self.vocab_size - 1}, without masks"
        ids = token_ids(tokens, "rows length", self.vocab_size, wanted, ragged=True).astype(np.int64)
        there = present(ids)
        ids, symbols = np.where(there, ids, 0), self.vocab_size + self.marked
        if self.marked:
            ids = np.concatenate([np.full_like(ids[:, :1], self.vocab_size), ids], axis=1)
        contexts = np.zeros(ids.shape, np.int64)
        law = np.full(ids.shape, 1 / self.vocab_size)
        for level in self.levels[:order]:
            ranks = level.ranks(np.where(contexts >= 0, contexts * symbols + ids, -1))
            # Also a context that occurred has no total if it did so only at the very end of the text.
            law = smoothed(at(level.counts, ranks), at(level.totals, contexts), at(level.kinds, contexts), law)
            contexts = _preceding(ranks)
        return np.where(there, np.log(law[:, int(self.marked) :]), 0)

    def bits_per_character(
        self, tokens: Int[Any, "rows length"], order: int | None = None
    ) -> Float64[np.ndarray, " rows"]:
        """``-log2`` of the probability of each row, over its length; arguments and errors as in :meth:`log_prob`."""
        log_prob = self.log_prob(tokens, order)
        there = present(np.asarray(tokens)).sum(axis=1)
        require(bool((there > 0).all()), "tokens", verbatim(f"shape {log_prob.shape}"), "rows of at least one token")
        return -log_prob.sum(axis=1) / there / np.log(2)


def fit(tokens: Int[np.ndarray, " tokens"], vocab_size: int, order: int) -> NGram:
    """Count the grams of up to ``order`` characters in one stream of text.

    Time and memory are those of ``order`` sorts of the stream (order 5 on 10 million characters: some 5 seconds and one
    gigabyte).

    Args:
        tokens: at least ``order`` ids below ``vocab_size``.
        vocab_size: size of the vocabulary, over which the uniform law is the floor.
        order: length of the longest gram, at least 1.

    Raises:
        InputError: an argument is out of its range.
    """
    vocab_size, order = require_whole("vocab_size", vocab_size, 1), require_whole("order", order, 1)
    ids = token_ids(tokens, "tokens", vocab_size, f"ids from 0 to {vocab_size - 1}")
    require(ids.size >= order, "tokens", verbatim(str(ids.size)), f"at least as many as the order, {order}")
    return NGram(vocab_size, _levels(ids, vocab_size, order))


def fit_rows(rows: Int[np.ndarray, "rows length"], vocab_size: int, order: int) -> NGram:
    """Count the grams of up to ``order`` characters within separate rows, each behind the mark of its beginning.

    Args:
        rows: at least one, of ids below ``vocab_size``; they may end in ``ABSENT``.
        vocab_size: as for :func:`fit`.
        order: length of the longest gram, its mark counted, at least 1.

    Raises:
        InputError: an argument is out of its range.

    Example:
        >>> import numpy as np
        >>> from mdm_jax.tasks.ngram import fit_rows
        >>> model = fit_rows(np.array([[0, 1, -1], [0, 1, 1]]), vocab_size=2, order=2)
        >>> np.exp(model.log_prob(np.array([[0, 1, -1]]))).round(3)  # rows begin with 0
        array([[0.81 , 0.857, 1.   ]])
    """
    vocab_size, order = require_whole("vocab_size", vocab_size, 1), require_whole("order", order, 1)
    ids = token_ids(rows, "rows length", vocab_size, f"ids from 0 to {vocab_size - 1}", "rows", ragged=True)
    require(ids.size > 0, "rows", verbatim(f"shape {ids.shape}"), "at least one, of at least one token")
    marked = np.concatenate([np.full_like(ids[:, :1], vocab_size), ids], axis=1)
    return NGram(vocab_size, _levels(marked[present(marked)], vocab_size, order, vocab_size), True)


def _levels(
    stream: Int[np.ndarray, " tokens"], vocab_size: int, order: int, mark: int | None = None
) -> tuple[Level, ...]:
    """The levels of a stream in which ``mark``, if there is one, begins each row: a context, but never predicted."""
    symbols = vocab_size + (mark is not None)
    levels: list[Level] = []
    contexts = np.zeros(stream.shape, np.int64)
    begins = stream == mark if mark is not None else np.zeros(stream.shape, bool)
    for k in range(order):
        counted = (contexts >= 0) & ~(begins & (k > 0))
        codes, ranks, counts = _ranked(contexts[counted] * symbols + stream[counted])
        context, predicted = codes // symbols, codes % symbols != mark
        size = len(levels[-1].codes) if levels else 1
        totals = np.bincount(context, counts * predicted, size).astype(np.float64)
        kinds = np.bincount(context[predicted], minlength=size)
        levels.append(Level(codes, counts * predicted, totals, kinds))
        all_ranks = np.full(stream.shape, -1, np.int64)
        all_ranks[counted] = ranks
        contexts = _preceding(all_ranks[None])[0]
    return tuple(levels)


def _ranked(codes: Int64[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The different codes, ascending; the place of each code among them; how often each occurs."""
    bits = len(codes).bit_length()
    if int(codes.max(initial=0)).bit_length() + bits <= 63:
        # Sorting numbers is some twenty times as fast as sorting places by them, so the place is part of the number.
        keys = np.sort(codes << bits | np.arange(len(codes)))
        ordered, order = keys >> bits, keys & ((1 << bits) - 1)
    else:
        order = np.argsort(codes)
        ordered = codes[order]
    first = np.ones(len(codes), bool)
    first[1:] = ordered[1:] != ordered[:-1]
    ranks = np.empty(len(codes), np.int64)
    ranks[order] = np.cumsum(first) - 1
    return ordered[first], ranks, np.diff(np.flatnonzero(first), append=len(codes))


def _preceding(ranks: Int64[np.ndarray, "rows length"]) -> Int64[np.ndarray, "rows length"]:
    """The rank of the gram that ends just before each token: -1, never seen, where it would begin before the row."""
    return np.concatenate([np.full_like(ranks[:, :1], -1), ranks[:, :-1]], axis=1)
