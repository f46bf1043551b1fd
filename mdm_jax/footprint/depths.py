"""Models of fewer blocks: blocks are alike, so that what is counted in two shallow ones is a straight line in depth."""

from typing import Any

from mdm_jax import models
from mdm_jax.models.adapters import LinenDenoiser
from mdm_jax.models.denoiser import Denoiser

SHALLOW = (2, 4)
"""Blocks of the two models through which a line is drawn."""


def depth_of(denoiser: Denoiser) -> int | None:
    """Blocks of one of the library's own models; ``None`` of another, and of a published one, whose blocks are one."""
    depth: Any = (models.describe(denoiser) or {}).get("depth")
    return depth


def of_depth(denoiser: Denoiser, depth: int) -> LinenDenoiser:
    """The same with another number of blocks; a recognition network keeps its own.

    Args:
        denoiser: one of the library's own, which :func:`depth_of` knows.
        depth: blocks.
    """
    made = models.from_description({**(models.describe(denoiser) or {}), "depth": depth})
    assert isinstance(made, LinenDenoiser)
    return made


def at_depth(depth: int, low: int, high: int) -> int:
    """A figure at ``depth`` blocks from those at both of :data:`SHALLOW`; never below 0.

    Example:
        >>> from mdm_jax.footprint.depths import at_depth
        >>> at_depth(32, low=30, high=50)  # 10 for each block, and 10 besides
        330
    """
    first, second = SHALLOW
    return max(0, low + (high - low) * (depth - first) // (second - first))
