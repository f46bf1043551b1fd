"""``mdm-jax evaluate``: samples of schedules and plans at several budgets, scored on common random numbers."""

import argparse
import dataclasses
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from mdm_jax.app.options import latents
from mdm_jax.app.options.budgets import budgets_of
from mdm_jax.app.options.comparing import (
    Basis,
    basis_of,
    check,
    execution_of,
    ordered,
    reference,
    require_rows,
    scoring_to_end,
)
from mdm_jax.app.options.ends import end_token, own_end
from mdm_jax.app.options.labels import conditioned, label_note
from mdm_jax.app.options.models import planned
from mdm_jax.app.options.places import places
from mdm_jax.app.options.scoring import Scoring, scoring_of
from mdm_jax.app.report import kept
from mdm_jax.app.terminal.output import note, show
from mdm_jax.app.work.collapse import collapsed
from mdm_jax.app.work.remarks import ENTROPY_FALLS, told_of_blocks, told_of_end, told_of_reference
from mdm_jax.evaluation import Evaluation, evaluate
from mdm_jax.plot import drawing
from mdm_jax.sampling import Blind, Rule
from mdm_jax.support.errors import InputError, require
from mdm_jax.support.keys import key_of
from mdm_jax.support.text import printable
from mdm_jax.theory import plans
from mdm_jax.theory.schedules import text as schedule_text
from mdm_jax.training import load, ways

_RECORDED = ("order", "temperature", "guidance", "seed", "picture")


def run(options: argparse.Namespace) -> None:
    """Evaluate, draw, print a table."""
    check(options)
    if options.picture is not None:
        drawing.check_suffix("--picture", options.picture)
    where = places(options)
    trained = load(options.directory, checkpoint=options.checkpoint)
    basis, scoring = basis_of(trained, options), scoring_of(trained, options.score)
    require_rows(basis, options.samples)
    end = None if options.end is None else end_token(trained, options.end)
    length = planned(trained)  # of each plan
    budgets = budgets_of(options.budgets, length)
    texts = list(dict.fromkeys(options.schedules))
    samplers, baselines = competitors(options, texts, budgets, length, end)
    canvas = basis.canvases("test", options.samples)
    last = own_end(trained) if end is None else end  # behind which nothing is scored
    scoring = scoring_to_end(scoring, basis, last, [canvas])
    held_out = reference(scoring, basis, options.samples)  # first, so that a score that fails does so soon
    denoiser = latents.drawing(trained, options.latent_draw)
    denoiser, context = conditioned(trained, options, denoiser, canvas, options.samples)
    found = evaluate(
        denoiser,
        trained.params,
        samplers,
        options.samples,
        scoring.functions,
        key=key_of(options.seed),
        temperature=options.temperature,
        canvas=canvas,
        context=context,
        length=trained.settings.length,
        baseline=baselines,
        execution=execution_of(trained, options, where),
    )
    found = dataclasses.replace(found, reference=held_out)
    if not ways.is_writer():
        return
    if options.picture is not None:
        drawing.save(picture(found, texts, budgets, scoring.name), options.picture)
    result = found.to_json() | {name: getattr(options, name) for name in _RECORDED}
    result |= {**scoring.to_json(), **basis.to_json(), "end": options.end, "length": trained.settings.length}
    draw = latents.how_drawn(trained, options.latent_draw)
    result |= {} if draw is None else {"latent_draw": draw}
    text = describe(found, scoring, basis, options)
    show(result, text if draw is None else f"{text} Drawn with {latents.TOLD[draw]}.", options.json)
    about = {"temperature": options.temperature, "seed": options.seed}
    steps = {title(text, budget): budget for text in texts for budget in budgets}
    kept.leave(trained, options.line, kept.judged(trained, found, canvas, last, steps, **about))
    if basis.given is not None and (about := latents.prompt_note(trained)) is not None:
        note(about)
    if (about := label_note(trained, options)) is not None:
        note(about)
    if (told := collapsed(found, trained, canvas, last)) is not None:
        note(told)


def competitors(
    options: argparse.Namespace, texts: Sequence[str], budgets: Sequence[int], length: int, end: int | None = None
) -> tuple[dict[str, Blind | Rule], Mapping[str, str]]:
    """What is evaluated, by name, and what each is compared with: the baseline at its budget, or else itself."""
    follow = ordered(options.order, end)
    samplers: dict[str, Blind | Rule] = {}
    steps_of: dict[str, int] = {}
    for text in texts:
        schedule = schedule_text.parse(text)
        for budget in budgets:
            samplers[title(text, budget)] = follow(plans.from_schedule(schedule, length, budget))
            steps_of[title(text, budget)] = budget
    for path in options.plan or ():
        plan = plans.load(path)
        require(
            plan.length == length, "--plan", f"{path} of length {plan.length}", f"a plan of length {length}, the run's"
        )
        samplers[title(path, plan.steps)] = follow(plan)
        steps_of[title(path, plan.steps)] = plan.steps
    base = options.baseline if options.baseline is not None else [*texts, *(options.plan or ())][0]
    if title(base, 0) not in {title(one, 0) for one in (*texts, *(options.plan or ()))}:
        raise InputError(f"--baseline must be one of the schedules or plans that are evaluated; got {base!r}.")
    others = {name: title(base, steps) for name, steps in steps_of.items()}
    return samplers, {name: other if other in samplers else name for name, other in others.items()}


def title(text: str, steps: int) -> str:
    """What a schedule is called at a budget."""
    return f"{printable(text.strip())}, {steps} {'step' if steps == 1 else 'steps'}"


def describe(found: Evaluation, scoring: Scoring, basis: Basis, options: argparse.Namespace) -> str:
    """The table, and how to read it."""
    kept = "" if found.drawn == found.nfe.size else f" {found.nfe.size - found.drawn:,} rows had been drawn before."
    return (
        f"{found.table()}\n{printable(scoring.name)}: {scoring.better} is better, {ENTROPY_FALLS}. "
        f"{found.samples} samples of each, in {options.order} order, on common random numbers: differences are paired, "
        f"± is one standard error.{basis.told}{told_of_end(options.end, basis, scoring)}"
        f"{told_of_reference(found.reference, basis, found.samples)}{told_of_blocks(basis.trained)}{kept}"
    )


@drawing.styled()
def picture(found: Evaluation, texts: Sequence[str], budgets: Sequence[int], score: str) -> Axes:
    """The score of each schedule against its steps, with 95 % intervals of the means; plans as single points."""
    axes = drawing.wide(2.9)
    means, errors, nfe = found.means(), found.standard_errors(), found.means("nfe")
    colours = [name for name in drawing.COLOURS if name not in ("ink", "muted", "line")]
    lines = {text: [title(text, budget) for budget in budgets] for text in texts}
    lines |= {name: [name] for name in found.names if name not in {one for names in lines.values() for one in names}}
    for i, (text, names) in enumerate(lines.items()):
        at = [found.index(name) for name in names]
        apart = 1.012 ** (i - (len(lines) - 1) / 2)  # side by side, not on top of each other
        axes.errorbar(
            nfe[at] * apart, means[at], 1.96 * errors[at], color=drawing.light(colours[i % len(colours)]),
            marker="o", markersize=3, linewidth=1, capsize=2, label=drawing.label(text),
            linestyle="-" if i < len(colours) else "--",
        )  # fmt: skip
    axes.set(xscale="log", xlabel="nfe (model calls)", ylabel=drawing.label(score))
    ticks = sorted({round(float(x)) for x in nfe})
    axes.xaxis.set(major_locator=FixedLocator(ticks), minor_locator=NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.legend(ncols=2)
    return axes
