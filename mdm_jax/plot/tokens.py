"""Samples as pictures: every token in the colour of the step that revealed it."""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from mdm_jax.plot.drawing import new_axes, styled, wide
from mdm_jax.plot.values import Drawn, Words
from mdm_jax.support.errors import require, require_whole, verbatim
from mdm_jax.support.text import printable, shortened

LINE = 64
"""Characters in a line; longer samples are wrapped."""
MOST_WRITTEN = 512
"""Tokens whose text is written into a picture; of more, colours alone."""
MOST_TOKENS = 2**14
"""Of a picture: what samples have beyond is left out."""
_LONGEST_WORD = 8
_ACROSS = 300.0
"""Points that cells have from left to right, about."""
_TALL = 8.0
"""Points of a cell with text in it, from top to bottom."""
_NEVER = {-1: ("given", (0.85, 0.87, 0.89)), -2: ("behind the end", (0.94, 0.945, 0.95))}
_MISSING = -3
"""The step of a position that is not there."""
_WASHED = 0.46 * colormaps["viridis"](np.linspace(0, 1, 256))[:, :3] + 0.54
"""Viridis, light enough that text stays readable on it."""


def samples(sampled: Drawn, vocabulary: Words | None = None, *, rows: int = 4, axes: Axes | None = None) -> Axes:
    """When each token was revealed: a cell for each position, in the colour of its step, dark first and bright last.

    Args:
        sampled: what ``sample`` returned.
        vocabulary: of the task (``task.vocabulary``): the text of each token is written into its cell. Where tokens are
            pixels, the picture stands beside that of its steps. Ids are written if left out.
        rows: how many of the samples to show, from the first.
        axes: where to draw; a new figure if left out.

    Raises:
        InputError: no samples, or tokens that the vocabulary does not have.

    Example:
        >>> import mdm_jax as mdm
        >>> urn = mdm.oracles.polya(8, 0.5)
        >>> out = mdm.sample(urn.denoiser, urn.params, mdm.plans.uniform(8, 4), rows=2, key=mdm.key(0))
        >>> axes = mdm.plot.samples(out)
        >>> len(axes.texts)  # a cell for each token, its id written into it
        16
    """
    return _draw(sampled, vocabulary, rows, lambda height: new_axes(height, lines=False) if axes is None else axes)


def of_rows(sampled: Drawn, rows: int = 4) -> Axes:
    """The same with ids, on axes that no window knows of."""
    return _draw(sampled, None, rows, lambda height: wide(height, lines=False))


@styled()
def _draw(sampled: Drawn, vocabulary: Words | None, rows: int, axes_of: Callable[[float], Axes]) -> Axes:
    require(isinstance(sampled, Drawn), "sampled", sampled, "what sample returned")
    words_known = vocabulary is None or isinstance(vocabulary, Words)
    require(words_known, "vocabulary", vocabulary, "a task's vocabulary, or left out")
    shape = np.shape(sampled.reveal_step)
    good = len(shape) == 2 and np.shape(sampled.tokens) == shape and 0 not in shape
    require(good, "sampled", verbatim(f"reveal_step of shape {shape}"), "samples, [rows, length], at least one")
    rows = min(require_whole("rows", rows, 1), shape[0])
    length = min(shape[1], max(MOST_TOKENS // rows, 1))
    tokens, steps = (np.asarray(x[:rows, :length]) for x in (sampled.tokens, sampled.reveal_step))
    last = max(int(steps.max()), 0)
    shape = getattr(vocabulary, "shape", None)
    words, width, aspect = None, 0, 1.0
    if shape is not None and math.prod(shape) == length:
        board = _pictures(tokens, _colours(steps, last), shape)
    else:
        there = [row[at != _MISSING] for row, at in zip(tokens, steps)]
        words = [_words(row, vocabulary) for row in there] if tokens.size <= MOST_WRITTEN else None
        longest = max((len(word) for row in words or () for word in row), default=1)
        width = min(length, LINE // max(longest, 1))
        board = _lines(_colours(steps, last), width)
        aspect = (_TALL if words else 0.5 * _TALL) * width / _ACROSS
    high, across = board.shape[:2]
    axes = axes_of(max(0.6 + high * aspect * _ACROSS / across / 72, 1.0))
    axes.imshow(board, interpolation="nearest", aspect=aspect)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    for row, line in enumerate(words or ()):
        for place, word in enumerate(line):
            x, y = place % width, row * _pitch(length, width) + place // width
            axes.text(x, y, word, fontsize=6, ha="center", va="center_baseline")
    _explain(axes, steps, last)
    return axes


def _colours(steps: Int[np.ndarray, "rows length"], last: int) -> Float[np.ndarray, "rows length 3"]:
    """Of every cell, red, green and blue from 0 to 1."""
    ramp = np.rint(steps.clip(0) / max(last, 1) * (len(_WASHED) - 1)).astype(int)
    colours = _WASHED[ramp]
    for step, (_, colour) in _NEVER.items():
        colours[steps == step] = colour
    colours[steps == _MISSING] = 1.0
    return colours


def _words(row: Int[np.ndarray, " length"], vocabulary: Words | None) -> list[str]:
    """What is written into the cells of a sample."""
    pieces = map(str, row.tolist()) if vocabulary is None else vocabulary.pieces(row)
    visible = (piece.replace("\r", "").replace("\n", "⏎") for piece in pieces)
    return [shortened(printable(piece).strip(), _LONGEST_WORD) for piece in visible]


def _pitch(length: int, width: int) -> int:
    """Lines from one sample to the next: those of several lines are kept apart."""
    lines = -(-length // width)
    return lines + (lines > 1)


def _lines(colours: Float[np.ndarray, "rows length 3"], width: int) -> Float[np.ndarray, "high width 3"]:
    """Samples below each other, each in lines of ``width`` cells, on white."""
    rows, length = colours.shape[:2]
    board = np.ones((rows, _pitch(length, width) * width, 3))
    board[:, :length] = colours
    return board.reshape(-1, width, 3)


def _pictures(
    tokens: Int[np.ndarray, "rows length"], colours: Float[np.ndarray, "rows length 3"], shape: tuple[int, int]
) -> Float[np.ndarray, "high across 3"]:
    """Samples as pictures, several in a line, each with that of its steps to the right, on white."""
    greys = 1 - tokens / max(int(tokens.max()), 1)
    pairs = np.ones((len(tokens), shape[0] + 1, 2 * shape[1] + 4, 3))
    pairs[:, :-1, : shape[1]] = greys.reshape(-1, *shape, 1)
    pairs[:, :-1, shape[1] + 1 : 2 * shape[1] + 1] = colours.reshape(-1, *shape, 3)
    beside = min(len(pairs), max(1, LINE // pairs.shape[2]))
    room = np.ones((-len(pairs) % beside, *pairs.shape[1:]))
    board = np.concatenate([pairs, room]).reshape(-1, beside, *pairs.shape[1:])
    return board.swapaxes(1, 2).reshape(-1, beside * pairs.shape[2], 3)[:-1, :-3]


def _explain(axes: Axes, steps: Int[np.ndarray, "rows length"], last: int) -> None:
    """What the colours mean."""
    colours = ScalarMappable(Normalize(1, max(last + 1, 2)), ListedColormap(_WASHED))
    bar = axes.figure.colorbar(colours, ax=axes, orientation="horizontal", fraction=0.05, pad=0.02, aspect=50)
    bar.ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    bar.outline.set_visible(False)
    bar.set_label("step that revealed it")
    shown = [Patch(color=colour, label=name) for step, (name, colour) in _NEVER.items() if (steps == step).any()]
    if shown:
        axes.legend(handles=shown, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(shown))
