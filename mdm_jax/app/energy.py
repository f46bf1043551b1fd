"""``mdm-jax energy``: the one-token energy of schedules, as a table."""

import argparse
import math

from mdm_jax.app.output import finite, show, table
from mdm_jax.theory import energies, schedule_text

WEIGHTS = ("sine_squared", "linear", "beta:0.9,0.3")


def run(options: argparse.Namespace) -> None:
    """Print energies in units of pi^2, the smallest possible value."""
    names = options.schedules or [*schedule_text.HAND_CRAFTED, "beta:0.9,0.3", "beta:0.3,0.9"]
    schedules = {schedule_text.text_of(s): s for s in map(schedule_text.parse, names)}
    weights = {schedule_text.text_of(s): s for s in map(schedule_text.parse, options.weight or WEIGHTS)}
    values = {
        name: {weight: float(energies.kinetic(s, w)) / math.pi**2 for weight, w in weights.items()}
        for name, s in schedules.items()
    }
    result = {
        "unit": "pi^2",
        "energies": {n: {w: finite(e) for w, e in row.items()} for n, row in values.items()},
    }
    heading = ["schedule", *(f"under {weight}" for weight in weights)]
    rows = [
        [name, *("diverges" if math.isinf(e) else f"{e:.4f}" for e in row.values())] for name, row in values.items()
    ]
    text = (
        table(heading, rows)
        + "\nEnergy per token in units of pi^2, its minimum: 1 where schedule and weight agree (arXiv 2509.13866)."
    )
    show(result, text, options.json)
