"""Checkpoints that are complete or refused: written by Orbax, each with a manifest of digests."""

from mdm_jax.training.checkpoints.catalogue import NEWEST
from mdm_jax.training.checkpoints.saving import Checkpoints

__all__ = ["NEWEST", "Checkpoints"]
