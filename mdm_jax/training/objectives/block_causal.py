"""The objective of block-causal models: each block is masked by itself, and predicted after the true ones before it."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mdm_jax.models.denoiser import Context, Denoiser, Params
from mdm_jax.models.extending import blockwise, require_blocks
from mdm_jax.training.losses import cross_entropy
from mdm_jax.training.objective import Examples, Losses


class BlockMasks(NamedTuple):
    """Examples with some of each block masked.

    Attributes:
        masked: bool[rows, length].
        counts: int32[rows, blocks], how many are masked in each block: at least one.
    """

    masked: Bool[Array, "rows length"]
    counts: Int[Array, "rows blocks"]


@dataclasses.dataclass(frozen=True)
class BlockNelbo:
    """The NELBO of a model that goes block by block: the sum of each block's, given the true blocks before it.

    Of a block of B positions n are masked, n uniform from 1 to B and spread evenly over the blocks of a batch; its
    masked cross-entropies weigh ``B / n``. One pass of two streams, the tokens and the masked tokens, serves all
    blocks. The mean bounds ``-log p`` of the sampler that goes from left to right block by block, and inside each
    block one token at a time in random order.

    Source: BD3-LM (arXiv 2503.09573), with mask counts for its noise levels; ``models/cached/DERIVATIONS.md``, "The
    block NELBO bounds what sampling block by block costs".

    Example:
        >>> import mdm_jax as mdm
        >>> objective = mdm.training.BlockNelbo()
        >>> objective.is_bound, objective.describe()
        (True, {'name': 'block NELBO'})
    """

    @property
    def is_bound(self) -> bool:
        return True

    @property
    def terms(self) -> tuple[str, ...]:
        return ()

    def describe(self) -> dict[str, Any]:
        return {"name": "block NELBO"}

    def context(self, given: Context) -> Context:
        return given

    def corrupt(
        self, key: PRNGKeyArray, denoiser: Denoiser, examples: Examples, progress: Float[Array, ""]
    ) -> BlockMasks:
        """Which positions of each block are masked."""
        del progress
        rows, length = examples.tokens.shape
        block = require_blocks(denoiser)
        blocks = -(-length // block)
        count_key, turn_key, position_key = jax.random.split(key, 3)
        # The blocks of a row in random order, the rows of each turn side by side: even over rows and inside each.
        turn = jnp.argsort(jax.random.bits(turn_key, (rows, blocks), jnp.uint32), axis=1).astype(jnp.int32)
        place = turn * rows + jnp.arange(rows, dtype=jnp.int32)[:, None]
        share = place.astype(jnp.float32) / (rows * blocks) + jax.random.uniform(count_key, dtype=jnp.float32)
        size = jnp.minimum(block, length - block * jnp.arange(blocks, dtype=jnp.int32))[None]
        count = 1 + jnp.minimum(jnp.floor(jnp.mod(share, 1.0) * size.astype(jnp.float32)).astype(jnp.int32), size - 1)
        bits = jax.random.bits(position_key, (rows, blocks, block), jnp.uint32) >> 1
        inside = jnp.arange(block, dtype=jnp.int32)[None, None] < size[..., None]
        order = jnp.argsort(jnp.where(inside, bits, jnp.uint32(2**32 - 1)), axis=-1)
        masked = jnp.argsort(order, axis=-1).astype(jnp.int32) < count[..., None]
        return BlockMasks(masked.reshape(rows, blocks * block)[:, :length], count)

    def losses(self, denoiser: Denoiser, params: Params, examples: Examples, corrupted: BlockMasks) -> Losses:
        tokens, (masked, counts), block = jnp.asarray(examples.tokens, jnp.int32), corrupted, require_blocks(denoiser)
        rows, length = tokens.shape
        noisy = jnp.where(masked, jnp.int32(denoiser.mask_id), tokens)
        hidden = blockwise(denoiser).encode_blocks(params, tokens, noisy, examples.context)
        cost = jnp.where(masked, cross_entropy(denoiser.readout(params, hidden), tokens), 0.0)
        cost = jnp.pad(cost, ((0, 0), (0, -length % block))).reshape(rows, -1, block)
        mean = jnp.sum(cost, axis=-1) / counts.astype(jnp.float32)  # nats per hidden token of each block
        size = jnp.minimum(block, length - block * jnp.arange(counts.shape[1], dtype=jnp.int32))
        size = size[None]
        loss = jnp.sum(mean * size.astype(jnp.float32), axis=-1)
        whole = max(1, length // block)  # a shorter last block has a profile of its own
        return Losses(loss, {}, size[:, :whole] - counts[:, :whole], mean[:, :whole])
