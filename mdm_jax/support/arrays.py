"""Whatever a caller gave, as NumPy has it, to be looked at before it is used."""

from typing import Any

import jax
import jax.core
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


def is_readable(given: Any) -> bool:
    """Whether this process can read the values: not of what is traced, nor of what lies on others' devices."""
    if isinstance(given, jax.core.Tracer):
        return False
    return not isinstance(given, jax.Array) or given.is_fully_addressable or given.is_fully_replicated
