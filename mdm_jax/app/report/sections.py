"""The sections of the report, each from the files of a run to HTML.

A section whose file is not there is one sentence that names the command that makes it.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from mdm_jax.app.report import page
from mdm_jax.app.report.page import code, escape, with_error
from mdm_jax.app.report.run_files import RunFiles
from mdm_jax.plot import charts, report_charts
from mdm_jax.plot.drawing import wide
from mdm_jax.support.errors import InputError
from mdm_jax.tasks import Grid, Numbers
from mdm_jax.tasks.notation import is_number

RISE = 0.01
"""A measured profile rises by a little from noise alone; by more than this fraction of the NELBO it is remarked on."""

_MOST_PIECES = 24_000
"""Positions of samples on the page altogether, which keeps it below two megabytes."""

_LARGEST_PICTURE = 32 * 2**20
"""Bytes; a larger file is no picture of ours."""

_MOST_ROWS = 3
"""Samples shown of one plan."""

_PLAY_SECONDS = 4.0
"""How long the first sample of each plan takes to be written before the reader's eyes."""


def training(files: RunFiles) -> str:
    """The loss curve, and the model beside simpler ones."""
    held_out = files.held_out
    baselines = [(b["name"], b["bits_per_token"]) for b in held_out["baselines"]] if held_out else []
    if files.log:
        caption = "Loss against training step. The band is one standard error over held-out sequences."
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
        curve = _note("The training log is not there any more.")
    else:
        curve = _missing("There is no training log yet.", files, "train")
    if held_out is None:
        sentence = "The model has not been compared with n-gram models yet."
        return f"{curve}\n{_missing(sentence, files, 'profile')}"
    figure = report_charts.baselines(("this model", held_out["bits_per_token"], held_out["standard_error"]), baselines)
    caption = (
        f"Held-out bits per token, {with_error(held_out['bits_per_token'], held_out['standard_error'])} for the "
        "model, beside n-gram models fitted to the same training data. An n-gram reads left to right and is scored "
        f"exactly; the model's figure is an upper bound {_over(held_out['bound'])}."
    )
    bars = page.chart(figure, "baselines", "bits per token of all models", caption)
    return f"{curve}\n<h3>Beside simpler models</h3>\n{bars}"


def _over(bound: str | None) -> str:
    return "over random orders" if bound is None else f"(the {escape(bound)})"


def profile(files: RunFiles) -> str:
    """The information profile, and how a plan's cost follows from it."""
    measured, tuning = files.profile, files.tuning
    if measured is None:
        return _missing("The information profile has not been measured yet.", files, "profile")
    budgets = tuning["budgets"] if tuning and tuning["length"] == measured.length else []
    optimal = {b["steps"]: entry["plan"] for b in budgets for entry in b["plans"] if entry["role"] == "optimal"}
    shown = optimal.get(8, next(iter(optimal.values()), None))
    area = "" if shown is None else (
        " The shaded staircase is the cost of the plan named in the picture: each step is as wide as the tokens "
        "it reveals and as high as their cost when the step began."
    )  # fmt: skip
    error = float(measured.standard_error(np.ones((1, measured.length), dtype=np.int64))[0])
    bound = with_error(measured.bits_per_token(), error * _bits_per_token(measured.length))
    return (
        "<p><strong>g(i)</strong> is the average cost of predicting one hidden token when i random other tokens "
        f"are revealed. With nothing to go by a token costs {measured.values[0]:.2f} nats "
        f"({measured.values[0] / math.log(2):.2f} bits), with all others known {measured.values[-1]:.2f}. The fall "
        "of the curve is what context is worth to this model.</p>"
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


def steps(files: RunFiles) -> str:
    """The cost of every family of schedules against the number of steps."""
    tuning = files.tuning
    if tuning is None:
        return _missing("Schedules have not been compared yet.", files, "tune")
    stale = "" if files.profile is None or files.profile.digest == tuning["profile_digest"] else (
        '<p class="note">The profile has changed since; make these figures anew with '
        f"{code(files.command('tune'))}.</p>"
    )  # fmt: skip
    floor = tuning["nelbo_nats"]
    costs = page.chart(
        charts.nelbo(tuning, axes=wide(3.4)),
        "nelbo",
        "expected NELBO against the number of steps",
        "Expected NELBO in bits per token. Lower is better; K is on a logarithmic axis.",
    )
    excess = page.chart(
        charts.excess(tuning, axes=wide(3.4)),
        "excess",
        "excess cost against steps",
        "The same lines above the least cost that any plan reaches: all at zero, for the profile is flat, and tokens "
        "cost the same together as one by one."
        if charts.costs_nothing(tuning)
        else "The same lines above the least cost that any plan reaches, on logarithmic axes: the price of revealing "
        "tokens together. A line ends where nothing is left to pay.",
    )
    if floor - charts.least_cost(tuning) > RISE * floor:
        excess += (
            '<p class="note">Some plans seem cheaper than one token per step. That means that the measured profile '
            "rises somewhere: the model has not learnt to use much context yet, or the measurement is too noisy.</p>"
        )
    return (
        f"{stale}<p>Each line is a family of schedules, each point its expected NELBO with K steps. "
        "<strong>optimal</strong> is the best plan there is for this model at every K, found exactly by dynamic "
        "programming; <strong>best beta</strong> is the best schedule with two parameters; the others are "
        "schedules that people choose by name. None of them needs the model to be trained again. The dashed line "
        f"is one token per step, {floor * _bits_per_token(tuning['length']):.3f} bits per token.</p>"
        + costs
        + excess
        + landscape(files)
    )


def landscape(files: RunFiles) -> str:
    """The picture of all Beta schedules, if it is there."""
    path = files.directory.landscape
    if not path.exists():
        return ""
    # Its size is known before it is read; a pipe has none, and may never end.
    png = path.read_bytes() if path.is_file() and path.stat().st_size <= _LARGEST_PICTURE else b""
    if not png.startswith(b"\x89PNG"):
        raise InputError(f"{path} is not a PNG picture; make it anew with {files.command('tune')}")
    return "<h3>All Beta schedules</h3>" + page.image(
        png,
        "what every Beta(a, b) schedule costs above the optimal plan",
        "Every Beta(a, b) schedule, budget by budget: its cost above the optimal plan's, the best one starred. Wide "
        "dark valleys mean that the choice hardly matters, narrow ones that it does. Stripes come from rounding.",
    )


def plans(files: RunFiles) -> str:
    """The plans of every budget: costs as a table, then their shapes; nothing before tuning."""
    if files.tuning is None:
        return ""
    budgets = [budget for budget in files.tuning["budgets"] if budget["plans"]]
    scale = _bits_per_token(files.tuning["length"])
    headings = ("plan", "steps", "expected NELBO", "over the optimum", "held-out check", "z", "sequences")
    costs = page.table(headings, [row for budget in budgets for row in _cost_rows(budget, scale)], "figures")
    listed = page.table(("plan", "sizes"), [row for budget in budgets for row in _size_rows(budget)])
    roles = dict.fromkeys(entry["role"] for budget in budgets for entry in budget["plans"])
    legend = page.swatches((report_charts.role_colour(role), role) for role in roles)
    curves, sizes = [], []
    for budget in budgets:
        drawn, number = [(entry["role"], entry["plan"]) for entry in budget["plans"]], budget["steps"]
        title, label = f"{number} steps", f"plans of at most {number} steps"
        curves.append(
            page.chart(report_charts.plan_curves(drawn), f"curves{number}", f"curves: {label}", title, small=True)
        )
        sizes.append(
            page.chart(report_charts.plan_sizes(drawn), f"sizes{number}", f"sizes: {label}", title, small=True)
        )
    return (
        "<p>All costs in bits per token, ± one standard error. <em>Held-out check</em>: held-out sequences were "
        "revealed in the plan's steps with the true tokens written in (teacher forcing) and the model's cost was "
        "added up. <em>z</em> is its difference from the prediction in standard errors. The profile was measured on "
        "the validation half of the held-out sequences, the check was made on the test half. The halves differ, and "
        "all plans share that one difference. So their values of z are alike, and they are not independent checks: "
        "in about 19 of 20 runs all should lie within ±2. What compares plans is the difference between them, which "
        "is surer than the ± suggests. The optimum was chosen on that profile, so its predicted cost is a little "
        f'hopeful; the check is not.</p><div class="wide">{costs}</div>'
        "<h3>As curves</h3><p>How much is revealed after each part of the steps. The thin diagonal reveals evenly.</p>"
        f'{legend}<div class="wide multiples">{"".join(curves)}</div>'
        "<h3>As sizes</h3><p>The tokens revealed at every step. Small bars are careful steps.</p>"
        f'{legend}<div class="wide multiples">{"".join(sizes)}</div>'
        f"<details><summary>The sizes as numbers</summary>{listed}</details>{_other_plans(files)}"
    )


def _other_plans(files: RunFiles) -> str:
    """A remark where plan files are not the plans of this page."""
    if not files.other_plans:
        return ""
    names = ", ".join(map(code, files.other_plans))
    return (
        f'<p class="note">Changed since, and not what this page shows: {names} in the folder {code("plans")}. '
        f"{code(files.command('tune'))} makes them anew.</p>"
    )


def samples(files: RunFiles) -> str:
    """What the model wrote, budget by budget with the plans side by side."""
    drawn = files.samples
    if drawn is None:
        return _missing("There are no samples yet.", files, "report", "--samples")
    panels = drawn["panels"]
    roles = list(dict.fromkeys(panel["role"] for panel in panels))
    blocks = []
    for budget in sorted({panel["budget"] for panel in panels}):
        row = sorted((p for p in panels if p["budget"] == budget), key=lambda panel: roles.index(panel["role"]))
        cells = "".join(_panel(panel, drawn, _MOST_PIECES // len(panels), files) for panel in row)
        blocks.append(f'<h3>{budget} steps</h3>{page.again()}<div class="samples">{cells}</div>')
    picture = isinstance(files.notation, Numbers) and files.notation.shape is not None
    reference = drawn["reference_score"]
    real = "" if reference is None else f" Held-out {files.kind} scores {reference:.2f} on average."
    # Of a grid, nothing scores better than a valid one.
    grid = isinstance(files.notation, Grid)
    repetition = "" if grid else " A score far better than that is a sign of repetition, not of quality."
    return (
        f"<p>{'Drawn' if picture else 'Written'} by the model from blanks, with the plans side by side. "
        f"{'The colours beside a picture tell when each pixel was' if picture else 'Colour tells when each token was'} "
        f"revealed; hover to read the step. The score is {escape(drawn['score_name'])}, "
        f"{'lower' if drawn['lower_is_better'] else 'higher'} is better.{real}{repetition} "
        f"Temperature {drawn['temperature']:g}, seed {drawn['seed']}.</p>"
        f'<div class="wide">{page.step_legend()}{"".join(blocks)}</div>'
    )


def _cost_rows(budget: dict[str, Any], scale: float) -> Iterator[str]:
    """The rows of one budget in the table of costs; ``scale`` makes bits per token of nats."""
    yield f'<tr class="group"><td colspan="7">Budget: {budget["steps"]} steps</td></tr>'
    optimum = next((e["expected_nelbo_nats"] for e in budget["plans"] if e["role"] == "optimal"), None)
    for entry in budget["plans"]:
        role, plan, check, nats = entry["role"], entry["plan"], entry["checked"], entry["expected_nelbo_nats"]
        above = "" if optimum is None else "0" if role == "optimal" else f"{(nats - optimum) * scale:+.4f}"
        checked = ("not checked", "", "") if check is None else (
            with_error(check["nelbo_nats"] * scale, check["standard_error"] * scale),
            f"{check['z']:+.1f}".replace("-", "\N{MINUS SIGN}"),
            f"{check['rows']:,}",
        )  # fmt: skip
        cells = (plan.steps, with_error(nats * scale, entry["standard_error"] * scale), above, *checked)
        dot = f'<i class="dot" style="background:var(--{report_charts.role_colour(role)})"></i>'
        name = "" if plan.name == role else code(plan.name)
        figures = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        yield f"<tr><td>{dot}{escape(role)} {name}</td>{figures}</tr>"


def _size_rows(budget: dict[str, Any]) -> Iterator[str]:
    """The sizes of the plans of one budget, written out."""
    for entry in budget["plans"]:
        sizes = " ".join(map(str, entry["plan"].sizes.tolist()))
        yield f"<tr><td>{budget['steps']} steps, {escape(entry['role'])}</td><td>{code(sizes)}</td></tr>"


def _panel(panel: dict[str, Any], drawn: dict[str, Any], most: int, files: RunFiles) -> str:
    """The samples of one plan, as many as fit into ``most`` positions but at least one."""
    plan = "" if panel["plan"] == panel["role"] else f" <small>{escape(panel['plan'])}</small>"
    parts = [f'<div class="panel"><h4>{escape(panel["role"])}{plan}</h4>']
    if (mean := panel["mean_score"]) is not None:
        error = panel["score_standard_error"]
        shown = f"{mean:.2f}" if error is None else f"{mean:.2f} ± {error:.2f}"
        parts.append(f'<p class="mean">mean score <strong>{shown}</strong> over {panel["scored_rows"]:,} samples</p>')
    reference = drawn["reference_score"]
    beside = "" if reference is None else f" (held-out {files.kind}: {reference:.2f})"
    notation = files.notation
    longest = max((len(row["pieces"]) for row in panel["rows"]), default=1)
    pace = _PLAY_SECONDS / max(panel["budget"], 1)  # plans side by side keep the same time
    for i, row in enumerate(panel["rows"][: min(max(most // max(longest, 1), 1), _MOST_ROWS)]):
        score = "no score" if row["score"] is None else f"{drawn['score_name']}: {row['score']:.2f}{beside}"
        parts.append(one_sample(row, panel["steps"], most, notation, None if i else pace))
        parts.append(f"<p>{escape(score)} · {row['nfe']:,} model calls</p>")
    return "".join(parts) + "</div>"


def one_sample(
    row: dict[str, Any], steps: int, most: int, notation: Numbers | Grid | None, seconds: float | None = None
) -> str:
    """One sample as a picture or a grid, where it is one, or else as text; ``seconds`` per step if it is animated."""
    pieces = row["pieces"]
    if isinstance(notation, Grid):
        whole = len(pieces) == notation.size**2
        return page.sample(pieces, row["reveal_step"], steps, most, seconds, notation.lines() if whole else None)
    shape = notation.shape if notation else None
    if notation and shape and len(pieces) == shape[0] * shape[1] and all(map(is_number, pieces)):
        levels = [min(int(piece), notation.size - 1) for piece in pieces]
        return page.picture(levels, row["reveal_step"], steps, notation.size - 1, shape[1], seconds)
    return page.sample(pieces, row["reveal_step"], steps, most, seconds)


def _missing(sentence: str, files: RunFiles, command: str, *more: str) -> str:
    """What is not there, and what makes it, or else what comes before that."""
    if files.own_model:
        return _note(f"{sentence} No command can make it, since the model is your own: load the run from Python.")
    before = "profile" if files.profile is None else "tune" if files.tuning is None and command != "tune" else None
    if before is None or command in ("train", "profile"):
        begin, line = "Make it with", files.command(command, *more)
    else:
        begin, line = "Begin with", files.command(before)
    return f'<p class="missing">{escape(sentence)} {begin} {code(line)}.</p>'


def _note(sentence: str) -> str:
    return f'<p class="missing">{escape(sentence)}</p>'


def _bits_per_token(length: int) -> float:
    """What one nat for a whole sequence of ``length`` tokens is in bits per token."""
    return 1 / (length * math.log(2))
