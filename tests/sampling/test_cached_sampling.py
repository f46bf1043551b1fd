"""Models with a cache: sampling them is sampling by encoding everything anew, whatever the order, prompt or wrapper.

``Recomputed`` keeps the same contract and caches nothing. Tokens are compared, not bits: hidden vectors differ by
rounding. With these keys no draw is so near a tie that it matters; how many are is counted once, on many rows.
"""

import dataclasses
import functools
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from any_orders import LENGTH, VOCAB, Recomputed, tiny
from compiled import programs
from references import chi_square, log_softmax
from selecting import thorough_but
from worlds import draw_rows, random_table

import mdm_jax as mdm
from mdm_jax import models, sampling
from mdm_jax.sampling import Blind, presets, rules
from mdm_jax.support.devices import make_mesh
from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans
from mdm_jax.theory.plans import Plan, grids

pytestmark = pytest.mark.usefixtures("strict_types")

MODEL, PARAMS = tiny()
ROWS = 6
KEY = jax.random.key(5)
PLAN = plans.uniform(LENGTH, 3)
NEAR = 1e-4
"""Nats per sequence."""


def canvases():
    """Nothing given; prompts of none to five tokens; holes anywhere, one row without any."""
    rng = np.random.default_rng(3)
    tokens, at = rng.integers(0, VOCAB, (ROWS, LENGTH)), np.arange(LENGTH)[None]
    holes = rng.random((ROWS, LENGTH)) < 0.6
    holes[-1] = False
    free = {"blank": at >= 0, "prompts": at >= np.arange(ROWS)[:, None], "holes": holes}
    return {name: np.where(one, MODEL.mask_id, tokens).astype(np.int32) for name, one in free.items()}


CANVASES = canvases()
SHUFFLED = np.random.default_rng(4).permuted(np.tile(np.arange(LENGTH), (ROWS, 1)), axis=1)
BLIND = {
    "plan": PLAN,
    "one by one": plans.uniform(LENGTH, LENGTH),
    "at once": plans.uniform(LENGTH, 1),
    "uneven": Plan(np.array([1, 7, 4]), "t"),
    "plans": [plans.uniform(LENGTH, 1 + 2 * k) for k in range(ROWS)],
    "grid": grids.uniform(5),
    "grids": [grids.uniform(1 + k) for k in range(ROWS)],
    "left to right": Blind(PLAN, "left_to_right"),
    "permutations": Blind(PLAN, SHUFFLED),
    "blocks": Blind(plans.uniform(4, 2), block=4),
}
RULES = {
    "surest": lambda: rules.surest(PLAN),
    "llada": lambda: presets.llada(LENGTH, 6, 4),
    "confident": lambda: rules.confident(0.5).replace(end=1),
    "at random": lambda: rules.at_random(plans.uniform(4, 2)).replace(block=4, end=1),
}


def drawn(model, sampler, canvas="blank", params=PARAMS, key=KEY, **more):
    chosen = CANVASES[canvas] if isinstance(canvas, str) else canvas
    return jax.tree.map(np.asarray, sampling.sample(model, params, sampler, key=key, canvas=chosen, **more))


def alike(one, other):
    """Equal but for rounding: everything that is counted, and log-probabilities."""
    for name in ("tokens", "nfe", "batch_nfe", "remaining", "reveal_step", "steps"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    np.testing.assert_allclose(one.log_prob, other.log_prob, atol=NEAR)


def double_logits(logits):
    return 2 * logits


def seen_as_it_is(tokens):
    return tokens


def lawless(logits):
    """No law where token 2 is the most probable."""
    return jnp.where(jnp.argmax(logits, axis=-1)[..., None] == 2, jnp.nan, logits)


def wrapped(model):
    """Every wrapper that passes a cache on."""
    cooled = models.tempered(models.banned(models.guided(model), (0,)), 0.8)
    return models.hooked(models.top_p(models.top_k(cooled, 3), 0.95), double_logits)


# ------------------------------------------------------------------------------------------------ cached is recomputed


@pytest.mark.core
@pytest.mark.parametrize("name", BLIND)
def test_every_blind_order_draws_what_recomputing_draws(name):
    """All on one executable each; and the log-probability of the path in one pass is the sampler's."""
    for canvas in CANVASES if name in ("plan", "grid", "left to right") else ["blank"]:
        for temperature in (1.0, 0.0) if canvas == "prompts" else (1.0,):
            out = drawn(MODEL, BLIND[name], canvas, temperature=temperature)
            alike(out, drawn(Recomputed(MODEL), BLIND[name], canvas, temperature=temperature))
            assert np.all(out.remaining == 0)
            if temperature == 1:
                path = scored(MODEL, out)
                np.testing.assert_allclose(path, out.log_prob, atol=NEAR)


def scored(model, out, context=None, key=KEY, params=PARAMS):
    """The path's log-probability by the key that its sampler used."""
    tokens, steps = jnp.asarray(out.tokens), jnp.asarray(out.reveal_step)
    return np.asarray(sampling.path_log_prob(model, params, tokens, steps, context, key=jax.random.split(key)[1]))


def test_first_hitting_and_rows_that_end_early_draw_what_recomputing_draws():
    """Behind a row's end (step -2) nothing is revealed, and what is masked there is seen by nobody."""
    free = jnp.asarray(CANVASES["prompts"] == MODEL.mask_id)
    steps = sampling.first_hitting(KEY, free)
    behind = jnp.arange(LENGTH)[None] >= jnp.asarray([12, 7, 8, 5, 9, 11])[:, None]
    for order in (steps, jnp.where(behind, -2, steps), jnp.where(behind, -2, steps // 3)):
        one, other = (
            jax.tree.map(np.asarray, sampling.blind_loop(
                model, PARAMS, jnp.asarray(CANVASES["prompts"]), order, key=jax.random.split(KEY)[1]
            ))
            for model in (MODEL, Recomputed(MODEL))
        )  # fmt: skip
        alike(one, other)
        np.testing.assert_array_equal(one.tokens == MODEL.mask_id, np.asarray(order) < -1)
        np.testing.assert_allclose(scored(MODEL, one._replace(reveal_step=order)), one.log_prob, atol=NEAR)


@pytest.mark.parametrize("name", thorough_but(["surest"], RULES))
def test_every_rule_that_leaves_tokens_as_they_are_draws_what_recomputing_draws(name):
    for canvas in ("prompts", "holes"):
        for temperature in (1.0, 0.0):
            found = [drawn(one, RULES[name](), canvas, temperature=temperature) for one in (MODEL, Recomputed(MODEL))]
            alike(*found)
            assert np.all(found[0].remaining == 0)


@pytest.mark.thorough
@pytest.mark.parametrize("loop", ["blind", "adaptive"])
def test_so_do_wrapped_and_guided_models_with_contexts(loop):
    """Guided by prompts of different lengths and by holes; each row by a weight and a context of its own."""
    model, params = tiny(context=3)
    sampler = PLAN if loop == "blind" else rules.entropy_bounded(1.5)
    told = np.random.default_rng(6).normal(size=(ROWS, 3)).astype(np.float32)
    weight = np.linspace(-0.5, 2, ROWS).astype(np.float32)
    for canvas in ("prompts", "holes"):
        how = models.guidance(CANVASES[canvas], model, weight, context=told)
        out = drawn(wrapped(model), sampler, canvas, params, context=how)
        alike(out, drawn(wrapped(Recomputed(model)), sampler, canvas, params, context=how))
        assert np.all(out.tokens[CANVASES[canvas] == MODEL.mask_id] != 0)  # banned
        other = drawn(wrapped(model), sampler, canvas, params, context=how._replace(context=told[::-1]))
        assert np.mean(other.tokens == out.tokens) < 0.95
        if loop == "blind":
            path = scored(wrapped(model), out, how, params=params)
            np.testing.assert_allclose(path, out.log_prob, atol=NEAR)


@pytest.mark.thorough
def test_guidance_of_weight_minus_one_has_not_seen_what_is_given():
    """It draws what the model draws where the prompt stands behind everything, unseen."""
    model, canvas = models.guided(MODEL), CANVASES["prompts"]
    out = drawn(model, PLAN, "prompts", context=models.guidance(canvas, model, -1.0))
    steps = jnp.where(jnp.asarray(out.reveal_step) < 0, -2, jnp.asarray(out.reveal_step))
    blind = sampling.blind_loop(MODEL, PARAMS, jnp.asarray(canvas), steps, key=jax.random.split(KEY)[1])
    free = canvas == MODEL.mask_id
    np.testing.assert_array_equal(np.asarray(blind.tokens)[free], out.tokens[free])
    np.testing.assert_allclose(blind.log_prob, out.log_prob, atol=NEAR)


@pytest.mark.thorough
def test_near_ties_are_rare():
    """14,400 tokens: at most 2 rows of 1,200 differ; log-probabilities of all the others within 1e-4 nats."""
    differ = 0
    for first in range(0, 200 * ROWS, ROWS):
        ids = list(range(first, first + ROWS))
        one, other = (drawn(model, PLAN, row_ids=ids) for model in (MODEL, Recomputed(MODEL)))
        same = np.all(one.tokens == other.tokens, axis=1)
        np.testing.assert_allclose(one.log_prob[same], other.log_prob[same], atol=NEAR)
        differ += np.sum(~same)
    assert differ <= 2


@dataclasses.dataclass(frozen=True)
class Counted(Recomputed):
    """Tells :data:`SEEN` of each pass: its tokens, its questions, its slots."""

    def extend(self, params, cache, positions, tokens, revealed, context=None):
        length = cache.tokens.shape[1]
        asked = jnp.sum(positions < length, axis=1, dtype=jnp.int32) - revealed
        jax.debug.callback(lambda *one: SEEN.append((*one, positions.shape[1])), revealed, asked)
        return super().extend(params, cache, positions, tokens, revealed, context)


SEEN = []


@pytest.mark.thorough
@pytest.mark.parametrize("sizes", [(4, 4, 4), (1,) * LENGTH, (1, 3, 8), (LENGTH,)])
def test_every_token_is_asked_once_and_absorbed_once(sizes):
    """2 length - n_K positions of each row; the slots that pass are at most half as many again."""
    SEEN.clear()
    drawn(Counted(MODEL, MODEL.slots), Plan(np.array(sizes), "t"))
    jax.effects_barrier()
    absorbed, asked = (np.sum([one[i] for one in SEEN], axis=0) for i in (0, 1))
    np.testing.assert_array_equal(absorbed, LENGTH - sizes[-1])
    np.testing.assert_array_equal(asked, LENGTH)
    assert 2 * LENGTH - sizes[-1] <= sum(one[2] for one in SEEN) <= 1.5 * (2 * LENGTH - sizes[-1])


# --------------------------------------------------------------------------------------------------- order within steps


def test_ties_are_broken_by_the_key_and_left_to_right_without_one():
    """One token at a time has no ties; in steps of four the order means a little."""
    single, several = (drawn(MODEL, BLIND[name]) for name in ("one by one", "plan"))
    for out, matters in ((single, False), (several, True)):
        tokens, steps = jnp.asarray(out.tokens), jnp.asarray(out.reveal_step)
        plain = np.asarray(sampling.path_log_prob(MODEL, PARAMS, tokens, steps))
        assert np.any(np.abs(plain - out.log_prob) > 1e-3) == matters
    # Left to right within steps: the ranks are those of (step, position).
    order = np.lexsort((np.broadcast_to(np.arange(LENGTH), (ROWS, LENGTH)), several.reveal_step), axis=1)
    rank = jnp.asarray(np.argsort(order, axis=1).astype(np.int32))
    hidden = jax.jit(MODEL.encode_ranked)(PARAMS, tokens, rank, rank // 4 * 4)
    law = log_softmax(MODEL.readout(PARAMS, hidden))
    gain = np.take_along_axis(law, np.asarray(tokens)[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(plain, gain.sum(axis=1), atol=NEAR)


@pytest.mark.thorough
def test_a_plan_costs_what_the_profile_says():
    """Two steps of two tokens, 40,000 random orders of one row: within 4 errors of 2 g(0) + 2 g(2), g enumerated over
    orders. Ties from left to right, which the profile does not know, cost something else.
    """
    model, params = tiny(4, 3)
    tokens, rows = jnp.asarray([[2, 0, 0, 1]], jnp.int32), 40_000
    orders = jnp.asarray(list(itertools.permutations(range(4))), jnp.int32)
    every = jnp.broadcast_to(tokens, orders.shape)
    logits = model.readout(params, model.encode_ranked(params, every, orders, orders // 2 * 2))
    cost = -np.take_along_axis(log_softmax(logits), np.asarray(every)[..., None], axis=-1)[..., 0]
    exact = sum(2 * np.mean(cost[orders // 2 == step]) for step in (0, 1))
    knots = jnp.broadcast_to(jnp.asarray([0, 2, 4], jnp.int32), (rows, 3))
    steps = sampling.random_order(jax.random.key(1), knots, jnp.ones((rows, 4), bool))
    many, apart = jnp.broadcast_to(tokens, (rows, 4)), []
    for key in (KEY, None):
        found = -np.asarray(sampling.path_log_prob(model, params, many, steps, key=key), np.float64)
        apart.append(abs(found.mean() - exact) / (found.std() / np.sqrt(rows)))
    assert apart[0] < 4
    assert apart[1] > 8


@functools.cache
def trained():
    """``(model, params)``: 300 steps on rows of a joint law of four tokens of three symbols."""

    class Task:
        spec, length, vocab_size, digest, score_name, lower_is_better = "joint", 4, 3, "0" * 64, "none", True

        def __init__(self):
            rows = draw_rows(random_table(4, 3, seed=1), 3000, seed=2)
            self.train, self.validation, self.test = rows[:2000], rows[2000:2500], rows[2500:]

        def show(self, tokens):
            return str(tokens)

        def score(self, tokens):
            return np.zeros(len(tokens))

        def baselines(self, tokens):
            return {}

        def describe(self):
            return {"spec": self.spec, "length": 4, "vocab_size": 3, "digest": self.digest}

    model = models.any_order(3, length=4, width=8, depth=1, heads=2)
    settings = mdm.training.Settings(steps=300, batch=32, length=4, optimizer="adamw", learning_rate=0.01)
    run = mdm.fit(model, Task(), settings=settings, progress=False)
    return model, jax.tree.map(jnp.asarray, run.params)


def law(sizes):
    """Of the 81 sequences: the mean over all 24 orders; a step's tokens see those of the steps before, in order."""
    model, params = trained()
    sequences = jnp.asarray(list(itertools.product(range(3), repeat=4)), jnp.int32)
    starts = np.repeat(np.cumsum([0, *sizes[:-1]]), sizes)

    @jax.jit
    def of_order(rank):
        every = jnp.broadcast_to(rank[None], sequences.shape)
        bound = jnp.asarray(starts, jnp.int32)[every]
        logits = model.readout(params, model.encode_ranked(params, sequences, every, bound))
        return jnp.take_along_axis(jax.nn.log_softmax(logits), sequences[..., None], axis=-1)[..., 0].sum(axis=1)

    orders = [of_order(jnp.asarray(rank, jnp.int32)) for rank in itertools.permutations(range(4))]
    return np.mean(np.exp(np.asarray(orders, np.float64)), axis=0)


@pytest.mark.thorough
@pytest.mark.usefixtures("quick_loops")
def test_a_million_samples_follow_the_enumerated_law():
    """Half one token at a time, half two at once: chi-square below its mean + 4.5 s.d.; above it for the other law."""
    (model, params), batch, count = trained(), 20_000, 500_000
    sizes = [1, 1, 1, 1], [2, 2]
    laws = [law(each) for each in sizes]
    for each, right, wrong in zip(sizes, laws, laws[::-1]):
        np.testing.assert_allclose(right.sum(), 1, atol=1e-5)
        counts = np.zeros(81)
        for first in range(0, count, batch):
            ids = np.arange(first, first + batch)
            out = sampling.sample(model, params, Plan(np.array(each), "t"), batch, key=KEY, row_ids=ids)
            counts += np.bincount(np.asarray(out.tokens) @ [27, 9, 3, 1], minlength=81)
        assert chi_square(counts, right / right.sum()) < 4.5
        assert chi_square(counts, wrong / wrong.sum()) > 4.5


# ---------------------------------------------------------------------------------------- of the key and the row alone


SAMPLERS = {"blind": PLAN, "adaptive": rules.surest(PLAN)}


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_row_is_its_own_whatever_else_is_sampled(name):
    """Asked for backwards, alone among others, with rows behind in which nothing is masked."""
    whole = drawn(MODEL, SAMPLERS[name], "prompts")
    back = drawn(MODEL, SAMPLERS[name], CANVASES["prompts"][::-1], row_ids=list(range(ROWS))[::-1])
    np.testing.assert_array_equal(back.tokens[::-1], whole.tokens)
    ids = [4, 900, 1, 901, 902, 903]
    some = np.stack([CANVASES["prompts"][i] if i < ROWS else np.ones(LENGTH, np.int32) for i in ids])
    np.testing.assert_array_equal(drawn(MODEL, SAMPLERS[name], some, row_ids=ids).tokens[[0, 2]], whole.tokens[[4, 1]])


@pytest.mark.thorough
@pytest.mark.parametrize("name", SAMPLERS)
def test_global_flags_change_no_sample(name):
    wanted = drawn(MODEL, SAMPLERS[name], "prompts")
    key = jax.random.key(5, impl="rbg")
    alike(drawn(MODEL, SAMPLERS[name], "prompts", key=key), wanted)
    with jax.enable_x64(True):
        found = drawn(MODEL, SAMPLERS[name], "prompts")
        assert found.tokens.dtype == np.int32
        assert found.log_prob.dtype == np.float32
        alike(found, wanted)
        if name == "adaptive":
            return  # the other flags once
        path = scored(MODEL, found)
        assert path.dtype == np.float32
        np.testing.assert_allclose(path, wanted.log_prob, atol=NEAR)
    with jax.debug_key_reuse(True):
        alike(drawn(MODEL, SAMPLERS[name], "prompts", key=jax.random.key(5)), wanted)
    with jax.debug_nans(True), jax.debug_infs(True):
        alike(drawn(MODEL, SAMPLERS[name], "prompts"), wanted)


@pytest.mark.thorough
def test_many_keys_at_once_are_each_by_itself():
    """The loop under ``vmap``."""
    keys, canvas = jax.random.split(KEY, 3), jnp.asarray(CANVASES["prompts"])
    many = jax.vmap(lambda key: sampling.sample(MODEL, PARAMS, PLAN, key=key, canvas=canvas).tokens)(keys)
    for key, tokens in zip(keys, many):
        np.testing.assert_array_equal(tokens, drawn(MODEL, PLAN, "prompts", key=key).tokens)


@pytest.mark.processes
@pytest.mark.thorough
def test_the_number_of_devices_does_not_matter():
    """Sixteen rows over eight devices by ``evaluate``, in a process of its own; here six rows at a time."""
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    environment = {**os.environ, "PYTHONPATH": paths, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", "import test_cached_sampling; test_cached_sampling.on_devices()"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    for name, sampler in SAMPLERS.items():
        parts = [drawn(MODEL, sampler, row_ids=list(range(first, first + ROWS))).tokens for first in (0, 6, 12)]
        assert found[name] == np.concatenate(parts)[:16].tolist()


def on_devices():
    """In the other process: prints what ``evaluate`` draws on eight devices."""
    assert jax.device_count() == 8
    found = {}
    for name, sampler in SAMPLERS.items():
        execution = mdm.evaluation.Execution(batch=16, mesh=make_mesh({"data": 8}))
        out = mdm.evaluate(
            MODEL, PARAMS, {"one": sampler}, 16, lambda rows: rows.sum(1).astype(float), key=KEY, length=LENGTH,
            execution=execution,
        )  # fmt: skip
        found[name] = np.asarray(out.tokens[0]).tolist()
    print(json.dumps(found))


# ------------------------------------------------------------------------------------------------ one program for all


def test_plans_orders_prompts_and_temperatures_make_no_new_program():
    """Once each order's maker is there: everything blind, and a path's log-probability; then rules of other numbers."""
    for name in BLIND:
        scored(MODEL, drawn(MODEL, BLIND[name]))
    drawn(MODEL, rules.surest(PLAN))
    with programs() as made:
        for canvas in CANVASES:
            for steps in (1, 2, 5, 12):
                out = drawn(MODEL, plans.uniform(LENGTH, steps), canvas, temperature=0.1 * steps)
                scored(MODEL, out)
        drawn(MODEL, grids.uniform(7), "holes", temperature=0)
        drawn(MODEL, Blind(plans.uniform(4, 3), block=4), "prompts")
        drawn(MODEL, Blind(plans.uniform(LENGTH, 6), SHUFFLED[::-1]), "holes")
        drawn(MODEL, rules.surest(plans.uniform(LENGTH, 5)).replace(order_temperature=0.3), "holes", temperature=0.5)
    assert made == []


# -------------------------------------------------------------------------------------------- what cannot be, and NaN


REMASKING = {
    "remdm": lambda: presets.remdm(6, 0.3),
    "self-planned": lambda: rules.self_planned(PLAN),
    "self-corrected": lambda: rules.self_corrected(plans.uniform(LENGTH, 4), (2, 1, 1)),
    "hybrid": lambda: rules.hybrid(grids.uniform(4), 0.4, correct=2, temperature=0.5),
}


@pytest.mark.parametrize("name", thorough_but(["self-planned"], REMASKING))
def test_rules_that_change_what_is_revealed_are_refused(name):
    says = r"rule must be one that leaves revealed tokens as they are: this model keeps what it made of them "
    says += r"\(models.without_cache makes one that is encoded anew at each step\); got one that scores revealed tokens"
    with pytest.raises(InputError, match=says):
        drawn(MODEL, REMASKING[name]())


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["remdm"])
def test_without_its_cache_a_model_is_a_function_of_what_is_revealed(name):
    """Such rules work, and draw what they draw from a bare function of the canvas."""
    bare = models.from_function(plain_logits, VOCAB)
    out = drawn(models.without_cache(MODEL), REMASKING[name](), "prompts")
    alike(out, drawn(bare, REMASKING[name](), "prompts"))
    assert np.all(out.remaining == 0)


def plain_logits(params, tokens):
    return models.logits(MODEL, params, tokens)


@pytest.mark.thorough
def test_where_logits_are_no_law_positions_stay_masked_and_the_rest_goes_on():
    """What stands there is absorbed as it stands; rows that meet no such logits are what they are without the hook."""
    one, other = (drawn(models.hooked(model, lawless), PLAN, "prompts") for model in (MODEL, Recomputed(MODEL)))
    masked = one.tokens == MODEL.mask_id
    alike(one, other)
    np.testing.assert_array_equal(one.remaining, masked.sum(axis=1))
    np.testing.assert_array_equal(np.isnan(one.log_prob), one.remaining > 0)
    assert 0 < np.sum(masked) < masked.size / 2
    whole = one.remaining == 0
    np.testing.assert_array_equal(one.tokens[whole], drawn(MODEL, PLAN, "prompts").tokens[whole])
