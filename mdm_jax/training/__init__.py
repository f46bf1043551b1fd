"""Training: objectives, corruption, the NELBO, one step, the loop around it, run directories."""

from mdm_jax.support.stops import Dead, Interrupted, NonFinite
from mdm_jax.training.corruption import Corrupted, mask_counts, mask_times
from mdm_jax.training.fitting import fit
from mdm_jax.training.importing import import_pretrained
from mdm_jax.training.losses import masked_cross_entropy, nelbo, stratified_nelbo
from mdm_jax.training.objective import Examples, Losses, MaskedNelbo, Objective
from mdm_jax.training.objectives import (
    AnyOrderNelbo,
    BlockNelbo,
    FixedLatentBound,
    HybridNoise,
    JointLatentBound,
    LabelDropout,
    LatentSurrogate,
    StepwiseLatentBound,
)
from mdm_jax.training.runs import Run, RunDirectory, load
from mdm_jax.training.settings import Settings
from mdm_jax.training.step import Metrics, TrainState, initial_state, train_step

__all__ = [
    "AnyOrderNelbo",
    "BlockNelbo",
    "Corrupted",
    "Dead",
    "Examples",
    "FixedLatentBound",
    "HybridNoise",
    "Interrupted",
    "JointLatentBound",
    "LabelDropout",
    "LatentSurrogate",
    "Losses",
    "MaskedNelbo",
    "Metrics",
    "NonFinite",
    "Objective",
    "Run",
    "RunDirectory",
    "Settings",
    "StepwiseLatentBound",
    "TrainState",
    "fit",
    "import_pretrained",
    "initial_state",
    "load",
    "mask_counts",
    "mask_times",
    "masked_cross_entropy",
    "nelbo",
    "stratified_nelbo",
    "train_step",
]
