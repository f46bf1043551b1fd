"""What ``evaluate`` and ``race`` share once their options are read: how rows are drawn, and how they are scored."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32

from mdm_jax.app.options.sampler_checks import check_temperature
from mdm_jax.app.options.samplers import MEASURES
from mdm_jax.evaluation import Execution, own_entropy
from mdm_jax.sampling import Blind, Rule, rules
from mdm_jax.support.errors import require, require_seed
from mdm_jax.tasks import Task
from mdm_jax.theory.plans import Plan
from mdm_jax.training import Run

OWN_ENTROPY = "own bigram entropy (bits)"
"""Beside every score: a sampler that writes little but the likeliest phrases scores well, and is poor in this."""

MOST, MOST_TOGETHER = 1_000_000, 65_536
"""Samples of a schedule, and rows of a batch."""


def check(options: argparse.Namespace) -> None:
    """Refuse numbers that cannot be, before anything is loaded.

    Raises:
        InputError: one sentence that names the option.
    """
    check_temperature(options.temperature)
    require(2 <= options.samples <= MOST, "--samples", options.samples, f"from 2 (for a standard error) to {MOST:,}")
    batch, store = options.batch, options.store
    require(batch is None or 1 <= batch <= MOST_TOGETHER, "--batch", batch, f"from 1 to {MOST_TOGETHER:,}")
    require(store is None or Path(store).suffix == ".jsonl", "--store", store, "a .jsonl file")
    require(options.given is None or options.given >= 1, "--given", options.given, "at least 1")
    require_seed("--seed", options.seed)


def execution_of(trained: Run, options: argparse.Namespace, where: Mapping[str, Any]) -> Execution:
    """Where and how rows are drawn; those of another step of training are another model's, and have their own file, as
    those with a latent at each step have.
    """
    anew = "-each-step" if options.latent_draw == "each-step" else ""
    store = options.store or trained.place.path / "evaluations" / f"step-{trained.step}{anew}.jsonl"
    return Execution(batch=options.batch, store=store, progress=True, **where)


def scores_of(task: Task) -> dict[str, Callable[..., Any]]:
    """The task's score, and what tells whether it was had by drawing less."""
    return {task.score_name: task.score, OWN_ENTROPY: lambda tokens: own_entropy(tokens, task.vocab_size)}


def ordered(order: str) -> Callable[[Plan], Blind | Rule]:
    """From a plan to a sampler that follows it in the order of this name."""
    if order in MEASURES:
        return lambda plan: rules.surest(plan, MEASURES[order])
    return lambda plan: Blind(plan, "left_to_right" if order == "left_to_right" else "random")


def prompts(
    trained: Run, rows: Int32[np.ndarray, "held_out length"], given: int | None, samples: int
) -> Int32[np.ndarray, "samples length"] | None:
    """For each sample the beginning of a held-out sequence; ``None`` where nothing is given.

    Raises:
        InputError: fewer sequences than samples, or as many tokens as a sequence has.
    """
    if given is None:
        return None
    length = trained.settings.length
    require(given < length, "--given", given, f"less than {length}, the model's length")
    require(
        samples <= len(rows), "--samples", samples, f"at most {len(rows)} beside --given: so many sequences there are"
    )
    canvas = np.full((samples, length), trained.denoiser.mask_id, np.int32)
    canvas[:, :given] = rows[:samples, :given]
    return canvas
