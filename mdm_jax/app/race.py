"""``mdm-jax race``: the best schedule for several budgets by racing samples, for orders that no profile covers."""

import argparse
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Int32
from matplotlib.figure import Figure

from mdm_jax.app import drawing, landscapes
from mdm_jax.app.evaluate import MOST, check, drawing_options, ordered, prompts, scores_of, store_of
from mdm_jax.app.output import show
from mdm_jax.app.places import places
from mdm_jax.app.tune import fitting, parse_budgets
from mdm_jax.evaluation import Prompts, Raced, race
from mdm_jax.support.errors import require
from mdm_jax.support.files import write_json
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
    """Race at each budget; write plans, results and the landscape; print tables."""
    check(options)
    for name, (least, most) in _NUMBERS.items():
        value = getattr(options, name)
        require(least <= value <= most, "--" + name.replace("_", "-"), value, f"from {least} to {most:,}")
    where = places(options)
    trained = load(options.directory, checkpoint=options.checkpoint)
    length, task = trained.settings.length, trained.task
    budgets = fitting(BUDGETS, length) if options.budgets is None else parse_budgets(options.budgets, length)
    given = None if options.given is None else prompts_of(trained, options.given)
    place = trained.place.path / "races" / _name(options)
    found = {
        budget: race(
            trained.denoiser,
            trained.params,
            scores_of(task),
            length,
            budget,
            jax.random.key(options.seed),
            lower_is_better=task.lower_is_better,
            order=ordered(options.order),
            prompts=given,
            store=store_of(trained, options),
            **{name: getattr(options, name) for name in (*_NUMBERS, "samples")},
            **drawing_options(options),
            **where,
        )
        for budget in budgets
    }
    if not ways.is_writer():
        return
    picture = landscape(found, task)  # all is known before anything is written
    for budget, raced in found.items():
        raced.plan.save(place / f"winner-{budget}.json")
    result = {
        "format": FORMAT,
        "task": task.spec,
        "score": task.score_name,
        **{name: getattr(options, name) for name in ("order", "temperature", "given", "seed")},
        "races": [{"steps": budget, **raced.to_json()} for budget, raced in found.items()],
    }
    write_json(place / "races.json", result)
    drawing.save(picture, place / "landscape.png")
    text = "\n\n".join(describe(budget, raced, task) for budget, raced in found.items())
    show(result, f"{text}\n\nThe winners' plans, all scores and the landscape are in {place}.", options.json)


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


def landscape(found: dict[int, Raced], task: Task) -> Figure:
    """How far each Beta(a, b) schedule was behind in its last round, and with how many samples.

    Behind the best of those that came furthest: the best of all cells may be one that was lucky with few samples.
    """
    panels = []
    drawn = [list(found)[i] for i in landscapes.spread(len(found))]
    for budget in drawn:
        raced = found[budget]
        score = raced.landscape if raced.lower_is_better else -raced.landscape
        score = np.where(np.isnan(score), np.inf, score)
        best = np.unravel_index(np.argmin(np.where(raced.counts == raced.counts.max(), score, np.inf)), score.shape)
        behind = score - score[best]
        worst = float(behind[np.isfinite(behind)].max(initial=0.0))
        cells = np.clip(behind, 0.01 * worst, worst)  # differences finer than that are noise
        star = (float(raced.a[best[0]]), float(raced.b[best[1]]), float(raced.landscape[best]))
        panels.append(landscapes.CostLandscape(f"{budget} steps", raced.a, raced.b, cells, star))
    figure = landscapes.costs(panels, f"{task.score_name} in the search: behind the best; numbers: samples")
    for axes, panel, budget in zip(figure.axes, panels, drawn):
        half = float(np.sqrt(panel.a[1] / panel.a[0]))
        axes.set(xlim=(panel.a[0] / half, panel.a[-1] * half), ylim=(panel.b[0] / half, panel.b[-1] * half))
        for i, j in np.ndindex(panel.costs.shape):
            axes.text(
                float(panel.a[i]), float(panel.b[j]), str(found[budget].counts[i, j]), fontsize=5, ha="center",
                va="top", color=drawing.light("muted"), zorder=4,
            )  # fmt: skip
    return figure


def _name(options: argparse.Namespace) -> str:
    """The folder of races that differ in what is raced for."""
    parts = [options.order.replace("_", "-")]
    parts += [] if options.temperature == 1 else [f"temperature-{options.temperature:g}"]
    parts += [] if options.given is None else [f"given-{options.given}"]
    return "-".join(parts)
