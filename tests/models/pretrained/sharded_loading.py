"""Loads a checkpoint onto a virtual mesh of 2 x 4 devices; prints what was wrong, and what was read."""

import functools
import json
import sys

import jax
import numpy as np
from llada_folders import llada_arrays, save_folder, stacked

import mdm_jax as mdm
from mdm_jax.models.pretrained import folders
from mdm_jax.models.pretrained.stored import StoredTensor


def main(folder, config, dtype):
    arrays = llada_arrays(config, dtype)
    save_folder(folder, arrays, config, shards=3)
    largest = []
    once = folders.read_safetensors

    class Counted(StoredTensor):
        def read_into(self, out, index):
            largest.append((self.file.name, self.begin, [[one.start, one.stop] for one in index], out.nbytes))
            super().read_into(out, index)

    def watched(path):
        return {name: Counted(**vars(stored)) for name, stored in once(path).items()}

    folders.read_safetensors = watched
    plain = mdm.models.load_pretrained(folder)
    whole = [size for *_, size in largest]
    largest.clear()
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()).reshape(2, 4), ("data", "model"))
    loaded = mdm.models.load_pretrained(folder, shardings=functools.partial(mdm.training.devices.shardings, mesh))
    places = mdm.training.devices.shardings(mesh, loaded.params)
    right = stacked(arrays, config["n_layers"])
    wrong, parts = [], 0
    for (path, leaf), place in zip(jax.tree_util.tree_leaves_with_path(loaded.params), jax.tree.leaves(places)):
        name = jax.tree_util.keystr(path[1:], simple=True, separator="/")
        good = leaf.sharding == place and leaf.dtype == right[name].dtype
        for shard in leaf.addressable_shards:
            good &= np.asarray(shard.data).tobytes() == np.ascontiguousarray(right[name][shard.index]).tobytes()
        parts += len({str(shard.index) for shard in leaf.addressable_shards}) > 1
        wrong += [] if good else [name]
    tokens = np.full((2, 8), config["mask_token_id"], np.int32)
    logits = jax.jit(mdm.models.logits, static_argnums=0)
    one, other = (np.asarray(logits(each.denoiser, each.params, tokens)) for each in (plain, loaded))
    found = {
        "wrong": wrong,
        "divided": parts,
        "reads twice": len(largest) - len({str(one) for one in largest}),
        "read": sum(size for *_, size in largest),
        "whole": sum(whole),
        "bytes": sum(value.nbytes for value in arrays.values()),
        "largest difference": float(np.max(np.abs(np.where(np.isfinite(one), one - other, 0)))),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    from pathlib import Path

    import ml_dtypes

    main(Path(sys.argv[1]), json.loads(sys.argv[2]), np.dtype(getattr(ml_dtypes, sys.argv[3], sys.argv[3])))
