"""Fingerprints of plans, rules, functions and parameters: the same in another process, another whatever would differ.

What stands under its own name in this library or in those below it (:data:`KNOWN`) is known by that name and by the
package's version (mdm_jax's stands in a store's first line); an inner function of theirs by its code and by what it has
closed over. A function or a class of anybody else is known by nothing that a program can see: bytecode misses the
globals that it looks up, and two classes may have one name. Such a thing is refused, unless its owner gives it a name.
"""

import dataclasses
import functools
import hashlib
import re
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

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
_NAME = "give Execution(..., name=...) a name for your own model and samplers, another one whenever their code changes"

_UNSAID = (types.MemberDescriptorType, types.GetSetDescriptorType, types.WrapperDescriptorType)

Owner = tuple[str, ...] | None
"""What the user calls everything of their own; ``None``: nothing of it is taken."""


class _Told(NamedTuple):
    """What goes down with every value."""

    owner: Owner
    said: dict[int, Any]
    """The owner's functions and classes that were described, by ``id``: they are described once, and may hold
    themselves."""
    within: tuple[types.FunctionType, ...] = ()
    """The functions that this lies within."""


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
    try:
        return _digest(values, _Told(owner, {}))
    except RecursionError:
        raise _untold("an object that holds itself", "let it not") from None


def _digest(values: Iterable[Any], told: _Told) -> str:
    state = hashlib.sha256()
    for value in values:
        for part in _parts(value, told):
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


def _parts(value: Any, told: _Told) -> Iterator[bytes]:
    """What distinguishes ``value``, piece by piece, each kind of thing under its own name."""
    if not _stands_under_its_name(type(value)):
        yield from _parts_of_class(type(value), told)
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
            yield from _parts([value.func, value.args, value.keywords], told)
        case tuple() | list():
            yield f"{type(value).__name__} {len(value)}".encode()
            for one in value:
                yield from _parts(one, told)
        case Mapping():
            yield f"mapping {len(value)}".encode()
            for name in sorted(value, key=repr):
                yield from _parts([name, value[name]], told)
        case set() | frozenset():
            yield f"set {len(value)}".encode()
            yield from sorted(_digest([one], told._replace(said=dict(told.said))).encode() for one in value)
        case type():
            yield from _parts_of_class(value, told)
        case jax.tree_util.PyTreeDef():
            yield from _parts_of_structure(value, told)
        case types.CodeType():
            yield b"code"
            yield from _parts([value.co_code, value.co_consts, value.co_names, value.co_varnames], told)
        case types.FunctionType():
            yield from _parts_of_function(value, told)
        case types.MethodType():
            yield b"method"
            yield from _parts([value.__self__, value.__func__], told)
        case property():
            yield from _parts([value.fget, value.fset, value.fdel], told)
        case staticmethod() | classmethod():
            yield from _parts(value.__func__, told)
        case functools.cached_property():
            yield from _parts(value.func, told)
        case _ if hasattr(type(value), "__get__") and "wrapped" in getattr(value, "__dict__", ()):
            yield from _parts(value.wrapped, told)  # what Linen makes of a property
        case _ if dataclasses.is_dataclass(value):
            yield from _parts_of_class(type(value), told)
            fields = {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
            unsaid = getattr(value, "unsaid", ())  # of a field that a later version added, where it is off
            yield from _parts({name: one for name, one in fields.items() if (name, one) not in unsaid}, told)
        case _ if callable(value) and (inner := getattr(value, "__wrapped__", None)) is not None:
            yield from _parts(inner, told)  # a jitted function is the function
        case _:
            yield from _parts_of_object(value, told)


def _parts_of_class(kind: type, told: _Told) -> Iterator[bytes]:
    if _stands_under_its_name(kind):
        yield f"class {kind.__module__} {kind.__qualname__}{_version(kind)}".encode()
        return
    if id(kind) in told.said:
        yield f"class {list(told.said).index(id(kind))}".encode()
        return
    yield from _vouched(kind, told)
    yield from _parts(dict(_members(kind)), told)
    for base in kind.__bases__:
        yield from _parts_of_class(base, told)


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    """What a class defines itself, by name: methods and data; fields instead of what they generate."""
    fields = vars(kind).get("__dataclass_fields__", {})
    for name, field in fields.items():
        made = [one for one in (field.default, field.default_factory) if one is not dataclasses.MISSING]
        yield f"field {name}", made
    for name, value in vars(kind).items():
        match value:
            case types.FunctionType():
                if not (fields and value.__code__.co_filename == "<string>"):
                    yield name, value
            case _ if isinstance(value, _UNSAID) or (name.startswith("__") and name.endswith("__")):
                pass  # Python's own
            case _:
                yield name, value


def _parts_of_function(function: types.FunctionType, told: _Told) -> Iterator[bytes]:
    if _stands_under_its_name(function):
        yield f"function {function.__module__} {function.__qualname__}{_version(function)}".encode()
        return
    if id(function) in told.said:
        yield f"function {list(told.said).index(id(function))}".encode()
        return
    if any(one is function for one in told.within):  # recursion
        yield from _parts("itself", told)
        return
    if not _written_below(function):
        yield from _vouched(function, told)
    yield f"code of {function.__qualname__}".encode()
    closed = [_content(cell) for cell in function.__closure__ or ()]
    content = [function.__code__, function.__defaults__, function.__kwdefaults__, closed]
    yield from _parts(content, told._replace(within=(*told.within, function)))


def _vouched(thing: Any, told: _Told) -> Iterator[bytes]:
    """The names of a function or a class that is its owner's."""
    kind = "class" if isinstance(thing, type) else "function"
    if told.owner is None:
        raise _untold(f"the {kind} {thing.__module__}.{thing.__qualname__}", _NAME)
    told.said[id(thing)] = thing
    yield f"{kind} of {told.owner!r}: {thing.__module__} {thing.__qualname__}".encode()


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


def _parts_of_object(value: Any, told: _Told) -> Iterator[bytes]:
    """An object that is nothing of the above: a pytree by its structure and leaves, others by what they print."""
    leaves, tree = jax.tree.flatten(value)
    node = tree.node_data()
    if node is not None and node[1] is not value:  # of a static object all is static data: itself
        yield b"tree"
        yield from _parts([tree, leaves], told)
        return
    yield from _parts_of_class(type(value), told)
    with np.printoptions(threshold=sys.maxsize, precision=17, floatmode="unique"):  # every number, to its last digit
        printed = repr(value)
    if type(value).__repr__ is not object.__repr__ and not _ADDRESS.search(printed):
        yield printed.encode()
    elif told.owner is None:
        raise _untold(repr(value), _NAME)
    else:
        yield f"object of {told.owner!r}".encode()


def _parts_of_structure(tree: Any, told: _Told) -> Iterator[bytes]:
    """A pytree without its leaves: of each node its class and its static data."""
    node = tree.node_data()
    if node is None:
        yield b"leaf"
        return
    yield b"node"
    yield from _parts([*node, list(tree.children())], told)
