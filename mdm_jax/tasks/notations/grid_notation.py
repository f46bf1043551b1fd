"""Token ids as the digits of a grid: how Sudokus are shown, and how a puzzle is typed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int, Int32

from mdm_jax.support.errors import InputError, require, require_whole
from mdm_jax.tasks.task import token_ids

LARGEST_GRID = 9
"""A cell is one digit."""
BLANKS = ".0_·"
"""What a cell to be filled in may also be, beside the mark that was chosen: puzzles are written in many ways."""
_LINES = "│─┼|-+"
"""What is drawn between boxes; skipped when a grid is read."""


@dataclass(frozen=True)
class Grid:
    """A square grid of digits in raster order; the id 0 is the digit 1, the id ``size`` is the mask.

    Attributes:
        size: digits, rows and columns, from 2 to 9.
        box: rows and columns of one box; their product is ``size``.

    Raises:
        InputError: a size out of range, or boxes that do not hold each digit once.

    Example:
        >>> import mdm_jax as mdm
        >>> grid = mdm.tasks.Grid(4, (2, 2))
        >>> puzzle = grid.encode("12.. 34.. .... ...1", mask=".")
        >>> print(grid.decode(puzzle))
        1 2 │ · ·
        3 4 │ · ·
        ────┼────
        · · │ · ·
        · · │ · 1
    """

    size: int
    box: tuple[int, int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", require_whole("size", self.size, 2, LARGEST_GRID))
        sides = tuple(self.box) if isinstance(self.box, Sequence) and not isinstance(self.box, str) else ()
        require(len(sides) == 2, "box", self.box, "a number of rows and one of columns")
        object.__setattr__(self, "box", tuple(require_whole("box", side, 1) for side in sides))
        require(self.box[0] * self.box[1] == self.size, "box", self.box, f"of {self.size} cells, one for each digit")

    @property
    def unit(self) -> str:
        """What one token is, in the plural."""
        return "cells"

    def encode(self, text: str, mask: str | None = None) -> Int32[np.ndarray, " length"]:
        """The ids of the digits in ``text``, cell by cell; white space and the lines of a drawn grid are skipped.

        Args:
            text: ``53..7....``, ``5 3 . . 7 . . . .``, or a grid as :meth:`decode` shows it.
            mask: for infilling: the one character that stands for a cell to be filled in; so do those of ``BLANKS``
                then. By default nothing does.

        Raises:
            InputError: a character that is no digit of the grid, or a mark that could be one or is skipped.
        """
        require(isinstance(text, str), "text", text, "text")
        digits = {str(token + 1): token for token in range(self.size)}
        if mask is not None:
            apart = isinstance(mask, str) and len(mask) == 1 and not (mask.isspace() or mask in _LINES)
            require(apart and mask not in digits, "mask", mask, f"one character that is no digit from 1 to {self.size}")
            digits |= dict.fromkeys(BLANKS + mask, self.size)
        written = [character for character in text if not (character.isspace() or character in _LINES)]
        for place, character in enumerate(written):
            if character not in digits:
                blank = "" if mask is None else f", or {mask!r} where it is blank"
                raise InputError(
                    f"text must be a digit from 1 to {self.size} for each cell{blank}; "
                    f"got {character!r} as cell {place + 1}."
                )
        return np.array([digits[character] for character in written], np.int32)

    def decode(self, tokens: Int[Any, " length"], mask: str = "·") -> str:
        """The grid, with lines between its boxes; the id ``size`` becomes ``mask``.

        A row that is no whole grid is written as digits with spaces between.

        Raises:
            InputError: ``tokens`` is not a vector of integers, or an id is outside ``0 .. size``.
        """
        shown = self._digits(tokens, mask)
        if len(shown) != self.size**2:
            return " ".join(shown)
        return "".join(cell + behind for cell, behind in zip(shown, self.lines()))

    def pieces(self, tokens: Int[Any, " length"]) -> list[str]:
        """The digit of each cell; errors as in :meth:`decode`."""
        return self._digits(tokens, "·")

    def lines(self) -> list[str]:
        """What is drawn behind each cell of a whole grid: spaces, the lines between boxes, the ends of rows."""
        rows, columns = self.box
        bars = [" │ " if column % columns == 0 else " " for column in range(1, self.size)]
        edge = "─" * (2 * columns)
        widths = [edge, *["─" + edge] * (rows - 2), edge] if rows > 1 else [edge[1:]]
        rule = f"\n{'┼'.join(widths)}\n"
        ends = [rule if row % rows == 0 else "\n" for row in range(1, self.size)]
        return [behind for end in [*ends, ""] for behind in (*bars, end)]

    def to_json(self) -> dict[str, Any]:
        """What a run stores as its task's vocabulary."""
        return {"grid": self.size, "box": list(self.box)}

    def _digits(self, tokens: Int[Any, " length"], mask: str) -> list[str]:
        wanted = f"ids from 0 to {self.size - 1} (the digits from 1 on) or the mask {self.size}"
        ids = token_ids(tokens, "length", self.size + 1, wanted)
        return [mask if token == self.size else str(token + 1) for token in ids.tolist()]
