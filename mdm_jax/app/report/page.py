"""The parts of a self-contained HTML page: escaped text, tables, charts, samples coloured by step, the style.

A function that takes text escapes it; one that takes HTML says so in the name of the argument. No script, no link to
anything outside the page.
"""

import base64
import html
import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from mdm_jax.plot.drawing import COLOURS, svg
from mdm_jax.support.text import printable

LEVELS = 16
"""Number of colours from the first step to the last."""


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
    shown = [escape(name) for name in names]
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)


def tiles(figures: Iterable[tuple[str, str, str]]) -> str:
    """Headline figures: (what it is, the figure, a remark) each."""
    cells = (
        f'<div class="tile"><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(remark)}</small></dd></div>'
        for name, value, remark in figures
    )
    return f'<dl class="tiles">{"".join(cells)}</dl>'


def table(headings: Sequence[str], body_html: Sequence[str], style: str = "") -> str:
    """A table that scrolls on a narrow screen; ``body_html`` are its ``<tr>`` rows, ``style`` is a CSS class."""
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings)
    rows = "\n".join(body_html)
    parts = f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>"
    return f'<div class="scroll"><table class="{style}">{parts}</table></div>'


def chart(figure: Figure, name: str, label: str, caption_html: str = "", small: bool = False) -> str:
    """A figure as inline SVG with a caption.

    Args:
        figure: the picture.
        name: unique in the page.
        label: what it shows, for people who cannot see it.
        caption_html: HTML below it.
        small: one of several side by side.
    """
    caption = f"<figcaption>{caption_html}</figcaption>" if caption_html else ""
    drawing = svg(figure, name).replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1)
    parts = caption + drawing if small else drawing + caption
    return f'<figure class="{"small" if small else "chart"}">{parts}</figure>'


def image(png: bytes, label: str, caption_html: str = "") -> str:
    """A PNG picture, inside the page itself, with a caption; on white, as it was drawn for.

    Args:
        png: the file.
        label: what it shows, for people who cannot see it.
        caption_html: HTML below it.
    """
    source = base64.b64encode(png).decode("ascii")
    picture = f'<img class="drawn" alt="{escape(label)}" src="data:image/png;base64,{source}">'
    return f'<figure class="chart">{picture}<figcaption>{caption_html}</figcaption></figure>'


def swatches(entries: Iterable[tuple[str, str]]) -> str:
    """A legend: (colour name in ``drawing.COLOURS``, label) each."""
    parts = (f'<span><i style="background:var(--{name})"></i>{escape(label)}</span>' for name, label in entries)
    return f'<p class="legend">{"".join(parts)}</p>'


def step_legend() -> str:
    """What the colours of a sample mean."""
    cells = "".join(f'<i class="r{level}"></i>' for level in range(LEVELS))
    return (
        f'<p class="legend"><span>revealed first <span class="ramp">{cells}</span> revealed last</span>'
        '<span><u class="given">given</u> before the first step</span></p>'
    )


def sample(
    pieces: Sequence[str], reveal_step: Sequence[int], steps: int, most: int, seconds: float | None = None
) -> str:
    """A sample as preformatted text; the background of every piece tells the step that revealed it.

    Args:
        pieces: the text of each position.
        reveal_step: the step of each position, from 0; -1 where it was given, -2 where it lies behind the end.
        steps: number of steps, for the scale of colours.
        most: positions to show; a longer sample is cut, and says so.
        seconds: how long each step takes where the sample is written before the reader's eyes; ``None``: it stands.
    """
    parts = []
    for step, group in itertools.groupby(zip(pieces[:most], reveal_step[:most]), key=lambda pair: pair[1]):
        text = escape("".join(piece for piece, _ in group).replace("\r", "")).replace("\n", "<b>⏎</b>\n")
        if step < 0:
            kind, title = _never(step)
            parts.append(f'<u class="{kind}" title="{title}">{text}</u>')
        else:
            turn = _turn(step, steps, seconds)
            parts.append(f'<i class="r{_ramp(step, steps)}"{turn} title="step {step + 1}">{text}</i>')
    cut = f"\n… and {len(pieces) - most:,} more tokens" if len(pieces) > most else ""
    # HTML drops a newline right after <pre>, so one is put there for it to drop.
    return f'<pre class="sample{"" if seconds is None else " play"}"{_pace(seconds)}>\n{"".join(parts)}{cut}</pre>'


def picture(
    levels: Sequence[int],
    reveal_step: Sequence[int],
    steps: int,
    most: int,
    columns: int,
    seconds: float | None = None,
) -> str:
    """A sample that is a picture: its grey levels, and beside them the steps that revealed them, in their colours.

    Args:
        levels: the grey level of each pixel in raster order, from 0 (no ink) to ``most``.
        reveal_step: the step of each pixel, from 0; -1 where it was given, -2 where it lies behind the end.
        steps: number of steps, for the scale of colours.
        most: the darkest level, 1 at least.
        columns: pixels in a line.
        seconds: how long each step takes where the picture is drawn before the reader's eyes; ``None``: it stands.
    """
    grey, order, covers = [], [], []
    for level in sorted(set(levels) - {0}):
        grey.append(f'<path d="{_pixels(levels, level, columns)}" opacity="{level / most:.3g}"/>')
    for step in sorted(set(reveal_step)):
        colour, title = (f"r{_ramp(step, steps)}", f"step {step + 1}") if step >= 0 else ("line", _never(step)[1])
        path = _pixels(reveal_step, step, columns)
        order.append(f'<path d="{path}" style="fill:var(--{colour})"><title>{title}</title></path>')
        if seconds is not None and step >= 0:
            covers.append(f'<path class="cover" d="{path}"{_turn(step, steps, seconds)}/>')
    box = f'viewBox="0 0 {columns} {-(-len(levels) // columns)}" shape-rendering="crispEdges" role="img"'
    cover = "".join(covers)
    return (
        f'<div class="picture{"" if seconds is None else " play"}"{_pace(seconds)}>'
        f'<svg {box} aria-label="the picture">{"".join(grey)}{cover}</svg>'
        f'<svg {box} aria-label="the step that revealed each pixel">{"".join(order)}{cover}</svg></div>'
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
    """The colour of a step, from 0 to ``LEVELS - 1``."""
    return round((LEVELS - 1) * min(step / max(steps - 1, 1), 1.0))


def document(title: str, body_html: str) -> str:
    """The whole page."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_style()}</style>\n</head>\n<body>\n{body_html}\n</body>\n</html>\n"
    )


def _style() -> str:
    light, dark = (_theme(dark) for dark in (False, True))
    return (
        f":root {{ {light} }}\n@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
        + _STYLE
        + "".join(f".r{level} {{ background: var(--r{level}) }}\n" for level in range(LEVELS))
    )


def _theme(dark: bool) -> str:
    """The variables of one theme: page, charts, and viridis washed out far enough that text stays readable on it."""
    page = {"page": "#14191e", "card": "#1b2229", "on": "#ffffff"} if dark else {
        "page": "#fbfaf8", "card": "#ffffff", "on": "#10171d",
    }  # fmt: skip
    ground, share = (np.array([20, 25, 30]), 0.42) if dark else (np.array([255, 255, 255]), 0.46)
    ramp = 255 * np.asarray(colormaps["viridis"](np.linspace(0.0, 1.0, LEVELS)))[:, :3]
    mixed = np.rint(share * ramp + (1 - share) * ground).astype(int).tolist()
    washed = {f"r{level}": "#" + "".join(f"{part:02x}" for part in colour) for level, colour in enumerate(mixed)}
    named = {name: pair[int(dark)] for name, pair in COLOURS.items()}
    return " ".join(f"--{name}: {value};" for name, value in {**page, **named, **washed}.items())


# An animation in .samples begins when the reader gets there: content-visibility keeps it from starting before, where a
# browser knows it (elsewhere it plays once as the page opens). Pressing .again takes animations away, letting go starts
# them anew. What is printed, or shown to those who asked for less motion, is the finished sample.
_STYLE = """\
* { box-sizing: border-box }
html { font: 17px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  -webkit-text-size-adjust: 100%; scroll-behavior: smooth }
body { margin: 0; background: var(--page); color: var(--ink); font-variant-numeric: tabular-nums }
main { display: grid; grid-template-columns: minmax(1.2rem, 1fr) minmax(0, 43rem) minmax(1.2rem, 1fr);
  padding: 3.5rem 0 5rem }
main > * { grid-column: 2 }
main > .wide { grid-column: 1 / -1; width: 100%; max-width: 68rem; margin-inline: auto; padding-inline: 1.2rem }
h1 { font-size: 2.3rem; line-height: 1.15; letter-spacing: -.02em; margin: 0 0 .6rem; overflow-wrap: anywhere }
h2 { font-size: 1.5rem; line-height: 1.25; letter-spacing: -.01em; margin: 4.5rem 0 .6rem; padding-top: 1.4rem;
  border-top: 1px solid var(--line) }
h3 { font-size: 1.05rem; margin: 2.4rem 0 .3rem }
p, ul, ol { margin: .7rem 0 } li { margin: .35rem 0 }
.lead { font-size: 1.15rem; color: var(--muted); margin-bottom: 0 }
.eyebrow { font-size: .8rem; letter-spacing: .08em; text-transform: uppercase; color: var(--muted);
  margin: 0 0 .4rem }
nav { margin: 1.6rem 0 0; display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; font-size: .9rem }
a { color: var(--beta); text-underline-offset: .18em }
code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace }
code { font-size: .88em; background: color-mix(in srgb, var(--muted) 13%, transparent); border-radius: .25rem;
  padding: .1em .35em;
  overflow-wrap: anywhere }
pre.shell { font-size: .82rem; line-height: 1.7; background: var(--card); border: 1px solid var(--line);
  border-radius: .6rem;
  padding: .9rem 1.1rem; white-space: pre-wrap; overflow-wrap: anywhere } pre.shell span { color: var(--muted) }
.formula { text-align: center; font: italic 1.2rem/1.6 Georgia, "Times New Roman", serif; margin: 1.4rem 0 }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(7.6rem, 1fr)); gap: 1.5rem 1rem;
  margin: 2rem 0 }
.tile { border-left: 3px solid var(--line); padding-left: .9rem } .tile:first-child { border-color: var(--optimal) }
.tile dt { font-size: .8rem; color: var(--muted) }
.tile dd { margin: 0; font-size: 1.4rem; line-height: 1.4; white-space: nowrap; font-weight: 600;
  letter-spacing: -.01em }
.tile small { display: block; line-height: 1.4; white-space: normal; font-size: .8rem; font-weight: 400;
  letter-spacing: 0; color: var(--muted) }
figure { margin: 1.6rem 0; break-inside: avoid }
img.drawn { width: 100%; background: #fff; border-radius: 6px }
figure svg { display: block; width: 100%; height: auto;
  overflow: visible }
figure text, figure tspan { font-family: system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif !important }
figcaption { font-size: .87rem; line-height: 1.5; color: var(--muted); margin-top: .6rem }
.small { margin: 0 } .small figcaption { margin: 0 0 .5rem; font-weight: 600; color: var(--ink) }
.multiples { display: grid; grid-template-columns: repeat(auto-fit, minmax(13.5rem, 1fr)); gap: 1.8rem 1.6rem;
  margin: 1.2rem 0;
  align-items: end }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.6rem; font-size: .87rem; color: var(--muted); margin: 1rem 0 }
.legend span > i { display: inline-block; width: .85rem; height: .85rem; border-radius: .2rem; margin-right: .5rem;
  vertical-align: -.1rem }
.legend .ramp { display: inline-flex; vertical-align: -.15rem; margin: 0 .35rem; border-radius: .2rem;
  overflow: hidden }
.legend .ramp i { width: .7rem; margin: 0; border-radius: 0; vertical-align: 0 }
.scroll { overflow-x: auto; margin: 1.4rem 0 }
table { border-collapse: collapse; width: 100%; font-size: .88rem; line-height: 1.45 }
sub { line-height: 0 }
th { font-weight: 600; text-align: left; font-size: .8rem; color: var(--muted); vertical-align: bottom }
th, td { padding: .45rem .9rem .45rem 0; border-bottom: 1px solid var(--line); white-space: nowrap }
  .figures td + td, .figures th + th { text-align: right }
th:last-child, td:last-child { padding-right: 0 } tr.group td { border: 0; padding-top: 1.4rem; font-weight: 600;
  font-size: .95rem }
td i.dot { display: inline-block; width: .65rem; height: .65rem; border-radius: 50%; margin-right: .55rem }
.samples { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 27rem), 1fr)); gap: 1.6rem 2rem }
.panel { min-width: 0; break-inside: avoid } .panel h4 { font-size: .95rem; margin: 0 }
.panel h4 small, .panel p { font-size: .85rem; font-weight: 400; color: var(--muted) } .panel p {
  margin: .4rem 0 1.2rem } .panel .mean { margin: 0 0 .6rem } .mean strong { color: var(--ink) }
.sample { font-size: .84rem; line-height: 1.62; margin: 0; padding: .8rem 1rem; background: var(--card);
  color: var(--ink);
  border: 1px solid var(--line); border-radius: .6rem; white-space: pre-wrap; overflow-wrap: anywhere }
.sample i { font-style: normal; color: var(--on); padding: .1em 0; -webkit-box-decoration-break: clone;
  box-decoration-break: clone }
.sample b { font-weight: 400; opacity: .45 } .given { text-decoration: underline; text-underline-offset: .25em }
.picture { display: flex; gap: 1rem } .picture svg { width: 8rem; border: 1px solid var(--line);
  background: var(--card); fill: var(--ink) }
.filled { color: var(--muted); text-decoration: none } .again { display: none } .cover { opacity: 0;
  fill: var(--line); stroke: var(--line); stroke-width: .05; pointer-events: none }
.missing { color: var(--muted); border-left: 3px solid var(--line); padding-left: 1rem }
.note { border-left: 3px solid var(--optimal); padding-left: 1rem }
details { margin: 1.2rem 0 } summary { cursor: pointer; font-weight: 600 }
details td { white-space: normal; overflow-wrap: anywhere } details td:first-child { white-space: nowrap;
  color: var(--muted) }
* { print-color-adjust: exact; -webkit-print-color-adjust: exact }
@media (max-width: 34rem) { .multiples { grid-template-columns: 1fr 1fr; gap: 1.4rem 1rem } .ramp i {
  width: .45rem !important } html { font-size: 16px } main { padding-top: 2rem } h1 { font-size: 1.8rem }
  .chart text { font-size: 9.3px !important } .sample { font-size: .78rem; padding: .7rem .8rem } }
@media screen and (prefers-reduced-motion: no-preference) {
  .again { display: block; cursor: pointer; font: inherit; font-size: .85rem; color: var(--beta); background: none;
    border: 0; padding: 0; margin: 0 0 .5rem }
  .play i { animation: written .35s calc(var(--s) * var(--d) + .6s) backwards }
  .play .cover { animation: uncovered .35s calc(var(--s) * var(--d) + .6s) backwards }
  .samples { content-visibility: auto; contain-intrinsic-size: auto 30rem }
  .again:active + .samples .play i, .again:active + .samples .cover { animation: none } }
@keyframes written { from { color: transparent; background: var(--line) } }
@keyframes uncovered { from { opacity: 1 } }
@media print { html { font-size: 10.5pt } main { display: block; padding: 0 } main > .wide { max-width: none;
  padding: 0 }
  nav { display: none } h2 { margin-top: 2rem; break-after: avoid } h3, h4 { break-after: avoid } tr {
  break-inside: avoid } }
"""
