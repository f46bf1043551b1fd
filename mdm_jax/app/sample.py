"""``mdm-jax sample``: draw sequences from a run."""

import argparse
from typing import Any

import jax
import numpy as np

from mdm_jax.app.output import show
from mdm_jax.sampling import Revealed, sample
from mdm_jax.support.errors import InputError, require
from mdm_jax.theory import plans, schedule_text
from mdm_jax.theory.plans import Plan
from mdm_jax.training import Run, load


def run(options: argparse.Namespace) -> None:
    """Draw and print samples."""
    trained = load(options.directory)
    require(options.rows >= 1, "--rows", options.rows, "at least 1")
    require(options.temperature >= 0, "--temperature", options.temperature, "0 or more")
    require(0 <= options.seed < 2**31, "--seed", options.seed, "from 0 to 2^31 - 1")
    plan = choose_plan(trained, options)
    canvas = make_canvas(trained, options)
    drawn = sample(
        trained.denoiser,
        trained.params,
        plan,
        options.rows,
        key=jax.random.key(options.seed),
        canvas=canvas,
        temperature=options.temperature,
    )
    result = {
        "plan": plan.to_json(),
        "temperature": options.temperature,
        "seed": options.seed,
        "passes": int(drawn.passes),
        "samples": as_rows(trained, drawn),
    }
    blocks = [
        f"── sample {i}: {row['nfe']} passes, log-probability along its path {row['log_prob']:.1f} nats\n{row['text']}"
        for i, row in enumerate(result["samples"])
    ]
    show(result, f"plan {plan.name}, {plan.steps} steps\n" + "\n".join(blocks), options.json)


def choose_plan(trained: Run, options: argparse.Namespace) -> Plan:
    """The plan file, the schedule rounded to ``--steps``, or the run's own optimum for ``--steps``."""
    length = trained.settings.length
    if options.plan is not None:
        plan = plans.load(options.plan)
        require(plan.length == length, "--plan", options.plan, f"a plan of length {length}, this run's")
        return plan
    require(1 <= options.steps <= length, "--steps", options.steps, f"from 1 to {length}")
    if options.schedule is not None:
        return plans.from_schedule(schedule_text.parse(options.schedule), length, options.steps)
    return plans.optimal(trained.profile, options.steps)


def make_canvas(trained: Run, options: argparse.Namespace) -> np.ndarray:
    """What is given: a prompt, a text with blanks, or nothing."""
    length, vocabulary = trained.settings.length, trained.vocabulary
    given = np.zeros(0, np.int32)
    if options.prompt is not None:
        given = vocabulary.encode(options.prompt)
    elif options.infill is not None:
        given = vocabulary.encode(options.infill, mask=options.blank)
    if len(given) > length:
        name = "--prompt" if options.prompt is not None else "--infill"
        raise InputError(f"{name} must be at most {length} characters long, as the model is; got {len(given)}.")
    canvas = np.full(length, trained.denoiser.mask_id, np.int32)
    canvas[: len(given)] = given
    return canvas


def as_rows(trained: Run, drawn: Revealed) -> list[dict[str, Any]]:
    """Samples as JSON: text, the piece at each position, its step, passes, log-probability."""
    rows = []
    for tokens, step, nfe, log_prob in zip(
        *map(np.asarray, (drawn.tokens, drawn.reveal_step, drawn.nfe, drawn.log_prob))
    ):
        rows.append(
            {
                "text": trained.vocabulary.decode(tokens),
                "pieces": [trained.vocabulary.decode(tokens[i : i + 1]) for i in range(len(tokens))],
                "reveal_step": step.tolist(),
                "nfe": int(nfe),
                "log_prob": float(log_prob),
            }
        )
    return rows
