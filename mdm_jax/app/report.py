"""``report.html``: one self-contained page that explains a run to a newcomer, made from the files of its directory.

The page needs no network and no script. A section appears when its file is there; otherwise one sentence names the
command that makes it. Nothing is computed with the model: every figure is in a file or follows from one.
"""

import math
import numbers
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mdm_jax.app import page, pictures
from mdm_jax.app.page import bits, code, escape, with_error
from mdm_jax.support.errors import InputError, require, verbatim
from mdm_jax.support.files import read_json, write_text
from mdm_jax.theory import profiles
from mdm_jax.theory.plans import Plan
from mdm_jax.theory.profiles import Profile
from mdm_jax.training.runs import RunDirectory

# What the files must hold, as read by _check: a type, [each], {key: value}, {str: each value}, or (shape, None) for
# what may be null or left out. More keys are allowed. numbers.Real also takes NaN: a diverged run has a report too.
_TASK = {"spec": str, "length": int, "vocab_size": int, "digest": str}
_CONFIG = {"task": _TASK, "model": (dict, None), "settings": dict, "versions": (dict, None)}
_LOG_FIGURES = ("train_bits_per_token", "held_out_bits_per_token", "held_out_standard_error", "tokens_per_second")
_LOG = [{"step": int, "seconds": float, **dict.fromkeys(_LOG_FIGURES, numbers.Real)}]
_BASELINE = {"name": str, "bits_per_token": float, "margin": (float, None), "margin_standard_error": (float, None)}
_HELD_OUT = {"rows": int, "bits_per_token": float, "standard_error": float, "baselines": [_BASELINE]}
_CHECKED = {"rows": int, "nelbo_nats": float, "standard_error": float, "z": float}
_TUNED_PLAN = {"role": str, "plan": {"name": str, "sizes": [int], "origin": dict}, "expected_nelbo_nats": float,
               "standard_error": float, "checked": (_CHECKED, None)}  # fmt: skip
_TUNING = {"length": int, "profile_digest": str, "nelbo_nats": float, "steps": [int], "families": {str: [float]},
           "best_beta": [str], "budgets": [{"steps": int, "plans": [_TUNED_PLAN]}]}  # fmt: skip
_SAMPLE = {"pieces": [str], "reveal_step": [int], "nfe": int, "score": (float, None)}
_PANEL = {"role": str, "plan": str, "steps": int, "budget": (int, None), "rows": [_SAMPLE], "scored_rows": (int, None),
          "mean_score": (float, None), "score_standard_error": (float, None)}  # fmt: skip
_SAMPLES = {"temperature": float, "seed": int, "score_name": str, "lower_is_better": bool,
            "reference_score": (float, None), "panels": [_PANEL]}  # fmt: skip
_WORDS = {float: "a finite number", numbers.Real: "a number", int: "a whole number", str: "text", bool: "true or false",
          dict: "an object", list: "a list"}  # fmt: skip
_MOST_PIECES = 24_000
"""Positions of samples on the page altogether, which keeps it below two megabytes."""


def write(directory: RunDirectory) -> Path:
    """Render the report into the run directory, atomically; returns its path. Errors as in :func:`render`."""
    return write_text(directory.report, render(directory))


def render(directory: RunDirectory) -> str:
    """The report of a run as HTML. The same files give the same page.

    Raises:
        InputError: no run there, or a file that does not hold what it should.
    """
    config = directory.read_config()
    _check(config, _CONFIG, f"{directory.config} is not the configuration of a run")
    log = directory.read_log()
    _check(log, _LOG, f"{directory.log} is not the log of a run")
    held_out = _read(directory.held_out, _HELD_OUT, "held-out")
    profile = profiles.load(directory.profile) if directory.profile.exists() else None
    tuning = _read_tuning(directory.tuning)
    samples = _read_samples(directory.samples)
    name = directory.path.resolve().name
    run = shlex.quote(str(directory.path))
    parts = {
        "training": ("Training", _training(run, log, held_out)),
        "profile": ("What the model knows: its profile", _profile(run, profile, tuning)),
        "steps": ("How many steps, and which schedule?", _steps(run, tuning, profile)),
        "plans": ("The plans, budget by budget", _plans(tuning) if tuning else ""),
        "samples": ("Samples", _samples(run, samples)),
        "next": ("What next", _next(run, str(directory.path))),
        "provenance": ("Where the figures come from", _provenance(config, profile, tuning, samples)),
    }
    parts = {key: part for key, part in parts.items() if part[1]}
    links = "".join(f'<a href="#{key}">{escape(title)}</a>' for key, (title, _) in parts.items())
    body = "\n".join(
        f'<h2 id="{key}">{escape(title)}</h2>\n{content_html}' for key, (title, content_html) in parts.items()
    )
    head = _head(name, config, log, held_out, tuning, samples)
    return page.document(f"{name}: an mdm_jax report", f"<main>\n{head}\n<nav>{links}</nav>\n{body}\n</main>")


def _head(name: str, config: dict, log: list, held_out: dict | None, tuning: dict | None, samples: dict | None) -> str:
    task, settings = config["task"], config["settings"]
    model = config.get("model")
    kind = f"a {escape(model['family'])}" if model and "family" in model else "a model of your own"
    characters = task["spec"].split(":")[0] == "text"
    token = " A token is one character here, so bits per token are bits per character." if characters else ""
    figures = []
    if held_out:
        error = f"± {held_out['standard_error']:.2f} bits per token, {held_out['rows']:,} sequences"
        figures.append(("Held-out NELBO", bits(held_out["bits_per_token"]), error))
    elif log:
        figures.append(("Held-out NELBO", bits(log[-1]["held_out_bits_per_token"]), "bits per token, from the log"))
    if (size := (held_out or {}).get("parameters", (model or {}).get("parameters"))) is not None:
        figures.append(("Parameters", page.count(float(size)), model["family"] if model else ""))
    if log:
        last = log[-1]
        asked = settings.get("steps")
        figures.append(("Training steps", f"{last['step']:,}", f"of {asked:,}" if isinstance(asked, int) else ""))
        figures.append(("Training time", page.duration(last["seconds"]), "with the held-out checks"))
        speed = float(np.median([line["tokens_per_second"] for line in log]))
        figures.append(("Speed", page.count(speed) if math.isfinite(speed) else "unknown", "tokens per second"))
    findings = "".join(f"<li>{finding_html}</li>" for finding_html in _findings(held_out, tuning, samples))
    return (
        f'<p class="eyebrow">mdm_jax report</p><h1>{escape(name)}</h1><p class="lead">A masked diffusion model of '
        f"{code(task['spec'])}: {kind} for sequences of {task['length']:,} tokens "
        f"out of {task['vocab_size']:,} different ones.</p>{page.tiles(figures)}<p>A <strong>masked diffusion "
        "model</strong> learns to fill in blanks. In training a random part of each sequence is hidden, and the "
        f"model learns to predict what was there. To write, it starts from {task['length']:,} blanks and "
        "<strong>reveals</strong> a few tokens in each of K steps; one step is one forward pass. The tokens of "
        "one step are drawn independently of each other, so fewer steps are faster and less faithful. A "
        "<strong>schedule</strong> says how many tokens each step reveals; the resulting list of sizes is a "
        "<strong>plan</strong>.</p><p>Quality is measured in <strong>bits per token</strong> on text that "
        "training never saw: the negative evidence lower bound (NELBO), an upper bound on the model's code "
        f"length. Lower is better.{token} Guessing blindly among {task['vocab_size']:,} tokens costs "
        f"{math.log2(max(task['vocab_size'], 1)):.2f}.</p>"
        + (f"<h3>In short</h3><ul>{findings}</ul>" if findings else "")
    )


def _findings(held_out: dict | None, tuning: dict | None, samples: dict | None) -> list[str]:
    found = [_against_baselines(held_out)] if held_out and held_out["baselines"] else []
    tuning = tuning or {"budgets": [], "families": {}}
    for budget in tuning["budgets"]:
        costs = {plan["role"]: plan["expected_nelbo_nats"] for plan in budget["plans"]}
        hand = _hand_crafted(tuning)
        if "optimal" in costs and hand and budget["steps"] in (8, 16):
            reached = [(_steps_for(tuning, family, costs["optimal"]), family) for family in hand]
            steps, family = min(((s, f) for s, f in reached if s is not None), default=(None, ""))
            if steps is not None and steps >= 1.02 * budget["steps"]:
                found.append(
                    f"What the optimal plan does in <strong>{budget['steps']} steps</strong> takes the best "
                    f"hand-crafted schedule ({escape(family)}) about <strong>{steps:.1f}</strong>."
                )
    checks = [p["checked"]["z"] for b in tuning["budgets"] for p in b["plans"] if p["checked"]]
    if checks:
        within = sum(abs(z) <= 2 for z in checks)
        found.append(
            f"The costs predicted from the profile were checked on held-out sequences: {within} of {len(checks)} "
            f"agree within two standard errors (largest |z| {max(map(abs, checks)):.1f})."
        )
    means = [mean for panel in (samples or {}).get("panels", ()) if (mean := _mean_score(panel)) is not None]
    if samples and means:
        real = samples["reference_score"]
        found.append(
            f"The samples below score {min(means):.2f} to {max(means):.2f} {escape(samples['score_name'])}, "
            "averaged over "
            f"each plan" + ("." if real is None else f"; held-out text scores {real:.2f}.")
        )
    return found


def _against_baselines(held_out: dict) -> str:
    groups: dict[str, list[str]] = {"beats": [], "is level with": [], "does not beat": []}
    for rival in held_out["baselines"]:
        gap = rival["bits_per_token"] - held_out["bits_per_token"]
        error = rival.get("margin_standard_error")  # of the difference on the same sequences, where it was measured
        margin = 2 * (held_out["standard_error"] if error is None else error)
        groups["beats" if gap > margin else "does not beat" if gap < -margin else "is level with"].append(rival["name"])
    said = [f"<strong>{verb}</strong> the {page.words(names)}" for verb, names in groups.items() if names]
    return f"At {bits(held_out['bits_per_token'])} bits per token the model {'; it '.join(said)}."


def _training(run: str, log: list, held_out: dict | None) -> str:
    parts = []
    baselines = [(b["name"], b["bits_per_token"]) for b in held_out["baselines"]] if held_out else []
    if log:
        parts.append(
            "<p>After every report interval the averaged parameters are scored on the same held-out sequences "
            "with the same masks. As long as the held-out curve falls, more steps help; where it turns up while "
            "the training curve still falls, the model is memorising.</p>"
        )
        caption = "Loss against training step. The band is one standard error over held-out sequences."
        parts.append(page.chart(pictures.loss_curve(log, baselines), "loss", "loss against training step", caption))
    else:
        parts.append(_missing("There is no training log yet.", f"mdm-jax train {run}"))
    if held_out:
        figure = pictures.baselines(("this model", held_out["bits_per_token"], held_out["standard_error"]), baselines)
        exact = with_error(held_out["bits_per_token"], held_out["standard_error"])
        caption = (
            f"Held-out bits per token, {exact} for the model, beside n-gram models fitted to the same training "
            "data. An n-gram reads left to right and is scored exactly; the model's figure is an upper bound "
            "over random orders."
        )
        parts += [
            "<h3>Beside simpler models</h3>",
            page.chart(figure, "baselines", "bits per token of all models", caption),
        ]
    else:
        parts.append(_missing("The model has not been compared with n-gram models yet.", f"mdm-jax profile {run}"))
    return "\n".join(parts)


def _profile(run: str, profile: Profile | None, tuning: dict | None) -> str:
    if profile is None:
        return _missing("The information profile has not been measured yet.", f"mdm-jax profile {run}")
    shown = None
    for budget in tuning["budgets"] if tuning and tuning["length"] == profile.length else ():
        best = next((_plan(p) for p in budget["plans"] if p["role"] == "optimal"), None)
        shown = best if shown is None or budget["steps"] == 8 else shown
    error = float(profile.standard_error(np.ones((1, profile.length), dtype=np.int64))[0])
    scale = 1 / (profile.length * math.log(2))
    area = "" if shown is None else (
        " The shaded staircase is that sum for the plan named in the picture: each step is as wide as the tokens "
        "it reveals and as high as their cost when the step began."
    )  # fmt: skip
    return (
        "<p><strong>g(i)</strong> is the average cost of predicting one hidden token when i random other tokens "
        f"are revealed. With nothing to go by a token costs {profile.values[0]:.2f} nats "
        f"({profile.values[0] / math.log(2):.2f} bits), with all others known {profile.values[-1]:.2f}. The fall "
        "of the curve is what context is worth to this model.</p>"
        + page.chart(pictures.profile(profile, shown), "profile", "information profile", f"The profile, in nats.{area}")
        + "<p>From this one curve every schedule's cost follows. A plan that reveals n<sub>k</sub> tokens at "
        "step k, after N<sub>k&minus;1</sub> are known, has</p>"
        '<p class="formula">expected NELBO = ∑<sub>k</sub> n<sub>k</sub> g(N<sub>k&minus;1</sub>)</p>'
        "<p>for a random order of positions. No sampling and no further model call is needed to compare "
        "schedules. With one token per step the sum is the area below the curve: the bound that no plan in "
        "random order beats as long as the curve falls, here "
        f"<strong>{with_error(profile.bits_per_token(), error * scale)}</strong> bits per token.</p>"
    )


def _steps(run: str, tuning: dict | None, profile: Profile | None) -> str:
    if tuning is None:
        return _missing("Schedules have not been compared yet.", f"mdm-jax tune {run}")
    stale = profile is not None and profile.digest != tuning["profile_digest"]
    note = '<p class="note">The profile has changed since; make these figures anew with ' if stale else ""
    note += f"{code(f'mdm-jax tune {run}')}.</p>" if stale else ""
    floor = tuning["nelbo_nats"]
    least = min(min(nats) for nats in tuning["families"].values()) if tuning["families"] else floor
    parts = [
        f"{note}<p>Each line is a family of schedules, each point its expected NELBO with K steps. "
        "<strong>optimal</strong> is the best plan there is for this model at every K, found exactly by dynamic "
        "programming; <strong>best beta</strong> is the best schedule with two parameters; the others are "
        "schedules that people choose by name. None of them needs the model to be trained again. The dashed line "
        f"is one token per step, {floor / (tuning['length'] * math.log(2)):.3f} bits per token.</p>",
        page.chart(
            pictures.nelbo_against_steps(tuning),
            "nelbo",
            "expected NELBO against the number of steps",
            "Expected NELBO in bits per token. Lower is better; K is on a logarithmic axis.",
        ),
    ]
    if least < floor * (1 - 1e-9):
        parts.append(
            '<p class="note">Some plans seem cheaper than one token per step. That means that the measured '
            "profile rises "
            "somewhere: the model has not learnt to use much context yet, or the measurement is too noisy.</p>"
        )
    else:
        caption = (
            "The same lines as excess over one token per step, on logarithmic axes: the price of revealing "
            "tokens together. A line ends where nothing is left to pay."
        )
        figure = pictures.nelbo_against_steps(tuning, excess=True)
        parts.append(page.chart(figure, "excess", "excess over the bound against steps", caption))
    return "".join(parts)


def _plans(tuning: dict) -> str:
    scale = 1 / (tuning["length"] * math.log(2))
    rows, listed, curves, sizes, roles = [], [], [], [], {}
    for budget in tuning["budgets"]:
        plans = [(p["role"], _plan(p)) for p in budget["plans"]]
        if not plans:
            continue
        optimum = next((p["expected_nelbo_nats"] for p in budget["plans"] if p["role"] == "optimal"), None)
        title = f"{budget['steps']} steps"
        rows.append(f'<tr class="group"><td colspan="7">Budget: {title}</td></tr>')
        for entry, (role, plan) in zip(budget["plans"], plans):
            roles[role] = pictures.role_colour(role)
            check = entry["checked"]
            above = "" if optimum is None else f"{(entry['expected_nelbo_nats'] - optimum) * scale:+.4f}"
            cells = [
                with_error(entry["expected_nelbo_nats"] * scale, entry["standard_error"] * scale),
                "0" if role == "optimal" else above,
                with_error(check["nelbo_nats"] * scale, check["standard_error"] * scale) if check else "not checked",
                f"{check['z']:+.1f}".replace("-", "\N{MINUS SIGN}") if check else "",
                f"{check['rows']:,}" if check else "",
            ]
            name = "" if plan.name == role else code(plan.name)
            rows.append(
                f'<tr><td><i class="dot" style="background:var(--{roles[role]})"></i>{escape(role)} {name}</td>'
                f"<td>{plan.steps}</td>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
            )
            words = " ".join(map(str, plan.sizes.tolist()))
            listed.append(f"<tr><td>{title}, {escape(role)}</td><td>{code(words)}</td></tr>")
        number, label = budget["steps"], f"plans of at most {title}"
        curves.append(page.chart(pictures.plan_curves(plans), f"curves{number}", f"curves: {label}", title, small=True))
        sizes.append(page.chart(pictures.plan_sizes(plans), f"sizes{number}", f"sizes: {label}", title, small=True))
    headings = ("plan", "steps", "expected NELBO", "over the optimum", "held-out check", "z", "sequences")
    legend = page.swatches((colour, role) for role, colour in roles.items())
    return (
        "<p>All costs in bits per token, ± one standard error. <em>Held-out check</em>: held-out sequences were "
        "revealed in the plan's steps with the true tokens written in (teacher forcing) and the model's cost was "
        "added up. <em>z</em> is its difference from the prediction in standard errors; about 19 of 20 should "
        "lie within ±2. All plans share the error of the one profile, so their differences are surer than the ± "
        "suggests. The optimum was chosen on that profile, so its predicted cost is a little hopeful; the check "
        "is not.</p>"
        f'<div class="wide">{page.table(headings, rows, "figures")}</div>'
        "<h3>As curves</h3><p>How much is revealed after each part of the steps. The thin diagonal reveals evenly.</p>"
        f'{legend}<div class="wide multiples">{"".join(curves)}</div>'
        "<h3>As sizes</h3><p>The tokens revealed at every step. Small bars are careful steps.</p>"
        f'{legend}<div class="wide multiples">{"".join(sizes)}</div>'
        f"<details><summary>The sizes as numbers</summary>{page.table(('plan', 'sizes'), listed)}</details>"
    )


def _samples(run: str, samples: dict | None) -> str:
    if samples is None:
        return _missing("There are no samples yet.", f"mdm-jax demo --directory {run}")
    panels = samples["panels"]
    roles = list(dict.fromkeys(panel["role"] for panel in panels))
    share = _MOST_PIECES // max(len(panels), 1)
    blocks = []
    for steps in sorted({_budget(panel) for panel in panels}):
        row = sorted((p for p in panels if _budget(p) == steps), key=lambda p: roles.index(p["role"]))
        cells = "".join(_panel(panel, samples, share) for panel in row)
        blocks.append(f'<h3>{steps} steps</h3><div class="samples">{cells}</div>')
    reference = samples["reference_score"]
    direction = "lower" if samples["lower_is_better"] else "higher"
    real = f" Held-out text scores {reference:.2f} on average." if reference is not None else ""
    return (
        "<p>Written by the model from blanks, with the plans side by side. Colour tells when each token was "
        f"revealed; hover to read the step. The score is {escape(samples['score_name'])}, {direction} is "
        f"better.{real} A score far better than that is a sign of repetition, not of quality. Temperature "
        f"{samples['temperature']:g}, seed {samples['seed']}.</p>"
        f'<div class="wide">{page.step_legend()}{"".join(blocks)}</div>'
    )


def _panel(panel: dict, samples: dict, share: int) -> str:
    plan = "" if panel["plan"] == panel["role"] else f" <small>{escape(panel['plan'])}</small>"
    parts = [f'<div class="panel"><h4>{escape(panel["role"])}{plan}</h4>']
    mean = _mean_score(panel)
    if mean is not None:
        rows, error = panel.get("scored_rows") or len(panel["rows"]), panel.get("score_standard_error")
        shown = f"{mean:.2f}" + ("" if error is None else f" ± {error:.2f}")
        parts.append(f'<p class="mean">mean score <strong>{shown}</strong> over {rows:,} samples</p>')
    longest = max((len(row["pieces"]) for row in panel["rows"]), default=1)
    for row in panel["rows"][: min(max(share // longest, 1), 3)]:
        parts.append(page.sample(row["pieces"], row["reveal_step"], panel["steps"], share))
        reference = samples["reference_score"]
        beside = f" (held-out text: {reference:.2f})" if reference is not None else ""
        score = "no score" if row["score"] is None else f"{samples['score_name']}: {row['score']:.2f}{beside}"
        parts.append(f"<p>{escape(score)} · {row['nfe']:,} forward passes</p>")
    return "".join(parts) + "</div>"


def _next(run: str, path: str) -> str:
    commands = (
        (f"mdm-jax sample {run} --steps 16", "write with the best plan for 16 steps"),
        (f"mdm-jax profile {run}", "measure again, after more training"),
        (f"mdm-jax tune {run}", "compare schedules again, or for other budgets"),
    )
    shown = "\n".join(f"{escape(command)}   <span># {escape(what)}</span>" for command, what in commands)
    python = escape(f"import mdm_jax\nrun = mdm_jax.load({path!r})")
    return (
        "<p>Pick the number of steps you can afford, and read off the cost above: beyond the bend of the optimal "
        "line further steps buy little. More steps never repair what the model has not learnt; for that, train "
        "longer or larger.</p>"
        f'<pre class="shell">\n{shown}</pre><p>The same from Python, with the model, its parameters and its '
        f'profile:</p><pre class="shell">\n{python}   <span># run.denoiser, run.params, run.task, '
        "run.profile</span></pre>"
    )


def _provenance(config: dict, profile: Profile | None, tuning: dict | None, samples: dict | None) -> str:
    groups: dict[str, Mapping[str, Any]] = {
        "Data": config["task"],
        "Model": config.get("model") or {"family": "a model of your own"},
        "Training settings": config["settings"],
        "Versions": config.get("versions") or {},
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


def _missing(sentence: str, command: str) -> str:
    return f'<p class="missing">{escape(sentence)} Make it with {code(command)}.</p>'


# Figures that follow from the files.


def _hand_crafted(tuning: dict) -> list[str]:
    return [family for family in tuning["families"] if family not in ("optimal", "best beta")]


def _steps_for(tuning: dict, family: str, nats: float) -> float | None:
    """The steps with which ``family`` gets down to ``nats``, interpolated in log K; ``None`` if it never does."""
    steps, costs = tuning["steps"], tuning["families"][family]
    reached = next((i for i, cost in enumerate(costs) if cost <= nats), None)
    if reached is None or reached == 0:
        return None if reached is None else float(steps[0])
    before, after = costs[reached - 1], costs[reached]
    share = (before - nats) / (before - after)
    return float(steps[reached - 1] ** (1 - share) * steps[reached] ** share)


def _budget(panel: dict) -> int:
    """The budget of a panel; its plan may need fewer steps."""
    return panel["steps"] if panel.get("budget") is None else panel["budget"]


def _mean_score(panel: dict) -> float | None:
    if panel.get("mean_score") is not None:
        return panel["mean_score"]
    scores = [row["score"] for row in panel["rows"] if row["score"] is not None]
    return math.fsum(scores) / len(scores) if scores else None


def _plan(entry: dict) -> Plan:
    plan = entry["plan"]
    return Plan(np.asarray(plan["sizes"]), name=plan["name"], origin=plan["origin"])


# Reading and checking the files.


def _read(path: Path, shape: Any, kind: str) -> Any:
    """The content of a file of ``"format": "mdm_jax <kind> 1"``, checked; ``None`` if there is no such file."""
    if not path.exists():
        return None
    value = read_json(path, f"a {kind} file")
    wanted = f"mdm_jax {kind} 1"
    if not isinstance(value, dict) or value.get("format") != wanted:
        raise InputError(f"{path} is not a {kind} file: its format must be {wanted!r}.")
    _check(value, shape, f"{path} is not a {kind} file")
    return value


def _read_tuning(path: Path) -> Any:
    tuning = _read(path, _TUNING, "tuning")
    try:
        for family, nats in (tuning["families"] if tuning else {}).items():
            right = len(nats) == len(tuning["steps"]) > 0
            require(
                right, f"families.{family}", verbatim(f"{len(nats)}"), f"of {len(tuning['steps'])} numbers, as steps"
            )
        for budget in tuning["budgets"] if tuning else ():
            for entry in budget["plans"]:
                length = _plan(entry).length
                require(length == tuning["length"], "the sum of sizes", length, f"the length {tuning['length']}")
    except InputError as error:
        raise InputError(f"{path} is not a tuning file: {error}") from None
    return tuning


def _read_samples(path: Path) -> Any:
    samples = _read(path, _SAMPLES, "samples")
    for row in (row for panel in (samples or {"panels": []})["panels"] for row in panel["rows"]):
        if len(row["pieces"]) != len(row["reveal_step"]):
            raise InputError(
                f"{path} is not a samples file: pieces and reveal_step must have one entry for each position; "
                f"got {len(row['pieces'])} and {len(row['reveal_step'])}."
            )
    return samples


def _check(value: Any, shape: Any, what: str, where: str = "") -> None:
    """Raise ``InputError`` "``what``: ``where`` must be ..." unless ``value`` has ``shape`` (see above _CONFIG)."""
    if isinstance(shape, tuple):
        return None if value is None else _check(value, shape[0], what, where)
    kind = type(shape) if isinstance(shape, dict | list) else shape
    if not _is(value, kind):
        shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
        raise InputError(f"{what}: {where or 'its content'} must be {_WORDS[kind]}; got {shown}.")
    if isinstance(shape, list):
        for index, item in enumerate(value):
            _check(item, shape[0], what, f"{where}[{index}]" if where else f"line {index + 1}")
    elif isinstance(shape, dict) and str in shape:
        for name, item in value.items():
            _check(item, shape[str], what, f"{where}.{name}")
    elif isinstance(shape, dict):
        for name, item_shape in shape.items():
            if name in value:
                _check(value[name], item_shape, what, f"{where}.{name}" if where else name)
            elif not isinstance(item_shape, tuple):
                raise InputError(f"{what}: {where + ' ' if where else 'it '}has no {name}.")


def _is(value: Any, kind: type) -> bool:
    """Whether ``value`` is of ``kind``, where ``float`` means any finite number and a truth value is no number."""
    if kind in (int, float, numbers.Real):
        right = isinstance(value, int) or (kind is not int and isinstance(value, float))
        return right and not isinstance(value, bool) and (kind is not float or math.isfinite(value))
    return isinstance(value, kind)
