"""The blind loop: reveal each position at its appointed step.

At each step the whole sequence is encoded once; only the (row, position) pairs whose step it is are read out, drawn
and written. The pairs are found by one sort before the loop and processed in chunks of fixed shapes, so the cost
follows the data while no shape changes: every schedule, budget, prompt and temperature runs the same executable.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mdm_jax.models.denoiser import Context, Denoiser, Params, begun
from mdm_jax.models.extending import by_rank, ranked
from mdm_jax.sampling import draws
from mdm_jax.sampling.chunks import chunk_size, in_chunks
from mdm_jax.sampling.looking import Ties, look, nothing_kept, queue_of_steps, ties, turn_of_step
from mdm_jax.sampling.result import GIVEN, MISSING, Sampled
from mdm_jax.sampling.trajectory import Frame, Record, begin, put
from mdm_jax.support.keys import threefry
from mdm_jax.support.ragged import present


@functools.partial(jax.jit, static_argnames=("denoiser", "chunk", "record", "frames"))
def blind_loop(
    denoiser: Denoiser,
    params: Params,
    tokens: Int[Array, "rows length"],
    reveal_step: Int[Array, "rows length"],
    *,
    key: PRNGKeyArray,
    temperature: ArrayLike = 1.0,
    context: Context = None,
    row_ids: Int[Array, " rows"] | None = None,
    chunk: int | None = None,
    record: Record | None = None,
    frames: int | None = None,
) -> Sampled:
    """Sample every position at its step.

    Everything is traced, so that nothing is checked: ids that are no tokens, or steps below -2, go through. Check a
    canvas with :func:`mdm_jax.models.checked_tokens` (:func:`~mdm_jax.sampling.samplers.sample` does).

    Args:
        denoiser: the model (static: one executable per denoiser and shape).
        params: its parameters.
        tokens: int32[rows, length]; read only where ``reveal_step`` is -1, masked elsewhere before the first step.
        reveal_step: int32[rows, length]; -1 marks a given position. Steps need not be consecutive: those in which a row
            reveals nothing cost it nothing.
        key: a typed PRNG key; the draw for row ``r``, position ``j`` uses ``fold_in(fold_in(key', r), j)``, where
            ``key'`` sets the draws apart from an order that was made with the same key.
        temperature: divides the logits; 0 is the argmax.
        context: passed to the denoiser, leading axis ``rows``.
        row_ids: int32[rows], the ``r`` of each row's draws; ``0 .. rows - 1`` if left out.
        chunk: positions read out together, if not chosen by the library (see :mod:`mdm_jax.sampling.chunks`).
        record: called after every step with a :class:`~mdm_jax.sampling.trajectory.Frame`; what it returns is stacked
            in ``trajectory`` (static: define it once).
        frames: how many steps the trajectory has room for; ``length`` if left out. Later ones are dropped.

    Returns:
        :class:`~mdm_jax.sampling.result.Sampled`.

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.polya(8, 0.5)
        >>> canvas, steps = jnp.full((2, 8), 2), jnp.arange(8) // jnp.asarray([[2], [4]])  # 2 is the mask
        >>> out = mdm.sampling.blind_loop(world.denoiser, world.params, canvas, steps, key=mdm.key(0))
        >>> out.nfe.tolist(), int(out.batch_nfe), out.remaining.tolist()
        ([4, 2], 4, [0, 0])
    """
    ids = jnp.arange(tokens.shape[0], dtype=jnp.int32) if row_ids is None else row_ids
    temperature = jnp.asarray(temperature, jnp.float32)

    root = threefry(key)
    key = jax.random.fold_in(root, _TOKENS)

    def draw(logits: Array, row: Array, position: Array) -> tuple[Array, Array]:
        tokens, gain = draws.categorical(draws.position_keys(key, ids[row], position), logits, temperature)
        # Logits that are no law (NaN, all -inf) reveal nothing: `remaining` tells.
        return jnp.where(jnp.isnan(gain), denoiser.mask_id, tokens), gain

    canvas, reveal_step = _begun_canvas(denoiser, tokens, reveal_step)
    reveal_step = without_gaps(reveal_step)
    context = begun(denoiser, params, draws.row_keys(key, ids), context)
    bits = ties(denoiser, root, ids, tokens.shape[1])
    final, log_prob, steps, trajectory = _walk(
        denoiser, params, canvas, reveal_step, draw, bits, context, chunk, record, frames
    )
    return Sampled(
        tokens=final,
        nfe=denoiser.passes * jnp.max(reveal_step + 1, axis=-1, initial=0),
        batch_nfe=denoiser.passes * steps,
        remaining=jnp.sum((final == denoiser.mask_id) & (reveal_step >= 0), axis=-1, dtype=jnp.int32),
        reveal_step=reveal_step,
        log_prob=log_prob,
        steps=steps,
        trajectory=trajectory,
    )


@functools.partial(jax.jit, static_argnames=("denoiser", "chunk"))
def path_log_prob(
    denoiser: Denoiser,
    params: Params,
    tokens: Int[Array, "rows length"],
    reveal_step: Int[Array, "rows length"],
    context: Context = None,
    chunk: int | None = None,
    key: PRNGKeyArray | None = None,
    row_ids: Int[Array, " rows"] | None = None,
) -> Float[Array, " rows"]:
    """Teacher-forced ``log q(tokens | path)``: the log-probability of drawing ``tokens`` along ``reveal_step``.

    Its negative, averaged over data and random orders, is the expected NELBO that a profile predicts
    (``DERIVATIONS.md``, "The log-probability of a path"). Traced like :func:`blind_loop`: check foreign ids with
    :func:`mdm_jax.models.checked_tokens` first, or they give numbers all the same.

    Args:
        denoiser: the model.
        params: its parameters.
        tokens: int32[rows, length], complete sequences.
        reveal_step: int32[rows, length]; positions with -1 are given and not scored, other negative ones (behind the
            end of a sequence) stay masked and are not scored.
        context: passed to the denoiser.
        chunk: positions read out together, if not chosen by the library.
        key: that of :func:`blind_loop`, for a model to which the order of the tokens within a step means something (an
            any-order model): they are in the order in which that absorbed them, from left to right if left out.
            :func:`~mdm_jax.sampling.sample` under a key of its own gives the loop ``jax.random.split(key)[1]``.
        row_ids: likewise.

    Returns:
        float32[rows], nats, at temperature 1. A model that goes by ranks is asked in one pass, whatever the steps.

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.polya(8, 0.5)
        >>> ones, one_by_one = jnp.ones((1, 8), int), jnp.arange(8)[None]
        >>> print(mdm.sampling.path_log_prob(world.denoiser, world.params, ones, one_by_one))
        [-1.6277006]
        >>> print(mdm.sampling.path_log_prob(world.denoiser, world.params, ones, one_by_one // 2))
        [-2.1098747]
        >>> print(world.log_prob(ones))  # one token per step is exact; two per step are not
        [-1.62770059]
    """
    flat = tokens.reshape(-1).astype(jnp.int32)
    length = tokens.shape[1]

    def force(logits: Array, row: Array, position: Array) -> tuple[Array, Array]:
        given = flat[row * length + position]
        return given, draws.log_prob_of(logits, given)

    bits = None
    if key is not None:
        ids = jnp.arange(tokens.shape[0], dtype=jnp.int32) if row_ids is None else row_ids
        bits = ties(denoiser, threefry(key), ids, length)
    canvas, reveal_step = _begun_canvas(denoiser, tokens, reveal_step)
    if by_rank(denoiser):
        return _in_one_pass(denoiser, params, tokens.astype(jnp.int32), reveal_step, force, bits, context, chunk)
    return _walk(denoiser, params, canvas, without_gaps(reveal_step), force, bits, context, chunk, None, None)[1]


_TOKENS = 0x7FFFFFFF
"""Folded into the key of the draws; no row has this number."""

Choose = Callable[[Array, Array, Array], tuple[Array, Array]]
"""``(logits[chunk, vocab_size], row[chunk], position[chunk]) -> (tokens[chunk], log_prob[chunk])``."""


def _begun_canvas(denoiser: Denoiser, tokens: Array, reveal_step: Array) -> tuple[Array, Array]:
    """What is known before the first step, and the steps with positions that are not there set apart."""
    there = present(tokens)
    canvas = jnp.where((reveal_step == GIVEN) | ~there, tokens, denoiser.mask_id).astype(jnp.int32)
    return canvas, jnp.where(there, reveal_step, MISSING)


def _walk(
    denoiser: Denoiser,
    params: Params,
    canvas: Array,
    reveal_step: Array,
    choose: Choose,
    bits: Ties,
    context: Context,
    chunk: int | None,
    record: Record | None,
    frames: int | None,
) -> tuple[Array, Array, Array, Any]:
    """Fill ``canvas`` step by step; returns tokens, each row's summed log-probability, encodings made, trajectory."""
    rows, length = canvas.shape
    total = rows * length
    size = chunk_size(denoiser.vocab_size) if chunk is None else chunk
    steps = reveal_step.reshape(-1)
    pairs = jnp.argsort(steps).astype(jnp.int32)  # stable: within a step, by row and position
    steps = steps[pairs]

    queue = queue_of_steps(reveal_step, bits)

    def one_step(state: tuple[Array, Array, Array, Array, Any, Any]) -> tuple[Array, Array, Array, Array, Any, Any]:
        cursor, flat, log_prob, encodings, kept, trajectory = state
        turn = turn_of_step(reveal_step, steps[cursor])
        kept, seen = look(denoiser, params, kept, flat.reshape(rows, length), queue, turn, context)
        end = jnp.searchsorted(steps, steps[cursor], side="right").astype(cursor.dtype)

        def one_chunk(written: tuple[Array, Array], pair: Array, inside: Array) -> tuple[Array, Array]:
            flat, log_prob = written
            row, position = pair // length, pair % length
            logits = denoiser.readout(params, seen.hidden[seen.at[pair]]).astype(jnp.float32)
            tokens, gain = choose(logits, row, position)
            flat = flat.at[jnp.where(inside, pair, total)].set(tokens, mode="drop")
            return flat, log_prob.at[row].add(jnp.where(inside, gain, 0.0))

        flat, log_prob = in_chunks(pairs, cursor, end, size, one_chunk, (flat, log_prob))
        if record is not None:
            trajectory = put(trajectory, encodings, record(Frame(encodings, flat.reshape(rows, length))))
        return end, flat, log_prob, encodings + 1, kept, trajectory

    first = Frame(jnp.zeros((), jnp.int32), canvas)
    start = jnp.searchsorted(steps, 0).astype(jnp.int32)
    state = (
        start,
        canvas.reshape(-1),
        jnp.zeros(rows, jnp.float32),
        jnp.zeros((), jnp.int32),
        nothing_kept(denoiser, params, rows, length, context),
        begin(record, first, length if frames is None else frames),
    )
    _, flat, log_prob, encodings, _, trajectory = jax.lax.while_loop(lambda s: s[0] < total, one_step, state)
    return flat.reshape(rows, length), log_prob, encodings, trajectory


def _in_one_pass(
    denoiser: Denoiser,
    params: Params,
    tokens: Array,
    reveal_step: Array,
    choose: Choose,
    bits: Ties,
    context: Context,
    chunk: int | None,
) -> Array:
    """Each row's summed log-probability: every position asked at once, after the tokens of the steps before its own."""
    rows, length = tokens.shape
    bound = jnp.sum(reveal_step[:, None, :] < reveal_step[:, :, None], axis=-1, dtype=jnp.int32)
    bound = bound - jnp.sum(reveal_step < GIVEN, axis=-1, keepdims=True, dtype=jnp.int32)
    hidden = ranked(denoiser).encode_ranked(params, tokens, queue_of_steps(reveal_step, bits).place, bound, context)
    hidden = hidden.reshape(rows * length, -1)
    asked = (reveal_step >= 0).reshape(-1)
    pairs = jnp.argsort(~asked).astype(jnp.int32)  # stable: first what is asked

    def one_chunk(log_prob: Array, pair: Array, inside: Array) -> Array:
        row, position = pair // length, pair % length
        gain = choose(denoiser.readout(params, hidden[pair]).astype(jnp.float32), row, position)[1]
        return log_prob.at[row].add(jnp.where(inside, gain, 0.0))

    size = chunk_size(denoiser.vocab_size) if chunk is None else chunk
    begin, end = jnp.zeros((), jnp.int32), jnp.sum(asked, dtype=jnp.int32)
    return in_chunks(pairs, begin, end, size, one_chunk, jnp.zeros(rows, jnp.float32))


def without_gaps(reveal_step: Int[Array, "rows length"]) -> Int[Array, "rows length"]:
    """Each row's steps renumbered 0, 1, 2, ...: steps that reveal nothing left out. Negative ones stay.

    So rows whose empty steps differ do not pay for each other's: the batch takes as many steps as its slowest row.
    """
    ordered = jnp.sort(reveal_step, axis=-1)
    fresh = jnp.concatenate([jnp.ones_like(ordered[:, :1], bool), ordered[:, 1:] != ordered[:, :-1]], axis=-1)
    number = jnp.cumsum(fresh & (ordered >= 0), axis=-1, dtype=jnp.int32) - 1
    place = jax.vmap(jnp.searchsorted)(ordered, reveal_step)
    return jnp.where(reveal_step < 0, reveal_step, jnp.take_along_axis(number, place, axis=-1)).astype(jnp.int32)
