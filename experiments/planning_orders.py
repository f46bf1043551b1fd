"""Does it pay to plan the order by what the model is sure of? (arXiv 2502.06768, on Sudokus and on additions)

Three trainings of a small model of each task with random masks (``tools/rule_models.py``). ``sudoku9``: puzzles with 26
clues and one solution, 55 cells to fill in. ``arithmetic``: two numbers of 16 digits are given, 33 tokens are to be
found, the carries and the sum. Right: every token is. Each training has test rows of its own.

Orders: random; by the largest probability, by the margin between the two largest, by the smallest entropy; on additions
also what a person does, least digit first (a digit of the sum, the carry into the next, and so on), and the reverse of
that. Passes of equal sizes, from few to one token a pass; every token the argmax ("greedy") or drawn at temperature 1.
Rows and random numbers are the same for all orders, so that differences within a training are paired. Intervals are
Student's t over the three trainings, each with its rows.

Why two orders come to the same is told by ``tools/disputed.py``: along the path of the largest probability, how often
another measure would have revealed other tokens, and how sure the model was of these. On additions the rank correlation
of its path with least digit first tells whether it finds that order by itself.

Known before: one training on Sudokus (``sudoku9``), greedy, where the margin gained nothing over the largest
probability; on additions the mean over random order and the largest probability, in up to 16 passes (``beta_rules``).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int
from matplotlib.figure import Figure

import mdm_jax as mdm
from experiments.tools import rule_models
from experiments.tools.disputed import disputed
from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from experiments.tools.schedule_cells import agreement
from experiments.tools.schedule_tables import interval
from mdm_jax.evaluation import Execution, evaluate
from mdm_jax.sampling import Blind, Sampler, rules
from mdm_jax.sampling.readings import margin, negative_entropy
from mdm_jax.tasks import given_of
from mdm_jax.theory import plans
from mdm_jax.training import Run as Trained

CLAIM = Claim(
    "on 9 x 9 Sudokus and on additions, greedy and drawn, the order by the largest probability gets at least ten "
    "points more right than random order at every number of passes, and the margin more than the largest probability "
    "in the mean over passes; on additions the largest probability, which is not told how one adds, gets at no number "
    "of passes two points fewer right than least digit first",
    source="arXiv 2502.06768, and ours; one training on Sudokus was known (sudoku9)",
    minutes=20,
    seeds=(0, 1, 2),
)
CLUES = 26
PASSES = {"sudoku9": (5, 10, 20, 55), "arithmetic": (2, 4, 8, 16, 33)}
ROWS = {"sudoku9": 300, "arithmetic": 512}
QUICK_ROWS = 4
TEMPERATURES = {"greedy": 0.0, "drawn": 1.0}
SUREST = {"largest probability": None, "margin": margin, "smallest entropy": negative_entropy}
RANDOM, LARGEST, MARGIN, NATURAL, REVERSE = "random", "largest probability", "margin", "least digit first", "reverse"
MUCH, FEW = 10.0, 2.0
"""Points: what the largest probability is to gain over random order, and what it may lack of least digit first."""
LOOKED_AT = {"sudoku9": (20, 55), "arithmetic": (8, 33)}
"""Numbers of passes along which measures are compared."""
COLOURS = {
    RANDOM: "#777777", LARGEST: "#1d6fb8", MARGIN: "#2e8059", "smallest entropy": "#b8901d",
    NATURAL: "#c2410c", REVERSE: "#8b5cf6",
}  # fmt: skip


def run(experiment: Experiment) -> Run:
    """A part for each training of each task."""
    results: dict[str, list[Any]] = {}
    for name in PASSES:
        for seed in CLAIM.seeds[: 1 if experiment.quick else None]:
            part = experiment.part(f"{name} {seed}", lambda n=name, s=seed: one(experiment.quick, n, s))
            results.setdefault(name, []).append(part)
    return Run(results, picture(results))


def one(quick: bool, name: str, seed: int) -> dict[str, Any]:
    """A training: what every order gets right, what only one of two gets right, and how the paths differ."""
    trained, canvas, truth = (_sudokus if name == "sudoku9" else _sums)(quick, seed)
    free = int((canvas[0] == trained.denoiser.mask_id).sum())
    passes = PASSES[name][:2] if quick else PASSES[name]
    found = {
        choice: [_right(trained, canvas, truth, samplers(name, free, steps), seed, heat) for steps in passes]
        for choice, heat in TEMPERATURES.items()
    }
    right = {
        choice: {order: [round(float(one[order].mean()), 4) for one in by_passes] for order in by_passes[0]}
        for choice, by_passes in found.items()
    }
    only = {
        choice: {
            one: [round(float((each[one] & ~each[other]).mean()), 4) for each in by_passes]
            for one, other in ((LARGEST, MARGIN), (MARGIN, LARGEST))
        }
        for choice, by_passes in found.items()
    }
    looked_at = passes[-1:] if quick else LOOKED_AT[name]
    return {"right": right, "only": only, "paths": _paths(trained, canvas, name, free, looked_at)}


def _sudokus(quick: bool, seed: int) -> tuple[Trained, np.ndarray, np.ndarray]:
    trained, task = rule_models.sudokus(seed, quick)
    made = task.puzzles(QUICK_ROWS if quick else ROWS["sudoku9"], seed=seed, clues=CLUES)
    return trained, made.canvas, made.solution


def _sums(quick: bool, seed: int) -> tuple[Trained, np.ndarray, np.ndarray]:
    trained, task = rule_models.sums(seed, quick)
    some = np.random.default_rng(seed).permutation(len(task.test))[: QUICK_ROWS if quick else ROWS["arithmetic"]]
    truth = np.asarray(task.test, np.int32)[some]
    given = given_of(task, "test")
    assert given is not None, "the two numbers of an addition are given"
    return trained, np.where(given[some], truth, trained.denoiser.mask_id).astype(np.int32), truth


def samplers(name: str, free: int, steps: int) -> dict[str, Sampler]:
    """All orders of a task, in passes of equal sizes."""
    plan = plans.uniform(free, steps)
    made: dict[str, Sampler] = {RANDOM: plan}
    made |= {order: rules.surest(plan) if by is None else rules.surest(plan, by) for order, by in SUREST.items()}
    if name == "arithmetic":
        natural = least_digit_first((free - 1) // 2)
        made |= {NATURAL: Blind(plan, order=natural), REVERSE: Blind(plan, order=natural[::-1])}
    return made


def least_digit_first(digits: int) -> Int[np.ndarray, " positions"]:
    """The positions of an addition as one who adds by hand fills them in; behind them those of the two numbers.

    Example:
        >>> "".join("0027+0095=__^^00122"[at] for at in least_digit_first(4)[:9])  # 2, carry, 2, carry, 1, ...
        '2^2^1_0_0'
    """
    carries, total = 2 * digits + 2, 3 * digits + 2
    order = [total + digits]
    for column in range(digits - 1, -1, -1):
        order += [carries + column, total + column]
    return np.array([*order, *range(carries)], np.int32)


def _right(
    trained: Trained, canvas: np.ndarray, truth: np.ndarray, made: Mapping[str, Sampler], seed: int, temperature: float
) -> dict[str, np.ndarray]:
    """Which rows are right, bool[rows], by order."""
    found = evaluate(
        trained.denoiser,
        trained.params,
        made,
        len(canvas),
        lambda tokens: (tokens == truth).all(axis=1),
        key=mdm.key(seed),
        temperature=temperature,
        canvas=canvas,
        execution=Execution(progress=False),
    )
    return {order: values > 0 for order, values in zip(found.names, found.values())}


def _paths(
    trained: Trained, canvas: np.ndarray, name: str, free: int, looked_at: Sequence[int]
) -> dict[str, dict[str, Any]]:
    """By passes: what other measures dispute along the greedy path of the largest probability."""
    model, key = (trained.denoiser, trained.params), mdm.key(0)
    paths: dict[str, dict[str, Any]] = {}
    for steps in looked_at:
        rule = rules.surest(plans.uniform(free, steps))
        taken = mdm.sample(*model, rule, key=key, canvas=canvas, temperature=0.0)
        told: dict[str, Any] = {order: disputed(*model, taken, by) for order, by in SUREST.items() if by is not None}
        if name == "arithmetic":
            natural, when = least_digit_first((free - 1) // 2)[:free], np.asarray(taken.reveal_step)
            each = [agreement(range(free), row[natural].tolist()) for row in when]
            told["rank correlation with least digit first"] = np.mean([one for one in each if one is not None])
        paths[str(steps)] = told
    return paths


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """Over random order at every number of passes, over the largest probability in the mean, and least digit first."""
    figures: dict[str, Any] = {}
    over_random, over_largest, lacking = {}, {}, {}
    for name, trainings in results.items():
        _tell_paths(figures, name, trainings)
        for choice in TEMPERATURES:
            place, orders = f"{name}, {choice}", trainings[0]["right"][choice]
            passes = PASSES[name][: len(orders[RANDOM])]
            for order in orders:
                for steps, each in zip(passes, _right_of(trainings, choice, order).T):
                    figures[f"{place}, {order}, {steps} passes"] = _tidy(interval(each.tolist()))
            gains = {pair: _points(trainings, choice, *pair) for pair in _pairs(orders)}
            for (more, less), found in gains.items():
                for steps, each in zip(passes, found.T):
                    figures[f"{place}, {steps} passes: {more} over {less}"] = _tidy(interval(each.tolist()))
                mean = interval(found.mean(axis=1).tolist())
                figures[f"{place}: {more} over {less}, mean over passes"] = _tidy(mean)
            over_random[place] = [interval(each.tolist()) for each in gains[LARGEST, RANDOM].T]
            over_largest[place] = interval(gains[MARGIN, LARGEST].mean(axis=1).tolist())
            if NATURAL in orders:
                lacking[place] = [interval(each.tolist()) for each in gains[LARGEST, NATURAL].T]
            for order, said in ((LARGEST, "the largest probability"), (MARGIN, "the margin")):
                only = np.mean([one["only"][choice][order] for one in trainings])
                figures[f"{place}: points that only {said} of these two gets right"] = round(100 * float(only), 2)
    parts = [all(low >= MUCH for _, low, _ in each) for each in over_random.values()]
    parts += [low > 0 for _, low, _ in over_largest.values()]
    parts += [all(low > -FEW for _, low, _ in each) for each in lacking.values()]
    figures |= {"parts": len(parts), "parts that hold": sum(parts)}
    said = [f"{place} {_span(each)}" for place, each in over_random.items()]
    told = [f"{place} {mean:+.1f} ({low:+.1f} to {high:+.1f})" for place, (mean, low, high) in over_largest.items()]
    last = [f"{place} {_span(each)}" for place, each in lacking.items()]
    return Conclusion(
        "holds" if all(parts) else "partly" if any(parts) else "does not",
        f"points more right by the largest probability than in random order: {'; '.join(said)}; by the margin than by "
        f"the largest probability, mean over passes: {'; '.join(told)}; by the largest probability than least digit "
        f"first: {'; '.join(last)}",
        figures,
        f"{len(CLAIM.seeds)} trainings of each task; of each {ROWS['sudoku9']} puzzles or {ROWS['arithmetic']} "
        "additions",
    )


def _pairs(orders: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Which orders are held against each other, the one that is to be better first."""
    made = [(LARGEST, RANDOM), (MARGIN, LARGEST)]
    return made + [(LARGEST, NATURAL), (NATURAL, RANDOM)] * (NATURAL in orders)


def _right_of(trainings: Sequence[Mapping[str, Any]], choice: str, order: str) -> np.ndarray:
    """Shares that are right, float[trainings, passes]."""
    return np.array([one["right"][choice][order] for one in trainings])


def _points(trainings: Sequence[Mapping[str, Any]], choice: str, more: str, less: str) -> np.ndarray:
    """Points more of one order than of another, float[trainings, passes]."""
    return 100 * (_right_of(trainings, choice, more) - _right_of(trainings, choice, less))


def _tell_paths(figures: dict[str, Any], name: str, trainings: Sequence[Mapping[str, Any]]) -> None:
    """What is disputed along the path of the largest probability, in the mean over trainings."""
    for steps in trainings[0]["paths"]:
        each = [one["paths"][steps] for one in trainings]
        for what, first in each[0].items():
            place = f"{name}, {steps} passes, {what}"
            if isinstance(first, Mapping):
                for kind in first:
                    figures[f"{place}: {kind}"] = round(float(np.mean([one[what][kind] for one in each])), 5)
            else:
                figures[place] = _tidy(interval([one[what] for one in each]))


def _tidy(found: Sequence[float]) -> list[float]:
    return [round(one, 4) for one in found]


def _span(each: Sequence[Sequence[float]]) -> str:
    means = [one[0] for one in each]
    return f"{min(means):+.1f} to {max(means):+.1f}"


def picture(results: Mapping[str, Any]) -> Figure:
    """What every order gets right against the number of passes: a panel for each task and choice."""
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    for row, (name, trainings) in zip(figure.subplots(2, 2, squeeze=False), results.items()):
        for axes, choice in zip(row, TEMPERATURES):
            for order in trainings[0]["right"][choice]:
                shares = 100 * np.array([interval(one.tolist()) for one in _right_of(trainings, choice, order).T])
                ends = [shares[:, 0] - shares[:, 1], shares[:, 2] - shares[:, 0]]
                passes = PASSES[name][: len(shares)]
                axes.errorbar(
                    passes, shares[:, 0], ends, fmt="o-", color=COLOURS[order], markersize=3, linewidth=1, label=order
                )
            axes.set(xscale="log", ylim=(-3, 103), xlabel="passes of the model", title=f"{name}, {choice}")
            axes.set_xticks(PASSES[name], [str(one) for one in PASSES[name]])
            axes.minorticks_off()
            axes.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel("right, %")
    marks, labels = figure.axes[-1].get_legend_handles_labels()
    figure.legend(marks, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure
