"""Trajectories, on request: a user's reduction of each step, stacked."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Frame(NamedTuple):
    """What a ``record`` function sees after a step.

    Attributes:
        step: int32[], 0 for the first.
        tokens: int32[rows, length], after the step.
        score: float32[rows, length], how sure the rule was before the step, -inf where it did not read; ``None`` in
            the blind loop and for rules that decide without reading.

    Example:
        >>> import mdm_jax as mdm
        >>> def masks_left(frame):  # a record of one's own: one number for each row and step
        ...     return (frame.tokens == 2).sum(axis=1)
        >>> world, plan = mdm.oracles.polya(8, 0.5), mdm.plans.uniform(8, 4)
        >>> out = mdm.sample(world.denoiser, world.params, plan, key=mdm.key(0), record=masks_left, frames=4)
        >>> out.trajectory[:, 0].tolist()
        [6, 4, 2, 0]
    """

    step: Int[Array, ""]
    tokens: Int[Array, "rows length"]
    score: Float[Array, "rows length"] | None = None


Record = Callable[[Frame], Any]
"""``record(frame) -> pytree of arrays``, pure; keep it small, since every step is kept."""


def tokens_of(frame: Frame) -> Int[Array, "rows length"]:
    """The record that keeps the tokens of every step: int32[steps, rows, length] in the trajectory.

    Example:
        >>> import mdm_jax as mdm
        >>> world, plan = mdm.oracles.polya(8, 0.5), mdm.plans.uniform(8, 4)
        >>> record = mdm.sampling.tokens_of
        >>> out = mdm.sample(world.denoiser, world.params, plan, key=mdm.key(0), record=record, frames=4)
        >>> out.trajectory.shape, bool((out.trajectory[-1] == out.tokens).all())
        ((4, 1, 8), True)
    """
    return frame.tokens


def begin(record: Record | None, first: Frame, frames: int) -> Any:
    """Room for ``frames`` steps, zeros; ``None`` where nothing is recorded."""
    if record is None:
        return None
    return jax.tree.map(lambda leaf: jnp.zeros((frames, *leaf.shape), leaf.dtype), jax.eval_shape(record, first))


def put(trajectory: Any, step: Int[Array, ""], recorded: Any) -> Any:
    """The trajectory with one step written; a step beyond its room is dropped."""
    return jax.tree.map(lambda room, value: room.at[step].set(value, mode="drop"), trajectory, recorded)
