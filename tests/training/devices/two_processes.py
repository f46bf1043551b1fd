"""What ``test_ways`` runs as each of two processes that share one training; prints what this process saw as JSON.

Arguments: the run directory, the mesh as in data=2, and the cases, one training after the other. "" is the plain one; a
case in which something goes wrong for process 0 has a directory with its name behind: "log", "manifest", "id": of the
rows that it reads from the file beside the directory, or "unshared": each process has a directory of its own; "file" is
rows from there without anything wrong. The environment says which process this is.
"""

import contextlib
import dataclasses
import errno
import json
import os
import sys
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[3]))
sys.path.insert(0, str(Path(__file__).parents[2]))

import jax
import jax.numpy as jnp
import numpy as np
from toys import SETTINGS, PatternTask, tiny_transformer

from mdm_jax.support import files
from mdm_jax.support.devices import join_processes, make_mesh, parse_mesh
from mdm_jax.support.errors import InputError
from mdm_jax.tasks.array_files import token_maps
from mdm_jax.training import feeding, fit, reports, ways
from mdm_jax.training.checkpoints import manifest


def refuse(*_, **__):
    raise AssertionError("a process that is not the writer wrote a file")


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "some file")


def left_in_a_file(path, read, spoil, patched):
    """Rows of which training reads what it needs; it tells which places, of rows of 8 tokens, it has read."""
    original = feeding.reading

    @contextlib.contextmanager
    def told(tokens, vocab_size):
        with original(tokens, vocab_size) as inner:

            def outer(chosen, length):
                read.append(chosen)
                return inner(chosen, length)

            yield outer

    patched.enter_context(mock.patch.object(feeding, "reading", told))
    patched.enter_context(mock.patch.object(token_maps, "MOST_IN_MEMORY", 100))
    if spoil:  # in a file of its own
        rows = np.load(path)
        rows[:, 0] = 99
        path = path.with_name("spoilt.rows.npy")
        np.save(path, rows)
    return np.load(path, mmap_mode="r")


def main(directory, mesh, *cases):
    join_processes()
    way, told = ways.OnAMesh(make_mesh(parse_mesh(mesh))), {}
    for case in cases:
        with contextlib.ExitStack() as patched:
            told[case] = of_case(f"{directory} {case}".strip(), way, case, patched)
    print(json.dumps(told))


def of_case(directory, way, case, patched):
    """What this process saw of one training."""
    stubs = {"log": [(reports, "append_text", full)], "manifest": [(manifest, "write", full)]}.get(case, [])
    if not ways.is_writer():
        stubs = [(files, "_replace", refuse), (reports, "append_text", refuse), (manifest, "write", refuse)]
    for place in stubs:
        patched.enter_context(mock.patch.object(*place))
    if case == "unshared":
        directory += str(jax.process_index())
    task, read = PatternTask(), []
    if case in ("file", "id"):
        spoil = case == "id" and ways.is_writer()
        task.train = left_in_a_file(Path(directory).parent / "rows.npy", read, spoil, patched)
    rows = jax.jit(way.rows.take_share)(jnp.arange(SETTINGS.batch))
    settings = dataclasses.replace(SETTINGS, steps=20)
    try:
        run = fit(
            tiny_transformer(), task, settings=settings, directory=directory, mesh=way.rows.mesh,
            checkpoint_every=10, progress=False,
        )  # fmt: skip
    except InputError as error:
        return {"refused": str(error)}
    leaves = jax.tree.leaves(ways.fetch(run.params))
    return {
        "writer": ways.is_writer(),
        "devices": [jax.local_device_count(), jax.device_count()],
        "rows": sorted({int(row) for shard in rows.addressable_shards for row in np.asarray(shard.data)}),
        "read": np.concatenate(read).tolist() if read else [],
        "params": [np.asarray(leaf, np.float64).ravel().tolist() for leaf in leaves],
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
