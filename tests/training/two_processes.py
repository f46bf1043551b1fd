"""What ``test_ways`` runs as each of two processes that share one training; prints what this process saw as JSON.

Arguments: the run directory, and the mesh as in data=2. The environment says which process this is.
"""

import dataclasses
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
import jax.numpy as jnp
import numpy as np
from toys import SETTINGS, PatternTask, tiny_transformer

from mdm_jax.support import files
from mdm_jax.support.devices import join_processes, make_mesh, parse_mesh
from mdm_jax.training import fit, ways


def refuse(*_, **__):
    raise AssertionError("a process that is not the writer wrote a file")


def main(directory, mesh):
    join_processes()
    way = ways.OnAMesh(make_mesh(parse_mesh(mesh)))
    if not ways.is_writer():
        files._replace = refuse
    rows = jax.jit(way.rows.mine)(jnp.arange(SETTINGS.batch))
    settings = dataclasses.replace(SETTINGS, steps=20)
    run = fit(
        tiny_transformer(), PatternTask(), settings=settings, directory=directory, mesh=way.rows.mesh,
        checkpoint_every=10, progress=False,
    )  # fmt: skip
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
