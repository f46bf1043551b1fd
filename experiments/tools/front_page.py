"""The picture of the front page, from the committed records alone: ``python -m experiments.tools.front_page``."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, PercentFormatter

from experiments.tools.catalogue import Places
from experiments.tools.recording import png
from experiments.tools.records import read
from mdm_jax.support.errors import InputError
from mdm_jax.support.files import write_bytes

PUBLISHED = {
    "reactions": ("rxnmapper, 83 tokens of reactions", "#c2410c"),
    "antibodies": ("AntiBERTy, 91 residues", "#1d6fb8"),
}
SHOWN = slice(1, 32)
"""Numbers of steps from 2 on: in one step all sizes are the same."""
FEW = 8
ORDERS = {"largest probability": "#1d6fb8", "margin": "#2e8059", "random": "#6b7280"}
PASSES = (5, 10, 20, 55)
VOCABULARY = "{} over ours, vocabulary 1,024, {}"
PEERS = ("MDLM", "LLaDA", "MD4")


def front_page(places: Places) -> Figure:
    """Three panels: plans of published models, orders of a Sudoku, and how much longer other ways take.

    Raises:
        InputError: a record is missing that is drawn.
    """
    figure = Figure(figsize=(11.5, 3.6), layout="constrained")
    plans, orders, longer = figure.subplots(1, 3, width_ratios=(1, 1, 1.15))
    _plans(plans, {name: _record(places, name) for name in PUBLISHED})
    _orders(orders, _record(places, "planning_orders")["figures"])
    _longer(longer, times_as_long(places))
    for axes in (plans, orders, longer):
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> None:
    """Write ``experiments/pictures/front_page.png``."""
    places = Places()
    write_bytes(places.pictures / "front_page.png", png(front_page(places)))


def times_as_long(places: Places) -> dict[str, tuple[float, float]]:
    """How many times as long another way takes as this library's: from, to. What was compared is in the records."""
    training = _record(places, "train_step")["figures"]["our time over PyTorch's"]
    sampling, loop = _record(places, "throughput")["figures"], _record(places, "any_order")["figures"]
    chosen = _record(places, "tuning_cost")["figures"]["sampling over profile with measuring it"]
    small = [sampling[VOCABULARY.format(peer, end)] for peer in PEERS for end in ("least", "greatest")]
    large = [sampling[f"{peer} over ours, vocabulary 32,768"] for peer in PEERS]
    once = loop["times as fast as the loop, length 1024, K = 64"]
    return {
        "training step: PyTorch": (1 / training[2], 1 / training[1]),
        "sampling as\nMDLM, LLaDA, MD4 do": (min(small), max(small)),
        "the same, vocabulary\nof 32,768": (min(large), max(large)),
        "a schedule: by samples,\nnot by a profile": (chosen[1], chosen[2]),
        "64 steps of 1,024 tokens:\nnot any-order": (once, once),
    }


def _record(places: Places, name: str) -> Mapping[str, Any]:
    made = read(places, name)
    if made is None:
        raise InputError(f"the picture of the front page needs the result of {name}; got none.")
    return made


def _plans(axes: Axes, made: Mapping[str, Mapping[str, Any]]) -> None:
    for name, (label, colour) in PUBLISHED.items():
        curves, worth = made[name]["results"]["curves"], made[name]["figures"]
        steps = range(1, len(curves["optimal"]) + 1)[SHOWN]
        axes.plot(steps, curves["uniform"][SHOWN], color=colour, lw=1.2, ls="--")
        axes.plot(steps, curves["optimal"][SHOWN], color=colour, lw=2, label=label)
        cost, equal = worth[f"{FEW} steps, optimal"][0], worth[f"{FEW} optimal steps, equal steps as good"][0]
        axes.annotate("", (FEW, cost), (equal, cost), arrowprops={"arrowstyle": "->", "color": "black", "lw": 1})
        axes.text(equal, cost, f" = {equal:.1f} equal", fontsize=7, va="bottom")
    axes.set_xscale("log", base=2)
    axes.set_xticks([2, 4, 8, 16, 32], ["2", "4", "8", "16", "32"])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(bottom=0)
    axes.plot([], [], color="black", lw=1.2, ls="--", label="equal steps")
    axes.legend(fontsize=7, frameon=False)
    axes.set_title("published models: optimal steps\nand as many equal ones", fontsize=9)
    axes.set_xlabel("model calls", fontsize=8)
    axes.set_ylabel("bits per token, held-out rows", fontsize=8)


def _orders(axes: Axes, figures: Mapping[str, Any]) -> None:
    for order, colour in ORDERS.items():
        solved = [figures[f"sudoku9, greedy, {order}, {passes} passes"] for passes in PASSES]
        middle, low, high = zip(*np.clip(solved, 0, 1))
        axes.fill_between(PASSES, low, high, color=colour, alpha=0.12, lw=0)
        axes.plot(PASSES, middle, "o-", color=colour, lw=2 if order == "random" else 1.4, markersize=3, label=order)
    axes.set_xscale("log", base=2)
    axes.set_xticks(PASSES, list(map(str, PASSES)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(fontsize=7, frameon=False, title="order", title_fontsize=7, loc=(0.45, 0.13))
    axes.set_title("9 x 9 Sudokus solved greedily, by order\n(three trainings, 95% intervals)", fontsize=9)
    axes.set_xlabel("model calls", fontsize=8)


def _longer(axes: Axes, times: Mapping[str, tuple[float, float]]) -> None:
    for place, (low, high) in enumerate(times.values()):
        axes.barh(place, high, left=0, height=0.55, color="#dbe7f3")
        axes.barh(place, low, left=0, height=0.55, color="#1d6fb8")
        ends = list(dict.fromkeys(f"{end:.1f}" if end < 10 else f"{end:.0f}" for end in (low, high)))
        axes.text(high, place, " " + " to ".join(ends), fontsize=8, va="center")
    axes.axvline(1, color="black", lw=1)
    axes.set_yticks(range(len(times)), list(times), fontsize=8)
    axes.set_xscale("log")
    axes.set_xlim(0.7, 400)
    axes.set_xticks([1, 10, 100], ["1", "10", "100"])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.invert_yaxis()
    axes.set_title("times as long as our way takes\n(dark: at the least, light: at the most)", fontsize=9)


if __name__ == "__main__":
    main()
