"""``mdm-jax race``: the best schedule for several budgets by racing samples, for orders that no profile covers."""

import argparse
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int32
from matplotlib.figure import Figure

from mdm_jax.app.options import latents
from mdm_jax.app.options.budgets import budgets_of
from mdm_jax.app.options.comparing import MOST, check, execution_of, ordered, prompts, scores_of
from mdm_jax.app.options.places import places
from mdm_jax.app.terminal.output import note, show
from mdm_jax.evaluation import Halving, Prompts, Raced, race
from mdm_jax.plot import cost_landscapes, drawing
from mdm_jax.support.errors import require, verbatim
from mdm_jax.support.files import write_json
from mdm_jax.support.keys import key_of
from mdm_jax.tasks import Task
from mdm_jax.training import Run, load, ways

FORMAT = "mdm_jax races 1"
BUDGETS: Sequence[int] = (4, 8, 16)
"""Unless others are asked for."""
_NUMBERS = {
    "grid": (2, 64),
    "free": (0, 10_000),
    "eta": (2, 1000),
    "finalists": (1, 10_000),
    "final_samples": (2, MOST),
}
"""Options that are numbers of the race, and the least and the most that each can be (a landscape has two rows)."""


def run(options: argparse.Namespace) -> None:
    """Race at each budget; write plans, results and landscapes; print tables."""
    check(options)
    for name, (least, most) in _NUMBERS.items():
        value = getattr(options, name)
        require(least <= value <= most, "--" + name.replace("_", "-"), value, f"from {least} to {most:,}")
    where = places(options)
    trained = load(options.directory, checkpoint=options.checkpoint)
    length, task = trained.settings.length, trained.task
    budgets = budgets_of(options.budgets, length, BUDGETS)
    given = None if options.given is None else prompts_of(trained, options.given)
    numbers = {name: getattr(options, name) for name in (*_NUMBERS, "samples")}
    search = Halving(**numbers)
    if given is not None:
        _check_prompts(given, length, budgets, search)
    place = trained.place.path / "races" / _name(options, trained.step)
    found = {
        budget: race(
            latents.drawing(trained, options.latent_draw),
            trained.params,
            scores_of(task),
            length,
            budget,
            key=key_of(options.seed),
            lower_is_better=task.lower_is_better,
            order=ordered(options.order),
            search=search,
            prompts=given,
            temperature=options.temperature,
            execution=execution_of(trained, options, where),
        )
        for budget in budgets
    }
    if not ways.is_writer():
        return
    pictures = {budget: landscape(raced, task) for budget, raced in found.items()}
    about = {
        "format": FORMAT,
        "task": task.spec,
        "score": task.score_name,
        "step": trained.step,
        **{name: getattr(options, name) for name in ("order", "temperature", "given", "seed")},
        **numbers,
    }
    draw = latents.how_drawn(trained, options.latent_draw)
    about |= {} if draw is None else {"latent_draw": draw}
    races = {budget: {"steps": budget, **raced.to_json()} for budget, raced in found.items()}
    for budget, raced in found.items():  # all is known before anything is written
        raced.plan.save(place / f"winner-{budget}.json")
        write_json(place / f"race-{budget}.json", about | {"races": [races[budget]]})
        drawing.save(pictures[budget], place / f"landscape-{budget}.png")
    text = "\n\n".join(describe(budget, raced, task) for budget, raced in found.items())
    count = sum(len(raced.conclusions()) for raced in found.values())
    told = (
        f"{text}\n\nEach 95 % interval holds by itself, not the {count} of them together. The winners' plans, all "
        f"scores and the landscapes are in {place}."
    )
    told += "" if draw is None else f" Drawn with {latents.TOLD[draw]}."
    show(about | {"races": list(races.values())}, told, options.json)
    if options.given is not None and (said := latents.prompt_note(trained)) is not None:
        note(said)


def _check_prompts(given: Prompts, length: int, budgets: Sequence[int], search: Halving) -> None:
    """Refuse races that need more prompts than there are before the first of them draws."""
    for budget in budgets:
        needed = search.search_samples(length, budget)
        least = (
            f"so few that the last round of the search, at {budget} steps, has no more than the {len(given.search)} "
        )
        asked = verbatim(f"{search.samples}, which makes {needed}")
        require(needed <= len(given.search), "--samples", asked, least + "sequences that --given goes on from")
    held_out = min(len(given.validation), len(given.test))
    wanted = f"at most {held_out} beside --given: so many held-out sequences there are"
    require(search.final_samples <= held_out, "--final-samples", search.final_samples, wanted)


def prompts_of(trained: Run, given: int) -> Prompts:
    """Beginnings of sequences, apart for search (training data), validation and test."""
    length = trained.settings.length
    rows: Int32[np.ndarray, "..."] = np.asarray(trained.task.train)
    if rows.ndim == 1:  # a stream: disjoint windows, evenly spread over it
        windows = rows[: len(rows) // length * length].reshape(-1, length)
        rows = windows[np.linspace(0, len(windows) - 1, min(len(windows), 4096)).astype(int)]
    parts = (rows, trained.task.validation, trained.task.test)
    canvases = [prompts(trained, part, given, len(part)) for part in parts]
    return Prompts(*canvases)  # pyright: ignore[reportArgumentType]


def describe(budget: int, raced: Raced, task: Task) -> str:
    """Who won, with which sizes, and how the winner does on fresh seeds."""
    search = raced.rungs[-1]
    took_part = len({name for rung in raced.rungs for name in rung.names})
    lines = [
        f"{budget} steps: {raced.winner} won among {took_part} different plans; the last {len(search.names)} had "
        f"{search.samples} samples each in the search.",
        f"Its sizes: {' '.join(map(str, raced.plan.sizes))}. Fresh seeds, {raced.test.samples} samples each, "
        f"{'lower' if task.lower_is_better else 'higher'} is better:",
        raced.test.table(),
        *raced.conclusions(),
    ]
    return "\n".join(lines)


def landscape(raced: Raced, task: Task) -> Figure:
    """How far each Beta(a, b) schedule was behind in its last round, and with how many samples."""
    panel, quantity = cost_landscapes.panel_of(raced)
    return cost_landscapes.side_by_side([panel], quantity.replace("mean score", task.score_name, 1))


def _name(options: argparse.Namespace, step: int) -> str:
    """The folder of races that differ in nothing but their steps: no other race is overwritten."""
    parts = [options.order.replace("_", "-")]
    parts += [] if options.temperature == 1 else [f"temperature-{options.temperature!r}"]
    parts += [] if options.given is None else [f"given-{options.given}"]
    parts += ["latent-each-step"] if options.latent_draw == "each-step" else []
    parts += [f"step-{step}", f"seed-{options.seed}"]
    usual = Halving()
    for name in (*_NUMBERS, "samples"):
        if getattr(options, name) != getattr(usual, name):
            parts.append(f"{name.replace('_', '-')}-{getattr(options, name)}")
    return "-".join(parts)
