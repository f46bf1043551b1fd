"""What searches for Beta schedules came to over all tasks: the records of experiments named ``beta_...`` together.

A *world* is a task of one of them, with the figures that :func:`experiments.tools.schedule_tables.figures_of` makes; a
record without such figures has none.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.tools.markdown import filled, table

MOST = 0.12
"""The largest gain over linear that arXiv 2509.13866 reports, as a share of linear's score."""
SECTION = "The Beta search, over all tasks"
UP_TO, PREFER = f"Up to {MOST:.0%} over linear?", "Do some tasks prefer linear?"
INTRODUCTION = f"""After training, arXiv 2509.13866 searches Beta schedules by samples. It reports gains of up to
{MOST:.0%} over linear, and that some tasks prefer linear. Here a cell is a task with an order, tokens drawn or greedy,
and a number of steps. The chosen schedule is better or worse than linear in a cell if the 95% interval over samples
says so; a gain is positive where it is better, of bits too. Of the cells in which it is better the largest gain is told
as a share of linear's score, with both scores: chance favours the largest of many. Linear is the best of three where
its mean score is better than those of sine and sine squared; by chance it would be in a third of the cells, and be
chosen by one search of 16. Searches in which all schedules were as good are not counted."""
NOTES = {
    "beta_sudoku9": """Of right cells of Sudokus the chosen schedules reveal nearly all in one pass: they gain by
giving steps up ([why](#why-beta_sudoku9))."""
}
"""On worlds of some experiments, below the table."""
ADVANCE = "Can the winner be told in advance?"
RANKS = """Rank correlations of the candidates by their scores in samples: with what the profile predicts of them, which
draws no sample; and of one half of the samples with the other half, which says what samples can tell at all. A perfect
prediction would be above that: near four fifths where the halves agree with a half, near nineteen twentieths where they
agree with four fifths (the root of 2r / (1 + r)). Means over cells, with intervals over trainings where there are
several, cut at -1 and 1."""
RANKED = ("random", "max-probability")
BY_PROFILE, BY_HALF = "profile", "other half"
HEADING = (
    "task", "cells", "better than linear", "worse", "largest gain over linear", "linear is the best of three",
    "searches that chose linear",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class World:
    """A task of an experiment, and all figures of the record."""

    experiment: str
    name: str
    figures: Mapping[str, Any]

    def figure(self, what: str) -> Any:
        """One of its figures; ``None`` if the record has none of that name."""
        return self.figures.get(f"{self.name}: {what}")

    @property
    def label(self) -> str:
        """Its name without a comma, for lists: what follows one stands in brackets."""
        name, comma, more = self.name.partition(", ")
        return f"{name} ({more})" if comma else name

    @property
    def linked(self) -> str:
        """Its name with the result that it is from."""
        return f"{self.label} ([{self.experiment}](results/{self.experiment}.json))"

    @property
    def cells(self) -> int:
        return self.figure("cells")

    @property
    def worse(self) -> int:
        """Cells in which the chosen schedule is worse than linear."""
        return self.figure("cells worse than linear")

    @property
    def best(self) -> int:
        """Cells in which linear is the best of the three named schedules."""
        return self.figure("cells in which linear is better than sine and sine squared")

    @property
    def searches(self) -> int:
        """Searches in which schedules differed."""
        return self.figure("searches") - self.figure("searches in which all are as good")

    @property
    def chose(self) -> int:
        """Of these, those that chose linear."""
        return self.figure("other searches that chose linear")

    @property
    def share(self) -> float | None:
        """The largest gain over linear, as a share of its score; ``None`` where no cell is better."""
        return self.figure("largest gain over linear, share of its score")

    def ranks(self, order: str, by: str) -> Any:
        """The mean rank correlation in an order, alone or with its interval; ``None`` where no cell has one."""
        return self.figures.get(f"{self.name}, {order}: rank correlation with {by}")

    @property
    def gain(self) -> str:
        """The largest gain in words."""
        if self.share is None:
            return "none"
        chosen, linear = (self.figure(f"of that cell, {which}") for which in ("chosen", "linear"))
        if self.share >= 10:
            return f"{chosen:.3g} where linear has {linear:.3g}"
        if self.share >= 1:
            said = f"{self.share:.2g} times"
        else:
            said = f"{self.share:.0%}" if self.share >= 0.1 else f"{100 * self.share:.2g}%"
        return f"{said} ({chosen:.3g} against {linear:.3g})"


def worlds_of(made: Mapping[str, Mapping[str, Any] | None]) -> list[World]:
    """The worlds of all records of experiments named ``beta_...``."""
    ending = ": other searches that chose linear"
    return [
        World(experiment, what.removesuffix(ending), record["figures"])
        for experiment, record in made.items()
        if experiment.startswith("beta_") and record is not None
        for what in record["figures"]
        if what.endswith(ending)
    ]


def section(made: Mapping[str, Mapping[str, Any] | None]) -> str:
    """The section of the page; empty if no record belongs to it."""
    worlds = worlds_of(made)
    if not worlds:
        return ""
    links = ", ".join(f"[{name}](results/{name}.json)" for name in dict.fromkeys(one.experiment for one in worlds))
    parts = [
        f"## {SECTION}\n",
        filled(INTRODUCTION),
        table(HEADING, *map(_row, worlds)),
        *(filled(note) for name, note in NOTES.items() if any(one.experiment == name for one in worlds)),
        f"### {UP_TO}\n",
        filled(f"{up_to(worlds)} ({links})"),
        f"### {PREFER}\n",
        filled(f"{prefer(worlds)} ({links})"),
        f"### {ADVANCE}\n",
        filled(RANKS),
        table(
            ("task", *(f"{order} order, by {by}" for order in RANKED for by in ("the profile", "the other half"))),
            *map(_ranks_row, worlds),
        ),
        filled(f"{in_advance(worlds)} ({links})"),
    ]
    return "\n".join(parts)


def _row(world: World) -> tuple[str, ...]:
    return (
        world.linked, str(world.cells),
        str(world.figure("cells better than linear")), str(world.worse), world.gain, f"{world.best} of {world.cells}",
        f"{world.chose} of {world.searches}",
    )  # fmt: skip


def _ranks_row(world: World) -> tuple[str, ...]:
    """Correlations, each with its interval cut at -1 and 1, between which they lie."""

    def told(found: Any) -> str:
        if found is None:
            return "none"
        mean, low, high = found if isinstance(found, list) else (found, found, found)
        return f"{mean:.2f}" if low == high else f"{mean:.2f} ({max(low, -1):.2f} to {min(high, 1):.2f})"

    cells = (told(world.ranks(order, by)) for order in RANKED for by in (BY_PROFILE, BY_HALF))
    return world.linked, *cells


def in_advance(worlds: Sequence[World]) -> str:
    """In which order the profile says more of the winner than half of the samples does, counted."""
    said = []
    for order in RANKED:
        pairs = [(one.label, *(_mean(one.ranks(order, by)) for by in (BY_PROFILE, BY_HALF))) for one in worlds]
        known = [(name, profile > half) for name, profile, half in pairs if profile is not None and half is not None]
        better = [name for name, above in known if above]
        said.append(f"in {order} order for {len(better)} of {len(known)} tasks{f' ({_listed(better)})' * bool(better)}")
    return (
        "By its means the profile is above the halves, as a perfect prediction would be everywhere (but above is not "
        f"yet perfect), {', '.join(said)}."
    )


def _mean(found: Any) -> float | None:
    return found[0] if isinstance(found, list) else found


def up_to(worlds: Sequence[World]) -> str:
    """Where the largest gain is more than the paper's, where it is not, and where there is none."""
    gains = [(one.share, f"{one.label}, {one.gain}") for one in worlds if one.share is not None]
    gains.sort(key=lambda gain: -gain[0])
    more, less = ([said for share, said in gains if (share > MOST) is above] for above in (True, False))
    none = [one.label for one in worlds if one.share is None]
    sentences = [
        f"Here more than that: {'; '.join(more) or 'none'}.",
        f"At most that: {'; '.join(less)}." if less else "",
        f"No cell is better than linear on {_listed(none)}." if none else "",
        "Where linear has next to nothing no share is told." if gains and gains[0][0] >= 10 else "",
    ]
    return " ".join(filter(None, sentences))


def prefer(worlds: Sequence[World]) -> str:
    """Where linear is the best hand-crafted schedule, where a search chooses it, and where the chosen one is worse."""
    cells, searches = (sum(getattr(one, what) for one in worlds) for what in ("cells", "searches"))
    mostly = [one.label for one in worlds if one.best > one.cells / 2]
    return (
        f"Linear is the best of the three in more than half of the cells of {_listed(mostly) or 'no task'}. It is in "
        f"{_counted(worlds, 'best', f'{cells} cells')}. {_counted(worlds, 'chose', f'{searches} searches')} chose it. "
        f"The chosen schedule is worse than linear in {_counted(worlds, 'worse', f'{cells} cells')}."
    )


def _counted(worlds: Sequence[World], what: str, of: str) -> str:
    """How many of how many, and in which worlds, the most first: ``"7 of 32 cells (arithmetic 5, brackets 2)"``."""
    counts = sorted(((getattr(one, what), one.label) for one in worlds), key=lambda one: -one[0])
    each = ", ".join(f"{name} {count}" for count, name in counts if count)
    return f"{sum(count for count, _ in counts)} of {of}{f' ({each})' if each else ''}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
