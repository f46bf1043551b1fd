"""Writing the record of a run: what was claimed, what came out, and of which code on what."""

import datetime
import importlib.metadata
import io
import os
import platform
import subprocess
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from matplotlib.figure import Figure

from experiments.tools import pictures
from experiments.tools.catalogue import Places, config
from experiments.tools.experiment import Claim, Conclusion, Experiment, plain
from experiments.tools.records import FORMAT, LARGEST
from experiments.tools.took import Took
from mdm_jax.support.errors import InputError
from mdm_jax.support.files import to_json, write_bytes, write_json
from mdm_jax.support.version import VERSION


def record(
    module: types.ModuleType,
    claim: Claim,
    experiment: Experiment,
    results: Mapping[str, Any],
    conclusion: Conclusion,
    took: Took,
    places: Places,
) -> dict[str, Any]:
    """What is written of a run."""
    made = {
        "format": FORMAT,
        "experiment": experiment.name,
        "claim": claim.text,
        "source": claim.source,
        **concluded(conclusion),
        "config": plain(config(module)),
        "seeds": list(claim.seeds),
        "versions": versions(),
        "machine": machine(),
        "wall_seconds": round(took.wall, 1),
        "processor_seconds": None if took.processor is None else round(took.processor, 1),
        "date": datetime.date.today().isoformat(),
        "commit": commit(places.root),
        "command": f"python -m experiments {experiment.name}",
        "picture": f"pictures/{experiment.name}.png",
        "fingerprint": experiment.fingerprint,
    }
    return made | small(results, LARGEST - size(made))


def concluded(conclusion: Conclusion) -> dict[str, Any]:
    """What of a record follows from the results."""
    return conclusion._asdict() | {"figures": checked(conclusion.figures)}


def small(results: Mapping[str, Any], room: int) -> dict[str, Any]:
    """The smallest entries that there is room for, and the names of those left out, which only the run's folder has."""
    kept: dict[str, Any] = {}
    for name in sorted(results, key=lambda name: size(results[name])):
        if size({"results": {**kept, name: results[name]}, "left_out": list(results)}) < room:
            kept[name] = results[name]
    return {"results": kept, "left_out": [name for name in results if name not in kept]}


def size(value: Any) -> int:
    """Bytes as JSON."""
    return len(to_json(value).encode())


def checked(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Figures that are finite numbers, or a number within its interval.

    Raises:
        InputError: one that is neither.
    """
    made = plain(figures)
    for name, figure in made.items():
        parts: list[Any] = figure if isinstance(figure, list) and len(figure) == 3 else [figure]
        good = all(type(one) in (int, float) for one in parts)  # plain numbers are finite
        if not good or (len(parts) == 3 and not parts[1] <= parts[0] <= parts[2]):
            raise InputError(f"the figure {name!r} must be a number or [value, low, high]; got {figure}.")
    return made


def write(places: Places, made: Mapping[str, Any], picture: Figure, folder: Path, quick: bool) -> None:
    """Write a run: all of it into ``folder``, and what is committed unless it was a quick one."""
    write_bytes(folder / "picture.png", png(picture))
    if not quick:
        write_bytes(places.pictures / f"{made['experiment']}.png", png(picture))
        write_json(places.results / f"{made['experiment']}.json", made)


def png(picture: Figure) -> bytes:
    """A small PNG."""
    drawn = io.BytesIO()
    picture.savefig(drawn, format="png", bbox_inches="tight", dpi=120, facecolor="white")
    return pictures.small(drawn.getvalue())


def versions() -> dict[str, str]:
    """Of what computes."""
    others = {name: importlib.metadata.version(name) for name in ("jax", "flax", "optax", "numpy")}
    return {"mdm_jax": VERSION, **others, "python": platform.python_version()}


def machine() -> dict[str, Any]:
    """What it ran on."""
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "processors": os.cpu_count(),
        "devices": [device.device_kind for device in jax.devices()],
    }


def commit(root: Path) -> str:
    """Which code ran: ``"1fe9cc2"``, ``"1fe9cc2+changes"`` if files differed from it, ``"unknown"`` outside of git."""
    code = ("mdm_jax", "experiments", ":!experiments/results", ":!experiments/pictures", ":!experiments/README.md")

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    head = git("rev-parse", "--short=7", "HEAD")
    return "unknown" if head is None else head + ("+changes" if git("status", "--porcelain", "--", *code) else "")
