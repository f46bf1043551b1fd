"""Every bound on the factorisation error against the error itself, over many laws and plans: never exceeded, how tight.

The bounds are those of :mod:`mdm_jax.theory.profiles.bounds`, which says where each is from.
The truth is exact: the error ``F = sum_k n_k h(N_{k-1}) - sum_i h(i)`` of a profile in closed form or summed over all
states, and for ancestral grids the left Riemann error of its Bernstein curve. In worlds small enough to list, the
divergence KL(pi || q) of the sampler's actual output law is held against ``F`` as well: a mixture over orders is nearer
to the target than its parts are on average.

A ratio of 1 says that a bound is attained, of 0.01 that it promises a hundred times too little.
"""

import collections
import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from mdm_jax import oracles
from mdm_jax.evaluation import exact
from mdm_jax.oracles import Oracle
from mdm_jax.theory import plans, profiles, schedules
from mdm_jax.theory.plans import grids
from mdm_jax.theory.profiles import Profile, bounds
from mdm_jax.theory.profiles.curves import dual_total_correlation, total_correlation

CLAIM = Claim(
    "no bound on the factorisation error is exceeded by any of the laws and plans tried, and each bound is within a "
    "factor of 2 of the truth for some of them",
    source="arXiv 2510.25544, arXiv 2511.04647, ours",
    minutes=2,
    seeds=(0, 1, 2, 3),
)
TIGHT = 0.5
"""A bound counts as tight where the truth is at least this share of it."""
ROUNDING, ROUNDING_OF_LAWS = 1e-9, 1e-5
"""What float64 profiles and float32 output laws may be off, nats (the latter as a bound on rounding, not a fit)."""
RATES = (0.1, 0.25, 0.5, 1.0)
BOUNDS = {
    "any sizes": "(a) any sizes: (max n - 1)(h(0) - h(d-1))",
    "vocabulary": "(a) any sizes: (max n - 1) log V",
    "constant sizes": "(b) constant sizes: (n - 1)(TC + DTC)/d",
    "steps": "(b) constant sizes: (TC + DTC)/K",
    "TC": "(c) TC sizes: rate TC",
    "TC steps": "(c) TC sizes: number of steps",
    "DTC": "(d) DTC sizes: rate DTC",
    "DTC steps": "(d) DTC sizes: number of steps",
    "independent clocks": "(e) ancestral grids: independent clocks",
    "law of sizes": "KL of the output law by F: fixed sizes",
    "law of grids": "KL of the output law by F: ancestral grids",
}


@dataclasses.dataclass(frozen=True)
class Case:
    """One bound held against the truth.

    Attributes:
        bound: which, a key of ``BOUNDS``.
        law: name of the oracle.
        plan: name of the plan or grid, with its steps.
        truth: what is bounded, nats (or steps).
        limit: the bound.
    """

    bound: str
    law: str
    plan: str
    truth: float
    limit: float

    @property
    def violated(self) -> bool:
        slack = ROUNDING_OF_LAWS if self.bound.startswith("law") else ROUNDING * (1 + abs(self.limit))
        return not self.truth <= self.limit + slack

    @property
    def ratio(self) -> float:
        """Truth over bound; NaN where there is nothing to bound."""
        return self.truth / self.limit if self.limit > 1e-4 else math.nan


def run(experiment: Experiment) -> Run:
    """Collect all cases, count violations, summarise how tight each bound is."""
    cases: list[Case] = []
    largest = 300 if experiment.quick else 1000
    for name, oracle in worlds(experiment.quick).items():
        found = experiment.part(name, lambda law=(name, oracle): of_world(*law, largest))
        cases += [Case(**case) for case in found]
    groups = collections.defaultdict(list)
    for case in cases:
        groups[case.bound].append(case)
    rows = [summary(bound, groups[bound]) for bound in BOUNDS]
    print(f"{'truth / bound':46}{'cases':>7}{'exceeded':>9}{'least':>8}{'median':>8}{'most':>8}  most at")
    for row in rows:
        print(
            f"{BOUNDS[row['bound']]:46}{row['cases']:7}{row['violated']:9}{row['least']:8.3f}{row['median']:8.3f}"
            f"{row['most']:8.3f}  {row['most_at']}"
        )
    violated = sum(row["violated"] for row in rows)
    loose = [row["bound"] for row in rows if row["most"] < TIGHT]
    print(
        f"{len(cases)} cases, {violated} exceeded; never within a factor of {1 / TIGHT:g}: {', '.join(loose) or 'none'}"
    )
    results = {
        "cases": len(cases),
        "exceeded": violated,
        "never_tight": loose,
        "bounds": rows,
        "by_law": by_law(cases),
        "exceeded_cases": [dataclasses.asdict(case) for case in cases if case.violated],
    }
    return Run(results, picture(groups))


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """No bound may be exceeded; each should be near the truth somewhere."""
    exceeded, loose, rows = results["exceeded"], results["never_tight"], results["bounds"]
    least = min(rows, key=lambda row: row["most"])
    return Conclusion(
        "does not" if exceeded else "partly" if loose else "holds",
        f"{exceeded} of {results['cases']:,} cases exceed a bound; every bound comes to at least "
        f"{least['most']:.2f} of the truth somewhere",
        {
            "cases": results["cases"],
            "cases that exceed a bound": exceeded,
            "bounds never within a factor of two": len(loose),
            "the loosest bound's greatest ratio of truth to bound": least["most"],
            **{f"median of truth over bound, {row['formula']}": row["median"] for row in rows},
        },
        f"{results['cases']:,} cases, {len(results['by_law'])} laws",
    )


def of_world(name: str, oracle: Oracle, largest: int) -> list[Case]:
    """All cases of a law; that of the sampler's output only where it has at most so many states."""
    profile = profiles.from_values(oracle.entropies())
    cases = [*of_sizes(name, profile, oracle.vocab_size), *of_rates(name, profile), *of_grids(name, profile)]
    small = (oracle.vocab_size + 1) ** oracle.length <= largest
    return [*cases, *of_laws(name, oracle, profile)] if small else cases


def worlds(quick: bool) -> dict[str, Oracle]:
    """Laws of many shapes: long ones in closed form, short ones by tables."""
    rng = np.random.default_rng(0)
    length = 32 if quick else 128
    found: dict[str, Oracle] = {
        "toy_left": oracles.toy_left(),
        "toy_right": oracles.toy_right(),
        f"all {length} bits equal, nearly": oracles.polya(length, 1e-3),
        f"polya 0.5, {length}": oracles.polya(length, 0.5),
        f"polya 3, {length}": oracles.polya(length, 3),
        f"markov 0.02, {length}": oracles.from_spec(f"markov:0.02,{length}"),
        f"markov 0.2, {length}": oracles.from_spec(f"markov:0.2,{length}"),
        f"markov of 4 tokens, {length}": oracles.markov(rng.dirichlet(np.full(4, 0.3), 4), length),
        "binsaw, 12": oracles.binsaw(12, saws=1, shifts=64),
        "mixture of 3, 8 tokens of 3": oracles.mixture(np.full(3, 1 / 3), rng.dirichlet(np.full(3, 0.3), (3, 8))),
        "even parity, 6": oracles.table(parity(6)),
    }
    shapes = [(4, 2)] if quick else [(4, 2), (6, 2), (3, 3), (3, 5)]
    for (tokens, vocab_size), seed, spread in itertools.product(shapes, range(1 if quick else 4), (0.1, 1.0)):
        law = np.random.default_rng(seed).dirichlet(np.full(vocab_size**tokens, spread))
        name = f"random table {tokens} of {vocab_size}, spread {spread:g}, seed {seed}"
        found[name] = oracles.table(law, vocab_size)
    return found


def parity(length: int) -> np.ndarray:
    """All sequences of bits with an even number of ones, equally likely: nothing is known before the last bit."""
    even = np.indices((2,) * length).sum(axis=0) % 2 == 0
    return even / even.sum()


def budgets(length: int) -> list[int]:
    """All numbers of steps of a short sequence; powers of two, and others between them, of a long one."""
    if length <= 8:
        return list(range(1, length))
    return sorted({n for k in range(length.bit_length() - 1) for n in (2**k, 3 * 2**k) if n < length})


def sized_plans(profile: Profile) -> Iterator[plans.Plan]:
    """Plans of several rules for every budget."""
    best, beta = plans.optimal_for_every_budget(profile, profile.length - 1), schedules.beta(0.9, 0.3)
    for steps in budgets(profile.length):
        yield plans.uniform(profile.length, steps)
        yield best.plan(steps)
        yield plans.square_root(profile, steps)
        yield plans.from_schedule(beta, profile.length, steps)
        yield plans.total_correlation_plan(profile, steps=steps)
        yield plans.dual_total_correlation_plan(profile, steps=steps)


def of_sizes(law: str, profile: Profile, vocab_size: int) -> Iterator[Case]:
    """(a) for all plans, (b) for equal sizes."""
    both = total_correlation(profile) + dual_total_correlation(profile)
    for plan in sized_plans(profile):
        truth = float(bounds.factorisation_error(profile, plan.sizes))
        name = f"{plan.name}, {plan.steps} steps"
        yield Case("any sizes", law, name, truth, float(bounds.any_sizes(profile, plan.sizes)))
        yield Case("vocabulary", law, name, truth, float((plan.sizes.max() - 1) * np.log(vocab_size)))
        if plan.name == "uniform":
            yield Case("constant sizes", law, name, truth, bounds.constant_sizes(profile, plan.steps))
            if profile.length % plan.steps == 0:
                yield Case("steps", law, name, truth, both / plan.steps)


def of_rates(law: str, profile: Profile) -> Iterator[Case]:
    """(c) and (d), the errors and the numbers of steps."""
    for rate in RATES:
        tc, dtc = total_correlation(profile), dual_total_correlation(profile)
        for name, plan, limit, steps in (
            (
                "TC",
                plans.total_correlation_plan(profile, nats=rate * tc),
                bounds.tc_schedule(profile, rate),
                bounds.tc_schedule_steps(profile.length, rate),
            ),
            (
                "DTC",
                plans.dual_total_correlation_plan(profile, nats=rate * dtc),
                bounds.dtc_schedule(profile, rate),
                bounds.dtc_schedule_steps(profile.length, rate),
            ),
        ):
            truth = float(bounds.factorisation_error(profile, plan.sizes))
            yield Case(name, law, f"rate {rate:g}", truth, limit)
            yield Case(f"{name} steps", law, f"rate {rate:g}", plan.steps, steps)


def ancestral_grids(profile: Profile) -> Iterator[grids.Grid]:
    """Grids of several rules for some budgets."""
    for steps in (1, 2, 4, 8, 16):
        yield grids.uniform(steps)
        yield grids.geodesic(profile, steps)
        yield grids.from_schedule(schedules.sine_squared(), steps)
        yield grids.optimal(profile, steps)
        if steps > 2:  # equal steps in the log-odds between the ends, 1/d of the tokens left for each of these
            odds = np.linspace(-1, 1, steps - 1) * np.log(max(profile.length - 1, 2))
            yield grids.Grid(np.concatenate([[0.0], 1 / (1 + np.exp(-odds)), [1.0]]), name="equal log-odds")


def of_grids(law: str, profile: Profile) -> Iterator[Case]:
    """(e) for ancestral grids."""
    for grid in ancestral_grids(profile):
        truth = grids.ancestral_nelbo(profile, grid) - profile.nelbo()
        limit = bounds.independent_clocks(profile, grid.fractions)
        yield Case("independent clocks", law, f"{grid.name}, {grid.steps} steps", truth, limit)


def of_laws(law: str, oracle: Oracle, profile: Profile) -> Iterator[Case]:
    """The divergence of the actual output law from the target, at most the error of the profile."""
    logits = exact.conditionals(oracle.denoiser, oracle.params, oracle.length)
    target = oracles.tabulate(oracle).probabilities
    for plan in sized_plans(profile):
        truth = float(exact.kl_divergence(target, exact.random_order_law(logits, plan.sizes)))
        limit = float(bounds.factorisation_error(profile, plan.sizes))
        yield Case("law of sizes", law, f"{plan.name}, {plan.steps} steps", truth, limit)
    for grid in (grids.uniform(2), grids.optimal(profile, 2), grids.from_schedule(schedules.sine_squared(), 2)):
        truth = float(exact.kl_divergence(target, exact.ancestral_law(logits, grid.fractions)))
        limit = grids.ancestral_nelbo(profile, grid) - profile.nelbo()
        yield Case("law of grids", law, f"{grid.name}, {grid.steps} steps", truth, limit)


def summary(bound: str, cases: list[Case]) -> dict[str, Any]:
    """How tight one bound is."""
    ratios = np.array([case.ratio for case in cases])
    most = cases[int(np.nanargmax(ratios))]
    return {
        "bound": bound,
        "formula": BOUNDS[bound],
        "cases": len(cases),
        "violated": sum(case.violated for case in cases),
        "least": max(float(np.nanmin(ratios)), 0.0),  # roundings of an error of zero
        "median": float(np.nanmedian(ratios)),
        "most": float(np.nanmax(ratios)),
        "most_at": f"{most.law}: {most.plan}",
    }


def by_law(cases: list[Case]) -> dict[str, dict[str, float]]:
    """The median ratio of every bound for every law (where there is any)."""
    found: dict[str, dict[str, list[float]]] = collections.defaultdict(lambda: collections.defaultdict(list))
    for case in cases:
        if not math.isnan(case.ratio):
            found[case.law][case.bound].append(case.ratio)
    return {
        law: {bound: float(np.median(r)) for bound, r in bound_ratios.items()} for law, bound_ratios in found.items()
    }


def picture(groups: dict[str, list[Case]]) -> Figure:
    """All ratios of each bound as dots, the median as a bar."""
    figure = Figure(figsize=(8.6, 4.2), layout="constrained")
    axes = figure.subplots()
    rng = np.random.default_rng(0)
    for place, bound in enumerate(BOUNDS):
        ratios = np.array([case.ratio for case in groups[bound]])
        ratios = ratios[~np.isnan(ratios)]
        height = place + rng.uniform(-0.3, 0.3, len(ratios))
        axes.plot(ratios, height, ".", ms=2.5, color="#1d6fb8", alpha=0.35, rasterized=True)
        axes.plot([np.median(ratios)] * 2, [place - 0.4, place + 0.4], color="#c2410c", lw=2)
    axes.axvline(1, color="#1d2730", lw=0.8)
    axes.set_yticks(range(len(BOUNDS)), list(BOUNDS.values()), fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.05)
    axes.set_xlabel("truth / bound (1: attained; orange: median)", fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
