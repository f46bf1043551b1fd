"""Bad input by the thousand: command lines and files, and what must not happen.

A *world* (``bad_world``) is a folder with a small run and all that may lie around it: other people's files, a pipe, a
link to itself. A case is a command line (``bad_lines``), or a damaged file and something that reads it (``bad_files``,
``bad_readers``). Whatever the case, a command ends with status 0 or 2; with 2 it has said one sentence, printed
nothing, and every byte in the world is what it was. Nothing raises anything else, hangs, or takes a gigabyte.

``python tests/acceptance/bad_input.py --cases 100 --bare`` runs cases in a process of its own, as users do: in that of
the tests, their checks of types would object before the library does. ``experiments/bad_input.py`` does the same.
"""

import argparse
import collections
import contextlib
import dataclasses
import faulthandler
import io
import json
import os
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bad_files import Damage, damages
from bad_lines import command_lines, commands
from bad_readers import READERS
from bad_world import World, snapshot
from hypothesis import HealthCheck, Phase, given, seed, settings

from mdm_jax.app.cli import main
from mdm_jax.support.errors import InputError
from mdm_jax.support.text import is_obeyed

SECONDS = 60
"""A case that works longer hangs (compiling a sampler takes some ten)."""
IDLE, LOOKS = 2.0, 4
"""Seconds between looks, and how many of them in a row may see no work."""
MEMORY = 2**30
"""Bytes that a case may add to what the process has."""

_PRECIOUS = ("notes.txt", "rows.npy", "story.txt", "folder", "run/config.json", "run/checkpoints", "../outside")
_HEADINGS = re.compile(r"^\[\d/\d\] |\d+/\d+ |it/s|s/it|\?")
"""What a command may say on standard error before it fails: headings and progress bars."""
_BAR = re.compile(r"\r(?=[a-zA-Z -]+:? |\s*\r|\s*$)")
"""A progress bar goes back to the beginning of its line by itself."""
_NO_CHECKS: list[Any] = [*HealthCheck]


class Hangs(BaseException):
    """A case took longer than it may; no ``except Exception`` may hide it."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a case came to.

    Attributes:
        status: of the command; of a reader 0 (it read something), 2 (it refused it); ``None`` if neither.
        defect: what must not be, in a few words (its kind first, by which findings are told apart), or ``None``.
        detail: more about it.
        out, err: what was printed.
    """

    status: int | None
    defect: str | None = None
    detail: str = ""
    out: str = ""
    err: str = ""


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """Raise :class:`Hangs` after ``SECONDS`` of work, or once nothing has been worked on for a while (an empty pipe).

    Work is processor time: a busy machine makes nothing hang, and one look at an idle process is no proof.
    """

    def worked() -> float:
        return sum(os.times()[:4])  # with that of children which have ended

    begun = worked()
    state = {"worked": begun, "idle": 0}

    def ring(*_: object) -> None:
        now = worked()
        state["idle"] = state["idle"] + 1 if now - state["worked"] < 0.01 * IDLE else 0
        state["worked"] = now
        if state["idle"] >= LOOKS or now - begun > SECONDS:
            raise Hangs

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, IDLE, IDLE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _watched(call: Callable[[], int | None]) -> Outcome:
    """``call()``, whatever it does: its status, what it printed, what it raised."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors, write_through=True) for errors in (
        "strict", "backslashreplace"))  # fmt: skip
    before, status, defect, detail = _peak(), None, None, ""
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _limited(), warnings.catch_warnings():
            warnings.simplefilter("default")
            status = call()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except Hangs:
        defect, detail = "hang", traceback.format_exc(limit=-4)
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in last if "mdm_jax" in frame.filename] or list(last)
        place = f"{Path(ours[-1].filename).name}:{ours[-1].name}"
        defect = f"{type(error).__name__} in {place}"
        detail = f"{str(error)[:300]}\n" + "".join(traceback.format_tb(error.__traceback__)[-5:])
        if isinstance(error, KeyboardInterrupt):
            raise
    if defect is None and _peak() - before > MEMORY:
        defect = f"memory: {(_peak() - before) / 2**30:.1f} GiB"
    printed = [stream.buffer.getvalue().decode("utf-8", "replace") for stream in (out, err)]
    return Outcome(status, defect, detail, *printed)


def _flat(words: Sequence[str], err: str) -> str:
    """``err`` with the arguments that it repeats made fit for one line."""
    for word in sorted(words, key=len, reverse=True):
        for part in (word, word.partition("=")[2]):
            shown = part.encode("utf-8", "backslashreplace").decode("utf-8", "replace")
            if len(shown.splitlines()) > 1 or "\n" in shown:
                err = err.replace(shown, "ARGUMENT")
    return err


def run_command(world: World, words: Sequence[str]) -> Outcome:
    """One command line, and whether it was taken as it must be."""
    with contextlib.chdir(world.here):
        found = _watched(lambda: main(list(words)))
    # A lock stays where it was once taken: to remove it would let two processes hold two locks of one name.
    defect, changed = found.defect, [name for name in world.changed() if not name.endswith(".lock")]
    lines = [line for line in found.err.splitlines() if line.strip()]
    if defect is None and found.status == 2:
        lines = [line for line in lines if not (_HEADINGS.search(line) and "mdm-jax" not in line)]
        ours = len(lines) == 1 and lines[0].startswith("mdm-jax: ")
        theirs = found.err.startswith("usage:") and _flat(words, found.err).count(": error: ") == 1
        if not (ours or theirs):
            defect = "status 2 without one sentence"
        elif found.out:
            defect = "status 2 and something printed"
        elif changed:
            defect = f"status 2 and changed: {changed[0]}"
    elif defect is None and found.status == 0:
        touched = [name for name in changed if any(_within(name, one) for one in _PRECIOUS)]
        if touched:
            defect = f"overwritten: {touched[0]}"
        elif "--json" in words and "-h" not in words and not _is_json(found.out):
            defect = "--json printed something else"
        elif any("Warning" in line for line in lines):
            defect = "a warning: " + next(line for line in lines if "Warning" in line).rpartition("/")[2][:100]
    elif defect is None:
        defect = f"status {found.status}"
    if defect is None and (raw := _obeyed(found.out + found.err)):
        defect = f"printed as it is: {raw[0]!r}"
    if defect is None and ("Traceback" in found.err or "Traceback" in found.out):
        defect = "a traceback"
    return dataclasses.replace(found, defect=defect)


def _obeyed(printed: str) -> list[str]:
    """Characters that a terminal would obey, but for line ends, tabs and the returns of progress bars."""
    return [c for c in _BAR.sub("", printed) if c not in "\n\t\u200c\u200d" and is_obeyed(c)]


def run_damage(world: World, damage: Damage) -> Outcome:
    """One damaged file read, and whether it was taken as it must be."""
    with contextlib.chdir(world.here):
        damage.inflict()
        allowed = set(world.changed())
        if isinstance(damage.reader, tuple):
            found = run_command_on(world, damage.reader, allowed)
        else:
            found = _watched(lambda: _refusing(READERS[str(damage.reader)], damage.path))
            after = set(world.changed()) - allowed - {os.path.relpath(Path("run/.lock"), world.root)}
            if found.defect is None and after:
                found = dataclasses.replace(found, defect=f"changed: {min(after)}")
    return found


def run_command_on(world: World, words: Sequence[str], damaged: set[str]) -> Outcome:
    """:func:`run_command` where something is damaged already."""
    was = world.before
    world.before = snapshot(world.root)
    try:
        found = run_command(world, words)
    finally:
        world.before = was
    if found.defect is not None and found.defect.startswith("overwritten"):
        name = found.defect.partition(": ")[2]
        # A checkpoint that has lost its manifest is what an interrupted save leaves: it is written again.
        if name in damaged or any("/checkpoints/" in one and Path(one).parent in Path(name).parents for one in damaged):
            return dataclasses.replace(found, defect=None)
    return found


def _refusing(read: Callable[[str], None], path: str) -> int:
    try:
        read(path)
    except InputError as error:
        said = str(error)
        assert said.strip(), "an empty sentence"
        assert len(said) < 5000, "a sentence of many pages"
        return 2
    except OSError as error:
        if error.filename is None:  # else main makes a sentence of it
            raise
        return 2
    return 0


def _within(name: str, place: str) -> bool:
    whole = os.path.normpath(os.path.join("here", place))
    return name == whole or name.startswith(whole + os.sep)


def _is_json(text: str) -> bool:
    def refuse(word: str) -> None:
        raise ValueError(word)

    try:
        json.loads(text, parse_constant=refuse)
    except ValueError:
        return False
    return True


@dataclasses.dataclass
class Report:
    """What many cases came to.

    Attributes:
        cases: how many.
        outcomes: how often each command (or file) came to each status.
        defects: by kind, the smallest example, its detail and what was said.
        slowest: seconds, and the case.
    """

    cases: int = 0
    outcomes: dict[str, collections.Counter[str]] = dataclasses.field(default_factory=dict)
    defects: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)
    slowest: tuple[float, str] = (0.0, "")

    def add(self, subject: str, case: str, found: Outcome, seconds: float) -> bool:
        """Count one; whether it is a defect of a new kind."""
        self.cases += 1
        shown = str(found.status) if found.defect is None else "defect"
        self.outcomes.setdefault(subject, collections.Counter())[shown] += 1
        self.slowest = max(self.slowest, (seconds, case[:300]))
        return found.defect is not None and found.defect not in self.defects

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        outcomes = {name: dict(sorted(counts.items())) for name, counts in sorted(self.outcomes.items())}
        slowest = {"seconds": round(self.slowest[0], 2), "case": self.slowest[1].encode("utf-8", "replace").decode()}
        return {"cases": self.cases, "outcomes": outcomes, "defects": self.defects, "slowest": slowest}


def explore(world: World, kind: str, cases: int, start: int, until: float, report: Report) -> None:
    """Draw ``cases`` of a kind ("commands" or "files"); a defect is made as small as can be, and then passed over.

    Args:
        world: where.
        kind: of what.
        cases: how many.
        start: the seed.
        until: when to stop at the latest, as ``time.monotonic`` tells it.
        report: added to.
    """
    strategy = command_lines(world.bare) if kind == "commands" else damages(world)
    last: dict[str, Any] = {}

    def once(case: Any) -> None:
        if time.monotonic() > until:
            return
        begun = time.monotonic()
        found = run_command(world, case) if kind == "commands" else run_damage(world, case)
        world.mend()
        subject = (case[0] if case[0] in commands() else "(odd)") if kind == "commands" else case.path
        if report.add(subject, repr(case), found, time.monotonic() - begun):
            last.update(case=case, found=found)
            raise AssertionError(found.defect)

    while cases > 0 and time.monotonic() < until:
        before, block = report.cases, min(cases, 500)
        wanted = settings(
            max_examples=block, deadline=None, database=None, suppress_health_check=_NO_CHECKS,
            phases=(Phase.generate, Phase.shrink), print_blob=False, report_multiple_bugs=False,
        )  # fmt: skip
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                seed(start)(wanted(given(strategy)(once)))()
        except BaseException as error:  # Hypothesis wraps what it cannot repeat in kinds of its own
            if not last:
                raise
            found: Outcome = last["found"]
            shown = repr(last["case"])
            report.defects[str(found.defect)] = {
                "case": (shown if len(shown) < 1500 else shown[:1500] + "...").encode("utf-8", "replace").decode(),
                "detail": found.detail[-1500:],
                "said": found.err[-500:],
                "raised": type(error).__name__,
            }
            last.clear()
        world.mend()
        cases -= max(report.cases - before, 1)
        start += 1


def main_of_cases() -> int:
    """Run cases in this process; print the report as JSON, exit with 1 if there are defects."""
    parser = argparse.ArgumentParser(description=main_of_cases.__doc__)
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bare", action="store_true", help="without a trained run: quick to begin with")
    parser.add_argument("--kinds", default="commands,files")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds in all")
    options = parser.parse_args()
    faulthandler.enable()
    until = time.monotonic() + options.limit
    report, kinds = Report(), options.kinds.split(",")
    _bounded_memory()
    with tempfile.TemporaryDirectory() as folder:
        sink = io.StringIO()
        with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
            world = World(Path(folder), options.bare)
        made = time.monotonic()
        for kind in kinds:
            explore(world, kind, options.cases // len(kinds), options.seed, until, report)
    print(json.dumps({**report.to_json(), "seconds": round(time.monotonic() - made, 1)}, indent=1))
    return 1 if report.defects else 0


def _bounded_memory() -> None:
    """No more than 8 GiB, so that a case that takes all there is fails, and not the machine."""
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (8 * 2**30, most))


if __name__ == "__main__":
    sys.exit(main_of_cases())
