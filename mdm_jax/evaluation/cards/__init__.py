"""Every decoder on one card: what plans, thresholds and other rules cost against the passes of the model they take."""

from mdm_jax.evaluation.cards.making import card
from mdm_jax.evaluation.cards.results import FORMAT, Card

__all__ = ["FORMAT", "Card", "card"]
