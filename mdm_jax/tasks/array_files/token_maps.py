"""A file of token ids, mapped into memory: whether it stays there, where its tokens begin, what its digest is."""

import contextlib
import hashlib
import mmap
from collections.abc import Callable, Iterator
from typing import Any, TypeGuard

import numpy as np
from jaxtyping import Integer

from mdm_jax.support.errors import InputError, require, require_choice
from mdm_jax.tasks.array_files.npy_files import MAGIC, npy_map, npy_shape
from mdm_jax.tasks.source_files import SourceFile

MOST_IN_MEMORY = 2**26
"""Tokens; as int32, in which training holds them, 256 MiB. More of them stay in their file."""
DTYPES = ("int16", "int32", "int64", "int8", "uint16", "uint32", "uint64", "uint8")
"""Of files without a header."""
Read = Callable[[Integer[np.ndarray, "*any"], int], Integer[np.ndarray, "*any length"]]
"""The tokens at places, so many from each on."""
_BLOCKS, _BLOCK = 4096, 4096
"""What the digest of a large file looks at: so many blocks of so many bytes."""


def is_too_large(size: int) -> bool:
    """Whether so many tokens stay in their file."""
    return size > MOST_IN_MEMORY


def stays_in_file(tokens: Any) -> bool:
    """Whether training reads these tokens from their file as it goes: a large ``np.memmap`` of one piece does.

    Anything else is held in memory: smaller ones, parts with gaps, and maps whose changes do not go to the file.
    """
    return is_piece_of_a_file(tokens) and is_too_large(tokens.size)


def is_piece_of_a_file(tokens: Any) -> TypeGuard[np.memmap]:
    """Whether they are a map, or a part of one without gaps, of which the file tells what the array does."""
    if not isinstance(tokens, np.memmap):
        return False
    kept = tokens.filename is not None and tokens.mode != "c"
    return kept and tokens.flags.c_contiguous and isinstance(_whole(tokens).base, mmap.mmap)


def first_byte(tokens: np.memmap) -> int:
    """Where in the file the tokens begin, for which :func:`is_piece_of_a_file` holds."""
    whole = _whole(tokens)
    return whole.offset + tokens.ctypes.data - whole.ctypes.data


@contextlib.contextmanager
def opened(tokens: np.memmap) -> Iterator[Read]:
    """Inside, a function that reads from the file of a map: ``read(places, length)``, so many tokens from each place.

    It reads by system calls, not through the map: of a bad disk or a file that was cut short a map ends the process
    without a word, and the pages around what was touched count as the process's memory.

    Args:
        tokens: a map for which :func:`is_piece_of_a_file` holds; places are counted in it, row after row.

    Raises:
        InputError: the file cannot be opened; by the function: it cannot be read, or is too short now.
    """
    path, start = str(tokens.filename), first_byte(tokens)
    with contextlib.ExitStack() as stack:
        with _told(path):
            file = stack.enter_context(open(path, "rb", buffering=0))

        def read(places: Integer[np.ndarray, "*any"], length: int) -> Integer[np.ndarray, "*any length"]:
            found = np.empty((*places.shape, length), tokens.dtype)
            with _told(path):
                for row, place in zip(found.reshape(-1, length).view(np.uint8), places.ravel().tolist()):
                    file.seek(start + place * tokens.itemsize)
                    if file.readinto(row.data) < row.nbytes:
                        raise InputError(f"{path} was cut short: it has no token {place + length - 1} any more.")
            return found

        yield read


@contextlib.contextmanager
def _told(path: str) -> Iterator[None]:
    """What the system says of a file that it does not read, as a sentence."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} could not be read: {error.strerror or error}.") from error


def mapped(file: SourceFile, dtype: str | None) -> np.memmap:
    """The ids of a file, not yet read.

    Args:
        file: an ``.npy`` file of shape [tokens] or [rows, length], or one without a header.
        dtype: of the latter.

    Raises:
        InputError: it cannot be read or is something else; ``dtype`` is missing, unknown, or given of the former.
    """
    if dtype is None and _is_npy(file):
        return _of_npy(file)
    return _without_header(file, dtype)


def whole_digest(file: SourceFile, dtype: str | None) -> str:
    """SHA-256 of the bytes; before them the type, where the file does not say it."""
    found = hashlib.sha256((dtype or "").encode())
    try:
        with file.path.open("rb") as stream:
            while piece := stream.read(2**20):
                found.update(piece)
    except OSError as error:
        raise file.unreadable(error) from None
    return found.hexdigest()


def sampled_digest(file: SourceFile, dtype: str | None) -> str:
    """SHA-256 of the size, the type and blocks of the bytes, evenly spread, the first and the last among them."""
    size = file.size()
    found = hashlib.sha256(f"{size} {dtype or ''} {_BLOCKS} of {_BLOCK} ".encode())
    try:
        with file.path.open("rb", buffering=0) as stream:
            for number in range(_BLOCKS):
                stream.seek(number * max(0, size - _BLOCK) // (_BLOCKS - 1))
                found.update(stream.read(_BLOCK))
    except OSError as error:
        raise file.unreadable(error) from None
    return found.hexdigest()


def _is_npy(file: SourceFile) -> bool:
    file.size()
    try:
        with file.path.open("rb") as stream:
            if stream.read(len(MAGIC)) == MAGIC:
                return True
    except OSError as error:
        raise file.unreadable(error) from None
    if file.path.suffix == ".npy":
        return True  # which says what is wrong with it
    raise InputError(
        f"dtype must be given for a file without a header, one of {', '.join(DTYPES)}; {str(file.path)!r} has none."
    )


def _of_npy(file: SourceFile) -> np.memmap:
    shape = npy_shape(file)
    if len(shape) not in (1, 2):
        raise file.refused(f"has the shape {list(shape)}")
    if 0 in shape:
        raise file.refused("holds no tokens")
    ids: Any = npy_map(file)
    if not ids.flags.c_contiguous:
        raise file.refused("is stored column by column; store it by numpy.save(path, numpy.ascontiguousarray(rows))")
    return ids


def _without_header(file: SourceFile, dtype: str | None) -> np.memmap:
    require(isinstance(dtype, str), "dtype", dtype, f"one of {', '.join(DTYPES)}")
    assert dtype is not None
    require_choice("dtype", dtype, DTYPES)
    kind, size = np.dtype(dtype).newbyteorder("<"), file.size()
    try:
        with file.path.open("rb") as stream:
            if stream.read(len(MAGIC)) == MAGIC:
                raise file.refused("is an .npy file, whose header says its type; leave dtype out")
        if size == 0:
            raise file.refused("is empty")
        if size % kind.itemsize:
            raise file.refused(f"has {size} bytes, no multiple of the {kind.itemsize} of {dtype}")
        return np.memmap(file.path, kind, "r")
    except InputError:
        raise
    except OSError as error:
        raise file.unreadable(error) from None


def _whole(tokens: np.memmap) -> Any:
    """The map that ``tokens`` are a part of: its ``offset`` is that of its own first byte."""
    whole: Any = tokens
    while isinstance(whole.base, np.memmap):
        whole = whole.base
    return whole
