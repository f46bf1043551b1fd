"""Do certificates and intervals of an advantage hold as often as they say? By simulation, where the truth is known.

*Certificates* (:func:`mdm_jax.plans.certify`). A profile of an exact law is measured, a plan for each of 1 to 8 steps
(in every fourth measurement 1 to 16) is chosen by its posterior, and its regret and its excess are bounded with
probability .95: each by itself, here for 2, 4 and 8 steps, and all at once. In every fourth measurement 8 equal steps
are certified too, a plan that was not chosen. The true regret and excess follow from the exact profile. How tight a
bound is: of the excess the median of bound / truth; of the regret, which may be 0, its median bound over its mean.

*Intervals* of what the optimal plan saves, in 4 and 8 steps, over the best Beta schedule and over equal steps
(``evaluation.advantages``). On a *test half* plans are chosen by a profile of some sequences and judged by as many
others; *cross-fitted*, each tenth of the sequences is judged by what the others chose. The true difference is that of
the plans which were chosen, by the exact profile. Comparisons of a plan with itself are left out.

Beside the five laws stand ``rare`` (few dear tokens; not in the claim, for the page of certificates says that they
fall short there) and ``independent``, of which no plan is better than another: whoever sees an advantage is wrong.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.special
from jaxtyping import Float, Int
from matplotlib.figure import Figure

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from experiments.tools.profile_laws import Law, every_law, laws
from mdm_jax.evaluation import judging
from mdm_jax.theory import plans, profiles
from mdm_jax.theory.plans import Plan, beta_search
from mdm_jax.theory.profiles import Profile, posterior_profile

CLAIM = Claim(
    "certificates of 95% hold in at least .95 of the measurements of each of five exact laws, for one budget and for "
    "all at once; 95% intervals of an advantage hold in at least .93; an advantage is seen in fewer than .05 of the "
    "cases where there is none; no cell falls short of .95 or .93 by three standard errors of the simulation",
    source="ours",
    minutes=16,
    seeds=(2100, 2101, 2102),
)
LEVEL, LEAST_OF_INTERVALS, MOST_CLAIMED = 0.95, 0.93, 0.05
ERRORS = 3
"""Standard errors of the simulation by which a cell may fall short."""
SIZES = {"64/8": (64, 8, 300), "512/64": (512, 64, 300), "4096/25": (4096, 25, 200), "4096/512": (4096, 512, 300),
         "16384/2000": (16384, 2000, 100)}  # fmt: skip
"""Of measurements: passes, sequences, and how many are made of each law: 1,200 in all."""
SEEDS_OF_RARE = 100
STEPS, WIDE, EVERY = (2, 4, 8), 16, 4
OF_INTERVALS = (4, 8)
ROWS = {"test half": {25: 250, 100: 200, 400: 200, 2000: 100}, "cross-fitted": {25: 150, 400: 100}}
"""Sequences that judge, and how many times: of each law 1,000 in all."""
RIVALS = ("best beta", "equal steps")
TINY = 1e-9


def run(experiment: Experiment) -> Run:
    """Certificates, law by law and size by size; then intervals."""
    quick = experiment.quick
    certificates: dict[str, Any] = {}
    for number, (name, law) in enumerate(list(every_law().items())[4 if quick else 0 :]):
        certificates[name] = {}
        for size, (passes, sequences, seeds) in list(SIZES.items())[: 1 if quick else None]:
            many = 4 if quick else min(seeds, SEEDS_OF_RARE) if name == "rare" else seeds
            certificates[name][size] = experiment.part(
                f"certificates of {name} {size}",
                lambda law=law, n=number, of=(passes, sequences, many): certificates_of(law, *of, n),
            )
    found: dict[str, Any] = {}
    for judged_on, sizes in ROWS.items():
        found[judged_on] = {}
        for rows, seeds in list(sizes.items())[: 1 if quick else None]:
            of_rows = found[judged_on][str(rows)] = {}
            for number, (name, law) in enumerate(laws_of_intervals(judged_on).items()):
                if quick and name not in ("table", "independent"):
                    continue
                of_rows[name] = experiment.part(
                    f"intervals of {name} {judged_on} {rows}",
                    lambda law=law, n=number, of=(judged_on, rows, 3 if quick else seeds): intervals_of(law, *of, n),
                )
    return Run({"certificates": certificates, "intervals": found}, picture(certificates, found))


def laws_of_intervals(judged_on: str) -> dict[str, Law]:
    """The five, one without any advantage, and on test halves the rare one."""
    others = {"independent": independent()}
    return {**(every_law() if judged_on == judging.TEST_HALF else laws()), **others}


@functools.cache
def independent(length: int = 64, one: float = 0.05) -> Law:
    """Bits that know nothing of each other: every plan costs the same."""

    def sample(rng: np.random.Generator, rows: int) -> np.ndarray:
        return (rng.random((rows, length)) < one).astype(np.int64)

    def costs(tokens: np.ndarray, orders: np.ndarray, counts: np.ndarray) -> np.ndarray:
        each = np.where(np.take_along_axis(tokens, orders, axis=1) == 1, -np.log(one), -np.log1p(-one))
        return np.cumsum(each[:, ::-1], axis=1)[:, ::-1][:, counts] / (length - counts)

    entropy = float(scipy.special.entr(one) + scipy.special.entr(1 - one))
    return Law("independent", length, np.full(length, entropy), sample, costs)


def certificates_of(law: Law, passes: int, sequences: int, seeds: int, number: int) -> dict[str, Any]:
    """Of one law and size: how many bounds held, and how much larger than the truth they are."""
    truth = profiles.from_values(law.profile)
    least = plans.optimal_for_every_budget(truth, min(WIDE, law.length)).nelbo
    places, equal = np.array(STEPS) - 1, plans.uniform(law.length, STEPS[-1])
    bounds, true, at_once, given = [], [], [], []  # [seeds, 2, steps] both
    for seed in range(seeds):
        rng = np.random.default_rng([2100, number, passes, sequences, seed])
        posterior = posterior_profile(law.measured(rng, passes, sequences))
        more = seed % EVERY == 0
        asked = range(1, 1 + (min(WIDE, law.length) if more else STEPS[-1]))
        found = plans.certify(posterior, list(asked))
        lost = losses(truth, found.plans, least)
        bounds.append(np.stack([found.regret_nats, found.excess_nats])[:, places])
        true.append(lost[:, places])
        at_once.append([bool(np.all(one <= bound + TINY)) for one, bound in zip(lost, found.uniform)])
        if more:
            of_equal = plans.certify(posterior, STEPS[-1], plan=equal)
            its = losses(truth, [equal], least[STEPS[-1] - 1 :])[:, 0]
            given.append(its <= np.array([of_equal.regret_nats[0], of_equal.excess_nats[0]]) + TINY)
    bounded, lost_each = np.stack(bounds), np.stack(true)
    held = (lost_each <= bounded + TINY).sum(axis=0)
    regret_mean = lost_each[:, 0].mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        regret_times = np.where(regret_mean > TINY, np.median(bounded[:, 0], axis=0) / regret_mean, np.nan)
    return {
        "seeds": seeds,
        "regret": held[0].tolist(),
        "excess": held[1].tolist(),
        "at_once": np.sum(at_once, axis=0).tolist(),
        "given": [len(given), *np.sum(given, axis=0).tolist()],
        "regret_times": [round(float(one), 2) for one in regret_times],
        "excess_times": [round(float(one), 2) for one in np.median(bounded[:, 1] / lost_each[:, 1], axis=0)],
    }


def losses(
    truth: Profile, chosen: Sequence[Plan], least: Float[np.ndarray, " budgets"]
) -> Float[np.ndarray, "2 budgets"]:
    """The true regret and the true excess of each plan, nats."""
    costs = np.array([float(truth.expected_nelbo(plan.sizes)) for plan in chosen])
    return np.stack([np.maximum(costs - least[: len(costs)], 0.0), costs - truth.nelbo()])


def intervals_of(law: Law, judged_on: str, rows: int, seeds: int, number: int) -> dict[str, list[int]]:
    """Of each rival: comparisons of plans that differ; intervals that hold the truth; of comparisons without an
    advantage how many there are, and in how many one is seen; and in how many one is seen in all."""
    truth, found = profiles.from_values(law.profile), {rival: np.zeros(5, np.int64) for rival in RIVALS}
    by_role = dict(zip(judging.ROLES[1:], RIVALS))
    passes = 512 if rows < 100 else 4096
    for seed in range(seeds):
        rng = np.random.default_rng([2101 if judged_on == judging.TEST_HALF else 2102, number, rows, seed])
        measured = law.measured(rng, passes, rows)
        if judged_on == judging.TEST_HALF:
            chosen = choice(measured)
            parts = [(slice(None), chosen)]
            costs = {steps: costs_on(law, rng, rows, by) for steps, by in chosen.items()}
        else:
            parts = list(folds_of(measured))
            costs = {k: {role: np.zeros(rows) for role in judging.ROLES} for k in OF_INTERVALS}
            for here, chosen in parts:
                for steps, by in chosen.items():
                    for role, plan in by.items():
                        costs[steps][role][here] = measured.row_costs(plan.sizes)[here]
        for one in judging.advantages(result_of(measured, parts[0][1]), costs, judged_on):
            role, steps = one["role"], one["steps"]
            pairs = [(by[steps][role], by[steps][judging.ROLES[0]]) for _, by in parts]
            if all(np.array_equal(rival.sizes, mine.sizes) for rival, mine in pairs):
                continue
            weights = [len(np.arange(rows)[here]) / rows for here, _ in parts]
            saved = sum(
                weight * float(truth.expected_nelbo(rival.sizes) - truth.expected_nelbo(mine.sizes))
                for weight, (rival, mine) in zip(weights, pairs)
            )
            covered, none, seen = one["low"] - TINY <= saved <= one["high"] + TINY, saved <= TINY, one["low"] > 0
            found[by_role[role]] += np.array([1, covered, none, none and seen, seen], np.int64)
    return {rival: numbers.tolist() for rival, numbers in found.items()}


def choice(measured: Profile) -> dict[int, dict[str, Plan]]:
    """The plan of each role at each budget, chosen as ``tune`` and cross-fitting do; the hand-crafted one is linear."""
    believed = posterior_profile(measured).profile
    search = beta_search.quick_search(believed, list(OF_INTERVALS))
    return judging.choose(believed, OF_INTERVALS, {k: search.plan(k) for k in OF_INTERVALS}, ["linear"])


def folds_of(measured: Profile) -> Iterator[tuple[Int[np.ndarray, " fold"], dict[int, dict[str, Plan]]]]:
    """The rows of each fold of ``evaluation.cross_fitted``, and what the others chose (a test compares the costs)."""
    assert measured.shares is not None
    rows = len(measured.shares)
    folds = min(judging.FOLDS, rows // 2)
    mine = np.random.default_rng(0).permutation(rows) % folds
    for fold in range(folds):
        others = profiles.from_rows(measured.length, measured.counts, measured.shares[mine != fold])
        yield np.flatnonzero(mine == fold), choice(others)


def costs_on(law: Law, rng: np.random.Generator, rows: int, by_role: Mapping[str, Plan]) -> dict[str, np.ndarray]:
    """What fresh sequences cost by the plan of each role, each along one order, the same for all plans."""
    starts = {role: np.cumsum(plan.sizes) - plan.sizes for role, plan in by_role.items()}
    counts = np.unique(np.concatenate(list(starts.values())))
    values = law.rows(rng, rows, counts)
    return {role: values[:, np.searchsorted(counts, starts[role])] @ plan.sizes for role, plan in by_role.items()}


def result_of(measured: Profile, chosen: Mapping[int, Mapping[str, Plan]]) -> dict[str, Any]:
    """As much of ``tuning.json`` as ``advantages`` looks at."""
    budgets = [
        {"steps": steps, "plans": [{"role": role, "plan": {"name": plan.name}} for role, plan in by.items()]}
        for steps, by in chosen.items()
    ]
    return {"budgets": budgets, "optimal_nats": plans.optimal_for_every_budget(measured, max(chosen)).nelbo.tolist()}


def falls_short(held: float, of: float, wanted: float, each: int = 1) -> bool:
    """Whether so few of so many, ``each`` of one measurement, are clearly fewer than the wanted share."""
    return held / of < wanted - ERRORS * np.sqrt(wanted * (1 - wanted) / (of / each))


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """Shares that held, cell by cell, law by law and size by size."""
    certificates, figures = results["certificates"], {}
    five = {law: sizes for law, sizes in certificates.items() if law != "rare"}
    cells = [
        (held, cell["seeds"]) for sizes in five.values() for cell in sizes.values()
        for held in (*cell["regret"], *cell["excess"], *cell["at_once"])
    ]  # fmt: skip
    cells += [(held, cell["given"][0]) for sizes in five.values() for cell in sizes.values()
              for held in cell["given"][1:]]  # fmt: skip
    pooled = {kind: [share(sizes.values(), kind) for sizes in five.values()] for kind in ("regret", "excess", "once")}
    short = sum(falls_short(held, of, LEVEL) for held, of in cells)
    figures |= {
        f"certificates: {name}, held, and least and most of a law": [float(np.mean(of)), min(of), max(of)]
        for name, of in zip(("regret", "excess", "all at once"), pooled.values())
    }
    figures |= {
        "certificates: equal steps, held": share(every(five), "given"),
        "certificates: worst cell": min(held / of for held, of in cells),
        "certificates: cells": len(cells),
        "certificates: cells below .95": sum(held / of < LEVEL for held, of in cells),
        "certificates: cells clearly below .95": short,
    }
    if "rare" in certificates:
        figures["certificates: rare, regret, held"] = share(certificates["rare"].values(), "regret")
        figures["certificates: rare, excess, held"] = share(certificates["rare"].values(), "excess")
        figures |= {
            f"certificates: rare, excess, held at {size}": share([cell], "excess")
            for size, cell in certificates["rare"].items()
        }
    for kind in ("regret", "excess"):
        for size in next(iter(five.values())):
            times = [one for sizes in five.values() for one in sizes[size][f"{kind}_times"] if one is not None]
            if times:
                figures[f"bound over truth: {kind} at {size}, median of laws and steps"] = float(np.median(times))
        times = [one for cell in every(five) for one in cell[f"{kind}_times"] if one is not None]
        figures[f"bound over truth: {kind}"] = [float(np.median(times)), min(times), max(times)] if times else 0.0
    covered, claimed, clear, of_intervals = [], [], 0, 0
    for judged_on, sizes in results["intervals"].items():
        for rows, by_law in sizes.items():
            mine = {law: np.sum(list(by.values()), axis=0) for law, by in by_law.items() if law != "rare"}
            every_law_of_it = np.sum(list(mine.values()), axis=0)
            covered.append(every_law_of_it[1] / max(every_law_of_it[0], 1))
            claimed.append(every_law_of_it[3] / max(every_law_of_it[2], 1))
            each = len(OF_INTERVALS)
            of_intervals += sum(bool(one[0]) for law in mine for one in by_law[law].values())
            clear += sum(
                falls_short(one[1], one[0], LEAST_OF_INTERVALS, each)
                for by in (by_law[law] for law in mine) for one in by.values() if one[0]
            )  # fmt: skip
            shares = [float(one[1] / one[0]) for one in mine.values() if one[0]]
            figures[f"intervals: {judged_on}, {rows} sequences, held"] = [float(covered[-1]), min(shares), max(shares)]
            figures[f"intervals: {judged_on}, {rows} sequences, seen where there is none"] = float(claimed[-1])
            if "rare" in by_law:
                of_rare = np.sum(list(by_law["rare"].values()), axis=0)
                figures[f"intervals: rare, {rows} sequences, held"] = float(of_rare[1] / max(of_rare[0], 1))
    compared = totals(results["intervals"])
    for judged_on, sizes in results["intervals"].items():
        mine = totals({judged_on: sizes})
        figures[f"intervals: {judged_on}, held"] = float(mine[1] / max(mine[0], 1))
    figures |= {
        "intervals: held": float(compared[1] / max(compared[0], 1)),
        "intervals: compared": int(compared[0]),
        "intervals: cells": of_intervals,
        "intervals: cells clearly below .93": clear,
        "intervals: without an advantage": int(compared[2]),
        "intervals: of which an advantage is seen": float(compared[3] / max(compared[2], 1)),
    }
    parts = [
        short == 0 and min(one for of in pooled.values() for one in of) >= LEVEL,
        clear == 0 and min(covered) >= LEAST_OF_INTERVALS,
        max(claimed) < MOST_CLAIMED,
    ]
    return Conclusion(
        "holds" if all(parts) else "partly" if any(parts) else "does not",
        f"certificates held in {np.mean(pooled['regret']):.3f} (regret), {np.mean(pooled['excess']):.3f} (excess) and "
        f"{np.mean(pooled['once']):.3f} (all at once), {short} of {len(cells)} cells clearly below .95; intervals in "
        + ", ".join(
            f"{figures[f'intervals: {judged_on}, held']:.3f} ({judged_on})" for judged_on in results["intervals"]
        )
        + f", {clear} of {of_intervals} cells clearly below .93; an advantage is seen in "
        f"{compared[3] / max(compared[2], 1):.3f} of {compared[2]:,} cases without one",
        figures,
        f"{sum(cell['seeds'] for cell in every(five)):,} measurements of {len(five)} laws; {compared[0]:,} intervals",
    )


def every(by_law: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    """All cells."""
    return [cell for sizes in by_law.values() for cell in sizes.values()]


def share(cells: Any, kind: str) -> float:
    """What share of the bounds of a kind held, over cells."""
    if kind == "given":
        return float(sum(sum(cell["given"][1:]) for cell in cells) / sum(2 * cell["given"][0] for cell in cells))
    name = "at_once" if kind == "once" else kind
    return float(sum(sum(cell[name]) for cell in cells) / sum(len(cell[name]) * cell["seeds"] for cell in cells))


def totals(intervals: Mapping[str, Any]) -> np.ndarray:
    """The five numbers of all comparisons, but those of the rare law."""
    return np.sum(
        [by[rival] for sizes in intervals.values() for by_law in sizes.values() for law, by in by_law.items()
         if law != "rare" for rival in by],
        axis=0,
    )  # fmt: skip


COLOURS = {"urn": "#1d6fb8", "chain": "#c2410c", "mixture": "#2f855a", "checksums": "#6b7280", "table": "#a78bfa",
           "rare": "#be185d", "independent": "#0f172a"}  # fmt: skip


def picture(certificates: Mapping[str, Any], intervals: Mapping[str, Any]) -> Figure:
    """What share held: of certificates by size, of intervals by sequences; and how tight bounds are."""
    figure = Figure(figsize=(10, 3), layout="constrained")
    axes = figure.subplots(1, 4)
    for law, sizes in certificates.items():
        names = list(sizes)
        for panel, kind, style in ((axes[0], "regret", "o-"), (axes[1], "excess", "o-")):
            shares = [share([cell], kind) for cell in sizes.values()]
            panel.plot(names, shares, style, color=COLOURS[law], ms=3, lw=1, label=law)
        times = [float(np.median([one for one in cell["excess_times"] if one is not None])) for cell in sizes.values()]
        axes[2].plot(names, times, "o-", color=COLOURS[law], ms=3, lw=1)
    for judged_on, sizes in intervals.items():
        for law in next(iter(sizes.values())):
            sums = {rows: np.sum(list(by_law[law].values()), axis=0) for rows, by_law in sizes.items()}
            drawn = {int(rows): one[1] / one[0] for rows, one in sums.items() if one[0]}
            style = "o-" if judged_on == judging.TEST_HALF else "x:"
            axes[3].plot(list(drawn), list(drawn.values()), style, color=COLOURS[law], ms=3, lw=1)
    for panel, title, wanted in zip(
        axes,
        ("certificates: regret held", "excess held", "bound of the excess / truth", "intervals held (x: cross-fitted)"),
        (LEVEL, LEVEL, 1.0, LEAST_OF_INTERVALS),
    ):
        panel.axhline(wanted, color="#9ca3af", lw=0.7)
        panel.set_title(title, fontsize=8)
        panel.tick_params(labelsize=6)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in axes[:3]:
        panel.tick_params(axis="x", rotation=40)
        panel.set_xlabel("passes/sequences", fontsize=7)
    axes[2].set_yscale("log")
    axes[3].set_xscale("log")
    axes[3].set_xlabel("sequences", fontsize=7)
    axes[0].legend(fontsize=6, frameon=False)
    return figure
