"""The network of SDAR and TraDo: the decoder, trained block by block, and kept block by block while sampling.

A block of positions sees itself, masks included, and the *finished* blocks before it, those that hold no mask. What is
made of a finished block never changes, and is kept: see :func:`mdm_jax.models.block_causal`, whose contract this is.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mdm_jax.models.adapters import Whole, fields_of
from mdm_jax.models.cached import BlockCausalDenoiser
from mdm_jax.models.cached.block_network import BlockCache, KeptLayer, finished
from mdm_jax.models.pretrained.decoder import Decoder, Kept
from mdm_jax.models.pretrained.layers import check_length
from mdm_jax.support.errors import require_whole


class BlockCausalDecoder(Decoder):
    """A :class:`~mdm_jax.models.pretrained.decoder.Decoder` whose blocks see themselves and the finished ones before.

    Attributes:
        block: positions of a block.
        mask_id: the mask's id, which tells what is finished.
    """

    block: int = 1
    mask_id: int = 0

    ragged = False

    def encode(self, tokens: Int[Array, "rows length"]) -> Float[Array, "rows length width"]:
        """Hidden vectors of every position."""
        check_length(tokens, self.length)
        seen = self._seen(tokens)
        own = _same(seen.shape[1], self.block)
        return self.norm(self.layers(self.embedding(tokens), seen | own, None, None)[0])

    def encode_blocks(
        self, tokens: Int[Array, "rows length"], noisy: Int[Array, "rows length"]
    ) -> Float[Array, "rows length width"]:
        """Hidden vectors of ``noisy``, each block after the finished blocks of ``tokens`` before it."""
        check_length(tokens, self.length)
        length, seen = tokens.shape[1], self._seen(tokens)
        own = jnp.broadcast_to(_same(length, self.block), seen.shape)
        visible = jnp.concatenate(
            [jnp.concatenate([seen | own, jnp.zeros_like(own)], axis=2), jnp.concatenate([seen, own], axis=2)], axis=1
        )
        places = jnp.tile(jnp.arange(length, dtype=jnp.int32), 2)[None]
        both = self.embedding(jnp.concatenate([tokens, noisy], axis=1))
        return self.norm(self.layers(both, visible, places, None)[0][:, length:])

    def empty(self, rows: int, length: int) -> BlockCache:
        """A cache of nothing, for so many rows of so many tokens; it has one part for all layers, rows first."""
        room = -(-length // self.block) * self.block
        kind = self.embedding.weight.dtype
        kept = jnp.zeros((rows, self.depth, room, self.key_value_heads, self.head_features), kind)
        nothing = jnp.zeros((rows, 0, self.width), kind)  # no local mixing
        tokens = jnp.full((rows, length), self.mask_id, jnp.int32)
        return BlockCache(tokens, jnp.zeros(rows, jnp.int32), (KeptLayer(kept, kept, nothing, nothing),))

    def encode_block(
        self, cache: BlockCache, which: Int[Array, " rows"], absorbs: Bool[Array, " rows"]
    ) -> tuple[BlockCache, Float[Array, "rows block width"]]:
        """Hidden vectors of one block of each row, after the blocks that are kept.

        Args:
            cache: of the rows; no block that is kept is asked for.
            which: the block of each row.
            absorbs: whether it is the next block to be kept, and is kept from now on. What is written of another one
                stands behind those that are kept: nobody sees it, and it is written over.
        """
        length, old = cache.tokens.shape[1], cache.kept[0]
        room = old.key.shape[2]
        place = which[:, None] * self.block + jnp.arange(self.block, dtype=jnp.int32)[None]
        tokens = jnp.take_along_axis(cache.tokens, jnp.minimum(place, length - 1), axis=1)
        before = jnp.arange(room, dtype=jnp.int32)[None] < self.block * cache.absorbed[:, None]
        visible = jnp.concatenate([before, place < length], axis=1)[:, None]
        kept = Kept(jnp.moveaxis(old.key, 1, 0), jnp.moveaxis(old.value, 1, 0))
        hidden, made = self.layers(self.embedding(tokens), visible, place, kept)
        assert made is not None

        def put(part: Array, new: Array) -> Array:
            write = jax.vmap(functools.partial(jax.lax.dynamic_update_slice_in_dim, axis=1))
            return write(part, jnp.moveaxis(new, 0, 1).astype(part.dtype), place[:, 0])

        now = old._replace(key=put(old.key, made.key), value=put(old.value, made.value))
        return cache._replace(absorbed=cache.absorbed + absorbs.astype(jnp.int32), kept=(now,)), self.norm(hidden)

    def _seen(self, tokens: Int[Array, "rows length"]) -> Bool[Array, "rows length length"]:
        """Whether a position's block stands after a finished block that holds the other position."""
        number = jnp.arange(tokens.shape[1], dtype=jnp.int32) // self.block
        limit = jnp.minimum(finished(tokens, self.mask_id, self.block)[:, None], number[None])
        return number[None, None] < limit[:, :, None]


@dataclasses.dataclass(frozen=True)
class BlockDecoderDenoiser(BlockCausalDenoiser):
    """A :class:`BlockCausalDecoder` as a denoiser that goes by blocks (:class:`~mdm_jax.models.Blockwise`)."""

    module: BlockCausalDecoder  # pyright: ignore[reportIncompatibleVariableOverride]


def in_blocks(decoder: Decoder, block: Whole, mask_id: int) -> BlockCausalDecoder:
    """The same decoder, of the same parameters, by blocks.

    Args:
        decoder: the network.
        block: positions of a block, up to its length.
        mask_id: the mask's id.

    Raises:
        InputError: a block of another size.

    Example:
        >>> import mdm_jax as mdm
        >>> from mdm_jax.models.pretrained.block_decoder import BlockDecoderDenoiser, in_blocks
        >>> from mdm_jax.models.pretrained.decoder import Decoder
        >>> sizes = {"width": 16, "depth": 2, "hidden": 24, "heads": 4, "key_value_heads": 2, "head_features": 4}
        >>> module = in_blocks(Decoder(vocab_size=10, embedding_rows=10, length=8, **sizes), block=4, mask_id=9)
        >>> model = BlockDecoderDenoiser(module, 10, 9)
        >>> params = model.init(mdm.key(0), length=8)
        >>> out = mdm.sample(model, params, mdm.plans.uniform(4, 2), rows=2, length=8, key=mdm.key(1))
        >>> out.tokens.shape, out.nfe.tolist()  # two steps for each block
        ((2, 8), [4, 4])
    """
    size = require_whole("block", block, 1, decoder.length)
    return BlockCausalDecoder(**fields_of(decoder), block=size, mask_id=mask_id)


def _same(length: int, block: int) -> Bool[Array, "1 length length"]:
    """Whether two positions are of one block."""
    number = jnp.arange(length, dtype=jnp.int32) // block
    return (number[:, None] == number[None])[None]
