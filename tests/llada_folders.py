"""Checkpoints of tiny networks under the names of published ones."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

LLADA = {
    "model_type": "llada",
    "d_model": 16,
    "n_layers": 4,
    "n_heads": 4,
    "n_kv_heads": 2,
    "mlp_hidden_size": 24,
    "vocab_size": 12,
    "embedding_size": 16,
    "max_sequence_length": 8,
    "mask_token_id": 11,
    "eos_token_id": 10,
    "rope_theta": 500000.0,
    "rms_norm_eps": 1e-5,
    "rope": True,
    "weight_tying": False,
    "include_bias": False,
    "include_qkv_bias": False,
    "block_type": "llama",
    "activation_type": "silu",
    "layer_norm_type": "rms",
}
LLADA_8B = {
    **LLADA,
    **{"d_model": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 32, "mlp_hidden_size": 12288},
    **{"vocab_size": 126464, "embedding_size": 126464, "max_sequence_length": 4096, "mask_token_id": 126336},
    "eos_token_id": 126081,
}
_LAYER = "model.transformer.blocks.{i}."
STACKED = {
    "layers/attention_norm/weight": _LAYER + "attn_norm.weight",
    "layers/attention/query/weight": _LAYER + "q_proj.weight",
    "layers/attention/key/weight": _LAYER + "k_proj.weight",
    "layers/attention/value/weight": _LAYER + "v_proj.weight",
    "layers/attention/output/weight": _LAYER + "attn_out.weight",
    "layers/feed_forward_norm/weight": _LAYER + "ff_norm.weight",
    "layers/feed_forward/gate/weight": _LAYER + "ff_proj.weight",
    "layers/feed_forward/up/weight": _LAYER + "up_proj.weight",
    "layers/feed_forward/down/weight": _LAYER + "ff_out.weight",
}
ALONE = {
    "embedding/weight": "model.transformer.wte.weight",
    "norm/weight": "model.transformer.ln_f.weight",
    "head/weight": "model.transformer.ff_out.weight",
}


def llada_arrays(config: dict[str, Any] = LLADA, dtype: Any = np.float32) -> dict[str, np.ndarray]:
    """Tensors of a LLaDA checkpoint by name; every number differs from every other of its tensor."""
    width, hidden, layers = config["d_model"], config["mlp_hidden_size"], config["n_layers"]
    inner = width // config["n_heads"] * config["n_kv_heads"]
    shapes = dict.fromkeys((ALONE["embedding/weight"], ALONE["head/weight"]), (config["embedding_size"], width))
    shapes[ALONE["norm/weight"]] = (width,)
    for name in STACKED.values():
        last = name.rsplit(".", 2)[-2]
        rows = {"k_proj": inner, "v_proj": inner, "ff_proj": hidden, "up_proj": hidden}.get(last, width)
        shape = (width,) if "norm" in last else (rows, hidden if last == "ff_out" else width)
        shapes |= {name.replace("{i}", str(i)): shape for i in range(layers)}
    draw = np.random.default_rng(0)
    return {name: (0.3 * draw.standard_normal(shape)).astype(dtype) for name, shape in shapes.items()}


def save_folder(folder: Path, arrays: dict[str, np.ndarray], config: dict[str, Any], shards: int = 1) -> Path:
    """A folder with config.json and safetensors, in shards with an index if there are to be several."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    if shards == 1:
        save_file(arrays, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    where = {name: f"model-{i % shards}.safetensors" for i, name in enumerate(arrays)}
    for file in set(where.values()):
        save_file({name: arrays[name] for name in arrays if where[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    return folder


def stacked(arrays: dict[str, np.ndarray], layers: int) -> dict[str, np.ndarray]:
    """By the path of each parameter what it should be."""
    whole = {path: arrays[name] for path, name in ALONE.items() if name in arrays}
    for path, name in STACKED.items():
        whole[path] = np.stack([arrays[name.replace("{i}", str(i))] for i in range(layers)])
    return whole
