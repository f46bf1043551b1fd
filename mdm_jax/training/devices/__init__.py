"""Where a step runs: how a batch's rows are divided, how a state is laid out."""

from mdm_jax.training.devices.rows import TOGETHER, Rows

__all__ = ["TOGETHER", "Rows"]
