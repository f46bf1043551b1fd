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


def is_here(value: Any) -> bool:
    """Whether the numbers of an array can be looked at: those of one that is traced, deleted or elsewhere cannot."""
    return type(value).__module__ == "numpy" or (
        type(value).__name__ == "ArrayImpl" and value.is_fully_addressable and not value.is_deleted()
    )


def described(value: Any) -> str:
    """An array in a few words, for ``repr``: ``int32[8, 128]``, and of what has at most one axis the numbers or their
    range; ``float32[8] from -310.2 to -290.1``. Of one that is traced, or lies elsewhere, type and shape alone. What is
    no array prints as it does.
    """
    if not (hasattr(value, "shape") and hasattr(value, "dtype")):
        return repr(value)
    kind = f"{value.dtype}[{', '.join(map(str, value.shape))}]"
    if not is_here(value) or len(value.shape) > 1 or 0 in value.shape or kind[0] == "k":  # the last is a key
        return kind
    if kind == "bool[]":
        return str(bool(value))
    numbers = np.asarray(value, np.float64)
    known = numbers[~np.isnan(numbers)]
    undefined = f", {numbers.size - known.size} undefined" if known.size < numbers.size else ""
    if known.size == 0:
        return kind + undefined
    least, most = (f"{x:.6g}" for x in (known.min(), known.max()))
    if numbers.ndim == 0:
        return least
    return f"{kind} {f'from {least} to {most}' if least != most else f'of {least}'}{undefined}"
