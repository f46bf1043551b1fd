"""Models that several experiments share: the demo recipe on a task, trained once and kept beside the runs."""

import dataclasses

from experiments.tools.catalogue import Places
from mdm_jax import models, tasks
from mdm_jax.app.options.recipes import settings_and_model
from mdm_jax.tasks import Task
from mdm_jax.training import Run, fit


def trained(spec: str, quick: bool) -> tuple[Run, Task]:
    """The demo recipe's bidirectional model of a task (minutes the first time); a tiny one, in memory, if ``quick``."""
    task = tasks.from_spec(spec)
    settings, denoiser = settings_and_model("demo", task, {}, {"model": "bidirectional"})
    if quick:
        settings = dataclasses.replace(settings, steps=20, batch=4)
        small = models.transformer(task.vocab_size, length=task.length, width=16, depth=1)
        return fit(small, task, settings=settings), task
    folder = Places().folder("models", quick) / spec.replace(":", "-")
    return fit(denoiser, task, settings=settings, directory=folder), task


if __name__ == "__main__":
    for name in ("digits", "text", "code"):
        trained(name, quick=False)
