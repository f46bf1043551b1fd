"""A denoiser of Sudoku grids that is small and quick to train: each cell sums up its row, its column and its box.

The library's transformer has positions along the raster alone, and an attention in which to look for the rules. This
network is told them: cells are embedded by row, column and box too, and the sums over the three units of a cell take
the place of attention. Latents and recognition are the library's.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mdm_jax.models import LatentDenoiser, from_linen
from mdm_jax.models.adapters import LinenDenoiser
from mdm_jax.models.latent import LatentTransformer
from mdm_jax.models.transformers import FeedForward, Norm, Transformer

SIDE, BOX = 9, 3
_ZEROS = nn.initializers.zeros
_FAN_IN = nn.initializers.variance_scaling(1.0, "fan_in", "normal")


class CellEmbedding(nn.Module):
    """The digit of a cell (or the mask), its row, its column and its box: the sum of four tables' entries."""

    width: int
    scale: float

    @nn.compact
    def __call__(self, tokens: Int[Array, "rows cells"]) -> Float[Array, "rows cells width"]:
        row, column = jnp.divmod(jnp.arange(SIDE * SIDE, dtype=jnp.int32), SIDE)
        box = row // BOX * BOX + column // BOX
        table = nn.initializers.normal(self.scale)
        hidden = nn.Embed(SIDE + 1, self.width, embedding_init=table, name="digit")(tokens)
        for name, unit in (("row", row), ("column", column), ("box", box)):
            hidden = hidden + nn.Embed(SIDE, self.width, embedding_init=table, name=name)(unit)[None]
        return hidden


class UnitMixing(nn.Module):
    """Of each cell the sums over its row, its column and its box, of other features in each; zero-init output."""

    @nn.compact
    def __call__(self, inputs: Float[Array, "rows cells width"]) -> Float[Array, "rows cells width"]:
        rows, cells, width = inputs.shape
        part = width // 2
        values = nn.Dense(3 * part, use_bias=False, kernel_init=_FAN_IN, name="value")(inputs)
        along_row, along_column, along_box = jnp.split(values.reshape(rows, SIDE, SIDE, 3 * part), 3, axis=-1)
        whole, by_box = (rows, SIDE, SIDE, part), (rows, BOX, BOX, BOX, BOX, part)
        sums = (
            jnp.broadcast_to(along_row.sum(axis=2, keepdims=True), whole),
            jnp.broadcast_to(along_column.sum(axis=1, keepdims=True), whole),
            jnp.broadcast_to(along_box.reshape(by_box).sum(axis=(2, 4), keepdims=True), by_box).reshape(whole),
        )
        mixed = jnp.concatenate(sums, axis=-1).reshape(rows, cells, 3 * part) / SIDE**0.5
        return nn.Dense(width, use_bias=False, kernel_init=_ZEROS, name="output")(mixed)


class UnitBlock(nn.Module):
    """Pre-norm residual block: the sums over units, then feed-forward."""

    expansion: float | int

    @nn.compact
    def __call__(self, inputs: Array, context: Array | None = None, there: Array | None = None) -> Array:
        assert there is None, "grids have all their cells"
        inputs = inputs + UnitMixing(name="mixing")(Norm(name="mixing_norm")(inputs, context))
        return inputs + FeedForward(self.expansion, name="feed_forward")(
            Norm(name="feed_forward_norm")(inputs, context)
        )


class UnitNetwork(Transformer):
    """The library's transformer with other embeddings and blocks; ``heads``, ``reach`` and rotary positions idle."""

    def setup(self) -> None:
        self.embedding = CellEmbedding(self.width, self.embedding_scale)
        self.blocks = [UnitBlock(self.expansion) for _ in range(self.depth)]
        self.final_norm = Norm()
        self.head = nn.Dense(self.vocab_size, use_bias=False, kernel_init=_ZEROS)


class LatentUnitNetwork(LatentTransformer, UnitNetwork):
    """The same with a latent, recognised by its first blocks."""


def _sizes(width: int, depth: int) -> dict[str, Any]:
    used = {"vocab_size": SIDE, "length": SIDE * SIDE, "width": width, "depth": depth, "expansion": 2}
    return used | {"heads": 1, "reach": 0, "rotary_base": 1000.0, "embedding_scale": 0.3, "classes": 0}


def plain_cells(width: int, depth: int) -> LinenDenoiser:
    """Without a latent."""
    return from_linen(UnitNetwork(**_sizes(width, depth)), SIDE)


def latent_cells(width: int, depth: int, latent_size: int, recognition_depth: int) -> LatentDenoiser:
    """With one latent for the grid."""
    more = {"latent_size": latent_size, "block": None, "prior": 0, "recognition_depth": recognition_depth}
    return LatentDenoiser(LatentUnitNetwork(**_sizes(width, depth), **more, share=True), SIDE, SIDE)
