"""How the charts of this package look, where they are drawn, and how they are saved.

The same figure gives the same bytes. :func:`svg` makes a fragment to put into a page: its colours are CSS variables
with a fallback, so that the page decides how they look in the light and the dark. Only :func:`new_axes`, for whoever
gave no axes, asks pyplot: notebooks and ``pyplot.show()`` then find the figure.
"""

import contextlib
import hashlib
import html
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import matplotlib
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from mdm_jax.support.errors import InputError
from mdm_jax.support.files import write_bytes, write_text
from mdm_jax.support.text import printable, shortened

COLOURS: dict[str, tuple[str, str]] = {
    "ink": ("#1d2730", "#e6e9ec"),
    "muted": ("#5d6974", "#9aa6b1"),
    "line": ("#dfe2e6", "#333d47"),
    "ground": ("#fefefe", "#14191e"),
    "optimal": ("#c2410c", "#fb8c4b"),
    "beta": ("#1d6fb8", "#6cb2f2"),
    "hand": ("#6d4fa4", "#b79be8"),
    "family-1": ("#2e8059", "#5fc796"),
    "family-2": ("#96700f", "#dcb754"),
    "family-3": ("#b4317f", "#ee82bf"),
    "family-4": ("#0d8287", "#4ec9cd"),
    "family-5": ("#7a7468", "#b5ada0"),
}
"""Every colour of the charts by name, in the light and in the dark; a page defines CSS variables of these names."""

HEAT = colormaps["YlGnBu_r"]
"""Of landscapes, from the least cost to the greatest."""

_IMAGE_DPI = 180.0
"""Of images inside an SVG for a page."""

WIDTH = 5.2
"""Inches of a wide chart; small multiples take half."""

STYLE: Any = {
    "font.size": 8.0,
    "font.family": ["DejaVu Sans"],
    "text.color": COLOURS["ink"][0],
    "text.parse_math": False,
    "axes.edgecolor": COLOURS["muted"][0],
    "axes.labelcolor": COLOURS["muted"][0],
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "xtick.color": COLOURS["muted"][0],
    "ytick.color": COLOURS["muted"][0],
    "xtick.major.size": 2.5,
    "ytick.major.size": 0.0,
    "xtick.major.width": 0.6,
    "grid.color": COLOURS["line"][0],
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "legend.handlelength": 2.4,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",
    "svg.hashsalt": "mdm_jax",
    "path.simplify": False,
}


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Within it, or a function that it decorates, charts look like ours; the caller's settings are as they were.

    But for one: the first figure of a notebook makes it interactive, so that it shows figures, and so it stays.
    """
    with matplotlib.rc_context(STYLE):
        yield
        interactive = matplotlib.is_interactive()
    matplotlib.interactive(interactive)


FORMATS: dict[str, dict[str, None]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""What :func:`save` writes, by suffix, and the metadata to leave out: the same picture has the same bytes."""


def svg(picture: Figure | Axes, name: str = "figure") -> str:
    """``picture`` as an ``<svg>`` element for a page: selectable text, colours as CSS variables, no outside links.

    Args:
        picture: any figure of this package, or its axes.
        name: put before every ``id``, so that several charts can share a page.
    """
    return _with_names(_drawn(picture), name)


def save_themed(picture: Figure | Axes, path: str | Path) -> Path:
    """Write ``picture``, atomically, as an SVG that follows the light or the dark of the page that it is put into.

    In the dark the images in it, as those of landscapes, have their lightness turned round: what was near the ground's
    colour stays near it.
    """
    light_theme, dark_theme = (";".join(f"--{name}:{pair[i]}" for name, pair in COLOURS.items()) for i in (0, 1))
    turned = "image{filter:invert(1) hue-rotate(180deg)}"
    halo = "[id^=picture-halo] text{paint-order:stroke;stroke:var(--ground);stroke-width:2px;stroke-linejoin:round}"
    style = f":root{{{light_theme}}}{halo}@media (prefers-color-scheme:dark){{:root{{{dark_theme}}}{turned}}}"
    with _halos_by_style(_whole(picture)):
        text = _with_names(_drawn(picture, dpi=_IMAGE_DPI), "picture")
    opened = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
    width, height = (72 * side for side in _whole(picture).get_size_inches())
    text = text.replace("<svg ", f'{opened}width="{width:g}pt" height="{height:g}pt" ', 1)
    return write_text(Path(path), text.replace(">", f"><style>{style}</style>", 1) + "\n")


@contextlib.contextmanager
def _halos_by_style(figure: Figure) -> Iterator[None]:
    """Within it texts that have a halo are known by their id instead: drawn as outlines they take much room."""
    before = [(text, text.get_path_effects()) for text in figure.findobj(Text) if text.get_path_effects()]
    for number, (text, _) in enumerate(before):
        text.set(path_effects=[], gid=f"halo-{number}")
    try:
        yield
    finally:
        for text, effects in before:
            text.set(path_effects=effects, gid=None)


@styled()
def _drawn(picture: Figure | Axes, dpi: float | str = "figure") -> str:
    buffer = io.StringIO()
    _whole(picture).savefig(buffer, format="svg", dpi=dpi, metadata={"Date": None})
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", buffer.getvalue(), flags=re.DOTALL)
    text = text[text.index("<svg") :]
    return re.sub(r'<svg [^>]*viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1">', text, count=1)


def _with_names(text: str, name: str) -> str:
    """An SVG whose ids begin with ``name``, and whose colours are variables."""
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(?:xlink:)?href="#', f'href="#{name}-', text).replace("url(#", f"url(#{name}-")
    for variable, (light, _) in COLOURS.items():
        text = text.replace(light, f"var(--{variable}, {light})")
    return re.sub(r"\n\s*", "\n", text).strip()


def fragment(picture: Figure | Axes, label: str) -> str:
    """What a notebook shows of a value: ``picture`` on white, as wide as it was drawn for, ``label`` below it."""
    plain, width = _drawn(picture), _whole(picture).get_size_inches()[0]
    name = "mdm-" + hashlib.sha256(plain.encode()).hexdigest()[:12]  # a page may have several pictures
    drawn = _with_names(plain, name).replace("<svg ", f'<svg role="img" aria-label="{html.escape(label)}" ', 1)
    caption = f"color: {light('muted')}; font-size: 80%; white-space: pre-wrap"
    return (
        f'<figure style="margin: 0; width: {width:g}in; max-width: 100%; background: #ffffff">{drawn}'
        f'<figcaption style="{caption}">{html.escape(label)}</figcaption></figure>'
    )


def save_png(picture: Figure | Axes, path: str | Path) -> Path:
    """Write ``picture`` as PNG on white."""
    return _save(_whole(picture), Path(path), ".png")


def save(picture: Figure | Axes, path: str | Path) -> Path:
    """Write ``picture`` on white, atomically, in the format that the suffix of ``path`` names (:data:`FORMATS`).

    Raises:
        InputError: another suffix, or something that is no file.
        OSError: the file cannot be written.
    """
    check_suffix("path", path)
    return _save(_whole(picture), Path(path), Path(path).suffix.lower())


def check_suffix(argument: str, path: str | Path) -> None:
    """Raise :class:`InputError` unless :func:`save` can write a file of this name."""
    if Path(path).suffix.lower() not in FORMATS:
        raise InputError(f"{argument} must end in .png, .svg or .pdf; got {str(path)!r}.")
    # A pipe or a device would be replaced by a file.
    if os.path.lexists(path) and not Path(path).is_file():
        raise InputError(f"{path} cannot be used: it is no file that {argument} could replace.")


@styled()
def _save(figure: Figure, path: Path, suffix: str) -> Path:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=suffix[1:], dpi=200, facecolor="white", metadata=FORMATS[suffix])
    return write_bytes(path, buffer.getvalue())


def _whole(picture: Figure | Axes) -> Figure:
    """The figure that ``picture`` is, or is a part of."""
    part = picture if isinstance(picture, Figure) else picture.figure
    return cast(Figure, part if isinstance(part, Figure) else part.figure)


@styled()
def wide(height: float, lines: bool = True) -> Axes:
    """Axes of a wide chart of this height in inches, with lines across or without."""
    return _axes(Figure(figsize=(WIDTH, height), layout="constrained"), lines)


@styled()
def small(height: float) -> Axes:
    """Axes of a chart that stands beside others."""
    return _axes(Figure(figsize=(WIDTH / 2, height), layout="constrained"), False)


@styled()
def new_axes(height: float, lines: bool = True) -> Axes:
    """As :func:`wide`, of a figure of pyplot's: whatever shows such figures shows this one."""
    from matplotlib import pyplot  # slow to import, and looks for a screen

    return _axes(pyplot.figure(figsize=(WIDTH, height), layout="constrained", facecolor="white"), lines)


def _axes(figure: Figure, lines: bool) -> Axes:
    axes = figure.subplots()
    if lines:
        axes.grid(axis="y")
    return axes


def label(text: str) -> str:
    """A name from elsewhere as a chart can show it: printable, and not so long that nothing else has room."""
    return shortened(printable(text), 48)


def light(name: str) -> str:
    return COLOURS[name][0]
