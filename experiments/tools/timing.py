"""Paired timing: variants take turns, and are compared round by round."""

import os
import statistics
import time
from collections.abc import Callable, Mapping


def on_one_core() -> None:
    """Keep what this process computes on one processor core, where the system can.

    JAX counts the cores when it first computes, so call it before.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def alternate(
    variants: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each variant in each round, the variants taking turns so that drift hits all of them alike.

    Every variant runs once before the clock starts (compilation, caches).

    Args:
        variants: what to time, by name.
        rounds: how often.
        clock: wall-clock seconds; or ``time.process_time``, which other processes disturb less.
    """
    for variant in variants.values():
        variant()
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, variant in variants.items():
            start = clock()
            variant()
            seconds[name].append(clock() - start)
    return seconds


def paired_ratio(numerator: list[float], denominator: list[float]) -> dict[str, float]:
    """Median, least and greatest ratio, round by round."""
    ratios = [a / b for a, b in zip(numerator, denominator, strict=True)]
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def as_figure(ratio: Mapping[str, float]) -> list[float]:
    """A ratio as a figure: the median, the least and the greatest round."""
    return [ratio["median"], ratio["min"], ratio["max"]]


def said(ratio: Mapping[str, float], digits: int = 2) -> str:
    """A ratio in words: ``"1.50 (1.30 to 1.93)"``."""
    middle, low, high = (f"{value:,.{digits}f}" for value in as_figure(ratio))
    return f"{middle} ({low} to {high})"
