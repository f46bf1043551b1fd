"""``mdm-jax demo``: the main job, from real text to a tuned sampler and a page that explains it."""

import argparse
import sys

from mdm_jax.app.report import writing as report
from mdm_jax.app.terminal.output import show
from mdm_jax.app.work import measuring as profile
from mdm_jax.app.work import tuned_samples
from mdm_jax.app.work import tuning as tune
from mdm_jax.app.work.training import start, summary

BUDGETS = list(tune.BUDGETS)
PASSES = 4096
CHECK_ROWS = 64
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
    tuned_samples.write(trained)
    say("write the report")
    page = report.write(trained.place)
    result = {"training": summary(trained), "held_out": held_out, "tuning": tuned, "report": str(page)}
    text = f"{profile.describe(measured, held_out)}\n\n{tune.describe(tuned)}\n\nOpen {page} in a browser."
    show(result, text, options.json)


class _Steps:
    """Numbered headings on standard error."""

    def __init__(self, total: int) -> None:
        self._total, self._done = total, 0

    def __call__(self, title: str) -> None:
        self._done += 1
        print(f"[{self._done}/{self._total}] {title}", file=sys.stderr, flush=True)
