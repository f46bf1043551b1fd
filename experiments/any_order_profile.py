"""A profile from one pass a sequence (E3, an any-order model) against one encoding for each count (E1, bidirectional).

Two models of text, trained for equal processor seconds (but for compiling). The same held-out sequences are measured at
the same counts, for equal processor seconds too: a pass of the any-order model costs more than two encodings, so the
other may make as many encodings as take that time. E1 spends them on few sequences, each at all counts; E3 asks each
sequence once, and so sees more of them. The greatest cost has more passes than there are sequences: the rest are
repeats in other orders, which tell less.

Standard errors are those that the profiles state; variances are averaged over several random subsets and orders. A
variance falls as one over the cost while there are fresh sequences: so times at equal standard error are its ratio.
"""

import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from experiments.tools.timing import alternate, as_figure, on_one_core, paired_ratio, said
from mdm_jax import models, tasks
from mdm_jax.evaluation import default_counts, estimate_profile
from mdm_jax.models.denoiser import Denoiser, Params
from mdm_jax.theory.profiles import Profile
from mdm_jax.training import Settings, fit

CLAIM = Claim(
    "at equal processor time, and while there are fresh sequences, a profile by ranks has at most half the standard "
    "error of one that encodes for each count: in the median over its counts, and in the NELBO",
    source="ours",
    minutes=6,
    seeds=(21,),
)
LENGTH, COUNTS, ROUNDS = 128, 24, 5
SIZE = {"width": 128, "depth": 3, "heads": 4}
BIDIRECTIONAL, ANY_ORDER = "bidirectional", "any-order"
MADE = {BIDIRECTIONAL: models.transformer, ANY_ORDER: models.any_order}
STEPS = {BIDIRECTIONAL: 1276, ANY_ORDER: 690}
"""Of 47 and 87 processor milliseconds on one core: a minute of each."""
PASSES = {"little": (128, 16), "each sequence once": (363, 16), "in five orders": (1815, 4)}
"""Passes of the any-order model, and how many profiles the variances are averaged over."""
FRESH = ("little", "each sequence once")
QUICK_SIZE, QUICK_STEPS, QUICK_PASSES = {"width": 16, "depth": 1, "heads": 2}, 5, {"little": (16, 2)}


def measured(
    denoiser: Denoiser, params: Params, rows: np.ndarray, counts: np.ndarray, encodings: int, seed: int
) -> Profile:
    """One profile."""
    return estimate_profile(denoiser, params, rows, encodings, key=jax.random.key(seed), counts=counts)


def variances(profiles: list[Profile]) -> dict[str, Any]:
    """Mean variances of ``g`` at each count and of the NELBO, and what was measured."""
    ones = np.ones(profiles[0].length)
    return {
        "counts": np.mean([np.diagonal(one.covariance) for one in profiles], axis=0).tolist(),
        "nelbo": float(np.mean([one.standard_error_of(ones) ** 2 for one in profiles])),
        "bits_per_token": float(np.mean([one.bits_per_token() for one in profiles])),
        "means": np.mean([one.means for one in profiles], axis=0).tolist(),
        "rows": profiles[0].provenance["rows"],
        "orders": profiles[0].provenance["orders_per_row"],
    }


def compared(
    size: Mapping[str, int], steps: Mapping[str, int], passes: Mapping[str, tuple[int, int]], rounds: int
) -> dict[str, Any]:
    """Both models trained, timed, and measured at each cost."""
    task = tasks.text(length=LENGTH)
    rows = np.concatenate([np.asarray(task.validation), np.asarray(task.test)])
    counts = default_counts(LENGTH, COUNTS)
    trained: dict[str, tuple[Denoiser, Params]] = {}
    spent: dict[str, float] = {}
    for arm, make in MADE.items():
        denoiser, begun = make(task.vocab_size, length=LENGTH, **size), time.process_time()
        settings = Settings(steps=steps[arm], batch=8, length=LENGTH, seed=CLAIM.seeds[0])
        trained[arm] = denoiser, fit(denoiser, task, settings=settings).params
        spent[arm] = time.process_time() - begun
    few = rows[:32]
    timed = alternate(
        {
            BIDIRECTIONAL: lambda: measured(*trained[BIDIRECTIONAL], few, counts, 32 * len(counts), 0),
            ANY_ORDER: lambda: measured(*trained[ANY_ORDER], few, counts, 2 * 32 * len(counts), 0),
        },
        rounds,
        time.process_time,
    )
    price = paired_ratio(timed[ANY_ORDER], timed[BIDIRECTIONAL])  # of a pass, in encodings
    found = {}
    for name, (many, repeats) in passes.items():
        each = len(counts)
        encodings = max(2, round(many * price["median"] / each)) * each
        made, seconds = {}, {}
        for arm, asked in ((BIDIRECTIONAL, encodings), (ANY_ORDER, 2 * many)):
            begun = time.process_time()
            made[arm] = variances([measured(*trained[arm], rows, counts, asked, seed) for seed in range(repeats)])
            seconds[arm] = (time.process_time() - begun) / repeats
        found[name] = {"passes": many, "encodings": encodings, "seconds": seconds, **made}
    return {"counts": counts.tolist(), "seconds": spent, "timed": timed, "price": price, "costs": found}


def run(experiment: Experiment) -> Run:
    """Train, time, measure."""
    on_one_core()
    quick = QUICK_SIZE, dict.fromkeys(MADE, QUICK_STEPS), QUICK_PASSES, 1
    found = experiment.part("text", lambda: compared(*quick if experiment.quick else (SIZE, STEPS, PASSES, ROUNDS)))
    return Run(found, picture(found))


def ratios(cost: Mapping[str, Any]) -> tuple[np.ndarray, float]:
    """Standard errors of E1 in those of E3: at each count, and of the NELBO."""
    today, ranks = cost[BIDIRECTIONAL], cost[ANY_ORDER]
    return np.sqrt(np.divide(today["counts"], ranks["counts"])), float(np.sqrt(today["nelbo"] / ranks["nelbo"]))


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """Ratios of standard errors at each cost, of times at equal standard error, and of the two prices."""
    costs: Mapping[str, Any] = results["costs"]
    figures: dict[str, Any] = {"processor time of a pass in encodings": as_figure(results["price"])}
    held, told = [], []
    for name, cost in costs.items():
        of_counts, nelbo = ratios(cost)
        spread = [float(np.median(of_counts)), float(of_counts.min()), float(of_counts.max())]
        figures[f"{name}: ratio of standard errors of g(i): median, least, greatest"] = spread
        figures[f"{name}: ratio of standard errors of g(0)"] = float(of_counts[0])
        figures[f"{name}: ratio of standard errors of g at the last count"] = float(of_counts[-1])
        figures[f"{name}: ratio of standard errors of the NELBO"] = nelbo
        figures[f"{name}: ratio of times at equal standard error of the NELBO"] = nelbo**2
        figures[f"{name}: ratio of times at equal standard error of g(i), median"] = spread[0] ** 2
        figures[f"{name}: ratio of processor seconds spent"] = (
            cost["seconds"][BIDIRECTIONAL] / cost["seconds"][ANY_ORDER]
        )
        told.append(f"{name} {spread[0]:.2f} ({spread[1]:.2f} to {spread[2]:.2f} over counts), NELBO {nelbo:.2f}")
        if name in FRESH:
            held += [spread[0] >= 2, nelbo >= 2]
    return Conclusion(
        "holds" if all(held) else "partly" if any(held) else "does not",
        "standard errors of one encoding for each count in those by ranks, at equal time: "
        f"{'; '.join(told)}; a pass costs {said(results['price'])} encodings",
        figures,
        f"{len(costs)} costs, {len(results['counts'])} counts, one training of each model",
    )


def picture(found: Mapping[str, Any]) -> Figure:
    """The two profiles with their errors at the first cost, and the ratio of errors by count at all costs."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    first = next(iter(found["costs"].values()))
    for arm, colour in ((BIDIRECTIONAL, "#c2410c"), (ANY_ORDER, "#1d6fb8")):
        mine = first[arm]
        left.errorbar(found["counts"], mine["means"], np.sqrt(mine["counts"]), color=colour, linewidth=1, label=arm)
    left.set(title="profiles at the least cost", xlabel="tokens revealed", ylabel="nats per token")
    left.legend(fontsize=7)
    for (name, cost), colour in zip(found["costs"].items(), ("#1d6fb8", "#6d4fa4", "#2e8059"), strict=False):
        right.plot(found["counts"], ratios(cost)[0], color=colour, label=name)
    right.axhline(1, color="black", linewidth=0.7, linestyle=":")
    right.set(title="standard error: each count / by ranks", xlabel="tokens revealed", yscale="log")
    right.legend(fontsize=7)
    return figure
