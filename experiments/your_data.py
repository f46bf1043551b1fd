"""From a file to a report, as somebody goes who has data: lines, pictures with labels, sequences, a large text.

The files are made by rule (``tools.made_files``) and imitate what people have: strings with rings and brackets as
SMILES has them, 5 to 60 characters long; pictures of 14 x 14 pixels with labels; a FASTA file of sequences of 20 to 170
residues; 20 MB of text in 13 scripts, with thousands of characters. Of each the commands are run as they would be
typed, in processes of their own. The models are small and the trainings short: what is looked at is whether the way is
short and every figure true, not how good the models are.

Figures are worked out anew (``tools.rows_alone``):

* *Alone.* Held-out rows in the padded canvas, against each row alone without padding, under the same maskings.
* *The printed figure.* Its nats are drawn again by the command's key, and divided by tokens counted in the file.
* *Other orders.* The NELBO from the model's logits alone, in orders that NumPy draws, against the printed one.
* *The profile.* Its mean, of the validation half, against the loss of the test half.
* *The length.* What it costs, from the lengths of the training rows' texts.
* *The report.* It shows pictures as pictures; every sequence on it is a sample or a real row, at its own length.

Claimed before measuring.
"""

import html
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from experiments.tools.made_files import DATA, as_typed
from experiments.tools.rows_alone import own_nelbo, padded_and_alone
from mdm_jax import training
from mdm_jax.evaluation import held_out_nelbo
from mdm_jax.support.errors import InputError
from mdm_jax.support.files import read_json
from mdm_jax.support.ragged import lengths
from mdm_jax.tasks import context_of
from mdm_jax.theory import profiles

CLAIM = Claim(
    "from lines, pictures with labels, proteins and a text of many scripts, four commands lead to a report; rows of "
    "different lengths cost in a padded canvas what each costs alone, to 1e-6 nats per real token; every printed loss "
    "is the nats over the real tokens, and agrees with NumPy's orders and with the profile within 4 standard errors",
    source="ours",
    minutes=8,
)
ROOT = Path(__file__).resolve().parents[1]
PADDING_LIMIT, Z_LIMIT = 1e-6, 4.0
Z = 1.959964
REPEATS = 4
"""Orders of each row that NumPy draws."""


def run(experiment: Experiment) -> Run:
    """All ways, and what is found on each."""
    kinds = ["molecules"] if experiment.quick else list(DATA)
    results = {kind: experiment.part(kind, lambda kind=kind: way(experiment, kind)) for kind in kinds}
    return Run(results, picture(results))


def way(experiment: Experiment, kind: str) -> dict[str, Any]:
    """From the file to the report, and everything checked."""
    data, folder, quick = DATA[kind], experiment.folder / kind, experiment.quick
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    data.write(folder, quick)
    typed, seconds, said = [as_typed(line, quick) for line in data.commands], [], []
    for line in typed:
        begun = time.perf_counter()
        said.append(typed_in(folder, line))
        seconds.append(time.perf_counter() - begun)
    directory = folder / "runs" / kind
    return {
        "commands": typed,
        "seconds": seconds,
        "held_out": read_json(directory / "held_out.json", "what the command profile wrote"),
        **checked(directory, None if data.texts is None else data.texts(folder), 2 if quick else 8),
        "report": reported(directory),
        "scores": {steps: [float(mean), float(error)] for steps, mean, error in SCORED.findall("\n".join(said))},
    }


SCORED = re.compile(r"^linear, (\d+) steps +\d[\d.]* +(\d[\d.]*) ± (\d[\d.]*)", re.MULTILINE)
"""A row of the table of ``evaluate``: steps, the mean score, its standard error."""


def typed_in(folder: Path, line: str) -> str:
    """Run a command as if it were typed in ``folder``; what it printed.

    Raises:
        InputError: it failed.
    """
    words = [sys.executable, "-m", "mdm_jax.app.cli", *shlex.split(line)[1:]]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    found = subprocess.run(
        words, cwd=folder, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    if found.returncode:
        raise InputError(f"{line} ended with status {found.returncode}: {found.stderr.strip()[-500:]}")
    return found.stdout


def checked(directory: Path, texts: list[str] | None, of_lengths: int) -> dict[str, Any]:
    """The figures of a run against what they are when worked out anew."""
    trained = training.load(directory)
    held = read_json(directory / "held_out.json", "what the command profile wrote")
    tokens = np.asarray(trained.task.test[: held["rows"]])
    context = jax.tree.map(lambda leaf: leaf[: len(tokens)], context_of(trained.task, "test"))
    key = jax.random.split(jax.random.key(0))[1]  # that of the command's default seed, for the test half
    nats = held_out_nelbo(trained.denoiser, trained.params, tokens, key=key, context=context)
    shown = [trained.task.show(row) for row in tokens]
    many = tokens.size if texts is None else sum(map(len, shown))
    own = own_nelbo(trained, tokens, REPEATS, seed=0)
    apart = own - nats
    profile = profiles.load(directory / "profile.json")
    error = float(profile.standard_error(np.ones((1, profile.length), np.int64))[0]) / (profile.length * np.log(2))
    found = {
        "tokens": many,
        "printed_apart": abs(held["bits_per_token"] - float(nats.sum()) / (many * np.log(2))),
        "own_bits": float(own.sum()) / (many * np.log(2)),
        "own_z": float(apart.mean() / (apart.std(ddof=1) / np.sqrt(len(apart)))),
        "profile_bits": profile.bits_per_token(),
        "profile_error": error,
        "profile_z": (profile.bits_per_token() - held["bits_per_token"])
        / float(np.hypot(error, held["standard_error"])),
    }
    if texts is None:
        return found
    train = [trained.task.show(row) for row in np.asarray(trained.task.train)]
    return found | {
        "from_the_file": not Counter(shown + train) - Counter(texts),
        "length_apart": abs(length_bits(train, shown, tokens.shape[1]) - held["length_bits_per_row"]),
        "alone": padded_and_alone(trained, tokens, of_lengths, jax.random.key(1)),
        "mean_length": float(lengths(tokens).mean()),
    }


def length_bits(train: list[str], test: list[str], longest: int) -> float:
    """What lengths cost, bits per row: as often as among the training rows, lengths that never occurred as one kind."""
    often, total = Counter(map(len, train)), 0.0
    for text in test:
        total -= np.log2((often[len(text)] + len(often) / longest) / (len(train) + len(often)))
    return total / len(test)


def reported(directory: Path) -> dict[str, Any]:
    """What the report shows: its pictures, and its sequences, each of which must be a sample or a real row."""
    path = directory / "report.html"
    page = path.read_text(encoding="utf-8")
    drawn = read_json(directory / "samples.json", "samples")
    rows = [row for panel in drawn["panels"] for row in panel["rows"]] + (drawn.get("real") or [])
    known = {"".join(row["pieces"]) for row in rows}
    blocks = re.findall(r'<pre class="sample[^>]*>\n(.*?)</pre>', page, re.DOTALL)
    shown = [html.unescape(re.sub(r"<[^>]+>", "", one.replace("<b>⏎</b>", ""))) for one in blocks]
    pictures = re.findall(r'<svg viewBox="0 0 (\d+) (\d+)"[^>]*aria-label="the picture"', page)
    return {
        "bytes": path.stat().st_size,
        "sequences": len(shown),
        "strange": sum(text not in known for text in shown),
        "lengths": sorted({len(text) for text in shown}),
        "pictures": len(pictures),
        "shapes": sorted({f"{height} x {width}" for width, height in pictures}),
    }


def good_report(kind: str, report: Mapping[str, Any]) -> bool:
    """Pictures of their shape, or else sequences that are samples or real rows, of several lengths if rows are."""
    if kind == "pictures":
        return report["shapes"] == ["14 x 14"] and report["sequences"] == 0
    several = DATA[kind].texts is None or len(report["lengths"]) > 1
    return report["sequences"] > 0 and report["strange"] == 0 and several


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """Each part of the claim, over all kinds of data."""
    padded = {kind: one for kind, one in results.items() if "alone" in one}
    worst = max(one["alone"]["worst"] for one in padded.values())
    scores = [abs(one[name]) for one in results.values() for name in ("own_z", "profile_z")]
    parts = {
        "four commands": all(len(one["commands"]) <= 4 for one in results.values()),
        "reports": all(good_report(kind, one["report"]) for kind, one in results.items()),
        "padding": worst <= PADDING_LIMIT,
        "printed": all(
            one["printed_apart"] < 1e-6 and one["tokens"] == one["held_out"]["tokens"] for one in results.values()
        ),
        "rows of the file": all(one["from_the_file"] and one["length_apart"] < 1e-9 for one in padded.values()),
        "agreement": max(scores) <= Z_LIMIT,
    }
    held = [name for name, good in parts.items() if good]
    figures: dict[str, Any] = {"greatest difference by padding, nats per real token": worst}
    for kind, one in results.items():
        bits, error, z = one["held_out"]["bits_per_token"], one["held_out"]["standard_error"], Z
        figures[f"{kind}, held-out bits per real token"] = [bits, bits - z * error, bits + z * error]
        for other in one["held_out"]["baselines"]:
            figures[f"{kind}, bits per real token of the {other['name']}"] = other["bits_per_token"]
        if "length_bits_per_row" in one["held_out"]:
            figures[f"{kind}, bits of the length per row"] = one["held_out"]["length_bits_per_row"]
        figures[f"{kind}, standard errors from NumPy's orders"] = one["own_z"]
        figures[f"{kind}, standard errors from the profile"] = one["profile_z"]
        figures[f"{kind}, seconds of all commands"] = sum(one["seconds"])
        figures[f"{kind}, kB of the report"] = one["report"]["bytes"] / 1000
        for steps, (mean, off) in one["scores"].items():
            figures[f"{kind}, share balanced, {steps} steps"] = [mean, mean - z * off, mean + z * off]
    rows = sum(one["alone"]["rows"] for one in padded.values())
    many = "; ".join(f"{one['held_out']['rows']:,} held-out rows of {kind}" for kind, one in sorted(results.items()))
    return Conclusion(
        "holds" if len(held) == len(parts) else "partly" if held else "does not",
        f"{len(results)} kinds of data, {max(len(one['commands']) for one in results.values())} commands each; padding "
        f"changes the loss of no row by more than {worst:.1e} nats per real token; printed losses and what NumPy and "
        f"the profile find differ by at most {max(scores):.1f} standard errors"
        + ("" if len(held) == len(parts) else f"; not held: {', '.join(name for name in parts if name not in held)}"),
        figures,
        f"{rows:,} rows with and without padding; {many}; one training of each",
    )


def picture(results: Mapping[str, Any]) -> Figure:
    """Held-out bits of each kind beside its baselines."""
    figure = Figure(figsize=(2.4 * len(results), 2.6), layout="constrained")
    for axes, (kind, one) in zip(np.atleast_1d(figure.subplots(1, len(results))), results.items()):
        held = one["held_out"]
        names = ["model", *(other["name"] for other in held["baselines"])]
        values = [held["bits_per_token"], *(other["bits_per_token"] for other in held["baselines"])]
        axes.barh(names[::-1], values[::-1], color=["#8a949e"] * (len(names) - 1) + ["#c2410c"])
        axes.set_title(kind, fontsize=9)
        axes.tick_params(labelsize=7)
        axes.set_xlabel("bits per real token", fontsize=8)
    return figure
