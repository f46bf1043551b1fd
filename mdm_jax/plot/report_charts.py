"""Charts of the report: how training went, a model beside others, the plans of a budget beside each other."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator, StrMethodFormatter

from mdm_jax.plot.charts import NOTHING, bars, lines_of_families
from mdm_jax.plot.drawing import WIDTH, label, light, small, styled, wide
from mdm_jax.plot.values import Sizes
from mdm_jax.support.text import shortened


def role_colour(role: str) -> str:
    """The name in :data:`~mdm_jax.plot.drawing.COLOURS` of a role ("optimal", "best beta", "best hand-crafted")."""
    return {"optimal": "optimal", "best beta": "beta", "best hand-crafted": "hand"}.get(role, "family-1")


_NAME_HEIGHT = 11.0
"""Points from one line's name to the next."""


@styled()
def loss_curve(log: Sequence[Mapping[str, Any]], baselines: Sequence[tuple[str, float]] = ()) -> Axes:
    """Bits per token against the training step: training data, and held-out data with a band of one standard error.

    Args:
        log: the lines of ``log.jsonl``.
        baselines: names and bits per token of other models, as levels to compare with.
    """
    axes = wide(2.9)
    step, train, held, error = (
        np.array([line[name] for line in log], dtype=np.float64)
        for name in ("step", "train_bits_per_token", "held_out_bits_per_token", "held_out_standard_error")
    )
    marker = "o" if len(step) == 1 else ""
    axes.plot(step, train, color=light("muted"), linewidth=1.0, marker=marker, label="training data")
    axes.fill_between(step, held - error, held + error, color=light("optimal"), alpha=0.25, linewidth=0)
    axes.plot(step, held, color=light("optimal"), linewidth=1.8, marker=marker, label="held-out data (± 1 s.e.)")
    low, high = axes.get_ylim()
    last = np.inf
    for name, level in sorted(baselines, key=lambda pair: -pair[1]):
        if low < level < high and last - level > 0.06 * (high - low):  # a label must not run into the one above
            axes.axhline(level, color=light("muted"), linewidth=0.6, dashes=(2, 2), zorder=1)
            axes.annotate(
                label(name), (1.0, level), (3, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                ha="left", va="center", fontsize=7, color=light("muted"),
            )  # fmt: skip
            last = level
    axes.set(xlabel="training step", ylabel="bits per token", xlim=(0, max(step.max(), 1)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.legend(loc="upper center", ncols=2, bbox_to_anchor=(0.5, 1.14))
    return axes


@styled()
def monitor(log: Sequence[Mapping[str, Any]], name: str) -> Axes:
    """One figure of the log against the training step, from 0 up.

    Args:
        log: the lines of ``log.jsonl``.
        name: the figure's, in every line.
    """
    axes = small(1.7)
    step, value = (np.array([line[key] for line in log], dtype=np.float64) for key in ("step", name))
    axes.plot(step, value, color=light("optimal"), linewidth=1.5, marker="o" if len(step) == 1 else "")
    finite = value[np.isfinite(value)]
    axes.set(xlabel="training step", xlim=(0, max(step.max(), 1)))
    axes.set_ylim(min(finite.min(initial=0.0), 0.0), 1.08 * max(finite.max(initial=0.0), 1e-3))
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    return axes


@styled()
def plan_curves(plans: Sequence[tuple[str, Sizes]]) -> Axes:
    """Revealed fraction after every step against the fraction of steps done, one line for each (role, plan)."""
    axes = small(2.3)
    axes.plot([0, 1], [0, 1], color=light("line"), linewidth=0.8)
    for rank, (role, plan) in enumerate(plans):
        fraction = plan.knots / plan.length
        dots = "o" if plan.steps <= 16 else ""
        axes.plot(
            np.linspace(0, 1, plan.steps + 1), fraction, color=light(role_colour(role)), marker=dots, markersize=2.4,
            linewidth=2.0 if role == "optimal" else 1.3, zorder=5 - 0.1 * rank,
        )  # fmt: skip
    ticks = [0, 0.5, 1]
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=ticks, yticks=ticks, aspect="equal")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set(xlabel="fraction of steps done", ylabel="fraction revealed")
    return axes


@styled()
def plan_sizes(plans: Sequence[tuple[str, Sizes]]) -> Figure:
    """Tokens revealed at every step as bars, one row of bars for each (role, plan), all on the same scale."""
    figure = Figure(figsize=(WIDTH / 2, 0.45 + 0.72 * len(plans)), layout="constrained")
    rows = figure.subplots(len(plans), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    most = max(int(plan.sizes.max()) for _, plan in plans)
    for axes, (role, plan) in zip(rows, plans):
        bars(axes, plan.sizes, light(role_colour(role)))
        axes.set(ylim=(0, 1.05 * most))
        axes.spines["left"].set_visible(False)
        axes.grid(axis="y")
        axes.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    longest = max(plan.steps for _, plan in plans)
    rows[0].set_xlim(0.4, longest + 0.6)
    rows[-1].set_xlabel("step")
    figure.supylabel("tokens revealed", fontsize=8, color=light("muted"))
    return figure


@styled()
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
    for place, (who, value, spread, colour) in enumerate(bars):
        weight = "bold" if colour == "optimal" else "normal"
        axes.barh(place, value, height=0.62, color=light(colour), alpha=1.0 if colour == "optimal" else 0.45)
        if spread:
            axes.errorbar(value, place, xerr=spread, color=light("ink"), elinewidth=1.0, capsize=2)
        beyond = (value + spread, place)
        axes.annotate(f"{value:.2f}", beyond, (5, 0), textcoords="offset points", va="center", fontweight=weight)
        axes.annotate(
            label(who),
            (0, place),
            (-5, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontweight=weight,
        )
    axes.set(xlim=(0, 1.12 * max(value + spread for _, value, spread, _ in bars)), yticks=[], xlabel="bits per token")
    axes.spines["left"].set_visible(False)
    return figure


@styled()
def above_optimal(tuning: Mapping[str, Any]) -> Axes:
    """What each family of schedules costs above the optimal plan of as many steps, named at its line.

    Steps are on a logarithmic axis. So are costs, but for the smallest: below about a hundredth of the greatest the
    axis is linear, down to 0, where the optimal plans lie. What lies beyond half the length, where most steps reveal
    one token, is left out if anything lies before it. What sequences judged of the optimal plan's rivals ("advantages")
    are points with their intervals.

    Args:
        tuning: the content of ``tuning.json``.
    """
    axes = wide(3.4)
    steps, above = np.asarray(tuning["steps"]), over_optimal(tuning)
    shown = 2 * steps <= tuning["length"] if 2 * steps[0] <= tuning["length"] else np.ones(len(steps), bool)
    steps, above = steps[shown], {family: bits[shown] for family, bits in above.items()}
    lines_of_families(axes, steps, above)
    for line in axes.lines:
        line.set(marker="o" if len(steps) == 1 else "", markersize=3, clip_on=False)
    colours = {str(line.get_label()): line.get_color() for line in axes.lines}
    judged = [one for one in tuning.get("advantages") or [] if one["steps"] <= steps[-1]]
    ends = [one[end] / (tuning["length"] * np.log(2)) for one in judged for end in ("low", "high")]
    most = max([float(costs.max()) for costs in above.values()] + ends)
    _scale_of_costs(axes, most, min([0.0, *ends]))
    axes.set_ylabel("above the optimal plan, bits per token")
    _name_lines(axes, list(above.values()), steps)
    _judged_points(axes, judged, 1 / (tuning["length"] * np.log(2)), colours)
    return axes


def _judged_points(axes: Axes, judged: Sequence[Mapping[str, Any]], scale: float, colours: Mapping[str, Any]) -> None:
    """What rivals cost above the optimal plan as sequences judged it, those of one budget beside each other."""
    for one in judged:
        beta = one["role"] == "best beta"
        nats, low, high = (one[name] * scale for name in ("nats", "low", "high"))
        colour = colours.get("best beta" if beta else one["over"], light("hand"))
        axes.errorbar(
            one["steps"] * (0.975 if beta else 1.025), nats, yerr=[[nats - low], [high - nats]], color=colour,
            fmt="o", markersize=3.5, elinewidth=1.1, capsize=2, zorder=6, clip_on=False,
        )  # fmt: skip


def over_optimal(tuning: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """What each family costs above the least of all at the same number of steps, bits per token; rounding is 0."""
    costs = {family: np.asarray(nats, np.float64) for family, nats in tuning["families"].items()}
    least = np.min(list(costs.values()), axis=0)
    above = {family: (nats - least) / (tuning["length"] * np.log(2)) for family, nats in costs.items()}
    return {family: np.where(bits > NOTHING, bits, 0.0) for family, bits in above.items()}


def _scale_of_costs(axes: Axes, most: float, least: float = 0.0) -> None:
    """From ``least``, at most 0, to ``most``: linear at first, then logarithmic. If nothing costs anything, linear."""
    axes.grid(axis="y")
    if most <= 0.0:
        axes.set_ylim(-0.1, 1.0)
        axes.yaxis.set(major_locator=FixedLocator([0.0]), minor_locator=NullLocator())
        return
    linear = 10.0 ** math.floor(math.log10(most / 100))
    axes.set_yscale("symlog", linthresh=linear, linscale=0.5)
    axes.set_ylim(min(-0.12 * linear, 1.15 * least), 1.15 * most)
    powers = [10.0**i for i in range(-12, 6) if linear <= 10.0**i]
    marks = [*(-power for power in powers if power <= -least), *(power for power in powers if power <= most)]
    axes.yaxis.set(major_locator=FixedLocator([0.0, *marks]), minor_locator=NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _name_lines(axes: Axes, values: Sequence[np.ndarray], steps: np.ndarray) -> None:
    """Each line's name at the right of it, kept apart from the others' and tied to the line by a thin one."""
    to_axes = axes.transScale + axes.transLimits
    ends = [to_axes.transform((steps[-1], costs[-1])) for costs in values]
    places = _apart([float(y) for _, y in ends], _NAME_HEIGHT * axes.figure.dpi / (72 * axes.bbox.height))
    for line, (x, y), place in zip(axes.lines[: len(values)], ends, places):
        axes.annotate(
            shortened(str(line.get_label()), 20), (x, y), (1.03, place), xycoords="axes fraction",
            textcoords="axes fraction", va="center", fontsize=7.5, color=line.get_color(), annotation_clip=False,
            arrowprops={"arrowstyle": "-", "linewidth": 0.5, "color": line.get_color(), "shrinkA": 1, "shrinkB": 0,
                        "alpha": 0.6},
        )  # fmt: skip


def _apart(wanted: Sequence[float], gap: float) -> list[float]:
    """Places as near to ``wanted`` as can be in which neighbours are ``gap`` apart, in the same order."""
    order = np.argsort(wanted, kind="stable")
    # Of rising numbers the nearest ones are the means of groups that would overlap (pooled adjacent violators).
    groups: list[tuple[float, int]] = []
    for rank, i in enumerate(order):
        mean, size = wanted[i] - rank * gap, 1
        while groups and groups[-1][0] >= mean:
            before, count = groups.pop()
            mean, size = (before * count + mean * size) / (count + size), count + size
        groups.append((mean, size))
    flat = np.repeat([mean for mean, _ in groups], [size for _, size in groups]) + gap * np.arange(len(wanted))
    placed = np.empty(len(wanted))
    placed[order] = flat
    return placed.tolist()
