"""Published networks that were trained block by block, and are kept block by block while sampling: SDAR, BD3-LM.

A block of positions sees itself, masks included, and the *finished* blocks before it, those that hold no mask. What is
made of a finished block never changes, and is kept: see :func:`mdm_jax.models.block_causal`, whose contract this is.

In Fast-dLLM v2 (arXiv 2509.26328) each token is predicted one position earlier besides. Inside a block that is the
position before it as the block is now. A block's first token is predicted by the last position of the finished block
before it. Where that is none, it is predicted by itself, as in the published code, which then is always given it.
"""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mdm_jax.models.adapters import LinenDenoiser, Whole, fields_of, from_linen
from mdm_jax.models.cached import BlockCausalDenoiser
from mdm_jax.models.cached.block_network import BlockCache, KeptLayer, finished
from mdm_jax.models.pretrained.decoder import Decoder
from mdm_jax.models.pretrained.diffusion_transformer import DiffusionTransformer
from mdm_jax.models.pretrained.layers import Kept, check_length
from mdm_jax.support.errors import require, require_whole


class ByBlocks(nn.Module):
    """What turns a network with ``through`` into one by blocks: its fields are ``block``, ``mask_id``, ``shifted``."""

    ragged = False

    def encode(self: Any, tokens: Int[Array, "rows length"]) -> Float[Array, "rows length width"]:
        """Hidden vectors of every position."""
        check_length(tokens, self.length)
        earlier = self.seen(tokens)
        hidden = self.through(tokens, earlier | _same(tokens.shape[1], self.block))[0]
        return self.predicting(tokens, hidden, hidden)

    def encode_blocks(
        self: Any, tokens: Int[Array, "rows length"], noisy: Int[Array, "rows length"]
    ) -> Float[Array, "rows length width"]:
        """Hidden vectors of ``noisy``, each block after the finished blocks of ``tokens`` before it."""
        check_length(tokens, self.length)
        length, earlier = tokens.shape[1], self.seen(tokens)
        own = jnp.broadcast_to(_same(length, self.block), earlier.shape)
        first = jnp.concatenate([earlier | own, jnp.zeros_like(own)], axis=2)
        visible = jnp.concatenate([first, jnp.concatenate([earlier, own], axis=2)], axis=1)
        places = jnp.tile(jnp.arange(length, dtype=jnp.int32), 2)[None]
        hidden = self.through(jnp.concatenate([tokens, noisy], axis=1), visible, places)[0]
        return self.predicting(tokens, hidden[:, :length], hidden[:, length:])

    def empty(self: Any, rows: int, length: int) -> BlockCache:
        """A cache of nothing, for so many rows of so many tokens; it has one part for all layers, rows first."""
        room, kind = -(-length // self.block) * self.block, self.embedding.weight.dtype
        kept = jnp.zeros((rows, self.depth, room, *self.kept_shape), kind)
        nothing = jnp.zeros((rows, 0, self.width), kind)  # no local mixing
        tokens = jnp.full((rows, length), self.mask_id, jnp.int32)
        last = jnp.zeros((rows, self.width), kind) if self.shifted else None
        return BlockCache(tokens, jnp.zeros(rows, jnp.int32), (KeptLayer(kept, kept, nothing, nothing),), last)

    def encode_block(
        self: Any, cache: BlockCache, which: Int[Array, " rows"], absorbs: Bool[Array, " rows"]
    ) -> tuple[BlockCache, Float[Array, "rows block width"]]:
        """Hidden vectors of one block of each row, after the blocks that are kept.

        Args:
            cache: of the rows; no block that is kept is asked for.
            which: the block of each row.
            absorbs: whether it is the next block to be kept, and is kept from now on. What is written of another one
                stands behind those that are kept: nobody sees it, and it is written over.
        """
        length, old = cache.tokens.shape[1], cache.kept[0]
        place = which[:, None] * self.block + jnp.arange(self.block, dtype=jnp.int32)[None]
        tokens = jnp.take_along_axis(cache.tokens, jnp.minimum(place, length - 1), axis=1)
        before = jnp.arange(old.key.shape[2], dtype=jnp.int32)[None] < self.block * cache.absorbed[:, None]
        visible = jnp.concatenate([before, place < length], axis=1)[:, None]
        kept = Kept(jnp.moveaxis(old.key, 1, 0), jnp.moveaxis(old.value, 1, 0))
        hidden, made = self.through(tokens, visible, place, kept)

        def put(part: Array, new: Array) -> Array:
            write = jax.vmap(functools.partial(jax.lax.dynamic_update_slice_in_dim, axis=1))
            return write(part, jnp.moveaxis(new, 0, 1).astype(part.dtype), place[:, 0])

        now = old._replace(key=put(old.key, made.key), value=put(old.value, made.value))
        after = cache._replace(absorbed=cache.absorbed + absorbs.astype(jnp.int32), kept=(now,))
        if cache.last is None:
            return after, hidden
        follows = (which > 0) & (which == cache.absorbed)
        first = jnp.where(follows[:, None], cache.last, hidden[:, 0])
        after = after._replace(last=jnp.where(absorbs[:, None], hidden[:, -1], cache.last))
        return after, jnp.concatenate([first[:, None], hidden[:, :-1]], axis=1)

    def predicting(
        self: Any,
        tokens: Int[Array, "rows length"],
        finished_ones: Float[Array, "rows length width"],
        hidden: Float[Array, "rows length width"],
    ) -> Float[Array, "rows length width"]:
        """The hidden vector that each token is predicted by: its own or, shifted, that of the position before it.

        Args:
            tokens: what stands before each block.
            finished_ones: hidden vectors of these tokens, of which those of finished blocks are read.
            hidden: of the blocks that are asked.
        """
        if not self.shifted:
            return hidden
        place = jnp.arange(tokens.shape[1], dtype=jnp.int32)[None]
        first, number = place % self.block == 0, place // self.block
        alone = first & ((number == 0) | (number > finished(tokens, self.mask_id, self.block)[:, None]))
        before = jnp.where(first[..., None], jnp.roll(finished_ones, 1, axis=1), jnp.roll(hidden, 1, axis=1))
        return jnp.where(alone[..., None], hidden, before)

    def seen(self: Any, tokens: Int[Array, "rows length"]) -> Bool[Array, "rows length length"]:
        """Whether a position's block stands after a finished block that holds the other position."""
        number = jnp.arange(tokens.shape[1], dtype=jnp.int32) // self.block
        limit = jnp.minimum(finished(tokens, self.mask_id, self.block)[:, None], number[None])
        return number[None, None] < limit[:, :, None]


class BlockCausalDecoder(ByBlocks, Decoder):
    """A :class:`~mdm_jax.models.pretrained.decoder.Decoder` whose blocks see themselves and the finished ones before.

    Attributes:
        mask_id: the mask's id, which tells what is finished.
        block: positions of a block.
        shifted: whether each token is predicted one position earlier (Fast-dLLM v2).
    """

    mask_id: int = 0
    block: int = 1
    shifted: bool = False

    @property
    def kept_shape(self) -> tuple[int, int]:
        """Of a position's keys in a layer."""
        return self.key_value_heads, self.head_features


class BlockCausalDiffusionTransformer(ByBlocks, DiffusionTransformer):
    """A :class:`~mdm_jax.models.pretrained.diffusion_transformer.DiffusionTransformer` by blocks, with sigma 0.

    Attributes:
        block: positions of a block.
        shifted: whether each token is predicted one position earlier.
    """

    block: int = 1
    shifted: bool = False

    @property
    def kept_shape(self) -> tuple[int, int]:
        """Of a position's keys in a layer."""
        return self.heads, self.width // self.heads


@dataclasses.dataclass(frozen=True)
class ByBlocksDenoiser(BlockCausalDenoiser):
    """A published network as a denoiser that goes by blocks (:class:`~mdm_jax.models.Blockwise`)."""

    module: Any  # of the kind ByBlocks


def in_blocks(network: Decoder | DiffusionTransformer, block: Whole, mask_id: int, shifted: bool = False) -> nn.Module:
    """The same network, of the same parameters, by blocks.

    Args:
        network: one whose positions see all others.
        block: positions of a block, up to its length.
        mask_id: the mask's id.
        shifted: whether each token is predicted one position earlier.

    Raises:
        InputError: a block of another size, or a network that is told the noise of whole rows.

    Example:
        >>> import mdm_jax as mdm
        >>> from mdm_jax.models.pretrained.by_blocks import as_denoiser, in_blocks
        >>> from mdm_jax.models.pretrained.decoder import Decoder
        >>> sizes = {"width": 16, "depth": 2, "hidden": 24, "heads": 4, "key_value_heads": 2, "head_features": 4}
        >>> plain = Decoder(vocab_size=10, embedding_rows=10, length=8, **sizes)
        >>> model = as_denoiser(in_blocks(plain, block=4, mask_id=9), vocab_size=10, mask_id=9)
        >>> model.block, mdm.models.can_extend(model)
        (4, True)
    """
    size = require_whole("block", block, 1, network.length)
    settings = {**fields_of(network), "mask_id": mask_id, "block": size, "shifted": shifted}
    if isinstance(network, Decoder):
        return BlockCausalDecoder(**settings)
    require(not network.timed, "timed", True, "False by blocks, as the noise of a block is not told by its row")
    return BlockCausalDiffusionTransformer(**settings)


def as_denoiser(module: nn.Module, vocab_size: Whole, mask_id: Whole) -> LinenDenoiser:
    """A published network as a denoiser: by blocks where it goes by blocks.

    Example:
        >>> from mdm_jax.models.pretrained.by_blocks import as_denoiser
        >>> from mdm_jax.models.pretrained.decoder import Decoder
        >>> sizes = {"width": 16, "depth": 2, "hidden": 24, "heads": 4, "key_value_heads": 2, "head_features": 4}
        >>> type(as_denoiser(Decoder(vocab_size=10, embedding_rows=10, length=8, **sizes), 10, mask_id=9)).__name__
        'LinenDenoiser'
    """
    plain = from_linen(module, vocab_size, mask_id)
    return ByBlocksDenoiser(module, plain.vocab_size, plain.mask_id) if isinstance(module, ByBlocks) else plain


def _same(length: int, block: int) -> Bool[Array, "1 length length"]:
    """Whether two positions are of one block."""
    number = jnp.arange(length, dtype=jnp.int32) // block
    return (number[:, None] == number[None])[None]
