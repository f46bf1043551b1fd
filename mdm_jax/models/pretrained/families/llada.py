"""LLaDA-8B, LLaDA 1.5 and iLLaDA: Llama's network under OLMo's names, with full attention and no shift.

A folder of theirs says everything in config.json, the mask's id too. Rows of the head past the tokenizer are padding
that was never trained: config.json's ``vocab_size`` may tell them, and ``banned`` always can.
"""

from collections.abc import Collection, Mapping
from typing import Any

from mdm_jax.models.pretrained.decoder import Decoder
from mdm_jax.models.pretrained.families.configurations import length_of, mask_of, must_be, number, told, whole
from mdm_jax.models.pretrained.published import Published, Source
from mdm_jax.support.errors import require

_LAYER = {
    "attention_norm": "attn_norm",
    "attention/query": "q_proj",
    "attention/key": "k_proj",
    "attention/value": "v_proj",
    "attention/output": "attn_out",
    "feed_forward_norm": "ff_norm",
    "feed_forward/gate": "ff_proj",
    "feed_forward/up": "up_proj",
    "feed_forward/down": "ff_out",
}


def published(config: Mapping[str, Any], names: Collection[str], settings: Mapping[str, Any]) -> Published:
    """What a LLaDA checkpoint is.

    Args:
        config: config.json's content.
        names: of the tensors that are there.
        settings: what the user says instead of config.json.

    Raises:
        InputError: the checkpoint is of another network, or does not say what must be known.

    Source: the checkpoints' ``modeling_llada.py``.
    """
    _check(config)
    require(settings.get("block") is None, "block", settings.get("block"), "left out, as LLaDA sees all positions")
    rows = whole(config, "vocab_size" if config.get("embedding_size") is None else "embedding_size")
    vocab_size, width, heads = (whole(config, key) for key in ("vocab_size", "d_model", "n_heads"))
    require(vocab_size <= rows, "config.json's vocab_size", vocab_size, f"at most its embedding_size = {rows}")
    require(width % heads == 0, "config.json's d_model", width, f"a multiple of its n_heads = {heads}")
    alone = heads if config.get("multi_query_attention") is not True else 1
    biases = bool(config.get("include_qkv_bias"))
    tied = config.get("weight_tying", True) is True and not any(name in names for name in _named("ff_out.weight"))
    module = Decoder(
        vocab_size=rows,
        embedding_rows=rows,
        length=length_of(config, settings, "max_sequence_length"),
        width=width,
        depth=whole(config, "n_layers"),
        hidden=_hidden(config, width),
        heads=heads,
        key_value_heads=alone if config.get("n_kv_heads") is None else whole(config, "n_kv_heads"),
        head_features=width // heads,
        biases=biases,
        tied=tied,
        rotary_base=number(config, "rope_theta"),
        epsilon=number(config, "rms_norm_eps"),
    )
    return Published(
        family="LLaDA",
        module=module,
        vocab_size=rows,
        mask_id=mask_of(config, settings, rows, "mask_token_id"),
        sources=_sources(biases, tied),
        layers=module.depth,
        **told(settings, config, shift=False, banned=tuple(range(vocab_size, rows))),
    )


def _check(config: Mapping[str, Any]) -> None:
    experts = config.get("num_experts")
    require(experts is None, "config.json's num_experts", experts, "absent: mixtures of experts are not supported")
    must_be(config, "block_type", "llama", absent="sequential")
    must_be(config, "activation_type", "silu", absent="swiglu")
    must_be(config, "layer_norm_type", "rms", absent="default")
    must_be(config, "rope", True, absent=False)
    must_be(config, "layer_norm_with_affine", True, absent=True)
    must_be(config, "bias_for_layer_norm", False, None, absent=None)
    must_be(config, "block_group_size", 1, absent=1)
    for key in ("clip_qkv", "rope_scaling"):
        must_be(config, key, None, absent=None)
    for key in ("alibi", "attention_layer_norm", "input_emb_norm", "scale_logits", "include_bias"):
        must_be(config, key, False, absent=False)
    must_be(config, "include_qkv_bias", True, False, None, absent=None)


def _hidden(config: Mapping[str, Any], width: int) -> int:
    return (
        whole(config, "mlp_ratio") * width
        if config.get("mlp_hidden_size") is None
        else whole(config, "mlp_hidden_size")
    )


def _named(rest: str) -> tuple[str, ...]:
    return f"model.transformer.{rest}", f"transformer.{rest}"


def _sources(biases: bool, tied: bool) -> dict[str, Source]:
    sources = {"embedding/weight": Source(_named("wte.weight")), "norm/weight": Source(_named("ln_f.weight"))}
    if not tied:
        sources["head/weight"] = Source(_named("ff_out.weight"))
    for ours, theirs in _LAYER.items():
        sources[f"layers/{ours}/weight"] = Source(_named(f"blocks.{{i}}.{theirs}.weight"))
        if biases and ours in ("attention/query", "attention/key", "attention/value"):
            sources[f"layers/{ours}/bias"] = Source(_named(f"blocks.{{i}}.{theirs}.bias"))
    return sources
