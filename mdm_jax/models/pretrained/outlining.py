"""What a published checkpoint would be, before it is loaded, or downloaded: its network and the shapes of its weights.

Nothing is allocated and no weight is read. Of weights that are there their headers tell; without them config.json is
enough, which is a thousandth of a thousandth of the download.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util

from mdm_jax.models.denoiser import Denoiser, Params
from mdm_jax.models.pretrained import families
from mdm_jax.models.pretrained.assembling import parts_of
from mdm_jax.models.pretrained.by_blocks import as_denoiser
from mdm_jax.models.pretrained.families.vocabularies import read_vocabulary
from mdm_jax.models.pretrained.folders import CONFIG, has_weights, indexed_names, open_checkpoint
from mdm_jax.models.pretrained.loading import expected_shapes, wrapped
from mdm_jax.support.errors import InputError, require
from mdm_jax.support.files import read_json
from mdm_jax.support.text import printable

_TYPES = ("float32", "bfloat16", "float16")
_KEYS = ("torch_dtype", "dtype")
"""Where config.json says the type of the weights; newer ones have the second."""


@dataclasses.dataclass(frozen=True, eq=False)
class Outline:
    """A published model without its weights.

    Attributes:
        denoiser: ids are as in the checkpoint; which of them is the mask is not asked, and means nothing.
        shapes: of its parameters, and their types.
        family: what people call it.
        typed_by: what says the types: "the files", "config.json", or "nobody", where float32 is taken.
    """

    denoiser: Denoiser
    shapes: Params
    family: str
    typed_by: str

    def __repr__(self) -> str:
        return f"Outline({self.family}, {self.denoiser!r})"


def outline_pretrained(folder: str | Path, *, block: int | None = None, shift: bool | None = None) -> Outline:
    """The network of a published checkpoint and the shapes of its weights, by config.json and the weights' headers.

    Without weights in the folder, as before they are downloaded, config.json is enough. Its "torch_dtype" or "dtype"
    says their type, and it says whether the head is the embedding. On that it may be wrong, as A2D's is: download the
    index of the weights (``model.safetensors.index.json``) too, which is small and tells by their names.

    Args:
        folder: with config.json, and weights or none; or the file of the weights.
        block: positions that were trained together, where config.json does not say.
        shift: whether position i - 1 predicts token i, where a family does not say.

    Raises:
        InputError: what :func:`~mdm_jax.models.load_pretrained` refuses, but for what it wants to know of the mask; no
            config.json, or one with a type that is none.

    Example:
        >>> import json
        >>> from pathlib import Path
        >>> import mdm_jax as mdm
        >>> config = {
        ...     "model_type": "a2d-qwen3", "hidden_size": 1024, "num_hidden_layers": 28, "num_attention_heads": 16,
        ...     "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 3072, "vocab_size": 151936,
        ...     "max_position_embeddings": 40960, "rope_theta": 1e6, "rms_norm_eps": 1e-6, "hidden_act": "silu",
        ...     "tie_word_embeddings": True, "torch_dtype": "bfloat16",
        ... }
        >>> Path("runs/qwen").mkdir(parents=True)
        >>> _ = Path("runs/qwen/config.json").write_text(json.dumps(config))
        >>> found = mdm.models.outline_pretrained("runs/qwen")
        >>> found.family, found.typed_by, found.shapes["params"]["layers"]["attention"]["key"]["weight"]
        ('A2D', 'config.json', ShapeDtypeStruct(shape=(28, 1024, 1024), dtype=bfloat16))
    """
    path = Path(folder)
    ids = read_vocabulary(path if path.is_dir() else path.parent)
    # Which id the mask is changes no size.
    given = {"mask_id": 0, "block": block, "shift": shift, "vocabulary": ids}
    settings = {name: value for name, value in given.items() if value is not None}
    checkpoint = open_checkpoint(path) if path.is_file() or has_weights(path) else None
    config = _configuration(path) if checkpoint is None else checkpoint.config
    names = indexed_names(path) if checkpoint is None else checkpoint.tensors.keys()
    published = families.published(config, names, settings)
    network = as_denoiser(published.module, published.vocab_size, published.mask_id)
    expected = expected_shapes(network)
    if checkpoint is not None:
        typed_by = "the files"
        kinds = {name: part.dtype for name, part in parts_of(published, expected, checkpoint)[0].items()}
    else:
        said = next((config[key] for key in _KEYS if config.get(key) is not None), None)
        typed_by, kinds = "nobody" if said is None else CONFIG, dict.fromkeys(expected, jnp.dtype(_type_of(said)))
    shapes = {name: jax.ShapeDtypeStruct(like.shape, kinds[name]) for name, like in expected.items()}
    params = {"params": traverse_util.unflatten_dict(shapes, sep="/")}
    return Outline(wrapped(network, published), params, published.family, typed_by)


def _configuration(folder: Path) -> Mapping[str, Any]:
    """config.json of a folder without weights."""
    beside = folder / CONFIG
    if not beside.is_file():
        raise InputError(f"{printable(str(folder))} has no {CONFIG} and no weights, which say what a model is.")
    config = read_json(beside, "the configuration of a checkpoint")
    require(isinstance(config, dict), CONFIG, config, "an object")
    return config


def _type_of(said: Any) -> str:
    """The type that config.json says, as in "bfloat16" or "torch.bfloat16"."""
    kind = "float32" if said is None else str(said).removeprefix("torch.")
    require(kind in _TYPES, f"{CONFIG}'s {' or '.join(_KEYS)}", said, f"one of {', '.join(_TYPES)}")
    return kind
