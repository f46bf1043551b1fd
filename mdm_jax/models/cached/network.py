"""The networks of models with a cache: the transformer's blocks and weights, and who sees whom."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mdm_jax.models.denoiser import Context
from mdm_jax.models.rotary import rotations
from mdm_jax.models.transformers import Transformer
from mdm_jax.support.errors import require, verbatim
from mdm_jax.support.ragged import present

LATER = jnp.iinfo(jnp.int32).max
"""The rank of what is not revealed."""
PIECE = 256
"""Keys that attention to a cache looks at together; it looks at no more pieces than hold any."""


class Kept(NamedTuple):
    """What a block keeps of the tokens that were absorbed, in the order in which they were.

    Attributes:
        key: float[rows, heads, features, room], as the product with queries wants it: whole pieces of ``PIECE``.
        value: float[rows, heads, room, features].
        attention: float[rows, length + slots, width], what the local mixing in front of attention reads.
        feed_forward: likewise, in front of the feed-forward layer.
    """

    key: Array
    value: Array
    attention: Array
    feed_forward: Array


class OrderCache(NamedTuple):
    """The cache of an any-order model.

    Attributes:
        rank: int32[rows, length], when each position's token was absorbed; :data:`LATER` where it was not.
        absorbed: int32[rows], how many were.
        kept: of each block.
    """

    rank: Int[Array, "rows length"]
    absorbed: Int[Array, " rows"]
    kept: tuple[Kept, ...]


class AnyOrderTransformer(Transformer):
    """The network of :func:`mdm_jax.models.any_order`, whose arguments are its fields.

    Two streams go through the same blocks. *Content* is a revealed token, *a question* is a mask. Both see the content
    of smaller rank than their own, and themselves; nobody sees a question, nor a position that is not there.
    """

    ragged = True

    def encode(self, tokens: Int[Array, "rows length"], context: Context = None) -> Float[Array, "rows length width"]:
        """Hidden vectors of a question at every position, given all tokens in order from left to right."""
        known = (tokens != self.vocab_size) & present(tokens)
        rank = jnp.where(known, jnp.cumsum(known, axis=1, dtype=jnp.int32) - 1, LATER)
        bound = jnp.broadcast_to(jnp.sum(known, axis=1, keepdims=True, dtype=jnp.int32), tokens.shape)
        return self.encode_ranked(tokens, rank, bound, context)

    def encode_ranked(
        self,
        tokens: Int[Array, "rows length"],
        rank: Int[Array, "rows length"],
        bound: Int[Array, "rows length"],
        context: Context = None,
    ) -> Float[Array, "rows length width"]:
        """Hidden vectors of a question at every position: position ``i`` sees tokens of rank below ``bound[i]``."""
        length = tokens.shape[1]
        context = self.modulating(context, len(tokens))
        check_call(self, length, context)
        there = present(tokens)
        tokens, rank = jnp.where(there, tokens, self.vocab_size), jnp.where(there, rank, LATER)
        limit = jnp.concatenate([rank, bound], axis=1)
        beside = _seen_beside(rank, limit, self.reach)
        visible = rank[:, None, :] < limit[:, :, None]
        places = jnp.tile(jnp.arange(length, dtype=jnp.int32), 2)[None]  # alike in all rows
        hidden = self._embedded(jnp.concatenate([tokens, jnp.full_like(tokens, self.vocab_size)], axis=1), places)

        def content_beside(normed: Array) -> dict[int, Array]:
            moved = {offset: _moved(normed[:, :length], offset) for offset in beside}
            twice = {offset: jnp.concatenate([one, one], axis=1) for offset, one in moved.items()}
            return {offset: jnp.where(seen[..., None], twice[offset], 0.0) for offset, seen in beside.items()}

        for depth, block in enumerate(self.blocks):
            normed = block.attention_norm(hidden, context)
            mixed = block.attention_mixing.around(normed, content_beside(normed))
            query, key, value = block.attention.projected(mixed, places)
            found = block.attention.mixed(query, key[:, :length], value[:, :length], visible, own=(key, value))
            hidden = hidden + found
            normed = block.feed_forward_norm(hidden, context)
            mixed = block.feed_forward_mixing.around(normed, content_beside(normed))
            if depth == len(self.blocks) - 1:  # nobody reads content any more
                hidden, mixed = hidden[:, length:], mixed[:, length:]
            hidden = hidden + block.feed_forward(mixed)
        return self.final_norm(hidden, context)

    def _embedded(
        self, tokens: Int[Array, "rows entries"], places: Int[Array, "some entries"]
    ) -> Float[Array, "rows entries width"]:
        """Embeddings of the tokens and of where they stand, by sines of the wavelengths of the rotary positions.

        Those say how far two entries are from each other. Nobody here sees where the sequence begins and ends, as
        everybody does where masks are seen: the first question would have one law at all positions.
        """
        cosine, sine = rotations(self.length, self.width, self.rotary_base)
        waves = jnp.asarray(self.embedding_scale * np.concatenate([sine, cosine], axis=-1))
        waves = jnp.take(waves, places, axis=0, mode="clip")
        hidden = self.embedding(tokens)
        return hidden + waves.astype(hidden.dtype)

    def empty(self, rows: int, length: int, slots: int) -> OrderCache:
        """A cache of nothing, for so many rows of so many tokens."""
        beside, features = (rows, length + slots, self.width), self.width // self.heads
        room = length + slots if length + slots <= PIECE else -(-(length + slots) // PIECE) * PIECE
        kind = self.embedding.embedding.dtype
        shapes = (rows, self.heads, features, room), (rows, self.heads, room, features), beside, beside
        kept = tuple(Kept(*(jnp.zeros(shape, kind) for shape in shapes)) for _ in self.blocks)
        return OrderCache(jnp.full((rows, length), LATER, jnp.int32), jnp.zeros(rows, jnp.int32), kept)

    def extend(
        self,
        cache: OrderCache,
        positions: Int[Array, "rows slots"],
        tokens: Int[Array, "rows slots"],
        revealed: Int[Array, " rows"],
        context: Context = None,
    ) -> tuple[OrderCache, Float[Array, "rows slots width"]]:
        """Keep what the tokens become, then hidden vectors of the questions.

        What is kept lies in the order in which it was absorbed: a pass writes one piece for each row, and what stands
        behind the row's count is written over by the next pass.
        """
        rows, length = cache.rank.shape
        context = self.modulating(context, len(tokens))
        check_call(self, length, context)
        slot = jnp.arange(tokens.shape[1], dtype=jnp.int32)[None]
        content = slot < revealed[:, None]
        bound = cache.absorbed[:, None] + jnp.minimum(slot, revealed[:, None])
        row = jnp.arange(rows, dtype=jnp.int32)[:, None]
        rank = cache.rank.at[row, jnp.where(content, positions, length)].set(bound, mode="drop")

        # The neighbours of each slot: where they are kept, and whether the slot sees them.
        offsets = [offset for offset in range(-self.reach, self.reach + 1) if offset != 0]
        at = positions[..., None] + jnp.asarray(offsets, jnp.int32)[None, None]
        theirs = jnp.take_along_axis(rank, jnp.clip(at, 0, length - 1).reshape(rows, -1), axis=1).reshape(at.shape)
        seen = (at >= 0) & (at < length) & (theirs < bound[..., None])
        place = jnp.where(seen, theirs, 0).reshape(rows, -1)

        def beside(kept: Array) -> dict[int, Array]:
            found = jnp.take_along_axis(kept, place[..., None], axis=1).reshape(*at.shape, self.width)
            found = jnp.where(seen[..., None], found, 0.0)
            return {offset: found[:, :, i] for i, offset in enumerate(offsets)}

        def put(kept: Array, made: Array, axis: int) -> Array:
            write = jax.vmap(functools.partial(jax.lax.dynamic_update_slice_in_dim, axis=axis - 1))
            return write(kept, made.astype(kept.dtype), cache.absorbed)

        hidden, all_kept = self._embedded(jnp.where(content, tokens, self.vocab_size), positions), []
        for block, kept in zip(self.blocks, cache.kept, strict=True):
            normed = block.attention_norm(hidden, context)
            attention = put(kept.attention, normed, 1)
            mixed = block.attention_mixing.around(normed, beside(attention))
            query, key, value = (one.swapaxes(1, 2) for one in block.attention.projected(mixed, positions))
            keys, values = put(kept.key, key.swapaxes(2, 3), 3), put(kept.value, value, 2)
            found = _found(query, key, value, keys, values, bound).swapaxes(1, 2)
            hidden = hidden + block.attention.output(found.reshape(hidden.shape))
            normed = block.feed_forward_norm(hidden, context)
            feed_forward = put(kept.feed_forward, normed, 1)
            mixed = block.feed_forward_mixing.around(normed, beside(feed_forward))
            hidden = hidden + block.feed_forward(mixed)
            all_kept.append(Kept(keys, values, attention, feed_forward))
        return OrderCache(rank, cache.absorbed + revealed, tuple(all_kept)), self.final_norm(hidden, context)


def check_call(network: Transformer, length: int, context: Array | None) -> None:
    """Refuse longer sequences than the model's, and contexts for positions instead of rows.

    Raises:
        InputError: one of the two.
    """
    require(length <= network.length, "tokens", length, f"at most {network.length} long, as the model is")
    shape = jnp.shape(context) if context is not None else (0, 0)
    require(len(shape) == 2, "context", verbatim(f"shape {shape}"), "of shape (rows, numbers), one vector for each row")


def _found(
    query: Float[Array, "rows heads slots features"],
    key: Float[Array, "rows heads slots features"],
    value: Float[Array, "rows heads slots features"],
    keys: Float[Array, "rows heads features room"],
    values: Float[Array, "rows heads room features"],
    bound: Int[Array, "rows slots"],
) -> Float[Array, "rows heads slots features"]:
    """What attention finds: each slot in its own key and value, and in the first ``bound`` of those that are kept.

    Piece by piece with running maxima and sums, each relative to the maximum so far (arXiv 1805.02867).
    """
    room = keys.shape[3]
    piece = min(PIECE, room)

    def looked_at(i: Array | int, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        top, total, found = state
        start = i * piece
        some_keys = jax.lax.dynamic_slice_in_dim(keys, start, piece, axis=3)
        some_values = jax.lax.dynamic_slice_in_dim(values, start, piece, axis=2)
        hidden = start + jnp.arange(piece, dtype=jnp.int32)[None, None] >= bound[..., None]
        scores = jnp.einsum("rhqf,rhfk->rhqk", query, some_keys).astype(jnp.float32)
        scores = scores + jnp.where(hidden, -jnp.inf, jnp.float32(0.0))[:, None]
        higher = jnp.maximum(top, jnp.max(scores, axis=-1, keepdims=True))
        weights, less = jnp.exp(scores - higher), jnp.exp(top - higher)
        more = jnp.einsum("rhqk,rhkf->rhqf", weights.astype(values.dtype), some_values).astype(jnp.float32)
        return higher, total * less + jnp.sum(weights, axis=-1, keepdims=True), found * less + more

    own = jnp.einsum("rhqf,rhqf->rhq", query, key).astype(jnp.float32)[..., None]
    state = own, jnp.ones_like(own), value.astype(jnp.float32)
    if room == piece:
        state = looked_at(0, state)
    else:
        state = jax.lax.fori_loop(0, (jnp.max(bound) + piece - 1) // piece, looked_at, state)
    _, total, found = state
    return (found / total).astype(value.dtype)


def _seen_beside(
    rank: Int[Array, "rows length"], limit: Int[Array, "rows streams"], reach: int
) -> dict[int, Bool[Array, "rows streams"]]:
    """By offset, whether each entry of both streams sees its neighbour's content."""
    found = {}
    for offset in range(-reach, reach + 1):
        if offset != 0:
            theirs = _moved(rank, offset, LATER)
            found[offset] = jnp.concatenate([theirs, theirs], axis=1) < limit
    return found


def _moved(values: Array, offset: int, filled: float | int = 0) -> Array:
    """``values[:, i + offset]`` at each ``i``, along the second axis."""
    length = values.shape[1]
    empty = jnp.full((values.shape[0], min(abs(offset), length), *values.shape[2:]), filled, values.dtype)
    if offset > 0:
        return jnp.concatenate([values[:, offset:], empty], axis=1)
    return jnp.concatenate([empty, values[:, : max(0, length + offset)]], axis=1)
