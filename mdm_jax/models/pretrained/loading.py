"""From a published checkpoint to a denoiser and its parameters: straight to each device's part, type kept as it is."""

import concurrent.futures
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Sharding

from mdm_jax.models.adapters import LinenDenoiser
from mdm_jax.models.denoiser import Denoiser, Params
from mdm_jax.models.pretrained import families
from mdm_jax.models.pretrained.assembling import Part, assembled, parts_of
from mdm_jax.models.pretrained.by_blocks import as_denoiser
from mdm_jax.models.pretrained.families.vocabularies import read_vocabulary
from mdm_jax.models.pretrained.folders import Checkpoint, open_checkpoint
from mdm_jax.models.pretrained.published import Published
from mdm_jax.models.wrappers import banned as banned_from
from mdm_jax.models.wrappers import shifted
from mdm_jax.support.errors import require
from mdm_jax.support.keys import key as key_of

Shardings = Sharding | Callable[[Params], Any] | None


@dataclasses.dataclass(frozen=True, eq=False)
class Pretrained:
    """A published model.

    Attributes:
        denoiser: ids are as in the checkpoint; shifted, and with special ids banned, as its family has it.
        params: its parameters.
        published: what the family says of the checkpoint, settings of the caller applied.
        provenance: "family"; "folder"; "files", the SHA-256 of each; "ignored", the tensors that were not taken, and
            averages of the weights that training saved beside those that were;
            "settings", what the caller said instead.
        vocabulary: the id of each token by its text, where there is a file that says so.
    """

    denoiser: Denoiser
    params: Params
    published: Published
    provenance: dict[str, Any]
    vocabulary: Mapping[str, int] | None = None

    def __repr__(self) -> str:
        return f"Pretrained({self.published.family}, {self.denoiser!r})"


def load_pretrained(
    folder: str | Path,
    *,
    shardings: Shardings = None,
    config: Mapping[str, Any] | None = None,
    shift: bool | None = None,
    mask_id: int | None = None,
    end_id: int | None = None,
    banned: Sequence[int] | None = None,
    prefix: Sequence[int] | None = None,
    suffix: Sequence[int] | None = None,
    length: int | None = None,
    block: int | None = None,
    vocabulary: str | Path | None = None,
) -> Pretrained:
    """A published model from the folder that it was downloaded into; nothing of the folder is run.

    Shapes are compared before memory is taken. Then each device's part of a parameter is read on its own, layer by
    layer; numbers keep their type (float32, bfloat16, float16). Beside the parameters nothing of the files is held, or
    one tensor where a device's part is columns of it.

    Args:
        folder: with config.json and weights (safetensors or ``torch.save``'s, whole or in shards); or the file of the
            weights.
        shardings: where parameters go: one ``Sharding`` for all, or a function from the tree of their shapes to a tree
            of shardings, as ``functools.partial(mdm_jax.training.devices.shardings, mesh)``; the default device if left
            out.
        config: instead of config.json.
        shift: whether position i - 1 predicts token i, as in Dream: no checkpoint says so of itself. Like all that
            follows it is the family's usual one if left out.
        mask_id: the mask's id.
        end_id: the id that ends a text.
        banned: ids that are never predicted.
        prefix: ids before every row.
        suffix: ids after every row.
        length: the longest sequence, where the checkpoint's is not to be used.
        block: positions that were trained together, where the checkpoint does not say; shorter than the whole length it
            makes a model that goes by blocks, and is refused by families that have none.
        vocabulary: a folder with the file of tokens (vocab.txt, tokenizer.json, vocab.json, dict.txt) that some
            families' special ids are told by; the checkpoint's own if left out.

    Returns:
        The denoiser, whose ids are the checkpoint's (:func:`~mdm_jax.models.framed` makes one of real tokens alone),
        its parameters, and where they are from.

    Raises:
        InputError: no checkpoint, a damaged one, or one of a network that is not here; tensors that are missing, that
            have another shape or no floating-point type, or that nothing asks for.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.models.load_pretrained("no/such/folder")
        Traceback (most recent call last):
        mdm_jax.support.errors.InputError: folder must be a folder with config.json and weights, or a file of ...
    """
    given = {"shift": shift, "mask_id": mask_id, "end_id": end_id, "length": length, "block": block}
    given |= {name: ids if ids is None else tuple(ids) for name, ids in _lists(banned, prefix, suffix)}
    settings = {name: value for name, value in given.items() if value is not None}
    checkpoint = open_checkpoint(folder, config)
    ids = _vocabulary(checkpoint, vocabulary)
    published = _published(checkpoint, settings, ids)
    network = as_denoiser(published.module, published.vocab_size, published.mask_id)
    parts, ignored = parts_of(published, expected_shapes(network), checkpoint)
    # Every byte is read twice, at the same time: the digest waits for nothing that is read here.
    with concurrent.futures.ThreadPoolExecutor(1) as beside:
        digests = beside.submit(checkpoint.digests)
        params = _placed(parts, shardings)
        files = digests.result()
    told = {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
    told |= {} if vocabulary is None else {"vocabulary": str(vocabulary)}
    provenance = {
        "family": published.family,
        "folder": str(checkpoint.path),
        "files": files,
        "ignored": [*(f"{name} (averaged weights)" for name in checkpoint.averaged), *ignored],
        "settings": told,
    }
    return Pretrained(wrapped(network, published), params, published, provenance, ids)


def wrapped(network: Denoiser, published: Published) -> Denoiser:
    """A network as its family has it: shifted, unless it is so of itself, and special ids banned."""
    denoiser = shifted(network) if published.shift and not getattr(published.module, "shifted", False) else network
    ids = tuple(token for token in published.banned if token != published.mask_id)
    return banned_from(denoiser, ids) if ids else denoiser


def expected_shapes(network: LinenDenoiser) -> dict[str, jax.ShapeDtypeStruct]:
    """The shape of each parameter, by its path; nothing is computed, however large it is."""
    shapes = jax.eval_shape(lambda key: network.init(key, 1), jax.eval_shape(lambda: key_of(0)))
    require(set(shapes) == {"params"}, "module", sorted(shapes), "a network of parameters alone")
    leaves = jax.tree_util.tree_leaves_with_path(shapes["params"])
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _lists(*ids: Sequence[int] | None) -> list[tuple[str, Sequence[int] | None]]:
    return list(zip(("banned", "prefix", "suffix"), ids))


def _vocabulary(checkpoint: Checkpoint, given: str | Path | None) -> dict[str, int] | None:
    """The ids of the checkpoint's tokens: from the folder that is given, or the checkpoint's own."""
    beside = checkpoint.path if checkpoint.path.is_dir() else checkpoint.path.parent
    ids = read_vocabulary(beside if given is None else given)
    require(given is None or ids is not None, "vocabulary", str(given), "a folder with a file of tokens")
    return ids


def _published(checkpoint: Checkpoint, settings: Mapping[str, Any], ids: Mapping[str, int] | None) -> Published:
    """What the family says, and what the caller says instead."""
    more = settings if ids is None else {**settings, "vocabulary": ids}
    published = families.published(checkpoint.config, checkpoint.tensors.keys(), more)
    names = {field.name for field in dataclasses.fields(Published)}
    return dataclasses.replace(published, **{name: value for name, value in settings.items() if name in names})


def _placed(parts: Mapping[str, Part], shardings: Shardings) -> Params:
    """The parameters' tree, each read to where it belongs."""
    shapes = _tree({path: jax.ShapeDtypeStruct(part.shape, part.dtype) for path, part in parts.items()})
    places = shardings(shapes) if callable(shardings) else jax.tree.map(lambda _: shardings, shapes)
    told = jax.tree_util.tree_leaves_with_path(places, is_leaf=lambda leaf: leaf is None)
    by_path = {jax.tree_util.keystr(path[1:], simple=True, separator="/"): place for path, place in told}
    require(by_path.keys() == parts.keys(), "shardings", sorted(by_path)[:3], "a tree of the parameters' structure")
    return _tree({path: assembled(part, by_path[path]) for path, part in parts.items()})


def _tree(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """A module's variables from what lies at each path below "params"."""
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *above, last = path.split("/")
        inner = tree
        for name in above:
            inner = inner.setdefault(name, {})
        inner[last] = leaf
    return {"params": tree}
