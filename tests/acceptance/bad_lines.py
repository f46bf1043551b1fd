"""Command lines, good and bad, for every command of the parser: what is added to it is tried by itself."""

import argparse
from collections.abc import Sequence

from hypothesis import strategies as st

from mdm_jax.app.cli import make_parser

HOSTILE = "\x1b]0;PWNED\x07\x9b2J\u202e\x7f\u2028<script>"
"""What a terminal, or a browser, would obey if it were printed as it is."""
_PATHS_BAD = (
    HOSTILE, f"run/{HOSTILE}.json",
    "missing", "missing/deeper.json", "notes.txt", "folder", "pipe", "pipe/x", "loop", "loop/x.json", "", "x" * 5000,
    "a\nb", "\x1b[31mred.json", "\udcff\udcfe", "away", "rows.npy", "/dev/null", "/dev/zero", "/dev/full", "~nobody/x",
    "/proc/1/mem", "nul\x7f", "run/config.json", "-", "é" * 300, "run/checkpoints", "../outside", "🦊.json",
)  # fmt: skip
_SCHEDULES = ("linear", "sine", "beta:0.9,0.3", "polynomial:2", "kinetic_optimum:linear", "tabulated:schedule.json")
_SCHEDULES_BAD = (
    HOSTILE, f"tabulated:{HOSTILE}", f"beta:{HOSTILE},1",
    "sin", "", ":", "beta", "beta:1", "beta:nan,1", "beta:inf,1", "beta:1e999,1", "beta:-1,1", "beta:0,0", "beta:1,1,1",
    "beta:" + "9" * 400 + ",1", "geometric:1,1", "geometric:2,1", "geometric:1e-300,1e300", "polynomial:x",
    "polynomial:1e-9", "polynomial:1e9", "beta:1e-30,1e30", "kinetic_optimum:", "kinetic_optimum:" * 50 + "linear",
    "kinetic_optimum:" * 3 + "beta:1e3,1e-3", "tabulated:", "tabulated:pipe", "tabulated:loop", "tabulated:/dev/zero",
    "tabulated:plan.json", "tabulated:away", "tabulated:notes.txt", "linear:1", "__import__('os')",
    "\uff4cinear",
    "sine\n", "tabulated:" + "y" * 4000,
)  # fmt: skip
_TEXTS = ("1 2 3", "0", "1 □ 2 □□", "5 5 5 5 5 5 5 5")
_TEXTS_BAD = (
    HOSTILE,
    "the cat", "\x00x"[1:], "□", "6", "-1", "1 " * 9, "9" * 5000, "1\n2", "\u202e1", "\udcff", "\uff11", "1e3",
    "nan", "²",
    "\U0001d7d9", "\x1b[2J", "0 " * 20000,
)  # fmt: skip
_BUDGETS_BAD = (
    HOSTILE,
    "2.5",
    "1000000000000",
    "",
    ",",
    "x",
    "0",
    "-1",
    "9",
    "2,,4",
    "1e3",
    "nan",
    "9" * 5000,
    "2;4",
    "2147483648",
    "4,2,0x2",
    "½",
)
_TASKS_BAD = (
    HOSTILE, f"text:{HOSTILE}", f"npy:rows.npy?vocab={HOSTILE}",
    "poems", "", "npy", "npy:", "text:", "npy:pipe", "text:pipe", "npy:loop", "text:/dev/zero", "npy:story.txt",
    "text:rows.npy", "npy:rows.npy?vocab=3", "npy:rows.npy?vocab=x", "npy:rows.npy?vocab=" + "9" * 50, "text:folder",
    "text:notes.txt", "digits:3", "TEXT", "npy:missing", "text:\udcff", "npy:" + "z" * 5000, "pickle:rows.npy",
)  # fmt: skip
_ORACLES_BAD = (
    f"oracle:{HOSTILE}", f"oracle:polya:{HOSTILE},8",
    "oracle:", "oracle:urn", "oracle:polya:0.5", "oracle:polya:nan,8", "oracle:polya:inf,8", "oracle:polya:0,8",
    "oracle:polya:1e-320,8", "oracle:polya:1e308,8", "oracle:polya:0.5,0", "oracle:polya:0.5,1e3", "oracle:markov:2,8",
    "oracle:markov:-1,8", "oracle:polya:0.5," + "9" * 30, "oracle:binsaw:-1", "oracle:../../x", "oracle:toy_left:1",
    "oracle:polya:0.5,8,9", "oracle:markov:1e-300,8",
)  # fmt: skip
_OUTPUTS = ("out", "out.json", "empty/out.json", "profile.json", "out.txt", "out.npy")
_OUTPUTS_BAD = (
    "run", "run/config.json", "notes.txt", "folder/mine.txt", "notes.txt/x", "pipe", "pipe/x.png", "loop", "loop/x.png",
    "x" * 300 + ".png", "photo.exe", "missing.", "", "run/checkpoints", "/dev/null", "/dev/full", "rows.npy", "away",
    "/proc/nothing/x.png", "empty", "\udcff.png",
)  # fmt: skip
_MESHES_BAD = (
    HOSTILE,
    f"data={HOSTILE}",
    "",
    "data",
    "data=0",
    "data=-1",
    "data=1,data=1",
    "model=" + "9" * 30,
    "rows=2",
    "data=1e3",
    "data=²",
)

GOOD: dict[str, Sequence[str]] = {
    "directory": ("run",), "source": ("run", "profile.json", "oracle:toy_left"), "schedules": _SCHEDULES,
    "schedule": _SCHEDULES, "weight": _SCHEDULES, "baseline": _SCHEDULES, "plan": ("plan.json", "grid.json"),
    "task": ("npy:rows.npy",), "budgets": ("2", "2,4", "8", " 3 "),
    "passes": ("2", "2,4", " 3 "), "output": _OUTPUTS,
    "picture": ("out.png", "out.svg", "empty/deep/out.pdf"), "store": ("store.jsonl", "new.jsonl"), "prompt": _TEXTS,
    "infill": _TEXTS, "blank": ("□", "?"), "end": ("0", "3"), "mesh": ("data=1",), "model": ("10m", "run"),
    "optimizer": ("adamw", "muon"), "compute": ("float32", "bfloat16"), "checkpoint": ("newest", "best", "2"),
}  # fmt: skip
"""What may well work, by the name of the argument."""

BAD: dict[str, Sequence[str]] = {
    "directory": _PATHS_BAD, "source": (*_PATHS_BAD, *_ORACLES_BAD, "rows.npy", "plan.json", "schedule.json"),
    "schedules": _SCHEDULES_BAD, "schedule": _SCHEDULES_BAD, "weight": _SCHEDULES_BAD, "baseline": _SCHEDULES_BAD,
    "plan": (*_PATHS_BAD, "schedule.json", "profile.json", "store.jsonl"), "task": _TASKS_BAD, "budgets": _BUDGETS_BAD,
    "passes": _BUDGETS_BAD,
    "output": _OUTPUTS_BAD, "picture": _OUTPUTS_BAD, "store": (*_OUTPUTS_BAD, "plan.json"), "prompt": _TEXTS_BAD,
    "infill": _TEXTS_BAD, "blank": ("", "??", "1", "\n", "\udcff", "+"), "end": ("", "77", "1 2", "\n", "\udcff"),
    "mesh": _MESHES_BAD, "model": (*_PATHS_BAD, "gpt"),
}  # fmt: skip
"""What cannot work, or only by chance."""

_INTS = ("1", "2", "3", "4")
_INTS_BAD = (
    "-1", "-2147483649", "x", "", "1e3", "2.5", "nan", HOSTILE, "1000000000000", "0x10", "1.0", "9" * 5000, "½",
    "9223372036854775808", "1" + "0" * 30, "٣" * 30, "--",
)  # fmt: skip
_FLOATS, _FLOATS_BAD = (
    ("0.5", "1", "0"),
    ("nan", "inf", "-inf", "-1", "1e39", "-1e39", HOSTILE, "1e999", "-1e-320", "x", "", "1,5", "--"),
)

NEVER = ("whole",)
"""Options that legitimately take minutes."""
ALWAYS: dict[str, Sequence[str]] = {
    "footprint": ("--no-compile",), "profile": ("--encodings", "64"), "evaluate": ("--samples", "2", "--budgets", "2"),
    "race": ("--budgets", "2", "--grid", "2", "--samples", "2", "--final-samples", "2", "--finalists", "1"),
    "sample": ("--rows", "2"), "tune": ("--grid", "4"), "card": ("--passes", "2", "--rows", "4"),
}  # fmt: skip
"""What keeps a command cheap; what is drawn comes after it, and the last one counts."""
SPOILT = ("train", "demo", "race", "evaluate", "footprint", "card")
"""Commands that take seconds where they succeed: each gets an argument that cannot work (except now and then)."""
_DOOMED = {"train": ("--optimizer", "sgd"), "demo": ("--task", "poems")}
"""What no real training starts with."""


def commands() -> dict[str, argparse.ArgumentParser]:
    """The parsers of all commands."""
    found = next(action for action in make_parser()._actions if isinstance(action, argparse._SubParsersAction))
    return dict(found.choices)


def _is_flag(action: argparse.Action) -> bool:
    return action.nargs == 0


def _values(action: argparse.Action, bad: bool) -> st.SearchStrategy[str]:
    """Arguments for one option."""
    if action.choices is not None:
        good, spoilt = (
            tuple(map(str, action.choices)),
            ("", "nonsense", str(next(iter(action.choices))).upper(), "\udcff"),
        )
    elif action.dest in (BAD if bad else GOOD):
        good, spoilt = GOOD.get(action.dest, _TEXTS), BAD.get(action.dest, ("nonsense", ""))
    elif action.type is int:
        good, spoilt = _INTS, _INTS_BAD
    elif action.type is float:
        good, spoilt = _FLOATS, _FLOATS_BAD
    else:
        good, spoilt = GOOD.get(action.dest, _TEXTS), (*_PATHS_BAD, *_TEXTS_BAD)
    return st.sampled_from(spoilt if bad else good)


@st.composite
def command_lines(draw: st.DrawFn, bare: bool = False) -> list[str]:
    """The arguments of ``mdm-jax``: a command of the parser, some of its options, values good and bad.

    Args:
        bare: nothing is trained yet, and nothing is to be.
    """
    parsers = commands()
    name = draw(st.sampled_from(sorted(parsers)))
    actions = [a for a in parsers[name]._actions if a.dest not in (*NEVER, "help")]
    optional = [a for a in actions if a.option_strings]
    positional = [a for a in actions if not a.option_strings]
    chosen = draw(st.lists(st.sampled_from(optional), max_size=4, unique=True)) if optional else []
    spoilt = draw(st.sampled_from([*(a for a in (*chosen, *positional) if not _is_flag(a)), None]))
    if name not in SPOILT and draw(st.integers(0, 3)) == 0:  # as it is meant: with many options few lines are
        chosen, spoilt = [], None
    if spoilt is None and name in SPOILT and draw(st.integers(0, 15)):
        spoilt = draw(st.sampled_from([a for a in actions if not _is_flag(a)]))
        chosen += [spoilt] if spoilt.option_strings and spoilt not in chosen else []
    words: list[str] = [name]
    for action in positional:
        for _ in range(draw(st.integers(0, 2)) if action.nargs == "*" else 1):
            words.append(draw(_values(action, action is spoilt)))
        if action.nargs == "*" and action is spoilt:
            words.append(draw(_values(action, True)))
    words += ALWAYS.get(name, ())
    for action in chosen:
        option = draw(st.sampled_from(action.option_strings))
        if _is_flag(action):
            words.append(option)
            continue
        value = draw(_values(action, action is spoilt))
        words += [f"{option}={value}"] if draw(st.booleans()) else [option, value]
    if bare or name == "demo" or "run" not in words[1:2]:
        words += _DOOMED.get(name, ())
    odd = draw(st.integers(0, 60))
    if odd == 0:
        words.insert(draw(st.integers(0, len(words))), draw(st.sampled_from(("--nonsense", "\x1b[1m", "--", "-h"))))
    return words
