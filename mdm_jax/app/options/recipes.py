"""Settings that are known to work, by name, and how single settings change them."""

from collections.abc import Mapping
from typing import Any

from mdm_jax.app.options import latents
from mdm_jax.models.adapters import LinenDenoiser
from mdm_jax.tasks import Task
from mdm_jax.training import Settings

RECIPES: dict[str, dict[str, Any]] = {
    # Two to four minutes on two CPU cores.
    "demo": {"steps": 1600, "batch": 8, "ema_decay": 0.99, "width": 128, "depth": 3, "heads": 4},
    # Under an hour on two CPU cores.
    "long": {
        "steps": 5000,
        "batch": 8,
        "ema_decay": 0.998,
        "weight_decay": 0.05,
        "width": 128,
        "depth": 4,
        "heads": 4,
    },
}
MODEL = ("width", "depth", "heads")
"""What is said of the model; all else is the training's."""
NAMES = (*Settings.__dataclass_fields__, *MODEL)
"""Everything that can be overridden."""


def settings_and_model(
    recipe: str, task: Task, overrides: Mapping[str, Any], learning: Mapping[str, Any] | None = None
) -> tuple[Settings, LinenDenoiser]:
    """The settings and the model of ``recipe`` with some replaced by name; the length is the task's.

    Args:
        recipe: its name.
        task: what is learned from.
        overrides: of :data:`NAMES`.
        learning: its latents, as :func:`mdm_jax.app.options.latents.merged` returns them; none if left out.
    """
    chosen = {**RECIPES[recipe], **overrides, "length": task.length}
    sizes = {name: chosen.pop(name) for name in MODEL}
    return Settings(**chosen), latents.model_of(learning or {}, task, sizes)
