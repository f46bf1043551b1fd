"""Does a tuned plan make better samples? The optimal sizes against those people use, by cost and by what comes out.

The demo recipe's models of ``digits``, ``text`` and ``code``, budgets of 4, 8 and 16 steps. Plans: optimal (dynamic
programme on the validation half's profile), the best Beta schedule of the same profile, and four rivals that are not
fitted to it: constant sizes; the "geometric" schedule (log-linear noise from 1e-4 to 20, which drops idle steps and so
uses fewer); geometrically growing sizes (the DTC rule); cosine in MaskGIT's convention,
``alpha(t) = 1 - cos(pi t / 2)`` (MDLM gives that name to its mirror image, which is ``sine`` here).

Measured, in rising distance from what was optimised:

* the expected NELBO that the profile predicts, and what a rival's exceeds the optimal plan's by;
* the same excess on the test half, twice. ``path``: teacher-forced ``-log q`` along one random order per sequence,
  common to all plans. ``exact``: the profile of the test half at the very counts where steps of these plans begin, so
  that nothing is interpolated; its expectation is the path's, its orders are others;
* samples, drawn with common random numbers, by metrics that no plan was optimised for. Text and code: bits per
  character under back-off n-grams of the training part, next to the samples' own entropy (a sampler that repeats itself
  has few bits of either). Digits: the distance to the nearest training picture, the confidence of a forest of random
  trees (of six classifiers in a one-off probe, the one whose confidence best told held-out pictures from shuffled
  ones), and how evenly the ten classes come out. Beside them stand held-out rows, and the same rows shuffled:
  every position from another row, about what a single step makes.

Intervals are 95 %, over sequences, each by itself: of a hundred such intervals around nothing, five miss it. Pooled
statistics (entropies, shares) get theirs from the jackknife over rows.

Claimed before measuring: the optimal plan has the least expected NELBO everywhere (a theorem); wherever the predicted
excess of an unfitted rival is above what the path check can see (1.96 combined standard errors), the path check finds
it positive; and there at least nine of ten sample-level differences point the same way, with no interval on the other
side.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from numpy.lib.stride_tricks import sliding_window_view
from scipy.stats import rankdata

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from experiments.tools.judging import model_of
from experiments.tools.pooled import distinct_share, pooled_entropy
from mdm_jax.evaluation import estimate_profile, path_nelbo
from mdm_jax.models.denoiser import Denoiser, Params
from mdm_jax.sampling import sample
from mdm_jax.tasks.dealing import deal
from mdm_jax.tasks.pictures import DigitsTask
from mdm_jax.tasks.text_files import TextTask
from mdm_jax.theory import plans, schedules
from mdm_jax.theory.plans import Plan, beta_search
from mdm_jax.theory.profiles import Profile

CLAIM = Claim(
    "the optimal plan has the least expected NELBO at every budget; wherever the predicted excess of an unfitted plan "
    "is large enough to be seen, the held-out check finds it, and nine of ten sample-level differences point the same "
    "way, none significantly the other",
    source="ours",
    minutes=20,
    seeds=(0, 1, 2, 3),
    needs={"sklearn": "digits"},
)
SPECS, BUDGETS = ("digits", "text", "code"), (4, 8, 16)
ENCODINGS, PATH_ROWS = 4096, 256
ROWS = {"digits": 512, "text": 256, "code": 256}
UNFITTED = ("constant", "geometric", "DTC rule", "cosine")
RIVALS = ("best Beta", *UNFITTED)
Z = 1.959964
AGREEMENT = 0.9
SHOWN = 8
"""The budget whose samples pages show."""
_COLOURS = dict(
    zip(("optimal", *RIVALS), ("#111111", "#1d6fb8", "#2e8059", "#c2410c", "#8a949e", "#7c4fa4"), strict=True)
)


class Metric(NamedTuple):
    """A number that samples are judged by, or (``better`` 0) only described by."""

    name: str
    short: str
    better: int
    """-1 where lower is better, 1 where higher is."""
    digits: int


TEXT_METRICS = (
    Metric("trigram bits per character", "3-gram bpc", -1, 3),
    Metric("5-gram bits per character", "5-gram bpc", -1, 3),
    Metric("entropy of characters (bits)", "H(c)", 0, 3),
    Metric("entropy given the character before (bits)", "H(c|b)", 0, 3),
    Metric("share of distinct 4-grams", "4-grams", 0, 3),
)
DIGITS_METRICS = (
    Metric("distance to the nearest training picture", "distance", -1, 2),
    Metric("classifier's confidence", "confidence", 1, 3),
    Metric("entropy of classes (bits)", "H(class)", 0, 3),
)
Judge = Callable[[Int[np.ndarray, "rows length"]], list[Float[np.ndarray, " rows"]]]
"""One number per row for each metric; their mean is the metric."""


def interval(values: Float[np.ndarray, " rows"]) -> dict[str, float]:
    """The mean and its 95 % interval."""
    mean, half = float(values.mean()), Z * float(values.std(ddof=1) / np.sqrt(len(values)))
    return {"mean": mean, "low": mean - half, "high": mean + half}


def around(mean: float, error: float) -> dict[str, float]:
    """The 95 % interval of a mean with a known standard error."""
    return {"mean": mean, "low": mean - Z * error, "high": mean + Z * error}


def text_judge(task: TextTask) -> Judge:
    """For :data:`TEXT_METRICS`."""

    def judge(tokens: np.ndarray) -> list[np.ndarray]:
        rows = tokens.astype(np.int64)
        before, pairs = rows[:, :-1], rows[:, :-1] * task.vocab_size + rows[:, 1:]
        four = sliding_window_view(rows, 4, axis=1) @ (task.vocab_size ** np.arange(4))
        grams = task.baselines(tokens)
        conditional = pooled_entropy(pairs) - pooled_entropy(before)
        return [grams["trigram"], grams["5-gram"], pooled_entropy(rows), conditional, distinct_share(four)]

    return judge


def digits_judge(task: DigitsTask) -> tuple[Judge, float]:
    """For :data:`DIGITS_METRICS`; and the classifier's accuracy on the held-out pictures."""
    from sklearn.datasets import load_digits
    from sklearn.ensemble import ExtraTreesClassifier

    pixels, labels = load_digits(return_X_y=True)
    # Dealt as the task deals its rows: the labels of each part are its last column.
    train, *held_out = deal(np.column_stack([pixels, labels]).astype(np.int64))
    if not np.array_equal(train[:, :-1], task.train):
        raise RuntimeError("The labels do not belong to the task's pictures.")
    classifier = ExtraTreesClassifier(300, random_state=0).fit(train[:, :-1], train[:, -1])
    unseen = np.concatenate(held_out)
    accuracy = float(np.mean(classifier.predict(unseen[:, :-1]) == unseen[:, -1]))

    def judge(tokens: np.ndarray) -> list[np.ndarray]:
        probabilities = classifier.predict_proba(tokens)
        classes = probabilities.argmax(axis=1)[:, None]
        return [task.score(tokens), probabilities.max(axis=1), pooled_entropy(classes)]

    return judge, accuracy


def plans_for(profile: Profile, steps: int, search: beta_search.BetaSearch) -> dict[str, Plan]:
    """The plans of one budget."""
    length = profile.length
    return {
        "optimal": plans.optimal(profile, steps),
        "best Beta": search.plan(steps),
        "constant": plans.uniform(length, steps),
        "geometric": plans.from_schedule(schedules.geometric(), length, steps),
        "DTC rule": plans.dual_total_correlation_plan(profile, steps=steps),
        "cosine": plans.from_schedule(schedules.maskgit(), length, steps),
    }


def weights(plan: Plan) -> Float[np.ndarray, " length"]:
    """What multiplies each value of the profile in the plan's expected NELBO."""
    return np.bincount(plan.knots[:-1], plan.sizes, plan.length)


def excess(profile: Profile, rival: Plan, optimal: Plan) -> dict[str, float]:
    """How much more a rival costs by a profile, bits per token, with the error of the difference."""
    difference = weights(rival) - weights(optimal)
    bit = profile.length * np.log(2)
    return around(float(difference @ profile.values) / bit, profile.standard_error_of(difference) / bit)


def compare(denoiser: Denoiser, params: Params, task: TextTask | DigitsTask, quick: bool) -> dict[str, Any]:
    """Everything that is measured on one task."""
    budgets, rows = ((4,), 24) if quick else (BUDGETS, ROWS[task.spec])
    judge, accuracy = digits_judge(task) if isinstance(task, DigitsTask) else (text_judge(task), None)
    metrics = DIGITS_METRICS if isinstance(task, DigitsTask) else TEXT_METRICS
    test = task.test[: 24 if quick else PATH_ROWS]
    bit = task.length * np.log(2)

    encodings = 192 if quick else ENCODINGS
    profile = estimate_profile(denoiser, params, task.validation, encodings, key=jax.random.key(0), progress=not quick)
    search = beta_search.search(profile, budgets, grid=8 if quick else beta_search.GRID, starts=0 if quick else 4)
    made = {steps: plans_for(profile, steps, search) for steps in budgets}
    different = list({tuple(plan.sizes): plan for group in made.values() for plan in group.values()}.values())
    starts = np.unique(np.concatenate([plan.knots[:-1] for plan in different]))
    enough = len(test) * (len(starts) + 2)
    exact = estimate_profile(denoiser, params, test, enough, key=jax.random.key(1), counts=starts, progress=not quick)
    nelbo = path_nelbo(denoiser, params, test, different, key=jax.random.key(2), progress=not quick) / bit
    drawn: dict[tuple[int, ...], tuple[np.ndarray, list[np.ndarray]]] = {}
    for plan, cost in zip(different, nelbo, strict=True):
        tokens = np.asarray(sample(denoiser, params, plan, rows, key=jax.random.key(3)).tokens)
        drawn[tuple(plan.sizes)] = cost, judge(tokens)
    held_out = np.concatenate([task.validation[: rows // 2], task.test[: rows // 2]])
    shuffled = np.random.default_rng(0).permuted(held_out, axis=0)
    found: dict[str, Any] = {
        "metrics": [metric.name for metric in metrics],
        "held_out": [interval(values) for values in judge(held_out)],
        "shuffled": [interval(values) for values in judge(shuffled)],
        "rows": {"path": len(test), "samples": rows, "held out": len(held_out), "profile": len(task.validation)},
        "bits_per_token": profile.bits_per_token(),
        "classifier_accuracy": accuracy,
        "budgets": {},
    }
    for steps, group in made.items():
        base, (base_cost, base_values) = group["optimal"], drawn[tuple(group["optimal"].sizes)]
        entries: dict[str, Any] = {}
        for name, plan in group.items():
            cost, values = drawn[tuple(plan.sizes)]
            error = float(profile.standard_error(plan.sizes)) / bit
            entries[name] = {
                "plan": plan.name,
                "sizes": plan.sizes.tolist(),
                "nfe": plan.steps,
                "expected": around(float(profile.expected_nelbo(plan.sizes)) / bit, error),
                "path": interval(cost),
                "samples": [interval(x) for x in values],
                "predicted_excess": excess(profile, plan, base),
                "path_excess": interval(cost - base_cost),
                "exact_excess": excess(exact, plan, base),
                "sample_differences": [interval(x - y) for x, y in zip(values, base_values, strict=True)],
            }
        found["budgets"][steps] = entries
    return found


def metrics_of(spec: str) -> tuple[Metric, ...]:
    """The metrics of a task."""
    return DIGITS_METRICS if spec == "digits" else TEXT_METRICS


def gain(difference: Mapping[str, float], better: int) -> dict[str, float]:
    """A difference, rival less optimal, as the gain by tuning: positive where the optimal plan is better."""
    ends = sorted((-better * difference["low"], -better * difference["high"]))
    return {"mean": -better * difference["mean"], "low": ends[0], "high": ends[1]}


def no_help(measured: Mapping[str, dict[str, Any]]) -> list[str]:
    """Where the interval of the gain by tuning reaches zero: a sentence for each task and rival, with the intervals.

    A gain in cost counts as shown if both checks show it.
    """
    sentences = []
    for spec, found in measured.items():
        for rival in RIVALS:
            places = [(place, metric) for place, metric in enumerate(metrics_of(spec)) if metric.better]
            unseen: dict[str, list[str]] = {"cost in bits per token": [], **{m.short: [] for _, m in places}}
            for steps, entries in found["budgets"].items():
                entry = entries[rival]
                if entry["sizes"] == entries["optimal"]["sizes"]:
                    unseen["cost in bits per token"].append(f"K = {steps} (it is the optimal plan)")
                    continue
                checks = (entry["path_excess"], entry["exact_excess"])
                gains = [("cost in bits per token", min(checks, key=lambda value: value["low"]), 4)]
                differences = entry["sample_differences"]
                gains += [(m.short, gain(differences[place], m.better), m.digits) for place, m in places]
                for what, value, digits in gains:
                    if value["low"] <= 0:
                        ends = f"{value['low']:+.{digits}f} to {value['high']:+.{digits}f}"
                        unseen[what].append(f"K = {steps} ({ends}{', a LOSS' if value['high'] < 0 else ''})")
            parts = [f"{what} at {', '.join(at)}" for what, at in unseen.items() if at]
            sentences.append(f"{spec}, over {rival}: {'; '.join(parts) or 'a gain everywhere'}.")
    return sentences


def orderings(measured: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What orders plans of one budget by their samples' first metric: rank correlations with two candidates.

    The expected NELBO, and the coincidence: the chance that two given tokens are drawn in the same step, blind to each
    other (least for constant sizes). Thought of after the first run, so a remark and no claim.
    """
    found: dict[str, dict[str, Any]] = {}
    for spec, task in measured.items():
        found[spec] = {}
        for steps, entries in task["budgets"].items():
            sizes = [np.asarray(entry["sizes"]) for entry in entries.values()]
            together = [float(np.sum(n * (n - 1)) / (n.sum() * (n.sum() - 1))) for n in sizes]
            ranks = [
                rankdata(x)
                for x in (
                    [entry["samples"][0]["mean"] for entry in entries.values()],
                    [entry["expected"]["mean"] for entry in entries.values()],
                    together,
                )
            ]
            found[spec][steps] = {
                "coincidence": dict(zip(entries, together, strict=True)),
                "with_expected_nelbo": float(np.corrcoef(ranks[0], ranks[1])[0, 1]),
                "with_coincidence": float(np.corrcoef(ranks[0], ranks[2])[0, 1]),
            }
    return found


def run(experiment: Experiment) -> Run:
    """Compare on every task; each is kept."""
    found: dict[str, dict[str, Any]] = {
        spec: experiment.part(spec, lambda spec=spec: compare(*model_of(spec, experiment.quick), experiment.quick))
        for spec in (SPECS[:1] if experiment.quick else SPECS)
    }
    results = {"tasks": found, "where_tuning_does_not_help": no_help(found), "orderings": orderings(found)}
    return Run(results, picture(found))


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """The three claims; costs above the optimal plan everywhere, samples' metrics at one budget."""
    found = results["tasks"]
    judged = claims(found)
    held = [judged["least_expected"], judged["path_confirms"], judged["samples_agree"]]
    figures: dict[str, Any] = {
        "comparisons of cost": judged["comparisons"],
        "excesses large enough to be seen": judged["visible"],
        "of these confirmed": judged["positive_on_path"],
        "sample-level differences": judged["sample_differences"],
        "of these in the same direction": judged["in_the_same_direction"],
        "best Beta above the optimal plan, at most": judged["best_beta_predicted_excess_at_most"],
    }
    for spec, task in found.items():
        metrics = metrics_of(spec)
        for metric, value in zip(metrics, task["held_out"], strict=True):
            figures[f"{spec}: {metric.short}, held-out rows"] = value["mean"]
        for steps, entries in task["budgets"].items():
            for name in RIVALS:
                figures[f"{spec}, K = {steps}: {name} above optimal"] = entries[name]["predicted_excess"]["mean"]
            for place, metric in enumerate(metrics):
                worse = entries["constant"]["sample_differences"][place]
                figures[f"{spec}, K = {steps}: {metric.short} of optimal less constant"] = [
                    -worse[end] for end in ("mean", "high", "low")
                ]
                for name, entry in entries.items() if int(steps) == SHOWN else ():
                    value = entry["samples"][place]
                    figures[f"{spec}, K = {steps}: {metric.short}, {name}"] = [
                        value[end] for end in ("mean", "low", "high")
                    ]
    rows = ", ".join(f"{task['rows']['samples']} of {spec}" for spec, task in found.items())
    return Conclusion(
        "holds" if all(held) else "partly" if all(held[:2]) else "does not",
        f"{judged['positive_on_path']} of {judged['visible']} excesses large enough to be seen are confirmed on "
        f"held-out rows; {judged['in_the_same_direction']} of {judged['sample_differences']} sample-level differences "
        "point the same way",
        figures,
        f"samples a plan: {rows}; {PATH_ROWS} held-out rows",
    )


def claims(measured: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The three claims, counted."""
    groups = [(spec, entries) for spec, found in measured.items() for entries in found["budgets"].values()]
    least = all(e["predicted_excess"]["mean"] > -1e-9 for _, entries in groups for e in entries.values())
    visible, positive, agree, against, apart, compared = 0, 0, 0, 0, 0, 0
    for spec, entries in groups:
        for rival in UNFITTED:
            entry = entries[rival]
            predicted, checked = entry["predicted_excess"], entry["path_excess"]
            noise = np.hypot(predicted["high"] - predicted["mean"], checked["high"] - checked["mean"])
            if predicted["mean"] <= noise:
                continue
            visible += 1
            positive += checked["mean"] > 0
            for metric, difference in zip(metrics_of(spec), entry["sample_differences"], strict=True):
                if metric.better:
                    value = gain(difference, metric.better)
                    compared += 1
                    agree += value["mean"] > 0
                    apart += value["low"] > 0
                    against += value["high"] < 0
    beta = [entries["best Beta"]["predicted_excess"]["mean"] for _, entries in groups]
    return {
        "least_expected": least,
        "comparisons": len(groups) * len(UNFITTED),
        "visible": visible,
        "positive_on_path": int(positive),
        "path_confirms": visible > 0 and bool(positive == visible),
        "sample_differences": compared,
        "in_the_same_direction": int(agree),
        "of_these_significant": int(apart),
        "significantly_against": int(against),
        "samples_agree": compared > 0 and bool(agree >= AGREEMENT * compared and against == 0),
        "best_beta_predicted_excess_at_most": max(beta),
    }


def picture(measured: Mapping[str, Any]) -> Figure:
    """A column per task: excess NELBO, excess over the optimal plan on test rows, two sample-level metrics."""
    figure = Figure(figsize=(3.2 * len(measured), 8), layout="constrained")
    columns = figure.subplots(4, len(measured), squeeze=False).T
    for axes, (spec, found) in zip(columns, measured.items(), strict=True):
        budgets, metrics = list(found["budgets"]), metrics_of(spec)
        places = (0, 1) if spec == "digits" else (0, 3)
        for i, (name, colour) in enumerate(_COLOURS.items()):
            entries = [found["budgets"][steps][name] for steps in budgets]
            at = np.arange(len(budgets)) + 0.12 * (i - 2.5)
            style: dict[str, Any] = {"color": colour, "markersize": 4, "linewidth": 1}

            def bars(panel: Any, values: list[dict[str, float]], at: Any = at, style: Any = style, **more: Any) -> None:
                means = [value["mean"] for value in values]
                halves = [value["high"] - value["mean"] for value in values]
                panel.errorbar(at, means, halves, **{**style, "fmt": "o", **more})

            one = found["bits_per_token"]
            axes[0].plot(at, [entry["expected"]["mean"] - one for entry in entries], "o:", **style, label=name)
            if name != "optimal":
                axes[1].plot(
                    at, [entry["predicted_excess"]["mean"] for entry in entries], "_", **{**style, "markersize": 9}
                )
                bars(axes[1], [entry["exact_excess"] for entry in entries])
                bars(axes[1], [entry["path_excess"] for entry in entries], at=at + 0.05, fmt="x", alpha=0.55)
            for panel, place in zip(axes[2:], places, strict=True):
                bars(panel, [entry["samples"][place] for entry in entries])
        axes[0].set(title=f"{spec}: expected NELBO above one token per step", yscale="log")
        axes[1].set(title="above the optimal plan, on test rows")
        axes[1].set_yscale("symlog", linthresh=0.01)
        axes[1].axhline(0, color="#111111", linewidth=0.8)
        for panel, place in zip(axes[2:], places, strict=True):
            reference = found["held_out"][place]
            panel.axhspan(reference["low"], reference["high"], color="#e0b100", alpha=0.3, linewidth=0)
            panel.set_title(f"samples: {metrics[place].name}", fontsize=8)
        for panel in axes:
            panel.set_xticks(np.arange(len(budgets)), [f"K = {steps}" for steps in budgets])
            panel.tick_params(which="both", labelsize=7)
            panel.spines[["top", "right"]].set_visible(False)
            panel.title.set_fontsize(8)
    columns[0][0].set_ylabel("bits per token", fontsize=8)
    columns[0][1].set_ylabel("bits per token\n(bar: predicted, o: exact, x: path)", fontsize=8)
    columns[0][2].set_ylabel("95 % intervals; band: held-out rows", fontsize=8)
    columns[0][0].legend(fontsize=7, frameon=False)
    return figure
