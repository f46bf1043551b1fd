"""``mdm-jax train``: train a model into a run directory, or go on where a run stopped."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optax
from jax.sharding import Mesh

from mdm_jax import models, tasks
from mdm_jax.app.options import latents
from mdm_jax.app.options import models as kinds
from mdm_jax.app.options.labels import classes_of_task
from mdm_jax.app.options.places import places
from mdm_jax.app.options.recipes import NAMES, RECIPES, SIZES, fine_tuning, settings_and_model
from mdm_jax.app.terminal.output import figure, finite, note, show
from mdm_jax.models import Denoiser
from mdm_jax.support.commands import command
from mdm_jax.support.errors import InputError, require
from mdm_jax.support.text import printable
from mdm_jax.tasks import Task, Vocabulary
from mdm_jax.tasks.recoding import is_part_of
from mdm_jax.training import (
    FixedLatentBound,
    MaskedNelbo,
    Objective,
    Run,
    RunDirectory,
    Settings,
    fit,
    load,
    objectives,
    ways,
)
from mdm_jax.training.checkpoints import NEWEST
from mdm_jax.training.objectives.collapse import has_collapsed
from mdm_jax.training.reports import HELD_OUT_ROWS
from mdm_jax.training.runs import own_part
from mdm_jax.training.settings import OWN


def run(options: argparse.Namespace) -> None:
    """Train, then print what came out."""
    every = options.checkpoint_every
    require(every is None or every >= 1, "--checkpoint-every", every, "at least 1")
    given, learning = overrides_of(options), kinds.said_by(options)
    rows = options.held_out_rows
    require(rows is None or rows >= 2, "--held-out-rows", rows, "at least 2")
    trained = start(
        options.directory,
        options.task,
        options.recipe,
        given,
        every,
        options.checkpoint,
        **places(options),
        learning=learning,
        origin=_origin(options),
        held_out_rows=HELD_OUT_ROWS if rows is None else rows,
    )
    result = summary(trained)
    if not ways.is_writer():
        return
    directory = result["directory"]
    text = (
        f"{printable(directory)}: step {result['step']}, {result['parameters']:,} parameters, held-out "
        f"{figure(result['held_out_bits_per_token'], '.3f')} bits per token ({_rows(result)}validation "
        f"half{_kind(trained)}){_latent_figure(result)}, {figure(result['seconds'], '.0f')} s of training.\n"
        f"Next: {command('profile', directory)}\n"
        f"To train it further: {command('train', directory, '--steps', str(2 * result['step']))}"
    )
    show(result, text, options.json)
    if (told := _remedy(trained)) is not None:
        note(told)


def _origin(options: argparse.Namespace) -> Run | None:
    """The run of ``--from``, if there is one.

    Raises:
        InputError: none there, the run that is to be trained itself, or ``--from-checkpoint`` alone.
    """
    if options.origin is None:
        alone = "left out, or given beside --from: the run that the checkpoint is of"
        require(options.from_checkpoint is None, "--from-checkpoint", options.from_checkpoint, alone)
        return None
    itself = Path(options.origin).resolve() == Path(options.directory).resolve()
    wanted = "another run than the one that is trained (more --steps alone train that further)"
    require(not itself, "--from", options.origin, wanted)
    config = RunDirectory(Path(options.origin)).read_config()
    if config.get("model") is None:
        raise InputError(
            f"--from must be a run of a model of the library; {options.origin} was trained with a model of your own: "
            "begin with it in Python, mdm_jax.fit(..., params=mdm_jax.load(directory, denoiser))."
        )
    return load(options.origin, checkpoint=options.from_checkpoint or NEWEST)


def _rows(result: Mapping[str, Any]) -> str:
    """Of how many rows the held-out figure is; runs of earlier versions do not say."""
    rows = result.get("held_out_rows")
    return "" if rows is None else f"{rows} rows of the "


def _kind(trained: Run) -> str:
    """What the held-out figure is, where it is not the masked NELBO."""
    objective = latents.own_objective(trained)
    if objective is None or isinstance(objective, MaskedNelbo):
        return ""
    name = objective.describe()["name"]
    return (
        f"; {name}" if name.endswith(("bound", "NELBO")) else f"; {name}, {'a' if objective.is_bound else 'no'} bound"
    )


def _latent_figure(result: Mapping[str, Any]) -> str:
    """How much its latents tell, of a run that has some."""
    nats = result.get("held_out_kl_nats")
    return "" if nats is None else f", KL of its latents {nats:.2f} nats per sequence"


def _remedy(trained: Run) -> str | None:
    """What helps against latents that have collapsed, where they have; one objective has no use of them."""
    last: dict[str, Any] = (trained.place.read_log() or [{}])[-1]
    if not has_collapsed(last.get("held_out_kl_nats"), last.get("held_out_active_units")):
        return None
    fixed = isinstance(latents.own_objective(trained), FixedLatentBound)
    advice = "--latent-objective surrogate or stepwise" if fixed else "--kl-warmup 1, or --latent-draws 8"
    return f"the latents have collapsed: the model makes next to no use of them. In a new directory try {advice}."


def overrides_of(options: argparse.Namespace) -> dict[str, Any]:
    """The settings, by name, that options give."""
    return {name: value for name in NAMES if (value := getattr(options, name, None)) is not None}


def start(
    directory: str | Path,
    task: str | None = None,
    recipe: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    checkpoint_every: int | None = None,
    checkpoint: int | str = "newest",
    devices: int | None = None,
    mesh: Mesh | None = None,
    learning: Mapping[str, Any] | None = None,
    origin: Run | None = None,
    held_out_rows: int = HELD_OUT_ROWS,
) -> Run:
    """Start the run that the arguments describe, or go on with the one in the directory.

    Args:
        directory: of the run. If one is there and nothing else is said about it, it keeps its task and settings; more
            steps alone train it further.
        task: as :func:`mdm_jax.tasks.from_spec` reads it; if left out, that of ``origin``, or else ``text``.
        recipe: the settings to start from; if left out, those of the run that is there, or else ``demo``.
        overrides: settings by name, instead of the recipe's.
        checkpoint_every: steps between checkpoints.
        checkpoint: as :func:`mdm_jax.training.fit` takes it.
        devices: likewise.
        mesh: likewise.
        learning: the kind of model and its objective, as :func:`mdm_jax.app.options.models.said_by` returns them.
        origin: a run to begin with the parameters of. Its model and objective are taken where ``learning`` and
            ``overrides`` say nothing of them.
        held_out_rows: as :func:`mdm_jax.training.fit` takes it.

    Raises:
        InputError: unusable settings, or the directory holds another run.
    """
    place, overrides, learning = RunDirectory(Path(directory)), overrides or {}, learning or {}
    unsaid = task is None and recipe is None and not learning and overrides.keys() <= {"steps"}
    if place.config.exists() and unsaid:
        learnt, settings, denoiser, objective = _as_it_is(place)
    else:
        learnt, settings, denoiser, objective = _as_asked(place, task, recipe, overrides, learning, origin)
    if ways.is_writer():
        for told in tasks.notes_of(learnt):
            note(told)
    return fit(
        denoiser,
        learnt,
        steps=overrides.get("steps"),
        directory=place.path,
        settings=settings,
        params=origin,
        objective=objective,
        checkpoint_every=checkpoint_every,
        checkpoint=checkpoint,
        devices=devices,
        mesh=mesh,
        held_out_rows=held_out_rows,
    )


def _as_it_is(place: RunDirectory) -> tuple[Task, Settings, Denoiser, Objective]:
    """What is learned, how, by which model and for what, of a run that goes on."""
    config = place.read_config()
    settings = place.settings(config)
    own = own_part(config, settings) or ("a context" if "context" in config else None)
    if own is not None:
        raise InputError(f"{place.path} was trained with {own} of your own; resume it with mdm_jax.fit.")
    objective = objectives.from_description(config.get("objective")) or MaskedNelbo()
    return tasks.restore(config["task"]), settings, models.from_description(config["model"]), objective


def _as_asked(
    place: RunDirectory,
    task: str | None,
    recipe: str | None,
    overrides: Mapping[str, Any],
    learning: Mapping[str, Any],
    origin: Run | None,
) -> tuple[Task, Settings, Denoiser, Objective]:
    """What is learned, how, by which model and for what: as it is said, and else as it is there or in the origin."""
    there = place.read_config() if place.config.exists() else None
    old = None if origin is None else origin.place.read_config()
    kept = there if recipe is None else None  # what was not said is as it is there
    like = kept or old  # the run whose model and objective are taken where nothing is said of them
    usual = RECIPES[recipe or "demo"]["model"]
    chosen = kinds.merged(learning, {} if like is None else kinds.of_run(like), usual)
    before = there or old
    if before is not None and task is None and "length" not in overrides:
        learnt = tasks.restore(before["task"])  # what is there is compared by what was said
    else:
        spec = task or ("text" if old is None else old["task"]["spec"])
        learnt = _windows_like(tasks.from_spec(spec, overrides.get("length")), spec, overrides, old)
        learnt = _written_like(learnt, before)
    if kept is not None:
        overrides = {**_asked_for(place.settings(kept)), **_sizes(kept.get("model") or {}), **overrides}
    elif old is not None:
        gentle = fine_tuning(overrides) if models.is_pretrained(old.get("model") or {}) else {}
        if gentle.keys() - overrides.keys() and ways.is_writer():
            note(f"A published model is trained on gently: {gentle['optimizer']} at {gentle['learning_rate']:g}.")
        overrides = {**_sizes(old.get("model") or {}), **gentle, **overrides}
    settings, denoiser = settings_and_model(recipe or "demo", learnt, overrides, chosen)
    objective = kinds.objective_of(chosen, learnt.length, classes_of_task(learnt))
    if like is not None and not learning and like.get("model") is not None:  # options make fewer than there are
        sizes = {"vocab_size": learnt.vocab_size, "length": learnt.length, **_sizes(overrides)}
        kept_sizes = models.is_pretrained(like["model"])
        more = {} if kept_sizes else {**sizes, **_family(like["model"], learnt)}
        denoiser = models.from_description({**like["model"], **more})
        objective = objectives.from_description(like.get("objective")) or objective
    require(settings.optimizer != OWN, "--optimizer", settings.optimizer, "adamw or muon")
    return learnt, settings, denoiser, objective


def _windows_like(made: Task, spec: str, overrides: Mapping[str, Any], old: Mapping[str, Any] | None) -> Task:
    """The task with windows of the old run's length, where they are cut from a stream and no length is said."""
    if old is None or "length" in overrides or np.ndim(made.train) != 1 or made.length == old["task"]["length"]:
        return made
    return tasks.from_spec(spec, old["task"]["length"])


def _written_like(made: Task, before: Mapping[str, Any] | None) -> Task:
    """The text in the vocabulary of a run, where that has all its characters and more."""
    stored = None if before is None else before["task"].get("vocabulary")
    if not isinstance(stored, str) or not is_part_of(made, vocabulary := Vocabulary(stored)):
        return made
    return tasks.in_vocabulary(made, vocabulary)  # pyright: ignore[reportArgumentType]


def _asked_for(settings: Settings) -> dict[str, Any]:
    """Settings that one may ask for; the others follow from the task and the directory."""
    return {name: getattr(settings, name) for name in NAMES if hasattr(settings, name)}


def _family(model: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """The family of a model for rows that end early: the same parameters take them."""
    plain = model["family"] == "transformer" and tasks.lengths_of(task.describe()) is not None
    return {"family": "ragged transformer"} if plain else {}


def _sizes(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of some values that are sizes of a recipe's models."""
    return {name: values[name] for name in SIZES if name in values}


def summary(trained: Run) -> dict[str, Any]:
    """The figures of a finished training, as JSON; null for what the log does not tell."""
    log = trained.place.read_log()
    last: dict[str, Any] = log[-1] if log else {}
    figures = ("seconds", "held_out_bits_per_token", "held_out_standard_error", "held_out_rows")
    config = trained.place.read_config()
    of_latents = [name for name in ("held_out_kl_nats", "held_out_active_units") if name in last]
    return {
        "directory": str(trained.place.path),
        "step": trained.step,
        "parameters": optax.tree.size(trained.params),
        "objective": config.get("objective"),
        **{name: config[name] for name in ("stages", "origin") if name in config},
        **{name: finite(last.get(name)) for name in (*figures, *of_latents)},
    }
