"""Models: the denoiser contract, adapters to it, wrappers around it, and a transformer that meets it."""

import functools
from collections.abc import Callable
from typing import Any

from mdm_jax.models.adapters import LinenDenoiser, fields_of, from_function, from_linen, from_nnx
from mdm_jax.models.cached import (
    AnyOrderDenoiser,
    AnyOrderTransformer,
    BlockCausalDenoiser,
    BlockCausalTransformer,
    any_order,
    block_causal,
)
from mdm_jax.models.calibrating import calibrated
from mdm_jax.models.classes import check_labels, classes_of, label_context, no_label
from mdm_jax.models.denoiser import (
    Context,
    Denoiser,
    Initialisable,
    Params,
    begun,
    checked_tokens,
    logits,
    takes_absent,
)
from mdm_jax.models.extending import Blockwise, Cache, Extendable, Ranked, block_length, by_rank, can_extend
from mdm_jax.models.framing import framed
from mdm_jax.models.guiding import Guidance, guidance, guided
from mdm_jax.models.latent import (
    DiffusionPrior,
    DiffusionPriorTransformer,
    JointDenoiser,
    JointTransformer,
    LatentDenoiser,
    LatentModel,
    LatentTransformer,
    NoisyLatent,
    Posterior,
    diffusion_prior,
    diffusion_prior_transformer,
    joint_diffusion,
    joint_transformer,
    latent_transformer,
    marginal,
    redrawn,
)
from mdm_jax.models.parameters import joined, parted
from mdm_jax.models.pretrained import Pretrained, load_pretrained
from mdm_jax.models.transformers import RaggedTransformer, Transformer, transformer
from mdm_jax.models.wrappers import banned, hooked, padded, shifted, tempered, top_k, top_p, without_cache
from mdm_jax.support.errors import InputError, require

__all__ = [
    "AnyOrderDenoiser",
    "BlockCausalDenoiser",
    "Blockwise",
    "Cache",
    "Context",
    "Denoiser",
    "DiffusionPrior",
    "Extendable",
    "Guidance",
    "Initialisable",
    "JointDenoiser",
    "LatentDenoiser",
    "LatentModel",
    "NoisyLatent",
    "Params",
    "Posterior",
    "Pretrained",
    "Ranked",
    "Transformer",
    "any_order",
    "banned",
    "begun",
    "block_causal",
    "block_length",
    "by_rank",
    "calibrated",
    "can_extend",
    "check_labels",
    "checked_tokens",
    "classes_of",
    "describe",
    "diffusion_prior",
    "framed",
    "from_description",
    "from_function",
    "from_linen",
    "from_nnx",
    "guidance",
    "guided",
    "hooked",
    "joined",
    "joint_diffusion",
    "label_context",
    "latent_transformer",
    "load_pretrained",
    "logits",
    "marginal",
    "no_label",
    "padded",
    "parted",
    "redrawn",
    "shifted",
    "takes_absent",
    "tempered",
    "top_k",
    "top_p",
    "transformer",
    "without_cache",
]

_FAMILIES: dict[str, tuple[type, Callable[..., Any], type]] = {
    "transformer": (LinenDenoiser, transformer, Transformer),
    "ragged transformer": (LinenDenoiser, functools.partial(transformer, ragged=True), RaggedTransformer),
    "latent transformer": (LatentDenoiser, latent_transformer, LatentTransformer),
    "diffusion prior": (DiffusionPrior, diffusion_prior_transformer, DiffusionPriorTransformer),
    "any-order transformer": (AnyOrderDenoiser, any_order, AnyOrderTransformer),
    "block-causal transformer": (BlockCausalDenoiser, block_causal, BlockCausalTransformer),
    "joint diffusion": (JointDenoiser, joint_transformer, JointTransformer),
}
"""The library's own models: the kind of the denoiser, what makes one, and the kind of its network."""
_NUMBER = (int, float), "a number"
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys(("expansion", "rotary_base", "embedding_scale"), _NUMBER),
    "share": ((bool,), "true or false"),
    "block": ((int, type(None)), "a whole number, or null"),
}
"""What a description's values may be; whole numbers where nothing is said."""


def describe(denoiser: Denoiser) -> dict[str, Any] | None:
    """What :func:`from_description` needs to rebuild one of the library's models; ``None`` for a user's own.

    Returns:
        JSON: "family" ("transformer", "latent transformer", "diffusion prior" or "joint diffusion"), and every setting.

    Example:
        >>> import mdm_jax as mdm
        >>> model = mdm.models.transformer(4, length=8, width=16, depth=1, heads=2)
        >>> told = mdm.models.describe(model)
        >>> told["family"], told["width"], mdm.models.from_description(told) == model
        ('transformer', 16, True)
    """
    module = getattr(denoiser, "module", None)
    family = next(
        (name for name, (kind, _, network) in _FAMILIES.items() if (type(denoiser), type(module)) == (kind, network)),
        None,
    )
    if family is None or module is None:
        return None
    settings = {name: value for name, value in fields_of(module).items() if (name, value) not in module.unsaid}
    return {"family": family, **settings}


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
        mdm_jax.support.errors.InputError: model family must be 'transformer' or 'ragged transformer' or ...
    """
    family = description.get("family") if isinstance(description, dict) else description
    if not isinstance(family, str) or family not in _FAMILIES:
        raise InputError(f"model family must be {' or '.join(map(repr, _FAMILIES))}; got {family!r}.")
    settings = {name: value for name, value in description.items() if name != "family"}
    for name, value in settings.items():
        kinds, wanted = _KINDS.get(name, ((int,), "a whole number"))
        require(type(value) in kinds, f"model {name}", value, wanted)
    try:
        return _FAMILIES[family][1](**settings)
    except TypeError as error:
        raise InputError(f"the model was described by another version of the library: {error}.") from None
