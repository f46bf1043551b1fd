"""What training takes on 1 to 256 devices, for models of 10 million to 8 billion parameters.

Square meshes (data x model = 1 x 1 to 16 x 16), AdamW, one sequence for every share of rows. Bytes of the state are
counted from the sharding rules and compared with what the compiler reserves for the step's arguments; activations and
messages are the CPU compiler's for 2 and 4 blocks, continued in a straight line to the model's depth; for the largest
model on the largest mesh the whole step is compiled as well, to see what the straight line is worth.
"""

import math
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from mdm_jax.app.work.footprint_texts import size
from mdm_jax.footprint import SIZES, Footprint, compiled, extrapolated, footprint, named
from mdm_jax.models import transformer
from mdm_jax.training import Settings

CLAIM = Claim(
    "the compiler reserves exactly as many bytes for the state as the sharding rules say, in every case, and a "
    "straight line through 2 and 4 blocks meets its temporaries for 32 within 1%",
    source="ours",
    minutes=10,
    seeds=(),
)
DEVICES = (1, 4, 16, 64, 256)
LIMIT = 600.0
TOLERANCE = 0.01
UNITS = {"MiB": 2**20, "GiB": 2**30}
COLORS = ("#1d6fb8", "#15803d", "#c2410c", "#7e22ce")


def of(name: str, devices: int, compile_it: bool) -> Footprint:
    """One model on a square mesh."""
    side = math.isqrt(devices)
    model = named(name)
    settings = Settings(batch=side, length=SIZES[name]["length"], optimizer="adamw")
    found = footprint(model, settings, {"data": side, "model": side})
    return extrapolated(model, found, LIMIT) if compile_it else found


def row(name: str, found: Footprint) -> dict[str, Any]:
    """What the table shows of it."""
    asked = found.compiled
    return {
        "model": name,
        "parameters": found.parameters,
        "devices": found.devices,
        "state_bytes": found.state_bytes,
        "gradient_bytes": found.gradients,
        "tokens": found.tokens,
        "flops": found.flops.total,
        "temporaries": asked and asked.temporaries,
        "xla_state_bytes": asked and asked.arguments - asked.data,
        "messages": asked and {one.kind: [one.count, one.bytes] for one in asked.collectives},
        "seconds": asked and asked.seconds,
    }


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table."""
    lines = [
        "| model | devices | state per device | during a step, for CPU | operations per device "
        "| messages per step, for CPU |",
        "|---|---|---|---|---|---|",
    ]
    for one in rows:
        messages = one["messages"]
        said = "; ".join(f"{count:,} {kind}, {size(total)}" for kind, (count, total) in (messages or {}).items())
        live = "not asked" if one["temporaries"] is None else size(one["temporaries"])
        lines.append(
            f"| {one['model']} | {one['devices']} | {size(one['state_bytes'])} | {live} | "
            f"{one['flops'] / one['devices']:.2e} | {'not asked' if messages is None else said or 'none'} |"
        )
    return "\n".join(lines) + "\n"


def run(experiment: Experiment) -> Run:
    """Every size on every mesh; in a quick run they are only counted, on one, and a tiny step is compiled."""
    rows = []
    for name in SIZES:
        for devices in DEVICES[-1:] if experiment.quick else DEVICES:
            case = (name, devices, not experiment.quick)
            rows.append(experiment.part(f"{name} on {devices}", lambda case=case: row(case[0], of(*case))))
            print({key: value for key, value in rows[-1].items() if value is not None}, flush=True)
    if experiment.quick:
        rows.append(of_the_smallest())
    exact = all(one["state_bytes"] == one["xla_state_bytes"] for one in rows if one["xla_state_bytes"] is not None)
    whole = None
    if not experiment.quick:
        whole = experiment.part("the whole step of the largest", of_the_largest)
        whole["straight_line"] = rows[-1]["temporaries"]
        print("the whole 8B step: {temporaries:,} bytes, {straight_line:,} by straight line".format(**whole))
    print(markdown(rows))
    return Run({"rows": rows, "state_is_exact": exact, "whole": whole}, picture(rows))


def of_the_smallest() -> dict[str, Any]:
    """A model for quick runs, compiled for four devices."""
    model, settings = transformer(64, length=16, width=32, depth=1, heads=2), Settings(batch=2, length=16)
    return row("tiny", compiled(model, footprint(model, settings, {"data": 2, "model": 2}), LIMIT))


def of_the_largest() -> dict[str, Any]:
    """The largest model on the largest mesh, every block compiled."""
    largest = compiled(named("llada-8b"), of("llada-8b", DEVICES[-1], False), LIMIT).compiled
    if largest is None:
        raise RuntimeError(f"the compiler was not done after {LIMIT:g} s")
    return {"temporaries": largest.temporaries, "seconds": largest.seconds}


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """Every byte of every state; the straight line at its farthest."""
    rows, whole, exact = results["rows"], results["whole"], results["state_is_exact"]
    asked = [one for one in rows if one["xla_state_bytes"] is not None]
    off = whole and abs(whole["straight_line"] / whole["temporaries"] - 1)
    close = off is not None and off <= TOLERANCE
    same = sum(one["state_bytes"] == one["xla_state_bytes"] for one in asked)
    figures = {"cases compiled": len(asked), "cases with the state exact": same}
    for one in rows:
        name = f"{one['model']} on {one['devices']}"
        figures |= {f"state, {unit} per device, {name}": one["state_bytes"] / size for unit, size in UNITS.items()}
        if one["temporaries"] is not None:
            figures |= {f"step, {unit} per device, {name}": one["temporaries"] / size for unit, size in UNITS.items()}
    if off is not None:
        figures["straight line off, for 32 blocks"] = off
    line = "" if off is None else f"; the straight line for 32 blocks is off by {off:.2%}"
    return Conclusion(
        "holds" if exact and close else "partly" if exact or close else "does not",
        f"the state is the compiler's to the byte in {same} of {len(asked)} cases{line}",
        figures,
        f"{len(rows)} models on meshes, {len(asked)} of them compiled",
    )


def picture(rows: list[dict[str, Any]]) -> Figure:
    """Bytes per device against devices: what stays, and what a step needs on top."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for name, color in zip(SIZES, COLORS):
        mine = [one for one in rows if one["model"] == name]
        left.plot([m["devices"] for m in mine], [m["state_bytes"] / 2**30 for m in mine], "o-", color=color, label=name)
        asked = [m for m in mine if m["temporaries"] is not None]
        right.plot([m["devices"] for m in asked], [m["temporaries"] / 2**30 for m in asked], "o-", color=color)
    left.legend(fontsize=8, frameon=False)
    left.set(title="state, exact", ylabel="GiB per device")
    right.set(title="during a step, XLA's estimate for CPU")
    for axes in (left, right):
        axes.set(xscale="log", yscale="log", xticks=DEVICES, xlabel="devices (square mesh)")
        axes.set_xticklabels([str(n) for n in DEVICES])
        axes.minorticks_off()
        axes.title.set_fontsize(9)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
