"""Which schedules race each other, and the rounds of successive halving."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from mdm_jax.evaluation.inputs import LARGEST
from mdm_jax.support.errors import InputError, require, require_whole
from mdm_jax.theory import plans
from mdm_jax.theory.plans import Plan
from mdm_jax.theory.schedules import Schedule
from mdm_jax.theory.schedules import text as schedule_text

LEAST, MOST = 0.25, 2.0
"""The range of ``a`` and ``b``: with 4, 7, 10, ... values, linear (.5, .5) and sine squared (1, 1) are among them."""


class Round(NamedTuple):
    """So many samples of each schedule, after which so many are left."""

    samples: int
    left: int


@dataclasses.dataclass(frozen=True)
class Halving:
    """Which schedules race, and how many samples each round of the race draws (successive halving, arXiv 1502.07943).

    Attributes:
        grid: ``grid`` x ``grid`` Beta(a, b) schedules start.
        named: and these.
        free: after the search, so many random changes of its winner (its steps in angle, each times ``exp`` of a normal
            number) race each other likewise, and those that come through are finalists too.
        samples: of each schedule in the first round.
        eta: each round has so many times the samples of the one before, and ``1/eta`` of the schedules (rounded up).
        finalists: so many come through each search.
        final_samples: of each finalist on validation seeds, and of the winner and those it is judged by on test seeds.

    Raises:
        InputError: numbers that cannot be, a text that names no schedule, or no schedule to start with.

    Example:
        >>> import mdm_jax as mdm
        >>> search = mdm.evaluation.Halving(grid=4, named=("linear",))
        >>> len(search.starting())  # Beta(1/2, 1/2) is linear, but under another name
        17
        >>> [tuple(one) for one in search.rounds(17)]  # samples of each, schedules that are left
        [(4, 6), (12, 4)]
    """

    grid: int = 7
    named: Sequence[str] = schedule_text.HAND_CRAFTED
    free: int = 0
    samples: int = 4
    eta: int = 3
    finalists: int = 4
    final_samples: int = 128

    def __post_init__(self) -> None:
        named = self.named
        texts = isinstance(named, Sequence) and not isinstance(named, str)
        texts = texts and all(isinstance(one, str) for one in named)
        require(texts, "named", named, "a sequence of the texts of schedules")
        for text in set(named).difference(schedule_text.HAND_CRAFTED):  # these are known, and to parse them starts JAX
            _require_schedule(text)
        least = {"grid": 0, "free": 0, "samples": 1, "eta": 2, "finalists": 1, "final_samples": 2}
        for name, lowest in least.items():
            object.__setattr__(self, name, require_whole(name, getattr(self, name), lowest, LARGEST))
        require(self.grid > 0 or len(named) > 0, "grid", self.grid, "at least 1 where no schedules are named")

    @property
    def values(self) -> Float[np.ndarray, " grid"]:
        """The values of ``a`` and of ``b``."""
        return np.geomspace(LEAST, MOST, self.grid) if self.grid > 1 else np.ones(self.grid)

    @property
    def cells(self) -> dict[tuple[int, int], str]:
        """The Beta schedule of each cell of the grid, as text."""
        return {(i, j): f"beta:{a:.4g},{b:.4g}" for i, a in enumerate(self.values) for j, b in enumerate(self.values)}

    def starting(self) -> dict[str, Schedule]:
        """The schedules that start, by their texts."""
        return {text: schedule_text.parse(text) for text in dict.fromkeys([*self.named, *self.cells.values()])}

    def rounds(self, count: int) -> Iterator[Round]:
        """The rounds in which ``count`` schedules race; one if there are no more of them than finalists."""
        samples = self.samples
        while True:
            left = max(-(-count // self.eta), min(self.finalists, count))
            yield Round(samples, left)
            if left <= self.finalists:
                return
            count, samples = left, samples * self.eta

    def search_samples(self, length: int, steps: int) -> int:
        """How many samples of a schedule the last round of a search draws, and so how many prompts it needs.

        With ``free`` schedules it is the number if no two of them have equal sizes.

        Args:
            length: of the sequences.
            steps: that each schedule may take.
        """
        started = len(set(representatives(plans_of(self.starting(), length, steps)).values()))
        return list(self.rounds(max(started, self.free)))[-1].samples  # the more start, the more rounds


def _require_schedule(text: str) -> None:
    try:
        schedule_text.parse(text)
    except InputError as error:
        raise InputError(f"named must be texts of schedules; {error}") from None


USUAL = Halving()
"""49 Beta schedules beside the hand-crafted ones."""


def plans_of(schedules: Mapping[str, Schedule], length: int, steps: int) -> dict[str, Plan]:
    """Each schedule as a plan of its name."""
    return {name: plans.from_schedule(one, length, steps, name=name) for name, one in schedules.items()}


def representatives(everyone: Mapping[str, Plan]) -> dict[str, str]:
    """For each name the first one whose plan has the same sizes: what is the same is drawn once."""
    first: dict[bytes, str] = {}
    return {name: first.setdefault(plan.sizes.tobytes(), name) for name, plan in everyone.items()}
