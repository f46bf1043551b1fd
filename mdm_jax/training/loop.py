"""The loop around the compiled steps: reports, checkpoints, signals."""

import dataclasses
import signal
from collections.abc import Iterator

import numpy as np

from mdm_jax.support import processes
from mdm_jax.support.errors import InputError
from mdm_jax.support.processes import together
from mdm_jax.support.progress import bar
from mdm_jax.support.stops import Interrupted, listening
from mdm_jax.training import batches, watch
from mdm_jax.training.endings import Kept, dead, how_to_go_on, not_finite, unread
from mdm_jax.training.feeding import fed
from mdm_jax.training.objective import Examples
from mdm_jax.training.reports import HeldOut, Reporter
from mdm_jax.training.step import BLOCK, TrainState
from mdm_jax.training.ways import Job, Way


@dataclasses.dataclass(frozen=True)
class Pace:
    """How often to report and to save, in steps, and whether to show how far it is."""

    report_every: int
    checkpoint_every: int
    progress: bool


def run_steps(
    job: Job, way: Way, train: Examples, state: TrainState, reporter: Reporter, kept: Kept, pace: Pace
) -> TrainState:
    """Take the steps that are left of a training; returns the last state.

    Args:
        job: what is trained.
        way: how it runs.
        train: the data, as NumPy arrays.
        state: to go on from; it is given up.
        reporter: of its figures.
        kept: where the run is.
        pace: how often to report and to save.

    Raises:
        Interrupted: a signal came; the state was saved.
        NonFinite: a step was not finite; the state before it was saved.
        Dead: the gradient has been exactly zero for several steps.
        InputError: something cannot be written, or data not be read; then the state was saved.
        Exception: what a caller's ``on_report`` raised; the state was saved.
    """
    settings, checkpoints = job.settings, kept.checkpoints
    done, without, bits = int(state.step), 0, 0.0
    begun = done
    # Every block's losses are read, so that few calls are ever in flight: with jaxlib 0.8 and 0.10 a program with
    # collectives over several devices of one process hung on CPU once more than 32 were (one-off probes; 0.12 did not).
    with (
        listening() as notice,
        fed(job, way, train, blocks(pace, done, settings.steps), pace.progress) as next_data,
        bar(settings.steps, "train", "step", pace.progress, start=done) as advance,
    ):
        for before, count in blocks(pace, done, settings.steps):
            try:
                data = next_data()
            except InputError as error:
                raise unread(kept, state, settings.steps, error) from error
            state, metrics = way.steps(job, state, data, count)
            taken = int(state.step) - before
            if taken < count:
                raise not_finite(job, kept, batches.at(data, taken), state, metrics, taken)
            done = before + count
            figures, held_out = reporter.add(metrics, count), None
            last = done == settings.steps
            without = watch.still(without, *(np.asarray(one[:count]) for one in (metrics.loss, metrics.gradient_norm)))
            if watch.is_dead(without, last):
                raise dead(job, kept, state, float(metrics.loss[count - 1]), without, done - begun)
            if done % pace.report_every == 0 or last:
                bits, held_out = reporter.mean_loss(), reporter.measure(state)
                figures |= _reported(reporter, kept, state, held_out)
            advance(count, **figures)
            stopping = processes.any_process(notice.is_set()) and not last
            if checkpoints is not None:
                together(checkpoints.check)
                # One that may be dead is no place to go on from.
                due = (done % pace.checkpoint_every == 0 and without == 0) or last
                if due and held_out is None and not stopping:  # to tell the best by; who stops wants no waiting
                    held_out = reporter.measure(state)
                if due or stopping:
                    checkpoints.save(state, None if held_out is None else held_out.figure)
                if last or stopping:
                    together(checkpoints.wait)
            if stopping:
                raise Interrupted(how_to_go_on(kept.place, done, settings.steps), notice.signal or signal.SIGINT)
        if notice.signal is not None:
            finished = "the last step was already done: the run is finished; what follows it was not begun."
            raise Interrupted(finished, notice.signal)
    if job.objective.is_bound:
        watch.tell_if_far(bits, job.denoiser.vocab_size)
    return state


def blocks(pace: Pace, done: int, steps: int) -> Iterator[tuple[int, int]]:
    """The blocks of steps that are left, each as the steps done before it and the number of its own.

    Args:
        pace: a block ends where something is to be reported or saved.
        done: steps done.
        steps: of the whole training.
    """
    while done < steps:
        pauses = [done - done % every + every for every in (pace.report_every, pace.checkpoint_every)]
        count = min(BLOCK, steps - done, *(pause - done for pause in pauses))
        yield done, count
        done += count


def _reported(reporter: Reporter, kept: Kept, state: TrainState, held_out: HeldOut) -> dict[str, str]:
    """A report; if it cannot be written, the sentence says what is left, and if nobody takes it, the state is saved."""
    try:
        shown = reporter.report(state, held_out)
    except OSError as error:
        left = "" if kept.checkpoints is None else f"; of the checkpoints {kept.checkpoints.left()}"
        raise InputError(f"{error.filename} could not be written: {error.strerror}{left}.") from error
    try:
        reporter.tell()
    except Exception:  # a caller's own: it ends the training, which loses nothing by it
        if kept.checkpoints is not None:
            kept.checkpoints.save(state, held_out.figure)
            together(kept.checkpoints.wait)
        raise
    return shown
