"""The network of block-causal models: the transformer's layers and weights, and blocks of positions that see whom."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mdm_jax.models.cached.network import check_call
from mdm_jax.models.denoiser import Context
from mdm_jax.models.transformers import Transformer


class KeptLayer(NamedTuple):
    """What a layer keeps of the blocks that were absorbed, or makes of positions.

    Attributes:
        key: float[rows, positions, heads, features]; room for every block, each at its own place.
        value: likewise.
        attention: float[rows, reach, width], what the local mixing in front of attention reads of the last positions
            absorbed.
        feed_forward: likewise, in front of the feed-forward layer.
    """

    key: Array
    value: Array
    attention: Array
    feed_forward: Array


class BlockCache(NamedTuple):
    """The cache of a block-causal model.

    Attributes:
        tokens: int32[rows, length], what is revealed; the mask's id elsewhere.
        absorbed: int32[rows], how many blocks are kept, from the first one on.
        kept: of each layer.
        last: float[rows, width], the hidden vector of the last position absorbed, where the next token is predicted by
            it; else ``None``.
    """

    tokens: Int[Array, "rows length"]
    absorbed: Int[Array, " rows"]
    kept: tuple[KeptLayer, ...]
    last: Float[Array, "rows width"] | None = None


class BlockCausalTransformer(Transformer):
    """The network of :func:`mdm_jax.models.block_causal`, whose arguments are its fields.

    A block sees itself, masks included, and the finished blocks before it. A block is finished when it and all blocks
    before it hold no mask.
    """

    block: int

    def encode(self, tokens: Int[Array, "rows length"], context: Context = None) -> Float[Array, "rows length width"]:
        """Hidden vectors of every position."""
        length = tokens.shape[1]
        context = self.modulating(context, len(tokens))
        check_call(self, length, context)
        return self._in_one_pass(tokens, self._padded(tokens)[:, None], context)[:, :length]

    def encode_blocks(
        self,
        tokens: Int[Array, "rows length"],
        noisy: Int[Array, "rows length"],
        context: Context = None,
    ) -> Float[Array, "rows length width"]:
        """Hidden vectors of ``noisy``, each block after the finished blocks of ``tokens`` before it."""
        length = tokens.shape[1]
        context = self.modulating(context, len(tokens))
        check_call(self, length, context)
        both = jnp.stack([self._padded(tokens), self._padded(noisy)], axis=1)
        return self._in_one_pass(tokens, both, context)[:, :length]

    def empty(self, rows: int, length: int) -> BlockCache:
        """A cache of nothing, for so many rows of so many tokens."""
        positions = -(-length // self.block) * self.block
        per_head, beside = (rows, positions, self.heads, self.width // self.heads), (rows, self.reach, self.width)
        kind = self.embedding.embedding.dtype
        kept = (KeptLayer(*(jnp.zeros(s, kind) for s in (per_head, per_head, beside, beside))) for _ in self.blocks)
        return BlockCache(jnp.full((rows, length), self.vocab_size, jnp.int32), jnp.zeros(rows, jnp.int32), tuple(kept))

    def encode_block(
        self,
        cache: BlockCache,
        which: Int[Array, " rows"],
        absorbs: Bool[Array, " rows"],
        context: Context = None,
    ) -> tuple[BlockCache, Float[Array, "rows block width"]]:
        """Hidden vectors of one block of each row, after the blocks that are kept.

        Args:
            cache: of the rows; no block that is kept is asked for.
            which: the block of each row.
            absorbs: whether it is the next block to be kept, and is kept from now on. What is written of another one
                stands behind those that are kept: nobody sees it, and it is written over.
            context: as ``encode`` takes it.
        """
        length = cache.tokens.shape[1]
        context = self.modulating(context, len(which))
        check_call(self, length, context)
        place = which[:, None] * self.block + jnp.arange(self.block, dtype=jnp.int32)[None]
        tokens = jnp.take_along_axis(cache.tokens, jnp.minimum(place, length - 1), axis=1)
        # What is kept for the local mixing ends where the kept blocks do: a later block may reach a part of it.
        beside = jnp.arange(self.reach, dtype=jnp.int32)[None] + self.block * (which - cache.absorbed)[:, None]

        def before(depth: int, name: str, normed: Array) -> Array:
            del normed
            tail = getattr(cache.kept[depth], name)
            found = jnp.take_along_axis(tail, jnp.minimum(beside, max(self.reach - 1, 0))[..., None], axis=1)
            return jnp.where((beside < self.reach)[..., None], found, 0.0)[:, None]

        def earlier(depth: int, key: Array, value: Array) -> tuple[Array, Array]:
            del key, value
            return cache.kept[depth].key, cache.kept[depth].value

        def put(kept: Array, made: Array) -> Array:
            write = jax.vmap(functools.partial(jax.lax.dynamic_update_slice_in_dim, axis=0))
            return write(kept, made.astype(kept.dtype), place[:, 0])

        def moved_on(tail: Array, made: Array) -> Array:
            longer = jnp.concatenate([tail, made.astype(tail.dtype)], axis=1)
            return jnp.where(absorbs[:, None, None], longer[:, longer.shape[1] - self.reach :], tail)

        room = cache.kept[0].key.shape[1]
        seen = jnp.arange(room, dtype=jnp.int32)[None] < self.block * cache.absorbed[:, None]
        inside = None if room == length else (place < length)[:, None]
        hidden, made = self._through(self.embedding(tokens), place, context, before, earlier, seen[:, None], inside)
        kept = tuple(
            KeptLayer(
                put(old.key, new.key),
                put(old.value, new.value),
                moved_on(old.attention, new.attention),
                moved_on(old.feed_forward, new.feed_forward),
            )
            for old, new in zip(cache.kept, made, strict=True)
        )
        return cache._replace(absorbed=cache.absorbed + absorbs.astype(jnp.int32), kept=kept), hidden

    def _padded(self, tokens: Int[Array, "rows length"]) -> Int[Array, "rows padded"]:
        """The tokens up to the end of the last block."""
        return jnp.pad(tokens, ((0, 0), (0, -tokens.shape[1] % self.block)), constant_values=self.vocab_size)

    def _in_one_pass(
        self, tokens: Int[Array, "rows length"], streams: Int[Array, "rows streams padded"], context: Array | None
    ) -> Float[Array, "rows padded width"]:
        """Hidden vectors of the last stream. Every stream sees the finished blocks of the first one, and itself."""
        rows, count, padded = streams.shape
        length, blocks = tokens.shape[1], padded // self.block
        number = jnp.arange(blocks, dtype=jnp.int32)
        limit = jnp.minimum(finished(tokens, self.vocab_size, self.block)[:, None], number[None])
        seen = number[None, None] < limit[:, :, None]  # [rows, block that looks, block that is seen]
        place = jnp.arange(padded, dtype=jnp.int32)
        inside = None if padded == length else jnp.tile((place < length).reshape(1, blocks, self.block), (1, count, 1))

        def before(depth: int, name: str, normed: Array) -> Array:
            del depth, name
            content = normed[:, :padded].reshape(rows, blocks, self.block, -1)
            parts = []
            for back in range(-(-self.reach // self.block), 0, -1):
                wanted = min(self.block, self.reach - (back - 1) * self.block)
                piece = content[:, : max(0, blocks - back), self.block - wanted :]
                piece = jnp.pad(piece, ((0, 0), (blocks - piece.shape[1], 0), (0, 0), (0, 0)))
                parts.append(jnp.where((number[None] - back < limit)[..., None, None], piece, 0.0))
            return jnp.tile(jnp.concatenate([*parts, content[:, :, :0]], axis=2), (1, count, 1, 1))

        def earlier(depth: int, key: Array, value: Array) -> tuple[Array, Array]:
            del depth
            return key[:, :padded], value[:, :padded]

        hidden = self.embedding(streams.reshape(rows, count * padded))
        places = jnp.tile(place, count)[None]  # alike in all rows
        seen = jnp.repeat(jnp.tile(seen, (1, count, 1)), self.block, axis=2)
        asked = (count - 1) * padded
        return self._through(hidden, places, context, before, earlier, seen, inside, asked)[0]

    def _through(
        self,
        hidden: Float[Array, "rows positions width"],
        places: Int[Array, "some positions"],
        context: Array | None,
        before: Callable[[int, str, Array], Array],
        earlier: Callable[[int, Array, Array], tuple[Array, Array]],
        seen: Bool[Array, "rows blocks earlier"],
        inside: Bool[Array, "some blocks block"] | None,
        asked: int = 0,
    ) -> tuple[Float[Array, "rows asked width"], list[KeptLayer]]:
        """Whole blocks through all layers.

        Args:
            hidden: embeddings of whole blocks, one after the other.
            places: where they stand; one row does for all.
            context: as ``encode`` takes it.
            before: of a layer, a part of it and that part's inputs: ``float[rows, blocks, reach, width]``, what the
                local mixing reads in front of each block, 0 where that is not seen.
            earlier: of a layer, its keys and values: those of earlier blocks, [rows, earlier, heads, features].
            seen: which of these each block sees.
            inside: which positions are any: the last block may be shorter. ``None``: all.
            asked: the first position that is wanted of the last layer.

        Returns:
            Hidden vectors, and what each layer made on the way.
        """
        rows, blocks = seen.shape[:2]

        def beside(normed: Array, front: Array) -> dict[int, Array]:
            own = normed.reshape(rows, blocks, self.block, self.width)
            own = own if inside is None else jnp.where(inside[..., None], own, 0.0)
            window = jnp.concatenate([front, jnp.pad(own, ((0, 0), (0, 0), (0, self.reach), (0, 0)))], axis=2)
            offsets = [offset for offset in range(-self.reach, self.reach + 1) if offset != 0]
            pieces = {offset: window[:, :, self.reach + offset :][:, :, : self.block] for offset in offsets}
            return {offset: piece.reshape(normed.shape) for offset, piece in pieces.items()}

        made = []
        for depth, layer in enumerate(self.blocks):
            first = layer.attention_norm(hidden, context)
            mixed = layer.attention_mixing.around(first, beside(first, before(depth, "attention", first)))
            query, key, value = layer.attention.projected(mixed, places)
            found = _found(query, key, value, *earlier(depth, key, value), seen, inside)
            hidden = hidden + layer.attention.output(found.reshape(hidden.shape))
            second = layer.feed_forward_norm(hidden, context)
            mixed = layer.feed_forward_mixing.around(second, beside(second, before(depth, "feed_forward", second)))
            if depth == len(self.blocks) - 1:  # nobody reads the others any more
                hidden, mixed = hidden[:, asked:], mixed[:, asked:]
            hidden = hidden + layer.feed_forward(mixed)
            made.append(KeptLayer(key, value, first, second))
        return self.final_norm(hidden, context), made


def finished(tokens: Int[Array, "rows length"], mask_id: int, block: int) -> Int[Array, " rows"]:
    """How many blocks are finished: from the first one on, those without a mask. The last one may be shorter."""
    rows, length = tokens.shape
    known = jnp.pad(tokens != mask_id, ((0, 0), (0, -length % block)), constant_values=True)
    whole = jnp.all(known.reshape(rows, -1, block), axis=2)
    return jnp.sum(jnp.cumsum(~whole, axis=1) == 0, axis=1, dtype=jnp.int32)


def _found(
    query: Array,
    key: Array,
    value: Array,
    earlier_key: Array,
    earlier_value: Array,
    seen: Bool[Array, "rows blocks earlier"],
    inside: Bool[Array, "some blocks block"] | None,
) -> Float[Array, "rows positions heads features"]:
    """What attention finds: each block in its own keys and values, and in those of the earlier blocks it sees."""
    rows, blocks = seen.shape[:2]
    heads, features = query.shape[2:]
    block = query.shape[1] // blocks
    far = jnp.einsum("rqhf,rkhf->rhqk", query, earlier_key).astype(jnp.float32)
    far = far.reshape(rows, heads, blocks, block, -1)
    far = jnp.where(seen[:, None, :, None], far, -jnp.inf)
    query, key, value = (one.reshape(rows, blocks, block, heads, features) for one in (query, key, value))
    near = jnp.einsum("rbqhf,rbkhf->rhbqk", query, key).astype(jnp.float32)
    near = near if inside is None else jnp.where(inside[:, None, :, None], near, -jnp.inf)
    top = jnp.maximum(jnp.max(far, axis=-1, keepdims=True, initial=-jnp.inf), jnp.max(near, axis=-1, keepdims=True))
    top = jax.lax.stop_gradient(top)
    far, near = jnp.exp(far - top), jnp.exp(near - top)
    total = jnp.sum(far, axis=-1, keepdims=True) + jnp.sum(near, axis=-1, keepdims=True)
    far, near = ((part / total).astype(value.dtype) for part in (far, near))
    far = far.reshape(rows, heads, blocks * block, -1)
    found = jnp.einsum("rhqk,rkhf->rqhf", far, earlier_value)
    return found + jnp.einsum("rhbqk,rbkhf->rbqhf", near, value).reshape(found.shape)
