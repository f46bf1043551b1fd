"""``mdm-jax sample``: draw sequences from a run."""

import argparse
from typing import Any

import numpy as np

from mdm_jax.app.options import labels, latents
from mdm_jax.app.options.canvas import choose_canvas, prompt_note
from mdm_jax.app.options.ends import cut_behind, own_end
from mdm_jax.app.options.lengths import check_length, is_ragged
from mdm_jax.app.options.sampler_checks import check, check_temperature
from mdm_jax.app.options.samplers import choose, choose_denoiser
from mdm_jax.app.report import kept
from mdm_jax.app.terminal import replay
from mdm_jax.app.terminal.output import figure, note, show
from mdm_jax.app.work import sample_files
from mdm_jax.app.work.collapse import told_collapse
from mdm_jax.app.work.rows import as_rows
from mdm_jax.app.work.sample_files import check_letters, check_output
from mdm_jax.evaluation.order_tuning import MEASURES
from mdm_jax.models import block_length
from mdm_jax.sampling import GIVEN, Sampled, sample, tokens_of
from mdm_jax.support.errors import InputError, require, require_seed
from mdm_jax.support.keys import key_of
from mdm_jax.support.ragged import present
from mdm_jax.training import Run, load

MOST_ROWS = 2**20
"""More at a time are taken for a slip of the hand."""
REPLAY_SECONDS = 6.0


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
    check_output(options)
    trained = load(options.directory, checkpoint=options.checkpoint)
    check_length(trained, options.length)
    check_letters(trained, options)
    canvas = choose_canvas(trained, options)
    chosen = choose(trained, options, canvas)
    denoiser, context = choose_denoiser(trained, options, canvas)
    labelled = labels.labels_of_rows(trained, options, options.rows)
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
    rows = as_rows(trained, drawn, chosen.end)
    for row, label in zip(rows, () if labelled is None else labelled.tolist()):
        row["label"] = label
    law = {"temperature": temperature} | {name: getattr(options, name) for name in ("top_k", "top_p", "guidance")}
    draw = latents.how_drawn(trained, options.latent_draw)
    result = {
        "sampler": chosen.to_json(),
        "plan": None if chosen.plan is None else chosen.plan.to_json(),
        **law,
        **({} if draw is None else {"latent_draw": draw}),
        **({} if options.label is None else {"label": list(options.label)}),
        **({"rows_length": options.length} if is_ragged(trained) else {}),
        "seed": options.seed,
        "batch_nfe": int(drawn.batch_nfe),
        "samples": rows,
    }
    unsaid = {("temperature", 1.0)}
    said = [f"{n.replace('_', '-')} {v:g}" for n, v in law.items() if v is not None and (n, v) not in unsaid]
    said += [one for one in (labels.told(options.label), draw and latents.TOLD[draw]) if one]
    if options.output is None:
        told = [_shown(i, row, trained, given_latent=draw is not None) for i, row in enumerate(rows)]
    else:
        told = [sample_files.save(trained, drawn, rows, options, chosen.end)]
        result["output"] = options.output
    show(result, "\n".join([", ".join([str(chosen), *said]), *told]), options.json)
    steps = chosen.numbers.get("steps", result["batch_nfe"])
    drawing = kept.panel(rows, str(chosen), steps, temperature=temperature, seed=options.seed)
    kept.leave(trained, options.line, [drawing])
    if (options.prompt or options.infill) and (about := latents.prompt_note(trained)) is not None:
        note(about)
    for about in (prompt_note(trained, options), labels.label_note(trained, options)):
        if about is not None:
            note(about)
    for remark in chosen.notes:
        note(remark)
    if (seen := monotony(trained, drawn, chosen.end)) is not None:
        note(seen + _cure(options, temperature))


def monotony(trained: Run, drawn: Sampled, end: int | None = None) -> str | None:
    """What the samples have collapsed to, up to their ends; ``None`` if they have not."""
    tokens, steps = np.asarray(drawn.tokens), np.asarray(drawn.reveal_step)
    written = (steps >= 0) & (tokens != trained.denoiser.mask_id)
    end = own_end(trained) if end is None else end
    if end is not None:
        written &= present(cut_behind(tokens, end, steps == GIVEN))
    return told_collapse(tokens, written, trained.vocabulary)


def _cure(options: argparse.Namespace, temperature: float) -> str:
    """What may help samples that have collapsed."""
    if options.preset == "llada":
        return (
            " This preset reveals the likeliest proposals first; of a small model that is one token over and over, "
            "above all at temperature 0. Try --preset best, or --order probability."
        )
    if temperature == 0:
        return " At temperature 0 the likeliest token wins everywhere. Try --temperature 1."
    if options.top_k is not None or options.top_p is not None:
        return " Of the law that tokens are drawn from little is left. Try without --top-k and --top-p."
    greedy = options.preset == "eb" or options.order in MEASURES or options.threshold is not None
    if greedy or options.entropy_bound is not None:
        return " An order by the model's certainty begins with the likeliest tokens. Try --order random."
    return " The model may have learned little as yet: mdm-jax profile tells."


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


def _shown(i: int, row: dict[str, Any], trained: Run, given_latent: bool) -> str:
    """One sample for a person. Its log-probability is that given the latent, where there is one."""
    path = "not defined" if row["log_prob"] is None else f"{figure(row['log_prob'], '.1f')} nats"
    left = f", {row['remaining']} still masked" if row["remaining"] else ""
    given = " given its latent" if given_latent else ""
    block = block_length(trained.denoiser)
    blocks = "" if block is None else f" in {-(-len(row['tokens']) // block)} blocks"
    length = f"{len(row['tokens'])} tokens, " if is_ragged(trained) else ""
    label = f"label {row['label']}, " if "label" in row else ""
    return (
        f"── sample {i}: {label}{length}nfe {row['nfe']}{blocks}, log-probability along its path{given} {path}{left}\n"
        f"{row['text']}"
    )
