"""Training from first step to last, in memory or in a run directory that resumes."""

import dataclasses
import functools
import json
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mdm_jax.models.denoiser import Denoiser, Params
from mdm_jax.support.errors import require, verbatim
from mdm_jax.support.progress import bar
from mdm_jax.tasks import Task
from mdm_jax.training import tally
from mdm_jax.training.checkpoints import Checkpoints
from mdm_jax.training.losses import stratified_nelbo
from mdm_jax.training.runs import Run, RunDirectory, claim, configuration, identity
from mdm_jax.training.step import BLOCK, Metrics, Settings, TrainState, initial_state, train_steps

HELD_OUT_ROWS = 128
"""At most this many held-out sequences are scored for the live figure."""

_steps = jax.jit(train_steps, static_argnums=(0, 1), donate_argnums=2)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during training; the state was saved, and the message says how to go on."""


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
    progress: bool = True,
) -> Run:
    """Train ``denoiser`` on ``task.train``.

    With a ``directory`` the run is saved as it goes, and calling again with the same arguments continues from the
    newest checkpoint: a killed run ends bitwise equal to an uninterrupted one on the same machine and flags, since
    data and masks depend on (seed, step) alone (on GPU, where XLA is told to be deterministic). A finished run is
    loaded, not trained again.

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
        progress: show loss, tokens per second, time left and held-out bits per token.

    Returns:
        The :class:`~mdm_jax.training.runs.Run`; its ``params`` are the averaged ones.

    Raises:
        InputError: a task that does not fit the model, or a directory that holds another run.
        Interrupted: Ctrl-C; the state is saved first.
    """
    settings = dataclasses.replace(settings or Settings(), length=task.length)
    if steps is not None:
        settings = dataclasses.replace(settings, steps=steps)
    report_every = max(1, settings.steps // 20) if report_every is None else report_every
    checkpoint_every = max(1, math.ceil(settings.steps / 10)) if checkpoint_every is None else checkpoint_every
    require(report_every >= 1, "report_every", report_every, "at least 1")
    require(checkpoint_every >= 1, "checkpoint_every", checkpoint_every, "at least 1")
    _check_task(denoiser, task)

    config = configuration(task, denoiser, settings)
    place = None if directory is None else RunDirectory(Path(directory))
    with ExitStack() as stack:
        checkpoints, state, log = None, None, []
        if place is not None:
            claim(place, config)
            checkpoints = stack.enter_context(Checkpoints(place.checkpoints))
            if checkpoints.latest() is not None:
                like = jax.eval_shape(functools.partial(initial_state, denoiser, settings), params)
                state = checkpoints.restore(like)
            log = place.cut_log(0 if state is None else int(state.step))
        if state is None:
            state = jax.jit(initial_state, static_argnums=(0, 1))(denoiser, settings, params)
        reporter = _Reporter(denoiser, task, place, log)
        state = _loop(denoiser, settings, task, state, checkpoints, reporter, report_every, checkpoint_every, progress)
    return Run(denoiser, state.average, place, settings, int(state.step), config["task"], jax.device_get(state.tally))


def _loop(
    denoiser: Denoiser,
    settings: Settings,
    task: Task,
    state: TrainState,
    checkpoints: Checkpoints | None,
    reporter: "_Reporter",
    report_every: int,
    checkpoint_every: int,
    progress: bool,
) -> TrainState:
    train = jnp.asarray(task.train, jnp.int32)
    done = int(state.step)
    with _interruptible() as interrupted, bar(settings.steps, "train", "step", progress, start=done) as advance:
        while done < settings.steps:
            pauses = [done - done % every + every for every in (report_every, checkpoint_every)]
            count = min(BLOCK, settings.steps - done, *(pause - done for pause in pauses))
            state, metrics = _steps(denoiser, settings, state, train, jnp.int32(count))
            done += count
            figures = reporter.add(metrics, count)
            last = done == settings.steps
            if done % report_every == 0 or last:
                figures |= reporter.report(done, state, settings.batch * settings.length)
            advance(count, **figures)
            stopping = interrupted.is_set() and not last
            if checkpoints is not None and (done % checkpoint_every == 0 or last or stopping):
                checkpoints.save(state)
            if stopping:
                raise Interrupted(_how_to_go_on(reporter.place, done, settings.steps))
        if interrupted.is_set():
            raise Interrupted("the last step was already done: the run is finished; what follows it was not begun.")
    return state


class _Reporter:
    """Collects figures between reports and writes them to the log."""

    def __init__(self, denoiser: Denoiser, task: Task, place: RunDirectory | None, log: list[dict[str, Any]]) -> None:
        self.place = place
        self._denoiser = denoiser
        self._rows = jnp.asarray(task.validation[:HELD_OUT_ROWS], jnp.int32)
        self._seconds = log[-1]["seconds"] if log else 0.0
        self._since = time.perf_counter()
        self._losses: list[np.ndarray] = []
        self._shown: dict[str, str] = {}

    def add(self, metrics: Metrics, count: int) -> dict[str, str]:
        """Take in the losses of ``count`` steps, waiting until they are done; returns the figure to show."""
        self._losses.append(np.asarray(metrics.nelbo[:count], dtype=np.float64) / np.log(2))
        return {"loss": f"{self._losses[-1].mean():.2f}", **self._shown}

    def report(self, step: int, state: TrainState, tokens_per_step: int) -> dict[str, str]:
        """Write a line of the log and the profile so far; returns the figures to show behind the bar."""
        losses = np.concatenate(self._losses)
        speed = len(losses) * tokens_per_step / (time.perf_counter() - self._since)
        held_out = np.asarray(
            stratified_nelbo(self._denoiser, state.average, self._rows, jax.random.key(0)), dtype=np.float64
        )
        held_out = held_out / (np.log(2) * self._rows.shape[1])
        self._seconds += time.perf_counter() - self._since
        line = {
            "step": step,
            "seconds": round(self._seconds, 3),
            "train_bits_per_token": float(losses.mean()),
            "held_out_bits_per_token": float(held_out.mean()),
            "held_out_standard_error": float(held_out.std(ddof=1) / np.sqrt(len(held_out))),
            "tokens_per_second": round(speed, 1),
        }
        if self.place is not None:
            with self.place.log.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")
            profile = tally.to_profile(jax.device_get(state.tally), {"run": identity(self.place), "run_step": step})
            if profile is not None:
                profile.save(self.place.training_profile)
        self._losses, self._since = [], time.perf_counter()
        self._shown = {"held-out": f"{line['held_out_bits_per_token']:.2f} bits/token", "tok/s": f"{speed:,.0f}"}
        return self._shown


def _check_task(denoiser: Denoiser, task: Task) -> None:
    """Refuse a task that does not fit the model, or arrays that do not fit the task."""
    fits = denoiser.vocab_size == task.vocab_size
    require(fits, "denoiser.vocab_size", denoiser.vocab_size, f"the task's vocab_size {task.vocab_size}")
    length, shape = task.length, verbatim(f"shape {task.train.shape}")
    if task.train.ndim == 1:
        require(len(task.train) >= length, "task.train", shape, f"a stream of at least {length} tokens")
    else:
        rows = task.train.ndim == 2 and task.train.shape[1] == length and len(task.train) > 0
        require(rows, "task.train", shape, f"a stream, or of shape [examples, {length}]")
    shape = verbatim(f"shape {task.validation.shape}")
    enough = task.validation.ndim == 2 and len(task.validation) >= 2 and task.validation.shape[1] == length
    require(enough, "task.validation", shape, f"of shape [rows, {length}] with at least 2 rows")


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets, so that a step is never torn; a second Ctrl-C interrupts at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def note(*_: object) -> None:
        event.set()
        signal.signal(signal.SIGINT, previous)

    previous = signal.signal(signal.SIGINT, note)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, previous)


def _how_to_go_on(place: RunDirectory | None, done: int, steps: int) -> str:
    if place is None:
        return f"stopped at step {done} of {steps}; nothing was saved, since no directory was given."
    return f"stopped at step {done} of {steps}, saved in {place.path}; the same command goes on from there."
