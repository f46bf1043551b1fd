"""What experiments share: where results go, verdicts, paired timing."""

import dataclasses
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import jax
from matplotlib.figure import Figure

from mdm_jax.support.files import write_json

Verdict = Literal["holds", "partly", "does not", "not tested"]


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One run of one experiment."""

    name: str
    folder: Path
    quick: bool

    def finish(self, claim: str, verdict: Verdict, results: Mapping[str, Any], figure: Figure) -> None:
        """Write ``results.json``, ``figure.svg`` and ``figure.png``, print the verdict."""
        machine = {"processor": platform.machine(), "devices": [str(d) for d in jax.devices()], "jax": jax.__version__}
        content = {"experiment": self.name, "claim": claim, "verdict": verdict, "quick": self.quick, "machine": machine}
        write_json(self.folder / "results.json", {**content, "results": dict(results)})
        figure.savefig(self.folder / "figure.svg", bbox_inches="tight")
        figure.savefig(self.folder / "figure.png", bbox_inches="tight", dpi=150)
        print(f"{self.name}: {claim}\nverdict: {verdict}{' (quick run: not to be quoted)' if self.quick else ''}")
        print(f"written to {self.folder}")


def alternate(variants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each variant in each round, the variants taking turns so that drift hits all of them alike.

    Every variant runs once before the clock starts (compilation, caches).
    """
    for variant in variants.values():
        variant()
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, variant in variants.items():
            start = time.perf_counter()
            variant()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def paired_ratio(numerator: list[float], denominator: list[float]) -> dict[str, float]:
    """Median, least and greatest ratio, round by round."""
    ratios = [a / b for a, b in zip(numerator, denominator, strict=True)]
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}
