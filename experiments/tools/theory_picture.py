"""The picture of ``any_order_theory``: rows against their bounds, and what optimal plans save in costs and samples."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

COLOURS = ("#1d6fb8", "#c2410c", "#2e8059")
RIVALS = {"uniform": ("o", "-"), "cosine": ("s", ":")}
TICKS = (-30, -10, -3, -1, 0, 1)
"""Nats, on an axis that is linear around 0."""
OF_SAMPLES = "trigram bits saved in samples"
OTHERS = {"urn": "spread of ones gained"}
"""Data whose samples are judged by no trigram, and what is gained in them: a panel each."""


def picture(cases: Mapping[str, Any]) -> Figure:
    """A colour for each kind of data, a marker for each rival."""
    others = {spec: text for spec, text in OTHERS.items() if spec in cases}
    figure = Figure(figsize=(12, 3.3), layout="constrained")
    near, cost, worth, *own = figure.subplots(1, 3 + len(others), width_ratios=(1.4, *[1] * (2 + len(others))))
    apart = dict(zip(others, own))
    shifts = np.linspace(-0.25, 0.25, len(cases)) if len(cases) > 1 else (0.0,)
    for shift, colour, (spec, case) in zip(shifts, COLOURS, cases.items()):
        names = list(case["bounds"])
        for place, one in enumerate(case["bounds"].values()):
            low, first, middle, third, high = one["apart"]
            near.plot([low, high], [place + shift] * 2, color=colour, lw=0.8)
            near.plot([first, third], [place + shift] * 2, color=colour, lw=3)
            near.plot(middle, place + shift, "k|", markersize=5)
        near.set_yticks(range(len(names)), names, fontsize=7)
        _saved(cost, case["costs"], "saved", spec, colour, shift)
        _saved(apart.get(spec, worth), case["samples"], "score", spec, colour, shift)
    near.set_xscale("symlog", linthresh=1)
    near.set_xticks(TICKS, [str(one).replace("-", "\N{MINUS SIGN}") for one in TICKS])
    near.xaxis.set_minor_locator(NullLocator())
    near.axvline(0, color="black", lw=0.7, ls=":")
    near.invert_yaxis()
    near.set_xlabel("nats, halves and 95% of the rows", fontsize=8)
    near.set_title("a row's excess less the bound of its own curve", fontsize=8)
    steps = sorted({int(name.split()[1]) for case in cases.values() for name in case["costs"]})
    told = {cost: "bits per token saved on test rows", worth: OF_SAMPLES}
    for axes, title in {**told, **{apart[spec]: f"{spec}: {text}" for spec, text in others.items()}}.items():
        axes.axhline(0, color="black", lw=0.7, ls=":")
        axes.set_xscale("log", base=2)
        axes.set_xticks(steps, list(map(str, steps)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("steps", fontsize=8)
        axes.set_title(title, fontsize=8)
    cost.legend(fontsize=6, frameon=False)
    for axes in (near, cost, worth, *own):
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _saved(axes: Axes, found: Mapping[str, Any], which: str, spec: str, colour: str, shift: float) -> None:
    for rival, (marker, line) in RIVALS.items():
        of_rival = {name: one[which] for name, one in found.items() if name.startswith(rival)}
        steps, ends = np.array([int(name.split()[1]) for name in of_rival]), np.array(list(of_rival.values())).T
        bars = ends[0] - ends[1], ends[2] - ends[0]
        style: dict[str, Any] = {"color": colour, "lw": 1, "markersize": 3.5, "capsize": 2}
        axes.errorbar(steps * 2 ** (shift / 3), ends[0], bars, fmt=marker + line, label=f"{spec}, {rival}", **style)
