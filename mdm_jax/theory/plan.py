"""A plan: the sizes that a random-order sampler runs, and its file. Rules that make plans are in ``plans``."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from mdm_jax.support.errors import InputError, require
from mdm_jax.support.files import made_from, read_json, write_json

FORMAT = "mdm_jax plan 1"
GRID_FORMAT = "mdm_jax grid 1"
"""Of the files of :mod:`mdm_jax.theory.grids`, which are plans of another kind."""

LONGEST = 2**31 - 1
"""The longest sequence: positions are 32-bit numbers."""


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """The number of tokens to reveal at each step.

    Attributes:
        sizes: int64[steps], each at least 1, summing to the length. Idle steps of a schedule are dropped when the
            plan is made, so ``steps`` is the number of forward passes.
        name: what to call it in tables and pictures.
        origin: where it came from, as JSON (schedule, rounding, profile digest, expected NELBO).
    """

    sizes: Int[np.ndarray, " steps"]
    name: str
    origin: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        sizes = np.asarray(self.sizes)
        good = sizes.ndim == 1 and len(sizes) > 0 and sizes.dtype.kind in "iu" and bool((sizes >= 1).all())
        require(good, "sizes", sizes.tolist(), "a non-empty list of whole numbers of at least 1")
        length = sum(sizes.tolist())  # exact: a sum in int64 may wrap into a length that looks right
        require(length <= LONGEST, "sizes", sizes.tolist(), f"sizes that sum to at most {LONGEST}")
        object.__setattr__(self, "sizes", sizes.astype(np.int64))

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
        return write_json(path, self.to_json())


def load(path: str | Path) -> Plan:
    """Read a plan file.

    Raises:
        InputError: no such file, not a plan, or sizes that make no plan.
    """
    value = read_json(path, "a plan")
    if isinstance(value, dict) and value.get("format") == GRID_FORMAT:
        raise InputError(f"{path} is not a plan: it is a grid, with random sizes (grids.load reads it).")
    name = Path(path).stem

    def plan(value: dict[str, Any]) -> Plan:
        sizes = np.asarray(value["sizes"])
        return Plan(sizes, name=str(value.get("name", name)), origin=dict(value.get("origin", {})))

    return made_from(path, value, "a plan", FORMAT, plan)


def check_budget(length: int, steps: int) -> None:
    """Refuse a number of steps that is not whole or not from 1 to ``length``."""
    whole = isinstance(steps, int | np.integer) and isinstance(length, int | np.integer)
    require(whole and 1 <= steps <= length, "steps", steps, f"a whole number from 1 to {length}")
