"""Schedules as text (``beta:0.9,0.3``), as JSON and as files, both ways."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mdm_jax.support.errors import InputError, require
from mdm_jax.support.files import made_from, read_json, write_json
from mdm_jax.support.text import shortened
from mdm_jax.theory.schedules.base import Schedule, checked_schedule
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
from mdm_jax.theory.schedules.tables import Tabulated, tabulated

FORMAT = "mdm_jax schedule 1"
DEEPEST = 8
"""How many times ``kinetic_optimum`` may be nested in what is read."""


@dataclasses.dataclass(frozen=True)
class Family:
    """One family of schedules, as text and JSON name it.

    Attributes:
        kind: its class.
        make: its factory.
        parameters: what JSON calls its numbers, in the order of the text.
        form: its text, for help and error messages.
    """

    kind: type[Schedule]
    make: Callable[..., Schedule]
    parameters: tuple[str, ...]
    form: str


FAMILIES: dict[str, Family] = {
    "linear": Family(Linear, linear, (), "linear"),
    "sine": Family(Sine, sine, (), "sine"),
    "sine_squared": Family(SineSquared, sine_squared, (), "sine_squared"),
    "maskgit": Family(MaskGIT, maskgit, (), "maskgit"),
    "polynomial": Family(Polynomial, polynomial, ("degree",), "polynomial:DEGREE"),
    "geometric": Family(Geometric, geometric, ("sigma_min", "sigma_max"), "geometric[:SIGMA_MIN,SIGMA_MAX]"),
    "beta": Family(Beta, beta, ("a", "b"), "beta:A,B"),
    "kinetic_optimum": Family(KineticOptimum, kinetic_optimum, ("gamma",), "kinetic_optimum:SCHEDULE"),
    "tabulated": Family(Tabulated, tabulated, ("times", "angles"), "tabulated:FILE"),
}
FORMS = ", ".join(family.form for family in FAMILIES.values())
"""What :func:`parse` accepts, for help texts."""

HAND_CRAFTED = ("linear", "sine", "sine_squared", "maskgit", "polynomial:2")
"""The schedules that people choose by name, without looking at a model."""


def parse(text: str) -> Schedule:
    """The schedule that ``text`` names: a family, then its parameters after a colon.

    ``kinetic_optimum`` takes another schedule's text (``kinetic_optimum:polynomial:2`` has ``gamma(t) = t^2``), and
    ``tabulated`` a file that :func:`save` wrote (whose schedule may be of any family).

    Raises:
        InputError: unknown family, wrong number of parameters, a parameter out of its range, or a bad file.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.schedules.parse("beta:0.9,0.3").name
        'beta'
        >>> mdm.schedules.text_of(mdm.schedules.parse("polynomial: 2"))
        'polynomial:2'
    """
    require(isinstance(text, str), "schedule", text, f"one of {FORMS}")
    return _parse(text, text, 0)


def _parse(part: str, text: str, depth: int) -> Schedule:
    """The schedule that ``part`` names, the whole text being ``text``."""
    name, _, rest = part.strip().partition(":")
    name, rest = name.strip().replace("-", "_"), rest.strip()
    if name not in FAMILIES:
        what = "schedule" if depth == 0 else f"gamma in the schedule {_brief(text)}"
        raise InputError(f"{what} must be one of {FORMS}; got {_brief(part)}.")
    family = FAMILIES[name]
    if name == "kinetic_optimum":
        if not rest:
            raise InputError(f"schedule {_brief(text)} lacks the schedule gamma, as in kinetic_optimum:polynomial:2.")
        _check_depth(depth, text)
        return _make(family, text, _parse(rest, text, depth + 1))
    if name == "tabulated":
        if not rest:
            raise InputError(f"schedule {_brief(text)} lacks a file, as in tabulated:schedule.json.")
        return _make(dataclasses.replace(family, make=load), text, rest)
    words = [word.strip() for word in rest.split(",")] if rest else []
    counts = (0, 2) if name == "geometric" else (len(family.parameters),)
    if len(words) not in counts:
        takes = " or ".join(map(str, counts))
        given = f"schedule {_brief(text)} has {len(words)} {'parameter' if len(words) == 1 else 'parameters'}"
        raise InputError(f"{given}; {name} takes {takes}, as in {family.form}.")
    return _make(family, text, *(_number(text, *pair) for pair in zip(family.parameters, words)))


def text_of(schedule: Schedule) -> str:
    """The text that :func:`parse` reads back as ``schedule`` (one schedule, not a stack).

    Raises:
        InputError: a schedule that no text describes: one of your own class, or a table (:func:`save` it instead).

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.schedules.text_of(mdm.schedules.kinetic_optimum(mdm.schedules.polynomial(2)))
        'kinetic_optimum:polynomial:2'
    """
    name = _known(checked_schedule(schedule))
    match schedule:
        case Tabulated():
            raise InputError("schedule must have a short text, and a table has none: save it with schedule_text.save.")
        case KineticOptimum(gamma=gamma):
            return f"{name}:{text_of(gamma)}"
    numbers = ",".join(_shortest(value) for value in schedule.parameters().values())
    return name + (":" + numbers if numbers else "")


def label(schedule: Schedule) -> str:
    """What to call ``schedule`` in tables: its text, "tabulated", or the name of its class.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.schedules.label(mdm.schedules.beta(0.9, 0.3)), mdm.schedules.label(mdm.schedules.free(8))
        ('beta:0.9,0.3', 'tabulated')
    """
    require(isinstance(schedule, Schedule), "schedule", schedule, "a Schedule")
    name = _family(schedule)
    if isinstance(schedule, KineticOptimum) and name:
        return f"{name}:{label(schedule.gamma)}"
    if isinstance(schedule, Tabulated) and name:
        return name
    return text_of(schedule) if name else type(schedule).__name__


def definition(schedule: Schedule) -> dict[str, Any] | None:
    """The JSON of a schedule that its :func:`label` does not define, if it has any: of a table.

    Example:
        >>> import mdm_jax as mdm
        >>> sorted(mdm.schedules.definition(mdm.schedules.free(8)))
        ['angles', 'family', 'times']
        >>> mdm.schedules.definition(mdm.schedules.linear()) is None  # its label says it all
        True
    """
    try:
        text_of(schedule)
    except InputError:
        try:
            return to_json(schedule)
        except InputError:
            pass
    return None


def to_json(schedule: Schedule) -> dict[str, Any]:
    """``{"family": "beta", "a": 0.9, "b": 0.3}``.

    ``gamma`` of a kinetic optimum is such an object itself; a table has the lists ``times`` and ``angles`` (``theta``).

    Raises:
        InputError: a schedule without a JSON form: one of your own class, or a stack.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.schedules.to_json(mdm.schedules.beta(0.9, 0.3))
        {'family': 'beta', 'a': 0.9, 'b': 0.3}
    """
    name = _known(checked_schedule(schedule))
    match schedule:
        case KineticOptimum(gamma=gamma):
            return {"family": name, "gamma": to_json(gamma)}
        case Tabulated():
            times, angles = _table(schedule)
            return {"family": name, "times": times, "angles": angles}
    return {"family": name, **{k: float(_shortest(v)) for k, v in schedule.parameters().items()}}


def from_json(value: Any) -> Schedule:
    """Read what :func:`to_json` wrote.

    Raises:
        InputError: not an object, unknown family, missing, unknown or invalid parameters.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.schedules.from_json({"family": "beta", "a": 0.9, "b": 0.3})
        Beta(a=0.9, b=0.3)
    """
    return _from_json(value, 0)


def _from_json(value: Any, depth: int) -> Schedule:
    if not isinstance(value, dict) or not isinstance(value.get("family"), str) or value["family"] not in FAMILIES:
        raise InputError(f"schedule must be an object with a family out of {', '.join(FAMILIES)}; got {_brief(value)}.")
    name, family = value["family"], FAMILIES[value["family"]]
    given = {k: v for k, v in value.items() if k != "family"}
    if set(given) != set(family.parameters):
        wanted = ", ".join(family.parameters) or "none"
        raise InputError(f"schedule {_brief(value)} must have the parameters {wanted}.")
    if name == "kinetic_optimum":
        _check_depth(depth, value)
        return family.make(_from_json(given["gamma"], depth + 1))
    if name == "tabulated":
        return _tabulated(*(_knots(value, argument, given[argument]) for argument in family.parameters))
    for argument in family.parameters:
        if isinstance(given[argument], str):  # JSON has numbers for what is one
            raise InputError(f"schedule {_brief(value)} needs a number for {argument}; got a text.")
    return _make(family, value, *(_number(value, argument, given[argument]) for argument in family.parameters))


def save(schedule: Schedule, path: str | Path) -> Path:
    """Write ``schedule`` to a file, atomically; :func:`load` and ``tabulated:FILE`` read it.

    Raises:
        InputError: a schedule without a JSON form.
        OSError: the file cannot be written.

    Example:
        >>> import mdm_jax as mdm
        >>> print(mdm.schedules.save(mdm.schedules.polynomial(2), "schedule.json").read_text())
        {
          "format": "mdm_jax schedule 1",
          "family": "polynomial",
          "degree": 2.0
        }
    """
    return write_json(path, {"format": FORMAT, **to_json(schedule)})


def load(path: str | Path) -> Schedule:
    """Read a file that :func:`save` wrote.

    Raises:
        InputError: no such file, or no schedule in it.

    Example:
        >>> import mdm_jax as mdm
        >>> path = mdm.schedules.save(mdm.schedules.free(8), "schedule.json")
        >>> float(mdm.schedules.load(path).alpha(0.5))
        0.5
    """

    def schedule(value: dict[str, Any]) -> Schedule:
        return from_json({k: v for k, v in value.items() if k != "format"})

    return made_from(path, read_json(path, "a schedule"), "a schedule", FORMAT, schedule)


def _family(schedule: Schedule) -> str | None:
    """The name of the family that ``schedule`` is of: of that very class, since a subclass may be anything."""
    return next((name for name, family in FAMILIES.items() if type(schedule) is family.kind), None)


def _known(schedule: Schedule) -> str:
    name = _family(schedule)
    if name is None:
        raise InputError(f"schedule must be of a named family to be written down; got {type(schedule).__name__}.")
    return name


def _make(family: Family, text: Any, *parameters: Any) -> Schedule:
    """Call the factory; what it refuses is told with the text (or JSON) that asked for it."""
    try:
        return family.make(*parameters)
    except InputError as error:
        raise InputError(f"schedule {_brief(text)} cannot be used: {error}") from None


def _check_depth(depth: int, given: Any) -> None:
    if depth >= DEEPEST:
        raise InputError(f"schedule must nest kinetic_optimum at most {DEEPEST} times; got {_brief(given)}.")


def _number(given: Any, name: str, word: Any) -> float:
    number = _float(word)
    if not (math.isfinite(number) and number > 0):
        raise InputError(f"schedule {_brief(given)} needs a positive number for {name}; got {_brief(word)}.")
    return number


def _float(word: Any) -> float:
    """``word`` as a number, or NaN."""
    try:
        return math.nan if isinstance(word, bool) else float(word)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _knots(given: Any, name: str, values: Any) -> np.ndarray:
    numbers = values if isinstance(values, list) and all(type(x) in (int, float) for x in values) else []
    knots = np.array([_float(x) for x in numbers])
    good = len(knots) >= 2 and knots[0] == 0 and knots[-1] == 1 and bool(np.all(knots[1:] > knots[:-1]))
    if not good:
        wanted = "a list of at least 2 numbers that rise from 0 to 1"
        raise InputError(f"schedule {_brief(given, 60)} needs for {name} {wanted}; got {_brief(values)}.")
    return knots


def _tabulated(times: np.ndarray, angles: np.ndarray) -> Tabulated:
    if len(times) != len(angles):
        given = f"{len(times)} and {len(angles)}"
        raise InputError(f"schedule must have as many times as angles; got {given}.")
    return tabulated(times, angles)


def _table(schedule: Tabulated) -> tuple[list[float], list[float]]:
    """Times and angles, each in float64 strictly rising from 0 to 1."""
    logits = np.asarray(schedule.logits, dtype=np.float64)
    if logits.ndim != 1:
        raise InputError(f"schedule must be a single schedule; got a stack of shape {logits.shape[:-1]}.")
    rises = np.exp(logits - logits.max())
    times = [float(_shortest(x)) for x in np.asarray(schedule.times)]
    angles = np.append(0.0, np.cumsum(rises / rises.sum()))
    if not np.isfinite(angles).all():
        raise InputError("schedule must be made of finite numbers to be written down; got NaN or infinity.")
    return _rising(times), _rising(angles.tolist())


def _rising(knots: list[float]) -> list[float]:
    """``knots`` from 0 to 1 where neighbours that round to the same number are the least that float64 has apart."""
    knots = [0.0, *knots[1:-1], 1.0]
    for i in range(1, len(knots) - 1):
        knots[i] = max(knots[i], math.nextafter(knots[i - 1], 1.0))
    for i in range(len(knots) - 2, 0, -1):
        knots[i] = min(knots[i], math.nextafter(knots[i + 1], 0.0))
    return knots


def _shortest(value: Any) -> str:
    """The shortest decimal that reads back as the same float in its own precision."""
    array = np.asarray(value)
    if array.ndim:
        raise InputError(f"schedule must be a single schedule; got a stack of shape {array.shape}.")
    if not np.isfinite(array):
        raise InputError("schedule must be made of finite numbers to be written down; got NaN or infinity.")
    return np.format_float_positional(array.item() if array.dtype == np.float64 else np.float32(array), trim="-")


def _brief(value: Any, most: int = 200) -> str:
    """``repr(value)``, cut where it is long."""
    try:
        return shortened(repr(value), most)
    except (RecursionError, ValueError):  # nested too deeply; a number of more digits than Python writes
        return f"a {type(value).__name__} too large to show"
