"""A row's tokens depend on the key, its id and what it is asked to be: not on its batch, its place or the devices.

On a transformer whose weights are all random. Tokens are compared, not bits: read-outs are alike in all these batches,
hidden vectors differ by rounding in some, and none of these rows has a tie so near that it matters.
"""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiler_flags import with_devices
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mdm_jax import models, sampling
from mdm_jax.sampling import rules
from mdm_jax.sampling.adaptive import adaptive_loop
from mdm_jax.theory import plans

pytestmark = pytest.mark.usefixtures("strict_types")

LENGTH, VOCAB, ROWS, DEVICES = 16, 37, 32, 8
MODEL = models.transformer(VOCAB, length=LENGTH, width=32, depth=1, heads=2)
KEY = jax.random.key(9)


@functools.cache
def parameters():
    """No weight is left at zero: gains about 1, all else random."""
    leaves, tree = jax.tree.flatten(jax.eval_shape(lambda: MODEL.init(jax.random.key(0), LENGTH)))
    rng = np.random.default_rng(0)
    noise = [(0.3 * rng.normal(size=leaf.shape) + (leaf.ndim == 1)).astype(np.float32) for leaf in leaves]
    return jax.tree.unflatten(tree, [jnp.asarray(leaf) for leaf in noise])


def canvases(ids):
    """Row r has a prompt of r mod 7 tokens."""
    at, ids = np.arange(LENGTH)[None, :], np.asarray(ids)[:, None]
    return np.where(at < ids % 7, (3 * ids + at) % VOCAB, VOCAB).astype(np.int32)


def blind(params, canvas, ids):
    knots = jnp.asarray(sampling.plan_knots(plans.uniform(LENGTH, 5), len(canvas)))
    steps = sampling.random_order(KEY, knots, canvas == VOCAB, ids)
    return sampling.blind_loop(MODEL, params, canvas, steps, key=KEY, row_ids=ids)


def adaptive(params, canvas, ids):
    rule = rules.entropy_bounded(4.0).replace(block=6, order_temperature=0.05)
    return adaptive_loop(MODEL, params, canvas, rule, key=KEY, row_ids=ids)


SAMPLERS = {"blind": blind, "adaptive": adaptive}


def sampled(name, ids, padding=0):
    """What the rows ``ids`` come out as, between ``padding`` rows in which everything is given."""
    ids = np.concatenate([np.asarray(ids), np.arange(1000, 1000 + padding)]).astype(np.int32)
    canvas = np.where(ids[:, None] < 1000, canvases(ids), 5)
    out = SAMPLERS[name](parameters(), jnp.asarray(canvas, jnp.int32), jnp.asarray(ids))
    count = len(ids) - padding
    return {field: np.asarray(getattr(out, field))[:count].tolist() for field in ("tokens", "reveal_step", "nfe")}


def reordered(result, places):
    return {field: [values[place] for place in places] for field, values in result.items()}


@pytest.fixture(scope="module", params=["adaptive", pytest.param("blind", marks=pytest.mark.thorough)])
def alone(request):
    """The name of a sampler and its results for rows 0 .. 31."""
    result = sampled(request.param, range(ROWS))
    assert len({tuple(row) for row in result["tokens"]}) == ROWS
    assert len(set(np.ravel(result["tokens"]))) > VOCAB // 2
    return request.param, result


@pytest.mark.thorough
def test_batch_size_order_and_padding_do_not_matter(alone):
    """The 32 rows among 52, shuffled, with 20 rows behind them in which nothing is masked."""
    name, result = alone
    order = np.random.default_rng(0).permutation(ROWS)
    assert sampled(name, order, padding=20) == reordered(result, order)


@pytest.mark.thorough
@pytest.mark.parametrize("count", [4, 11, 100])
def test_more_batch_sizes(alone, count):
    """Rows 0 .. 3 and so on by themselves, or among more."""
    name, result = alone
    both = range(min(count, ROWS))
    assert reordered(sampled(name, range(count)), both) == reordered(result, both)


@pytest.mark.processes
@pytest.mark.thorough
def test_the_number_of_devices_does_not_matter(alone):
    """Rows over eight devices, four on each, in a process of its own."""
    name, result = alone
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = {**os.environ, "PYTHONPATH": paths, "XLA_FLAGS": with_devices(DEVICES), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", f"import test_independence; test_independence.on_devices({name!r})"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == result


def on_devices(name):
    """In the other process: the same rows, sharded; prints the results."""
    assert jax.device_count() == DEVICES
    mesh = Mesh(np.array(jax.devices()), ("rows",))
    split, whole = NamedSharding(mesh, PartitionSpec("rows")), NamedSharding(mesh, PartitionSpec())
    ids = jax.device_put(jnp.arange(ROWS, dtype=jnp.int32), split)
    canvas = jax.device_put(jnp.asarray(canvases(range(ROWS))), split)
    assert len(canvas.sharding.device_set) == DEVICES
    out = SAMPLERS[name](jax.device_put(parameters(), whole), canvas, ids)
    print(json.dumps({field: np.asarray(getattr(out, field)).tolist() for field in ("tokens", "reveal_step", "nfe")}))
