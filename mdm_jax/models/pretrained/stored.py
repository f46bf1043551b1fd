"""A tensor as it lies in a file: where and what it is, and how any box of it is read."""

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from mdm_jax.support.errors import InputError
from mdm_jax.support.text import printable

Index = tuple[slice, ...]


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file, of which nothing has been read.

    Attributes:
        file: where it lies.
        begin: the byte of the file where its first element begins.
        shape: of all of it.
        dtype: as it is kept; bfloat16 and the eight-bit kinds are those of ``ml_dtypes``.
        strides: from one element to the next of each axis, in elements; row by row if left out.
    """

    file: Path
    begin: int
    shape: tuple[int, ...]
    dtype: Any
    strides: tuple[int, ...] | None = None

    def read(self, index: Index | None = None) -> np.ndarray:
        """What an index (a slice of every axis, steps of 1) picks out; all of it if left out."""
        index = tuple(slice(0, size) for size in self.shape) if index is None else index
        out = np.empty([len(range(size)[part]) for size, part in zip(self.shape, index)], self.dtype)
        self.read_into(out, index)
        return out

    def read_into(self, out: np.ndarray, index: Index) -> None:
        """Read what an index picks out into ``out``, which has its shape and type.

        What lies in one piece is read to where it belongs. Anything else is copied from a view of the file, which is
        mapped into memory for as long as that takes: pages that are mapped count as the process's own.

        Raises:
            InputError: the file has gone, or has become shorter than it was.
        """
        if not out.size:
            return
        itemsize, strides = self.dtype.itemsize, self.strides or _row_by_row(self.shape)
        first = sum(range(size)[part][0] * stride for size, part, stride in zip(self.shape, index, strides))
        last = first + sum((size - 1) * stride for size, stride in zip(out.shape, strides))
        begin, size = self.begin + first * itemsize, (last + 1 - first) * itemsize
        try:
            with self.file.open("rb", buffering=0) as stream:
                if stream.seek(0, os.SEEK_END) < begin + size:
                    raise _cut_short(self.file)
                if out.flags.c_contiguous and _in_one_piece(out.shape, strides):
                    stream.seek(begin)
                    left = out.reshape(-1).view(np.uint8).data
                    while left:
                        count = stream.readinto(left)
                        if not count:
                            raise _cut_short(self.file)
                        left = left[count:]
                else:
                    flat = np.memmap(stream, np.uint8, "r", begin, (size,)).view(self.dtype)
                    steps = [stride * itemsize for stride in strides]
                    out[...] = np.lib.stride_tricks.as_strided(flat, out.shape, steps)
        except OSError as error:
            said = error.strerror or type(error).__name__
            raise InputError(f"{printable(str(self.file))} cannot be read: {said}.") from None


def _row_by_row(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _in_one_piece(sizes: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether a box has no gaps in the file and lies there row by row."""
    return all(size == 1 or stride == own for size, stride, own in zip(sizes, strides, _row_by_row(sizes)))


def _cut_short(file: Path) -> InputError:
    return InputError(f"{printable(str(file))} ends before its tensors do: it was cut short while it was read.")
