"""``mdm-jax demo``: the main job, from real text to a tuned sampler and a page that explains it."""

import argparse
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from mdm_jax.app.options import models
from mdm_jax.app.options.budgets import budgets_of
from mdm_jax.app.options.results import check_grid
from mdm_jax.app.report import writing
from mdm_jax.app.terminal.output import show
from mdm_jax.app.work import measured, measuring, reporting, training, tuning
from mdm_jax.support.progress import remark
from mdm_jax.support.text import table
from mdm_jax.theory.profiles import Profile
from mdm_jax.training import Run

SEED = 0
STAGES = 5

Seconds = dict[str, dict[str, float]]
"""What each stage took by the clock, and of all processors."""


def run(options: argparse.Namespace) -> None:
    """Train (or load what is trained), measure, tune, sample, report."""
    check_grid(options.grid)
    given, learning = training.overrides_of(options), models.said_by(options)
    made = make(
        lambda: training.start(options.directory, options.task, options.recipe, given, learning=learning),
        options.encodings,
        options.budgets,
        options.check_rows,
        options.grid,
    )
    parts = [measured.describe(made.profile, made.held_out), tuning.describe(made.tuned, made.trained)]
    parts += [describe(made.took)]
    result = {
        "training": training.summary(made.trained),
        "held_out": made.held_out,
        "tuning": made.tuned,
        "report": made.page,
        "stages": made.took,
    }
    show(result, "\n\n".join([*parts, f"Open {made.page} in a browser."]), options.json)


class Made(NamedTuple):
    """What a demo leaves, and what each stage of it took."""

    trained: Run
    profile: Profile
    held_out: dict[str, Any]
    tuned: dict[str, Any]
    page: str
    took: Seconds


def make(
    begin: Callable[[], Run],
    encodings: int,
    budgets: str | None = None,
    check_rows: int = tuning.CHECK_ROWS,
    grid: int | None = None,
) -> Made:
    """All of a demo.

    Args:
        begin: trains a run, or loads what is trained.
        encodings: sequences to encode for the profile.
        budgets: numbers of steps, as ``--budgets`` takes them.
        check_rows: held-out sequences to check the prediction on.
        grid: as many Beta schedules are tried each way.
    """
    took: Seconds = {}
    with _stage(took, "training", "train a masked diffusion model"):
        trained = begin()
    with _stage(took, "profile", "measure its information profile and held-out loss"):
        profile, held_out = measuring.measure(trained, encodings, SEED)
    steps = budgets_of(budgets, profile.length)
    asked = ", ".join(map(str, steps))
    with _stage(took, "tuning", f"find the best schedules for {asked} steps, and check the prediction"):
        subject = tuning.Subject(profile, trained.place, trained)
        tuned = tuning.make_plans(subject, steps, check_rows, SEED, grid)
    with _stage(took, "samples", "sample with named and tuned schedules"):
        reporting.draw(trained)
    with _stage(took, "report", "write the report"):
        page = writing.write(trained.place)
    return Made(trained, profile, held_out, tuned, str(page), took)


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
