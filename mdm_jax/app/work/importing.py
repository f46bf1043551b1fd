"""``mdm-jax import``: a published model as a run directory, for every other command."""

import argparse
import dataclasses
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optax

from mdm_jax import models, tasks
from mdm_jax.app.terminal.output import note, show
from mdm_jax.app.work.import_notes import told_of_few_rows, told_of_pieces
from mdm_jax.evaluation import calibrate
from mdm_jax.evaluation.calibrating import FEWEST_ROWS
from mdm_jax.models import Denoiser
from mdm_jax.models.denoiser import Params
from mdm_jax.models.pretrained import read_vocabulary
from mdm_jax.support.commands import command
from mdm_jax.support.errors import require, verbatim
from mdm_jax.support.keys import key_of
from mdm_jax.support.text import in_words, printable, shortened, table
from mdm_jax.tasks import Task
from mdm_jax.tasks.array_files import spread_windows
from mdm_jax.training import import_pretrained
from mdm_jax.training.reports import spread
from mdm_jax.training.sources import KEY

_GIVEN = ("shift", "mask_id", "end_id", "banned", "prefix", "suffix", "block", "vocabulary")
_SAW_FEW_MASKS = ("ALBERT", "BERT", "ESM", "ModernBERT", "RoBERTa")
"""Families that were trained to fill in some 15% of a row."""
_BITS = 1 / math.log(2)


def run(options: argparse.Namespace) -> None:
    """Import, then print what it is."""
    rows = options.calibrate
    wanted = f"from {FEWEST_ROWS} to {2**31 - 1:,} training rows"
    require(rows is None or FEWEST_ROWS <= rows < 2**31, "--calibrate", rows, wanted)
    task = tasks.from_spec(options.task, options.length)
    given = {name: getattr(options, name) for name in _GIVEN if getattr(options, name) is not None}
    calibrating = None if rows is None else _Calibrating(task, rows)
    imported = import_pretrained(options.folder, options.directory, task, ids=options.ids, adapt=calibrating, **given)
    tokens = None if options.ids is not None else _tokens_of(options)
    for told in (*tasks.notes_of(task), told_of_few_rows(task), told_of_pieces(task, tokens)):
        if told is not None:
            note(told)
    place = imported.place
    source = place.read_config()[KEY]
    size = optax.tree.size(imported.params)
    kinds = sorted({array["type"] for array in source["parameters"].values()})
    result = {
        "directory": str(place.path),
        "family": source["family"],
        "parameters": size,
        "types": kinds,
        "vocab_size": imported.denoiser.vocab_size,
        "length": imported.settings.length,
        "files": source["files"],
        "ignored": source["ignored"],
        "calibration": None if calibrating is None else calibrating.found,
        "calibrated": "calibration" in source,
    }
    averaged = [name for name in source["ignored"] if name.endswith(" (averaged weights)")]
    if averaged:
        note(
            f"The weights as trained were taken, and not their average, which lies beside them as {in_words(averaged)}."
        )
    _warn(result)
    ignored = ""
    if source["ignored"]:
        ignored = f"Not needed, and not taken: {shortened(in_words(source['ignored']), 300)}.\n"
    text = (
        f"{printable(str(place.path))}: {source['family']}, {size:,} parameters in {in_words(kinds)}, "
        f"{result['vocab_size']} tokens, rows of {result['length']}.\n{ignored}"
        f"{'' if rows is None else _described(result['calibration'])}"
        f"Next: {command('profile', place.path)}"
    )
    show(result, text, options.json)


def _tokens_of(options: argparse.Namespace) -> Collection[str] | None:
    """The checkpoint's tokens, from the folder that they are read from."""
    folder = Path(options.folder if options.vocabulary is None else options.vocabulary)
    return read_vocabulary(folder if folder.is_dir() else folder.parent)


@dataclasses.dataclass
class _Calibrating:
    """Gives a model temperatures where a gain is seen, found on the task's training rows: nothing is trained on these.

    Attributes:
        task: whose rows.
        most: how many of them at most, evenly spread over all.
        found: after the call, what was found, whether the model has it or not.
    """

    task: Task
    most: int
    found: dict[str, Any] | None = None

    def __call__(self, denoiser: Denoiser, params: Params) -> tuple[Denoiser, Mapping[str, Any]]:
        wanted = "left out for a model that goes by blocks, which is never shown how much of a row is masked"
        require(models.block_length(denoiser) is None, "--calibrate", self.most, wanted)
        rows = np.asarray(spread_windows(self.task.train, self.task.length, self.most), np.int32)
        wanted = f"left out for a task of less than {FEWEST_ROWS} training rows"
        require(len(rows) >= FEWEST_ROWS, "--calibrate", verbatim(f"{self.most} for a task of {len(rows)}"), wanted)
        given = tasks.given_of(self.task, "train")
        given = None if given is None else given[spread(len(given), self.most)]
        found = calibrate(denoiser, params, rows, key=key_of(0), given=given, progress=True)
        self.found = {"rows": len(rows), **_rounded(found.to_json())}
        if self.found["gain_nats"]["low"] <= 0:
            return denoiser, {}
        warm = models.calibrated(denoiser, found.fractions, self.found["temperatures"])
        return warm, {"calibration": self.found}


def _rounded(value: Any) -> Any:
    """Numbers, and those of lists and dictionaries, to four decimals, with one zero."""
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return {name: _rounded(one) for name, one in value.items()} if isinstance(value, dict) else round(value, 4) + 0.0


def _described(found: Mapping[str, Any]) -> str:
    """The temperatures as a table, and what they save."""
    each = zip(found["fractions"], found["temperatures"], found["before_nats"], found["after_nats"], strict=True)
    lines = [
        [f"{at:.1%}", f"{temperature:.3g}", f"{before * _BITS:.3f} -> {after * _BITS:.3f}"]
        for at, temperature, before, after in each
    ]
    mean, low, high = (found["gain_nats"][end] * _BITS for end in ("mean", "low", "high"))
    known = f"{abs(mean):.3f} ({min(abs(low), abs(high)):.3f} to {max(abs(low), abs(high)):.3f}) bits per token"
    if low > 0:
        told = f"They lower the NELBO by {known}."
    elif high < 0:
        told = f"They raise the NELBO by {known}. The model stays as it was."
    elif all(one == 1 for one in found["temperatures"]):
        told = "No temperature gains anything. The model stays as it was."
    else:
        told = (
            f"No gain is seen: with them the NELBO is {_apart(mean, ' bits per token')} ({_apart(low)} to "
            f"{_apart(high)}). The model stays as it was. More rows (--calibrate ROWS) may tell."
        )
    judged = f"Temperatures were chosen on half of {found['rows']:,} training rows and judged on the others."
    return f"{table(['masked', 'temperature', 'bits per masked token'], lines)}\n{judged}\n{told}\n"


def _apart(gain: float, unit: str = "") -> str:
    """A fall of the NELBO, or a rise."""
    return f"{abs(gain):.3f}{unit} {'lower' if gain > 0 else 'higher'}"


def _warn(result: Mapping[str, Any]) -> None:
    """Say what is to be expected of a model that saw few masks, and of one that knows nothing of a row of masks."""
    found = result["calibration"]
    if result["family"] in _SAW_FEW_MASKS:
        cure = "" if found else " Temperatures (--calibrate) make what is measured of it cost less."
        note(
            f"models of the family {result['family']} saw few masks in training and are no diffusion models: samples "
            f"from nothing may be poor.{cure}"
        )
    uniform = math.log(result["vocab_size"])
    if not found:
        return
    at, temperature, before, after = (
        found[name][-1] for name in ("fractions", "temperatures", "before_nats", "after_nats")
    )
    least, even = (after, f" even at a temperature of {temperature:.3g}") if after < before else (before, "")
    if least > uniform:
        note(
            f"with {at:.0%} of a row masked, the model needs {least * _BITS:.3f} bits per token{even}, more than a "
            f"uniform guess, {uniform * _BITS:.3f}: it knows nothing there. Give a prompt, or reveal the first tokens "
            "one by one."
        )
