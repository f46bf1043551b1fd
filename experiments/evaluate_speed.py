"""A hundred schedules at two budgets as rows of one program, against a loop over them, and against compiling each.

The demo recipe's ``text`` model (128 tokens), 100 Beta(a, b) schedules at 4 and 8 steps, 16 samples of each: 3,200 rows
in random order, and in order of greatest probability.

* *rows*: ``evaluate``, all at once, with its common random numbers; nothing is scored.
* *loop*: a Python loop over the 200 plans that calls ``sample`` for the 16 rows of each. The same compiled loop serves
  all: this is what our samplers alone give.
* *recompiled*: for each plan a new executable in which its sizes are constants, as samplers are compiled where a
  schedule is a Python object or its numbers are static arguments. A few plans are timed (compilation and one run)
  and multiplied.

All 200 plans are drawn once, by *rows* in random order. The variants then take turns on a few of them, so that other
work on the machine hits all alike, and ratios are taken round by round. Compilations are counted by JAX's own log, in a
first call with all caches cleared; those of *recompiled* are as many as plans. Programs that other processes have kept
are left alone, since they would take no time.

Claimed before measuring: *rows* compiles at most 10 programs, however many schedules there are; it is at least as fast
as *loop* (a ratio of 1 within a tenth: batches of 16 fill two cores either way), and at least 5 times as fast as
*recompiled*.
"""

import logging
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments.tools.compiling import compiled_anew
from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from experiments.tools.judging import model_of
from experiments.tools.timing import as_figure, paired_ratio, said
from mdm_jax.evaluation import evaluate
from mdm_jax.models.denoiser import Denoiser, Params
from mdm_jax.sampling import Blind, Rule, blind_loop, plan_knots, random_order, rules, sample
from mdm_jax.theory import plans, schedules
from mdm_jax.theory.plans import Plan

CLAIM = Claim(
    "evaluate draws 100 schedules x 2 budgets x 16 samples with at most 10 compiled programs, no slower than nine "
    "tenths of a loop over the same compiled sampler, and at least 5 times as fast as compiling each schedule",
    source="ours",
    minutes=5,
)
SCHEDULES, BUDGETS, SAMPLES = 100, (4, 8), 16
TAKING_TURNS, ROUNDS, RECOMPILED = 6, 3, 3
MOST_PROGRAMS, LEAST_TO_LOOP, LEAST_TO_RECOMPILED = 10, 0.9, 5.0
ORDERS: dict[str, Callable[[Plan], Blind | Rule]] = {"random": Blind, "probability": rules.surest}


class _Count(logging.Handler):
    """Counts the programs that JAX says it compiles."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text.startswith("Finished XLA compilation of"):
            self.names.append(text.split(" in ")[0].removeprefix("Finished XLA compilation of "))


@contextmanager
def compilations() -> Iterator[list[str]]:
    """The names of programs compiled inside the ``with`` statement."""
    handler, logger = _Count(), logging.getLogger("jax._src.dispatch")
    level, propagates = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield handler.names
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagates


def many_plans(count: int, length: int) -> dict[str, Plan]:
    """Beta schedules spread over a and b, at every budget."""
    side = int(np.ceil(np.sqrt(count)))
    values = np.geomspace(0.3, 2.0, side)
    pairs = [(a, b) for a in values for b in values][:count]
    made = {(a, b): schedules.beta(a, b) for a, b in pairs}
    return {
        f"{a:.3g},{b:.3g}, {k}": plans.from_schedule(schedule, length, k)
        for (a, b), schedule in made.items()
        for k in BUDGETS
    }


def recompiled(denoiser: Denoiser, params: Params, sampler: Blind | Rule, length: int, rows: int, key: Any) -> float:
    """Seconds for one plan whose sizes are constants of a program of its own, compilation and one run."""
    canvas = jnp.full((rows, length), denoiser.mask_id, jnp.int32)
    order_key, token_key = jax.random.split(key)

    def program(params: Params, token_key: Any) -> Any:
        if isinstance(sampler, Rule):
            return sample(denoiser, params, sampler, rows, key=token_key, length=length).tokens
        knots = jnp.asarray(plan_knots(sampler.plans, rows))  # pyright: ignore[reportArgumentType]
        steps = random_order(order_key, knots, canvas == denoiser.mask_id)
        return blind_loop(denoiser, params, canvas, steps, key=token_key).tokens

    start = time.perf_counter()
    jax.block_until_ready(jax.jit(program)(params, token_key))
    return time.perf_counter() - start


def measured(order: str, quick: bool) -> dict[str, Any]:
    """Seconds, plans per second and compilations of one order."""
    denoiser, params, task = model_of("text", quick)
    length, samples, key = task.length, 4 if quick else SAMPLES, jax.random.key(0)
    whole = {name: ORDERS[order](plan) for name, plan in many_plans(4 if quick else SCHEDULES, length).items()}
    chosen = list(whole.items())
    apart = len(BUDGETS) * max(SCHEDULES // TAKING_TURNS, 1)
    samplers = dict(pair for i in range(0, len(chosen), apart) for pair in chosen[i : i + len(BUDGETS)])

    def rows(samplers: dict[str, Any] = samplers) -> None:
        evaluate(denoiser, params, samplers, samples, lambda tokens: np.zeros(len(tokens)), key=key, length=length)

    def loop() -> None:
        for sampler in samplers.values():
            np.asarray(sample(denoiser, params, sampler, samples, key=key, length=length).tokens)

    programs: dict[str, list[str]] = {}
    first_call: dict[str, float] = {}
    everything = {"all rows": lambda: rows(whole)} if order == "random" and not quick else {}
    for name, variant in {"loop": loop, **everything, "rows": rows}.items():
        jax.clear_caches()
        with compilations() as names:
            first_call[name] = elapsed(variant)
        programs[name] = sorted(names)
    loop()  # what it had compiled was cleared
    seconds: dict[str, list[float]] = {"rows": [], "loop": [], "recompiled": []}
    rivals = list(samplers.values())
    for turn in range(1 if quick else ROUNDS):
        seconds["rows"].append(elapsed(rows))
        seconds["loop"].append(elapsed(loop))
        picked = [rivals[(turn * 7 + i * 11) % len(rivals)] for i in range(1 if quick else RECOMPILED)]
        each = [recompiled(denoiser, params, sampler, length, samples, key) for sampler in picked]
        seconds["recompiled"].append(statistics.mean(each) * len(rivals))
    return {
        "plans": {"all rows": len(whole), "turns": len(samplers)},
        "samples": samples,
        "seconds": seconds,
        "first_call_seconds": first_call,
        "plans_per_second": {name: len(samplers) / statistics.median(values) for name, values in seconds.items()},
        "programs": {name: len(names) for name, names in programs.items()} | {"recompiled": len(samplers)},
        "program_names": programs,
        "loop_over_rows": paired_ratio(seconds["loop"], seconds["rows"]),
        "recompiled_over_rows": paired_ratio(seconds["recompiled"], seconds["rows"]),
    }


def elapsed(variant: Callable[[], None]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    variant()
    return time.perf_counter() - start


def run(experiment: Experiment) -> Run:
    """Both orders."""
    with compiled_anew():
        found = {
            order: experiment.part(order, lambda order=order: measured(order, experiment.quick))
            for order in (("random",) if experiment.quick else ORDERS)
        }
    return Run({"orders": found}, picture(found))


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """Programs, and the two ratios, of each order."""
    orders = results["orders"]
    held = [
        good
        for one in orders.values()
        for good in (
            max(one["programs"]["rows"], one["programs"].get("all rows", 0)) <= MOST_PROGRAMS,
            one["loop_over_rows"]["median"] >= LEAST_TO_LOOP,
            one["recompiled_over_rows"]["median"] >= LEAST_TO_RECOMPILED,
        )
    ]
    figures: dict[str, Any] = {}
    for order, one in orders.items():
        for name in ("loop_over_rows", "recompiled_over_rows"):
            figures[f"{name.replace('_', ' ')}, {order} order"] = as_figure(one[name])
        for name in ("rows", "all rows"):
            if name in one["programs"]:
                figures[f"programs for {one['plans'].get(name, one['plans']['turns'])} plans, {order} order"] = one[
                    "programs"
                ][name]
        if "all rows" in one["first_call_seconds"]:
            figures["plans of all rows"] = one["plans"]["all rows"]
            figures["seconds of all rows, compiling included"] = one["first_call_seconds"]["all rows"]
    headline = "; ".join(
        f"{order} order: compiling each plan takes {said(one['recompiled_over_rows'], 1)} times our time, a loop "
        f"{said(one['loop_over_rows'])}"
        for order, one in orders.items()
    )
    return Conclusion(
        "holds" if all(held) else "partly" if any(held) else "does not",
        headline,
        figures,
        f"{ROUNDS} rounds of {next(iter(orders.values()))['plans']['turns']} plans x {SAMPLES} samples",
    )


def picture(found: Mapping[str, Any]) -> Figure:
    """Plans per second, and programs compiled."""
    figure = Figure(figsize=(7, 2.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    names = ("rows", "loop", "recompiled")
    for axes, what, title in ((left, "plans_per_second", "plans per second"), (right, "programs", "programs compiled")):
        for i, (order, one) in enumerate(found.items()):
            at = np.arange(3) + 0.2 * (2 * i - 1)
            axes.bar(at, [one[what][name] for name in names], 0.38, label=order, color=("#1d6fb8", "#c2410c")[i])
        axes.set_xticks(range(3), names)
        axes.set_yscale("log")
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(fontsize=8, frameon=False, title="order", title_fontsize=8)
    return figure
