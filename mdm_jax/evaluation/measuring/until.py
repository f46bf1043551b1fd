"""When a profile is measured well enough, what it takes to get there, and where it cannot go on."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from mdm_jax.evaluation.inputs import LARGEST
from mdm_jax.evaluation.measuring.growing import Found, Look, Measurement
from mdm_jax.evaluation.measuring.rounds_told import told_of_limit, told_of_round
from mdm_jax.support.errors import is_list, is_number, require, require_whole
from mdm_jax.support.progress import remark
from mdm_jax.theory.plans import Certificate, certify
from mdm_jax.theory.profiles import Profile, interpolation_slopes

MOST_ENCODINGS = 2**18
"""What a measurement that goes on makes at most unless it is allowed more: sixty-four times a usual one."""
_MORE = 4
"""A round goes to so many times what was there at most: an error of a few rows may be a fluke."""
_COUNTS = 12
"""At which a profile is measured that is to be known to 0.01 bits per token, or to certify plans."""
_SPARE = 1.03
"""So much more than by the last error is made, lest a round be followed by a tiny one."""
_NEAR = 1.1
"""Where the sequences are too few, it goes on to so many times the error that no number of orders could lower."""
_DOUBTS = (0.02, 0.01, 0.01)
"""That the certificates of the first rounds may leave; each later one half of what is left of .05."""
_LEAST_DOUBT = 1e-4
"""From the tenth round on, which no measurement has come to: each at least doubles what was there."""
_LITTLE = 0.1
"""Less of the variance than this comes from orders: of the same sequences more of them tell little."""


@dataclasses.dataclass(frozen=True)
class Until:
    """How well a profile is to be known.

    Attributes:
        bits: the largest standard error of the expected NELBO at one token per step, bits per token; with ``steps``
            the largest bound of a certificate.
        most_encodings: where it ends even so.
        steps: budgets. It goes on until, with probability .95, the optimal plan of none of them costs more than
            ``bits`` per token above the best plan of so many steps (:func:`mdm_jax.plans.certify`). Whoever looks
            after every round finds a lucky one: rounds count at the levels .98, .99, .99, .995, .9975 and so on, whose
            doubts sum to .05 at most.

    Raises:
        InputError: no positive number, encodings that cannot be counted, or budgets that are none.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.evaluation.Until(0.01, most_encodings=65_536)
        Until(bits=0.01, most_encodings=65536, steps=())
        >>> mdm.evaluation.Until(0)
        Traceback (most recent call last):
        mdm_jax.support.errors.InputError: until must be a positive number of bits per token; got 0.
    """

    bits: float | int
    most_encodings: int = MOST_ENCODINGS
    steps: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        good = is_number(self.bits) and 0 < float(self.bits) < math.inf
        require(good, "until", self.bits, "a positive number of bits per token")
        require_whole("most_encodings", self.most_encodings, 1, LARGEST)
        require(is_list(self.steps), "steps", self.steps, "a list of numbers of steps")
        object.__setattr__(self, "steps", tuple(require_whole("steps", one, 1) for one in self.steps))

    @property
    def counts(self) -> int:
        """At how many counts to measure: the fewer, the more sequences; but the curve between them errs.

        On urns, chains, mixtures and checksums of 64 to 1,024 tokens the NELBO of the curve through 8 counts is off by
        .0002 to .001 bits per token, through 12 by .00016 at most, which is a 60th of 0.01, through 16 by .00005.
        """
        return _COUNTS if self.steps else round(min(max(_COUNTS * (0.01 / self.bits) ** (2 / 9), 8), 24))


def checked_until(until: Any, length: int, encodings: int) -> Until | None:
    """``until`` as an :class:`Until`, if one was given.

    Args:
        until: what was given.
        length: of the profile.
        encodings: of the first round.

    Raises:
        InputError: neither one nor a positive number, budgets beyond the length, or fewer encodings than the first
            round's.
    """
    made = until if until is None or isinstance(until, Until) else Until(until)
    if made is not None:
        wanted = f"at least encodings, {encodings}, those of the first round"
        require(made.most_encodings >= encodings, "most_encodings", made.most_encodings, wanted)
        for one in made.steps:
            require_whole("steps", one, 1, length)
    return made


def doubt_of_round(number: int) -> float:
    """With what probability the certificate of a round (1, 2, ...) may fail, so that of all rounds one does in 20.

    Example:
        >>> from mdm_jax.evaluation.measuring.until import doubt_of_round
        >>> [doubt_of_round(number) for number in (1, 2, 3, 4, 5)]
        [0.02, 0.01, 0.01, 0.005, 0.0025]
    """
    if number <= len(_DOUBTS):
        return _DOUBTS[number - 1]
    return max(_DOUBTS[-1] / 2 ** (number - len(_DOUBTS)), _LEAST_DOUBT)


def regret_bits(certificate: Certificate) -> float:
    """By how much any of a certificate's plans is above the best, at most: bits per token, for all of them at once."""
    bounds = certificate.regret_nats if len(certificate.steps) == 1 else certificate.uniform.regret_nats
    return float(max(bounds)) / (certificate.length * math.log(2))


def measured(
    look: Look,
    key: jax.Array,
    weights: Int[np.ndarray, " all"],
    encodings: int,
    each: int,
    batch: int,
    until: Until | None,
    profile_of: Callable[[Found], Profile],
    *,
    flat: bool = False,
    progress: bool = False,
    unit: str = "encoding",
) -> Profile:
    """The profile by so many encodings, or by as many as it takes.

    Args:
        look: asks the model.
        key: of the choice of rows and of their orders.
        weights: how many tokens each sequence has.
        encodings: in all, or of the first round.
        each: what one order of a sequence counts as.
        batch: sequences at once, at most.
        until: when it is enough; ``None``: after ``encodings``.
        profile_of: makes a profile of what was found.
        flat: whether ``look`` tells the loss after every number of tokens.
        progress: show bars, and what each round has found.
        unit: what an encoding is called.
    """
    rows = min(len(weights), encodings // each)
    if until is None:
        measurement = Measurement(look, key, weights, each, min(batch, rows), flat)
        measurement.grow(rows, max(1, encodings // (each * rows)), progress, unit=unit)
        return profile_of(measurement.found())
    most = until.most_encodings // each
    batch = min(batch, len(weights), most)
    measurement = Measurement(look, key, weights, each, batch, flat)
    rows = _whole_batches(rows, measurement, most)
    measurement.grow(rows, max(1, encodings // (each * rows)) if rows == len(weights) else 1, progress, unit=unit)
    return _gone_on(measurement, until, profile_of, flat, progress, unit)


class _State(NamedTuple):
    """Where a measurement is: what is to be small, what it cannot be below, and to what it goes on; bits per token."""

    value: float
    least: float | None  # of an error, where every sequence is measured in two orders or more
    goal: float
    ended: bool  # there is nothing more to be had from these sequences


def _gone_on(
    measurement: Measurement,
    until: Until,
    profile_of: Callable[[Found], Profile],
    flat: bool,
    progress: bool,
    unit: str,
) -> Profile:
    rounds, steps, said = 1, list(until.steps), False
    while True:
        profile = profile_of(measurement.found())
        state = _state(profile, measurement, until, flat, rounds)
        rows, orders, needed = _next(measurement, state, until)
        ended = "enough" if state.value <= until.bits else "rows" if state.ended else None
        if ended is None and (rows, orders) == (measurement.rows, measurement.orders):
            ended = "encodings"
        if ended is not None:
            came = {
                "bits_per_token": float(until.bits),
                **({"steps": steps} if steps else {}),
                "reached": state.value,
                "least": state.least if ended == "rows" else None,
                "encodings": measurement.encodings,
                "most_encodings": until.most_encodings,
                "rounds": rounds,
                "ended": ended,
            }
            return dataclasses.replace(profile, provenance={**profile.provenance, "until": came})
        if progress:
            if state.least is not None and state.goal > until.bits and not said:
                remark(told_of_limit(measurement.rows, state.least, state.goal))
                said = True
            remark(told_of_round(measurement, state.value, state.goal, needed, until.most_encodings, steps, unit))
        measurement.grow(rows, orders, progress, unit=unit)
        rounds += 1


def _state(profile: Profile, measurement: Measurement, until: Until, flat: bool, rounds: int) -> _State:
    error, least = errors(profile, measurement, flat)
    if until.steps:
        level = 1 - doubt_of_round(rounds)
        told_all = least is not None and error**2 - least**2 <= _LITTLE * error**2
        return _State(regret_bits(certify(profile, until.steps, level=level)), None, until.bits, told_all)
    goal = until.bits if least is None or least < until.bits else _NEAR * least
    return _State(error, least, goal, error <= goal)


def errors(profile: Profile, measurement: Measurement, flat: bool) -> tuple[float, float | None]:
    """The standard error of the NELBO at one token per step, and what any number of orders of these rows would leave.

    The latter is known where every sequence is measured in two orders or more; both in bits per token.
    """
    unit = profile.length * math.log(2)
    error = float(profile.standard_error(np.ones(profile.length, int))) / unit
    if measurement.rows < measurement.all_rows or measurement.orders < 2:
        return error, None
    slopes = interpolation_slopes(profile.counts, profile.means, profile.length).mean(axis=0)
    within = measurement.within(np.ones(1) if flat else slopes) / math.log(2) ** 2
    return error, math.sqrt(max(error**2 - within / (measurement.orders * measurement.rows), 0.0))


def _next(measurement: Measurement, state: _State, until: Until) -> tuple[int, int, int | None]:
    """Sequences and orders of the next round, and how many encodings it takes in all, if that can be told.

    An error falls as one over the root of the encodings. A bound of a regret falls faster where the plan is nearly the
    best, and it is itself a figure of few worlds: rounds double at least.
    """
    rows, orders, each, there = measurement.rows, measurement.orders, measurement.each, measurement.all_rows
    most, ratio = until.most_encodings // each, state.value / state.goal
    if rows < there:
        needed = _ceiling(rows * max(ratio, 2.0) if until.steps else _SPARE * rows * ratio**2)
        wanted = max(min(needed, _MORE * rows), rows + measurement.batch)
        return _whole_batches(wanted, measurement, most), orders, needed * each if needed <= there else None
    if state.least is None:
        return rows, max(min(2 * orders, most // rows), orders), None
    by_orders = orders * (state.value**2 - state.least**2) / max(state.goal**2 - state.least**2, 1e-300)
    needed = max(_ceiling(_SPARE * by_orders), orders + 1)
    return rows, max(min(needed, _MORE * orders, most // rows), orders), needed * rows * each


def _ceiling(number: float) -> int:
    return math.ceil(min(number, LARGEST))


def _whole_batches(rows: int, measurement: Measurement, most: int) -> int:
    """At least so many sequences in whole batches, but no more than there are or than ``most``."""
    batch, there = measurement.batch, measurement.all_rows
    wanted = -(-rows // batch) * batch
    return there if wanted >= there and there <= most else min(wanted, min(most, there) // batch * batch)
