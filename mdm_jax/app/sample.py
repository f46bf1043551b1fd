"""``mdm-jax sample``: draw sequences from a run."""

import argparse
import math
from typing import Any

import jax
import numpy as np

from mdm_jax.app.canvas import make_canvas
from mdm_jax.app.output import figure, finite, show
from mdm_jax.sampling import Revealed, sample
from mdm_jax.support.errors import InputError, require, require_seed
from mdm_jax.theory import plans, schedule_text
from mdm_jax.theory.plans import Plan
from mdm_jax.training import Run, load

STEPS = 16
"""Unless others are asked for, or the model is shorter."""

BLANK = "\N{WHITE SQUARE}"


def run(options: argparse.Namespace) -> None:
    """Draw and print samples."""
    temperature = options.temperature
    require(options.rows >= 1, "--rows", options.rows, "at least 1")
    require(math.isfinite(temperature) and temperature >= 0, "--temperature", temperature, "0 or more, and finite")
    require_seed("--seed", options.seed)
    if options.plan is not None and options.steps is not None:
        raise InputError("--steps cannot be given beside --plan: a plan has its own number of steps.")
    if options.infill is None and options.blank is not None:
        raise InputError("--blank must be given beside --infill: it stands for the blanks of that text.")
    trained = load(options.directory)
    canvas = choose_canvas(trained, options)
    plan = choose_plan(trained, options, int((canvas == trained.denoiser.mask_id).sum()))
    drawn = sample(
        trained.denoiser,
        trained.params,
        plan,
        options.rows,
        key=jax.random.key(options.seed),
        canvas=canvas,
        temperature=temperature,
    )
    result = {
        "plan": plan.to_json(),
        "temperature": temperature,
        "seed": options.seed,
        "passes": int(drawn.passes),
        "samples": as_rows(trained, drawn),
    }
    blocks = [
        f"── sample {i}: {row['nfe']} passes, log-probability along its path {figure(row['log_prob'], '.1f')} nats\n"
        + row["text"]
        for i, row in enumerate(result["samples"])
    ]
    show(result, f"plan {plan.name}, {plan.steps} steps\n" + "\n".join(blocks), options.json)


def choose_plan(trained: Run, options: argparse.Namespace, free: int) -> Plan:
    """The plan file, the schedule rounded to ``--steps``, or the run's own optimum for ``--steps``.

    A plan of the run's length is scaled to the ``free`` positions; one made for so many fits as it is.
    """
    length = trained.settings.length
    if options.plan is not None:
        plan = plans.load(options.plan)
        wanted = f"a plan of length {length}, this run's" + ("" if free == length else f", or {free}, what is free")
        require(plan.length in (length, free), "--plan", f"{options.plan} of length {plan.length}", wanted)
        return plan
    steps = min(STEPS, length) if options.steps is None else options.steps
    require(1 <= steps <= length, "--steps", steps, f"from 1 to {length}")
    if options.schedule is not None:
        return plans.from_schedule(schedule_text.parse(options.schedule), length, steps)
    return plans.optimal(trained.profile, steps)


def choose_canvas(trained: Run, options: argparse.Namespace) -> np.ndarray:
    """What is given: a prompt, a text with blanks, or nothing."""
    if options.infill is not None:
        blank = BLANK if options.blank is None else options.blank
        return make_canvas(trained, "--infill", options.infill, blank)
    return make_canvas(trained, "--prompt", options.prompt)


def as_rows(trained: Run, drawn: Revealed) -> list[dict[str, Any]]:
    """Samples as JSON: text, the piece at each position, its step, passes, log-probability."""
    rows = []
    for tokens, step, nfe, log_prob in zip(
        *map(np.asarray, (drawn.tokens, drawn.reveal_step, drawn.nfe, drawn.log_prob))
    ):
        rows.append(
            {
                "text": trained.vocabulary.decode(tokens),
                "pieces": trained.vocabulary.pieces(tokens),
                "reveal_step": step.tolist(),
                "nfe": int(nfe),
                "log_prob": finite(float(log_prob)),
            }
        )
    return rows
