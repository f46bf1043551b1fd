"""What a race found: who took part, who won, and how the winner does on fresh seeds."""

import dataclasses
import html
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from mdm_jax.evaluation.samples.results import Difference, Evaluation
from mdm_jax.support.text import printable
from mdm_jax.theory.plans import Plan

FORMAT = "mdm_jax race 1"
_EVALUATION_FORMAT = "mdm_jax evaluation 1"


class Rung(NamedTuple):
    """One round of the search: who took part, with how many samples each, and their mean scores."""

    names: tuple[str, ...]
    samples: int
    means: Float[np.ndarray, " schedules"]


@dataclasses.dataclass(frozen=True, eq=False)
class Raced:
    """What a race found.

    Attributes:
        plans: of every schedule that took part, by name (of schedules that round to equal sizes, the first alone).
        rungs: of the search.
        a: float64[a], the values of the grid of Beta schedules.
        b: float64[b].
        landscape: float64[a, b], mean search score of each, of its last round.
        counts: int64[a, b], with how many samples.
        validation: the finalists on seeds of their own; the best of them is the winner.
        test: the winner and the hand-crafted schedules on fresh seeds.
        winner: its name.
        lower_is_better: the direction of the score.
    """

    plans: Mapping[str, Plan]
    rungs: tuple[Rung, ...]
    a: Float[np.ndarray, " a"]
    b: Float[np.ndarray, " b"]
    landscape: Float[np.ndarray, "a b"]
    counts: Int[np.ndarray, "a b"]
    validation: Evaluation
    test: Evaluation
    winner: str
    lower_is_better: bool

    def __repr__(self) -> str:
        """Who won, among how many, by how much evidence; :meth:`conclusions` says against whom."""
        took_part = len({name for rung in self.rungs for name in rung.names})
        plan = f"{self.plan.steps} steps of {self.plan.length} tokens"
        return (
            f"Raced(winner={self.winner!r}, {plan}; {took_part} plans in {len(self.rungs)} rounds, then "
            f"{self.validation.samples} samples of {len(self.validation.names)}; test={self.test!r})"
        )

    def _repr_html_(self) -> str:
        """The landscape of the search with the conclusions below; without a grid the table of the judged schedules."""
        told = "\n".join([repr(self), *self.conclusions()])
        if self.landscape.size == 0:
            return f"{self.test._repr_html_()}<pre>{html.escape(told)}</pre>"
        from mdm_jax.plot import cost_landscapes, drawing  # a notebook alone pays for Matplotlib

        axes = drawing.wide(3.4, lines=False)
        return drawing.fragment(cost_landscapes.landscape(self, axes=axes), told)

    @property
    def plan(self) -> Plan:
        """The winner's."""
        return self.plans[self.winner]

    def differences(self, score: str | None = None) -> tuple[Difference, ...]:
        """The winner less each hand-crafted schedule, paired on fresh seeds."""
        return tuple(self.test.difference(self.winner, name, score) for name in self.test.names[1:])

    def conclusions(self) -> tuple[str, ...]:
        """One sentence for each hand-crafted schedule: whether the winner beats it, on fresh seeds.

        Each 95 % interval holds by itself: of several, at least one misses its difference in more than 5 % of races.
        """
        return tuple(self._conclusion(one) for one in self.differences())

    def _conclusion(self, one: Difference) -> str:
        name, other = printable(one.name), printable(one.baseline)
        interval = f"{one.mean:+.3f}, 95 % interval {one.low:+.3f} to {one.high:+.3f}"
        if self.plans[one.name].sizes.tolist() == self.plans[one.baseline].sizes.tolist():
            return f"{name} and {other} have the same sizes."
        if math.isnan(one.mean):
            return f"{name} cannot be compared with {other}: some samples have no score."
        if not one.decided:
            return f"Not decided whether {name} differs from {other} ({interval}: it contains 0)."
        better = (one.mean < 0) == self.lower_is_better
        return f"{name} is {'better' if better else 'worse'} than {other} ({interval})."

    def to_json(self) -> dict[str, Any]:
        """Everything but the samples."""
        return {
            "format": FORMAT,
            "winner": self.winner,
            "plan": self.plan.to_json(),
            "lower_is_better": self.lower_is_better,
            "conclusions": list(self.conclusions()),
            "test": _of_schedules(self.test),
            "validation": _of_schedules(self.validation),
            "rungs": [
                {"samples": rung.samples, "means": dict(zip(rung.names, map(_finite, rung.means.tolist())))}
                for rung in self.rungs
            ],
            "landscape": {
                "a": self.a.tolist(),
                "b": self.b.tolist(),
                "means": [[_finite(value) for value in row] for row in self.landscape.tolist()],
                "samples": self.counts.tolist(),
            },
        }


def _of_schedules(found: Evaluation) -> dict[str, Any]:
    """An evaluation as files of races have it: its samplers are schedules."""
    told = found.to_json()
    entries = told.pop("samplers")
    return told | {"format": _EVALUATION_FORMAT, "schedules": entries}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
