"""Where a command runs: on the default device, on several of them, on a mesh, in one process or several."""

import argparse
from typing import Any

import jax

from mdm_jax.support.devices import DATA, join_processes, local_devices, make_mesh, parse_mesh
from mdm_jax.support.errors import InputError


def places(options: argparse.Namespace) -> dict[str, Any]:
    """``devices`` or ``mesh`` as ``fit`` and ``evaluate`` take them: what was asked for; else, with several processes,
    every device of all. They are joined here, before anything else starts JAX.

    Raises:
        InputError: both were asked for, or more devices than there are.
    """
    shape = None if options.mesh is None else parse_mesh(options.mesh)
    if shape is not None and options.devices is not None:
        raise InputError("--devices cannot be given beside --mesh: a mesh says how many devices it has.")
    join_processes()
    if jax.process_count() > 1:
        if options.devices is not None:
            raise InputError(f"--devices is for a single process; with {jax.process_count()} give --mesh.")
        shape = {DATA: jax.device_count()} if shape is None else shape
    if shape is not None:
        return {"mesh": make_mesh(shape, "--mesh")}
    if options.devices is not None:
        local_devices(options.devices, "--devices")
    return {"devices": options.devices}
