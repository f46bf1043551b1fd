"""Files of safetensors, written tensor by tensor: what is larger than memory on one machine is never there at once.

The package of that name writes the same format and wants all tensors in memory. Its readers ask for tensors without
gaps between them; the widest types come first, so that each number lies where its type wants it.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mdm_jax.models.pretrained.safetensors_files import DTYPES
from mdm_jax.support.errors import InputError, require
from mdm_jax.support.files import write_parts
from mdm_jax.support.text import printable

METADATA = "__metadata__"
"""What a header calls what it says beside the tensors: texts by name."""
_CODES = {np.dtype(kind): code for code, kind in DTYPES.items()}
_WIDTH = 8  # bytes; numbers begin at a multiple of it


@dataclasses.dataclass(frozen=True)
class OutgoingTensor:
    """A tensor that is to be written.

    Attributes:
        shape: of all of it.
        dtype: one that safetensors has.
        parts: makes what lies in it, in its order; called once, when its turn comes.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    parts: Callable[[], Iterable[np.ndarray]]


def write_safetensors(
    path: str | Path, tensors: Mapping[str, OutgoingTensor], metadata: Mapping[str, str], replace: bool = False
) -> Path:
    """Write tensors, atomically.

    Args:
        path: of the file; its folders are made.
        tensors: by name.
        metadata: what the header says beside them.
        replace: whether a file that is there may be replaced.

    Raises:
        InputError: a file that is there, or a type that safetensors does not have; nothing is written.

    Example:
        >>> import numpy as np
        >>> from mdm_jax.models.pretrained.safetensors_files import read_safetensors
        >>> from mdm_jax.models.pretrained.safetensors_writing import OutgoingTensor, write_safetensors
        >>> rows = np.arange(6, dtype=np.float32).reshape(2, 3)
        >>> halves = OutgoingTensor((2, 3), rows.dtype, lambda: (rows[:1], rows[1:]))
        >>> path = write_safetensors("halves.safetensors", {"rows": halves}, {"format": "pt"})
        >>> read_safetensors(path)["rows"].shape
        (2, 3)
    """
    path = Path(path)
    require_new(path, replace)
    for name, tensor in tensors.items():
        if tensor.dtype not in _CODES:
            raise InputError(f"{name} must be of a type that safetensors has; got {tensor.dtype}.")
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    return write_parts(path, _content({name: tensors[name] for name in order}, metadata))


def require_new(path: Path, replace: bool = False) -> None:
    """Refuse a file that is there, unless it may be replaced.

    Raises:
        InputError: it is there, or a folder is.
    """
    require(not path.is_dir(), "path", printable(str(path)), "a file, not a folder")
    there = path.exists() or path.is_symlink()
    require(
        replace or not there, "path", printable(str(path)), "a new file, or one that may be replaced (replace=True)"
    )


def read_metadata(path: Path) -> dict[str, Any]:
    """What the header of a file says beside its tensors; the file is one that could be read."""
    with path.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")).decode("utf-8"))
    said = header.get(METADATA)
    return said if isinstance(said, dict) else {}


def _content(tensors: Mapping[str, OutgoingTensor], metadata: Mapping[str, str]) -> Iterator[bytes | memoryview]:
    header: dict[str, Any] = {METADATA: dict(metadata)} if metadata else {}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + math.prod(tensor.shape) * tensor.dtype.itemsize
        header[name] = {"dtype": _CODES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % _WIDTH)
    yield len(text).to_bytes(8, "little") + text
    for name, tensor in tensors.items():
        left = math.prod(tensor.shape)
        for part in tensor.parts():
            assert part.dtype == tensor.dtype, name
            left -= part.size
            yield np.ascontiguousarray(part).reshape(-1).view(np.uint8).data
        assert left == 0, name
