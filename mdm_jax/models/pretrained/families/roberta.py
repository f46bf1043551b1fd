"""RoBERTa (arXiv 1907.11692), XLM-R, CamemBERT: ``transformers``' ``RobertaForMaskedLM``, or as fairseq saved it.

Positions are counted from behind padding's id, and padding is not counted. fairseq's files (those of Sapiens) have the
arguments of training instead of a configuration, and the size of the vocabulary in dict.txt alone.
"""

from collections.abc import Collection, Mapping
from typing import Any

from mdm_jax.models.pretrained.encoder import Encoder
from mdm_jax.models.pretrained.families.configurations import must_be, number, whole
from mdm_jax.models.pretrained.families.masked_language import (
    IGNORED,
    bert_embeddings,
    bert_layers,
    check_encoder,
    fairseq_layers,
    head,
    is_tied,
    norm,
    prefix_of,
)
from mdm_jax.models.pretrained.families.special_ids import frame_of, specials_of
from mdm_jax.models.pretrained.published import Published, Source
from mdm_jax.support.errors import require

_DEFAULTS = {"layer_norm_eps": 1e-12, "type_vocab_size": 2, "pad_token_id": 1}
_GELU = ("gelu", "gelu_python")  # the head's activation is always this one, and so are the layers'
_FAIRSEQ_PADDING = 1
_FAIRSEQ_FRAME = (0, 2)


def published(config: Mapping[str, Any], names: Collection[str], settings: Mapping[str, Any]) -> Published:
    """What a checkpoint of RoBERTa is.

    Args:
        config: config.json's content, or fairseq's arguments of training. Neither says which id is the mask's.
        names: of the tensors that are there. A head's matrix of its own counts, though the configuration ties it.
        settings: what the user says; "vocabulary" is the id of each token, which fairseq's files need.

    Raises:
        InputError: a configuration that is of another network, or nothing that says which id is the mask's.

    Example:
        >>> from mdm_jax.models.pretrained.families import roberta
        >>> sizes = {"vocab_size": 25, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
        >>> config = {**sizes, "intermediate_size": 32, "max_position_embeddings": 66, "bos_token_id": 0}
        >>> names = ["roberta.embeddings.word_embeddings.weight"]
        >>> told = roberta.published({**config, "eos_token_id": 2}, names, {"mask_id": 24})
        >>> told.module.length, told.prefix, told.suffix
        (64, (0,), (2,))
    """
    if any(name.endswith("embed_tokens.weight") for name in names):
        return _of_fairseq(config, names, settings)
    config = {**_DEFAULTS, **config}
    check_encoder(config, settings)
    must_be(config, "hidden_act", *_GELU, absent="gelu")
    rows, pad_id = whole(config, "vocab_size"), whole(config, "pad_token_id", 0)
    prefix = prefix_of(names, "embeddings.word_embeddings.weight")
    above = prefix.removesuffix("roberta.")
    own = f"{above}lm_head.decoder.weight"
    tied = is_tied(config, names, own)
    module = Encoder(
        vocab_size=rows,
        length=whole(config, "max_position_embeddings", pad_id + 2) - pad_id - 1,
        width=whole(config, "hidden_size"),
        depth=whole(config, "num_hidden_layers"),
        heads=whole(config, "num_attention_heads"),
        inner=whole(config, "intermediate_size"),
        epsilon=number(config, "layer_norm_eps"),
        positions="after padding",
        pad_id=pad_id,
        token_types=whole(config, "type_vocab_size"),
        tied=tied,
    )
    biases = (f"{above}lm_head.decoder.bias", f"{above}lm_head.bias")
    sources = bert_embeddings(prefix) | bert_layers(prefix, "attention.output.LayerNorm", "output.LayerNorm")
    sources |= head(f"{above}lm_head.dense", f"{above}lm_head.layer_norm", biases, None if tied else own)
    return Published(
        family="RoBERTa",
        module=module,
        vocab_size=rows,
        sources=sources,
        layers=module.depth,
        ignored=(IGNORED, r"(.*\.)?lm_head\.bias"),
        **specials_of(config, settings, rows, frame_of(config, "bos_token_id", "eos_token_id")),
    )


def _of_fairseq(config: Mapping[str, Any], names: Collection[str], settings: Mapping[str, Any]) -> Published:
    """RoBERTa under fairseq's names; norms have torch's epsilon."""
    prefix = prefix_of(names, "embed_tokens.weight")
    above = prefix.removesuffix("sentence_encoder.")
    must_be(config, "activation_fn", "gelu", absent="gelu")
    length, vocabulary = settings.get("length"), settings.get("vocabulary")
    require(length is None, "length", length, "left out, as the checkpoint has a table of positions")
    require(vocabulary is not None, "vocabulary", vocabulary, "there, as dict.txt beside the weights")
    assert vocabulary is not None
    rows, own = len(vocabulary), f"{above}lm_head.weight"
    tied = is_tied({}, names, own)
    module = Encoder(
        vocab_size=rows,
        length=whole(config, "max_positions"),
        width=whole(config, "encoder_embed_dim"),
        depth=whole(config, "encoder_layers"),
        heads=whole(config, "encoder_attention_heads"),
        inner=whole(config, "encoder_ffn_embed_dim"),
        epsilon=1e-5,
        positions="after padding",
        pad_id=_FAIRSEQ_PADDING,
        token_types=0,
        tied=tied,
    )
    tables = {"embedding": "embed_tokens", "position_embedding": "embed_positions"}
    sources = {f"{ours}/weight": Source((f"{prefix}{theirs}.weight",)) for ours, theirs in tables.items()}
    sources |= norm("embedding_norm", f"{prefix}emb_layer_norm", f"{prefix}layernorm_embedding")
    sources |= fairseq_layers(prefix)
    lm_head = f"{above}lm_head"
    sources |= head(f"{lm_head}.dense", f"{lm_head}.layer_norm", (f"{lm_head}.bias",), None if tied else own)
    return Published(
        family="RoBERTa",
        module=module,
        vocab_size=rows,
        sources=sources,
        layers=module.depth,
        ignored=(r"(.*\.)?(classification_heads\..*|version|_float_tensor)",),
        **specials_of({}, settings, rows, _FAIRSEQ_FRAME),
    )
