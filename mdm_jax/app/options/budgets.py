"""Numbers of steps, from the text that a user gave or by default."""

from collections.abc import Sequence

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
