"""The sections of the report on training and on the profile, each from the files of a run to HTML.

A section whose file is not there is one sentence that names the command that makes it.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mdm_jax.app.report import imported, page, remarks
from mdm_jax.app.report.page import escape, with_error
from mdm_jax.app.report.run_files import RunFiles
from mdm_jax.plot import charts, report_charts
from mdm_jax.plot.drawing import wide
from mdm_jax.theory.profiles import Profile


def training(files: RunFiles) -> str:
    """The loss curve, or where a published model is from; and the model beside simpler ones."""
    held_out = files.held_out
    baselines = [(b["name"], b["bits_per_token"]) for b in held_out["baselines"]] if held_out else []
    if files.source is not None:
        curve = imported.where_from(files.source)
    elif files.log:
        caption = (
            "Loss against training step. Held-out data are the validation half of what training never saw; the band is "
            "one standard error over its sequences."
        )
        if baselines and files.figure_is_bound:
            caption += " Dotted: simpler models, on the test half."
        if files.figure != "NELBO":
            caption += f" The loss is the {escape(files.figure)}."
        if not files.figure_is_bound:
            caption += " It may lie below what the sequences really cost, so no other model stands beside it."
        curve = (
            "<p>After every report interval the averaged parameters are scored on the same held-out sequences "
            "with the same masks. As long as the held-out curve falls, more steps help; where it turns up while "
            "the training curve still falls, the model is memorising.</p>\n"
            + page.chart(
                report_charts.loss_curve(files.log, baselines if files.figure_is_bound else ()),
                "loss",
                "loss against training step",
                caption,
            )
        )
    elif files.directory.checkpoints.exists():
        curve = remarks.note("The training log is not there any more.")
    else:
        curve = remarks.missing("There is no training log yet.", files, "train")
    if held_out is None:
        sentence = "The model has not been compared with n-gram models yet."
        return f"{curve}\n{remarks.missing(sentence, files, 'profile')}"
    fitted = "the same training data" if files.source is None else "the training part of these data"
    figure = report_charts.baselines(("this model", held_out["bits_per_token"], held_out["standard_error"]), baselines)
    caption = (
        f"Bits per token on the test half, {with_error(held_out['bits_per_token'], held_out['standard_error'])} for "
        f"the model, beside n-gram models fitted to {fitted}. An n-gram reads left to right and is scored exactly; "
        f"the model's figure is an upper bound {_over(held_out['bound'])}."
        f"{told_labels(held_out)}{_length_cost(held_out)}{_byte_bits(held_out)}"
    )
    bars = page.chart(figure, "baselines", "bits per token of all models", caption)
    return f"{curve}\n<h3>Beside simpler models</h3>\n{bars}"


def _over(bound: str | None) -> str:
    return "over random orders" if bound is None else f"(the {escape(bound)})"


def told_labels(held_out: Mapping[str, Any]) -> str:
    """What is said of sequences whose labels only the model is told."""
    return " The model is told the label of each sequence, and the others are not." * bool(held_out["given_labels"])


def _byte_bits(held_out: Mapping[str, Any]) -> str:
    """What is said of text in subwords."""
    bits, error = held_out["bits_per_byte"], held_out["bits_per_byte_standard_error"]
    if bits is None:
        return ""
    return f" Per byte of text, by which vocabularies compare, it has {with_error(bits, error or 0.0)} bits."


def _length_cost(held_out: dict[str, Any]) -> str:
    """What is said of sequences of different lengths."""
    bits, error = held_out["length_bits_per_row"], held_out["length_standard_error"]
    if bits is None:
        return ""
    return (
        " All figures are given the length of each sequence and count real tokens alone. The length itself costs "
        f"{with_error(bits, error or 0.0)} bits per sequence more, the same with every model."
    )


def profile(files: RunFiles) -> str:
    """The information profile, and how a plan's cost follows from it."""
    measured, tuning = files.profile, files.tuning
    if measured is None:
        return remarks.missing("The information profile has not been measured yet.", files, "profile")
    budgets = tuning["budgets"] if tuning and tuning["length"] == measured.length else []
    optimal = {b["steps"]: entry["plan"] for b in budgets for entry in b["plans"] if entry["role"] == "optimal"}
    shown = optimal.get(8, next(iter(optimal.values()), None))
    area = "" if shown is None else (
        " The shaded staircase is the cost of the plan named in the picture: each step is as wide as the tokens "
        "it reveals and as high as their cost when the step began."
    )  # fmt: skip
    error = float(measured.standard_error(np.ones((1, measured.length), dtype=np.int64))[0])
    bound = with_error(measured.bits_per_token(), error * bits_per_token(measured.length))
    return (
        "<p><strong>g(i)</strong> is the average cost of predicting one hidden token when i random other tokens "
        f"are revealed, measured on {_rows_of(measured)}. With nothing to go by a token costs "
        f"{measured.values[0]:.2f} nats ({measured.values[0] / math.log(2):.2f} bits), with all others known "
        f"{measured.values[-1]:.2f}. The fall of the curve is what context is worth to this model."
        f"{_fractions(files)}</p>"
        + page.chart(
            charts.profile(measured, shown, axes=wide(3.0)),
            "profile",
            "information profile",
            f"The profile, in nats.{area}",
        )
        + "<p>From this one curve every schedule's cost follows. A plan that reveals n<sub>k</sub> tokens at "
        "step k, after N<sub>k&minus;1</sub> are known, has</p>"
        '<p class="formula">expected NELBO = ∑<sub>k</sub> n<sub>k</sub> g(N<sub>k&minus;1</sub>)</p>'
        "<p>for a random order of positions. No sampling and no further model call is needed to compare "
        "schedules. With one token per step the sum is the area below the curve: the bound that no plan in "
        f"random order beats as long as the curve falls, here <strong>{bound}</strong> bits per token.</p>"
    )


def _rows_of(measured: Profile) -> str:
    """Which sequences a profile was measured on."""
    part = measured.provenance.get("rows_of")
    return f"the {escape(part)} half of the held-out sequences" if isinstance(part, str) else "held-out sequences"


def _fractions(files: RunFiles) -> str:
    """What a profile means where sequences differ in length."""
    if files.lengths is None:
        return ""
    length = files.config["task"]["length"]
    return (
        f" Sequences differ in length here, and i counts {length:,}ths of a sequence: at i = {length // 2:,} half of "
        "each is revealed. A plan is scaled to the tokens that a sequence has."
    )


def bits_per_token(length: int) -> float:
    """What one nat for a whole sequence of ``length`` tokens is in bits per token."""
    return 1 / (length * math.log(2))
