"""BERT (arXiv 1810.04805) and its like, such as AntiBERTy: ``transformers``' ``BertForMaskedLM``."""

from collections.abc import Collection, Mapping
from typing import Any

from mdm_jax.models.pretrained.encoder import ACTIVATIONS, Encoder
from mdm_jax.models.pretrained.families.configurations import must_be, number, whole
from mdm_jax.models.pretrained.families.masked_language import (
    IGNORED,
    bert_embeddings,
    bert_layers,
    check_encoder,
    head,
    is_tied,
    prefix_of,
)
from mdm_jax.models.pretrained.families.special_ids import specials_of
from mdm_jax.models.pretrained.published import Published

_DEFAULTS = {"hidden_act": "gelu", "layer_norm_eps": 1e-12, "type_vocab_size": 2}
_HEAD = "cls.predictions"


def published(config: Mapping[str, Any], names: Collection[str], settings: Mapping[str, Any]) -> Published:
    """What a checkpoint of BERT is.

    Args:
        config: config.json's content. It does not say which id is the mask's.
        names: of the tensors that are there. A head's matrix of its own counts, though the configuration ties it.
        settings: what the user says; "vocabulary" is the id of each token.

    Raises:
        InputError: a configuration that is of another network, or nothing that says which id is the mask's.

    Example:
        >>> from mdm_jax.models.pretrained.families import bert
        >>> sizes = {"vocab_size": 25, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
        >>> config = {**sizes, "intermediate_size": 32, "max_position_embeddings": 64}
        >>> told = bert.published(config, ["bert.embeddings.word_embeddings.weight"], {"mask_id": 4})
        >>> told.module.length, told.sources["layers/attention_norm/bias"].names[1]
        (64, 'bert.encoder.layer.{i}.attention.output.LayerNorm.beta')
    """
    config = {**_DEFAULTS, **config}
    check_encoder(config, settings)
    must_be(config, "hidden_act", *ACTIVATIONS, absent="gelu")
    prefix = prefix_of(names, "embeddings.word_embeddings.weight")
    above = prefix.removesuffix("bert.")
    rows, own = whole(config, "vocab_size"), f"{above}{_HEAD}.decoder.weight"
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
        tied=tied,
    )
    biases = (f"{above}{_HEAD}.decoder.bias", f"{above}{_HEAD}.bias")
    transform = f"{above}{_HEAD}.transform"
    sources = bert_embeddings(prefix) | bert_layers(prefix, "attention.output.LayerNorm", "output.LayerNorm")
    sources |= head(f"{transform}.dense", f"{transform}.LayerNorm", biases, None if tied else own)
    return Published(
        family="BERT",
        module=module,
        vocab_size=rows,
        sources=sources,
        layers=module.depth,
        ignored=(IGNORED, r"(.*\.)?cls\.(?!predictions\.).*", r"(.*\.)?cls\.predictions\.bias"),
        **specials_of(config, settings, rows),
    )
