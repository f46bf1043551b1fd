"""Whatever a caller gave, as NumPy has it, to be looked at before it is used. Nothing of JAX: tasks need it too."""

from typing import Any

import numpy as np


def as_array(given: Any) -> np.ndarray:
    """``given`` as a NumPy array; what makes none (rows of different lengths, keys) as one of objects, shape ``[]``.

    So the caller refuses it by its type, in a sentence of its own. What JAX is tracing raises JAX's own error.
    """
    try:
        return np.asarray(given)
    except (TypeError, ValueError) as error:
        if type(error).__name__ == "TracerArrayConversionError":
            raise
        return np.asarray(None)
