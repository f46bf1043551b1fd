"""Muon's matrices of one shape, stacked into one program, make the training step compile faster.

Processor seconds of tracing, lowering and compiling, part by part: the step with each optimiser, and the step with Muon
written in five ways that compute the same up to rounding. XLA already shares the code of kernels that are alike, so
what counts is how many operations it has to look through, not how many different shapes there are.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
from matplotlib.figure import Figure

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from mdm_jax import models
from mdm_jax.training import Settings, initial_state
from mdm_jax.training.step import BLOCK, train_steps

CLAIM = Claim(
    "stacking matrices of one shape makes the step with Muon compile in at most nine tenths of the time",
    source="ours",
    minutes=6,
)
VOCAB, BATCH, STEPS = 103, 8, 5
WHOLE, QUICK = {"length": 128}, {"length": 16, "width": 16, "depth": 1, "heads": 2}
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
COMPARED = "one by one", "stacked, mapped over"
MOST = 0.9
STAGES = ("trace", "lower", "compile")
Orthogonalise = Callable[[list[jax.Array]], list[jax.Array]]


def run(experiment: Experiment) -> Run:
    """Compile each step three times (the least is kept), then take some with it; in quick runs two of them, once."""
    jax.config.update("jax_enable_compilation_cache", False)  # what is found there takes no time
    size, repeats = (QUICK, 1) if experiment.quick else (WHOLE, 3)
    denoiser, length = models.transformer(VOCAB, **size), size["length"]
    data = jnp.asarray(np.cumsum(np.random.default_rng(0).integers(0, 7, 100_000)) % VOCAB, jnp.int32)
    variants: dict[str, tuple[Settings, Any]] = {
        f"recipe {name}": (Settings(steps=1600, batch=BATCH, length=length, optimizer=name), None)
        for name in ("adamw", "muon")
        if not experiment.quick
    }
    own = Settings(steps=1600, batch=BATCH, length=length, optimizer="own")
    variants |= {
        f"Muon, {name}": (own, muon(orthogonalise))
        for name, orthogonalise in WAYS.items()
        if name in COMPARED or not experiment.quick
    }
    results, losses = {}, {}
    for name, (settings, optimizer) in variants.items():
        found = experiment.part(
            name, lambda way=(settings, optimizer): [measured(denoiser, *way, data) for _ in range(repeats)]
        )
        losses[name] = np.array(found[0].pop("losses"))
        results[name] = {key: min(one[key] for one in found if key in one) for key in found[0]}
        print(name, results[name])
    first = losses[f"Muon, {COMPARED[0]}"]
    apart = {name: float(np.max(np.abs(losses[name] - first))) for name in losses if name.startswith("Muon")}
    figure = Figure(figsize=(7, 3))
    axes = figure.subplots()
    axes.barh(list(results), [sum(one[key] for key in STAGES) for one in results.values()])
    axes.set_xlabel("processor seconds until the step is compiled")
    return Run({"processor_seconds": results, "largest_difference_of_losses_in_30_steps": apart}, figure)


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """Stacked against one by one; the other ways are told."""
    found = results["processor_seconds"]
    before, after = (found[f"Muon, {name}"]["compile"] for name in COMPARED)
    return Conclusion(
        "holds" if after <= MOST * before else "does not",
        f"stacked it takes {after / before:.2f} of the time: {after:.1f} against {before:.1f} processor seconds",
        {
            "stacked over one by one": after / before,
            **{f"seconds to compile, {name}": one["compile"] for name, one in found.items()},
            **{
                f"seconds to trace, lower and compile, {name}": sum(one[stage] for stage in STAGES)
                for name, one in found.items()
            },
        },
        f"the least of three of each of {len(found)} steps",
    )


def measured(denoiser: Any, settings: Settings, optimizer: Any, data: jax.Array) -> dict[str, Any]:
    """Processor seconds of each stage, and of a step; the losses of the first thirty steps."""
    jax.clear_caches()
    make = jax.jit(lambda: initial_state(denoiser, settings, optimizer=optimizer))
    state, count = make(), jnp.int32(BLOCK)

    def steps(state: Any, data: jax.Array, count: jax.Array) -> Any:
        return train_steps(denoiser, settings, state, data, count, optimizer=optimizer)

    clock = [time.process_time()]
    traced = jax.jit(steps, donate_argnums=0).trace(state, data, count)
    clock.append(time.process_time())
    lowered = traced.lower()
    clock.append(time.process_time())
    compiled = lowered.compile()
    clock.append(time.process_time())
    losses = []
    for _ in range(3):
        state, metrics = compiled(state, data, count)
        losses.append(np.asarray(metrics.loss))
    start = time.process_time()
    for _ in range(STEPS):
        state, _ = compiled(state, data, count)
    jax.block_until_ready(state)
    stages = dict(zip(STAGES, np.diff(clock).tolist()))
    return {
        **stages,
        "step": (time.process_time() - start) / (STEPS * BLOCK),
        "fusions": str(compiled.as_text()).count(" fusion("),
        "losses": np.concatenate(losses),
    }


def newton_schulz(matrix: jax.Array, rolled: bool) -> jax.Array:
    """Optax's five iterations, one after the other in the program or as a loop."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (jnp.linalg.norm(x, ord="fro") + 1e-8)

    def once(_: Any, x: jax.Array) -> jax.Array:
        square = x @ x.T
        return COEFFICIENTS[0] * x + (COEFFICIENTS[1] * square + COEFFICIENTS[2] * square @ square) @ x

    x = jax.lax.fori_loop(0, 5, once, x, unroll=not rolled)
    return x.T if tall else x


def one_by_one(rolled: bool) -> Orthogonalise:
    return lambda matrices: [newton_schulz(matrix, rolled) for matrix in matrices]


def stacked(rolled: bool, over: Callable[..., Any]) -> Orthogonalise:
    """All matrices of one shape as one array."""

    def orthogonalise(matrices: list[jax.Array]) -> list[jax.Array]:
        places: dict[tuple[int, ...], list[int]] = {}
        for place, matrix in enumerate(matrices):
            places.setdefault(matrix.shape, []).append(place)
        done: dict[int, jax.Array] = {}
        for alike in places.values():
            made = over(lambda matrix: newton_schulz(matrix, rolled), jnp.stack([matrices[place] for place in alike]))
            done |= {place: made[i] for i, place in enumerate(alike)}
        return [done[place] for place in range(len(matrices))]

    return orthogonalise


WAYS: dict[str, Orthogonalise] = {
    "one by one": one_by_one(False),
    "one by one, a loop each": one_by_one(True),
    "stacked, mapped over": stacked(False, jax.lax.map),
    "stacked, one batch": stacked(False, lambda function, stack: jax.vmap(function)(stack)),
    "stacked, one batch, a loop": stacked(True, lambda function, stack: jax.vmap(function)(stack)),
}


def muon(orthogonalise: Orthogonalise) -> optax.GradientTransformation:
    """The recipe's Muon and Adam at a constant rate, with the orthogonalisation given."""

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        leaves, tree = jax.tree.flatten(updates)
        made = orthogonalise(leaves)
        scaled = [one * max(1, one.shape[1] / one.shape[0]) ** 0.5 for one in made]
        return jax.tree.unflatten(tree, scaled), state

    def labels(params: Any) -> Any:
        def of(path: Any, leaf: Any) -> str:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            return "muon" if leaf.ndim == 2 and name.endswith("kernel") and "head" not in name else "adam"

        return jax.tree_util.tree_map_with_path(of, params)

    matrices = optax.chain(
        optax.trace(0.95, nesterov=True),
        optax.GradientTransformation(lambda params: optax.EmptyState(), update),
        optax.scale(-0.02),
    )
    rest = optax.adam(0.005, b1=0.9, b2=0.95)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.partition({"muon": matrices, "adam": rest}, labels))
