"""The DiT of ``d3_dna``, which is SEDD's, under the names and settings of MDLM, BD3-LM and SEDD."""

import functools
import importlib
import importlib.util
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from models.pretrained.golden.decoders import by_blocks
from models.pretrained.golden.make import Case, filled

FLAT = {
    "vocab_size": 12,
    "model_length": 16,
    "hidden_dim": 16,
    "cond_dim": 8,
    "n_blocks": 2,
    "n_heads": 4,
    "dropout": 0.1,
    "time_conditioning": False,
}
NESTED = {
    "ngpus": 8,
    "tokens": 11,
    "graph": {"type": "absorb"},
    "noise": {"type": "loglinear", "sigma_min": 1e-4, "sigma_max": 20},
    "model": {
        "name": "tiny",
        "type": "ddit",
        "hidden_size": 16,
        "cond_dim": 8,
        "length": 16,
        "n_blocks": 2,
        "n_heads": 4,
        "scale_by_sigma": True,
        "dropout": 0.1,
    },
}
TOKENS = [[3, 11, 0, 11, 7, 11, 1], [11, 11, 5, 11, 2, -1, -1]]


def still(tokens: np.ndarray, mask_id: int) -> float:
    """MDLM's sigma."""
    return 0.0


def noisy(tokens: np.ndarray, mask_id: int) -> float:
    """SEDD's sigma at the time at which so much of a row is masked on average, but for a thousandth."""
    return float(-np.log(1 - (1 - 1e-3) * np.mean(tokens == mask_id)))


@functools.cache
def transformer_model() -> Any:
    """``d3_dna``'s class, without what its package imports besides (its trainer needs Lightning)."""
    for name in ("d3_dna", "d3_dna.models"):
        folders = importlib.util.find_spec(name).submodule_search_locations
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = list(folders)
    return importlib.import_module("d3_dna.models.transformer").TransformerModel


def network(sizes: Mapping[str, int]) -> Any:
    """``d3_dna``'s network; SEDD and MDLM have no labels."""
    model = {**sizes, "scale_by_sigma": False, "dropout": 0.0, "class_dropout_prob": 0.1}
    vocab_size = model.pop("vocab_size")
    config = {"tokens": vocab_size - 1, "graph": {"type": "absorb"}, "dataset": {"num_classes": 2, "signal_dim": 2}}
    return transformer_model()({**config, "model": model}).eval()


def logits(model: Any, tokens: np.ndarray, mask_id: int, sigma: Callable[[np.ndarray, int], float]) -> np.ndarray:
    """Of each row by itself, without what is absent; before the logits of the inputs are set to 0."""
    import torch

    seen: list[Any] = []
    handle = model.output_layer.register_forward_hook(lambda module, inputs, output: seen.append(output[0].numpy()))
    with torch.no_grad():
        for row in tokens:
            row = row[row >= 0]
            model(torch.from_numpy(row[None]), None, train=False, sigma=torch.tensor([sigma(row, mask_id)]))
    handle.remove()
    found = np.zeros((*tokens.shape, seen[0].shape[-1]), np.float32)
    for row, values in zip(found, seen, strict=True):
        row[: len(values)] = values
    return found


def _reference(
    prefix: str, sigma: Callable[[np.ndarray, int], float], tokens: np.ndarray
) -> tuple[dict[str, tuple[int, ...]], np.ndarray]:
    model = network({"vocab_size": 12, "hidden_size": 16, "cond_dim": 8, "n_blocks": 2, "n_heads": 4})
    shapes = filled(model, lambda name: prefix + name)
    theirs = ("label_embed", "vocab_embed.signal_embedding")
    shapes = {name: shape for name, shape in shapes.items() if not name.removeprefix(prefix).startswith(theirs)}
    return shapes | {f"{prefix}rotary_emb.inv_freq": (2,)}, logits(model, tokens, 11, sigma)


def _by_blocks(block: int, tokens: np.ndarray) -> tuple[dict[str, tuple[int, ...]], np.ndarray]:
    """With an attention mask, which ``d3_dna`` does not know of, put into the function of torch that it calls."""
    import unittest.mock

    import torch

    model = network({"vocab_size": 12, "hidden_size": 16, "cond_dim": 8, "n_blocks": 2, "n_heads": 4})
    shapes, found = _reference("backbone.", still, tokens)[0], []
    filled(model, lambda name: f"backbone.{name}")
    for row in tokens:
        mask = torch.from_numpy(by_blocks(row[None], block, 11))[:, None]
        masked = functools.partial(torch.nn.functional.scaled_dot_product_attention, attn_mask=mask)
        with unittest.mock.patch("torch.nn.functional.scaled_dot_product_attention", masked):
            found.append(logits(model, row[None], 11, still))
    return shapes, np.concatenate(found)


def cases() -> dict[str, Case]:
    """One of every kind that is published."""
    mask = {"mask_id": 11}
    flat, nested = (functools.partial(_reference, prefix) for prefix in ("backbone.", ""))
    blocks = {"model_type": "bd3lm", "block_size": 16, "cross_attn": False, "adaln": True, "causal": False}
    return {
        "MDLM": Case({"model_type": "mdlm", **FLAT}, TOKENS, functools.partial(flat, still), mask),
        "BD3-LM of one block": Case({**blocks, **FLAT}, TOKENS, functools.partial(flat, still), mask),
        "BD3-LM": Case(
            {**blocks, **FLAT, "block_size": 3, "cross_attn": True},
            [[3, 1, 0, 11, 7, 11, 1, 2], [1, 11, 5, 3, 2, 9, 11, 11], [4, 4, 2, 10, 7, 0, 11, 5]],
            functools.partial(_by_blocks, 3),
            mask,
        ),
        "MDLM that is told the time": Case(
            {"model_type": "mdlm", **FLAT, "time_conditioning": True}, TOKENS, functools.partial(flat, noisy), mask
        ),
        "SEDD": Case(NESTED, TOKENS, functools.partial(nested, noisy)),
    }
