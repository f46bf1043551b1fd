"""Models that go by ranks: one pass of a sequence costs every position, each after tokens of its own.

What a masked model is asked at one number of revealed tokens after the other, such a model answers at once.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Int32

from mdm_jax.evaluation.inputs import why_infinite
from mdm_jax.models.denoiser import Context, Denoiser, Params
from mdm_jax.models.extending import ranked
from mdm_jax.sampling.chunks import chunk_size, in_chunks
from mdm_jax.sampling.draws import log_prob_of
from mdm_jax.support.errors import InputError

ENCODINGS = 2
"""What a pass counts as: each position is encoded as a token and as a question."""


@functools.partial(jax.jit, static_argnames="denoiser")
def ranked_costs(
    denoiser: Denoiser,
    params: Params,
    tokens: Int[Array, "rows length"],
    rank: Int[Array, "rows length"],
    bound: Int[Array, "rows length"],
    context: Context,
) -> Float[Array, "rows length"]:
    """``-log p(token)`` at every position, after the tokens of rank below its bound: float32, nats, in one pass."""
    rows, length = tokens.shape
    total, flat = rows * length, tokens.reshape(-1).astype(jnp.int32)
    hidden = ranked(denoiser).encode_ranked(params, tokens.astype(jnp.int32), rank, bound, context)
    hidden = hidden.reshape(total, hidden.shape[-1])

    def read(costs: Array, pair: Array, inside: Array) -> Array:
        logits = denoiser.readout(params, hidden[pair]).astype(jnp.float32)
        return costs.at[jnp.where(inside, pair, total)].set(-log_prob_of(logits, flat[pair]), mode="drop")

    pairs, begin = jnp.arange(total, dtype=jnp.int32), jnp.zeros((), jnp.int32)
    costs = in_chunks(pairs, begin, begin + total, chunk_size(denoiser.vocab_size), read, jnp.zeros(total, jnp.float32))
    return costs.reshape(rows, length)


def given_first(rank: Int[np.ndarray, "rows length"], known: Bool[np.ndarray, "rows length"]) -> np.ndarray:
    """Ranks of all positions, those that are known before the others and from left to right: int32[rows, length].

    Args:
        rank: the places of the others among themselves; not read where ``known``.
        known: which positions are.
    """
    before = known.sum(axis=1, keepdims=True)
    return np.where(known, np.cumsum(known, axis=1) - 1, rank + before).astype(np.int32)


def in_order(costs: Float[np.ndarray, "rows length"], rank: Int[np.ndarray, "rows length"]) -> np.ndarray:
    """Costs of positions, sorted by their ranks: float64[rows, length]."""
    return np.take_along_axis(np.asarray(costs, np.float64), np.argsort(rank, axis=1), axis=1)


def why_infinite_by_rank(
    denoiser: Denoiser,
    params: Params,
    tokens: Int32[np.ndarray, " length"],
    rank: Int[np.ndarray, " length"],
    context: Context,
    row: int,
) -> InputError | None:
    """Why a row's costs are no finite numbers, each position after the tokens of smaller rank; ``None`` if they are.

    Args:
        denoiser: the model.
        params: its parameters.
        tokens: the row.
        rank: of its positions.
        context: passed to the denoiser, leading axis 1.
        row: its number, for the sentence.
    """
    order = jnp.asarray(rank, jnp.int32)[None]
    hidden = ranked(denoiser).encode_ranked(params, jnp.asarray(tokens)[None], order, order, context)
    scores = np.asarray(denoiser.readout(params, hidden), np.float32)[0]
    return why_infinite(scores, tokens, np.asarray(rank), np.argsort(rank), row)
