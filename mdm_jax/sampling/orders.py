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
loop. (These functions scale knots of any plan to any row; :func:`require_fitting` is what refuses others.)
"""

import functools
from collections.abc import Sequence
from typing import TypeVar

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt32

from mdm_jax.sampling.draws import position_bits, uniform
from mdm_jax.sampling.result import GIVEN
from mdm_jax.support.errors import require, require_whole, verbatim
from mdm_jax.support.keys import threefry
from mdm_jax.theory.plans import Plan
from mdm_jax.theory.plans.grids import Grid

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
            fill up (see :func:`plan_knots`). Each row may have its own plan and its own number of steps.
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
) -> Int[Array, "rows length"]:
    """Ancestral sampling: each free token falls into step ``k`` with probability ``a_k - a_{k-1}``, independently.

    That is what the usual sampler's coins amount to, drawn beforehand; the tokens themselves are drawn in the loop, so
    that no token's probability is ever divided by the number of steps (``DERIVATIONS.md``, "Coins drawn beforehand" and
    "Two draws against one race").

    Args:
        key: a typed PRNG key.
        fractions: float32[rows, knots], the revealed fractions ``0 = a_0 <= ... <= a_K = 1``, the last repeated to fill
            up (see :func:`grid_fractions`). Each row may have its own grid.
        free: bool[rows, length], the positions to reveal.
        row_ids: as in :func:`random_order`.

    Returns:
        int32[rows, length], the step of each free position, -1 elsewhere. Steps may stay empty.


    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> fractions = jnp.asarray(mdm.sampling.grid_fractions(mdm.grids.uniform(4), rows=1))
        >>> steps = mdm.sampling.ancestral_order(mdm.key(0), fractions, jnp.ones((1, 8), bool))
        >>> int(steps.max()) < 4, steps.shape
        (True, (1, 8))
    """
    return _steps(fractions.astype(jnp.float32), uniform(_bits(key, free, row_ids)), free)


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
) -> Int[Array, "rows length"]:
    """Semi-autoregressive: blocks of ``block`` positions from left to right, in random order inside each.

    Args:
        key: a typed PRNG key.
        knots: int32[rows, knots], the plan of *one block*, scaled to the free positions of each.
        free: bool[rows, length].
        block: positions of a block, counted from each row's first free position; the last may be shorter.
        row_ids: as in :func:`random_order`.

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
    return _in_blocks(key, knots, free, jnp.asarray(block, jnp.int32), row_ids)


def blocks_of(free: Bool[Array, "rows length"], block: Int[Array, ""]) -> Int[Array, "rows length"]:
    """The block of each position, counted from the row's first free one; of no meaning where it is given."""
    first = jnp.argmax(free, axis=-1, keepdims=True).astype(jnp.int32)
    return (jnp.arange(free.shape[1], dtype=jnp.int32)[None, :] - first) // block


@jax.jit
def _in_blocks(key: Array, knots: Array, free: Array, block: Array, row_ids: Array | None) -> Array:
    _check_length(knots, free.shape[1])
    knots = knots.astype(jnp.int32)
    mine = jnp.where(free, blocks_of(free, block), free.shape[1])
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


PlanOrGrid = TypeVar("PlanOrGrid", Plan, Grid)


def listed(plans: PlanOrGrid | Sequence[PlanOrGrid]) -> list[PlanOrGrid]:
    """One plan or grid, or a sequence of them, as a list."""
    return [plans] if isinstance(plans, Plan | Grid) else list(plans)


def plan_knots(plans: Plan | Sequence[Plan], rows: int) -> Int[np.ndarray, "rows knots"]:
    """The knots of one plan for every row, or of one plan per row, padded to the length of the longest sequence.

    The padding makes the array's shape depend on the length alone: changing schedule or budget does not recompile.

    Raises:
        InputError: plans that are neither one nor one for each row.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.sampling.plan_knots([mdm.plans.uniform(6, 2), mdm.plans.uniform(6, 3)], rows=2)
        array([[0, 3, 6, 6, 6, 6, 6],
               [0, 2, 4, 6, 6, 6, 6]], dtype=int32)
    """
    chosen = listed(plans)
    require_rows(len(chosen), rows)
    width = max(plan.length for plan in chosen) + 1
    knots = np.stack([np.pad(plan.knots, (0, width - len(plan.knots)), mode="edge") for plan in chosen])
    return np.broadcast_to(knots, (rows, width)).astype(np.int32)


def grid_fractions(grids: Grid | Sequence[Grid], rows: int) -> Float[np.ndarray, "rows knots"]:
    """The fractions of one grid for every row, or of one grid per row, padded with ones.

    The width is 65, or the next power of two and one more: changing a grid, or its number of steps up to there, does
    not recompile.

    Raises:
        InputError: grids that are neither one nor one for each row.

    Example:
        >>> import mdm_jax as mdm
        >>> fractions = mdm.sampling.grid_fractions(mdm.grids.uniform(4), rows=2)
        >>> fractions.shape, fractions[0, :6].tolist()
        ((2, 65), [0.0, 0.25, 0.5, 0.75, 1.0, 1.0])
    """
    chosen = listed(grids)
    require_rows(len(chosen), rows)
    steps = max(64, *(grid.steps for grid in chosen))
    width = (1 << (steps - 1).bit_length()) + 1
    padded = [np.pad(grid.fractions, (0, width - grid.steps - 1), mode="edge") for grid in chosen]
    return np.broadcast_to(np.stack(padded), (rows, width)).astype(np.float32)


def require_rows(plans: int, rows: int) -> None:
    """Refuse a number of plans or grids that is neither one nor one for each row."""
    require(plans in (1, rows), "plan", verbatim(f"{plans} of them"), f"one for all {rows} rows, or one for each")


def require_fitting(
    planned: Int[np.ndarray, " plans"],
    free: Bool[Array | np.ndarray, "rows length"],
    block: int | None = None,
) -> None:
    """Refuse plans that are made for another number of tokens than they are to reveal.

    A plan is for the canvas's length, and then scaled to each row's free positions, or for exactly as many tokens as
    are free in every row that it serves (a plan made for a prompt). With blocks it is for one block in the same two
    ways: for a block's length, or for the row's free positions where these are fewer. Rows with nothing free are served
    by any.

    Args:
        planned: how many tokens the one plan is for, or each row's.
        free: what is to be revealed; where it is traced, plans are refused that are for more than any row can have.
        block: length of the blocks; ``None``: no blocks.

    Raises:
        InputError: a plan that does not fit; it names both numbers. Plans for another number of rows.
    """
    require_rows(len(planned), len(free))
    length = free.shape[1]
    whole = length if block is None else min(block, length)
    if isinstance(free, jax.core.Tracer):
        most = int(planned.max())
        wanted = f"one for at most the {whole} tokens of {'the canvas' if block is None else 'a block'}"
        require(most <= whole, "plan", verbatim(f"one for {most} tokens"), wanted)
        return
    count = free.sum(axis=1)
    fits = (planned == whole) | (planned == np.minimum(count, whole)) | (count == 0)
    if not fits.all():
        row = int(np.argmin(fits))
        given = int(np.broadcast_to(planned, count.shape)[row])
        wanted = f"one for the {length} tokens of the canvas"
        wanted = wanted if block is None else f"one for a block, of {whole} tokens"
        wanted += "" if count[row] >= whole else f", or for the {count[row]} that are free in row {row}"
        require(False, "plan", verbatim(f"one for {given} tokens"), wanted)


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


def scaled_knots(
    knots: Int[Array, "plans knots"], count: Int[Array, "rows one"], length: int
) -> Int[Array, "rows knots"]:
    """The knots of plans scaled to ``count`` tokens, at most ``length``, and rounded; one plan serves every row."""
    _check_length(knots, length)
    knots = knots.astype(jnp.int32)
    planned = knots[:, -1:]
    return (knots * count + planned // 2) // planned


def _check_length(knots: Array, length: int) -> None:
    fits = length * (knots.shape[1] - 1) < 2**31
    require(fits, "length", length, "such that length times the plan's length stays below 2^31 (int32 arithmetic)")


def _by_plan(rank: Array, knots: Array, free: Array) -> Int[Array, "rows length"]:
    """The step of each free position from its rank among them, under the row's plan scaled to their number."""
    count = jnp.sum(free, axis=-1, keepdims=True, dtype=jnp.int32)
    return _steps(scaled_knots(knots, count, free.shape[1]), rank, free)


def _steps(knots: Array, at: Array, free: Array) -> Int[Array, "rows length"]:
    """The step of each free position that stands at ``at`` between the knots of its row."""
    step = jax.vmap(lambda ends, at: jnp.searchsorted(ends, at, side="right"))(knots[:, 1:], at)
    return jnp.where(free, step, GIVEN).astype(jnp.int32)
