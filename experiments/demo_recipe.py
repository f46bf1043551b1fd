"""Which model gives the better page in the demo's time: bidirectional, or any-order with its exact cache?

All of ``mdm-jax demo`` on its text, for both kinds of model at equal sizes: training, profile and held-out loss, tuned
plans, samples, the report; every stage in processor seconds, compiling included. The any-order model takes as many
steps as the bidirectional one's training time allows (its step asks at every position, and costs nearly twice as much).
The held-out figure is each model's own NELBO of the test half. Beside the page, samples by each model's own optimal
plans are scored: bits per character under an n-gram model of the training part, and their own entropy, for a sampler
that repeats itself scores well.
"""

import functools
import shutil
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from experiments.tools.held_out import bits_of_rows
from mdm_jax.app.options.scoring import OWN_ENTROPY, scores_of
from mdm_jax.app.work import demo, training
from mdm_jax.evaluation import evaluate
from mdm_jax.theory import plans
from mdm_jax.training import objectives

CLAIM = Claim(
    "in the processor time of the demo's 1,600 bidirectional steps (within 5%) an any-order model of equal size has "
    "fewer held-out bits per character (the 95% interval over held-out rows is below 0), its whole page takes no more "
    "processor time, and its samples by tuned plans score no worse at 4, 8, 16 and 32 steps (a probe was known)",
    source="ours",
    minutes=12,
    seeds=(0,),
)
STEPS = {"bidirectional": 1600, "any_order": 800}
BUDGETS, SAMPLES, REPEATS = (4, 8, 16, 32), 128, 8
QUICK = {"width": 16, "depth": 1, "heads": 2, "length": 32, "batch": 4}


def run(experiment: Experiment) -> Run:
    """The whole page of both kinds."""
    results: dict[str, Any] = {}
    for kind in STEPS:
        page = experiment.part(kind, lambda kind=kind: made(experiment, kind))
        results[kind] = page
        print(f"{kind}: {np.mean(page['bits']):.3f} bits, {total(page):.0f} processor seconds")
    return Run(results, picture(results))


def made(experiment: Experiment, kind: str) -> dict[str, Any]:
    """One demo from nothing, and samples by its plans."""
    directory = experiment.folder / f"run-{kind}"
    shutil.rmtree(directory, ignore_errors=True)
    jax.clear_caches()
    settings = {"steps": 4, **QUICK} if experiment.quick else {"steps": STEPS[kind]}
    encodings, rows, grid = (64, 4, 4) if experiment.quick else (4096, 64, None)
    begin = functools.partial(training.start, directory, "text", "demo", settings, learning={"model": kind})
    page = demo.make(begin, encodings, check_rows=rows, grid=grid)
    trained, task = page.trained, page.trained.task
    objective, nat = objectives.default_objective(trained.denoiser), 1 / (task.length * np.log(2))
    optimal = {str(budget): plans.optimal(page.profile, budget) for budget in BUDGETS}
    found = evaluate(
        trained.denoiser,
        trained.params,
        optimal,
        4 if experiment.quick else SAMPLES,
        scores_of(task),
        key=jax.random.key(CLAIM.seeds[0]),
        length=task.length,
    )
    names = task.score_name, OWN_ENTROPY
    return {
        "bits": bits_of_rows(trained.denoiser, objective, trained.params, task.test, REPEATS),
        "stages": {name: one["processor_seconds"] for name, one in page.took.items()},
        "plans": [page.profile.expected_nelbo(plan.sizes) * nat for plan in optimal.values()],
        "scores": {name: {"means": found.means(name), "errors": found.standard_errors(name)} for name in names},
        "score": task.score_name,
    }


def total(page: Mapping[str, Any]) -> float:
    """Processor seconds of the whole page."""
    return sum(page["stages"].values())


def around(mean: float, error: float) -> list[float]:
    """A figure with its 95 % interval."""
    return [mean, mean - 1.96 * error, mean + 1.96 * error]


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """Held-out bits, time and samples, each against the bidirectional model's."""
    one, other = results["any_order"], results["bidirectional"]
    rows = np.asarray(one["bits"]) - np.asarray(other["bits"])
    bits = around(float(rows.mean()), float(rows.std(ddof=1) / np.sqrt(len(rows))))
    training_share, share = one["stages"]["training"] / other["stages"]["training"], total(one) / total(other)
    figures: dict[str, Any] = {
        "held-out bits per character, any-order less bidirectional": bits,
        "processor time of training, any-order over bidirectional": training_share,
        "processor time of the page, any-order over bidirectional": share,
    }
    for kind, page in results.items():
        figures[f"{kind}, held-out bits per character"] = float(np.mean(page["bits"]))
        figures[f"{kind}, processor seconds of the page"] = total(page)
        for stage, seconds in page["stages"].items():
            figures[f"{kind}, processor seconds of {stage}"] = seconds
        for budget, cost in zip(BUDGETS, page["plans"], strict=True):
            figures[f"{kind}, {budget} steps, expected NELBO of the optimal plan, bits per character"] = cost
    worse = 0
    for name in one["scores"]:
        values, others = one["scores"][name], other["scores"][name]
        for i, budget in enumerate(BUDGETS):
            error = float(np.hypot(values["errors"][i], others["errors"][i]))
            gap = around(values["means"][i] - others["means"][i], error)
            figures[f"{budget} steps, {name}, any-order less bidirectional"] = gap
            worse += name == one["score"] and gap[1] > 0
    held = [abs(training_share - 1) <= 0.05 and bits[2] < 0, share <= 1, worse == 0]
    return Conclusion(
        "holds" if all(held) else "partly" if any(held) else "does not",
        f"any-order less bidirectional: {bits[0]:+.3f} ({bits[1]:+.3f} to {bits[2]:+.3f}) bits per character held out; "
        f"training takes {training_share:.2f} of the processor time, the whole page {share:.2f}; samples score worse "
        f"at {worse} of {len(BUDGETS)} budgets",
        figures,
        f"one training of each kind, {len(rows)} held-out rows, {SAMPLES} samples of each plan",
    )


def picture(results: Mapping[str, Any]) -> Figure:
    """Processor seconds of each stage, and the cost of the optimal plans."""
    figure = Figure(figsize=(8, 3))
    left, right = figure.subplots(1, 2)
    for i, (kind, page) in enumerate(results.items()):
        at = 0.0
        for j, (stage, seconds) in enumerate(page["stages"].items()):
            left.barh(i, seconds, left=at, color=f"C{j}", label=stage if i == 0 else None)
            at += seconds
        right.plot(BUDGETS, page["plans"], marker="o", label=kind)
    left.set(yticks=range(len(results)), yticklabels=list(results), xlabel="processor seconds")
    right.set(xscale="log", xticks=BUDGETS, xticklabels=BUDGETS, xlabel="steps", ylabel="bits per character")
    left.legend(fontsize="x-small")
    right.legend(fontsize="x-small")
    figure.tight_layout()
    return figure
