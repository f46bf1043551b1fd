"""What was measured, in words and tables for a person: a few points of a profile, and the loss beside baselines."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mdm_jax.evaluation import told_of_until
from mdm_jax.support.intervals import mean_intervals
from mdm_jax.support.text import table
from mdm_jax.theory import plans
from mdm_jax.theory.profiles import Profile

_POINTS = 9
"""Rows of the table, at most."""


def describe(profile: Profile, held_out: dict[str, Any]) -> str:
    """A few points of the profile and the comparison with the baselines, and which rows that is of."""
    ragged = "length_bits_per_row" in held_out
    interval = " (95% interval)" if "interval" in held_out else ""
    bits = f"bits per token{' given the length' if ragged else ''}"
    rivals = table(
        ["held-out (test half)", f"{bits}{interval}", f"behind the model by{interval}"],
        [
            [f"model ({held_out.get('bound', 'NELBO')})", _bits(held_out), ""],
            *([row["name"], f"{row['bits_per_token']:.3f}", _margin(row)] for row in held_out["baselines"]),
        ],
    )
    return f"{points(profile)}\n\n{rivals}{_judged(held_out)}"


def _known(value: float, interval: Sequence[float] | None, error: float, shape: str) -> str:
    """A figure with its interval of 95%, or with its standard error where it has none."""
    if interval is None:
        return f"{value:{shape}} ± {error:.3f}"
    low, high = interval
    return f"{value:{shape}} ({low:{shape}} to {high:{shape}})"


def _bits(held_out: dict[str, Any]) -> str:
    interval = held_out.get("interval")
    ends = None if interval is None else (max(interval[0], 0.0), interval[1])
    return _known(held_out["bits_per_token"], ends, held_out["standard_error"], ".3f")


def _margin(row: dict[str, Any]) -> str:
    return _known(row["margin"], row.get("margin_interval"), row["margin_standard_error"], "+.3f")


def _judged(held_out: dict[str, Any]) -> str:
    """How many rows were judged, of how many, and what their lengths cost beside their tokens."""
    rows, there = held_out["rows"], held_out.get("of_rows", held_out["rows"])
    told = f"\nOf {rows:,} rows" + (", all of the test half." if rows == there else f" of the test half's {there:,}.")
    if held_out.get("behind_prompts"):
        told += " What the data gives of a row, its prompt, is not counted."
    if held_out.get("given_labels"):
        told += "\nThe model is told the label of each row; the models beside it are not."
    if "bits_per_byte" in held_out:
        bits, error = held_out["bits_per_byte"], held_out["bits_per_byte_standard_error"]
        told += f"\nPer byte of text the model has {bits:.3f} ± {error:.3f} bits."
    if "length_bits_per_row" not in held_out:
        return told
    bits, error = held_out["length_bits_per_row"], held_out["length_standard_error"]
    return f"{told}\nThe length itself: {bits:.3f} ± {error:.3f} bits per row, by the lengths of the training rows."


def points(profile: Profile) -> str:
    """A few points of the profile as a table, and what came of a measurement that went on."""
    shown = np.unique(np.linspace(0, len(profile.counts) - 1, _POINTS).round().astype(int))
    if profile.shares is None:
        told = table(
            ["revealed", "nats per token", "standard error"],
            [[str(profile.counts[i]), f"{profile.means[i]:.4f}", f"{profile.standard_errors[i]:.4f}"] for i in shown],
        )
    else:
        intervals = mean_intervals(profile.shares.T[shown])
        told = table(
            ["revealed", "nats per token", "95% interval"],
            [
                [str(profile.counts[i]), f"{profile.means[i]:.4f}", f"{max(low, 0.0):.4f} to {high:.4f}"]
                for i, (_, low, high) in zip(shown, intervals, strict=True)
            ],
        )
    if "until" in profile.provenance:
        told += f"\n{told_of_until(profile)}"
    latent, about = profile.provenance.get("latent"), profile.provenance
    if "block" in about:
        told += f"\nOf a block of {profile.length} tokens, after the blocks before it."
    if about.get("order") == "uniform":
        told += "\nIn uniformly random order; in another order an any-order model has another profile."
    if latent == "fixed":
        return (
            f"{told}\nEach sequence with a latent of its own, whose KL is {about['kl_nats']:.3f} ± "
            f"{about['kl_standard_error']:.3f} nats: it is added once to the cost of every plan."
        )
    return told if latent is None else f"{told}\nOf the average over {about['latents']} latents: nothing is added."


class Certified(NamedTuple):
    """A certificate as a part of what a command prints."""

    result: dict[str, Any]
    text: str


def certified(profile: Profile, steps: Sequence[int]) -> Certified:
    """What the best plans of so many steps cost at most, by a measured profile; nothing where none are named."""
    if not steps:
        return Certified({}, "")
    found = plans.certify(profile, steps)
    return Certified({"certificate": found.to_json()}, f"\n{found!r}")
