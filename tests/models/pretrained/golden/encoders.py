"""Masked language models of ``transformers``, under the names and settings of what is published."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from models.pretrained.golden.make import Case, filled

SIZES = {
    "vocab_size": 13,
    "hidden_size": 16,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 16,
    "hidden_act": "gelu",
}
TOKENS = [[2, 12, 5, 12, 7, 12, 11, 3], [2, 12, 12, 5, 3, -1, -1, -1]]
MASK = {"mask_id": 12}
FAIR_ESM = {
    "esm.encoder.layer.": "layers.",
    "esm.encoder.": "",
    "attention.self.query": "self_attn.q_proj",
    "attention.self.key": "self_attn.k_proj",
    "attention.self.value": "self_attn.v_proj",
    "attention.output.dense": "self_attn.out_proj",
    "attention.LayerNorm": "self_attn_layer_norm",
    "intermediate.dense": "fc1",
    "output.dense": "fc2",
    "LayerNorm": "final_layer_norm",
    "esm.embeddings.word_embeddings": "embed_tokens",
}
FAIRSEQ = {
    "roberta.encoder.layer.": "decoder.sentence_encoder.layers.",
    "attention.self.query": "self_attn.q_proj",
    "attention.self.key": "self_attn.k_proj",
    "attention.self.value": "self_attn.v_proj",
    "attention.output.dense": "self_attn.out_proj",
    "attention.output.LayerNorm": "self_attn_layer_norm",
    "intermediate.dense": "fc1",
    "output.dense": "fc2",
    "output.LayerNorm": "final_layer_norm",
    "roberta.embeddings.LayerNorm": "decoder.sentence_encoder.emb_layer_norm",
    "roberta.embeddings.word_embeddings": "decoder.sentence_encoder.embed_tokens",
    "roberta.embeddings.position_embeddings": "decoder.sentence_encoder.embed_positions",
    "lm_head": "decoder.lm_head",
}
OLD = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
FAIRSEQ_SIZES = {
    "arch": "roberta_small",
    "encoder_layers": 2,
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 20,
    "encoder_attention_heads": 4,
    "max_positions": 14,
    "activation_fn": "gelu",
}
FAIR_ESM_SIZES = {"encoder_layers": 2, "encoder_embed_dim": 16, "encoder_attention_heads": 4, "token_dropout": True}


def renamed(name: str, pairs: Mapping[str, str]) -> str:
    """The name with what is found of it replaced, the longest first."""
    for ours in sorted(pairs, key=len, reverse=True):
        name = name.replace(ours, pairs[ours])
    return name


def model(kind: str, config: Mapping[str, Any]) -> Any:
    """``transformers``' masked language model of this kind."""
    import transformers

    settings = {name: value for name, value in config.items() if name not in ("model_type", "architectures")}
    made_of = getattr(transformers, f"{kind}Config")(**settings, attn_implementation="eager")
    return getattr(transformers, f"{kind}ForMaskedLM")(made_of).eval()


def logits(network: Any, tokens: np.ndarray) -> np.ndarray:
    """Its logits where absent positions are padding that the attention's mask hides."""
    import torch

    there = torch.from_numpy(tokens >= 0)
    ids = np.where(tokens >= 0, tokens, network.config.pad_token_id or 0)
    with torch.no_grad():
        return network(torch.from_numpy(ids), attention_mask=there.long()).logits.numpy()


def of(kind: str, config: Mapping[str, Any], pairs: Mapping[str, str] | None = None) -> Callable[[np.ndarray], Any]:
    """The reference of a case: ``transformers``' model of this kind, its tensors renamed."""
    return functools.partial(_logits, kind, config, pairs or {})


def _logits(
    kind: str, config: Mapping[str, Any], pairs: Mapping[str, str], tokens: np.ndarray
) -> tuple[dict[str, tuple[int, ...]], np.ndarray]:
    network = model(kind, config)
    shapes = filled(network, lambda name: renamed(name, pairs))
    return shapes, logits(network, tokens)


def _fairseq(config: Mapping[str, Any], tokens: np.ndarray) -> tuple[dict[str, tuple[int, ...]], np.ndarray]:
    """fairseq has no token types."""
    network = model("Roberta", config)
    shapes = filled(network, lambda name: renamed(name, FAIRSEQ))
    network.roberta.embeddings.token_type_embeddings.weight.data.zero_()
    return {name: shape for name, shape in shapes.items() if "token_type" not in name}, logits(network, tokens)


def cases() -> dict[str, Case]:
    """One of every kind that is published."""
    bert = {**SIZES, "model_type": "bert", "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 0}
    old = {**bert, "hidden_act": "gelu_new", "tie_word_embeddings": False}
    roberta = {**bert, "model_type": "roberta", "pad_token_id": 1, "layer_norm_eps": 1e-5, "type_vocab_size": 1}
    roberta |= {"bos_token_id": 0, "eos_token_id": 2}
    albert = {**bert, "model_type": "albert", "embedding_size": 8, "num_hidden_layers": 3}
    esm = {**SIZES, "model_type": "esm", "layer_norm_eps": 1e-5, "pad_token_id": 1, "mask_token_id": 12}
    esm |= {"position_embedding_type": "rotary", "token_dropout": True, "emb_layer_norm_before": False}
    first = {**esm, "position_embedding_type": "absolute", "token_dropout": False, "emb_layer_norm_before": True}
    fair = {**esm, "vocab_size": 33, "mask_token_id": 32, "intermediate_size": 64}
    modern = {name: value for name, value in SIZES.items() if name != "hidden_act"}
    modern |= {"model_type": "modernbert", "num_hidden_layers": 5, "local_attention": 4, "norm_eps": 1e-5}
    modern |= {"hidden_activation": "gelu", "pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3}
    modern |= {"bos_token_id": 2, "eos_token_id": 3}
    hub = {**modern, "global_attn_every_n_layers": 3, "global_rope_theta": 160000.0, "local_rope_theta": 10000.0}
    kinds = ["full_attention", "sliding_attention", "sliding_attention", "full_attention", "sliding_attention"]
    ropes = {kind: {"rope_type": "default", "rope_theta": base} for kind, base in zip(kinds, (500.0, 50.0))}
    newer = {**modern, "layer_types": kinds, "rope_parameters": ropes, "tie_word_embeddings": False}
    dictionary = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *"ACDEFGHI", "<mask>"])}
    longer = [[2, *[12, 5, 6, 12] * 3, 7, 3], [2, *[12, 5, 6, 12] * 2, 3, *[-1] * 5]]
    padded = [[0, 12, 5, 12, 1, 12, 11, 2], [0, 12, 12, 5, 2, -1, -1, -1]]
    shorter = [[0, 32, 5, 32, 7, 2], [0, 32, 9, 2, -1, -1]]
    return {
        "BERT": Case(bert, TOKENS, of("Bert", bert), MASK),
        "BERT, older names, own head": Case(old, TOKENS, of("Bert", old, OLD), MASK),
        "RoBERTa": Case(roberta, padded, of("Roberta", roberta), MASK),
        "RoBERTa of fairseq": Case(
            FAIRSEQ_SIZES, padded, functools.partial(_fairseq, roberta), {"vocabulary": dictionary}
        ),
        "ALBERT": Case(albert, TOKENS, of("Albert", albert), MASK),
        "ESM, token dropout": Case(esm, TOKENS, of("Esm", esm)),
        "ESM": Case({**esm, "token_dropout": False}, TOKENS, of("Esm", {**esm, "token_dropout": False})),
        "ESM, absolute positions": Case(first, padded, of("Esm", first)),
        "ESM of fair-esm": Case(FAIR_ESM_SIZES, shorter, of("Esm", fair, FAIR_ESM)),
        "ModernBERT": Case(hub, longer, of("ModernBert", hub), MASK),
        "ModernBERT, newer configuration": Case(newer, longer[1:], of("ModernBert", newer), MASK),
    }
