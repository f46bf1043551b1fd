"""How near a training step is to its floor: the matrix products of its forward and backward pass.

The products are found in the jaxpr of the gradient and done again in one program, each on operands of its own: the
floor. Beside it stands a stricter one, which no step can have: each product in a loop of its own, its operands in the
cache. The step, its parts and the products take turns on one processor core, several in each compiled call.

Two things were changed to come near it, and the step is timed with what they replaced: Muon's iterations on the small
Gram matrix (before: Optax's Muon), and dense layers over rows and positions as one axis (before: Flax's, which XLA on
CPU differentiates by a transposed copy). The last part trains with both Muons from equal seeds.
"""

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
from matplotlib.figure import Figure

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from experiments.tools.held_out import bits_of_rows
from experiments.tools.products import again, each_alone, products_of
from experiments.tools.timing import alternate, as_figure, on_one_core, paired_ratio, said
from mdm_jax import models, tasks
from mdm_jax.app.options.recipes import settings_and_model
from mdm_jax.models import transformers
from mdm_jax.models.denoiser import Denoiser
from mdm_jax.training import Settings, initial_state, optimizer
from mdm_jax.training.objective import Objective
from mdm_jax.training.objectives import default_objective
from mdm_jax.training.step import BLOCK, batch_of, loss_and_gradient, train_steps

CLAIM = Claim(
    "a training step takes at most 1.5 times the matrix products of its forward and backward pass, "
    "at width 128 and at width 256, of a bidirectional and of an any-order model",
    source="ours",
    minutes=6,
    seeds=(0, 1, 2),
)
SIZES = {
    "width 128": {"width": 128, "depth": 3, "heads": 4, "length": 128},
    "width 256": {"width": 256, "depth": 6, "heads": 4, "length": 256},
}
QUICK_SIZE = {"width": 16, "depth": 1, "heads": 2, "length": 16}
STEPS = {"width 128": 10, "width 256": 2}
"""In each compiled call."""
VOCAB, BATCH, ROUNDS = 72, 8, 7
LIMIT = 1.5
TRAINED, SEEDS, REPEATS = 200, (0, 1, 2), 8
_MADE = {"bidirectional": models.transformer, "any-order": models.any_order}
MODELS = tuple(_MADE)
Replaced = tuple[tuple[Any, str, Any], ...]


def optaxs_muon(learning_rate: Any, adam_learning_rate: Any, weight_decay: float, takers: Any) -> Any:
    """What stands in the place of our ``muon``."""

    def axes(params: Any) -> Any:
        whole = optax.contrib.MuonDimensionNumbers()
        return jax.tree.map(lambda taker: whole if taker == "muon" else None, takers(params))

    return optax.contrib.muon(
        learning_rate, weight_decay=weight_decay, adam_learning_rate=adam_learning_rate, adam_b1=0.9, adam_b2=0.95,
        muon_weight_dimension_numbers=axes,
    )  # fmt: skip


OURS: Replaced = ()
_OPTAXS: Replaced = ((optimizer, "muon", optaxs_muon),)
_FLAXS: Replaced = ((transformers, "_Dense", functools.partial(nn.Dense, use_bias=False)),)


def run(experiment: Experiment) -> Run:
    """Time both models at both sizes, then train with both Muons."""
    on_one_core()
    timed = {}
    for model, made in _MADE.items():
        for size, numbers in list(SIZES.items())[: 1 if experiment.quick else None]:
            sizes, rounds = (QUICK_SIZE, 2) if experiment.quick else (numbers, ROUNDS)
            denoiser, name = made(VOCAB, **sizes), f"{model}, {size}"
            arguments = denoiser, default_objective(denoiser), sizes["length"], STEPS[size], rounds
            timed[name] = experiment.part(name, functools.partial(times, *arguments))
    compared = experiment.part("trained", lambda: trained(experiment.quick))
    return Run({"timed": timed, "trained": compared}, picture(timed))


def times(denoiser: Denoiser, objective: Objective, length: int, steps: int, rounds: int) -> dict[str, Any]:
    """Processor milliseconds of a step and of its parts, round by round; how many products, and their operations."""
    settings = Settings(steps=10_000, batch=BATCH, length=length)
    data = jnp.asarray(np.random.default_rng(0).integers(0, VOCAB, 100_000), jnp.int32)
    params = initial_state(denoiser, settings).params

    def gradient(params: Any, step: Any) -> Any:
        batch = batch_of(denoiser, settings, step, data, objective)
        return loss_and_gradient(denoiser, settings, params, *batch, objective=objective)[2]

    def passes(params: Any) -> Any:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return jax.lax.fori_loop(0, steps, lambda step, _: gradient(params, step), zeros)

    def updates(moved: tuple[Any, Any], gradient: Any) -> Any:
        moving = optimizer.optimizer_of(settings, VOCAB)

        def update(_: Any, moved: tuple[Any, Any]) -> tuple[Any, Any]:
            change, state = moving.update(gradient, moved[1], moved[0])
            return optax.apply_updates(moved[0], change), state

        return jax.lax.fori_loop(0, steps, update, moved)

    found = products_of(gradient, params, jnp.int32(0))
    noise = jax.tree.map(lambda leaf: jax.random.normal(jax.random.key(leaf.size), leaf.shape), params)
    moved = params, optimizer.optimizer_of(settings, VOCAB).init(params)
    training = denoiser, objective, settings, data, steps
    parts = {
        "products": again(found, steps),
        "products, each alone": each_alone(found, steps),
        "forward and backward": compiled(passes, OURS, params),
        "forward and backward, Flax's dense layers": compiled(passes, _FLAXS, params),
        "Muon": compiled(updates, OURS, moved, noise),
        "Optax's Muon": compiled(updates, _OPTAXS, moved, noise),
        "step": stepping(*training, OURS),
        "step, as it was": stepping(*training, _OPTAXS + _FLAXS),
    }
    seconds = alternate(parts, rounds, time.process_time)
    return {
        "milliseconds": {name: [1e3 * one / steps for one in values] for name, values in seconds.items()},
        "products": len(found),
        "operations": sum(one.operations for one in found),
    }


def compiled(function: Callable[..., Any], replaced: Replaced, *arguments: Any) -> Callable[[], Any]:
    """``function(*arguments)``, compiled with some names meaning something else."""
    with ExitStack() as stack:
        for place in replaced:
            stack.enter_context(mock.patch.object(*place))
        made = jax.jit(lambda *arguments: function(*arguments)).lower(*arguments).compile()  # a trace of its own
    return lambda: jax.block_until_ready(made(*arguments))


def stepping(
    denoiser: Denoiser, objective: Objective, settings: Settings, data: jax.Array, steps: int, replaced: Replaced
) -> Callable[[], Any]:
    """A function that takes ``steps`` steps more each time and returns the state, which the next call gives up."""

    def several(state: Any, count: jax.Array, data: jax.Array) -> Any:
        return train_steps(denoiser, settings, state, data, count, objective=objective)

    state, count = initial_state(denoiser, settings), jnp.int32(steps)
    with ExitStack() as stack:
        for place in replaced:
            stack.enter_context(mock.patch.object(*place))
        made = jax.jit(several, donate_argnums=0).lower(state, count, data).compile()

    def taken() -> Any:
        nonlocal state
        state, metrics = made(state, count, data)
        np.asarray(metrics.loss)
        return state

    return taken


def trained(quick: bool) -> dict[str, dict[str, list[float]]]:
    """The demo's recipe, shortened, under both Muons from equal seeds: held-out bits per character, row by row."""
    task = tasks.text(length=16 if quick else 128)
    steps = 2 * BLOCK if quick else TRAINED
    found: dict[str, dict[str, list[float]]] = {}
    for seed in SEEDS[:1] if quick else SEEDS:
        settings, denoiser = settings_and_model(
            "demo", task, {"steps": steps, "seed": seed}, {"model": "bidirectional"}
        )
        if quick:
            settings, denoiser = (
                dataclasses.replace(settings, batch=4),
                models.transformer(task.vocab_size, **QUICK_SIZE),
            )
        objective, data, rows = default_objective(denoiser), jnp.asarray(task.train), task.validation
        found[str(seed)] = {}
        for name, replaced in (("Muon", OURS), ("Optax's Muon", _OPTAXS)):
            taking = stepping(denoiser, objective, settings, data, BLOCK, replaced)
            state = [taking() for _ in range(steps // BLOCK)][-1]
            bits = bits_of_rows(denoiser, objective, state.ema_params, rows, REPEATS)
            found[str(seed)][name] = bits.tolist()
    return found


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """The step over its products at both sizes; its parts; what our Muon changes in training."""
    ratios, figures = {}, {}
    for name, found in results["timed"].items():
        spent = found["milliseconds"]
        for part in spent:
            figures[f"{name}, {part}, ms"] = statistics.median(spent[part])
            if part != "products":
                ratios[name, part] = paired_ratio(spent[part], spent["products"])
                figures[f"{name}, {part} over its products"] = as_figure(ratios[name, part])
        for new, old in (
            ("step", "products, each alone"),
            ("step", "step, as it was"),
            ("Muon", "Optax's Muon"),
            ("forward and backward", "forward and backward, Flax's dense layers"),
        ):
            figures[f"{name}, {new} over {old}"] = as_figure(paired_ratio(spent[new], spent[old]))
    changes = {seed: np.subtract(one["Muon"], one["Optax's Muon"]) for seed, one in results["trained"].items()}
    for seed, change in changes.items():
        error = float(np.std(change, ddof=1) / np.sqrt(len(change)))
        figures[f"bits more than with Optax's Muon, seed {seed}"] = [
            float(np.mean(change)), float(np.mean(change)) - 1.96 * error, float(np.mean(change)) + 1.96 * error,
        ]  # fmt: skip
        figures[f"bits per character with Optax's Muon, seed {seed}"] = float(
            np.mean(results["trained"][seed]["Optax's Muon"])
        )
    names = list(results["timed"])
    claimed = [ratios[name, "step"] for name in names]
    held = [ratio["median"] <= LIMIT for ratio in claimed]
    largest = max(abs(float(np.mean(change))) for change in changes.values())
    before = ", ".join(said(ratios[name, "step, as it was"]) for name in names)
    rounds = len(results["timed"][names[0]]["milliseconds"]["step"])
    return Conclusion(
        "holds" if all(held) else "partly" if any(held) else "does not",
        f"{', '.join(f'{name}: {said(ratio)}' for name, ratio in zip(names, claimed, strict=True))}; as it was: "
        f"{before}; trained for {TRAINED} steps, both Muons end within {largest:.1g} bits per character",
        figures,
        f"{rounds} rounds; {len(changes)} trainings of each Muon",
    )


def picture(timed: Mapping[str, Any]) -> Figure:
    """Milliseconds of the parts of a step, one panel for each model and size."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    for axes, (name, found) in zip(figure.subplots(len(timed) // 2, 2).flat, timed.items(), strict=True):
        medians = {part: statistics.median(values) for part, values in found["milliseconds"].items()}
        axes.barh(list(medians)[::-1], list(medians.values())[::-1], color="#4c72b0")
        axes.axvline(LIMIT * medians["products"], color="#c44e52", linewidth=1)
        axes.set(title=name, xlabel="processor milliseconds (line: 1.5 times the products)")
    return figure
