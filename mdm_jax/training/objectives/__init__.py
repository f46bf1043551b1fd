"""Objectives beside the masked NELBO: those of latent denoisers, of joint ones, and of hybrid noise."""

from typing import Any

from mdm_jax.training.objective import MaskedNelbo, Objective
from mdm_jax.training.objectives.hybrid import HybridNoise
from mdm_jax.training.objectives.joint import JointLatentBound
from mdm_jax.training.objectives.latents import FixedLatentBound, LatentSurrogate, StepwiseLatentBound

__all__ = [
    "FixedLatentBound",
    "HybridNoise",
    "JointLatentBound",
    "LatentSurrogate",
    "StepwiseLatentBound",
    "from_description",
]
_MADE = {
    "masked NELBO": MaskedNelbo,
    "latent surrogate": LatentSurrogate,
    "fixed-latent bound": FixedLatentBound,
    "stepwise latent bound": StepwiseLatentBound,
    "hybrid noise": HybridNoise,
    "joint latent bound": JointLatentBound,
}
"""The library's own objectives, by the names that they describe themselves with."""


def from_description(description: Any) -> Objective | None:
    """The objective that a run's configuration describes; ``None`` of a user's own.

    Example:
        >>> import mdm_jax as mdm
        >>> from mdm_jax.training import objectives
        >>> objectives.from_description(mdm.training.FixedLatentBound(warmup=0.5).describe())
        FixedLatentBound(warmup=0.5, free_bits=0.0)
    """
    told = dict(description) if isinstance(description, dict) else {}
    name = told.pop("name", None)
    made = _MADE.get(name) if isinstance(name, str) else None
    is_bound = told.pop("is_bound", None)
    if made is None or told.keys() != {name for name in made().describe() if name != "name"}:
        return None
    objective = made(**told)
    return objective if is_bound in (None, objective.is_bound) else None
