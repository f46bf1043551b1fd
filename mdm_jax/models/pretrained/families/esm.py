"""ESM-2, ESM-1b and DPLM: ``transformers``' ``EsmForMaskedLM``, or ESM-2 as fair-esm saved it.

DPLM (arXiv 2402.18567) is ESM-2's network trained as a masked diffusion model, under the same names; the architecture
that config.json names tells them apart. ESM-2 itself was trained with 15% of its tokens chosen, so that it is far from
what it knows where nearly all is masked.
"""

from collections.abc import Collection, Mapping
from typing import Any

from mdm_jax.models.pretrained.encoder import Encoder
from mdm_jax.models.pretrained.families.configurations import length_of, must_be, number, whole
from mdm_jax.models.pretrained.families.masked_language import (
    IGNORED,
    bert_layers,
    check_encoder,
    fairseq_layers,
    head,
    is_tied,
    norm,
    prefix_of,
)
from mdm_jax.models.pretrained.families.special_ids import specials_of
from mdm_jax.models.pretrained.published import Published, Source
from mdm_jax.support.errors import InputError

ALPHABET = ("<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO.-", "<null_1>", "<mask>")
"""The vocabulary of every ESM-2 and ESM-1b, and of DPLM."""
_NEVER = {"X", ".", "-"}  # any residue, and two signs of alignments
_FAIR_LENGTH = 1026


def published(config: Mapping[str, Any], names: Collection[str], settings: Mapping[str, Any]) -> Published:
    """What a checkpoint of ESM-2, ESM-1b or DPLM is.

    Args:
        config: config.json's content, or fair-esm's settings of the model ("encoder_layers" and so on).
        names: of the tensors that are there. A head's matrix of its own counts, though the configuration ties it.
        settings: what the user says; "vocabulary" is the id of each token, :data:`ALPHABET`'s where there is none.

    Raises:
        InputError: a configuration that is of another network.

    Example:
        >>> from mdm_jax.models.pretrained.families import esm
        >>> config = {"encoder_layers": 6, "encoder_embed_dim": 320, "encoder_attention_heads": 20}
        >>> told = esm.published({**config, "token_dropout": True}, ["embed_tokens.weight"], {})
        >>> told.mask_id, told.prefix, told.suffix, told.module.dropped_id
        (32, (0,), (2,), 32)
    """
    if any(name.endswith("embed_tokens.weight") for name in names):
        return _of_fair_esm(config, names, settings)
    if "DPLM2" in str(config.get("architectures")):
        raise InputError("the checkpoint is of DPLM-2, which turns residues and structure apart: no network here does.")
    must_be(config, "position_embedding_type", "rotary", "absolute", absent="absolute")
    must_be(config, "is_folding_model", False, None, absent=False)
    must_be(config, "emb_layer_norm_before", True, False, None, absent=None)
    rotary = config.get("position_embedding_type") == "rotary"
    check_encoder({**config, "position_embedding_type": "absolute"}, {} if rotary else settings)
    rows, pad_id = whole(config, "vocab_size"), whole(config, "pad_token_id", 0)
    prefix = prefix_of(names, "embeddings.word_embeddings.weight")
    above = prefix.removesuffix("esm.")
    own = f"{above}lm_head.decoder.weight"
    tied = is_tied(config, names, own)
    specials = _specials(config, settings, rows)
    module = Encoder(
        vocab_size=rows,
        length=length_of(config, settings, "max_position_embeddings") - (0 if rotary else pad_id + 1),
        width=whole(config, "hidden_size"),
        depth=whole(config, "num_hidden_layers"),
        heads=whole(config, "num_attention_heads"),
        inner=whole(config, "intermediate_size"),
        epsilon=number(config, "layer_norm_eps"),
        positions="rotary" if rotary else "after padding",
        pad_id=pad_id,
        rotary_base=number({"rope_theta": 10000.0, **config}, "rope_theta"),
        token_types=0,
        normed_embedding=config.get("emb_layer_norm_before") is True,
        norm_first=True,
        dropped_id=_dropped(config, specials["mask_id"]),
        tied=tied,
    )
    sources = {"embedding/weight": Source((f"{prefix}embeddings.word_embeddings.weight",))}
    if not rotary:
        sources["position_embedding/weight"] = Source((f"{prefix}embeddings.position_embeddings.weight",))
    if module.normed_embedding:
        sources |= norm("embedding_norm", f"{prefix}embeddings.layer_norm")
    sources |= bert_layers(prefix, "attention.LayerNorm", "LayerNorm")
    sources |= norm("norm", f"{prefix}encoder.emb_layer_norm_after")
    lm_head = f"{above}lm_head"
    sources |= head(f"{lm_head}.dense", f"{lm_head}.layer_norm", (f"{lm_head}.bias",), None if tied else own)
    of_dplm = "DPLM" in str(config.get("architectures"))
    unused = r"(.*\.)?(contact_head\..*|rotary_embeddings\.inv_freq|lm_head\.decoder\.bias)"
    return Published(
        family="DPLM" if of_dplm else "ESM",
        module=module,
        vocab_size=rows,
        sources=sources,
        layers=module.depth,
        # Checkpoints of rotary models have a table of positions too, which nothing reads.
        ignored=(IGNORED, unused, *((r"(.*\.)?embeddings\.position_embeddings\.weight",) if rotary else ())),
        **specials,
    )


def _of_fair_esm(config: Mapping[str, Any], names: Collection[str], settings: Mapping[str, Any]) -> Published:
    """ESM-2 under fair-esm's names: what it does not say is as in its code (four times the width, torch's epsilon)."""
    prefix = prefix_of(names, "embed_tokens.weight")
    above = prefix.removesuffix("sentence_encoder.")
    width, rows, own = whole(config, "encoder_embed_dim"), len(ALPHABET), f"{above}lm_head.weight"
    tied = is_tied({}, names, own)
    specials = _specials({}, settings, rows)
    module = Encoder(
        vocab_size=rows,
        length=length_of({"length": _FAIR_LENGTH}, settings, "length"),
        width=width,
        depth=whole(config, "encoder_layers"),
        heads=whole(config, "encoder_attention_heads"),
        inner=4 * width,
        epsilon=1e-5,
        positions="rotary",
        token_types=0,
        normed_embedding=False,
        norm_first=True,
        dropped_id=_dropped(config, specials["mask_id"]),
        tied=tied,
    )
    lm_head = f"{above}lm_head"
    sources = {"embedding/weight": Source((f"{prefix}embed_tokens.weight",))} | fairseq_layers(prefix)
    sources |= norm("norm", f"{prefix}emb_layer_norm_after")
    sources |= head(f"{lm_head}.dense", f"{lm_head}.layer_norm", (f"{lm_head}.bias",), None if tied else own)
    return Published(
        family="ESM",
        module=module,
        vocab_size=rows,
        sources=sources,
        layers=module.depth,
        ignored=(r"(.*\.)?(contact_head\..*|rot_emb\.inv_freq)",),
        **specials,
    )


def _specials(config: Mapping[str, Any], settings: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """Special ids, of the usual alphabet where nothing else is said and there are as many rows."""
    usual = {token: i for i, token in enumerate(ALPHABET)} if rows == len(ALPHABET) else None
    vocabulary = settings.get("vocabulary") or usual
    return specials_of(config, {**settings, "vocabulary": vocabulary}, rows, never=_NEVER)


def _dropped(config: Mapping[str, Any], mask_id: int) -> int | None:
    """The id whose tokens are dropped out, where any are: the one that config.json calls the mask's."""
    must_be(config, "token_dropout", True, False, None, absent=False)
    if not config.get("token_dropout"):
        return None
    return mask_id if config.get("mask_token_id") is None else whole(config, "mask_token_id", 0)
