"""A profile between the counts at which it was measured: which counts, and the curve through them."""

import numpy as np
from jaxtyping import Float, Int
from scipy.interpolate import PchipInterpolator

from mdm_jax.support.errors import require_whole


def default_counts(length: int, most: int = 24) -> Int[np.ndarray, " m"]:
    """About ``most`` counts from 0 to ``length - 1``, dense at both ends, where profiles bend.

    They are evenly spaced in the logarithm of ``(i + 1) / (length - i)``. Every count where ``length`` is at most
    ``most``.

    Raises:
        InputError: a length below 1, or ``most`` below 2.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.profiles.default_counts(100, 8).tolist()
        [0, 3, 11, 33, 66, 88, 96, 99]
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

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> mdm.profiles.interpolated(np.array([0, 2, 4]), np.array([2.0, 1.0, 0.0]), 5).tolist()
        [2.0, 1.5, 1.0, 0.5, 0.0]
    """
    if len(counts) == length:
        return np.asarray(means, dtype=np.float64)
    return np.asarray(PchipInterpolator(counts, means)(np.arange(length)), dtype=np.float64)


def interpolation_slopes(
    counts: Int[np.ndarray, " m"], means: Float[np.ndarray, " m"], length: int
) -> Float[np.ndarray, "length m"]:
    """The derivative of :func:`interpolated` by each of the means, by central differences.

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> slopes = mdm.profiles.interpolation_slopes(np.array([0, 2, 4]), np.array([2.0, 1.0, 0.0]), 5)
        >>> slopes.sum(axis=1)  # all means higher by 1: so is the curve
        array([1., 1., 1., 1., 1.])
    """
    if len(counts) == length:
        return np.eye(length)
    step = 1e-6 * max(float(np.abs(means).max()), 1e-3)
    moves = step * np.eye(len(counts))
    ups_and_downs = ((interpolated(counts, means + sign * move, length) for sign in (1, -1)) for move in moves)
    return np.stack([(up - down) / (2 * step) for up, down in ups_and_downs], axis=1)
