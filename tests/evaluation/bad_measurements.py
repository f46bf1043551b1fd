"""What measurements are asked with that is no token, no number, no key or no cost: run in a process of its own, where
no checker of types objects first. Prints, as JSON, what each call says: a sentence, or what came instead of one."""

import functools
import json
import warnings

import jax
import jax.numpy as jnp
import numpy as np

from mdm_jax import evaluation, models
from mdm_jax.evaluation import Execution, Halving, exact
from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans, profiles

KEY = jax.random.key(0)
LAW = np.array([0.7, 0.1, 0.1, 0.1], np.float32)
ROWS = np.random.default_rng(0).choice(4, p=LAW / LAW.sum(), size=(64, 8))


def of_law(law):
    """A model with one law for every position, whatever it sees."""
    logits = jnp.log(jnp.asarray(law))
    return models.from_function(lambda params, tokens: jnp.broadcast_to(logits, (*tokens.shape, 4)), 4)


def everywhere(value, params, tokens):
    return jnp.full((*tokens.shape, 4), value)


MODEL, INSIDE = of_law(LAW), models.from_function(lambda params, tokens: jnp.zeros((*tokens.shape, 4)), 4, mask_id=3)


def with_ids(value):
    rows = ROWS.astype(np.int64)
    rows[3, -3:] = value
    return rows


NO_TOKENS = {
    "-100": (with_ids(-100), "got -100 at (3, 5)"),
    "the mask": (with_ids(4), "got 4 at (3, 5) (the mask's id)"),
    "50": (with_ids(50), "got 50 at (3, 5)"),
    "2^32 + x": (ROWS + 2**32, "token ids from 0 to 3; got 42949672"),
    "2^63 + x": (ROWS.astype(np.uint64) + np.uint64(2**63), "token ids from 0 to 3; got 92233720368547758"),
    "x + .9": (ROWS + 0.9, "an array of token ids (whole numbers); got float64"),
    "truths": (ROWS > 1, "got bool of shape (64, 8)"),
    "text": ("abc", "got 'abc'"),
    "ragged": ([[1], [2, 3]], "an array of token ids"),
    "nothing": (None, "an array of token ids"),
    "no rows": (ROWS[:0], "got shape (0, 8)"),
    "no length": (ROWS[:, :0], "got shape (64, 0)"),
    "one row's": (ROWS[0], "got shape (8,)"),
    "too deep": (ROWS[None], "got shape (1, 64, 8)"),
}


def profile(model, rows, **more):
    return evaluation.estimate_profile(model, None, rows, **({"encodings": 512, "key": KEY} | more))


def held_out(model, rows, key=KEY, **more):
    return evaluation.held_out_nelbo(model, None, rows, key=key, **more)


def paths(model, rows, key=KEY, **more):
    return evaluation.path_nelbo(model, None, rows, [plans.uniform(8, 2)], key=key, **more)


MEASURES = {
    "profile": profile,
    "increments": functools.partial(profile, estimator="increments"),
    "held-out": held_out,
    "paths": paths,
}


def evaluated(**more):
    asked = {"samplers": [plans.uniform(8, 2)], "samples": 2, "score": lambda tokens: tokens.sum(axis=1), "key": KEY}
    where = {"batch": 2} | {name: more.pop(name) for name in ("batch", "devices", "name") if name in more}
    return evaluation.evaluate(MODEL, None, **(asked | {"length": 8, "execution": Execution(**where)} | more))


def raced(**more):
    search = {"grid": 1, "samples": 1, "final_samples": 2, "named": ("linear",)}
    search = Halving(**search | {name: more.pop(name) for name in ("eta", "final_samples") if name in more})
    score = lambda tokens: tokens.sum(axis=1)  # noqa: E731
    return evaluation.race(MODEL, None, score, 8, 2, key=KEY, lower_is_better=True, search=search, **more)


def prompted(canvas, **more):
    return evaluation.estimate_prompted_profile(MODEL, None, canvas, **({"encodings": 64, "key": KEY} | more))


class Test:
    """As much of a task as ``judge`` looks at."""

    def __init__(self, test, cost=1.0):
        self.test, self.cost = test, cost

    def baselines(self, rows):
        return {"mine": np.full(len(rows), self.cost)}


def calls():
    """Name, call and what its sentence must have."""
    for name, (rows, says) in NO_TOKENS.items():
        for measure, call in MEASURES.items():
            yield f"{measure} of {name}", lambda call=call, rows=rows: call(MODEL, rows), says
        yield f"judge {name}", lambda rows=rows: evaluation.judge(MODEL, None, Test(rows), key=KEY), "task.test must be"
        canvas = rows[3] if isinstance(rows, np.ndarray) and rows.ndim == 2 and len(rows) > 3 else rows
        if name not in ("one row's", "the mask", "nothing"):
            yield f"canvas of {name}", lambda canvas=canvas: evaluated(canvas=canvas), "canvas must be"
            yield f"prompt of {name}", lambda canvas=canvas: prompted(canvas), "canvas must be"
            prompts = evaluation.Prompts(ROWS[:2], rows, ROWS[:2])
            yield f"race of {name}", lambda prompts=prompts: raced(prompts=prompts), "prompts.validation must be"
            yield f"own entropy of {name}", lambda rows=rows: evaluation.own_entropy(rows, 4), "tokens must be"
    yield "one row", lambda: MEASURES["profile"](MODEL, ROWS[:1]), "at least 2 rows; got shape (1, 8)"
    yield (
        "judge one row",
        lambda: evaluation.judge(MODEL, None, Test(ROWS[:1]), key=KEY),
        "task.test must be of shape [rows, length] with at least 2",
    )
    yield (
        "judge infinite baselines",
        lambda: evaluation.judge(MODEL, None, Test(ROWS, np.inf), key=KEY),
        "baselines['mine'] must be a finite number",
    )
    yield "the mask inside", lambda: MEASURES["profile"](INSIDE, ROWS), "without mask_id 3; got 3 at"

    rules_out = of_law([0.7, 0.2, 0.1, 0.0])
    worst = int(np.argwhere(ROWS[0] == 3)[0, 0])
    for measure in ("profile", "increments"):
        says = f"it gives token 3 probability 0 at position {worst} of row 0, where 0 tokens are revealed"
        yield f"{measure} ruled out", lambda measure=measure: MEASURES[measure](rules_out, ROWS), says
    yield (
        "judge ruled out",
        lambda: evaluation.judge(rules_out, None, Test(ROWS), key=KEY),
        "it gives token 3 probability 0 at position",
    )
    for value in (np.nan, -np.inf, np.inf):
        broken = models.from_function(functools.partial(everywhere, value), 4)
        for measure, call in MEASURES.items():
            yield (
                f"{measure} of {value}",
                lambda call=call, broken=broken: call(broken, ROWS),
                "the denoiser's logits must be finite, or -inf",
            )
        yield (
            f"prompt of {value}",
            lambda broken=broken: evaluation.estimate_prompted_profile(broken, None, np.full(8, 4), 64, key=KEY),
            "positions without a law",
        )
    profile = profiles.from_values([1.0, 0.5, 0.25, 0.25])
    result = evaluation.tune(profile, [2], grid=2, steps=[2]).result
    costs = np.repeat([[1.0, np.inf, 2.0]], 3, axis=0)
    yield "check", lambda: evaluation.check(result, profile, costs), "costs must be finite; one of row 1 is not"
    yield "check one", lambda: evaluation.check(result, profile, costs[:, :1]), "all plans, 2 sequences or more"

    for bad in (0, None, "a", jax.random.split(KEY)):
        for measure in ("profile", "held-out", "paths"):
            yield (
                f"{measure} by {bad!r}",
                lambda measure=measure, bad=bad: MEASURES[measure](MODEL, ROWS, key=bad),
                "key must be one PRNG key",
            )
        for name, call in {"evaluate": evaluated, "prompt": lambda key: prompted(np.full(8, 4), key=key)}.items():
            yield f"{name} by {bad!r}", lambda call=call, bad=bad: call(key=bad), "key must be one PRNG key"
    for bad in (2.0, True, "2", 0, -1, 2**70):
        for name, call in {
            "encodings": lambda bad: MEASURES["profile"](MODEL, ROWS, encodings=bad),
            "repeats": lambda bad: MEASURES["held-out"](MODEL, ROWS, repeats=bad),
            "completions": lambda bad: prompted(np.full(8, 4), completions=bad),
            "samples": lambda bad: evaluated(samples=bad),
            "batch": lambda bad: evaluated(batch=bad),
            "devices": lambda bad: evaluated(devices=bad, batch=1),
            "length": lambda bad: evaluated(length=bad),
            "final_samples": lambda bad: raced(final_samples=bad),
            "eta": lambda bad: raced(eta=bad),
            "budgets": lambda bad: evaluation.tune(MEASURES["profile"](MODEL, ROWS), [bad]),
        }.items():
            yield f"{name} {bad!r}", lambda call=call, bad=bad: call(bad), f"{name} must be"
    for bad in (np.nan, "1", True, -1.0, np.array([1.0])):
        one = "temperature must be one number" if np.ndim(bad) else "temperature must be 0 or more"
        yield f"temperature {bad!r}", lambda bad=bad: evaluated(temperature=bad), one
    for bad in ([1] * 8, [[True], [1, 2]], np.zeros(7, bool), np.ones(8, bool), 1.0):
        yield f"given {bad!r}", lambda bad=bad: MEASURES["profile"](MODEL, ROWS, given=bad), "given must be"
    for bad in ([[1], [2, 3]], [1.5], [True], 3, [-1], [8]):
        yield f"counts {bad!r}", lambda bad=bad: MEASURES["profile"](MODEL, ROWS, counts=bad), "counts must be"
    for bad in (np.zeros((2, 3)), 1.0, "a", np.array(["a"]), np.array([None]), {"a": np.zeros((64, 2)), "b": [0] * 64}):
        for measure in MEASURES:
            yield (
                f"{measure} context {bad!r}",
                lambda measure=measure, bad=bad: MEASURES[measure](MODEL, ROWS, context=bad),
                "context must be arrays of numbers, one for all rows, with a leading axis of 1, or one for each",
            )
    for bad in (3, "", b"a"):
        yield f"name {bad!r}", lambda bad=bad: evaluated(name=bad), "name must be some text"
    for bad in (3, {}, {"a": 3}, lambda tokens: "ab", lambda tokens: [None] * len(tokens)):
        yield f"score {bad!r}", lambda bad=bad: evaluated(score=bad), "score"
    for bad in (plans.uniform(8, 2), [plans.uniform(7, 2)], ["linear"]):
        yield f"plans {bad!r}", lambda bad=bad: evaluation.path_nelbo(MODEL, None, ROWS, bad, key=KEY), "plans must be"


def of_laws():
    """The same for exact laws and for tuning by them."""
    logits = jnp.log(jnp.full((27, 3, 2), 0.5))
    target, tv, both = np.full(8, 1 / 8), "total variation", jnp.stack([logits, logits])
    search, free = exact.search_beta_by_law, functools.partial(exact.optimal_grid_by_law, key=KEY)
    for bad in (2.0, True, "3", 0, None):
        yield f"states {bad!r}", lambda bad=bad: exact.all_states(bad, 2), "length must be"
        yield f"conditionals {bad!r}", lambda bad=bad: exact.conditionals(MODEL, None, bad), "length must be"
        yield f"steps {bad!r}", lambda bad=bad: search(logits, target, bad), "steps must be"
        yield f"steps {bad!r} of a grid", lambda bad=bad: free(logits, target, bad), "steps must be"
        yield f"starts {bad!r}", lambda bad=bad: free(logits, target, 2, starts=bad), "starts must be"
        if bad is not None:
            yield f"points {bad!r}", lambda bad=bad: search(logits, target, 2, grid=bad), "grid must be"
    for bad in ([1.0, 2.0], [True] * 3, [1, 1], "abc", 3, [[1], [2, 3]], None):
        yield f"sizes {bad!r}", lambda bad=bad: exact.random_order_law(logits, bad), "sizes must be whole numbers"
        yield f"sizes {bad!r} under latents", lambda bad=bad: exact.latent_law(both, bad), "sizes must be whole numbers"
    for bad in (logits, "a", None, jnp.zeros((0, 27, 3, 2)), jnp.zeros((2, 26, 3, 2))):
        yield f"latent {bad!r}", lambda bad=bad: exact.latent_law(bad, [3]), "logits must be conditionals of all"
    for bad in ([1.0], [0.5, 0.6], [np.nan, 1.0], "ab", 0.5):
        yield (
            f"weights {bad!r}",
            lambda bad=bad: exact.latent_law(both, [3], bad),
            "weights must",
        )
    for bad in ([0, 0.5], "a", None, 3, [0, np.nan, 1], [[0, 1]]):
        yield f"grid {bad!r}", lambda bad=bad: exact.ancestral_law(logits, bad), "grid must be fractions"
    for bad in ("luck", None, 3):
        yield f"rule {bad!r}", lambda bad=bad: exact.adaptive_law(logits, bad, [1, 2]), "rule must be one of"
    for bad in (-1.0, np.nan, "a", True):
        yield f"tie {bad!r}", lambda bad=bad: exact.adaptive_law(logits, "margin", [1, 2], bad), "tie must be 0 or more"
    for bad in (np.ones(5) / 5, np.ones(8), -target, np.full(8, np.nan), None, "a"):
        yield (
            f"target {bad!r}",
            lambda bad=bad: exact.law_divergence(logits, bad, [0, 1], tv),
            "target must be a law",
        )
        yield f"profile of {bad!r}", lambda bad=bad: exact.exact_profile(logits, bad), "target must be a law"
    for bad in ([], [0.0], ["a"], [np.nan], 3.0, [[1.0]], [1.0, 0.5], [1.0, 1.0], [0.5, 1001.0], [0.5, np.inf], "abc"):
        yield f"values {bad!r}", lambda bad=bad: search(logits, target, 2, grid=bad), "grid must be a number of values"
    for bad in (jnp.zeros((26, 3, 2)), jnp.zeros((27, 3)), "a", jnp.zeros((27, 3, 2), jnp.int32)):
        yield f"logits {bad!r}", lambda bad=bad: exact.random_order_law(bad, [1, 2]), "logits must be conditionals"
    bad = jnp.full((27, 3, 2), -jnp.inf)
    yield (
        "no law",
        lambda: exact.law_divergence(bad, target, [0, 1], tv),
        "logits must be log-probabilities in every",
    )
    for value in (np.nan, -np.inf):
        broken = models.from_function(functools.partial(everywhere, value), 4)
        yield f"conditionals of {value}", lambda broken=broken: exact.conditionals(broken, None, 2), "they are not"
    yield "key", lambda: exact.optimal_grid_by_law(logits, target, 2, key=0), "key must be one PRNG key"


def said(call):
    try:
        return f"no word: {call()!r}"[:200]
    except InputError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    warnings.simplefilter("error")  # NumPy's among them
    print(json.dumps([(name, wanted, said(call)) for name, call, wanted in (*calls(), *of_laws())]))
