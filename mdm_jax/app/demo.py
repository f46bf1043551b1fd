"""``mdm-jax demo``: the main job, from real text to a tuned sampler and a page that explains it."""

import argparse
import sys
from typing import Any

import jax
import numpy as np

from mdm_jax.app import profile, report, tune
from mdm_jax.app.output import show
from mdm_jax.app.run_files import SAMPLES_FORMAT
from mdm_jax.app.sample import as_rows
from mdm_jax.app.train import start, summary
from mdm_jax.sampling import sample
from mdm_jax.support.files import write_json
from mdm_jax.theory.plans import Plan, load
from mdm_jax.training import Run

BUDGETS = list(tune.BUDGETS)
PASSES = 4096
CHECK_ROWS = 64
SHOWN_ROLES = ("best hand-crafted", "optimal")
ROWS = 2
SCORED_ROWS = 16
SEED = 0


def run(options: argparse.Namespace) -> None:
    """Train (or load what is trained), measure, tune, sample, report."""
    say = _Steps(5)
    say("train a masked diffusion model")
    trained = start(options.directory, options.task)
    say("measure its information profile and held-out loss")
    measured, held_out = profile.measure(trained, PASSES, SEED)
    say("find the best schedules for " + ", ".join(map(str, BUDGETS)) + " steps, and check the prediction")
    tuned = tune.make_plans(tune.Subject(measured, trained.place, trained), BUDGETS, CHECK_ROWS, SEED)
    say("sample with hand-crafted and tuned schedules")
    samples = draw_samples(trained)
    write_json(trained.place.samples, samples)
    say("write the report")
    page = report.write(trained.place)
    result = {"training": summary(trained), "held_out": held_out, "tuning": tuned, "report": str(page)}
    text = f"{profile.describe(measured, held_out)}\n\n{tune.describe(tuned)}\n\nOpen {page} in a browser."
    show(result, text, options.json)


def draw_samples(trained: Run) -> dict[str, Any]:
    """The content of ``samples.json``: a panel per budget and role; equal seeds, so equal orders and noise."""
    task = trained.task
    panels = []
    for steps in BUDGETS:
        for role in SHOWN_ROLES:
            plan: Plan = load(trained.place.plan(role, steps))
            drawn = sample(trained.denoiser, trained.params, plan, SCORED_ROWS, key=jax.random.key(SEED))
            scores = task.score(np.asarray(drawn.tokens))
            rows = [{**row, "score": float(score)} for row, score in zip(as_rows(trained, drawn), scores)]
            panels.append(
                {
                    "role": role,
                    "plan": plan.name,
                    "budget": steps,
                    "steps": plan.steps,
                    "rows": rows[:ROWS],
                    "scored_rows": len(scores),
                    "mean_score": float(scores.mean()),
                    "score_standard_error": float(scores.std(ddof=1) / np.sqrt(len(scores))),
                }
            )
    return {
        "format": SAMPLES_FORMAT,
        "temperature": 1.0,
        "seed": SEED,
        "score_name": task.score_name,
        "lower_is_better": task.lower_is_better,
        "reference_score": float(task.score(task.test).mean()),
        "panels": panels,
    }


class _Steps:
    """Numbered headings on standard error."""

    def __init__(self, total: int) -> None:
        self._total, self._done = total, 0

    def __call__(self, title: str) -> None:
        self._done += 1
        print(f"[{self._done}/{self._total}] {title}", file=sys.stderr, flush=True)
