"""MDLM, SEDD and BD3-LM: one network, whose folders differ in how they say its sizes and whether it is told the noise.

MDLM's and BD3-LM's config.json is flat and names sizes of its own; SEDD's holds the settings of its training, nested.
The mask is the last id where the tokenizer had none (GPT-2's: 50257); a tokenizer with a mask of its own keeps it
inside the vocabulary, and ``mask_id`` then has to be said. BD3-LM goes by blocks of config.json's ``block_size``.
"""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from mdm_jax.models.pretrained.by_blocks import in_blocks
from mdm_jax.models.pretrained.diffusion_transformer import DiffusionTransformer
from mdm_jax.models.pretrained.families.configurations import length_of, mask_of, must_be, told, whole
from mdm_jax.models.pretrained.published import Published, Source
from mdm_jax.support.errors import InputError, require, require_whole

_GPT2_AND_MASK = 50258
_LAYER = {
    "attention_norm/weight": "norm1.weight",
    "attention/output/weight": "attn_out.weight",
    "feed_forward_norm/weight": "norm2.weight",
    "feed_forward/expand/weight": "mlp.0.weight",
    "feed_forward/expand/bias": "mlp.0.bias",
    "feed_forward/contract/weight": "mlp.2.weight",
    "feed_forward/contract/bias": "mlp.2.bias",
    "modulation/weight": "adaLN_modulation.weight",
    "modulation/bias": "adaLN_modulation.bias",
}
_ONCE = {
    "embedding/weight": "vocab_embed.embedding",
    "noise_level/input/weight": "sigma_map.mlp.0.weight",
    "noise_level/input/bias": "sigma_map.mlp.0.bias",
    "noise_level/output/weight": "sigma_map.mlp.2.weight",
    "noise_level/output/bias": "sigma_map.mlp.2.bias",
    "norm/weight": "output_layer.norm_final.weight",
    "modulation/weight": "output_layer.adaLN_modulation.weight",
    "modulation/bias": "output_layer.adaLN_modulation.bias",
    "head/weight": "output_layer.linear.weight",
    "head/bias": "output_layer.linear.bias",
}


def published(config: Mapping[str, Any], names: Collection[str], settings: Mapping[str, Any]) -> Published:
    """What a checkpoint of MDLM, BD3-LM or SEDD is; SEDD's is known by the key "graph" of its config.json.

    Args:
        config: config.json's content.
        names: of the tensors that are there.
        settings: what the user says instead of config.json.

    Raises:
        InputError: the checkpoint is of another network, or does not say what must be known.

    Source: ``models/dit.py`` and ``models/hf`` of MDLM and BD3-LM; SEDD's ``model/transformer.py``.
    """
    del names  # all of them are known from config.json
    return _sedd(config, settings) if isinstance(config.get("graph"), Mapping) else _mdlm(config, settings)


def _mdlm(config: Mapping[str, Any], settings: Mapping[str, Any]) -> Published:
    model_type = config.get("model_type")
    require(model_type in ("mdlm", "bd3lm"), "config.json's model_type", model_type, "'mdlm' or 'bd3lm'")
    must_be(config, "causal", False, absent=False)
    must_be(config, "adaln", True, absent=True)
    must_be(config, "cfg", False, absent=False)
    must_be(config, "time_conditioning", True, False, absent=False)
    rows, length = whole(config, "vocab_size"), length_of(config, settings, "model_length")
    block = _block(config, settings, length)
    last = rows - 1 if rows == _GPT2_AND_MASK else None
    module = _network(
        vocab_size=rows,
        length=length,
        width=whole(config, "hidden_dim"),
        depth=whole(config, "n_blocks"),
        heads=whole(config, "n_heads"),
        level_features=whole(config, "cond_dim"),
        mask_id=mask_of(config, settings, rows, "mask_token_id", "mask_index", otherwise=last),
        timed=config.get("time_conditioning", False),
    )
    told = _told("MDLM" if model_type == "mdlm" else "BD3-LM", module, config, settings)
    if block == length:
        return told
    return dataclasses.replace(told, module=in_blocks(module, block, module.mask_id, told.shift))


def _sedd(config: Mapping[str, Any], settings: Mapping[str, Any]) -> Published:
    require(settings.get("block") is None, "block", settings.get("block"), "left out, as SEDD has none")
    kind = config["graph"].get("type")
    require(kind == "absorb", "config.json's graph.type", kind, "'absorb': with uniform noise there are no masks")
    noise = config.get("noise")
    noise = noise.get("type") if isinstance(noise, Mapping) else None
    require(noise == "loglinear", "config.json's noise.type", noise, "'loglinear', from which sigma is told")
    sizes = config.get("model")
    if not isinstance(sizes, Mapping):
        raise InputError(f"config.json's model must be a dictionary of the network's sizes; got {sizes!r}.")
    rows = whole(config, "tokens") + 1
    module = _network(
        vocab_size=rows,
        length=length_of(sizes, settings, "length"),
        width=whole(sizes, "hidden_size"),
        depth=whole(sizes, "n_blocks"),
        heads=whole(sizes, "n_heads"),
        level_features=whole(sizes, "cond_dim"),
        mask_id=mask_of(config, settings, rows, otherwise=rows - 1),
        timed=True,
    )
    return _told("SEDD", module, config, settings)


def _network(width: int, heads: int, **sizes: Any) -> DiffusionTransformer:
    require(
        width % (2 * heads) == 0, "config.json's width", width, f"a multiple of twice its number of heads = {heads}"
    )
    return DiffusionTransformer(width=width, heads=heads, hidden=4 * width, **sizes)


def _block(config: Mapping[str, Any], settings: Mapping[str, Any], length: int) -> int:
    """Positions of a block, each of which sees itself and the finished ones before it; the length: one block."""
    said = settings.get("block")
    if said is not None:
        return min(require_whole("block", said, 1), length)
    return length if config.get("model_type") == "mdlm" else min(whole(config, "block_size"), length)


def _told(family: str, module: DiffusionTransformer, config: Mapping[str, Any], settings: Any) -> Published:
    return Published(
        family=family,
        module=module,
        vocab_size=module.vocab_size,
        mask_id=module.mask_id,
        sources=_sources(module.width),
        layers=module.depth,
        ignored=(r"(backbone\.)?rotary_emb\.inv_freq", r"sampling_eps_(min|max)", r"noise\..*"),
        **told(settings, config, shift=False),
    )


def _sources(width: int) -> dict[str, Source]:
    sources = {ours: Source(_named(theirs)) for ours, theirs in _ONCE.items()}
    for ours, theirs in _LAYER.items():
        sources[f"layers/{ours}"] = Source(_named(f"blocks.{{i}}.{theirs}"))
    for place, part in enumerate(("query", "key", "value")):
        rows = ((place * width, (place + 1) * width),)
        sources[f"layers/attention/{part}/weight"] = Source(_named("blocks.{i}.attn_qkv.weight"), rows)
    return sources


def _named(name: str) -> tuple[str, ...]:
    return name, f"backbone.{name}"
