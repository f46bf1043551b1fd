"""Any-order against bidirectional models at equal training compute: what they learn, and what their samples are worth.

Models of equal width and depth, with the same first parameters for each seed, trained by the
default recipe. The bidirectional one is trained by the masked NELBO for so many processor seconds; the any-order one
twice: for as many processor seconds, and, for the longest training, for as many operations by formula. Numbers of steps
are fixed beforehand by what a step of each takes; the figures have the processor seconds that were really used.

Measured on the test half, both in uniformly random orders, which makes the two NELBOs one quantity (what it costs to
sample one token at a time) and comparable row by row; and the profile, a mean over each octave of counts.

Samples of the longest trainings, by plans of equal sizes in random order, by the metrics of ``tuned_schedules`` (of
Sudoku: broken units, valid grids). At equal cost means: the any-order model's K steps against as many steps of the
bidirectional model as cost no less, both measured in processor seconds for each sequence. By formula the any-order
model's cost is two encodings, whatever K is: each token passes once as a question and once as content. What it really
is above that is small matrix products.

``sudoku6`` is the exact law: all 28,200,960 grids are as likely, so that the NELBO less ``log 28,200,960`` is the KL
from the law. There the bidirectional model is told where each position lies, by a learned vector, as an any-order model
is by sines.

Intervals are 95% over seeds, by Student's law; those of NELBOs compared have the standard error over held-out rows and
their maskings in quadrature, which all seeds share.

Known before: a probe of one seed on text, in which the any-order model was ahead at equal processor seconds.
"""

import functools
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.tools.equal_compute import (
    ANY_ORDER,
    BIDIRECTIONAL,
    BY_OPERATIONS,
    CASES,
    Case,
    learned,
    model_of,
    operations,
    scored,
    step_times,
    steps_of,
)
from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from experiments.tools.latents import over_seeds
from experiments.tools.quality_picture import picture
from experiments.tuned_schedules import DIGITS_METRICS, TEXT_METRICS, Judge, Metric, digits_judge, text_judge
from mdm_jax import sample, tasks
from mdm_jax.models.denoiser import Denoiser, Params
from mdm_jax.tasks.grids.sudoku import SudokuTask
from mdm_jax.tasks.pictures import DigitsTask
from mdm_jax.tasks.text_files import TextTask
from mdm_jax.theory import plans

CLAIM = Claim(
    "at equal training compute, in processor seconds and by operations, an any-order model has a NELBO that is better "
    "or equal everywhere, and a better frontier of quality against sampling cost everywhere",
    source="ours, after arXiv 2601.16971; a probe of one other seed on text was known",
    minutes=15,
    seeds=(21, 22, 23),
    needs={"sklearn": "digits"},
)
BUDGETS = (8, 16, 64)
CLAIMED = ("text", "code", "digits", "sudoku6")
"""The cases that the claim is about."""
QUICK = Case("sudoku6", {"width": 16, "depth": 1, "heads": 2}, 4, (1,), 8, 8, told_places=True, optimizer="adamw")
SUDOKU_METRICS = (
    Metric("broken rows, columns and boxes", "broken", -1, 3),
    Metric("share of valid grids", "valid", 1, 3),
)


def metrics_of(spec: str) -> tuple[Metric, ...]:
    """What samples of a task are judged by."""
    if spec.startswith("sudoku"):
        return SUDOKU_METRICS
    return DIGITS_METRICS if spec == "digits" else TEXT_METRICS


@functools.cache
def judge_of(spec: str) -> Judge:
    """For :func:`metrics_of`."""
    task = tasks.from_spec(spec)
    if isinstance(task, SudokuTask):
        return lambda tokens: [task.score(tokens), task.is_valid(tokens).astype(np.float64)]
    if isinstance(task, DigitsTask):
        return digits_judge(task)[0]
    assert isinstance(task, TextTask)
    return text_judge(task)


class Drawn(NamedTuple):
    """Samples of a number of steps: processor milliseconds for each sequence, and the means of all metrics."""

    steps: int
    milliseconds: float
    metrics: list[float]


def drawn(case: Case, denoiser: Denoiser, params: Params, seed: int, steps: int) -> Drawn:
    """Samples by a plan of equal sizes: what they cost, and what they are worth."""
    plan = plans.uniform(tasks.from_spec(case.spec).length, steps)
    begun = time.process_time()
    tokens = np.asarray(sample(denoiser, params, plan, case.samples, key=jax.random.key(100 + seed)).tokens)
    used = time.process_time() - begun
    return Drawn(steps, 1000 * used / case.samples, [float(np.mean(one)) for one in judge_of(case.spec)(tokens)])


def frontier(case: Case, params: Mapping[str, Params], budgets: Sequence[int], seed: int) -> dict[str, dict[str, Any]]:
    """Samples of both models at each budget.

    The any-order model's at one token a step too; and under ``"as K"`` the bidirectional model's in as many steps as
    cost no less than the any-order model's K.
    """
    length = tasks.from_spec(case.spec).length
    budgets = [steps for steps in budgets if steps <= length]
    by_order, plain = (
        functools.partial(drawn, case, model_of(case, arm), params[arm], seed) for arm in (ANY_ORDER, BIDIRECTIONAL)
    )
    for draw in (by_order, plain):
        draw(1)  # compiles
    cheap = {str(steps): by_order(steps) for steps in (*budgets, length)}
    found = {str(steps): plain(steps) for steps in budgets}
    each = found[str(budgets[-1])].milliseconds / budgets[-1]
    equal = {steps: min(length, math.ceil(cheap[str(steps)].milliseconds / each)) for steps in budgets}
    made = {steps: plain(steps) for steps in sorted(set(equal.values()))}
    return {ANY_ORDER: cheap, BIDIRECTIONAL: found | {f"as {steps}": made[equal[steps]] for steps in budgets}}


def measured(
    case: Case,
    seconds: int,
    seed: int,
    milliseconds: Mapping[str, float],
    budgets: Sequence[int],
    by_operations: bool,
) -> dict[str, Any]:
    """Both models of one seed after trainings of one length: NELBO, profile, and samples if ``budgets`` are given."""
    test = tasks.from_spec(case.spec).test[: case.rows]
    arms = (BIDIRECTIONAL, ANY_ORDER, *[BY_OPERATIONS] * by_operations)
    found: dict[str, Any] = {}
    params: dict[str, Params] = {}
    base = np.zeros(len(test))
    for arm in arms:
        steps = steps_of(case, arm, seconds, milliseconds)
        params[arm], used = learned(case, arm, steps, seed)
        bits, profile = scored(model_of(case, arm), params[arm], arm, test)
        base = bits if arm == BIDIRECTIONAL else base
        error = float(np.std(base - bits, ddof=1) / np.sqrt(len(bits)))
        found[arm] = {
            "steps": steps,
            "seconds": used,
            "operations": steps * operations(case, arm),
            "bits": float(bits.mean()),
            "error": float(bits.std(ddof=1) / np.sqrt(len(bits))),
            "gain": float((base - bits).mean()),
            "gain error": error,
            "profile": profile,
        }
    if budgets:
        found["samples"] = frontier(case, params, budgets, seed)
    return found


def run(experiment: Experiment) -> Run:
    """Train and measure, case by case, length by length, seed by seed."""
    quick = experiment.quick
    cases, seeds, budgets = ({"sudoku6": QUICK}, (0, 1), (4,)) if quick else (CASES, CLAIM.seeds, BUDGETS)
    found: dict[str, Any] = {}
    times: dict[str, Mapping[str, float]] = {}
    for name, case in cases.items():
        longest = max(case.seconds)
        found[name] = {}
        one: dict[str, float] = {BIDIRECTIONAL: 100.0, ANY_ORDER: 100.0}
        if not quick:
            one = experiment.part(f"{name}, step times", lambda case=case: step_times(case))
        for seconds in case.seconds:
            last = seconds == longest
            by_operations = last and name in CLAIMED and not quick
            parts = [
                experiment.part(
                    f"{name}, {seconds} s, seed {seed}",
                    lambda case=case, seconds=seconds, seed=seed, one=one, last=last, also=by_operations: measured(
                        case, seconds, seed, one, budgets if last else (), also
                    ),
                )
                for seed in seeds
            ]
            found[name][str(seconds)] = together(parts)
        times[name] = one
    return Run({"cases": found, "milliseconds of a step": times}, picture(found))


def together(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Parts of several seeds as one: a list of one number a seed, the profile's mean; in five digits."""

    def short(value: float) -> float:
        return float(f"{value:.5g}")

    made: dict[str, Any] = {}
    for arm, first in parts[0].items():
        if arm == "samples":
            continue
        made[arm] = {name: first[name] for name in ("steps", "operations")}
        for name in ("seconds", "bits", "error", "gain", "gain error"):
            made[arm][name] = [short(part[arm][name]) for part in parts]
        made[arm]["profile"] = [short(one) for one in np.mean([part[arm]["profile"] for part in parts], axis=0)]
    if "samples" in parts[0]:
        made["samples"] = {}
        for arm, kinds in parts[0]["samples"].items():
            made["samples"][arm] = {}
            for kind in kinds:
                each = [part["samples"][arm][kind] for part in parts]
                made["samples"][arm][kind] = {
                    "steps": [one["steps"] for one in each],
                    "milliseconds": [short(one["milliseconds"]) for one in each],
                    "metrics": [[short(value) for value in one["metrics"]] for one in each],
                }
    return made


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """NELBO and frontier, counted where the intervals over seeds say better or worse; and all figures."""
    figures: dict[str, Any] = {}
    nelbo: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}

    def count(counts: dict[str, list[str]], what: str, values: np.ndarray, errors: np.ndarray | float = 0.0) -> None:
        one = over_seeds(values.tolist())
        mean, low, high = one if isinstance(one, list) else (one, one, one)
        # What held-out rows and their maskings leave open is common to all seeds.
        half = float(np.hypot(high - mean, 1.96 * np.mean(errors)))
        figures[what] = [mean, mean - half, mean + half]
        low, high = mean - half, mean + half
        counts.setdefault("better" if low > 0 else "worse" if high < 0 else "as good", []).append(what)

    def gain_of(found: Mapping[str, Any], arm: str) -> tuple[np.ndarray, np.ndarray]:
        return np.array(found[arm]["gain"]), np.array(found[arm]["gain error"])

    def rounded(figure: Any) -> Any:
        return [rounded(one) for one in figure] if isinstance(figure, list) else float(f"{figure:.5g}")

    told = []
    for name, times in results["milliseconds of a step"].items():
        for arm, one in times.items():
            figures[f"{name}: milliseconds of a step, {arm}"] = one
    for name, case in results["cases"].items():
        claimed = name in CLAIMED
        spec = name.split(",")[0]
        for seconds, found in case.items():
            for arm in (BIDIRECTIONAL, ANY_ORDER, BY_OPERATIONS):
                if arm not in found:
                    continue
                what = f"{name}, {seconds} s"
                figures[f"{what}: bits per token, {arm}"] = over_seeds(found[arm]["bits"])
                if spec == "sudoku6":
                    above = np.array(found[arm]["bits"]) - math.log2(28_200_960) / 36
                    figures[f"{what}: bits per token above the law's, {arm}"] = over_seeds(above.tolist())
                figures[f"{what}: steps, {arm}"] = found[arm]["steps"]
                if arm == BIDIRECTIONAL:
                    continue
                count(nelbo if claimed else {}, f"{what}: bits saved, {arm}", *gain_of(found, arm))
                if arm == ANY_ORDER:
                    used = np.array(found[arm]["seconds"]) / np.array(found[BIDIRECTIONAL]["seconds"])
                    figures[f"{what}: processor seconds used, as a ratio"] = float(used.mean())
                else:
                    ratio = found[arm]["operations"] / found[BIDIRECTIONAL]["operations"]
                    figures[f"{what}: operations used, as a ratio"] = ratio
        last = list(case)[-1]
        found = case[last]
        if claimed:
            mean, low, high = figures[f"{name}, {last} s: bits saved, {ANY_ORDER}"]
            told.append(f"{name} {mean:+.3f} ({low:+.3f} to {high:+.3f})")
        for arm in (BIDIRECTIONAL, ANY_ORDER):
            profile = found[arm]["profile"]
            figures[f"{name}: nothing revealed, {arm}, bits per token"] = profile[0]
            figures[f"{name}: last octave, {arm}, bits per token"] = profile[-1]
        made = found.get("samples")
        if made is None:
            continue
        budgets = [kind for kind in made[BIDIRECTIONAL] if not kind.startswith("as ")]
        one = np.array(made[BIDIRECTIONAL][budgets[-1]]["milliseconds"]) / int(budgets[-1])
        figures[f"{name}: milliseconds of an encoding of one sequence"] = float(one.mean())
        for kind, entry in made[ANY_ORDER].items():
            cost = np.array(entry["milliseconds"])
            figures[f"{name}, K = {kind}: cost in encodings, any-order"] = float((cost / one).mean())
        for place, metric in enumerate(metrics_of(spec)):
            values = {
                arm: {kind: np.array(entry["metrics"])[:, place] for kind, entry in kinds.items()}
                for arm, kinds in made.items()
            }
            for arm, kinds in values.items() if place == 0 or metric.short in ("H(c|b)", "H(class)") else ():
                for kind, each in kinds.items():
                    figures[f"{name}, K {kind}: {metric.short}, {arm}"] = over_seeds(each.tolist())
            if not metric.better:
                continue
            for kind in budgets:
                for rival, what in ((f"as {kind}", "at equal cost"), (kind, "at equal K")):
                    gain = metric.better * (values[ANY_ORDER][kind] - values[BIDIRECTIONAL][rival])
                    counted = samples if claimed and what == "at equal cost" else {}
                    count(counted, f"{name}, K = {kind}: {metric.short} gained {what}", gain)
    groups = {"NELBO": nelbo, "samples at equal cost": samples}
    for what, counts in groups.items():
        for kind in ("better", "as good", "worse"):
            figures[f"comparisons of {what}, {kind}"] = len(counts.get(kind, ()))
    none_worse = [not counts.get("worse") and bool(counts.get("better")) for counts in groups.values()]
    some_better = any(counts.get("better") for counts in groups.values())
    n, m = (sum(len(counts.get(kind, ())) for kind in ("better", "as good", "worse")) for counts in groups.values())
    drawn_rows = ", ".join(
        f"{case.rows} held-out rows and {case.samples} samples of {name}" for name, case in CASES.items()
    )
    return Conclusion(
        "holds" if all(none_worse) else "partly" if some_better else "does not",
        f"bits per token saved at equal processor seconds, longest training: {'; '.join(told)}; NELBO better in "
        f"{len(nelbo.get('better', ()))} and worse in {len(nelbo.get('worse', ()))} of {n} comparisons; samples at "
        f"equal cost better in {len(samples.get('better', ()))} and worse in {len(samples.get('worse', ()))} of {m}",
        {name: rounded(figure) for name, figure in figures.items()},
        f"{len(CLAIM.seeds)} seeds; for each {drawn_rows}",
    )
