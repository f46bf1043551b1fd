"""``mdm-jax export``: parameters as safetensors, plans as numbers."""

import argparse
import io
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from mdm_jax import models
from mdm_jax.app.terminal.output import note, show
from mdm_jax.support.errors import InputError, require
from mdm_jax.support.files import read_json, write_bytes, write_json
from mdm_jax.support.text import in_words, printable
from mdm_jax.theory import plans
from mdm_jax.theory.plans import Plan, grids
from mdm_jax.theory.plans.grids import Grid
from mdm_jax.training import Run, RunDirectory, load
from mdm_jax.training.sources import KEY

_FORMATS = ("counts", "fractions")


def run(options: argparse.Namespace) -> None:
    """Write what is asked for, then print what it is; all is checked before anything is written."""
    _check(options)
    place = RunDirectory(Path(options.directory))
    place.read_config()  # a run is there
    plan = None if options.plan is None else _plan(place, options.plan)
    numbers = None if plan is None else _numbers(plan, options.format or _FORMATS[0])
    result: dict[str, Any] = {"directory": str(place.path)}
    said = []
    if options.parameters is not None:
        trained = load(place.path, checkpoint=options.checkpoint)
        result["parameters"], text = _parameters(trained, options)
        said.append(text)
    if plan is not None and numbers is not None:
        result["plan"] = plan.to_json()
        result["format"] = options.format or _FORMATS[0]
        result["values"] = numbers
        said.append(_shown(plan, numbers))
        if options.output is not None:
            _write(Path(options.output), {name: result[name] for name in ("format", "values", "plan")})
            result["output"] = options.output
            said[-1] += f"\nThey are in {printable(options.output)}."
    show(result, "\n".join(said), options.json)


def _check(options: argparse.Namespace) -> None:
    """Refuse what asks for nothing, and files that cannot be written or must not be."""
    if options.parameters is None and options.plan is None:
        raise InputError("--parameters or --plan must be given: they say what is to leave; got neither.")
    for name, needs in (("like", "parameters"), ("format", "plan"), ("output", "plan")):
        if getattr(options, name) is not None and getattr(options, needs) is None:
            raise InputError(f"--{name} must be given beside --{needs}; got it alone.")
    if options.force and options.parameters is None and options.output is None:
        raise InputError("--force must be given beside --parameters or --output: it replaces the file that is there.")
    for name, suffixes in (("parameters", (".safetensors",)), ("output", (".json", ".npy"))):
        given = getattr(options, name)
        if given is None:
            continue
        path = Path(given)
        require(path.suffix in suffixes, f"--{name}", given, f"a {' or '.join(suffixes)} file")
        require(not path.is_dir(), f"--{name}", given, "a file, not a folder")
        new = options.force or not os.path.lexists(path)
        require(new, f"--{name}", given, "a new file, or one that --force replaces; this one is there")


def _parameters(trained: Run, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Write them; returns what is to be said of them, as JSON and in words."""
    about = {"run": trained.identity, "step": trained.step}
    path = models.export_parameters(
        options.parameters, trained.denoiser, trained.params, like=options.like, about=about, replace=options.force
    )
    told = models.describe(trained.denoiser)
    kinds = sorted({leaf.dtype.name for leaf in jax.tree.leaves(trained.params)})
    size = optax.tree.size(trained.params)
    result = {"file": options.parameters, "bytes": path.stat().st_size, "parameters": size, "types": kinds}
    result |= {"like": options.like, **about}
    text = f"{printable(options.parameters)}: {size:,} parameters in {in_words(kinds)}, {result['bytes']:,} bytes"
    if options.like is not None:
        if "calibrated" in _families(told):
            note("The temperatures of this run stay here: the names of a published model have no place for them.")
        return result, f"{text}, named as in {printable(options.like)}."
    if told is not None and models.is_pretrained(told):
        family = trained.place.read_config().get(KEY, {}).get("family", "a published model")
        note(f"names are those of mdm_jax; those of {family} need its folder: --like FOLDER.")
    return result, f"{text}. Python reads them by mdm.models.load_exported({options.parameters!r})."


def _families(told: dict[str, Any] | None) -> list[str]:
    """Of a model and of all that is wrapped around it."""
    return [] if told is None else [told["family"], *_families(told.get("denoiser"))]


def _plan(place: RunDirectory, given: str) -> Plan | Grid:
    """The plan of that name in the run, or in that file."""
    path = Path(given)
    if path.suffix == "" and not path.exists():
        known = sorted(one.stem for one in place.plans.glob("*.json"))
        wanted = f"a file, or one of {', '.join(known)}" if known else "a file: mdm-jax tune has written none here"
        require(given in known, "--plan", given, wanted)
        path = place.plans / f"{given}.json"
    value = read_json(path, "a plan or a grid")
    is_grid = isinstance(value, dict) and value.get("format") == grids.FORMAT
    return grids.load(path) if is_grid else plans.load(path)


def _numbers(plan: Plan | Grid, form: str) -> list[int] | list[float]:
    if isinstance(plan, Plan):
        return plan.sizes.tolist() if form == "counts" else (plan.knots / plan.length).tolist()
    require(form == "fractions", "--format", form, "fractions for a grid, whose counts are random")
    return plan.fractions.tolist()


def _shown(plan: Plan | Grid, numbers: list[int] | list[float]) -> str:
    length = f" for {plan.length} tokens" if isinstance(plan, Plan) else ""
    steps = f"{plan.steps} step{'' if plan.steps == 1 else 's'}"
    return f"{printable(plan.name)}, {steps}{length}:\n{' '.join(map(repr, numbers))}"


def _write(path: Path, content: dict[str, Any]) -> None:
    if path.suffix == ".json":
        write_json(path, content)
        return
    stream = io.BytesIO()
    np.save(stream, np.asarray(content["values"]))
    write_bytes(path, stream.getvalue())
