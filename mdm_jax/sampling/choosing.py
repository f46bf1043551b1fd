"""What rules decide at a step, as pure functions of what they see: which positions to reveal, and which to mask again.

:mod:`mdm_jax.sampling.rules` makes rules of them.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mdm_jax.sampling.knots import scaled_knots
from mdm_jax.sampling.view import Choice, View


def take_surest(
    score: Float[Array, "rows length"], among: Bool[Array, "rows length"], count: Int[Array, " rows"]
) -> Bool[Array, "rows length"]:
    """The ``count`` positions of each row with the largest score ``among`` some; the first of equals.

    Args:
        score: float32[rows, length].
        among: bool[rows, length], the positions that may be taken.
        count: int32[rows]; where there are fewer, all are taken.

    Returns:
        bool[rows, length].

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> score, open_ = jnp.asarray([[0.1, 0.9, 0.5, 0.7]]), jnp.asarray([[True, True, True, False]])
        >>> mdm.rules.take_surest(score, open_, jnp.asarray([2])).tolist()
        [[False, True, True, False]]
    """
    return among & (_rank(jnp.where(among, score, -jnp.inf), among) < count[:, None])


def _rank(score: Array, among: Array) -> Array:
    """0 for the surest; whatever is not ``among`` comes last."""
    order = jnp.lexsort((-score, ~among), axis=-1)
    return jnp.argsort(order, axis=-1).astype(jnp.int32)


def _next_knot(view: View, knots: Array) -> Array:
    """How many positions the step reveals: up to the next knot above what is settled in the block."""
    settled, total = _counts(view)
    ends = scaled_knots(knots, total[:, None], view.open.shape[1])
    upto = jnp.min(jnp.where(ends > settled[:, None], ends, total[:, None]), axis=-1)
    return upto - settled


def at_clock(values: Array, clock: Array) -> Array:
    """``values[row, clock[row]]``, the last one after the end."""
    at = jnp.minimum(clock, values.shape[1] - 1)
    rows = clock.shape[0]
    return jnp.take_along_axis(jnp.broadcast_to(values, (rows, values.shape[1])), at[:, None], axis=1)[:, 0]


def _counts(view: View) -> tuple[Array, Array]:
    """Settled positions of the block, and its free positions."""
    settled = jnp.sum(view.settled, axis=-1, dtype=jnp.int32)
    return settled, settled + jnp.sum(view.open, axis=-1, dtype=jnp.int32)


def choose_by_plan(knots: Array, view: View) -> Choice:
    return Choice(take_surest(view.score, view.open, _next_knot(view, knots)))


def choose_by_quota(steps: Array, view: View) -> Choice:
    settled, total = _counts(view)
    # No more steps than positions reveal anything, and none beyond the last.
    k = jnp.minimum(jnp.arange(view.open.shape[1] + 1, dtype=jnp.int32), steps)[None, :]
    ends = k * (total // steps)[:, None] + jnp.minimum(k, (total % steps)[:, None])
    upto = jnp.min(jnp.where(ends > settled[:, None], ends, total[:, None]), axis=-1)
    return Choice(take_surest(view.score, view.open, upto - settled))


def choose_confident(limit: Array, view: View) -> Choice:
    one = jnp.ones(view.open.shape[0], jnp.int32)
    return Choice((view.open & (view.measures[0] > limit)) | take_surest(view.score, view.open, one))


def choose_bounded(bound: Array, view: View) -> Choice:
    rank = _rank(view.score, view.open)
    order = jnp.argsort(rank, axis=-1)
    entropy = jnp.where(view.open, -view.measures[0], jnp.inf)
    entropy = jnp.take_along_axis(entropy, order, axis=-1)
    largest = jax.lax.cummax(entropy, axis=1)
    # Of each new position and the largest before it the smaller is added: a sum without cancellation.
    before = jnp.concatenate([jnp.zeros_like(largest[:, :1]), largest[:, :-1]], axis=-1)
    others = jnp.cumsum(jnp.minimum(entropy, before), axis=-1)
    count = jnp.maximum(jnp.sum((others <= bound) & jnp.isfinite(entropy), axis=-1, dtype=jnp.int32), 1)
    return Choice(view.open & (rank < count[:, None]))


def choose_at_random(knots: Array, view: View) -> Choice:
    return Choice(take_surest(view.uniform(), view.open, _next_knot(view, knots)))


def choose_ancestral(fractions: Array, view: View) -> Choice:
    never = jnp.zeros((1, 1), jnp.float32)
    return Choice(_coins(fractions, never, never, view).reveal)


def choose_by_coins(fractions: Array, sigma: Array, view: View) -> Choice:
    masked_again = at_clock(sigma, view.clock)[:, None]
    return _coins(fractions, masked_again, masked_again, view)


def choose_by_confidence(fractions: Array, sigma: Array, view: View) -> Choice:
    doubt = jnp.where(view.settled, -view.memory, -jnp.inf)
    any_settled = jnp.any(view.settled, axis=-1, keepdims=True)
    share = jax.nn.softmax(jnp.where(any_settled, doubt, 0.0), axis=-1)
    masked_again = jnp.where(view.settled, at_clock(sigma, view.clock)[:, None] * share, 0.0)
    return _coins(fractions, jnp.zeros_like(share), masked_again, view)


def _coins(fractions: Array, sigma: Array, masked_again: Array, view: View) -> Choice:
    """Each position's own coin: reveal if masked, mask if settled."""
    before = at_clock(fractions, view.clock)[:, None]
    after = at_clock(fractions, view.clock + 1)[:, None]
    left = 1.0 - before
    chance = (after - (1.0 - sigma) * before) / jnp.where(left > 0, left, 1.0)
    coin = view.uniform()
    return Choice(view.open & (coin < chance), view.settled & (coin < masked_again))


def no_confidence(free: Array) -> Array:
    return jnp.zeros(free.shape, jnp.float32)


def remember_confidence(view: View, choice: Choice) -> Array:
    """The probability of the token when it was drawn."""
    return jnp.where(choice.reveal & view.open, jnp.exp(view.score), view.memory)


def choose_surest_of_all(knots: Array, strength: Array, view: View) -> Choice:
    total = _counts(view)[1]
    keep = at_clock(scaled_knots(knots, total[:, None], view.open.shape[1]), view.clock + 1)
    among = view.open | view.settled
    held = jnp.where(strength > 0, strength * view.score, jnp.inf)  # 0 masks nothing again, whatever its score
    score = jnp.where(view.settled, held, view.score)
    kept = take_surest(score, among, keep)
    return Choice(view.open & kept, view.settled & ~kept)


def no_history(free: Array) -> tuple[Array, Array]:
    nothing = jnp.zeros(free.shape, jnp.float32)
    return nothing, nothing


def _history(view: View) -> tuple[Array, Array]:
    """Sums of the confidence of each settled position since it was revealed, and how many were added up."""
    held = jnp.where(view.settled, jnp.exp(view.measures[0]), 0.0)
    total, count = view.memory
    return total + held, count + view.settled.astype(jnp.float32)


def choose_and_correct(knots: Array, steps: Array, early: Array, later: Array, last: Array, view: View) -> Choice:
    settled, total = _counts(view)
    masked_after = total - at_clock(scaled_knots(knots, total[:, None], view.open.shape[1]), view.clock + 1)
    fifths = 5 * view.clock  # of the steps: whole numbers, so that no rounding decides
    allowed = jnp.where(fifths >= 4 * steps, last, jnp.where(fifths >= 3 * steps, later, early))
    late = (fifths > 2 * steps) & (view.clock < steps - 1)
    again = jnp.where(late, jnp.minimum(jnp.minimum(allowed, masked_after), settled), 0)
    sums, counts = _history(view)
    remask = take_surest(-sums / jnp.maximum(counts, 1.0), view.settled, again)
    reveal = take_surest(view.score, view.open, (total - settled) + again - masked_after)
    return Choice(reveal, remask)


def remember_history(view: View, choice: Choice) -> tuple[Array, Array]:
    forget = jnp.zeros_like(view.settled) if choice.remask is None else choice.remask
    sums, counts = _history(view)
    return jnp.where(forget, 0.0, sums), jnp.where(forget, 0.0, counts)
