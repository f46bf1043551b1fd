"""``mdm-jax tune``: the best schedules for several step budgets, from the profile alone."""

import argparse
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from mdm_jax.app.output import show, table
from mdm_jax.evaluation import check, path_nelbo, tune
from mdm_jax.support.errors import InputError, require, require_seed
from mdm_jax.support.files import write_json
from mdm_jax.training import Run, load

BUDGETS: Sequence[int] = (4, 8, 16, 32)
"""Unless others are asked for."""


def run(options: argparse.Namespace) -> None:
    """Tune, check, print a table."""
    require_seed("--seed", options.seed)
    check_rows = options.check_rows
    require(check_rows == 0 or check_rows >= 2, "--check-rows", check_rows, "0 (no check), or 2 or more")
    trained = load(options.directory)
    length = trained.settings.length
    budgets = fitting(BUDGETS, length) if options.budgets is None else parse_budgets(options.budgets, length)
    result = make_plans(trained, budgets, check_rows, options.seed)
    show(result, f"{describe(result)}\nPlans are in {trained.place.plans}.", options.json)


def fitting(budgets: Sequence[int], length: int) -> list[int]:
    """Those of ``budgets`` that are no longer than ``length``, or else ``length`` itself."""
    return [budget for budget in budgets if budget <= length] or [length]


def parse_budgets(text: str, length: int) -> list[int]:
    """``"4,8,16"`` as sorted numbers from 1 to ``length``."""
    try:
        budgets = sorted({int(word) for word in text.split(",")})
    except ValueError:
        raise InputError(f"--budgets must be whole numbers separated by commas, as in 4,8,16; got {text!r}.") from None
    require(budgets[0] >= 1 and budgets[-1] <= length, "--budgets", text, f"numbers of steps from 1 to {length}")
    return budgets


def make_plans(trained: Run, budgets: list[int], check_rows: int, seed: int) -> dict[str, Any]:
    """Write ``tuning.json`` and one plan file per budget and role; returns the former.

    The check compares each plan's predicted cost with the teacher-forced ``-log q`` of ``check_rows`` sequences of
    the test half, which the profile has not seen.
    """
    place, profile = trained.place, trained.profile
    rows = trained.task.test[:check_rows]
    enough = check_rows == 0 or len(rows) >= 2
    require(
        enough, "--check-rows", check_rows, f"0 (no check): the data has {len(rows)} held-out sequences to check on"
    )
    result, chosen = tune(profile, budgets, progress=True)
    if check_rows:
        plans = [plan for budget in budgets for plan in chosen[budget].values()]
        entries = [entry for budget in result["budgets"] for entry in budget["plans"]]
        costs = path_nelbo(trained.denoiser, trained.params, rows, plans, key=jax.random.key(seed), progress=True)
        for entry, cost in zip(entries, costs):
            check(entry, cost)
    for budget, plans_of_budget in chosen.items():
        for role, plan in plans_of_budget.items():
            plan.save(place.plan(role, budget))
    write_json(place.tuning, result)
    return result


def describe(result: dict[str, Any]) -> str:
    """One line per budget and plan."""
    bits = 1 / (np.log(2) * result["length"])
    rows = []
    for budget in result["budgets"]:
        least = min(entry["expected_nelbo_nats"] for entry in budget["plans"])
        for entry in budget["plans"]:
            checked = entry["checked"]
            rows.append(
                [
                    f"{budget['steps']} steps, {entry['role']}",
                    entry["plan"]["name"],
                    f"{entry['expected_nelbo_nats'] * bits:.4f} ± {entry['standard_error'] * bits:.4f}",
                    f"{(entry['expected_nelbo_nats'] - least) * bits:+.4f}",
                    ""
                    if checked is None
                    else f"{checked['nelbo_nats'] * bits:.4f} ± {checked['standard_error'] * bits:.4f}",
                    "" if checked is None else f"{checked['z']:+.2f}",
                ]
            )
    heading = ["budget", "plan", "expected NELBO (bits/token)", "above optimum", "held-out -log q (bits/token)", "z"]
    floor = result["nelbo_nats"] * bits
    return f"{table(heading, rows)}\nOne token per step: {floor:.4f} bits per token."
