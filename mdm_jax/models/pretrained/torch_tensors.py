"""What stands for a tensor in a pickle of torch: a name on the list, a storage, a shape with strides."""

import dataclasses
import itertools
import math
from typing import Any

import ml_dtypes
import numpy as np

from mdm_jax.models.pretrained.inert_pickles import Attributes, Maker, PickleRefused, simple

_MOST_AXES = 32

_STORAGES: dict[str, Any] = {
    "Double": np.float64,
    "Float": np.float32,
    "Half": np.float16,
    "BFloat16": ml_dtypes.bfloat16,
    "Long": np.int64,
    "Int": np.int32,
    "Short": np.int16,
    "Char": np.int8,
    "Byte": np.uint8,
    "Bool": np.bool_,
    "ComplexDouble": np.complex128,
    "ComplexFloat": np.complex64,
    "Untyped": np.uint8,
}
_DTYPES: dict[str, Any] = {
    **{name: np.dtype(name) for name in ("float64", "float32", "float16", "int64", "int32", "int16", "int8")},
    **{name: np.dtype(name) for name in ("uint64", "uint32", "uint16", "uint8", "bool", "complex64", "complex128")},
    **{name: getattr(ml_dtypes, name) for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2")},
}


@dataclasses.dataclass(frozen=True)
class Storage:
    """A run of numbers in the file, of which tensors are views."""

    key: str
    dtype: Any
    size: int  # elements
    first: int = 0  # elements into what the key names


@dataclasses.dataclass(frozen=True)
class Tensor:
    storage: Storage
    dtype: Any
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def storage_of(given: Any) -> Storage:
    """The storage that a persistent id names; the older format has a view of another one beside it."""
    usual = isinstance(given, tuple) and len(given) in (5, 6) and given[0] == "storage"
    if not usual:
        raise PickleRefused("has a module with its source in its pickle: save its state_dict() alone")
    _, kind, key, _, size, *view = given
    if not isinstance(kind, np.dtype) or not isinstance(key, str) or not _whole(size):
        raise PickleRefused("has a damaged storage in its pickle")
    if not view or view[0] is None:
        return Storage(key, kind, size)
    _, first, length = view[0]
    if not _whole(first) or not _whole(length):
        raise PickleRefused("has a damaged storage in its pickle")
    return Storage(key, kind, length, first)


def _rebuilt(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    if not isinstance(storage, Storage):
        raise PickleRefused("has a tensor without a storage in its pickle")
    return _checked(storage, storage.dtype, offset, shape, strides)


def _rebuilt_of_bytes(
    storage: Any, offset: Any, shape: Any, strides: Any, gradient: Any, hooks: Any, dtype: Any, *_: Any
) -> Tensor:
    del gradient, hooks
    if not isinstance(storage, Storage) or not isinstance(dtype, np.dtype) or storage.first:
        raise PickleRefused("has a tensor without a storage in its pickle")
    size = storage.size * storage.dtype.itemsize // dtype.itemsize
    return _checked(Storage(storage.key, dtype, size, storage.first), dtype, offset, shape, strides)


def _checked(storage: Storage, dtype: Any, offset: Any, shape: Any, strides: Any) -> Tensor:
    numbers = isinstance(shape, tuple) and isinstance(strides, tuple) and len(shape) == len(strides) <= _MOST_AXES
    if not numbers or not all(map(_whole, (offset, *shape, *strides))):
        raise PickleRefused("has a tensor of an impossible shape in its pickle")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides))
    if math.prod(shape) and last >= storage.size:
        raise PickleRefused("has a tensor in its pickle that ends beyond its storage")
    return Tensor(storage, dtype, offset, shape, strides)


def _whole(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**62


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _ordered(pairs: Any = ()) -> dict[Any, Any]:
    return {simple(key): value for key, value in pairs}


def _device(*_: Any) -> str:
    """Where a tensor was, which means nothing here."""
    return "device"


def _bytes(text: Any, encoding: Any) -> bytes:
    """How bytes stand in a pickle of protocol 2."""
    if not isinstance(text, str) or encoding != "latin1":  # compared, not looked up: see simple
        raise PickleRefused("has damaged bytes in its pickle")
    return text.encode("latin-1")


KNOWN: dict[str, Any] = {
    "collections.OrderedDict": Maker(_ordered),
    "torch._utils._rebuild_tensor": Maker(_rebuilt),
    "torch._utils._rebuild_tensor_v2": Maker(_rebuilt),
    "torch._utils._rebuild_tensor_v3": Maker(_rebuilt_of_bytes),
    "torch._utils._rebuild_parameter": Maker(_parameter),
    "argparse.Namespace": Maker(Attributes),
    "torch.Size": Maker(tuple),
    "torch.device": Maker(_device),
    "_codecs.encode": Maker(_bytes),
    **{
        f"{module}.{name}Storage": np.dtype(dtype)
        for module, (name, dtype) in itertools.product(("torch", "torch.cuda", "torch.storage"), _STORAGES.items())
    },
    **{f"torch.{name}": np.dtype(dtype) for name, dtype in _DTYPES.items()},
}
