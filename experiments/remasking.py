"""Does it pay to mask again? Score against nfe, and against what the samples' own entropy says of that score.

ReMDM (cap, rescale, confidence), P2 and self-correction beside ancestral sampling and the largest probability first, on
the demo recipe's models of ``text`` and ``digits``, from a quarter of the length to twice the length in steps. Passes
are those that were made: ancestral sampling skips empty steps, so 2 x length steps cost it fewer than length.

A better score may be had by drawing less: each stands beside the entropy of a sample's token given the one before it
(pooled over rows), and ancestral sampling at temperatures below 1 serves as the yardstick: at equal entropy, is the
score better than what a temperature attains with half the model calls?

All samplers use common keys; where these mean the same draws, differences by row are paired. Entropies are plug-in
estimates with jackknife errors, compared at equal numbers of rows.

Claimed before measuring: at 2 x length steps ReMDM as ``presets.remdm`` has it (cap, strength .04) scores better than
ancestral sampling on the same grid, by more than two standard errors, with an entropy that is not lower by more than
two, on text and on digits. Partly: on one of them.

Added after the first run, in which P2 and self-correction drew next to nothing but spaces: both with a measure that
does not look at the draw (P2 and self-correction rank masked positions by the probability of the token just drawn,
which at temperature 1 is biased towards what is common; see :mod:`mdm_jax.sampling.readings`), and temperatures .7, .6.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from experiments.tools.judging import in_batches, judged, model_of, summary
from mdm_jax.sampling import Sampler, presets, rules
from mdm_jax.sampling.readings import held_or_proposal_probability, proposal_probability
from mdm_jax.theory import plans

CLAIM = Claim(
    "at 2 x length steps ReMDM (cap, strength .04) scores better than ancestral sampling by more than two standard "
    "errors, at an entropy that is not lower by more than two, on text and on digits",
    source="arXiv 2503.00307",
    minutes=15,
    needs={"sklearn": "digits"},
)
ROWS = {"text": 16, "digits": 48}
SHARES = {"text": (0.25, 1.0, 2.0), "digits": (0.25, 0.5, 1.0, 2.0)}
"""Steps over the length."""
Z = 1.96
TEMPERATURES = (0.9, 0.8, 0.7, 0.6)
ANCESTRAL, CLAIMED, SUREST = "ancestral", "ReMDM cap .04", "largest probability"
BLIND_P2, BLIND_CORRECTION = "P2, blind to the draw", "self-correction, blind"
_STYLE = {
    ANCESTRAL: ("#111111", "s"),
    SUREST: ("#8a949e", "D"),
    "ReMDM cap .01": ("#f0a15f", "o"),
    CLAIMED: ("#c2410c", "o"),
    "ReMDM rescale .1": ("#e0b100", "^"),
    "ReMDM confidence 1": ("#7c4fa4", "v"),
    "P2 1": ("#1d6fb8", "P"),
    "self-correction": ("#2e8059", "X"),
    BLIND_P2: ("#56b4e9", "p"),
    BLIND_CORRECTION: ("#8cc63f", "*"),
}


def samplers(length: int, steps: int) -> dict[str, Sampler]:
    """Everything that is compared at one number of steps; orders that only reveal use at most ``length``."""
    plan = plans.uniform(length, min(steps, length))
    found: dict[str, Sampler] = {
        ANCESTRAL: presets.mdlm(steps),
        SUREST: rules.surest(plan),
        "ReMDM cap .01": presets.remdm(steps, 0.01),
        CLAIMED: presets.remdm(steps, 0.04),
        "ReMDM rescale .1": presets.remdm(steps, 0.1, "rescale"),
        "ReMDM confidence 1": presets.remdm(steps, 1.0, "confidence"),
        "P2 1": rules.self_planned(plan, score=held_or_proposal_probability),
        "self-correction": rules.self_corrected(plan, score=proposal_probability),
        BLIND_P2: rules.self_planned(plan),
        BLIND_CORRECTION: rules.self_corrected(plan),
    }
    return (
        found
        if steps <= length
        else {n: sampler for n, sampler in found.items() if n in (ANCESTRAL, *of_many_steps(found))}
    )


def of_many_steps(names: Any) -> list[str]:
    """Those that can spend more model calls than there are tokens."""
    return [name for name in names if name.startswith("ReMDM")]


def compare(spec: str, quick: bool) -> dict[str, Any]:
    """All samplers on one task."""
    denoiser, params, task = model_of(spec, quick)
    rows, length = 4 if quick else ROWS[spec], task.length
    key, budgets = jax.random.key(0), [int(share * length) for share in ((0.25, 2.0) if quick else SHARES[spec])]
    points: dict[str, list[dict[str, Any]]] = {}
    values: dict[tuple[str, int], dict[str, np.ndarray]] = {}

    def measure(name: str, steps: int, sampler: Sampler, temperature: float = 1.0) -> None:
        drawn = in_batches(denoiser, params, sampler, length, rows, key, temperature)
        values[name, steps] = mine = judged(task, drawn.tokens)
        point = {"steps": steps, "temperature": temperature, "nfe": float(np.mean(drawn.nfe))}
        point |= {what: summary(x) for what, x in mine.items()}
        base = values[ANCESTRAL, steps]
        point["less_ancestral"] = {what: summary(x - base[what]) for what, x in mine.items()}
        points.setdefault(name, []).append(point)

    for steps in budgets:
        for name, sampler in samplers(length, steps).items():
            if not quick or name in (ANCESTRAL, CLAIMED):
                measure(name, steps, sampler)
    for temperature in () if quick else TEMPERATURES:
        measure(f"ancestral at {temperature:g}", length, presets.mdlm(length), temperature)
    held = {what: summary(x) for what, x in judged(task, task.test[:rows]).items()}
    return {"points": points, "rows": rows, "length": length, "held_out": held, "score_name": task.score_name}


def at_temperature(task: Mapping[str, Any], entropy: float) -> float:
    """The score of ancestral sampling whose temperature gives this entropy; NaN beyond the temperatures tried."""
    points = [point for name, line in task["points"].items() if name.startswith("ancestral at") for point in line]
    points += [point for point in task["points"][ANCESTRAL] if point["steps"] == task["length"]]
    points.sort(key=lambda point: point["entropy"]["mean"])
    at = [point["entropy"]["mean"] for point in points]
    if not points or not at[0] <= entropy <= at[-1]:
        return float("nan")
    return float(np.interp(entropy, at, [point["score"]["mean"] for point in points]))


def beside_temperatures(task: Mapping[str, Any]) -> dict[str, dict[int, float]]:
    """Every sampler's score less that of a temperature with its entropy, by steps."""
    return {
        name: {p["steps"]: p["score"]["mean"] - at_temperature(task, p["entropy"]["mean"]) for p in line}
        for name, line in task["points"].items()
        if name in _STYLE
    }


def run(experiment: Experiment) -> Run:
    """Both tasks."""
    specs = ("digits",) if experiment.quick else ("text", "digits")
    measured = {spec: experiment.part(spec, lambda spec=spec: compare(spec, experiment.quick)) for spec in specs}
    beside = {spec: beside_temperatures(task) for spec, task in measured.items()}
    return Run({"tasks": measured, "less_a_temperature": beside}, picture(measured))


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """ReMDM less ancestral sampling, in score and in entropy, on each task."""
    held: list[bool] = []
    figures: dict[str, Any] = {}
    said: list[str] = []
    for spec, task in results["tasks"].items():
        last, base = (
            next(point for point in task["points"][name] if point["steps"] == 2 * task["length"])
            for name in (CLAIMED, ANCESTRAL)
        )
        score, entropy = last["less_ancestral"]["score"], last["less_ancestral"]["entropy"]
        held.append(score["mean"] < -2 * score["error"] and entropy["mean"] > -2 * entropy["error"])
        for what, less in (("score", score), ("entropy", entropy)):
            figures[f"{spec}: {what} of ReMDM less ancestral"] = around(less)
            figures[f"{spec}: {what} of ReMDM"] = around(last[what])
            figures[f"{spec}: {what} of ancestral"] = around(base[what])
        figures |= {f"{spec}: model calls of ReMDM": last["nfe"], f"{spec}: of ancestral": base["nfe"]}
        for name, line in task["points"].items():
            for what in ("score", "entropy"):
                figures[f"{spec}: {what}, {name}, {line[-1]['steps']} steps"] = line[-1][what]["mean"]
        low, high = around(score)[1:]
        said.append(f"{spec}: score {score['mean']:+.3f} ({low:+.3f} to {high:+.3f})")
    return Conclusion(
        "holds" if all(held) else "partly" if any(held) else "does not",
        f"ReMDM less ancestral sampling at twice the length in steps, lower is better: {'; '.join(said)}",
        figures,
        ", ".join(f"{task['rows']} samples of {spec}" for spec, task in results["tasks"].items()) + " a sampler",
    )


def around(value: Mapping[str, float]) -> list[float]:
    """A mean with its 95 % interval."""
    return [value["mean"], value["mean"] - Z * value["error"], value["mean"] + Z * value["error"]]


def picture(measured: Mapping[str, Any]) -> Figure:
    """Per task: score against model calls, and score against the samples' own entropy."""
    figure = Figure(figsize=(8, 3.4 * len(measured)), layout="constrained")
    grid = figure.subplots(len(measured), 2, squeeze=False)
    for (left, right), (spec, task) in zip(grid, measured.items()):
        tempered = [p for name, line in task["points"].items() if name.startswith("ancestral at") for p in line]
        plain = [p for p in task["points"][ANCESTRAL] if p["steps"] == task["length"]]
        tempered = sorted(plain + tempered, key=lambda p: -p["temperature"])
        right.plot(
            [p["entropy"]["mean"] for p in tempered], [p["score"]["mean"] for p in tempered],
            "--", color="#111111", linewidth=1, label="ancestral, temperature 1 to .6",
        )  # fmt: skip
        collapsed: list[str] = []
        for name, (colour, marker) in _STYLE.items():
            line = task["points"].get(name, [])
            if not line:
                continue
            style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 5, "linewidth": 1.2}
            score, error = [p["score"]["mean"] for p in line], [p["score"]["error"] for p in line]
            left.errorbar([p["nfe"] for p in line], score, error, **style, label=name, elinewidth=0.6)
            if line[-1]["entropy"]["mean"] < task["held_out"]["entropy"]["mean"] / 2:
                collapsed.append(name)
                continue
            right.errorbar(
                [p["entropy"]["mean"] for p in line], score, error, [p["entropy"]["error"] for p in line],
                **{**style, "linewidth": 0.5, "alpha": 0.8}, elinewidth=0.5,
            )  # fmt: skip
        if collapsed:
            text = f"not shown, for their entropy is near 0:\n{', '.join(collapsed)}"
            right.annotate(text, (0.02, 0.92), xycoords="axes fraction", fontsize=7)
        held = task["held_out"]
        left.axhline(held["score"]["mean"], color="#111111", linewidth=0.8, linestyle=":")
        left.annotate(
            "held-out rows", (0.02, held["score"]["mean"]), xycoords=("axes fraction", "data"), fontsize=7, va="bottom"
        )
        right.errorbar(
            held["entropy"]["mean"], held["score"]["mean"], held["score"]["error"], held["entropy"]["error"],
            color="#111111", marker="*", markersize=10, elinewidth=0.6, linestyle="none", label="held-out rows",
        )  # fmt: skip
        left.set(xscale="log", xlabel="nfe per sequence", ylabel=f"{spec}: {task['score_name']} (± 1 s.e.)")
        ticks = [int(share * task["length"]) for share in SHARES[spec]]
        left.set_xticks(ticks, [str(tick) for tick in ticks])
        right.set_xlabel("samples' own entropy, bits per token given the one before")
        for axes in (left, right):
            axes.minorticks_off()
            axes.tick_params(labelsize=7)
            axes.spines[["top", "right"]].set_visible(False)
            axes.xaxis.label.set_fontsize(8)
            axes.yaxis.label.set_fontsize(8)
    handles = [*grid[0][0].get_legend_handles_labels()[0], *grid[0][1].get_legend_handles_labels()[0]]
    labels = [*grid[0][0].get_legend_handles_labels()[1], *grid[0][1].get_legend_handles_labels()[1]]
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=7.5, frameon=False)
    return figure
