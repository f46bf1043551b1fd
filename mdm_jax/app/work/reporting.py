"""``mdm-jax report``: the page that explains a run, and samples by the plans of ``tuning.json`` for it."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mdm_jax.app.report import run_files, writing
from mdm_jax.app.report.run_files import SAMPLES_FORMAT
from mdm_jax.app.terminal.output import show
from mdm_jax.app.work.rows import as_rows
from mdm_jax.sampling import sample
from mdm_jax.support.commands import command
from mdm_jax.support.errors import InputError
from mdm_jax.support.files import write_json
from mdm_jax.support.keys import key_of
from mdm_jax.support.statistics import standard_error
from mdm_jax.theory.plans import Plan
from mdm_jax.training import Run, RunDirectory, load

SHOWN_ROLES = ("best hand-crafted", "optimal")
ROWS = 2
SCORED_ROWS = 16
SEED = 0


def run(options: argparse.Namespace) -> None:
    """Write ``report.html`` from whatever the run directory holds."""
    place = RunDirectory(Path(options.directory))
    if options.samples:
        draw(load(place.path))
    path = writing.write(place)
    show({"report": str(path)}, f"{path} is written; open it in a browser.", options.json)


def draw(trained: Run) -> None:
    """Draw samples by the tuned plans, side by side, into the run directory.

    Raises:
        InputError: nothing has been tuned, or from another profile than the run has now.
    """
    place = trained.place
    tuning, again = run_files.read(place).tuning, command("tune", place.path)
    if tuning is None:
        raise InputError(f"{place.path} has no plans to sample with yet; make them with: {again}")
    if tuning["profile_digest"] != trained.profile.digest:
        raise InputError(
            f"{place.tuning} was made from another profile than {place.profile} is now; tune with: {again}"
        )
    write_json(place.samples, drawn(trained, tuning))


def drawn(trained: Run, tuning: Mapping[str, Any]) -> dict[str, Any]:
    """The content of ``samples.json``: a panel per budget and role; equal seeds, so equal orders and noise."""
    task, panels = trained.task, []
    for budget in tuning["budgets"]:
        of_role: dict[str, Plan] = {entry["role"]: entry["plan"] for entry in budget["plans"]}
        for role, plan in ((role, of_role[role]) for role in SHOWN_ROLES if role in of_role):
            out = sample(trained.denoiser, trained.params, plan, SCORED_ROWS, key=key_of(SEED))
            scores = task.score(np.asarray(out.tokens))
            rows = [{**row, "score": float(score)} for row, score in zip(as_rows(trained, out), scores)]
            panels.append(
                {
                    "role": role,
                    "plan": plan.name,
                    "budget": budget["steps"],
                    "steps": plan.steps,
                    "rows": rows[:ROWS],
                    "scored_rows": len(scores),
                    "mean_score": float(scores.mean()),
                    "score_standard_error": standard_error(scores),
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
