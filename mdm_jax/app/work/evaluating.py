"""``mdm-jax evaluate``: samples of schedules and plans at several budgets, scored on common random numbers."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from mdm_jax.app.options.budgets import budgets_of
from mdm_jax.app.options.places import places
from mdm_jax.app.options.samplers import MEASURES, check_temperature
from mdm_jax.app.terminal.output import show
from mdm_jax.evaluation import Evaluation, Execution, evaluate, own_entropy
from mdm_jax.plot import drawing
from mdm_jax.sampling import Blind, Rule, rules
from mdm_jax.support.errors import InputError, require, require_seed
from mdm_jax.support.keys import key_of
from mdm_jax.support.text import printable
from mdm_jax.tasks import Task
from mdm_jax.theory import plans
from mdm_jax.theory.plans import Plan
from mdm_jax.theory.schedules import text as schedule_text
from mdm_jax.training import Run, load, ways

OWN_ENTROPY = "own bigram entropy (bits)"
"""Beside every score: a sampler that writes little but the likeliest phrases scores well, and is poor in this."""

MOST, MOST_TOGETHER = 1_000_000, 65_536
"""Samples of a schedule, and rows of a batch."""


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
        trained.denoiser,
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
    show(result, describe(found, trained.task, options), options.json)


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
    """Where and how rows are drawn; those of another step of training are another model's, and have their own file."""
    store = options.store or trained.place.path / "evaluations" / f"step-{trained.step}.jsonl"
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


@rc_context(drawing.STYLE)
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
