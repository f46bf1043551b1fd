"""``mdm-jax footprint``: what training a model would take, line by line, before anyone pays for it."""

import argparse
import dataclasses
import math
from pathlib import Path
from typing import Any

from mdm_jax import models
from mdm_jax.app.terminal.output import show
from mdm_jax.footprint import SIZES, CacheLine, Footprint, compiled, extrapolated, footprint, named, sampling_cache
from mdm_jax.models.adapters import LinenDenoiser
from mdm_jax.models.denoiser import Context
from mdm_jax.support.devices import DATA, parse_mesh
from mdm_jax.support.errors import InputError, require
from mdm_jax.support.text import printable, table
from mdm_jax.training import MaskedNelbo, Objective, RunDirectory, Settings, contexts, objectives
from mdm_jax.training.runs import own_part
from mdm_jax.training.settings import OWN

MOST_COMPILED, MOST_COUNTED = 4096, 1_000_000
"""Devices: for more a compiler on one machine is not asked, and more there are not."""
_DAY = 86_400.0


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
    shares = count if mesh is None else mesh.get(DATA, 1)
    denoiser, settings, context, objective = what_is_trained(options, shares)
    require(settings.optimizer != OWN, "--optimizer", settings.optimizer, "adamw or muon, whose state is known")
    result = footprint(denoiser, settings, mesh, options.devices or 1, context, objective)
    if not options.no_compile:
        ask = compiled if options.whole else extrapolated
        result = ask(denoiser, result, options.time_limit)
    cache = sampling_cache(denoiser, 1, settings.length, context)
    show(to_json(result, cache), describe(options.model, denoiser, result, cache), options.json)


def what_is_trained(options: argparse.Namespace, shares: int) -> tuple[LinenDenoiser, Settings, Context, Objective]:
    """The model that is named, how it would be trained, the shape of the context that it gets, if it gets one, and what
    it would learn.

    Args:
        options: of the command line.
        shares: over how many devices rows are divided: without a run or ``--batch``, each gets one.
    """
    given = {name: getattr(options, name) for name in ("batch", "length", "optimizer", "accumulate", "compute")}
    given = {name: value for name, value in given.items() if value is not None}
    if options.model.lower() in SIZES:
        denoiser = named(options.model.lower(), options.length, options.kind or "bidirectional", options.block)
        defaults = {"batch": shares * max(1, given.get("accumulate", 1)), "optimizer": "adamw"}
        settings = Settings(**{**defaults, "length": denoiser.module.length, **given})  # pyright: ignore[reportAttributeAccessIssue]
        return denoiser, settings, None, objectives.default_objective(denoiser)
    for name in ("kind", "block"):
        if getattr(options, name) is not None:
            raise InputError(f"--{name} must be given beside a size by name: a run has a model of its own.")
    place = RunDirectory(Path(options.model))
    if not place.config.exists():
        names = ", ".join(SIZES)
        raise InputError(f"--model must be one of {names}, or a run directory; got {options.model!r}.")
    config = place.read_config()
    settings = dataclasses.replace(place.settings(config), **given)
    own = own_part(config, settings)
    if own is not None:
        raise InputError(f"{place.path} was trained with {own} of your own, whose operations no formula here counts.")
    if models.is_pretrained(config["model"]):
        raise InputError(f"{place.path} is a published model, whose operations no formula here counts.")
    denoiser: Any = models.from_description(config["model"])
    most = denoiser.module.length
    require(settings.length <= most, "--length", settings.length, f"at most {most}, as the model is")
    objective = objectives.from_description(config.get("objective")) or MaskedNelbo()  # own_part has looked
    return denoiser, settings, place.shown(config), objective


def to_json(of: Footprint, cache: tuple[CacheLine, ...] = ()) -> dict[str, Any]:
    """The footprint as JSON, with the cache of sampling one sequence."""
    return {
        "format": "mdm_jax footprint 1",
        "parameters": of.parameters,
        "devices": of.devices,
        "mesh": of.mesh,
        "settings": dataclasses.asdict(of.settings),
        "objective": of.objective.describe(),
        **({} if of.context is None else {"context": contexts.to_json(of.context)}),
        "tokens_per_step": of.tokens,
        "state": [dataclasses.asdict(line) for line in of.state],
        "state_bytes_per_device": of.state_bytes,
        "gradient_bytes_per_device": of.gradients,
        "flops_per_step": {**of.flops._asdict(), "total": of.flops.total},
        "cache": [dataclasses.asdict(line) for line in cache],
        "cache_bytes_per_sequence": sum(line.bytes for line in cache),
        "compiled_for_cpu": None if of.compiled is None else dataclasses.asdict(of.compiled),
    }


def describe(name: str, denoiser: LinenDenoiser, of: Footprint, cache: tuple[CacheLine, ...] = ()) -> str:
    """The footprint as text: first the answer, then where every byte comes from."""
    parts = [_head(name, denoiser, of), _state_table(of), _step_text(of)]
    parts += [_cache_text(cache, of.settings.length)] if cache else []
    if of.compiled is not None and of.compiled.collectives:
        parts.append(_messages(of))
    return "\n\n".join(parts)


def size(count: int) -> str:
    """Bytes for people: ``1.25 GiB``."""
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if count >= 1 << power:
            return f"{count / (1 << power):,.2f} {unit}"
    return f"{count} B"


def _head(name: str, denoiser: LinenDenoiser, of: Footprint) -> str:
    model, settings = denoiser.module, of.settings
    described = models.describe(denoiser) or {}
    shape = ", ".join(f"{key} {described[key]:,}" for key in ("width", "depth", "heads", "vocab_size"))
    shape += f", blocks of {described['block']:,}" if described.get("family") == "block-causal transformer" else ""
    shape += f", latents of {described['latent_size']:,}" if "latent_size" in described else ""
    shape += f", {described['classes']:,} classes" if "classes" in described else ""
    shape += f", context {of.context.shape[-1]:,}" if hasattr(of.context, "shape") else ""
    if of.mesh is not None:
        where = "mesh " + ", ".join(f"{axis} = {n}" for axis, n in of.mesh.items()) + ": state divided over all devices"
    else:
        where = "everything on every device" if of.devices > 1 else "one device"
    lines = [
        f"{printable(name)}: {described.get('family', 'model')}, {of.parameters:,} parameters ({shape}, "
        f"feed-forward {round(model.expansion * model.width):,})",  # pyright: ignore[reportAttributeAccessIssue]
        f"{of.devices:,} device{'' if of.devices == 1 else 's'} ({where}); {settings.optimizer}, {settings.compute}, "
        f"{settings.batch:,} x {settings.length:,} = {of.tokens:,} tokens per step"
        + (f" in {settings.accumulate} parts" if settings.accumulate > 1 else ""),
    ]
    return "\n".join(lines)


def _state_table(of: Footprint) -> str:
    """Every array of the state, and the sum so far."""
    rows, running, before = [], 0, ""
    for line in of.state:
        running += line.bytes
        section = line.section if line.section != before else ""
        before = line.section
        shape = " x ".join(f"{n:,}" for n in line.shape) or "1"
        many = f"{line.count} of " if line.count > 1 else ""
        rows.append([f"{section:<20}{line.name}", f"{many}{shape}", line.spec, f"{line.bytes:,}", size(running)])
    text = table([f"{'state, per device':<20}array", "shape", "divided by", "bytes", "sum so far"], rows)
    sections = [(name, sum(x.bytes for x in of.state if x.section == name)) for name in _sections(of)]
    sums = "; ".join(f"{name} {size(count)}" for name, count in sections)
    said = f"{text}\nState: {size(of.state_bytes)} ({of.state_bytes:,} bytes) on every device. Exact.\n{sums}."
    reasons = dict.fromkeys(line.reason for line in of.state if of.mesh is not None)
    return said + "".join(f"\n  {reason}" for reason in reasons)


def _sections(of: Footprint) -> list[str]:
    return list(dict.fromkeys(line.section for line in of.state))


def _step_text(of: Footprint) -> str:
    """What lives during a step only, and its operations."""
    flops = of.flops
    lines = [f"Gradients: {size(of.gradients)} ({of.gradients:,} bytes) on every device, divided as the parameters."]
    if of.compiled is None:
        lines.append(
            f"State and gradients: {size(of.state_bytes + of.gradients)} on every device; activations come on top."
        )
    else:
        found = of.compiled
        how = (
            f"the whole step, {found.seconds:.0f} s of compiling"
            if len(found.blocks) == 1
            else f"a straight line through {found.blocks[0]} and {found.blocks[1]} blocks, {found.seconds:.0f} s"
        )
        peak = of.state_bytes + found.temporaries
        lines += [
            f"Activations, gradients and all else that a step needs: {size(found.temporaries)} "
            f"({found.temporaries:,} bytes) on every device.",
            f"Together: {size(peak)} ({peak:,} bytes) on every device.",
            f"(The second figure is XLA's estimate for CPU, from {how}; a GPU or TPU needs another amount.)",
        ]
    lines += [
        f"Operations per step: {flops.total:.3e} (forward {flops.forward:.3e}, backward {flops.backward:.3e}, "
        f"optimiser {flops.optimizer:.3e}); {flops.total / of.tokens:.3e} per token, "
        f"{flops.total / of.devices:.3e} per device.",
        "(Matrix products by formula and the optimiser by hand; softmax, norms and the loss add a few per cent.)",
    ]
    return "\n".join(lines)


def _cache_text(cache: tuple[CacheLine, ...], length: int) -> str:
    """What sampling keeps from step to step, array by array."""
    rows = []
    for line in cache:
        many = f"{line.count} of " if line.count > 1 else ""
        rows.append([line.name, f"{many}{' x '.join(f'{n:,}' for n in line.shape)}", line.dtype, f"{line.bytes:,}"])
    whole = sum(line.bytes for line in cache)
    return (
        f"{table(['cache of one sequence', 'shape', 'type', 'bytes'], rows)}\nSampling keeps {size(whole)} "
        f"({whole:,} bytes) for each sequence of {length:,} tokens that is drawn. Exact."
    )


def _messages(of: Footprint) -> str:
    assert of.compiled is not None
    rows = [[one.kind, f"{one.count:,}", f"{one.bytes:,}", size(one.bytes)] for one in of.compiled.collectives]
    text = table(["messages per step, for CPU", "how many", "bytes left on each device", ""], rows)
    return text
