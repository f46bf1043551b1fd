"""``mdm-jax sample``: draw sequences from a run."""

import argparse
from typing import Any

import numpy as np

from mdm_jax.app.options import latents
from mdm_jax.app.options.canvas import make_canvas
from mdm_jax.app.options.sampler_checks import check, check_temperature
from mdm_jax.app.options.samplers import choose, choose_denoiser
from mdm_jax.app.terminal import replay
from mdm_jax.app.terminal.output import figure, note, show
from mdm_jax.app.work.rows import as_rows
from mdm_jax.sampling import Sampled, sample, tokens_of
from mdm_jax.support.errors import InputError, require, require_seed
from mdm_jax.support.keys import key_of
from mdm_jax.training import Run, load

BLANK = "\N{WHITE SQUARE}"
MOST_ROWS = 2**20
"""More at a time are taken for a slip of the hand."""
REPLAY_SECONDS = 6.0
MONOTONOUS, MONOTONOUS_FROM = 0.9, 8
"""A sample is monotonous if one token is this share of what was drawn, and so many tokens were."""


def run(options: argparse.Namespace) -> None:
    """Draw, perhaps replay, and print samples."""
    temperature = options.temperature
    if temperature is None:
        temperature = 0.0 if options.preset == "llada" else 1.0
    require(1 <= options.rows <= MOST_ROWS, "--rows", options.rows, f"at least 1, and at most {MOST_ROWS}")
    check_temperature(temperature)
    require_seed("--seed", options.seed)
    check(options)
    if options.infill is None and options.blank is not None:
        raise InputError("--blank must be given beside --infill: it stands for the blanks of that text.")
    seconds = _replay_seconds(options)
    trained = load(options.directory, checkpoint=options.checkpoint)
    canvas = choose_canvas(trained, options)
    chosen = choose(trained, options, canvas)
    denoiser, context = choose_denoiser(trained, options, canvas)
    drawn = sample(
        denoiser,
        trained.params,
        chosen.sampler,
        options.rows,
        key=key_of(options.seed),
        canvas=canvas,
        temperature=temperature,
        context=context,
        record=None if seconds is None else tokens_of,
        frames=None if seconds is None else chosen.frames,
    )
    if seconds is not None:
        replay.show(replay.recordings(canvas, drawn, denoiser), trained.vocabulary, seconds)
    law = {"temperature": temperature} | {name: getattr(options, name) for name in ("top_k", "top_p", "guidance")}
    result = {
        "sampler": chosen.to_json(),
        "plan": None if chosen.plan is None else chosen.plan.to_json(),
        **law,
        **({} if (draw := latents.how_drawn(trained, options.latent_draw)) is None else {"latent_draw": draw}),
        "seed": options.seed,
        "batch_nfe": int(drawn.batch_nfe),
        "samples": as_rows(trained, drawn, chosen.end),
    }
    unsaid = {("temperature", 1.0)}
    said = [f"{n.replace('_', '-')} {v:g}" for n, v in law.items() if v is not None and (n, v) not in unsaid]
    said += [] if draw is None else [latents.TOLD[draw]]
    rows = [_shown(i, row, given_latent=draw is not None) for i, row in enumerate(result["samples"])]
    show(result, "\n".join([", ".join([str(chosen), *said]), *rows]), options.json)
    if (options.prompt or options.infill) and (about := latents.prompt_note(trained)) is not None:
        note(about)
    if chosen.own is not None and chosen.own.note is not None:
        note(chosen.own.note)
    if (told := monotony(trained, drawn)) is not None:
        note(told + _cure(options.preset, temperature))


def monotony(trained: Run, drawn: Sampled) -> str | None:
    """Which token fills whole samples, or nearly; ``None`` if none does. Blanks do not show in a terminal."""
    counts: dict[int, int] = {}
    for tokens, steps in zip(np.asarray(drawn.tokens), np.asarray(drawn.reveal_step)):
        written = tokens[(steps >= 0) & (tokens != trained.denoiser.mask_id)]
        if len(written) >= MONOTONOUS_FROM:
            token, count = max(zip(*np.unique(written, return_counts=True)), key=lambda pair: pair[1])
            if count >= MONOTONOUS * len(written):
                counts[int(token)] = counts.get(int(token), 0) + 1
    if not counts:
        return None
    token, rows = max(counts.items(), key=lambda pair: pair[1])
    piece, total = trained.vocabulary.pieces(np.array([token]))[0], len(drawn.tokens)
    which = "the sample" if total == 1 else f"{rows} of {total} samples"
    return f"almost all that was drawn in {which} is one token, {piece!r}."


def _cure(preset: str | None, temperature: float) -> str:
    """What helps against monotony, if anything is known to."""
    if preset == "llada":
        return (
            " This preset reveals the likeliest proposals first; of a small model that is one token over and over, "
            "above all at temperature 0. Try --preset best, or --order probability."
        )
    return " At temperature 0 the likeliest token wins everywhere. Try --temperature 1." if temperature == 0 else ""


def _replay_seconds(options: argparse.Namespace) -> float | None:
    """How long a replay takes; ``None`` if there is none."""
    seconds = options.replay_seconds
    if not options.replay:
        if seconds is not None:
            raise InputError("--replay-seconds must be given beside --replay: it says how long that takes.")
        return None
    if options.json:
        raise InputError("--replay cannot be given beside --json: it is for eyes; JSON has each token's reveal_step.")
    seconds = REPLAY_SECONDS if seconds is None else seconds
    require(0 <= seconds <= 3600, "--replay-seconds", seconds, "from 0 to 3600")
    return seconds


def choose_canvas(trained: Run, options: argparse.Namespace) -> np.ndarray:
    """What is given: a prompt, a text with blanks, or nothing."""
    if options.infill is not None:
        blank = BLANK if options.blank is None else options.blank
        return make_canvas(trained, "--infill", options.infill, blank)
    return make_canvas(trained, "--prompt", options.prompt)


def _shown(i: int, row: dict[str, Any], given_latent: bool) -> str:
    """One sample for a person. Its log-probability is that given the latent, where there is one."""
    path = "not defined" if row["log_prob"] is None else f"{figure(row['log_prob'], '.1f')} nats"
    left = f", {row['remaining']} still masked" if row["remaining"] else ""
    given = " given its latent" if given_latent else ""
    return f"── sample {i}: nfe {row['nfe']}, log-probability along its path{given} {path}{left}\n{row['text']}"
