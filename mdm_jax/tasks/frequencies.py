"""How often each token followed each context, and the smoothed law that follows: the baselines of rows of numbers.

Witten and Bell's smoothing, here and in :mod:`mdm_jax.tasks.ngram`, is :func:`smoothed`.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, Num


@dataclass(frozen=True, eq=False)
class Frequencies:
    """Counts of (context, token), and the smoothed law of a token after a context.

    A context is any number that is not negative. Made by :func:`count`.
    """

    vocab_size: int
    contexts: Int64[np.ndarray, " contexts"]
    """Those that occurred, ascending."""
    totals: Int64[np.ndarray, " contexts"]
    """How often each did."""
    kinds: Int64[np.ndarray, " contexts"]
    """How many different tokens followed it."""
    codes: Int64[np.ndarray, " pairs"]
    """``rank of the context * vocab_size + token`` of the pairs that occurred, ascending."""
    counts: Int64[np.ndarray, " pairs"]
    """How often each pair did."""

    def law(
        self,
        contexts: Int64[np.ndarray, "rows length"],
        tokens: Int64[np.ndarray, "rows length"],
        lower: Float64[np.ndarray, "rows length"],
    ) -> Float64[np.ndarray, "rows length"]:
        """The probability of each token after its context, as :func:`smoothed` has it.

        Args:
            contexts: of each token; one that never occurred leaves ``lower`` as it is.
            tokens: below ``vocab_size``.
            lower: the probability under a simpler law.
        """
        ranks = places(self.contexts, contexts)
        pairs = places(self.codes, np.where(ranks >= 0, ranks * self.vocab_size + tokens, -1))
        return smoothed(at(self.counts, pairs), at(self.totals, ranks), at(self.kinds, ranks), lower)


def count(
    contexts: Int64[np.ndarray, "rows length"], tokens: Int64[np.ndarray, "rows length"], vocab_size: int
) -> Frequencies:
    """Count every token of ``tokens``, at least one, with its context."""
    found, ranks, totals = np.unique(contexts, return_inverse=True, return_counts=True)
    codes, counts = np.unique(ranks.reshape(tokens.shape) * vocab_size + tokens, return_counts=True)
    kinds = np.bincount(codes // vocab_size, minlength=len(found))
    return Frequencies(vocab_size, found, totals, kinds, codes, counts)


def smoothed(
    count: Num[np.ndarray, "*any"],
    total: Num[np.ndarray, "*any"],
    kinds: Num[np.ndarray, "*any"],
    lower: Float64[np.ndarray, "*any"],
) -> Float64[np.ndarray, "*any"]:
    """``(N(h c) + T(h) lower) / (N(h) + T(h))``, and ``lower`` where the context never occurred.

    Args:
        count: ``N(h c)``, how often the token followed its context.
        total: ``N(h)``, how often any did.
        kinds: ``T(h)``, how many different ones did.
        lower: the probability under a simpler law.
    """
    return np.where(total > 0, (count + kinds * lower) / np.maximum(total + kinds, 1), lower)


def places(ascending: Int64[np.ndarray, " n"], wanted: Int64[np.ndarray, "*any"]) -> Int64[np.ndarray, "*any"]:
    """The place of each wanted value, -1 where it is not there."""
    if len(ascending) == 0:
        return np.full(wanted.shape, -1)
    found = np.minimum(np.searchsorted(ascending, wanted), len(ascending) - 1)
    return np.where(ascending[found] == wanted, found, -1)


def at(values: Num[np.ndarray, " n"], found: Int64[np.ndarray, "*any"]) -> Num[np.ndarray, "*any"]:
    """The value at each place, 0 at -1."""
    return np.where(found >= 0, values[found], 0) if len(values) else np.zeros(found.shape, values.dtype)
