"""``mdm-jax race``: the best schedule for several budgets by racing samples, for orders that no profile covers."""

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from mdm_jax.app.options import latents
from mdm_jax.app.options.budgets import budgets_of
from mdm_jax.app.options.comparing import (
    MOST,
    Basis,
    basis_of,
    check,
    execution_of,
    ordered,
    reference,
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
from mdm_jax.app.work.remarks import (
    ENTROPY_FALLS,
    told_of_blocks,
    told_of_end,
    told_of_entropy,
    told_of_reference,
)
from mdm_jax.evaluation import Halving, Prompts, Raced, race
from mdm_jax.plot import cost_landscapes, drawing
from mdm_jax.support.errors import InputError, require, verbatim
from mdm_jax.support.files import write_json
from mdm_jax.support.keys import key_of
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
    length = trained.settings.length
    if options.guidance is not None and options.label is None:
        raise InputError("--guidance must be given beside --label: a race goes on from other prompts in each part.")
    basis, scoring = basis_of(trained, options), scoring_of(trained, options.score)
    end = None if options.end is None else end_token(trained, options.end)
    budgets = budgets_of(options.budgets, planned(trained), BUDGETS)
    numbers = {name: getattr(options, name) for name in (*_NUMBERS, "samples")}
    search = Halving(**numbers)
    prompts = prompts_of(basis, budgets, search)
    last = own_end(trained) if end is None else end  # behind which nothing is scored
    scoring = scoring_to_end(scoring, basis, last, prompts or ())
    held_out = reference(scoring, basis, search.final_samples)  # first, so that a score that fails does so soon
    place = trained.place.path / "races" / _name(options, basis, trained.step, end)
    most = max(search.final_samples, *(search.search_samples(planned(trained), budget) for budget in budgets))
    denoiser, context = conditioned(trained, options, latents.drawing(trained, options.latent_draw), None, most)
    found = {
        budget: race(
            denoiser,
            trained.params,
            scoring.functions,
            length,
            budget,
            key=key_of(options.seed),
            lower_is_better=scoring.lower_is_better,
            order=ordered(options.order, end),
            search=search,
            prompts=prompts,
            temperature=options.temperature,
            context=context,
            execution=execution_of(trained, options, where),
        )
        for budget in budgets
    }
    found = {budget: _beside(held_out, raced) for budget, raced in found.items()}
    if not ways.is_writer():
        return
    pictures = {budget: landscape(raced, scoring.name) for budget, raced in found.items()}
    about = {
        "format": FORMAT,
        "task": trained.description["spec"],
        "score": scoring.name,
        **scoring.to_json(),
        "step": trained.step,
        **{name: getattr(options, name) for name in ("order", "temperature", "guidance", "seed", "end")},
        **basis.to_json(),
        **numbers,
    }
    draw = latents.how_drawn(trained, options.latent_draw)
    about |= {} if draw is None else {"latent_draw": draw}
    races = {budget: {"steps": budget, **raced.to_json()} for budget, raced in found.items()}
    for budget, raced in found.items():  # all is known before anything is written
        raced.plan.save(place / f"winner-{budget}.json")
        write_json(place / f"race-{budget}.json", about | {"races": [races[budget]]})
        drawing.save(pictures[budget], place / f"landscape-{budget}.png")
    text = "\n\n".join(describe(budget, raced, scoring) for budget, raced in found.items())
    count = sum(len(raced.conclusions()) for raced in found.values())
    told = (
        f"{text}\n\nEach 95 % interval holds by itself, not the {count} of them together. A better score is better, "
        f"{ENTROPY_FALLS}. The winners' plans, all scores and the landscapes are in {place}."
        f"{basis.told}{told_of_end(options.end, basis, scoring)}"
        f"{told_of_reference(held_out, basis, search.final_samples)}{told_of_blocks(trained)}"
    )
    told += "" if draw is None else f" Drawn with {latents.TOLD[draw]}."
    show(about | {"races": list(races.values())}, told, options.json)
    given = None if prompts is None else prompts.test
    figures = {"temperature": options.temperature, "seed": options.seed}
    drawn = [
        kept.judged(trained, raced.test, given, last, {raced.winner: budget}, {raced.winner: _title(raced)}, **figures)
        for budget, raced in found.items()
    ]
    kept.leave(trained, options.line, [panel for panels in drawn for panel in panels])
    if basis.given is not None and (said := latents.prompt_note(trained)) is not None:
        note(said)
    if (said := label_note(trained, options)) is not None:
        note(said)
    if (said := _collapsed(found, trained, prompts, last)) is not None:
        note(said)


def _title(raced: Raced) -> str:
    """What the report calls the winner."""
    return f"{raced.winner}, winner of a race"


def _beside(held_out: Mapping[str, Any] | None, raced: Raced) -> Raced:
    """The race with the scores of held-out rows in its last table."""
    return dataclasses.replace(raced, test=dataclasses.replace(raced.test, reference=held_out))


def _collapsed(found: Mapping[int, Raced], trained: Run, prompts: Prompts | None, end: int | None) -> str | None:
    """Whether the samples that a race was decided by have collapsed, at the first budget where they have."""
    for raced in found.values():
        canvas = None if prompts is None else prompts.test[: raced.test.samples]
        if (said := collapsed(raced.test, trained, canvas, end)) is not None:
            return said
    return None


def prompts_of(basis: Basis, budgets: Sequence[int], search: Halving) -> Prompts | None:
    """What samples go on from, apart for search (training data), validation and test; ``None`` if all is drawn.

    Raises:
        InputError: fewer rows of the data than samples, before the first race draws.
    """
    needed = [search.search_samples(planned(basis.trained), budget) for budget in budgets]
    counts = {"train": max(needed), "validation": search.final_samples, "test": search.final_samples}
    found = [basis.canvases(part, None if basis.given is not None else most) for part, most in counts.items()]
    if found[0] is None:
        return None
    prompts = Prompts(*found)  # pyright: ignore[reportArgumentType]
    if basis.given is not None:
        _check_prompts(prompts, budgets, needed, search)
    return prompts


def _check_prompts(given: Prompts, budgets: Sequence[int], needed: Sequence[int], search: Halving) -> None:
    for budget, count in zip(budgets, needed):
        least = (
            f"so few that the last round of the search, at {budget} steps, has no more than the {len(given.search)} "
        )
        asked = verbatim(f"{search.samples}, which makes {count}")
        require(count <= len(given.search), "--samples", asked, least + "sequences that --given goes on from")
    held_out = min(len(given.validation), len(given.test))
    wanted = f"at most {held_out} beside --given: so many held-out sequences there are"
    require(search.final_samples <= held_out, "--final-samples", search.final_samples, wanted)


def describe(budget: int, raced: Raced, scoring: Scoring) -> str:
    """Who won, with which sizes, and how the winner does on fresh seeds."""
    search = raced.rungs[-1]
    took_part = len({name for rung in raced.rungs for name in rung.names})
    lines = [
        f"{budget} steps: {raced.winner} won among {took_part} different plans; the last {len(search.names)} had "
        f"{search.samples} samples each in the search.",
        f"Its sizes: {' '.join(map(str, raced.plan.sizes))}. Fresh seeds, {raced.test.samples} samples each, "
        f"{scoring.better} is better:",
        raced.test.table(),
        *raced.conclusions(),
        *told_of_entropy(raced),
    ]
    return "\n".join(lines)


def landscape(raced: Raced, score: str) -> Figure:
    """How far each Beta(a, b) schedule was behind in its last round, and with how many samples."""
    panel, quantity = cost_landscapes.panel_of(raced)
    return cost_landscapes.side_by_side([panel], quantity.replace("mean score", score, 1))


def _name(options: argparse.Namespace, basis: Basis, step: int, end: int | None) -> str:
    """The folder of races that differ in nothing but their steps: no other race is overwritten."""
    parts = [options.order.replace("_", "-")]
    parts += [] if options.temperature == 1 else [f"temperature-{options.temperature!r}"]
    parts += [] if basis.given is None else [f"given-{basis.given}"]
    parts += [] if basis.label is None else [f"label-{'-'.join(map(str, basis.label))}"]
    parts += [] if options.guidance is None else [f"guidance-{options.guidance!r}"]
    parts += [] if basis.length is None else [f"length-{basis.length}"]
    parts += [] if end is None else [f"end-{end}"]
    parts += [] if options.score is None else [f"score-{options.score.replace(':', '-')}"]
    parts += ["latent-each-step"] if options.latent_draw == "each-step" else []
    parts += [f"step-{step}", f"seed-{options.seed}"]
    usual = Halving()
    for name in (*_NUMBERS, "samples"):
        if getattr(options, name) != getattr(usual, name):
            parts.append(f"{name.replace('_', '-')}-{getattr(options, name)}")
    return "-".join(parts)
