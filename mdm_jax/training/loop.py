"""Training from first step to last, in memory or in a run directory that resumes."""

import dataclasses
import io
import math
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from mdm_jax.models.denoiser import Denoiser, Params
from mdm_jax.support import processes
from mdm_jax.support.errors import InputError, require_whole
from mdm_jax.support.files import write_bytes
from mdm_jax.support.flags import usual
from mdm_jax.support.locks import exclusive
from mdm_jax.support.processes import agreed, together
from mdm_jax.support.progress import bar
from mdm_jax.support.stops import Dead, Interrupted, NonFinite, listening
from mdm_jax.tasks import Task
from mdm_jax.training import watch, ways
from mdm_jax.training.checkpoints.catalogue import NEWEST
from mdm_jax.training.checkpoints.saving import Checkpoints
from mdm_jax.training.checks import check_mask, check_model, checked_data
from mdm_jax.training.losses import nelbo
from mdm_jax.training.reports import HeldOut, Reporter
from mdm_jax.training.runs import Run, RunDirectory, claim, configuration, examine
from mdm_jax.training.settings import Settings
from mdm_jax.training.step import BLOCK, Metrics, TrainState, batch_of, cast_params
from mdm_jax.training.ways import Way


def fit(
    denoiser: Denoiser,
    task: Task,
    steps: int | None = None,
    *,
    directory: str | Path | None = None,
    settings: Settings | None = None,
    params: Params | None = None,
    report_every: int | None = None,
    checkpoint_every: int | None = None,
    devices: int | None = None,
    mesh: Mesh | None = None,
    checkpoint: int | str = NEWEST,
    progress: bool = True,
) -> Run:
    """Train ``denoiser`` on ``task.train``.

    With a ``directory`` the run is saved as it goes, and calling again with the same arguments continues from the
    newest checkpoint: a killed run ends bitwise equal to an uninterrupted one on the same machine and flags, since
    data and masks depend on (seed, step) alone (on GPU if XLA_FLAGS has ``--xla_gpu_deterministic_ops=true``). A
    finished run is loaded, not trained again.

    Args:
        denoiser: the model.
        task: what to learn.
        steps: optimiser steps; shorthand for ``settings=Settings(steps=...)``.
        directory: where to keep the run; nothing is written if left out.
        settings: everything else about the training; ``length`` is taken from the task.
        params: where to start, for a denoiser that cannot make its own parameters (``from_nnx``, ``from_function``).
        report_every: steps between lines of the log and held-out figures; a twentieth of the run if left out.
        checkpoint_every: steps between checkpoints; a tenth of the run if left out. One is always written at the end
            and on Ctrl-C.
        devices: so many devices of this process share every batch, by ``pmap``; the default device alone if left out.
        mesh: instead, a mesh (:func:`mdm_jax.support.devices.make_mesh`) whose axis "data" shares every batch and whose
            axes both share the parameters, by ``jit``; in a run of several processes one over all their devices, and
            then the directory is one that all of them see. What is learned is the same up to rounding, and a run may go
            on in another way than it began.
        checkpoint: where to go on from: "newest", "best", or the step of a checkpoint that is kept. Later ones are
            moved to ``damaged-checkpoints``, or ``later-checkpoints`` if nothing is wrong with them.
        progress: show loss, tokens per second, time left and held-out bits per token.

    Returns:
        The :class:`~mdm_jax.training.runs.Run`; its ``params`` are the averaged ones (over a mesh they stay where they
        are).

    Raises:
        InputError: a task that does not fit the model, ids that are no token's, a model that is not pure (dropout,
            running statistics) or gives NaN for masks, parameters that are not finite or of less than 32 bits, a
            directory that holds another run or is in use by another process, a damaged checkpoint (the newest good one
            is named), checkpoints that have all lost their manifest, or a checkpoint or log that cannot be written
            (what is left is named).
        Interrupted: Ctrl-C or SIGTERM; the state is saved first.
        NonFinite: a step's loss, gradient or update is not finite; the state before it is saved first, and the batch.
        Dead: the gradient has been exactly zero for several steps though the loss has not, as happens after a blow-up
            (a kind of NonFinite); the state is saved first.

    Warns:
        RuntimeWarning: training ended at several times the loss of a uniform guess.
        UserWarning: the model does not tell the mask from the last token.
    """
    settings = dataclasses.replace(settings or Settings(), length=task.length)
    if steps is not None:
        settings = dataclasses.replace(settings, steps=steps)
    report_every = max(1, settings.steps // 20) if report_every is None else report_every
    checkpoint_every = max(1, math.ceil(settings.steps / 10)) if checkpoint_every is None else checkpoint_every
    report_every = require_whole("report_every", report_every, 1)
    checkpoint_every = require_whole("checkpoint_every", checkpoint_every, 1)
    train, validation = checked_data(denoiser, task)
    way = ways.choose(devices, mesh)
    ways.check(way, settings)

    config = configuration(task, denoiser, settings)
    place = None if directory is None else RunDirectory(Path(directory))
    with ExitStack() as stack:
        stack.enter_context(usual())
        check_model(denoiser, settings, params, kept=directory is not None)
        checkpoints, state, log = None, None, []
        if place is not None:
            agreed(lambda: _occupy(place, config, stack))
            checkpoints = together(lambda: _open(place, stack))
            start = checkpoints.choose(checkpoint)
            if start is not None:
                state = checkpoints.restore(way.abstract(denoiser, settings, params), start)
                checkpoints.set_aside(start)
            else:
                checkpoints.start_over(lambda: bool(place.read_log()))
            agreed(lambda: log.extend(place.cut_back(start or 0)))
        reporter = Reporter(denoiser, validation, place, log)
        if state is None:
            state = way.initial(denoiser, settings, params)
            check_mask(denoiser, state, settings, reporter.measure(state).figure is not None)
        training = _Training(denoiser, settings, way, way.put(train), reporter, checkpoints)
        state = _loop(training, state, report_every, checkpoint_every, progress)
        seen = ways.fetch(state.tally)
    return Run(denoiser, way.released(state.ema_params), place, settings, int(state.step), config["task"], seen)


def _occupy(place: RunDirectory, config: dict[str, Any], stack: ExitStack) -> None:
    """Make the directory this process's to write, until ``stack`` is left."""
    examine(place, config)  # before anything is written: it may be somebody else's
    stack.enter_context(exclusive(place.lock, f"the run in {place.path}"))
    claim(place, config)


def _open(place: RunDirectory, stack: ExitStack) -> Checkpoints:
    """The checkpoints, closed when ``stack`` is left; whether every process sees what process 0 wrote is seen here."""
    if not place.config.exists():
        raise InputError(
            f"{place.path} must be a directory that all processes see; process {jax.process_index()} does not see the "
            f"{place.config.name} that process 0 has written there."
        )
    return stack.enter_context(place.open_checkpoints())


@dataclasses.dataclass(frozen=True)
class _Training:
    """What stays the same from first step to last."""

    denoiser: Denoiser
    settings: Settings
    way: Way
    train: Array
    reporter: Reporter
    checkpoints: Checkpoints | None

    @property
    def place(self) -> RunDirectory | None:
        return self.reporter.place


def _loop(
    training: _Training, state: TrainState, report_every: int, checkpoint_every: int, progress: bool
) -> TrainState:
    denoiser, settings, checkpoints = training.denoiser, training.settings, training.checkpoints
    done, without, bits = int(state.step), 0, 0.0
    begun = done
    with listening() as notice, bar(settings.steps, "train", "step", progress, start=done) as advance:
        while done < settings.steps:
            pauses = [done - done % every + every for every in (report_every, checkpoint_every)]
            count = min(BLOCK, settings.steps - done, *(pause - done for pause in pauses))
            state, metrics = training.way.steps(denoiser, settings, state, training.train, count)
            taken, done = int(state.step) - done, int(state.step)
            if taken < count:
                raise _not_finite(training, state, metrics, taken)
            figures, held_out = training.reporter.add(metrics, count), None
            last = done == settings.steps
            without = watch.still(without, *(np.asarray(one[:count]) for one in (metrics.nelbo, metrics.gradient_norm)))
            if watch.is_dead(without, last):
                raise _dead(training, state, float(metrics.nelbo[count - 1]), without, done - begun)
            if done % report_every == 0 or last:
                bits, held_out = training.reporter.mean_loss(), training.reporter.measure(state)
                figures |= _reported(training, state, held_out)
            advance(count, **figures)
            stopping = processes.any_process(notice.is_set()) and not last
            if checkpoints is not None:
                together(checkpoints.check)
                # One that may be dead is no place to go on from.
                due = (done % checkpoint_every == 0 and without == 0) or last
                if due and held_out is None and not stopping:  # to tell the best by; who stops wants no waiting
                    held_out = training.reporter.measure(state)
                if due or stopping:
                    checkpoints.save(state, None if held_out is None else held_out.figure)
                if last or stopping:
                    together(checkpoints.wait)
            if stopping:
                raise Interrupted(_how_to_go_on(training.place, done, settings.steps), notice.signal or signal.SIGINT)
        if notice.signal is not None:
            finished = "the last step was already done: the run is finished; what follows it was not begun."
            raise Interrupted(finished, notice.signal)
    watch.tell_if_far(bits, denoiser.vocab_size)
    return state


def _reported(training: _Training, state: TrainState, held_out: HeldOut) -> dict[str, str]:
    """A report; if it cannot be written, the sentence says what is left."""
    try:
        return training.reporter.report(state, held_out, training.settings.batch * training.settings.length)
    except OSError as error:
        left = "" if training.checkpoints is None else f"; of the checkpoints {training.checkpoints.left()}"
        raise InputError(f"{error.filename} could not be written: {error.strerror}{left}.") from error


def _not_finite(training: _Training, state: TrainState, metrics: Metrics, taken: int) -> NonFinite:
    """Save the state before the step that is not finite, and its batch; returns what to raise."""
    done = int(state.step)
    loss, norm = float(metrics.nelbo[taken]), float(metrics.gradient_norm[taken])
    finite = math.isfinite(loss), math.isfinite(norm)
    what = (
        f"loss is {loss}" if not finite[0] else f"gradient norm is {norm}" if not finite[1] else "update is not finite"
    )
    kept = "nothing was saved, since no directory was given"
    tokens, masked, losses = _offending(training, state)
    if training.checkpoints is not None and training.place is not None:
        training.checkpoints.save(state)
        together(training.checkpoints.wait)
        path = training.place.non_finite(done + 1)
        stream = io.BytesIO()
        np.savez(stream, step=done + 1, tokens=tokens, masked=masked, losses=losses)
        together(lambda: write_bytes(path, stream.getvalue()) if ways.is_writer() else None)
        kept = f"the state before it is saved in {training.place.path}, its batch in {path}"
    advice = "Start anew in another directory with a lower learning rate, a longer warmup or another seed."
    if done == 0:
        bad = int(np.sum(~np.isfinite(losses)))
        which = (
            f"the loss of {bad} of its {len(losses)} rows is not finite" if bad else "the loss of every row is finite"
        )
        advice = f"No step came before it, so no learning rate is to blame but the model as it starts: {which}."
    return NonFinite(f"step {done + 1} of {training.settings.steps} is not finite (its {what}): {kept}. {advice}")


def _dead(training: _Training, state: TrainState, loss: float, without: int, taken: int) -> Dead:
    """What to raise of a network without a gradient; its state is saved if it lived when this process began.

    Never at the last step: a run that is at its end would be taken for finished.
    """
    done, steps = int(state.step), training.settings.steps
    what = watch.obituary(done, steps, without, loss, training.denoiser.vocab_size)
    kept = "nothing was saved, since no directory was given"
    if training.checkpoints is not None and training.place is not None:
        if done < steps and without < taken:
            training.checkpoints.save(state)
            together(training.checkpoints.wait)
        kept = f"of the checkpoints {training.checkpoints.left()}"
    return Dead(
        f"{what}, so no more steps would change anything; {kept}. "
        "Start anew in another directory with a lower learning rate, a longer warmup or other initial parameters."
    )


def _offending(training: _Training, state: TrainState) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The batch of the next step: tokens and masks [batch, length], the loss of each row in nats per token."""
    denoiser, settings = training.denoiser, training.settings

    @jax.jit
    def batch(state: TrainState, train: Array) -> tuple[Array, Array, Array]:
        tokens, corrupted = batch_of(denoiser, settings, state.step, train)
        losses = nelbo(denoiser, cast_params(state.params, settings.compute), tokens, corrupted) / settings.length
        return tokens, corrupted.masked, losses

    return ways.fetch(batch(state, training.train))


def _how_to_go_on(place: RunDirectory | None, done: int, steps: int) -> str:
    if place is None:
        return f"stopped at step {done} of {steps}; nothing was saved, since no directory was given."
    return f"stopped at step {done} of {steps}, saved in {place.path}; the same command goes on from there."
