"""The recipes learn: on held-out text the demo beats the character bigram, the long recipe beats it by half a bit.

Both are judged on the test half, in bits per character, beside back-off n-grams in the same windows.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
from matplotlib.figure import Figure

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from mdm_jax import models, tasks
from mdm_jax.app.options.recipes import settings_and_model
from mdm_jax.evaluation import judge
from mdm_jax.tasks.text_files import TextTask
from mdm_jax.training import fit

CLAIM = Claim(
    "the demo recipe beats the character bigram on held-out text, the long recipe beats it by half a bit",
    source="ours",
    minutes=25,
    seeds=(0, 1),
)
LENGTH = 128
DEMO_LIMIT = 3.6
LONG_MARGIN = 0.5


def run(experiment: Experiment) -> Run:
    """Train both recipes (resumable, under the results folder) and compare."""
    task = tasks.text(length=LENGTH)
    results: dict[str, Any] = {}
    for recipe in ("demo",) if experiment.quick else ("demo", "long"):
        results[recipe] = experiment.part(f"recipe {recipe}", lambda recipe=recipe: judged(experiment, recipe, task))
        margins = {row["name"]: row["margin"] for row in results[recipe]["baselines"]}
        print(f"{recipe}: {spread(results[recipe])} bits per character; margins")
        print("  " + ", ".join(f"{name} {margin:+.3f}" for name, margin in margins.items()))
    return Run(results, picture(results))


def judged(experiment: Experiment, recipe: str, task: TextTask) -> dict[str, Any]:
    """Train one recipe (an interrupted training goes on) and judge it on the test half."""
    settings, denoiser = settings_and_model(recipe, task, {})
    directory = experiment.folder / f"run-{recipe}"
    if experiment.quick:
        settings = dataclasses.replace(settings, steps=20, batch=4)
        denoiser, directory = models.transformer(task.vocab_size, length=LENGTH, width=16, depth=1), None
    trained = fit(denoiser, task, settings=settings, directory=directory)
    return judge(denoiser, trained.params, task, key=jax.random.key(1), progress=True)


def spread(one: Mapping[str, Any]) -> str:
    return f"{one['bits_per_token']:.3f} ± {one['standard_error']:.3f}"


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """The demo against the bigram and its own limit, the long recipe against the bigram by a margin."""
    figures: dict[str, Any] = {}
    margins = {name: {row["name"]: row for row in one["baselines"]} for name, one in results.items()}
    for recipe, one in results.items():
        value, error = one["bits_per_token"], one["standard_error"]
        figures |= {f"{recipe}, bits per character": value, f"{recipe}, standard error": error}
        for name, row in margins[recipe].items():
            figures |= {f"{recipe}, margin over {name}": row["margin"], f"{name}, bits": row["bits_per_token"]}
            figures |= {f"{recipe}, standard error of the margin over {name}": row["margin_standard_error"]}
    held = [results["demo"]["bits_per_token"] < DEMO_LIMIT and margins["demo"]["bigram"]["margin"] > 0]
    if "long" in results:
        held.append(margins["long"]["bigram"]["margin"] >= LONG_MARGIN)
    return Conclusion(
        "holds" if all(held) else "partly" if any(held) else "does not",
        "bits per character on the test half, ± standard error: "
        + ", ".join(f"{recipe} {spread(one)}" for recipe, one in results.items())
        + f"; bigram {margins['demo']['bigram']['bits_per_token']:.3f}",
        figures,
        f"{results['demo']['rows']} held-out sequences, one training of each recipe",
    )


def picture(results: Mapping[str, Any]) -> Figure:
    """Bits per character of n-grams and recipes."""
    figure = Figure(figsize=(6, 2.6))
    axes = figure.subplots()
    bars = {row["name"]: row["bits_per_token"] for row in results["demo"]["baselines"]}
    bars |= {f"{recipe} recipe": one["bits_per_token"] for recipe, one in results.items()}
    ordered = sorted(bars.items(), key=lambda bar: -bar[1])
    axes.barh([name for name, _ in ordered], [bits for _, bits in ordered], color="#4c72b0")
    axes.set_xlabel("held-out bits per character (test half)")
    return figure
