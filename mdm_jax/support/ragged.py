"""Rows of different lengths in one array: positions that are not there hold :data:`ABSENT`."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Int64

ABSENT = -1
"""The id of a position that is not there: no token and no mask. It is given from the start, and no model sees it."""


def present(tokens: Int[Any, "*any"]) -> Bool[Any, "*any"]:
    """Which positions are there.

    Example:
        >>> import numpy as np
        >>> from mdm_jax.support.ragged import present
        >>> present(np.array([3, 1, -1]))
        array([ True,  True, False])
    """
    return tokens != ABSENT


def lengths(tokens: Int[np.ndarray, "rows length"]) -> Int64[np.ndarray, " rows"]:
    """How many tokens each row has.

    Example:
        >>> import numpy as np
        >>> from mdm_jax.support.ragged import lengths
        >>> lengths(np.array([[3, 1, -1], [2, -1, -1]]))
        array([2, 1])
    """
    return np.asarray(np.sum(present(np.asarray(tokens)), axis=1, dtype=np.int64))
