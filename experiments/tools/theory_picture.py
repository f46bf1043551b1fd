"""The picture of ``any_order_theory``: rows against their bounds, and what optimal plans save in costs and samples."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter


def picture(cases: Mapping[str, Any]) -> Figure:
    """A colour for each task, a marker for each rival."""
    figure = Figure(figsize=(10.5, 3.2), layout="constrained")
    near, cost, worth = figure.subplots(1, 3, width_ratios=(1.3, 1, 1))
    for shift, colour, (spec, case) in zip((-0.15, 0.15), ("#1d6fb8", "#c2410c"), cases.items()):
        names = list(case["bounds"])
        for place, one in enumerate(case["bounds"].values()):
            low, first, middle, third, high = one["ratios"]
            near.plot([low, high], [place + shift] * 2, color=colour, lw=0.8)
            near.plot([first, third], [place + shift] * 2, color=colour, lw=3)
            near.plot(middle, place + shift, "k|", markersize=6)
        near.set_yticks(range(len(names)), names, fontsize=7)
        for axes, found, which in ((cost, case["costs"], "saved"), (worth, case["samples"], "score")):
            for rival, marker, line in (("uniform", "o", "-"), ("cosine", "s", ":")):
                of_rival = {name: one[which] for name, one in found.items() if name.startswith(rival)}
                steps, ends = np.array([int(name.split()[1]) for name in of_rival]), np.array(list(of_rival.values())).T
                bars = ends[0] - ends[1], ends[2] - ends[0]
                style: dict[str, Any] = {"color": colour, "lw": 1, "markersize": 4, "capsize": 2}
                axes.errorbar(steps * 2**shift, ends[0], bars, fmt=marker + line, label=f"{spec}, {rival}", **style)
    steps = sorted({int(name.split()[1]) for case in cases.values() for name in case["costs"]})
    near.set_xlim(-0.5, 2)
    near.axvline(1, color="black", lw=0.7, ls=":")
    near.invert_yaxis()
    near.set_xlabel("a row's excess / its bound (halves and 95% of rows)", fontsize=8)
    for axes, told in ((cost, "bits per character saved on test rows"), (worth, "trigram bits saved in samples")):
        axes.axhline(0, color="black", lw=0.7, ls=":")
        axes.set_xscale("log", base=2)
        axes.set_xticks(steps, steps)
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("steps", fontsize=8)
        axes.set_title(told, fontsize=8)
    cost.legend(fontsize=6, frameon=False)
    for axes in (near, cost, worth):
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
