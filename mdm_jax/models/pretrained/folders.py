"""A checkpoint as people publish it: a folder with config.json and weights in one file or in shards with an index."""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mdm_jax.models.pretrained.inert_pickles import Attributes
from mdm_jax.models.pretrained.safetensors_files import read_safetensors
from mdm_jax.models.pretrained.stored import StoredTensor
from mdm_jax.models.pretrained.torch_pickles import AVERAGED, check_sums, read_torch
from mdm_jax.support.errors import InputError, require
from mdm_jax.support.files import read_json
from mdm_jax.support.text import in_words, printable, shortened

CONFIG = "config.json"
_USUAL = ("model.safetensors", "pytorch_model.bin")
"""What libraries call the weights, the better form first; in shards it is this name with ``.index.json``."""
_TORCH = (".bin", ".pt", ".pth", ".ckpt")
_KINDS = (".safetensors", *_TORCH)
_NO_WEIGHTS = ("training_args.bin", "optimizer.bin", "optimizer.pt", "scheduler.pt", "scheduler.bin")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What is in a folder, before any of the weights is read.

    Attributes:
        path: the folder, or the file.
        config: the content of config.json; of a file that fairseq wrote its arguments, with "model_type" "fairseq".
        tensors: by name.
        files: those that make it up: config.json, if there is one, an index, the weights.
        averaged: where averages of the weights lie beside those that are taken, in what training saved.
    """

    path: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]
    files: tuple[Path, ...]
    averaged: tuple[str, ...] = ()

    def digests(self) -> dict[str, str]:
        """SHA-256 of each file, by its name: every byte is read, and check sums of zip archives are compared.

        Raises:
            InputError: a file is damaged.
        """
        return {file.name: _digest(file) for file in self.files}


def open_checkpoint(path: str | Path, config: Mapping[str, Any] | None = None) -> Checkpoint:
    """What is in a folder (or in one file of weights), by the headers of its files alone.

    Args:
        path: a folder with config.json and weights: ``model.safetensors`` or ``pytorch_model.bin``, each whole or in
            shards with an index, or one file of another name; or a file of weights, with config.json beside it.
        config: instead of config.json.

    Raises:
        InputError: no such folder, nothing in it or more than one thing that it could mean, a shard that is missing or
            lacks what the index says is in it, a damaged file.

    Example:
        >>> from pathlib import Path
        >>> from mdm_jax.models.pretrained.folders import open_checkpoint
        >>> Path("runs/nothing").mkdir(parents=True)
        >>> open_checkpoint("runs/nothing")
        Traceback (most recent call last):
        mdm_jax.support.errors.InputError: runs/nothing has no weights: ...
    """
    path = Path(path)
    require(path.exists(), "folder", str(path), "a folder with config.json and weights, or a file of weights")
    weights, index = _weights(path) if path.is_dir() else (path, None)
    files = [weights] if index is None else [index, *_shards(index)]
    tensors, others = _tensors(files[index is not None :])
    if index is not None:
        _fits_index(index, tensors)
    beside = weights.parent / CONFIG
    if config is None and beside.is_file():
        config = read_json(beside, "the configuration of a checkpoint")
        files = [beside, *files]
    if config is None:
        config = _arguments(others)
    if config is None:
        raise InputError(f"{weights.parent} has no {CONFIG}, which says what the weights are of; give it as config=.")
    require(isinstance(config, Mapping), CONFIG, config, "an object")
    return Checkpoint(path, config, tensors, tuple(files), tuple(name for name in AVERAGED if others.get(name)))


def has_weights(folder: Path) -> bool:
    """Whether a folder has a file of weights; an index alone, which is small, is none."""
    return folder.is_dir() and any(map(_is_weights, folder.iterdir()))


def indexed_names(folder: Path) -> list[str]:
    """The names of the tensors that an index of weights in shards tells, where there is one; the shards need not be.

    Raises:
        InputError: it is none.
    """
    indices = (folder / f"{name}.index.json" for name in _USUAL)
    index = next(filter(Path.is_file, indices), None)
    return [] if index is None else list(_weight_map(index))


def _is_weights(file: Path) -> bool:
    return file.suffix in _KINDS and file.name not in _NO_WEIGHTS and file.is_file()


def _weights(folder: Path) -> tuple[Path, Path | None]:
    """The file of a folder's weights; of weights in shards their index as well."""
    for name in _USUAL:
        if (folder / name).is_file():
            return folder / name, None
        if (folder / f"{name}.index.json").is_file():
            return folder / name, folder / f"{name}.index.json"
    found = sorted(filter(_is_weights, folder.iterdir()))
    if len(found) == 1:
        return found[0], None
    if not found:
        raise InputError(f"{printable(str(folder))} has no weights: no file that ends in {', '.join(_KINDS)}.")
    several = shortened(printable(in_words([p.name for p in found])))
    raise InputError(
        f"{printable(str(folder))} has several files of weights and no index ({several}): give one's path."
    )


def _shards(index: Path) -> list[Path]:
    """The files that an index names, all of which are there."""
    names = sorted(set(_weight_map(index).values()))
    for name in names:
        beside = Path(name).name == name and name not in (".", "..")
        require(beside, f"{index.name}: a shard", name, "the name of a file beside the index")
        if not (index.parent / name).is_file():
            raise InputError(f"{index} names the shard {printable(name)}, which is not beside it.")
    return [index.parent / name for name in names]


def _weight_map(index: Path) -> dict[str, str]:
    value = read_json(index, "an index of weights")
    there = value.get("weight_map") if isinstance(value, dict) else None
    if not isinstance(there, dict) or not there or not all(isinstance(name, str) and name for name in there.values()):
        raise InputError(f"{index} is no index of weights: its weight_map must say of each tensor in which file it is.")
    return there


def _tensors(files: list[Path]) -> tuple[dict[str, StoredTensor], dict[str, Any]]:
    """The tensors of all files together, and what torch's pickles hold beside them."""
    tensors: dict[str, StoredTensor] = {}
    others: dict[str, Any] = {}
    for file in files:
        require(file.suffix in _KINDS, "weights", str(file), f"a file that ends in {', '.join(_KINDS)}")
        if file.suffix in _TORCH:
            found, more = read_torch(file)
            others |= more
        else:
            found = read_safetensors(file)
        twice = sorted(set(found) & set(tensors))
        if twice:
            raise InputError(f"{file.parent} has the tensor {_told(twice[0])} in two shards.")
        tensors |= found
    return tensors, others


def _fits_index(index: Path, tensors: Mapping[str, StoredTensor]) -> None:
    for name, shard in _weight_map(index).items():
        if name not in tensors or tensors[name].file.name != shard:
            raise InputError(
                f"{index.parent / shard} lacks the tensor {_told(name)}, which {index.name} says is in it."
            )


def _arguments(others: Mapping[str, Any]) -> dict[str, Any] | None:
    """What fairseq was called with, which it keeps beside the weights: since 1.0 as "cfg", before as "args"."""
    told = others.get("cfg")
    found = told.get("model") if isinstance(told, dict) else others.get("args")
    found = found.values if isinstance(found, Attributes) else found
    if not isinstance(found, dict):
        return None
    # Numbers and texts alone: lists in a pickle may lie in each other so often that to show one takes for ever.
    return {name: one for name, one in found.items() if isinstance(one, str | int | float)} | {"model_type": "fairseq"}


def _digest(file: Path) -> str:
    if file.suffix in _TORCH:
        check_sums(file)
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _told(name: str) -> str:
    return shortened(printable(repr(name)), 80)
