"""What ``python -m experiments all`` is going to do: what runs and what that takes, what is left out and why."""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from experiments.tools import page, records
from experiments.tools.catalogue import Places, claims, fingerprint
from experiments.tools.experiment import seconds_kept, spoken


class Entry(NamedTuple):
    """An experiment that is to run.

    Attributes:
        name: whose.
        seconds: what is left of it takes, about: as the last run took, or as its claim says.
        why: it runs.
    """

    name: str
    seconds: float
    why: str


class Agenda(NamedTuple):
    """What is to be done.

    Attributes:
        runs: in the order in which they begin.
        current: names that are left out, since they are recorded of the present code.
        untested: names that are left out, since something is missing, and what.
    """

    runs: tuple[Entry, ...]
    current: tuple[str, ...]
    untested: dict[str, str]


def agenda(places: Places, names: Sequence[str], quick: bool, again: bool) -> Agenda:
    """Look at records, at what is installed and at parts that an earlier run finished; nothing is run.

    A full run leaves out what is recorded of the present code, unless ``again``.
    """
    runs, current, untested = [], [], {}
    for name, claim in claims(places).items():
        if name not in names:
            continue
        now, made = fingerprint(places, name), records.read(places, name)
        if made is not None and made["fingerprint"] == now and not (quick or again):
            current.append(name)
        elif lacks := claim.lacks(quick):
            untested[name] = lacks
        else:
            why = "not recorded" if made is None else "recorded of an earlier form of the code"
            whole, kept = page.seconds(claim, made), 0.0
            if not quick and not again and (kept := seconds_kept(places.folder(name, quick), now)):
                why += f"; parts of {spoken(kept)} are finished and kept"
            elif again and made is not None:
                why = "recorded, and to be repeated"
            runs.append(Entry(name, max(whole - kept, 0.0), why))
    return Agenda(tuple(runs), tuple(current), untested)


def told(planned: Agenda, quick: bool, processes: int) -> str:
    """An agenda as one reads it before it begins."""
    lines: list[str] = []
    at_once = "one after another" if processes == 1 else f"{processes} at once"
    if planned.runs and quick:
        lines += [f"to run, {at_once}, seconds each:", *_wrapped(", ".join(one.name for one in planned.runs))]
    elif planned.runs:
        lines.append(f"to run, {at_once}, about {spoken(sum(one.seconds for one in planned.runs))} of work in all:")
        lines += [f"    {one.name}: about {spoken(one.seconds)} ({one.why})" for one in planned.runs]
    if planned.current:
        lines.append("left out, recorded of the present code (--again repeats them):")
        lines += _wrapped(", ".join(planned.current))
    lines += [f"not tested: {name} needs {lacks}" for name, lacks in planned.untested.items()]
    return "\n".join(lines or ["nothing to run"])


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 100, initial_indent="    ", subsequent_indent="    ")
