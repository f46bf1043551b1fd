"""``mdm-jax train``: train a model into a run directory, or go on where a run stopped."""

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optax
from jax.sharding import Mesh

from mdm_jax import models, tasks
from mdm_jax.app.options import latents
from mdm_jax.app.options.places import places
from mdm_jax.app.options.recipes import MODEL, NAMES, settings_and_model
from mdm_jax.app.terminal.output import figure, finite, note, show
from mdm_jax.support.commands import command
from mdm_jax.support.errors import InputError, require
from mdm_jax.support.text import printable
from mdm_jax.training import FixedLatentBound, MaskedNelbo, Objective, Run, RunDirectory, fit, objectives, ways
from mdm_jax.training.objectives.collapse import has_collapsed
from mdm_jax.training.runs import own_part
from mdm_jax.training.settings import OWN


def run(options: argparse.Namespace) -> None:
    """Train, then print what came out."""
    every = options.checkpoint_every
    require(every is None or every >= 1, "--checkpoint-every", every, "at least 1")
    given, learning = overrides_of(options), latents.said_by(options)
    trained = start(
        options.directory,
        options.task,
        options.recipe,
        given,
        every,
        options.checkpoint,
        **places(options),
        learning=learning,
    )
    result = summary(trained)
    if not ways.is_writer():
        return
    directory = result["directory"]
    text = (
        f"{printable(directory)}: step {result['step']}, {result['parameters']:,} parameters, held-out "
        f"{figure(result['held_out_bits_per_token'], '.3f')} bits per token (validation half{_kind(trained)})"
        f"{_latent_figure(result)}, {figure(result['seconds'], '.0f')} s of training.\n"
        f"Next: {command('profile', directory)}"
    )
    show(result, text, options.json)
    if (told := _remedy(trained)) is not None:
        note(told)


def _kind(trained: Run) -> str:
    """What the held-out figure is, where it is not the masked NELBO."""
    objective = latents.own_objective(trained)
    if objective is None or isinstance(objective, MaskedNelbo):
        return ""
    name = objective.describe()["name"]
    return f"; {name}" if name.endswith("bound") else f"; {name}, {'a' if objective.is_bound else 'no'} bound"


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
) -> Run:
    """Start the run that the arguments describe, or go on with the one in the directory.

    Args:
        directory: of the run. If one is there and nothing else is said about it, it keeps its task and settings.
        task: as :func:`mdm_jax.tasks.from_spec` reads it; ``text`` if left out.
        recipe: the settings to start from; if left out, those of the run that is there, or else ``demo``.
        overrides: settings by name, instead of the recipe's.
        checkpoint_every: steps between checkpoints.
        checkpoint: as :func:`mdm_jax.training.fit` takes it.
        devices: likewise.
        mesh: likewise.
        learning: its latents and its objective, as :func:`mdm_jax.app.options.latents.said_by` returns them.

    Raises:
        InputError: unusable settings, or the directory holds another run.
    """
    place = RunDirectory(Path(directory))
    objective: Objective = MaskedNelbo()
    if place.config.exists() and task is None and recipe is None and not overrides and not learning:
        config = place.read_config()
        settings = place.settings(config)
        own = own_part(config, settings) or ("a context" if "context" in config else None)
        if own is not None:
            raise InputError(f"{place.path} was trained with {own} of your own; resume it with mdm_jax.fit.")
        learnt, denoiser = tasks.restore(config["task"]), models.from_description(config["model"])
        objective = objectives.from_description(config.get("objective")) or objective
    else:
        overrides = overrides or {}
        there = place.read_config() if place.config.exists() else None
        kept = there if recipe is None else None  # what was not said is as it is there
        chosen = latents.merged(learning or {}, {} if kept is None else latents.of_run(kept))
        if there is not None and task is None and "length" not in overrides:
            learnt = tasks.restore(there["task"])  # what is there is compared by what was said
        else:
            learnt = tasks.from_spec(task or "text", overrides.get("length"))
        if kept is not None:
            overrides = {**dataclasses.asdict(place.settings(kept)), **_sizes(kept.get("model") or {}), **overrides}
        settings, denoiser = settings_and_model(recipe or "demo", learnt, overrides, chosen)
        objective = latents.objective_of(chosen, learnt.length)
        if kept is not None and not learning and kept.get("model") is not None:  # options make fewer than there are
            sizes = {"vocab_size": learnt.vocab_size, "length": learnt.length, **_sizes(overrides)}
            denoiser = models.from_description({**kept["model"], **sizes})
            objective = objectives.from_description(kept.get("objective")) or objective
        require(settings.optimizer != OWN, "--optimizer", settings.optimizer, "adamw or muon")
    return fit(
        denoiser,
        learnt,
        directory=place.path,
        settings=settings,
        objective=objective,
        checkpoint_every=checkpoint_every,
        checkpoint=checkpoint,
        devices=devices,
        mesh=mesh,
    )


def _sizes(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of some values that are sizes of a recipe's models."""
    return {name: values[name] for name in MODEL if name in values}


def summary(trained: Run) -> dict[str, Any]:
    """The figures of a finished training, as JSON; null for what the log does not tell."""
    log = trained.place.read_log()
    last: dict[str, Any] = log[-1] if log else {}
    figures = ("seconds", "held_out_bits_per_token", "held_out_standard_error")
    of_latents = [name for name in ("held_out_kl_nats", "held_out_active_units") if name in last]
    return {
        "directory": str(trained.place.path),
        "step": trained.step,
        "parameters": optax.tree.size(trained.params),
        "objective": trained.place.read_config().get("objective"),
        **{name: finite(last.get(name)) for name in (*figures, *of_latents)},
    }
