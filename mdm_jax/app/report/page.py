"""The parts of a self-contained HTML page: escaped text, tables, charts, samples coloured by step.

A function that takes text escapes it; one that takes HTML says so in the name of the argument. No script, no link to
anything outside the page.
"""

import base64
import html
import itertools
import math
from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mdm_jax.app.report import style
from mdm_jax.plot.drawing import svg
from mdm_jax.support.text import in_words, printable


def escape(text: object) -> str:
    """``text`` for use in HTML, in an attribute too; a browser obeys directions of writing as a terminal does."""
    return html.escape(printable(str(text), lines=True), quote=True)


def code(text: object) -> str:
    """``text`` as something to type."""
    return f"<code>{escape(text)}</code>"


def bits(value: float) -> str:
    """Bits per token as people read them, to two decimals."""
    return f"{value:.2f}" if math.isfinite(value) else "not a number"


def with_error(value: float, error: float) -> str:
    """``3.104 ± 0.029``: as many decimals as give the standard error two digits, at most four."""
    if not (math.isfinite(value) and math.isfinite(error)) or error <= 0:
        return f"{value:.3f}" if math.isfinite(value) else "not a number"
    decimals = min(max(1 - math.floor(math.log10(error)), 0), 4)
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"


def duration(seconds: float) -> str:
    """Seconds as people say them: "48 s", "6.3 min", "3.1 h"."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def count(value: float) -> str:
    """A whole number with separators; from 100,000 on shortened ("1.23 M")."""
    for unit, size in (("G", 1e9), ("M", 1e6)):
        if value >= size:
            return f"{value / size:.2f} {unit}"
    return f"{value / 1e3:.0f} k" if value >= 1e5 else f"{value:,.0f}"


def words(names: Sequence[str]) -> str:
    """``a, b and c``, escaped."""
    return in_words([escape(name) for name in names])


def tiles(figures: Iterable[tuple[str, str, str]]) -> str:
    """Headline figures: (what it is, the figure, a remark) each."""
    cells = (
        f'<div class="tile"><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(remark)}</small></dd></div>'
        for name, value, remark in figures
    )
    return f'<dl class="tiles">{"".join(cells)}</dl>'


def table(headings: Sequence[str], body_html: Sequence[str], label: str, style: str = "") -> str:
    """A table that scrolls on a narrow screen, by touch and by keys, and shows by shadows that it does.

    Args:
        headings: of its columns.
        body_html: its ``<tr>`` rows.
        label: what it shows.
        style: a CSS class.
    """
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings)
    rows = "\n".join(body_html)
    parts = f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>"
    region = f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}">'
    return f'{region}<table class="{style}">{parts}</table></div>'


def chart(picture: Figure | Axes, name: str, label: str, caption_html: str = "", small: bool = False) -> str:
    """A figure as inline SVG with a caption.

    Args:
        picture: the figure, or its axes.
        name: unique in the page.
        label: what it shows, for people who cannot see it.
        caption_html: HTML below it.
        small: one of several side by side.
    """
    caption = f"<figcaption>{caption_html}</figcaption>" if caption_html else ""
    drawing = svg(picture, name).replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1)
    parts = caption + drawing if small else drawing + caption
    return f'<figure class="{"small" if small else "chart"}">{parts}</figure>'


def image(picture: bytes, kind: str, label: str, caption_html: str, width: float, least: float) -> str:
    """A picture from a file, inside the page itself, with a caption. A browser runs nothing of it, nor loads more.

    Args:
        picture: the file.
        kind: "png", which stands on white, as it was drawn for; or "svg+xml", which knows the light and the dark.
        label: what it shows, for people who cannot see it.
        caption_html: HTML below it.
        width: rem that it takes at most.
        least: rem that it takes at least: on a narrow screen it scrolls, for its texts to be read.
    """
    source = base64.b64encode(picture).decode("ascii")
    ground = "white" if kind == "png" else "clear"
    shown = f'<img class="drawn {ground}" alt="{escape(label)}" src="data:image/{kind};base64,{source}">'
    region = f'<div class="scroll pictured" role="region" tabindex="0" aria-label="{escape(label)}">{shown}</div>'
    style = f"max-width:{width:g}rem;--least:{least:g}rem"
    return f'<figure class="chart" style="{style}">{region}<figcaption>{caption_html}</figcaption></figure>'


def swatches(entries: Iterable[tuple[str, str]]) -> str:
    """A legend: (colour name in ``drawing.COLOURS``, label) each."""
    parts = (f'<span><i style="background:var(--{name})"></i>{escape(label)}</span>' for name, label in entries)
    return f'<p class="legend">{"".join(parts)}</p>'


def step_legend() -> str:
    """What the colours of a sample mean."""
    cells = "".join(f'<i class="r{level}"></i>' for level in range(style.LEVELS))
    return (
        f'<p class="legend"><span>revealed first <span class="ramp">{cells}</span> revealed last</span>'
        '<span><u class="given">given</u> before the first step</span></p>'
    )


def sample(
    pieces: Sequence[str],
    reveal_step: Sequence[int],
    steps: int,
    most: int,
    seconds: float | None = None,
    between: Sequence[str] | None = None,
) -> str:
    """A sample as preformatted text; the background of every piece tells the step that revealed it.

    Args:
        pieces: the text of each position.
        reveal_step: the step of each position, from 0; -1 where it was given, -2 where it lies behind the end.
        steps: number of steps, for the scale of colours.
        most: positions to show; a longer sample is cut, and says so.
        seconds: how long each step takes where the sample is written before the reader's eyes; ``None``: it stands.
        between: what is drawn behind each position, without colour, as the lines of a grid are.
    """
    parts = []
    behind = [""] * len(pieces) if between is None else between
    # What stands behind a piece ends its group, so that it is drawn once and has no step.
    ends = itertools.accumulate((text != "" for text in behind), initial=0)
    shown = itertools.islice(zip(pieces, reveal_step, behind, ends), most)
    for (step, _), group in itertools.groupby(shown, key=lambda each: (each[1], each[3])):
        members = list(group)
        text = escape("".join(piece for piece, *_ in members).replace("\r", "")).replace("\n", "<b>⏎</b>\n")
        if step < 0:
            kind, title = _never(step)
            parts.append(f'<u class="{kind}" title="{title}">{text}</u>')
        else:
            turn = _turn(step, steps, seconds)
            parts.append(f'<i class="r{_ramp(step, steps)}"{turn} title="step {step + 1}">{text}</i>')
        parts.append(escape(members[-1][2]))
    cut = f"\n… and {len(pieces) - most:,} more tokens" if len(pieces) > most else ""
    # HTML drops a newline right after <pre>, so one is put there for it to drop.
    return f'<pre class="sample{"" if seconds is None else " play"}"{_pace(seconds)}>\n{"".join(parts)}{cut}</pre>'


def marked(pieces: Sequence[str], marks: Sequence[bool], most: int, between: Sequence[str] | None = None) -> str:
    """A sample as preformatted text with some of its positions marked.

    Args:
        pieces: the text of each position.
        marks: which are marked.
        most: positions to show; a longer sample is cut, and says so.
        between: what is drawn behind each position, never marked, as the lines of a grid are.
    """
    behind = [""] * len(pieces) if between is None else between
    ends = itertools.accumulate((text != "" for text in behind), initial=0)
    shown = itertools.islice(zip(pieces, marks, behind, ends), most)
    parts = []
    for (mark, _), group in itertools.groupby(shown, key=lambda each: (each[1], each[3])):
        members = list(group)
        text = escape("".join(piece for piece, *_ in members).replace("\r", "")).replace("\n", "<b>⏎</b>\n")
        parts.append(f"<mark>{text}</mark>" if mark else text)
        parts.append(escape(members[-1][2]))
    cut = f"\n… and {len(pieces) - most:,} more tokens" if len(pieces) > most else ""
    return f'<pre class="sample">\n{"".join(parts)}{cut}</pre>'


def picture(
    levels: Sequence[int],
    reveal_step: Sequence[int] | None,
    steps: int,
    most: int,
    columns: int,
    seconds: float | None = None,
) -> str:
    """A sample that is a picture: its grey levels, and beside them the steps that revealed them, in their colours.

    Args:
        levels: the grey level of each pixel in raster order, from 0 (no ink) to ``most``.
        reveal_step: the step of each pixel, from 0; -1 where it was given, -2 where it lies behind the end; ``None``
            for a real picture, which stands alone.
        steps: number of steps, for the scale of colours.
        most: the darkest level, 1 at least.
        columns: pixels in a line.
        seconds: how long each step takes where the picture is drawn before the reader's eyes; ``None``: it stands.
    """
    grey, order, covers = [], [], []
    for level in sorted(set(levels) - {0}):
        grey.append(f'<path d="{_pixels(levels, level, columns)}" opacity="{level / most:.3g}"/>')
    for step in sorted(set(reveal_step or ())):
        colour, title = (f"r{_ramp(step, steps)}", f"step {step + 1}") if step >= 0 else ("line", _never(step)[1])
        path = _pixels(reveal_step or (), step, columns)
        order.append(f'<path d="{path}" style="fill:var(--{colour})"><title>{title}</title></path>')
        if seconds is not None and step >= 0:
            covers.append(f'<path class="cover" d="{path}"{_turn(step, steps, seconds)}/>')
    box = f'viewBox="0 0 {columns} {-(-len(levels) // columns)}" shape-rendering="crispEdges" role="img"'
    cover = "".join(covers)
    order_html = f'<svg {box} aria-label="the step that revealed each pixel">{"".join(order)}{cover}</svg>'
    return (
        f'<div class="picture{"" if seconds is None else " play"}"{_pace(seconds)}>'
        f'<svg {box} aria-label="the picture">{"".join(grey)}{cover}</svg>'
        f"{'' if reveal_step is None else order_html}</div>"
    )


def again() -> str:
    """What a reader presses to see the samples that follow come about once more; hidden where nothing moves."""
    return '<button type="button" class="again">▶ play again</button>'


def _never(step: int) -> tuple[str, str]:
    """Class and tooltip of what no step revealed: the input to the sampler, or what lies behind a sequence's end."""
    return ("given", "given") if step == -1 else ("filled", "behind the end")


def _pace(seconds: float | None) -> str:
    return "" if seconds is None else f' style="--d:{seconds:.3g}s"'


def _turn(step: int, steps: int, seconds: float | None) -> str:
    """When a piece appears: a number of steps, which the style multiplies by the pace."""
    return "" if seconds is None else f' style="--s:{min(step, max(steps - 1, 0))}"'


def _pixels(values: Sequence[int], value: int, columns: int) -> str:
    """The outline, as an SVG path, of the unit squares where ``values`` is ``value``."""
    places = (divmod(place, columns) for place, each in enumerate(values) if each == value)
    return "".join(f"M{column} {line}h1v1h-1z" for line, column in places)


def _ramp(step: int, steps: int) -> int:
    """The colour of a step, from 0 to ``style.LEVELS - 1``."""
    return round((style.LEVELS - 1) * min(step / max(steps - 1, 1), 1.0))


def document(title: str, body_html: str) -> str:
    """The whole page."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style.sheet()}</style>\n</head>\n"
        f"<body>\n{body_html}\n</body>\n</html>\n"
    )
