"""What it costs to choose a schedule: by the profile, a million (schedule, budget) pairs at a time, or by sampling.

**By the profile.** ``beta_search`` scores Beta(a, b) schedules at every budget of a sequence of 128 tokens. Timed with
compilation and without.

**By sampling**, as arXiv 2509.13866 does: generate with each schedule of a small grid, score what comes out. The model
is exact (a Markov chain's own conditionals), so the score can be, too. Two are taken of the same samples:

* ``quality``: the mean of ``-log p(x)`` less the entropy, the ideal form of a generative perplexity. It sees samples
  that are too improbable, not those that are too alike;
* ``divergence``: the mean of ``log q(x | order) - log p(x)``, unbiased for the divergence of the sampler's path from
  the data's law, in nats. (Of the sampler from the law: the profile's is the other way round, of the law from the
  sampler.)

All schedules use the same random numbers, which favours sampling: differences are sharper than the values. What both
ways are held against is the expected divergence from the exact profile of the chain. The profile that ranks is a
*measured* one, from samples of the chain; its model calls are counted, though they serve every schedule and budget.
"""

import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure
from scipy.stats import rankdata

from experiments.tools.compiling import compiled_anew
from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from experiments.tools.timing import alternate, as_figure, paired_ratio, said
from mdm_jax import oracles, sampling
from mdm_jax.evaluation import estimate_profile
from mdm_jax.theory import plans, profiles, schedules
from mdm_jax.theory.plans import beta_search

CLAIM = Claim(
    "a profile scores a million pairs of schedule and budget in 30 s, compilation included, and ranks schedules as "
    "sampling with an exact model and an exact score does, in less time",
    source="ours",
    minutes=1,
    seeds=(0, 1, 2, 3),
)
SECONDS = 30.0
"""For a million pairs."""
AGREEMENT = 0.8
LENGTH, VOCAB, STEPS = 64, 8, 8
VALUES = (0.3, 0.45, 0.7, 1.0, 1.5, 2.2)
"""Of ``a`` and of ``b``: 36 schedules."""


def run(experiment: Experiment) -> Run:
    """Time both ways; compare their rankings."""
    speed = experiment.part("scoring", lambda: scoring(experiment.quick))
    ranked = experiment.part("ranking", lambda: ranking(experiment.quick))
    results = {"scoring": speed, **ranked}
    each = results["seconds_per_schedule_and_budget"]
    each["profile, a million pairs"] = 1 / speed["pairs_per_second"]
    return Run(results, picture(results))


def ranking(quick: bool) -> dict[str, Any]:
    """Both ways rank 36 schedules at one budget, taking turns."""
    rows, encodings, rounds = (32, 1024, 1) if quick else (1024, 8192, 3)
    rng = np.random.default_rng(0)
    chain = oracles.markov(0.9 * rng.dirichlet(np.full(VOCAB, 0.3), VOCAB) + 0.1 / VOCAB, LENGTH)
    exact = profiles.from_values(chain.entropies())
    tokens = np.asarray(chain.sample(jax.random.key(1), rows))
    pairs = [(a, b) for a in VALUES for b in VALUES]
    made = [plans.from_schedule(schedules.beta(a, b), LENGTH, STEPS) for a, b in pairs]
    truth = np.array([float(exact.expected_nelbo(plan.sizes)) - chain.entropy() for plan in made])
    scores: dict[str, np.ndarray] = {}

    def by_sampling() -> None:
        key, found = jax.random.key(2), []
        for plan in made:
            drawn = sampling.sample(chain.denoiser, chain.params, plan, rows, key=key)
            log_p = chain.log_prob(drawn.tokens)
            found.append([-log_p, np.asarray(drawn.log_prob, np.float64) - log_p])
        scores["quality"], scores["divergence"] = np.array(found).swapaxes(0, 1)

    def by_profile() -> None:
        search = beta_search.search(measured[0], [STEPS], grid=VALUES, starts=0)
        scores["profile"] = search.landscape[0].reshape(-1, 1).astype(np.float64)

    measured: list[profiles.Profile] = []

    def measuring() -> None:
        measured[:] = [estimate_profile(chain.denoiser, chain.params, tokens, encodings, key=jax.random.key(3))]

    seconds = alternate({"measuring": measuring, "sampling": by_sampling, "profile": by_profile}, rounds)
    means = {name: values.mean(axis=1) for name, values in scores.items()}
    means["quality"] -= chain.entropy()
    errors = {name: scores[name].std(axis=1, ddof=1) / np.sqrt(rows) for name in ("quality", "divergence")}
    compared = [("profile", "truth"), ("quality", "truth"), ("divergence", "truth"), ("quality", "profile"),
                ("divergence", "profile")]  # fmt: skip
    ranked = {**means, "truth": truth}
    correlation = {f"{one} with {other}": rank_correlation(ranked[one], ranked[other]) for one, other in compared}
    ratio = paired_ratio(seconds["sampling"], seconds["profile"])
    with_measuring = paired_ratio(
        seconds["sampling"], [a + b for a, b in zip(seconds["measuring"], seconds["profile"], strict=True)]
    )
    per_schedule = {
        "sampling": float(np.median(seconds["sampling"])) / len(pairs),
        "profile, 36 schedules": float(np.median(seconds["profile"])) / len(pairs),
    }
    regret = {name: float(truth[values.argmin()] - truth.min()) for name, values in means.items()}
    return {
        "rank_correlation": correlation,
        "sampling_over_profile": ratio,
        "sampling_over_measuring_and_profile": with_measuring,
        "forward_passes": {"sampling": rows * sum(plan.steps for plan in made), "measuring": encodings},
        "seconds_per_schedule_and_budget": per_schedule,
        "regret_nats": regret,
        "rows": rows,
        "schedules": [f"beta:{a},{b}" for a, b in pairs],
        "expected_divergence_nats": truth.tolist(),
        "scores": {name: values.tolist() for name, values in means.items()},
        "standard_errors": {name: values.tolist() for name, values in errors.items()},
        "seconds": seconds,
    }


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """Whether a million pairs are scored in time, whether both ways agree, and what sampling takes longer."""
    speed, correlation = results["scoring"], results["rank_correlation"]
    with_measuring = results["sampling_over_measuring_and_profile"]
    agree = min(correlation["profile with truth"], correlation["divergence with profile"]) >= AGREEMENT
    fast = speed["pairs"] >= 1_000_000 and speed["seconds_with_compiling"] < SECONDS
    figures: dict[str, Any] = {
        "pairs": speed["pairs"],
        "seconds, compiling included": speed["seconds_with_compiling"],
        "sampling over measuring and profile": as_figure(with_measuring),
        "sampling over profile": as_figure(results["sampling_over_profile"]),
        **{f"rank correlation of {name}": value for name, value in correlation.items()},
        **{f"nats lost by the choice of {name}": value for name, value in results["regret_nats"].items()},
        "schedules ranked": len(results["schedules"]),
        "sequences of each": results["rows"],
    }
    if "pairs_of_the_whole_grid" in speed:
        figures["pairs of the whole grid"] = speed["pairs_of_the_whole_grid"]
        figures["seconds of the whole grid with gradients"] = speed["seconds_of_it_with_gradients"]
    return Conclusion(
        "holds" if fast and agree and with_measuring["median"] > 1 else "partly" if fast or agree else "does not",
        f"{speed['pairs']:,} pairs in {speed['seconds_with_compiling']:.1f} s, compiling included; sampling takes "
        f"{said(with_measuring, 0)} times as long as measuring a profile and scoring by it, rank correlation "
        f"{correlation['divergence with profile']:.3f}",
        figures,
        f"{len(results['schedules'])} schedules at K = {STEPS}, {results['rows']:,} sequences each",
    )


def scoring(quick: bool) -> dict[str, Any]:
    """The time of the compiled search over a grid, all budgets of 128 tokens, and of the gradients after it."""
    rng = np.random.default_rng(1)
    falls = rng.gamma(0.3, size=127)
    profile = profiles.from_values(np.append(0.0, np.cumsum(falls))[::-1] / 10 + 0.5)
    size = 24 if quick else 90
    coarse = beta_search.beta_values(beta_search.GRID)[: 2 * size : 2].tolist()
    with compiled_anew():
        start = time.perf_counter()
        search = beta_search.search(profile, grid=coarse, starts=0)
        first = time.perf_counter() - start
    start = time.perf_counter()
    beta_search.search(profile, grid=coarse, starts=0)
    again = time.perf_counter() - start
    pairs = search.landscape.size
    found: dict[str, Any] = {
        "pairs": pairs,
        "seconds_with_compiling": first,
        "seconds": again,
        "pairs_per_second": pairs / again,
    }
    if not quick:
        start = time.perf_counter()
        whole = beta_search.search(profile, starts=0, progress=True)
        found |= {"pairs_of_the_whole_grid": whole.landscape.size, "seconds_of_it": time.perf_counter() - start}
        start = time.perf_counter()
        refined = beta_search.search(profile, progress=True)
        found["seconds_of_it_with_gradients"] = time.perf_counter() - start
        optimal = plans.optimal_for_every_budget(profile).nelbo[np.array(whole.budgets) - 1]
        found["budgets_that_gradients_improved"] = int((refined.nelbo < whole.nelbo - 1e-9).sum())
        found["above_the_optimum_nats"] = {
            "grid": float((whole.nelbo - optimal).mean()),
            "with gradients": float((refined.nelbo - optimal).mean()),
        }
    return found


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's, ties at their mean rank."""
    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])


def picture(results: Mapping[str, Any]) -> Figure:
    """Scores against the truth, two standard errors; time per schedule."""
    truth, means = np.array(results["expected_divergence_nats"]), results["scores"]
    per_schedule = results["seconds_per_schedule_and_budget"]
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for name, colour in (("quality", "#8a949e"), ("divergence", "#4c72b0")):
        errors = 2 * np.array(results["standard_errors"][name])
        bars = {"fmt": "o", "ms": 3, "lw": 1, "color": colour, "label": f"sampling, {name}"}
        left.errorbar(truth, means[name], yerr=errors, **bars)
    shown = np.array(means["profile"]) - min(means["profile"]) + truth.min()
    left.plot(truth, shown, "x", color="#c2410c", ms=4, label="measured profile (shifted)")
    left.set_xlabel("expected divergence, exact profile (nats)", fontsize=8)
    left.set_ylabel("score (nats)", fontsize=8)
    left.legend(fontsize=7, frameon=False)
    names = list(per_schedule)[::-1]
    right.barh(names, [per_schedule[name] for name in names], color=["#c2410c", "#c2410c", "#4c72b0"])
    right.set_xscale("log")
    right.set_xlabel("seconds per schedule and budget", fontsize=8)
    for axes in (left, right):
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
