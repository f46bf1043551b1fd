"""A plan: the sizes that a random-order sampler runs, and its file. Rules that make plans are in ``plans``."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from mdm_jax.support.errors import InputError, require, verbatim
from mdm_jax.support.files import known, listed, made_from, read_json, stated, told, write_json
from mdm_jax.support.text import printable, shortened
from mdm_jax.theory.numerics.given import LONGEST, as_json, brief, require_array, require_path, require_text

FORMAT = "mdm_jax plan 1"
"""What a plan file says it is."""
MOST_SHOWN = 16
"""Numbers that ``repr`` shows of a plan or a grid."""
GRID_FORMAT = "mdm_jax grid 1"
"""Of the files of :mod:`mdm_jax.theory.plans.grids`, which are plans of another kind."""


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """The number of tokens to reveal at each step.

    Attributes:
        sizes: int64[steps], each at least 1, summing to the length. Idle steps of a schedule are dropped when the
            plan is made, so ``steps`` is the number of model calls.
        name: what to call it in tables and pictures.
        origin: where it came from, as JSON (schedule, rounding, profile digest, expected NELBO).

    Raises:
        InputError: no sizes, no text, or an ``origin`` that JSON does not have (NaN, infinities, arrays).

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> plan = mdm.plans.Plan(np.array([1, 2, 5]), name="mine")
        >>> plan.steps, plan.length
        (3, 8)
    """

    sizes: Int[np.ndarray, " steps"]
    name: str
    origin: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        require_text("name", self.name)
        sizes = require_array("sizes", self.sizes)
        good = sizes.ndim == 1 and len(sizes) > 0 and sizes.dtype.kind in "iu" and bool((sizes >= 1).all())
        require(good, "sizes", sizes.tolist(), "a non-empty list of whole numbers of at least 1")
        length = sum(sizes.tolist())  # exact: a sum in int64 may wrap into a length that looks right
        require(length <= LONGEST, "sizes", sizes.tolist(), f"sizes that sum to at most {LONGEST}")
        object.__setattr__(self, "sizes", sizes.astype(np.int64))
        require(isinstance(self.origin, Mapping), "origin", self.origin, "a mapping")
        object.__setattr__(self, "origin", as_json("origin", self.origin))

    def __repr__(self) -> str:
        """Its name and its sizes, or the first of them."""
        sizes = " ".join(map(str, self.sizes[:MOST_SHOWN].tolist())) + (" ..." if self.steps > MOST_SHOWN else "")
        steps = f"{self.steps} step{'' if self.steps == 1 else 's'}"
        return f"Plan('{shortened(printable(self.name), 48)}', {steps} for {self.length} tokens: {sizes})"

    def _repr_html_(self) -> str:
        from mdm_jax.plot import charts, drawing  # a notebook alone pays for Matplotlib

        return drawing.fragment(charts.plan(self, axes=drawing.wide(1.8)), repr(self))

    @property
    def length(self) -> int:
        """Number of positions that the plan reveals."""
        return int(self.sizes.sum())

    @property
    def steps(self) -> int:
        """Number of steps, that is of model calls."""
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

    Example:
        >>> import mdm_jax as mdm
        >>> path = mdm.plans.uniform(8, 3).save("plan.json")
        >>> mdm.plans.load("plan.json").sizes.tolist()
        [3, 3, 2]
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


def checked_plan(plan: Any, argument: str = "plan") -> Plan:
    """``plan``, if it is one."""
    require(
        isinstance(plan, Plan),
        argument,
        verbatim(brief(plan)),
        "a Plan (plans.from_schedule, plans.optimal, plans.load ...)",
    )
    return plan
