"""``mdm-jax sample --replay``: how samples came about, step by step, in a terminal.

A :class:`Recording` is what one row went through; :func:`frames` makes strings of it, without a terminal; :func:`show`
puts them on one, or prints a few of them where there is none. Every position keeps its place from the first frame to
the last: lines are broken where the finished text breaks them.
"""

import dataclasses
import os
import shutil
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Int, Int32

from mdm_jax.models import Denoiser
from mdm_jax.sampling import FILLED, Sampled
from mdm_jax.support.ragged import present
from mdm_jax.support.text import is_obeyed
from mdm_jax.tasks import Grid, Notation, Numbers

MASKED, AGAIN = "·", "◦"
"""A position that is masked, and one that is masked again."""
RATE = 30
"""Frames per second at most; a terminal shows no more, and eyes see no more."""
PRINTED = 8
"""Frames of a sample that are printed where there is no terminal."""

_FREE, _AGAIN, _NOW_AGAIN, _NEW, _HELD, _GIVEN, _FILLED = range(7)
_COLOURS = {_FREE: "2", _AGAIN: "31", _NOW_AGAIN: "97;41", _NEW: "30;42", _GIVEN: "4", _FILLED: "2"}
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
"""Another screen without cursor and without wrapping, and back: what stood on the terminal before is left alone."""
_HOME, _END_OF_LINE, _REST = "\x1b[H", "\x1b[K", "\x1b[J"


@dataclasses.dataclass(frozen=True)
class Recording:
    """What one row went through.

    Attributes:
        canvas: int32[length], before the first step; ``mask_id`` where tokens were to be drawn.
        tokens: int32[steps, length], after each step that changed something.
        nfe: int[steps], model calls up to each.
        filled: bool[length], positions behind the end of the sequence, which were not drawn.
        mask_id: the mask.
    """

    canvas: Int32[np.ndarray, " length"]
    tokens: Int32[np.ndarray, "steps length"]
    nfe: Int[np.ndarray, " steps"]
    filled: Bool[np.ndarray, " length"]
    mask_id: int


def recordings(canvas: Int32[np.ndarray, "... length"], drawn: Sampled, denoiser: Denoiser) -> list[Recording]:
    """One for each row of ``drawn``, whose trajectory is its tokens. Steps of other rows alone are left out, as are
    positions that a row does not have. The canvas is one for all rows, or one for each.
    """
    tokens = np.asarray(drawn.trajectory)[: int(drawn.steps)]
    made, canvases = [], np.broadcast_to(canvas, drawn.tokens.shape)
    for row, steps in enumerate(np.asarray(drawn.reveal_step)):
        there = present(canvases[row])
        canvas, after, steps = canvases[row][there], tokens[:, row][:, there], steps[there]
        before = np.concatenate([canvas[None], after])[:-1]
        filled = steps == FILLED
        drew = ((before == denoiser.mask_id) & (after != denoiser.mask_id) & ~filled).any(axis=-1)
        nfe = denoiser.passes * np.cumsum(drew)
        changed = (before != after).any(axis=-1)
        made.append(Recording(canvas, after[changed], nfe[changed], filled, denoiser.mask_id))
    return made


@dataclasses.dataclass(frozen=True)
class Look:
    """How the tokens of one recording are laid out.

    Attributes:
        shown: the text of each token id; no control characters.
        widths: int[length], columns that each position takes in every frame.
        breaks: bool[length], whether a line ends behind a position.
        gaps: what stands between each position and the next, where that is in the same line.
        rule: a line without positions, drawn behind those of ``ruled``, each of which ends a line.
        ruled: positions.
    """

    shown: Mapping[int, str]
    widths: Int[np.ndarray, " length"]
    breaks: Bool[np.ndarray, " length"]
    gaps: Sequence[str]
    rule: str = ""
    ruled: frozenset[int] = frozenset()


def look_of(recording: Recording, vocabulary: Notation) -> Look:
    """Text with its own line breaks, numbers in columns, a grid, or a picture with two characters per pixel."""
    everything = np.concatenate([recording.canvas[None], recording.tokens])
    ids = [int(token) for token in np.unique(everything) if token != recording.mask_id]
    length = len(recording.canvas)
    nowhere, close = np.zeros(length, bool), [""] * length
    if isinstance(vocabulary, Grid) and length == vocabulary.size**2:
        shown = {token: vocabulary.pieces(np.array([token]))[0] for token in ids}
        parts = [behind.split("\n") for behind in vocabulary.lines()]
        rules = {place: part[1] for place, part in enumerate(parts) if any(part[1:])}
        ends, gaps = np.array([len(part) > 1 for part in parts]), [part[0] for part in parts]
        return Look(shown, np.ones(length, int), ends, gaps, next(iter(rules.values()), ""), frozenset(rules))
    if isinstance(vocabulary, Numbers):
        if vocabulary.shape is not None and vocabulary.shape[0] * vocabulary.shape[1] == length:
            pixels = {token: vocabulary.decode(np.full(length, token))[:2] for token in ids}
            ends = np.arange(1, length + 1) % vocabulary.shape[1] == 0
            return Look(pixels, np.full(length, 2), ends, close)
        shown = {token: str(token) for token in ids}
        return Look(shown, np.full(length, max(map(len, shown.values()), default=1)), nowhere, [" "] * length)
    written = {token: vocabulary.decode(np.array([token])) for token in ids}
    shown = {token: "".join(map(printable, text)) for token, text in written.items()}
    columns = np.array([columns_of(shown.get(token, MASKED)) for token in range(max(ids, default=0) + 1)])
    wide = np.where(everything == recording.mask_id, 1, columns[np.minimum(everything, len(columns) - 1)])
    breaks = nowhere if len(recording.tokens) == 0 else np.isin(everything[-1], [t for t in ids if "\n" in written[t]])
    return Look(shown, wide.max(axis=0), breaks, close)


def printable(character: str) -> str:
    """A character as it can stand in a line: control characters as their pictures, a combining mark on a circle."""
    if character == "\n":
        return "⏎"
    if ord(character) < 0x20:
        return chr(0x2400 + ord(character))
    if unicodedata.category(character) in ("Mn", "Me"):
        return "◌" + character
    return "�" if is_obeyed(character) else character


def columns_of(text: str) -> int:
    """The columns that printable text takes in a terminal."""
    return sum(
        0 if unicodedata.combining(c) or unicodedata.category(c) in ("Mn", "Me") else
        2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )  # fmt: skip


def frames(
    recording: Recording,
    look: Look,
    size: Callable[[], tuple[int, int]],
    title: str = "",
    colour: bool = True,
    most: int | None = None,
) -> Iterator[str]:
    """A recording as pictures in text: a status line, an empty one, and the sequence.

    Args:
        recording: what happened.
        look: how its tokens are laid out.
        size: columns and lines that a frame may take, asked anew for each.
        title: what the status line begins with.
        colour: use ANSI colours: dim where masked, green where just revealed, red where just masked again, underlined
            where given. No other control codes.
        most: frames to make, the first (nothing revealed yet) and the last among them; all if left out.

    Yields:
        Lines joined by newlines, none longer than the columns, none after the last.
    """
    steps, mask = len(recording.tokens), recording.mask_id
    free = recording.canvas == mask
    chosen = np.arange(steps + 1)
    if most is not None and most < steps + 1:
        chosen = np.unique(np.rint(np.linspace(0, steps, max(most, 2))).astype(int))
    held_once, before, top = ~free, recording.canvas, 0
    for at, step in enumerate(chosen):
        now = recording.canvas if step == 0 else recording.tokens[step - 1]
        since = recording.tokens[(chosen[at - 1] if at else 0) : step]
        held_once = held_once | (since != mask).any(axis=0)
        states = np.where(now == mask, _FREE, np.where(before == mask, _NEW, _HELD))
        states[(now == mask) & held_once] = _AGAIN
        states[(now == mask) & (before != mask)] = _NOW_AGAIN
        states[(now != mask) & (before != mask) & (now != before)] = _NEW
        states[recording.filled & (now != mask)] = _FILLED
        states[~free] = _GIVEN
        share = (now[free] != mask).mean() if free.any() else 1.0
        nfe = 0 if step == 0 else int(recording.nfe[step - 1])
        width, height = size()
        lines = _lines(look, width)
        room = max(height - 2, 1)
        top = _scrolled(lines, np.isin(states, (_NEW, _NOW_AGAIN)), top, room)
        status = f"{title}step {step} of {steps} · nfe {nfe} · {share:.0%} revealed"
        bar = max(min(width - len(status) - 3, 24), 0)
        done = round(bar * share)
        seen = lines[top : top + room]
        drawn = [_line(line, now, states, look, mask, colour) if line else look.rule[:width] for line in seen]
        yield "\n".join([f"{status}  {'█' * done}{'░' * (bar - done)}".rstrip()[:width], "", *drawn])
        before = now


def _lines(look: Look, width: int) -> list[list[int]]:
    """The positions of each line of at most ``width`` columns (one position at least); none of a rule."""
    lines: list[list[int]] = [[]]
    used = 0
    for position, (columns, ends) in enumerate(zip(look.widths.tolist(), look.breaks.tolist())):
        gap = len(look.gaps[lines[-1][-1]]) if lines[-1] else 0
        if lines[-1] and used + gap + columns > width:
            lines.append([])
            used = gap = 0
        used += gap + columns
        lines[-1].append(position)
        if ends:
            lines.extend([[], []] if position in look.ruled else [[]])
            used = 0
    return lines if lines[-1] else lines[:-1]


def _scrolled(lines: Sequence[Sequence[int]], changed: Bool[np.ndarray, " length"], top: int, room: int) -> int:
    """The first line to show where not all fit: as before, unless all that changed would be out of sight."""
    where = [i for i, line in enumerate(lines) if changed[line].any()]
    if where and not any(top <= i < top + room for i in where):
        top = where[0] - room // 2
    return max(min(top, len(lines) - room), 0)


def _line(
    line: Sequence[int],
    tokens: Int32[np.ndarray, " length"],
    states: Int[np.ndarray, " length"],
    look: Look,
    mask_id: int,
    colour: bool,
) -> str:
    """One line; neighbours of one colour share its codes."""
    parts, open_state = [], _HELD
    for place, position in enumerate(line):
        state, columns = int(states[position]), int(look.widths[position])
        if tokens[position] == mask_id:
            cell = (AGAIN if state in (_AGAIN, _NOW_AGAIN) else MASKED) * columns
        else:
            text = look.shown[int(tokens[position])]
            cell = " " * (columns - columns_of(text)) + text
        if colour and state != open_state:
            parts.append("\x1b[0m" if open_state in _COLOURS else "")
            code = _COLOURS.get(state)
            parts.append(f"\x1b[{code}m" if code else "")
            open_state = state
        parts.append(cell)
        gap = look.gaps[position] if place + 1 < len(line) else ""
        if colour and gap.strip() and open_state in _COLOURS:  # lines of a grid have no colour
            parts.append("\x1b[0m")
            open_state = _HELD
        parts.append(gap)
    if colour and open_state in _COLOURS:
        parts.append("\x1b[0m")
    return "".join(parts)


def show(made: Sequence[Recording], vocabulary: Notation, seconds: float) -> None:
    """Replay one sample after the other on the terminal, or print some frames of each where there is none.

    Args:
        made: the samples.
        vocabulary: how their tokens are written.
        seconds: for each sample, at least as long as writing takes.
    """
    if not _is_terminal():
        for i, recording in enumerate(made):
            look = look_of(recording, vocabulary)
            for text in frames(recording, look, _page_size, f"sample {i} · ", colour=False, most=PRINTED):
                print(text.replace("\n\n", "\n", 1), end="\n\n")
        return
    write = sys.stdout.write
    try:
        write(ENTER)
        for i, recording in enumerate(made):
            look = look_of(recording, vocabulary)
            most = None if seconds == 0 else max(round(RATE * seconds), 2)
            count = min(len(recording.tokens) + 1, most or len(recording.tokens) + 1)
            begun = time.monotonic()
            title = f"sample {i} of {len(made)} · " if len(made) > 1 else ""
            for k, text in enumerate(frames(recording, look, _screen_size, title, most=most), start=1):
                write(_HOME + text.replace("\n", f"{_END_OF_LINE}\n") + _END_OF_LINE + _REST)
                sys.stdout.flush()
                time.sleep(max(begun + seconds * k / count - time.monotonic(), 0.0))
    finally:
        write(LEAVE)
        sys.stdout.flush()


def _is_terminal() -> bool:
    """Whether standard output is a terminal that knows control codes, and is to see them (https://no-color.org)."""
    dumb = os.environ.get("TERM", "") in ("", "dumb") or os.environ.get("NO_COLOR", "") != ""
    return sys.stdout.isatty() and not dumb


def _screen_size() -> tuple[int, int]:
    size = shutil.get_terminal_size()
    return max(size.columns, 1), max(size.lines, 1)


def _page_size() -> tuple[int, int]:
    """As wide as the terminal, and as long as it takes: what is printed can be scrolled."""
    return _screen_size()[0], sys.maxsize
