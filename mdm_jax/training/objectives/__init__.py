"""Objectives beside the masked NELBO: of models by ranks or blocks, of latent and joint ones, of hybrid noise."""

from typing import Any

from mdm_jax.models.classes import classes_of
from mdm_jax.models.denoiser import Denoiser
from mdm_jax.models.extending import block_length, by_rank
from mdm_jax.training.objective import MASKED_NELBO, MaskedNelbo, Objective
from mdm_jax.training.objectives.any_order import AnyOrderNelbo
from mdm_jax.training.objectives.block_causal import BlockNelbo
from mdm_jax.training.objectives.hybrid import HybridNoise
from mdm_jax.training.objectives.joint import JointLatentBound
from mdm_jax.training.objectives.labels import LabelDropout, without_dropout
from mdm_jax.training.objectives.latents import FixedLatentBound, LatentSurrogate, StepwiseLatentBound

__all__ = [
    "AnyOrderNelbo",
    "BlockNelbo",
    "FixedLatentBound",
    "HybridNoise",
    "JointLatentBound",
    "LabelDropout",
    "LatentSurrogate",
    "StepwiseLatentBound",
    "default_objective",
    "fitting_objective",
    "from_description",
    "without_dropout",
]
_MADE = {
    "masked NELBO": MaskedNelbo,
    "any-order NELBO": AnyOrderNelbo,
    "block NELBO": BlockNelbo,
    "latent surrogate": LatentSurrogate,
    "fixed-latent bound": FixedLatentBound,
    "stepwise latent bound": StepwiseLatentBound,
    "hybrid noise": HybridNoise,
    "joint latent bound": JointLatentBound,
    "label dropout": LabelDropout,
}
"""The library's own objectives, by the names that they describe themselves with."""


def default_objective(denoiser: Denoiser) -> Objective:
    """What a denoiser is measured by: its NELBO, in the form that its passes serve. It shows the whole context.

    Example:
        >>> import mdm_jax as mdm
        >>> from mdm_jax.training import objectives
        >>> objectives.default_objective(mdm.models.any_order(4, length=8, width=16, depth=1, heads=2))
        AnyOrderNelbo(ordered=0.0, block=1, progressive=False)
    """
    if block_length(denoiser) is not None:
        return BlockNelbo()
    return AnyOrderNelbo() if by_rank(denoiser) else MASKED_NELBO


def fitting_objective(denoiser: Denoiser) -> Objective:
    """What a denoiser is trained on unless something else is asked for.

    That is :func:`default_objective`; of a model with classes under label dropout, so that it can be sampled without
    labels and guided.

    Example:
        >>> import mdm_jax as mdm
        >>> from mdm_jax.training import objectives
        >>> objectives.fitting_objective(mdm.models.transformer(4, length=8, width=16, depth=1, heads=2, classes=3))
        LabelDropout(objective=MaskedNelbo(), rate=0.1)
    """
    objective = default_objective(denoiser)
    return LabelDropout(objective) if classes_of(denoiser) > 0 else objective


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
    if made is LabelDropout:
        told["objective"] = from_description(told["objective"])
        if told["objective"] is None:
            return None
    objective = made(**told)
    return objective if is_bound in (None, objective.is_bound) else None
