"""Any array of integers in a file as a task: one row of tokens for each row of the array."""

import hashlib
import tokenize
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from mdm_jax.support.errors import InputError, require, require_whole, verbatim
from mdm_jax.tasks.notation import Numbers
from mdm_jax.tasks.rows import FEWEST_ROWS, RowsTask, deal
from mdm_jax.tasks.source_files import SourceFile

LARGEST_VOCABULARY = 2**20
"""More tokens than that are no vocabulary but numbers of another kind."""

MOST_TOKENS = 2**30
"""A larger array is refused before it is read (training keeps four bytes for each token in memory)."""

_SIZE = "?vocab="
_MAGIC = b"\x93NUMPY"

_DAMAGED = (ArithmeticError, EOFError, LookupError, MemoryError, RecursionError, SyntaxError, TypeError, ValueError,
            tokenize.TokenError)  # fmt: skip
"""What NumPy raises of headers that are no headers: it parses them as Python's literals, and again as Python 2's."""


def npy(path: str | Path, vocab_size: int | None = None) -> RowsTask:
    """The rows of an array of integers: eight tenths to train on, a tenth each to choose and to judge.

    A fixed permutation deals them. The file is mapped into memory, never unpickled; its digest is that of its bytes.

    Args:
        path: a file that ``numpy.save`` wrote: integers from 0 on, of any integer type, of shape [rows, length] with at
            least ``FEWEST_ROWS`` rows and a length of at least 2.
        vocab_size: number of different tokens; by default the largest number in the array, plus one.

    Raises:
        InputError: the file cannot be read or is something else; a number is negative or not below ``vocab_size``; more
            than ``LARGEST_VOCABULARY`` different tokens or ``MOST_TOKENS`` in all.

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> np.save("rows.npy", np.arange(200).reshape(50, 4) % 10)
        >>> task = mdm.tasks.npy("rows.npy")
        >>> task.train.shape, task.validation.shape, task.test.shape, task.vocab_size
        ((40, 4), (5, 4), (5, 4), 10)
    """
    require(str(path) != "", "path", str(path), "the path of an .npy file")
    file = SourceFile(path, "an .npy file of integers of shape [rows, length]")
    vocab_size = None if vocab_size is None else require_whole("vocab", vocab_size, 2, LARGEST_VOCABULARY)
    rows = _mapped(file)
    least, most = int(rows.min()), int(rows.max())
    if least < 0:
        raise file.refused(f"holds negative numbers, {least} at the least")
    if vocab_size is not None and most >= vocab_size:
        raise InputError(f"vocab must be larger than every number in {str(file.path)!r}, whose largest is {most}.")
    if not 1 <= most < LARGEST_VOCABULARY:
        wanted = f"it must be from 1 to {LARGEST_VOCABULARY - 1}, for numbers are tokens from 0 on"
        raise file.refused(f"has {most} as its largest number; {wanted}")
    try:
        with file.path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise file.unreadable(error) from None
    size = most + 1 if vocab_size is None else vocab_size
    # A path that itself looks as if it named a size is followed by one, by which it is read back.
    told = vocab_size is not None or _SIZE in str(file.path)
    spec, parts = f"npy:{file.path}" + (f"{_SIZE}{size}" if told else ""), deal(rows)
    return RowsTask(spec, Numbers(size), *parts, digest, parts)


def from_text(text: str) -> RowsTask:
    """:func:`npy` of ``PATH`` or ``PATH?vocab=SIZE``."""
    path, question, size = text.rpartition(_SIZE)
    if not question:
        return npy(text)
    right = size.isascii() and size.isdigit() and len(size) <= 10
    require(right, "vocab", size, "a whole number, as in npy:PATH?vocab=256")
    return npy(path, int(size))


def _mapped(file: SourceFile) -> Integer[np.ndarray, "rows length"]:
    """The array, not yet read, after a look at its header."""
    file.size()
    try:
        with file.path.open("rb") as stream:
            start = stream.read(len(_MAGIC))
            if start != _MAGIC:
                raise file.refused(_other_kind(start))
            stream.seek(0)
            shape, kind = _header(file, np.lib.format.read_magic(stream), stream)
        if kind.hasobject:
            raise file.refused("holds pickled Python objects, which are never loaded")
        if kind.kind not in "iu":  # np.integer has time differences below it
            raise file.refused(f"holds {kind}")
        if len(shape) != 2:
            raise file.refused(f"has the shape {list(shape)}")
        if shape[0] < FEWEST_ROWS:
            reason = f"has {shape[0]} rows, fewer than {FEWEST_ROWS} (a tenth of them, at least two, is to choose by"
            raise file.refused(f"{reason}, another to judge by)")
        if shape[1] < 2:
            raise file.refused(f"has rows of length {shape[1]}, less than 2")
        if shape[0] * shape[1] > MOST_TOKENS:
            raise file.refused(f"has {shape[0] * shape[1]} numbers, more than the limit of {MOST_TOKENS}")
        return np.lib.format.open_memmap(file.path, mode="r")
    except InputError:
        raise
    except OSError as error:
        raise file.unreadable(error) from None
    except _DAMAGED as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:200].rstrip(".")
        raise file.refused(f"is damaged ({verbatim(reason)})") from None


def _header(file: SourceFile, version: tuple[int, int], stream) -> tuple[tuple[int, ...], np.dtype]:
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:  # later ones are for arrays with named fields
        raise file.refused(f"has the format {version[0]}.{version[1]}, which plain arrays do not need")
    shape, _, kind = readers[version](stream)
    return shape, kind


def _other_kind(start: bytes) -> str:
    """What a file that begins with ``start`` is instead."""
    if not start:
        return "is empty"
    if start.startswith(b"PK"):
        return "is a .npz or other zip archive; store the one array with numpy.save"
    if start.startswith(b"\x80"):
        return "is a pickle, which is never loaded; store the array with numpy.save"
    return "does not begin as numpy.save begins a file"
