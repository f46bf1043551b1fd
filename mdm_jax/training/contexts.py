"""What is known of each row of the data (a class, say), which the objective may show to the denoiser."""

import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mdm_jax.models.denoiser import Context
from mdm_jax.support.arrays import as_array
from mdm_jax.support.errors import InputError, require, verbatim

_KINDS = {"b": np.bool_, "f": np.float32, "i": np.int32, "u": np.int32}
"""What arrays of a kind become."""
_WANTED = "(train, validation): two pytrees of arrays, one row for each row of task.train and of task.validation"


def checked_contexts(contexts: Any, train: np.ndarray, validation: np.ndarray) -> tuple[Context, Context]:
    """The contexts of the two parts, as NumPy arrays in the types that JAX has by default.

    Args:
        contexts: as ``fit`` takes them; ``None``: there are none.
        train: the tokens they belong to.
        validation: likewise.

    Raises:
        InputError: a stream, other structures, types or numbers of rows, numbers that are not finite.
    """
    if contexts is None:
        return None, None
    require(isinstance(contexts, tuple | list) and len(contexts) == 2, "context", contexts, _WANTED)
    require(train.ndim == 2, "context", contexts, "left out: the windows of a stream are no rows that one could have")
    parts = tuple(jax.tree.map(_checked, part) for part in contexts)
    for name, part, rows in (("train", parts[0], len(train)), ("validation", parts[1], len(validation))):
        shapes = [leaf.shape for leaf in jax.tree.leaves(part)]
        shown = verbatim(f"shapes {shapes} for task.{name}")
        good = bool(shapes) and all(shape[:1] == (rows,) for shape in shapes)
        require(good, "context", shown, f"of {rows} rows, as many as task.{name} has")
    kinds = [jax.tree.map(lambda leaf: (leaf.shape[1:], leaf.dtype.name), part) for part in parts]
    require(kinds[0] == kinds[1], "context", verbatim(f"{kinds[0]} and {kinds[1]}"), "of one structure, shape and type")
    return parts


def _checked(leaf: Any) -> np.ndarray:
    values = as_array(leaf)
    require(values.dtype.kind in _KINDS, "context", leaf, "of numbers: floats, whole numbers or booleans")
    require(values.dtype.kind != "f" or bool(np.isfinite(values).all()), "context", leaf, "of finite numbers")
    kind = _KINDS[values.dtype.kind]
    if kind is np.int32 and values.size:
        held = int(values.min()) >= -(2**31) and int(values.max()) < 2**31
        require(held, "context", leaf, "of whole numbers that 32 bits hold")
    return values.astype(kind)


def shapes_of(row: Context) -> Context:
    """The shapes of one row of a context, given as arrays or shapes, in the types that :func:`checked_contexts` gives.

    Raises:
        InputError: something in it has neither shape nor type, or more rows than one.
    """

    def one(leaf: Any) -> jax.ShapeDtypeStruct:
        good = hasattr(leaf, "shape") and leaf.shape[:1] == (1,) and leaf.dtype.kind in _KINDS
        require(good, "context", leaf, "one row: arrays of numbers, or their shapes, with a leading axis of 1")
        return jax.ShapeDtypeStruct(leaf.shape, _KINDS[leaf.dtype.kind])

    return jax.tree.map(one, row)


def first_row(context: Context) -> Context:
    """One row of a context, to make parameters for."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[:1]), context)


def digest(contexts: tuple[Context, Context]) -> str:
    """SHA-256 of both parts, in hexadecimal."""
    found = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(contexts):
        found.update(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}".encode())
        found.update(np.ascontiguousarray(leaf).tobytes())
    return found.hexdigest()


def to_json(row: Context) -> Any:
    """The structure of a context, for ``config.json``; ``None`` of one with containers other than JSON's and tuples."""
    if isinstance(row, dict) and all(isinstance(name, str) for name in row):
        parts = {name: to_json(part) for name, part in row.items()}
        return None if None in parts.values() else {"dict": parts}
    if type(row) in (tuple, list):
        parts = [to_json(part) for part in row]
        return None if None in parts else {type(row).__name__: parts}
    if isinstance(row, np.ndarray | jax.Array | jax.ShapeDtypeStruct):
        return {"shape": list(row.shape[1:]), "dtype": row.dtype.name}
    return None


def from_json(structure: Any) -> Context:
    """The shapes and types of one row, of a structure that :func:`to_json` wrote.

    Raises:
        InputError: it is none.
    """
    match structure:
        case {"dict": dict(parts)}:
            return {name: from_json(part) for name, part in parts.items()}
        case {"tuple": list(parts)}:
            return tuple(from_json(part) for part in parts)
        case {"list": list(parts)}:
            return [from_json(part) for part in parts]
        case {"shape": list(shape), "dtype": "float32" | "int32" | "bool" as dtype} if all(
            type(size) is int and 0 <= size < 2**31 for size in shape
        ):
            return jax.ShapeDtypeStruct((1, *shape), jnp.dtype(dtype))
    raise InputError(f"the context's structure must be what training wrote into config.json; got {structure!r}.")
