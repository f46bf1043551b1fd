"""What ``test_global_flags`` runs in a process of its own: ``fit`` under a global flag; prints what came out as JSON.

Arguments: the optimiser, the flag (as in jax_enable_x64=True, mesh:Auto, mesh:Explicit, or none), the run directory,
and the directory of a run to go on with and to load, if any.
"""

import contextlib
import dataclasses
import hashlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
import numpy as np
from jax.sharding import AxisType
from toys import SETTINGS, PatternTask, tiny_transformer

from mdm_jax.training import RunDirectory, fit, load
from mdm_jax.training.step import initial_state

STEPS = 20


def settings(optimizer):
    return dataclasses.replace(SETTINGS, steps=STEPS, optimizer=optimizer)


def leaves(tree):
    return [np.asarray(leaf, np.float64).ravel().tolist() for leaf in jax.tree.leaves(tree)]


def main(optimizer, flag, directory, other=None):
    surroundings = contextlib.nullcontext()
    if flag.startswith("mesh:"):
        surroundings = jax.set_mesh(jax.make_mesh((2,), ("data",), (getattr(AxisType, flag[5:]),)))
    elif "=" in flag:
        name, value = flag.split("=")
        jax.config.update(name, {"True": True, "False": False}.get(value, value))
    arguments = {"settings": settings(optimizer), "progress": False, "checkpoint_every": 10, "report_every": 5}
    found = {}
    with surroundings:
        run = fit(tiny_transformer(), PatternTask(), directory=directory, **arguments)
        found["params"], found["tally"] = leaves(run.params), leaves(run.tally)
        log = RunDirectory(Path(directory)).read_log()
        found["log"] = [[line["train_bits_per_token"], line["held_out_bits_per_token"]] for line in log]
        # The tally's first sums count examples by what they show: whoever drew other masks has others.
        found["shown"] = hashlib.sha256(np.asarray(run.tally.weight).tobytes()).hexdigest()
        state = jax.eval_shape(lambda: initial_state(tiny_transformer(), settings(optimizer)))
        found["types"] = [str(leaf.dtype) for leaf in jax.tree.leaves(state)]
        if other is not None:
            found["loaded"] = leaves(load(other).params)
            found["resumed"] = leaves(fit(tiny_transformer(), PatternTask(), directory=other, **arguments).params)
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
