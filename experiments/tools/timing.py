"""Paired timing: variants take turns, and are compared round by round."""

import statistics
import time
from collections.abc import Callable, Mapping


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


def as_figure(ratio: Mapping[str, float]) -> list[float]:
    """A ratio as a figure: the median, the least and the greatest round."""
    return [ratio["median"], ratio["min"], ratio["max"]]


def said(ratio: Mapping[str, float], digits: int = 2) -> str:
    """A ratio in words: ``"1.50 (1.30 to 1.93)"``."""
    middle, low, high = (f"{value:,.{digits}f}" for value in as_figure(ratio))
    return f"{middle} ({low} to {high})"
