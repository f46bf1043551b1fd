"""The one formula for the error of a mean."""

from collections.abc import Sequence

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float64


def standard_errors(values: ArrayLike | Sequence[float], axis: int = 0) -> Float64[np.ndarray, "..."]:
    """Standard error of the mean along an axis: ``s / sqrt(n)``, with ``n - 1`` in ``s``.

    NaN for a single value, or where one is infinite.
    """
    values = np.asarray(values, np.float64)
    count = values.shape[axis]
    if count < 2:
        return np.full(np.delete(values.shape, axis), np.nan)
    with np.errstate(invalid="ignore", over="ignore"):  # infinity less infinity is NaN, which is the answer
        return np.asarray(values.std(axis=axis, ddof=1) / np.sqrt(count))


def standard_error(values: ArrayLike | Sequence[float]) -> float:
    """:func:`standard_errors` of one list of numbers."""
    return float(standard_errors(np.ravel(np.asarray(values))))
