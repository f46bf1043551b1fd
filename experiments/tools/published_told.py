"""What is said and drawn of a published model that :mod:`experiments.tools.published_models` has asked."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.tools.experiment import Conclusion, Verdict

EIGHT = 8
AT_MOST = 0.02
"""By how many bits per token 8 optimal steps may cost more than 16 equal ones, the upper end of the interval."""
LEAST_GAIN = 0.05
"""What temperatures are to save, bits per token."""
_COLOURS = {"optimal": "#1d6fb8", "uniform": "#6b7280", "cosine": "#c2410c", "beta": "#2f855a"}
_ORDERS = {"largest probability": ("#7c3aed", "s"), "margin": ("#db2777", "^"), "threshold": ("#ca8a04", "D")}


def concluded(results: Mapping[str, Any], token: str, sample_size: str, more: Mapping[str, Any]) -> Conclusion:
    """The verdict on the three parts of the claim that both published models share.

    Args:
        results: of ``answers``.
        token: what a token is called.
        sample_size: what was counted, in words.
        more: figures besides.
    """
    kept = {name: bool(value) for name, value in parts(results).items()}
    verdict: Verdict = "holds" if all(kept.values()) else "partly" if any(kept.values()) else "does not"
    eight = next((one for one in results["compared"] if one["steps"] == EIGHT), results["compared"][0])
    gain, order = results["temperatures"]["gain"], order_at(results, eight["steps"])
    against = (
        ""
        if eight["uniform twice less"] is None
        else f", {_signed(eight['uniform twice less'])} less than twice as many"
    )
    by_order = "" if order is None else (
        f"; the order by largest probability with equal sizes costs {_signed(order['random less'])} less than random "
        "order with optimal ones"
    )  # fmt: skip
    return Conclusion(
        verdict,
        f"bits per {token} on held-out rows: {eight['steps']} optimal steps cost {_plain(eight['optimal'])}, "
        f"{_signed(eight['uniform less'])} less than {eight['steps']} equal ones{against}, and are worth "
        f"{eight['uniform steps as good'][0]:.1f} equal ones; temperatures save {_plain(gain)}{by_order}",
        figures(results) | dict(more),
        sample_size,
    )


def parts(results: Mapping[str, Any]) -> dict[str, bool]:
    """Which parts of the claim hold."""
    eight = next((one for one in results["compared"] if one["steps"] == EIGHT), None)
    twice = None if eight is None else eight["uniform twice less"]
    gain, order = results["temperatures"]["gain"], order_at(results, EIGHT)
    return {
        "8 optimal steps as good as 16 equal ones": twice is not None and twice[1] >= -AT_MOST,
        "temperatures": gain[1] > 0 and gain[0] >= LEAST_GAIN,
        "order": order is not None and order["random less"][1] > 0,
    }


def order_at(results: Mapping[str, Any], steps: int) -> Mapping[str, Any] | None:
    """The order by largest probability in so many equal steps, where it gives every row a probability."""
    setting = f"{steps} equal steps"
    found = (one for one in results["orders"] if (one["order"], one["setting"]) == ("largest probability", setting))
    return next((one for one in found if one["random less"] is not None), None)


def figures(results: Mapping[str, Any]) -> dict[str, Any]:
    """All that pages may quote; bits per token."""
    told: dict[str, Any] = {"temperatures save": results["temperatures"]["gain"]}
    at, temperatures = results["temperatures"], results["temperatures"]["temperatures"]
    told |= {"all masked, before": at["before"][-1], "all masked, after": at["after"][-1]}
    told |= {"all masked, temperature": temperatures[-1]}
    bits, counts = results["profile"]["bits"], results["profile"]["counts"]
    told |= {"profile at the start": bits[0], "profile at the end": bits[-1]}
    told["profile in the middle"] = float(np.interp(results["length"] / 2, counts, bits))
    for one in results["compared"]:
        k = one["steps"]
        for name in ("optimal", "uniform", "cosine", "beta"):
            told[f"{k} steps, {name}"] = one[name]
        for name in ("uniform", "cosine", "beta"):
            told[f"{k} steps, {name} less optimal"] = one[f"{name} less"]
        told[f"{k} optimal steps, predicted"] = one["predicted"]
        told[f"{k} optimal steps, equal steps as good"] = one["uniform steps as good"]
        if one["uniform twice less"] is not None:
            told[f"{2 * k} equal steps less {k} optimal"] = one["uniform twice less"]
    for k, less in results["raw less"].items():
        told[f"{k} optimal steps, saved by temperatures"] = less
    for one in results["orders"]:
        if one["cost"] is not None:
            name = f"{one['order']}, {one['setting']}"
            told |= {name: one["cost"], f"{name}: passes": one["passes"], f"{name}: random less": one["random less"]}
    return told


def picture(results: Mapping[str, Any], token: str) -> Figure:
    """The profile, what plans and orders cost by their steps, and the temperatures."""
    figure = Figure(figsize=(10.5, 3.1), layout="constrained")
    bend, cost, warm = figure.subplots(1, 3, width_ratios=(1, 1.5, 1))
    profile = results["profile"]
    bend.errorbar(
        profile["counts"], profile["bits"], profile["errors"], color=_COLOURS["optimal"], lw=1, elinewidth=0.6
    )
    bend.set_xlabel(f"{token}s revealed, of {results['length']}", fontsize=8)
    bend.set_ylabel(f"bits per hidden {token}", fontsize=8)
    for name, values in results["curves"].items():
        cost.plot(np.arange(1, len(values) + 1), values, color=_COLOURS[name], lw=1.2, label=f"random order, {name}")
    for name in ("cosine", "beta"):
        ends = np.array([one[name] for one in results["compared"]])
        steps = [one["steps"] for one in results["compared"]]
        cost.plot(steps, ends[:, 0], ".", color=_COLOURS[name], label=f"random order, {name}")
    for order, (colour, marker) in _ORDERS.items():
        found = [one for one in results["orders"] if one["order"] == order and one["cost"] is not None]
        passes, ends = [one["passes"] for one in found], [one["cost"][0] for one in found]
        cost.plot(passes, ends, marker, color=colour, markersize=4, label=f"by {order}")
    cost.set_xscale("log", base=2)
    cost.set_xlim(left=2)
    shown = [one["optimal"][0] for one in results["compared"]] + [one["cosine"][0] for one in results["compared"]]
    cost.set_ylim(top=1.25 * max(shown))
    cost.set_xlabel("passes of the model", fontsize=8)
    cost.set_ylabel(f"bits per {token}, held-out rows", fontsize=8)
    cost.legend(fontsize=6, frameon=False)
    at = results["temperatures"]
    for name, style in (("before", "--"), ("after", "-")):
        warm.plot(at["fractions"], at[name], style, color=_COLOURS["optimal"], lw=1, label=f"loss {name}, bits")
    warm.plot(at["fractions"], at["temperatures"], color=_COLOURS["cosine"], lw=1, label="temperature")
    warm.set_xlabel("masked", fontsize=8)
    warm.legend(fontsize=6, frameon=False)
    for axes in (bend, cost, warm):
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _signed(interval: Any) -> str:
    return "{:+.3f} ({:+.3f} to {:+.3f})".format(*interval)


def _plain(interval: Any) -> str:
    return "{:.3f} ({:.3f} to {:.3f})".format(*interval)
