"""What sampling and a training step of an any-order model cost, in encodings of a bidirectional model of equal width.

Width 128, 4 layers, batches of 16, all parameters perturbed; everything on one processor core. Variants take turns;
times are of the processor, which other processes disturb less than the clock on the wall (given beside).

* Sampling in random order with equal sizes, by the greatest probability and by the entropy bound, at length 128 for two
  vocabularies and at length 1,024, beside one encoding and beside the bidirectional loop. At length 1,024 that loop of
  64 steps is run once: it takes over a minute.
* Small products: a pass of few slots for each row, beside its own matrix products done again alone, and beside what an
  encoding takes for as many tokens.
* Slots: sampling with other widths than those of ``models/cached/orders.py``, and what compiling one, two, three costs.
* Latency: ``evaluation.sampling_time`` of both models, ``time(K) = a K + b``.
* Compilation: executables after one call, and after other plans, numbers of steps, prompts and temperatures.
* Training: forward and backward pass of both models, beside their matrix products.
"""

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from matplotlib.figure import Figure

from experiments.throughput import eased, executables
from experiments.tools.compiling import compiled_anew
from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from experiments.tools.products import again, products_of
from experiments.tools.timing import alternate, as_figure, on_one_core, paired_ratio, said
from mdm_jax import models
from mdm_jax.evaluation import sampling_time
from mdm_jax.models.cached.orders import SLOTS, AnyOrderDenoiser
from mdm_jax.models.denoiser import Denoiser
from mdm_jax.sampling import rules, sample
from mdm_jax.theory import plans
from mdm_jax.training import Settings
from mdm_jax.training.objectives import default_objective
from mdm_jax.training.step import batch_of, loss_and_gradient

CLAIM = Claim(
    "at length 1,024 in 64 steps of a random order an any-order model samples in at most three encodings of a "
    "bidirectional one, and at least 15 times as fast as its loop; no plan, number of steps, prompt or temperature "
    "compiles anything anew",
    source="ours",
    minutes=15,
)
ROWS, ENCODINGS, TIMES_FASTER = 16, 3.0, 15.0
ENCODING, LOOP = "encoding", "bidirectional loop"
BOUND = 0.5
"""Nats, of the entropy bound."""
MADE = {"bidirectional": models.transformer, "any-order": models.any_order}

Variants = dict[str, Callable[[], object]]


@dataclasses.dataclass(frozen=True)
class Extent:
    """How much one run measures."""

    width: int = 128
    depth: int = 4
    vocabs: Sequence[int] = (32, 1024)
    short: tuple[int, Sequence[int]] = (128, (16, 64, 128))
    """Length, and numbers of steps."""
    long: tuple[int, Sequence[int]] = (1024, (64, 256))
    rounds: int = 5
    long_rounds: int = 3
    widths: Sequence[int] = (1, 2, 4, 8, 16, 32, 64)
    """Slots for each row of single passes."""
    passes: int = 32
    slots: Sequence[tuple[int, ...]] = (
        (2,), (4,), (8,), (16,), (32,), (2, 8), (4, 16), (8, 32), (2, 8, 32), (4, 16, 64), (1, 4, 16)
    )  # fmt: skip
    latency: Mapping[str, Sequence[int]] = dataclasses.field(
        default_factory=lambda: {"bidirectional": (4, 8, 16, 32), "any-order": (8, 16, 32, 64, 128)}
    )
    batch: int = 8
    steps: int = 4
    """Of training, in each compiled call."""


QUICK = Extent(
    16, 1, (32,), (16, (4,)), (16, (4,)), 2, 2, (2,), 2, ((2,),), {"bidirectional": (2, 4), "any-order": (4, 8)}, 2, 1
)


@dataclasses.dataclass(frozen=True)
class InSlots(AnyOrderDenoiser):
    """An any-order model that works in other widths."""

    widths: tuple[int, ...] = SLOTS

    @property
    def slots(self) -> tuple[int, ...]:
        return self.widths


def run(experiment: Experiment) -> Run:
    """All parts, one after the other."""
    on_one_core()
    extent = QUICK if experiment.quick else Extent()
    (short, few), (long, many) = extent.short, extent.long
    first = extent.vocabs[0]
    sampled = [
        experiment.part(f"length {short}, {vocab} tokens", functools.partial(times, extent, vocab, short, few))
        for vocab in extent.vocabs
    ]
    sampled.append(experiment.part(f"length {long}", functools.partial(times, extent, first, long, many)))
    results = {
        "rows": ROWS,
        "sampling": sampled,
        "whole_loop": experiment.part("whole loop", lambda: whole_loop(extent, first, long, many[0])),
        "passes": experiment.part("passes", lambda: passes(extent, first)),
        "slots": experiment.part("slots", lambda: other_slots(extent, first)),
        "latency": experiment.part("latency", lambda: latency(extent, first)),
        "compilation": experiment.part("compilation", lambda: compilation(extent, first)),
        "training": experiment.part("training", lambda: training(extent)),
    }
    return Run(results, picture(results))


def perturbed(name: str, extent: Extent, vocab: int, length: int) -> tuple[Any, Any]:
    """``(denoiser, parameters)``: outputs start at zero, and equal logits are no test."""
    denoiser = MADE[name](vocab, length=length, width=extent.width, depth=extent.depth)
    rng = np.random.default_rng(0)
    params = jax.eval_shape(lambda: denoiser.init(jax.random.key(0), length))
    return denoiser, jax.tree.map(lambda x: jnp.asarray(0.1 * rng.standard_normal(x.shape, np.float32)), params)


def drawing(denoiser: Denoiser, params: Any, length: int, sampler: Any, temperature: float = 1.0) -> Callable[[], int]:
    """A function that samples and says how many steps it took."""

    def draw() -> int:
        out = sample(denoiser, params, sampler, ROWS, key=jax.random.key(0), length=length, temperature=temperature)
        return int(out.steps)

    return draw


def encoding(denoiser: Denoiser, params: Any, length: int) -> Callable[[], object]:
    """One encoding of a canvas of which half is masked."""
    tokens = np.random.default_rng(1).integers(0, denoiser.vocab_size, (ROWS, length))
    tokens = jnp.asarray(np.where(np.arange(length) % 2, tokens, denoiser.mask_id), jnp.int32)
    encode = jax.jit(denoiser.encode)
    return lambda: jax.block_until_ready(encode(params, tokens))


def both_clocks(variants: Variants, rounds: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds of the processor and of the clock on the wall, round by round."""
    wall: dict[str, list[float]] = {name: [] for name in variants}

    def watched(name: str) -> None:
        start = time.perf_counter()
        variants[name]()
        wall[name].append(time.perf_counter() - start)

    processor = alternate({name: functools.partial(watched, name) for name in variants}, rounds, time.process_time)
    return processor, {name: values[1:] for name, values in wall.items()}


def times(extent: Extent, vocab: int, length: int, steps: Sequence[int]) -> dict[str, Any]:
    """Sampling in encodings, round by round. The bidirectional loop only where it does not take minutes."""
    plain, plain_params = perturbed("bidirectional", extent, vocab, length)
    cached, params = perturbed("any-order", extent, vocab, length)
    short = length == extent.short[0]
    variants: Variants = {ENCODING: encoding(plain, plain_params, length)}
    counted = {"entropy bound": drawing(cached, params, length, rules.entropy_bounded(BOUND))}
    for number in steps:
        plan = plans.uniform(length, number)
        variants[f"random, K = {number}"] = drawing(cached, params, length, plan)
        if short:
            variants[f"{LOOP}, K = {number}"] = drawing(plain, plain_params, length, plan)
        if short or number == steps[0]:
            variants[f"surest, K = {number}"] = drawing(cached, params, length, rules.surest(plan))
    if short:
        variants |= counted
    processor, wall = both_clocks(variants, extent.rounds if short else extent.long_rounds)
    names = [name for name in variants if name != ENCODING]
    return {
        "length": length,
        "vocabulary": vocab,
        "encodings": {name: paired_ratio(processor[name], processor[ENCODING]) for name in names},
        "encodings_by_the_wall": {name: paired_ratio(wall[name], wall[ENCODING]) for name in names},
        "milliseconds": {name: 1e3 * statistics.median(values) for name, values in processor.items()},
        "steps_of_the_entropy_bound": counted["entropy bound"]() if short else None,
    }


def whole_loop(extent: Extent, vocab: int, length: int, steps: int) -> dict[str, Any]:
    """The bidirectional loop and the any-order model's, once each."""

    def drawn(name: str) -> Callable[[], object]:
        model = perturbed(name, extent, vocab, length)
        return eased(lambda number, _: drawing(*model, length, plans.uniform(length, number))(), steps)

    loop, cached = (drawn(name) for name in MADE)
    processor, wall = both_clocks({LOOP: loop, "any-order": cached}, 1)
    return {"length": length, "steps": steps, "seconds": processor, "seconds_by_the_wall": wall}


def passes(extent: Extent, vocab: int) -> list[dict[str, Any]]:
    """Milliseconds of a pass by its slots a row: the pass, its matrix products alone, as many tokens of an encoding."""
    found = []
    for length in dict.fromkeys((extent.short[0], extent.long[0])):
        plain, plain_params = perturbed("bidirectional", extent, vocab, length)
        cached, params = perturbed("any-order", extent, vocab, length)
        variants: Variants = {ENCODING: encoding(plain, plain_params, length)}
        for width in extent.widths:
            variants |= of_passes(cached, params, length, width, extent.passes)
        processor, _ = both_clocks(variants, extent.rounds if length == extent.short[0] else extent.long_rounds)
        milliseconds = {name: 1e3 * statistics.median(values) for name, values in processor.items()}
        for width in extent.widths:
            spent, products = (milliseconds[f"{name} {width}"] / extent.passes for name in ("pass", "products"))
            share = ROWS * width / (ROWS * length)
            found.append(
                {
                    "length": length,
                    "slots": width,
                    "milliseconds": spent,
                    "products": products,
                    "over_as_many_tokens_of_an_encoding": spent / (milliseconds[ENCODING] * share),
                }
            )
    return found


def of_passes(denoiser: Any, params: Any, length: int, width: int, count: int) -> Variants:
    """``count`` passes of so many slots, half of them tokens, and the same passes' matrix products."""
    rng = np.random.default_rng(2)
    orders = jnp.asarray([rng.permutation(length) for _ in range(ROWS)], jnp.int32)
    words = jnp.asarray(rng.integers(0, denoiser.vocab_size, (ROWS, width)), jnp.int32)
    fresh = jnp.full(ROWS, (width + 1) // 2, jnp.int32)
    fits = max(1, (length - width) // int(fresh[0]))  # passes until everything is absorbed; then from anew

    def once(i: jax.Array, state: tuple[Any, jax.Array]) -> tuple[Any, jax.Array]:
        cache = state[0]._replace(absorbed=jnp.where(i % fits == 0, 0, state[0].absorbed))
        positions = lax.dynamic_slice_in_dim(orders, (i % fits) * fresh[0], width, axis=1)
        return denoiser.extend(params, cache, positions, words, fresh)

    @jax.jit
    def several() -> Any:
        hidden = jax.eval_shape(lambda: denoiser.extend(params, empty(), orders[:, :width], words, fresh)[1])
        return lax.fori_loop(0, count, once, (empty(), jnp.zeros(hidden.shape, hidden.dtype)))[1]

    def empty() -> Any:
        return denoiser.empty(params, ROWS, length, width)

    products = products_of(lambda cache: denoiser.extend(params, cache, orders[:, :width], words, fresh), empty())
    return {f"pass {width}": lambda: jax.block_until_ready(several()), f"products {width}": again(products, count)}


def other_slots(extent: Extent, vocab: int) -> list[dict[str, Any]]:
    """Sampling at the short length in other widths: milliseconds by number of steps, and seconds to compile."""
    length, steps = extent.short
    cached, params = perturbed("any-order", extent, vocab, length)
    sizes = {field.name: getattr(cached, field.name) for field in dataclasses.fields(cached)}
    drawn = {
        widths: {k: drawing(InSlots(**sizes, widths=widths), params, length, plans.uniform(length, k)) for k in steps}
        for widths in extent.slots
    }
    compiling = {}
    with compiled_anew():
        for widths, by_steps in drawn.items():
            start = time.process_time()
            by_steps[steps[0]]()
            compiling[widths] = time.process_time() - start
    variants: Variants = {f"{widths} {k}": draw for widths, by in drawn.items() for k, draw in by.items()}
    processor = alternate(variants, extent.long_rounds, time.process_time)
    return [
        {
            "widths": widths,
            "milliseconds": {k: 1e3 * statistics.median(processor[f"{widths} {k}"]) for k in steps},
            "seconds_of_the_first_call": compiling[widths],
        }
        for widths in extent.slots
    ]


def latency(extent: Extent, vocab: int) -> dict[str, Any]:
    """``time(K) = a K + b`` of both models."""
    length, found = extent.short[0], {}
    for name, steps in extent.latency.items():
        denoiser, params = perturbed(name, extent, vocab, length)
        cost = sampling_time(
            denoiser, params, length, ROWS,
            key=jax.random.key(0), steps=steps, repeats=extent.rounds, clock=time.process_time,
        )  # fmt: skip
        found[name] = {**cost._asdict(), "residual": cost.residual}
    return found


def compilation(extent: Extent, vocab: int) -> dict[str, Any]:
    """Executables of the sampling package after one call of each kind, and after all others."""
    length = extent.short[0]
    cached, params = perturbed("any-order", extent, vocab, length)

    def call(sampler: Any, temperature: float, given: int) -> None:
        canvas = np.full((ROWS, length), cached.mask_id, np.int32)
        canvas[:, :given] = 1
        key = jax.random.key(given)
        sample(
            cached, params, sampler, ROWS, key=key, canvas=canvas, temperature=temperature
        ).tokens.block_until_ready()

    one = plans.uniform(length, 4)
    call(one, 1.0, 1)
    call(rules.surest(one), 1.0, 1)
    call(rules.entropy_bounded(BOUND), 1.0, 1)
    after_one, calls = executables(), 0
    for number in (1, 3, length // 2, length):
        plan = plans.uniform(length, number)
        uneven = plans.Plan(np.array([1] * (number - 1) + [length - number + 1]), name="uneven")
        for sampler in (plan, uneven, rules.surest(plan), rules.entropy_bounded(0.1 * number)):
            for temperature, given in ((1.0, 0), (0.5, 3)):
                call(sampler, temperature, given)
                calls += 1
    return {"after_one_of_each": after_one, "after_all": executables(), "further_calls": calls}


def training(extent: Extent) -> dict[str, Any]:
    """Milliseconds of forward and backward pass for one batch, and of their matrix products, round by round."""
    length, vocab = extent.short[0], 72
    data = jnp.asarray(np.random.default_rng(0).integers(0, vocab, 100_000), jnp.int32)
    settings, variants, operations = Settings(steps=10_000, batch=extent.batch, length=length), {}, {}
    for name in MADE:
        denoiser, params = perturbed(name, extent, vocab, length)
        objective = default_objective(denoiser)

        def gradient(params: Any, step: Any, denoiser: Any = denoiser, objective: Any = objective) -> Any:
            batch = batch_of(denoiser, settings, step, data, objective)
            return loss_and_gradient(denoiser, settings, params, *batch, objective=objective)[2]

        def several(params: Any, gradient: Callable[..., Any] = gradient) -> Any:
            zeros = jax.tree.map(jnp.zeros_like, params)
            return lax.fori_loop(0, extent.steps, lambda step, _: gradient(params, step), zeros)

        found, compiled = products_of(gradient, params, jnp.int32(0)), jax.jit(several)
        operations[name] = sum(one.operations for one in found)
        variants[name] = functools.partial(
            lambda compiled, params: jax.block_until_ready(compiled(params)), compiled, params
        )
        variants[f"{name}, products"] = again(found, extent.steps)
    processor, _ = both_clocks(variants, extent.rounds)
    milliseconds = {name: [1e3 * one / extent.steps for one in values] for name, values in processor.items()}
    return {"tokens": extent.batch * length, "operations": operations, "milliseconds": milliseconds}


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """Encodings at the long length, times faster than its loop, executables added."""
    long, loop = results["sampling"][-1], results["whole_loop"]
    number = loop["steps"]
    encodings = long["encodings"][f"random, K = {number}"]
    faster = loop["seconds"][LOOP][0] / loop["seconds"]["any-order"][0]
    after, before = (sum(results["compilation"][name].values()) for name in ("after_all", "after_one_of_each"))
    good = [encodings["median"] <= ENCODINGS, faster >= TIMES_FASTER, after == before]
    figures: dict[str, Any] = {f"times as fast as the loop, length {loop['length']}, K = {number}": faster}
    for cell in results["sampling"]:
        where = f"length {cell['length']}, {cell['vocabulary']} tokens"
        figures |= {f"encodings: {where}, {name}": as_figure(one) for name, one in cell["encodings"].items()}
    for name, cost in results["latency"].items():
        figures[f"{name}: milliseconds per step"] = cost["milliseconds_per_step"]
        figures[f"{name}: milliseconds besides"] = cost["milliseconds_besides"]
    spent = results["training"]["milliseconds"]
    figures["training: any-order over bidirectional"] = as_figure(
        paired_ratio(spent["any-order"], spent["bidirectional"])
    )
    for name in MADE:
        figures[f"training: {name} over its products"] = as_figure(
            paired_ratio(spent[name], spent[f"{name}, products"])
        )
    return Conclusion(
        "holds" if all(good) else "partly" if any(good) else "does not",
        f"{number} steps take {said(encodings)} encodings at length {loop['length']:,}, and the bidirectional loop "
        f"{faster:.0f} times as long; {results['compilation']['further_calls']} further calls compile "
        f"{after - before} programs",
        figures,
        f"{results['rows']} sequences a batch; medians of alternating rounds, the long loop once",
    )


def picture(results: Mapping[str, Any]) -> Figure:
    """Left: sampling in encodings. Right: what a pass costs beside as many tokens of an encoding."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for cell in results["sampling"]:
        found = {name: one["median"] for name, one in cell["encodings"].items() if name.startswith("random")}
        label = f"length {cell['length']:,}, {cell['vocabulary']:,} tokens"
        left.plot([int(name.split("= ")[1]) for name in found], list(found.values()), "o-", label=label)
    most = max(int(name.split("= ")[1]) for cell in results["sampling"] for name in cell["encodings"] if "=" in name)
    left.plot([1, most], [1, most], color="#1d2730", lw=0.8, ls=":", label="one encoding a step")
    left.set(xscale="log", yscale="log", xlabel="steps", title="random order, in encodings")
    for length in sorted({one["length"] for one in results["passes"]}):
        here = [one for one in results["passes"] if one["length"] == length]
        costs = [one["over_as_many_tokens_of_an_encoding"] for one in here]
        right.plot([one["slots"] for one in here], costs, "o-", label=f"length {length:,}")
    right.axhline(1.0, color="#1d2730", lw=0.8)
    right.set(xscale="log", yscale="log", xlabel="slots a row", title="a pass / as many tokens of an encoding")
    for axes in (left, right):
        axes.legend(fontsize=7, frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
