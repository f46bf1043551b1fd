"""What a model makes of the positions that are to be read: all anew, or by what it kept of the tokens before them.

Both loops look through this module, and so need not know which kind of model they sample from.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt32

from mdm_jax.models.denoiser import Context, Denoiser, Params
from mdm_jax.models.extending import Cache, by_rank, can_extend, extending
from mdm_jax.sampling import draws
from mdm_jax.sampling.result import GIVEN

_TIES = 0x7FFFFFFE
"""Folded into a row's key, for the order within its steps; no position has this number."""
_FEW = 3
"""Passes of few slots that are made rather than one of many."""
_LAST = jnp.iinfo(jnp.int32).max
Ties = UInt32[Array, "rows length"] | None


class Found(NamedTuple):
    """Hidden vectors, and where those of each position are.

    Attributes:
        hidden: float[any, d].
        at: int32[rows * length], the row of ``hidden`` of each (row, position) pair; of meaning where it was asked.
    """

    hidden: Float[Array, "any d"]
    at: Int[Array, " total"]


class Kept(NamedTuple):
    """What is kept from one look to the next.

    Attributes:
        cache: the model's own.
        hidden: float[rows, length + slots, d], what was found, in the order of the queue.
    """

    cache: Cache
    hidden: Float[Array, "rows room d"]


class Queue(NamedTuple):
    """In which order positions are absorbed and asked.

    Attributes:
        positions: int32[rows, length].
        place: int32[rows, length], where in the queue each position stands.
    """

    positions: Int[Array, "rows length"]
    place: Int[Array, "rows length"]


class Turn(NamedTuple):
    """What is to be done at a step, by places in the queue.

    Attributes:
        first: int32[rows], the first place.
        asked: int32[rows], the first one that is a question: those before it are tokens to be absorbed.
        end: int32[rows], behind the last question.
    """

    first: Int[Array, " rows"]
    asked: Int[Array, " rows"]
    end: Int[Array, " rows"]


def ties(denoiser: Denoiser, key: PRNGKeyArray, rows: Int[Array, " rows"], length: int) -> Ties:
    """Random bits that order the tokens of one step, for a model to which their order means something."""
    if not by_rank(denoiser):
        return None
    own = draws.position_keys(key, rows, jnp.full(rows.shape, _TIES, jnp.int32))
    of_row = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
    return draws.bits_of(jax.vmap(of_row, in_axes=(0, None))(own, jnp.arange(length, dtype=jnp.int32)))


def queue_of_steps(reveal_step: Int[Array, "rows length"], bits: Ties) -> Queue:
    """Given positions first and from left to right, then step by step; what is never revealed comes last.

    Those of a step are in the order of their bits, or from left to right where there are none.
    """
    return _queue(jnp.where(reveal_step < GIVEN, _LAST, reveal_step), reveal_step == GIVEN, bits)


def turn_of_step(reveal_step: Int[Array, "rows length"], step: Int[Array, ""]) -> Turn:
    """The turn of a step in :func:`queue_of_steps`: absorb what the step before revealed, ask what this one reveals.

    Steps are numbered without gaps. A row that reveals nothing any more has nothing to do.
    """

    def before(step: Array) -> Array:
        return jnp.sum((reveal_step >= GIVEN) & (reveal_step < step), axis=1, dtype=jnp.int32)

    first, asked, end = jnp.where(step == 0, 0, before(step - 1)), before(step), before(step + 1)
    asks = end > asked
    return Turn(first, jnp.where(asks, asked, first), jnp.where(asks, end, first))


def queue_and_turn(
    fresh: Bool[Array, "rows length"], read: Bool[Array, "rows length"], given: Bool[Array, "rows length"], bits: Ties
) -> tuple[Queue, Turn]:
    """A queue for one look: what is to be absorbed (given positions from left to right), then what is to be read."""
    revealed, asked = (jnp.sum(which, axis=1, dtype=jnp.int32) for which in (fresh, read))
    queue = _queue(jnp.where(fresh, 0, jnp.where(read, 1, 2)), given, bits)
    return queue, Turn(jnp.zeros_like(revealed), revealed, revealed + asked)


def nothing_kept(denoiser: Denoiser, params: Params, rows: int, length: int, context: Context) -> Kept | None:
    """What the first look begins with: ``None`` of a model that keeps nothing."""
    if not can_extend(denoiser):
        return None
    model, slots = extending(denoiser), max(_widths(denoiser, length))
    cache = model.empty(params, rows, length, slots, context)
    empty = jnp.zeros((rows, slots), jnp.int32)
    shape = jax.eval_shape(model.extend, params, cache, empty, empty, jnp.zeros(rows, jnp.int32), context)[1]
    return Kept(cache, jnp.zeros((rows, length + slots, shape.shape[-1]), shape.dtype))


def look(
    denoiser: Denoiser,
    params: Params,
    kept: Kept | None,
    tokens: Int[Array, "rows length"],
    queue: Queue,
    turn: Turn,
    context: Context,
) -> tuple[Kept | None, Found]:
    """Hidden vectors of the positions whose turn it is.

    Args:
        denoiser: the model.
        params: its parameters.
        kept: from the look before, or :func:`nothing_kept`.
        tokens: int32[rows, length], the mask's id where masked.
        queue: of positions.
        turn: what of it is to be done.
        context: passed to the denoiser.
    """
    rows, length = tokens.shape
    if kept is None:
        hidden = denoiser.encode(params, tokens, context)
        return None, Found(hidden.reshape(rows * length, hidden.shape[-1]), jnp.arange(rows * length, dtype=jnp.int32))
    model, widths = extending(denoiser), _widths(denoiser, length)
    waiting = jnp.take_along_axis(tokens, queue.positions, axis=1)
    put = jax.vmap(lambda one, piece, start: jax.lax.dynamic_update_slice(one, piece, (start, jnp.int32(0))))

    def in_slots(slots: int, state: tuple[Array, Kept]) -> tuple[Array, Kept]:
        cursor, kept = state
        index = cursor[:, None] + jnp.arange(slots, dtype=jnp.int32)[None]
        within = jnp.minimum(index, length - 1)
        positions = jnp.take_along_axis(queue.positions, within, axis=1)
        positions = jnp.where(index < turn.end[:, None], positions, length)
        words, revealed = jnp.take_along_axis(waiting, within, axis=1), jnp.clip(turn.asked - cursor, 0, slots)
        cache, hidden = model.extend(params, kept.cache, positions, words, revealed, context)
        return jnp.minimum(cursor + slots, turn.end), Kept(cache, put(kept.hidden, hidden, cursor))

    state = turn.first, kept
    # Loops one after the other, and not a choice inside of one: XLA would copy the cache for that.
    for slots, fewer in zip(widths, (*widths[1:], 0), strict=True):
        least = _FEW * fewer

        def is_left(state: tuple[Array, Kept], least: int = least) -> Array:
            return jnp.any(state[0] + least < turn.end)

        state = jax.lax.while_loop(is_left, functools.partial(in_slots, slots), state)
    kept = state[1]
    room = kept.hidden.shape[1]
    at = jnp.arange(rows, dtype=jnp.int32)[:, None] * room + queue.place
    return kept, Found(kept.hidden.reshape(rows * room, -1), at.reshape(-1))


def _widths(denoiser: Denoiser, length: int) -> tuple[int, ...]:
    """The widths that a model works in, the widest first, none of them wider than there can be work for."""
    return tuple(sorted({min(slots, length) for slots in extending(denoiser).slots}, reverse=True))


def _queue(classes: Array, given: Array, bits: Ties) -> Queue:
    """By class, then what is given from left to right, then by bits."""
    position = jnp.broadcast_to(jnp.arange(classes.shape[1], dtype=jnp.uint32)[None], classes.shape)
    within = position if bits is None else jnp.where(given, position, (bits >> 1) | jnp.uint32(0x80000000))
    order = jnp.lexsort((within, classes), axis=-1).astype(jnp.int32)
    return Queue(order, jnp.argsort(order, axis=-1).astype(jnp.int32))
