"""Training under global flags of JAX: the same batches, masks and losses, and checkpoints that travel between them."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiler_flags import with_devices
from toys import SETTINGS, VOCAB, PatternTask

from mdm_jax import models
from mdm_jax.training import fit

HERE = Path(__file__).parent
EXACT = (
    "mesh:Auto",
    "mesh:Explicit",
    "jax_debug_nans=True",
    "jax_debug_key_reuse=True",
    "jax_default_prng_impl=rbg",
    "jax_numpy_dtype_promotion=strict",
    "jax_numpy_rank_promotion=raise",
    "jax_threefry_partitionable=False",
)
"""Flags under which every number is the same in every bit."""


def under(flag, directory, optimizer="muon", other=None):
    """What ``under_flag`` prints."""
    environment = {**os.environ, "XLA_FLAGS": with_devices(2), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, str(HERE / "under_flag.py"), optimizer, flag, str(directory)]
    command += [] if other is None else [str(other)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=550)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def look_up(params, tokens):
    return params["table"][tokens]


@pytest.mark.core
def test_double_precision_draws_the_same_and_trains_in_the_same_types():
    """A table by AdamW, in this process: the cheap sibling of what follows."""
    settings = dataclasses.replace(SETTINGS, steps=40, weight_decay=0.0, optimizer="adamw")
    denoiser, runs, logs = models.from_function(look_up, VOCAB), [], []
    for double in (False, True):
        with jax.enable_x64(double):
            params, told = {"table": jnp.zeros((VOCAB + 1, VOCAB), jnp.float32)}, []
            arguments = {"settings": settings, "params": params, "progress": False}

            def tell(step, figures, told=told):
                told.append((step, figures["train_bits_per_token"], figures["held_out_bits_per_token"]))

            runs.append(fit(denoiser, PatternTask(), on_report=tell, **arguments))
        logs.append(told)
    for one, two in zip(*map(jax.tree.leaves, ((run.params, run.tally) for run in runs)), strict=True):
        assert one.dtype == two.dtype == np.float32
        np.testing.assert_array_equal(one, two)
    assert logs[0] == logs[1]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    directory = tmp_path_factory.mktemp("plain") / "run"
    return directory, under("none", directory)


@pytest.fixture
def half(plain, tmp_path):
    """The plain run as it was ten steps before its end."""
    shutil.copytree(plain[0], tmp_path / "half")
    shutil.rmtree(tmp_path / "half" / "checkpoints" / "20")
    return tmp_path / "half"


def close(one, two, within):
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, atol=within, rtol=0)


@pytest.mark.processes
@pytest.mark.thorough
@pytest.mark.parametrize("flag", EXACT)
def test_numbers_are_the_same_in_every_bit(flag, plain, half, tmp_path):
    """Under an active mesh ``fit`` said "incompatible devices"; other bits of a key would be other data."""
    found = under(flag, tmp_path / "run", other=half)
    for name, value in plain[1].items():
        assert found[name] == value, name
    assert found["resumed"] == plain[1]["params"]


@pytest.mark.processes
@pytest.mark.thorough
def test_double_precision_changes_rounding_alone_and_checkpoints_travel_both_ways(plain, half, tmp_path):
    found = under("jax_enable_x64=True", tmp_path / "run", other=half)
    assert found["types"] == plain[1]["types"]
    assert found["shown"] == plain[1]["shown"]
    close(found["log"], plain[1]["log"], 1e-6)
    close(found["params"], plain[1]["params"], 2e-5)
    close(found["resumed"], plain[1]["params"], 2e-5)
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "20")
    back = under("none", tmp_path / "again", other=tmp_path / "run")
    close(back["resumed"], plain[1]["params"], 2e-5)
    assert back["params"] == plain[1]["params"]


@pytest.mark.processes
@pytest.mark.thorough
def test_double_precision_with_adam(tmp_path):
    one = under("none", tmp_path / "plain", "adamw")
    two = under("jax_enable_x64=True", tmp_path / "double", "adamw", tmp_path / "plain")
    assert (two["types"], two["shown"]) == (one["types"], one["shown"])
    close(two["log"], one["log"], 1e-6)
    assert two["loaded"] == one["params"]
