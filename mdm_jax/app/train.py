"""``mdm-jax train``: train a model into a run directory, or go on where a run stopped."""

import argparse
from pathlib import Path
from typing import Any

from mdm_jax import models, tasks
from mdm_jax.app.output import show
from mdm_jax.app.profile import parameter_count
from mdm_jax.app.recipes import settings_and_model
from mdm_jax.support.errors import InputError
from mdm_jax.training import Run, RunDirectory, Settings, fit

LENGTH = 128
_CHOICES = ("recipe", "task", *(name for name in Settings.__dataclass_fields__), "width", "depth", "heads")


def run(options: argparse.Namespace) -> None:
    """Train, then print what came out."""
    result = summary(train(options))
    directory = result["directory"]
    text = (
        f"{directory}: step {result['step']}, {result['parameters']:,} parameters, held-out "
        f"{result['held_out_bits_per_token']:.3f} bits per token (validation half), "
        f"{result['seconds']:.0f} s of training.\nNext: mdm-jax profile {directory}"
    )
    show(result, text, options.json)


def train(options: argparse.Namespace) -> Run:
    """Start the run that the options describe, or resume the one in the directory."""
    place = RunDirectory(Path(options.directory))
    named = [name for name in _CHOICES if getattr(options, name, None) is not None]
    if place.config.exists() and not named:
        config = place.read_config()
        if config.get("model") is None:
            raise InputError(f"{place.path} was trained with a model of your own; resume it with mdm_jax.training.fit.")
        task = tasks.restore(config["task"])
        settings, denoiser = Settings(**config["settings"]), models.from_description(config["model"])
    else:
        length = LENGTH if options.length is None else options.length
        task = tasks.from_spec(options.task or "text", length)
        settings, denoiser = settings_and_model(options.recipe or "demo", task, options)
    return fit(denoiser, task, directory=place.path, settings=settings, checkpoint_every=options.checkpoint_every)


def summary(trained: Run) -> dict[str, Any]:
    """The figures of a finished training, as JSON."""
    assert trained.directory is not None
    last = trained.directory.read_log()[-1]
    return {
        "directory": str(trained.directory.path),
        "step": trained.step,
        "parameters": parameter_count(trained),
        "seconds": last["seconds"],
        "held_out_bits_per_token": last["held_out_bits_per_token"],
        "held_out_standard_error": last["held_out_standard_error"],
    }
