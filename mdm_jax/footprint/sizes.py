"""Models of well-known sizes, by name."""

from collections.abc import Callable
from typing import Any

from mdm_jax import models
from mdm_jax.models.adapters import LinenDenoiser
from mdm_jax.support.errors import require, require_choice

SIZES: dict[str, dict[str, Any]] = {
    "10m": {"vocab_size": 1024, "length": 256, "width": 256, "depth": 12, "heads": 4},
    "100m": {"vocab_size": 10_240, "length": 1024, "width": 768, "depth": 12, "heads": 12},
    "1b": {"vocab_size": 32_768, "length": 2048, "width": 2048, "depth": 17, "heads": 16},
    # LLaDA-8B (arXiv 2502.09992) has SwiGLU, three matrices of 12,288; two of 18,432 have as many parameters.
    "llada-8b": {
        "vocab_size": 126_464,
        "length": 4096,
        "width": 4096,
        "depth": 32,
        "heads": 32,
        "expansion": 4.5,
    },
}
"""Arguments of :func:`mdm_jax.models.transformer` for models of well-known sizes, by name."""
KINDS: dict[str, Callable[..., LinenDenoiser]] = {
    "bidirectional": models.transformer,
    "any_order": models.any_order,
    "block_causal": models.block_causal,
}
"""What makes a model of a kind, with parameters of the same sizes."""


def named(name: str, length: int | None = None, kind: str = "bidirectional", block: int | None = None) -> LinenDenoiser:
    """The model of a well-known size.

    Args:
        name: one of :data:`SIZES`.
        length: tokens per sequence, instead of its own.
        kind: one of :data:`KINDS`.
        block: positions of a block of a block-causal model; its default if left out.

    Raises:
        InputError: no such name or kind, or a block of another kind.

    Example:
        >>> import mdm_jax as mdm
        >>> sorted(mdm.footprint.SIZES)
        ['100m', '10m', '1b', 'llada-8b']
        >>> mdm.footprint.named("10m").module.width
        256
    """
    require(name in SIZES, "model", name, "one of " + ", ".join(SIZES))
    require_choice("kind", kind, tuple(KINDS))
    require(block is None or kind == "block_causal", "block", block, "left out: only block-causal models have blocks")
    said = {name: value for name, value in (("length", length), ("block", block)) if value is not None}
    return KINDS[kind](**{**SIZES[name], **said})
