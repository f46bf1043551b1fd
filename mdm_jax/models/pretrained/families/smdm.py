"""SMDM: a Llama under Lit-GPT's names. The mask is one row more of the embedding and no row of the head.

SMDM publishes weights without a configuration: config.json is then to be written, with the keys of Lit-GPT's ``Config``
(``n_layer``, ``n_head``, ``n_embd``, ``n_query_groups``, ``intermediate_size``, ``vocab_size``, ``block_size``...).
Its own code rounds the cosines and sines of rotary positions to bfloat16; here they are float32.
"""

from collections.abc import Collection, Mapping
from typing import Any

from mdm_jax.models.pretrained.decoder import Decoder
from mdm_jax.models.pretrained.families.configurations import length_of, mask_of, must_be, number, told, whole
from mdm_jax.models.pretrained.published import Published, Source
from mdm_jax.support.errors import require

_LAYER = {
    "attention_norm": "norm_1",
    "attention/output": "attn.proj",
    "feed_forward_norm": "norm_2",
    "feed_forward/gate": "mlp.swiglu.w1",
    "feed_forward/up": "mlp.swiglu.w2",
    "feed_forward/down": "mlp.swiglu.w3",
}


def published(config: Mapping[str, Any], names: Collection[str], settings: Mapping[str, Any]) -> Published:
    """What an SMDM checkpoint is.

    Args:
        config: config.json's content, as Lit-GPT's ``Config`` has it.
        names: of the tensors that are there.
        settings: what the user says instead of config.json.

    Raises:
        InputError: the checkpoint is of another network, or does not say what must be known.

    Source: SMDM's ``lit_gpt/diffmodel.py``.
    """
    del names  # all of them are known from config.json
    for key, right, absent in (("rotary_percentage", (1.0, 1), 0.25), ("condense_ratio", (1,), 1)):
        must_be(config, key, *right, absent=absent)
    for key, absent in (("parallel_residual", True), ("shared_attention_norm", False), ("bias", True)):
        must_be(config, key, False, absent=absent)
    must_be(config, "_norm_class", "FusedRMSNorm", "RMSNorm", absent="LayerNorm")
    must_be(config, "_mlp_class", "LLaMAMLP", absent="GptNeoxMLP")
    require(settings.get("block") is None, "block", settings.get("block"), "left out, as SMDM sees all positions")
    rows, width, heads = _rows(config), whole(config, "n_embd"), whole(config, "n_head")
    groups = heads if config.get("n_query_groups") is None else whole(config, "n_query_groups")
    require(width % heads == 0, "config.json's n_embd", width, f"a multiple of its n_head = {heads}")
    require(heads % groups == 0, "config.json's n_query_groups", groups, f"a divisor of its n_head = {heads}")
    module = Decoder(
        vocab_size=rows,
        embedding_rows=rows + 1,
        length=length_of(config, settings, "block_size"),
        width=width,
        depth=whole(config, "n_layer"),
        hidden=whole(config, "intermediate_size"),
        heads=heads,
        key_value_heads=groups,
        head_features=width // heads,
        rotary_base=10000.0,
        epsilon=number(config, "norm_eps"),
    )
    return Published(
        family="SMDM",
        module=module,
        vocab_size=rows,
        mask_id=mask_of(config, settings, rows + 1, otherwise=rows),
        sources=_sources(module),
        layers=module.depth,
        **told(settings, config, shift=False, banned=tuple(range(whole(config, "vocab_size"), rows))),
    )


def _rows(config: Mapping[str, Any]) -> int:
    """Of the head: the vocabulary, up to a multiple of what it is padded to."""
    if config.get("padded_vocab_size") is not None:
        return whole(config, "padded_vocab_size", whole(config, "vocab_size"))
    multiple = whole(config, "padding_multiple")
    return -(-whole(config, "vocab_size") // multiple) * multiple


def _sources(module: Decoder) -> dict[str, Source]:
    sources = {
        "embedding/weight": Source(("transformer.wte.weight",)),
        "norm/weight": Source(("transformer.ln_f.weight",)),
        "head/weight": Source(("lm_head.weight",)),
    }
    for ours, theirs in _LAYER.items():
        sources[f"layers/{ours}/weight"] = Source((f"transformer.h.{{i}}.{theirs}.weight",))
    # One matrix holds for each group its queries, then its key, then its value.
    queries = module.heads // module.key_value_heads
    for part, first, end in (("query", 0, queries), ("key", queries, queries + 1), ("value", queries + 1, queries + 2)):
        rows = [group * (queries + 2) for group in range(module.key_value_heads)]
        ranges = tuple(((row + first) * module.head_features, (row + end) * module.head_features) for row in rows)
        sources[f"layers/attention/{part}/weight"] = Source(("transformer.h.{i}.attn.attn.weight",), ranges)
    return sources
