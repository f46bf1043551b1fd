"""Mapping an ``.npy`` file into memory: what it is, seen from its header; nothing is unpickled, nothing read yet."""

import tokenize
from typing import Any

import numpy as np
from jaxtyping import Shaped

from mdm_jax.support.errors import InputError, verbatim
from mdm_jax.tasks.source_files import SourceFile

MAGIC = b"\x93NUMPY"
"""What such a file begins with."""
_DAMAGED = (ArithmeticError, EOFError, LookupError, MemoryError, RecursionError, SyntaxError, TypeError, ValueError,
            tokenize.TokenError)  # fmt: skip
"""What NumPy raises of headers that are no headers: it parses them as Python's literals, and again as Python 2's."""


INTEGERS, BOOLEANS = "iu", "b"
"""Kinds of numbers, as NumPy's types have them."""


def npy_shape(file: SourceFile, kinds: str = INTEGERS) -> tuple[int, ...]:
    """The shape of the integers, or of another of ``kinds``, in a file that ``numpy.save`` wrote.

    Raises:
        InputError: there is no such file, it is something else, or holds other things.
    """
    return _looked_at(file, kinds, lambda shape: shape)


def npy_map(file: SourceFile, kinds: str = INTEGERS) -> Shaped[np.memmap, "*any"]:
    """The numbers themselves, of any shape, mapped.

    Raises:
        InputError: as for :func:`npy_shape`; or the file is shorter than its header says.
    """
    return _looked_at(file, kinds, lambda _: np.lib.format.open_memmap(file.path, mode="r"))


def _looked_at(file: SourceFile, kinds: str, then: Any) -> Any:
    """``then(shape)``, after a look at the header; whatever is wrong is one sentence."""
    file.size()
    try:
        with file.path.open("rb") as stream:
            start = stream.read(len(MAGIC))
            if start != MAGIC:
                raise file.refused(_other_kind(start))
            stream.seek(0)
            shape, kind = _header(file, np.lib.format.read_magic(stream), stream)
        if kind.hasobject:
            raise file.refused("holds pickled Python objects, which are never loaded")
        if kind.kind not in kinds:  # np.integer has time differences below it
            raise file.refused(f"holds {kind}")
        return then(shape)
    except InputError:
        raise
    except OSError as error:
        raise file.unreadable(error) from None
    except _DAMAGED as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:200].rstrip(".")
        raise file.refused(f"is damaged ({verbatim(reason)})") from None


def _header(file: SourceFile, version: tuple[int, int], stream: Any) -> tuple[tuple[int, ...], np.dtype]:
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
