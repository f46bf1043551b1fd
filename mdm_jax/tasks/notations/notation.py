"""How token ids are written for people and read back: as numbers and pictures here.

As characters in ``vocabulary``, as parts of words in ``subword_notation``, as the digits of a grid in
``grid_notation``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, Int32

from mdm_jax.support.errors import InputError, require, require_whole
from mdm_jax.tasks.notations.grid_notation import Grid
from mdm_jax.tasks.notations.subword_notation import Subwords, from_stored
from mdm_jax.tasks.notations.vocabulary import Alphabet, Vocabulary
from mdm_jax.tasks.task import shown_ids

LARGEST_SIZE = 2**31 - 1
"""Ids, the mask's among them, have 32 bits."""
SHADES = " ░▒▓█"
"""From no ink to full ink; 0 alone is blank."""


@runtime_checkable
class Notation(Protocol):
    """What showing samples and reading prompts need; a run stores it, so neither needs the data.

    The id ``size`` is the mask.
    """

    @property
    def size(self) -> int:
        """Number of real tokens."""
        ...

    @property
    def unit(self) -> str:
        """What one token is, in the plural."""
        ...

    def encode(self, text: str, mask: str | None = None) -> Int32[np.ndarray, " length"]:
        """The ids that ``text`` writes; ``mask`` marks what is to be filled in."""
        ...

    def decode(self, tokens: Int[Any, " length"], mask: str = "·") -> str:
        """One row for human eyes, as far as it goes: ``ABSENT`` at its end is not shown."""
        ...

    def pieces(self, tokens: Int[Any, " length"]) -> list[str]:
        """One text for each token, as ``samples.json`` keeps them."""
        ...


@dataclass(frozen=True)
class Numbers:
    """Ids written as decimal numbers with spaces between, or shown as a picture where they are grey levels.

    Attributes:
        size: number of real tokens, at least 2; the mask's id.
        shape: rows and columns, if a row of tokens is a picture in raster order whose ids are grey levels (0: no ink).

    Raises:
        InputError: one of them is out of range.

    Example:
        >>> import mdm_jax as mdm
        >>> numbers = mdm.tasks.Numbers(300)
        >>> numbers.decode(numbers.encode("7 □□ 299", mask="□"))
        '7 · · 299'
    """

    size: int
    shape: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", require_whole("size", self.size, 2, LARGEST_SIZE))
        if self.shape is not None:
            sides = tuple(self.shape) if isinstance(self.shape, Sequence) else ()
            good = len(sides) == 2 and not isinstance(self.shape, str)
            require(good, "shape", self.shape, "a number of rows and one of columns")
            object.__setattr__(self, "shape", tuple(require_whole("shape", side, 1) for side in sides))

    @property
    def unit(self) -> str:
        """What one token is, in the plural."""
        return "numbers"

    def encode(self, text: str, mask: str | None = None) -> Int32[np.ndarray, " length"]:
        """The ids that ``text`` writes as numbers, with white space between them; for pictures too, in raster order.

        Args:
            text: any number of numbers.
            mask: for infilling: the one character that stands for a number to be filled in; several of them may stand
                together. By default nothing does.

        Raises:
            InputError: something else than a number below ``size``, or a mark that could be part of a number.
        """
        require(isinstance(text, str), "text", text, "text")
        if mask is not None:
            apart = isinstance(mask, str) and len(mask) == 1 and not (mask.isspace() or mask.isdigit() or mask in "+-_")
            require(apart, "mask", mask, "one character that is no digit, sign or space")
        ids: list[int] = []
        for place, word in enumerate(text.split()):
            if mask is not None and word.strip(mask) == "":
                ids.extend([self.size] * len(word))
            elif is_number(word) and int(word) < self.size:
                ids.append(int(word))
            else:
                raise InputError(
                    f"text must be numbers from 0 to {self.size - 1} with spaces between them; "
                    f"got {word[:40]!r} as number {place + 1}."
                )
        return np.array(ids, np.int32)

    def decode(self, tokens: Int[Any, " length"], mask: str = "·") -> str:
        """The numbers, or the picture (two shaded characters per pixel); the id ``size`` becomes ``mask``.

        A row whose length is not that of the picture is written as numbers.

        Raises:
            InputError: ``tokens`` is not a vector of integers, or an id is outside ``0 .. size``.
        """
        ids = self._checked(tokens)
        if self.shape is None or len(ids) != self.shape[0] * self.shape[1]:
            return " ".join(mask if token == self.size else str(token) for token in ids.tolist())
        most = len(SHADES) - 1
        shown = [2 * SHADES[-(-most * level // (self.size - 1))] for level in range(self.size)] + [2 * mask]
        return "\n".join("".join(shown[token] for token in line) for line in ids.reshape(self.shape).tolist())

    def pieces(self, tokens: Int[Any, " length"]) -> list[str]:
        """Each number, with the space before it; grey levels without, since they are drawn."""
        between = " " if self.shape is None else ""
        words = ["·" if token == self.size else str(token) for token in self._checked(tokens).tolist()]
        return [word if place == 0 else between + word for place, word in enumerate(words)]

    def to_json(self) -> dict[str, Any]:
        """What a run stores as its task's vocabulary."""
        return {"numbers": self.size} | ({} if self.shape is None else {"picture": list(self.shape)})

    def _checked(self, tokens: Int[Any, " length"]) -> np.ndarray:
        return shown_ids(tokens, self.size, f"ids from 0 to {self.size - 1} or the mask {self.size}")


def from_json(value: dict[str, Any] | str) -> Numbers | Grid | Vocabulary | Subwords:
    """The notation that a ``to_json`` of one of them stored.

    Raises:
        InputError: ``value`` is something else.
    """
    if isinstance(value, str):
        return Vocabulary(value)
    if isinstance(value.get("alphabet"), str):
        return Alphabet(value["alphabet"])
    if "subwords" in value:
        return from_stored(value)
    grid = "grid" in value
    size, sides = (value.get("grid"), value.get("box")) if grid else (value.get("numbers"), value.get("picture"))
    pair = isinstance(sides, list) and len(sides) == 2 and all(type(side) is int for side in sides)
    if type(size) is not int or not (pair or (sides is None and not grid)):
        raise InputError("description must be what a task's describe() returned; its vocabulary is malformed.")
    shape = None if sides is None else (sides[0], sides[1])
    return Numbers(size, shape) if shape is None or not grid else Grid(size, shape)


def is_number(word: str) -> bool:
    """Whether ``word`` is a whole number of ordinary digits, not too long for an id."""
    return word.isascii() and word.isdigit() and len(word) <= 10
