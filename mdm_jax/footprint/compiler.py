"""What the compiler says of a training step on many devices, without having them: memory and messages.

``train_step`` is compiled for virtual CPU devices in a process of its own, whatever JAX has already started in this one
(the number of devices is settled when it starts). Training runs ``train_steps``, a loop around it, which is not
compiled here. Nothing is allocated, let alone run. What comes back is XLA's estimate *for CPU*: other backends fuse
more, schedule otherwise and have kernels of their own for attention, so temporaries are a guide and no promise, and
messages may be of other kinds (a GPU's compiler turns many an all-reduce into a reduce-scatter). CPU has few operations
in bfloat16 and widens the rest, so it shows only part of what bfloat16 saves elsewhere.
"""

import dataclasses
import json
import math
import os
import re
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mdm_jax import models
from mdm_jax.models.denoiser import Context, Denoiser
from mdm_jax.support.devices import make_mesh
from mdm_jax.support.errors import InputError, require
from mdm_jax.support.progress import remark
from mdm_jax.training import contexts, objectives
from mdm_jax.training.objective import MASKED_NELBO, Examples, Objective
from mdm_jax.training.settings import Settings
from mdm_jax.training.step import train_step
from mdm_jax.training.ways import Job, OnAMesh, OnDevices, OnOneDevice

KINDS = ("all-gather", "all-reduce", "all-to-all", "collective-broadcast", "collective-permute", "reduce-scatter")
_CALL = re.compile(r"(?:body|condition|to_apply|calls|true_computation|false_computation)=%?([\w.\-]+)")
_TRIPS = re.compile(r'known_trip_count"?:\s*\{\s*"?n"?:\s*"?(\d+)')
_TYPE = re.compile(r"\b(pred|[a-z]+?(\d+)\w*)\[([\d,]*)\]")


@dataclasses.dataclass(frozen=True)
class Collective:
    """One kind of message between devices.

    Attributes:
        kind: as XLA calls it, as in "all-gather".
        count: how many of them a step makes.
        bytes: of what they leave on each device, all together.
    """

    kind: str
    count: int
    bytes: int


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A compiled step.

    Attributes:
        temporaries: bytes on each device that live during a step only: activations, gradients, gathered parameters,
            the new state before it takes the old one's place.
        arguments: bytes on each device that live from step to step: the state, and ``data``.
        data: bytes of the training data that the step was compiled with, part of ``arguments``.
        flops: operations on each device, as XLA counts them (the body of a loop once).
        collectives: messages, kind by kind.
        seconds: that compiling took.
        blocks: depth of the models that were compiled: the model's own, or those from which was extrapolated; none of
            a published model, whose blocks compile like one.
    """

    temporaries: int
    arguments: int
    data: int
    flops: int
    collectives: tuple[Collective, ...]
    seconds: float
    blocks: tuple[int, ...] = ()


def compile_step(
    denoiser: Denoiser,
    settings: Settings,
    mesh: Mapping[str, int] | None = None,
    devices: int = 1,
    objective: Objective = MASKED_NELBO,
    context: Context = None,
) -> Compiled:
    """Compile the step for devices that this process has.

    Args:
        denoiser: the model.
        settings: how to train.
        mesh: sizes of the axes "data" and "model"; without it the step runs by ``pmap`` on ``devices``.
        devices: how many.
        objective: what is learned.
        context: one row of what is known of the data's rows, or its shapes; ``None``: nothing is.

    Raises:
        InputError: there are not so many devices.

    Example:
        >>> import mdm_jax as mdm
        >>> model = mdm.models.transformer(4, length=8, width=16, depth=1, heads=2)
        >>> settings = mdm.training.Settings(batch=4, length=8)
        >>> told = mdm.footprint.compile_step(model, settings)
        >>> told.arguments - told.data == mdm.footprint.footprint(model, settings).state_bytes
        True
    """
    start, job = time.perf_counter(), Job(denoiser, settings, objective)
    known = contexts.shapes_of(context)
    data, shown = _data(settings.length, known), jax.eval_shape(objective.context, known)
    if mesh is not None:
        way = OnAMesh(make_mesh(mesh))
        state = way.abstract(job, None, shown)
        places = jax.tree.map(lambda leaf: leaf.sharding, state)
        step: Any = jax.jit(train_step, static_argnums=(0, 1, 4, 5), out_shardings=(places, None), donate_argnums=2)
        lowered = step.lower(denoiser, settings, state, _shapes(way.put(data)), way.rows, objective)
    elif devices > 1:
        apart = OnDevices(devices)
        mapped: Any = jax.pmap(
            lambda state, train, _: train_step(denoiser, settings, state, train, apart.rows, objective),
            apart.rows.axis,
            in_axes=(None, None, 0),  # pyright: ignore[reportArgumentType]
            out_axes=None,
            devices=jax.local_devices()[:devices],
            donate_argnums=0,
        )
        each = np.zeros(devices, np.int32)
        lowered = mapped.lower(apart.abstract(job, None, shown), _shapes(apart.put(data)), each)
    else:
        step = jax.jit(train_step, static_argnums=(0, 1, 4, 5), donate_argnums=2)
        one = OnOneDevice()
        state = one.abstract(job, None, shown)
        lowered = step.lower(denoiser, settings, state, _shapes(one.put(data)), one.rows, objective)
    compiled = lowered.compile()
    memory, costs = compiled.memory_analysis(), compiled.cost_analysis()
    costs = costs[0] if isinstance(costs, list) else costs
    return Compiled(
        temporaries=int(memory.temp_size_in_bytes),
        arguments=int(memory.argument_size_in_bytes),
        data=sum(leaf.nbytes for leaf in jax.tree.leaves(data)),
        flops=round(costs["flops"]),
        collectives=collectives(compiled.as_text()),
        seconds=time.perf_counter() - start,
    )


def collectives(program: str) -> tuple[Collective, ...]:
    """The messages in a compiled program, those inside a loop as often as it runs where XLA knows how often.

    Args:
        program: HLO, as ``compiled.as_text()`` gives it.
    """
    calls: dict[str, list[tuple[str, int]]] = defaultdict(list)  # who calls whom, how often
    found: dict[str, list[tuple[str, int]]] = defaultdict(list)
    inside, entry = "", ""
    for line in program.splitlines():
        if line and not line[0].isspace():
            if line.endswith("{") and not line.startswith("HloModule"):
                inside = line.removeprefix("ENTRY").split("(")[0].strip().lstrip("%")
                entry = inside if line.startswith("ENTRY") else entry
            continue
        _, _, value = line.partition(" = ")
        kind = next((kind for kind in KINDS if f" {kind}(" in value), None)
        if kind is not None:
            found[inside].append((kind, _bytes(value.partition(f" {kind}(")[0])))
            continue
        trips = _TRIPS.search(value) if " while(" in value else None
        for name in _CALL.findall(value):
            calls[inside].append((name, int(trips[1]) if trips else 1))
    total: dict[str, list[int]] = defaultdict(lambda: [0, 0])

    def walk(name: str, times: int) -> None:
        for kind, size in found[name]:
            total[kind][0] += times
            total[kind][1] += times * size
        for called, trips in calls[name]:
            walk(called, times * trips)

    walk(entry, 1)
    return tuple(Collective(kind, *total[kind]) for kind in sorted(total))


def compile_elsewhere(
    denoiser: Denoiser,
    settings: Settings,
    mesh: Mapping[str, int] | None = None,
    devices: int = 1,
    limit: float | int = 900,
    show: bool = True,
    context: Context = None,
    objective: Objective = MASKED_NELBO,
) -> Compiled:
    """:func:`compile_step` in a process of its own, which has as many virtual CPU devices as it takes.

    Args:
        denoiser: a model that :func:`mdm_jax.models.describe` can describe.
        settings: as there.
        mesh: as there.
        devices: as there.
        limit: seconds that it may take.
        show: whether to say on standard error what is going on.
        context: as there, in dictionaries, tuples and lists.
        objective: one of the library's own.

    Raises:
        InputError: a model, an objective or containers of the user's own, no end within the limit, or a step that XLA
            does not compile.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.footprint.compile_elsewhere(mdm.oracles.polya(8, 0.5).denoiser, mdm.training.Settings(length=8))
        Traceback (most recent call last):
        mdm_jax.support.errors.InputError: the step of a model of your own cannot be compiled in another process; use
        compile_step.
    """
    description = models.describe(denoiser)
    if description is None:
        raise InputError("the step of a model of your own cannot be compiled in another process; use compile_step.")
    made_again = objectives.from_description(objective.describe())
    require(made_again == objective, "objective", objective, "one of the library's own; compile_step takes any")
    shapes = None if context is None else contexts.to_json(contexts.shapes_of(context))
    require((shapes is None) == (context is None), "context", context, "of dictionaries, tuples and lists")
    count = math.prod(mesh.values()) if mesh is not None else devices
    depth = description.get("depth")
    request = {
        "model": description,
        "settings": dataclasses.asdict(settings),
        "mesh": None if mesh is None else dict(mesh),
        "devices": devices,
        "context": shapes,
        "objective": objective.describe(),
    }
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}".strip()
    root = str(Path(models.__file__).parents[2])
    paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    # Warnings of the partitioner are for XLA's authors.
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": paths}
    if show:
        what = f"{depth} blocks" if depth else "the whole model"
        where = f"{count} virtual CPU device{'' if count == 1 else 's'}"
        remark(f"compiling a step of {what} for {where} (at most {limit:g} s) ...")
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", "from mdm_jax.footprint import compiler; compiler.answer()"],
            input=json.dumps(request),
            env={**os.environ, **quiet},
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"compiling took more than {limit:g} s: allow more time, or leave it out.") from None
    if done.returncode != 0:
        # What JAX says of its own traceback comes last.
        told = [line for line in done.stderr.strip().splitlines() if not line.startswith(("For simplicity", "----"))]
        last = (told or [f"status {done.returncode}"])[-1]
        raise InputError(f"the step could not be compiled on {count} virtual devices: {last[:300]}")
    values = json.loads(done.stdout)
    messages = tuple(Collective(**one) for one in values.pop("collectives"))
    return Compiled(**{**values, "collectives": messages, "blocks": (depth,) if depth else ()})


def _data(length: int, context: Context) -> Any:
    """Two sequences: enough to be a stream of tokens, or rows with a context each, and too little to count."""
    tokens = np.zeros(2 * length, np.int32)
    if context is None:
        return tokens
    known = jax.tree.map(lambda leaf: np.zeros((2, *leaf.shape[1:]), leaf.dtype), context)
    return Examples(tokens.reshape(2, length), known)


def _shapes(data: Any) -> Any:
    return jax.tree.map(lambda one: jax.ShapeDtypeStruct(one.shape, one.dtype, sharding=one.sharding), data)


def _bytes(types: str) -> int:
    """Bytes of an HLO type, or of all types of a tuple."""
    return sum(
        math.prod(int(size) for size in sizes.split(",") if size) * (1 if name == "pred" else -(-int(bits) // 8))
        for name, bits, sizes in _TYPE.findall(types)
    )


def answer() -> None:
    """What :func:`compile_elsewhere` has another process do: read a request, write what it finds."""
    request = json.load(sys.stdin)
    denoiser = models.from_description(request["model"])
    context = None if request["context"] is None else contexts.from_json(request["context"])
    settings, objective = Settings(**request["settings"]), objectives.from_description(request["objective"])
    assert objective is not None  # the one that asks has looked
    result = compile_step(denoiser, settings, request["mesh"], request["devices"], objective, context)
    json.dump(dataclasses.asdict(result), sys.stdout)
