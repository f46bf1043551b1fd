"""ALBERT (arXiv 1909.11942), such as rxnmapper's: ``transformers``' ``AlbertForMaskedLM``. All its layers are one."""

from collections.abc import Collection, Mapping
from typing import Any

from mdm_jax.models.pretrained.encoder import ACTIVATIONS, Encoder
from mdm_jax.models.pretrained.families.configurations import must_be, number, whole
from mdm_jax.models.pretrained.families.masked_language import (
    IGNORED,
    bert_embeddings,
    check_encoder,
    head,
    is_tied,
    linear,
    norm,
    prefix_of,
)
from mdm_jax.models.pretrained.families.special_ids import specials_of
from mdm_jax.models.pretrained.published import Published

_DEFAULTS = {"hidden_act": "gelu_new", "layer_norm_eps": 1e-12, "type_vocab_size": 2}


def published(config: Mapping[str, Any], names: Collection[str], settings: Mapping[str, Any]) -> Published:
    """What a checkpoint of ALBERT is.

    Args:
        config: config.json's content. It does not say which id is the mask's, and of the ids that it names none is
            taken: rxnmapper's are those of another model.
        names: of the tensors that are there. A head's matrix of its own counts, though the configuration ties it.
        settings: what the user says; "vocabulary" is the id of each token.

    Raises:
        InputError: a configuration that is of another network, or nothing that says which id is the mask's.

    Example:
        >>> from mdm_jax.models.pretrained.families import albert
        >>> sizes = {"vocab_size": 25, "embedding_size": 8, "hidden_size": 16, "num_hidden_layers": 12}
        >>> config = {**sizes, "num_attention_heads": 4, "intermediate_size": 32, "max_position_embeddings": 64}
        >>> told = albert.published(config, ["albert.embeddings.word_embeddings.weight"], {"mask_id": 4})
        >>> told.sources["layers/up/weight"].names
        ('albert.encoder.albert_layer_groups.0.albert_layers.0.ffn.weight',)
    """
    config = {**_DEFAULTS, **config}
    check_encoder(config, settings)
    must_be(config, "hidden_act", *ACTIVATIONS, absent="gelu_new")
    must_be(config, "num_hidden_groups", 1, absent=1)
    must_be(config, "inner_group_num", 1, absent=1)
    prefix = prefix_of(names, "embeddings.word_embeddings.weight")
    above = prefix.removesuffix("albert.")
    rows, own = whole(config, "vocab_size"), f"{above}predictions.decoder.weight"
    tied = is_tied(config, names, own)
    module = Encoder(
        vocab_size=rows,
        length=whole(config, "max_position_embeddings"),
        width=whole(config, "hidden_size"),
        depth=whole(config, "num_hidden_layers"),
        heads=whole(config, "num_attention_heads"),
        inner=whole(config, "intermediate_size"),
        epsilon=number(config, "layer_norm_eps"),
        activation=config["hidden_act"],
        token_types=whole(config, "type_vocab_size"),
        embedding_width=whole(config, "embedding_size"),
        shared=True,
        tied=tied,
    )
    biases = (f"{above}predictions.decoder.bias", f"{above}predictions.bias")
    dense, after = f"{above}predictions.dense", f"{above}predictions.LayerNorm"
    sources = bert_embeddings(prefix) | linear("embedding_map", f"{prefix}encoder.embedding_hidden_mapping_in")
    sources |= _layer(f"{prefix}encoder.albert_layer_groups.0.albert_layers.0")
    return Published(
        family="ALBERT",
        module=module,
        vocab_size=rows,
        sources=sources | head(dense, after, biases, None if tied else own),
        layers=1,
        ignored=(IGNORED, r"(.*\.)?(sop_classifier\..*|predictions\.bias)"),
        **specials_of({}, settings, rows),
    )


def _layer(theirs: str) -> dict[str, Any]:
    """Sources of the one layer."""
    sources: dict[str, Any] = {}
    for ours, name in (("query", "query"), ("key", "key"), ("value", "value"), ("output", "dense")):
        sources |= linear(f"layers/attention/{ours}", f"{theirs}.attention.{name}")
    return (
        sources
        | norm("layers/attention_norm", f"{theirs}.attention.LayerNorm")
        | linear("layers/up", f"{theirs}.ffn")
        | linear("layers/down", f"{theirs}.ffn_output")
        | norm("layers/feed_forward_norm", f"{theirs}.full_layer_layer_norm")
    )
