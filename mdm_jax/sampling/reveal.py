"""The blind loop: reveal each position at its appointed step.

At each step the whole sequence is encoded once; only the (row, position) pairs whose step it is are read out, drawn
and written. The pairs are found by one sort before the loop and processed in chunks of a fixed shape, so the cost
follows the data while the shape never changes: every schedule, budget, prompt and temperature runs the same
executable.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mdm_jax.models.denoiser import Context, Denoiser, Params
from mdm_jax.sampling import draws

CHUNK = 128
"""Positions read out together."""


class Revealed(NamedTuple):
    """What a sampler returns.

    Attributes:
        tokens: int32[rows, length].
        nfe: int32[rows], denoiser passes that each row needed (its number of non-empty steps, times the passes that
            one encoding costs).
        passes: int32[], denoiser passes of the whole batch: the largest budget among its rows, or more where rows
            skip different steps.
        remaining: int32[rows], positions still masked (0 unless the denoiser returned a mask).
        reveal_step: int32[rows, length], the step at which each position was revealed, -1 where it was given.
        log_prob: float32[rows], log-probability of the drawn tokens along the path that was taken, nats.
    """

    tokens: Int[Array, "rows length"]
    nfe: Int[Array, " rows"]
    passes: Int[Array, ""]
    remaining: Int[Array, " rows"]
    reveal_step: Int[Array, "rows length"]
    log_prob: Float[Array, " rows"]


@functools.partial(jax.jit, static_argnames=("denoiser", "chunk"))
def reveal(
    denoiser: Denoiser,
    params: Params,
    tokens: Int[Array, "rows length"],
    reveal_step: Int[Array, "rows length"],
    key: PRNGKeyArray,
    temperature: ArrayLike = 1.0,
    context: Context = None,
    row_ids: Int[Array, " rows"] | None = None,
    chunk: int = CHUNK,
) -> Revealed:
    """Sample every position at its step.

    Args:
        denoiser: the model (static: one executable per denoiser and shape).
        params: its parameters.
        tokens: int32[rows, length]; read only where ``reveal_step`` is -1, masked elsewhere before the first step.
        reveal_step: int32[rows, length]; -1 marks a given position. Steps need not be consecutive.
        key: a typed PRNG key; the draw for row ``r``, position ``j`` uses ``fold_in(fold_in(key, r), j)``.
        temperature: divides the logits; 0 is the argmax.
        context: passed to the denoiser, leading axis ``rows``.
        row_ids: int32[rows], the ``r`` of each row's draws; ``0 .. rows - 1`` if left out.
        chunk: positions read out together; the result does not depend on it but for rounding.

    Returns:
        :class:`Revealed`.
    """
    ids = jnp.arange(tokens.shape[0]) if row_ids is None else row_ids
    temperature = jnp.asarray(temperature, jnp.float32)

    def draw(logits: Array, row: Array, position: Array) -> tuple[Array, Array]:
        return draws.categorical(draws.position_keys(key, ids[row], position), logits, temperature)

    canvas = jnp.where(reveal_step < 0, tokens, denoiser.mask_id).astype(jnp.int32)
    final, log_prob, steps = _walk(denoiser, params, canvas, reveal_step, draw, context, chunk)
    return Revealed(
        tokens=final,
        nfe=denoiser.passes * _distinct_steps(reveal_step),
        passes=denoiser.passes * steps,
        remaining=jnp.sum((final == denoiser.mask_id) & (reveal_step >= 0), axis=-1, dtype=jnp.int32),
        reveal_step=reveal_step.astype(jnp.int32),
        log_prob=log_prob,
    )


@functools.partial(jax.jit, static_argnames=("denoiser", "chunk"))
def path_log_prob(
    denoiser: Denoiser,
    params: Params,
    tokens: Int[Array, "rows length"],
    reveal_step: Int[Array, "rows length"],
    context: Context = None,
    chunk: int = CHUNK,
) -> Float[Array, " rows"]:
    """Teacher-forced ``log q(tokens | path)``: the log-probability of drawing ``tokens`` along ``reveal_step``.

    Its negative, averaged over data and random orders, is the expected NELBO that a profile predicts.

    Args:
        denoiser: the model.
        params: its parameters.
        tokens: int32[rows, length], complete sequences.
        reveal_step: int32[rows, length]; positions with -1 are given and not scored.
        context: passed to the denoiser.
        chunk: positions read out together.

    Returns:
        float32[rows], nats, at temperature 1.
    """
    flat = tokens.reshape(-1).astype(jnp.int32)
    length = tokens.shape[1]

    def force(logits: Array, row: Array, position: Array) -> tuple[Array, Array]:
        given = flat[row * length + position]
        return given, draws.log_prob_of(logits, given)

    canvas = jnp.where(reveal_step < 0, tokens, denoiser.mask_id).astype(jnp.int32)
    return _walk(denoiser, params, canvas, reveal_step, force, context, chunk)[1]


Choose = Callable[[Array, Array, Array], tuple[Array, Array]]
"""``(logits[chunk, vocab_size], row[chunk], position[chunk]) -> (tokens[chunk], log_prob[chunk])``."""


def _walk(
    denoiser: Denoiser,
    params: Params,
    canvas: Array,
    reveal_step: Array,
    choose: Choose,
    context: Context,
    chunk: int,
) -> tuple[Array, Array, Array]:
    """Fill ``canvas`` step by step; returns the tokens, each row's summed log-probability and the encodings made."""
    rows, length = canvas.shape
    total = rows * length
    chunk = min(chunk, total)
    steps = reveal_step.reshape(-1)
    pairs = jnp.argsort(steps)  # stable: within a step, by row and position
    steps = steps[pairs]

    def one_step(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        cursor, flat, log_prob, encodings = state
        hidden = denoiser.encode(params, flat.reshape(rows, length), context)
        hidden = hidden.reshape(total, hidden.shape[-1])
        end = jnp.searchsorted(steps, steps[cursor], side="right")

        def one_chunk(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            cursor, flat, log_prob = state
            at = cursor + jnp.arange(chunk)
            inside = at < end
            pair = pairs[jnp.minimum(at, total - 1)]
            row, position = pair // length, pair % length
            tokens, gain = choose(denoiser.readout(params, hidden[pair]), row, position)
            flat = flat.at[jnp.where(inside, pair, total)].set(tokens, mode="drop")
            log_prob = log_prob.at[row].add(jnp.where(inside, gain, 0.0))
            return jnp.minimum(cursor + chunk, end), flat, log_prob

        cursor, flat, log_prob = jax.lax.while_loop(lambda s: s[0] < end, one_chunk, (cursor, flat, log_prob))
        return cursor, flat, log_prob, encodings + 1

    start = jnp.searchsorted(steps, 0)
    state = (start, canvas.reshape(-1), jnp.zeros(rows, jnp.float32), jnp.zeros((), jnp.int32))
    _, flat, log_prob, encodings = jax.lax.while_loop(lambda s: s[0] < total, one_step, state)
    return flat.reshape(rows, length), log_prob, encodings


def _distinct_steps(reveal_step: Array) -> Array:
    """Number of different steps (-1 not counted) in each row: int32[rows]."""
    ordered = jnp.sort(reveal_step, axis=-1)
    first = jnp.concatenate([jnp.ones_like(ordered[:, :1], bool), ordered[:, 1:] != ordered[:, :-1]], axis=-1)
    return jnp.sum(first & (ordered >= 0), axis=-1, dtype=jnp.int32)
