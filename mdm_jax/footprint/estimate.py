"""What a training run would take, before it is started: bytes on every device, operations, messages.

No weight is allocated: shapes come from abstract evaluation, bytes of the state from its sharding (exact), operations
from formulas, and what only a compiler knows from :mod:`mdm_jax.footprint.compiler`.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import AbstractMesh

from mdm_jax import models
from mdm_jax.footprint.compiler import Collective, Compiled, compile_elsewhere
from mdm_jax.footprint.flops import StepFlops, step_flops
from mdm_jax.models.adapters import LinenDenoiser
from mdm_jax.models.denoiser import Context
from mdm_jax.models.latent import LatentTransformer
from mdm_jax.models.transformers import Transformer, transformer
from mdm_jax.support.devices import DATA
from mdm_jax.support.errors import InputError, require, verbatim
from mdm_jax.training.contexts import shapes_of
from mdm_jax.training.devices import Part, explain
from mdm_jax.training.objective import MASKED_NELBO, Objective
from mdm_jax.training.objectives import JointLatentBound
from mdm_jax.training.objectives.latents import LatentObjective
from mdm_jax.training.settings import Settings
from mdm_jax.training.step import TrainState, initial_state

SIZES: dict[str, dict[str, Any]] = {
    "10m": {"vocab_size": 1024, "length": 256, "width": 256, "depth": 12, "heads": 4},
    "100m": {"vocab_size": 10_240, "length": 1024, "width": 768, "depth": 12, "heads": 12},
    "1b": {"vocab_size": 32_768, "length": 2048, "width": 2048, "depth": 17, "heads": 16},
    # LLaDA-8B (arXiv 2502.09992) has SwiGLU, three matrices of 12,288; two of 18,432 have as many parameters.
    "llada-8b": {
        "vocab_size": 126_464,
        "length": 4096,
        "width": 4096,
        "depth": 32,
        "heads": 32,
        "expansion": 4.5,
    },
}
"""Arguments of :func:`mdm_jax.models.transformer` for models of well-known sizes, by name."""
SHALLOW = (2, 4)
"""Blocks of the two models that :func:`extrapolated` compiles."""


@dataclasses.dataclass(frozen=True)
class Line:
    """Arrays of one name, shape and division; blocks are counted together.

    Attributes:
        section: "params", "ema_params", "optimizer/mu" and the like.
        name: inside the section; ``*`` stands for the number of a block.
        count: how many arrays.
        shape: of each, whole.
        spec: which mesh axes divide which of its axes, as text.
        bytes: on every device, of all of them.
        reason: why they are divided so.
    """

    section: str
    name: str
    count: int
    shape: tuple[int, ...]
    spec: str
    bytes: int
    reason: str


@dataclasses.dataclass(frozen=True)
class Footprint:
    """What a run would take.

    Attributes:
        parameters: of the model.
        devices: how many.
        mesh: sizes of the mesh's axes; ``None`` for ``pmap`` (everything on every device).
        settings: how it would be trained.
        state: what lives from step to step, line by line.
        gradients: bytes of all gradients on every device, divided as the parameters; they live during a step.
        flops: operations of a step, over all devices.
        compiled: what the compiler says; ``None`` if it was not asked.
        context: the shape of one row of what the model gets as a context; ``None`` if it gets none.
        objective: what is learned.
    """

    parameters: int
    devices: int
    mesh: dict[str, int] | None
    settings: Settings
    state: tuple[Line, ...]
    gradients: int
    flops: StepFlops
    compiled: Compiled | None = None
    context: Context = None
    objective: Objective = MASKED_NELBO

    def __repr__(self) -> str:
        told = {field.name: repr(getattr(self, field.name)) for field in dataclasses.fields(self)}
        told["state"] = f"<{len(self.state)} lines, {self.state_bytes:,} bytes on every device>"
        return f"Footprint({', '.join(f'{name}={value}' for name, value in told.items())})"

    @property
    def state_bytes(self) -> int:
        """Bytes on every device that live from step to step: exact."""
        return sum(line.bytes for line in self.state)

    @property
    def tokens(self) -> int:
        """Tokens of a step."""
        return self.settings.batch * self.settings.length


def named(name: str, length: int | None = None) -> LinenDenoiser:
    """The model of a well-known size.

    Args:
        name: one of :data:`SIZES`.
        length: tokens per sequence, instead of its own.

    Raises:
        InputError: no such name.

    Example:
        >>> import mdm_jax as mdm
        >>> sorted(mdm.footprint.SIZES)
        ['100m', '10m', '1b', 'llada-8b']
        >>> mdm.footprint.named("10m").module.width
        256
    """
    require(name in SIZES, "model", name, "one of " + ", ".join(SIZES))
    return transformer(**{**SIZES[name], **({} if length is None else {"length": length})})


def footprint(
    denoiser: LinenDenoiser,
    settings: Settings,
    mesh: Mapping[str, int] | None = None,
    devices: int = 1,
    context: Context = None,
    objective: Objective = MASKED_NELBO,
) -> Footprint:
    """All that needs no compiler; takes seconds at any size.

    Args:
        denoiser: one of the library's transformers.
        settings: how to train.
        mesh: sizes of the axes "data" and "model"; without it everything is on each of ``devices``.
        devices: how many; a mesh has its own number.
        context: one row of what the model gets as a context, float32[1, context], or its shape; ``None`` if it gets
            none.
        objective: what is learned, one of the library's own; of a model with latents, one of theirs.

    Raises:
        InputError: another model, an objective that cannot train it, a context that it does not take, or a batch that
            cannot be divided.

    Example:
        >>> import mdm_jax as mdm
        >>> model, settings = mdm.footprint.named("10m"), mdm.training.Settings(batch=8, length=256)
        >>> found = mdm.footprint.footprint(model, settings)
        >>> f"{found.parameters:,} parameters, {found.state_bytes:,} bytes, {found.flops.total:,} operations"
        '10,000,384 parameters, 122,261,536 bytes, 195,047,526,400 operations'
        >>> found = mdm.footprint.footprint(model, settings, mesh={"data": 4, "model": 2})
        >>> f"{found.state_bytes:,} bytes on each of {found.devices}"
        '15,827,488 bytes on each of 8'
    """
    model = denoiser.module
    # Of a subclass that is not known here the formula would count its base.
    if not isinstance(model, Transformer) or type(model) not in (Transformer, LatentTransformer):
        raise InputError("the model must be one of the library's transformers: operations are counted by its formula.")
    asks = isinstance(objective, LatentObjective | JointLatentBound)
    shown_as = verbatim(str(objective.describe().get("name", type(objective).__name__)))
    latent = isinstance(objective, LatentObjective) and isinstance(model, LatentTransformer)
    wanted = "one of latents, as training.LatentSurrogate(), for a model with latents, and none of them for another"
    require(latent or not (asks or isinstance(model, LatentTransformer)), "objective", shown_as, wanted)
    count, shares = (devices, devices) if mesh is None else (math.prod(mesh.values()), mesh.get(DATA, 1))
    require(count >= 1, "devices", count, "at least 1")
    wanted = f"a multiple of {shares * settings.accumulate}: {shares} shares of rows, each in {settings.accumulate}"
    require(settings.batch % (shares * settings.accumulate) == 0, "batch", settings.batch, wanted)
    shown = shapes_of(context)
    good = shown is None or (isinstance(shown, jax.ShapeDtypeStruct) and len(shown.shape) == 2)
    require(good, "context", context, "one array of shape [1, context], as the library's transformers take it")
    state: TrainState = jax.eval_shape(functools.partial(initial_state, denoiser, settings), None, shown)
    sizes = {DATA: 1} if mesh is None else dict(mesh)
    abstract = AbstractMesh(tuple(sizes.values()), tuple(sizes))
    lines = grouped(explain(abstract, state))
    gradients = sum(line.bytes for line in lines if line.section == "params")
    return Footprint(
        parameters=sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        devices=count,
        mesh=None if mesh is None else dict(mesh),
        settings=settings,
        state=lines,
        gradients=gradients,
        flops=step_flops(model, state.params, settings, shown, objective),
        context=shown,
        objective=objective,
    )


def grouped(parts: list[Part]) -> tuple[Line, ...]:
    """Parts of a training state as lines, in order of section, blocks counted together."""
    lines: dict[tuple[str, str, tuple[int, ...], str, str], list[int]] = {}
    for part in parts:
        section, name = _section(part.path)
        key = (section, re.sub(r"_\d+(?=/)", "_*", name), part.shape, _text(part.spec), part.reason)
        lines.setdefault(key, []).append(part.bytes)
    order = {section: i for i, section in enumerate(dict.fromkeys(key[0] for key in lines))}
    listed = [Line(key[0], key[1], len(sizes), key[2], key[3], sum(sizes), key[4]) for key, sizes in lines.items()]
    return tuple(sorted(listed, key=lambda line: order[line.section]))


def compiled(denoiser: LinenDenoiser, of: Footprint, limit: float | int = 900, show: bool = True) -> Footprint:
    """The footprint with what the compiler says of the model at its full depth.

    Args:
        denoiser: the model of the footprint.
        of: the footprint.
        limit: seconds that compiling may take.
        show: whether to say on standard error what is going on.

    Raises:
        InputError: as :func:`~mdm_jax.footprint.compiler.compile_elsewhere`.

    Example:
        >>> import mdm_jax as mdm
        >>> model = mdm.models.transformer(4, length=8, width=16, depth=1, heads=2)
        >>> settings = mdm.training.Settings(batch=4, length=8)
        >>> of = mdm.footprint.footprint(model, settings)
        >>> told = mdm.footprint.compiled(model, of, show=False).compiled
        >>> told.blocks, told.arguments - told.data == of.state_bytes  # the compiler counts the same state
        ((1,), True)
    """
    result = compile_elsewhere(denoiser, of.settings, of.mesh, of.devices, limit, show, of.context, of.objective)
    return dataclasses.replace(of, compiled=result)


def extrapolated(denoiser: LinenDenoiser, of: Footprint, limit: float | int = 900, show: bool = True) -> Footprint:
    """As :func:`compiled`, from two shallow models instead of the whole: blocks are all alike, so every figure is taken
    to be a straight line in their number. Of LLaDA-8B's size that takes a tenth of the time. A model of up to four
    blocks is compiled as it is.

    Args:
        denoiser: as for :func:`compiled`.
        of: likewise.
        limit: of each of the two.
        show: as for :func:`compiled`.

    Raises:
        InputError: as :func:`~mdm_jax.footprint.compiler.compile_elsewhere`.

    Example:
        >>> import mdm_jax as mdm
        >>> model = mdm.models.transformer(4, length=8, width=16, depth=1, heads=2)
        >>> settings = mdm.training.Settings(batch=4, length=8)
        >>> of = mdm.footprint.footprint(model, settings)
        >>> mdm.footprint.extrapolated(model, of, show=False).compiled.blocks
        (1,)
    """
    model = denoiser.module
    assert isinstance(model, Transformer)  # footprint() has looked
    if model.depth <= SHALLOW[1]:
        return compiled(denoiser, of, limit, show)
    low, high = (
        compile_elsewhere(
            _of_depth(denoiser, depth), of.settings, of.mesh, of.devices, limit, show, of.context, of.objective
        )
        for depth in SHALLOW
    )

    def line(at_low: int, at_high: int) -> int:
        return max(0, round(at_low + (at_high - at_low) * (model.depth - SHALLOW[0]) / (SHALLOW[1] - SHALLOW[0])))

    kinds = {one.kind: one for one in low.collectives}, {one.kind: one for one in high.collectives}
    messages = []
    for kind in sorted({*kinds[0], *kinds[1]}):
        a, b = (of_depth.get(kind, Collective(kind, 0, 0)) for of_depth in kinds)
        messages.append(Collective(kind, line(a.count, b.count), line(a.bytes, b.bytes)))
    result = Compiled(
        temporaries=line(low.temporaries, high.temporaries),
        arguments=line(low.arguments, high.arguments),
        data=low.data,
        flops=line(low.flops, high.flops),
        collectives=tuple(messages),
        seconds=low.seconds + high.seconds,
        blocks=SHALLOW,
    )
    return dataclasses.replace(of, compiled=result)


def _of_depth(denoiser: LinenDenoiser, depth: int) -> LinenDenoiser:
    """The same with another number of blocks; a recognition network keeps its own."""
    return models.from_description({**(models.describe(denoiser) or {}), "depth": depth})


def _section(path: str) -> tuple[str, str]:
    """A leaf's section and its name there: the optimiser's moments are named as the parameters they belong to."""
    first, *rest = path.split("/")
    if first != "optimizer":
        return (first, "/".join(_inside(rest))) if rest else ("step", first)
    kept = [name for name in rest if not name.isdigit() and name not in ("inner_states", "inner_state")]
    if "params" not in kept:
        return "optimizer/counters", "/".join(kept)
    at = kept.index("params")
    return "/".join(["optimizer", *kept[:at]]), "/".join(kept[at + 1 :])


def _inside(names: list[str]) -> list[str]:
    return names[1:] if names[0] == "params" else names


def _text(spec: Any) -> str:
    """A spec as people write it: ``data, model``, ``-, model+data``; ``whole`` if nothing is divided."""
    if not any(spec):
        return "whole"
    return ", ".join("-" if entry is None else entry if isinstance(entry, str) else "+".join(entry) for entry in spec)
