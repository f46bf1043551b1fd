"""The picture of an energy over all Beta schedules, a panel for each weight."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from mdm_jax.plot.drawing import HEAT, label, light, styled


@dataclasses.dataclass(frozen=True, eq=False)
class EnergyLandscape:
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
_BARRED = {"facecolor": "#eff1f3", "edgecolor": "#cdd2d8", "hatch": "/////", "linewidth": 0.0, "zorder": 2.0}


@styled()
def side_by_side(panels: Sequence[EnergyLandscape], marks: Mapping[str, tuple[float, float]]) -> Figure:
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


def _landscape(axes: Axes, panel: EnergyLandscape, marks: Mapping[str, tuple[float, float]]) -> ContourSet:
    """One panel; what its colours mean."""
    axes.set(xlim=(0, panel.a[-1]), ylim=(0, panel.b[-1]), xlabel="a")
    axes.set_box_aspect(1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set(major_locator=MaxNLocator(4), major_formatter=FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_title(f"weight {label(panel.name)}", fontsize=8.5)
    # Of 1 / energy, which is 0 where the energy diverges and smooth on the way there.
    inverse = 1 / np.clip(panel.energies.T, 1.0, 1e6)
    levels = np.geomspace(1 / _HIGHEST, 1.0, 61)
    filled = axes.contourf(panel.a, panel.b, inverse, levels, norm=LogNorm(levels[0], 1.0), cmap=HEAT, extend="min")
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


def _infinite(axes: Axes, panel: EnergyLandscape) -> None:
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


def _points(axes: Axes, panel: EnergyLandscape, marks: Mapping[str, tuple[float, float]]) -> None:
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
