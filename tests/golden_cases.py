"""Checkpoints that are made up, as parameters of our networks, and the golden numbers that are kept of them.

A case is kept as JSON beside the tests of its network: config.json's content, the tensors' shapes, tokens, and the
logits of an independent implementation with these weights (``models/pretrained/golden/make.py`` makes them).
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from made_tensors import checkpoint

from mdm_jax import models
from mdm_jax.models.adapters import LinenDenoiser
from mdm_jax.models.pretrained import Published
from mdm_jax.models.pretrained.by_blocks import as_denoiser

GOLDEN = Path(__file__).parent / "models" / "pretrained" / "golden"


def parameters(published: Published, tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """A network's parameters as its family says where they lie; every one of them, and nothing else, is told."""
    shapes = abstract(published)["params"]
    tree: dict[str, Any] = {}
    paths = {"/".join(key.key for key in path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(shapes)[0]}
    assert paths.keys() == published.sources.keys()
    for path, leaf in paths.items():
        value = _found(published, path, tensors)
        assert value.shape == leaf.shape, path
        place = tree
        *folders, last = path.split("/")
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = jnp.asarray(value)
    return {"params": tree}


def _found(published: Published, path: str, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
    source = published.sources[path]
    layers = range(published.layers) if "{i}" in source.names[0] else [None]
    parts = []
    for layer in layers:
        names = [name.replace("{i}", str(layer)) for name in source.names]
        tensor = tensors[next(name for name in names if name in tensors)]
        if source.ranges:
            tensor = np.concatenate([tensor[first:end] for first, end in source.ranges])
        parts.append(tensor)
    return parts[0] if layers == [None] else np.stack(parts)


def abstract(published: Published) -> Any:
    """Shapes of the whole variable dictionary of a network."""
    model = denoiser(published)
    return jax.eval_shape(lambda: model.init(jax.random.key(0), length=4))


def denoiser(published: Published) -> LinenDenoiser:
    """The network as a denoiser, without a shift or a ban."""
    return as_denoiser(published.module, published.vocab_size, published.mask_id)


def golden(family: str) -> dict[str, dict[str, Any]]:
    """The kept cases of a family, by name."""
    return json.loads((GOLDEN / f"{family}.json").read_text())


def logits_of_case(case: Mapping[str, Any], published: Callable[..., Published]) -> np.ndarray:
    """Our logits of a kept case; all names of its tensors are taken or, as the family says, ignored."""
    tensors = checkpoint(case["tensors"])
    told = published(case["config"], tuple(tensors), case["settings"])
    used = {
        name.replace("{i}", str(i))
        for source in told.sources.values()
        for name in source.names
        for i in range(told.layers)
    }
    left = [name for name in tensors if name not in used and not any(re.fullmatch(one, name) for one in told.ignored)]
    assert not left
    model, tokens = denoiser(told), jnp.asarray(case["tokens"], jnp.int32)
    return np.asarray(jax.jit(lambda params: models.logits(model, params, tokens))(parameters(told, tensors)))


def assert_equal_logits(ours: np.ndarray, theirs: np.ndarray, tokens: Any, mask_id: int, within: float = 1e-5) -> None:
    """Logits agree within this part of the largest one wherever there is a token, the mask's aside; so do argmaxes.

    Args:
        ours: [rows, length, vocabulary].
        theirs: likewise.
        tokens: [rows, length]; -1 where nothing is.
        mask_id: its logit is ours to rule out.
        within: a part of the largest logit.
    """
    there = np.asarray(tokens) >= 0
    real = np.arange(theirs.shape[-1]) != mask_id
    ours, theirs = np.asarray(ours)[there][:, real], np.asarray(theirs)[there][:, real]
    assert np.isfinite(ours).all()
    assert np.abs(ours - theirs).max() <= within * np.abs(theirs).max()
    assert (ours.argmax(-1) == theirs.argmax(-1)).all()
