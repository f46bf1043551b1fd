"""Tables of weights that ``torch.save`` wrote, read without torch and without running anything that is in them.

Two formats: since torch 1.6 a zip archive (``data.pkl``, and each storage as an entry that is not compressed), before
that pickles one after another (magic number, protocol, the writer's machine, the table, the storages' keys) and then
the storages. Either way the pickle holds shapes and strides alone; numbers are read from the file where they are asked
for. Source: the layout that ``torch.serialization`` documents.
"""

import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mdm_jax.models.pretrained.inert_pickles import Attributes, PickleRefused, unpickled
from mdm_jax.models.pretrained.stored import StoredTensor
from mdm_jax.models.pretrained.torch_tensors import KNOWN, Storage, Tensor, storage_of
from mdm_jax.support.errors import InputError
from mdm_jax.support.text import printable, shortened

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_LARGEST_TABLE = 2**28  # bytes of a pickle of shapes
_TABLES = ("state_dict", "model", "model_state_dict", "module")
"""Where training frameworks keep the weights in what they save."""
AVERAGED = ("ema", "ema_state_dict", "model_ema", "ema_model")
"""Where they keep an average of them, which is not read: it often has no names (SEDD's and MDLM's have an order)."""


def read_torch(path: Path) -> tuple[dict[str, StoredTensor], dict[str, Any]]:
    """The tensors of a file that ``torch.save`` wrote, by name, and what was saved beside them.

    A table of tensors is taken as it is; of what a training framework saves the table under "state_dict", "model",
    "model_state_dict" or "module" is taken, and no average that lies beside it (:data:`AVERAGED`).

    Args:
        path: the file.

    Returns:
        The tensors, none of which has been read; and the other entries: numbers, text, lists, dictionaries, and of
        ``argparse.Namespace`` the attributes (as a dictionary).

    Raises:
        InputError: no such file, or one that holds anything else; nothing in it is run.
    """
    try:
        with path.open("rb") as stream:
            zipped = stream.read(4) == b"PK\x03\x04"
            value, places = _read_zip(path) if zipped else _read_legacy(stream, path.stat().st_size)
        tensors, others = _table(value)
        return {name: _stored(path, name, tensor, places) for name, tensor in tensors.items()}, others
    except PickleRefused as refused:
        raise InputError(f"{printable(str(path))} {printable(str(refused))}.") from None
    except OSError as error:
        raise InputError(f"{printable(str(path))} cannot be read: {error.strerror or type(error).__name__}.") from None


def check_sums(path: Path) -> None:
    """Refuse a zip archive of which an entry's bytes are not those that its check sum was taken of.

    Files of the older format have none; of them nothing is said.

    Raises:
        InputError: an entry is damaged.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive, path.open("rb") as stream:
        for entry in archive.infolist():
            try:
                stream.seek(_begin(stream, entry))
            except struct.error:
                name = printable(shortened(repr(entry.filename)))
                raise InputError(f"{path} is damaged: its entry {name} begins beyond the file.") from None
            left, total = entry.file_size, 0
            while left and (block := stream.read(min(left, 2**22))):
                left, total = left - len(block), zlib.crc32(block, total)
            if left or total != entry.CRC:
                name = printable(shortened(repr(entry.filename)))
                raise InputError(f"{path} is damaged: the bytes of its entry {name} have another check sum.")


Place = tuple[int, int]
"""Where a storage begins in the file, and its bytes."""


def _read_zip(path: Path) -> tuple[Any, dict[str, Place]]:
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as stream:
            size = path.stat().st_size
            entries = {entry.filename: entry for entry in archive.infolist()}
            tables = [name for name in entries if name.split("/")[1:] == ["data.pkl"]]
            if len(tables) != 1:
                raise PickleRefused("is a zip archive, but none that torch.save wrote: it has no data.pkl")
            table = entries[tables[0]]
            root = tables[0].removesuffix("data.pkl")
            if table.file_size > _LARGEST_TABLE or any(e.compress_type for e in entries.values()):
                raise PickleRefused("is a zip archive, but none that torch.save wrote: it is compressed, or its table")
            order = entries.get(f"{root}byteorder")
            if order is not None and (order.file_size > 16 or archive.read(order) != b"little"):
                raise PickleRefused("was written on a machine of the other byte order")
            places = {}
            for name, entry in entries.items():
                if name.startswith(f"{root}data/"):
                    begin = _begin(stream, entry)
                    if begin + entry.file_size > size:
                        raise PickleRefused(f"is damaged: its entry {shortened(repr(name))} ends beyond the file")
                    places[name.removeprefix(f"{root}data/")] = begin, entry.file_size
            with archive.open(table) as pickle:
                value = unpickled(pickle, KNOWN, storage_of)
                pickle.read()  # to its end, where the check sum is compared
            return value, places
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, struct.error, UnicodeDecodeError) as error:
        raise PickleRefused(f"is a damaged zip archive ({shortened(str(error))})") from None


def _begin(stream: Any, entry: zipfile.ZipInfo) -> int:
    """Where an entry's bytes begin: behind its own heading, whose lengths only it knows."""
    stream.seek(entry.header_offset)
    heading = stream.read(30)
    name, extra = struct.unpack("<HH", heading[26:])
    return entry.header_offset + 30 + name + extra


def _read_legacy(stream: Any, size: int) -> tuple[Any, dict[str, Place]]:
    stream.seek(0)
    start = stream.read(64)
    stream.seek(0)
    if start[:1] != b"\x80":
        hint = ""
        if start.startswith(b"version https://git-lfs"):
            hint = ": it is a pointer of git-lfs, whose file was not fetched (git lfs pull)"
        raise PickleRefused(f"is no file that torch.save wrote{hint}")
    if unpickled(stream, {}) != _MAGIC:
        raise PickleRefused("is a pickle, but none that torch.save wrote: it does not begin with its magic number")
    if unpickled(stream, {}) != _PROTOCOL:
        raise PickleRefused("was written by torch.save in a protocol other than 1001")
    machine = unpickled(stream, {})
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise PickleRefused("was written on a machine of the other byte order")
    seen: dict[str, Any] = {}

    def noted(given: Any) -> Storage:
        storage = storage_of(given)
        seen.setdefault(storage.key, storage.dtype)
        return storage

    value = unpickled(stream, KNOWN, noted)
    keys = unpickled(stream, {})
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in seen for key in keys):
        raise PickleRefused("has a damaged list of storages")
    places: dict[str, Place] = {}
    for key in keys:
        heading = stream.read(8)
        (count,) = struct.unpack("<q", heading) if len(heading) == 8 else (-1,)
        begin, length = stream.tell(), count * np.dtype(seen[key]).itemsize
        if count < 0 or begin + length > size:
            raise PickleRefused(f"is damaged: its storage {shortened(repr(key))} ends beyond the file")
        places[key] = begin, length
        stream.seek(begin + length)
    return value, places


def _table(value: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The table of weights in what was saved, and the rest of it."""
    others: dict[str, Any] = {}
    if isinstance(value, dict) and not any(isinstance(item, Tensor) for item in value.values()):
        found = [name for name in _TABLES if isinstance(value.get(name), dict)]
        if found:
            others = {str(name): _plain(item) for name, item in value.items() if name != found[0]}
            value = value[found[0]]
    good = isinstance(value, dict) and value and all(type(name) is str for name in value)
    odd = [name for name, item in value.items() if not isinstance(item, Tensor)] if good else []
    if not good or odd:
        what = f"its entry {shortened(repr(odd[0]))} is none" if odd else "it holds something else"
        raise PickleRefused(f"holds no table of tensors by name, as model.state_dict() is: {what}")
    return value, others


def _plain(item: Any) -> Any:
    return item.values if isinstance(item, Attributes) else item


def _stored(path: Path, name: str, tensor: Tensor, places: Mapping[str, Place]) -> StoredTensor:
    storage, itemsize = tensor.storage, tensor.dtype.itemsize
    begin, length = places.get(storage.key, (0, -1))
    if (storage.first + storage.size) * itemsize > length:
        raise PickleRefused(f"is damaged: the storage of its tensor {shortened(repr(name))} is missing or cut short")
    start = begin + (storage.first + tensor.offset) * itemsize
    return StoredTensor(path, start, tensor.shape, tensor.dtype, tensor.strides)
