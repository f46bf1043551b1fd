"""Rows' shares of a profile: numbers at the measured counts for each row, whose mean is the profile."""

import numpy as np
from jaxtyping import Float, Int

from mdm_jax.theory.profiles import interpolated, interpolation_slopes

_FITS = 3


def fitted(counts: Int[np.ndarray, " m"], losses: Float[np.ndarray, "rows length"]) -> Float[np.ndarray, "rows m"]:
    """Each row's share of the profile whose curve is nearest to the mean losses at all counts, in squares.

    The curve is a profile's own (:func:`~mdm_jax.theory.profiles.interpolated`). It is not linear in its numbers: a few
    Gauss-Newton steps find it, and shares are those of the last one, moved so that the NELBO is the mean of the losses.

    Args:
        counts: from 0 to ``length - 1``, rising.
        losses: of each row, at every count, nats per token.

    Source: ``theory/profiles/DERIVATIONS.md``, "Estimator E3, ranks".
    """
    length, mean = losses.shape[1], losses.mean(axis=0)
    if len(counts) == length:
        return losses
    slopes = np.stack([np.interp(np.arange(length), counts, unit) for unit in np.eye(len(counts))], axis=1)
    for _ in range(_FITS):
        slopes = interpolation_slopes(counts, np.linalg.lstsq(slopes, mean)[0], length)
    return with_level(losses @ np.linalg.pinv(slopes).T, counts, length, losses.mean(axis=1))


def at_shares(
    costs: Float[np.ndarray, "rows most"], left: Int[np.ndarray, " rows"], length: int
) -> Float[np.ndarray, "rows length"]:
    """Costs of rows of different lengths as those of rows of ``length``: means over equal shares of each row.

    Args:
        costs: in the order in which tokens are revealed, what is known from the start or not there before them: the
            last ``left`` of a row count.
        left: how many tokens each row has.
        length: shares.
    """
    found = np.zeros((len(costs), length))
    ends = np.arange(length + 1) / length
    for row, many in enumerate(left.tolist()):
        sums = np.concatenate([[0.0], np.cumsum(costs[row, -many:])])
        found[row] = np.diff(np.interp(ends * many, np.arange(many + 1), sums)) * length / many
    return found


def with_level(
    shares: Float[np.ndarray, "rows m"],
    counts: Int[np.ndarray, " m"],
    length: int,
    wanted: Float[np.ndarray, " rows"],
) -> Float[np.ndarray, "rows m"]:
    """Shares moved so that the curve's mean is the mean of what is wanted, and a row's share in it its own."""
    return shares + (wanted - levels(shares, counts, length))[:, None]


def levels(
    shares: Float[np.ndarray, "rows m"], counts: Int[np.ndarray, " m"], length: int
) -> Float[np.ndarray, " rows"]:
    """Each row's share in the mean of the curve, to first order; they average to that mean exactly."""
    middle = shares.mean(axis=0)
    slope = interpolation_slopes(counts, middle, length).mean(axis=0)
    return interpolated(counts, middle, length).mean() + (shares - middle) @ slope
