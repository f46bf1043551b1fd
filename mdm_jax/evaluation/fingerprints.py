"""Fingerprints of plans, rules, functions and parameters: the same in another process, another whatever would differ.

A function of a module is known by its name there, so a new version of the library keeps its old rows. Whatever has no
such name (lambdas, inner functions, what stands in a script) is known by its bytecode, constants, defaults and what it
has closed over, but not by the globals that it looks up.
"""

import dataclasses
import functools
import hashlib
import re
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.dtypes
import jax.numpy as jnp
import numpy as np

from mdm_jax.support.errors import InputError

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def fingerprint(*values: Any) -> str:
    """SHA-256 of what ``values`` are, in hexadecimal (the first half of it: 32 digits).

    Args:
        values: numbers, strings, arrays, containers, dataclasses, functions, pytrees, any of them nested.

    Raises:
        InputError: an object that says nothing of its content.
    """
    state = hashlib.sha256()
    for value in values:
        for part in _parts(value):
            state.update(len(part).to_bytes(8, "little"))  # so that "ab", "c" is not "a", "bc"
            state.update(part)
    return state.hexdigest()[:32]


def host(leaf: Any) -> np.ndarray:
    """A leaf of parameters as a NumPy array, gathered if other processes have parts of it (they must ask too)."""
    if isinstance(leaf, jax.Array):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        if not (leaf.is_fully_addressable or leaf.is_fully_replicated):
            from jax.experimental import multihost_utils  # slow to import, and rarely needed

            return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
    return np.asarray(leaf)


def _parts(value: Any) -> Iterator[bytes]:
    """What distinguishes ``value``, piece by piece, each kind of thing under its own name."""
    match value:
        case None | bool() | int() | float() | complex() | str() | bytes():
            yield f"{type(value).__name__} {value!r}".encode()
        case np.ndarray() | np.generic() | jax.Array():
            array = host(value)
            yield f"array {array.dtype} {array.shape}".encode()
            yield np.ascontiguousarray(array).tobytes()
        case functools.partial():  # jax.tree_util.Partial is one
            yield b"partial"
            yield from _parts([value.func, value.args, value.keywords])
        case tuple() | list():
            yield f"{type(value).__name__} {len(value)}".encode()
            for one in value:
                yield from _parts(one)
        case Mapping():
            yield f"mapping {len(value)}".encode()
            for name in sorted(value, key=repr):
                yield from _parts([name, value[name]])
        case set() | frozenset():
            yield f"set {len(value)}".encode()
            yield from sorted(fingerprint(one).encode() for one in value)
        case type():
            yield f"class {value.__module__} {value.__qualname__}".encode()
        case types.CodeType():
            yield b"code"
            yield from _parts([value.co_code, value.co_consts, value.co_names, value.co_varnames])
        case types.FunctionType():
            yield from _parts_of_function(value)
        case types.MethodType():
            yield b"method"
            yield from _parts([value.__self__, value.__func__])
        case _ if dataclasses.is_dataclass(value):
            yield from _parts(type(value))
            yield from _parts({field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)})
        case _ if callable(value) and (inner := getattr(value, "__wrapped__", None)) is not None:
            yield from _parts(inner)  # a jitted function is the function
        case _:
            yield from _parts_of_object(value)


def _parts_of_function(function: types.FunctionType) -> Iterator[bytes]:
    module, name = function.__module__, function.__qualname__
    found: Any = sys.modules.get(module or "")
    for step in name.split("."):
        found = getattr(found, step, None)
    if module != "__main__" and any(one is function for one in _unwrapped(found)):
        yield f"function {module} {name}".encode()
        return
    yield f"code of {name}".encode()
    closed = [_content(cell) for cell in function.__closure__ or ()]
    closed = ["itself" if one is function else one for one in closed]  # recursion
    yield from _parts([function.__code__, function.__defaults__, function.__kwdefaults__, closed])


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a variable that has no value yet
        return "empty"


def _unwrapped(function: Any) -> Iterator[Any]:
    """What stands under a function's name, and what that wraps, and so on: jitted, checked or plain."""
    while function is not None:
        yield function
        function = getattr(function, "__wrapped__", None)


def _parts_of_object(value: Any) -> Iterator[bytes]:
    """An object that is nothing of the above: a pytree by its leaves, others by what they print."""
    leaves, tree = jax.tree.flatten(value)
    if len(leaves) != 1 or leaves[0] is not value:
        yield f"tree {_ADDRESS.sub('', str(tree))}".encode()
        yield from _parts(leaves)
        return
    if type(value).__repr__ is object.__repr__:
        raise InputError(
            f"{value!r} cannot be told from others of its class in a store of rows: make {type(value).__name__} a "
            "dataclass or give it a __repr__, or leave store out."
        )
    yield from _parts(type(value))
    yield _ADDRESS.sub("", repr(value)).encode()
