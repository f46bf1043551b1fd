"""ModernBERT (arXiv 2412.13663), Ettin's encoders, mmBERT: ``transformers``' ``ModernBertForMaskedLM``."""

from collections.abc import Collection, Mapping
from typing import Any

from mdm_jax.models.pretrained.encoder import ACTIVATIONS
from mdm_jax.models.pretrained.families.configurations import length_of, must_be, number, whole
from mdm_jax.models.pretrained.families.masked_language import is_tied, prefix_of
from mdm_jax.models.pretrained.families.special_ids import frame_of, specials_of
from mdm_jax.models.pretrained.modern_encoder import ModernEncoder
from mdm_jax.models.pretrained.published import Published, Source
from mdm_jax.support.errors import InputError, require

_DEFAULTS = {"norm_eps": 1e-5, "hidden_activation": "gelu", "classifier_activation": "gelu", "local_attention": 128}
_KINDS = ("full_attention", "sliding_attention")


def published(config: Mapping[str, Any], names: Collection[str], settings: Mapping[str, Any]) -> Published:
    """What a checkpoint of ModernBERT is.

    Args:
        config: config.json's content. It does not say which id is the mask's.
        names: of the tensors that are there. A head's matrix of its own counts, though the configuration ties it.
        settings: what the user says; "vocabulary" is the id of each token.

    Raises:
        InputError: a configuration that is of another network, or nothing that says which id is the mask's.

    Example:
        >>> from mdm_jax.models.pretrained.families import modernbert
        >>> sizes = {"vocab_size": 25, "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2}
        >>> config = {**sizes, "intermediate_size": 24, "max_position_embeddings": 64}
        >>> told = modernbert.published(config, ["model.embeddings.tok_embeddings.weight"], {"mask_id": 4})
        >>> told.module.full, told.module.reach, told.sources["layers/attention/key/weight"].ranges
        ((True, False, False, True), 64, ((16, 32),))
    """
    config = {**_DEFAULTS, **config}
    for key in ("norm_bias", "attention_bias", "mlp_bias", "classifier_bias"):
        must_be(config, key, False, absent=False)
    must_be(config, "decoder_bias", True, absent=True)
    must_be(config, "hidden_activation", *ACTIVATIONS, absent="gelu")
    must_be(config, "classifier_activation", config["hidden_activation"], absent="gelu")
    prefix = prefix_of(names, "embeddings.tok_embeddings.weight")
    above = prefix.removesuffix("model.")
    rows, own = whole(config, "vocab_size"), f"{above}decoder.weight"
    full_base, local_base = _bases(config)
    module = ModernEncoder(
        vocab_size=rows,
        length=length_of(config, settings, "max_position_embeddings"),
        width=whole(config, "hidden_size"),
        heads=whole(config, "num_attention_heads"),
        inner=whole(config, "intermediate_size"),
        full=_full(config, whole(config, "num_hidden_layers")),
        reach=whole(config, "local_attention") // 2,
        full_base=full_base,
        local_base=local_base,
        epsilon=number(config, "norm_eps"),
        activation=config["hidden_activation"],
        tied=is_tied(config, names, own),
    )
    return Published(
        family="ModernBERT",
        module=module,
        vocab_size=rows,
        sources=_sources(module, prefix, above),
        layers=len(module.full),
        **specials_of(config, settings, rows, frame_of(config, "cls_token_id", "sep_token_id")),
    )


def _full(config: Mapping[str, Any], depth: int) -> tuple[bool, ...]:
    """Of each layer, whether it sees everything: told layer by layer, or every so many."""
    kinds = config.get("layer_types")
    if kinds is None:
        every = whole({"global_attn_every_n_layers": 3, **config}, "global_attn_every_n_layers")
        return tuple(layer % every == 0 for layer in range(depth))
    good = isinstance(kinds, list) and len(kinds) == depth and all(kind in _KINDS for kind in kinds)
    require(good, "config.json's layer_types", kinds, f"a list of num_hidden_layers = {depth}, each of {_KINDS}")
    return tuple(kind == "full_attention" for kind in kinds)


def _bases(config: Mapping[str, Any]) -> tuple[float, float]:
    """Bases of the rotary positions, everywhere and in the neighbourhood: newer folders keep them in a dictionary."""
    if config.get("rope_scaling") is not None:
        raise InputError(f"config.json's rope_scaling must be absent for this network; got {config['rope_scaling']!r}.")
    newer = config.get("rope_parameters") or {}
    everywhere = number({"global_rope_theta": 160000.0, **config}, "global_rope_theta")
    near = {"local_rope_theta": 10000.0, **config}["local_rope_theta"]  # null: as everywhere
    bases = [everywhere, everywhere if near is None else number({"local_rope_theta": near}, "local_rope_theta")]
    for place, kind in enumerate(_KINDS):
        found = newer.get(kind) or {}
        must_be(found, "rope_type", "default", absent="default")
        bases[place] = number({"rope_theta": bases[place], **found}, "rope_theta")
    return bases[0], bases[1]


def _sources(module: ModernEncoder, prefix: str, above: str) -> dict[str, Source]:
    """Queries, keys and values are one matrix, and so are a feed-forward layer's input and gate."""
    layer, width, inner = f"{prefix}layers.{{i}}", module.width, module.inner
    sources = {
        "embedding/weight": Source((f"{prefix}embeddings.tok_embeddings.weight",)),
        "embedding_norm/weight": Source((f"{prefix}embeddings.norm.weight",)),
        "layers/attention/output/weight": Source((f"{layer}.attn.Wo.weight",)),
        "layers/feed_forward_norm/weight": Source((f"{layer}.mlp_norm.weight",)),
        "layers/down/weight": Source((f"{layer}.mlp.Wo.weight",)),
        "norm/weight": Source((f"{prefix}final_norm.weight",)),
        "transform/weight": Source((f"{above}head.dense.weight",)),
        "transform_norm/weight": Source((f"{above}head.norm.weight",)),
        "head_bias": Source((f"{above}decoder.bias",)),
    }
    for place, part in enumerate(("query", "key", "value")):
        rows = ((place * width, (place + 1) * width),)
        sources[f"layers/attention/{part}/weight"] = Source((f"{layer}.attn.Wqkv.weight",), rows)
    for place, part in enumerate(("up", "gate")):
        rows = ((place * inner, (place + 1) * inner),)
        sources[f"layers/{part}/weight"] = Source((f"{layer}.mlp.Wi.weight",), rows)
    for one in range(1, len(module.full)):
        sources[f"attention_norm_{one}"] = Source((f"{prefix}layers.{one}.attn_norm.weight",))
    if not module.tied:
        sources["head/weight"] = Source((f"{above}decoder.weight",))
    return sources
