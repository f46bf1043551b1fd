"""The true cost of a plan on given sequences, path by path: the check on what a profile predicts."""

import functools
import itertools
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mdm_jax.evaluation.inputs import (
    checked_plans,
    context_of,
    known_positions,
    require_context,
    require_costs,
    sequences,
)
from mdm_jax.evaluation.measuring import block_path_nelbo, ranked_costs
from mdm_jax.models.denoiser import Context, Denoiser, Params, require_model
from mdm_jax.models.extending import block_length, by_rank
from mdm_jax.sampling.blind import path_log_prob
from mdm_jax.sampling.chunks import chunk_size, in_chunks
from mdm_jax.sampling.draws import log_prob_of
from mdm_jax.sampling.knots import plan_knots
from mdm_jax.sampling.orders import first_hitting, random_order
from mdm_jax.support.errors import require
from mdm_jax.support.flags import usual
from mdm_jax.support.keys import threefry
from mdm_jax.support.progress import bar
from mdm_jax.theory.plans import Plan

BATCH = 32


@usual()
def path_nelbo(
    denoiser: Denoiser,
    params: Params,
    tokens: Int[np.ndarray, "rows length"],
    plans: Iterable[Plan],
    *,
    key: PRNGKeyArray,
    context: Context = None,
    given: Bool[np.ndarray, "*rows length"] | None = None,
    progress: bool = False,
) -> Float[np.ndarray, "plans rows"]:
    """Teacher-forced ``-log q`` of each sequence along one random path per plan, nats per sequence.

    The paths of different plans share their random order (common random numbers), so differences between plans are
    sharper than the values. So they share what is revealed on the way, too: a row with ``n`` tokens revealed is encoded
    once for all plans that pass there. The numbers are those of :func:`mdm_jax.sampling.path_log_prob`. The mean over
    rows is an unbiased estimate of the plan's expected NELBO ``sum_k n_k g(N_{k-1})``. A model that goes by ranks takes
    one pass for each plan; the random order is that of the tokens within a step, too. With one that goes by blocks
    plans and costs are those of one block (:func:`~mdm_jax.evaluation.block_path_nelbo`).

    Args:
        denoiser: the model.
        params: its parameters.
        tokens: int32[rows, length].
        plans: plans of that length.
        key: a typed PRNG key; row ``r``'s order depends on it and on ``r`` alone.
        context: passed to the denoiser: leading axis 1, the same for all rows; or ``rows``, one for each.
        given: bool[length] or bool[rows, length], positions that are known from the start (a prompt). Then, and where
            rows have different lengths, plans are scaled to what is left of each row, as samplers scale them.
        progress: show a progress bar.

    Returns:
        float64[plans, rows]; infinite where the model gives a token probability 0.

    Raises:
        InputError: no rows, an id that is no token's, plans of another length, logits that are no numbers, a
            context for other rows.

    Example:
        >>> import numpy as np
        >>> import mdm_jax as mdm
        >>> world, plans = mdm.oracles.polya(8, 0.5), [mdm.plans.uniform(8, 8), mdm.plans.uniform(8, 4)]
        >>> ones = np.ones((2, 8), int)
        >>> mdm.evaluation.path_nelbo(world.denoiser, world.params, ones, plans, key=mdm.key(0))
        array([[1.6277, 1.6277],
               [2.1099, 2.1099]])
    """
    require_model(denoiser, params)
    if block_length(denoiser) is not None:
        require(given is None, "given", given, "left out for a model that goes by blocks, each after the true ones")
        return block_path_nelbo(denoiser, params, tokens, plans, key=key, context=context, progress=progress)
    tokens, key = sequences(denoiser, tokens), threefry(key)
    rows, length = tokens.shape
    require_context(denoiser, context, rows)
    plans = checked_plans(plans, length, f"plans of the sequences' length {length}")
    known, _left = known_positions(given, tokens)
    if known.any():
        return _one_by_one(denoiser, params, tokens, plans, ~known, key, context, progress)
    batch = min(BATCH, rows)
    padded = np.pad(np.arange(rows), (0, -rows % batch), mode="edge").reshape(-1, batch)
    knots = [np.concatenate([[0], np.cumsum(plan.sizes)]) for plan in plans]
    steps, ranked = _steps(knots), by_rank(denoiser)
    free = jnp.ones((batch, length), bool)
    values = np.zeros((len(plans), padded.size), np.float32)
    passes = len(padded) * (len(plans) if ranked else len(steps))
    with bar(total=passes, description="paths", unit="batch", show=progress) as advance:
        for block, ids in enumerate(padded):
            at = slice(block * batch, (block + 1) * batch)
            rank = first_hitting(key, free, jnp.asarray(ids))
            seen, order, theirs = jnp.asarray(tokens[ids]), np.asarray(rank), context_of(context, ids)
            if ranked:
                for i, of_plan in enumerate(knots):
                    bound = of_plan[np.searchsorted(of_plan, order, side="right") - 1].astype(np.int32)
                    costs = ranked_costs(denoiser, params, seen, rank, jnp.asarray(bound), theirs)
                    values[i, at] = -np.asarray(costs, np.float64).sum(axis=1)
                    advance(1)
                continue
            for begin, ends in steps.items():
                upto = jnp.int32(begin), jnp.int32(max(ends))
                gains = np.asarray(gains_between(denoiser, params, seen, rank, *upto, theirs))
                for end, followers in ends.items():
                    step = np.where((begin <= order) & (order < end), gains, np.float32(0))
                    for i in followers:
                        values[i, at] = _added(values[i, at], step)
                advance(1)
    costs = -values[:, :rows].astype(np.float64)
    require_costs(costs, plans)
    return costs


def _one_by_one(
    denoiser: Denoiser,
    params: Params,
    tokens: Int[np.ndarray, "rows length"],
    plans: Sequence[Plan],
    free: Bool[np.ndarray, "rows length"],
    key: PRNGKeyArray,
    context: Context,
    progress: bool,
) -> Float[np.ndarray, "plans rows"]:
    """Costs of plans that are scaled to each row, in the same random order: rows share no counts that are revealed."""
    rows = len(tokens)
    batch = min(BATCH, rows)
    padded = np.pad(np.arange(rows), (0, -rows % batch), mode="edge").reshape(-1, batch)
    values = np.zeros((len(plans), padded.size))
    with bar(total=len(padded) * len(plans), description="paths", unit="batch", show=progress) as advance:
        for block, ids in enumerate(padded):
            at = slice(block * batch, (block + 1) * batch)
            own, theirs = jnp.asarray(ids, jnp.int32), context_of(context, ids)
            for i, plan in enumerate(plans):
                knots = jnp.asarray(plan_knots(plan, batch))
                steps = random_order(key, knots, jnp.asarray(free[ids]), own)
                seen = jnp.asarray(tokens[ids])
                found = path_log_prob(denoiser, params, seen, steps, context=theirs, key=key, row_ids=own)
                values[i, at] = -np.asarray(found, np.float64)
                advance(1)
    costs = values[:, :rows]
    require_costs(costs, plans)
    return costs


def _steps(knots: Sequence[np.ndarray]) -> dict[int, dict[int, list[int]]]:
    """The plans that take a step from ``begin`` to ``end`` tokens: ``{begin: {end: [plan, ...]}}``, begins rising."""
    found: dict[int, dict[int, list[int]]] = {}
    for plan, of_plan in enumerate(knots):
        for begin, end in itertools.pairwise(of_plan.tolist()):
            found.setdefault(begin, {}).setdefault(end, []).append(plan)
    return dict(sorted(found.items()))


def _added(sums: Float[np.ndarray, " rows"], step: Float[np.ndarray, "rows length"]) -> Float[np.ndarray, " rows"]:
    """A step added to each row's sum, position after position, as the loop that samples does."""
    return np.cumsum(np.concatenate([sums[:, None], step], axis=1), axis=1, dtype=np.float32)[:, -1]


@functools.partial(jax.jit, static_argnames="denoiser")
def gains_between(
    denoiser: Denoiser,
    params: Params,
    tokens: Int[Array, "rows length"],
    rank: Int[Array, "rows length"],
    begin: Int[Array, ""],
    end: Int[Array, ""],
    context: Context,
) -> Float[Array, "rows length"]:
    """The log-probability of tokens ranked from ``begin`` to ``end`` where those before are revealed; 0 elsewhere."""
    rows, length = tokens.shape
    flat, pairs = tokens.reshape(-1).astype(jnp.int32), jnp.argsort(rank.reshape(-1)).astype(jnp.int32)
    canvas = jnp.where(rank < begin, tokens, denoiser.mask_id).astype(jnp.int32)
    hidden = denoiser.encode(params, canvas, context)
    hidden = hidden.reshape(rows * length, hidden.shape[-1])

    def read(gains: Array, pair: Array, inside: Array) -> Array:
        logits = denoiser.readout(params, hidden[pair]).astype(jnp.float32)
        at = jnp.where(inside, pair, rows * length)
        return gains.at[at].set(log_prob_of(logits, flat[pair]), mode="drop")

    nothing = jnp.zeros(rows * length, jnp.float32)
    size = chunk_size(denoiser.vocab_size)
    return in_chunks(pairs, begin * rows, end * rows, size, read, nothing).reshape(rows, length)
