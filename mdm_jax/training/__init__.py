"""Training: corruption, the NELBO, one step, the loop around it, run directories."""

from mdm_jax.support.stops import Interrupted, NonFinite
from mdm_jax.training.corruption import Corrupted, mask_counts, mask_times
from mdm_jax.training.loop import fit
from mdm_jax.training.losses import masked_cross_entropy, nelbo
from mdm_jax.training.runs import Run, RunDirectory, load
from mdm_jax.training.settings import Settings
from mdm_jax.training.step import Metrics, TrainState, initial_state, train_step

__all__ = [
    "Corrupted",
    "Interrupted",
    "Metrics",
    "NonFinite",
    "Run",
    "RunDirectory",
    "Settings",
    "TrainState",
    "fit",
    "initial_state",
    "load",
    "mask_counts",
    "mask_times",
    "masked_cross_entropy",
    "nelbo",
    "train_step",
]
