"""Dream, DiffuCoder, A2D, SDAR, Fast-dLLM v2 and others that keep the names of Llama, Qwen2 or Qwen3.

What config.json cannot say is asked for. Dream and DiffuCoder predict token i at position i - 1; Dream-Reasoner has
their ``model_type`` and does not. A2D's folders do not say whether they were trained on the whole sequence, as is taken
for granted, or by blocks (``block=``); SDAR's go by blocks, and some do not say how long. Fast-dLLM v2 goes by blocks
and is shifted. A plain Llama or Qwen is a left-to-right model unless the user says otherwise.
"""

from collections.abc import Collection, Mapping
from typing import Any

from mdm_jax.models.pretrained.by_blocks import in_blocks
from mdm_jax.models.pretrained.decoder import Decoder
from mdm_jax.models.pretrained.families.configurations import length_of, mask_of, must_be, number, told, whole
from mdm_jax.models.pretrained.families.rotary_scaling import rotary_of
from mdm_jax.models.pretrained.published import Published, Source
from mdm_jax.support.errors import InputError, require, require_whole

FAMILIES = {
    "dream": ("Dream", "qwen2"),
    "a2d-llama": ("A2D", "llama"),
    "a2d-qwen2": ("A2D", "qwen2"),
    "a2d-qwen3": ("A2D", "qwen3"),
    "sdar": ("SDAR", "qwen3"),
    "fast_dllm_qwen": ("Fast-dLLM v2", "qwen2"),
    "llama": ("Llama", "llama"),
    "qwen2": ("Qwen2", "qwen2"),
    "qwen3": ("Qwen3", "qwen3"),
}
"""What a ``model_type``, in small letters, is called, and whose network it is."""
_BY_BLOCKS = ("SDAR", "Fast-dLLM v2")
_MASK = ("<|mask|>", "|<MASK>|")  # dllm's name of the mask, and Fast-dLLM's
_OWN_MASKS = {"Fast-dLLM v2": 151665}  # what a family's code takes where nothing says it
_DREAM_MASK = 151666  # Dream's and DiffuCoder's; Dream-Reasoner, which is not shifted, has 151669
_LAYER = {
    "attention_norm": "input_layernorm",
    "attention/query": "self_attn.q_proj",
    "attention/key": "self_attn.k_proj",
    "attention/value": "self_attn.v_proj",
    "attention/output": "self_attn.o_proj",
    "feed_forward_norm": "post_attention_layernorm",
    "feed_forward/gate": "mlp.gate_proj",
    "feed_forward/up": "mlp.up_proj",
    "feed_forward/down": "mlp.down_proj",
}


def published(config: Mapping[str, Any], names: Collection[str], settings: Mapping[str, Any]) -> Published:
    """What a checkpoint of one of :data:`FAMILIES` is.

    Args:
        config: config.json's content.
        names: of the tensors that are there.
        settings: what the user says instead of config.json.

    Raises:
        InputError: the checkpoint is of another network, or does not say what must be known.

    Source: ``modeling_dream.py`` of Dream's checkpoints; dllm's ``pipelines/a2d``; ``modeling.py`` of Fast-dLLM v2's.
    """
    model_type = str(config.get("model_type")).lower()
    require(model_type in FAMILIES, "config.json's model_type", model_type, f"one of {', '.join(FAMILIES)}")
    family, kind = FAMILIES[model_type]
    _check(config, kind)
    rows, width, heads = (whole(config, key) for key in ("vocab_size", "hidden_size", "num_attention_heads"))
    masks = [token for token in map((settings.get("vocabulary") or {}).get, _MASK) if token is not None]
    masks.append(_OWN_MASKS.get(family))
    mask_id = mask_of(config, settings, rows, "mask_token_id", otherwise=masks[0])
    if config.get("head_dim") is None:
        require(width % heads == 0, "config.json's hidden_size", width, f"a multiple of num_attention_heads = {heads}")
    # A head of its own counts, even where config.json ties it: A2D's folders have one.
    tied = config.get("tie_word_embeddings") is True and "lm_head.weight" not in names
    features = width // heads if config.get("head_dim") is None else whole(config, "head_dim")
    module = Decoder(
        vocab_size=rows,
        embedding_rows=rows,
        length=length_of(config, settings, "max_position_embeddings"),
        width=width,
        depth=whole(config, "num_hidden_layers"),
        hidden=whole(config, "intermediate_size"),
        heads=heads,
        key_value_heads=heads if config.get("num_key_value_heads") is None else whole(config, "num_key_value_heads"),
        head_features=features,
        biases=kind == "qwen2",
        head_norms=kind == "qwen3",
        tied=tied,
        epsilon=number(config, "rms_norm_eps"),
        **rotary_of(config, features),
    )
    more = told(settings, config, shift=_shift(family, config, settings))
    block = _block(family, config, settings, module.length)
    return Published(
        family=family,
        module=module if block == module.length else in_blocks(module, block, mask_id, more["shift"]),
        vocab_size=rows,
        mask_id=mask_id,
        sources=_sources(module),
        layers=module.depth,
        ignored=(r"model\.(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq",),
        **more,
    )


def _shift(family: str, config: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Whether a family is shifted where the user does not say so."""
    mask = config.get("mask_token_id")
    if settings.get("shift") is None and family == "Dream" and mask != _DREAM_MASK:
        raise InputError(
            "shift must be given, as Dream's own checkpoints are shifted and others of its model_type are not, and "
            f"mask_token_id is not Dream's {_DREAM_MASK} but {mask}; got None."
        )
    if settings.get("shift") is None and family in ("Llama", "Qwen2", "Qwen3"):
        raise InputError(
            f"shift must be given for a plain {family}, which predicts from left to right unless it was trained as a "
            "masked diffusion model; got None."
        )
    return family in ("Dream", "Fast-dLLM v2")


def _check(config: Mapping[str, Any], kind: str) -> None:
    must_be(config, "hidden_act", "silu", absent="silu")
    must_be(config, "use_sliding_window", False, None, absent=False)
    must_be(config, "use_mrope", False, None, absent=False)
    must_be(config, "mlp_bias", False, None, absent=False)
    if kind != "qwen2":  # Qwen2 has biases on queries, keys and values, and no such key
        must_be(config, "attention_bias", False, None, absent=False)
    layers = config.get("layer_types") or []
    good = all(one == "full_attention" for one in layers)
    require(good, "config.json's layer_types", layers, "'full_attention' in every layer")


def _block(family: str, config: Mapping[str, Any], settings: Mapping[str, Any], length: int) -> int:
    """Positions of a block, each of which sees itself and the finished ones before it; the length: one block."""
    said, found = settings.get("block"), config.get("block_size", config.get("bd_size"))
    if said is None and found is not None and family not in _BY_BLOCKS:
        raise InputError(
            f"block must be given, as config.json has blocks of {found} and says not whether attention goes by them; "
            "got None."
        )
    block = said if said is not None else found
    if block is None and family in _BY_BLOCKS:
        raise InputError(
            f"block must be given, as {family} goes by blocks and config.json has no 'block_size' that says of what "
            "length; got None."
        )
    return length if block is None else min(require_whole("block", block, 1), length)


def _sources(module: Decoder) -> dict[str, Source]:
    sources = {
        "embedding/weight": Source(("model.embed_tokens.weight",)),
        "norm/weight": Source(("model.norm.weight",)),
    }
    if not module.tied:
        sources["head/weight"] = Source(("lm_head.weight",))
    for ours, theirs in _LAYER.items():
        sources[f"layers/{ours}/weight"] = Source((f"model.layers.{{i}}.{theirs}.weight",))
        if module.biases and ours in ("attention/query", "attention/key", "attention/value"):
            sources[f"layers/{ours}/bias"] = Source((f"model.layers.{{i}}.{theirs}.bias",))
    if module.head_norms:
        for part in ("query", "key"):
            theirs = f"model.layers.{{i}}.self_attn.{part[0]}_norm.weight"
            sources[f"layers/attention/{part}_norm/weight"] = Source((theirs,))
    return sources
