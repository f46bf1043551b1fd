"""Checkpoints by Orbax: atomic, the newest few kept."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from mdm_jax.models.denoiser import Params
from mdm_jax.training.step import TrainState

KEPT = 2


class Checkpoints:
    """The checkpoints of one run, under ``directory``, one folder per step.

    The averaged parameters are an item of their own, so that sampling restores them without the optimiser.
    Use as a context manager: leaving it waits for the last save.
    """

    def __init__(self, directory: str | Path) -> None:
        options = ocp.CheckpointManagerOptions(max_to_keep=KEPT, create=True)
        self._manager = ocp.CheckpointManager(Path(directory).resolve(), options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.wait_until_finished()
        self._manager.close()

    def latest(self) -> int | None:
        """The step of the newest complete checkpoint, or ``None``."""
        return self._manager.latest_step()

    def save(self, state: TrainState) -> None:
        """Save in the background; the state may be donated to the next step at once."""
        state = jax.tree.map(jnp.copy, state)
        rest = dataclasses.replace(state, average=None)
        self._manager.save(
            int(state.step),
            args=ocp.args.Composite(
                average=ocp.args.StandardSave(state.average), training=ocp.args.StandardSave(vars(rest))
            ),
        )

    def restore(self, like: TrainState, step: int | None = None) -> TrainState:
        """The state of ``step`` (the newest if left out); ``like`` gives its structure, shapes and types."""
        abstract = jax.tree.map(_abstract, like)
        found = self._manager.restore(
            self.latest() if step is None else step,
            args=ocp.args.Composite(
                average=ocp.args.StandardRestore(abstract.average),
                training=ocp.args.StandardRestore(vars(dataclasses.replace(abstract, average=None))),
            ),
        )
        return TrainState(**{**found["training"], "average": found["average"]})

    def restore_average(self, like: Params, step: int | None = None) -> Params:
        """The averaged parameters alone; ``like`` gives their structure, shapes and types."""
        restore = ocp.args.StandardRestore(jax.tree.map(_abstract, like))
        found = self._manager.restore(self.latest() if step is None else step, args=ocp.args.Composite(average=restore))
        return found["average"]


def _abstract(leaf: jax.Array | jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """Shape and type, placed on the default device whatever device wrote the checkpoint."""
    place = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)
