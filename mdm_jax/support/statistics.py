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


def per_token(totals: ArrayLike | Sequence[float], tokens: ArrayLike | Sequence[int]) -> tuple[float, float]:
    """The mean per token of rows of different lengths, and its standard error, rows being independent.

    Args:
        totals: of each row.
        tokens: how many each row has.

    Returns:
        Sum of the totals over sum of the tokens; the error of this ratio to first order.

    Example:
        >>> from mdm_jax.support.statistics import per_token
        >>> per_token([2.0, 4.0, 9.0], [2, 2, 4])[0]
        1.875
    """
    sums, many = np.asarray(totals, np.float64), np.asarray(tokens, np.float64)
    mean = sums.sum() / many.sum()
    return float(mean), standard_error((sums - mean * many) / many.mean())


def standard_error(values: ArrayLike | Sequence[float]) -> float:
    """:func:`standard_errors` of one list of numbers."""
    return float(standard_errors(np.ravel(np.asarray(values))))
