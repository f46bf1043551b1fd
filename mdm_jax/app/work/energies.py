"""``mdm-jax energy``: the one-token energy of schedules as a table, and its landscape as a picture."""

import argparse
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mdm_jax.app.terminal.output import finite, show
from mdm_jax.plot import drawing, energy_landscapes
from mdm_jax.plot.energy_landscapes import EnergyLandscape
from mdm_jax.support.errors import InputError, require
from mdm_jax.support.text import printable, table
from mdm_jax.theory import energies, schedules
from mdm_jax.theory.schedules import Schedule
from mdm_jax.theory.schedules import text as schedule_text

SCHEDULES = (*schedule_text.HAND_CRAFTED, "geometric", "beta:0.9,0.3", "beta:0.3,0.9")
WEIGHTS = ("sine_squared", "linear", "beta:0.9,0.3", "sine")
MOST = 2.0
"""The largest ``a`` and ``b`` of a landscape, unless its optimum lies beyond."""
POINTS = 61
"""Values of ``a`` and of ``b`` in a landscape: the grid fills one chunk of :func:`energies.batch`."""
_WIDENINGS = 6
_SMALLEST_BETA, _LARGEST_BETA = 0.01, 1000.0
_LARGEST = 10**12
"""A longer sequence, or a larger vocabulary, is taken for a slip of the hand."""


def run(options: argparse.Namespace) -> None:
    """Print energies in units of pi^2, the smallest possible value; draw them over all Beta schedules."""
    picture = None if options.no_picture else options.picture
    if picture is not None:
        drawing.check_suffix("--picture", picture)
    constants = sequence_constants(options.length, options.vocab_size)
    named = by_name(options.schedules or SCHEDULES)
    weights = by_name(options.weight or WEIGHTS)
    values = {
        name: {weight: float(energies.kinetic(s, w)) / math.pi**2 for weight, w in weights.items()}
        for name, s in named.items()
    }
    result: dict[str, Any] = {
        "unit": "pi^2",
        "energies": {n: {w: finite(e) for w, e in row.items()} for n, row in values.items()},
        "multiplicities": constants,
        "picture": None,
    }
    parts = [energy_table(values, list(weights))]
    if constants is not None:
        parts.append(constants_table(constants))
    if picture is not None:
        panels = [landscape(w, name) for name, w in weights.items()]
        marks = beta_marks({"linear": schedules.linear(), "sine_squared": schedules.sine_squared(), **named})
        result["picture"] = str(drawing.save(energy_landscapes.side_by_side(panels, marks), picture))
        result["best_beta"] = {p.name: dict(zip(("a", "b", "energy"), p.best)) for p in panels}
        parts.append(f"landscape: {result['picture']}")
    show(result, "\n\n".join(parts), options.json)


def by_name(texts: Sequence[str]) -> dict[str, Schedule]:
    """The schedules that ``texts`` name, by their canonical text (a table in a file: by the text given)."""
    named = {}
    for text in texts:
        schedule = schedule_text.parse(text)
        name = text.strip() if schedule_text.definition(schedule) else schedule_text.text_of(schedule)
        named[printable(name)] = schedule
    return named


def energy_table(values: Mapping[str, Mapping[str, float]], weights: Sequence[str]) -> str:
    """Schedules down, weights across."""
    rows = [[name, *map(_figure, row.values())] for name, row in values.items()]
    return (
        table(["schedule", *(f"under {weight}" for weight in weights)], rows)
        + "\nEnergy per token in units of pi^2, its minimum: 1 where schedule and weight agree (arXiv 2509.13866)."
    )


def sequence_constants(length: int | None, vocab_size: int | None) -> dict[str, Any] | None:
    """The decimal logarithms of the constants between a sequence's energies and the energy per token."""
    if length is None and vocab_size is None:
        return None
    if length is None or vocab_size is None:
        given, missing = ("--length", "--vocab-size") if vocab_size is None else ("--vocab-size", "--length")
        raise InputError(f"{missing} must be given beside {given}: the constants of a sequence need both.")
    for argument, value in (("--length", length), ("--vocab-size", vocab_size)):
        require(1 <= value <= _LARGEST, argument, value, "from 1 to 10^12")
    logs = energies.log_multiplicity(length, vocab_size)
    decimal = {name: value / math.log(10) for name, value in logs._asdict().items()}
    return {"length": length, "vocab_size": vocab_size, "unit": "log10", **decimal}


def constants_table(constants: Mapping[str, Any]) -> str:
    """What to multiply the energy per token by."""
    forms = {
        "kinetic": "length (vocab size + 1)^(length - 1)",
        "conditional_kinetic": "length 2^(length - 1)",
        "geodesic": "length",
    }
    rows = [[name.replace("_", " "), form, f"{constants[name]:.4f}"] for name, form in forms.items()]
    size = f"{constants['length']} tokens out of {constants['vocab_size']}"
    return (
        table(["energy of a sequence", "times the energy per token", "log10"], rows)
        + f"\nFor sequences of {size}, all of them possible; no schedule changes these factors."
    )


def landscape(weight: Schedule, name: str = "", points: int = POINTS) -> EnergyLandscape:
    """The energy of Beta(a, b) schedules under ``weight``: a grid from where it is infinite to beyond the optimum.

    The optimum of a Beta weight is its own ``(a, b)``, exactly. Of another weight it is the best schedule of the grid,
    then of a finer grid around it.

    Args:
        weight: the schedule that the weight makes optimal.
        name: what to call it.
        points: values of ``a`` and of ``b``; they are dense where the energy is steep.
    """
    exact = beta_parameters(weight)
    ends = exact or _end_exponents(weight)
    walls = 0.5 * ends[0], 0.5 * ends[1]
    if max(walls) >= _LARGEST_BETA:
        raise InputError(f"weight {name or type(weight).__name__} is too steep to draw (--no-picture leaves that out).")
    most = [min(max(MOST, 2 * end), _LARGEST_BETA) for end in ends]
    rise = np.linspace(0, 1, points) ** 2
    for left in reversed(range(_WIDENINGS)):
        a, b = (max(wall, _SMALLEST_BETA) * (1 - rise) + high * rise for wall, high in zip(walls, most))
        values, at = _energies(a, b, weight)
        beyond = [x[i] > 0.75 * x[-1] for x, i in zip((a, b), at)]
        if exact is None and any(beyond) and left:
            most = [min(2 * high, _LARGEST_BETA) if far else high for high, far in zip(most, beyond)]
            continue
        best = (*exact, 1.0) if exact else _refined(a, b, at, weight)
        return EnergyLandscape(name, a, b, values, walls, best, exact is not None)
    raise AssertionError("the last round returns")


def _refined(a: np.ndarray, b: np.ndarray, at: tuple[int, int], weight: Schedule) -> tuple[float, float, float]:
    """The best of a grid of as many points between the neighbours of a grid's best."""
    near_a, near_b = (np.linspace(x[max(i - 1, 0)], x[min(i + 1, len(x) - 1)], len(x)) for x, i in zip((a, b), at))
    finer, (i, j) = _energies(near_a, near_b, weight)
    return float(near_a[i]), float(near_b[j]), float(finer[i, j])


def beta_marks(named: Mapping[str, Schedule]) -> dict[str, tuple[float, float]]:
    """The schedules that are Betas, by name, as points ``(a, b)``; of two at one point, the first."""
    marks: dict[str, tuple[float, float]] = {}
    for name, schedule in named.items():
        at = beta_parameters(schedule)
        if at is not None and at not in marks.values():
            short = f"beta:{at[0]:g},{at[1]:g}" if isinstance(schedule, schedules.KineticOptimum) else name
            marks[short] = at
    return marks


def beta_parameters(schedule: Schedule) -> tuple[float, float] | None:
    """``(a, b)`` of a schedule that is exactly a Beta."""
    match schedule:
        case schedules.Beta(a=a, b=b):
            return _decimal(a), _decimal(b)
        case schedules.Linear():
            return 0.5, 0.5
        case schedules.SineSquared() | schedules.KineticOptimum(gamma=schedules.Linear()):
            return 1.0, 1.0
        case schedules.KineticOptimum(gamma=schedules.Polynomial(degree=degree)):
            return _decimal(degree), 1.0  # I_t(a, 1) = t^a
    return None


def _end_exponents(weight: Schedule) -> tuple[float, float]:
    """Those of the weight: a Beta schedule has finite energy where ``a`` and ``b`` are above half of them."""
    known = weight.end_exponents()
    if known is None:
        raise InputError(f"weight must know its end_exponents() to be drawn; got {type(weight).__name__}.")
    return _decimal(known[0]), _decimal(known[1])


def _energies(a: np.ndarray, b: np.ndarray, weight: Schedule) -> tuple[np.ndarray, tuple[int, int]]:
    """float64[a, b] in units of pi^2, and where the least is."""
    grid = np.meshgrid(a, b, indexing="ij")
    values = energies.batch(schedules.beta(*(x.ravel() for x in grid)), weight)
    values = np.asarray(values, dtype=np.float64).reshape(len(a), len(b)) / math.pi**2
    best = int(np.argmin(values))
    return values, (best // len(b), best % len(b))


def _decimal(value: Any) -> float:
    """A float32 as the number that people write: 0.3, not 0.30000001."""
    return float(str(np.float32(value)))


def _figure(energy: float) -> str:
    if math.isinf(energy):
        return "diverges"
    return f"{energy:.4f}" if energy < 1e6 else f"{energy:.4e}"
