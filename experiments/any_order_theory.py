"""The theory of random orders on any-order models: sequence by sequence, and in samples.

One pass of an any-order model costs every token of a sequence after any number of others, so a plan's cost on a
sequence in an order is one pass, without an error of its own. Everything here is teacher-forced on test rows that chose
nothing, in the same random orders for every plan, but for the samples.

* *Bounds*, of each row alone: its excess (a plan's cost less that of one token a step, order by order) against the
  bounds of :mod:`mdm_jax.theory.profiles.bounds` of the row's own curve in the same order. What the last token costs
  is the mean of the last ``TAIL`` ones, which makes each bound smaller where curves fall. The theory promises bounds of
  a law, whose curve falls; a row's own need not, and bounds below zero are counted. A row exceeds a bound where the
  difference is above three standard errors over orders.
* *Costs* of plans optimal for the profile of the validation rows (by its posterior) against equal sizes and MaskGIT's
  cosine: row by row, a mean over orders and seeds; intervals over rows, and over seeds by Student's law.
* *Samples* by the same plans and keys: trigram bits per character, next to the samples' own entropy, and for code the
  share of samples that Python's tokenizer accepts. Intervals over samples of all seeds.

Text and code have nearly straight curves, so that equal sizes are nearly optimal. The third data are what the theory is
for: an urn (a coin of unknown bias, thrown 128 times), of which nearly all is known after a few throws. Its samples are
judged by how far the share of ones lies from a half: what that lacks of the law's mean, 0 for exact samples; revealing
many of the first tokens at once makes it too small.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from experiments.tools.grouped import interval
from experiments.tools.judging import judged
from experiments.tools.latents import over_seeds
from experiments.tools.python_lines import is_tokenized
from experiments.tools.row_bounds import ERRORS, ONE, RATE, bounded, counted
from experiments.tools.theory_picture import picture
from mdm_jax import models, oracles, sample, tasks
from mdm_jax.evaluation import estimate_profile
from mdm_jax.evaluation.measuring import ranked_costs
from mdm_jax.models.denoiser import Denoiser, Params
from mdm_jax.tasks import Task
from mdm_jax.tasks.text_files import TextTask
from mdm_jax.theory import plans, profiles, schedules
from mdm_jax.theory.plans import Plan
from mdm_jax.theory.profiles import Profile
from mdm_jax.training import Settings, fit

CLAIM = Claim(
    "on any-order models of text, of code and of an urn no test row's excess is above a bound of its own curve by over "
    "three standard errors; plans optimal for the profile cost less on test rows than equal and cosine sizes at L/16, "
    "L/8 and L/4 steps (intervals over rows); at L/16 steps their samples are better than either's (intervals over "
    "samples): fewer trigram bits per character at no lower entropy, or a spread of ones nearer to the law's",
    source="ours, after arXiv 2510.25544; pilots of one training on text and on code were known",
    minutes=20,
    seeds=(41, 42, 43),
)
URN, LENGTH, PARTS = "urn", 128, (16, 8, 4)
"""Steps are the length divided by the parts."""
SPECS = ("text", "code", URN)
SIZE = {"width": 128, "depth": 3, "heads": 4}
STEPS, BATCH, URN_ROWS, BIAS = 800, 8, 20_000, 0.5
PROFILE_PASSES, ROWS, ORDERS, SAMPLES = 1024, 64, 12, 512
OPTIMAL, RIVALS = "optimal", ("uniform", "cosine")
QUICK_SIZE = {"width": 16, "depth": 1, "heads": 2}
QUICK = {"steps": 10, "passes": 16, "rows": 4, "orders": 4, "samples": 8, "seeds": 1}
ASKED = {"steps": STEPS, "passes": PROFILE_PASSES, "rows": ROWS, "orders": ORDERS, "samples": SAMPLES, "seeds": 3}


def run(experiment: Experiment) -> Run:
    """Each kind of data and each training in a part of its own, then what they come to together."""
    asked = QUICK if experiment.quick else ASKED
    results: dict[str, Any] = {"asked": asked, "cases": {}}
    for spec in SPECS[-1:] if experiment.quick else SPECS:
        seeds = [
            experiment.part(f"{spec}, seed {seed}", lambda spec=spec, seed=seed: measured(experiment, spec, seed))
            for seed in CLAIM.seeds[: asked["seeds"]]
        ]
        results["cases"][spec] = together(seeds)
    return Run(results, picture(results["cases"]))


def measured(experiment: Experiment, spec: str, seed: int) -> dict[str, Any]:
    """One training: its profile, its plans, what they cost row by row, and their samples."""
    quick, asked = experiment.quick, QUICK if experiment.quick else ASKED
    task = urn_rows(experiment.folder) if spec == URN else tasks.from_spec(spec, length=LENGTH)
    denoiser = models.any_order(task.vocab_size, length=LENGTH, **(QUICK_SIZE if quick else SIZE))
    optimizer = "adamw" if quick else "muon"  # AdamW compiles sooner
    settings = Settings(steps=asked["steps"], batch=BATCH, seed=seed, optimizer=optimizer)
    folder = None if quick else experiment.folder / "models" / f"{spec}-{seed}"
    params = fit(denoiser, task, settings=settings, directory=folder, progress=False).params
    passes = asked["passes"]
    profile = estimate_profile(denoiser, params, task.validation[:passes], 2 * passes, key=jax.random.key(seed))
    believed = profiles.posterior_profile(profile).profile
    rows, named = task.test[: asked["rows"]], plans_of(believed)
    first, paths, curves = costs_of(denoiser, params, rows, named, asked["orders"], seed)
    return {
        "bits": profile.bits_per_token(),
        "curve": (believed.values / np.log(2)).round(4),
        "predicted": {name: float(believed.expected_nelbo(plan.sizes)) for name, plan in named.items()},
        "sizes": {name: plan.sizes for name, plan in named.items() if name.startswith(OPTIMAL)},
        "costs": {name: paths[name].mean(axis=1).round(4) for name in named},
        "bounds": bounded(first, paths, curves, named),
        "samples": drawn(denoiser, params, task, named, asked["samples"], seed),
    }


def urn_rows(folder: Path) -> Task:
    """Rows of the urn as a task: written to a file, of which a fifth is held out."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "urn.npy"
    np.save(path, np.asarray(oracles.polya(LENGTH, BIAS).sample(jax.random.key(0), URN_ROWS), np.uint8))
    return tasks.npy(path)


def plans_of(believed: Profile) -> dict[str, Plan]:
    """All plans whose costs are measured: one token a step, three for each budget, and two of the theory's."""
    named = {ONE: plans.uniform(LENGTH, LENGTH)}
    budgets = [LENGTH // part for part in PARTS]
    best = plans.optimal_for_every_budget(believed, max(budgets))
    for steps in budgets:
        named[f"{OPTIMAL} {steps}"] = best.plan(steps)
        named[f"uniform {steps}"] = plans.uniform(LENGTH, steps)
        named[f"cosine {steps}"] = plans.from_schedule(schedules.maskgit(), LENGTH, steps)
    curve = profiles.falling(believed)
    named["TC"] = plans.total_correlation_plan(curve, nats=RATE * profiles.total_correlation(curve))
    named["DTC"] = plans.dual_total_correlation_plan(curve, nats=RATE * profiles.dual_total_correlation(curve))
    return named


def costs_of(
    denoiser: Denoiser, params: Params, rows: np.ndarray, named: Mapping[str, Plan], orders: int, seed: int
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Nats of each row: of its tokens before anything is revealed, of each plan and order, and of each rank.

    Returns:
        float64[rows], the mean over positions; float64[rows, orders] of each plan; float64[rows, orders, length] of one
        token at a time.
    """
    tokens, draw = jnp.asarray(rows, jnp.int32), np.random.default_rng(seed)
    begins = {name: np.repeat(plan.knots[:-1], plan.sizes).astype(np.int32) for name, plan in named.items()}
    paths = {name: np.empty((len(rows), orders)) for name in named}
    curves = np.empty((len(rows), orders, LENGTH))
    nothing = jnp.zeros(tokens.shape, jnp.int32)
    first = np.asarray(ranked_costs(denoiser, params, tokens, nothing, nothing, None), np.float64).mean(axis=1)
    for i in range(orders):
        rank = draw.permuted(np.tile(np.arange(LENGTH, dtype=np.int32), (len(rows), 1)), axis=1)
        for name, begin in begins.items():
            bound = jnp.asarray(begin[rank])
            costs = np.asarray(ranked_costs(denoiser, params, tokens, jnp.asarray(rank), bound, None), np.float64)
            paths[name][:, i] = costs.sum(axis=1)
            if name == ONE:
                curves[:, i] = np.take_along_axis(costs, np.argsort(rank, axis=1), axis=1)
    return first, paths, curves


def drawn(
    denoiser: Denoiser, params: Params, task: Task, named: Mapping[str, Plan], rows: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Samples of the plans that have a budget, judged: one number a sample for each metric."""
    found = {}
    for name, plan in named.items():
        if name.split()[0] in (OPTIMAL, *RIVALS):
            tokens = np.asarray(sample(denoiser, params, plan, rows, key=jax.random.key(seed)).tokens)
            found[name] = {which: values.round(4) for which, values in metrics_of(task, tokens).items()}
    return found


def metrics_of(task: Task, tokens: np.ndarray) -> dict[str, np.ndarray]:
    """What each sample is worth: of its ``"score"`` less is better."""
    if not isinstance(task, TextTask):
        return {"score": missing_spread(tokens)}
    metrics = judged(task, tokens)
    if task.spec == "code":
        metrics["tokenized"] = np.array([float(is_tokenized(task.show(row))) for row in tokens])
    return metrics


def missing_spread(tokens: np.ndarray) -> np.ndarray:
    """What the distance of a row's share of ones from a half lacks of its mean under the urn's law, times two.

    Example:
        >>> import numpy as np
        >>> missing_spread(np.array([[0] * 128, [0, 1] * 64])).round(3)  # both as extreme as can be
        array([-0.359,  0.641])
    """
    ones = np.arange(LENGTH + 1)
    mean = scipy.stats.betabinom.pmf(ones, LENGTH, BIAS, BIAS) @ np.abs(2 * ones / LENGTH - 1)
    return mean - np.abs(2 * tokens.mean(axis=1) - 1)


def together(seeds: list[dict[str, Any]]) -> dict[str, Any]:
    """All trainings of a task: bounds counted, costs and samples compared, a rival's less the optimal plan's."""
    bit = LENGTH * np.log(2)
    found: dict[str, Any] = {
        "bits": [one["bits"] for one in seeds],
        "curves": [one["curve"][::8] for one in seeds],
        "sizes": seeds[0]["sizes"],
        "bounds": {name: counted([one["bounds"][name] for one in seeds]) for name in seeds[0]["bounds"]},
        "costs": {},
        "samples": {},
        "scores": {
            name: over_seeds([float(np.mean(one["samples"][name]["score"])) for one in seeds])
            for name in seeds[0]["samples"]
        },
    }
    for steps in (LENGTH // part for part in PARTS):
        for name, ours in ((f"{rival} {steps}", f"{OPTIMAL} {steps}") for rival in RIVALS):
            saved = np.array([np.subtract(one["costs"][name], one["costs"][ours]) for one in seeds]) / bit
            promised = [(one["predicted"][name] - one["predicted"][ours]) / bit for one in seeds]
            found["costs"][name] = {
                "saved": interval(saved.mean(axis=0)),
                "over seeds": over_seeds(saved.mean(axis=1).tolist()),
                "predicted": float(np.mean(promised)),
            }
            pairs = [(one["samples"][name], one["samples"][ours]) for one in seeds]
            found["samples"][name] = {
                which: interval(np.concatenate([np.subtract(rival[which], best[which]) for rival, best in pairs]))
                for which in pairs[0][0]
            }
    return found


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """No bound exceeded, every plan's advantage in costs, and in samples at the fewest steps."""
    cases: Mapping[str, Any] = results["cases"]
    figures: dict[str, Any] = {}
    exceeded = compared = 0
    cheaper, better = list[bool](), list[bool]()
    fewest = LENGTH // PARTS[0]
    for spec, case in cases.items():
        figures[f"{spec}: bits per token, one token a step"] = over_seeds(case["bits"])
        for name, one in case["bounds"].items():
            exceeded, compared = exceeded + one["exceeded"], compared + one["rows"]
            figures[f"{spec}, {name}: rows above the bound"] = one["exceeded"]
            figures[f"{spec}, {name}: mean excess over mean bound"] = one["excess"] / one["limit"]
            figures[f"{spec}, {name}: rows whose bound is below zero"] = one["below zero"]
            figures[f"{spec}, {name}: nats above the bound that could be seen"] = one["seen from"]
        for name, one in case["costs"].items():
            figures[f"{spec}, {name}: bits per token saved"] = one["saved"]
            figures[f"{spec}, {name}: bits per token saved, over seeds"] = one["over seeds"]
            figures[f"{spec}, {name}: bits per token saved, predicted"] = one["predicted"]
            cheaper.append(one["saved"][1] > 0)
        for name, one in case["samples"].items():
            figures |= {f"{spec}, {name}: samples, {which} less optimal": value for which, value in one.items()}
            if name.endswith(f" {fewest}"):
                better.append(one["score"][1] > 0 and one.get("entropy", [0, 0, 0])[1] <= 0)
                if spec == URN:  # nearer to the law's, not just larger
                    better[-1] &= abs(_mean(case["scores"][f"{OPTIMAL} {fewest}"])) < abs(_mean(case["scores"][name]))
        figures |= {f"{spec}, {name}: score of samples": value for name, value in case["scores"].items()}
    at = [f"{spec} {name} " + _signed(cases[spec]["samples"][name]["score"])
          for spec in cases for name in (f"{rival} {fewest}" for rival in RIVALS)]  # fmt: skip
    most = max(one["excess"] / one["limit"] for case in cases.values() for one in case["bounds"].values())
    figures["largest mean excess of a plan over its mean bound"] = most
    held = [exceeded == 0, all(cheaper), all(better)]
    asked = results["asked"]
    return Conclusion(
        "holds" if all(held) else "partly" if any(held) else "does not",
        f"{exceeded} of {compared:,} excesses of rows are above a bound by over {ERRORS:g} standard errors; means over "
        f"rows come to {most:.2f} of the mean bound at the most; optimal plans cost less on test rows in "
        f"{sum(cheaper)} of {len(cheaper)} comparisons; samples in {fewest} steps are better in {sum(better)} of "
        f"{len(better)}, by a score of {', '.join(at)}",
        figures,
        f"{asked['seeds']} trainings on each, {asked['rows']} test rows in {asked['orders']} orders, "
        f"{asked['samples']} samples of each plan and training",
    )


def _mean(found: Any) -> float:
    return found[0] if isinstance(found, list) else found


def _signed(ends: Any) -> str:
    return "{:+.3f} ({:+.3f} to {:+.3f})".format(*ends)
