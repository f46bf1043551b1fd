"""The part of the report on plans for orders that look at the model, as ``mdm-jax tune RUN --order`` measured them."""

from collections.abc import Mapping
from typing import Any

from mdm_jax.app.report import page
from mdm_jax.app.report.carded import BITS
from mdm_jax.app.report.page import code, escape
from mdm_jax.app.report.run_files import OrderPlan, RunFiles
from mdm_jax.evaluation.order_tuning import EQUAL, OPTIMAL


def plans(files: RunFiles) -> str:
    """A row for each order and number of steps; nothing where none was measured."""
    if not files.order_plans:
        return ""
    rows = [_row(one) for one in files.order_plans]
    headings = ("order", "steps", "plan", "sequences", "test half, bits per token", f"less {EQUAL}", f"less {OPTIMAL}")
    return (
        "<h3>In an order that looks</h3><p>The profile is of random order. These plans were measured in the order "
        "itself, the surest positions first: sequences of the validation half chose each from about 8 that the profile "
        f"names, and the test half judged it.</p>{_taken(files)}"
        f'<div class="wide">{page.table(headings, rows, "plans for orders that look", "figures")}</div>'
        "<p>Costs are the model's own of held-out sequences in that order, with intervals of 95%. Differences are "
        "paired, each interval by itself; below 0 the plan costs less, and none is seen where the interval holds 0.</p>"
    )


def _taken(files: RunFiles) -> str:
    """The command that takes the first of them, and those that nothing takes since the profile is another."""
    digest = None if files.profile is None else files.profile.digest
    old, fresh = (
        [one for one in files.order_plans if (one.plan.origin.get("profile_digest") == digest) is same]
        for same in (False, True)
    )
    said = []
    if fresh:
        words = "sample", "--order", fresh[0].order, "--steps", str(fresh[0].budget)
        said.append(f"<p>{code(files.command(*words))} takes the first{' of the others' if old else ''}.</p>")
    if old:
        names = ", ".join(code(f"{one.order}-{one.budget}.json") for one in old)
        made = " and ".join(
            code(files.command("tune", "--order", order)) for order in dict.fromkeys(one.order for one in old)
        )
        said.append(
            f'<p class="note">The profile has changed since, and nothing takes these any more: {names}. {made} makes '
            "them anew.</p>"
        )
    return "".join(said)


def _row(one: OrderPlan) -> str:
    judged = one.judged
    rivals = {rival["rival"]: rival for rival in judged["above"]}
    cells = (
        one.order,
        f"{one.budget:,}",
        one.plan.name,
        f"{judged['rows']:,}",
        _interval(judged["test"], ""),
        *(_difference(rivals.get(name)) for name in (EQUAL, OPTIMAL)),
    )
    return f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def _difference(rival: Mapping[str, Any] | None) -> str:
    if rival is None:
        return ""
    if rival["same_plan"]:
        return "the same plan"
    return f"{'none seen: ' if rival['low'] <= 0 <= rival['high'] else ''}{_interval(rival, '+')}"


def _interval(found: Mapping[str, Any], sign: str) -> str:
    mean, low, high = (f"{found[end] * BITS:{sign}.4f}" for end in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})".replace("-", "\N{MINUS SIGN}")
