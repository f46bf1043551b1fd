"""Statistics of all rows together, one number a row, so that an interval can be had by the jackknife."""

import numpy as np
from jaxtyping import Float, Int
from scipy.special import xlogy


def by_row(whole: float, without: Float[np.ndarray, " rows"]) -> Float[np.ndarray, " rows"]:
    """A statistic of all rows as one number per row: their mean is it, their spread the jackknife's.

    Args:
        whole: the statistic.
        without: the same without each of the rows.
    """
    return whole - (len(without) - 1) * (without - without.mean())


def entropy(counts: Float[np.ndarray, "*stack kinds"]) -> Float[np.ndarray, "*stack"]:
    """The plug-in entropy of counts, bits."""
    share = counts / counts.sum(axis=-1, keepdims=True)
    return -xlogy(share, share).sum(axis=-1) / np.log(2)


def pooled_entropy(codes: Int[np.ndarray, "rows n"]) -> Float[np.ndarray, " rows"]:
    """The entropy of all rows' codes together, by row."""
    kinds, places = np.unique(codes, return_inverse=True)
    counts = np.zeros((len(codes), len(kinds)))
    np.add.at(counts, (np.arange(len(codes))[:, None], places.reshape(codes.shape)), 1)
    whole = counts.sum(axis=0)
    return by_row(float(entropy(whole)), entropy(whole - counts))


def distinct_share(codes: Int[np.ndarray, "rows n"]) -> Float[np.ndarray, " rows"]:
    """How many of all codes are different, as a share of their number, by row."""
    kinds, places = np.unique(codes, return_inverse=True)
    seen = np.unique(np.arange(len(codes))[:, None] * len(kinds) + places.reshape(codes.shape))
    row, kind = np.divmod(seen, len(kinds))
    alone = np.bincount(row, np.bincount(kind)[kind] == 1, len(codes))  # kinds that no other row has
    return by_row(len(kinds) / codes.size, (len(kinds) - alone) / (codes.size - codes.shape[1]))
