"""Nothing is lost: a training killed at random moments ends where it would have, and damaged checkpoints are refused.

* A toy training that saves a checkpoint every few steps runs in a process of its own and is killed (SIGKILL) again and
  again: while it starts, trains, saves, writes manifests or deletes old checkpoints. Then it runs to its end, and the
  whole state (parameters, averaged parameters, optimiser, tally) is compared bit by bit with that of a run that nobody
  interrupted. After every kill each complete checkpoint must verify, and the newest must not be older than the newest
  that was complete just before the kill. Kills are aimed: at so many seconds after the process has loaded its
  libraries, or after it has completed so many more checkpoints; what they hit is read off what they left.
* Single bits of the newest checkpoint's files are flipped, and files are cut short: restoring must refuse, and offer
  the checkpoint before, which must restore. As a control the same damage is given to a checkpoint without manifest,
  which is all that Orbax itself looks at.

Claimed before measuring: bitwise equal, no checkpoint lost, every damage refused.
"""

import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from mdm_jax import models
from mdm_jax.support.errors import InputError
from mdm_jax.training import RunDirectory, Settings, fit
from mdm_jax.training.checkpoints import Checkpoints, manifest
from mdm_jax.training.checkpoints.catalogue import Catalogue
from mdm_jax.training.step import TrainState, initial_state

CLAIM = Claim(
    "a training killed 50 times at random moments ends bitwise equal to one that was not, no kill costs a complete "
    "checkpoint, and every damaged checkpoint is refused with the one before it offered",
    source="ours",
    minutes=6,
)
VOCABULARY, LENGTH = 6, 8
EVERY = 4
KILLS, DAMAGES = 50, 20
KINDS = ("bit flipped", "cut short")
SECONDS_TO_START = 3.0
"""A kill aimed at the start comes within so many seconds after the libraries are loaded."""
MOST_CHECKPOINTS, SECONDS_BETWEEN = 2, 0.3
"""Other kills come after 1 to so many new checkpoints, and up to so many seconds (about the time between two)."""
STARTING, TRAINING, HALF_WRITTEN, NO_MANIFEST, HALF_DELETED = (
    "before the first save",
    "between saves",
    "while Orbax was writing",
    "before the manifest was written",
    "while an old one was being deleted",
)
READY = "ready"
_CHILD = "from experiments.kill import child; import sys; child(sys.argv[1], int(sys.argv[2]))"


class Counting:
    """A toy task: rows that count up modulo 6 from a random start."""

    spec, length, vocab_size, digest = "counting", LENGTH, VOCABULARY, "0" * 64
    score_name, lower_is_better = "breaks", True

    def __init__(self) -> None:
        rows = ((np.arange(VOCABULARY)[:, None] + np.arange(LENGTH)) % VOCABULARY).astype(np.int32)
        self.train, self.validation, self.test = np.tile(rows, (4, 1)), np.tile(rows, (3, 1)), rows

    def show(self, tokens: np.ndarray) -> str:
        return "".join(map(str, np.asarray(tokens)))

    def score(self, tokens: np.ndarray) -> np.ndarray:
        return ((tokens[:, 1:] - tokens[:, :-1]) % VOCABULARY != 1).sum(axis=1).astype(np.float64)

    def baselines(self, tokens: np.ndarray) -> dict[str, np.ndarray]:
        return {"uniform": np.full(len(tokens), np.log2(VOCABULARY))}

    def describe(self) -> dict[str, Any]:
        return {"spec": self.spec, "length": LENGTH, "vocab_size": VOCABULARY, "digest": self.digest}


def train(directory: str | Path, steps: int, checkpoint_every: int = EVERY) -> None:
    """The training in question, or what is left of it."""
    settings = Settings(steps=steps, batch=16, length=LENGTH)
    report_every = 5 * EVERY
    fit(
        model(), Counting(), directory=directory, settings=settings, checkpoint_every=checkpoint_every,
        report_every=report_every, progress=False,
    )  # fmt: skip


def model() -> models.Denoiser:
    """A transformer as small as can be."""
    return models.transformer(VOCABULARY, length=LENGTH, width=16, depth=1, heads=2)


def child(directory: str, steps: int) -> None:
    """What the killed process does: it says when its libraries are loaded, and trains."""
    print(READY, flush=True)
    train(directory, steps)


@dataclasses.dataclass(frozen=True)
class Kill:
    """One kill: seconds since the libraries were loaded, the newest complete checkpoint before and after, the hit."""

    seconds: float
    before: int
    after: int
    hit: str
    good: bool


def killed(directory: Path, steps: int, random: np.random.Generator) -> Kill | None:
    """Start the training, and kill it at a random moment; ``None`` if it ended before."""
    checkpoints = Catalogue(directory / "checkpoints", None, manifests=True)
    first, there = checkpoints.latest() or 0, leftovers(directory / "checkpoints")
    more = int(random.integers(0, MOST_CHECKPOINTS + 1))
    wait = random.uniform(0, SECONDS_BETWEEN if more else SECONDS_TO_START)
    command = [sys.executable, "-c", _CHILD, str(directory), str(steps)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    if process.stdout.readline().strip() != READY:
        raise RuntimeError(process.communicate()[1])
    start = time.perf_counter()
    while (checkpoints.latest() or 0) < first + more * EVERY and process.poll() is None:
        time.sleep(0.002)
    time.sleep(wait)
    before = checkpoints.latest() or 0
    process.kill()
    seconds = time.perf_counter() - start
    errors = process.communicate()[1]
    if process.returncode == 0:
        return None
    if process.returncode > 0:
        raise RuntimeError(errors)
    left = {kind for key, kind in leftovers(directory / "checkpoints").items() if key not in there}
    after = checkpoints.latest() or 0
    kinds = (NO_MANIFEST, HALF_WRITTEN, HALF_DELETED)
    hit = next((kind for kind in kinds if kind in left), STARTING if after == first else TRAINING)
    return Kill(seconds, before, after, hit, all_good(directory))


def leftovers(checkpoints: Path) -> dict[tuple[str, int], str]:
    """What is half there, and what interrupted it: by name and inode, since names come again."""
    found: dict[tuple[str, int], str] = {}
    for path in checkpoints.iterdir() if checkpoints.exists() else ():
        key = (path.name, path.stat().st_ino)
        if path.name.isdigit() and not manifest.present(path):
            found[key] = NO_MANIFEST
        elif "orbax-checkpoint-tmp" in path.name:
            found[key] = HALF_WRITTEN
        elif path.name.endswith(".deleting"):
            found[key] = HALF_DELETED
    return found


def all_good(directory: Path) -> bool:
    """Whether every complete checkpoint is what was written."""
    place = RunDirectory(directory)
    if not place.config.exists():
        return True
    found = Catalogue(place.checkpoints, None, manifests=True)
    try:
        for step in found.steps():
            found.verify(step)
    except InputError:
        return False
    return True


def state_of(directory: Path, step: int | None = None) -> TrainState:
    """The newest state, or that of a step, as ``fit`` restores it."""
    place = RunDirectory(directory)
    settings = place.settings(place.read_config())
    with place.open_checkpoints() as checkpoints:
        return checkpoints.restore(jax.eval_shape(lambda: initial_state(model(), settings)), step)


def same(one: TrainState, two: TrainState) -> dict[str, bool]:
    """Whether two states are equal bit by bit, part by part."""

    def equal(a: Any, b: Any) -> bool:
        leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
        return all(np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in leaves)

    return {name: equal(getattr(one, name), getattr(two, name)) for name in vars(one)}


@dataclasses.dataclass(frozen=True)
class Damage:
    """One damage: of which file, how, whether it was refused and the other checkpoint offered and accepted, and
    whether Orbax alone restored it without a word."""

    file: str
    how: str
    refused: bool
    offered: bool
    silent: bool


def damaged(directory: Path, how: str, random: np.random.Generator) -> Damage:
    """Damage one file of the newest checkpoint, try to restore it, and repair it."""
    folders = sorted((directory / "checkpoints").iterdir(), key=lambda path: int(path.name))
    newest, other = folders[-1], int(folders[-2].name)
    files = sorted(path for path in newest.rglob("*") if path.is_file() and path.stat().st_size > 0)
    path = files[random.integers(len(files))]
    content = path.read_bytes()
    broken = bytearray(content)
    if how == KINDS[0]:
        at = int(random.integers(8 * len(content)))
        broken[at // 8] ^= 1 << at % 8
    else:
        del broken[int(random.integers(len(content))) :]
    path.write_bytes(broken)
    refused = offered = False
    try:
        state_of(directory)
    except InputError as error:
        refused = f"checkpoint {newest.name} in" in str(error)
        offered = f"the newest good one is {other}:" in str(error) and int(state_of(directory, other).step) == other
    silent = path.name != manifest.NAME and orbax_alone(directory)
    path.write_bytes(content)
    return Damage(path.relative_to(newest).as_posix(), how, refused, offered, silent)


def orbax_alone(directory: Path) -> bool:
    """Whether the newest checkpoint can be restored when its manifest is not looked at."""
    settings = RunDirectory(directory).settings(RunDirectory(directory).read_config())
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(directory / "checkpoints", folder, dirs_exist_ok=True)
        for path in Path(folder).glob("*/manifest.json"):
            path.unlink()
        try:
            with Checkpoints(folder, manifests=False) as checkpoints:
                checkpoints.restore(jax.eval_shape(lambda: initial_state(model(), settings)))
        except InputError:
            return False
    return True


def run(experiment: Experiment) -> Run:
    """Kill, resume, compare; damage, restore, repair."""
    steps, kills, damages = (40, 2, 1) if experiment.quick else (1000, KILLS, DAMAGES)
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        # One compilation cache for all processes: a kill is not to spend its time on waiting for the compiler.
        compiled = str(Path(folder) / "compiled")
        os.environ.update(JAX_COMPILATION_CACHE_DIR=compiled, JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0.1")
        jax.config.update("jax_compilation_cache_dir", compiled)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
        whole, cut = Path(folder) / "whole", Path(folder) / "cut"
        train(whole, steps, checkpoint_every=steps // 2)
        found: list[Kill] = []
        while len(found) < kills:
            one = killed(cut, steps, random)
            if one is None:
                break
            found.append(one)
            print(
                f"kill {len(found):2d}: {one.seconds:5.2f} s after loading, {one.hit}; newest checkpoint {one.after}"
                f"{'' if one.good else ' NOT GOOD'}",
                flush=True,
            )
        train(cut, steps)
        equal = same(state_of(whole), state_of(cut))
        hits = Counter(one.hit for one in found)
        lost = sum(one.after < one.before or not one.good for one in found)
        saving = sum(count for hit, count in hits.items() if hit not in (STARTING, TRAINING))
        print(f"{len(found)} kills, {saving} of them during a save or its tidying: {dict(hits)}")
        print(f"checkpoints lost or damaged by a kill: {lost}")
        print(f"bitwise equal to the uninterrupted run at step {steps}: {equal}")
        broken = [damaged(cut, how, random) for how in KINDS for _ in range(damages)]
    for how in KINDS:
        mine = [one for one in broken if one.how == how]
        refused, offered, silent = (
            sum(getattr(one, name) for one in mine) for name in ("refused", "offered", "silent")
        )
        print(
            f"{how}: {refused} of {len(mine)} refused, {offered} times the one before offered and restored "
            f"(Orbax alone restored {silent})"
        )
    results = {
        "steps": steps, "checkpoint_every": EVERY, "kills_wanted": kills, "kills": found, "hits": hits, "lost": lost,
        "bitwise_equal": equal, "damages": broken,
    }  # fmt: skip
    return Run(results, picture(found))


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """Nothing may differ, be lost or be taken."""
    kills, damages, hits = results["kills"], results["damages"], results["hits"]
    equal = all(results["bitwise_equal"].values())
    refused = sum(one["refused"] and one["offered"] for one in damages)
    silent = sum(one["silent"] for one in damages)
    saving = len(kills) - sum(hits.get(hit, 0) for hit in (STARTING, TRAINING))
    held = [
        len(kills) == results.get("kills_wanted", KILLS) and equal,
        results["lost"] == 0,
        refused == len(damages),
    ]
    return Conclusion(
        "holds" if all(held) else "partly" if any(held) else "does not",
        f"after {len(kills)} kills, {saving} of them during a save or its tidying, the state is "
        f"{'' if equal else 'not '}bitwise equal and {results['lost']} checkpoints are lost; "
        f"{refused} of {len(damages)} damages are refused, of which Orbax alone restores {silent} without a word",
        {
            "kills": len(kills),
            "kills during a save or its tidying": saving,
            "checkpoints lost": results["lost"],
            "damages": len(damages),
            "damages refused": refused,
            "damages that Orbax restores": silent,
            "flipped bits that Orbax restores": sum(one["silent"] for one in damages if one["how"] == KINDS[0]),
            "cut files that Orbax restores": sum(one["silent"] for one in damages if one["how"] == KINDS[1]),
            **{f"kills {hit}": count for hit, count in hits.items()},
        },
        f"{len(kills)} kills, {len(damages)} damages",
    )


def picture(kills: list[Kill]) -> Figure:
    """Each kill: when it came, how far training was, and what it hit."""
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    colours = {
        STARTING: "#9ca3af",
        TRAINING: "#111111",
        HALF_WRITTEN: "#1d6fb8",
        NO_MANIFEST: "#c2410c",
        HALF_DELETED: "#15803d",
    }
    for hit, colour in colours.items():
        mine = [one for one in kills if one.hit == hit]
        axes.plot([one.seconds for one in mine], [one.after for one in mine], "o", color=colour, markersize=4,
                  label=f"{hit} ({len(mine)})")  # fmt: skip
    axes.set_xlabel("seconds after the libraries were loaded", fontsize=8)
    axes.set_title("newest checkpoint after each kill", fontsize=9)
    axes.legend(fontsize=7, frameon=False)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
