"""How often each token followed each context, and the smoothed law that follows: the baselines of rows of numbers."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64


@dataclass(frozen=True, eq=False)
class Frequencies:
    """Counts of (context, token), with Witten and Bell's smoothing as in :mod:`mdm_jax.tasks.ngram`.

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
        """The probability of each token after its context: ``(N(h c) + T(h) lower) / (N(h) + T(h))``.

        Args:
            contexts: of each token; one that never occurred leaves ``lower`` as it is.
            tokens: below ``vocab_size``.
            lower: the probability under a simpler law.
        """
        ranks = _places(self.contexts, contexts)
        pairs = _places(self.codes, np.where(ranks >= 0, ranks * self.vocab_size + tokens, -1))
        count = np.where(pairs >= 0, self.counts[pairs], 0)
        total, kinds = self.totals[ranks], self.kinds[ranks]
        return np.where(ranks >= 0, (count + kinds * lower) / (total + kinds), lower)


def count(
    contexts: Int64[np.ndarray, "rows length"], tokens: Int64[np.ndarray, "rows length"], vocab_size: int
) -> Frequencies:
    """Count every token of ``tokens``, at least one, with its context."""
    found, ranks, totals = np.unique(contexts, return_inverse=True, return_counts=True)
    codes, counts = np.unique(ranks.reshape(tokens.shape) * vocab_size + tokens, return_counts=True)
    kinds = np.bincount(codes // vocab_size, minlength=len(found))
    return Frequencies(vocab_size, found, totals, kinds, codes, counts)


def _places(sorted_values: Int64[np.ndarray, " n"], wanted: Int64[np.ndarray, "..."]) -> Int64[np.ndarray, "..."]:
    """The place of each wanted value, -1 where it is not there."""
    places = np.minimum(np.searchsorted(sorted_values, wanted), len(sorted_values) - 1)
    return np.where(sorted_values[places] == wanted, places, -1)
