"""Parameters as a file of safetensors: a published model's under the names that other programs know, others by path."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mdm_jax.models.adapters import LinenDenoiser
from mdm_jax.models.denoiser import Denoiser, Params, layers, require_model
from mdm_jax.models.describing import describe, from_description
from mdm_jax.models.pretrained.exporting import published_as, tensors_like
from mdm_jax.models.pretrained.folders import open_checkpoint
from mdm_jax.models.pretrained.safetensors_files import read_safetensors
from mdm_jax.models.pretrained.safetensors_writing import (
    OutgoingTensor,
    read_metadata,
    require_new,
    write_safetensors,
)
from mdm_jax.models.wrappers import Shifted
from mdm_jax.support.errors import InputError, require
from mdm_jax.support.files import parse_json
from mdm_jax.support.keys import key as key_of
from mdm_jax.support.text import printable, shortened
from mdm_jax.support.version import VERSION

FORMAT = "mdm_jax parameters 1"
"""What a file of parameters by path says it is."""
_LIKE = "mdm_jax parameters 1, like a published checkpoint"
KEY = "mdm_jax"
"""Of the metadata; its value is JSON: "format", "version", "model" (its description), and what the caller says."""


def export_parameters(
    path: str | Path,
    denoiser: Denoiser,
    params: Params,
    *,
    like: str | Path | None = None,
    about: Mapping[str, Any] | None = None,
    replace: bool = False,
) -> Path:
    """Write parameters as a file of safetensors, atomically and tensor by tensor; their types are kept.

    With ``like`` the file takes the place of that checkpoint's weights, in one file: every tensor of it is there, under
    its name and in its shape; fused ones are joined again, and what the network does not take is copied. What is
    wrapped around the network, temperatures for one, is told in the file's metadata alone. Without, names are the
    tree's paths with dots ("blocks_0.attention.output.kernel"), and :func:`load_exported` reads it back.

    Args:
        path: of the file.
        denoiser: the model, with whatever is wrapped around it: only the wrappers of a published model can be described
            in the file (:func:`~mdm_jax.models.describe`).
        params: its parameters: dictionaries of arrays.
        like: the folder of the published checkpoint that the model was made of, or of another one of the same network.
        about: what else the file is to say of itself, as JSON ("run", "step").
        replace: whether a file that is there may be replaced.

    Raises:
        InputError: a file that is there; parameters that are no dictionaries of arrays; with ``like`` a model of
            another network, or tensors that cannot be put together from its parameters. Nothing is written.

    Example:
        >>> import mdm_jax as mdm
        >>> model = mdm.models.transformer(4, length=8, width=16, depth=1, heads=2)
        >>> params = model.init(mdm.key(0), length=8)
        >>> path = mdm.models.export_parameters("small.safetensors", model, params)
        >>> again, same = mdm.models.load_exported(path)
        >>> again == model, same["params"]["head"]["kernel"].shape
        (True, (16, 4))
        >>> mdm.models.export_parameters("small.safetensors", model, params)
        Traceback (most recent call last):
        mdm_jax.support.errors.InputError: path must be a new file, or one that may be replaced (replace=True); got ...
    """
    require_model(denoiser, params)
    require_new(Path(path), replace)
    said = {"format": FORMAT, "version": VERSION, "model": describe(denoiser), **(about or {})}
    if like is None:
        tensors = _by_path(params)
        said["root"] = "params" if _is_variables(params) else ""
    else:
        tensors = _like(like, denoiser, params)
        said["format"] = _LIKE
    metadata = {"format": "pt", KEY: json.dumps(said, ensure_ascii=False, allow_nan=False)}
    return write_safetensors(path, tensors, metadata, replace)


def load_exported(path: str | Path, denoiser: Denoiser | None = None) -> tuple[Denoiser, Params]:
    """A model and its parameters from a file that :func:`export_parameters` wrote without ``like``.

    Args:
        path: of the file.
        denoiser: your own model, where the file cannot describe it.

    Raises:
        InputError: no such file, another one, or one of another model than ``denoiser``.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.models.load_exported("none.safetensors")
        Traceback (most recent call last):
        mdm_jax.support.errors.InputError: none.safetensors cannot be read: No such file or directory.
    """
    path = Path(path)
    tensors = read_safetensors(path)
    said = _said(path)
    told = printable(str(path))
    known = said.get("model")
    if known is None and denoiser is None:
        raise InputError(f"denoiser must be given, as {told} is of a model of your own; got None.")
    if known is not None:
        right = from_description(known)
        require(denoiser in (None, right), "denoiser", denoiser, f"left out, or that of {told}, {right!r}")
        denoiser = right
    assert denoiser is not None
    params: dict[str, Any] = {}
    for name, tensor in tensors.items():
        *above, last = name.split(".")
        inner = params
        for part in above:
            inner = inner.setdefault(part, {})
        inner[last] = jnp.asarray(tensor.read(tuple(slice(0, size) for size in tensor.shape)))
    params = {"params": params} if said.get("root") == "params" else params
    if known is not None:
        _require_parameters(told, denoiser, params)
    return denoiser, params


def _said(path: Path) -> dict[str, Any]:
    """What a file of ours says of itself."""
    told = printable(str(path))
    try:
        said = parse_json(str(read_metadata(path).get(KEY)))
    except (ValueError, RecursionError):
        said = None
    kind = said.get("format") if isinstance(said, dict) else None
    if kind == _LIKE:
        raise InputError(f"{told} has a published model's names: put it into a folder with config.json, and import it.")
    if kind != FORMAT or not isinstance(said, dict):
        raise InputError(f"{told} must be a file that export_parameters wrote: its format must be {FORMAT!r}.")
    return said


def _by_path(params: Params) -> dict[str, OutgoingTensor]:
    """Every array, by its path with dots; the collection "params", where it is the only one, is not said."""
    inner = params["params"] if _is_variables(params) else params
    outgoing = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(inner):
        keys = [getattr(key, "key", None) for key in path]
        good = bool(keys) and all(isinstance(key, str) and key and "." not in key for key in keys)
        kind = getattr(leaf, "dtype", None)
        if not good or not isinstance(kind, np.dtype):
            where = jax.tree_util.keystr(path) or "its root"
            raise InputError(f"params must be dictionaries of arrays, with names without dots; got another at {where}.")
        outgoing[".".join(map(str, keys))] = OutgoingTensor(leaf.shape, kind, lambda leaf=leaf: (np.asarray(leaf),))
    return outgoing


def _is_variables(params: Params) -> bool:
    return isinstance(params, Mapping) and set(params) == {"params"}


def _like(folder: str | Path, denoiser: Denoiser, params: Params) -> dict[str, OutgoingTensor]:
    """The tensors of a checkpoint in that folder."""
    checkpoint = open_checkpoint(folder)
    *around, inner = layers(denoiser)
    if not isinstance(inner, LinenDenoiser):
        raise InputError(f"denoiser must be of a published network, where like is given; got {shortened(repr(inner))}.")
    shift = getattr(inner.module, "shifted", False) or any(type(one) is Shifted for one in around)
    return tensors_like(params, published_as(checkpoint, inner.module, inner.mask_id, shift), checkpoint)


def _require_parameters(file: str, denoiser: Denoiser, params: Params) -> None:
    """Refuse parameters that are not those of one of the library's models."""
    *_, inner = layers(denoiser)  # a wrapper has the parameters of what it wraps
    wanted = jax.eval_shape(lambda: inner.init(key_of(0), getattr(inner.module, "length", 1)))
    found, right = (
        {jax.tree_util.keystr(where, simple=True, separator="."): leaf.shape for where, leaf in leaves}
        for leaves in map(jax.tree_util.tree_leaves_with_path, (params, wanted))
    )
    odd = next((name for name in sorted(found.keys() | right.keys()) if found.get(name) != right.get(name)), None)
    if odd is not None:
        there, theirs = (shapes.get(odd, "none") for shapes in (found, right))
        raise InputError(f"{file} is not of the model that it describes: {odd} must have shape {theirs}; got {there}.")
