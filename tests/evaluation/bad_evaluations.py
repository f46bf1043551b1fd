"""What an evaluation, a race and their neighbours are asked with that cannot be: run in a process of its own, where no
checker of types objects first. Prints, as JSON, what each call says: a sentence, or what came instead of one."""

# pyright: reportArgumentType=false

import json
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from toys import PatternTask

from mdm_jax import models
from mdm_jax.evaluation import Execution, Halving, estimate_profile, evaluate, held_out_nelbo, path_nelbo, race, tune
from mdm_jax.sampling import presets
from mdm_jax.support.devices import make_mesh
from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans, profiles, schedules


def flat(params, tokens):
    return jnp.zeros((*tokens.shape, 5), jnp.float32)


def no_row_for_the_mask(params, tokens):
    return jnp.take(params, tokens, axis=0)


MODEL = models.from_function(flat, 5)
NAN, TABLE = models.from_function(no_row_for_the_mask, 5), jnp.zeros((5, 5), jnp.float32)
PLAN, KEY, ROWS = plans.uniform(6, 2), jax.random.key(0), np.zeros((4, 6), np.int32)
MESH = make_mesh({"data": 1})


def total(tokens):
    return tokens.sum(axis=1)


def draw(samplers=PLAN, model=MODEL, params=None, score=total, samples=4, *, where=None, **more):
    execution = Execution(**{"batch": 4} | (where or {}))
    return evaluate(model, params, samplers, samples, score, key=KEY, execution=execution, **more)


def run(model=MODEL, params=None, score=total, **more):
    search = {"grid": 1, "named": ("linear",), "samples": 2, "final_samples": 2}
    search |= {name: more.pop(name) for name in search if name in more}
    asked = {"lower_is_better": True, "search": Halving(**search), "execution": Execution(batch=4)} | more
    return race(model, params, score, 6, 2, key=KEY, **asked)


NO_MODEL, NO_PARAMS = "denoiser must be a denoiser, as models.from_function", "params must be a pytree of arrays"
SEVERAL = "samplers must be a sequence or a mapping of plans, grids, blind orders or rules"
ONE = "must be a plan, a grid, a blind order or a rule; got "
NO_PROFILE = "profile must be a Profile (evaluation.estimate_profile, profiles.load, profiles.from_values ...); got "
TEXTS = 'hand_crafted must be a list of schedules as text, as in ["linear", "polynomial:2"]; got '
PROFILE = profiles.from_values(np.linspace(2.0, 1.0, 16))
CASES = {
    "tune one budget": (
        lambda: tune(PROFILE, 4),
        "budgets must be a list of numbers of steps, as in [4, 8]; got 4.",
    ),
    "tune text": (lambda: tune(PROFILE, "48"), "budgets must be a list of numbers of steps, as in [4, 8]; got '48'."),
    "tune steps": (lambda: tune(PROFILE, [4], steps=8), "steps must be a list of numbers of steps, as in [4, 8]"),
    "tune swapped": (lambda: tune([4], PROFILE), NO_PROFILE),
    "tune values": (lambda: tune(np.ones(16), [4]), NO_PROFILE),
    "tune schedules": (lambda: tune(PROFILE, [4], hand_crafted=[schedules.linear()]), f"{TEXTS}[Linear("),
    "tune a text": (lambda: tune(PROFILE, [4], hand_crafted="linear"), f"{TEXTS}'linear'."),
    "samplers None": (lambda: draw(None), f"{SEVERAL}; got None"),
    "samplers 3": (lambda: draw(3), f"{SEVERAL}; got 3"),
    "samplers text": (lambda: draw("3"), f"{SEVERAL}; got '3'"),
    "samplers [3]": (lambda: draw([3]), f"samplers[0] {ONE}3"),
    "samplers [plan, None]": (lambda: draw([PLAN, None]), f"samplers[1] {ONE}None"),
    "samplers {'a': 3}": (lambda: draw({"a": 3}), f"samplers['a'] {ONE}3"),
    "samplers {3: plan}": (lambda: draw({3: PLAN}), "samplers must be named by text; got 3"),
    "no samplers": (lambda: draw([]), "samplers must be at least one plan, grid, blind order or rule; got []"),
    "store": (lambda: draw(where={"store": 3}), "store must be the path of a .jsonl file; got 3"),
    "mesh": (lambda: draw(where={"mesh": 3}), "mesh must be a mesh"),
    "execution": (
        lambda: evaluate(MODEL, None, PLAN, 4, total, key=KEY, execution=4),
        "execution must be an Execution",
    ),
    "race's execution": (lambda: run(execution="rows.jsonl"), "execution must be an Execution, as in"),
    "race's search": (lambda: run(search=7), "search must be a Halving, as in"),
    "devices and mesh": (
        lambda: draw(where={"devices": 1, "mesh": MESH}),
        "mesh must be left out where devices is given",
    ),
    "baseline": (lambda: draw(baseline=3), "baseline must be the name of a sampler, or a mapping"),
    "context": (lambda: draw(context=3), "context must be a pytree of arrays whose leading axis is samples, 4"),
    "length": (lambda: draw(length=np.array([6])), "length must be a whole number from 1"),
    "length float": (lambda: draw(length=6.0), "length must be a whole number from 1"),
    "length with canvas": (lambda: draw(length="6", canvas=np.full(6, 5)), "length must be a whole number from 1"),
    "lower 'False'": (lambda: run(lower_is_better="False"), "lower_is_better must be True or False"),
    "lower None": (lambda: run(lower_is_better=None), "lower_is_better must be True or False"),
    "lower nan": (lambda: run(lower_is_better=np.nan), "lower_is_better must be True or False"),
    "named": (lambda: run(named="linear"), "named must be a sequence of the texts of schedules; got 'linear'"),
    "named nope": (
        lambda: Halving(named=("sine", "nope")),
        "named must be texts of schedules; schedule must be one of linear, ",
    ),
    "order": (lambda: run(order=PLAN), "order must be a function from a plan to a sampler"),
    "race of nothing": (lambda: run(NAN, TABLE), "score must be a number for every sample of at least one schedule"),
    "evaluate's model": (lambda: draw(model=None), NO_MODEL),
    "evaluate's parameters": (lambda: draw(params={"a": "b"}), NO_PARAMS),
    "race's model": (lambda: run(None), NO_MODEL),
    "race's pair": (lambda: run((MODEL, None)), NO_MODEL),
    "NELBO's model": (lambda: held_out_nelbo(None, None, ROWS, key=KEY), NO_MODEL),
    "NELBO's parameters": (lambda: held_out_nelbo(MODEL, "a", ROWS, key=KEY), NO_PARAMS),
    "profile of a task": (
        lambda: estimate_profile(MODEL, None, PatternTask(), 64, key=KEY),
        "tokens must be an array of token ids (whole numbers), as those of a task are task.validation; got <toys.Pat",
    ),
    "profile's model": (lambda: estimate_profile((MODEL, None), None, ROWS, 64, key=KEY), NO_MODEL),
    "paths' model": (lambda: path_nelbo(None, None, ROWS, [PLAN], key=KEY), NO_MODEL),
    "paths' plans": (lambda: path_nelbo(MODEL, None, ROWS, PLAN, key=KEY), "plans must be a list of plans"),
}


def generator():
    return path_nelbo(MODEL, None, ROWS, (plan for plan in [PLAN]), key=KEY).tolist()


def values():
    return path_nelbo(MODEL, None, ROWS, {"a": PLAN}.values(), key=KEY).tolist()


GOOD = {
    "one plan": lambda: draw(PLAN).names,
    "bfloat16": lambda: draw(score=lambda x: jnp.asarray(total(x), jnp.bfloat16)).means().tolist(),
    "float64": lambda: draw(score=total).means().tolist(),
    "generator": generator,
    "values": values,
    "lawless": lambda: draw({"eb": presets.eb(), "plan": PLAN}, NAN, TABLE).log_prob.tolist(),
    "grid 0": lambda: run(grid=0).winner,
}


def said(call):
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            return {"value": call(), "warnings": [str(one.message) for one in heard]}
        except InputError as error:
            return {"sentence": str(error)}
        except BaseException as error:
            return {"value": f"{type(error).__name__}: {error}"[:200]}


if __name__ == "__main__":
    calls = {name: call for name, (call, _) in CASES.items()} | GOOD
    found = {}
    for name, call in calls.items():
        found[name] = said(call)
        if name in CASES and "value" in found[name]:
            found[name]["value"] = repr(found[name]["value"])[:200]
    print(json.dumps(found))
