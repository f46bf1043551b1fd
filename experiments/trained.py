"""Models that several experiments share: the demo recipe on a task, trained once and kept beside the results."""

import dataclasses
from pathlib import Path

from mdm_jax import models, tasks
from mdm_jax.app.options.recipes import settings_and_model
from mdm_jax.tasks import Task
from mdm_jax.training import Run, fit

FOLDER = Path(__file__).parent / "results" / "models"


def trained(spec: str, quick: bool) -> tuple[Run, Task]:
    """The demo recipe's model of a task (four to eight minutes the first time); a tiny one, in memory, if ``quick``."""
    task = tasks.from_spec(spec)
    settings, denoiser = settings_and_model("demo", task, {})
    if quick:
        settings = dataclasses.replace(settings, steps=20, batch=4)
        return fit(
            models.transformer(task.vocab_size, length=task.length, width=16, depth=1), task, settings=settings
        ), task
    return fit(denoiser, task, settings=settings, directory=FOLDER / spec.replace(":", "-")), task


if __name__ == "__main__":
    for name in ("digits", "text", "code"):
        trained(name, quick=False)
