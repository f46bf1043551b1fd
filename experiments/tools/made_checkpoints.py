"""Checkpoints that are made up: the names of a published model's tensors, few numbers, and those random.

They show that the code of an experiment runs where the published weights are not at hand.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mdm_jax.support.files import write_bytes


def made_up(kind: str, tokens: Sequence[str], length: int, folder: Path) -> Path:
    """A folder with a tiny checkpoint of the names of "bert" or "albert" and random numbers, seed 0."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *tokens]
    config = {
        "model_type": kind,
        "vocab_size": len(vocabulary),
        "hidden_size": 16,
        "embedding_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": length + 2,
        "hidden_act": "gelu",
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    random, header, data = np.random.default_rng(0), {}, b""
    for name, shape in _shapes(kind, config).items():
        values = random.normal(1.0 if name.endswith("LayerNorm.weight") else 0.0, 0.1, shape).astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    told = json.dumps(header).encode()
    write_bytes(folder / "model.safetensors", len(told).to_bytes(8, "little") + told + data)
    return folder


def _shapes(kind: str, config: Mapping[str, Any]) -> dict[str, list[int]]:
    """The tensors of a checkpoint of ``transformers``' BertForMaskedLM or AlbertForMaskedLM."""
    rows, width, inner = config["vocab_size"], config["hidden_size"], config["intermediate_size"]
    narrow = config["embedding_size"] if kind == "albert" else width
    shapes: dict[str, list[int]] = {}

    def linear(name: str, into: int, out: int) -> None:
        shapes.update({f"{name}.weight": [out, into], f"{name}.bias": [out]})

    def norm(name: str, features: int) -> None:
        shapes.update({f"{name}.weight": [features], f"{name}.bias": [features]})

    for name, many in (("word", rows), ("position", config["max_position_embeddings"]), ("token_type", 2)):
        shapes[f"{kind}.embeddings.{name}_embeddings.weight"] = [many, narrow]
    norm(f"{kind}.embeddings.LayerNorm", narrow)
    if kind == "albert":
        linear("albert.encoder.embedding_hidden_mapping_in", narrow, width)
        layer, head = "albert.encoder.albert_layer_groups.0.albert_layers.0", "predictions"
        for name in ("query", "key", "value", "dense"):
            linear(f"{layer}.attention.{name}", width, width)
        names = ("attention.LayerNorm", "ffn", "ffn_output", "full_layer_layer_norm")
        _feed_forward(layer, names, linear, norm, width, inner)
        linear(f"{head}.dense", width, narrow)
        norm(f"{head}.LayerNorm", narrow)
    else:
        head = "cls.predictions"
        for i in range(config["num_hidden_layers"]):
            layer = f"bert.encoder.layer.{i}"
            for name in ("self.query", "self.key", "self.value", "output.dense"):
                linear(f"{layer}.attention.{name}", width, width)
            names = ("attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm")
            _feed_forward(layer, names, linear, norm, width, inner)
        linear(f"{head}.transform.dense", width, narrow)
        norm(f"{head}.transform.LayerNorm", narrow)
    shapes[f"{head}.bias"] = [rows]
    return shapes


def _feed_forward(
    layer: str,
    names: tuple[str, str, str, str],
    linear: Callable[[str, int, int], None],
    norm: Callable[[str, int], None],
    width: int,
    inner: int,
) -> None:
    first, up, down, second = (f"{layer}.{name}" for name in names)
    norm(first, width)
    linear(up, width, inner)
    linear(down, inner, width)
    norm(second, width)
