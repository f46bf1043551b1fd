"""The profile of a model, measured: at which counts, by which rows, until when; of prompts, classes and blocks too."""

from mdm_jax.evaluation.measuring.blocks import block_path_nelbo, block_profile
from mdm_jax.evaluation.measuring.by_class import profiles_by_class
from mdm_jax.evaluation.measuring.counts import chosen_counts
from mdm_jax.evaluation.measuring.estimation import estimate_profile
from mdm_jax.evaluation.measuring.prompted import estimate_prompted_profile
from mdm_jax.evaluation.measuring.ranks import ranked_costs, why_infinite_by_rank
from mdm_jax.evaluation.measuring.rounds_told import told_of_until
from mdm_jax.evaluation.measuring.until import MOST_ENCODINGS, Until, checked_until

__all__ = [
    "MOST_ENCODINGS",
    "Until",
    "block_path_nelbo",
    "block_profile",
    "checked_until",
    "chosen_counts",
    "estimate_profile",
    "estimate_prompted_profile",
    "profiles_by_class",
    "ranked_costs",
    "told_of_until",
    "why_infinite_by_rank",
]
