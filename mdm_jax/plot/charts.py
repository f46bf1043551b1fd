"""Charts of one profile, one plan, one tuning; each function draws on given axes, or on new ones, and returns them."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from mdm_jax.plot.drawing import label, light, new_axes, styled
from mdm_jax.plot.values import Compared, Curve, Fractions, Sizes
from mdm_jax.support.errors import require, verbatim

MOST_POINTS = 2048
"""Of a curve: more are thinned."""
MOST_MARKS = 256
"""Counts of a profile that are marked."""
MOST_BARS = 256
"""Steps up to which each has a bar."""
LONGEST = 2**16
"""Of a profile that is drawn between its counts as well."""
NOTHING = 1e-6
"""Bits per token above the least cost that are taken for rounding."""


@styled()
def profile(profile: Curve, plan: Sizes | None = None, *, axes: Axes | None = None) -> Axes:
    """The information profile g(i) with error bars of one standard error, nats per token.

    Args:
        profile: what ``estimate_profile``, ``profiles.load`` or ``profiles.from_values`` returned.
        plan: a plan of its length, whose cost is shown as the area of a staircase over the curve.
        axes: where to draw; a new figure if left out.

    Raises:
        InputError: no profile, or a plan of another length.

    Example:
        >>> import mdm_jax as mdm
        >>> profile = mdm.profiles.from_values(mdm.oracles.polya(16, 0.5).entropies())
        >>> axes = mdm.plot.profile(profile, mdm.plans.optimal(profile, 4))
        >>> axes.figure.savefig("profile.png")
        >>> [text.get_text() for text in axes.get_legend().get_texts()]
        ['g(i), exact', 'cost of the 4-step optimal plan (area)']
    """
    _require_profile(profile)
    if plan is not None:
        _require_plan(plan, "a plan, or left out")
    _check_length(profile, plan)
    axes = new_axes(3.0) if axes is None else axes
    tokens, values = _curve(profile)
    if plan is not None:
        knots = plan.knots
        tops = profile.values[knots[:-1]]
        area = axes.stairs(
            tops, knots, fill=True, color=light("beta"), alpha=0.16, linewidth=0,
            label=f"cost of the {plan.steps}-step {label(plan.name)} plan (area)",
        )  # fmt: skip
        area.set_edgecolor("none")
        if plan.steps <= MOST_POINTS:
            axes.vlines(knots[:-1], 0, tops, color=light("beta"), linewidth=0.6, alpha=0.5)
    axes.plot(tokens, values, color=light("optimal"), linewidth=1.4)
    shown, errors = thinned(len(profile.counts), MOST_MARKS), profile.standard_errors
    marks: Any = {"fmt": "o", "markersize": 2.6, "linewidth": 0, "color": light("optimal")}
    if errors.any():
        marks |= {"yerr": errors[shown], "elinewidth": 0.9, "capsize": 1.6, "capthick": 0.9}
    known = "measured (± 1 s.e.)" if errors.any() else "exact"
    axes.errorbar(profile.counts[shown], profile.means[shown], **marks, label=f"g(i), {known}")
    axes.set(xlabel="i: tokens already revealed", ylabel="g(i), nats per token")
    axes.set(xlim=(-0.012 * profile.length, 1.012 * profile.length), ylim=(0, None))
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="lower left", bbox_to_anchor=(0.0, 1.0))
    return axes


@styled()
def plan(plan: Sizes | Fractions, profile: Curve | None = None, *, axes: Axes | None = None) -> Axes:
    """How much a plan reveals at every step, as bars; and, with a profile, what each step costs.

    Args:
        plan: a plan; or a grid, of which the bars are expected shares of the tokens.
        profile: of the plan's length: a line shows, on an axis at the right, the nats that are lost at each step by
            revealing its tokens together instead of one by one, ``sum_i g(N_{k-1}) - g(i)`` over its tokens.
        axes: where to draw; a new figure if left out.

    Raises:
        InputError: no plan, a profile of another length, or a profile beside a grid.

    Example:
        >>> import mdm_jax as mdm
        >>> profile = mdm.profiles.from_values(mdm.oracles.polya(16, 0.5).entropies())
        >>> axes = mdm.plot.plan(mdm.plans.optimal(profile, 4), profile)
        >>> [float(bar.get_height()) for bar in axes.patches]  # its sizes
        [1.0, 2.0, 4.0, 9.0]
    """
    if profile is not None:
        _require_profile(profile)
    if isinstance(plan, Fractions):
        require(profile is None, "profile", verbatim("one"), "left out: the sizes of a grid are random")
        heights, lost, what = np.diff(plan.fractions), None, "share of the tokens"
    else:
        _require_plan(plan, "a plan or a grid, as mdm.plans and mdm.grids make them")
        heights, lost, what = plan.sizes, _lost(plan, profile), "tokens revealed"
    axes = new_axes(2.4) if axes is None else axes
    bars(axes, heights, light("optimal"))
    axes.set(xlabel=f"step ({label(plan.name)})", ylabel=what)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=heights.dtype.kind == "i"))
    if lost is not None:
        right, shown = axes.twinx(), thinned(len(lost))
        dots = {"marker": "o", "markersize": 2.6} if len(lost) <= 64 else {}
        right.plot(shown + 1, lost[shown], color=light("beta"), linewidth=1.0, **dots)
        right.set_ylabel("nats lost", color=light("beta"))
        right.spines["right"].set_visible(True)
        right.set_ylim(min(0.0, float(lost.min())), 1.1 * max(float(lost.max()), 1e-9))
    return axes


@styled()
def excess(tuned: Compared | Mapping[str, Any], *, axes: Axes | None = None) -> Axes:
    """What each family of schedules costs above the least possible, against the number of steps; both logarithmic.

    Where no family costs more than the least, all are drawn at zero on a linear axis.

    Args:
        tuned: what ``tune`` returned, or the content of ``tuning.json``.
        axes: where to draw; a new figure if left out.

    Raises:
        InputError: something else.

    Example:
        >>> import mdm_jax as mdm
        >>> profile = mdm.profiles.from_values(mdm.oracles.polya(16, 0.5).entropies())
        >>> axes = mdm.plot.excess(mdm.tune(profile, [2, 4], grid=8))
        >>> [line.get_label() for line in axes.lines]
        ['optimal', 'best beta', 'linear', 'sine', 'sine_squared', 'maskgit', 'polynomial:2']
    """
    tuning = _tuning(tuned)
    axes = new_axes(3.4) if axes is None else axes
    scale = 1 / (tuning["length"] * np.log(2))
    logarithmic = not costs_nothing(tuning)
    above = {
        name: (np.asarray(nats, np.float64) - least_cost(tuning)) * scale for name, nats in tuning["families"].items()
    }
    nothing = np.nan if logarithmic else 0.0  # the optimum ends at zero, which no logarithm shows
    steps = np.asarray(tuning["steps"])
    lines_of_families(axes, steps, {name: np.where(bits > NOTHING, bits, nothing) for name, bits in above.items()})
    axes.set_yscale("log" if logarithmic else "linear")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(axis="y")
    axes.set_ylabel("above the least cost, bits per token")
    axes.legend(loc="lower left")
    return axes


def lines_of_families(axes: Axes, steps: np.ndarray, bits: Mapping[str, np.ndarray]) -> None:
    """A line for each family of schedules against the number of steps, on a logarithmic axis."""
    styles = {"optimal": ("optimal", "-", 2.6, 5), "best beta": ("beta", "-", 1.5, 4)}
    dashes = ("--", "-.", ":", (0, (5, 1, 1, 1)), (0, (1.5, 1)))
    others = itertools.cycle([(f"family-{i}", dash, 1.2, 3) for i, dash in enumerate(dashes, 1)])
    for family, costs in bits.items():
        colour, dash, width, order = styles.get(family) or next(others)
        axes.plot(steps, costs, color=light(colour), linestyle=dash, linewidth=width, zorder=order, label=label(family))
    axes.set_xscale("log")
    ticks = [2**i for i in range(20) if steps.min() <= 2**i <= steps.max()]
    axes.xaxis.set(major_locator=FixedLocator(ticks or [int(steps[0])]), minor_locator=NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.set_xlabel("K: steps, that is model calls (nfe)")


def _tuning(tuned: Compared | Mapping[str, Any]) -> Mapping[str, Any]:
    """The content of ``tuning.json``."""
    tuning = tuned if isinstance(tuned, Mapping) else tuned.result if isinstance(tuned, Compared) else {}
    wanted = "what tune returned, or the content of tuning.json"
    require({"length", "steps", "families", "nelbo_nats"} <= set(tuning), "tuned", tuned, wanted)
    return tuning


def least_cost(tuning: Mapping[str, Any]) -> float:
    """The smallest expected NELBO of any plan, nats per sequence: one token per step, unless the profile rises."""
    return min(tuning["nelbo_nats"], *(min(nats) for nats in tuning["families"].values()))


def costs_nothing(tuning: Mapping[str, Any]) -> bool:
    """Whether every family costs the least possible at every number of steps, as under a flat profile."""
    most = max(max(nats) for nats in tuning["families"].values())
    return bool((most - least_cost(tuning)) / (tuning["length"] * np.log(2)) <= NOTHING)


def _lost(plan: Sizes, profile: Curve | None) -> np.ndarray | None:
    """What each step costs above its tokens one by one, nats."""
    if profile is None:
        return None
    _check_length(profile, plan)
    before = plan.knots[:-1]
    return plan.sizes * profile.values[before] - np.add.reduceat(profile.values, before)


def _require_profile(profile: Any) -> None:
    require(isinstance(profile, Curve), "profile", profile, "a profile, as mdm.estimate_profile returns it")


def _require_plan(plan: Any, wanted: str) -> None:
    require(isinstance(plan, Sizes), "plan", plan, wanted)


def _check_length(profile: Curve, plan: Sizes | None) -> None:
    if plan is not None:
        require(
            plan.length == profile.length,
            "plan",
            verbatim(f"one of {plan.length} tokens"),
            f"of the profile's length, {profile.length}",
        )


def _curve(profile: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Counts, and ``g`` there: all of them, or as many as a picture shows."""
    if profile.length > LONGEST:  # what lies between is not even computed
        shown = thinned(len(profile.counts))
        return profile.counts[shown], profile.means[shown]
    shown = thinned(profile.length)
    return shown, profile.values[shown]


def thinned(count: int, most: int = MOST_POINTS) -> Int[np.ndarray, " shown"]:
    """Which of so many points to draw: all, or ``most`` of them from the first to the last."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def bars(axes: Axes, heights: np.ndarray, colour: str) -> None:
    """A bar for each step; of very many a filled outline, each point the mean of neighbours."""
    steps = len(heights)
    if steps <= MOST_BARS:
        axes.bar(np.arange(1, steps + 1), heights, width=0.82, color=colour, linewidth=0)
    else:
        edges = np.unique(np.linspace(0, steps, MOST_POINTS + 1).round().astype(np.int64))
        axes.stairs(np.add.reduceat(heights, edges[:-1]) / np.diff(edges), edges + 0.5, fill=True, color=colour)
    axes.set(xlim=(0.4, steps + 0.6), ylim=(0, 1.05 * float(heights.max())))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
