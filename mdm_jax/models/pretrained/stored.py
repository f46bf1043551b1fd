"""A tensor as it lies in a file: what it is, before any of it is read."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Index = tuple[slice, ...]


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file.

    Attributes:
        file: where it lies.
        shape: of all of it.
        dtype: as it is kept; bfloat16 and the eight-bit kinds are those of ``ml_dtypes``.
        read: what an index (a slice of every axis, steps of 1) picks out. It may be a view into the file: take what is
            needed of it and let it go.
    """

    file: Path
    shape: tuple[int, ...]
    dtype: Any
    read: Callable[[Index], np.ndarray]
