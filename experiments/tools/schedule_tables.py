"""What cells of chosen schedules come to (:mod:`experiments.tools.schedule_cells`): figures, a verdict, a picture.

A *world* of results is ``{"better": 1 or -1, "unit": "...", "trainings": [the cells of each]}``. Gains are the winner's
score less a named schedule's, positive where the winner is better. Those of a cell have intervals over samples (paired;
trainings as strata). Averages over cells have intervals over trainings (Student's t), and over samples where there is
one training. Where rows depend on each other in groups (cells of one training have gains in each, "grouped"), all
intervals are over groups, each with its mean over the cells, by Student's t.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.stats
from matplotlib.figure import Figure

from experiments.tools.experiment import Conclusion
from experiments.tools.latents import over_seeds
from experiments.tools.schedule_cells import NAMED, ORDERS, WINNER

COLOURS = dict(zip(NAMED, ("#1d6fb8", "#2e8059", "#c2410c"), strict=True))
COLOUR_BESIDES = "#7c3aed"
"""Of a rival that is no named schedule."""
LEVEL = 0.975
"""Quantile of two-sided intervals of 95%."""
World = Mapping[str, Any]


class Cell(NamedTuple):
    """The same cell of all trainings of a world."""

    order: str
    choice: str
    steps: int
    trainings: list[Mapping[str, Any]]

    def gains(self, rival: str) -> np.ndarray:
        """float[trainings, 2]: the mean gain over a rival and its standard error."""
        return np.array([one["gains"][rival] for one in self.trainings])

    def grouped(self, rival: str) -> np.ndarray:
        """float[groups]: the gain over a rival in each group of samples; empty where these have none."""
        found = [one["grouped"][rival] for one in self.trainings if "grouped" in one]
        assert len(found) < 2, "groups are of one training's samples"
        return np.array(found[0] if found else [])

    def gain(self, rival: str) -> list[float]:
        """The mean gain over trainings, with its interval over samples, or over their groups."""
        if (grouped := self.grouped(rival)).size:
            return interval(grouped.tolist())
        means, errors = self.gains(rival).T
        mean, half = float(means.mean()), float(scipy.stats.norm.ppf(LEVEL) * np.sqrt((errors**2).sum()) / len(errors))
        return [mean, mean - half, mean + half]

    def score(self, name: str) -> float:
        """The mean test score of a schedule."""
        return float(np.mean([one["scores"][name] for one in self.trainings]))

    def agreements(self, what: str) -> list[float]:
        """The rank correlations with what predicts, of the trainings that have one."""
        return [one["agreement"][what] for one in self.trainings if one["agreement"][what] is not None]


def cells_of(world: World) -> Iterator[Cell]:
    """The cells of a world, each with all trainings."""
    for same in zip(*world["trainings"], strict=True):
        yield Cell(same[0]["order"], same[0]["choice"], same[0]["steps"], list(same))


def rivals_in(world: World) -> list[str]:
    """What the chosen schedule is compared with: the named ones, and those besides."""
    return list(next(cells_of(world)).trainings[0]["gains"])


def steps_in(world: World) -> list[int]:
    """The numbers of steps, the fewest first."""
    return sorted({cell.steps for cell in cells_of(world)})


def interval(each: Sequence[float], errors: Sequence[float] | None = None) -> list[float]:
    """The mean of the values of trainings, with its interval; that of a single one is of its own standard error.

    Example:
        >>> [round(one, 3) for one in interval([1.0, 2.0, 3.0])], [round(one, 2) for one in interval([1.0], [0.5])]
        ([2.0, -0.484, 4.484], [1.0, 0.02, 1.98])
    """
    found = over_seeds(each)
    if isinstance(found, list):
        return found
    half = 0.0 if errors is None else float(scipy.stats.norm.ppf(LEVEL) * errors[0])
    return [found, found - half, found + half]


def averaged(world: World, rival: str, steps: Sequence[int], less: Sequence[int] = ()) -> list[float]:
    """The mean gain over the cells of some numbers of steps, less that of others, with its interval."""
    cells = list(cells_of(world))
    signed = [(sign, some) for sign, some in ((1, steps), (-1, less)) if some]
    if cells[0].grouped(rival).size:
        apart = [
            sign * np.mean([cell.grouped(rival) for cell in cells if cell.steps in some], axis=0)
            for sign, some in signed
        ]
        return interval(np.sum(apart, axis=0).tolist())
    means = variances = np.zeros(len(world["trainings"]))
    for sign, some in signed:
        of_them = np.array([cell.gains(rival) for cell in cells if cell.steps in some])
        means = means + sign * of_them[..., 0].mean(axis=0)
        variances = variances + (of_them[..., 1] ** 2).sum(axis=0) / len(of_them) ** 2
    return interval(means.tolist(), np.sqrt(variances).tolist())


def correlations(world: World, what: str, order: str) -> list[float] | float | None:
    """The mean rank correlation with what predicts over an order's cells, with its interval if trainings are many."""
    each = []
    for cells in world["trainings"]:
        known = [one["agreement"][what] for one in cells if one["order"] == order]
        known = [one for one in known if one is not None]
        each += [float(np.mean(known))] if known else []
    return over_seeds(each) if each else None


def figures_of(name: str, world: World) -> dict[str, Any]:
    """All that a page may quote of a world."""
    cells, steps = list(cells_of(world)), steps_in(world)
    figures: dict[str, Any] = {}
    for cell in cells:
        figures[f"{name}, {cell.order}, {cell.choice}, {cell.steps} steps: gain over linear"] = cell.gain("linear")
    for rival in rivals_in(world):
        gains = [cell.gain(rival) for cell in cells]
        figures[f"{name}: cells better than {rival}"] = sum(low > 0 for _, low, _ in gains)
        figures[f"{name}: cells worse than {rival}"] = sum(high < 0 for _, _, high in gains)
        figures[f"{name}: mean gain over {rival}"] = averaged(world, rival, steps)
        for one in steps:
            figures[f"{name}, {one} steps: mean gain over {rival}"] = averaged(world, rival, [one])
    for one in steps:
        scores = [cell.score(WINNER) for cell in cells if cell.steps == one]
        figures[f"{name}, {one} steps: mean score of the chosen"] = float(np.mean(scores))
    figures[f"{name}: cells"] = len(cells)
    searches = [one for cell in cells for one in cell.trainings]
    decided = [one for one in searches if len(set(one["candidates"].values())) > 1]
    figures[f"{name}: searches"] = len(searches)
    figures[f"{name}: searches in which all are as good"] = len(searches) - len(decided)
    figures[f"{name}: other searches that chose linear"] = sum(one["chosen"] == "linear" for one in decided)
    figures[f"{name}: cells in which linear is better than sine and sine squared"] = sum(
        all(world["better"] * (cell.score("linear") - cell.score(other)) > 0 for other in NAMED if other != "linear")
        for cell in cells
    )
    if largest := largest_gain(cells):
        cell, share = largest
        figures[f"{name}: largest gain over linear, share of its score"] = share
        figures[f"{name}: of that cell, chosen"] = cell.score(WINNER)
        figures[f"{name}: of that cell, linear"] = cell.score("linear")
    for what in cells[0].trainings[0]["agreement"]:
        for order in ORDERS:
            found = correlations(world, what, order)
            if found is not None:
                figures[f"{name}, {order}: rank correlation with {what}"] = found
    return figures


def largest_gain(cells: Sequence[Cell]) -> tuple[Cell, float] | None:
    """Of the cells that are better than linear by their intervals, that with the largest share of linear's score."""
    shares = [
        (cell, cell.gain("linear")[0] / abs(cell.score("linear")))
        for cell in cells
        if cell.gain("linear")[1] > 0 and cell.score("linear") != 0
    ]
    return max(shares, key=lambda one: one[1], default=None)


def concluded(worlds: Mapping[str, World], sample_size: str) -> Conclusion:
    """On the claim that the chosen schedule beats the named ones at few steps, most at the fewest.

    Two parts a world: at each of the two smallest numbers of steps the mean gain over each named schedule is above 0,
    and that over linear is larger at the fewest steps than at the most; all by their intervals.
    """
    figures: dict[str, Any] = {}
    parts: list[bool] = []
    said = []
    for name, world in worlds.items():
        figures |= figures_of(name, world)
        steps = steps_in(world)
        parts.append(all(averaged(world, rival, [one])[1] > 0 for rival in NAMED for one in steps[:2]))
        trend = averaged(world, "linear", steps[:1], less=steps[-1:])
        figures[f"{name}: gain over linear at the fewest steps less that at the most"] = trend
        parts.append(trend[1] > 0)
        told = ", ".join(
            f"{mean:+.3f} ({low:+.3f} to {high:+.3f}) in {one}"
            for one in (*steps[:2], steps[-1])
            for mean, low, high in [averaged(world, "linear", [one])]
        )
        counts = [figures[f"{name}: cells {what} than linear"] for what in ("better", "worse")]
        total = figures[f"{name}: cells"]
        said.append(
            f"{name}: {world['unit']}, over linear, {told} steps (in {steps[0]} the chosen have "
            f"{figures[f'{name}, {steps[0]} steps: mean score of the chosen']:.3f}); better in {counts[0]} of {total} "
            f"cells, worse in {counts[1]}"
        )
    verdict = "holds" if all(parts) else "partly" if any(parts) else "does not"
    return Conclusion(verdict, "; ".join(said), figures, sample_size)


def picture(worlds: Mapping[str, World]) -> Figure:
    """A row a world, a panel an order and a choice: the gain over each rival by the number of steps."""
    panels = [list(dict.fromkeys((cell.order, cell.choice) for cell in cells_of(one))) for one in worlds.values()]
    columns = max(map(len, panels))
    figure = Figure(figsize=(2.75 * columns, 2.4 * len(worlds)), layout="constrained")
    grid = figure.subplots(len(worlds), columns, squeeze=False, sharey="row")
    for (name, world), row, of_world in zip(worlds.items(), grid, panels):
        for axes, (order, choice) in zip(row, [*of_world, *[("", "")] * (columns - len(of_world))]):
            cells = [one for one in cells_of(world) if (one.order, one.choice) == (order, choice)]
            if not cells:
                axes.set_axis_off()
                continue
            for shift, rival in zip((-0.06, 0, 0.06, 0.12), rivals_in(world)):
                _gains(axes, cells, rival, shift)
            axes.axhline(0, color="#111111", linewidth=0.8)
            axes.set_xscale("log", base=2)
            axes.set_xticks([one.steps for one in cells], [str(one.steps) for one in cells])
            axes.minorticks_off()
            axes.set_title(f"{name}: {order} order, {choice}", fontsize=7)
            axes.tick_params(labelsize=7, labelleft=True)
            axes.set_ylabel(f"gain, {world['unit']}", fontsize=7)
            axes.set_xlabel("steps", fontsize=7)
    shown = next(axes for axes in grid.flat if axes.axison)
    shown.legend(fontsize=6, frameon=False, title="over", title_fontsize=6)
    return figure


def _gains(axes: Any, cells: Sequence[Cell], rival: str, shift: float) -> None:
    gains = np.array([one.gain(rival) for one in cells])
    places = np.array([one.steps for one in cells]) * 2.0**shift
    ends = [gains[:, 0] - gains[:, 1], gains[:, 2] - gains[:, 0]]
    colour = COLOURS.get(rival, COLOUR_BESIDES)
    axes.errorbar(places, gains[:, 0], ends, fmt="o-", color=colour, markersize=3, linewidth=1, label=rival)
