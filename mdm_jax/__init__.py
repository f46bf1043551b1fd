"""Train, understand, tune and sample masked diffusion models in JAX.

The front door; everything is imported when it is first used, so that ``import mdm_jax as mdm`` is instant.

* what people do: ``fit``, ``load``, ``estimate_profile``, ``tune``, ``sample``, ``evaluate``, ``race``
* what they do it with: ``schedules``, ``energies``, ``profiles``, ``plans``, ``grids``; ``models``, ``tasks``,
  ``oracles``; ``rules`` and ``presets`` of samplers
* ``plot`` draws profiles, plans, landscapes and samples; ``key(seed)`` makes the random keys that all of these take
* the rooms behind: ``theory``, ``training``, ``sampling``, ``evaluation``, ``footprint``, ``support``
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mdm_jax import evaluation, footprint, models, oracles, plot, sampling, support, tasks, theory, training
    from mdm_jax.evaluation import estimate_profile, evaluate, race, tune
    from mdm_jax.sampling import presets, rules, sample
    from mdm_jax.support.keys import key
    from mdm_jax.theory import energies, grids, plans, profiles, schedules
    from mdm_jax.training import fit, load

_MODULES = {
    **{
        room: room
        for room in (
            "evaluation", "footprint", "models", "oracles", "plot", "sampling", "support", "tasks", "theory", "training"
        )
    },
    **{wing: f"theory.{wing}" for wing in ("energies", "plans", "profiles", "schedules")},
    "grids": "theory.plans.grids",
    "presets": "sampling.presets",
    "rules": "sampling.rules",
}  # fmt: skip
_FUNCTIONS = {
    **dict.fromkeys(("estimate_profile", "evaluate", "race", "tune"), "evaluation"),
    **dict.fromkeys(("fit", "load"), "training"),
    "sample": "sampling",
    "key": "support.keys",
}
__version__: str
__all__ = [
    "energies", "estimate_profile", "evaluate", "evaluation", "fit", "footprint", "grids", "key", "load", "models",
    "oracles", "plans", "plot", "presets", "profiles", "race", "rules", "sample", "sampling", "schedules", "support",
    "tasks", "theory", "training", "tune",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"mdm_jax.{_MODULES[name]}")
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(f"mdm_jax.{_FUNCTIONS[name]}"), name)
    if name == "__version__":
        return importlib.import_module("mdm_jax.support.version").VERSION
    raise AttributeError(f"module 'mdm_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
