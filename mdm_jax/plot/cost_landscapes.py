"""The picture of what Beta schedules cost, a panel for each budget: of a search, a tuning, a race."""

import dataclasses
import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from mdm_jax.plot.charts import thinned
from mdm_jax.plot.drawing import HEAT, light, new_axes, styled
from mdm_jax.plot.values import Compared, Contest, Searched, SearchedByLaw
from mdm_jax.support.errors import InputError, require, verbatim

MOST_PANELS = 8
"""Budgets in one picture."""
MOST_VALUES = 512
"""Of ``a`` and of ``b``: more are thinned."""
MOST_WRITTEN = 24
"""Values up to which cells have room for a number."""
BEHIND, NUMBERS = "mean score in the search: behind the best", "; numbers: samples"
"""What the colours of a race are, and what is written into them."""
_NAMED = {"linear": (0.5, 0.5), "sine²": (1.0, 1.0)}
_LONGEST_LABEL = 48
"""Characters that stand beside the colours; what is longer goes on in a second line."""
_RANGE = 1e4
"""Costs this many times below the greatest, and lower ones, have one colour."""


@dataclasses.dataclass(frozen=True, eq=False)
class CostLandscape:
    """What Beta(a, b) schedules cost at one budget.

    Attributes:
        name: title of the panel.
        a: float64[a], rising, evenly spaced in the logarithm.
        b: float64[b], likewise.
        costs: float64[a, b].
        best: ``a``, ``b`` and cost of the best schedule.
        samples: int64[a, b], how many samples each was judged by, to be written into its cell.
    """

    name: str
    a: Float[np.ndarray, " a"]
    b: Float[np.ndarray, " b"]
    costs: Float[np.ndarray, "a b"]
    best: tuple[float, float, float]
    samples: Int[np.ndarray, "a b"] | None = None


@styled()
def landscape(
    found: Searched | Compared | SearchedByLaw | Contest, steps: int | None = None, *, axes: Axes | None = None
) -> Axes:
    """What every Beta(a, b) schedule costs at one budget, on logarithmic axes, the best one starred.

    Args:
        found: what ``plans.search_beta``, ``tune``, ``race`` or ``evaluation.search_beta_by_law`` returned. Of a search
            the colours are the expected NELBO above that of one token per step, of ``tune`` that above the optimal
            plan's, both in bits per token; by law the divergence; of a race how far the mean score was behind the
            best, and with how many samples.
        steps: which of the budgets that were searched, where there are several.
        axes: where to draw; a new figure if left out.

    Returns:
        The axes, ``axes.figure`` with its colours beside.

    Raises:
        InputError: something else, or a budget that was not searched.

    Example:
        >>> import mdm_jax as mdm
        >>> profile = mdm.profiles.from_values(mdm.oracles.polya(8, 0.5).entropies())
        >>> found = mdm.plans.search_beta(profile, [2, 4], grid=8, gradient_steps=0)
        >>> mdm.plot.landscape(found, 4).get_title()
        '4 steps'
    """
    panel, quantity = panel_of(found, steps)
    axes = new_axes(3.4, lines=False) if axes is None else axes
    least, most = _range([panel])
    bar = axes.figure.colorbar(_panel(axes, panel, least, most), ax=axes, shrink=0.82, aspect=24, pad=0.015)
    axes.set_ylabel("b")
    _name_colours(bar, least, most)
    bar.set_label(textwrap.fill(quantity, _LONGEST_LABEL))
    return axes


def panel_of(
    found: Searched | Compared | SearchedByLaw | Contest, steps: int | None = None
) -> tuple[CostLandscape, str]:
    """The landscape of what was found at a budget, and what its colours are; arguments as in :func:`landscape`."""
    match found:
        case Compared():
            result, search = found.result, found.search
            steps = _budget(search, steps)
            least = result["families"]["optimal"][result["steps"].index(steps)]
            return _searched(search, steps, least), "expected NELBO above the optimal plan's, bits per token"
        case Searched():
            floor = found.profile.nelbo()
            return _searched(found, _budget(found, steps), floor), (
                "expected NELBO above that of one token per step, bits per token"
            )
        case SearchedByLaw():
            _only(steps, found.steps)
            best = (found.a, found.b, found.value)
            costs = found.landscape.astype(np.float64)
            panel = CostLandscape(f"{found.steps} steps", found.values, found.values, costs, best)
            return panel, f"{found.divergence} between the sampler's law and the target"
        case Contest():
            require(found.landscape.size > 0, "found", verbatim("one without any"), "a race with a grid of schedules")
            budget = max(len(plan.sizes) for plan in found.plans.values())
            _only(steps, budget)
            written = max(found.counts.shape) <= MOST_WRITTEN
            return _raced(found, budget, written), BEHIND + (NUMBERS if written else "")
    raise InputError(
        f"found must be what search_beta, tune, race or search_beta_by_law returned; got a {type(found).__name__}."
    )


def _budget(search: Searched, steps: int | None) -> int:
    if steps is None and len(search.budgets) == 1:
        return search.budgets[0]
    if steps is None:
        raise InputError("steps must be one of the budgets that were searched; got none.")
    search.place(steps)  # refuses others
    return steps


def _only(steps: int | None, budget: int) -> None:
    require(steps is None or steps == budget, "steps", steps, f"{budget}, the budget that was searched, or left out")


def _searched(search: Searched, steps: int, least: float) -> CostLandscape:
    """In bits per token above ``least``, nats per sequence."""
    at, scale = search.place(steps), 1 / (np.log(2) * search.profile.length)
    above = (search.landscape[at].astype(np.float64) + search.profile.nelbo() - least) * scale
    a, b = map(float, search.best[at])
    best = (a, b, float(search.nelbo[at] - least) * scale)
    return CostLandscape(f"{steps} steps", search.values, search.values, above, best)


def _raced(raced: Contest, steps: int, written: bool) -> CostLandscape:
    """How far each schedule was behind the best of those that came furthest.

    The best of all cells may be one that was lucky with few samples.
    """
    score = raced.landscape if raced.lower_is_better else -raced.landscape
    score = np.where(np.isnan(score), np.inf, score)
    best = np.unravel_index(np.argmin(np.where(raced.counts == raced.counts.max(), score, np.inf)), score.shape)
    with np.errstate(invalid="ignore"):
        behind = np.where(score == score[best], 0.0, score - score[best])  # the best score may be infinite
    worst = float(behind[np.isfinite(behind)].max(initial=0.0))
    cells = np.clip(behind, 0.01 * worst, worst)  # differences finer than that are noise
    star = (float(raced.a[best[0]]), float(raced.b[best[1]]), float(raced.landscape[best]))
    return CostLandscape(f"{steps} steps", raced.a, raced.b, cells, star, raced.counts if written else None)


def of_budgets(found: Searched | Compared, budgets: Sequence[int], most: int = MOST_PANELS) -> Figure:
    """The landscapes of several budgets side by side; of more than ``most``, so many from the first to the last."""
    shown = [panel_of(found, budgets[i]) for i in spread(len(budgets), most)]
    return side_by_side([panel for panel, _ in shown], shown[0][1])


def spread(panels: int, most: int = MOST_PANELS) -> list[int]:
    """Which of so many panels to draw: all, or ``most`` of them from the first to the last."""
    return sorted({round(i) for i in np.linspace(0, panels - 1, min(panels, most)).tolist()})


@styled()
def side_by_side(panels: Sequence[CostLandscape], quantity: str) -> Figure:
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
    least, most = _range(panels)
    drawn = [_panel(axes, panel, least, most) for axes, panel in zip(grid.ravel(), panels)]
    for axes in grid[:, 0]:
        axes.set_ylabel("b")
    for axes in grid.ravel()[: len(panels) - columns]:
        axes.set_xlabel("")  # it is the same below
    _name_colours(figure.colorbar(drawn[-1], ax=grid, shrink=0.82, aspect=24, pad=0.015), least, most)
    return figure


def _range(panels: Sequence[CostLandscape]) -> tuple[float, float]:
    """The least and the greatest cost that have a colour."""
    finite = [panel.costs[np.isfinite(panel.costs)] for panel in panels]
    most = max(float(costs.max(initial=0.0)) for costs in finite)
    least = min(float(costs.min(initial=most)) for costs in finite)
    least, most = max(least, most / _RANGE, 1e-12), max(most, 2e-12)
    return (least, most) if most > least else (least / 2, 2 * most)  # colours of a single cost


def _panel(axes: Axes, panel: CostLandscape, least: float, most: float) -> QuadMesh:
    """One panel; what its colours mean."""
    panel = _thinned(panel)
    cells, norm = np.maximum(panel.costs.T, least), LogNorm(least, most, clip=True)
    look: dict[str, Any] = {"norm": norm, "cmap": HEAT, "rasterized": True}
    if min(cells.shape) > 1:
        drawn = axes.pcolormesh(panel.a, panel.b, cells, shading="nearest", **look)
    else:  # a single value has no neighbours to tell where its cell ends
        drawn = axes.pcolormesh(_edges(panel.a), _edges(panel.b), cells, **look)
    axes.set(xscale="log", yscale="log", xlabel="a", xlim=_ends(panel.a), ylim=_ends(panel.b))
    axes.set_box_aspect(1)
    for axis, values in ((axes.xaxis, panel.a), (axes.yaxis, panel.b)):
        ticks = [tick for tick in (0.1, 0.3, 1, 3, 10) if values[0] <= tick <= values[-1]]
        ticks = ticks or sorted({float(values[0]), float(values[-1])})
        axis.set(major_locator=FixedLocator(ticks), minor_locator=NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_title(panel.name, fontsize=8.5)
    _named_points(axes, panel)
    if panel.samples is not None:
        _write_samples(axes, panel, panel.samples)
    return drawn


def _thinned(panel: CostLandscape) -> CostLandscape:
    """The panel with as many values as a picture shows, from the first to the last."""
    if max(panel.costs.shape) <= MOST_VALUES:
        return panel
    a, b = (thinned(len(values), MOST_VALUES) for values in (panel.a, panel.b))
    costs = panel.costs[np.ix_(a, b)]
    return dataclasses.replace(panel, a=panel.a[a], b=panel.b[b], costs=costs, samples=None)


def _edges(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " edges"]:
    """Where the cells of values end: half-way to the next in the logarithm; that of a single one at 1.5 times it."""
    between = np.sqrt(values[1:] * values[:-1])
    half = float(np.sqrt(values[1] / values[0])) if len(values) > 1 else 1.5
    return np.concatenate([[values[0] / half], between, [values[-1] * half]])


def _ends(values: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Of an axis: from the first value to the last, or around a single one."""
    ends = values if len(values) > 1 else _edges(values)
    return float(ends[0]), float(ends[-1])


def _name_colours(bar: Colorbar, least: float, most: float) -> None:
    ends = np.log10(least), np.log10(most)
    marks = np.geomspace(least, most, 5) if ends[1] - ends[0] < 1.5 else 10.0 ** np.arange(*np.ceil(ends))
    bar.set_ticks(marks.tolist())
    bar.ax.yaxis.set(major_formatter=FuncFormatter(lambda value, _: f"{value:.2g}"), minor_locator=NullLocator())
    bar.outline.set_visible(False)
    if bar.solids is not None:
        bar.solids.set_rasterized(True)  # hundreds of cells otherwise


def _write_samples(axes: Axes, panel: CostLandscape, samples: Int[np.ndarray, "a b"]) -> None:
    """How many samples, cell by cell, and room for those at the edge."""
    across, up = _edges(panel.a), _edges(panel.b)
    axes.set(xlim=(across[0], across[-1]), ylim=(up[0], up[-1]))
    for i, j in np.ndindex(panel.costs.shape):
        axes.text(
            float(panel.a[i]), float(panel.b[j]), str(samples[i, j]), fontsize=5, ha="center",
            va="top", color=light("muted"), zorder=4,
        )  # fmt: skip


def _named_points(axes: Axes, panel: CostLandscape) -> None:
    """Linear and sine squared, and the best schedule with its cost."""
    a, b, cost = panel.best
    halo = [withStroke(linewidth=2, foreground=light("ground"))]
    for name, at in _NAMED.items():
        axes.plot(
            *at, "o", color=light("ink"), markersize=3.5, markeredgecolor=light("ground"), markeredgewidth=0.6, zorder=5
        )
        axes.annotate(
            name, at, (-4, 4), textcoords="offset points", ha="right", fontsize=6.5, path_effects=halo, zorder=6
        )
    if math.isnan(cost):  # nothing had a score
        return
    axes.plot(
        a, b, "*", color=light("optimal"), markersize=11, markeredgecolor=light("ground"), markeredgewidth=0.7, zorder=7
    )
    left = np.log(a / panel.a[0]) > 0.55 * np.log(panel.a[-1] / panel.a[0])
    axes.annotate(
        f"({a:.2g}, {b:.2g}): {cost:.3g}", (a, b), (-6 if left else 6, -9), textcoords="offset points",
        ha="right" if left else "left", fontsize=6.5, fontweight="bold", color=light("optimal"), path_effects=halo,
        zorder=8,
    )  # fmt: skip
