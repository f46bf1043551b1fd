"""What is told of ``winner_in_advance``: its conclusion, and a picture of every cell of a confidence order."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from experiments.tools.experiment import Conclusion
from experiments.tools.grouped import interval

_COLOURS = ("#1d6fb8", "#c2410c", "#2f855a", "#8b5cf6", "#6b7280")
_MARKS = {"max probability": "o", "margin": "^"}
_NAMES = {"profile": "random-order\nprofile", "table": "table of the\nown path", "64 rows": "costs of\n64 rows"}
_LINEAR = 0.02
"""Shares of the cost are drawn to scale up to here, and by their logarithm beyond."""


def concluded(
    results: Mapping[str, Any], predictors: Sequence[str], ways: Sequence[str], within: float, sizes: str
) -> Conclusion:
    """The three parts of the claim, tasks as independent, and the rest beside them.

    Args:
        results: the cells, in columns.
        predictors: the profile, the table of the own path, the rows measured.
        ways: to choose; the last one is claimed to cost little.
        within: how little, as a share of the cost.
        sizes: what each cell has, in words.
    """
    profile, table, rows = predictors
    sure = [i for i, order in enumerate(results["order"]) if order in _MARKS]
    blind = [i for i, order in enumerate(results["order"]) if order not in _MARKS]
    score, cost, last = results["score"], results["cost"], ways[-1]
    shares = {way: np.divide(results["above"][way], results["best"]).tolist() for way in ways}

    def ranks(values: Sequence[float | None], cells: Sequence[int]) -> list[float] | None:
        found = over_tasks(results, values, cells)
        return None if found is None else np.clip(found, -1, 1).tolist()  # what Student's interval does not know

    def gap(one: str, other: str) -> list[float] | None:
        return over_tasks(results, [less(*both) for both in zip(score[one], score[other], strict=True)], sure)

    gaps = {both: gap(*both) for both in ((table, profile), (rows, table), (rows, profile))}
    pooled = {
        **{f"ranks by score, {way}": ranks(score[way], sure) for way in predictors},
        **{f"ranks by score, {one} less {other}": found for (one, other), found in gaps.items()},
        **{f"ranks by cost, {way}": ranks(values, sure) for way, values in cost.items()},
        "random order: ranks by score, profile": ranks(score[profile], blind),
        "random order: ranks by cost, profile": ranks(cost[profile], blind),
        **{f"share above hindsight, {way}": over_tasks(results, share, sure) for way, share in shares.items()},
        f"bits of samples' entropy above hindsight, {last}": over_tasks(results, results["more entropy"][last], sure),
    }
    counted = {
        "tasks": len(set(results["task"])),
        "cells": len(sure),
        **{f"most above hindsight, {way}": round(max(share[i] for i in sure), 4) for way, share in shares.items()},
        f"cells clearly above, {last}": sum(results["low"][last][i] > 0 for i in sure),
    }
    figures = {name: np.round(figure, 4).tolist() for name, figure in pooled.items() if figure is not None} | counted
    share = pooled[f"share above hindsight, {last}"]
    parts = [
        above(gaps[table, profile]),
        above(gaps[rows, table]) and above(gaps[rows, profile]),
        share is not None and share[0] <= within,
    ]
    told = ", ".join(f"{way} {spoken(pooled[f'ranks by score, {way}'], '.2f')}" for way in predictors)
    return Conclusion(
        "holds" if all(parts) else "partly" if any(parts) else "does not",
        f"rank correlation with samples' scores: {told}; table less profile {spoken(gaps[table, profile], '+.2f')}, "
        f"rows less table {spoken(gaps[rows, table], '+.2f')}; the {last}'s choice costs {spoken(share, '+.2%')} more "
        "than the best Beta in hindsight",
        figures,
        f"{len(sure)} cells of {counted['tasks']} tasks, {sizes}; intervals over tasks",
    )


def above(figure: Sequence[float] | None) -> bool:
    """Whether the interval lies above 0."""
    return figure is not None and figure[1] > 0


def less(one: float | None, other: float | None) -> float | None:
    """The difference, where there is one."""
    return None if one is None or other is None else one - other


def over_tasks(results: Mapping[str, Any], values: Sequence[float | None], cells: Sequence[int]) -> list[float] | None:
    """The mean over tasks of their cells' means, and its interval; ``None`` if fewer than two tasks have values."""
    of: dict[str, list[float]] = {}
    for i in cells:
        if (value := values[i]) is not None:
            of.setdefault(results["task"][i], []).append(value)
    return interval([float(np.mean(mine)) for mine in of.values()]) if len(of) > 1 else None


def spoken(figure: Sequence[float] | None, form: str) -> str:
    """A value and its interval."""
    if figure is None:
        return "not known"
    value, low, high = (format(one, form) for one in figure)
    return f"{value} ({low} to {high})"


def picture(results: Mapping[str, Any], predictors: Sequence[str], ways: Sequence[str]) -> Figure:
    """Every cell of a confidence order as a mark; bars are means."""
    figure = Figure(figsize=(7.6, 3.1), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 4))
    cells = [i for i, order in enumerate(results["order"]) if order in _MARKS]
    _marks(left, results, cells, [results["score"][name] for name in predictors])
    left.set_xticks(range(len(predictors)), [_NAMES[name] for name in predictors])
    left.set_title("rank correlation with samples' scores", fontsize=9)
    shares = [np.divide(results["above"][way], results["best"]).tolist() for way in ways]
    _marks(right, results, cells, shares)
    right.axhline(0, color="#9ca3af", lw=0.8, zorder=0)
    right.set_yscale("symlog", linthresh=_LINEAR)
    right.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    right.set_xticks(range(len(ways)), [way.replace(" by ", " by\n") for way in ways])
    right.set_title("cost above the best Beta in hindsight", fontsize=9)
    for axes in (left, right):
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    for colour, task in zip(_COLOURS, dict.fromkeys(results["task"])):
        left.plot([], [], "o", color=colour, markersize=4, label=task)
    for order, mark in _MARKS.items():
        left.plot([], [], mark, color="black", markersize=4, fillstyle="none", label=order)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=7, fontsize=7, frameon=False)
    return figure


def _marks(axes: Any, results: Mapping[str, Any], cells: Sequence[int], columns: Sequence[Sequence[Any]]) -> None:
    """A column of marks for each list of values: tasks beside each other, in colours; ``None`` is left out."""
    names = list(dict.fromkeys(results["task"]))
    for place, values in enumerate(columns):
        some = [i for i in cells if values[i] is not None]
        for i in some:
            task = names.index(results["task"][i])
            x = place + 0.13 * (task - (len(names) - 1) / 2)
            axes.plot(x, values[i], _MARKS[results["order"][i]], color=_COLOURS[task], markersize=3.5, alpha=0.75)
        mean = np.mean([np.mean([values[i] for i in some if results["task"][i] == name]) for name in names
                        if any(results["task"][i] == name for i in some)])  # fmt: skip
        axes.plot([place - 0.4, place + 0.4], [mean, mean], color="black", lw=1.2)
