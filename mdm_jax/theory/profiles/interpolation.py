"""A profile between the counts at which it was measured: which counts, and the curve through them."""

import numpy as np
from jaxtyping import Float, Int
from scipy.interpolate import PchipInterpolator

from mdm_jax.support.errors import require_whole


def default_counts(length: int, most: int = 24) -> Int[np.ndarray, " m"]:
    """About ``most`` counts from 0 to ``length - 1``, dense at both ends, where profiles bend.

    They are evenly spaced in the logarithm of ``(i + 1) / (length - i)``.
    """
    length, most = require_whole("length", length, 1), require_whole("most", most, 2)
    if length <= most:
        return np.arange(length)
    odds = np.exp(np.linspace(-1, 1, most) * np.log(length))
    return np.unique(np.clip(np.rint((length * odds - 1) / (1 + odds)), 0, length - 1).astype(np.int64))


def interpolated(
    counts: Int[np.ndarray, " m"], means: Float[np.ndarray, " m"], length: int
) -> Float[np.ndarray, " length"]:
    """Numbers at ``counts`` on a curve through ``0 .. length - 1``: cubic, and monotone wherever they are (PCHIP).

    On Polya urns and Markov chains known at 24 of 128 counts it errs by a tenth or less of what straight lines do, in
    the NELBO and in what the best sizes lose (measured once; tests assert a part of it).
    """
    if len(counts) == length:
        return np.asarray(means, dtype=np.float64)
    return np.asarray(PchipInterpolator(counts, means)(np.arange(length)), dtype=np.float64)


def interpolation_slopes(
    counts: Int[np.ndarray, " m"], means: Float[np.ndarray, " m"], length: int
) -> Float[np.ndarray, "length m"]:
    """The derivative of :func:`interpolated` by each of the means, by central differences."""
    if len(counts) == length:
        return np.eye(length)
    step = 1e-6 * max(float(np.abs(means).max()), 1e-3)
    moves = step * np.eye(len(counts))
    ups_and_downs = ((interpolated(counts, means + sign * move, length) for sign in (1, -1)) for move in moves)
    return np.stack([(up - down) / (2 * step) for up, down in ups_and_downs], axis=1)
