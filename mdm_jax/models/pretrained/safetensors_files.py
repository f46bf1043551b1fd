"""Files of the package ``safetensors``, read without it: all that a header says is checked before any number is read.

A file begins with the length of its header (eight bytes), then comes the header (JSON: of each tensor its type, its
shape, where it begins and ends), then the numbers: tensor behind tensor, without gaps.
Source: the format as the package's own page has it.
"""

import itertools
import math
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from mdm_jax.models.pretrained.stored import StoredTensor
from mdm_jax.support.errors import InputError
from mdm_jax.support.files import LARGEST_JSON, parse_json
from mdm_jax.support.text import printable, shortened

DTYPES: dict[str, Any] = {
    **{"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16},
    **{"I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8},
    **{"U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8, "BOOL": np.bool_},
    **{"F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2},
}
"""The types of numbers, by what a header calls them."""


def read_safetensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a file, by name; none of them is read.

    Args:
        path: the file.

    Returns:
        The tensors, in the order of the header.

    Raises:
        InputError: no such file, a header that its length does not hold, a tensor that lies outside of the file or is
            of another size than its shape says, two that overlap, or numbers that are of no tensor.
    """
    try:
        start, header = _header(path)
        return {name: _stored(path, start, entry) for name, entry in header.items()}
    except _Damaged as damaged:
        raise InputError(f"{printable(str(path))} is no file of safetensors, or a damaged one: {damaged}.") from None
    except OSError as error:
        raise InputError(f"{printable(str(path))} cannot be read: {error.strerror}.") from None


class _Damaged(ValueError):
    """What is wrong with a file."""


def _header(path: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    """The byte where the numbers begin, and what the header says of each tensor, each entry checked."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(8)
        if start == b"version ":
            raise InputError(f"{path} is a pointer of git-lfs, whose file was not fetched (git lfs pull).")
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > min(size - 8, LARGEST_JSON):
            raise _Damaged(f"it says that its header has {length:,} bytes, and has {size:,} in all")
        text = stream.read(length)
    try:
        header = parse_json(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _Damaged(f"its header is not JSON ({shortened(printable(str(error)), 80)})") from None
    if not isinstance(header, dict):
        raise _Damaged("its header is no object")
    header.pop("__metadata__", None)
    left = size - 8 - length
    spans = sorted((*_span(name, entry, left), name) for name, entry in header.items())
    for (_, end, one), (begin, _, other) in itertools.pairwise([(0, 0, ""), *spans, (left, left, "")]):
        if end > begin:
            raise _Damaged(f"its tensors {_told(one)} and {_told(other)} overlap")
        if end < begin:
            raise _Damaged(f"its bytes {end:,} to {begin:,} are of no tensor")
    return 8 + length, header


def _span(name: str, entry: Any, size: int) -> tuple[int, int]:
    """Where a tensor begins and ends among the numbers, of which there are ``size`` bytes."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _Damaged(f"its header does not say type, shape and place of {_told(name)}")
    shape, place, kind = entry["shape"], entry["data_offsets"], entry["dtype"]
    if not _whole(shape) or not _whole(place) or len(place) != 2 or len(shape) > 32:
        raise _Damaged(f"shape or place of its tensor {_told(name)} is no list of whole numbers")
    if not isinstance(kind, str) or kind not in DTYPES:
        raise _Damaged(f"its tensor {_told(name)} is of the type {_told(kind)}, which is not known")
    begin, end = place
    if not begin <= end <= size:
        raise _Damaged(f"its tensor {_told(name)} ends at byte {end:,} of {size:,}")
    if math.prod(shape) * np.dtype(DTYPES[kind]).itemsize != end - begin:
        raise _Damaged(f"its tensor {_told(name)} has {end - begin:,} bytes, which its shape and type do not make")
    return begin, end


def _whole(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**62 for value in values)


def _told(name: Any) -> str:
    return shortened(printable(repr(name)), 80)


def _stored(path: Path, start: int, entry: dict[str, Any]) -> StoredTensor:
    return StoredTensor(path, start + entry["data_offsets"][0], tuple(entry["shape"]), np.dtype(DTYPES[entry["dtype"]]))
