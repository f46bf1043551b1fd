"""Figures of a training as it goes: the progress bar's, the log's, the profile so far."""

import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from mdm_jax.models.denoiser import Denoiser
from mdm_jax.support.files import append_text
from mdm_jax.support.keys import key_of
from mdm_jax.support.processes import together
from mdm_jax.support.statistics import per_token
from mdm_jax.training import tally, ways
from mdm_jax.training.objective import Examples, monitored, score
from mdm_jax.training.runs import RunDirectory, identity
from mdm_jax.training.step import Metrics, TrainState
from mdm_jax.training.tally import Tally
from mdm_jax.training.ways import Job

Figures = dict[str, float]
"""What a line of the log says beside its step."""
HELD_OUT_ROWS = 128
"""At most this many held-out sequences are scored for the live figure, unless another number is asked for."""


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Held-out loss of the EMA of a state's parameters, bits per token, and its standard error (over rows).

    Attributes:
        mean: of the rows.
        standard_error: of it.
        terms: means of what else the objective logs, bits per token.
        monitors: what it says of these rows as a whole.
    """

    mean: float
    standard_error: float
    terms: Figures = dataclasses.field(default_factory=dict)
    monitors: Figures = dataclasses.field(default_factory=dict)

    @property
    def figure(self) -> float | None:
        """The mean, if it is finite."""
        return self.mean if math.isfinite(self.mean) else None


class Reporter:
    """Collects figures between reports and writes them to the log, if there is a directory.

    Every process makes the same calls; one of them writes.

    Args:
        job: what is trained.
        validation: held-out rows.
        place: the run's directory, or ``None``.
        log: its lines so far.
        on_report: a caller's own, for the step and the figures of each line.
        opening: what the next line says beside its figures, in the log alone.
        held_out_rows: at most so many held-out rows are scored, evenly spread over all of them.
    """

    def __init__(
        self,
        job: Job,
        validation: Examples,
        place: RunDirectory | None,
        log: list[dict[str, Any]],
        on_report: Callable[[int, Figures], object] | None = None,
        opening: Mapping[str, Any] | None = None,
        held_out_rows: int = HELD_OUT_ROWS,
    ) -> None:
        self._job, self._place, self._on_report = job, place, on_report
        self._opening = dict(opening or {})
        chosen = spread(len(validation.tokens), held_out_rows)
        self._rows = jax.tree.map(lambda leaf: leaf[chosen], validation)
        self._seconds = float(log[-1].get("seconds", 0.0)) if log else 0.0
        self._since = time.perf_counter()
        self._measuring = 0.0  # seconds since then that were spent on measuring
        self._losses: list[np.ndarray] = []
        self._terms: dict[str, list[np.ndarray]] = {name: [] for name in job.objective.terms}
        self._line: dict[str, Any] = {}
        self._shown: dict[str, str] = {}

    def add(self, metrics: Metrics, count: int) -> dict[str, str]:
        """Take in the losses of ``count`` steps, waiting until they are done; returns the figure to show."""
        self._losses.append(np.asarray(metrics.loss[:count], dtype=np.float64) / np.log(2))
        for name, values in self._terms.items():
            values.append(np.asarray(metrics.terms[name][:count], dtype=np.float64) / np.log(2))
        return {"loss": f"{self._losses[-1].mean():.2f}", **self._shown}

    def mean_loss(self) -> float:
        """Of the steps since the last report, bits per token."""
        return float(np.concatenate(self._losses).mean())

    def measure(self, state: TrainState) -> HeldOut:
        """Score the held-out sequences."""
        start = time.perf_counter()
        asked = self._job.objective, key_of(0), self._job.denoiser, state.ema_params, self._rows
        scored = score(*asked)
        nats = ways.fetch({"loss": scored.loss, **{f"term {name}": one for name, one in scored.terms.items()}})
        bits = {name: one.astype(np.float64) / np.log(2) for name, one in nats.items()}
        tokens = np.sum(np.asarray(self._rows.free), axis=1)
        monitors = {name: float(one) for name, one in ways.fetch(monitored(*asked)).items()}
        self._measuring += time.perf_counter() - start
        terms = {name: per_token(bits[f"term {name}"], tokens)[0] for name in self._terms}
        return HeldOut(*per_token(bits["loss"], tokens), terms, monitors)

    def report(self, state: TrainState, held_out: HeldOut) -> dict[str, str]:
        """Write a line of the log and the profile so far; returns the figures to show behind the bar.

        Raises:
            OSError: a file cannot be written; the error names it.
            InputError: it could not be written by the process that writes.
        """
        now, losses, settings = time.perf_counter(), np.concatenate(self._losses), self._job.settings
        speed = len(losses) * settings.batch * settings.tokens_per_row / (now - self._since - self._measuring)
        self._seconds += now - self._since
        self._line = line = {
            "step": int(state.step),
            "seconds": round(self._seconds, 3),
            "train_bits_per_token": self.mean_loss(),
            "held_out_bits_per_token": held_out.mean,
            "held_out_standard_error": held_out.standard_error,
            "held_out_rows": len(self._rows.tokens),
            "tokens_per_second": round(speed, 1),
            **{f"train_{name}": float(np.concatenate(values).mean()) for name, values in self._terms.items()},
            **{f"held_out_{name}": value for name, value in {**held_out.terms, **held_out.monitors}.items()},
        }
        if self._place is not None:
            place, seen, model = self._place, ways.fetch(state.tally), self._job.denoiser
            together(lambda: _write(place, {**line, **self._opening}, seen, model))
            self._opening = {}
        self._losses, self._since, self._measuring = [], time.perf_counter(), 0.0
        self._terms = {name: [] for name in self._terms}
        unit = "bits/token" if self._job.objective.is_bound else "bits/token (no bound)"
        self._shown = {"held-out": f"{held_out.mean:.2f} {unit}"}
        if "kl_nats" in held_out.monitors:  # what the latents of a sequence tell
            self._shown["KL"] = f"{held_out.monitors['kl_nats']:.1f} nats"
        self._shown["tok/s"] = f"{speed:,.0f}"
        return self._shown

    def tell(self) -> None:
        """Hand the last line to the caller who asked for it: its step, and its figures by name.

        Raises:
            Exception: what the caller's function raised; another process of this run says so in a sentence.
        """
        if self._on_report is not None:
            call, figures = self._on_report, {name: value for name, value in self._line.items() if name != "step"}
            together(lambda: call(self._line["step"], figures) if ways.is_writer() else None)


def spread(rows: int, most: int) -> np.ndarray:
    """At most so many of the numbers of some rows, evenly spread over them: data are often sorted.

    Example:
        >>> from mdm_jax.training.reports import spread
        >>> spread(10, 4).tolist(), spread(3, 4).tolist()
        ([0, 2, 5, 7], [0, 1, 2])
    """
    count = min(rows, most)
    return np.arange(count) * rows // count


def _write(place: RunDirectory, line: dict[str, Any], seen: Tally, denoiser: Denoiser) -> None:
    """What one process does of a report."""
    if not ways.is_writer():
        return
    append_text(place.log, json.dumps(line) + "\n")
    profile = tally.to_profile(seen, tally.about(denoiser, run=identity(place), run_step=line["step"]))
    if profile is not None:
        profile.save(place.training_profile)
