"""Devices: how many there are, meshes of them, and the processes that share them."""

import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

from mdm_jax.support.errors import InputError, require, verbatim

DATA, MODEL = "data", "model"
AXES = (DATA, MODEL)
"""The axes of a mesh: what is split along the first are rows, along the second parameters (both split parameters)."""
_COUNTS = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")


def parse_mesh(text: str, argument: str = "--mesh") -> dict[str, int]:
    """``"data=4,model=2"`` as axes and their sizes, in the order given.

    Args:
        text: what is parsed.
        argument: named in error messages.

    Raises:
        InputError: an unknown axis, one given twice, or a size that is no number of at least 1.
    """
    shape: dict[str, int] = {}
    wanted = "axes and sizes, as in data=4,model=2"
    for part in text.split(","):
        name, _, size = (piece.strip() for piece in part.partition("="))
        good = name in AXES and name not in shape and size.isascii() and size.isdigit() and 1 <= int(size[:9]) < 10**6
        require(good and len(size) <= 6, argument, text, wanted)
        shape[name] = int(size)
    return shape


def make_mesh(shape: Mapping[str, int], argument: str = "mesh") -> Mesh:
    """A mesh over the devices of all processes; in a single process over as many of them as are asked for.

    Args:
        shape: sizes by axis: "data", "model" or both.
        argument: named in error messages.

    Raises:
        InputError: unknown axes, or another number of devices than there are.
    """
    good = len(shape) > 0 and set(shape) <= set(AXES) and all(size >= 1 for size in shape.values())
    require(good, argument, dict(shape), "sizes of at least 1 for axes among data and model")
    count, there = int(np.prod(list(shape.values()))), jax.device_count()
    shown = verbatim(",".join(f"{name}={size}" for name, size in shape.items()) + f", {count} devices")
    if jax.process_count() > 1:
        require(count == there, argument, shown, f"all {there} devices of the {jax.process_count()} processes")
    require(count <= there, argument, shown, f"at most {_there(there)}")
    kinds = (AxisType.Auto,) * len(shape)
    return jax.make_mesh(tuple(shape.values()), tuple(shape), kinds, devices=jax.devices()[:count])


def local_devices(count: int, argument: str = "devices") -> tuple[Any, ...]:
    """The first ``count`` devices of this process.

    Raises:
        InputError: there are not so many.
    """
    there = jax.local_device_count()
    whole = isinstance(count, int | np.integer) and not isinstance(count, bool)
    require(whole, argument, count, "a number of devices (of which kind JAX_PLATFORMS says)")
    require(1 <= count <= there, argument, count, f"from 1 to {_there(there)}")
    return tuple(jax.local_devices()[:count])


def _there(count: int) -> str:
    """The number of devices, and how a CPU gets more."""
    if jax.default_backend() != "cpu":
        return f"{count}, the number of devices"
    return f"{count}, the number of devices (XLA_FLAGS=--xla_force_host_platform_device_count=N splits a CPU into N)"


def join_processes() -> None:
    """Join the other processes of this run, if the environment says that there are any; call it before JAX starts.

    Slurm's and Open MPI's variables are read by JAX itself. Elsewhere set, on every machine,
    ``JAX_COORDINATOR_ADDRESS`` (host:port of process 0), ``JAX_NUM_PROCESSES`` and ``JAX_PROCESS_ID``.

    Raises:
        InputError: some of the three are missing or are no numbers, or the others were not found.
    """
    given = {name: os.environ.get(name) for name in ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")}
    if given["JAX_COORDINATOR_ADDRESS"] is not None:
        missing = [name for name, value in given.items() if not value]
        if missing:
            raise InputError(f"{', '.join(missing)} must be set where JAX_COORDINATOR_ADDRESS is, on every machine.")
        count, mine = _number("JAX_NUM_PROCESSES", 1, 2**20), _number("JAX_PROCESS_ID", 0, 2**20)
        require(mine < count, "JAX_PROCESS_ID", mine, f"from 0 to {count - 1}, since JAX_NUM_PROCESSES is {count}")
        arguments = (given["JAX_COORDINATOR_ADDRESS"], count, mine)
    elif any((os.environ.get(name) or "1") not in ("0", "1") for name in _COUNTS):
        arguments = (None, None, None)  # JAX reads Slurm's or Open MPI's own variables
    else:
        return
    if jax.distributed.is_initialized():
        return
    try:
        jax.distributed.initialize(*arguments)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise InputError(f"the other processes of this run could not be joined: {reason}") from error


def _number(name: str, least: int, most: int) -> int:
    text = os.environ[name]
    good = text.isascii() and text.isdigit() and len(text) < 8 and least <= int(text) <= most
    require(good, name, text, f"a whole number of at least {least}")
    return int(text)
