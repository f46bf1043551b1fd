"""Oracles as text (``polya:0.5,64``): what the command line and experiments call them."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from mdm_jax.oracles.chains import MarkovChain, markov
from mdm_jax.oracles.mixtures import binsaw
from mdm_jax.oracles.oracle import Oracle
from mdm_jax.oracles.toys import toy_left, toy_right
from mdm_jax.oracles.urns import LEAST, MOST, PolyaUrn, polya
from mdm_jax.support.errors import InputError, require
from mdm_jax.support.text import shortened


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of oracle, as text names it.

    Attributes:
        make: from its numbers, in the order of the text; of those with defaults, the last may be left out.
        parameters: what error messages call the numbers; ``length`` is a whole one.
        form: its text, for help and error messages.
        fewest: how many numbers it needs.
    """

    make: Callable[..., Oracle]
    parameters: tuple[str, ...]
    form: str
    fewest: int


LONGEST = 2**14
"""The largest length in a text; ``binsaw`` then takes 130 MB."""


def _polya(weight: float, length: int) -> PolyaUrn:
    require(weight > 0, "b", weight, "positive")
    require(LEAST <= weight <= MOST, "b", weight, f"from {LEAST:g} to {MOST:g}")
    return polya(length, weight)


def _markov(flip: float, length: int) -> MarkovChain:
    require(0 <= flip <= 1, "flip", flip, "from 0 to 1")
    # By symmetry 1/2 each; at flip 0, where every law is stationary, this is the limit of the others.
    return markov(np.array([[1 - flip, flip], [flip, 1 - flip]]), length, np.full(2, 0.5))


KINDS: dict[str, Kind] = {
    "toy_left": Kind(toy_left, (), "toy_left", 0),
    "toy_right": Kind(toy_right, (), "toy_right", 0),
    "polya": Kind(_polya, ("b", "length"), "polya:B,LENGTH", 2),
    "markov": Kind(_markov, ("flip", "length"), "markov:FLIP,LENGTH", 2),
    "binsaw": Kind(binsaw, ("length",), "binsaw[:LENGTH]", 0),
}
FORMS = ", ".join(kind.form for kind in KINDS.values())
"""What :func:`from_spec` accepts, for help texts."""


def from_spec(text: str) -> Oracle:
    """The oracle that ``text`` names: a kind, then its numbers after a colon.

    | text                    | law                                                                               |
    |-------------------------|-----------------------------------------------------------------------------------|
    | ``toy_left``            | five tokens: all equal (arXiv 2509.13866)                                         |
    | ``toy_right``           | five tokens: two or three of each (arXiv 2509.13866)                              |
    | ``polya:B,LENGTH``      | coin tosses with a hidden bias from Beta(B, B)                                    |
    | ``markov:FLIP,LENGTH``  | the symmetric binary chain whose tokens differ from the last with chance ``FLIP`` |
    | ``binsaw[:LENGTH]``     | noisy bits of a triangle wave, 64 unless said (LADD's toy data)                   |

    Raises:
        InputError: an unknown kind, a wrong number of numbers, or a number out of its range.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.oracles.from_spec("markov:0.2,48").length
        48
    """
    require(isinstance(text, str), "oracle", text, f"one of {FORMS}")
    name, _, rest = text.strip().partition(":")
    name, rest = name.strip().replace("-", "_"), rest.strip()
    if name not in KINDS:
        raise InputError(f"oracle must be one of {FORMS}; got {shortened(repr(text))}.")
    kind = KINDS[name]
    words = [word.strip() for word in rest.split(",")] if rest else []
    most = len(kind.parameters)
    if not kind.fewest <= len(words) <= most:
        takes = str(most) if most == kind.fewest else f"{kind.fewest} or {most}"
        given = f"oracle {shortened(repr(text))} has {len(words)} {'parameter' if len(words) == 1 else 'parameters'}"
        raise InputError(f"{given}; {name} takes {takes}, as in {kind.form}.")
    numbers = [_number(text, *pair) for pair in zip(kind.parameters, words)]
    try:
        return kind.make(*numbers)
    except InputError as error:
        raise InputError(f"oracle {shortened(repr(text))} cannot be used: {error}") from None


def _number(text: str, parameter: str, word: str) -> float | int:
    try:
        number = int(word) if parameter == "length" else float(word)
    except ValueError:
        number = math.nan
    if parameter == "length":
        good, wanted = 1 <= number <= LONGEST, f"a whole number from 1 to {LONGEST}"
    else:
        good, wanted = math.isfinite(number), "a number"
    if not good:
        raise InputError(f"oracle {shortened(repr(text))} needs {wanted} for {parameter}; got {shortened(repr(word))}.")
    return number
