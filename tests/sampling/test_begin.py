"""What a denoiser draws for each row before the first step: a latent, of the key and the row's id alone.

Two models. One writes its latent into the tokens, so that latents are seen whoever samples. The other is a table of
three values of a latent (``latent_tables``), whose samplers' laws are enumerated.
"""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import everything
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import programs
from compiler_flags import with_devices
from everything import BLIND, CANVAS, EVERY, RULES, WRAPPERS
from latent_tables import random_world
from selecting import thorough_but

import mdm_jax as mdm
from mdm_jax import models, sampling
from mdm_jax.sampling import Blind, presets, rules
from mdm_jax.support.devices import make_mesh
from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans
from mdm_jax.theory.plans import Plan, grids

LENGTH, VOCAB, ROWS = 6, 32, 12
KEY = jax.random.key(11)


@dataclasses.dataclass(frozen=True)
class Written:
    """Token ``j`` is certain: the 32nd part of the normal law in which number ``j`` of the latent lies."""

    vocab_size = VOCAB
    mask_id = VOCAB
    passes = 1
    latent_shape = (1, LENGTH)

    def begin(self, params, keys, context=None):
        if context is not None:
            return context
        return jax.vmap(lambda key: jax.random.normal(key, (1, LENGTH), jnp.float32))(keys)

    def encode(self, params, tokens, context=None):
        assert context is not None
        return jnp.swapaxes(context, 1, 2)

    def readout(self, params, hidden):
        part = jnp.floor(jax.scipy.stats.norm.cdf(hidden) * VOCAB)
        return jnp.where(
            part == jnp.arange(VOCAB, dtype=jnp.float32).reshape((1,) * (hidden.ndim - 1) + (-1,)), 0.0, -1e9
        )

    def posterior(self, params, tokens, told):
        raise NotImplementedError

    def log_prior(self, params, latent):
        raise NotImplementedError

    def kl(self, params, posterior, latent):
        raise NotImplementedError


MODEL = Written()
PLAN = plans.uniform(LENGTH, 3)
SAMPLERS = {
    "plan": PLAN,
    "grid": grids.uniform(3),
    "left to right": Blind(PLAN, "left_to_right"),
    "surest": rules.surest(PLAN),
    "remdm": presets.remdm(4, 0.3),
}


def tokens(sampler, rows=ROWS, model=MODEL, **more):
    return np.asarray(mdm.sample(model, (), sampler, rows, length=LENGTH, key=KEY, **more).tokens)


# ---------------------------------------------------------------------------------------------- of the key and the row


@pytest.mark.parametrize("name", thorough_but(["plan"], SAMPLERS))
def test_a_latent_is_the_row_s_own_whatever_else_is_sampled(name):
    """Rows asked for backwards, few of them, several for each prompt, with another plan or prompt: the same latents."""
    sampler = SAMPLERS[name]
    alone = tokens(sampler)
    assert len({tuple(row) for row in alone}) == ROWS
    assert len(np.unique(alone)) > VOCAB // 2
    back = list(range(ROWS))[::-1]
    np.testing.assert_array_equal(tokens(sampler, row_ids=back), alone[::-1])
    if name != "plan":  # another shape, another program
        np.testing.assert_array_equal(tokens(sampler, 3, row_ids=[2, 7, 5]), alone[[2, 7, 5]])
    np.testing.assert_array_equal(tokens(sampler, ROWS // 3, samples=3), alone)
    canvas = np.where(np.arange(LENGTH)[None] < np.arange(ROWS)[:, None] % 3, 4, MODEL.mask_id)
    prompted = tokens(sampler, canvas=canvas)
    np.testing.assert_array_equal(prompted, np.where(canvas == 4, 4, alone))
    other = np.asarray(mdm.sample(MODEL, (), sampler, ROWS, length=LENGTH, key=jax.random.key(12)).tokens)
    assert np.mean(other == alone) < 0.2


@pytest.mark.thorough
def test_all_orders_and_plans_of_one_loop_share_the_rows_latents():
    """Random numbers are common: what differs between plans is the plan."""
    blind = [tokens(SAMPLERS[name]) for name in ("plan", "grid", "left to right")]
    adaptive = [tokens(SAMPLERS[name]) for name in ("surest", "remdm")]
    for loop in (blind, adaptive):
        for one in loop:
            np.testing.assert_array_equal(one, loop[0])


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["plan", "surest"])
def test_the_same_latents_under_64_bits_and_another_kind_of_keys(name):
    alone = tokens(SAMPLERS[name])
    with jax.enable_x64(True):
        np.testing.assert_array_equal(tokens(SAMPLERS[name]), alone)
    with jax.default_prng_impl("rbg"):
        np.testing.assert_array_equal(tokens(SAMPLERS[name]), alone)
    key = jax.random.key(11, impl="rbg")
    np.testing.assert_array_equal(mdm.sample(MODEL, (), SAMPLERS[name], ROWS, length=LENGTH, key=key).tokens, alone)


def evaluated(name, **execution):
    found = mdm.evaluate(
        MODEL, (), {"one": SAMPLERS[name]}, ROWS, lambda rows: rows.sum(1).astype(float), key=KEY, length=LENGTH,
        execution=mdm.evaluation.Execution(batch=8, **execution),
    )  # fmt: skip
    return np.asarray(found.tokens[0])


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["plan", "surest"])
def test_evaluate_draws_the_same_latents(name):
    np.testing.assert_array_equal(evaluated(name), tokens(SAMPLERS[name]))


@pytest.mark.processes
@pytest.mark.thorough
def test_so_they_are_on_eight_devices():
    """In a process of its own."""
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = {**os.environ, "PYTHONPATH": paths, "XLA_FLAGS": with_devices(8), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", "import test_begin; test_begin.on_devices()"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    for name in ("plan", "surest"):
        assert found[name] == tokens(SAMPLERS[name]).tolist()


def on_devices():
    """In the other process: prints what ``evaluate`` draws on eight devices."""
    assert jax.device_count() == 8
    mesh = make_mesh({"data": 8})
    print(json.dumps({name: evaluated(name, mesh=mesh).tolist() for name in ("plan", "surest")}))


# ----------------------------------------------------------------------------------------------------- laws of samplers


WORLD = random_world(3, seed=2)
CELLS = 2**3


def squared(sampler, law, model, rows=2**15):
    """Chi-squared of that many samples over the eight sequences."""
    drawn = np.asarray(mdm.sample(model, WORLD.params, sampler, rows, length=3, key=KEY).tokens)
    counts = np.bincount(drawn @ [4, 2, 1], minlength=CELLS)
    return np.sum((counts - rows * law) ** 2 / (rows * law))


@pytest.mark.parametrize("loop", thorough_but(["blind"], ["blind", "adaptive"]))
@pytest.mark.parametrize("anew", [False, True])
def test_samples_follow_the_law_with_one_latent_or_with_one_at_each_step(anew, loop):
    """2^15 samples each of one step, two and three; chi-squared below its mean + 4.5 s.d., and above it for the law of
    the other kind where the two differ.
    """
    model, limit = models.redrawn(WORLD.model) if anew else WORLD.model, CELLS - 1 + 4.5 * np.sqrt(2 * (CELLS - 1))
    for sizes in ([3], [2, 1], [1, 1, 1]):
        law, other = (
            np.exp([-WORLD.nll(one, sizes, anew=which) for one in WORLD.sequences]) for which in (anew, not anew)
        )
        assert law.sum() == pytest.approx(1)
        plan = Plan(np.array(sizes), "t")
        sampler = plan if loop == "blind" else rules.at_random(plan)
        assert squared(sampler, law, model) < limit, sizes
        assert len(sizes) == 1 or squared(sampler, other, model) > limit, sizes


# ------------------------------------------------------------------------------------------- everything runs with it


TABLES = random_world(everything.LENGTH, everything.VOCAB, 3, seed=5)
KEPT = ["plan", "llada"]
ALIKE = ["margin", "remdm rescale", "remdm confidence", "remdm at 0", "self-planned, published"]  # compiled for little
ALIKE += ["banned", "tempered", "tempered to 0", "top k", "top p", "hooked"]
KINDS = [one for one in EVERY if one[1] not in ALIKE]


@pytest.mark.parametrize(
    ("kind", "name"), [one if one[1] in KEPT else pytest.param(*one, marks=pytest.mark.thorough) for one in KINDS]
)
def test_a_row_is_what_its_latent_makes_of_it_under_every_kind_of_sampler_and_wrapper(kind, name, monkeypatch):
    """Each row is one of three that are drawn with a given latent; rows differ in which."""
    assert name in {**BLIND, **RULES, **WRAPPERS}
    key, found = jax.random.key(7), []
    more = {"model": TABLES.model, "params": TABLES.params}
    own = everything.sampled(kind, name, key, **more)
    wrapped = WRAPPERS[name](TABLES.model) if kind == "wrapper" else TABLES.model
    for value in range(TABLES.values):
        latent = np.full((everything.ROWS, 1, 1), value, np.float32)
        context = models.guidance(CANVAS, wrapped, 1.5, context=latent) if wrapped.passes == 2 else latent
        found.append(everything.sampled(kind, name, key, **more, context=context))
    same = np.array([np.all(one.tokens == own.tokens, axis=1) & (one.nfe == own.nfe) for one in found])
    assert same.any(0).all()
    assert not np.array_equal(found[0].tokens, found[1].tokens)
    given = TABLES.model.mask_id != CANVAS
    np.testing.assert_array_equal(own.tokens[given], CANVAS[given])
    chosen = [set(np.flatnonzero(column)) for column in same.T]
    assert not set.intersection(*chosen)  # no one latent explains all rows


@pytest.mark.thorough
def test_all_schedules_of_a_race_share_the_rows_latents():
    """Where the latent says everything, no schedule is better than another, sample by sample."""
    raced = mdm.race(
        MODEL, (), lambda rows: rows.sum(1).astype(float), LENGTH, 3, key=KEY, lower_is_better=True,
        search=mdm.evaluation.Halving(grid=2, samples=2, final_samples=4), order=rules.surest,
    )  # fmt: skip
    scores = raced.test.values()
    assert len(np.unique(scores[0])) == scores.shape[1]
    np.testing.assert_array_equal(scores, np.broadcast_to(scores[:1], scores.shape))


# ------------------------------------------------------------------------------------------------- one program for all


def test_plans_prompts_temperatures_and_given_latents_make_no_new_program():
    """But for the first with a given latent: a context that is there is another program than one that is not."""
    latent = jnp.zeros((4, 1, LENGTH), jnp.float32)
    free, other = np.full((4, LENGTH), MODEL.mask_id, np.int32), latent + 1.0

    def run(steps, canvas, temperature, context=None):
        plan, drawn = plans.uniform(LENGTH, steps), np.zeros(0)
        for model in (MODEL, models.redrawn(MODEL)) if context is None else (MODEL,):
            out = mdm.sample(model, (), plan, key=KEY, canvas=canvas, temperature=temperature, context=context)
            drawn = np.asarray(out.tokens)
        return drawn

    run(3, free, 1.0)
    run(3, free, 1.0, latent)
    prompt = free.copy()
    prompt[:, 0] = 5
    with programs() as made:
        run(2, prompt, 0.7)
        run(2, prompt, 0.7, latent)
        given = run(6, free, 0.0, other)
    assert made == []
    assert np.all(given == given[0, 0])  # what is given is kept: one number, one token


def test_latents_of_another_shape_are_refused_in_a_sentence():
    model = models.latent_transformer(4, length=LENGTH, width=8, depth=1, heads=2, latent_size=2, block=3)
    params = model.init(mdm.key(0), LENGTH)
    for context, says in (
        (np.zeros((2, 1, 2), np.float32), r"context must be latents of shape \(2, 2, 2\).*got shape \(2, 1, 2\)"),
        (np.zeros((3, 2, 2), np.float32), "context must be of leaves whose leading axis is rows, 2; got"),
    ):
        for sampler in (PLAN, rules.surest(PLAN)):
            with pytest.raises(InputError, match=says):
                sampling.sample(model, params, sampler, 2, key=KEY, length=LENGTH, context=context)
    with pytest.raises(ZeroDivisionError):  # what fails for another reason is not taken for a want of a context
        sampling.sample(model, params, PLAN, 2, key=KEY, record=lambda frame: 1 // 0)
    with pytest.raises(InputError, match="context must be left out: latents are drawn at each step"):
        sampling.sample(models.redrawn(model), params, PLAN, 2, key=KEY, context=np.zeros((2, 2, 2), np.float32))
