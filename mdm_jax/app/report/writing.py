"""``report.html``: one self-contained page that explains a run to a newcomer, made from the files of its directory.

The page needs no network and no script. A section appears when its file is there; otherwise one sentence names the
command that makes it. Nothing is computed with the model: every figure is in a file or follows from one.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mdm_jax.app.report import latents, page, run_files, sections
from mdm_jax.app.report.page import bits, code, escape
from mdm_jax.app.report.run_files import RunFiles
from mdm_jax.support.files import write_text
from mdm_jax.training.runs import RunDirectory


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
        ("training", "Training", sections.training(files)),
        ("profile", "What the model knows: its profile", sections.profile(files) + latents.cost_note(files)),
        ("latents", "What a latent knows", latents.knows(files)),
        ("steps", "How many steps, and which schedule?", latents.cost_note(files) + sections.steps(files)),
        ("plans", "The plans, budget by budget", sections.plans(files)),
        ("samples", "Samples", sections.samples(files)),
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
    task, model = files.config["task"], files.config["model"]
    kind = f"a {escape(model['family'])}" if model and "family" in model else "a model of your own"
    characters = files.kind == "text" and task["spec"].split(":")[0] in ("text", "code")
    token = " A token is one character here, so bits per token are bits per character." if characters else ""
    bound = files.held_out and files.held_out["bound"]
    quality = f"the {escape(bound)}" if bound else "the negative evidence lower bound (NELBO)"
    findings = "".join(f"<li>{finding_html}</li>" for finding_html in _findings(files))
    return (
        f'<p class="eyebrow">mdm_jax report</p><h1>{escape(files.name)}</h1><p class="lead">A masked diffusion model '
        f"of {code(task['spec'])}: {kind} for sequences of {task['length']:,} tokens out of {task['vocab_size']:,} "
        f"different ones.</p>{page.tiles(_headline(files))}<p>A <strong>masked diffusion model</strong> learns to fill "
        "in blanks. In training a random part of each sequence is hidden, and the model learns to predict what was "
        f"there. To write, it starts from {task['length']:,} blanks and <strong>reveals</strong> a few tokens in each "
        "of K steps; one step is one model call. The tokens of one step are drawn independently of each other, so "
        "fewer steps are faster and less faithful. A <strong>schedule</strong> says how many tokens each step "
        "reveals; the resulting list of sizes is a <strong>plan</strong>.</p><p>Quality is measured in <strong>bits "
        f"per token</strong> on {files.kind} that training never saw: {quality}, an "
        f"upper bound on the model's code length. Lower is better.{token} Guessing blindly among "
        f"{task['vocab_size']:,} tokens costs {math.log2(max(task['vocab_size'], 1)):.2f}.</p>"
        + (f"<h3>In short</h3><ul>{findings}</ul>" if findings else "")
    )


def _headline(files: RunFiles) -> Iterator[tuple[str, str, str]]:
    """The figures at the top: (what it is, the figure, a remark) each."""
    held_out, log = files.held_out, files.log
    if held_out:
        remark = f"± {held_out['standard_error']:.2f} bits per token, {held_out['rows']:,} sequences"
        yield f"Held-out {held_out['bound'] or 'NELBO'}", bits(held_out["bits_per_token"]), remark
    elif log:
        yield f"Held-out {files.figure}", bits(log[-1]["held_out_bits_per_token"]), "bits per token, from the log"
    if held_out and held_out["parameters"] is not None:
        yield "Parameters", page.count(float(held_out["parameters"])), (files.config["model"] or {}).get("family", "")
    if log:
        asked = files.config["settings"].get("steps")
        yield "Training steps", f"{log[-1]['step']:,}", f"of {asked:,}" if isinstance(asked, int) else ""
        yield "Training time", page.duration(log[-1]["seconds"]), "with the held-out checks"
        speed = float(np.median([line["tokens_per_second"] for line in log]))
        yield "Speed", page.count(speed) if math.isfinite(speed) else "unknown", "tokens per second"


def _findings(files: RunFiles) -> Iterator[str]:
    """What a reader in a hurry should know, a sentence of HTML each."""
    if files.held_out and files.held_out["baselines"]:
        yield _against_baselines(files.held_out)
    if files.tuning:
        yield from _steps_saved(files.tuning)
        checks = [e["checked"]["z"] for b in files.tuning["budgets"] for e in b["plans"] if e["checked"]]
        if checks:
            lie = "plans lie" if len(checks) > 1 else "plan lies"
            shared = " All share the difference between the halves: they are not independent checks."
            yield (
                "The costs predicted from the profile, on the validation half of the held-out sequences, were checked "
                f"on the test half: {sum(abs(z) <= 2 for z in checks)} of {len(checks)} {lie} within two standard "
                f"errors (largest |z| {max(map(abs, checks)):.1f}).{shared if len(checks) > 1 else ''}"
            )
    if files.samples:
        means = [panel["mean_score"] for panel in files.samples["panels"] if panel["mean_score"] is not None]
        reference = files.samples["reference_score"]
        beside = "" if reference is None else f"; held-out {files.kind} scores {reference:.2f}"
        if means:
            yield (
                f"The samples below score {min(means):.2f} to {max(means):.2f} {escape(files.samples['score_name'])}, "
                f"averaged over each plan{beside}."
            )


def _against_baselines(held_out: Mapping[str, Any]) -> str:
    groups: dict[str, list[str]] = {"beats": [], "is level with": [], "does not beat": []}
    for rival in held_out["baselines"]:
        gap = rival["bits_per_token"] - held_out["bits_per_token"]
        error = rival["margin_standard_error"]  # of the difference on the same sequences, where it was measured
        margin = 2 * (held_out["standard_error"] if error is None else error)
        groups["beats" if gap > margin else "does not beat" if gap < -margin else "is level with"].append(rival["name"])
    said = [f"<strong>{verb}</strong> the {page.words(names)}" for verb, names in groups.items() if names]
    return f"At {bits(held_out['bits_per_token'])} bits per token the model {'; it '.join(said)}."


def _steps_saved(tuning: Mapping[str, Any]) -> Iterator[str]:
    """For budgets of 8 and 16: the steps in which the best hand-crafted schedule does what the optimal plan does."""
    for budget in tuning["budgets"]:
        optimum = {entry["role"]: entry["expected_nelbo_nats"] for entry in budget["plans"]}.get("optimal")
        if optimum is None or budget["steps"] not in (8, 16):
            continue
        hand_crafted = [family for family in tuning["families"] if family not in ("optimal", "best beta")]
        needed = [(_steps_for(tuning, family, optimum), family) for family in hand_crafted]
        steps, family = min(((s, f) for s, f in needed if s is not None), default=(0.0, ""))
        if steps >= 1.02 * budget["steps"]:
            yield (
                f"What the optimal plan does in <strong>{budget['steps']} steps</strong> takes the best "
                f"hand-crafted schedule ({escape(family)}) about <strong>{steps:.1f}</strong>."
            )


def _steps_for(tuning: Mapping[str, Any], family: str, nats: float) -> float | None:
    """The steps with which ``family`` gets down to ``nats``, interpolated in log K; ``None`` if it never does."""
    steps, costs = tuning["steps"], tuning["families"][family]
    reached = next((i for i, cost in enumerate(costs) if cost <= nats), None)
    if reached is None or reached == 0:
        return None if reached is None else float(steps[0])
    before, after = costs[reached - 1], costs[reached]
    share = (before - nats) / (before - after)
    return float(steps[reached - 1] ** (1 - share) * steps[reached] ** share)


def _next(files: RunFiles) -> str:
    steps = min(16, files.config["task"]["length"])
    commands = [
        (files.command("sample", "--steps", str(steps)), f"write with the best plan for {steps} steps"),
        (files.command("profile", "--encodings", "16384"), "measure again, with four times the encodings"),
        (files.command("tune"), "compare schedules again, or for other budgets"),
    ]
    if files.profile is None:
        commands = [(files.command("profile"), "measure what the model knows: plans follow from that")]
    shown = "\n".join(f"{escape(command)}   <span># {escape(what)}</span>" for command, what in commands)
    environment = f"In a virtual environment {code('mdm-jax')} is found after {code('. .venv/bin/activate')}."
    shell = f'<pre class="shell">\n{shown}</pre><p>{environment} The same from Python'
    load = f"import mdm_jax\nrun = mdm_jax.load({str(files.directory.path)!r})"
    if files.own_model:  # which no command can load
        shell, load = "<p>From Python", load[:-1] + ", denoiser)"
    return (
        "<p>Pick the number of steps you can afford, and read off the cost above: beyond the bend of the optimal "
        "line further steps buy little. More steps never repair what the model has not learnt; for that, train "
        f"longer or larger.</p>{shell}, with the model, its parameters and its profile:</p>"
        f'<pre class="shell">\n{escape(load)}   <span># run.denoiser, run.params, run.task, '
        "run.profile</span></pre>"
    )


def _provenance(files: RunFiles) -> str:
    config, profile, tuning, samples = files.config, files.profile, files.tuning, files.samples
    groups: dict[str, Mapping[str, Any]] = {
        "Data": config["task"],
        "Model": config["model"] or {"family": "a model of your own"},
        "Training settings": config["settings"],
        "Versions": config["versions"] or {},
        "Profile": {"digest": profile.digest, **profile.provenance} if profile else {},
        "Tuning": {"profile_digest": tuning["profile_digest"]} if tuning else {},
        "Samples": {name: samples[name] for name in ("temperature", "seed", "score_name")} if samples else {},
    }
    blocks = []
    for title, group in groups.items():
        rows = [f"<tr><td>{escape(key)}</td><td>{escape(value)}</td></tr>" for key, value in group.items()]
        if rows:
            blocks.append(f"<details><summary>{escape(title)}</summary>{page.table(('name', 'value'), rows)}</details>")
    return "<p>Everything needed to make the same run again.</p>" + "".join(blocks)
