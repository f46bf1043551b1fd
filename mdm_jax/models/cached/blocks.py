"""Block-causal models: bidirectional inside a block of positions, which sees the finished blocks before it."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mdm_jax.models.adapters import LinenDenoiser, Whole, fields_of
from mdm_jax.models.cached.block_network import BlockCache, BlockCausalTransformer, finished
from mdm_jax.models.denoiser import Context, Params
from mdm_jax.models.transformers import transformer
from mdm_jax.support.errors import require_whole


@dataclasses.dataclass(frozen=True)
class BlockCausalDenoiser(LinenDenoiser):
    """A :class:`BlockCausalTransformer` as a denoiser that goes by blocks (:class:`~mdm_jax.models.Blockwise`)."""

    module: BlockCausalTransformer

    @property
    def block(self) -> int:
        """Positions of a block."""
        return self.module.block

    @property
    def slots(self) -> tuple[int, ...]:
        """Two blocks: what the last step of a block revealed, and what the first step of the next one asks."""
        return (2 * self.module.block,)

    def empty(self, params: Params, rows: int, length: int, slots: int, context: Context = None) -> BlockCache:
        """A cache of nothing: see :class:`~mdm_jax.models.Extendable`."""
        del slots, context
        return self.module.apply(params, rows, length, method="empty")  # pyright: ignore[reportReturnType]

    def extend(
        self,
        params: Params,
        cache: BlockCache,
        positions: Int[Array, "rows slots"],
        tokens: Int[Array, "rows slots"],
        revealed: Int[Array, " rows"],
        context: Context = None,
    ) -> tuple[BlockCache, Float[Array, "rows slots d"]]:
        """Absorb, then ask: see :class:`~mdm_jax.models.Extendable`.

        Tokens are written down at once. A finished block is absorbed by one pass, once a question stands behind it; a
        block that holds questions is answered by one pass. Each pass works on one block of every row, whichever is
        next there.
        """
        (rows, slots), length, block = positions.shape, cache.tokens.shape[1], self.block
        blocks = -(-length // block)
        content = jnp.arange(slots, dtype=jnp.int32)[None] < revealed[:, None]
        row = jnp.arange(rows, dtype=jnp.int32)[:, None]
        canvas = cache.tokens.at[row, jnp.where(content, positions, length)].set(tokens, mode="drop")
        ready = finished(canvas, self.mask_id, block)
        asked = jnp.where(content | (positions >= length), blocks, positions // block)  # the block of each question

        def following(answered: Array) -> Array:
            return jnp.min(jnp.where(asked < answered[:, None], blocks, asked), axis=1)

        def is_left(state: tuple[Array, BlockCache, Array]) -> Array:
            return jnp.any(following(state[0]) < blocks)

        def one_pass(state: tuple[Array, BlockCache, Array]) -> tuple[Array, BlockCache, Array]:
            answered, cache, hidden = state
            target = following(answered)
            waits = target < blocks
            absorbs = waits & (cache.absorbed < jnp.minimum(ready, target))
            answers = waits & ~absorbs
            which = jnp.where(answers, target, cache.absorbed)
            cache, found = self._apply(params, cache, which, absorbs, method="encode_block", context=context)
            place = jnp.clip(positions - block * which[:, None], 0, block - 1)
            found = jnp.take_along_axis(found, place[..., None], axis=1).astype(hidden.dtype)
            mine = answers[:, None] & (asked == target[:, None])
            hidden = jnp.where(mine[..., None], found, hidden)
            return jnp.where(answers, target + 1, answered), cache, hidden

        hidden = jnp.zeros((rows, slots, self.module.width), cache.kept[0].key.dtype)
        state = jnp.zeros(rows, jnp.int32), cache._replace(tokens=canvas), hidden
        # A loop that is mostly run once, and not a choice inside of one: XLA would copy the cache for that.
        _, cache, hidden = jax.lax.while_loop(is_left, one_pass, state)
        return cache, hidden

    def encode_blocks(
        self,
        params: Params,
        tokens: Int[Array, "rows length"],
        noisy: Int[Array, "rows length"],
        context: Context = None,
    ) -> Float[Array, "rows length d"]:
        """Hidden vectors of every block after those before it: see :class:`~mdm_jax.models.Blockwise`.

        Example:
            >>> import jax.numpy as jnp
            >>> import mdm_jax as mdm
            >>> model = mdm.models.block_causal(4, length=8, block=4, width=16, depth=1, heads=2)
            >>> params, tokens = model.init(mdm.key(0), length=8), jnp.ones((2, 8), jnp.int32)
            >>> noisy = tokens.at[:, ::2].set(model.mask_id)  # half of each block
            >>> hidden = model.encode_blocks(params, tokens, noisy)  # the second block sees the first one whole
            >>> model.readout(params, hidden).shape
            (2, 8, 4)
        """
        return self._apply(params, tokens, noisy, method="encode_blocks", context=context)


def block_causal(
    vocab_size: Whole,
    length: Whole = 128,
    block: Whole = 16,
    width: Whole = 128,
    depth: Whole = 3,
    heads: Whole = 4,
    expansion: float | int = 4,
    reach: Whole = 2,
    rotary_base: float = 1000.0,
    embedding_scale: float = 0.3,
    classes: Whole = 0,
) -> BlockCausalDenoiser:
    """A transformer that is bidirectional inside a block of positions and causal across blocks.

    Blocks stand side by side from the first position on; the last one may be shorter. A block sees itself, masks
    included, and the *finished* blocks before it: those that hold no mask, all the way from the first block on. What a
    finished block becomes never changes, and is kept: sampling encodes one block at each step, and each block once more
    when it is finished. So predictions are a function of what is revealed, whatever the order.

    Plans are of one block, and samplers go block by block, from left to right (:func:`~mdm_jax.sampling.sample`). A
    profile is that of one block (:func:`~mdm_jax.evaluation.block_profile`). Training gives each block the true ones
    before it (``training.BlockNelbo``). Its parameters are those of :func:`~mdm_jax.models.transformer` with equal
    settings.

    What is given in a later block is not seen by an earlier one: to fill a gap from both sides, take another model. A
    :func:`~mdm_jax.models.guided` one masks the prompt for its second input, where the prompt's blocks are then never
    finished: that input sees one block alone.

    Args:
        vocab_size: as for :func:`~mdm_jax.models.transformer`.
        length: likewise.
        block: positions of a block, from 1 (left to right, one by one) to the length (bidirectional).
        width: as for :func:`~mdm_jax.models.transformer`.
        depth: likewise.
        heads: likewise.
        expansion: likewise.
        reach: likewise: of the neighbours the local mixing takes those that are seen.
        rotary_base: likewise.
        embedding_scale: likewise.
        classes: likewise.

    Raises:
        InputError: a size that cannot be.

    Source: BD3-LM (arXiv 2503.09573); ``cached/DERIVATIONS.md``, "A finished block never changes, so it is kept".

    Example:
        >>> import mdm_jax as mdm
        >>> model = mdm.models.block_causal(4, length=8, block=4, width=16, depth=1, heads=2)
        >>> params = model.init(mdm.key(0), length=8)
        >>> out = mdm.sample(model, params, mdm.plans.uniform(4, 2), rows=2, length=8, key=mdm.key(1))
        >>> out.tokens.shape, out.nfe.tolist()  # two steps for each block
        ((2, 8), [4, 4])
    """
    sizes = vocab_size, length, width, depth, heads, expansion, reach, rotary_base, embedding_scale
    plain = transformer(*sizes, classes=classes)
    settings = fields_of(plain.module)
    size = require_whole("block", block, 1, settings["length"])
    return BlockCausalDenoiser(BlockCausalTransformer(**settings, block=size), plain.vocab_size, plain.mask_id)
