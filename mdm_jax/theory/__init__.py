"""Schedules, energies, profiles and plans: mathematics, no model and no random key."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mdm_jax.theory import (
        actions,
        bounds,
        curves,
        energies,
        enumeration,
        grids,
        incomplete_beta,
        optimising,
        plans,
        profiles,
        schedule_text,
        schedules,
    )

__all__ = [
    "actions",
    "bounds",
    "curves",
    "energies",
    "enumeration",
    "grids",
    "incomplete_beta",
    "optimising",
    "plans",
    "profiles",
    "schedule_text",
    "schedules",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return importlib.import_module(f"mdm_jax.theory.{name}")
    raise AttributeError(f"module 'mdm_jax.theory' has no attribute {name!r}")
