"""Fingerprints of plans, rules, functions and parameters: the same in another process, another whatever would differ.

A function of this library and of those below it (:data:`KNOWN`) is known by its name; a store names the version beside
it. All others, and lambdas and inner functions, are known by name, bytecode, constants, defaults and what they have
closed over, but not by the globals that they look up; classes are known by their names.
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

KNOWN = ("mdm_jax", "jax", "jaxlib", "flax", "numpy")
"""Packages whose functions are known by their names."""
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}")


def fingerprint(*values: Any) -> str:
    """SHA-256 of what ``values`` are, in hexadecimal (the first half of it: 32 digits).

    Args:
        values: numbers, strings, arrays, containers, dataclasses, functions, pytrees, any of them nested.

    Raises:
        InputError: an object that says nothing of its content, or no more than where it lies in memory.
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
        case jax.tree_util.PyTreeDef():
            yield from _parts_of_structure(value)
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
    if (module or "").split(".")[0] in KNOWN and any(one is function for one in _unwrapped(found)):
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
    """An object that is nothing of the above: a pytree by its structure and leaves, others by what they print."""
    leaves, tree = jax.tree.flatten(value)
    node = tree.node_data()
    if node is not None and node[1] is not value:  # of a static object all is static data: itself
        yield b"tree"
        yield from _parts([tree, leaves])
        return
    with np.printoptions(threshold=sys.maxsize, precision=17, floatmode="unique"):  # every number, to its last digit
        printed = repr(value)
    if type(value).__repr__ is object.__repr__ or _ADDRESS.search(printed):
        raise InputError(
            f"{value!r} cannot be told from others of its class in a store of rows: make {type(value).__name__} a "
            "dataclass or give it a __repr__ that tells its content, or leave store out."
        )
    yield from _parts(type(value))
    yield printed.encode()


def _parts_of_structure(tree: Any) -> Iterator[bytes]:
    """A pytree without its leaves: of each node its class and its static data."""
    node = tree.node_data()
    if node is None:
        yield b"leaf"
        return
    yield b"node"
    yield from _parts([*node, list(tree.children())])
