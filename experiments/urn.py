"""Where tuning buys much: an urn, eight steps, equal sizes against optimal ones.

A row is a coin of unknown bias, from Beta(1/2, 1/2), thrown 128 times (a Polya urn). The denoiser is exact, so all that
a sampler loses is what its plan loses: tokens that are revealed together do not know one another. Its loss in nats per
row is exact (``sum_k n_k h(N_{k-1})`` less the entropy); the effect on samples is seen in the number of ones in a row,
which is spread widely in the data and too narrowly where the first tokens are revealed together.

When the claim was written the two losses at eight steps were known; how many equal steps lose as little was not.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from mdm_jax import oracles, sample
from mdm_jax.theory import plans, profiles, schedules

CLAIM = Claim(
    "on an urn of 128 tokens, eight steps of optimal sizes lose less than a quarter of what eight equal steps lose, "
    "and it takes at least four times as many equal steps to lose as little",
    source="ours, after arXiv 2510.25544; both losses at eight steps were known before",
    minutes=1,
)
LENGTH, STEPS = 128, 8
HAND_CRAFTED = ("sine", "sine_squared", "maskgit")


def run(experiment: Experiment) -> Run:
    """Exact losses at every number of steps, and the number of ones in rows that both plans draw."""
    rows = 64 if experiment.quick else 4_096
    urn = oracles.polya(LENGTH, 0.5)
    profile = profiles.from_values(urn.entropies())
    everything = plans.optimal_for_every_budget(profile)
    loss = {
        "optimal": [_loss(profile, urn, everything.plan(steps)) for steps in range(1, LENGTH + 1)],
        "equal": [_loss(profile, urn, plans.uniform(LENGTH, steps)) for steps in range(1, LENGTH + 1)],
    }
    best = everything.plan(STEPS)
    key = jax.random.key(CLAIM.seeds[0])
    drawn = {
        "an exact sampler": np.asarray(urn.sample(key, rows)),
        "equal sizes": _drawn(urn, plans.uniform(LENGTH, STEPS), rows, key),
        "optimal sizes": _drawn(urn, best, rows, key),
    }
    ones = {name: tokens.sum(axis=1) for name, tokens in drawn.items()}
    spreads = {name: _spread(counts) for name, counts in ones.items()}
    others = {
        name: _loss(profile, urn, plans.from_schedule(schedules.parse(name), LENGTH, STEPS)) for name in HAND_CRAFTED
    }
    results = {"loss": loss, "hand_crafted": others, "sizes": best.sizes, "spreads": spreads, "rows": rows}
    return Run(results, picture(drawn, loss))


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """Exact but for the spreads."""
    loss = results["loss"]
    equal, optimal = loss["equal"][STEPS - 1], loss["optimal"][STEPS - 1]
    as_good = 1 + next(index for index, value in enumerate(loss["equal"]) if value <= optimal)
    spreads = results["spreads"]
    holds = optimal < equal / 4 and as_good >= 4 * STEPS
    figures = {
        "nats lost, equal sizes": equal,
        "nats lost, optimal sizes": optimal,
        "equal steps that lose as little": as_good,
        "spread of ones, exact": spreads["an exact sampler"],
        "spread of ones, equal sizes": spreads["equal sizes"],
        "spread of ones, optimal sizes": spreads["optimal sizes"],
        **{f"nats lost, {name}": value for name, value in results["hand_crafted"].items()},
    }
    headline = (
        f"{STEPS} equal steps lose {equal:.2f} nats a row, the optimal {STEPS} lose {optimal:.2f} (exact); it takes "
        f"{as_good} equal steps to lose as little"
    )
    return Conclusion(
        "holds" if holds else "does not", headline, figures, f"exact; spreads by {results['rows']:,} rows each"
    )


def _loss(profile: profiles.Profile, urn: Any, plan: plans.Plan) -> float:
    return float(profile.expected_nelbo(plan.sizes) - urn.entropy())


def _drawn(urn: Any, plan: plans.Plan, rows: int, key: jax.Array) -> np.ndarray:
    return np.asarray(sample(urn.denoiser, urn.params, plan, rows=rows, key=key).tokens)


def _spread(counts: np.ndarray) -> list[float]:
    """The standard deviation over rows, and a 95% interval (1.96 standard errors from the fourth moment)."""
    deviation = counts - counts.mean()
    variance = float(np.mean(deviation**2))
    error = float(np.sqrt(max(np.mean(deviation**4) - variance**2, 0) / len(counts)) / (2 * np.sqrt(variance)))
    value = float(np.sqrt(variance))
    return [value, value - 1.96 * error, value + 1.96 * error]


def picture(drawn: Mapping[str, np.ndarray], loss: Mapping[str, list[float]]) -> Figure:
    """Rows of the three samplers, sorted by their number of ones; what plans lose against their number of steps."""
    figure = Figure(figsize=(8, 2.9), layout="constrained")
    panels = figure.subplots(1, 4, width_ratios=(1, 1, 1, 1.7))
    titles = {
        "an exact sampler": "data",
        "equal sizes": f"{STEPS} equal steps",
        "optimal sizes": f"{STEPS} optimal steps",
    }
    for axes, name in zip(panels, ("an exact sampler", "equal sizes", "optimal sizes"), strict=False):
        shown = drawn[name][:48]
        axes.imshow(shown[np.argsort(shown.sum(axis=1))], cmap="Blues", aspect="auto", interpolation="nearest")
        axes.set(xticks=(), yticks=())
        axes.set_title(titles[name], fontsize=9)
    panels[0].set_ylabel("48 rows of 128 tokens, by their sum", fontsize=8)
    axes = panels[3]
    steps = np.arange(1, LENGTH)
    for name, colour in (("equal", "tab:orange"), ("optimal", "tab:blue")):
        axes.loglog(steps, loss[name][:-1], color=colour, label=f"{name} sizes")
    axes.set_xticks((1, 2, 4, 8, 16, 32, 64, 127), ("1", "2", "4", "8", "16", "32", "64", "127"))
    axes.minorticks_off()
    axes.axvline(STEPS, color="grey", linewidth=0.5)
    axes.set_xlabel("steps (model calls)", fontsize=8)
    axes.set_title("nats lost per row", fontsize=9)
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=8, frameon=False)
    return figure
