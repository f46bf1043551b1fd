"""What a measurement that goes on says: what each round found, what the rest will take, and how it ended."""

import math

from mdm_jax.evaluation.measuring.growing import Measurement
from mdm_jax.support.text import in_words
from mdm_jax.theory.profiles import Profile


def told_of_until(profile: Profile) -> str:
    """What came of a measurement that went on until it was good enough, in a sentence.

    Raises:
        KeyError: the profile was measured without ``until``.

    Example:
        >>> import numpy as np
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.toy_left()  # five equal tokens: each sequence says the same
        >>> rows = np.asarray(world.sample(mdm.key(0), rows=8))
        >>> profile = mdm.estimate_profile(world.denoiser, world.params, rows, 80, key=mdm.key(1), until=0.01)
        >>> mdm.evaluation.told_of_until(profile).partition(" after ")[2]
        '80 encodings, as asked (at most 0.01).'
    """
    came, rows = profile.provenance["until"], profile.provenance["rows"]
    told = f"{known(came['reached'], came.get('steps', ()))} after {came['encodings']:,} encodings"
    asked = f"{came['bits_per_token']:g}"
    if came["ended"] == "encodings":
        return f"{told}, as many as are allowed ({came['most_encodings']:,}): not yet {asked}."
    if came["ended"] == "enough":
        return f"{told}, as asked (at most {asked})."
    if came["least"] is None:
        return f"{told}: more orders of the same {rows:,} rows tell little more; it stopped above {asked}."
    return f"{told}: {rows:,} rows cannot bring it below {came['least']:.2g}; it stopped above {asked}."


def told_of_round(
    measurement: Measurement, value: float, goal: float, needed: int | None, allowed: int, steps: list[int], unit: str
) -> str:
    """What a round has found, and what is still to come.

    Args:
        measurement: so far.
        value: what is to be as small as ``goal``: an error, or the bound of a certificate; bits per token.
        goal: likewise.
        needed: encodings in all, if that can be told.
        allowed: at most.
        steps: budgets of the certificate; none: it is an error.
        unit: what an encoding is called.
    """
    rows, orders, there = measurement.rows, measurement.orders, measurement.all_rows
    of = f"{rows:,} of {there:,} rows" if rows < there else f"all {rows:,} rows"
    of += "" if orders == 1 else f" in {orders:,} orders each"
    units = f"{unit}es" if unit.endswith("s") else f"{unit}s"
    told = f"{known(value, steps)} after {measurement.encodings:,} {units}, {of}; for {goal:.2g}"
    if needed is None:
        return f"{told} it takes {f'all {there:,} rows and ' if rows < there else ''}more orders of each."
    told += f" some {_rounded(needed):,} {units} in all"
    if measurement.seconds is not None:
        told += f", about {_time((min(needed, allowed) - measurement.encodings) * measurement.seconds)} more"
    return told + ("." if needed <= allowed else f" for the {allowed:,} that are allowed.")


def told_of_limit(rows: int, least: float, goal: float) -> str:
    """That there are too few sequences."""
    return f"With {rows:,} rows the error cannot be below {least:.2g} bits per token; it goes on to {goal:.2g}."


def known(value: float, steps: list[int] | tuple[int, ...]) -> str:
    """How well a profile is known."""
    if not steps:
        return f"NELBO ± {value:.2g} bits per token"
    many = in_words(steps)
    return f"Plans of {many} step{'' if many == '1' else 's'} certified to {value:.2g} bits per token"


def _rounded(number: int) -> int:
    """Two figures of a number."""
    scale = 10 ** max(len(str(number)) - 2, 0)
    return -(-number // scale) * scale


def _time(seconds: float) -> str:
    seconds = max(seconds, 1.0)
    if seconds < 100:
        return f"{math.ceil(seconds)} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
