"""Samplers by their samples: many at once, kept on disk, compared, raced."""

from mdm_jax.evaluation.samples.evaluating import Score, evaluate
from mdm_jax.evaluation.samples.execution import Execution
from mdm_jax.evaluation.samples.halving import Halving
from mdm_jax.evaluation.samples.race_results import Raced, Rung
from mdm_jax.evaluation.samples.racing import JUDGED, Prompts, race
from mdm_jax.evaluation.samples.results import Difference, Evaluation, own_entropy

__all__ = [
    "JUDGED",
    "Difference",
    "Evaluation",
    "Execution",
    "Halving",
    "Prompts",
    "Raced",
    "Rung",
    "Score",
    "evaluate",
    "own_entropy",
    "race",
]
