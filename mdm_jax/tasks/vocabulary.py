"""Characters as token ids, and back."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int, Int32, UInt32

from mdm_jax.support.errors import InputError, require
from mdm_jax.tasks.task import token_ids


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
    def _points(self) -> UInt32[np.ndarray, " size"]:
        return _code_points(self.characters)

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
        ids = np.minimum(np.searchsorted(self._points, points), self.size - 1).astype(np.int32)
        unknown = self._points[ids] != points
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

        Raises:
            InputError: ``tokens`` is not a vector of integers, or an id is outside ``0 .. size``.
        """
        shown = [*self.characters, mask]
        return "".join(shown[token] for token in self._checked(tokens).tolist())

    def pieces(self, tokens: Int[Any, " length"]) -> list[str]:
        """The text of each token; errors as in :meth:`decode`."""
        return [self.decode(token[None]) for token in self._checked(tokens)]

    def _checked(self, tokens: Int[Any, " length"]) -> np.ndarray:
        wanted = f"character ids from 0 to {self.size - 1} or the mask {self.size}"
        return token_ids(tokens, "length", self.size + 1, wanted)


def is_text(value: Any) -> bool:
    """Whether it is text that can be stored: no half characters, as damaged command lines and file names have."""
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False


def _code_points(text: str) -> UInt32[np.ndarray, " length"]:
    # Lone surrogates (a damaged command line) pass here, so that they are reported as unknown characters.
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
