"""Characters as token ids, and back."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int, Int32, Int64, UInt32

from mdm_jax.support.errors import InputError, require
from mdm_jax.tasks.task import shown_ids


@dataclass(frozen=True)
class Vocabulary:
    """The characters of a text; the id of a character is its place in ``characters``, the id ``size`` is the mask.

    Attributes:
        characters: at least one, distinct, in ascending order of code point.

    Raises:
        InputError: ``characters`` is empty, unsorted, repeats a character or has half of one (a lone surrogate).

    Example:
        >>> import mdm_jax as mdm
        >>> vocabulary = mdm.tasks.Vocabulary("abc")
        >>> tokens = vocabulary.encode("ca·b", mask="·")
        >>> tokens.tolist(), vocabulary.decode(tokens, mask="_")  # 3 is the mask
        ([2, 0, 3, 1], 'ca_b')
    """

    characters: str

    def __post_init__(self):
        ascending = is_text(self.characters) and self.characters == "".join(sorted(set(self.characters))) != ""
        require(ascending, "characters", self.characters, "distinct characters in ascending order, at least one")

    @classmethod
    def of(cls, text: str) -> "Vocabulary":
        """The vocabulary of all characters that occur in ``text``, which must not be empty."""
        return cls("".join(sorted(set(text))))

    @property
    def size(self) -> int:
        """Number of characters, and the id of the mask."""
        return len(self.characters)

    @property
    def unit(self) -> str:
        """What one token is, in the plural."""
        return "characters"

    @cached_property
    def _places(self) -> Int64[np.ndarray, " size"]:
        """The ids of the characters in ascending order of code point."""
        return np.argsort(_code_points(self.characters), kind="stable")

    @cached_property
    def _points(self) -> UInt32[np.ndarray, " size"]:
        """Ascending."""
        return _code_points(self.characters)[self._places]

    def encode(self, text: str, mask: str | None = None) -> Int32[np.ndarray, " length"]:
        """The ids of the characters of ``text``.

        Args:
            text: any number of characters.
            mask: for infilling templates: the one character, outside the vocabulary, that marks what is to be filled
                in; it becomes the id ``size``. By default nothing does.

        Raises:
            InputError: a character outside the vocabulary, or a mark that is not one character or lies inside it.
        """
        require(isinstance(text, str), "text", text, "text")
        points = _code_points(text)
        found = np.minimum(np.searchsorted(self._points, points), self.size - 1)
        unknown, ids = self._points[found] != points, self._places[found].astype(np.int32)
        if mask is not None:
            # A mark that is also a character of the text would silently turn real characters into gaps.
            outside = isinstance(mask, str) and len(mask) == 1 and mask not in self.characters
            require(outside, "mask", mask, "one character that does not occur in the vocabulary")
            marked = points == ord(mask)
            ids[marked] = self.size
            unknown &= ~marked
        if unknown.any():
            place = int(np.argmax(unknown))
            raise InputError(
                f"text must use only the {self.size} characters of the vocabulary; "
                f"got {text[place]!r} (U+{ord(text[place]):04X}) at index {place}."
            )
        return ids

    def decode(self, tokens: Int[Any, " length"], mask: str = "·") -> str:
        """The text of the ids ``tokens``; the id ``size`` becomes ``mask``, which may be any string.

        ``ABSENT`` (-1) at the end of a row is not shown.

        Raises:
            InputError: ``tokens`` is not a vector of integers, or an id is outside ``0 .. size``.
        """
        return "".join(self._written(tokens, mask))

    def pieces(self, tokens: Int[Any, " length"]) -> list[str]:
        """The text of each token; errors as in :meth:`decode`."""
        return self._written(tokens, "·")

    def _written(self, tokens: Int[Any, " length"], mask: str) -> list[str]:
        return [self.characters[token] if token < self.size else mask for token in self._checked(tokens).tolist()]

    def to_json(self) -> Any:
        """What a run stores as its task's vocabulary."""
        return self.characters

    def _checked(self, tokens: Int[Any, " length"]) -> np.ndarray:
        return shown_ids(tokens, self.size, f"character ids from 0 to {self.size - 1} or the mask {self.size}")


@dataclass(frozen=True)
class Alphabet(Vocabulary):
    """Characters in an order of one's own, for ids that were made elsewhere: the first is written for 0.

    Attributes:
        characters: at least two, distinct.

    Raises:
        InputError: ``characters`` is something else.

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> bases = mdm.tasks.Alphabet("TCAG")
        >>> bases.encode("GATTACA").tolist(), bases.decode(np.array([3, 2, 0, -1]))  # -1: the row has ended
        ([3, 2, 0, 0, 2, 1, 2], 'GAT')
    """

    def __post_init__(self):
        good = is_text(self.characters) and 2 <= len(self.characters) == len(set(self.characters))
        require(good, "alphabet", self.characters, "distinct characters, two at the least")

    def to_json(self) -> dict[str, Any]:
        """What a run stores as its task's vocabulary."""
        return {"alphabet": self.characters}


def is_text(value: Any) -> bool:
    """Whether it is text that can be stored: no half characters, as damaged command lines and file names have."""
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False


def _code_points(text: str) -> UInt32[np.ndarray, " length"]:
    # Lone surrogates (a damaged command line) pass here, so that they are reported as unknown characters.
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
