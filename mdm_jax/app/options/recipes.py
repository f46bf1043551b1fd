"""Settings that are known to work, by name, and how single settings change them."""

from collections.abc import Mapping
from typing import Any

from mdm_jax.app.options import models
from mdm_jax.models.adapters import LinenDenoiser
from mdm_jax.support.errors import InputError
from mdm_jax.tasks import Task
from mdm_jax.training import Settings

# Steps of every kind that take the same processor time: models with a cache are asked at all positions in each.
RECIPES: dict[str, dict[str, Any]] = {
    # Two to four minutes on two CPU cores.
    "demo": {
        "model": "any_order",  # ahead of a bidirectional one in about the same time (experiments/demo_recipe.py)
        "steps": {"bidirectional": 1600, "any_order": 800, "block_causal": 800},
        "batch": 8,
        "ema_decay": 0.99,
        "width": 128,
        "depth": 3,
        "heads": 4,
    },
    # Under an hour on two CPU cores.
    "long": {
        "model": "bidirectional",
        "steps": {"bidirectional": 5000, "any_order": 2600, "block_causal": 2600},
        "batch": 8,
        "ema_decay": 0.998,
        "weight_decay": 0.05,
        "width": 128,
        "depth": 4,
        "heads": 4,
    },
}
FINE_TUNING = {"optimizer": "adamw", "learning_rate": 5e-5}
"""Of a published model, instead of a recipe's: what BERT is tuned with on a task (arXiv 1810.04805, A.3)."""
SIZES = ("width", "depth", "heads")
"""Of the model, whose kind is "model"; all else is the training's."""
_FOLLOWING = ("mean_tokens", "begin", "anneal_steps")  # settings that a task or a directory tells
NAMES = (*(name for name in Settings.__dataclass_fields__ if name not in _FOLLOWING), *SIZES)
"""Everything that can be overridden."""


def fine_tuning(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Optimiser and rate with which a published model is trained on: as is said, and else gently.

    Args:
        overrides: settings that are said, by name.

    Raises:
        InputError: another optimiser without a rate: the recipes' are for new models.
    """
    settings = {**FINE_TUNING, **{name: overrides[name] for name in FINE_TUNING if name in overrides}}
    if settings["optimizer"] != FINE_TUNING["optimizer"] and "learning_rate" not in overrides:
        raise InputError(
            f"--learning-rate must be given beside --optimizer {settings['optimizer']}: the recipes' rates are for new "
            "models, and would wipe out what a published one knows; got none."
        )
    return settings


def settings_and_model(
    recipe: str, task: Task, overrides: Mapping[str, Any], learning: Mapping[str, Any] | None = None
) -> tuple[Settings, LinenDenoiser]:
    """The settings and the model of ``recipe`` with some replaced by name; the length is the task's.

    Args:
        recipe: its name.
        task: what is learned from.
        overrides: of :data:`NAMES`.
        learning: the kind of model, as :func:`mdm_jax.app.options.models.merged` returns it; the recipe's if left out.
    """
    chosen = {**RECIPES[recipe], **overrides, "length": task.length}
    learning = {"model": chosen.pop("model"), **(learning or {})}
    if "steps" not in overrides:
        chosen["steps"] = RECIPES[recipe]["steps"][learning["model"]]
    sizes = {name: chosen.pop(name) for name in SIZES}
    return Settings(**chosen), models.model_of(learning, task, sizes)
