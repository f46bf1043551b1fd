"""Ten thousand bad command lines and damaged files, and what comes of them.

The cases are those of ``tests/acceptance/bad_input.py``.

Half are command lines: any command of the parser with options and values good, bad, extreme and hostile. Half are files
of every format that is read, cut, flipped, edited, in another encoding, or pipes, folders and links in their place,
each read by a function or by a command. They lie around a small trained run; every case begins from the same files.

Claimed before measuring: every case ends with status 0 or 2 (a function: with a value or an ``InputError``); with 2
there is one sentence and nothing else, and no byte has changed; none hangs or takes a gigabyte.

Every worker is a process of its own with seeds of its own; a defect is made as small as Hypothesis can.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run

CLAIM = Claim(
    "10,000 bad command lines and damaged files: each is taken or refused with one sentence; none raises anything "
    "else, hangs, takes a gigabyte or changes a byte that it should not",
    source="ours",
    minutes=60,
    seeds=(0, 10_000, 20_000, 30_000, 40_000),
    needs={"hypothesis": "test"},
)
CASES = 10_000
WORKERS = 5
"""Processes, one after the other on a machine of few cores; each a fifth of the cases, with seeds of its own."""
AT_ONCE = 2
SECONDS = 3600.0
"""A worker that has not finished by then stops, and says how many cases it got through."""
_SCRIPT = Path(__file__).parents[1] / "tests" / "acceptance" / "bad_input.py"


def started(number: int, cases: int, quick: bool, scratch: Path) -> tuple[subprocess.Popen[str], Path]:
    """A worker, and the file of what it says on standard error."""
    said = scratch / f"worker {number}.txt"
    where = {
        **os.environ,
        "PYTHONPATH": str(_SCRIPT.parents[2]),
        "JAX_COMPILATION_CACHE_DIR": str(scratch / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    words = ["--cases", str(cases), "--seed", str(10_000 * number), "--limit", str(SECONDS)]
    words += ["--bare"] if quick else []
    words = [sys.executable, str(_SCRIPT), *words]
    with said.open("w", encoding="utf-8") as errors:
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True, env=where), said


def collected(experiment: Experiment) -> list[dict[str, Any]]:
    """The reports of all workers, of which some run at a time."""
    workers = 1 if experiment.quick else WORKERS
    cases = 60 if experiment.quick else CASES // workers

    def reports(numbers: range, scratch: Path) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        running = [started(number, cases, experiment.quick, scratch) for number in numbers]
        for process, said in running:
            out, _ = process.communicate()
            if not out:
                last = said.read_text(encoding="utf-8", errors="replace")[-2000:]
                raise RuntimeError(f"a worker ended with status {process.returncode} and no report; it said:\n{last}")
            found.append(json.loads(out))
            if not found[-1]["cases"]:
                raise RuntimeError(f"a worker got through no case in {SECONDS:g} s")
        return found

    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for first in range(0, workers, AT_ONCE):
            numbers = range(first, min(first + AT_ONCE, workers))
            found += experiment.part(f"workers from {first}", lambda numbers=numbers: reports(numbers, Path(scratch)))
    return found


def run(experiment: Experiment) -> Run:
    """All workers; then what each command and file came to."""
    reports = collected(experiment)
    outcomes: dict[str, Counter[str]] = {}
    defects: dict[str, Any] = {}
    for report in reports:
        for name, counts in report["outcomes"].items():
            outcomes.setdefault(name, Counter()).update(counts)
        for kind, example in report["defects"].items():
            kept = defects.get(kind)
            defects[kind] = example if kept is None or len(example["case"]) < len(kept["case"]) else kept
    cases = sum(report["cases"] for report in reports)
    print(f"{'':>32} {'taken (0)':>10} {'refused (2)':>12} {'defects':>8}")
    for name, counts in sorted(outcomes.items(), key=lambda item: ("." in item[0], item[0])):
        print(f"{name:>32} {counts['0']:>10,} {counts['2']:>12,} {counts['defect']:>8,}")
    total = sum(outcomes.values(), Counter[str]())
    print(f"{f'{cases:,} cases':>32} {total['0']:>10,} {total['2']:>12,} {total['defect']:>8,}")
    for kind, example in defects.items():
        print(f"\n{kind}\n  smallest example: {example['case']}\n  {example['detail']}\n  said: {example['said']}")
    results = {
        "cases": cases,
        "outcomes": {name: dict(counts) for name, counts in sorted(outcomes.items())},
        "defects": defects,
        "slowest": [report["slowest"] for report in reports],
    }
    return Run(results, picture(outcomes))


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """One defect is too many."""
    cases, total = results["cases"], sum(map(Counter, results["outcomes"].values()), Counter[str]())
    enough = "holds" if cases >= CASES else "partly"
    return Conclusion(
        "does not" if results["defects"] else enough,
        f"of {cases:,} cases {total['2']:,} are refused in one sentence, {total['0']:,} taken as they should be, and "
        f"{total['defect']:,} are defects",
        {"cases": cases, "refused": total["2"], "taken": total["0"], "defects": total["defect"]},
        f"{cases:,} cases",
    )


def picture(outcomes: dict[str, Counter[str]]) -> Figure:
    """Taken, refused and wrong, for every command and file."""
    names = sorted(outcomes, key=lambda name: ("." not in name, name))
    figure = Figure(figsize=(6.5, 0.6 + 0.22 * len(names)), layout="constrained")
    axes = figure.subplots()
    left = [0] * len(names)
    for key, label, colour in (
        ("0", "taken", "#2e8059"), ("2", "refused in one sentence", "#1d6fb8"), ("defect", "wrong", "#c2410c")
    ):  # fmt: skip
        counts = [outcomes[name][key] for name in names]
        axes.barh(names, counts, left=left, color=colour, label=label, height=0.7)
        left = [a + b for a, b in zip(left, counts, strict=True)]
    axes.legend(fontsize=8, frameon=False)
    axes.set_xlabel("cases", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
