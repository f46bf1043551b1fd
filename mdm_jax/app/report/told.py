"""What tuning found, in sentences that ``tune`` prints and the report shows: advantages, the offset, certificates."""

import math
import re
from collections.abc import Mapping
from typing import Any

from mdm_jax.app.report.sections import bits_per_token
from mdm_jax.evaluation import told_of_advantages
from mdm_jax.evaluation.judging import CROSS_FITTED, TEST_HALF

EXACT = "exact profile"
"""What advantages are judged on where nothing was measured."""


def told_of_offset(result: Mapping[str, Any]) -> str | None:
    """How far the sequences of the check are from what the profile says, of all plans alike; ``None`` without a check.

    Example:
        >>> from mdm_jax.app.report.told import told_of_offset
        >>> check = {"rows": 64, "judged_on": "test half", "offset_nats": -2.0, "offset_standard_error": 1.0}
        >>> told_of_offset({"length": 128, "check": check})
        'The test half costs 0.023 ± 0.011 bits per token less than the profile of the validation half says, for all \
plans alike.'
    """
    check = result.get("check")
    if check is None:
        return None
    scale = bits_per_token(result["length"])
    offset, error = check["offset_nats"] * scale, check["offset_standard_error"] * scale
    return (
        f"The test half costs {abs(offset):.3f} ± {error:.3f} bits per token {'more' if offset >= 0 else 'less'} than "
        "the profile of the validation half says, for all plans alike."
    )


def told_of_basis(result: Mapping[str, Any]) -> str | None:
    """Who judged the advantages; ``None`` where nobody did."""
    listed = result.get("advantages") or []
    if not listed:
        return None
    on, rows = listed[0]["judged_on"], listed[0]["rows"]
    seen = any(one["low"] > 0 or one["high"] < 0 for one in listed)
    means = "in brackets intervals of 95%" if seen else "by intervals of 95%"
    if on == TEST_HALF:
        return f"Judged by {rows:,} rows of the test half, which chose nothing; {means}, each by itself."
    if on == CROSS_FITTED:
        return (
            f"Cross-fitted: each part of the {rows:,} sequences judges what the others chose; {means}, each by itself."
        )
    return "The profile is exact, and so is this."


def told_of_certificates(result: Mapping[str, Any]) -> list[str]:
    """A sentence for each budget that has a certificate, but for one token per step: there is one such plan only.

    Example:
        >>> from mdm_jax.app.report.told import told_of_certificates
        >>> bounds = {"level": 0.95, "regret_nats": 1.0, "excess_nats": 27.5}
        >>> print(*told_of_certificates({"length": 128, "budgets": [{"steps": 8, "certificate": bounds}]}))
        With probability .95 each, the plan of 8 steps costs at most 0.011 bits per token more than the best plan of 8 \
steps, and at most 0.310 more than one token per step.
    """
    scale, said, wider = bits_per_token(result["length"]), [], [1.0]
    for budget in result["budgets"]:
        bounds = budget.get("certificate")
        if bounds is not None and budget["steps"] < result["length"]:
            steps = f"{budget['steps']} step{'' if budget['steps'] == 1 else 's'}"
            said.append(
                f"With probability {bounds['level']:.4g}".replace(" 0.", " .")
                + f" each, the plan of {steps} costs at most {bounds['regret_nats'] * scale:.3f} bits per token more "
                f"than the best plan of {steps}, and at most {bounds['excess_nats'] * scale:.3f} more than one token "
                "per step."
            )
            wider += [
                bounds[f"{name}_at_once"] / bounds[name] if bounds[name] > 0 else math.inf
                for name in ("regret_nats", "excess_nats")
                if (bounds.get(f"{name}_at_once") or 0) > bounds[name]
            ]
    if 1 < max(wider) < math.inf:  # no multiple of 0 is a wider bound
        said.append(
            f"All {2 * len(said)} bounds hold at once, with that probability, where each is {max(wider):.2f} times as "
            "large."
        )
    return said


def told_in_short(result: Mapping[str, Any]) -> list[str]:
    """What a person wants to know first: what the best plan saves, and who says so; nothing where nobody judged."""
    basis = told_of_basis(result)
    if basis is None:
        return []
    said = told_of_advantages(result)
    if result["advantages"][0]["judged_on"] == EXACT:  # its intervals have no width
        said = [re.sub(r" \((\S+) to \1\)", "", line) for line in said]
    return [*said, basis]
