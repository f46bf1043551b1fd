"""Orders that do not look at the tokens: one integer array, made before the loop.

``reveal_step: int32[rows, length]`` is the step at which each position is revealed; given positions hold -1. For a
denoiser without a time input every such order, with every schedule, budget and prompt, is just a different array,
so all of them share one executable.

| order                                                       | maker                   |
|-------------------------------------------------------------|-------------------------|
| uniformly random, as many tokens per step as a plan says    | :func:`random_order`    |
| each token into a step of its own coin (ancestral sampling) | :func:`ancestral_order` |
| one token at a time, uniformly random (first hitting)       | :func:`first_hitting`   |
| from left to right                                          | :func:`left_to_right`   |
| any given permutation                                       | :func:`in_order`        |
| blocks from left to right, random inside each               | :func:`in_blocks`       |

Rows may have plans, budgets and given positions of their own. A plan of the whole length is scaled to a row's free
positions: its knots are multiplied and rounded, so it fits every prompt; steps that become empty are skipped by the
loop. (These functions scale knots of any plan to any row; :func:`~mdm_jax.sampling.knots.require_fitting`
is what refuses others.)
"""

import functools

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt32

from mdm_jax.sampling.draws import position_bits, uniform
from mdm_jax.sampling.knots import check_length, scaled_knots
from mdm_jax.sampling.result import GIVEN
from mdm_jax.support.errors import require_whole
from mdm_jax.support.keys import threefry

_LAST = np.uint32(0x80000000)


@jax.jit
def random_order(
    key: PRNGKeyArray,
    knots: Int[Array, "rows knots"],
    free: Bool[Array, "rows length"],
    row_ids: Int[Array, " rows"] | None = None,
) -> Int[Array, "rows length"]:
    """Reveal the free positions of each row in uniformly random order, as many per step as its plan says.

    Args:
        key: a typed PRNG key.
        knots: int32[rows, knots], tokens revealed before each step, ``0 = N_0 <= ... <= N_K``, the last repeated to
            fill up (see :func:`~mdm_jax.sampling.knots.plan_knots`). Each row may have its own plan and its own number
            of steps.
        free: bool[rows, length], the positions to reveal.
        row_ids: what identifies each row in the random stream; ``0 .. rows - 1`` if left out.

    Returns:
        int32[rows, length], the step of each free position, -1 elsewhere.

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> knots = jnp.asarray(mdm.sampling.plan_knots(mdm.plans.uniform(8, 4), rows=1))
        >>> steps = mdm.sampling.random_order(mdm.key(0), knots, jnp.ones((1, 8), bool))
        >>> print(jnp.sort(steps))  # which positions come first is random, how many is not
        [[0 0 1 1 2 2 3 3]]
    """
    return _by_plan(_random_ranks(key, free, row_ids), knots, free)


@jax.jit
def ancestral_order(
    key: PRNGKeyArray,
    fractions: Float[Array, "rows knots"],
    free: Bool[Array, "rows length"],
    row_ids: Int[Array, " rows"] | None = None,
    block: int | Int[Array, ""] | None = None,
    origin: int | Int[Array, ""] | None = None,
) -> Int[Array, "rows length"]:
    """Ancestral sampling: each free token falls into step ``k`` with probability ``a_k - a_{k-1}``, independently.

    That is what the usual sampler's coins amount to, drawn beforehand; the tokens themselves are drawn in the loop, so
    that no token's probability is ever divided by the number of steps (``DERIVATIONS.md``, "Coins drawn beforehand" and
    "Two draws against one race").

    Args:
        key: a typed PRNG key.
        fractions: float32[rows, knots], the revealed fractions ``0 = a_0 <= ... <= a_K = 1``, the last repeated to fill
            up (see :func:`~mdm_jax.sampling.knots.grid_fractions`). Each row may have its own grid.
        free: bool[rows, length], the positions to reveal.
        row_ids: as in :func:`random_order`.
        block: positions of a block: blocks go from left to right, each by the whole grid. ``None``: no blocks.
        origin: as in :func:`in_blocks`.

    Returns:
        int32[rows, length], the step of each free position, -1 elsewhere. Steps may stay empty; those of different
        blocks never coincide.

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> fractions = jnp.asarray(mdm.sampling.grid_fractions(mdm.grids.uniform(4), rows=1))
        >>> steps = mdm.sampling.ancestral_order(mdm.key(0), fractions, jnp.ones((1, 8), bool))
        >>> int(steps.max()) < 4, steps.shape
        (True, (1, 8))
    """
    steps = _steps(fractions.astype(jnp.float32), uniform(_bits(key, free, row_ids)), free)
    if block is None:
        return steps
    mine = blocks_of(free, jnp.asarray(block, jnp.int32), origin)
    return jnp.where(free, steps + (fractions.shape[1] - 1) * mine, GIVEN).astype(jnp.int32)


@jax.jit
def first_hitting(
    key: PRNGKeyArray, free: Bool[Array, "rows length"], row_ids: Int[Array, " rows"] | None = None
) -> Int[Array, "rows length"]:
    """One token at a time in uniformly random order: the law of ancestral sampling with infinitely many steps.

    For a denoiser without a time input the hitting times do not matter, only who comes next does.

    Args:
        key: a typed PRNG key.
        free: bool[rows, length], the positions to reveal.
        row_ids: as in :func:`random_order`.

    Returns:
        int32[rows, length]: 0, 1, 2, ... in random order at the free positions, -1 elsewhere.

    Source: arXiv 2409.02908; ``DERIVATIONS.md``, "One token at a time is ancestral sampling in the limit".

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> free = jnp.asarray([[False, False, True, True, True]])
        >>> print(jnp.sort(mdm.sampling.first_hitting(mdm.key(0), free)))
        [[-1 -1  0  1  2]]
    """
    ranks = _random_ranks(key, free, row_ids)
    return jnp.where(free, ranks, GIVEN).astype(jnp.int32)


@jax.jit
def left_to_right(knots: Int[Array, "rows knots"], free: Bool[Array, "rows length"]) -> Int[Array, "rows length"]:
    """Reveal the free positions of each row from left to right, as many per step as its plan says.

    Args and result are those of :func:`random_order`.

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> knots = jnp.asarray(mdm.sampling.plan_knots(mdm.plans.uniform(8, 4), rows=1))
        >>> prompted = jnp.arange(8)[None] >= 4  # the plan is scaled to what is free
        >>> print(mdm.sampling.left_to_right(knots, prompted))
        [[-1 -1 -1 -1  0  1  2  3]]
    """
    return _by_plan(jnp.cumsum(free, axis=-1, dtype=jnp.int32) - 1, knots, free)


@jax.jit
def in_order(
    order: Int[Array, "rows length"], knots: Int[Array, "rows knots"], free: Bool[Array, "rows length"]
) -> Int[Array, "rows length"]:
    """Reveal the free positions in a given order, as many per step as the plan says.

    Args:
        order: int32[rows, length], a permutation of the positions, the first to be revealed first; positions that are
            given are passed over.
        knots: as in :func:`random_order`.
        free: as in :func:`random_order`.

    Returns:
        int32[rows, length], as in :func:`random_order`.

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> knots = jnp.asarray(mdm.sampling.plan_knots(mdm.plans.uniform(4, 2), rows=1))
        >>> print(mdm.sampling.in_order(jnp.asarray([[3, 1, 0, 2]]), knots, jnp.ones((1, 4), bool)))
        [[1 0 1 0]]
    """
    turn = _sorted_places(order)
    return _by_plan(_ranks_of(jnp.where(free, turn, order.shape[1])), knots, free)


def in_blocks(
    key: PRNGKeyArray,
    knots: Int[Array, "rows knots"],
    free: Bool[Array, "rows length"],
    block: int | Int[Array, ""],
    row_ids: Int[Array, " rows"] | None = None,
    origin: int | Int[Array, ""] | None = None,
) -> Int[Array, "rows length"]:
    """Semi-autoregressive: blocks of ``block`` positions from left to right, in random order inside each.

    Args:
        key: a typed PRNG key.
        knots: int32[rows, knots], the plan of *one block*, scaled to the free positions of each.
        free: bool[rows, length].
        block: positions of a block; the last may be shorter.
        row_ids: as in :func:`random_order`.
        origin: the position that blocks are counted from; each row's first free one if left out.

    Returns:
        int32[rows, length]; steps of different blocks never coincide, and need not be consecutive.

    Raises:
        InputError: a block that is no whole number of at least 1 (seen only where it is not traced).

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> knots = jnp.asarray(mdm.sampling.plan_knots(mdm.plans.uniform(4, 2), rows=1))  # of one block
        >>> steps = mdm.sampling.in_blocks(mdm.key(0), knots, jnp.ones((1, 8), bool), block=4)
        >>> print(jnp.sort(steps[:, :4]), jnp.sort(steps[:, 4:]))
        [[0 0 1 1]] [[4 4 5 5]]
    """
    if not isinstance(block, jax.core.Tracer):
        block = require_whole("block", block, 1, 2**31 - 1)
    return _in_blocks(key, knots, free, jnp.asarray(block, jnp.int32), row_ids, origin)


def blocks_of(
    free: Bool[Array, "rows length"], block: Int[Array, ""], origin: int | Int[Array, ""] | None = None
) -> Int[Array, "rows length"]:
    """The block of each position, from left to right: 0, 1, 2, ...; of no meaning where a position is given.

    One begins at the origin, or at the row's first free position. Those before an origin count too; the first of them
    may be shorter.
    """
    if origin is None:
        first = jnp.argmax(free, axis=-1, keepdims=True).astype(jnp.int32)
    else:  # where the first block would begin: at 0 or before
        first = jnp.full((free.shape[0], 1), -jnp.mod(-jnp.asarray(origin, jnp.int32), block), jnp.int32)
    return (jnp.arange(free.shape[1], dtype=jnp.int32)[None, :] - first) // block


@jax.jit
def _in_blocks(
    key: Array, knots: Array, free: Array, block: Array, row_ids: Array | None, origin: int | Array | None
) -> Array:
    check_length(knots, free.shape[1])
    knots = knots.astype(jnp.int32)
    mine = jnp.where(free, blocks_of(free, block, origin), free.shape[1])
    order = jnp.lexsort((_random_turns(key, free, row_ids), mine), axis=-1)
    rank = _sorted_places(order)
    sorted_blocks = jnp.sort(mine, axis=-1)
    first = jax.vmap(functools.partial(jnp.searchsorted, side="left"))(sorted_blocks, mine).astype(jnp.int32)
    behind = jax.vmap(functools.partial(jnp.searchsorted, side="right"))(sorted_blocks, mine).astype(jnp.int32)
    count = behind - first
    # Rank r of c is revealed by the first knot n of a plan of P tokens with round(n c / P) > r.
    planned = knots[:, -1:]
    at = ((rank - first + 1) * planned - 1 - planned // 2) // jnp.maximum(count, 1)
    step = _steps(knots, at, free)
    return jnp.where(free, step + (knots.shape[1] - 1) * mine, GIVEN).astype(jnp.int32)


def _bits(key: PRNGKeyArray, free: Array, row_ids: Array | None) -> UInt32[Array, "rows length"]:
    rows, length = free.shape
    key = threefry(key)
    return position_bits(key, jnp.arange(rows, dtype=jnp.int32) if row_ids is None else row_ids, length)


def _random_turns(key: PRNGKeyArray, free: Array, row_ids: Array | None) -> UInt32[Array, "rows length"]:
    """A random number for each free position; given ones have the greatest, whatever their bits."""
    return jnp.where(free, _bits(key, free, row_ids) >> 1, _LAST)


def _random_ranks(key: PRNGKeyArray, free: Array, row_ids: Array | None) -> Int[Array, "rows length"]:
    """A uniformly random rank for each free position; given ones rank behind every free one."""
    return _ranks_of(_random_turns(key, free, row_ids))


def _ranks_of(values: Array) -> Int[Array, "rows length"]:
    return _sorted_places(_sorted_places(values))


def _sorted_places(values: Array) -> Int[Array, "rows length"]:
    """``argsort`` in int32, which it is not everywhere under ``jax_enable_x64``."""
    return jnp.argsort(values, axis=-1).astype(jnp.int32)


def _by_plan(rank: Array, knots: Array, free: Array) -> Int[Array, "rows length"]:
    """The step of each free position from its rank among them, under the row's plan scaled to their number."""
    count = jnp.sum(free, axis=-1, keepdims=True, dtype=jnp.int32)
    return _steps(scaled_knots(knots, count, free.shape[1]), rank, free)


def _steps(knots: Array, at: Array, free: Array) -> Int[Array, "rows length"]:
    """The step of each free position that stands at ``at`` between the knots of its row."""
    step = jax.vmap(lambda ends, at: jnp.searchsorted(ends, at, side="right"))(knots[:, 1:], at)
    return jnp.where(free, step, GIVEN).astype(jnp.int32)
