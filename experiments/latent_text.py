"""Do latents help text that is written in few steps? VMD and VADD against the same network without a latent.

``text`` in rows of 64 characters. Four models of equal parameters (within 1.1%) and equal processor time of training: a
transformer trained on the masked NELBO, and three latent ones trained on ``LatentSurrogate`` (KL warm-up and free
bits) with one latent for the row, for each 8 and for each 4 characters, recognised by the denoiser's first block. The
latter three once more without free bits, and with all matrices that a latent goes through left to Adam. These were
added when the first had been measured and wrote a bit per character worse than no latent, and so had others without
free bits. The reason: Muon's steps are equally large where a latent tells nothing, and so its noise grows.

Each writes 4, 8, 16 and 32 steps in random order, by equal sizes (linear) and by the optimal plan of its own profile
(tuned), all with common random numbers. The latent is drawn once for a row (VMD; the profile is that of the recognised
latent) or anew at each step (VADD; the profile is that of the average over 16 draws). Trigram bits per character can be
had by repeating oneself, so the samples' own entropy stands beside them: a gain is a lower score (interval below 0) at
an entropy that is not lower (interval not below 0). Beside them: held-out rows, and what tells whether a latent has
collapsed.

Differences are paired by row and intervals go over rows: they hold what other samples would change, and not what other
trainings would: there is one of each model.

Claimed before measuring, expecting small effects: in 4 steps every latent drawn once gains over no latent, by both
plans; partly: one of them does, by one plan.

Trained before the library's Muon left to Adam what a latent goes through: ``kept_from_muon`` did it here for
those that were added, and does now what the library does itself.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import optax
import optax.contrib
from matplotlib.figure import Figure

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from experiments.tools.judging import in_batches, judged
from mdm_jax import models, tasks
from mdm_jax.evaluation import estimate_profile, latent_profile
from mdm_jax.models import LatentDenoiser
from mdm_jax.models.denoiser import Denoiser
from mdm_jax.tasks.text_files import TextTask
from mdm_jax.theory import plans
from mdm_jax.theory.plans import Plan
from mdm_jax.training import LatentSurrogate, Settings, fit
from mdm_jax.training import Run as Trained
from mdm_jax.training.objective import MASKED_NELBO, Objective

CLAIM = Claim(
    "text written in 4 steps has a better trigram score at no lower entropy (95 % intervals over rows) if the model "
    "has a latent, drawn once: global, for 8 and for 4 characters, by equal sizes and by the tuned plan, at equal "
    "parameters and training compute",
    source="arXiv 2510.23606",
    minutes=10,
)
LENGTH, WIDTH, DEPTH, HEADS, LATENT_SIZE = 64, 64, 3, 4, 8
BLOCKS = {"no latent": None, "global": LENGTH, "block 8": 8, "block 4": 4}
ALONE = ", Adam"
NAMES = (*BLOCKS, *(f"{name}{ALONE}" for name in list(BLOCKS)[1:]))
EXPANSION = 4.33
"""Of the model without a latent: wider feed-forward layers make up for what a latent takes."""
STEPS = {"no latent": 1500, "global": 1120, "block 8": 1060, "block 4": 1000}
"""Processor milliseconds of a step: 21 without a latent, 28 with one, 32 with 16: the same time in all."""
BATCH, WARMUP, FREE_BITS = 16, 0.3, 8.0
BUDGETS, ROWS, ENCODINGS, LATENTS = (4, 8, 16, 32), 384, 2048, 16
WORST = 4
"""The budget that the claim is of."""
Z = 1.96
_SEEDS = (0,)
_ADAM = ("head", "modulation", "latent_", "recognition_mean", "recognition_log_scale")


def model(name: str, vocab_size: int, quick: bool) -> tuple[Denoiser, Objective]:
    """A model of equal size, and what it is trained on; a tiny one if ``quick``."""
    block, sizes = BLOCKS[name.removesuffix(ALONE)], (8, 1, 2) if quick else (WIDTH, DEPTH, HEADS)
    if block is None:
        return models.transformer(vocab_size, LENGTH, *sizes, expansion=EXPANSION), MASKED_NELBO
    made = models.latent_transformer(vocab_size, LENGTH, *sizes, latent_size=LATENT_SIZE, block=block, share=True)
    return made, LatentSurrogate(warmup=WARMUP, free_bits=0.0 if name.endswith(ALONE) else FREE_BITS)


def kept_from_muon(steps: int) -> optax.GradientTransformation:
    """The library's Muon, but for what a latent passes on its way in and out, which is Adam's."""
    usual = Settings(steps=steps)
    warm = round(usual.warmup * steps)

    def rate(peak: float) -> optax.Schedule:
        return optax.schedules.join_schedules(
            (optax.linear_schedule(peak / warm, peak, warm - 1), optax.linear_schedule(peak, 0.0, steps - warm)),
            (warm,),
        )

    def axes(params: Any) -> Any:
        def one(path: Any, leaf: Any) -> Any:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            inside = name.endswith("kernel") and leaf.ndim == 2 and not any(part in name for part in _ADAM)
            return optax.contrib.MuonDimensionNumbers(0, 1) if inside else None

        return jax.tree_util.tree_map_with_path(one, params)

    muon = optax.contrib.muon(
        rate(usual.learning_rate), weight_decay=0.0, adam_learning_rate=rate(usual.adam_fraction * usual.learning_rate),
        adam_b1=0.9, adam_b2=0.95, muon_weight_dimension_numbers=axes,
    )  # fmt: skip
    return optax.chain(optax.clip_by_global_norm(usual.clip), muon)


def trained(experiment: Experiment, task: TextTask, name: str, seed: int) -> tuple[Trained, dict[str, float]]:
    """A model, and the last figures of its log; two steps in memory if it is a quick run."""
    denoiser, objective = model(name, task.vocab_size, experiment.quick)
    settings = Settings(steps=2 if experiment.quick else STEPS[name.removesuffix(ALONE)], batch=BATCH, seed=seed)
    folder = (
        None
        if experiment.quick
        else experiment.folder / "models" / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
    )
    optimizer = kept_from_muon(settings.steps) if name.endswith(ALONE) and not experiment.quick else None
    last: dict[str, float] = {}
    run = fit(
        denoiser, task, settings=settings, objective=objective, optimizer=optimizer, directory=folder, progress=False,
        on_report=lambda step, figures: last.update(figures),
    )  # fmt: skip
    return run, last if folder is None else run.place.read_log()[-1]


def ways(run: Trained, task: TextTask, quick: bool) -> dict[str, tuple[Denoiser, Any]]:
    """How a model samples: what the sampler is given, and the profile that plans are tuned by."""
    encodings, key = 64 if quick else ENCODINGS, jax.random.key(0)
    rows = task.validation[: 8 if quick else None]
    if not isinstance(run.denoiser, LatentDenoiser):
        return {"": (run.denoiser, estimate_profile(run.denoiser, run.params, rows, encodings, key=key))}
    once = latent_profile(run.denoiser, run.params, rows, encodings, key=key)
    average = latent_profile(run.denoiser, run.params, rows, encodings // 2, key=key, predictor="marginal",
                             latents=LATENTS)  # fmt: skip
    return {"once": (run.denoiser, once), "redrawn": (models.redrawn(run.denoiser), average)}


def written(experiment: Experiment, task: TextTask, name: str, seed: int) -> dict[str, Any]:
    """One model: what it is, and its samples' figures, row by row."""
    run, log = trained(experiment, task, name, seed)
    quick = experiment.quick
    samples: dict[str, Any] = {}
    for way, (denoiser, profile) in ways(run, task, quick).items():
        for steps in BUDGETS[:1] if quick else BUDGETS:
            chosen: dict[str, Plan] = {
                "linear": plans.uniform(LENGTH, steps), "tuned": plans.optimal(profile, steps)
            }  # fmt: skip
            for named, plan in chosen.items():
                count, key = 16 if quick else ROWS, jax.random.key(1 + seed)
                drawn = in_batches(denoiser, run.params, plan, LENGTH, count, key, batch=16 if quick else 128)
                values = judged(task, drawn.tokens)
                entry = {"sizes": plan.sizes.tolist(), "score": values["score"], "entropy": values["entropy"]}
                entry["shown"] = [task.show(row) for row in drawn.tokens[:2]]
                samples[f"{way}/{named}/{steps}"] = entry
    told = ("held_out_bits_per_token", "held_out_kl_nats", "held_out_active_units", "held_out_pair_information_nats")
    return {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(run.params)),
        "log": {one: log[one] for one in told if one in log},
        "samples": samples,
    }


def mean(values: Any) -> list[float]:
    """The mean over rows and its interval."""
    array = np.asarray(values, np.float64)
    middle, half = float(array.mean()), Z * float(array.std(ddof=1) / np.sqrt(len(array)))
    return [middle, middle - half, middle + half]


def compared(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Of every way to sample: score and entropy, and the differences from no latent by the same plan in as many steps.

    Rows of all seeds are put together.
    """
    seeds = sorted({place.split("/")[1] for place in parts})
    found: dict[str, Any] = {}
    for name in dict.fromkeys(place.split("/")[0] for place in parts):
        of_seed = [parts[f"{name}/{seed}"]["samples"] for seed in seeds]
        for place, first in of_seed[0].items():
            _, plan, steps = place.split("/")
            base = [parts[f"no latent/{seed}"]["samples"][f"/{plan}/{steps}"] for seed in seeds]
            entry: dict[str, Any] = {"sizes": [one[place]["sizes"] for one in of_seed], "shown": first["shown"]}
            for what in ("score", "entropy"):
                mine = [np.asarray(one[place][what]) for one in of_seed]
                theirs = [np.asarray(one[what]) for one in base]
                entry[what] = mean(np.concatenate(mine))
                entry[f"{what} less"] = mean(np.concatenate(mine) - np.concatenate(theirs))
            found[f"{name}/{place}"] = entry
    return found


def run(experiment: Experiment) -> Run:
    """Train, write, compare; every model is a part."""
    task = tasks.text(length=LENGTH)
    seeds = _SEEDS
    parts = {
        f"{name}/{seed}": experiment.part(
            f"{name}, seed {seed}", lambda name=name, seed=seed: written(experiment, task, name, seed)
        )
        for seed in seeds
        for name in (list(BLOCKS)[:2] if experiment.quick else NAMES)
    }
    held = judged(task, np.concatenate([task.validation, task.test])[: len(seeds) * ROWS])
    results = {
        "models": {place: {what: part[what] for what in ("parameters", "log")} for place, part in parts.items()},
        "held_out": {what: mean(values) for what, values in held.items()},
        "ways": compared(parts),
        "rows": len(seeds) * (16 if experiment.quick else ROWS),
    }
    return Run(results, picture(results))


def rounded(values: list[float]) -> list[float]:
    """To what may be quoted."""
    return [round(one, 4) for one in values]


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """Gains over no latent, of which those in 4 steps with the latent drawn once are the claim."""
    figures: dict[str, Any] = {}
    gains: dict[str, bool] = {}
    for place, entry in results["ways"].items():
        name, way, plan, steps = place.split("/")
        said = f"{name}{', ' + way if way else ''}, {plan}, K = {steps}"
        if not way:
            figures |= {f"{what}, {said}": rounded(entry[what]) for what in ("score", "entropy")}
            continue
        score, entropy = entry["score less"], entry["entropy less"]
        figures |= {f"score less none, {said}": rounded(score), f"entropy less none, {said}": rounded(entropy)}
        gains[place] = score[2] < 0 and entropy[2] >= 0
    for place, one in results["models"].items():
        figures |= {f"{what.replace('_', ' ')}, {place}": value for what, value in one["log"].items()}
        figures[f"parameters, {place}"] = one["parameters"]
    figures |= {f"{what}, held-out rows": rounded(value) for what, value in results["held_out"].items()}
    claimed = [held for place, held in gains.items() if "/once/" in place and place.endswith(f"/{WORST}")]
    figures |= {"comparisons of the claim": len(claimed), "of these a gain": sum(claimed)}
    for steps in sorted({int(place.split("/")[3]) for place in gains}):
        of_steps = [held for place, held in gains.items() if place.endswith(f"/{steps}")]
        figures[f"comparisons with a gain, K = {steps}"] = sum(of_steps)
        figures[f"comparisons, K = {steps}"] = len(of_steps)
    said = []
    for name in dict.fromkeys(place.split("/")[0] for place in gains):
        middle, low, high = results["ways"][f"{name}/once/linear/{WORST}"]["score less"]
        said.append(f"{name} {middle:+.3f} ({low:+.3f} to {high:+.3f})")
    return Conclusion(
        "holds" if all(claimed) else "partly" if any(claimed) else "does not",
        f"{sum(claimed)} of {len(claimed)} comparisons in {WORST} steps are a gain; trigram bits per character "
        f"by equal sizes, latent less none: {', '.join(said)}",
        figures,
        f"{results['rows']} samples of {LENGTH} characters of each way, one training of each model",
    )


def picture(results: Mapping[str, Any]) -> Figure:
    """Score less that of no latent, above, and entropy likewise, below, against the number of steps."""
    colours = dict(zip(NAMES[1:], ("#9cc3e4", "#9fcdb5", "#ecae8e", "#1d6fb8", "#2e8059", "#c2410c")))
    found = results["ways"]
    budgets = sorted({int(place.split("/")[3]) for place in found})
    figure = Figure(figsize=(10, 5.4), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True, sharey="row")
    for column, plan in zip(panels.T, ("linear", "tuned")):
        for axes, what in zip(column, ("score", "entropy")):
            axes.axhline(0, color="#888888", linewidth=0.8)
            for i, (name, colour) in enumerate(colours.items()):
                if f"{name}/once/{plan}/{budgets[0]}" not in found:
                    continue  # a quick run
                for j, (way, mark) in enumerate((("once", "o"), ("redrawn", "s"))):
                    values = np.array([found[f"{name}/{way}/{plan}/{steps}"][f"{what} less"] for steps in budgets])
                    at = np.arange(len(budgets)) + 0.07 * (2 * i + j - 5.5)
                    axes.errorbar(
                        at, values[:, 0], values[:, 2] - values[:, 0], fmt=mark, color=colour, markersize=3,
                        markerfacecolor=colour if way == "once" else "white", elinewidth=1, label=f"{name}, {way}",
                    )  # fmt: skip
            axes.spines[["top", "right"]].set_visible(False)
            axes.set_xticks(range(len(budgets)), [str(steps) for steps in budgets])
        column[0].set_title(f"{plan} plan")
        column[1].set_xlabel("steps for 64 characters")
    panels[0, 0].set_ylabel("trigram bits per character,\nlatent less none (below 0: better)", fontsize=8)
    panels[1, 0].set_ylabel("samples' own entropy,\nlatent less none", fontsize=8)
    marks, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(marks, labels, loc="outside lower center", ncols=6, fontsize=7, frameon=False)
    return figure
