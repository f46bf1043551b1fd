"""A plan: the sizes that a random-order sampler runs, and its file. Rules that make plans are in ``plans``."""

import dataclasses
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from mdm_jax.support.errors import InputError, is_number, require, require_whole, verbatim
from mdm_jax.support.files import known, listed, made_from, read_json, stated, told, write_json
from mdm_jax.support.text import shortened

FORMAT = "mdm_jax plan 1"
GRID_FORMAT = "mdm_jax grid 1"
"""Of the files of :mod:`mdm_jax.theory.grids`, which are plans of another kind."""

LONGEST = 2**31 - 1
"""The longest sequence: positions are 32-bit numbers."""


def brief(given: Any) -> str:
    """What is no plan, profile or grid, without the numbers in it."""
    return repr(given) if given is None or isinstance(given, str | int | float) else f"a {type(given).__name__}"


def require_text(argument: str, given: Any) -> None:
    """Refuse a name that is no text, or none that a file can hold."""
    require(isinstance(given, str) and _is_unicode(given), argument, given, "a text")


def _is_unicode(text: str) -> bool:
    """Whether it can be written: a half of a surrogate pair cannot."""
    return not any("\ud800" <= c <= "\udfff" for c in text)


def require_path(argument: str, given: Any) -> None:
    """Refuse what is no path."""
    require(isinstance(given, str | os.PathLike), argument, given, "a path")


def as_json(argument: str, given: Any) -> Any:
    """``given`` as JSON has it: mappings, lists, texts, truth values, finite numbers and nothing; else refused.

    NumPy's and JAX's numbers become Python's. An array is refused: which of its digits are meant is not ours to say.
    """
    wanted = "JSON: mappings, lists, texts and finite numbers"
    if isinstance(given, Mapping):
        for name in given:
            require(isinstance(name, str) and _is_unicode(name), f"a name in {argument}", name, "a text")
        return {name: as_json(argument, value) for name, value in given.items()}
    if isinstance(given, list | tuple):
        return [as_json(argument, value) for value in given]
    if given is None or isinstance(given, bool | np.bool_):
        return given if given is None else bool(given)
    if isinstance(given, str):
        require(_is_unicode(given), argument, given, wanted)
        return given
    require(is_number(given), argument, given, wanted)
    kind = getattr(getattr(given, "dtype", None), "kind", "")
    number = int(given) if isinstance(given, int) or kind in ("i", "u") else float(given)
    require(isinstance(number, int) or math.isfinite(number), argument, given, wanted)
    return number


def as_array(argument: str, given: Any) -> np.ndarray:
    """``given`` as an array; refuse a ragged list, or anything else that makes none."""
    try:
        return np.asarray(given)
    except (TypeError, ValueError):
        raise InputError(f"{argument} must be an array; got {shortened(repr(given))}.") from None


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """The number of tokens to reveal at each step.

    Attributes:
        sizes: int64[steps], each at least 1, summing to the length. Idle steps of a schedule are dropped when the
            plan is made, so ``steps`` is the number of forward passes.
        name: what to call it in tables and pictures.
        origin: where it came from, as JSON (schedule, rounding, profile digest, expected NELBO).

    Raises:
        InputError: no sizes, no text, or an ``origin`` that JSON does not have (NaN, infinities, arrays).
    """

    sizes: Int[np.ndarray, " steps"]
    name: str
    origin: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        require_text("name", self.name)
        sizes = as_array("sizes", self.sizes)
        good = sizes.ndim == 1 and len(sizes) > 0 and sizes.dtype.kind in "iu" and bool((sizes >= 1).all())
        require(good, "sizes", sizes.tolist(), "a non-empty list of whole numbers of at least 1")
        length = sum(sizes.tolist())  # exact: a sum in int64 may wrap into a length that looks right
        require(length <= LONGEST, "sizes", sizes.tolist(), f"sizes that sum to at most {LONGEST}")
        object.__setattr__(self, "sizes", sizes.astype(np.int64))
        require(isinstance(self.origin, Mapping), "origin", self.origin, "a mapping")
        object.__setattr__(self, "origin", as_json("origin", self.origin))

    @property
    def length(self) -> int:
        """Number of positions that the plan reveals."""
        return int(self.sizes.sum())

    @property
    def steps(self) -> int:
        """Number of steps, that is of forward passes."""
        return len(self.sizes)

    @property
    def knots(self) -> Int[np.ndarray, " knots"]:
        """Tokens revealed before each step and at the end: ``0 = N_0 < ... < N_K = length``."""
        return np.concatenate([[0], np.cumsum(self.sizes)])

    def to_json(self) -> dict[str, Any]:
        """The content of a plan file."""
        return {
            "format": FORMAT,
            "name": self.name,
            "length": self.length,
            "steps": self.steps,
            "sizes": self.sizes.tolist(),
            "origin": dict(self.origin),
        }

    def save(self, path: str | Path) -> Path:
        """Write the plan as JSON, atomically; ``sizes`` is all that a reader needs."""
        require_path("path", path)
        return write_json(path, self.to_json())


def load(path: str | Path) -> Plan:
    """Read a plan file.

    Raises:
        InputError: no such file, not a plan, or sizes that make no plan.
    """
    require_path("path", path)
    value = read_json(path, "a plan")
    if isinstance(value, dict) and value.get("format") == GRID_FORMAT:
        raise InputError(f"{path} is not a plan: it is a grid, with random sizes (grids.load reads it).")
    name = Path(path).stem

    def plan(value: dict[str, Any]) -> Plan:
        require_text("name", value.get("name", name))
        made = Plan(
            np.array(listed(value, "sizes", int), np.int64), name=value.get("name", name), origin=told(value, "origin")
        )
        for what in ("length", "steps"):
            stated(value, what, getattr(made, what), "sizes")
        known(value, made.to_json())
        return made

    return made_from(path, value, "a plan", FORMAT, plan)


def check_budget(length: Any, steps: Any) -> int:
    """``steps``; refuse a number of them that is not whole or not from 1 to ``length``, itself a whole number."""
    return require_whole("steps", steps, 1, require_whole("length", length, 1, LONGEST))


def told_nats(nats: float | int) -> float | None:
    """A budget as an origin tells it: null if it is infinite, which JSON does not have."""
    return float(nats) if math.isfinite(nats) else None


def checked_plan(plan: Any, argument: str = "plan") -> Plan:
    """``plan``, if it is one."""
    require(
        isinstance(plan, Plan),
        argument,
        verbatim(brief(plan)),
        "a Plan (plans.from_schedule, plans.optimal, plans.load ...)",
    )
    return plan
