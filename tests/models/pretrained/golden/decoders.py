"""Llama, Qwen2 and Qwen3 of ``transformers`` with full attention, under the names and settings of what is published."""

import functools
import re
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
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 0.5,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256}
SHORT_YARN = {**YARN, "original_max_position_embeddings": 64}
"""Of so few positions that of four features one is on the ramp."""
TOKENS = [[3, 12, 0, 12, 7, 12, 1], [12, 12, 5, 12, 2, -1, -1]]

LLADA_NAMES = (
    ("model.embed_tokens", "model.transformer.wte"),
    ("model.norm", "model.transformer.ln_f"),
    ("lm_head", "model.transformer.ff_out"),
    ("model.layers.", "model.transformer.blocks."),
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "ff_norm"),
    ("self_attn.o_proj", "attn_out"),
    ("self_attn.", ""),
    ("mlp.gate_proj", "ff_proj"),
    ("mlp.up_proj", "up_proj"),
    ("mlp.down_proj", "ff_out"),
)


def renamed(name: str, pairs: tuple[tuple[str, str], ...]) -> str:
    """The name with the first of every pair replaced by the second."""
    for ours, theirs in pairs:
        name = name.replace(ours, theirs)
    return name


def of(kind: str, config: Mapping[str, Any], published_name: Callable[[str], str] = str) -> Any:
    """The reference of a case: ``transformers``' model of this kind, hiding what is absent."""
    return functools.partial(_logits, kind, config, published_name)


def model(kind: str, config: Mapping[str, Any]) -> Any:
    """``transformers``' model of this kind."""
    import transformers

    settings = {name: value for name, value in config.items() if name not in ("model_type", "architectures")}
    made_of = getattr(transformers, f"{kind}Config")(**settings, attn_implementation="eager")
    return getattr(transformers, f"{kind}ForCausalLM")(made_of).eval()


def full_attention(network: Any, tokens: np.ndarray) -> np.ndarray:
    """Its logits where every position sees all that are there."""
    import torch

    there = torch.from_numpy(tokens >= 0)
    hidden = torch.where(there, 0.0, torch.finfo(torch.float32).min)[:, None, None]
    hidden = hidden.expand(-1, 1, tokens.shape[1], -1)
    with torch.no_grad():
        return network(torch.from_numpy(np.maximum(tokens, 0)), attention_mask=hidden).logits.numpy()


def by_blocks(tokens: np.ndarray, block: int, mask_id: int) -> np.ndarray:
    """Who sees whom, bool[rows, length, length]: one's own block, and those before that are known from the first on."""
    rows, length = tokens.shape
    seen = np.zeros((rows, length, length), bool)
    for row in range(rows):
        for i in range(length):
            for j in range(length):
                known = mask_id not in tokens[row, : (j // block + 1) * block]
                seen[row, i, j] = i // block == j // block or (j // block < i // block and known)
    return seen


def _logits_by_blocks(block: int, config: Mapping[str, Any], tokens: np.ndarray) -> Any:
    import torch

    network = model("Qwen3", config)
    shapes = filled(network)
    hidden = np.where(by_blocks(tokens, block, 12), 0.0, np.finfo(np.float32).min)[:, None].astype(np.float32)
    with torch.no_grad():
        found = network(torch.from_numpy(tokens), attention_mask=torch.from_numpy(hidden)).logits.numpy()
    return shapes, found


def _logits_of_fast_dllm(block: int, config: Mapping[str, Any], tokens: np.ndarray) -> Any:
    """As ``generate`` of Fast-dLLM v2's modeling.py goes, block by block, where each sees itself and finished ones.

    Logits of a block are moved on by one: ``cat([logits[:, :1], logits[:, :-1]])``. Its first token is told by the last
    logits of the block before, once that is finished.
    """
    import torch

    network = model("Qwen2", config)
    shapes = filled(network)
    rows = []
    for row in tokens:
        known = 0  # positions of finished blocks, from the first on
        while known < len(row) and 12 not in row[known : known + block]:
            known += block
        told = []
        for begin in range(0, len(row), block):
            own = np.arange(begin, min(begin + block, len(row)))
            before = np.arange(min(known, begin))
            places = np.concatenate([before, own])
            seen = places[None] // block <= places[:, None] // block
            hidden = torch.from_numpy(np.where(seen, 0.0, np.finfo(np.float32).min).astype(np.float32))[None, None]
            given = {"attention_mask": hidden, "position_ids": torch.from_numpy(places)[None]}
            with torch.no_grad():
                found = network(torch.from_numpy(row[places])[None], **given).logits[0].numpy()
            logits = found[len(before) :]
            moved = np.concatenate([logits[:1], logits[:-1]])
            if begin > 0 and len(before) == begin:
                moved[0] = found[begin - 1]
            told.append(moved)
        rows.append(np.concatenate(told))
    return shapes, np.stack(rows)


def _logits(
    kind: str, config: Mapping[str, Any], published_name: Callable[[str], str], tokens: np.ndarray
) -> tuple[dict[str, tuple[int, ...]], np.ndarray]:
    network = model(kind, config)
    return filled(network, published_name), full_attention(network, tokens)


def cases() -> dict[str, Case]:
    """One of every kind that is published."""
    llada_sizes = {**SIZES, "num_key_value_heads": 4, "rope_theta": 500000.0, "rms_norm_eps": 1e-5}
    llada = {
        "model_type": "llada",
        "architectures": ["LLaDAModelLM"],
        "d_model": 16,
        "n_layers": 2,
        "n_heads": 4,
        "n_kv_heads": 4,
        "mlp_hidden_size": 20,
        "vocab_size": 13,
        "embedding_size": 13,
        "max_sequence_length": 32,
        "rope": True,
        "rope_full_precision": True,
        "rope_theta": 500000.0,
        "rms_norm_eps": 1e-5,
        "layer_norm_type": "rms",
        "layer_norm_with_affine": True,
        "bias_for_layer_norm": False,
        "block_type": "llama",
        "block_group_size": 1,
        "activation_type": "silu",
        "attention_layer_norm": False,
        "alibi": False,
        "include_bias": False,
        "include_qkv_bias": False,
        "input_emb_norm": False,
        "scale_logits": False,
        "weight_tying": False,
        "mask_token_id": 12,
        "eos_token_id": 11,
        "pad_token_id": 11,
    }
    dream = {**SIZES, "rope_theta": 1e6, "rms_norm_eps": 1e-6}
    qwen3 = {**dream, "head_dim": 8}
    llama = {**SIZES, "rope_theta": 1e4, "rms_norm_eps": 1e-5}
    mask = {"mask_token_id": 12}
    short = {"rope_theta": 1e4, "max_position_embeddings": 256}
    mscales = {"mscale": 1.0, "mscale_all_dim": 0.4}
    ramp = {"beta_fast": 4, "beta_slow": 0.7, "truncate": False}
    return {
        "LLaDA": Case(llada, TOKENS, of("Llama", llada_sizes, lambda name: renamed(name, LLADA_NAMES))),
        "Dream": Case({"model_type": "Dream", **dream, **mask}, TOKENS, of("Qwen2", dream), {"shift": True}),
        "A2D of Llama": Case({"model_type": "a2d-llama", **llama}, TOKENS, of("Llama", llama), {"mask_id": 12}),
        "A2D of Qwen2": Case({"model_type": "a2d-qwen2", **dream, **mask}, TOKENS, of("Qwen2", dream)),
        "A2D of Qwen3": Case({"model_type": "a2d-qwen3", **qwen3, **mask}, TOKENS, of("Qwen3", qwen3)),
        "A2D of Qwen3, tied": Case(
            {"model_type": "a2d-qwen3", **qwen3, **mask, "tie_word_embeddings": True},
            TOKENS,
            of("Qwen3", {**qwen3, "tie_word_embeddings": True}),
        ),
        "SDAR": Case(
            {"model_type": "sdar", **qwen3, **mask, "block_size": 3},
            [[3, 1, 0, 12, 7, 12, 1, 2], [1, 12, 5, 3, 2, 9, 12, 12], [4, 4, 2, 11, 7, 0, 12, 5]],
            functools.partial(_logits_by_blocks, 3, qwen3),
        ),
        "Fast-dLLM v2": Case(
            {"model_type": "Fast_dLLM_Qwen", **dream, **mask, "bd_size": 3},
            [[3, 1, 0, 12, 7, 12, 1, 2], [1, 12, 5, 3, 2, 9, 12, 12], [4, 4, 2, 11, 7, 0, 12, 5]],
            functools.partial(_logits_of_fast_dllm, 3, dream),
        ),
        **{
            f"A2D of {kind}, {name}": Case(
                {"model_type": f"a2d-{kind.lower()}", **config, **mask, "rope_scaling": scaling},
                TOKENS,
                of(kind, {**config, "rope_scaling": scaling}),
            )
            for name, kind, config, scaling in (
                ("linear", "Llama", {**llama, "head_dim": 8}, {"rope_type": "linear", "factor": 2.0}),
                ("as Llama 3", "Llama", {**llama, "head_dim": 8, "max_position_embeddings": 512}, LLAMA3),
                ("YaRN", "Qwen3", {**qwen3, "rope_theta": 1e4, "max_position_embeddings": 1024}, YARN),
                ("YaRN, a ramp not on whole features", "Qwen3", {**qwen3, **short}, {**SHORT_YARN, **ramp}),
                ("YaRN, told its gain", "Qwen3", {**qwen3, **short}, {**SHORT_YARN, "attention_factor": 1.3}),
                ("YaRN, as DeepSeek", "Qwen3", {**qwen3, **short}, {**SHORT_YARN, **mscales}),
            )
        },
        "SMDM": Case(SMDM, [[3, 13, 0, 13, 7, 13, 1]], _smdm),
    }


SMDM = {
    "name": "Diff_LLaMA_tiny",
    "block_size": 32,
    "vocab_size": 13,
    "padded_vocab_size": 13,
    "n_layer": 2,
    "n_head": 4,
    "n_embd": 16,
    "n_query_groups": 2,
    "intermediate_size": 20,
    "norm_eps": 1e-5,
    "rotary_percentage": 1.0,
    "parallel_residual": False,
    "shared_attention_norm": False,
    "bias": False,
    "condense_ratio": 1,
    "_norm_class": "FusedRMSNorm",
    "_mlp_class": "LLaMAMLP",
}
SMDM_NAMES = (
    ("model.embed_tokens", "transformer.wte"),
    ("model.norm", "transformer.ln_f"),
    ("model.layers.", "transformer.h."),
    ("input_layernorm", "norm_1"),
    ("post_attention_layernorm", "norm_2"),
    ("self_attn.o_proj", "attn.proj"),
    ("mlp.gate_proj", "mlp.swiglu.w1"),
    ("mlp.up_proj", "mlp.swiglu.w2"),
    ("mlp.down_proj", "mlp.swiglu.w3"),
)


def _smdm(tokens: np.ndarray) -> tuple[dict[str, tuple[int, ...]], np.ndarray]:
    """Llama with a row more in its embedding, and queries, keys and values of each group in one matrix."""
    import torch
    from made_tensors import made

    config = {**SIZES, "vocab_size": 14, "rms_norm_eps": 1e-5, "rope_theta": 1e4}
    network = model("Llama", config)
    filled_in = filled(network, lambda name: renamed(name, SMDM_NAMES))
    shapes = {}
    for name, shape in filled_in.items():
        layer = re.fullmatch(r"transformer\.h\.(\d)\.self_attn\.(\w)_proj\.weight", name)
        if layer is None:
            shapes[name] = shape
            continue
        fused = f"transformer.h.{layer[1]}.attn.attn.weight"
        shapes[fused] = (2 * 4 * 4, 16)  # of each of two groups two queries, a key and a value, of four features
        groups = made(fused, shapes[fused]).reshape(2, 4, 4, 16)
        part = {"q": groups[:, :2], "k": groups[:, 2:3], "v": groups[:, 3:]}[layer[2]].reshape(-1, 16)
        with torch.no_grad():
            getattr(network.model.layers[int(layer[1])].self_attn, f"{layer[2]}_proj").weight.copy_(
                torch.from_numpy(np.ascontiguousarray(part))
            )
    shapes["lm_head.weight"] = (13, 16)
    with torch.no_grad():
        network.lm_head.weight[:13].copy_(torch.from_numpy(made("lm_head.weight", (13, 16))))
    return shapes, full_attention(network, tokens)[..., :13]
