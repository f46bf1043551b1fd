"""Sudoku of 9 x 9 with unique solutions: which order of filling in is best, and whether a latent helps.

One small network (``tools/units.py``), three trainings on full grids with random masks, of equal parameters (within
2%) and equal processor time: the masked NELBO, no latent; ``LatentSurrogate`` with KL warm-up, with free bits (without
them the latent of a pilot collapsed in 450 steps) and without. The last one was added when the one with free bits had
been measured and solved far less than no latent. A fourth, a tenth as long, shows the orders of a poorer model.

Test puzzles: dug from held-out grids until 26 clues are left and the solution is unique, counted by the solver. Filled
in 5, 10, 20 and 50 passes of equal sizes, every token the argmax (VMD's way): positions in random order, by the largest
probability, by the margin between the two largest. Solved: every cell is right. Besides: the share of cells that are
right; the same orders as Kim et al. draw them (tokens at temperature 1, Gumbel noise times .5 added to the probability
or the margin); puzzles with several solutions, where any valid grid counts.

Puzzles are the same for all, so differences are paired: McNemar's, with intervals of the mean of -1, 0 and 1. "Ten
points more" holds where the interval lies above ten. What decides between a gain as VMD reports it and none is the
number of puzzles at which a two-sided test at 5% has a power of 80%, given how often the two models disagree.

Claimed before measuring: at every number of passes the largest probability solves ten points more than random order,
and the margin ten more again; and in both of these orders a latent gains what VMD reports at 5, 10 and 20 passes.
A reviewer of VMD objects that a unique solution leaves a latent nothing to tell.

Trained before the library's Muon left to Adam what a latent goes through, with a KL warm-up of .3.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
from jaxtyping import Array
from matplotlib.figure import Figure

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from experiments.tools.units import latent_cells, plain_cells
from mdm_jax import tasks
from mdm_jax.models.denoiser import Denoiser
from mdm_jax.sampling import Sampler, rules, sample
from mdm_jax.sampling.readings import Reading, margin, max_probability
from mdm_jax.tasks.grids import Puzzles, SudokuTask
from mdm_jax.theory import plans
from mdm_jax.training import LatentSurrogate, Settings, fit
from mdm_jax.training import Run as Trained
from mdm_jax.training.objective import MASKED_NELBO, Objective

CLAIM = Claim(
    "completing 9 x 9 Sudokus in 5 to 50 passes, the order by the largest probability solves at least ten points more "
    "than random order and the margin ten more again, and a latent gains 1.3, 2.3 and 2.5 points at 5, 10 and 20 "
    "passes",
    source="arXiv 2502.06768, arXiv 2510.23606",
    minutes=20,
)
PASSES = (5, 10, 20, 50)
VMD_GAINS = {5: 1.3, 10: 2.3, 20: 2.5}
MUCH = 10.0
CLUES, PUZZLES, OTHERS = 26, 500, 300
WIDTH, LATENT_WIDTH, DEPTH, LATENT_SIZE, RECOGNITION_DEPTH = 70, 64, 8, 16, 2
STEPS = {"no latent": 1600, "latent": 1520, "latent, no free bits": 1520, "no latent, short": 150}
"""57 milliseconds of one processor a step with a latent, 54 without: the same time in all."""
SHORT, WITH_LATENT = "no latent, short", ("latent", "latent, no free bits")
FREE_BITS, WARMUP, BATCH = 8.0, 0.3, 32
NOISE, NOISY_PASSES, FEW_PASSES = 0.5, (10, 20), (5, 10, 20)
TOGETHER = 100
"""Puzzles completed in one call."""
Z, POWER_Z = 1.96, 0.8416
ORDERS = ("random", "largest probability", "margin")
_LATER = {"largest probability": "random", "margin": "largest probability"}
"""Of each order, the one that it is claimed to be better than."""


def chance(reading: Reading) -> Array:
    """The largest probability itself, as Kim et al. add noise to it."""
    return jnp.exp(max_probability(reading))


def lead(reading: Reading) -> Array:
    """The margin itself, not its logarithm."""
    return jnp.exp(margin(reading))


def ways(quick: bool) -> dict[str, tuple[Denoiser, Objective]]:
    """What is trained, and on what; models of one block if ``quick``."""
    depth, recognition_depth = (1, 1) if quick else (DEPTH, RECOGNITION_DEPTH)
    plain, latent = plain_cells(WIDTH, depth), latent_cells(LATENT_WIDTH, depth, LATENT_SIZE, recognition_depth)
    return {
        "no latent": (plain, MASKED_NELBO),
        "latent": (latent, LatentSurrogate(warmup=WARMUP, free_bits=FREE_BITS)),
        "latent, no free bits": (latent, LatentSurrogate(warmup=WARMUP)),
        "no latent, short": (plain, MASKED_NELBO),
    }


def trained(experiment: Experiment, task: SudokuTask, name: str) -> Trained:
    """A training, kept in the experiment's folder; two steps in memory if it is a quick run."""
    denoiser, objective = ways(experiment.quick)[name]
    settings = Settings(steps=2 if experiment.quick else STEPS[name], batch=BATCH, seed=0)
    folder = None if experiment.quick else experiment.folder / "models" / name.replace(", ", "-").replace(" ", "-")
    return fit(denoiser, task, settings=settings, objective=objective, directory=folder, progress=False)


def completed(run: Trained, sampler: Sampler, made: Puzzles, temperature: float = 0.0) -> np.ndarray:
    """Every puzzle, filled in."""
    parts: list[np.ndarray] = []
    for start in range(0, len(made.canvas), TOGETHER):
        canvas = made.canvas[start : start + TOGETHER]
        ids = np.arange(start, start + len(canvas))
        drawn = sample(
            run.denoiser,
            run.params,
            sampler,
            key=jax.random.key(0),
            canvas=canvas,
            row_ids=ids,
            temperature=temperature,
        )
        parts.append(np.asarray(drawn.tokens))
    return np.concatenate(parts)


def judged(task: SudokuTask, made: Puzzles, tokens: np.ndarray) -> dict[str, Any]:
    """Which puzzles are solved, and of each the share of free cells that are the solution's."""
    free = made.canvas == task.size
    right = (free & (tokens == made.solution)).sum(axis=1) / free.sum(axis=1)
    return {"solved": task.solves(made.canvas, tokens).astype(int), "cells": np.round(right, 4)}


def measured(experiment: Experiment, task: SudokuTask, name: str, passes: tuple[int, ...]) -> dict[str, Any]:
    """A model on puzzles with one solution, by all orders, puzzle by puzzle."""
    quick, run = experiment.quick, trained(experiment, task, name)
    most = TOGETHER // 10 if quick else OTHERS if name == SHORT else PUZZLES
    made, found = task.puzzles(most, clues=CLUES), {}
    for steps in passes[:1] if quick else passes:
        plan = plans.uniform(task.length - CLUES, steps)
        samplers: tuple[Sampler, ...] = plan, rules.surest(plan), rules.surest(plan, margin)
        for order, sampler in zip(ORDERS, samplers):
            found[f"{order}/{steps}"] = judged(task, made, completed(run, sampler, made))
    return {"parameters": sum(leaf.size for leaf in jax.tree.leaves(run.params)), "log": _log(run), "found": found}


def noisy(experiment: Experiment, task: SudokuTask) -> dict[str, Any]:
    """The model without a latent, drawn from as Kim et al. do."""
    run, found = trained(experiment, task, "no latent"), {}
    made = task.puzzles(OTHERS, clues=CLUES)
    for steps in NOISY_PASSES:
        plan = plans.uniform(task.length - CLUES, steps)
        for order, score in zip(ORDERS, (None, chance, lead)):
            rule = plan if score is None else dataclasses.replace(rules.surest(plan, score), order_temperature=NOISE)
            found[f"{order}/{steps}"] = judged(task, made, completed(run, rule, made, 1.0))
    return found


def several(experiment: Experiment, task: SudokuTask) -> dict[str, Any]:
    """Both models on puzzles with two solutions at least, by the largest probability."""
    made, found = task.puzzles(OTHERS, clues=CLUES, unique=False, most=2), {}
    for name in ("no latent", *WITH_LATENT):
        run = trained(experiment, task, name)
        for steps in FEW_PASSES:
            rule = rules.surest(plans.uniform(task.length - CLUES, steps))
            solved = task.solves(made.canvas, completed(run, rule, made))
            found[f"{name}/{steps}"] = {"solved": solved.astype(int)}
    return found


def run(experiment: Experiment) -> Run:
    """Train, complete, compare; what each model does is a part."""
    task, parts = tasks.sudoku9(), {}
    for name in list(STEPS)[: 1 if experiment.quick else None]:
        passes = NOISY_PASSES if name == SHORT else PASSES
        parts[name] = experiment.part(name, lambda n=name, p=passes: measured(experiment, task, n, p))
    found = {name: part["found"] for name, part in parts.items()}
    if not experiment.quick:
        found["no latent, noise"] = experiment.part("noise", lambda: noisy(experiment, task))
        found |= _by_model(experiment.part("several solutions", lambda: several(experiment, task)))
    results = {
        "models": {name: {what: part[what] for what in ("parameters", "log")} for name, part in parts.items()},
        "shares": {name: {at: _shares(one) for at, one in each.items()} for name, each in found.items()},
        "orders": {name: _between_orders(each) for name, each in found.items()},
        "latent": _between_models(found),
    }
    return Run(results, picture(results))


def paired(mine: Any, theirs: Any) -> dict[str, Any]:
    """What is solved more, in points, with its interval; the puzzles that only one solves; McNemar's exact p."""
    gap = np.asarray(mine, np.float64) - np.asarray(theirs, np.float64)
    count = len(gap)
    more, fewer = int((gap > 0).sum()), int((gap < 0).sum())
    half = Z * gap.std(ddof=1) / np.sqrt(count)
    chance_of = scipy.stats.binomtest(more, more + fewer).pvalue if more + fewer else 1.0
    return {
        "points": [100 * float(one) for one in (gap.mean(), gap.mean() - half, gap.mean() + half)],
        "more": more, "fewer": fewer, "p": float(chance_of), "puzzles": count,
    }  # fmt: skip


def needed(pair: Mapping[str, Any], points: float) -> float:
    """Puzzles at which a gain of so many points is told from none: two-sided at 5%, power 80%, as often in
    disagreement as here (McNemar's test, by the normal law). At least one in a thousand is taken to disagree.
    """
    gain = points / 100
    apart = max((pair["more"] + pair["fewer"]) / pair["puzzles"], gain, 0.001)
    return float(np.ceil(((Z * np.sqrt(apart) + POWER_Z * np.sqrt(apart - gain**2)) / gain) ** 2))


def _log(run: Trained) -> dict[str, float]:
    if run.directory is None:
        return {}
    last = run.directory.read_log()[-1]
    told = ("held_out_bits_per_token", "held_out_kl_nats", "held_out_active_units", "held_out_pair_information_nats")
    return {one: last[one] for one in told if one in last}


def _by_model(found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Of puzzles with several solutions: by model, then by order and passes."""
    made: dict[str, dict[str, Any]] = {}
    for place, one in found.items():
        name, steps = place.split("/")
        made.setdefault(f"{name}, several solutions", {})[f"largest probability/{steps}"] = one
    return made


def _shares(one: Mapping[str, Any]) -> dict[str, list[float]]:
    """Solved, with the interval of Wilson; cells right, with that of the mean over puzzles."""
    solved = np.asarray(one["solved"])
    ends = scipy.stats.binomtest(int(solved.sum()), len(solved)).proportion_ci(method="wilson")
    shares = {"solved": [float(solved.mean()), float(ends.low), float(ends.high)], "puzzles": len(solved)}
    if "cells" in one:
        cells = np.asarray(one["cells"])
        half = Z * cells.std(ddof=1) / np.sqrt(len(cells))
        shares["cells"] = [float(x) for x in (cells.mean(), cells.mean() - half, cells.mean() + half)]
    return shares


def _between_orders(found: Mapping[str, Any]) -> dict[str, Any]:
    """Each order against the one it is to be better than."""
    made: dict[str, Any] = {}
    for place, one in found.items():
        order, steps = place.split("/")
        other = f"{_LATER.get(order)}/{steps}"
        if other in found:
            made[place] = paired(one["solved"], found[other]["solved"])
    return made


def _between_models(found: Mapping[str, Any]) -> dict[str, Any]:
    """With a latent against without, by puzzles, order and passes."""
    made: dict[str, Any] = {}
    for name in WITH_LATENT:
        for kind in ("", ", several solutions"):
            with_it, without = found.get(f"{name}{kind}", {}), found.get(f"no latent{kind}", {})
            for place in with_it:
                said = f"{name}/{kind.removeprefix(', ') or 'one solution'}/{place}"
                made[said] = paired(with_it[place]["solved"], without[place]["solved"])
    return made


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """The orders of the model without a latent, and what the latent gains in the two orders that look."""
    figures: dict[str, Any] = {}
    for name, each in results["shares"].items():
        for place, one in each.items():
            said = f"{name}, {place.replace('/', ', ')} passes"
            figures |= {f"{what}, {said}": one[what] for what in ("solved", "cells") if what in one}
    for name, each in results["orders"].items():
        for place, pair in each.items():
            order, steps = place.split("/")
            figures[f"points more than by {_LATER[order]}, {name}, {order}, {steps} passes"] = pair["points"]
    ordered = {order: [] for order in _LATER}
    for place, pair in results["orders"]["no latent"].items():
        ordered[place.split("/")[0]].append(pair["points"][1] > MUCH)
    gained: dict[str, str] = {}
    enough: list[float] = []
    for place, pair in results["latent"].items():
        name, kind, order, steps = place.split("/")
        figures[f"points more than no latent, {name}, {kind}, {order}, {steps} passes"] = pair["points"]
        if kind != "one solution" or order == "random" or steps not in map(str, VMD_GAINS):
            continue
        claimed, (_, low, high) = VMD_GAINS[int(steps)], pair["points"]
        figures[f"puzzles that decide on VMD's gain, {name}, {order}, {steps} passes"] = needed(pair, claimed)
        enough += [needed(pair, claimed)] if low <= 0 and high >= claimed else []
        gained[place] = "gain" if low > 0 and high >= claimed else "no such gain" if high < claimed else "underpowered"
    for name, one in results["models"].items():
        figures |= {f"{what.replace('_', ' ')}, {name}": value for what, value in one["log"].items()}
        figures[f"parameters, {name}"] = one["parameters"]
    counts = {kind: sum(one == kind for one in gained.values()) for kind in ("gain", "no such gain", "underpowered")}
    figures |= {f"comparisons with a latent: {kind}": count for kind, count in counts.items()}
    holds = [
        all(ordered["largest probability"]),
        all(ordered["margin"]),
        bool(gained) and counts["gain"] == len(gained),
    ]
    spans = {}
    for order in _LATER:
        values = [pair["points"][0] for at, pair in results["orders"]["no latent"].items() if at.startswith(order)]
        spans[order] = f"{min(values):+.1f} to {max(values):+.1f}"
    more = f" (it takes {min(enough):,.0f} to {max(enough):,.0f} puzzles to decide)" if enough else ""
    return Conclusion(
        "holds" if all(holds) else "partly" if any(holds) else "does not",
        f"points solved more, the largest probability over random order {spans['largest probability']}, the margin "
        f"over the largest probability {spans['margin']}; VMD's gain by a latent: {counts['gain']} of {len(gained)} "
        f"comparisons show one, {counts['no such gain']} rule it out, {counts['underpowered']} are underpowered{more}",
        figures,
        f"{PUZZLES} puzzles, one training of each model",
    )


def picture(results: Mapping[str, Any]) -> Figure:
    """Solved puzzles against passes by order: both models, the poorer one and noise, several solutions."""
    colours = dict(zip(ORDERS, ("#8a949e", "#1d6fb8", "#c2410c")))
    figure = Figure(figsize=(10, 4), layout="constrained")
    panels = figure.subplots(1, 3, sharex=True, sharey=True)
    models = {"no latent": "-", "latent, no free bits": "-.", "latent": "--"}
    shown = (
        ("one solution", models),
        ("a tenth of the training (-), noise as Kim et al. (:)", {"no latent, short": "-", "no latent, noise": ":"}),
        ("several solutions", {f"{name}, several solutions": style for name, style in models.items()}),
    )
    for axes, (title, names) in zip(panels, shown):
        for name, style in names.items():
            for order, colour in colours.items():
                found = results["shares"].get(name, {})
                steps = [int(place.split("/")[1]) for place in found if place.startswith(f"{order}/")]
                if not steps:
                    continue
                values = 100 * np.array([found[f"{order}/{one}"]["solved"] for one in steps])
                errors = [values[:, 0] - values[:, 1], values[:, 2] - values[:, 0]]
                label = f"{order}, {name}"
                axes.errorbar(
                    steps, values[:, 0], errors, fmt="o", linestyle=style, color=colour, markersize=3, linewidth=1,
                    label=label,
                )  # fmt: skip
        axes.set_title(title, fontsize=9)
        axes.set(xscale="log", xlabel="passes of the model")
        axes.set_xticks(PASSES, [str(one) for one in PASSES])
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("puzzles solved, %")
    marks, labels = panels[0].get_legend_handles_labels()
    figure.legend(marks, labels, loc="outside lower center", ncols=3, fontsize=7, frameon=False)
    return figure
