"""``mdm-jax footprint``: what a model would take, line by line, before anyone pays for it."""

import argparse
import dataclasses
import math
from pathlib import Path
from typing import Any

from mdm_jax import models
from mdm_jax.app.options.recipes import FINE_TUNING
from mdm_jax.app.terminal.output import show
from mdm_jax.app.work.footprint_texts import Asked, describe
from mdm_jax.footprint import (
    SIZES,
    Footprint,
    Inference,
    compiled,
    extrapolated,
    footprint,
    inference,
    longest,
    named,
)
from mdm_jax.models.denoiser import Denoiser
from mdm_jax.support.devices import DATA, parse_mesh
from mdm_jax.support.errors import InputError, require
from mdm_jax.support.files import read_json
from mdm_jax.support.text import in_words, printable
from mdm_jax.training import MaskedNelbo, RunDirectory, Settings, contexts, objectives
from mdm_jax.training.runs import own_part
from mdm_jax.training.settings import OWN
from mdm_jax.training.sources import KEY, shapes_of

MOST_COMPILED, MOST_COUNTED = 4096, 1_000_000
"""Devices: for more a compiler on one machine is not asked, and more there are not."""
_DAY = 86_400.0
_OF_TRAINING = ("batch", "optimizer", "accumulate", "compute")
_BESIDE = {
    "kind": ("a size by name",),
    "block": ("a size by name", "a published model"),
    "shift": ("a published model",),
}
_TYPED_BY = {
    "the files": "the weights' own types",
    "the run": "as they are trained",
    "config.json": "as config.json says, for weights that are not there",
    "nobody": "as nothing says another type, for weights that are not there",
}


def run(options: argparse.Namespace) -> None:
    """Count, ask the compiler unless told not to, print."""
    mesh = None if options.mesh is None else parse_mesh(options.mesh)
    require(options.devices is None or options.devices >= 1, "--devices", options.devices, "at least 1")
    require(
        0 < options.time_limit <= _DAY, "--time-limit", options.time_limit, f"more than 0 seconds, at most {_DAY:g}"
    )
    count = options.devices or 1 if mesh is None else math.prod(mesh.values())
    most = MOST_COUNTED if options.no_compile else MOST_COMPILED
    wanted = f"at most {most:,} devices in all" + (
        "" if options.no_compile else f"; {MOST_COUNTED:,} with --no-compile"
    )
    require(count <= most, "--devices" if mesh is None else "--mesh", count, wanted)
    asked = what_is_asked(options, count if mesh is None else mesh.get(DATA, 1))
    denoiser, settings, context, objective, params, *_ = asked
    require(settings.optimizer != OWN, "--optimizer", settings.optimizer, "adamw or muon, whose state is known")
    wanted = f"left out: weights of {in_words(asked.narrow)} are measured and sampled, and not trained"
    for name in _OF_TRAINING if asked.narrow else ():
        require(getattr(options, name) is None, f"--{name}", getattr(options, name), wanted)
    held, trained = inference(denoiser, params, mesh, options.devices or 1, settings.length, context), None
    if not asked.narrow:
        trained = footprint(denoiser, settings, mesh, options.devices or 1, context, objective, params)
        if not options.no_compile:
            trained = (compiled if options.whole else extrapolated)(denoiser, trained, options.time_limit)
    show(to_json(held, trained), describe(options.model, asked, held, trained), options.json)


def what_is_asked(options: argparse.Namespace, shares: int) -> Asked:
    """The model that is named, how it would be trained, the shape of the context that it gets, if it gets one, and what
    it would learn.

    Args:
        options: of the command line.
        shares: over how many devices rows are divided: without a run or ``--batch``, each gets one.
    """
    given = {name: getattr(options, name) for name in ("length", *_OF_TRAINING)}
    given = {name: value for name, value in given.items() if value is not None}
    defaults = {"batch": shares * max(1, given.get("accumulate", 1))}
    path = Path(options.model)
    kind = "a size by name" if options.model.lower() in SIZES else _kind_of(path)
    for name, kinds in _BESIDE.items():
        if getattr(options, name) is not None and kind not in kinds:
            raise InputError(
                f"--{name} must be given beside {' or '.join(kinds)}; {printable(options.model)} is {kind}."
            )
    if kind == "a size by name":
        denoiser = named(options.model.lower(), options.length, options.kind or "bidirectional", options.block)
        settings = Settings(**{**defaults, "optimizer": "adamw", "length": longest(denoiser), **given})
        return Asked(denoiser, settings, None, objectives.default_objective(denoiser))
    if kind == "a run":
        return _run(RunDirectory(path), given)
    found = models.outline_pretrained(path, block=options.block, shift=options.shift)
    settings = Settings(**{**defaults, **FINE_TUNING, "length": longest(found.denoiser), **given})
    _require_short(settings.length, found.denoiser)
    objective = objectives.default_objective(found.denoiser)
    return Asked(found.denoiser, settings, None, objective, found.shapes, found.family, _TYPED_BY[found.typed_by])


def _kind_of(path: Path) -> str:
    """What lies there."""
    if path.is_file():
        return "a published model"
    if not (path / "config.json").is_file():
        wanted = f"one of {', '.join(SIZES)}, or a run directory, or the folder of a published model"
        raise InputError(f"--model must be {wanted}; got {str(path)!r}.")
    config = read_json(path / "config.json", "a configuration")
    return "a published model" if isinstance(config, dict) and "format" not in config else "a run"


def _run(place: RunDirectory, given: dict[str, Any]) -> Asked:
    """The model of a run, trained as it was but for what is given; an imported one as it would be trained on."""
    config = place.read_config()
    params = shapes_of(config)
    settings = dataclasses.replace(place.settings(config), **({} if params is None else FINE_TUNING) | given)
    own = own_part(config, settings)
    if own is not None:
        raise InputError(
            f"{place.path} was trained with {own} of your own, which no command can make anew: "
            "mdm_jax.footprint.footprint counts any model and objective in Python."
        )
    denoiser = models.from_description(config["model"])
    _require_short(settings.length, denoiser)
    objective = objectives.from_description(config.get("objective")) or MaskedNelbo()  # own_part has looked
    told = ()
    if params is not None:
        told = (str(config[KEY].get("family")), _TYPED_BY["the files"])
    elif models.is_pretrained(config["model"]):
        told = (_innermost(config["model"])["family"], _TYPED_BY["the run"])
    return Asked(denoiser, settings, place.shown(config), objective, params, *told)


def _innermost(described: dict[str, Any]) -> dict[str, Any]:
    """The description of the network in a description with wrappers around it."""
    return _innermost(described["denoiser"]) if "denoiser" in described else described


def _require_short(length: int, denoiser: Denoiser) -> None:
    most = longest(denoiser)
    require(most is None or length <= most, "--length", length, f"at most {most}, as the model is")


def to_json(held: Inference, trained: Footprint | None) -> dict[str, Any]:
    """What was counted as JSON, with the cache of sampling one sequence; of training where it is."""
    return {
        "format": "mdm_jax footprint 1",
        "parameters": held.parameters,
        "devices": held.devices,
        "mesh": held.mesh,
        "parameter_bytes": dict(held.types),
        "parameter_bytes_per_device": held.parameter_bytes,
        "length": held.length,
        "flops_per_encoding": held.encoding,
        "flops_per_readout": held.readout,
        "cache": [dataclasses.asdict(line) for line in held.cache],
        "cache_bytes_per_sequence": sum(line.bytes for line in held.cache),
        **({"arrays": [dataclasses.asdict(line) for line in held.arrays]} if trained is None else _trained(trained)),
    }


def _trained(of: Footprint) -> dict[str, Any]:
    return {
        "settings": dataclasses.asdict(of.settings),
        "objective": of.objective.describe(),
        **({} if of.context is None else {"context": contexts.to_json(of.context)}),
        "tokens_per_step": of.tokens,
        "state": [dataclasses.asdict(line) for line in of.state],
        "state_bytes_per_device": of.state_bytes,
        "gradient_bytes_per_device": of.gradients,
        "flops_per_step": {**of.flops._asdict(), "total": of.flops.total},
        "compiled_for_cpu": None if of.compiled is None else dataclasses.asdict(of.compiled),
    }
