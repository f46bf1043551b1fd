"""Files of the package ``safetensors``: what they hold is checked by their header before the package opens them.

A file begins with the length of its header (eight bytes), then comes the header (JSON: of each tensor its type, its
shape, where it begins and ends), then the numbers.
"""

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from mdm_jax.models.pretrained.stored import Index, StoredTensor
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
        The tensors; they are read by slices, through the package ``safetensors``.

    Raises:
        InputError: no such file, a header that its length does not hold, a tensor that lies outside of the file or is
            of another size than its shape says, two that overlap; or the package is not installed.
    """
    try:
        return {name: _stored(path, name, entry) for name, entry in _header(path).items()}
    except _Damaged as damaged:
        raise InputError(f"{printable(str(path))} is no file of safetensors, or a damaged one: {damaged}.") from None
    except OSError as error:
        raise InputError(f"{printable(str(path))} cannot be read: {error.strerror}.") from None


class _Damaged(ValueError):
    """What is wrong with a file."""


def _header(path: Path) -> dict[str, dict[str, Any]]:
    """What the header says of each tensor, each entry checked."""
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
    spans = sorted((*_span(name, entry, size - 8 - length), name) for name, entry in header.items())
    for (_, end, one), (begin, _, other) in itertools.pairwise(spans):
        if end > begin:
            raise _Damaged(f"its tensors {_told(one)} and {_told(other)} overlap")
    return header


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


def _stored(path: Path, name: str, entry: dict[str, Any]) -> StoredTensor:
    shape = tuple(entry["shape"])
    dtype = np.dtype(DTYPES[entry["dtype"]])
    return StoredTensor(path, shape, dtype, _reader(path, name, shape, dtype))


def _reader(path: Path, name: str, shape: tuple[int, ...], dtype: Any) -> Callable[[Index], np.ndarray]:
    def read(index: Index) -> np.ndarray:
        sizes = tuple(len(range(size)[part]) for size, part in zip(shape, index))
        if 0 in sizes:  # which the package refuses
            return np.empty(sizes, dtype)
        safetensors = _package()
        try:
            # Opened anew each time: what the package maps into memory stays with the process while it is open.
            with safetensors.safe_open(path, framework="numpy") as file:
                return file.get_slice(name)[index] if shape else file.get_tensor(name)
        except safetensors.SafetensorError as error:
            raise InputError(f"{path} cannot be read by safetensors: {shortened(printable(str(error)))}.") from None

    return read


def _package() -> Any:
    try:
        import safetensors
        import safetensors.numpy
    except ImportError:
        raise InputError(
            'files of safetensors need the package of that name: pip install "mdm-jax[pretrained]".'
        ) from None
    return safetensors
