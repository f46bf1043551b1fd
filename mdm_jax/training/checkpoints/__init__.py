"""Checkpoints that are complete or refused: written by Orbax, each with a manifest of digests."""

from mdm_jax.training.checkpoints.catalogue import BEST, NEWEST, Catalogue
from mdm_jax.training.checkpoints.manifest import Damaged
from mdm_jax.training.checkpoints.saving import Checkpoints

__all__ = ["BEST", "NEWEST", "Catalogue", "Checkpoints", "Damaged"]
