"""Latent models through ``fit``: one of one's own by the protocol, and the library's; in every way, resumed, loaded."""

import dataclasses
import json
import math
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiler_flags import with_devices
from latent_tables import perturbed

import mdm_jax as mdm
from mdm_jax import models
from mdm_jax.support.devices import make_mesh
from mdm_jax.training import FixedLatentBound, LatentSurrogate, Settings, StepwiseLatentBound, fit
from mdm_jax.training.objective import Examples
from mdm_jax.training.objectives import from_description
from mdm_jax.training.step import loss_and_gradient

PAIRS = mdm.tasks.pairs(1.0, symbols=2)
"""Two equal bits: an entropy of one bit, half a bit per token."""


@dataclasses.dataclass(frozen=True)
class Line:
    """A latent model without a network: one standard normal number, along which every token's logits lie."""

    vocab_size = 2
    mask_id = 2
    passes = 1
    latent_shape = (1, 1)

    def begin(self, params, keys, context=None):
        drawn = jax.vmap(lambda key: jax.random.normal(key, (1, 1), jnp.float32))(keys)
        return drawn if context is None else context

    def encode(self, params, tokens, context=None):
        assert context is not None
        other = jnp.take(params["seen"], tokens[:, ::-1], axis=0)  # what the other token says
        return other + context * params["slope"].astype(context.dtype)[None, None, :]

    def readout(self, params, hidden):
        return hidden.astype(jnp.float32)

    def posterior(self, params, tokens, told):
        found = jnp.sum(params["told"][tokens] * told[:, :, None], axis=1, dtype=jnp.float32)[:, None]
        return models.Posterior(found[..., :1], found[..., 1:])

    def log_prior(self, params, latent):
        return jnp.sum(-0.5 * latent**2 - 0.5 * math.log(2 * math.pi), axis=(-2, -1))

    def kl(self, params, posterior, latent):
        mean, log_scale = posterior
        return jnp.sum(0.5 * (mean**2 + jnp.exp(2 * log_scale) - 1 - 2 * log_scale), axis=(-2, -1))


def zeros():
    told = jnp.asarray([[-0.2, -0.2], [0.2, -0.2], [0.0, 0.0]], jnp.float32)
    return {"slope": jnp.asarray([-0.2, 0.2], jnp.float32), "seen": jnp.zeros((3, 2)), "told": told}


SETTINGS = Settings(
    steps=600, batch=64, length=2, optimizer="adamw", learning_rate=0.05, weight_decay=0.0, ema_decay=0.9
)
SHORT = dataclasses.replace(SETTINGS, steps=20)
ONE_STEP = StepwiseLatentBound(steps=1, draws=8, warmup=0.1)


def train(settings: Any = SHORT, objective: Any = ONE_STEP, denoiser: Any = None, **how: Any):
    given = {"params": zeros()} if denoiser is None else {}
    return fit(
        Line() if denoiser is None else denoiser, PAIRS, settings=settings, objective=objective, progress=False,
        report_every=how.pop("report_every", settings.steps), **given, **how,
    )  # fmt: skip


def apart(one, other):
    leaves = zip(jax.tree.leaves(one.params), jax.tree.leaves(other.params), strict=True)
    return max(float(np.max(np.abs(np.asarray(a) - np.asarray(b)))) for a, b in leaves)


# ---------------------------------------------------------------------------------------------------- one of one's own


@pytest.mark.thorough
def test_a_latent_model_of_ones_own_learns_what_its_tokens_share(tmp_path):
    """In one step: a bound between the entropy, .5 bits per token, and .6; nine of ten pairs equal (of 2,000).

    Independent tokens cost 1 bit each, and half of the pairs are equal.
    """
    run = train(SETTINGS, directory=tmp_path / "run")
    last = run.place.read_log()[-1]
    assert 0.5 - 1e-3 < last["held_out_bits_per_token"] < 0.6
    out = mdm.sample(Line(), run.params, mdm.plans.uniform(2, 1), 2000, key=mdm.key(0))
    assert np.mean(out.tokens[:, 0] != out.tokens[:, 1]) < 0.1
    assert 0.45 < np.mean(out.tokens) < 0.55
    assert last["held_out_active_units"] == 1
    assert 0.3 < last["held_out_pair_information_nats"] < math.log(2) + 0.1  # of pairs that are equal in .94: .47
    assert last["held_out_kl"] > 0.1
    assert last["train_kl"] > 0.1


@pytest.mark.thorough
def test_accumulated_and_on_meshes_the_same_steps_are_taken():
    plain = train()
    for changes, how in (({"accumulate": 4}, {}), ({}, {"devices": 1}), ({}, {"mesh": make_mesh({"data": 1})})):
        assert apart(train(dataclasses.replace(SHORT, **changes), **how), plain) < 1e-4


@pytest.mark.processes
@pytest.mark.thorough
def test_the_same_steps_on_eight_devices():
    """In a process of its own, by ``pmap`` and on a mesh: every latent goes along with its row."""
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = {**os.environ, "PYTHONPATH": paths, "XLA_FLAGS": with_devices(8), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", "import test_latents_trained; test_latents_trained.on_devices()"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert max(json.loads(done.stdout.splitlines()[-1])) < 1e-4


def on_devices():
    """In the other process: prints how far the parameters are from one device's."""
    assert jax.device_count() == 8
    plain, found = train(), []
    for how in ({"devices": 8}, {"mesh": make_mesh({"data": 4, "model": 2})}):
        found.append(apart(train(**how), plain))
    print(json.dumps(found))


# -------------------------------------------------------------------------------------------------------- the library's


TINY = models.latent_transformer(2, length=2, width=8, depth=1, heads=2, latent_size=2, prior=2)


@pytest.mark.thorough
def test_a_run_of_the_library_s_own_goes_on_bitwise_and_is_loaded_with_an_equal_denoiser(tmp_path):
    class Stop(Exception):
        pass

    def stop(step, _):
        if step == 10:
            raise Stop

    objective = LatentSurrogate(warmup=0.5)
    how = {"objective": objective, "denoiser": TINY, "report_every": 5, "checkpoint_every": 5}
    whole = train(directory=tmp_path / "whole", **how)
    with pytest.raises(Stop):
        train(directory=tmp_path / "cut", on_report=stop, **how)
    assert mdm.load(tmp_path / "cut").step == 10
    cut = train(directory=tmp_path / "cut", **how)
    assert apart(cut, whole) == 0
    loaded = mdm.load(tmp_path / "whole")
    assert loaded.denoiser == TINY
    assert apart(loaded, whole) == 0
    described = json.loads((tmp_path / "whole" / "config.json").read_text())["objective"]
    assert from_description(described) == objective
    line = whole.place.read_log()[-1]
    named = {"train_kl", "held_out_kl", "held_out_kl_nats", "held_out_active_units", "held_out_pair_information_nats"}
    assert named <= line.keys()
    assert all(math.isfinite(line[name]) for name in named)


@pytest.mark.parametrize("objective", [LatentSurrogate(), FixedLatentBound(), StepwiseLatentBound(steps=2, draws=3)])
@pytest.mark.thorough
@pytest.mark.usefixtures("strict_types")
def test_bfloat16_gives_the_gradient_to_its_precision(objective):
    """Some per cent after all operations, as of the plain transformer; the latent itself stays in float32."""
    params, tokens = perturbed(TINY, 2), jnp.asarray(PAIRS.train[:64])
    corrupted = objective.corrupt(mdm.key(1), TINY, Examples(tokens), jnp.float32(1))
    found = []
    for compute in ("float32", "bfloat16"):
        settings = dataclasses.replace(SHORT, compute=compute)
        whole = partial(loss_and_gradient, TINY, settings, objective=objective)
        value, _, gradient = jax.jit(whole)(params, Examples(tokens), corrupted)
        found.append((float(value), jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(gradient)])))
    (value, gradient), (other, rough) = found
    assert other != value
    assert abs(other - value) < 0.02 * value
    assert rough.dtype == jnp.float32
    assert float(jnp.linalg.norm(gradient - rough)) < 0.06 * float(jnp.linalg.norm(gradient))
