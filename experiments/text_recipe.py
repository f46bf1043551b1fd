"""The recipes learn: on held-out text the demo beats the character bigram, the long recipe beats it by half a bit.

Both are judged on the test half, in bits per character, beside back-off n-grams in the same windows.
"""

import dataclasses

import jax
from matplotlib.figure import Figure

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from mdm_jax import models, tasks
from mdm_jax.app.options.recipes import settings_and_model
from mdm_jax.evaluation import judge
from mdm_jax.training import fit

LENGTH = 128
DEMO_LIMIT = 3.6
LONG_MARGIN = 0.5


def run(experiment: Experiment) -> None:
    """Train both recipes (resumable, under the results folder) and compare."""
    task = tasks.text(length=LENGTH)
    results, held = {}, []
    for recipe in ("demo",) if experiment.quick else ("demo", "long"):
        settings, denoiser = settings_and_model(recipe, task, {})
        directory = experiment.folder / f"run-{recipe}"
        if experiment.quick:
            settings = dataclasses.replace(settings, steps=20, batch=4)
            denoiser, directory = models.transformer(task.vocab_size, length=LENGTH, width=16, depth=1), None
        trained = fit(denoiser, task, settings=settings, directory=directory)
        judged = judge(denoiser, trained.params, task, key=jax.random.key(1), progress=True)
        margins = {row["name"]: row["margin"] for row in judged["baselines"]}
        print(f"{recipe}: {judged['bits_per_token']:.3f} ± {judged['standard_error']:.3f} bits per character; margins")
        print("  " + ", ".join(f"{name} {margin:+.3f}" for name, margin in margins.items()))
        results[recipe] = judged
        demo = judged["bits_per_token"] < DEMO_LIMIT and margins["bigram"] > 0
        held.append(demo if recipe == "demo" else margins["bigram"] >= LONG_MARGIN)
    figure = Figure(figsize=(6, 2.6))
    axes = figure.subplots()
    bars = {row["name"]: row["bits_per_token"] for row in results["demo"]["baselines"]}
    bars |= {f"{recipe} recipe": judged["bits_per_token"] for recipe, judged in results.items()}
    ordered = sorted(bars.items(), key=lambda bar: -bar[1])
    axes.barh([name for name, _ in ordered], [bits for _, bits in ordered], color="#4c72b0")
    axes.set_xlabel("held-out bits per character (test half)")
    claim = "the demo recipe beats the character bigram, the long recipe beats it by half a bit"
    verdict = "not tested" if experiment.quick else "holds" if all(held) else "partly" if any(held) else "does not"
    experiment.finish(claim, verdict, results, figure)
