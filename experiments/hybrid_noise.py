"""Does a model that was trained to doubt what stands there write better text, once it may correct itself? (GIDD)

Three models of one shape, trained alike on ``text``: by masks alone, and under hybrid noise with uniform shares .1 and
.2 (the paper's, with its "dynamic" weights). Each samples in 32 steps of the noise it knows, without and with at most
32 steps of self-correction at temperature .1. The trigram score of samples can be had by drawing less, so their own
entropy stands beside it, and so does ancestral sampling from the mask-only model at lower temperatures.

Claimed before measuring (the paper's finding, at far less than its compute): with self-correction the samples of
a model trained under hybrid noise score better than those of the mask-only model with the same self-correction, by more
than two standard errors, at an entropy that is not lower by more than two, for both shares. Partly: for one.

One training of each: the errors are those of samples, not of trainings.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from experiments.tools.judging import in_batches, judged, summary
from mdm_jax import models, tasks
from mdm_jax.sampling import rules
from mdm_jax.theory.plans import grids
from mdm_jax.training import HybridNoise, MaskedNelbo, Settings, fit

CLAIM = Claim(
    "on text, at equal training, 32 steps and at most 32 of self-correction give better samples of a model trained "
    "under hybrid noise than of a mask-only one: a trigram score better by more than two standard errors at an entropy "
    "not lower by more than two, for uniform shares .1 and .2",
    source="arXiv 2503.04482",
    minutes=5,
)
SHARES = (0.0, 0.1, 0.2)
LENGTH, STEPS, CORRECT = 64, 32, 32
TRAINING, BATCH, ROWS = 400, 16, 96
TEMPERATURES = (1.0, 0.8, 0.6)
Z = 1.96


def of_share(share: float, quick: bool) -> dict[str, Any]:
    """One model: its held-out bound, and its samples before and after self-correction."""
    task = tasks.text(length=LENGTH)
    rows = 8 if quick else ROWS
    denoiser = models.transformer(task.vocab_size, length=LENGTH, width=16 if quick else 64, depth=1 if quick else 2)
    objective = MaskedNelbo() if share == 0 else HybridNoise(share, "dynamic")
    settings = Settings(steps=10 if quick else TRAINING, batch=4 if quick else BATCH, length=LENGTH)
    figures: list[dict[str, float]] = []
    found = fit(
        denoiser, task, settings=settings, objective=objective, progress=False,
        on_report=lambda step, reported: figures.append(dict(reported)),
    )  # fmt: skip
    samplers = {
        "drawn": (rules.hybrid(grids.uniform(STEPS), share), 1.0),
        "corrected": (rules.hybrid(grids.uniform(STEPS), share, CORRECT), 1.0),
    }
    if share == 0:
        samplers |= {f"ancestral at {t:g}": (grids.uniform(STEPS), t) for t in TEMPERATURES[: 1 if quick else None]}
    made: dict[str, Any] = {}
    for name, (sampler, temperature) in samplers.items():
        drawn = in_batches(denoiser, found.params, sampler, LENGTH, rows, jax.random.key(0), temperature)
        values = judged(task, drawn.tokens)
        made[name] = {"nfe": float(np.mean(drawn.nfe)), **{what: summary(x) for what, x in values.items()}}
        made[name]["shown"] = [task.show(row) for row in drawn.tokens[:2]]
    held = {what: summary(x) for what, x in judged(task, task.test[:rows]).items()}
    bits = figures[-1]["held_out_bits_per_token"]
    return {"samples": made, "held_out": held, "held_out_bits": bits, "rows": rows}


def run(experiment: Experiment) -> Run:
    """One model after the other."""
    shares = SHARES[::2] if experiment.quick else SHARES
    found = {
        f"{share:g}": experiment.part(f"share {share:g}", lambda s=share: of_share(s, experiment.quick))
        for share in shares
    }
    return Run({"shares": found}, picture(found))


def less(mine: Mapping[str, float], theirs: Mapping[str, float]) -> list[float]:
    """The difference of two independent means with its 95 % interval."""
    gap, error = mine["mean"] - theirs["mean"], float(np.hypot(mine["error"], theirs["error"]))
    return [gap, gap - Z * error, gap + Z * error]


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """Each share against masks alone, both corrected."""
    found = results["shares"]
    base = found["0"]["samples"]["corrected"]
    held: list[bool] = []
    said: list[str] = []
    figures: dict[str, Any] = {}
    for share, one in found.items():
        figures[f"held-out bits per character, a bound, share {share}"] = one["held_out_bits"]
        for name, values in one["samples"].items():
            for what in ("score", "entropy"):
                figures[f"{what}, share {share}, {name}"] = values[what]["mean"]
            figures[f"model calls, share {share}, {name}"] = values["nfe"]
        if share == "0":
            continue
        mine = one["samples"]["corrected"]
        score, entropy = (less(mine[what], base[what]) for what in ("score", "entropy"))
        error = (entropy[2] - entropy[0]) / Z
        held.append(score[0] < -2 * (score[2] - score[0]) / Z and entropy[0] > -2 * error)
        figures |= {f"score less that of masks, share {share}": score, f"entropy less, share {share}": entropy}
        said.append(
            f"share {share}: score {score[0]:+.3f} ({score[1]:+.3f} to {score[2]:+.3f}), "
            f"entropy {entropy[0]:+.3f} ({entropy[1]:+.3f} to {entropy[2]:+.3f})"
        )
    for what in ("score", "entropy"):
        figures[f"{what}, held-out rows"] = found["0"]["held_out"][what]["mean"]
    return Conclusion(
        "holds" if all(held) else "partly" if any(held) else "does not",
        f"corrected samples less those of masks alone, bits per character, lower scores better: {'; '.join(said)}",
        figures,
        f"{found['0']['rows']} samples of {LENGTH} characters each, one training of each model",
    )


def picture(found: Mapping[str, Any]) -> Figure:
    """Score of samples against their own entropy, before and after self-correction."""
    figure = Figure(figsize=(6.5, 4), layout="constrained")
    axes = figure.subplots()
    tempered = [v for name, v in found["0"]["samples"].items() if name.startswith("ancestral")]
    axes.plot(
        [v["entropy"]["mean"] for v in tempered], [v["score"]["mean"] for v in tempered],
        "o--", color="#8a949e", markersize=3, linewidth=1, label="masks alone, ancestral, temperature 1 to .6",
    )  # fmt: skip
    for (share, one), colour in zip(found.items(), ("#111111", "#1d6fb8", "#c2410c")):
        pair = [one["samples"][name] for name in ("drawn", "corrected")]
        x, y = ([v[what]["mean"] for v in pair] for what in ("entropy", "score"))
        label = "masks alone" if share == "0" else f"uniform share {share}"
        axes.plot(x, y, "-", color=colour, linewidth=1.2, label=f"{label}: drawn, corrected (filled)")
        for at, (v, fill) in enumerate(zip(pair, ("none", colour))):
            axes.errorbar(
                x[at], y[at], Z * v["score"]["error"], Z * v["entropy"]["error"],
                fmt="s", color=colour, markerfacecolor=fill, markersize=6, elinewidth=0.7,
            )  # fmt: skip
    held = found["0"]["held_out"]
    axes.plot(
        held["entropy"]["mean"], held["score"]["mean"], "*", color="#111111", markersize=11, label="held-out rows"
    )
    axes.set(
        xlabel="samples' own entropy, bits per character given the one before", ylabel="trigram bits per character"
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7.5, frameon=False)
    return figure
