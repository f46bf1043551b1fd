"""``report.html``: one self-contained page that explains a run to a newcomer, made from the files of its directory.

The page needs no network and no script. A section appears when its file is there; otherwise one sentence names the
command that makes it. Nothing is computed with the model: every figure is in a file or follows from one.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mdm_jax.app.report import (
    carded,
    gallery,
    imported,
    kinds,
    latents,
    ordered,
    page,
    remarks,
    run_files,
    sections,
    told,
    tuned,
)
from mdm_jax.app.report.page import bits, code, escape
from mdm_jax.app.report.run_files import RunFiles
from mdm_jax.support.files import write_text
from mdm_jax.support.text import shortened
from mdm_jax.training.runs import RunDirectory

_LONGEST_VALUE = 400
"""Characters shown of one value of what the figures come from."""


_NOTHING_AT_ZERO = ("mean_tokens", "begin", "anneal_steps")
"""Settings that say nothing of an ordinary run."""


def write(directory: RunDirectory) -> Path:
    """Render the report into the run directory, atomically; returns its path. Errors as in :func:`render`."""
    return write_text(directory.report, render(directory))


def render(directory: RunDirectory) -> str:
    """The report of a run as HTML. The same files give the same page.

    Raises:
        InputError: no run there, or a file that does not hold what it should.
    """
    files = run_files.read(directory)
    parts = [
        ("training", "Training" if files.source is None else "Where the model is from", sections.training(files)),
        ("profile", "What the model knows: its profile", sections.profile(files) + latents.cost_note(files)),
        ("latents", "What a latent knows", latents.knows(files)),
        ("steps", "How many steps, and which schedule?", latents.cost_note(files) + tuned.steps(files)),
        ("plans", "The plans, budget by budget", tuned.plans(files) + ordered.plans(files)),
        ("card", "Beside other samplers", carded.section(files)),
        ("samples", "Samples", gallery.samples(files)),
        ("next", "What next", _next(files)),
        ("provenance", "Where the figures come from", _provenance(files)),
    ]
    parts = [(key, escape(title), content_html) for key, title, content_html in parts if content_html]
    links = "".join(f'<a href="#{key}">{title_html}</a>' for key, title_html, _ in parts)
    body = "\n".join(f'<h2 id="{key}">{title_html}</h2>\n{content_html}' for key, title_html, content_html in parts)
    content = f"<main>\n{_head(files)}\n<nav>{links}</nav>\n{body}\n</main>"
    return page.document(f"{files.name}: an mdm_jax report", content)


def _head(files: RunFiles) -> str:
    """What the run is, its headline figures, the words that the page uses, and what was found."""
    task, source, family = files.config["task"], files.source, files.family or "model of your own"
    what = (
        f"A masked diffusion model of {code(files.data)}: {'an' if family[:1] in 'aeiou' else 'a'} {escape(family)} for"
    )
    what = what if source is None else imported.about(source, files)
    unseen = f"{files.kind} that training never saw" if source is None else f"{files.kind} that is held out"
    halves = f"What {'never was trained on' if source is None else 'is held out'} has two halves"
    seen = "" if source is None else " Whether the model saw some of it where it was trained, no file tells."
    characters = files.kind == "text" and task["spec"].split(":")[0] in ("text", "code")
    token = " A token is one character here, so bits per token are bits per character." if characters else ""
    bound = files.held_out and files.held_out["bound"]
    quality = f"the {escape(bound)}" if bound else "the negative evidence lower bound (NELBO)"
    blanks = (
        f"{task['length']:,} blanks" if files.lengths is None else "as many blanks as the sequence is to have tokens"
    )
    findings = "".join(f"<li>{finding_html}</li>" for finding_html in _findings(files))
    return (
        f'<p class="eyebrow">mdm_jax report</p><h1>{escape(files.name)}</h1><p class="lead">{what} sequences of '
        f"{_length(files)} tokens out of {task['vocab_size']:,} different ones.</p>{page.tiles(_headline(files))}"
        "<p>A <strong>masked diffusion model</strong> learns to fill in blanks. In training a random part of each "
        "sequence is hidden, and the model learns to predict what was there. To write, it starts from "
        f"{blanks} and <strong>reveals</strong> a few tokens in each of K steps; one step is one model call. The "
        "tokens of one step are drawn independently of each other, so fewer steps are faster and less faithful. A "
        "<strong>schedule</strong> says how many tokens each step reveals; the resulting list of sizes is a "
        f"<strong>plan</strong>.</p><p>Quality is measured in <strong>bits per token</strong> on {unseen}: {quality}, "
        f"an upper bound on the model's code length. {halves}: choices are made on the <em>validation half</em>, the "
        f"<em>test half</em> judges them.{seen} Lower is better.{token}{_what_counts(files)} Guessing blindly among "
        f"{task['vocab_size']:,} tokens costs {math.log2(max(task['vocab_size'], 1)):.2f}.</p>{kinds.about(files)}"
        + (f"<h3>In short</h3><ul>{findings}</ul>" if findings else "")
    )


def _length(files: RunFiles) -> str:
    """How many tokens a sequence has."""
    if files.lengths is None:
        return f"{files.config['task']['length']:,}"
    fewest, most = files.lengths
    return f"{fewest:,} to {most:,}"


def _what_counts(files: RunFiles) -> str:
    behind = files.held_out is not None and bool(files.held_out["behind_prompts"])
    told = " What a prompt gives is shown to the model and not counted: figures are of what follows." if behind else ""
    if files.lengths is None:
        return told
    return (
        " Figures are <strong>given the length</strong> of a sequence, and count real tokens: no padding is in them."
        f"{told}"
    )


def _headline(files: RunFiles) -> Iterator[tuple[str, str, str]]:
    """The figures at the top: (what it is, the figure, a remark) each."""
    held_out, log = files.held_out, files.log
    if held_out:
        rows, of = held_out["rows"], held_out["of_rows"]
        count = f"{rows:,}" if of in (None, rows) else f"{rows:,} of {of:,}"
        remark = f"± {held_out['standard_error']:.2f} bits per token, test half, {count} sequences"
        if held_out["bits_per_byte"] is not None:
            remark += f"; {held_out['bits_per_byte']:.3f} bits per byte"
        yield f"Held-out {held_out['bound'] or 'NELBO'}", bits(held_out["bits_per_token"]), remark
    elif log:
        yield (
            f"Held-out {files.figure}",
            bits(log[-1]["held_out_bits_per_token"]),
            "bits per token, validation half, from the log",
        )
    if held_out and held_out["parameters"] is not None:
        yield "Parameters", page.count(float(held_out["parameters"])), files.family or ""
    if log:
        asked = files.config["settings"].get("steps")
        yield "Training steps", f"{log[-1]['step']:,}", f"of {asked:,}" if isinstance(asked, int) else ""
        yield "Training time", page.duration(log[-1]["seconds"]), "with the checks on the validation half"
        speed = float(np.median([line["tokens_per_second"] for line in log]))
        yield "Speed", page.count(speed) if math.isfinite(speed) else "unknown", "tokens per second"


def _findings(files: RunFiles) -> Iterator[str]:
    """What a reader in a hurry should know, a sentence of HTML each."""
    yield from _outdated(files)
    yield from map(escape, (files.held_out or {}).get("data_notes") or ())
    if files.held_out and files.held_out["baselines"]:
        yield _against_baselines(files.held_out)
    if files.tuning:
        yield from map(escape, told.told_in_short(files.tuning))
        offset = told.told_of_offset(files.tuning)
        if offset is not None:
            yield escape(offset)
    if files.samples:
        name = files.samples["score_name"]
        same = [panel for panel in files.samples["panels"] if panel["score_name"] in (None, name)]
        means = [panel["mean_score"] for panel in same if panel["mean_score"] is not None]
        reference = files.samples["reference_score"]
        beside = "" if reference is None else f"; held-out {files.kind} (test half) scores {reference:.2f}"
        if means and name is not None:
            yield (f"The samples below score {_span(means)} {escape(name)}, averaged over each plan{beside}.")


def _outdated(files: RunFiles) -> Iterator[str]:
    """What was measured at another step than the training has come to, a sentence of HTML for each such step."""
    profiled = files.profile and files.profile.provenance.get("run_step")
    judged = files.held_out and (profiled if files.held_out["run_step"] is None else files.held_out["run_step"])
    at: dict[Any, list[str]] = {}
    for what, step in (("profile", profiled), ("held-out figures", judged)):
        at.setdefault(step, []).append(what)
    for step, names in at.items():
        if isinstance(step, int) and files.log and step != files.log[-1]["step"]:
            said = " and the ".join(names) + (" was" if names == ["profile"] else " were")
            yield (
                f"The {said} measured at step {step:,} of the training, which is at {files.log[-1]['step']:,} now. "
                f"Measure anew with {code(files.command('profile'))}."
            )


def _margin(rival: Mapping[str, Any], held_out: Mapping[str, Any]) -> Sequence[float]:
    """Between what a rival is behind the model: paired and of 95%, where that was measured."""
    if rival["margin_interval"] is not None and len(rival["margin_interval"]) == 2:
        return rival["margin_interval"]
    gap, error = rival["bits_per_token"] - held_out["bits_per_token"], rival["margin_standard_error"]
    margin = 2 * (held_out["standard_error"] if error is None else error)
    return gap - margin, gap + margin


def _span(values: Sequence[float]) -> str:
    least, most = f"{min(values):.2f}", f"{max(values):.2f}"
    return least if least == most else f"{least} to {most}"


def _against_baselines(held_out: Mapping[str, Any]) -> str:
    groups: dict[str, list[str]] = {"beats": [], "is level with": [], "does not beat": []}
    for rival in held_out["baselines"]:
        low, high = _margin(rival, held_out)
        groups["beats" if low > 0 else "does not beat" if high < 0 else "is level with"].append(rival["name"])
    said = [f"<strong>{verb}</strong> the {page.words(names)}" for verb, names in groups.items() if names]
    found = f"At {bits(held_out['bits_per_token'])} bits per token (test half) the model {'; it '.join(said)}."
    return found + sections.told_labels(held_out)


def _next(files: RunFiles) -> str:
    steps = min(16, files.block or files.config["task"]["length"])
    of_each = "" if files.block is None else " of each block"
    again = files.command("profile", "--encodings", "16384"), "measure again, with four times the encodings"
    rows = files.profile.provenance.get("rows") if files.profile else None
    few = isinstance(rows, int) and rows < remarks.FEW_ROWS
    commands = [
        (files.command("sample", "--steps", str(steps)), f"write with the best plan for {steps} steps{of_each}"),
        *([] if few else [again]),
        (
            files.command("tune"),
            "compare schedules again, or for other budgets" if files.tuning else "compare schedules",
        ),
    ]
    repair, more = " For that, train longer or larger.", []
    if files.source is not None:
        repair, more = imported.going_on(files.source, files)
    commands += more
    if files.profile is None:
        commands = [(files.command("profile"), "measure what the model knows: plans follow from that")]
    shown = "\n".join(f"{escape(command)}   <span># {escape(what)}</span>" for command, what in commands)
    environment = f"In a virtual environment {code('mdm-jax')} is found after {code('. .venv/bin/activate')}."
    shell = f'<pre class="shell">\n{shown}</pre><p>{environment} The same from Python'
    load = f"import mdm_jax\nrun = mdm_jax.load({str(files.directory.path)!r})"
    if files.own_model:  # which no command can load
        shell, load = "<p>From Python", load[:-1] + ", denoiser)"
    choice = (
        "Pick the number of steps you can afford, and read off the cost above: beyond the bend of the optimal line "
        "further steps buy little. "
        if files.tuning
        else ""
    )
    told_few = (
        f"The profile is of {rows:,} sequences: more of these would tell more than more encodings of the same. "
        if few
        else ""
    )
    return (
        f"<p>{choice}{told_few}More steps never repair what the model has not learnt.{repair}</p>"
        f"{shell}, with the model, its parameters and its profile:</p>"
        f'<pre class="shell">\n{escape(load)}   <span># run.denoiser, run.params, run.task, '
        "run.profile</span></pre>"
    )


def _provenance(files: RunFiles) -> str:
    config, profile, tuning, samples = files.config, files.profile, files.tuning, files.samples
    groups: dict[str, Mapping[str, Any]] = {
        "Data": _data(files),
        "Model": config["model"] or {"family": "a model of your own"},
        **_made(files),
        "Versions": config["versions"] or {},
        "Profile": {"digest": profile.digest, **profile.provenance} if profile else {},
        "Tuning": {"profile_digest": tuning["profile_digest"]} if tuning else {},
        "Samples": {f"drawing {i + 1}": line for i, line in enumerate(_lines(samples))} if samples else {},
    }
    blocks = []
    for title, group in groups.items():
        shown = {key: shortened(str(value), _LONGEST_VALUE) for key, value in group.items()}
        rows = [f"<tr><td>{escape(key)}</td><td>{escape(value)}</td></tr>" for key, value in shown.items()]
        if rows:
            blocks.append(
                f"<details><summary>{escape(title)}</summary>{page.table(('name', 'value'), rows, title)}</details>"
            )
    return "<p>Everything needed to make the same run again.</p>" + "".join(blocks)


def _made(files: RunFiles) -> dict[str, Mapping[str, Any]]:
    """How the parameters came about."""
    if files.source is not None:
        return {"Import": imported.told(files.source)}
    settings = files.config["settings"].items()
    return {"Training settings": {key: value for key, value in settings if value or key not in _NOTHING_AT_ZERO}}


def _data(files: RunFiles) -> dict[str, Any]:
    """The task as it was stored, without folders, and of lengths the least and the greatest."""
    lengths = {} if files.lengths is None else {"lengths": _length(files)}
    return files.config["task"] | {"spec": files.data} | lengths


def _lines(samples: Mapping[str, Any]) -> list[str]:
    """The commands that drew the samples."""
    return list(dict.fromkeys(panel["command"] for panel in samples["panels"] if panel["command"] is not None))
