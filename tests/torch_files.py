"""Files as ``torch.save`` writes them, put together by hand: nothing of torch, nothing of Python's pickler."""

import dataclasses
import io
import struct
import zipfile
from typing import Any

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C


@dataclasses.dataclass(frozen=True)
class Named:
    """A name that a pickle imports: ``Named("os", "system")``."""

    module: str
    name: str


@dataclasses.dataclass(frozen=True)
class Called:
    """What a pickle calls."""

    function: Any
    arguments: tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Outside:
    """What lies outside of the pickle, by its id."""

    id: tuple[Any, ...]


def pickled(value: Any) -> bytes:
    """A pickle of protocol 2."""
    return b"\x80\x02" + _opcodes(value) + b"."


def _opcodes(value: Any) -> bytes:
    match value:
        case None:
            return b"N"
        case True | False:
            return b"\x88" if value else b"\x89"
        case int() if 0 <= value < 2**16:
            return b"M" + struct.pack("<H", value)
        case int():
            data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            return b"\x8a" + bytes([len(data)]) + data
        case str():
            data = value.encode()
            return b"X" + struct.pack("<I", len(data)) + data
        case tuple():
            return b"(" + b"".join(map(_opcodes, value)) + b"t"
        case list():
            return b"](" + b"".join(map(_opcodes, value)) + b"e"
        case dict():
            return b"}(" + b"".join(_opcodes(key) + _opcodes(item) for key, item in value.items()) + b"u"
        case Named(module, name):
            return f"c{module}\n{name}\n".encode()
        case Called(function, arguments):
            return _opcodes(function) + _opcodes(arguments) + b"R"
        case Outside(told):
            return _opcodes(told) + b"Q"
    raise TypeError(type(value))


def tensor(kind: str, key: str, size: int, shape: tuple[int, ...], strides=None, offset=0, legacy=False) -> Called:
    """How a tensor stands in a pickle: a view of the storage ``key`` of ``size`` numbers of a kind ("Float")."""
    if strides is None:
        strides = tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
    storage = Outside(("storage", Named("torch", f"{kind}Storage"), key, "cpu", size, *((None,) if legacy else ())))
    hooks = Called(Named("collections", "OrderedDict"), ())
    return Called(Named("torch._utils", "_rebuild_tensor_v2"), (storage, offset, shape, strides, False, hooks))


def zipped(table: Any, storages: dict[str, bytes], byteorder: bytes = b"little") -> bytes:
    """The format since torch 1.6."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", table if isinstance(table, bytes) else pickled(table))
        archive.writestr("archive/byteorder", byteorder)
        for key, content in storages.items():
            archive.writestr(f"archive/data/{key}", content)
        archive.writestr("archive/version", b"3\n")
    return stream.getvalue()


def legacy(table: Any, storages: dict[str, tuple[int, bytes]], little_endian: bool = True) -> bytes:
    """The format before: of each storage the number of its elements and its bytes."""
    machine = {"protocol_version": 1001, "little_endian": little_endian, "type_sizes": {"short": 2}}
    parts = [pickled(MAGIC), pickled(1001), pickled(machine), pickled(table), pickled(list(storages))]
    return b"".join([*parts, *(struct.pack("<q", size) + content for size, content in storages.values())])
