"""How a training state is divided over a mesh of devices: fully sharded (FSDP), with a second axis for wide matrices.

A mesh has axes "data" (the batch's rows) and "model" (the columns or rows of matrices); either may be missing or 1.
A matrix that reads the residual stream is divided by columns on "model", one that writes to it by rows (Megatron-LM,
arXiv 1909.08053), so that what lies between them is never gathered; what is left is divided over "data" as well and
gathered when it is needed (ZeRO, arXiv 1910.02054). These are storage rules: the compiler inserts the communication,
and no rule changes what is computed.

A rule looks at the end of a leaf's path and at its shape, nothing else. The optimiser's moments and the EMA end
in the same names and have the same shapes as the parameters they belong to, so they are divided alike.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from mdm_jax.support.devices import DATA, MODEL
from mdm_jax.support.errors import require

_COLUMNS = ("query_key_value", "expand", "modulation", "head", "embedding")
_ROWS = ("output", "contract")
_WHOLE = ("taps",)  # a few neighbours by width: not worth a message


class Part(NamedTuple):
    """One array of a state and how it is divided.

    Attributes:
        path: its name in the state, segments separated by ``/``.
        shape: of the whole array.
        spec: which mesh axes divide which of its axes.
        bytes: on every device.
        reason: why it is divided so.
    """

    path: str
    shape: tuple[int, ...]
    spec: PartitionSpec
    bytes: int
    reason: str


def shardings(mesh: Mesh | AbstractMesh, state: Any) -> Any:
    """How each leaf of a state, or of any tree of parameters, is divided over a mesh.

    Args:
        mesh: with axes "data" and "model", or one of them.
        state: any pytree of arrays or of their shapes (``jax.ShapeDtypeStruct``), say a ``TrainState``.

    Returns:
        A pytree of the same structure of ``NamedSharding``; every axis that is divided is divided evenly, so it serves
        as ``in_shardings`` and ``out_shardings`` of ``jax.jit`` and for ``jax.device_put``.

    Raises:
        InputError: the mesh has an axis of another name.

    Source: Megatron-LM (arXiv 1909.08053) for "model", ZeRO (arXiv 1910.02054) for "data".

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> mesh = jax.sharding.AbstractMesh((2, 2), ("data", "model"))  # four devices that need not be there
        >>> params = {"head": {"kernel": jax.ShapeDtypeStruct((16, 4), jnp.float32)}}
        >>> tuple(mdm.training.devices.shardings(mesh, params)["head"]["kernel"].spec)
        ('data', 'model')
    """
    sizes = _sizes(mesh)
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: NamedSharding(mesh, _decide(_names(path), np.shape(leaf), sizes)[0]), state
    )


def explain(mesh: Mesh | AbstractMesh, state: Any) -> list[Part]:
    """What :func:`shardings` decides for each leaf, why, and the bytes that it costs every device.

    Args:
        mesh: as for :func:`shardings`.
        state: as for :func:`shardings`; only shapes and types are read.

    Returns:
        One part per leaf, in the order of ``jax.tree.leaves``.

    Raises:
        InputError: as :func:`shardings`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> mesh = jax.sharding.AbstractMesh((2, 2), ("data", "model"))  # four devices that need not be there
        >>> params = {"head": {"kernel": jax.ShapeDtypeStruct((16, 4), jnp.float32)}}
        >>> (part,) = mdm.training.devices.explain(mesh, params)
        >>> part.path, part.bytes, part.reason
        ('head/kernel', 64, 'head: columns on model')
    """
    sizes = _sizes(mesh)
    parts = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        names, shape = _names(path), np.shape(leaf)
        spec, reason = _decide(names, shape, sizes)
        shard = NamedSharding(mesh, spec).shard_shape(shape)
        itemsize = np.dtype(leaf.dtype).itemsize if hasattr(leaf, "dtype") else np.asarray(leaf).itemsize
        parts.append(Part("/".join(names), tuple(shape), spec, math.prod(shard) * itemsize, reason))
    return parts


def gathered(mesh: Mesh | AbstractMesh, params: Any) -> Any:
    """How parameters are divided where they are used: as :func:`shardings` says, but whole along "data".

    A step constrains them to this before its forward pass (``jax.lax.with_sharding_constraint``). Without it the
    compiler may follow the parameters' storage instead of the batch and divide activations by width over every device,
    all rows on each: for a transformer of LLaDA-8B's width on 16 x 16 devices that took over four times the memory.

    Args:
        mesh: as for :func:`shardings`.
        params: parameters, or their shapes.

    Returns:
        A pytree of ``NamedSharding`` of the same structure.

    Raises:
        InputError: as :func:`shardings`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> mesh = jax.sharding.AbstractMesh((2, 2), ("data", "model"))  # four devices that need not be there
        >>> params = {"head": {"kernel": jax.ShapeDtypeStruct((16, 4), jnp.float32)}}
        >>> tuple(mdm.training.devices.gathered(mesh, params)["head"]["kernel"].spec)
        (None, 'model')
    """

    def one(sharding: NamedSharding) -> NamedSharding:
        entries = (entry if isinstance(entry, tuple) else (entry,) for entry in sharding.spec)
        kept = (tuple(name for name in entry if name not in (DATA, None)) for entry in entries)
        return NamedSharding(mesh, PartitionSpec(*((names[0] if names else None) for names in kept)))

    return jax.tree.map(one, shardings(mesh, params))


def _sizes(mesh: Mesh | AbstractMesh) -> dict[str, int]:
    sizes = dict(mesh.shape)
    for name in sizes:
        require(name in (DATA, MODEL), "mesh axis", name, f'"{DATA}" or "{MODEL}"')
    return sizes


def _names(path: Sequence[Any]) -> tuple[str, ...]:
    return tuple(jax.tree_util.keystr((key,), simple=True) for key in path)


def _decide(names: Sequence[str], shape: Sequence[int], sizes: dict[str, int]) -> tuple[PartitionSpec, str]:
    """The spec of one leaf, and its reason: "model" where the name wants it, then into as many parts as can be."""
    model, data = sizes.get(MODEL, 1), sizes.get(DATA, 1)
    if len(shape) < 2:
        return PartitionSpec(), "a vector or a number: on every device"
    if names[-1:] and names[-1] in _WHOLE:
        return PartitionSpec(), "small: on every device"
    preferred, reason = _preferred(names, shape)
    # From the largest axis to the smallest, the last of equals first: kernels are widest in their columns.
    by_size = {axis: i for i, axis in enumerate(sorted(range(len(shape)), key=lambda axis: (-shape[axis], -axis)))}

    def parts(on_model: int | None, on_data: int | None, axis: int) -> int:
        return (model if axis == on_model else 1) * (data if axis == on_data else 1)

    def rank(choice: tuple[int | None, int | None]) -> tuple[int, ...]:
        on_model, on_data = choice
        total = math.prod(parts(on_model, on_data, axis) for axis in by_size)
        wanted = preferred is None or on_model == preferred
        apart = on_model is None or on_model != on_data
        return (not wanted, -total, not apart, *(-1 if axis is None else by_size[axis] for axis in choice))

    choices = itertools.product((None, *by_size) if model > 1 else (None,), (None, *by_size) if data > 1 else (None,))
    even = (c for c in choices if all(shape[axis] % parts(*c, axis) == 0 for axis in by_size))
    on_model, on_data = min(even, key=rank)
    if model > 1 and on_model is None:
        reason += f"; nothing on {MODEL}: no axis is a multiple of {model}"
    elif model > 1 and preferred is not None and on_model != preferred:
        reason += f"; but {shape[preferred]:,} is no multiple of {MODEL} = {model}"
    if data > 1 and on_data is None:
        reason += f"; nothing on {DATA}: no axis left is a multiple of {data}"
    elif on_data is not None and on_model == on_data:
        reason += f"; {DATA} on the same axis: no other is a multiple of {data}"
    entries = [
        (*((MODEL,) if axis == on_model else ()), *((DATA,) if axis == on_data else ())) for axis in range(len(shape))
    ]
    if not any(entries):
        return PartitionSpec(), reason if max(model, data) > 1 else "one device"
    return PartitionSpec(*(entry if len(entry) > 1 else entry[0] if entry else None for entry in entries)), reason


def _preferred(names: Sequence[str], shape: Sequence[int]) -> tuple[int | None, str]:
    """The axis that a matrix of a known name has on "model", and why; ``None`` for unknown names."""
    if len(shape) == 2:
        # The innermost name decides: "head/output/kernel" is an output.
        for name in reversed(names):
            if name in _COLUMNS:
                return 1, f"{name}: columns on {MODEL}"
            if name in _ROWS:
                return 0, f"{name}: rows on {MODEL}"
    return None, "by shape: largest axes first"
