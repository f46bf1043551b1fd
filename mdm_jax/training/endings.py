"""How a training ends that cannot go on: what is saved, and what is said."""

import dataclasses
import io
import math
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from mdm_jax.support.errors import InputError
from mdm_jax.support.files import write_bytes
from mdm_jax.support.processes import together
from mdm_jax.support.stops import Dead, NonFinite
from mdm_jax.training import watch, ways
from mdm_jax.training.checkpoints import Checkpoints
from mdm_jax.training.directory import RunDirectory
from mdm_jax.training.step import Data, Metrics, TrainState, batch_of, cast_params
from mdm_jax.training.ways import Job

_ADVICE = "Start anew in another directory with a lower learning rate, a longer warmup or"


@dataclasses.dataclass(frozen=True)
class Kept:
    """Where a run is kept; of one in memory, nowhere.

    Attributes:
        place: its directory.
        checkpoints: those in it, open.
    """

    place: RunDirectory | None = None
    checkpoints: Checkpoints | None = None


def not_finite(job: Job, kept: Kept, train: Data, state: TrainState, metrics: Metrics, taken: int) -> NonFinite:
    """Save the state before the step that is not finite, and its batch.

    Args:
        job: what is trained.
        kept: where the run is.
        train: the data.
        state: after the last good step.
        metrics: of the block of steps.
        taken: how many of them were good.

    Returns:
        What to raise.
    """
    done, batch = int(state.step), _offending(job, train, state)
    loss, norm, losses = float(metrics.loss[taken]), float(metrics.gradient_norm[taken]), batch["losses"]
    finite = math.isfinite(loss), math.isfinite(norm)
    what = (
        f"loss is {loss}" if not finite[0] else f"gradient norm is {norm}" if not finite[1] else "update is not finite"
    )
    told = "nothing was saved, since no directory was given"
    if kept.checkpoints is not None and kept.place is not None:
        kept.checkpoints.save(state)
        together(kept.checkpoints.wait)
        path = kept.place.non_finite(done + 1)
        stream = io.BytesIO()
        np.savez(stream, step=done + 1, **batch)
        together(lambda: write_bytes(path, stream.getvalue()) if ways.is_writer() else None)
        told = f"the state before it is saved in {kept.place.path}, its batch in {path}"
    advice = f"{_ADVICE} another seed."
    if done == 0:
        bad = int(np.sum(~np.isfinite(losses)))
        which = (
            f"the loss of {bad} of its {len(losses)} rows is not finite" if bad else "the loss of every row is finite"
        )
        advice = f"No step came before it, so no learning rate is to blame but the model as it starts: {which}."
    return NonFinite(f"step {done + 1} of {job.settings.steps} is not finite (its {what}): {told}. {advice}")


def dead(job: Job, kept: Kept, state: TrainState, loss: float, without: int, taken: int) -> Dead:
    """Of a network without a gradient; its state is saved if it lived when this process began.

    Never at the last step: a run that is at its end would be taken for finished.

    Args:
        job: what is trained.
        kept: where the run is.
        state: after the last step.
        loss: of the last step, nats per token.
        without: steps in a row without a gradient.
        taken: steps that this process took.

    Returns:
        What to raise.
    """
    done, steps = int(state.step), job.settings.steps
    what = watch.obituary(done, steps, without, loss, job.denoiser.vocab_size)
    told = "nothing was saved, since no directory was given"
    if kept.checkpoints is not None:
        if done < steps and without < taken:
            kept.checkpoints.save(state)
            together(kept.checkpoints.wait)
        told = f"of the checkpoints {kept.checkpoints.left()}"
    return Dead(f"{what}, so no more steps would change anything; {told}. {_ADVICE} other initial parameters.")


def unread(kept: Kept, state: TrainState, steps: int, error: InputError) -> InputError:
    """Of data that cannot be read any more, or hold what is no token; the state is saved.

    Args:
        kept: where the run is.
        state: after the last step.
        steps: of the whole training.
        error: what is the matter.

    Returns:
        What to raise.
    """
    if kept.checkpoints is not None:
        kept.checkpoints.save(state)
        together(kept.checkpoints.wait)
    return InputError(f"{str(error).rstrip('.')}; {how_to_go_on(kept.place, int(state.step), steps)}")


def how_to_go_on(place: RunDirectory | None, done: int, steps: int) -> str:
    """What to say of a training that was stopped."""
    if place is None:
        return f"stopped at step {done} of {steps}; nothing was saved, since no directory was given."
    return f"stopped at step {done} of {steps}, saved in {place.path}; the same command goes on from there."


def _offending(job: Job, train: Data, state: TrainState) -> dict[str, Any]:
    """The batch of the next step: "tokens", "losses" of its rows in nats per token, and all that it was made into."""
    denoiser, settings, objective, _ = job

    @jax.jit
    def batch(state: TrainState, train: Data) -> tuple[Array, Any, Any, Array]:
        examples, corrupted = batch_of(denoiser, settings, state.step, train, objective)
        losses = objective.losses(denoiser, cast_params(state.params, settings.compute), examples, corrupted)
        return examples.tokens, examples.context, corrupted, losses.loss / settings.tokens_per_row

    tokens, context, corrupted, losses = ways.fetch(batch(state, train))
    return {"tokens": tokens, "losses": losses, **_named("context", context), **_named("corrupted", corrupted)}


def _named(name: str, tree: Any) -> dict[str, Any]:
    """The arrays of a tree, by their paths behind a name."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    paths = ((jax.tree_util.keystr(path, simple=True, separator="_"), leaf) for path, leaf in leaves)
    return {f"{name}_{path}" if path else name: leaf for path, leaf in paths}
