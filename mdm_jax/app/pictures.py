"""Charts of a run as Matplotlib figures: data in, :class:`~matplotlib.figure.Figure` out.

No pyplot, no window, no global state; the same data give the same bytes. :func:`svg` makes a fragment to put into a
page: its colours are CSS variables with a fallback, so that the page decides how they look in the light and the dark.
"""

import dataclasses
import io
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator, StrMethodFormatter

from mdm_jax.support.errors import InputError
from mdm_jax.theory.plans import Plan
from mdm_jax.theory.profiles import Profile

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

_STYLE: Any = {
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


def role_colour(role: str) -> str:
    """The name in :data:`COLOURS` for a plan's role ("optimal", "best beta", "best hand-crafted")."""
    return {"optimal": "optimal", "best beta": "beta", "best hand-crafted": "hand"}.get(role, "family-1")


@rc_context(_STYLE)
def loss_curve(log: Sequence[Mapping[str, Any]], baselines: Sequence[tuple[str, float]] = ()) -> Figure:
    """Bits per token against the training step: training data, and held-out data with a band of one standard error.

    Args:
        log: the lines of ``log.jsonl``.
        baselines: names and bits per token of other models, as levels to compare with.
    """
    figure, axes = _wide(2.9)
    step, train, held, error = (
        np.array([line[name] for line in log], dtype=np.float64)
        for name in ("step", "train_bits_per_token", "held_out_bits_per_token", "held_out_standard_error")
    )
    marker = "o" if len(step) == 1 else ""
    axes.plot(step, train, color=_light("muted"), linewidth=1.0, marker=marker, label="training data")
    axes.fill_between(step, held - error, held + error, color=_light("optimal"), alpha=0.25, linewidth=0)
    axes.plot(step, held, color=_light("optimal"), linewidth=1.8, marker=marker, label="held-out data (± 1 s.e.)")
    low, high = axes.get_ylim()
    last = np.inf
    for name, level in sorted(baselines, key=lambda pair: -pair[1]):
        if low < level < high and last - level > 0.06 * (high - low):  # a label must not run into the one above
            axes.axhline(level, color=_light("muted"), linewidth=0.6, dashes=(2, 2), zorder=1)
            axes.annotate(
                name, (1.0, level), (0, 2), xycoords=("axes fraction", "data"), textcoords="offset points",
                ha="right", va="bottom", fontsize=7, color=_light("muted"),
            )  # fmt: skip
            last = level
    axes.set(xlabel="training step", ylabel="bits per token", xlim=(0, max(step.max(), 1)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.legend(loc="upper center", ncols=2, bbox_to_anchor=(0.5, 1.14))
    return figure


@rc_context(_STYLE)
def profile(measured: Profile, plan: Plan | None = None) -> Figure:
    """The information profile g(i) with error bars of one standard error, nats per token.

    Args:
        measured: the profile.
        plan: a plan whose cost is shown as the area of a staircase over the curve.
    """
    figure, axes = _wide(3.0)
    tokens = np.arange(measured.length)
    if plan is not None:
        knots = plan.knots
        tops = measured.values[knots[:-1]]
        area = axes.stairs(
            tops, knots, fill=True, color=_light("beta"), alpha=0.16, linewidth=0,
            label=f"cost of the {plan.steps}-step {plan.name} plan (area)",
        )  # fmt: skip
        area.set_edgecolor("none")
        axes.vlines(knots[:-1], 0, tops, color=_light("beta"), linewidth=0.6, alpha=0.5)
    axes.plot(tokens, measured.values, color=_light("optimal"), linewidth=1.4)
    axes.errorbar(
        measured.counts, measured.means, measured.standard_errors, fmt="o", markersize=2.6, linewidth=0,
        elinewidth=0.9, capsize=1.6, capthick=0.9, color=_light("optimal"), label="g(i), measured (± 1 s.e.)",
    )  # fmt: skip
    axes.set(xlabel="i: tokens already revealed", ylabel="g(i), nats per token")
    axes.set(xlim=(-0.012 * measured.length, 1.012 * measured.length), ylim=(0, None))
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="upper center", ncols=2, bbox_to_anchor=(0.5, 1.14))
    return figure


def least_cost(tuning: Mapping[str, Any]) -> float:
    """The smallest expected NELBO of any plan, nats per sequence: one token per step, unless the profile rises."""
    return min(tuning["nelbo_nats"], *(min(nats) for nats in tuning["families"].values()))


@rc_context(_STYLE)
def nelbo_against_steps(tuning: Mapping[str, Any], excess: bool = False) -> Figure:
    """Expected NELBO in bits per token against the number of steps, one line for each family of schedules.

    Args:
        tuning: the content of ``tuning.json``.
        excess: show the excess over :func:`least_cost`, on logarithmic axes, instead.
    """
    figure, axes = _wide(3.4)
    scale = 1 / (tuning["length"] * np.log(2))
    steps = np.asarray(tuning["steps"])
    floor = tuning["nelbo_nats"] * scale
    styles = {"optimal": ("optimal", "-", 2.6, 5), "best beta": ("beta", "-", 1.5, 4)}
    dashes = ("--", "-.", ":", (0, (5, 1, 1, 1)), (0, (1.5, 1)))
    others = itertools.cycle([(f"family-{i}", dash, 1.2, 3) for i, dash in enumerate(dashes, 1)])
    top = 0.0
    for family, nats in tuning["families"].items():
        colour, dash, width, order = styles.get(family) or next(others)
        bits = np.asarray(nats, dtype=np.float64) * scale
        if excess:
            above = bits - least_cost(tuning) * scale
            bits = np.where(above > 1e-6, above, np.nan)  # the optimum ends at zero, which no logarithm shows
        top = max(top, float(np.nanmax(bits, initial=0.0)))
        axes.plot(steps, bits, color=_light(colour), linestyle=dash, linewidth=width, zorder=order, label=family)
    axes.set_xscale("log")
    if excess:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.grid(axis="y")
    else:
        axes.axhline(floor, color=_light("ink"), linewidth=0.9, dashes=(4, 3), label="one token per step (bound)")
        axes.set_ylim(floor - 0.06 * (top - floor), None)
    ticks = [2**i for i in range(20) if steps.min() <= 2**i <= steps.max()]
    axes.xaxis.set(major_locator=FixedLocator(ticks or [int(steps[0])]), minor_locator=NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.set_xlabel("K: steps, that is forward passes of the model")
    axes.set_ylabel("above the least cost, bits per token" if excess else "expected NELBO, bits per token")
    axes.legend(loc="lower left" if excess else "upper right")
    return figure


@rc_context(_STYLE)
def plan_curves(plans: Sequence[tuple[str, Plan]]) -> Figure:
    """Revealed fraction after every step against the fraction of steps done, one line for each (role, plan)."""
    figure, axes = _small(2.3)
    axes.plot([0, 1], [0, 1], color=_light("line"), linewidth=0.8)
    for rank, (role, plan) in enumerate(plans):
        fraction = plan.knots / plan.length
        dots = "o" if plan.steps <= 16 else ""
        axes.plot(
            np.linspace(0, 1, plan.steps + 1), fraction, color=_light(role_colour(role)), marker=dots, markersize=2.4,
            linewidth=2.0 if role == "optimal" else 1.3, zorder=5 - 0.1 * rank,
        )  # fmt: skip
    ticks = [0, 0.5, 1]
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=ticks, yticks=ticks, aspect="equal")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set(xlabel="fraction of steps done", ylabel="fraction revealed")
    return figure


@rc_context(_STYLE)
def plan_sizes(plans: Sequence[tuple[str, Plan]]) -> Figure:
    """Tokens revealed at every step as bars, one row of bars for each (role, plan), all on the same scale."""
    figure = Figure(figsize=(WIDTH / 2, 0.45 + 0.72 * len(plans)), layout="constrained")
    rows = figure.subplots(len(plans), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    most = max(int(plan.sizes.max()) for _, plan in plans)
    for axes, (role, plan) in zip(rows, plans):
        steps = np.arange(1, plan.steps + 1)
        axes.bar(steps, plan.sizes, width=0.82, color=_light(role_colour(role)), linewidth=0)
        axes.set(ylim=(0, 1.05 * most))
        axes.spines["left"].set_visible(False)
        axes.grid(axis="y")
        axes.yaxis.set_major_locator(MaxNLocator(2, integer=True))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    longest = max(plan.steps for _, plan in plans)
    rows[0].set_xlim(0.4, longest + 0.6)
    rows[-1].set_xlabel("step")
    figure.supylabel("tokens revealed", fontsize=8, color=_light("muted"))
    return figure


@rc_context(_STYLE)
def baselines(model: tuple[str, float, float], others: Sequence[tuple[str, float]]) -> Figure:
    """Bits per token of the model beside those of other models, as bars from the worst to the best.

    Args:
        model: its name, bits per token and their standard error.
        others: names and bits per token.
    """
    name, bits, error = model
    bars = sorted([*((n, b, 0.0, "muted") for n, b in others), (name, bits, error, "optimal")], key=lambda bar: bar[1])
    figure = Figure(figsize=(WIDTH, 0.3 + 0.27 * len(bars)), layout="constrained")
    axes = figure.subplots()
    for place, (label, value, spread, colour) in enumerate(bars):
        weight = "bold" if colour == "optimal" else "normal"
        axes.barh(place, value, height=0.62, color=_light(colour), alpha=1.0 if colour == "optimal" else 0.45)
        if spread:
            axes.errorbar(value, place, xerr=spread, color=_light("ink"), elinewidth=1.0, capsize=2)
        beyond = (value + spread, place)
        axes.annotate(f"{value:.2f}", beyond, (5, 0), textcoords="offset points", va="center", fontweight=weight)
        axes.annotate(
            label, (0, place), (-5, 0), textcoords="offset points", ha="right", va="center", fontweight=weight
        )
    axes.set(xlim=(0, 1.12 * max(value + spread for _, value, spread, _ in bars)), yticks=[], xlabel="bits per token")
    axes.spines["left"].set_visible(False)
    return figure


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


@rc_context(_STYLE)
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
    axes.set_title(f"weight {panel.name}", fontsize=8.5)
    # Of 1 / energy, which is 0 where the energy diverges and smooth on the way there.
    inverse = 1 / np.clip(panel.energies.T, 1.0, 1e6)
    levels = np.geomspace(1 / _HIGHEST, 1.0, 61)
    filled = axes.contourf(panel.a, panel.b, inverse, levels, norm=LogNorm(levels[0], 1.0), cmap=_HEAT, extend="min")
    filled.set(edgecolor="face", linewidth=0.3)  # no gaps between neighbours
    lines = [1 / energy for energy in reversed(_LINES) if inverse.min() < 1 / energy < inverse.max()]
    if lines:
        colours = [_light("line") if 1 / line > 6 else _light("muted") for line in lines]
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
    axes.plot([wall_a, wall_a, panel.a[-1]], [panel.b[-1], wall_b, wall_b], color=_light("muted"), linewidth=0.8)
    across, up = wall_a / panel.a[-1], wall_b / panel.b[-1]
    x, y, turn = (0.97, 0.5 * up, 0) if up >= across else (0.5 * across, 0.97, 90)
    axes.text(
        x, y, "infinite", transform=axes.transAxes, rotation=turn, fontsize=7, ha="center" if turn else "right",
        va="top" if turn else "center",
        color=_light("muted"), path_effects=[withStroke(linewidth=3, foreground=_BARRED["facecolor"])], zorder=3,
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
                *at, "o", color=_light("ink"), markersize=3.5, markeredgecolor="white", markeredgewidth=0.6, zorder=5,
                clip_on=False,
            )  # fmt: skip
        beside = np.abs(places[:i] - places[i]) < (0.5, 0.04)  # an earlier name stands above this line
        below, left = (star and not panel.exact) or bool(beside.all(axis=1).any()), places[i, 0] > 0.6
        away = (6 if star else 4) * (-1 if left else 1), -9 if below else 4
        axes.annotate(
            name, at, away, textcoords="offset points", ha="right" if left else "left", fontsize=6.5,
            fontweight="bold" if star else "normal", color=_light("optimal" if star else "ink"),
            path_effects=[withStroke(linewidth=2, foreground="white")], zorder=6,
        )  # fmt: skip
    axes.plot(
        a, b, "*", color=_light("optimal"), markersize=11, markeredgecolor="white", markeredgewidth=0.7, zorder=7,
        clip_on=False,
    )  # fmt: skip


@rc_context(_STYLE)
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
    """Write ``figure`` on white, in the format that the suffix of ``path`` names (:data:`FORMATS`).

    Raises:
        InputError: another suffix.
        OSError: the file cannot be written.
    """
    check_suffix("path", path)
    return _save(figure, Path(path), Path(path).suffix.lower())


def check_suffix(argument: str, path: str | Path) -> None:
    """Raise :class:`InputError` unless :func:`save` can write a file of this name."""
    if Path(path).suffix.lower() not in FORMATS:
        raise InputError(f"{argument} must end in .png, .svg or .pdf; got {str(path)!r}.")


@rc_context(_STYLE)
def _save(figure: Figure, path: Path, suffix: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format=suffix[1:], dpi=200, facecolor="white", metadata=FORMATS[suffix])
    return path


def _wide(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots()
    axes.grid(axis="y")
    return figure, axes


def _small(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH / 2, height), layout="constrained")
    return figure, figure.subplots()


def _light(name: str) -> str:
    return COLOURS[name][0]
