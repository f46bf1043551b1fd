"""Families of published models: which network a checkpoint is of, and where its parameters lie."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from mdm_jax.models.pretrained.families import albert, bert, decoders, diffusion, esm, llada, modernbert, roberta, smdm
from mdm_jax.models.pretrained.published import Published
from mdm_jax.support.errors import InputError
from mdm_jax.support.text import printable, shortened

_TYPES: dict[str, Callable[..., Published]] = {
    "llada": llada.published,
    **dict.fromkeys(decoders.FAMILIES, decoders.published),
    **dict.fromkeys(("mdlm", "bd3lm"), diffusion.published),
    "bert": bert.published,
    **dict.fromkeys(("roberta", "xlm-roberta", "camembert"), roberta.published),
    "albert": albert.published,
    "esm": esm.published,
    "modernbert": modernbert.published,
}
"""What reads a checkpoint of each "model_type"."""

_BY_NAMES = (
    ("emb_layer_norm_after.weight", esm.published),
    ("sentence_encoder.embed_tokens.weight", roberta.published),
    ("transformer.h.0.attn.attn.weight", smdm.published),
    ("sigma_map.mlp.0.weight", diffusion.published),
)
"""What a tensor's name ends in, of checkpoints whose configuration names no type."""

_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")


def published(config: Mapping[str, Any], names: Collection[str], settings: Mapping[str, Any]) -> Published:
    """What the checkpoint's family says of it.

    Args:
        config: the content of config.json.
        names: of the tensors that are there.
        settings: what the caller says instead: "shift", "mask_id", "end_id", "banned", "prefix", "suffix", "length",
            "block"; and "vocabulary", the ids of the checkpoint's tokens, where its folder has them.

    Raises:
        InputError: a family that no network of ours is, or a setting of it that ours has not.

    Example:
        >>> from mdm_jax.models.pretrained import families
        >>> families.published({"model_type": "llada_moe", "num_experts": 64}, [], {})
        Traceback (most recent call last):
        mdm_jax.support.errors.InputError: a model_type of 'llada_moe' is a mixture of experts (num_experts 64), ...
    """
    kind = str(config.get("model_type") or "").lower()
    told = shortened(printable(repr(config.get("model_type"))), 80)
    experts = next((key for key in _EXPERTS if isinstance(config.get(key), int) and config[key] > 1), None)
    if experts is not None or "moe" in kind:
        many = "" if experts is None else f" ({experts} {config[experts]})"
        raise InputError(f"a model_type of {told} is a mixture of experts{many}, for which there is no network here.")
    architectures = " ".join(map(str, config.get("architectures") or ())).lower()
    if "duo" in kind or "duo" in architectures:
        raise InputError(
            f"a model_type of {told} is DUO's, whose noise is uniform: it has no mask, and so is no masked diffusion "
            "model."
        )
    by_name = (read for ending, read in _BY_NAMES if any(name.endswith(ending) for name in names))
    family = _TYPES.get(kind) or next(by_name, None)
    if family is None:
        raise InputError(
            f"config.json's model_type must be one of {', '.join(_TYPES)}; got {told}: of it there is no network here."
        )
    return family(config, names, settings)
