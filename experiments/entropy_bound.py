"""The entropy bound (EB-Sampler, arXiv 2505.24857): how many model calls does it save, and against whom?

Each step of ``presets.eb(bound)`` reveals, least entropy first, as many positions as their entropies allow. Its rivals
spend fixed numbers of model calls: random order with the sizes that cost least (the dynamic programme on the law's own
profile), and what public code does, the least entropy or the largest probability first in equal sizes.

* Small worlds, no noise: the divergence KL(target || law of the sampler), and the expected number of calls, exactly.
  The law by rules that are functions of the partial state is computed twice (:mod:`mdm_jax.evaluation.exact`, and
  with the number of model calls here), and held against the rule's own promise, ``bound x E[steps that reveal two or
  more]``.
* Oracles of length 64: the same divergence by exact samples, teacher-forced through the very rule, common to all
  samplers; the reverse divergence ``E_q[log q - log p]`` of the sampler's own samples; and their mean true
  log-probability, which lies above that of the law itself where a sampler draws too little.
* Trained models: held-out bits per token along the sampler's path (no sampler earns anything there by drawing little),
  and the tasks' scores of samples beside their own entropy.

In random order the path's divergence is an upper bound of the law's (not in the small worlds, where the law itself is
judged), so comparisons with it lean towards the bound's favour.

Model calls at equal quality: straight lines between the rivals' budgets. A saving is the rival's over the bound's;
bounds that reveal hardly anything together (97 % of the length in calls, or more) are left out of it, and those better
than any budget measured of the rival. Where the rival's smallest budget is better already, that budget counts.

Claimed before measuring: at equal quality the entropy bound needs at most half the calls of either rival, random order
with optimal sizes and entropy order with equal sizes (medians over bounds, in more than half of all laws and models).
Partly: at most 1 / 1.2 of them.
"""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from experiments.tools.judging import (
    Summary,
    choice_of,
    forced_path,
    in_batches,
    judged,
    model_of,
    nfe_at,
    summary,
)
from mdm_jax import oracles
from mdm_jax.evaluation import estimate_profile, exact, path_nelbo
from mdm_jax.models.denoiser import Denoiser, Params
from mdm_jax.oracles import Mixture, Oracle
from mdm_jax.sampling import presets, rules
from mdm_jax.sampling.readings import negative_entropy
from mdm_jax.theory import plans
from mdm_jax.theory.profiles import Profile, from_values

CLAIM = Claim(
    "at equal quality the entropy bound needs at most half the calls of random order with optimal sizes and of entropy "
    "order with equal sizes (the median over laws and models of the saving over the better of the two is at least 2; "
    "partly: 1.2)",
    source="arXiv 2505.24857",
    minutes=15,
    seeds=(0, 1, 2, 3, 4, 5),
    needs={"sklearn": "digits"},
)
EB, RANDOM, ENTROPY, PROBABILITY = "entropy bound", "random, optimal sizes", "least entropy", "largest probability"
RIVALS = (RANDOM, ENTROPY, PROBABILITY)
JUDGED = (RANDOM, ENTROPY)
SHORT = {RANDOM: "random", ENTROPY: "least entropy"}
HALF, SOME = 2.0, 1.2
IDLE = 0.97
"""Bounds that need more than this share of the length in calls save nothing worth a comparison: they are left out."""
BOUNDS_SMALL = (0.0, 0.003, 0.01, 0.03, 0.1, 0.2, 0.4, 0.8, 1.6)
BOUNDS_LONG = (0.1, 0.3, 1.0, 3.0, 8.0)
ROWS_LONG = 256
BUDGETS_LONG = (2, 4, 8, 16, 32, 64)
BOUNDS_MODELS = {"text": (0.3, 1.0, 4.0, 12.0), "code": (0.3, 1.0, 4.0, 12.0), "digits": (0.3, 1.0, 4.0, 12.0)}
BUDGETS_MODELS = (8, 16, 32, 64)
ROWS_MODELS = {"text": 32, "code": 32, "digits": 64}
_STYLE = {
    EB: ("#c2410c", "o", "-"),
    RANDOM: ("#111111", "s", "--"),
    ENTROPY: ("#1d6fb8", "^", "-."),
    PROBABILITY: ("#2e8059", "x", ":"),
}


def small_worlds() -> dict[str, Oracle]:
    """Laws whose every state can be listed."""
    rng = np.random.default_rng(0)
    chain, parts = rng.dirichlet(np.full(3, 0.3), 3), rng.dirichlet(np.full(3, 0.3), (3, 6))
    return {
        "markov 0.1, 8 bits": oracles.from_spec("markov:0.1,8"),
        "markov of 3 tokens, 6": oracles.markov(chain, 6),
        "polya 0.5, 8 bits": oracles.from_spec("polya:0.5,8"),
        "mixture of 3, 6 of 3": oracles.mixture(np.full(3, 1 / 3), parts),
        "random table 6 of 3, spread 0.1": oracles.table(rng.dirichlet(np.full(729, 0.1)), 3),
        "random table 6 of 3, spread 1": oracles.table(rng.dirichlet(np.full(729, 1.0)), 3),
        "random table 8 bits, spread 0.1": oracles.table(rng.dirichlet(np.full(256, 0.1)), 2),
    }


def long_worlds() -> dict[str, Oracle]:
    """Laws of 64 tokens that are known in closed form."""
    chain = np.full((4, 4), 0.04) + 0.84 * np.roll(np.eye(4), 1, axis=1)
    return {
        "Markov chain": oracles.markov(chain, 64),
        "Polya urn": oracles.polya(64, 0.5),
        "binsaw": oracles.binsaw(64),
    }


def walk(conditionals: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, float, float]:
    """The law of choosing by state, the expected number of steps, and of those that reveal two or more; float64."""
    states, length, vocab = conditionals.shape
    tokens = exact.all_states(length, vocab)
    masked, place = tokens == vocab, (vocab + 1) ** np.arange(length - 1, -1, -1)
    mass, steps, several = np.zeros(states), 0.0, 0.0
    mass[-1] = 1.0
    for state in np.argsort(-masked.sum(axis=1), kind="stable"):
        if mass[state] == 0 or not masked[state].any():
            continue
        where = np.flatnonzero(chosen[state])
        steps += mass[state]
        several += mass[state] * (len(where) > 1)
        after, chance = np.array([state]), np.array([mass[state]])
        for j in where:
            after = (after[:, None] + (np.arange(vocab) - vocab) * place[j]).reshape(-1)
            chance = (chance[:, None] * conditionals[state, j]).reshape(-1)
        mass[after] += chance
    return mass[~masked.any(axis=1)], float(steps), float(several)


def divergence(target: np.ndarray, law: np.ndarray) -> float:
    """KL(target || law) in nats, float64, of laws that both sum to 1 up to rounding."""
    here = target > 1e-30  # float32 laws hold no smaller numbers
    return float(np.sum(target[here] * np.log(target[here] / (law[here] / law.sum()))))


def small(oracle: Oracle, bounds: tuple[float, ...]) -> dict[str, Any]:
    """Curves of one small world: model calls and divergence, exact."""
    length, vocab = oracle.length, oracle.vocab_size
    logits = exact.conditionals(oracle.denoiser, oracle.params, length)
    target = np.asarray(oracles.tabulate(oracle).probabilities).reshape(-1)
    open_ = exact.all_states(length, vocab) == vocab
    law = np.where(open_[:, :, None], np.exp(np.asarray(logits, np.float64)), 0)
    law = law / np.maximum(law.sum(axis=-1, keepdims=True), 1e-300)
    profile = from_values(oracle.entropies())
    curves: dict[str, Any] = {EB: [], **{name: [] for name in RIVALS}}
    promise_kept, disagreement = True, 0.0
    for bound in bounds:
        chosen = np.asarray(choice_of(rules.entropy_bounded(bound), logits, jnp.asarray(open_, jnp.int32), open_))
        mine, nfe, several = walk(law, chosen)
        theirs = np.asarray(exact.selective_law(logits, jnp.asarray(chosen)))
        disagreement = max(disagreement, float(np.abs(mine - theirs).sum()) / 2)
        cost = max(divergence(target, mine), 0.0)
        promise_kept &= cost <= bound * several + 1e-5
        curves[EB].append({"bound": bound, "nfe": nfe, "cost": cost, "promised": bound * several})
    for steps in range(1, length + 1):
        best, equal = plans.optimal(profile, steps).sizes, plans.uniform(length, steps).sizes
        sized = {
            RANDOM: exact.random_order_law(logits, best),
            ENTROPY: exact.adaptive_law(logits, "entropy", equal),
            PROBABILITY: exact.adaptive_law(logits, "probability", equal),
        }
        for name, values in sized.items():
            used = len(best) if name == RANDOM else steps
            cost = max(divergence(target, np.asarray(values, np.float64)), 0.0)
            curves[name].append({"nfe": used, "cost": cost if steps < length else 0.0})
    return {
        "length": length,
        "curves": curves,
        "promise_kept": promise_kept,
        "two_ways_of_the_law_differ_by": disagreement,
    }


def samplers(length: int, profile: Profile, bounds: tuple[float, ...], budgets: tuple[int, ...]) -> Any:
    """Name, setting, plan or rule of everything that is compared at one length."""
    yield from ((EB, bound, presets.eb(bound)) for bound in bounds)
    for steps in (k for k in budgets if k <= length):
        equal = plans.uniform(length, steps)
        yield RANDOM, steps, plans.optimal(profile, steps)
        yield ENTROPY, steps, rules.surest(equal, negative_entropy)
        yield PROBABILITY, steps, rules.surest(equal)


def cost_of(denoiser: Denoiser, params: Params, sampler: Any, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``-log q`` of given rows along the sampler's path, nats, and the model calls of each."""
    if isinstance(sampler, plans.Plan):
        cost = path_nelbo(denoiser, params, tokens, [sampler], key=jax.random.key(5), progress=False)
        return np.asarray(cost, np.float64)[0], np.full(len(tokens), sampler.steps)
    log_q, nfe = forced_path(denoiser, params, sampler, tokens)
    return -log_q, nfe


def long(oracle: Oracle, quick: bool) -> dict[str, Any]:
    """Curves of an oracle of length 64, by samples."""
    rows = 16 if quick else ROWS_LONG
    key = jax.random.key(1)
    truth = np.asarray(oracle.sample(key, rows))
    log_p = oracle.log_prob(truth)
    if isinstance(oracle, Mixture):  # no closed form: by sequences of its own
        more = np.asarray(oracle.sample(jax.random.key(4), 1024))
        entropy = -float(np.mean(oracle.log_prob(more)))
        profile = estimate_profile(
            oracle.denoiser, oracle.params, more, 16 * len(more), key=jax.random.key(0), progress=False
        )
    else:
        entropy, profile = oracle.entropy(), from_values(oracle.entropies())
    bounds, budgets = ((0.3,), (8,)) if quick else (BOUNDS_LONG, BUDGETS_LONG)
    curves: dict[str, list[dict[str, Any]]] = {EB: [], **{name: [] for name in RIVALS}}
    for name, setting, sampler in samplers(oracle.length, profile, bounds, budgets):
        if quick and name not in (EB, RANDOM):
            continue
        cost, nfe = cost_of(oracle.denoiser, oracle.params, sampler, truth)
        drawn = in_batches(oracle.denoiser, oracle.params, sampler, oracle.length, rows, jax.random.key(2), batch=rows)
        mine = oracle.log_prob(drawn.tokens)
        gap = summary(log_p + cost)
        curves[name].append(
            {
                "setting": setting,
                "nfe": float(np.mean(nfe)),
                "nfe_of_samples": float(np.mean(drawn.nfe)),
                "cost": gap.mean,
                "cost_error": gap.error,
                "reverse": summary(drawn.log_prob - mine),
                "log_prob_less_that_of_the_law": Summary(float(np.mean(mine)) + entropy, summary(mine).error),
            }
        )
    return {"length": oracle.length, "curves": curves, "rows": rows, "entropy": entropy}


def model(spec: str, quick: bool) -> dict[str, Any]:
    """Curves of a trained model: held-out cost along paths, samples' scores and entropies."""
    denoiser, params, task = model_of(spec, quick)
    length = task.length
    rows = 4 if quick else ROWS_MODELS[spec]
    bounds, budgets = ((4.0,), (8,)) if quick else (BOUNDS_MODELS[spec], BUDGETS_MODELS)
    encodings = len(task.validation) if quick else 768
    profile = estimate_profile(
        denoiser, params, task.validation, encodings, key=jax.random.key(0), progress=False, estimator="increments"
    )
    test, bit = task.test[:rows], np.log(2) * length
    curves: dict[str, list[dict[str, Any]]] = {EB: [], **{name: [] for name in RIVALS}}
    base: np.ndarray | None = None
    for name, setting, sampler in samplers(length, profile, bounds, budgets):
        if quick and name != EB:
            continue
        cost, nfe = cost_of(denoiser, params, sampler, test)
        base = cost if base is None else base
        drawn = in_batches(denoiser, params, sampler, length, rows, jax.random.key(3))
        values = judged(task, drawn.tokens)
        curves[name].append(
            {
                "setting": setting,
                "nfe": float(np.mean(nfe)),
                "nfe_of_samples": float(np.mean(drawn.nfe)),
                "cost": float(np.mean(cost)) / bit,
                "cost_error": summary(cost / bit).error,
                "above_the_first": summary((cost - base) / bit),
                **{what: summary(x) for what, x in values.items()},
            }
        )
    held = {what: summary(x) for what, x in judged(task, test).items()}
    return {"length": length, "curves": curves, "rows": rows, "held_out": held, "score_name": task.score_name}


def savings(world: Mapping[str, Any]) -> dict[str, list[tuple[float, float]]]:
    """For each rival: model calls of the entropy bound, and the rival's model calls at its quality over them."""
    found: dict[str, list[tuple[float, float]]] = {}
    for name in RIVALS:
        line = sorted(world["curves"][name], key=lambda point: point["nfe"])
        # A budget that is worse than a smaller one would not be chosen.
        best = np.minimum.accumulate([point["cost"] for point in line]).tolist()
        found[name] = []
        for point in world["curves"][EB]:
            rival = nfe_at(point["cost"], [p["nfe"] for p in line], best)
            if not np.isnan(rival) and point["nfe"] < IDLE * world["length"]:
                found[name].append((point["nfe"], rival / point["nfe"]))
    return found


def medians_of(found: dict[str, list[tuple[float, float]]]) -> dict[str, float]:
    """The median saving over each rival; NaN where no bound has a quality that the rival attains."""
    return {name: float(np.median([s for _, s in pairs])) if pairs else float("nan") for name, pairs in found.items()}


def run(experiment: Experiment) -> Run:
    """Small worlds, long ones, models, each of them kept."""
    quick = experiment.quick
    tiny, far = small_worlds(), long_worlds()
    if quick:
        tiny, far = dict(itertools.islice(tiny.items(), 4, 5)), dict(itertools.islice(far.items(), 1))
    bounds = BOUNDS_SMALL[::4] if quick else BOUNDS_SMALL
    makers: dict[str, Callable[[], dict[str, Any]]] = {
        **{name: functools.partial(small, oracle, bounds) for name, oracle in tiny.items()},
        **{name: functools.partial(long, oracle, quick) for name, oracle in far.items()},
        **{
            spec: functools.partial(model, spec, quick)
            for spec in (("digits",) if quick else ("text", "code", "digits"))
        },
    }
    worlds = {name: experiment.part(name, maker) for name, maker in makers.items()}
    return Run({"worlds": worlds}, picture(worlds))


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """The median over laws and models of what is saved over the better of two rivals; and over each rival."""
    worlds = results["worlds"]
    medians = {name: medians_of(savings(world)) for name, world in worlds.items()}
    over = {rival: [one[rival] for one in medians.values() if not np.isnan(one[rival])] for rival in RIVALS}
    better = [[one[rival] for rival in JUDGED if not np.isnan(one[rival])] for one in medians.values()]
    lesser = [min(saved) for saved in better if saved]
    counted = (
        f"{sum('promise_kept' in world for world in worlds.values())} small worlds exactly, "
        f"{sum('entropy' in world for world in worlds.values())} laws by {ROWS_LONG} rows, "
        f"{sum('held_out' in world for world in worlds.values())} trained models by 32 or 64 rows"
    )
    if not lesser:
        return Conclusion("not tested", "no bound has a quality that a rival attains", {}, counted)
    middle, least, greatest = spread_of(lesser)
    broken = [name for name, world in worlds.items() if not world.get("promise_kept", True)]
    figures: dict[str, Any] = {
        f"{rival}: its model calls over the bound's, median over worlds (least, greatest)": spread_of(saved)
        for rival, saved in over.items()
        if saved
    }
    for name, one in medians.items():
        figures |= {f"{name}: {rival} over the bound": saved for rival, saved in one.items() if not np.isnan(saved)}
    return Conclusion(
        "holds" if middle >= HALF else "partly" if middle >= SOME else "does not",
        f"the better rival needs {middle:.2f} of the bound's model calls at equal quality (median of {len(lesser)} "
        f"laws and models, {least:.2f} to {greatest:.2f}); the bound's promise is broken in {len(broken)}",
        {
            **figures,
            "better of two rivals: its model calls over the bound's": [middle, least, greatest],
            "laws and models compared": len(lesser),
            "promises broken": len(broken),
        },
        counted,
    )


def spread_of(values: Sequence[float]) -> list[float]:
    """The median, the least and the greatest."""
    return [float(np.median(values)), min(values), max(values)]


def picture(worlds: Mapping[str, Any]) -> Figure:
    """Cost against model calls: oracles above, models below."""
    medians = {name: medians_of(savings(world)) for name, world in worlds.items()}
    above = [name for name, world in worlds.items() if "entropy" in world]
    below = [name for name, world in worlds.items() if "held_out" in world]
    figure = Figure(figsize=(3.3 * max(len(above), len(below)), 5.6), layout="constrained")
    rows = figure.subplots(2, max(len(above), len(below)), squeeze=False)
    for axes, name in zip(rows.reshape(-1), (*above, *below)):
        for sampler, (colour, marker, line) in _STYLE.items():
            points = sorted(worlds[name]["curves"][sampler], key=lambda point: point["nfe"])
            points = [p for p in points if name in below or (p["cost"] > 3 * p["cost_error"] and p["cost"] > 1e-3)]
            axes.errorbar(
                [p["nfe"] for p in points],
                [p["cost"] for p in points],
                [0 if name in below else p["cost_error"] for p in points],
                color=colour, marker=marker, linestyle=line, markersize=4, linewidth=1.3, label=sampler,
            )  # fmt: skip
        saved = " and ".join(f"{medians[name][rival]:.2f} ({short})" for rival, short in SHORT.items())
        axes.set_title(f"{name}: rivals need, relative to it,\n{saved} of the model calls", fontsize=8)
        axes.set(xscale="log", yscale="log" if name in above else "linear")
        axes.set_xticks([4, 8, 16, 32, 64, 128], ["4", "8", "16", "32", "64", "128"])
        axes.minorticks_off()
        axes.tick_params(which="both", labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel("nfe per sequence", fontsize=8)
    rows[0][0].set_ylabel("KL(law || sampler), nats", fontsize=8)
    rows[1][0].set_ylabel("held-out cost, bits per token", fontsize=8)
    rows[0][0].legend(fontsize=7, frameon=False)
    return figure
