"""Where a step runs: how a batch's rows are divided, how a state is laid out."""

from mdm_jax.training.devices.rows import TOGETHER, AlongAxis, OnMesh, Rows, Together
from mdm_jax.training.devices.sharding import Part, explain, gathered, shardings

__all__ = [
    "TOGETHER",
    "AlongAxis",
    "OnMesh",
    "Part",
    "Rows",
    "Together",
    "explain",
    "gathered",
    "shardings",
]
