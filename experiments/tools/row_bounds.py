"""Rows of data one by one against the bounds of their own curves, as ``any_order_theory`` counts them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mdm_jax.theory import profiles
from mdm_jax.theory.plans import Plan
from mdm_jax.theory.profiles import Profile, bounds

TAIL, RATE, ERRORS = 8, 0.25, 3.0
"""Tokens at the end of a curve; the rate of the sizes by total correlations; standard errors."""
ONE = "one token"
"""The plan that each excess is counted from."""


def bounded(
    first: np.ndarray, paths: Mapping[str, np.ndarray], curves: np.ndarray, named: Mapping[str, Plan]
) -> dict[str, dict[str, Any]]:
    """Of each plan and row: its excess, its bound, and the standard error of their difference over orders."""
    smooth = curves.copy()
    smooth[:, :, 0] = first[:, None]
    smooth[:, :, -1] = curves[:, :, -TAIL:].mean(axis=2)
    own = [[profiles.from_values(curve) for curve in of_row] for of_row in smooth]
    found = {}
    for name, plan in named.items():
        if name == ONE:
            continue
        limits = np.array([[limit_of(name, plan, curve) for curve in of_row] for of_row in own])
        excess = paths[name] - paths[ONE]
        error = np.std(excess - limits, axis=1, ddof=1) / np.sqrt(curves.shape[1])
        rows = {"excess": excess.mean(axis=1), "limit": limits.mean(axis=1), "error": error}
        found[name] = {which: values.round(4) for which, values in rows.items()}
    return found


def limit_of(name: str, plan: Plan, curve: Profile) -> float:
    """The bound on a plan's excess that belongs to its kind, nats."""
    if name == "TC":
        return bounds.tc_schedule(curve, RATE)
    if name == "DTC":
        return bounds.dtc_schedule(curve, RATE)
    return float(bounds.any_sizes(curve, plan.sizes))


def counted(seeds: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows of all trainings against one bound."""
    excess, limit, error = (np.concatenate([one[which] for one in seeds]) for which in ("excess", "limit", "error"))
    return {
        "rows": len(excess),
        "exceeded": int(np.sum(excess - limit > ERRORS * error)),
        "worst in standard errors": float(np.max((excess - limit) / error)),
        "excess": float(excess.mean()),
        "limit": float(limit.mean()),
        "seen from": float(np.median(ERRORS * error)),
        "below zero": int(np.sum(limit < 0)),
        "apart": np.quantile(excess - limit, (0.025, 0.25, 0.5, 0.75, 0.975)).round(4),
    }
