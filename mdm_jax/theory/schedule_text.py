"""Schedules as text (``beta:0.9,0.3``) and as JSON, both ways."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from mdm_jax.support.errors import InputError
from mdm_jax.theory import schedules
from mdm_jax.theory.schedules import Schedule

FAMILIES: dict[str, tuple[Callable[..., Schedule], tuple[str, ...]]] = {
    "linear": (schedules.linear, ()),
    "sine": (schedules.sine, ()),
    "sine_squared": (schedules.sine_squared, ()),
    "maskgit": (schedules.maskgit, ()),
    "polynomial": (schedules.polynomial, ("degree",)),
    "beta": (schedules.beta, ("a", "b")),
}
FORMS = ", ".join(
    name + (":" + ",".join(p.upper() for p in names) if names else "") for name, (_, names) in FAMILIES.items()
)
"""What :func:`parse` accepts, for help texts."""

HAND_CRAFTED = ("linear", "sine", "sine_squared", "maskgit", "polynomial:2")
"""The schedules that people choose by name, without looking at a model."""


def parse(text: str) -> Schedule:
    """The schedule that ``text`` names: a family, then its parameters after a colon.

    Raises:
        InputError: unknown family, wrong number of parameters, or a parameter that is no positive number.

    >>> parse("beta:0.9,0.3").name
    'beta'
    >>> text_of(parse("polynomial: 2"))
    'polynomial:2'
    """
    family, _, rest = text.strip().partition(":")
    family = family.strip().replace("-", "_")
    if family not in FAMILIES:
        raise InputError(f"schedule must be one of {FORMS}; got {text!r}.")
    make, names = FAMILIES[family]
    words = [word.strip() for word in rest.split(",")] if rest.strip() else []
    if len(words) != len(names):
        wanted = f"{family}:{','.join(n.upper() for n in names)}" if names else family
        raise InputError(f"schedule {text!r} has {len(words)} parameters; {family} takes {len(names)}, as in {wanted}.")
    return make(*(_number(text, name, word) for name, word in zip(names, words)))


def text_of(schedule: Schedule) -> str:
    """The text that :func:`parse` reads back as ``schedule`` (one schedule, not a stack)."""
    _known(schedule)
    numbers = ",".join(_shortest(value) for value in schedule.parameters().values())
    return schedule.name + (":" + numbers if numbers else "")


def to_json(schedule: Schedule) -> dict[str, Any]:
    """``{"family": "beta", "a": 0.9, "b": 0.3}``."""
    _known(schedule)
    return {"family": schedule.name, **{k: float(_shortest(v)) for k, v in schedule.parameters().items()}}


def from_json(value: Any) -> Schedule:
    """Read what :func:`to_json` wrote.

    Raises:
        InputError: not an object, unknown family, missing, unknown or invalid parameters.
    """
    if not isinstance(value, dict) or not isinstance(value.get("family"), str) or value["family"] not in FAMILIES:
        raise InputError(f"schedule must be an object with a family out of {', '.join(FAMILIES)}; got {value!r}.")
    make, names = FAMILIES[value["family"]]
    given = {k: v for k, v in value.items() if k != "family"}
    if set(given) != set(names):
        raise InputError(f"schedule {value!r} must have the parameters {', '.join(names) or 'none'}.")
    return make(*(_number(str(value), name, given[name]) for name in names))


def _known(schedule: Schedule) -> None:
    if schedule.name not in FAMILIES:
        raise InputError(f"schedule must be of a named family to be written down; got {type(schedule).__name__}.")


def _number(text: str, name: str, word: Any) -> float:
    try:
        number = float(word)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not (math.isfinite(number) and number > 0) or isinstance(word, bool):
        raise InputError(f"schedule {text!r} needs a positive number for {name}; got {word!r}.")
    return number


def _shortest(value: Any) -> str:
    """The shortest decimal that reads back as the same float in its own precision."""
    array = np.asarray(value)
    if array.ndim:
        raise InputError(f"schedule must be a single schedule; got a stack of shape {array.shape}.")
    return np.format_float_positional(array.item() if array.dtype == np.float64 else np.float32(array), trim="-")
