"""Figures of a training as it goes: the progress bar's, the log's, the profile so far."""

import dataclasses
import json
import math
import time
from typing import Any

import numpy as np
from jaxtyping import Int32

from mdm_jax.models.denoiser import Denoiser
from mdm_jax.support.files import append_text
from mdm_jax.support.keys import key_of
from mdm_jax.support.processes import together
from mdm_jax.support.statistics import standard_error
from mdm_jax.training import tally, ways
from mdm_jax.training.losses import stratified_nelbo
from mdm_jax.training.runs import RunDirectory, identity
from mdm_jax.training.step import Metrics, TrainState
from mdm_jax.training.tally import Tally

HELD_OUT_ROWS = 128
"""At most this many held-out sequences are scored for the live figure."""


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Held-out bits per token of a state's averaged parameters, and its standard error (over rows)."""

    mean: float
    standard_error: float

    @property
    def figure(self) -> float | None:
        """The mean, if it is finite."""
        return self.mean if math.isfinite(self.mean) else None


class Reporter:
    """Collects figures between reports and writes them to the log, if there is a directory.

    Every process makes the same calls; one of them writes.

    Args:
        denoiser: the model.
        validation: held-out sequences.
        place: the run's directory, or ``None``.
        log: its lines so far.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        validation: Int32[np.ndarray, "rows length"],
        place: RunDirectory | None,
        log: list[dict[str, Any]],
    ) -> None:
        self.place = place
        self._denoiser = denoiser
        self._rows = validation[:HELD_OUT_ROWS]
        self._seconds = float(log[-1].get("seconds", 0.0)) if log else 0.0
        self._since = time.perf_counter()
        self._measuring = 0.0  # seconds since then that were spent on measuring
        self._losses: list[np.ndarray] = []
        self._shown: dict[str, str] = {}

    def add(self, metrics: Metrics, count: int) -> dict[str, str]:
        """Take in the losses of ``count`` steps, waiting until they are done; returns the figure to show."""
        self._losses.append(np.asarray(metrics.nelbo[:count], dtype=np.float64) / np.log(2))
        return {"loss": f"{self._losses[-1].mean():.2f}", **self._shown}

    def mean_loss(self) -> float:
        """Of the steps since the last report, bits per token."""
        return float(np.concatenate(self._losses).mean())

    def measure(self, state: TrainState) -> HeldOut:
        """Score the held-out sequences."""
        start = time.perf_counter()
        nelbo = ways.fetch(stratified_nelbo(self._denoiser, state.ema_params, self._rows, key_of(0)))
        bits = nelbo.astype(np.float64) / (np.log(2) * self._rows.shape[1])
        self._measuring += time.perf_counter() - start
        return HeldOut(float(bits.mean()), standard_error(bits))

    def report(self, state: TrainState, held_out: HeldOut, tokens_per_step: int) -> dict[str, str]:
        """Write a line of the log and the profile so far; returns the figures to show behind the bar.

        Raises:
            OSError: a file cannot be written; the error names it.
            InputError: it could not be written by the process that writes.
        """
        now, losses = time.perf_counter(), np.concatenate(self._losses)
        speed = len(losses) * tokens_per_step / (now - self._since - self._measuring)
        self._seconds += now - self._since
        line = {
            "step": int(state.step),
            "seconds": round(self._seconds, 3),
            "train_bits_per_token": self.mean_loss(),
            "held_out_bits_per_token": held_out.mean,
            "held_out_standard_error": held_out.standard_error,
            "tokens_per_second": round(speed, 1),
        }
        if self.place is not None:
            place, seen = self.place, ways.fetch(state.tally)
            together(lambda: _write(place, line, seen))
        self._losses, self._since, self._measuring = [], time.perf_counter(), 0.0
        self._shown = {"held-out": f"{held_out.mean:.2f} bits/token", "tok/s": f"{speed:,.0f}"}
        return self._shown


def _write(place: RunDirectory, line: dict[str, Any], seen: Tally) -> None:
    """What one process does of a report."""
    if not ways.is_writer():
        return
    append_text(place.log, json.dumps(line) + "\n")
    profile = tally.to_profile(seen, {"run": identity(place), "run_step": line["step"]})
    if profile is not None:
        profile.save(place.training_profile)
