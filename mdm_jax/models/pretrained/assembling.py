"""Parameters from the tensors that they are made of: compared by their headers, then read part by part."""

import dataclasses
import math
import mmap
import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Sharding

from mdm_jax.models.pretrained.folders import Checkpoint
from mdm_jax.models.pretrained.published import Published, Source
from mdm_jax.models.pretrained.stored import Index, StoredTensor
from mdm_jax.support.errors import InputError
from mdm_jax.support.text import in_words, printable, shortened

_KINDS = ("float32", "bfloat16", "float16")
_ALIGNED = 64  # bytes; what is aligned so is taken by JAX on a CPU as it lies, not copied
_LARGE = 2**22  # bytes


@dataclasses.dataclass(frozen=True)
class Part:
    """One parameter and the tensors it is made of.

    Attributes:
        shape: of the parameter.
        dtype: as it is kept.
        tensors: one, or one of each layer, along the parameter's first axis.
        stacked: whether it has that axis.
        ranges: what is taken of the first axis of each; none is all of it.
    """

    shape: tuple[int, ...]
    dtype: Any
    tensors: tuple[StoredTensor, ...]
    stacked: bool
    ranges: tuple[tuple[int, int], ...]


def parts_of(
    published: Published, expected: Mapping[str, jax.ShapeDtypeStruct], checkpoint: Checkpoint
) -> tuple[dict[str, Part], list[str]]:
    """What each parameter is made of, and the names of the tensors that nothing needs.

    Args:
        published: says where each parameter lies.
        expected: the shape of each parameter of its network, by path.
        checkpoint: what is there; none of it is read.

    Raises:
        InputError: a tensor that is missing, of another shape or of no floating-point type, or that nothing asks for.
    """
    sources = published.sources
    if sources.keys() != expected.keys():
        odd = sorted(sources.keys() ^ expected.keys())
        raise InputError(f"the family {published.family} does not say where its parameter {odd[0]} lies, or has none.")
    there = checkpoint.tensors
    parts, taken = {}, set()
    for path, like in expected.items():
        names = _names(sources[path], published.layers, checkpoint, published.family)
        taken.update(names)
        parts[path] = _part(sources[path], like.shape, [(name, there[name]) for name in names], checkpoint)
    _require_all_taken(parts, checkpoint)
    left = sorted(there.keys() - taken)
    patterns = [re.compile(pattern) for pattern in published.ignored]
    unknown = [name for name in left if not any(pattern.fullmatch(name) for pattern in patterns)]
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise InputError(
            f"{_place(checkpoint)} has the tensor {_told(unknown[0])}{more}, which the network of {published.family} "
            "does not have: it would be another model without."
        )
    return parts, left


def _names(source: Source, layers: int, checkpoint: Checkpoint, family: str) -> list[str]:
    """The names of a parameter's tensors, all of which are there."""
    stacked = "{i}" in source.names[0]
    found = []
    for layer in range(layers) if stacked else (0,):
        choices = [name.replace("{i}", str(layer)) for name in source.names]
        name = next((name for name in choices if name in checkpoint.tensors), None)
        if name is None:
            wanted = " or ".join(_told(choice) for choice in choices)
            raise InputError(f"{_place(checkpoint)} lacks the tensor {wanted}, which {family} needs.")
        found.append(name)
    return found


def _part(
    source: Source, shape: tuple[int, ...], named: list[tuple[str, StoredTensor]], checkpoint: Checkpoint
) -> Part:
    """A parameter of ``shape`` from its tensors, which are compared with it."""
    stacked = "{i}" in source.names[0]
    kinds = {tensor.dtype.name for _, tensor in named}
    for name, tensor in named:
        told = f"{_place(checkpoint)}: the tensor {_told(name)}"
        if tensor.dtype.name not in _KINDS:
            raise InputError(f"{told} must be of type {', '.join(_KINDS)}; got {tensor.dtype.name}.")
        rows = tensor.shape[:1]
        if source.ranges and rows and max(end for _, end in source.ranges) <= rows[0]:
            rows = (sum(end - begin for begin, end in source.ranges),)
        wanted = shape[1:] if stacked else shape
        if (*rows, *tensor.shape[1:]) != wanted:
            raise InputError(
                f"{told} has shape {list(tensor.shape)}, of which no parameter of shape {list(wanted)} can be made, "
                "which is what the network that config.json describes has."
            )
    if len(kinds) > 1:
        raise InputError(
            f"{_place(checkpoint)}: the tensors {_told(source.names[0])} must be of one type in all layers; got "
            f"{in_words(sorted(kinds))}."
        )
    return Part(shape, named[0][1].dtype, tuple(tensor for _, tensor in named), stacked, source.ranges)


def _require_all_taken(parts: Mapping[str, Part], checkpoint: Checkpoint) -> None:
    """Refuse a fused tensor of which rows are left: what was cut out of it would be something else."""
    taken: dict[int, tuple[StoredTensor, int]] = {}
    for part in parts.values():
        for tensor in part.tensors if part.ranges else ():
            before = taken.get(id(tensor), (tensor, 0))[1]
            taken[id(tensor)] = tensor, before + sum(end - begin for begin, end in part.ranges)
    names = {id(tensor): name for name, tensor in checkpoint.tensors.items()}
    for tensor, rows in taken.values():
        if rows != tensor.shape[0]:
            raise InputError(
                f"{_place(checkpoint)}: the tensor {_told(names[id(tensor)])} has {tensor.shape[0]} rows, of which the "
                f"network that config.json describes takes {rows}: it is of another one."
            )


def assembled(part: Part, place: Sharding | None) -> jax.Array:
    """A parameter, read to where it belongs: each device's part on its own, what several devices have but once.

    Args:
        part: what it is made of.
        place: where it goes; the default device if ``None``.
    """
    if place is None:
        return jax.device_put(_read(part, tuple(slice(0, size) for size in part.shape)))
    seen: dict[tuple[tuple[int, int], ...], np.ndarray] = {}

    def of(index: Index | None) -> np.ndarray:
        assert index is not None
        spans = tuple(part.indices(size)[:2] for part, size in zip(index, part.shape))
        if spans not in seen:
            seen[spans] = _read(part, tuple(slice(*span) for span in spans))
        return seen[spans]

    return jax.make_array_from_callback(part.shape, place, of)


def _read(part: Part, index: Index) -> np.ndarray:
    """A box of a parameter."""
    out = _aligned(tuple(one.stop - one.start for one in index), part.dtype)
    if not part.stacked:
        _fill(out, part.tensors[0], part.ranges, index)
        return out
    for i, layer in enumerate(part.tensors[index[0]]):
        _fill(out[i], layer, part.ranges, index[1:])
    return out


def _fill(out: np.ndarray, tensor: StoredTensor, ranges: tuple[tuple[int, int], ...], index: Index) -> None:
    """Read a box of a tensor into ``out``; with ranges the box is one of what they make."""
    if not ranges:
        tensor.read_into(out, index)
        return
    done = 0  # rows of what the ranges make that lie before the range
    for begin, end in ranges:
        first, last = max(index[0].start, done), min(index[0].stop, done + end - begin)
        if first < last:
            rows = slice(begin + first - done, begin + last - done)
            tensor.read_into(out[first - index[0].start : last - index[0].start], (rows, *index[1:]))
        done += end - begin


def _aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Memory to read into. Large pieces are plain pages: NumPy asks for huge ones, which took twice as long."""
    size = math.prod(shape) * dtype.itemsize
    if size < _LARGE:
        raw = np.empty(size + _ALIGNED, np.uint8)
    else:
        raw = np.frombuffer(mmap.mmap(-1, size + _ALIGNED, access=mmap.ACCESS_COPY), np.uint8)  # the process's own
    start = -raw.ctypes.data % _ALIGNED
    return raw[start : start + size].view(dtype).reshape(shape)


def _place(checkpoint: Checkpoint) -> str:
    return printable(str(checkpoint.path))


def _told(name: str) -> str:
    return shortened(printable(repr(name)), 100)
