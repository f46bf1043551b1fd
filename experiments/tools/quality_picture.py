"""The picture of ``any_order_quality``: a column for each case; NELBO, profile, and quality against sampling cost."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from experiments.tools.equal_compute import ANY_ORDER, BIDIRECTIONAL, BY_OPERATIONS, octaves

_LOOKS = {BIDIRECTIONAL: ("#c2410c", "o"), ANY_ORDER: ("#1d6fb8", "s"), BY_OPERATIONS: ("#2e8059", "^")}


def picture(cases: Mapping[str, Any]) -> Figure:
    """Means over seeds, from the least to the greatest."""
    figure = Figure(figsize=(max(3.0 * len(cases), 4.0), 7.5), layout="constrained")
    columns = figure.subplots(3, len(cases), squeeze=False).T
    for (top, middle, bottom), (name, case) in zip(columns, cases.items(), strict=True):
        last = case[list(case)[-1]]
        for arm, (colour, marker) in _LOOKS.items():
            style: dict[str, Any] = {"color": colour, "markersize": 4, "linewidth": 1, "label": arm}
            lengths = [seconds for seconds, found in case.items() if arm in found]
            if not lengths:
                continue
            bits = np.array([case[seconds][arm]["bits"] for seconds in lengths])
            _bars(top, [int(seconds) for seconds in lengths], bits, marker, style)
            profile = last[arm]["profile"]
            middle.plot(range(len(profile)), profile, marker + "-", **style)
            if arm in last.get("samples", {}):
                made = last["samples"][arm].values()
                cost = np.array([np.mean(entry["milliseconds"]) for entry in made])
                worth = np.array([[metrics[0] for metrics in entry["metrics"]] for entry in made])
                order = np.argsort(cost)
                _bars(bottom, cost[order], worth[order], marker, style)
        top.set_title(f"{name}: held-out NELBO", fontsize=9)
        top.set_xlabel("processor seconds of training", fontsize=7)
        middle.set_title("profile of the longest training", fontsize=9)
        begins = octaves(2 ** (len(last[BIDIRECTIONAL]["profile"]) - 1))
        middle.set_xticks(range(len(begins)), [str(begin) for begin in begins])
        middle.set_xlabel("tokens revealed, from so many on", fontsize=7)
        bottom.set_title(_SCORES[name.split(",")[0]], fontsize=9)
        bottom.set_xlabel("processor milliseconds for each sample", fontsize=7)
        top.set_xscale("log", base=2)
        top.set_xticks([int(seconds) for seconds in case], list(case))
        bottom.set_xscale("log")
        bottom.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        bottom.xaxis.set_major_formatter(ScalarFormatter())
        bottom.xaxis.set_minor_formatter(NullFormatter())
        top.xaxis.set_minor_formatter(NullFormatter())
        for axes in (top, middle, bottom):
            axes.tick_params(labelsize=7)
            axes.spines[["top", "right"]].set_visible(False)
    for axes in columns[0][:2]:
        axes.set_ylabel("bits per token", fontsize=8)
    columns[0][0].legend(fontsize=7, frameon=False)
    return figure


_SCORES = {
    "text": "samples: trigram bits per character",
    "code": "samples: trigram bits per character",
    "digits": "samples: distance to training pictures",
    "sudoku6": "samples: broken rows, columns, boxes",
}


def _bars(axes: Any, at: Any, values: np.ndarray, marker: str, style: dict[str, Any]) -> None:
    """A line through means over the second axis, with bars from the least to the greatest."""
    mean = values.mean(axis=1)
    ends = mean - values.min(axis=1), values.max(axis=1) - mean
    axes.errorbar(at, mean, ends, fmt=marker + "-", capsize=2, **style)
