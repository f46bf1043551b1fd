"""The section of the report on latents: what samples share that share one, and whether training lost them."""

import math
from typing import Any

from mdm_jax.app.report import page
from mdm_jax.app.report.gallery import one_sample
from mdm_jax.app.report.page import code, escape, with_error
from mdm_jax.app.report.run_files import RunFiles
from mdm_jax.app.report.shapes import MONITORS
from mdm_jax.plot import report_charts
from mdm_jax.tasks import Grid, Numbers
from mdm_jax.training.objectives.collapse import has_collapsed

_MOST_PIECES = 600
"""Positions shown of one sample."""
_SHORT = 20
"""Samples of no more positions stand in the column of the text."""
_ABOUT = {
    "held_out_kl_nats": ("KL, nats per sequence", "what the recognition network tells by the latents of a sequence"),
    "held_out_active_units": ("active units", "numbers of a latent that differ between sequences"),
    "held_out_pair_information_nats": ("pair information, nats", "mutual information of two tokens of one step"),
}


def knows(files: RunFiles) -> str:
    """What a latent knows; nothing for a run without latents."""
    if not files.has_latents:
        return ""
    return _about(files) + _shared(files) + _monitors(files)


def cost_note(files: RunFiles) -> str:
    """What is to be added to the costs of plans, or what they are of; nothing for a run without latents."""
    if files.profile is None or not files.has_latents:
        return ""
    about = files.profile.provenance
    if about.get("latent") not in ("fixed", "marginal"):
        return ""
    if about["latent"] == "marginal":
        return '<p class="note">The costs on this page are those of predictions averaged over latents.</p>'
    kl, error = about.get("kl_nats"), about.get("kl_standard_error")
    if not (isinstance(kl, int | float) and isinstance(error, int | float)):
        return ""
    bits = kl / (files.profile.length * math.log(2))
    return (
        '<p class="note">The costs of plans are those given a latent of each sequence. The latents themselves cost '
        f"their KL, {with_error(kl, error)} nats per sequence or {bits:.3f} bits per token, the same with every plan. "
        "The sums are bounds for sampling with one latent.</p>"
    )


def _about(files: RunFiles) -> str:
    model = files.config["model"]
    block, size = model.get("block"), model.get("latent_size")
    which = "one list for each sequence" if block is None else f"one list for every {block} positions"
    return (
        f"<p>A <strong>latent</strong> is a list of {size} random numbers, {which}, drawn before the first step. "
        "Without one the tokens of a step are independent of each other. With one they are so only given the latent: "
        "what they have in common, it decides. The model was trained on the "
        f"<strong>{escape(files.figure)}</strong>.</p>"
    )


def _shared(files: RunFiles) -> str:
    """Samples of one latent in a line, of one row's random numbers in a column."""
    drawn = files.samples["latents"] if files.samples else None
    if drawn is None:
        line = code(files.command("report", "--samples"))
        return f'<p class="missing">No samples show it yet. Make some with {line}, after {code("tune")}.</p>'
    groups = drawn["groups"]
    columns = ("", *(f"numbers {i + 1}" for i in range(max(map(len, groups), default=0))))
    lines = [
        f'<tr><th scope="row">latent {i + 1}</th>{"".join(_cell(row, group, drawn, files) for row in group)}</tr>'
        for i, group in enumerate(groups)
    ]
    longest = max((len(row["pieces"]) for group in groups for row in group), default=0)
    shown = page.table(columns, lines, "samples that share a latent", "latents")
    count = f"{drawn['latents']} latents with {drawn['rows_each']} samples each"
    marked = "" if _is_picture(files) else " Marked is what all samples of a line have in common."
    return (
        "<h3>Samples that share a latent</h3><p>Each line has one latent, each column one set of random numbers for "
        f"the order of positions and the tokens.{marked} Two samples with different random numbers agree in "
        f"<strong>{drawn['equal_under_one']:.0%}</strong> of their positions under one latent, in "
        f"<strong>{drawn['equal_under_two']:.0%}</strong> under two ({count}, plan {escape(drawn['plan'])} in "
        f"{drawn['steps']} steps).</p>" + (f'<div class="wide">{shown}</div>' if longest > _SHORT else shown)
    )


def _cell(row: dict[str, Any], group: list[dict[str, Any]], drawn: dict[str, Any], files: RunFiles) -> str:
    """One sample. A picture is shown as one; of all others what the line has in common is marked."""
    if _is_picture(files):
        return f"<td>{one_sample(row, drawn['steps'], _MOST_PIECES, files.notation)}</td>"
    pieces, notation = row["pieces"], files.notation
    same = [len({one["pieces"][i] for one in group if i < len(one["pieces"])}) == 1 for i in range(len(pieces))]
    between = notation.lines() if isinstance(notation, Grid) and len(pieces) == notation.size**2 else None
    kind = "grid" if isinstance(notation, Grid) else "text"
    return f'<td class="{kind}">{page.marked(pieces, same, _MOST_PIECES, between)}</td>'


def _is_picture(files: RunFiles) -> bool:
    return isinstance(files.notation, Numbers) and files.notation.shape is not None


def _monitors(files: RunFiles) -> str:
    """Whether latents collapsed in training: three figures of the log, and what the last says."""
    shown = [name for name in MONITORS if files.log and all(line[name] is not None for line in files.log)]
    if not shown:
        return ""
    charts = "".join(
        page.chart(report_charts.monitor(files.log, name), name, f"{_ABOUT[name][1]}, by step", _ABOUT[name][0], True)
        for name in shown
    )
    meaning = "; ".join(f"<em>{_ABOUT[name][0].partition(',')[0]}</em>: {_ABOUT[name][1]}" for name in shown)
    kl, active = (files.log[-1][name] for name in MONITORS[:2])
    collapsed = (
        f'<p class="note">The latents have collapsed: their KL is {kl:.3f} nats per sequence, with {active:.0f} active '
        "units. The model makes next to no use of them.</p>"
        if has_collapsed(kl, active)
        else ""
    )
    return (
        "<h3>Does the model use its latents?</h3><p>Figures of held-out sequences, by training step. Each is near 0 "
        f"where the model has learnt to do without its latents. {meaning}.</p>{collapsed}"
        f'<div class="wide multiples">{charts}</div>'
    )
