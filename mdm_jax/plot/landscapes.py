"""The picture of an energy over all Beta schedules: data in, :class:`~matplotlib.figure.Figure` out."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from mdm_jax.plot.drawing import STYLE, label, light


@dataclasses.dataclass(frozen=True, eq=False)
class Landscape:
    """The energy of Beta(a, b) schedules under one weight, in units of pi^2.

    Attributes:
        name: of the weight.
        a: float64[a], rising.
        b: float64[b], rising.
        energies: float64[a, b], infinite where the energy diverges.
        walls: the energy diverges where ``a`` or ``b`` is not above these, and only there.
        best: ``a``, ``b`` and energy of the optimum.
        exact: whether the weight is a Beta itself, so that ``best`` is the theorem's optimum.
    """

    name: str
    a: Float[np.ndarray, " a"]
    b: Float[np.ndarray, " b"]
    energies: Float[np.ndarray, "a b"]
    walls: tuple[float, float]
    best: tuple[float, float, float]
    exact: bool


_HIGHEST = 30.0
"""Energies above this, in units of pi^2, have one colour."""
_LINES = (1.02, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0)
_HEAT = colormaps["YlGnBu_r"]
_BARRED = {"facecolor": "#eff1f3", "edgecolor": "#cdd2d8", "hatch": "/////", "linewidth": 0.0, "zorder": 2.0}


@rc_context(STYLE)
def landscapes(panels: Sequence[Landscape], marks: Mapping[str, tuple[float, float]]) -> Figure:
    """Energies over the Beta schedules, one panel for each weight, the optimum marked by a star.

    Args:
        panels: what to draw, at most four to a row.
        marks: named schedules that are Betas, as points ``(a, b)``.
    """
    rows = -(-len(panels) // 4)
    columns = -(-len(panels) // rows)
    figure = Figure(figsize=(1.0 + 2.45 * columns, 0.1 + 2.75 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.ravel()[len(panels) :]:
        axes.set_axis_off()
    drawn = [_landscape(axes, panel, marks) for panel, axes in zip(panels, grid.ravel())]
    for axes in grid[:, 0]:
        axes.set_ylabel("b")
    bar = figure.colorbar(drawn[0], ax=grid, shrink=0.82, aspect=24, pad=0.015, extendfrac=0.03)
    bar.set_ticks([1 / value for value in (1, 2, 3, 5, 10, 20, 30)])
    bar.ax.yaxis.set(major_formatter=FuncFormatter(lambda value, _: f"{1 / value:.0f}"), minor_locator=NullLocator())
    bar.ax.invert_yaxis()
    bar.set_label("energy of Beta(a, b), in units of π²")
    bar.outline.set_visible(False)
    return figure


def _landscape(axes: Axes, panel: Landscape, marks: Mapping[str, tuple[float, float]]) -> ContourSet:
    """One panel; what its colours mean."""
    axes.set(xlim=(0, panel.a[-1]), ylim=(0, panel.b[-1]), xlabel="a")
    axes.set_box_aspect(1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set(major_locator=MaxNLocator(4), major_formatter=FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_title(f"weight {label(panel.name)}", fontsize=8.5)
    # Of 1 / energy, which is 0 where the energy diverges and smooth on the way there.
    inverse = 1 / np.clip(panel.energies.T, 1.0, 1e6)
    levels = np.geomspace(1 / _HIGHEST, 1.0, 61)
    filled = axes.contourf(panel.a, panel.b, inverse, levels, norm=LogNorm(levels[0], 1.0), cmap=_HEAT, extend="min")
    filled.set(edgecolor="face", linewidth=0.3)  # no gaps between neighbours
    lines = [1 / energy for energy in reversed(_LINES) if inverse.min() < 1 / energy < inverse.max()]
    if lines:
        colours = [light("line") if 1 / line > 6 else light("muted") for line in lines]
        contours = axes.contour(panel.a, panel.b, inverse, lines, colors=colours, linewidths=0.5)
        named = [line for line in lines if 1.05 < 1 / line < 4]
        axes.clabel(contours, named, fmt=lambda line: f"{1 / line:g}", fontsize=6, inline_spacing=2)
    _infinite(axes, panel)
    _points(axes, panel, marks)
    return filled


def _infinite(axes: Axes, panel: Landscape) -> None:
    """Where the energy diverges: two strips that meet in the corner, the name in the wider one."""
    wall_a, wall_b = panel.walls
    axes.axvspan(0, wall_a, **_BARRED)
    axes.add_patch(Rectangle((wall_a, 0), panel.a[-1] - wall_a, wall_b, **_BARRED))
    axes.plot([wall_a, wall_a, panel.a[-1]], [panel.b[-1], wall_b, wall_b], color=light("muted"), linewidth=0.8)
    across, up = wall_a / panel.a[-1], wall_b / panel.b[-1]
    x, y, turn = (0.97, 0.5 * up, 0) if up >= across else (0.5 * across, 0.97, 90)
    axes.text(
        x, y, "infinite", transform=axes.transAxes, rotation=turn, fontsize=7, ha="center" if turn else "right",
        va="top" if turn else "center",
        color=light("muted"), path_effects=[withStroke(linewidth=3, foreground=_BARRED["facecolor"])], zorder=3,
    )  # fmt: skip


def _points(axes: Axes, panel: Landscape, marks: Mapping[str, tuple[float, float]]) -> None:
    """The named schedules, and the optimum with its energy if no theorem says what they are."""
    a, b, energy = panel.best
    shown = {name: at for name, at in marks.items() if at[0] <= panel.a[-1] and at[1] <= panel.b[-1]}
    if not panel.exact:
        shown[f"({a:.2g}, {b:.2g}): {energy:.4g}"] = (a, b)
    places = np.reshape(list(shown.values()), (-1, 2)) / (panel.a[-1], panel.b[-1])
    for i, (name, at) in enumerate(shown.items()):
        star = at == (a, b)
        if not star:
            axes.plot(
                *at, "o", color=light("ink"), markersize=3.5, markeredgecolor="white", markeredgewidth=0.6, zorder=5,
                clip_on=False,
            )  # fmt: skip
        beside = np.abs(places[:i] - places[i]) < (0.5, 0.04)  # an earlier name stands above this line
        below, left = (star and not panel.exact) or bool(beside.all(axis=1).any()), places[i, 0] > 0.6
        away = (6 if star else 4) * (-1 if left else 1), -9 if below else 4
        axes.annotate(
            label(name), at, away, textcoords="offset points", ha="right" if left else "left", fontsize=6.5,
            fontweight="bold" if star else "normal", color=light("optimal" if star else "ink"),
            path_effects=[withStroke(linewidth=2, foreground="white")], zorder=6,
        )  # fmt: skip
    axes.plot(
        a, b, "*", color=light("optimal"), markersize=11, markeredgecolor="white", markeredgewidth=0.7, zorder=7,
        clip_on=False,
    )  # fmt: skip


MOST_PANELS = 8
"""Budgets in one picture."""


def spread(panels: int) -> list[int]:
    """Which of so many panels to draw: all, or :data:`MOST_PANELS` from the first to the last."""
    return sorted({round(i) for i in np.linspace(0, panels - 1, min(panels, MOST_PANELS)).tolist()})


@dataclasses.dataclass(frozen=True, eq=False)
class CostLandscape:
    """What Beta(a, b) schedules cost at one budget.

    Attributes:
        name: title of the panel.
        a: float64[a], rising, evenly spaced in the logarithm.
        b: float64[b], likewise.
        costs: float64[a, b].
        best: ``a``, ``b`` and cost of the best schedule.
    """

    name: str
    a: Float[np.ndarray, " a"]
    b: Float[np.ndarray, " b"]
    costs: Float[np.ndarray, "a b"]
    best: tuple[float, float, float]


_NAMED = {"linear": (0.5, 0.5), "sine²": (1.0, 1.0)}
_RANGE = 1e4
"""Costs this many times below the greatest, and lower ones, have one colour."""


@rc_context(STYLE)
def costs(panels: Sequence[CostLandscape], quantity: str) -> Figure:
    """Costs over the Beta schedules on logarithmic axes, a panel for each budget, the best marked by a star.

    Args:
        panels: what to draw; from four on in several rows.
        quantity: what the colours are, with its unit.
    """
    columns = len(panels) if len(panels) < 4 else math.ceil(math.sqrt(len(panels)))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(max(1.1 + 2.45 * columns, 4.2), 0.4 + 2.75 * rows), layout="constrained")
    figure.suptitle(quantity, fontsize=8.5, color=light("muted"))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.ravel()[len(panels) :]:
        axes.set_axis_off()
    most = max(float(panel.costs.max()) for panel in panels)
    least = min(float(panel.costs.min()) for panel in panels)
    least, most = max(least, most / _RANGE, 1e-12), max(most, 2e-12)
    norm = LogNorm(least, most, clip=True)
    drawn = None
    for axes, panel in zip(grid.ravel(), panels):
        cells = np.maximum(panel.costs.T, least)
        drawn = axes.pcolormesh(panel.a, panel.b, cells, norm=norm, cmap=_HEAT, shading="nearest", rasterized=True)
        axes.set(xscale="log", yscale="log", xlabel="a", xlim=(panel.a[0], panel.a[-1]), ylim=(panel.b[0], panel.b[-1]))
        axes.set_box_aspect(1)
        for axis in (axes.xaxis, axes.yaxis):
            ticks = [tick for tick in (0.1, 0.3, 1, 3, 10) if panel.a[0] <= tick <= panel.a[-1]]
            axis.set(major_locator=FixedLocator(ticks), minor_locator=NullLocator())
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_title(panel.name, fontsize=8.5)
        _named_points(axes, panel)
    for axes in grid[:, 0]:
        axes.set_ylabel("b")
    if drawn is not None:
        bar = figure.colorbar(drawn, ax=grid, shrink=0.82, aspect=24, pad=0.015)
        ends = np.log10(least), np.log10(most)
        marks = np.geomspace(least, most, 5) if ends[1] - ends[0] < 1.5 else 10.0 ** np.arange(*np.ceil(ends))
        bar.set_ticks(marks.tolist())
        bar.ax.yaxis.set(major_formatter=FuncFormatter(lambda value, _: f"{value:.2g}"), minor_locator=NullLocator())
        bar.outline.set_visible(False)
    return figure


def _named_points(axes: Axes, panel: CostLandscape) -> None:
    """Linear and sine squared, and the best schedule with its cost."""
    a, b, cost = panel.best
    halo = [withStroke(linewidth=2, foreground="white")]
    for name, at in _NAMED.items():
        axes.plot(*at, "o", color=light("ink"), markersize=3.5, markeredgecolor="white", markeredgewidth=0.6, zorder=5)
        axes.annotate(
            name, at, (-4, 4), textcoords="offset points", ha="right", fontsize=6.5, path_effects=halo, zorder=6
        )
    axes.plot(a, b, "*", color=light("optimal"), markersize=11, markeredgecolor="white", markeredgewidth=0.7, zorder=7)
    left = np.log(a / panel.a[0]) > 0.55 * np.log(panel.a[-1] / panel.a[0])
    axes.annotate(
        f"({a:.2g}, {b:.2g}): {cost:.3g}", (a, b), (-6 if left else 6, -9), textcoords="offset points",
        ha="right" if left else "left", fontsize=6.5, fontweight="bold", color=light("optimal"), path_effects=halo,
        zorder=8,
    )  # fmt: skip
