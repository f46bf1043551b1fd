"""``mdm-jax tune oracle:... --by-law ...``: tuning by the exact output law of the sampler, in worlds small enough."""

import argparse
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from mdm_jax.app import drawing, landscapes
from mdm_jax.app.output import show, table
from mdm_jax.evaluation import law_divergence, laws, optimal_grid_by_law, search_beta_by_law
from mdm_jax.evaluation.law_tuning import DIVERGENCES, BetaByLaw
from mdm_jax.oracles import Oracle
from mdm_jax.support.files import write_json
from mdm_jax.theory import grids, schedule_text
from mdm_jax.training import RunDirectory

FORMAT = "mdm_jax tuning by law 1"
NAMES = ("total_variation", "kl", "jensen_shannon")
"""The divergences as the command line calls them."""
POINTS = 256
"""Values of ``a`` and of ``b`` that are tried."""


def run(oracle: Oracle, options: argparse.Namespace, budgets: Sequence[int], place: RunDirectory) -> None:
    """Score, refine, draw and print; everything is ancestral sampling by the exact denoiser."""
    divergence = dict(zip(NAMES, DIVERGENCES))[options.by_law]
    logits = laws.conditionals(oracle.denoiser, oracle.params, oracle.length)
    sequences = np.array(list(itertools.product(range(oracle.vocab_size), repeat=oracle.length)))
    target = np.exp(oracle.log_prob(sequences))
    result: dict[str, Any] = {"format": FORMAT, "oracle": options.source, "divergence": divergence, "budgets": []}
    panels = []
    for steps in budgets:
        found = search_beta_by_law(logits, target, steps, divergence, POINTS, progress=True)
        free = optimal_grid_by_law(logits, target, steps, divergence, key=jax.random.key(options.seed), progress=True)
        hand_crafted = {
            name: law_divergence(
                logits, target, grids.from_schedule(schedule_text.parse(name), steps).fractions, divergence
            )
            for name in schedule_text.HAND_CRAFTED
        }
        for grid, name in ((found.grid, "best-beta"), (free.grid, "optimal")):
            grid.save(place.plans / f"grid-{name}-{steps}.json")
        result["budgets"].append(
            {
                "steps": steps,
                "hand_crafted": hand_crafted,
                "best_beta": {
                    "a": found.a,
                    "b": found.b,
                    "value": found.value,
                    "fractions": found.grid.fractions.tolist(),
                },
                "free": {
                    "value": free.value,
                    "fractions": free.grid.fractions.tolist(),
                    "values_of_all_starts": free.values.tolist(),
                },
            }
        )
        panels.append(panel(found))
    picture = landscapes.costs(
        panels[: landscapes.MOST_PANELS], f"{divergence} between the sampler's law and the target"
    )
    drawing.save(picture, str(place.landscape))
    write_json(place.path / "tuning_by_law.json", result)
    text = f"{describe(result)}\nGrids are in {place.plans}, the landscape of Beta schedules in {place.landscape}."
    show(result, text, options.json)


def panel(found: BetaByLaw) -> landscapes.CostLandscape:
    """The picture's share of one budget."""
    best = (found.a, found.b, found.value)
    values = found.landscape.astype(np.float64)
    return landscapes.CostLandscape(f"{found.steps} steps", found.values, found.values, values, best)


def describe(result: dict[str, Any]) -> str:
    """A line for each budget and schedule."""
    rows = []
    for budget in result["budgets"]:
        steps, best, free = budget["steps"], budget["best_beta"], budget["free"]
        entries = {
            **budget["hand_crafted"],
            f"best beta:{best['a']:.3g},{best['b']:.3g}": best["value"],
            "free": free["value"],
        }
        fractions = {f"best beta:{best['a']:.3g},{best['b']:.3g}": best["fractions"], "free": free["fractions"]}
        for name, value in entries.items():
            inside = fractions.get(name, [])[1:-1]
            rows.append([f"{steps} steps, {name}", f"{value:.4f}", " ".join(f"{x:.3f}" for x in inside[:8])])
    return table(["schedule", result["divergence"], "revealed fractions between steps"], rows)
