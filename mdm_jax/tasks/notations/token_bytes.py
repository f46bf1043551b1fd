"""What each token of a tokenizer writes, as bytes: read from its file, so that showing needs no package.

A token may be part of a character: two of three bytes of one, say. So bytes are joined before they are read as text.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mdm_jax.support.errors import InputError

KINDS = ("tokenizer.json", "vocab.txt")
"""A file of the package ``tokenizers``, and a list of tokens, one on each line, whose ids are their lines from 0 on."""
_SPECIAL = re.compile(
    r"\[(PAD|UNK|CLS|SEP|MASK|BOS|EOS|unused_?\d+)\]|<(pad|unk|cls|sep|mask|bos|eos|s|/s|null_?\d*)>", re.IGNORECASE
)
"""Tokens that stand for no text. Other words in brackets do: atoms of molecules are written so."""
_FALLBACK = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_WANTED = "tokenizer must name a tokenizer.json of the package tokenizers, or a vocab.txt with a token on each line"


@dataclass(frozen=True)
class TokenBytes:
    """The real tokens of a tokenizer, in ascending order of the ids that it gives them.

    Attributes:
        ids: of the tokenizer; special tokens have none.
        texts: what each writes, as bytes.
        opens: whether a space at the very beginning of a row is not written.
        names: what the tokenizer's file calls each.
    """

    ids: tuple[int, ...]
    texts: tuple[bytes, ...]
    opens: bool
    names: tuple[str, ...] = field(repr=False)


def token_bytes(kind: str, content: str) -> TokenBytes:
    r"""The tokens of a tokenizer's file.

    Special tokens are left out: those that the file calls so, the one for what is unknown, and ``[unused1]`` and the
    like. What is left does not depend on any text, so that all texts of one tokenizer have one vocabulary.

    Args:
        kind: one of ``KINDS``.
        content: of the file.

    Raises:
        InputError: it is something else, or has a decoder that is not known here.

    Example:
        >>> from mdm_jax.tasks.notations.token_bytes import token_bytes
        >>> token_bytes("vocab.txt", "[PAD]\n[MASK]\nC\nCl\n[nH]")
        TokenBytes(ids=(2, 3, 4), texts=(b'C', b'Cl', b'[nH]'), opens=False)
    """
    if kind == "vocab.txt":
        return _listed(content)
    told = _parsed(content)
    names, special = _names(told)
    write, opens = _decoder(told.get("decoder"))
    _check_unknown(told["model"], write is _byte_level)
    real = sorted(number for number, name in names.items() if number not in special and not _SPECIAL.fullmatch(name))
    called = tuple(names[number] for number in real)
    return _two_or_more(TokenBytes(tuple(real), tuple(map(write, called)), opens, called))


def _listed(content: str) -> TokenBytes:
    names = [line.removesuffix("\r") for line in content.removesuffix("\n").split("\n")]
    if len(set(names)) < len(names) or "" in names:
        twice = next(name for i, name in enumerate(names) if name == "" or name in names[:i])
        raise InputError(
            f"{_WANTED}; it has {twice!r} more than once." if twice else f"{_WANTED}; it has an empty line."
        )
    if any(name.startswith("##") and len(name) > 2 for name in names):
        raise InputError(
            f"{_WANTED}; it is a list of word pieces (##), and how text is split into words is told by tokenizer.json "
            "alone."
        )
    real = [number for number, name in enumerate(names) if not _SPECIAL.fullmatch(name)]
    called = tuple(names[number] for number in real)
    return _two_or_more(TokenBytes(tuple(real), tuple(name.encode() for name in called), False, called))


def _two_or_more(found: TokenBytes) -> TokenBytes:
    if len(found.ids) < 2:
        raise InputError(f"{_WANTED}; it has {len(found.ids)} that are not special.")
    return found


def _parsed(content: str) -> Mapping[str, Any]:
    try:
        told = json.loads(content)
    except (ValueError, RecursionError):
        told = None
    model = told.get("model") if isinstance(told, dict) else None
    if not isinstance(told, dict) or not isinstance(model, dict) or not isinstance(model.get("vocab"), dict | list):
        raise InputError(f"{_WANTED}; it is JSON without a model and its vocabulary, or no JSON.")
    return told


def _names(told: Mapping[str, Any]) -> tuple[dict[int, str], set[int]]:
    """The tokens by id, and the ids of those that stand for no text."""
    model, vocabulary = told["model"], told["model"]["vocab"]
    try:
        pairs = (
            vocabulary.items() if isinstance(vocabulary, dict) else ((one[0], i) for i, one in enumerate(vocabulary))
        )
        names = {int(number): str(name) for name, number in pairs}
        added = {int(one["id"]): one for one in told.get("added_tokens") or ()}
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise InputError(f"{_WANTED}; its tokens are malformed ({error!r}).") from None
    names |= {number: str(one.get("content", "")) for number, one in added.items()}
    special = {number for number, one in added.items() if one.get("special")}
    unknown = model.get("unk_token")
    special |= {number for number, name in names.items() if name == unknown}
    return names, special | ({model["unk_id"]} if type(model.get("unk_id")) is int else set())


def _check_unknown(model: Mapping[str, Any], byte_level: bool) -> None:
    """Refuse a tokenizer that leaves out what it has no token for, and says nothing."""
    kept = byte_level or bool(model.get("byte_fallback")) or model.get("unk_token") is not None
    if model.get("type") == "BPE" and not kept:
        raise InputError(
            f"{_WANTED}, which has a token for every text or for what is unknown; this one would leave out characters "
            "without a word (its BPE is not byte-level and has neither byte_fallback nor unk_token)."
        )


def _decoder(told: Any) -> tuple[Callable[[str], bytes], bool]:
    """What writes a token, and whether a space that opens a row is not written."""
    kind = told.get("type") if isinstance(told, dict) else None
    if told is None:
        return (lambda name: f" {name}".encode()), True  # tokens are words
    if kind == "ByteLevel":
        return _byte_level, False
    if kind == "WordPiece":
        prefix = str(told.get("prefix", "##"))
        return (lambda name: (name[len(prefix) :] if name.startswith(prefix) else f" {name}").encode()), True
    if kind == "Metaspace":
        space = str(told.get("replacement", "▁"))
        return (lambda name: name.replace(space, " ").encode()), told.get("prepend_scheme", "always") != "never"
    parts = told.get("decoders") if kind == "Sequence" else None
    steps = [part.get("type") for part in parts] if isinstance(parts, list) else []
    if parts and set(steps) <= {"Replace", "ByteFallback", "Fuse", "Strip"} and steps.count("Replace") == 1:
        replaced = parts[steps.index("Replace")]
        old, new = replaced.get("pattern", {}).get("String"), str(replaced.get("content", ""))
        if isinstance(old, str):
            return (lambda name: _or_byte(name, "ByteFallback" in steps, old, new)), "Strip" in steps
    known = "ByteLevel, WordPiece, Metaspace or that of Llama"
    raise InputError(f"{_WANTED}, whose decoder is {known}; its decoder is {kind or told!r}.")


def _or_byte(name: str, fallback: bool, old: str, new: str) -> bytes:
    found = _FALLBACK.fullmatch(name) if fallback else None
    return bytes.fromhex(found[1]) if found else name.replace(old, new).encode()


def _letters() -> dict[str, int]:
    """The byte that each letter of a byte-level token stands for: printable ones themselves, others from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


_LETTERS = _letters()


def _byte_level(name: str) -> bytes:
    if all(letter in _LETTERS for letter in name):
        return bytes(_LETTERS[letter] for letter in name)
    return name.encode()  # an added token, which is written as it is
