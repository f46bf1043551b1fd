"""``mdm-jax demo``: the main job, from real text to a tuned sampler and a page that explains it."""

import argparse
import contextlib
import time
from collections.abc import Iterator, Mapping

from mdm_jax.app.options.budgets import budgets_of
from mdm_jax.app.options.results import check_grid
from mdm_jax.app.report import writing
from mdm_jax.app.terminal.output import show
from mdm_jax.app.work import measuring, reporting, training, tuning
from mdm_jax.support.progress import remark
from mdm_jax.support.text import table

SEED = 0
STAGES = 5

Seconds = dict[str, dict[str, float]]
"""What each stage took by the clock, and of all processors."""


def run(options: argparse.Namespace) -> None:
    """Train (or load what is trained), measure, tune, sample, report."""
    check_grid(options.grid)
    took: Seconds = {}
    with _stage(took, "training", "train a masked diffusion model"):
        trained = training.start(options.directory, options.task, options.recipe, training.overrides_of(options))
    with _stage(took, "profile", "measure its information profile and held-out loss"):
        profile, held_out = measuring.measure(trained, options.encodings, SEED)
    budgets = budgets_of(options.budgets, profile.length)
    asked = ", ".join(map(str, budgets))
    with _stage(took, "tuning", f"find the best schedules for {asked} steps, and check the prediction"):
        subject = tuning.Subject(profile, trained.place, trained)
        tuned = tuning.make_plans(subject, budgets, options.check_rows, SEED, options.grid)
    with _stage(took, "samples", "sample with hand-crafted and tuned schedules"):
        reporting.draw(trained)
    with _stage(took, "report", "write the report"):
        page = writing.write(trained.place)
    result = {"training": training.summary(trained), "held_out": held_out, "tuning": tuned, "report": str(page)}
    parts = [measuring.describe(profile, held_out), tuning.describe(tuned), describe(took)]
    text = "\n\n".join([*parts, f"Open {page} in a browser."])
    show(result | {"stages": took}, text, options.json)


def describe(took: Mapping[str, Mapping[str, float]]) -> str:
    """Where the time went, stage by stage."""
    rows = [[name, *(f"{value:.1f}" for value in seconds.values())] for name, seconds in took.items()]
    return table(["stage", "seconds", "processor seconds"], rows)


@contextlib.contextmanager
def _stage(took: Seconds, name: str, title: str) -> Iterator[None]:
    """A numbered heading on standard error; what the stage took is put into ``took``."""
    remark(f"[{len(took) + 1}/{STAGES}] {title}")
    wall, processor = time.perf_counter(), time.process_time()
    yield
    took[name] = {"seconds": time.perf_counter() - wall, "processor_seconds": time.process_time() - processor}
