"""Plans and grids as arrays for orders and rules: their knots, what they fit, and how they are scaled.

Every plan becomes a row of knots, the tokens revealed before each step, and every grid a row of fractions. They are
padded, so that another schedule or budget is another array of the same shape: nothing is compiled anew.
"""

from collections.abc import Sequence
from typing import TypeVar

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mdm_jax.support.errors import require, verbatim
from mdm_jax.theory.plans import Plan
from mdm_jax.theory.plans.grids import Grid

PlanOrGrid = TypeVar("PlanOrGrid", Plan, Grid)


def listed(plans: PlanOrGrid | Sequence[PlanOrGrid]) -> list[PlanOrGrid]:
    """One plan or grid, or a sequence of them, as a list."""
    return [plans] if isinstance(plans, Plan | Grid) else list(plans)


def plan_knots(plans: Plan | Sequence[Plan], rows: int) -> Int[np.ndarray, "rows knots"]:
    """The knots of one plan for every row, or of one plan per row, padded to the length of the longest sequence.

    The padding makes the array's shape depend on the length alone: changing schedule or budget does not recompile.

    Args:
        plans: one for all rows, or one for each.
        rows: how many.

    Returns:
        int32[rows, knots] with one knot more than the longest plan has tokens.

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

    Args:
        grids: one for all rows, or one for each.
        rows: how many.

    Returns:
        float32[rows, knots].

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
    aligned: bool = False,
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
        aligned: whether blocks are counted from a fixed position: fewer free ones than a block's may then lie in two
            blocks, and a plan is for a block's length alone.

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
    fits = (planned == whole) | ((planned == np.minimum(count, whole)) & (not aligned)) | (count == 0)
    if not fits.all():
        row = int(np.argmin(fits))
        given = int(np.broadcast_to(planned, count.shape)[row])
        wanted = f"one for the {length} tokens of the canvas"
        wanted = wanted if block is None else f"one for a block, of {whole} tokens"
        wanted += "" if aligned or count[row] >= whole else f", or for the {count[row]} that are free in row {row}"
        shorter = (
            " (for a model that takes rows of different lengths, "
            f"sampling.canvas_of(..., length={given}, lengths=) makes canvases of rows that end earlier)"
        )
        longer = block is None and not aligned and given > length
        require(False, "plan", verbatim(f"one for {given} tokens{shorter * longer}"), wanted)


def scaled_knots(
    knots: Int[Array, "plans knots"], count: Int[Array, "rows one"], length: int
) -> Int[Array, "rows knots"]:
    """The knots of plans scaled to ``count`` tokens, at most ``length``, and rounded; one plan serves every row."""
    check_length(knots, length)
    knots = knots.astype(jnp.int32)
    planned = knots[:, -1:]
    return (knots * count + planned // 2) // planned


def check_length(knots: Array, length: int) -> None:
    """Refuse lengths whose products with the plan's length int32 cannot hold."""
    fits = length * (knots.shape[1] - 1) < 2**31
    require(fits, "length", length, "such that length times the plan's length stays below 2^31 (int32 arithmetic)")
