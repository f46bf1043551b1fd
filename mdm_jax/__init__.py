"""Train, understand, tune and sample masked diffusion models in JAX.

The rooms, each imported when it is first used so that ``import mdm_jax`` is instant:

* ``theory``: schedules, energies, profiles, plans
* ``models``: the denoiser contract, adapters, a transformer
* ``oracles``: exactly solvable distributions, with their exact denoisers and profiles
* ``tasks``: data with a vocabulary, a way to show and to score it
* ``training``: ``fit``, losses, run directories
* ``sampling``: ``sample``, orders, the blind loop
* ``evaluation``: ``estimate_profile``, ``path_nelbo``
* ``load(directory)``: a trained run
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mdm_jax import evaluation, models, oracles, sampling, support, tasks, theory, training
    from mdm_jax.training.runs import load

_ROOMS = ("evaluation", "models", "oracles", "sampling", "support", "tasks", "theory", "training")
__all__ = ["evaluation", "load", "models", "oracles", "sampling", "support", "tasks", "theory", "training"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"mdm_jax.{name}")
    if name == "load":
        from mdm_jax.training.runs import load

        return load
    raise AttributeError(f"module 'mdm_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_ROOMS, "load"])
