"""The way back: parameters under a published checkpoint's names, taken apart by layers and joined where it joins them.

A tensor of the checkpoint that no network of ours takes (a buffer, a pooler) is copied as it is; where it is one that
is taken under another name, with the same bits, it is that one.
"""

import dataclasses
import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from mdm_jax.models.denoiser import Params
from mdm_jax.models.pretrained import families
from mdm_jax.models.pretrained.decoder import Decoder
from mdm_jax.models.pretrained.diffusion_transformer import DiffusionTransformer
from mdm_jax.models.pretrained.families.decoders import FAMILIES
from mdm_jax.models.pretrained.families.vocabularies import read_vocabulary
from mdm_jax.models.pretrained.folders import Checkpoint
from mdm_jax.models.pretrained.modern_encoder import ModernEncoder
from mdm_jax.models.pretrained.published import Published, Source
from mdm_jax.models.pretrained.safetensors_writing import OutgoingTensor
from mdm_jax.models.pretrained.stored import StoredTensor
from mdm_jax.support.errors import InputError
from mdm_jax.support.text import printable, shortened


@dataclasses.dataclass(frozen=True)
class _Piece:
    """Rows of a tensor of the checkpoint, and where they are now: rows of a layer of a parameter."""

    path: str
    layer: int | None
    rows: tuple[int, int] | None  # of the tensor; None: all of it
    begin: int  # among the parameter's rows


def published_as(checkpoint: Checkpoint, module: Any, mask_id: int, shift: bool) -> Published:
    """What a checkpoint's family says of it, with the settings that a model of it has now.

    Args:
        checkpoint: that the model was made from, or one like it.
        module: the network of the model.
        mask_id: as the network has it.
        shift: whether the model is shifted.

    Raises:
        InputError: the checkpoint is of another network.
    """
    settings: dict[str, Any] = {"mask_id": mask_id, "shift": shift}
    if isinstance(module, Decoder | DiffusionTransformer | ModernEncoder):
        settings["length"] = module.length
    block = getattr(module, "block", None)
    if block is None and str(checkpoint.config.get("model_type")).lower() in FAMILIES:
        block = getattr(module, "length", None)  # one block, which some configurations do not say
    if block is not None:
        settings["block"] = block
    ids = read_vocabulary(checkpoint.path if checkpoint.path.is_dir() else checkpoint.path.parent)
    if ids is not None:
        settings["vocabulary"] = ids
    told = families.published(checkpoint.config, checkpoint.tensors.keys(), settings)
    if told.module != module:
        raise InputError(
            f"like must be the checkpoint that the model was made of, or one of the same network; "
            f"{_told(str(checkpoint.path))} is of {shortened(repr(told.module), 200)}."
        )
    return told


def tensors_like(params: Params, published: Published, checkpoint: Checkpoint) -> dict[str, OutgoingTensor]:
    """Parameters as the tensors of a checkpoint: its names and shapes; types are those of the parameters.

    Args:
        params: of the network that ``published`` describes.
        published: says where each parameter lies.
        checkpoint: which of several names a tensor has, and what is to be copied; nothing of it is read here.

    Raises:
        InputError: parameters of another network, or such as cannot be put together to the checkpoint's tensors.
    """
    leaves = leaves_by_path(params)
    odd = sorted(leaves.keys() ^ published.sources.keys())
    if odd:
        raise InputError(f"params must be those of a network of {published.family}; got {_told(odd[0])}, or lack it.")
    outgoing = {}
    for name, pieces in _pieces(published, checkpoint).items():
        outgoing[name] = _outgoing(name, sorted(pieces, key=lambda one: one.rows or (0, 0)), leaves, checkpoint)
    for name, tensor in checkpoint.tensors.items():
        if name not in outgoing:
            if not any(re.fullmatch(pattern, name) for pattern in published.ignored):
                raise InputError(f"like must have no tensor but those of {published.family}; got {_told(name)}.")
            outgoing[name] = OutgoingTensor(tensor.shape, np.dtype(tensor.dtype), functools.partial(_copied, tensor))
    return outgoing


def leaves_by_path(params: Params) -> dict[str, Any]:
    """The arrays of a module's variables, by their path below "params"."""
    inner = params.get("params") if isinstance(params, Mapping) and set(params) == {"params"} else None
    if inner is None:
        raise InputError('params must be the variables of a network, {"params": ...}; got another tree.')
    leaves = jax.tree_util.tree_leaves_with_path(inner)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _pieces(published: Published, checkpoint: Checkpoint) -> dict[str, list[_Piece]]:
    """What each tensor is made of. A parameter whose tensor is there under several names is all of them."""
    found: dict[str, list[_Piece]] = {}
    for path, source in published.sources.items():
        stacked = "{i}" in source.names[0]
        for layer in range(published.layers) if stacked else (None,):
            names = [name.replace("{i}", str(layer)) for name in source.names]
            there = [checkpoint.tensors[name] for name in names if name in checkpoint.tensors]
            if not there:
                raise InputError(f"{_told(str(checkpoint.path))} lacks the tensor {_told(names[0])}.")
            for name in names:
                other = checkpoint.tensors.get(name)
                if other is there[0] or (other is not None and _same(other, there[0])):
                    found.setdefault(name, []).extend(_of(path, layer, source))
    return found


def _of(path: str, layer: int | None, source: Source) -> Iterator[_Piece]:
    begin = 0
    for rows in source.ranges or (None,):
        yield _Piece(path, layer, rows, begin)
        begin += 0 if rows is None else rows[1] - rows[0]


def _outgoing(name: str, pieces: list[_Piece], leaves: Mapping[str, Any], checkpoint: Checkpoint) -> OutgoingTensor:
    """A tensor from its pieces, which must make it without a gap."""
    shape, end = checkpoint.tensors[name].shape, 0
    kinds = {np.dtype(leaves[piece.path].dtype) for piece in pieces}
    for piece in pieces:
        rows = piece.rows if piece.rows is not None else (0, shape[0] if shape else 0)
        if rows[0] != end:
            told = f"its rows from {min(end, rows[0])} to {max(end, rows[0])} are in {'no' if rows[0] > end else 'two'}"
            raise InputError(f"the tensor {_told(name)} cannot be put together: {told} parameters.")
        end = rows[1]
    if shape and end != shape[0]:
        raise InputError(f"the tensor {_told(name)} cannot be put together: its rows from {end} are in no parameters.")
    for path in {piece.path for piece in pieces}:
        own = [piece for piece in pieces if piece.path == path]
        leaf, wanted = leaves[path], shape
        if own[0].rows is not None:
            wanted = (sum(piece.rows[1] - piece.rows[0] for piece in own if piece.rows is not None), *shape[1:])
        given = leaf.shape if own[0].layer is None else leaf.shape[1:]
        if given != wanted:
            raise InputError(
                f"params must have shapes that make those of {_told(str(checkpoint.path))}; {_told(path)} has "
                f"{list(leaf.shape)}, and {_told(name)} there is {list(shape)}."
            )
    if len(kinds) > 1:
        several = ", ".join(sorted(map(str, kinds)))
        raise InputError(f"params must be of one type where the checkpoint joins them in {_told(name)}; got {several}.")
    return OutgoingTensor(shape, kinds.pop(), functools.partial(_parts, pieces, leaves))


def _parts(pieces: list[_Piece], leaves: Mapping[str, Any]) -> Iterator[np.ndarray]:
    for piece in pieces:
        leaf = leaves[piece.path]
        value = np.asarray(leaf if piece.layer is None else leaf[piece.layer])
        yield value if piece.rows is None else value[piece.begin : piece.begin + piece.rows[1] - piece.rows[0]]


def _copied(tensor: StoredTensor) -> Iterator[np.ndarray]:
    yield tensor.read()


def _same(one: StoredTensor, other: StoredTensor) -> bool:
    """Whether two tensors are one under two names."""
    alike = one.shape == other.shape and one.dtype == other.dtype
    return alike and one.read().tobytes() == other.read().tobytes()


def _told(name: str) -> str:
    return shortened(printable(repr(name)), 100)
