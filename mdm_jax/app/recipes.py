"""Settings that are known to work, by name, and how command-line options change them."""

import argparse
import dataclasses
from typing import Any

from mdm_jax import models
from mdm_jax.models.adapters import LinenDenoiser
from mdm_jax.tasks import Task
from mdm_jax.training import Settings

RECIPES: dict[str, dict[str, Any]] = {
    # Two to four minutes on two CPU cores.
    "demo": {"steps": 1600, "batch": 8, "average": 0.99, "width": 128, "depth": 3, "heads": 4},
    # Under an hour on two CPU cores.
    "long": {
        "steps": 5000,
        "batch": 8,
        "average": 0.998,
        "weight_decay": 0.05,
        "width": 128,
        "depth": 4,
        "heads": 4,
    },
}
_MODEL = ("width", "depth", "heads")


def settings_and_model(recipe: str, task: Task, overrides: argparse.Namespace) -> tuple[Settings, LinenDenoiser]:
    """The settings and the model that ``recipe`` and the options given on the command line describe."""
    chosen = dict(RECIPES[recipe])
    names = [field.name for field in dataclasses.fields(Settings)] + list(_MODEL)
    for name in names:
        value = getattr(overrides, name, None)
        if value is not None:
            chosen[name] = value
    model = {name: chosen.pop(name) for name in _MODEL}
    chosen["length"] = task.length
    return Settings(**chosen), models.transformer(task.vocab_size, length=task.length, **model)
