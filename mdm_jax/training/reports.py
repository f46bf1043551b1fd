"""Figures of a training as it goes: the progress bar's, the log's, the profile so far."""

import json
import math
import time
from typing import Any

import jax
import numpy as np

from mdm_jax.models.denoiser import Denoiser
from mdm_jax.support.files import append_text
from mdm_jax.tasks import Task
from mdm_jax.training import tally, ways
from mdm_jax.training.losses import stratified_nelbo
from mdm_jax.training.runs import RunDirectory, identity
from mdm_jax.training.step import Metrics, TrainState

HELD_OUT_ROWS = 128
"""At most this many held-out sequences are scored for the live figure."""


class Reporter:
    """Collects figures between reports and writes them to the log, if there is a directory.

    Every process makes the same calls; one of them writes.

    Args:
        denoiser: the model.
        task: gives the held-out sequences.
        place: the run's directory, or ``None``.
        log: its lines so far.
    """

    def __init__(self, denoiser: Denoiser, task: Task, place: RunDirectory | None, log: list[dict[str, Any]]) -> None:
        self.place = place
        self._denoiser = denoiser
        self._rows = np.asarray(task.validation[:HELD_OUT_ROWS], np.int32)
        self._seconds = float(log[-1].get("seconds", 0.0)) if log else 0.0
        self._since = time.perf_counter()
        self._losses: list[np.ndarray] = []
        self._shown: dict[str, str] = {}

    def add(self, metrics: Metrics, count: int) -> dict[str, str]:
        """Take in the losses of ``count`` steps, waiting until they are done; returns the figure to show."""
        self._losses.append(np.asarray(metrics.nelbo[:count], dtype=np.float64) / np.log(2))
        return {"loss": f"{self._losses[-1].mean():.2f}", **self._shown}

    def report(self, step: int, state: TrainState, tokens_per_step: int) -> tuple[dict[str, str], float | None]:
        """Write a line of the log and the profile so far.

        Returns:
            The figures to show behind the bar, and the held-out bits per token (``None`` if they are not finite).

        Raises:
            OSError: a file cannot be written; the error names it.
        """
        losses = np.concatenate(self._losses)
        speed = len(losses) * tokens_per_step / (time.perf_counter() - self._since)
        nelbo = ways.fetch(stratified_nelbo(self._denoiser, state.average, self._rows, jax.random.key(0)))
        held_out = nelbo.astype(np.float64) / (np.log(2) * self._rows.shape[1])
        mean = float(held_out.mean())
        self._seconds += time.perf_counter() - self._since
        line = {
            "step": step,
            "seconds": round(self._seconds, 3),
            "train_bits_per_token": float(losses.mean()),
            "held_out_bits_per_token": mean,
            "held_out_standard_error": float(held_out.std(ddof=1) / np.sqrt(len(held_out))),
            "tokens_per_second": round(speed, 1),
        }
        if self.place is not None:
            seen = ways.fetch(state.tally)
            if ways.is_writer():
                append_text(self.place.log, json.dumps(line) + "\n")
                profile = tally.to_profile(seen, {"run": identity(self.place), "run_step": step})
                if profile is not None:
                    profile.save(self.place.training_profile)
        self._losses, self._since = [], time.perf_counter()
        self._shown = {"held-out": f"{mean:.2f} bits/token", "tok/s": f"{speed:,.0f}"}
        return self._shown, mean if math.isfinite(mean) else None
