"""Mask schedules: families with closed forms, learnable ones, any of your own; as text and as files.

``README.md`` beside this file is the guide; the formulas, and what other code calls them, are in ``factories``.
"""

from mdm_jax.theory.numerics.given import as_float
from mdm_jax.theory.schedules.base import HALF_PI, AngleSchedule, Schedule, checked_schedule
from mdm_jax.theory.schedules.factories import (
    Beta,
    KineticOptimum,
    beta,
    geometric,
    kinetic_optimum,
    linear,
    maskgit,
    polynomial,
    sine,
    sine_squared,
)
from mdm_jax.theory.schedules.families import Geometric, Linear, MaskGIT, Polynomial, Sine, SineSquared
from mdm_jax.theory.schedules.hybrid import HybridShares, hybrid_shares
from mdm_jax.theory.schedules.tables import Tabulated, free, tabulate, tabulated
from mdm_jax.theory.schedules.text import (
    FORMS,
    HAND_CRAFTED,
    definition,
    from_json,
    label,
    load,
    parse,
    save,
    text_of,
    to_json,
)

__all__ = [
    "FORMS", "HALF_PI", "HAND_CRAFTED", "AngleSchedule", "Beta", "Geometric", "HybridShares", "KineticOptimum",
    "Linear", "MaskGIT", "Polynomial", "Schedule", "Sine", "SineSquared", "Tabulated", "as_float", "beta",
    "checked_schedule", "definition", "free", "from_json", "geometric", "hybrid_shares", "kinetic_optimum", "label",
    "linear", "load", "maskgit", "parse", "polynomial", "save", "sine", "sine_squared", "tabulate", "tabulated",
    "text_of", "to_json",
]  # fmt: skip
