"""Calls that must be refused in one sentence, made where nothing checks types before the library does.

Run as a program: prints, for each case, its name and what came, as JSON. ``test_bad_calls`` judges.
"""

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from toys import PatternTask, tiny_transformer

from mdm_jax import models, oracles, sampling, tasks, training
from mdm_jax.sampling import presets, rules
from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans, schedules
from mdm_jax.theory.plans import grids


def flat(params, tokens):
    return jnp.zeros((*tokens.shape, 5), jnp.float32)


class Run:
    """What a run of training looks like from here."""

    def __init__(self):
        self.denoiser, self.params = MODEL, None


def seeing(params, tokens, context):
    return jnp.zeros((*tokens.shape, 5), jnp.float32) + jnp.asarray(context)[:, None, :]


def seeing6(params, tokens, context):
    return params["a"] + jnp.zeros((*tokens.shape, 6), jnp.float32) + jnp.asarray(context)[:, None, :]


class Seeing(nn.Module):
    @nn.compact
    def __call__(self, tokens, context=None):
        return nn.Embed(7, 6)(tokens) + jnp.asarray(context)[:, None, :]


class Demanding(nn.Module):
    @nn.compact
    def __call__(self, tokens, context):
        return nn.Embed(7, 6)(tokens) + jnp.asarray(context)[:, None, :]


MODEL = models.from_function(flat, 5)
SEEING, SEEING6 = models.from_function(seeing, 5), models.from_function(seeing6, 6)
PLAN, KEY = plans.uniform(6, 2), jax.random.key(0)
URN = oracles.polya(3)


def sample(sampler=PLAN, rows=2, model=MODEL, params=None, **more):
    return sampling.sample(model, params, sampler, rows, **{"key": KEY, **more})


def canvas(length, free=None):
    row = np.full(length, 5)
    row[length if free is None else free :] = 0
    return row


def fit(model=None, task=None, **more):
    return training.fit(
        tiny_transformer() if model is None else model,
        PatternTask() if task is None else task,
        2,
        progress=False,
        **more,
    )


SAMPLER = (
    "sampler must be a plan, a grid, one of them for each row, a sampling.Blind, a rule (rules) or a preset (presets)"
)
CONTEXT = "context must be given to a model that needs one; without a context this one fails: "
IDS = "must be an array of token ids (whole numbers)"
TASK = "task must be a Task, as tasks.text, code, digits, npy and from_spec make them, given after the denoiser; "
CASES = {
    # training
    "swapped": (
        lambda: fit(PatternTask(), tiny_transformer()),
        f"{TASK}this one has no length, train, validation, describe; got LinenDenoiser(Transformer(",
    ),
    "array as task": (lambda: fit(task=np.zeros((4, 8), int)), f"{TASK}this one has no length, vocab_size, train"),
    "text as task": (lambda: fit(task="text"), f"{TASK}this one has no length, vocab_size, train, validation"),
    "task not called": (lambda: fit(task=tasks.code), f"{TASK}this one has no length"),
    "text as model": (lambda: fit("transformer"), "denoiser must be a denoiser, as models.from_function"),
    "model not called": (lambda: fit(models.transformer), "denoiser must be a denoiser, as models.from_function"),
    "model's class": (lambda: fit(models.Denoiser), "denoiser must be a denoiser, as models.from_function"),
    "dict as settings": (
        lambda: fit(settings={"batch": 4}),
        "settings must be Settings, as training.Settings(batch=4); got {'batch': 4}.",
    ),
    "transformation in settings": (
        lambda: training.Settings(optimizer=optax.adam(0.1)),
        "optimizer must be text (a transformation of your own is given to fit itself, as optimizer); got Gradient",
    ),
    "objective's name": (lambda: fit(objective="nelbo"), "objective must be an objective, as training.MaskedNelbo()"),
    "text as devices": (
        lambda: fit(devices="cpu"),
        "devices must be a number of devices (of which kind JAX_PLATFORMS says); got 'cpu'.",
    ),
    "devices 0": (lambda: fit(devices=0), "devices must be from 1 to 1, the number of devices"),
    "dict as mesh": (
        lambda: fit(mesh={"data": 1}),
        "mesh must be a mesh, as support.devices.make_mesh({\"data\": 2}) makes it; got {'data': 1}.",
    ),
    "number as directory": (lambda: fit(directory=5), "directory must be the path of a run directory; got 5."),
    "no path": (lambda: training.load("a\0b"), "directory must be the path of a run directory; got 'a\\x00b'."),
    "number to load": (lambda: training.load(5), "directory must be the path of a run directory; got 5."),
    "file as directory": (
        lambda: fit(directory=__file__),
        f"directory must be one that can be made and written to; of {__file__} the system says: Not a directory.",
    ),
    "folder in a file": (
        lambda: fit(directory=f"{__file__}/run"),
        "directory must be one that can be made and written to; of ",
    ),
    # what is no model, no parameters, no key
    "denoiser": (lambda: sample(model=None), "denoiser must be a denoiser, as models.from_function"),
    "run as denoiser": (lambda: sample(model=Run()), "denoiser must be a denoiser, as models.from_function"),
    "run as params": (lambda: sample(params=Run()), "params must be a pytree of arrays (a run's are run.params)"),
    "text as params": (lambda: sample(params={"a": "b"}), "params must be a pytree of arrays"),
    "seed for key": (lambda: sample(key=5), "key must be one PRNG key, as jax.random.key(0) makes it; got 5"),
    "raw key": (
        lambda: sample(key=jax.random.PRNGKey(0)),
        "key must be one PRNG key, as jax.random.key(0) makes it (of this raw one",
    ),
    "two keys": (lambda: sample(key=jax.random.split(KEY)), "key must be one PRNG key"),
    "no sampler": (lambda: sample(None), f"{SAMPLER}; got None."),
    "schedule's name": (
        lambda: sample("sine"),
        f"{SAMPLER}; of a schedule plans.from_schedule makes a plan, as of schedules.sine(); got 'sine'.",
    ),
    "schedule": (lambda: sample(schedules.linear()), f"{SAMPLER}; of a schedule plans.from_schedule makes a plan"),
    "rule not called": (lambda: sample(rules.surest), f"{SAMPLER}; got surest itself: call it, as surest(...)."),
    "preset not called": (lambda: sample(presets.llada), f"{SAMPLER}; got llada itself: call it, as llada(...)."),
    "Blind not called": (lambda: sample(sampling.Blind), f"{SAMPLER}; got Blind itself: call it, as Blind(...)."),
    "a plan and none": (lambda: sample([PLAN, None]), f"{SAMPLER}; got [Plan("),
    # contexts
    "no context": (lambda: sample(model=SEEING), CONTEXT),
    "no context for a rule": (lambda: sample(rules.confident(0.5), model=SEEING, length=6), CONTEXT),
    "context of 2 for 3": (
        lambda: sample(rows=3, model=SEEING, context=np.zeros((2, 5), np.float32)),
        "context must be of leaves whose leading axis is rows, 3; got leaves of shapes [(2, 5)].",
    ),
    "one number as context": (
        lambda: sample(model=SEEING, context=0.5),
        "context must be of leaves whose leading axis is rows, 2; got leaves of shapes [()].",
    ),
    "training without context": (lambda: fit(SEEING6, params={"a": jnp.zeros(6)}), CONTEXT),
    "a module without context": (lambda: fit(models.from_linen(Seeing(), 6)), CONTEXT),
    "a module that demands one": (
        lambda: fit(models.from_linen(Demanding(), 6)),
        "the module is called with tokens (and a context, where one is given) and nothing else",
    ),
    "order's key": (lambda: sampling.first_hitting(5, jnp.ones((1, 3), bool)), "key must be one PRNG key"),
    # whole numbers
    "rows": (lambda: sample(rows=2.0), "rows must be a whole number from 1 to 2147483647; got 2.0"),
    "rows true": (lambda: sample(rows=True), "rows must be a whole number from 1 to 2147483647; got True"),
    "rows text": (lambda: sample(rows="2"), "rows must be a whole number from 1 to 2147483647; got '2'"),
    "samples": (lambda: sample(samples=1.5), "samples must be a whole number from 1"),
    "length": (lambda: sample(length=6.0), "length must be a whole number from 1"),
    "frames": (lambda: sample(frames=2.5, record=sampling.tokens_of), "frames must be a whole number from 1"),
    "record": (lambda: sample(record=5), "record must be a function of a Frame; got 5"),
    "float ids": (
        lambda: sample(row_ids=[0.5, 0.5]),
        "row_ids must be whole numbers from 0 to 2^31 - 2; got [0.5, 0.5]",
    ),
    "jax float ids": (lambda: sample(row_ids=jnp.ones(2)), "row_ids must be whole numbers from 0 to 2^31 - 2"),
    "large ids": (
        lambda: sample(row_ids=[2**31, 2]),
        "row_ids must be whole numbers from 0 to 2^31 - 2; got [2147483648, 2]",
    ),
    "the draws' own id": (lambda: sample(row_ids=[2**31 - 1, 2]), "row_ids must be whole numbers from 0 to 2^31 - 2"),
    "huge ids": (lambda: sample(row_ids=[2**70, 2]), "row_ids must be whole numbers from 0 to 2^31 - 2"),
    "negative ids": (lambda: sample(row_ids=[-1, 2]), "row_ids must be whole numbers from 0 to 2^31 - 2"),
    "ragged ids": (lambda: sample(row_ids=[[0], [1, 2]]), "row_ids must be one for each of 2 rows"),
    "block": (lambda: sampling.Blind(plans.uniform(2, 2), block=2.5), "block must be a whole number from 1"),
    "huge block": (lambda: sampling.Blind(plans.uniform(2, 2), block=10**12), "block must be a whole number from 1"),
    "rule's block": (
        lambda: sample(rules.confident(0.5).replace(block=2.5), length=6),
        "block must be a whole number from 1",
    ),
    "rule's huge block": (
        lambda: sample(rules.confident(0.5).replace(block=10**12), length=6),
        "block must be a whole number from 1 to 2147483647; got 1000000000000",
    ),
    "end": (lambda: sample(rules.confident(0.5).replace(end=1.5), length=6), "end must be a whole number from -1"),
    "end is the mask": (
        lambda: sample(rules.confident(0.5).replace(end=5), length=6),
        "end must be a real token, from 0 to 4",
    ),
    "huge end": (
        lambda: sample(rules.confident(0.5).replace(end=2**32 + 1), length=6),
        "end must be a whole number from -1",
    ),
    "float order": (lambda: sample(sampling.Blind(PLAN, np.arange(6.0))), "order must be a permutation of 0 .. 5"),
    "quota": (lambda: rules.quota(10**12), "steps must be a whole number from 1 to 2147483647; got 1000000000000"),
    "quota 2.5": (lambda: rules.quota(2.5), "steps must be a whole number from 1 to 2147483647; got 2.5"),
    "most": (lambda: rules.self_corrected(PLAN, (1.5, 1, 1)), "most[0] must be a whole number from 0"),
    "most of two": (lambda: rules.self_corrected(PLAN, (1, 1)), "most must be three numbers of positions, 0 or more"),
    "llada": (lambda: presets.llada(6, 2, 2.5), "block must be a whole number from 1"),
    "mdlm": (lambda: presets.mdlm(2.5), "steps must be a whole number from 1 to 1048576; got 2.5"),
    "mdlm huge": (lambda: presets.mdlm(10**12), "steps must be a whole number from 1 to 1048576"),
    "remdm": (lambda: presets.remdm("4"), "steps must be a whole number from 1 to 1048576; got '4'"),
    "canvas_of length": (lambda: sampling.canvas_of([[1]], 6.0, 5), "length must be a whole number from 1"),
    "canvas_of wrap": (
        lambda: sampling.canvas_of([[2**32 + 1]], 6, 5),
        "prompts[0] must be token ids, from 0 to 2^31 - 1; got [4294967297]",
    ),
    "canvas_of mask": (lambda: sampling.canvas_of([[1]], 6, 2**32 + 5), "mask_id must be a whole number from 0"),
    "canvas_of text": (
        lambda: sampling.canvas_of(["The "], 6, 5),
        "prompts[0] must be one row of token ids (task.vocabulary.encode makes them of text); got 'The '.",
    ),
    "canvas_of ragged": (lambda: sampling.canvas_of([[[1], [1, 2]]], 6, 5), "prompts[0] must be one row of token ids"),
    "canvas_of nothing": (lambda: sampling.canvas_of(5, 6, 5), "prompts must be at least one row of token ids; got 5"),
    "reads": (
        lambda: sample(rules.confident(0.5).replace(reads="x"), length=6),
        "reads must be one of all, chosen, open",
    ),
    "choose": (lambda: sample(sampling.Rule(None), length=6), "choose must be a function; got None"),
    "score": (lambda: sample(rules.surest(PLAN, None), length=6), "score must be a function; got None"),
    "ragged order": (lambda: sample(sampling.Blind(PLAN, [[1], [1, 2]])), "order must be a permutation of 0 .. 5"),
    "canvas_of iterator": (
        lambda: sampling.canvas_of(iter([[1]]), 6, 5),
        "prompts must be at least one row of token ids",
    ),
    "spec": (lambda: oracles.from_spec(None), "oracle must be one of toy_left"),
    # tokens
    "wrapped canvas": (
        lambda: sample(canvas=np.array([5, 5, 5, 5, 5, 2**32 + 1])),
        "canvas must be token ids from 0 to 4, or mask_id 5; got 4294967297 at (5,)",
    ),
    "text as canvas": (
        lambda: sample(canvas="The "),
        f"canvas {IDS}; task.vocabulary.encode makes them of text, and sampling.canvas_of a canvas of them; got 'The '",
    ),
    "float canvas": (lambda: sample(canvas=np.full(6, 5.0)), "canvas must be an array of token ids (whole numbers)"),
    "ragged canvas": (lambda: sample(canvas=[[5, 5], [5]]), "canvas must be an array of token ids (whole numbers)"),
    "unmask": (
        lambda: sampling.adaptive_loop(MODEL, None, jnp.full((1, 6), -100), rules.confident(0.5), key=KEY),
        "canvas must be token ids from 0 to 4, or mask_id 5; got -100 at (0, 0)",
    ),
    "guidance canvas": (
        lambda: models.guidance(np.array([1, 2**32 + 5]), MODEL, 1.0),
        "canvas must be token ids from 0 to 4, or mask_id 5",
    ),
    # numbers
    "temperature": (lambda: sample(temperature=1e-45), "temperature must be 0 or more, and finite (in float32"),
    "temperature text": (lambda: sample(temperature="1"), "temperature must be 0 or more, and finite (in float32"),
    "temperature nan": (
        lambda: sample(temperature=jnp.float32(np.nan)),
        "temperature must be 0 or more, and finite (in float32",
    ),
    "order temperature": (
        lambda: sample(rules.confident(0.5).replace(order_temperature=1e39), length=6),
        "order_temperature must be 0 or more, and at most 1e+36; got 1e+39",
    ),
    "threshold": (lambda: rules.confident("0.5"), "threshold must be a probability from 0 to 1; got '0.5'"),
    "bound": (lambda: rules.entropy_bounded(float("nan")), "bound must be 0 or more (nats); got nan"),
    "strength": (lambda: rules.self_planned(PLAN, 1e39), "strength must be 0 or more, in float32"),
    "small strength": (lambda: rules.self_planned(PLAN, 1e-45), "strength must be 0 or more, in float32"),
    "eta": (lambda: rules.remasked(grids.uniform(3), None), "strength must be from 0 to 1; got None"),
    "grid": (lambda: rules.remasked(PLAN, 0.5), "grid must be a Grid or a sequence of them"),
    "plan": (lambda: rules.surest(5), "plan must be a Plan or a sequence of them; got 5"),
    "top_k": (lambda: models.top_k(MODEL, 2.5), "k must be a whole number from 1 to 5; got 2.5"),
    "top_k of nothing": (lambda: models.top_k(None, 2), "denoiser must be a denoiser (a run's is run.denoiser)"),
    "top_p": (lambda: models.top_p(MODEL, "0.5"), "p must be above 0 and at most 1; got '0.5'"),
    "tempered": (
        lambda: models.tempered(MODEL, None),
        "temperature must be 0 (the argmax) or from 1e-6 to 1e6; got None",
    ),
    "banned": (lambda: models.banned(MODEL, [1.5]), "ids must be a whole number from 0 to 4; got 1.5"),
    "banned one": (lambda: models.banned(MODEL, 1), "ids must be a sequence of token ids; got 1"),
    "hook": (lambda: models.hooked(MODEL, 5), "on_logits must be a function; got 5"),
    "weight": (
        lambda: models.guidance(canvas(6), MODEL, 1e39),
        "weight must be finite numbers of shape [] or [rows], up to 1e30",
    ),
    "weight of jax": (lambda: models.guidance(canvas(6), MODEL, jnp.float32(np.inf)), "weight must be finite numbers"),
    "weight text": (lambda: models.guidance(canvas(6), MODEL, "1"), "weight must be finite numbers"),
    "guidance rows": (lambda: models.guidance(canvas(6), MODEL, 1.0, rows=2.0), "rows must be a whole number from 1"),
    "guidance mask": (lambda: models.guidance(canvas(6), 5.0, 1.0), "denoiser must be a whole number from 0"),
    # plans for another number of tokens
    "plan of 128 on 196": (
        lambda: sample(plans.uniform(128, 8), 1, canvas=canvas(196)),
        "plan must be one for the 196 tokens of the canvas; got one for 128 tokens.",
    ),
    "plan of 14 on 6": (
        lambda: sample(plans.uniform(14, 3), 1, canvas=canvas(6)),
        "plan must be one for the 6 tokens of the canvas; got one for 14 tokens (for a model that takes rows of "
        "different lengths, sampling.canvas_of(..., length=14, lengths=) makes canvases of rows that end earlier).",
    ),
    "plan of 5 on 6 with 3 free": (
        lambda: sample(plans.uniform(5, 2), 1, canvas=canvas(6, 3)),
        "plan must be one for the 6 tokens of the canvas, or for the 3 that are free in row 0; got one for 5 tokens",
    ),
    "plan of what is free in one row only": (
        lambda: sample(plans.uniform(3, 2), 2, canvas=np.stack([canvas(6, 3), canvas(6, 2)])),
        "plan must be one for the 6 tokens of the canvas, or for the 2 that are free in row 1; got one for 3 tokens",
    ),
    "plan of blocks": (
        lambda: sample(sampling.Blind(PLAN, block=2), 1, length=6),
        "plan must be one for a block, of 2 tokens; got one for 6 tokens",
    ),
    "plan against length": (
        lambda: sample(PLAN, 1, length=8),
        "plan must be one for the 8 tokens of the canvas; got one for 6",
    ),
    **{
        f"{rule.__name__} of 128 on 196": (
            lambda rule=rule: sample(rule(plans.uniform(128, 8)), 1, canvas=canvas(196)),
            "plan must be one for the 196 tokens of the canvas; got one for 128 tokens",
        )
        for rule in (rules.surest, rules.at_random, rules.self_planned, rules.self_corrected)
    },
    "rule of blocks": (
        lambda: sample(rules.surest(PLAN).replace(block=4), 1, length=6),
        "plan must be one for a block, of 4 tokens; got one for 6 tokens",
    ),
    "one row's plan": (
        lambda: sample(rules.surest([PLAN, plans.uniform(4, 2)]), length=6),
        "plan must be one for the 6 tokens of the canvas; got one for 4 tokens",
    ),
    # oracles
    "oracle's key": (lambda: URN.sample(5, 2), "key must be one PRNG key, as jax.random.key(0) makes it; got 5"),
    "oracle's rows": (lambda: URN.sample(KEY, 2.0), "rows must be a whole number from 1 to 2147483647; got 2.0"),
    "oracle's ragged rows": (lambda: URN.log_prob([[0, 1], [0]]), "tokens must be token ids of shape [rows, 3]"),
    "urn's length": (lambda: oracles.polya(3.0), "length must be a whole number from 1"),
    "urn's weight": (lambda: oracles.polya(3, "1"), "a must be a positive number"),
    "table of text": (lambda: oracles.table(["a", "b"]), "probabilities must be an array of numbers"),
    "table's vocabulary": (lambda: oracles.table(np.full(4, 0.25), 2.0), "vocab_size must be a whole number from 2"),
    "ragged chain": (lambda: oracles.markov([[1], [0, 1]], 3), "transition must be an array of numbers"),
    "saws": (lambda: oracles.binsaw(8, 1.5), "saws must be a whole number from 1"),
}


def said(call):
    """What came of a call: its sentence, or what is wrong with it."""
    try:
        return {"sentence": None, "value": repr(call())[:200]}
    except InputError as error:
        return {"sentence": str(error)}
    except BaseException as error:
        return {"sentence": None, "value": f"{type(error).__name__}: {error}"[:200]}


if __name__ == "__main__":
    print(json.dumps({name: said(call) for name, (call, _) in CASES.items()}))
