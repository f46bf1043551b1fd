"""Checkpoints by Orbax: atomic, the newest few kept."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from mdm_jax.models.denoiser import Params
from mdm_jax.support.errors import InputError
from mdm_jax.training import tally
from mdm_jax.training.step import TrainState
from mdm_jax.training.tally import Tally

KEPT = 2


class Checkpoints:
    """The checkpoints of one run, under ``directory``, one folder per step.

    The averaged parameters are an item of their own, so that sampling restores them without the optimiser.
    Use as a context manager: leaving it waits for the last save.
    """

    def __init__(self, directory: str | Path) -> None:
        self._directory = Path(directory).resolve()
        if self._directory.exists() and not self._directory.is_dir():
            raise InputError(f"{directory} must be a folder of checkpoints; it is a file.")
        options = ocp.CheckpointManagerOptions(max_to_keep=KEPT, create=True)
        self._manager = ocp.CheckpointManager(self._directory, options=options)

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
        items = {name: ocp.args.StandardSave(item) for name, item in _items(state).items()}
        self._manager.save(int(state.step), args=ocp.args.Composite(**items))

    def restore(self, like: TrainState) -> TrainState:
        """The newest state; ``like`` gives its structure, shapes and types."""
        items = _items(like)
        if not (self._directory / str(self.latest()) / "tally").exists():
            del items["tally"]  # written before tallies were kept: it starts anew
        found = self._read(**items)
        seen = Tally(**found["tally"]) if "tally" in items else tally.empty(like.tally.weight.shape[0])
        return TrainState(**{**found["training"], "average": found["average"], "tally": seen})

    def restore_average(self, like: Params) -> Params:
        """The newest averaged parameters alone; ``like`` gives their structure, shapes and types."""
        return self._read(average=like)["average"]

    def _read(self, **items: Any) -> Any:
        """Items of the newest checkpoint, by name, each like the value given."""
        step = self.latest()
        wanted = {name: ocp.args.StandardRestore(jax.tree.map(_abstract, like)) for name, like in items.items()}
        try:
            return self._manager.restore(step, args=ocp.args.Composite(**wanted))
        except Exception as error:  # Orbax and TensorStore raise many kinds, with pages of text
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            raise InputError(
                f"checkpoint {step} in {self._directory} cannot be read, or is of another model: {reason}"
            ) from error


def _items(state: TrainState) -> dict[str, Any]:
    """What is kept, each by itself: the averaged parameters, the tally, all that training needs besides."""
    # None stays where the average was: files of earlier versions hold it there.
    rest = {name: value for name, value in vars(state).items() if name != "tally"} | {"average": None}
    return {"average": state.average, "tally": vars(state.tally), "training": rest}


def _abstract(leaf: jax.Array | jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """Shape and type, placed on the default device whatever device wrote the checkpoint."""
    place = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)
