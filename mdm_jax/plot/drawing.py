"""How the charts of this package look, and how they are saved: Matplotlib figures without pyplot or a window.

The same figure gives the same bytes. :func:`svg` makes a fragment to put into a page: its colours are CSS variables
with a fallback, so that the page decides how they look in the light and the dark.
"""

import io
import os
import re
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mdm_jax.support.errors import InputError
from mdm_jax.support.files import write_bytes
from mdm_jax.support.text import printable, shortened

COLOURS: dict[str, tuple[str, str]] = {
    "ink": ("#1d2730", "#e6e9ec"),
    "muted": ("#5d6974", "#9aa6b1"),
    "line": ("#dfe2e6", "#333d47"),
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


FORMATS: dict[str, dict[str, None]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""What :func:`save` writes, by suffix, and the metadata to leave out: the same picture has the same bytes."""


@rc_context(STYLE)
def svg(figure: Figure, name: str = "figure") -> str:
    """``figure`` as an ``<svg>`` element for an HTML page: selectable text, colours as CSS variables, no outside links.

    Args:
        figure: any figure of this module.
        name: put before every ``id``, so that several charts can share a page.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", buffer.getvalue(), flags=re.DOTALL)
    text = text[text.index("<svg") :]
    text = re.sub(r'<svg [^>]*viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1">', text, count=1)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(?:xlink:)?href="#', f'href="#{name}-', text).replace("url(#", f"url(#{name}-")
    for variable, (light, _) in COLOURS.items():
        text = text.replace(light, f"var(--{variable}, {light})")
    return re.sub(r"\n\s*", "\n", text).strip()


def save_png(figure: Figure, path: str | Path) -> Path:
    """Write ``figure`` as a PNG picture on white."""
    return _save(figure, Path(path), ".png")


def save(figure: Figure, path: str | Path) -> Path:
    """Write ``figure`` on white, atomically, in the format that the suffix of ``path`` names (:data:`FORMATS`).

    Raises:
        InputError: another suffix, or something that is no file.
        OSError: the file cannot be written.
    """
    check_suffix("path", path)
    return _save(figure, Path(path), Path(path).suffix.lower())


def check_suffix(argument: str, path: str | Path) -> None:
    """Raise :class:`InputError` unless :func:`save` can write a file of this name."""
    if Path(path).suffix.lower() not in FORMATS:
        raise InputError(f"{argument} must end in .png, .svg or .pdf; got {str(path)!r}.")
    # A pipe or a device would be replaced by a file.
    if os.path.lexists(path) and not Path(path).is_file():
        raise InputError(f"{path} cannot be used: it is no file that {argument} could replace.")


@rc_context(STYLE)
def _save(figure: Figure, path: Path, suffix: str) -> Path:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=suffix[1:], dpi=200, facecolor="white", metadata=FORMATS[suffix])
    return write_bytes(path, buffer.getvalue())


def wide(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots()
    axes.grid(axis="y")
    return figure, axes


def small(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH / 2, height), layout="constrained")
    return figure, figure.subplots()


def label(text: str) -> str:
    """A name from elsewhere as a chart can show it: printable, and not so long that nothing else has room."""
    return shortened(printable(text), 48)


def light(name: str) -> str:
    return COLOURS[name][0]
