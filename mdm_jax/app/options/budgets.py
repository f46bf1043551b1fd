"""Numbers of steps, from the text that a user gave or by default."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from mdm_jax.support.errors import InputError, require

USUAL: Sequence[int] = (4, 8, 16, 32)
"""Unless others are asked for."""


def budgets_of(text: str | None, length: int, usual: Sequence[int] = USUAL) -> list[int]:
    """The budgets asked for, or the usual ones that fit."""
    return fitting(usual, length) if text is None else parse_budgets(text, length)


def fitting(budgets: Sequence[int], length: int) -> list[int]:
    """Those of ``budgets`` that are no longer than ``length``, or else ``length`` itself."""
    return [budget for budget in budgets if budget <= length] or [length]


def parse_budgets(text: str, length: int) -> list[int]:
    """``"4,8,16"`` as sorted numbers from 1 to ``length``."""
    try:
        budgets = sorted({int(word) for word in text.split(",")})
    except ValueError:
        raise InputError(f"--budgets must be whole numbers separated by commas, as in 4,8,16; got {text!r}.") from None
    require(budgets[0] >= 1 and budgets[-1] <= length, "--budgets", text, f"numbers of steps from 1 to {length}")
    return budgets


def llada_steps(free: Bool[np.ndarray, "rows length"], steps: int, block: int | None, in_all: bool = True) -> int:
    """The steps that LLaDA's sampler takes at most: each block has as many as another, and no step reveals nothing.

    Args:
        free: what is to be drawn.
        steps: those that were asked for, in all or in each block.
        block: positions of a block; one block if left out.
        in_all: whether the steps are shared by the blocks, or each has so many.

    Example:
        >>> import numpy as np
        >>> from mdm_jax.app.options.budgets import llada_steps
        >>> llada_steps(np.ones((1, 128), bool), 30, 32)  # 7.5 in each of four blocks are 8
        32
    """
    if not in_all:
        return steps

    def taken(row: Bool[np.ndarray, " length"]) -> int:
        sizes = in_blocks(row, block or len(row))
        return sum(min(-(-steps // max(len(sizes), 1)), size) for size in sizes)

    return max(taken(row) for row in free)


def in_blocks(free: Bool[np.ndarray, " length"], block: int) -> list[int]:
    """How many positions are free in each block that has any; blocks are counted from the first of them."""
    where = np.flatnonzero(free)
    return [] if len(where) == 0 else np.unique((where - where[0]) // block, return_counts=True)[1].tolist()
