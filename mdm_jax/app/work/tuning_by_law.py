"""``mdm-jax tune oracle:... --by-law ...``: tuning by the exact output law of the sampler, in worlds small enough."""

import argparse
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from mdm_jax.app.options.budgets import budgets_of
from mdm_jax.app.options.results import check_grid, oracle_folder, oracle_of
from mdm_jax.app.terminal.output import show
from mdm_jax.evaluation import exact
from mdm_jax.plot import cost_landscapes, drawing
from mdm_jax.support.errors import InputError, require, require_seed
from mdm_jax.support.files import write_json
from mdm_jax.support.keys import key_of
from mdm_jax.support.text import table
from mdm_jax.theory.plans import grids
from mdm_jax.theory.plans.grids import Grid
from mdm_jax.theory.schedules import text as schedule_text

FORMAT = "mdm_jax tuning by law 1"
BUDGETS = (2, 3, 4)
"""Unless others are asked for."""
MOST_STEPS = 64
DIVERGENCES: Mapping[str, str] = {
    "total_variation": "total variation",
    "kl": "KL",
    "jensen_shannon": "Jensen-Shannon",
}
"""As the command line and file names have them, and as :func:`mdm_jax.evaluation.search_beta_by_law` does."""


def run(options: argparse.Namespace) -> None:
    """Score, refine, draw and print; everything is ancestral sampling by the exact denoiser."""
    require_seed("--seed", options.seed)
    check_grid(options.grid)
    oracle = oracle_of(options.source)
    if oracle is None:
        raise InputError(f"--by-law needs a law that is known, as in oracle:toy_left; got {options.source!r}.")
    require(options.check_rows is None, "--check-rows", options.check_rows, "left out: a law needs no check")
    budgets = budgets_of(options.budgets, MOST_STEPS, BUDGETS)
    place = oracle_folder(options.source, options.output)
    divergence = DIVERGENCES[options.by_law]
    logits = exact.conditionals(oracle.denoiser, oracle.params, oracle.length)
    sequences = np.array(list(itertools.product(range(oracle.vocab_size), repeat=oracle.length)))
    target = np.exp(oracle.log_prob(sequences))
    named = {name: schedule_text.parse(name) for name in schedule_text.HAND_CRAFTED}
    entries, panels, found_grids = [], [], dict[str, Grid]()
    for steps in budgets:
        found = exact.search_beta_by_law(logits, target, steps, divergence, options.grid, progress=True)
        free = exact.optimal_grid_by_law(logits, target, steps, divergence, key=key_of(options.seed), progress=True)
        hand_crafted = {
            name: exact.law_divergence(logits, target, grids.from_schedule(schedule, steps).fractions, divergence)
            for name, schedule in named.items()
        }
        found_grids |= {f"best-beta-{steps}": found.grid, f"optimal-{steps}": free.grid}
        best = {"a": found.a, "b": found.b, "value": found.value, "fractions": found.grid.fractions.tolist()}
        optimal = {"value": free.value, "fractions": free.grid.fractions.tolist(), "starts": free.values.tolist()}
        entries.append(
            {
                "steps": steps,
                "values_per_axis": len(found.values),
                "hand_crafted": hand_crafted,
                "best_beta": best,
                "optimal": optimal,
            }
        )
        panels.append(cost_landscapes.panel_of(found)[0])
    shown = [panels[i] for i in cost_landscapes.spread(len(panels))]
    picture = cost_landscapes.side_by_side(shown, f"{divergence} between the sampler's law and the target")
    result = {"format": FORMAT, "oracle": options.source, "divergence": divergence, "budgets": entries}
    for name, grid in found_grids.items():
        grid.save(place.plans / f"grid-{options.by_law}-{name}.json")
    write_json(place.path / f"tuning_by_{options.by_law}.json", result)
    drawn = drawing.save(picture, str(place.path / f"landscape_by_{options.by_law}.png"))
    text = f"{describe(result)}\nGrids are in {place.plans}, the landscape of Beta schedules in {drawn}."
    show(result, text, options.json)


def describe(result: dict[str, Any]) -> str:
    """A line for each budget and schedule."""
    rows = []
    for budget in result["budgets"]:
        best, optimal = budget["best_beta"], budget["optimal"]
        lines = [(name, value, []) for name, value in budget["hand_crafted"].items()]
        lines.append((f"best beta:{best['a']:.3g},{best['b']:.3g}", best["value"], best["fractions"]))
        lines.append(("optimal grid", optimal["value"], optimal["fractions"]))
        for name, value, fractions in lines:
            inside = " ".join(f"{x:.3f}" for x in fractions[1:-1][:8])
            rows.append([f"{budget['steps']} steps, {name}", f"{max(value, 0.0):.4f}", inside])
    return table(["schedule", result["divergence"], "revealed fractions between steps"], rows)
