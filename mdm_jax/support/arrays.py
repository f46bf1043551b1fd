"""Whatever a caller gave, as NumPy has it, to be looked at before it is used."""

from typing import Any

import jax
import numpy as np


def as_array(given: Any) -> np.ndarray:
    """``given`` as a NumPy array; what makes none (rows of different lengths, keys) as one of objects, shape ``[]``.

    So the caller refuses it by its type, in a sentence of its own.
    """
    try:
        return np.asarray(given)
    except jax.errors.TracerArrayConversionError:
        raise
    except (TypeError, ValueError):
        return np.asarray(None)
