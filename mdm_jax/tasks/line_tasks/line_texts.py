"""The texts that become rows of different lengths: which are left out, which are refused, and how rows are filled."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32

from mdm_jax.support.errors import InputError
from mdm_jax.tasks.dealing import FEWEST_ROWS, FEWEST_WORDS
from mdm_jax.tasks.notations import Vocabulary

END = "⏎"
"""The character that ends lines, where one is asked for."""
MOST_TOKENS = 2**30
"""Of all rows, what fills them up counted: more are refused."""
_EMPTY_SHARE = 4
"""From so many times as many positions as characters on, a note says so."""


@dataclass(frozen=True)
class Texts:
    """Texts and where they come from."""

    texts: list[str]
    numbers: list[int]
    """Of the line on which each stands or begins, from 1 on."""
    place: str
    """The file."""
    unit: str
    """What one text is: "line" or "record"."""
    must: str = "path must name"
    """How a sentence begins that says what would be right."""


def of_content(content: str, place: str) -> Texts:
    """The lines of a text; the line break at its end begins no further one."""
    found = content.removesuffix("\n").split("\n")
    return Texts(found, list(range(1, len(found) + 1)), place, "line")


def fitting(known: Texts, length: int | None, prompt: str | None, end: bool) -> tuple[Texts, tuple[str, ...]]:
    """The texts that become rows, and sentences about those left out.

    Raises:
        InputError: too few are left, they are too long together, or one lacks the prompt or what should follow it.
    """
    unit, room = known.unit, None if length is None else length - end
    pairs = [(text, number) for text, number in zip(known.texts, known.numbers) if text]
    notes = []
    if empty := len(known.texts) - len(pairs):
        notes.append(f"{_left_out(empty, f'empty {unit}')}.")
    if room is not None and (long := [len(text) for text, _ in pairs if len(text) > room]):
        pairs = [(text, number) for text, number in pairs if len(text) <= room]
        told = _left_out(len(long), unit, f" of more than {room:,} characters")
        notes.append(f"{told}; the longest has {max(long):,}.")
    if len(pairs) < FEWEST_ROWS:
        fits = "" if room is None else f" of at most {room} characters"
        raise InputError(
            f"{known.must} at least {FEWEST_ROWS} {unit}s{fits} ({FEWEST_WORDS}); {known.place!r} has {len(pairs)}."
        )
    if prompt is not None:
        _check_prompt(known, pairs, prompt, end)
    longest, total = max(len(text) for text, _ in pairs), sum(len(text) for text, _ in pairs)
    width = longest + end if length is None else length
    if longest < 2:
        raise InputError(f"{known.must} {unit}s of two characters or more; {known.place!r} has none.")
    if len(pairs) * width > MOST_TOKENS:
        raise InputError(
            f"length must be given, so that the longest {unit}s are left out: {len(pairs):,} rows as long as the "
            f"longest, {width:,}, are more than {MOST_TOKENS:,} tokens."
        )
    if len(pairs) * width > _EMPTY_SHARE * total:
        middle = sorted(len(text) for text, _ in pairs)[len(pairs) // 2]
        notes.append(
            f"Rows are computed as long as the longest, {width:,} tokens, and half of the {unit}s have at most "
            f"{middle:,}: a smaller length would be faster."
        )
    kept = Texts([text for text, _ in pairs], [number for _, number in pairs], known.place, unit)
    return kept, tuple(notes)


def described(kept: Texts) -> tuple[str, ...]:
    """A sentence about lengths, where all rows are filled up to one length by ends."""
    found = [len(text) for text in kept.texts]
    mean = sum(found) / len(found)
    return (f"The {kept.unit}s have {min(found):,} to {max(found):,} characters, {mean:,.1f} on average.",)


def rows_of(kept: Texts, vocabulary: Vocabulary, width: int, filling: int) -> Int32[np.ndarray, "rows length"]:
    """The ids of each text, and ``filling`` behind them."""
    lengths = np.fromiter(map(len, kept.texts), np.int64, len(kept.texts))
    rows = np.full((len(lengths), width), filling, np.int32)
    rows[np.arange(width) < lengths[:, None]] = vocabulary.encode("".join(kept.texts))
    return rows


def _check_prompt(known: Texts, pairs: list[tuple[str, int]], prompt: str, end: bool) -> None:
    for wrong, what in (
        ([number for text, number in pairs if prompt not in text], "have it"),
        ([number for text, number in pairs if not end and text.partition(prompt)[2] == ""], "have something behind it"),
    ):
        if wrong:
            raise InputError(
                f"prompt must be text that every {known.unit} has, with something behind it; of the {len(pairs):,} "
                f"{known.unit}s of {known.place!r}, {len(wrong):,} do not {what}, the first in line {wrong[0]}; "
                f"got {prompt!r}."
            )


def _left_out(number: int, what: str, which: str = "") -> str:
    return f"{number:,} {what}{which} was left out" if number == 1 else f"{number:,} {what}s{which} were left out"
