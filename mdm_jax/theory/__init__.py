"""Schedules, energies, profiles and plans: mathematics, no model and no random key.

Five wings, each with one face: ``numerics`` below ``schedules`` and ``profiles``, those below ``energies`` and
``plans``. ``grids``, of the usual ancestral sampler, are a part of ``plans``.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mdm_jax.theory import energies, numerics, plans, profiles, schedules
    from mdm_jax.theory.plans import grids

_WINGS = ("energies", "numerics", "plans", "profiles", "schedules")
_ELSEWHERE = {
    "actions": "energies",
    "beta_search": "plans.beta_search",
    "bounds": "profiles.bounds",
    "curves": "profiles",
    "enumeration": "energies.enumeration",
    "grids": "plans.grids",
    "incomplete_beta": "numerics.beta_function",
    "optimising": "energies",
    "schedule_text": "schedules",
}
"""What lies in a wing, and could be imported from here before there were any."""
__all__ = ["energies", "grids", "numerics", "plans", "profiles", "schedules"]


def __getattr__(name: str) -> Any:
    if name in _WINGS or name in _ELSEWHERE:
        return importlib.import_module(f"mdm_jax.theory.{_ELSEWHERE.get(name, name)}")
    raise AttributeError(f"module 'mdm_jax.theory' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
