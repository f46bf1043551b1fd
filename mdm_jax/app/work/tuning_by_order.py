"""``mdm-jax tune RUN --order ...``: plans for an order that looks at the model, measured in that order."""

import argparse
import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mdm_jax import models
from mdm_jax.app.options.budgets import budgets_of
from mdm_jax.app.options.latents import own_objective
from mdm_jax.app.options.lengths import is_ragged
from mdm_jax.app.options.results import folder, oracle_of
from mdm_jax.app.terminal.output import show
from mdm_jax.app.work.held_out_rows import shown_rows
from mdm_jax.evaluation import tune_order
from mdm_jax.evaluation.order_tuning import MEASURES
from mdm_jax.support.commands import command
from mdm_jax.support.errors import InputError, require, require_seed
from mdm_jax.support.keys import key_of
from mdm_jax.support.text import printable, table
from mdm_jax.training import HybridNoise, Run, load

CHOOSING_ROWS, JUDGING_ROWS = 64, 128
"""Of the validation half, and of the test half unless others are asked for."""
BITS = 1 / math.log(2)


def run(options: argparse.Namespace) -> None:
    """Measure, choose, judge, write plans, print a table."""
    require_seed("--seed", options.seed)
    for name in ("by_law", "grid"):
        if getattr(options, name) is not None:
            raise InputError(f"--{name.replace('_', '-')} cannot be given beside --order: the profile names the plans.")
    wanted = JUDGING_ROWS if options.check_rows is None else options.check_rows
    require(wanted >= 2, "--check-rows", wanted, "2 or more beside --order, for an interval")
    if oracle_of(options.source) is not None or not Path(options.source).is_dir():
        raise InputError(f"--order needs a run directory, whose rows are measured in that order; got {options.source}.")
    trained = load(options.source, checkpoint=options.checkpoint)
    if isinstance(own_objective(trained), HybridNoise):
        raise InputError(
            "--order cannot be given for a run of hybrid noise: its tokens are replaced, so that a sequence has no "
            "cost along one path."
        )
    place = trained.place if options.output is None else folder(options.output)
    profile = trained.profile
    budgets = budgets_of(options.budgets, profile.length)
    choosing_key, judging_key, key = jax.random.split(key_of(options.seed), 3)
    few, more = _spread(trained, "validation", CHOOSING_ROWS), _spread(trained, "test", wanted)
    denoiser, choosers = shown_rows(trained, profile, "validation", few, choosing_key)
    judges = shown_rows(trained, profile, "test", more, judging_key).rows
    found = tune_order(
        denoiser,
        trained.params,
        profile,
        choosers,
        judges,
        budgets,
        score=MEASURES[options.order],
        key=key,
        progress=True,
    )
    about = {"command": options.line, "seed": options.seed, "run": trained.identity, "run_step": trained.step}
    for budget, plan in found.plans.items():
        origin = {**plan.origin, "rule": options.order, **about}
        dataclasses.replace(plan, origin=origin).save(place.plan(options.order, budget))
    result = {**found.result, "order": options.order, **about}
    text = f"{describe(result, trained)}\nPlans are in {place.plans}"
    if options.output is None:
        again = command("sample", place.path, "--order", options.order, "--steps", str(budgets[-1]))
        text += f", where {again} finds them"
    show(result, f"{text}.", options.json)


def _spread(trained: Run, part: str, most: int) -> np.ndarray:
    """At most so many places of a part, evenly spread over all: neighbours may be of one text."""
    rows = len(getattr(trained.task, part))
    return np.linspace(0, rows - 1, min(most, rows)).round().astype(np.int32)


def describe(result: Mapping[str, Any], trained: Run) -> str:
    """A line for each budget, then who chose and who judged, and how many model calls that took."""
    rows = [
        [
            f"{one['steps']} step{'' if one['steps'] == 1 else 's'}",
            printable(one["plan"]["name"]),
            f"{one['validation'] * BITS:.4f}",
            f"{one['test']['mean'] * BITS:.4f}",
            *map(_difference, one["above"]),
        ]
        for one in result["budgets"]
    ]
    rivals = [f"less {rival['rival']}" for rival in result["budgets"][0]["above"]]
    counts, calls = result["rows"], result["calls"]
    said = [
        table(["budget", "plan", "validation", "test", *rivals], rows),
        f"Bits per token in {result['order']} order, -log q of held-out rows. Each plan is the cheapest of about 8 "
        f"that the profile names.\n{counts['chosen_on']:,} rows of the validation half chose it, and "
        f"{counts['judged_on']:,} of the test half judge it.",
        "Differences are paired, with intervals of 95%, each by itself; none seen: the interval holds 0.",
        f"Model calls, summed over rows: {calls['choosing']:,} to choose, {calls['judging']:,} to judge.",
    ]
    if models.block_length(trained.denoiser) is not None:
        said.append(f"Plans and steps are those of one block of {result['length']} tokens.")
    if is_ragged(trained):
        said.append(f"Plans are for {result['length']} tokens, and scaled to each row; costs are given the lengths.")
    if isinstance(trained.denoiser, models.LatentModel):
        said.append("Costs are those by the latents that the profile was measured with; a KL comes to each alike.")
    return "\n".join(said)


def _difference(rival: Mapping[str, Any]) -> str:
    """What the chosen plan costs more than another."""
    if rival["same_plan"]:
        return "the same plan"
    mean, low, high = (f"{rival[end] * BITS:+z.4f}" for end in ("mean", "low", "high"))
    return f"{'none seen' if rival['low'] <= 0 <= rival['high'] else mean} ({low} to {high})"
