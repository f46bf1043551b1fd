"""Two toy targets, two different best schedules: tuning by the exact law of the sampler's output.

This is what the paper's Figure 4 is about (arXiv 2509.13866, appendix E.6; we have its text, not its image): five
tokens of two kinds, three steps of ancestral sampling with the exact denoiser. The paper shows histograms of samples;
here the output law is exact, so distances have no noise and schedules can be tuned by them. Target L is ``aaaaa`` or
``bbbbb``, target R the twenty sentences with two or three ``a``.

Distances are total variation. Beside ancestral grids, the best fixed sizes of at most three steps are shown, which the
paper does not consider.
"""

import itertools
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from mdm_jax import oracles, plot
from mdm_jax.evaluation import exact
from mdm_jax.theory.schedules import text as schedule_text

CLAIM = Claim(
    "tuned by the exact law, a Beta schedule of three steps comes nearer to each toy target than linear, sin^2 and "
    "sine do, and the two targets want different schedules",
    source="arXiv 2509.13866, Figure 4 and appendix E.6",
    minutes=0.1,
)
STEPS = 3
TARGETS = ("toy_left", "toy_right")
NAMED = ("linear", "sine_squared", "sine")
TENTHS = np.arange(1, 11) / 10
CLEAR, SAME = 1e-3, 1e-4
"""Bounds: by how much a distance must be smaller to count as better, and within which two count as one."""


def run(experiment: Experiment) -> Run:
    """The table for both targets, each target's best schedule on the other one, the picture."""
    points, starts = (64, 4) if experiment.quick else (256, 32)
    worlds: dict[str, tuple[jax.Array, np.ndarray]] = {}
    rows: dict[str, dict[str, Any]] = {}
    searches: dict[str, exact.BetaByLaw] = {}
    for name in TARGETS:
        oracle = oracles.from_spec(name)
        logits = exact.conditionals(oracle.denoiser, oracle.params, oracle.length)
        target = np.asarray(oracles.tabulate(oracle).probabilities)
        worlds[name] = logits, target
        rows[name], searches[name] = tune(logits, target, points, starts)
    for name, other in zip(TARGETS, reversed(TARGETS)):
        rows[name]["best_of_the_other"] = exact.law_divergence(*worlds[name], searches[other].grid.fractions)
    table = {
        **{text: [rows[name]["named"][text] for name in TARGETS] for text in NAMED},
        "best of the 0.1 grid": [rows[name]["tenths"]["distance"] for name in TARGETS],
        f"best of the {points} x {points} grid": [rows[name]["grid"]["distance"] for name in TARGETS],
        "... refined by gradients": [rows[name]["refined"]["distance"] for name in TARGETS],
        "free fractions": [rows[name]["free"]["distance"] for name in TARGETS],
        "the other target's best": [rows[name]["best_of_the_other"] for name in TARGETS],
        "best fixed sizes": [rows[name]["fixed_sizes"]["distance"] for name in TARGETS],
    }
    print(f"{'total variation, three steps':32}{'target L':>10}{'target R':>10}")
    for label, (left, right) in table.items():
        print(f"{label:32}{left:10.4f}{right:10.4f}")
    for name in TARGETS:
        row = rows[name]
        fractions = ", ".join(f"{x:.3f}" for x in row["free"]["fractions"][1:-1])
        print(
            f"{name}: 0.1 grid best at {row['tenths']['at']}, refined Beta({row['refined']['a']:.3f}, "
            f"{row['refined']['b']:.3f}), free optimum at ({fractions}) from {row['free']['starts_within_1e-6']} of "
            f"{starts} starts, sizes {row['fixed_sizes']['sizes']}; {points**2} schedules in {row['seconds']:.1f} s"
        )
    return Run({"rows": rows}, picture(worlds, searches, rows))


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """Better than the named schedules on both targets, and not by the same schedule."""
    rows = results["rows"]
    beaten = [min(row["named"].values()) - row["refined"]["distance"] > CLEAR for row in rows.values()]
    specific = all(row["best_of_the_other"] - row["refined"]["distance"] > CLEAR for row in rows.values())
    figures: dict[str, Any] = {}
    for name, row in rows.items():
        figures |= {f"{name}, {schedule}": value for schedule, value in row["named"].items()}
        figures |= {f"{name}, {which}": row[which]["distance"] for which in ("tenths", "grid", "refined", "free")}
        figures |= {
            f"{name}, best fixed sizes": row["fixed_sizes"]["distance"],
            f"{name}, the other target's best": row["best_of_the_other"],
            f"{name}, a": row["refined"]["a"],
            f"{name}, b": row["refined"]["b"],
        }
    left, right = (
        f"{row['refined']['distance']:.3f} instead of {min(row['named'].values()):.3f}" for row in rows.values()
    )
    return Conclusion(
        "holds" if all(beaten) and specific else "partly" if any(beaten) else "does not",
        f"total variation of the tuned schedule and of the best named one: {left} (target L), {right} (target R); with "
        f"the other target's schedule {rows['toy_left']['best_of_the_other']:.3f} and "
        f"{rows['toy_right']['best_of_the_other']:.3f}",
        figures,
        "two targets of 32 sentences, laws computed exactly",
    )


def tune(logits: jax.Array, target: np.ndarray, points: int, starts: int) -> tuple[dict[str, Any], exact.BetaByLaw]:
    """Everything about one target; distances in total variation."""
    times = np.arange(STEPS + 1) / STEPS
    named = {text: exact.law_divergence(logits, target, schedule_text.parse(text).alpha(times)) for text in NAMED}
    coarse = exact.search_beta_by_law(logits, target, STEPS, grid=TENTHS)
    begun = time.perf_counter()
    fine = exact.search_beta_by_law(logits, target, STEPS, grid=points, progress=True)
    seconds = time.perf_counter() - begun
    free = exact.optimal_grid_by_law(logits, target, STEPS, starts=starts, key=jax.random.key(0), progress=True)
    length = target.ndim
    plans = [s for k in range(1, STEPS + 1) for s in itertools.product(range(1, length + 1), repeat=k)]
    by_sizes = {
        sizes: float(exact.total_variation(target, exact.random_order_law(logits, sizes)))
        for sizes in plans
        if sum(sizes) == length
    }
    sizes = min(by_sizes, key=lambda sizes: by_sizes[sizes])
    a, b, distance = fine.best_of_grid
    row = {
        "named": named,
        "tenths": {"at": list(coarse.best_of_grid[:2]), "distance": coarse.best_of_grid[2]},
        "grid": {"at": [a, b], "distance": distance, "points": points},
        "refined": {"a": fine.a, "b": fine.b, "distance": fine.value, "fractions": fine.grid.fractions.tolist()},
        "free": {
            "distance": free.value,
            "fractions": free.grid.fractions.tolist(),
            "starts": free.values.tolist(),
            "starts_within_1e-6": int(np.sum(free.values < free.value + 1e-6)),
        },
        "fixed_sizes": {"sizes": list(sizes), "distance": by_sizes[sizes]},
        "worst_of_grid": float(fine.landscape.max()),
        "seconds": seconds,
    }
    return row, fine


def picture(
    worlds: Mapping[str, tuple[jax.Array, np.ndarray]],
    searches: Mapping[str, exact.BetaByLaw],
    rows: Mapping[str, Mapping[str, Any]],
) -> Figure:
    """Above, the distance over (a, b) with the optimum; below, the laws that come out, sentences by number of a."""
    figure = Figure(figsize=(9.6, 6.4), layout="constrained")
    panels = figure.subplots(2, 2, height_ratios=[3, 2])
    for (name, search), (above, below), letter in zip(searches.items(), panels.T, "LR", strict=True):
        plot.landscape(search, axes=above).set_title(f"target {letter}")
        above.contour(
            search.values, search.values, search.landscape.T, levels=search.value + np.array([0.005, 0.02, 0.05, 0.1]),
            colors="#1d2730", linewidths=0.5,
        )  # fmt: skip
        at = rows[name]["tenths"]["at"]
        above.plot(*at, "*", ms=9, mfc="white", mec="#1d2730", mew=0.6, ls="", label="best of tenths")
        linear, _, best = above.texts  # the names of two points and the best one's cost; for R the first lies beside it
        linear.set_position((-2, 12))
        best.set_position((6, -17))
        logits, target = worlds[name]
        number_of_a = target.ndim - np.indices(target.shape).sum(axis=0).ravel()
        order = np.argsort(number_of_a, kind="stable")
        laws_shown = {
            "target": (target.ravel(), "#c9cdd2"),
            "linear": (np.asarray(exact.ancestral_law(logits, np.arange(STEPS + 1) / STEPS)), "#1d6fb8"),
            "refined Beta": (np.asarray(exact.ancestral_law(logits, search.grid.fractions)), "#c2410c"),
        }
        place = np.arange(target.size)
        for which, (label, (law, colour)) in enumerate(laws_shown.items()):
            if which == 0:
                below.bar(place, law[order], width=1.0, color=colour, label=label)
            else:
                below.step(place, law[order], where="mid", color=colour, lw=1.2, label=label)
        edges = np.flatnonzero(np.diff(number_of_a[order])) + 0.5
        below.vlines(edges, 0, below.get_ylim()[1], color="#5d6974", lw=0.4, ls=":")
        middles = (np.append(-0.5, edges) + np.append(edges, target.size - 0.5)) / 2
        below.set_xticks(middles, [str(n) for n in range(target.ndim + 1)])
        below.set(xlabel="sentences by number of a", ylabel="probability", ylim=(0, None))
    panels[0, 0].legend(fontsize=7.5, loc="lower right")
    panels[1, 0].legend(fontsize=7.5, frameon=False, loc="upper center")
    for axes in panels.ravel():
        axes.title.set_fontsize(9)
        axes.tick_params(labelsize=8)
    return figure
