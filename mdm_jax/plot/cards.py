"""The picture of a card: what families of samplers cost by their model calls, and how far from the optimal plan."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from mdm_jax.plot.drawing import WIDTH, label, light, new_axes, styled
from mdm_jax.plot.values import Measured
from mdm_jax.support.errors import require, verbatim

_BITS = 1 / math.log(2)
_COLOURS = ("beta", "family-1", "family-3", "hand", "family-2", "family-4", "family-5", "muted")
_OF_KIND = {"plan": ("-", "o"), "rule": ("--", "s")}
"""Line and mark of a kind of sampler; others have :data:`_ELSE`."""
_ELSE = ("-.", "^")
_APART = 1.035
"""Neighbouring families stand so far apart in the panel of differences, as a ratio of model calls."""


@styled()
def card(found: Measured | Mapping[str, Any], *, axes: Axes | None = None) -> Axes:
    """What every family of samplers costs on held-out rows against its model calls, in bits per token.

    Plans are full lines, rules dashed ones. The band is the 95% interval of the optimal plan's cost; the rows are the
    same for all families, so differences between them are known far better than that
    (:func:`differences` draws those).

    Args:
        found: what ``evaluation.card`` returned, or the content of ``card.json``.
        axes: where to draw; a new figure if left out.

    Raises:
        InputError: something else.

    Example:
        >>> import mdm_jax as mdm
        >>> point = {"setting": 4, "passes": 4.0, "cost_nats": 0.5, "low": 0.4, "high": 0.6, "predicted_nats": None}
        >>> family = {"name": "optimal plan", "kind": "plan", "points": [point]}
        >>> mdm.plot.card({"families": [family], "comparisons": [], "scored": []}).get_ylabel()
        'cost, bits per token'
    """
    content = content_of(found)
    axes = new_axes(3.4) if axes is None else axes
    for (family, style), order in zip(_styles(content["families"]).items(), itertools.count(20, -1)):
        points = sorted(_points(content, family), key=lambda point: point["passes"])
        passes, cost, low, high = (
            np.array([point[name] for point in points], np.float64) for name in ("passes", "cost_nats", "low", "high")
        )
        if style["color"] == light("optimal"):
            axes.fill_between(passes, low * _BITS, high * _BITS, color=style["color"], alpha=0.12, linewidth=0)
        axes.plot(passes, cost * _BITS, **style, zorder=order, label=label(family))
    _passes_across(axes, content)
    axes.grid(axis="y")
    axes.set_ylabel("cost, bits per token")
    for name, style in _styles([*content["families"], *_others(content)]).items():
        if all(name != family["name"] for family in content["families"]):
            axes.plot([], [], **style, label=f"{label(name)} (score alone)")
    axes.legend(ncols=3, loc="lower left", bbox_to_anchor=(0.0, 1.0), columnspacing=1.2)
    return axes


@styled()
def differences(found: Measured | Mapping[str, Any], *, axes: Axes | None = None) -> Axes:
    """What each family costs more than the optimal plan at as many model calls, with paired 95% intervals.

    Linear near 0, logarithmic beyond; a family whose bar reaches over the line at 0 is not seen to differ.

    Args:
        found: what ``evaluation.card`` returned, or the content of ``card.json``.
        axes: where to draw; a new figure if left out.

    Raises:
        InputError: something else.
    """
    content = content_of(found)
    axes = new_axes(2.6) if axes is None else axes
    styles, compared = _styles(content["families"]), content["comparisons"]
    names = [name for name in styles if any(one["family"] == name for one in compared)]
    for place, name in enumerate(names):
        own = sorted((one for one in compared if one["family"] == name), key=lambda one: one["passes"])
        mean, low, high = (np.array([one[key] for one in own]) * _BITS for key in ("nats", "low", "high"))
        at = np.array([one["passes"] for one in own]) * _APART ** (place - (len(names) - 1) / 2)
        style = {**styles[name], "linestyle": "none", "markersize": 3}
        axes.errorbar(at, mean, [mean - low, high - mean], elinewidth=1.0, capsize=1.5, **style, label=label(name))
    axes.axhline(0.0, color=light("optimal"), linewidth=1.4, zorder=1)
    _passes_across(axes, content)
    _scale(axes, compared)
    axes.grid(axis="y")
    axes.set_ylabel("above the optimal plan,\nbits per token")
    return axes


@styled()
def scores(found: Measured | Mapping[str, Any], *, axes: Axes | None = None) -> Axes:
    """The first score of the samples of each family against the model calls that they took, with 95% intervals.

    Args:
        found: what ``evaluation.card`` returned, or the content of ``card.json``, with scores in it.
        axes: where to draw; a new figure if left out.

    Raises:
        InputError: something else, or a card without scores.
    """
    content = content_of(found)
    require(bool(content["scored"]), "found", verbatim("a card without scores"), "one that was made with a score")
    axes = new_axes(2.6) if axes is None else axes
    name = next(iter(content["scored"][0]["points"][0]["scores"]))
    styles = _styles([*content["families"], *_others(content)])
    for family in content["scored"]:
        points = sorted(family["points"], key=lambda point: point["passes"])
        mean, low, high = (
            np.array([point["scores"][name][key] for point in points]) for key in ("mean", "low", "high")
        )
        passes = np.array([point["passes"] for point in points])
        axes.errorbar(passes, mean, [mean - low, high - mean], elinewidth=0.8, capsize=1.5, **styles[family["name"]])
    _passes_across(axes, content)
    axes.grid(axis="y")
    axes.set_ylabel(label(name))
    return axes


@styled()
def picture(found: Measured | Mapping[str, Any]) -> Figure:
    """Cost, differences and, where samples were scored, the score: panels below each other.

    Args:
        found: what ``evaluation.card`` returned, or the content of ``card.json``.

    Raises:
        InputError: something else.
    """
    content = content_of(found)
    heights = [3.0, *([2.2] if content["comparisons"] else []), *([2.2] if content["scored"] else [])]
    legend = 0.16 * -(-len(content["families"]) // 3)
    size = (WIDTH * 1.15, sum(heights) + legend + 0.3)
    figure = Figure(figsize=size, layout="constrained")
    panels = list(np.atleast_1d(figure.subplots(len(heights), 1, height_ratios=heights)))
    card(content, axes=panels[0])
    if content["comparisons"]:
        differences(content, axes=panels[1])
    if content["scored"]:
        scores(content, axes=panels[-1])
    for axes in panels[:-1]:
        axes.set_xlabel("")
    return figure


def content_of(found: Measured | Mapping[str, Any]) -> Mapping[str, Any]:
    """The content of ``card.json``."""
    content = found if isinstance(found, Mapping) else found.to_json() if isinstance(found, Measured) else {}
    wanted = "what evaluation.card returned, or the content of card.json"
    require({"families", "comparisons", "scored"} <= set(content), "found", found, wanted)
    return content


def _others(content: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Families that have scores alone: those without a probability."""
    known = {family["name"] for family in content["families"]}
    return [family for family in content["scored"] if family["name"] not in known]


def _points(content: Mapping[str, Any], family: str) -> Sequence[Mapping[str, Any]]:
    return next(one["points"] for one in content["families"] if one["name"] == family)


def _styles(families: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Colour, line and mark of each family by its name; the optimal plan stands out."""
    colours = itertools.cycle(_COLOURS)
    styles = {}
    for family in families:
        first = family["name"].startswith("optimal")
        line, mark = _OF_KIND.get(family["kind"], _ELSE)
        styles[family["name"]] = {
            "color": light("optimal" if first else next(colours)),
            "linestyle": line,
            "marker": mark,
            "linewidth": 2.4 if first else 1.2,
            "markersize": 4.0 if first else 3.0,
        }
    return styles


def _passes_across(axes: Axes, content: Mapping[str, Any]) -> None:
    """Model calls on a logarithmic axis, with marks where families are compared, or else at powers of 2."""
    shown = [point["passes"] for family in content["families"] for point in family["points"]]
    least, most = min(shown, default=1.0), max(shown, default=1.0)
    marks = sorted({float(one["passes"]) for one in content["comparisons"]})
    marks = marks or [2.0**i for i in range(20) if least <= 2**i <= most] or [least]
    axes.set_xscale("log")
    axes.set_xlim(min(least, marks[0]) / 1.25, max(most, marks[-1]) * 1.25)
    axes.xaxis.set(major_locator=FixedLocator(marks), minor_locator=NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("model calls (nfe) of a row, in the mean")


def _scale(axes: Axes, compared: Sequence[Mapping[str, Any]]) -> None:
    """Linear as far as the usual width of an interval, logarithmic beyond."""
    widths = [(one["high"] - one["low"]) * _BITS for one in compared if one["high"] > one["low"]]
    most = max((abs(one[end]) * _BITS for one in compared for end in ("low", "high")), default=0.0)
    linear = 10.0 ** math.floor(math.log10(max(float(np.median(widths)) if widths else 0.0, 1e-4)))
    if most <= 4 * linear:
        return
    axes.set_yscale("symlog", linthresh=linear, linscale=0.8)
    low = min(one["low"] * _BITS for one in compared)
    axes.set_ylim(min(low * 1.3, -0.3 * linear), 1.3 * most)
    tens = [10.0**i for i in range(-6, 4) if linear <= 10.0**i <= most]
    marks = [*(-ten for ten in tens if ten <= -low), 0.0, *tens]
    axes.yaxis.set(major_locator=FixedLocator(marks), minor_locator=NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
