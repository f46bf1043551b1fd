"""Where the parameters of an imported run are from, as its ``config.json`` says it under "source".

"family", "files" (the SHA-256 of each), "ignored" (tensors that were not taken), "settings" (what was said instead of
the checkpoint's), "end" (the task's token that ends a text, if it has the checkpoint's) and "parameters": of each array
its type and shape, which a published checkpoint keeps as it has them. Besides, what whoever adapted the model says of
that: ``mdm-jax import --calibrate`` has "calibration".
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from mdm_jax.models.denoiser import Params
from mdm_jax.support.errors import InputError, require

KEY = "source"
_TYPES = ("float32", "bfloat16", "float16")


def source_of(
    provenance: Mapping[str, Any], params: Params, end: int | None = None, adapted: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What ``config.json`` says of parameters that were imported; the folder's place is nobody's business.

    Args:
        provenance: of a :class:`~mdm_jax.models.Pretrained`.
        params: its parameters.
        end: the task's token that ends a text, if there is one.
        adapted: what is said of how the model was adapted.

    Raises:
        InputError: that has a name that is taken.
    """
    told = {name: value for name, value in provenance.items() if name != "folder"}
    # So is that of its tokens: what they told of ids is part of the model.
    told["settings"] = {name: value for name, value in told["settings"].items() if name != "vocabulary"}
    leaves = jax.tree_util.tree_leaves_with_path(params)
    named = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    arrays = {name: {"type": leaf.dtype.name, "shape": list(leaf.shape)} for name, leaf in named.items()}
    told |= {"parameters": arrays} if end is None else {"end": end, "parameters": arrays}
    adapted = adapted or {}
    taken = [name for name in adapted if name in {*told, "end"}]
    require(not taken, "adapt", taken, "a function that says of the model what is not said already")
    return {**told, **adapted}


def end_of(config: Mapping[str, Any]) -> int | None:
    """The token that ends a text of an imported run, if it has one; ``None`` of another run.

    Args:
        config: the content of ``config.json``.
    """
    told = config.get(KEY)
    end = told.get("end") if isinstance(told, dict) else None
    return end if type(end) is int else None


def shapes_of(config: Mapping[str, Any]) -> Params | None:
    """Types and shapes of the parameters of an imported run; ``None`` of another.

    Args:
        config: the content of ``config.json``.

    Raises:
        InputError: what it says of them cannot be.
    """
    if KEY not in config:
        return None
    told = config[KEY].get("parameters") if isinstance(config[KEY], dict) else None
    if not isinstance(told, dict) or not told or not all(map(_is_array, told.values())):
        raise InputError(f'"{KEY}" of config.json must say of each of its "parameters" type and shape.')
    tree: dict[str, Any] = {}
    for path, array in told.items():
        *above, last = path.split("/")
        inner = tree
        for name in above:
            inner = inner.setdefault(name, {})
        inner[last] = jax.ShapeDtypeStruct(tuple(array["shape"]), jnp.dtype(array["type"]))
    return tree


def _is_array(told: Any) -> bool:
    good = isinstance(told, dict) and told.get("type") in _TYPES and isinstance(told.get("shape"), list)
    return good and all(type(size) is int and 0 < size < 2**48 for size in told["shape"])
