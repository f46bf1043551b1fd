"""What ``test_ways`` runs as each of two processes that share one training; prints what this process saw as JSON.

Arguments: the run directory, the mesh as in data=2, and what goes wrong for process 0, if anything does ("log",
"manifest", or "unshared": each process has a directory of its own). The environment says which process this is.
"""

import dataclasses
import errno
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))
sys.path.insert(0, str(Path(__file__).parents[2]))

import jax
import jax.numpy as jnp
import numpy as np
from toys import SETTINGS, PatternTask, tiny_transformer

from mdm_jax.support import files
from mdm_jax.support.devices import join_processes, make_mesh, parse_mesh
from mdm_jax.support.errors import InputError
from mdm_jax.training import fit, reports, ways
from mdm_jax.training.checkpoints import manifest


def refuse(*_, **__):
    raise AssertionError("a process that is not the writer wrote a file")


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "some file")


def main(directory, mesh, wrong=None):
    join_processes()
    way = ways.OnAMesh(make_mesh(parse_mesh(mesh)))
    if not ways.is_writer():
        files._replace = reports.append_text = manifest.write = refuse
    elif wrong == "log":
        reports.append_text = full
    elif wrong == "manifest":
        manifest.write = full
    if wrong == "unshared":
        directory += str(jax.process_index())
    rows = jax.jit(way.rows.take_share)(jnp.arange(SETTINGS.batch))
    settings = dataclasses.replace(SETTINGS, steps=20)
    try:
        run = fit(
            tiny_transformer(), PatternTask(), settings=settings, directory=directory, mesh=way.rows.mesh,
            checkpoint_every=10, progress=False,
        )  # fmt: skip
    except InputError as error:
        print(json.dumps({"refused": str(error)}))
        return
    leaves = jax.tree.leaves(ways.fetch(run.params))
    print(
        json.dumps(
            {
                "process": jax.process_index(),
                "writer": ways.is_writer(),
                "devices": [jax.local_device_count(), jax.device_count()],
                "rows": sorted({int(row) for shard in rows.addressable_shards for row in np.asarray(shard.data)}),
                "step": run.step,
                "params": [np.asarray(leaf, np.float64).ravel().tolist() for leaf in leaves],
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
