"""Models: the denoiser contract, adapters to it, wrappers around it, and a transformer that meets it."""

import dataclasses
from typing import Any

from mdm_jax.models.adapters import LinenDenoiser, from_function, from_linen, from_nnx
from mdm_jax.models.denoiser import Context, Denoiser, Initialisable, Params, checked_tokens, logits
from mdm_jax.models.guiding import Guidance, guidance, guided
from mdm_jax.models.parameters import joined, parted
from mdm_jax.models.transformers import Transformer, transformer
from mdm_jax.models.wrappers import banned, hooked, shifted, tempered, top_k, top_p
from mdm_jax.support.errors import InputError, require

__all__ = [
    "Context",
    "Denoiser",
    "Guidance",
    "Initialisable",
    "Params",
    "Transformer",
    "banned",
    "checked_tokens",
    "describe",
    "from_description",
    "from_function",
    "from_linen",
    "from_nnx",
    "guidance",
    "guided",
    "hooked",
    "joined",
    "logits",
    "parted",
    "shifted",
    "tempered",
    "top_k",
    "top_p",
    "transformer",
]


def describe(denoiser: Denoiser) -> dict[str, Any] | None:
    """What :func:`from_description` needs to rebuild one of the library's models; ``None`` for a user's own.

    Returns:
        JSON: "family", and every argument of :func:`transformer`.

    Example:
        >>> import mdm_jax as mdm
        >>> model = mdm.models.transformer(4, length=8, width=16, depth=1, heads=2)
        >>> told = mdm.models.describe(model)
        >>> told["family"], told["width"], mdm.models.from_description(told) == model
        ('transformer', 16, True)
    """
    if not (isinstance(denoiser, LinenDenoiser) and isinstance(denoiser.module, Transformer)):
        return None
    module = denoiser.module
    names = [field.name for field in dataclasses.fields(module) if field.name not in ("parent", "name")]
    return {"family": "transformer", **{name: getattr(module, name) for name in names}}


def from_description(description: Any) -> LinenDenoiser:
    """The model that :func:`describe` described.

    Raises:
        InputError: not a model of this version of the library.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.models.from_description({"family": "transformer", "vocab_size": 4, "width": 16}).vocab_size
        4
        >>> mdm.models.from_description({"family": "mamba"})
        Traceback (most recent call last):
        mdm_jax.support.errors.InputError: model family must be 'transformer'; got 'mamba'.
    """
    family = description.get("family") if isinstance(description, dict) else description
    if family != "transformer":
        raise InputError(f"model family must be 'transformer'; got {family!r}.")
    settings = {name: value for name, value in description.items() if name != "family"}
    for name, value in settings.items():
        kinds = (int, float) if name in ("expansion", "rotary_base", "embedding_scale") else (int,)
        require(type(value) in kinds, f"model {name}", value, "a number" if float in kinds else "a whole number")
    try:
        return transformer(**settings)
    except TypeError as error:
        raise InputError(f"the model was described by another version of the library: {error}.") from None
