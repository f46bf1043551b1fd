"""The sections of the report on what tuning found: what steps and schedules cost, and the plans of every budget.

What is said of an advantage is what sequences judged that had no part in choosing; curves alone say nothing of it.
"""

from collections.abc import Iterator
from typing import Any

from mdm_jax.app.report import page, remarks, told
from mdm_jax.app.report.page import code, escape, with_error
from mdm_jax.app.report.run_files import RunFiles
from mdm_jax.app.report.sections import bits_per_token
from mdm_jax.plot import charts, report_charts
from mdm_jax.support.errors import InputError

ROUNDING = 1e-9
"""A plan that is cheaper than one token per step by less than this fraction of it is not."""
_LARGEST_PICTURE = 32 * 2**20
"""Bytes; a larger file is no picture of ours."""
_FEW = 2
"""Budgets up to which charts of each stand in the column of the text."""


def steps(files: RunFiles) -> str:
    """The cost of every family of schedules against the number of steps."""
    tuning = files.tuning
    if tuning is None:
        return remarks.missing("Schedules have not been compared yet.", files, "tune")
    stale = "" if files.profile is None or files.profile.digest == tuning["profile_digest"] else (
        '<p class="note">The profile has changed since; make these figures anew with '
        f"{code(files.command('tune'))}.</p>"
    )  # fmt: skip
    floor, judged = tuning["nelbo_nats"], bool(tuning["advantages"])
    excess = page.chart(
        report_charts.above_optimal(tuning),
        "excess",
        "what families of schedules cost above the optimal plan, against the number of steps",
        "All at zero, for the profile is flat, and tokens cost the same together as one by one."
        if charts.costs_nothing(tuning)
        else "What each family of schedules costs above the optimal plan of as many steps, by the profile. Both axes "
        "are logarithmic; towards 0 the costs are on a linear scale. Zigzags come from rounding to whole tokens."
        + (" Points are the differences that sequences judged, with intervals of 95%." if judged else ""),
    )
    rise = (
        '<p class="note">Some plans seem cheaper than one token per step. That means that the measured profile '
        "rises somewhere, by more than its noise: the model has not learnt to use much context yet.</p>"
        if floor - charts.least_cost(tuning) > ROUNDING * floor
        else ""
    )
    return (
        f"{stale}<p>What a plan costs for this model, by the profile, smoothed as far as its noise asks for "
        "(its posterior mean). <strong>Optimal</strong> is the best plan there "
        "is at every number of steps, found exactly by dynamic programming. None of them needs the model to be trained "
        f"again. One token per step costs {floor * bits_per_token(tuning['length']):.3f} bits per token.</p>"
        f"{_price_of_steps(tuning)}{rise}<h3>Which schedule?</h3>{_judged(tuning, files)}<p>Each line is a family "
        "of schedules: <strong>best beta</strong> is the best with two parameters, the others are schedules that "
        f"people choose by name.</p>{excess}{landscape(files)}"
    )


def _price_of_steps(tuning: dict[str, Any]) -> str:
    """The optimal plan's cost as the number of steps doubles."""
    scale, numbers = bits_per_token(tuning["length"]), tuning["steps"]
    rows = []
    for i, number in enumerate(numbers):
        if number & (number - 1) and number != numbers[-1]:
            continue
        best = min(nats[i] for nats in tuning["families"].values())
        cells = [f"{number:,}", f"{best * scale:.3f}", f"{(best - tuning['nelbo_nats']) * scale:+.3f}"]
        rows.append(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>")
    headings = ["steps", "optimal, bits per token", "above one by one"]
    return page.table(headings, rows, "what the optimal plan costs, by the number of steps", "figures narrow")


def _judged(tuning: dict[str, Any], files: RunFiles) -> str:
    """What the optimal plan saves over its rivals by those who had no part in choosing, and the certificates."""
    scale, said = bits_per_token(tuning["length"]), told.told_in_short(tuning)
    if not said:
        made = code(files.command("profile"))
        return (
            '<p class="note">Nothing is said of what plans save, for nothing judged it: the profile keeps no shares of '
            f"its sequences, or too few. Measure it anew with {made}.</p>{_certificates(tuning)}"
        )
    rows = []
    for one in tuning["advantages"]:
        nats = [one[name] * scale for name in ("nats", "low", "high")]
        seen = not one["low"] <= 0 <= one["high"]
        saved = one["steps_saved"] if seen else None
        cells = (
            f"{one['steps']:,}",
            one["over"],
            f"{nats[0]:+.4f} ({nats[1]:+.4f} to {nats[2]:+.4f})",
            "no difference seen" if saved is None else f"{saved[0]:.1f} ({saved[1]:.1f} to {saved[2]:.1f})",
        )
        cells = [cell.replace("-", "\N{MINUS SIGN}") if i == 2 else cell for i, cell in enumerate(cells)]
        rows.append(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>")
    headings = ("steps", "over", "the optimal plan saves, bits per token", "steps saved")
    listed = page.table(headings, rows, "what the optimal plan saves, as judged", "figures narrow")
    return f"<p>{' '.join(map(escape, said))}</p>{listed}{_certificates(tuning)}"


def _certificates(tuning: dict[str, Any]) -> str:
    """What the optimal plan of each budget costs at most, as a table; nothing where nothing was certified."""
    scale, rows, level = bits_per_token(tuning["length"]), [], 0.0
    for budget in tuning["budgets"]:
        bounds = budget["certificate"]
        if bounds is not None and budget["steps"] < tuning["length"]:  # of one token per step there is one plan only
            level = bounds["level"]
            cells = (budget["steps"], *(f"{bounds[name] * scale:.3f}" for name in ("regret_nats", "excess_nats")))
            rows.append(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>")
    if not rows:
        return ""
    headings = ("steps", "above the best plan of as many", "above one token per step")
    about = "certificates of the optimal plans"
    return (
        f"<p>A <strong>certificate</strong> says what the optimal plan costs at most, with probability {level:.4g} "
        "each: how much more than the plan that is truly best, and than one token per step, in bits per token.</p>"
        f"{page.table(headings, rows, about, 'figures narrow')}"
    )


def landscape(files: RunFiles) -> str:
    """The picture of all Beta schedules, if it is there: one that knows the light and the dark, or else the PNG."""
    path = files.directory.landscape
    themed = path.with_suffix(".svg")
    path = themed if themed.exists() else path
    if not path.exists():
        return ""
    # Its size is known before it is read; a pipe has none, and may never end.
    data = path.read_bytes() if path.is_file() and path.stat().st_size <= _LARGEST_PICTURE else b""
    begins, kind, name = (b"<svg", "svg+xml", "an SVG") if path == themed else (b"\x89PNG", "png", "a PNG")
    if not data.startswith(begins):
        raise InputError(f"{path} is not {name} picture; make it anew with {files.command('tune')}")
    budgets = len(files.tuning["budgets"]) if files.tuning else 4
    return "<h3>All Beta schedules</h3>" + page.image(
        data,
        kind,
        "what every Beta(a, b) schedule costs above the optimal plan, budget by budget",
        "Every Beta(a, b) schedule, budget by budget: its cost above the optimal plan's, the best one starred. A wide "
        "valley around the star means that the choice hardly matters, a narrow one that it does. Stripes come from "
        "rounding.",
        *((26.0, 22.0) if budgets == 1 else (43.0, 36.0)),
    )


def plans(files: RunFiles) -> str:
    """The plans of every budget: costs as a table, then their shapes; nothing before tuning."""
    if files.tuning is None:
        return ""
    budgets = [budget for budget in files.tuning["budgets"] if budget["plans"]]
    scale = bits_per_token(files.tuning["length"])
    headings = ("plan", "steps", "expected NELBO", "over the optimum", "test half", "z apart", "sequences")
    about = "expected and checked costs of all plans"
    costs = page.table(headings, [row for budget in budgets for row in _cost_rows(budget, scale)], about, "figures")
    listed = page.table(("plan", "sizes"), [row for budget in budgets for row in _size_rows(budget)], "sizes of plans")
    legend = page.swatches(_colours(budgets))
    curves, sizes = [], []
    for budget in budgets:
        drawn, number = [(entry["role"], entry["plan"]) for entry in budget["plans"]], budget["steps"]
        names = ", ".join(remarks.named(entry["role"], entry["plan"].name) for entry in budget["plans"])
        title, label = f"{number} step{'' if number == 1 else 's'}", f"plans of at most {number} steps: {names}"
        curves.append(
            page.chart(report_charts.plan_curves(drawn), f"curves{number}", f"curves: {label}", title, small=True)
        )
        sizes.append(
            page.chart(report_charts.plan_sizes(drawn), f"sizes{number}", f"sizes: {label}", title, small=True)
        )
    across = "wide multiples" if len(budgets) > _FEW else "multiples"
    return (
        "<p>All costs in bits per token, ± one standard error. The <em>expected NELBO</em> follows from the profile, "
        "which was measured on the validation half of the held-out sequences. <em>Test half</em>: sequences of the "
        "test half were revealed in the plan's steps with the true tokens written in (teacher forcing) and the "
        f"model's cost was added up. {_offset(files.tuning)}</p>"
        f'<div class="wide">{costs}</div>'
        "<h3>As curves</h3><p>How much is revealed after each part of the steps. The thin diagonal reveals evenly.</p>"
        f'{legend}<div class="{across}">{"".join(curves)}</div>'
        "<h3>As sizes</h3><p>The tokens revealed at every step. Small bars are careful steps.</p>"
        f'{legend}<div class="{across}">{"".join(sizes)}</div>'
        f"<details><summary>The sizes as numbers</summary>{listed}</details>{_other_plans(files)}"
    )


def _offset(tuning: dict[str, Any]) -> str:
    """The one difference that all plans share, and what z is of."""
    offset = told.told_of_offset(tuning)
    if offset is None:
        return "That was not done for this page."
    return (
        f"{escape(offset)} The halves differ, and that is one fact, not one for each plan. <em>z</em> is of what is "
        "left of a plan's own difference once that is taken off, in standard errors: in about 19 of 20 cases it lies "
        "within ±2 where the profile tells plans apart rightly."
    )


def _colours(budgets: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The legend of plans: the colour of each role, and what plans of it are called."""
    names: dict[str, dict[str, None]] = {}
    for role, plan in ((entry["role"], entry["plan"].name) for budget in budgets for entry in budget["plans"]):
        names.setdefault(role, {})[remarks.named(role, plan)] = None
    told = {"best beta": "the best Beta schedule"}
    return [(report_charts.role_colour(role), told.get(role, " or ".join(each))) for role, each in names.items()]


def _other_plans(files: RunFiles) -> str:
    """A remark where plan files are not the plans of this page."""
    if not files.other_plans:
        return ""
    names = ", ".join(map(code, files.other_plans))
    return (
        f'<p class="note">Changed since, and not what this page shows: {names} in the folder {code("plans")}. '
        f"{code(files.command('tune'))} makes them anew.</p>"
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
        meaning = f" <small>{escape(remarks.MEANINGS[role])}</small>" if role in remarks.MEANINGS else ""
        figures = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        name = escape(remarks.named(role, plan.name))
        yield f'<tr><th scope="row">{dot}<span>{name}{meaning}</span></th>{figures}</tr>'


def _size_rows(budget: dict[str, Any]) -> Iterator[str]:
    """The sizes of the plans of one budget, written out."""
    for entry in budget["plans"]:
        sizes = " ".join(map(str, entry["plan"].sizes.tolist()))
        name = escape(remarks.named(entry["role"], entry["plan"].name))
        yield f"<tr><td>{budget['steps']} steps, {name}</td><td>{code(sizes)}</td></tr>"
