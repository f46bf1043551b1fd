"""Fingerprints of plans, rules, functions and parameters: the same in another process, another whatever would differ.

What stands under its own name in this library or in those below it (:data:`KNOWN`) is known by that name and by the
package's version (mdm_jax's stands in a store's first line); an inner function of theirs by its code and by what it has
closed over. A function or a class of anybody else is known by nothing that a program can see: bytecode misses the
globals that it looks up, and two classes may have one name. Such a thing is refused, unless its owner gives it a name.
"""

import dataclasses
import functools
import hashlib
import inspect
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

_PYTHON = ("builtins", "collections", "functools", "operator")
KNOWN = ("mdm_jax", "jax", "jaxlib", "flax", "optax", "numpy", *_PYTHON)
"""Packages whose functions and classes are known by their names."""
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}")
_HEAP = 1 << 9  # Py_TPFLAGS_HEAPTYPE: classes without it are written in C
_NAME = "give evaluate(..., name=...) a name for your own model and samplers, another one whenever their code changes"

Owner = tuple[str, ...] | None
"""What the user calls everything of their own; ``None``: nothing of it is taken."""


def fingerprint(*values: Any, owner: Owner = None) -> str:
    """SHA-256 of what ``values`` are, in hexadecimal (the first half of it: 32 digits).

    Args:
        values: numbers, strings, arrays, containers, dataclasses, functions, pytrees, any of them nested.
        owner: names that vouch for functions and classes of packages that are not :data:`KNOWN`. Of these it holds the
            names, and the code and the content as far as they can be seen.

    Raises:
        InputError: without ``owner``, a function or a class of the user's own, or an object that says nothing of its
            content, or no more than where it lies in memory.
    """
    state = hashlib.sha256()
    try:
        for value in values:
            for part in _parts(value, owner):
                state.update(len(part).to_bytes(8, "little"))  # so that "ab", "c" is not "a", "bc"
                state.update(part)
    except RecursionError:
        raise _untold("an object that holds itself", "let it not") from None
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


def _parts(value: Any, owner: Owner) -> Iterator[bytes]:
    """What distinguishes ``value``, piece by piece, each kind of thing under its own name."""
    if not _stands_under_its_name(type(value)):
        yield from _parts_of_class(type(value), owner)
    match value:
        case None | bool() | int() | float() | complex() | str() | bytes():
            yield f"{type(value).__name__} {value!r}".encode()
        case np.ndarray() | np.generic() | jax.Array():
            array = host(value)
            if array.dtype.hasobject:
                raise _untold(f"an array of {array.dtype}", "make it one of numbers")
            yield f"array {array.dtype} {array.shape}".encode()
            yield np.ascontiguousarray(array).tobytes()
        case functools.partial():  # jax.tree_util.Partial is one
            yield b"partial"
            yield from _parts([value.func, value.args, value.keywords], owner)
        case tuple() | list():
            yield f"{type(value).__name__} {len(value)}".encode()
            for one in value:
                yield from _parts(one, owner)
        case Mapping():
            yield f"mapping {len(value)}".encode()
            for name in sorted(value, key=repr):
                yield from _parts([name, value[name]], owner)
        case set() | frozenset():
            yield f"set {len(value)}".encode()
            yield from sorted(fingerprint(one, owner=owner).encode() for one in value)
        case type():
            yield from _parts_of_class(value, owner)
        case jax.tree_util.PyTreeDef():
            yield from _parts_of_structure(value, owner)
        case types.CodeType():
            yield b"code"
            yield from _parts([value.co_code, value.co_consts, value.co_names, value.co_varnames], owner)
        case types.FunctionType():
            yield from _parts_of_function(value, owner)
        case types.MethodType():
            yield b"method"
            yield from _parts([value.__self__, value.__func__], owner)
        case _ if dataclasses.is_dataclass(value):
            yield from _parts_of_class(type(value), owner)
            fields = {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
            yield from _parts(fields, owner)
        case _ if callable(value) and (inner := getattr(value, "__wrapped__", None)) is not None:
            yield from _parts(inner, owner)  # a jitted function is the function
        case _:
            yield from _parts_of_object(value, owner)


def _parts_of_class(kind: type, owner: Owner) -> Iterator[bytes]:
    if _stands_under_its_name(kind):
        yield f"class {kind.__module__} {kind.__qualname__}{_version(kind)}".encode()
        return
    yield from _vouched(kind, owner)
    functions = [inspect.unwrap(one) for one in vars(kind).values() if isinstance(one, types.FunctionType)]
    yield from _parts([one.__code__ for one in functions], owner)
    for base in kind.__bases__:
        yield from _parts_of_class(base, owner)


def _parts_of_function(function: types.FunctionType, owner: Owner) -> Iterator[bytes]:
    if _stands_under_its_name(function):
        yield f"function {function.__module__} {function.__qualname__}{_version(function)}".encode()
        return
    if not _written_below(function):
        yield from _vouched(function, owner)
    yield f"code of {function.__qualname__}".encode()
    closed = [_content(cell) for cell in function.__closure__ or ()]
    closed = ["itself" if one is function else one for one in closed]  # recursion
    yield from _parts([function.__code__, function.__defaults__, function.__kwdefaults__, closed], owner)


def _vouched(thing: Any, owner: Owner) -> Iterator[bytes]:
    """The names of a function or a class that is its owner's."""
    kind = "class" if isinstance(thing, type) else "function"
    if owner is None:
        raise _untold(f"the {kind} {thing.__module__}.{thing.__qualname__}", _NAME)
    yield f"{kind} of {owner!r}: {thing.__module__} {thing.__qualname__}".encode()


def _untold(what: str, remedy: str) -> InputError:
    return InputError(
        f"{what} cannot be told from others of its name in a store of rows: {remedy}, or leave store out."
    )


def _stands_under_its_name(thing: Any) -> bool:
    """Whether a class or a function is what a package of :data:`KNOWN` calls so: jitted, checked or plain."""
    module, name = thing.__module__, thing.__qualname__
    if not isinstance(module, str) or module.split(".")[0] not in KNOWN:
        return False
    if isinstance(thing, type) and (module.startswith("jaxlib.") or not thing.__flags__ & _HEAP):
        return True
    found: Any = sys.modules.get(module)
    for step in name.split("."):
        found = getattr(found, step, None)
    return any(one is thing for one in _unwrapped(found))


def _written_below(function: types.FunctionType) -> bool:
    """Whether the globals that a function looks up are those of a module of :data:`KNOWN`."""
    module = str(function.__globals__.get("__name__"))  # __module__ is what functools.wraps makes of it
    return module.split(".")[0] in KNOWN and getattr(sys.modules.get(module), "__dict__", None) is function.__globals__


def _version(thing: Any) -> str:
    """The version of another library's function or class; mdm_jax's stands in a store's first line."""
    package = thing.__module__.split(".")[0]
    if package in ("mdm_jax", *_PYTHON):
        return ""
    return f" {getattr(sys.modules.get(package), '__version__', '')}"


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a variable that has no value yet
        return "empty"


def _unwrapped(function: Any) -> Iterator[Any]:
    """What stands under a name, and what that wraps, and so on."""
    while function is not None:
        yield function
        function = getattr(function, "__wrapped__", None)


def _parts_of_object(value: Any, owner: Owner) -> Iterator[bytes]:
    """An object that is nothing of the above: a pytree by its structure and leaves, others by what they print."""
    leaves, tree = jax.tree.flatten(value)
    node = tree.node_data()
    if node is not None and node[1] is not value:  # of a static object all is static data: itself
        yield b"tree"
        yield from _parts([tree, leaves], owner)
        return
    yield from _parts_of_class(type(value), owner)
    with np.printoptions(threshold=sys.maxsize, precision=17, floatmode="unique"):  # every number, to its last digit
        printed = repr(value)
    if type(value).__repr__ is not object.__repr__ and not _ADDRESS.search(printed):
        yield printed.encode()
    elif owner is None:
        raise _untold(repr(value), _NAME)
    else:
        yield f"object of {owner!r}".encode()


def _parts_of_structure(tree: Any, owner: Owner) -> Iterator[bytes]:
    """A pytree without its leaves: of each node its class and its static data."""
    node = tree.node_data()
    if node is None:
        yield b"leaf"
        return
    yield b"node"
    yield from _parts([*node, list(tree.children())], owner)
