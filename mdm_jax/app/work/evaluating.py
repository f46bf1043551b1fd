"""``mdm-jax evaluate``: samples of schedules and plans at several budgets, scored on common random numbers."""

import argparse
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from mdm_jax.app.options import latents
from mdm_jax.app.options.budgets import budgets_of
from mdm_jax.app.options.comparing import check, execution_of, ordered, prompts, scores_of
from mdm_jax.app.options.places import places
from mdm_jax.app.terminal.output import note, show
from mdm_jax.evaluation import Evaluation, evaluate
from mdm_jax.plot import drawing
from mdm_jax.sampling import Blind, Rule
from mdm_jax.support.errors import InputError, require
from mdm_jax.support.keys import key_of
from mdm_jax.support.text import printable
from mdm_jax.tasks import Task
from mdm_jax.theory import plans
from mdm_jax.theory.schedules import text as schedule_text
from mdm_jax.training import load, ways


def run(options: argparse.Namespace) -> None:
    """Evaluate, draw, print a table."""
    check(options)
    if options.picture is not None:
        drawing.check_suffix("--picture", options.picture)
    where = places(options)
    trained = load(options.directory, checkpoint=options.checkpoint)
    length = trained.settings.length
    budgets = budgets_of(options.budgets, length)
    texts = list(dict.fromkeys(options.schedules))
    samplers, baselines = competitors(options, texts, budgets, length)
    found = evaluate(
        latents.drawing(trained, options.latent_draw),
        trained.params,
        samplers,
        options.samples,
        scores_of(trained.task),
        key=key_of(options.seed),
        temperature=options.temperature,
        canvas=prompts(trained, trained.task.test, options.given, options.samples),
        length=length,
        baseline=baselines,
        execution=execution_of(trained, options, where),
    )
    if not ways.is_writer():
        return
    if options.picture is not None:
        drawing.save(picture(found, texts, budgets, trained.task), options.picture)
    result = found.to_json() | {
        name: getattr(options, name) for name in ("order", "temperature", "given", "seed", "picture")
    }
    result |= {"lower_is_better": trained.task.lower_is_better, "length": length}
    draw = latents.how_drawn(trained, options.latent_draw)
    result |= {} if draw is None else {"latent_draw": draw}
    text = describe(found, trained.task, options)
    show(result, text if draw is None else f"{text} Drawn with {latents.TOLD[draw]}.", options.json)
    if options.given is not None and (about := latents.prompt_note(trained)) is not None:
        note(about)


def competitors(
    options: argparse.Namespace, texts: Sequence[str], budgets: Sequence[int], length: int
) -> tuple[dict[str, Blind | Rule], Mapping[str, str]]:
    """What is evaluated, by name, and what each is compared with: the baseline at its budget, or else itself."""
    follow = ordered(options.order)
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


def describe(found: Evaluation, task: Task, options: argparse.Namespace) -> str:
    """The table, and how to read it."""
    better = "lower" if task.lower_is_better else "higher"
    kept = "" if found.drawn == found.nfe.size else f" {found.nfe.size - found.drawn:,} rows had been drawn before."
    given = "" if options.given is None else f" Each went on from {options.given} tokens of a held-out sequence."
    return (
        f"{found.table()}\n{task.score_name}: {better} is better, but not if the samples' own entropy falls with it. "
        f"{found.samples} samples of each, in {options.order} order, on common random numbers: differences are paired, "
        f"± is one standard error.{given}{kept}"
    )


@drawing.styled()
def picture(found: Evaluation, texts: Sequence[str], budgets: Sequence[int], task: Task) -> Axes:
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
    axes.set(xscale="log", xlabel="nfe (model calls)", ylabel=task.score_name)
    ticks = sorted({round(float(x)) for x in nfe})
    axes.xaxis.set(major_locator=FixedLocator(ticks), minor_locator=NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.legend(ncols=2)
    return axes
