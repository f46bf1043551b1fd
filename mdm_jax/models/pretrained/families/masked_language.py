"""What the families of masked language models have in common: what they refuse, and what their tensors are called."""

from collections.abc import Collection, Mapping
from typing import Any

from mdm_jax.models.pretrained.families.configurations import must_be
from mdm_jax.models.pretrained.published import Source
from mdm_jax.support.errors import InputError, require

IGNORED = r"(.*\.)?(embeddings\.(position_ids|token_type_ids)|pooler\..*)"
"""Names of tensors that no masked language model needs: numbers from 0 on, and what classifiers of whole rows use."""


def check_encoder(config: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Refuse what is no bidirectional encoder with a table of positions.

    Raises:
        InputError: it is none, or the user asks for another length than that of the table.

    Example:
        >>> from mdm_jax.models.pretrained.families.masked_language import check_encoder
        >>> check_encoder({"position_embedding_type": "relative_key"}, {})
        Traceback (most recent call last):
        mdm_jax.support.errors.InputError: config.json's position_embedding_type must be 'absolute' or None for ...
    """
    must_be(config, "position_embedding_type", "absolute", None, absent="absolute")
    must_be(config, "is_decoder", False, None, absent=False)
    must_be(config, "add_cross_attention", False, None, absent=False)
    length = settings.get("length")
    require(length is None, "length", length, "left out, as the checkpoint has a table of positions")


def is_tied(config: Mapping[str, Any], names: Collection[str], own: str) -> bool:
    """Whether the embedding is the head's matrix: unless config.json says that it is not, or the head has its own.

    Example:
        >>> from mdm_jax.models.pretrained.families.masked_language import is_tied
        >>> is_tied({}, [], "lm_head.weight"), is_tied({}, ["lm_head.weight"], "lm_head.weight")
        (True, False)
    """
    must_be(config, "tie_word_embeddings", True, False, absent=True)
    return config.get("tie_word_embeddings", True) and own not in names


def prefix_of(names: Collection[str], anchor: str) -> str:
    """What stands before the names of a network's tensors ("bert."), found by one that every such network has.

    Nothing, of no names: then the weights are not there.

    Raises:
        InputError: no name, or more than one, ends like that.

    Example:
        >>> from mdm_jax.models.pretrained.families.masked_language import prefix_of
        >>> prefix_of(["bert.embeddings.word_embeddings.weight"], "embeddings.word_embeddings.weight")
        'bert.'
    """
    found = sorted(name for name in names if name == anchor or name.endswith(f".{anchor}"))
    if not names:
        return ""
    if len(found) != 1:
        raise InputError(f"the checkpoint must have one tensor whose name ends in {anchor!r}; it has {len(found)}.")
    return found[0].removesuffix(anchor)


def linear(ours: str, theirs: str) -> dict[str, Source]:
    """Sources of a linear map with a bias.

    Example:
        >>> from mdm_jax.models.pretrained.families.masked_language import linear
        >>> linear("transform", "lm_head.dense")["transform/bias"]
        Source(names=('lm_head.dense.bias',), ranges=())
    """
    return {f"{ours}/{part}": Source((f"{theirs}.{part}",)) for part in ("weight", "bias")}


def norm(ours: str, *theirs: str) -> dict[str, Source]:
    """Sources of a layer norm, whose parameters have had two names each, and itself perhaps several.

    Example:
        >>> from mdm_jax.models.pretrained.families.masked_language import norm
        >>> norm("norm", "LayerNorm")["norm/weight"].names
        ('LayerNorm.weight', 'LayerNorm.gamma')
    """
    return {
        f"{ours}/{part}": Source(tuple(f"{their}.{name}" for their in theirs for name in (part, older)))
        for part, older in (("weight", "gamma"), ("bias", "beta"))
    }


def bert_embeddings(prefix: str) -> dict[str, Source]:
    """Sources of the embedding, of positions, of token types and of the norm of their sum, as BERT named them.

    Example:
        >>> from mdm_jax.models.pretrained.families.masked_language import bert_embeddings
        >>> bert_embeddings("bert.")["embedding/weight"].names
        ('bert.embeddings.word_embeddings.weight',)
    """
    tables = {"embedding": "word", "position_embedding": "position", "token_type_embedding": "token_type"}
    sources = {
        f"{ours}/weight": Source((f"{prefix}embeddings.{theirs}_embeddings.weight",)) for ours, theirs in tables.items()
    }
    return sources | norm("embedding_norm", f"{prefix}embeddings.LayerNorm")


def bert_layers(prefix: str, attention_norm: str, feed_forward_norm: str) -> dict[str, Source]:
    """Sources of the layers under the names of BERT and those that came after it.

    Args:
        prefix: before "encoder.layer".
        attention_norm: the name of a layer's first norm, which differs among them.
        feed_forward_norm: of its second.

    Example:
        >>> from mdm_jax.models.pretrained.families.masked_language import bert_layers
        >>> bert_layers("bert.", "attention.output.LayerNorm", "output.LayerNorm")["layers/up/bias"].names
        ('bert.encoder.layer.{i}.intermediate.dense.bias',)
    """
    layer = f"{prefix}encoder.layer.{{i}}"
    sources: dict[str, Source] = {}
    for part in ("query", "key", "value"):
        sources |= linear(f"layers/attention/{part}", f"{layer}.attention.self.{part}")
    return (
        sources
        | linear("layers/attention/output", f"{layer}.attention.output.dense")
        | norm("layers/attention_norm", f"{layer}.{attention_norm}")
        | linear("layers/up", f"{layer}.intermediate.dense")
        | linear("layers/down", f"{layer}.output.dense")
        | norm("layers/feed_forward_norm", f"{layer}.{feed_forward_norm}")
    )


def fairseq_layers(prefix: str) -> dict[str, Source]:
    """Sources of the layers under fairseq's names, which fair-esm has too.

    Example:
        >>> from mdm_jax.models.pretrained.families.masked_language import fairseq_layers
        >>> fairseq_layers("")["layers/attention/query/weight"].names
        ('layers.{i}.self_attn.q_proj.weight',)
    """
    layer = f"{prefix}layers.{{i}}"
    sources: dict[str, Source] = {}
    for ours, theirs in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"), ("output", "out_proj")):
        sources |= linear(f"layers/attention/{ours}", f"{layer}.self_attn.{theirs}")
    return (
        sources
        | norm("layers/attention_norm", f"{layer}.self_attn_layer_norm")
        | linear("layers/up", f"{layer}.fc1")
        | linear("layers/down", f"{layer}.fc2")
        | norm("layers/feed_forward_norm", f"{layer}.final_layer_norm")
    )


def head(dense: str, norm_name: str, biases: tuple[str, ...], own: str | None) -> dict[str, Source]:
    """Sources of the head of a masked language model.

    Args:
        dense: the map before it.
        norm_name: the norm of that.
        biases: what the bias of the logits is called; several are one and the same tensor.
        own: the name of its matrix, where that is not the embedding's.

    Example:
        >>> from mdm_jax.models.pretrained.families.masked_language import head
        >>> sorted(head("lm_head.dense", "lm_head.layer_norm", ("lm_head.bias",), None))
        ['head_bias', 'transform/bias', 'transform/weight', 'transform_norm/bias', 'transform_norm/weight']
    """
    sources = linear("transform", dense) | norm("transform_norm", norm_name) | {"head_bias": Source(biases)}
    return sources if own is None else {**sources, "head/weight": Source((own,))}
