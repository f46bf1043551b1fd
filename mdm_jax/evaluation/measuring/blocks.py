"""Models that go by blocks: the profile of a block, and what plans of a block cost on given sequences.

One pass of two streams asks about all blocks of a sequence, each after the true ones before it.
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mdm_jax.evaluation.inputs import (
    checked_plans,
    context_of,
    require_context,
    require_costs,
    sequences,
    why_infinite,
)
from mdm_jax.evaluation.measuring.counts import chosen_counts
from mdm_jax.evaluation.measuring.growing import Found
from mdm_jax.evaluation.measuring.until import Until, checked_until, measured
from mdm_jax.models.denoiser import Context, Denoiser, Params, require_model
from mdm_jax.models.extending import blockwise, require_blocks
from mdm_jax.sampling.chunks import chunk_size, in_chunks
from mdm_jax.sampling.draws import log_prob_of
from mdm_jax.sampling.knots import plan_knots
from mdm_jax.sampling.orders import in_blocks
from mdm_jax.sampling.result import GIVEN
from mdm_jax.support.errors import InputError
from mdm_jax.support.flags import usual
from mdm_jax.support.keys import threefry
from mdm_jax.support.progress import bar
from mdm_jax.theory.plans import Plan
from mdm_jax.theory.profiles import Profile, from_rows
from mdm_jax.training.losses import cross_entropy

BATCH = 32
"""Sequences per pass."""


@usual()
def block_profile(
    denoiser: Denoiser,
    params: Params,
    tokens: Int[np.ndarray, "rows length"],
    encodings: int = 4096,
    *,
    key: PRNGKeyArray,
    counts: Int[np.ndarray, " m"] | None = None,
    context: Context = None,
    until: float | int | Until | None = None,
    progress: bool = False,
    provenance: Mapping[str, Any] | None = None,
) -> Profile:
    """Measure ``g(i)`` of a block: the loss per token when ``i`` of its tokens are revealed, and all blocks before it.

    It is the mean over the blocks of a sequence, and its length is that of a block: plans of a block are chosen by it,
    and a plan's expected NELBO is that of one block. A last block that is shorter is left out, unless it is the only
    one. Each block gets a uniformly random order, the same at every count. One pass serves all blocks of a sequence at
    one count. Standard errors treat sequences as independent; their blocks and orders are its repeats.

    Args:
        denoiser: a model that goes by blocks.
        params: its parameters.
        tokens: int32[rows, length], held-out sequences, at least two; real tokens of the denoiser's, no masks.
        encodings: number of passes in all (rows x orders x counts); rounded to whole orders. A pass encodes each
            sequence twice, and predicts all of its blocks.
        key: a typed PRNG key; the orders of row ``r`` depend on it and on ``r`` alone.
        counts: as in :func:`~mdm_jax.evaluation.estimate_profile`, of a block.
        context: likewise.
        until: likewise.
        progress: show a progress bar.
        provenance: JSON to store with the profile.

    Returns:
        A :class:`~mdm_jax.theory.profiles.Profile` of a block in nats per token; "block" in its provenance says so.

    Raises:
        InputError: a model without blocks; as :func:`~mdm_jax.evaluation.estimate_profile`.

    Source: ``models/cached/DERIVATIONS.md``, "A profile of one block predicts plans of one block".

    Example:
        >>> import numpy as np
        >>> import mdm_jax as mdm
        >>> model = mdm.models.block_causal(2, length=8, block=4, width=16, depth=1, heads=2)
        >>> params, rows = model.init(mdm.key(0), length=8), np.ones((4, 8), int)
        >>> profile = mdm.evaluation.block_profile(model, params, rows, encodings=16, key=mdm.key(1))
        >>> profile.length, profile.means.round(4).tolist(), profile.provenance["block"]  # untrained: a bit each
        (4, [0.6931, 0.6931, 0.6931, 0.6931], 4)
    """
    require_model(denoiser, params)
    tokens, key = sequences(denoiser, tokens, least=2), threefry(key)
    require_context(denoiser, context, len(tokens))
    length = tokens.shape[1]
    block = min(require_blocks(denoiser), length)
    enough = checked_until(until, block, encodings)
    counts = chosen_counts(encodings, block, counts, most=None if enough is None else enough.counts)
    look = _BlockCounting(denoiser, params, tokens, block, counts, context)

    def profile_of(found: Found) -> Profile:
        """What has been found, as a profile."""
        about = {"estimator": "E1", "rows": len(found.rows), "orders_per_row": found.orders, "block": block}
        return from_rows(block, counts, found.losses, {**about, **(provenance or {})})

    alike = np.ones(len(tokens), int)
    return measured(look, key, alike, encodings, len(counts), BATCH, enough, profile_of, progress=progress, unit="pass")


@dataclasses.dataclass(frozen=True)
class _BlockCounting:
    """Sequences and how they are looked at; called, it looks at some of them, their blocks in random orders."""

    denoiser: Denoiser
    params: Params
    tokens: Int[np.ndarray, "rows length"]
    block: int
    counts: Int[np.ndarray, " m"]
    context: Context

    def __call__(self, key: PRNGKeyArray, ids: Int[np.ndarray, " batch"]) -> tuple[Float[np.ndarray, "batch m"], None]:
        rank = _ranks(key, jnp.asarray(ids), self.tokens.shape[1], self.block)
        seen = jnp.asarray(self.tokens[ids]), rank, jnp.asarray(self.counts, jnp.int32), context_of(self.context, ids)
        return np.asarray(_at_counts(self.denoiser, self.params, *seen, self.block), np.float64).T, None

    def why_infinite(self, row: int, at: int, keys: Sequence[PRNGKeyArray]) -> InputError:
        """Why a row's loss at a count is no finite number, in one of its orders."""
        count, one = int(self.counts[at]), jnp.asarray(self.tokens[[row]])
        mine, number = context_of(self.context, np.asarray([row])), np.arange(self.tokens.shape[1]) // self.block
        for key in keys:
            rank = np.asarray(_ranks(key, jnp.asarray([row]), self.tokens.shape[1], self.block))
            noisy = jnp.where(jnp.asarray(rank >= count), self.denoiser.mask_id, one).astype(jnp.int32)
            scores = self.denoiser.readout(
                self.params, blockwise(self.denoiser).encode_blocks(self.params, one, noisy, mine)
            )
            seen = number * self.block + count
            found = why_infinite(np.asarray(scores[0]), self.tokens[row], seen, np.flatnonzero(rank[0] >= count), row)
            if found is not None:
                return found
        return InputError(
            f"the denoiser must give row {row} a finite cost with {count} tokens revealed; it gives none."
        )


@usual()
def block_path_nelbo(
    denoiser: Denoiser,
    params: Params,
    tokens: Int[np.ndarray, "rows length"],
    plans: Iterable[Plan],
    *,
    key: PRNGKeyArray,
    context: Context = None,
    progress: bool = False,
) -> Float[np.ndarray, "plans rows"]:
    """Teacher-forced ``-log q`` of a block, along one random path per plan: the mean over each sequence's blocks, nats.

    The mean over rows is an unbiased estimate of the plan's expected NELBO by :func:`block_profile`, that of one block.
    A last block that is shorter is left out as there. Times the number of blocks it is what
    :func:`mdm_jax.sampling.path_log_prob` says of the sequence. The paths of different plans share their random orders.
    A step of all blocks is one pass, so that a plan of K steps takes K of them.

    Args:
        denoiser: a model that goes by blocks.
        params: its parameters.
        tokens: int32[rows, length].
        plans: plans of one block.
        key: a typed PRNG key; row ``r``'s orders depend on it and on ``r`` alone.
        context: as in :func:`~mdm_jax.evaluation.path_nelbo`.
        progress: show a progress bar.

    Returns:
        float64[plans, rows], nats per block; infinite where the model gives a token probability 0.

    Raises:
        InputError: a model without blocks, plans of another length; as :func:`~mdm_jax.evaluation.path_nelbo`.

    Example:
        >>> import numpy as np
        >>> import mdm_jax as mdm
        >>> model = mdm.models.block_causal(2, length=8, block=4, width=16, depth=1, heads=2)
        >>> params, rows = model.init(mdm.key(0), length=8), np.ones((2, 8), int)
        >>> plans = [mdm.plans.uniform(4, 2)]
        >>> mdm.evaluation.block_path_nelbo(model, params, rows, plans, key=mdm.key(1))  # untrained: a bit each
        array([[2.7726, 2.7726]])
    """
    require_model(denoiser, params)
    tokens, key = sequences(denoiser, tokens), threefry(key)
    rows, length = tokens.shape
    require_context(denoiser, context, rows)
    block = min(require_blocks(denoiser), length)
    wanted = f"plans of one block, of {block} tokens, as this model goes block by block"
    plans = checked_plans(plans, block, wanted)
    batch = min(BATCH, rows)
    padded = np.pad(np.arange(rows), (0, -rows % batch), mode="edge").reshape(-1, batch)
    values = np.zeros((len(plans), padded.size))
    free = jnp.ones((batch, length), bool)
    number, whole = np.arange(length) // block, length // block
    with bar(len(padded) * sum(plan.steps for plan in plans), "paths", "pass", progress) as advance:
        for i, ids in enumerate(padded):
            seen, theirs = jnp.asarray(tokens[ids]), context_of(context, ids)
            for at, plan in enumerate(plans):
                knots = plan_knots(plan, batch)
                step = np.asarray(in_blocks(key, jnp.asarray(knots), free, block, jnp.asarray(ids), 0))
                step = np.where(number < whole, step - number * (knots.shape[1] - 1), GIVEN).astype(np.int32)
                for k in range(plan.steps):
                    costs = _at_step(denoiser, params, seen, jnp.asarray(step), jnp.int32(k), theirs)
                    values[at, i * batch : (i + 1) * batch] += np.asarray(costs, np.float64) / whole
                    advance(1)
    require_costs(values[:, :rows], plans)
    return values[:, :rows]


@functools.partial(jax.jit, static_argnums=(2, 3))
def _ranks(key: PRNGKeyArray, rows: Int[Array, " batch"], length: int, block: int) -> Int[Array, "batch length"]:
    """The place of each position in the random order of its block."""
    bits = jax.vmap(lambda row: jax.random.bits(jax.random.fold_in(key, row), (length,), jnp.uint32))(rows)
    number = jnp.broadcast_to(jnp.arange(length, dtype=jnp.int32)[None] // block, bits.shape)
    order = jnp.lexsort((bits, number), axis=-1)
    return jnp.argsort(order, axis=-1).astype(jnp.int32) - block * number


@functools.partial(jax.jit, static_argnums=(0, 6))
def _at_counts(
    denoiser: Denoiser,
    params: Params,
    tokens: Int[Array, "batch length"],
    rank: Int[Array, "batch length"],
    counts: Int[Array, " m"],
    context: Context,
    block: int,
) -> Float[Array, "m batch"]:
    """The mean loss of the hidden tokens of whole blocks, ``count`` of each being revealed: nats per token."""
    rows, length = tokens.shape
    whole = length // block

    def at_count(nothing: None, count: Array) -> tuple[None, Array]:
        hidden = rank >= count
        found = blockwise(denoiser).encode_blocks(
            params, tokens, jnp.where(hidden, denoiser.mask_id, tokens).astype(jnp.int32), context
        )
        costs = jnp.where(hidden, cross_entropy(denoiser.readout(params, found), tokens), 0.0)
        costs = costs[:, : whole * block].reshape(rows, whole, block)
        left = (block - count).astype(jnp.float32)
        return nothing, jnp.mean(jnp.sum(costs, axis=-1), axis=-1) / left

    return jax.lax.scan(at_count, None, counts)[1]


@functools.partial(jax.jit, static_argnums=0)
def _at_step(
    denoiser: Denoiser,
    params: Params,
    tokens: Int[Array, "batch length"],
    step: Int[Array, "batch length"],
    k: Int[Array, ""],
    context: Context,
) -> Float[Array, " batch"]:
    """``-log p`` of the tokens of step ``k`` of their blocks, after those of the steps before: nats."""
    rows, length = tokens.shape
    flat, steps = tokens.reshape(-1).astype(jnp.int32), step.reshape(-1)
    noisy = jnp.where(step < k, tokens, denoiser.mask_id).astype(jnp.int32)
    hidden = blockwise(denoiser).encode_blocks(params, tokens.astype(jnp.int32), noisy, context)
    hidden = hidden.reshape(rows * length, -1)
    pairs = jnp.argsort(steps).astype(jnp.int32)
    begin, end = (jnp.searchsorted(steps[pairs], k, side=side).astype(jnp.int32) for side in ("left", "right"))

    def read(costs: Array, pair: Array, inside: Array) -> Array:
        logits = denoiser.readout(params, hidden[pair]).astype(jnp.float32)
        return costs.at[pair // length].add(jnp.where(inside, -log_prob_of(logits, flat[pair]), 0.0))

    return in_chunks(pairs, begin, end, chunk_size(denoiser.vocab_size), read, jnp.zeros(rows, jnp.float32))
