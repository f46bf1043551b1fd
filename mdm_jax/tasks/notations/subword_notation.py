"""Parts of words as token ids, by a tokenizer that a run keeps whole."""

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int, Int32, Int64

from mdm_jax.support.errors import InputError, require, require_choice
from mdm_jax.support.files import digest
from mdm_jax.support.text import shortened
from mdm_jax.tasks.notations.token_bytes import KINDS, TokenBytes, token_bytes
from mdm_jax.tasks.task import shown_ids


@dataclass(frozen=True, repr=False)
class Subwords:
    r"""The real tokens of a tokenizer, numbered from 0 on in the order of its own ids; the id ``size`` is the mask.

    Attributes:
        kind: "tokenizer.json" or "vocab.txt".
        content: of that file, whole.

    Raises:
        InputError: it is something else.

    Example:
        >>> import mdm_jax as mdm
        >>> atoms = mdm.tasks.Subwords("vocab.txt", "[PAD]\n[MASK]\nC\nO\nCl")
        >>> atoms.size, atoms.ids, atoms.encode("CCl□O", mask="□").tolist(), atoms.decode(atoms.encode("CClO"))
        (3, (2, 3, 4), [0, 2, 3, 1], 'CClO')
    """

    kind: str
    content: str

    def __post_init__(self) -> None:
        require_choice("kind", self.kind, KINDS)
        _ = self._tokens

    def __repr__(self) -> str:
        return f"Subwords({self.kind!r}, {self.size} tokens)"

    @cached_property
    def _tokens(self) -> TokenBytes:
        return token_bytes(self.kind, self.content)

    @property
    def size(self) -> int:
        """Number of real tokens, and the id of the mask."""
        return len(self._tokens.ids)

    @property
    def unit(self) -> str:
        """What one token is, in the plural."""
        return "subwords"

    @property
    def ids(self) -> tuple[int, ...]:
        """The tokenizer's own id of each token, ascending: what :func:`mdm_jax.models.framed` takes."""
        return self._tokens.ids

    @property
    def names(self) -> tuple[str, ...]:
        """What the tokenizer's file calls each token, as the files of other tokenizers would."""
        return self._tokens.names

    @property
    def texts(self) -> tuple[str, ...]:
        r"""What each token writes; bytes that make no character by themselves are "\ufffd"."""
        return tuple(text.decode("utf-8", "replace") for text in self._tokens.texts)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the tokenizer's file, in hexadecimal."""
        return digest(self.content)

    @cached_property
    def byte_lengths(self) -> Int64[np.ndarray, " size"]:
        """How many bytes of text each token writes."""
        return np.array([len(text) for text in self._tokens.texts], np.int64)

    def encode(self, text: str, mask: str | None = None) -> Int32[np.ndarray, " length"]:
        """The ids that the tokenizer gives ``text``; what lies between masks is tokenized by itself.

        Args:
            text: any; of a vocab.txt, the longest token that fits is taken, from left to right.
            mask: for infilling: the one character that stands for a token to be filled in. By default nothing does.

        Raises:
            InputError: text for which there is no token but a special one; a mark that is not one character; the
                package ``tokenizers`` is missing.
        """
        require(isinstance(text, str), "text", text, "text")
        if mask is None:
            return self._encoded(text)
        require(isinstance(mask, str) and len(mask) == 1, "mask", mask, "one character")
        runs, between = text.split(mask), np.array([self.size], np.int32)
        parts = [part for run in runs for part in (between, self._encoded(run))]
        return np.concatenate(parts[1:])

    def decode(self, tokens: Int[Any, " length"], mask: str = "·") -> str:
        r"""The text of the ids ``tokens``; the id ``size`` becomes ``mask``, which may be any string.

        What lies between masks is read as UTF-8 by itself: bytes that make no character, as where a mask stands in the
        middle of one, are shown as "\ufffd". ``ABSENT`` (-1) at the end of a row is not shown.

        Raises:
            InputError: ``tokens`` is not a vector of integers, or an id is outside ``0 .. size``.
        """
        return "".join(self._written(tokens, mask))

    def pieces(self, tokens: Int[Any, " length"]) -> list[str]:
        """The text of each token; a character of several tokens stands at its last. Errors as in :meth:`decode`."""
        return self._written(tokens, "·")

    def to_json(self) -> dict[str, Any]:
        """What a run stores as its task's vocabulary: the tokenizer itself."""
        return {"subwords": self.kind, "content": self.content}

    def _written(self, tokens: Int[Any, " length"], mask: str) -> list[str]:
        ids = shown_ids(tokens, self.size, f"subword ids from 0 to {self.size - 1} or the mask {self.size}").tolist()
        reader, found = codecs.getincrementaldecoder("utf-8")("replace"), []
        for place, token in enumerate(ids):
            last = place + 1 == len(ids) or ids[place + 1] == self.size
            if token == self.size:
                found.append(mask)
                reader.reset()
                continue
            text = self._tokens.texts[token]
            text = text.removeprefix(b" ") if place == 0 and self._tokens.opens else text
            found.append(reader.decode(text, final=last))
        return found

    def _encoded(self, text: str) -> Int32[np.ndarray, " length"]:
        if not text:
            return np.zeros(0, np.int32)
        theirs = self._listed(text) if self.kind == "vocab.txt" else self._tokenized(text)
        ids = self._ours[np.minimum(theirs, len(self._ours) - 1)]
        if (ids < 0).any():
            place = int(np.argmax(ids < 0))
            raise InputError(
                "text must be such that the tokenizer has tokens for all of it; it gives the special one "
                f"{self._named(int(theirs[place]))} as token {place}."
            )
        return ids

    @cached_property
    def _ours(self) -> Int32[np.ndarray, " theirs"]:
        """Our id of each of the tokenizer's; -1 for those that are no real tokens."""
        ours = np.full(self.ids[-1] + 2, -1, np.int32)  # the last stands for all beyond
        ours[list(self.ids)] = np.arange(self.size)
        return ours

    def _tokenized(self, text: str) -> Int64[np.ndarray, " length"]:
        return np.array(self._tokenizer.encode(text, add_special_tokens=False).ids, np.int64)

    def _named(self, number: int) -> str:
        return repr(shortened(str(self._tokenizer.id_to_token(number))))

    @cached_property
    def _tokenizer(self) -> Any:
        tokenizers = tokenizers_package()
        try:
            return tokenizers.Tokenizer.from_str(self.content)
        except Exception as error:  # the package raises no narrower one
            raise InputError(f"tokenizer must be one that the package tokenizers reads; it says: {error}.") from None

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        texts = sorted((text.decode() for text in self._tokens.texts), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, texts)))

    def _listed(self, text: str) -> Int64[np.ndarray, " length"]:
        """The tokenizer's ids of the longest tokens that fit, from left to right."""
        number = {name.decode(): theirs for theirs, name in zip(self.ids, self._tokens.texts)}
        found, place = [], 0
        while place < len(text):
            fits = self._pattern.match(text, place)
            if fits is None:
                raise InputError(
                    "text must be such that the tokenizer has tokens for all of it; it has none that begins at "
                    f"character {place}, {text[place : place + 8]!r}."
                )
            found.append(number[fits[0]])
            place = fits.end()
        return np.array(found, np.int64)


def tokenizers_package() -> Any:
    """The package ``tokenizers``, which is an extra.

    Raises:
        InputError: it is missing.
    """
    try:
        import tokenizers
    except ImportError:
        raise InputError(
            "tokenizer must be read by the package tokenizers, which is missing: pip install 'mdm-jax[pretrained]'."
        ) from None
    return tokenizers


def from_stored(value: Mapping[str, Any]) -> Subwords:
    """The notation that :meth:`Subwords.to_json` stored.

    Raises:
        InputError: ``value`` is something else.
    """
    kind, content = value.get("subwords"), value.get("content")
    if kind not in KINDS or not isinstance(content, str):
        raise InputError("description must be what a task's describe() returned; its vocabulary is malformed.")
    return Subwords(kind, content)
