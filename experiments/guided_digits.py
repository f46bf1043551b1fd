"""Class-conditional digits: what is a label worth, and what does guidance add to it?

Two trainings of one small transformer on scikit-learn's digits, alike but for labels: with classes, under label dropout
of a tenth, and without. Bits per token of the held-out rows (both halves; nothing is chosen on them): the first model
with each row's label, the first without any, and the second. A label's own information is log2(10) bits in 64 tokens,
0.052 a token: what labels save beyond that is what is learned of the pictures by their help, or, against the first
model without them, what a tenth of the rows are too few to teach.

Then digits of every class are drawn in 16 equal steps of random order, with the label alone and guided (weight w:
``p(x | label)^(1 + w) / p(x)^w`` at each position), on common random numbers. A forest of random trees, that of
``tuned_schedules``, says which digit each sample is. It is not perfect: held-out pictures say how often it is right.
The weight is the one of the most recovered labels on one set of samples, and is judged on another set, of other seeds.
Beside it stand the distance to the nearest training picture and the mean distance between samples of one class, since
guidance may buy its labels by drawing less.

Claimed before measuring: at the chosen weight more labels are recovered than with the label alone, and labels lower
the held-out NELBO of the model that knows them, each with a 95 % interval (over samples, over rows) without 0.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from mdm_jax import models, tasks
from mdm_jax.evaluation import held_out_nelbo
from mdm_jax.models import Denoiser, Params
from mdm_jax.sampling import sample
from mdm_jax.tasks import Task
from mdm_jax.theory import plans
from mdm_jax.training import Settings, fit

CLAIM = Claim(
    "digits drawn under guidance are recognised as the label that was asked for more often than those drawn with the "
    "label alone, at a weight chosen on other samples, and labels lower the held-out NELBO (95 % intervals without 0)",
    source="arXiv 2207.12598",
    minutes=10,
    seeds=(0, 1, 2, 3),
    needs={"sklearn": "digits"},
)
CLASSES, STEPS = 10, 16
WEIGHTS = (0.5, 1.0, 2.0, 4.0)
TO_CHOOSE, TO_JUDGE = 20, 60
"""Samples of each class."""
SIZES = 64, 2, 4
"""Width, depth and heads."""
SETTINGS = Settings(steps=1500, batch=16, ema_decay=0.99)
REPEATS = 32
Z = 1.959964


def share(values: Float[np.ndarray, " rows"]) -> list[float]:
    """A share of rows and its 95 % interval, Wilson's: it is one at the ends too."""
    n, mean = len(values), float(values.mean())
    middle, half = mean + Z**2 / (2 * n), Z * np.sqrt(mean * (1 - mean) / n + Z**2 / (4 * n**2))
    low, high = ((middle + sign * half) / (1 + Z**2 / n) for sign in (-1, 1))
    return [mean, float(min(low, mean)), float(max(high, mean))]


def interval(values: Float[np.ndarray, " rows"]) -> list[float]:
    """The mean of rows and its 95 % interval."""
    mean, half = float(values.mean()), Z * float(values.std(ddof=1) / np.sqrt(len(values)))
    return [mean, mean - half, mean + half]


@functools.cache
def trained(spec: str, folder: Path | None) -> tuple[Denoiser, Params, Task]:
    """A training on the digits, with labels or without; without a folder a tiny one, in memory."""
    task = tasks.from_spec(spec)
    classes = 0 if tasks.context_of(task, "train") is None else CLASSES
    width, depth, heads = (16, 1, 2) if folder is None else SIZES
    denoiser = models.transformer(task.vocab_size, task.length, width, depth, heads, classes=classes)
    settings = Settings(steps=20, batch=4) if folder is None else SETTINGS
    place = None if folder is None else folder / ("labels" if classes else "none")
    return denoiser, fit(denoiser, task, settings=settings, directory=place).params, task


def bits(experiment: Experiment) -> dict[str, Any]:
    """Bits per token of held-out rows: with labels, without them, and of the model that never had any."""
    folder = None if experiment.quick else experiment.folder
    (knows, params, task), (plain, others, _) = (trained(spec, folder) for spec in ("digits?labels", "digits"))
    most, repeats = (8, 1) if experiment.quick else (None, REPEATS)
    rows = np.concatenate([task.validation, task.test])[:most]
    labels = np.concatenate([tasks.context_of(task, part)["label"] for part in ("validation", "test")])[:most]
    bit, key = task.length * np.log(2), jax.random.key(0)
    given, none = (
        held_out_nelbo(knows, params, rows, key=key, repeats=repeats, context=context) / bit
        for context in ({"label": labels}, None)
    )
    never = held_out_nelbo(plain, others, rows, key=key, repeats=repeats) / bit
    means = {"with labels": given, "without": none, "never": never}
    return {
        **{name: interval(values) for name, values in means.items()},
        "gain": interval(none - given),
        "gain over never": interval(never - given),
        "at most": float(np.log2(CLASSES) / task.length),
        "rows": len(rows),
    }


def forest(task: Task, trees: int) -> tuple[Any, dict[str, Any]]:
    """The classifier, fitted on the training pictures; and how often it is right of held-out ones, and what these are
    like.
    """
    from sklearn.ensemble import ExtraTreesClassifier

    parts = {part: tasks.context_of(task, part)["label"] for part in ("train", "validation", "test")}
    judge = ExtraTreesClassifier(trees, random_state=0).fit(task.train, parts.pop("train"))
    rows = np.concatenate([getattr(task, part) for part in parts])
    labels = np.concatenate(list(parts.values()))
    right = (judge.predict(rows) == labels).astype(float)
    return judge, {"right": share(right), "distance": interval(task.score(rows)), "variety": variety(rows, labels)}


def drawn(
    denoiser: Denoiser, params: Params, length: int, weight: float, of_each: int, seed: int
) -> Int[np.ndarray, "rows length"]:
    """Samples of every class, ``of_each`` of them; with the label alone at weight 0."""
    labels = models.label_context(denoiser, np.repeat(np.arange(CLASSES), of_each))
    if weight == 0:
        guided, context = denoiser, labels
    else:
        guided, context = models.guided(denoiser), models.guidance(length, denoiser, weight, labels)
    plan, key = plans.uniform(length, STEPS), jax.random.key(seed)
    made = sample(guided, params, plan, len(labels["label"]), key=key, context=context)
    return np.asarray(made.tokens)


def variety(tokens: Int[np.ndarray, "rows length"], labels: Int[np.ndarray, " rows"]) -> float:
    """The distance between two pictures of one class, the mean over pairs and classes."""
    found = []
    for label in np.unique(labels):
        rows = tokens[labels == label].astype(np.float64)
        apart = np.sqrt(((rows[:, None] - rows[None]) ** 2).sum(axis=-1))
        found.append(apart.sum() / (len(rows) * (len(rows) - 1)))
    return float(np.mean(found))


def recovery(experiment: Experiment) -> dict[str, Any]:
    """How often the asked label is recovered: by weight where that is chosen, and at the chosen weight on new seeds."""
    denoiser, params, task = trained("digits?labels", None if experiment.quick else experiment.folder)
    judge, held_out = forest(task, 10 if experiment.quick else 300)
    choose, many = (2, 2) if experiment.quick else (TO_CHOOSE, TO_JUDGE)
    weights = WEIGHTS[:1] if experiment.quick else WEIGHTS

    def right(weight: float, of_each: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        tokens = drawn(denoiser, params, task.length, weight, of_each, seed)
        return tokens, (judge.predict(tokens) == np.repeat(np.arange(CLASSES), of_each)).astype(float)

    classes = np.repeat(np.arange(CLASSES), many)
    tried = {weight: right(weight, choose, 1)[1] for weight in (0.0, *weights)}
    best = max(weights, key=lambda weight: (tried[weight].mean(), -weight))
    (plain, alone), (guided, more) = (right(weight, many, 2) for weight in (0.0, best))
    return {
        "held out": held_out,
        "tried": {str(weight): share(values) for weight, values in tried.items()},
        "weight": best,
        "label alone": share(alone),
        "guided": share(more),
        "gain": interval(more - alone),
        "distance": {"label alone": interval(task.score(plain)), "guided": interval(task.score(guided))},
        "variety": {"label alone": variety(plain, classes), "guided": variety(guided, classes)},
        "shown": {"label alone": plain[::many], "guided": guided[::many]},
        "rows": {"choosing": choose * CLASSES, "judging": many * CLASSES},
    }


def run(experiment: Experiment) -> Run:
    """Train, measure, draw."""
    results = {name: experiment.part(name, lambda of=of: of(experiment)) for name, of in PARTS.items()}
    return Run(results, picture(results))


PARTS = {"bits": bits, "recovery": recovery}


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """Both intervals without 0: holds; one of them: partly."""
    cost, found = results["bits"], results["recovery"]
    gain, labels = found["gain"], cost["gain"]
    held = [gain[1] > 0, labels[1] > 0]
    figures: dict[str, Any] = {
        "labels recovered with the label alone": found["label alone"],
        "labels recovered under guidance": found["guided"],
        "more under guidance": gain,
        "weight": found["weight"],
        "held-out pictures that are recognised": found["held out"]["right"],
        "a label's own information in bits per token, at most": cost["at most"],
        "bits per token with labels": cost["with labels"],
        "bits per token without": cost["without"],
        "bits per token of the model that never had labels": cost["never"],
        "bits per token less by labels": labels,
        "bits per token less than the model that never had labels": cost["gain over never"],
        **{f"distance to the nearest training picture, {how}": value for how, value in found["distance"].items()},
        "distance to the nearest training picture, held-out pictures": found["held out"]["distance"],
        **{f"distance between samples of a class, {how}": value for how, value in found["variety"].items()},
        "distance between pictures of a class, held-out pictures": found["held out"]["variety"],
        **{f"labels recovered while choosing, weight {w}": value for w, value in found["tried"].items()},
    }
    told = (
        f"the label asked for is recovered in {found['guided'][0]:.3f} of guided samples (weight {found['weight']:g}) "
        f"and {found['label alone'][0]:.3f} of those with the label alone, {gain[0]:+.3f} ({gain[1]:+.3f} to "
        f"{gain[2]:+.3f}); samples of a class lie {found['variety']['guided']:.1f} apart instead of "
        f"{found['variety']['label alone']:.1f}, held-out pictures {found['held out']['variety']:.1f}; without its "
        f"label a row costs {labels[0]:.3f} ({labels[1]:.3f} to {labels[2]:.3f}) bits per token more"
    )
    rows = found["rows"]
    return Conclusion(
        "holds" if all(held) else "partly" if any(held) else "does not",
        told,
        figures,
        f"{rows['judging']} samples each way, {rows['choosing']} for each weight to choose; {cost['rows']} held-out "
        "rows; one training of each model",
    )


def picture(results: Mapping[str, Any]) -> Figure:
    """Labels recovered by weight where it was chosen, and judged; a sample of each class, both ways."""
    found = results["recovery"]
    figure = Figure(figsize=(9, 3), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.7])
    weights = [float(weight) for weight in found["tried"]]
    values = np.array(list(found["tried"].values()))
    ends = [values[:, 0] - values[:, 1], values[:, 2] - values[:, 0]]
    left.errorbar(weights, values[:, 0], ends, fmt="o:", color="#8a949e", label="choosing")
    for weight, how in ((0.0, "label alone"), (found["weight"], "guided")):
        mean, low, high = found[how]
        label = "judging" if how == "guided" else None
        left.errorbar([weight], [mean], [[mean - low], [high - mean]], fmt="s", color="#c2410c", label=label)
    left.axhline(
        found["held out"]["right"][0], color="#111111", linewidth=0.8, linestyle="--", label="held-out pictures"
    )
    left.set(xlabel="guidance weight", ylabel="labels recovered")
    left.legend(fontsize=7)
    shown = [np.asarray(found["shown"][how]).reshape(CLASSES, 8, 8) for how in ("label alone", "guided")]
    grid = np.full((2 * 10 - 1, 10 * CLASSES - 1), np.nan)
    for row, pictures in enumerate(shown):
        for column, one in enumerate(pictures):
            grid[10 * row : 10 * row + 8, 10 * column : 10 * column + 8] = one
    right.imshow(grid, cmap="gray_r", vmin=0, vmax=16)
    right.set_yticks([3.5, 13.5], ["label alone", f"guided, w = {found['weight']:g}"], fontsize=8)
    right.set_xticks(10 * np.arange(CLASSES) + 3.5, map(str, range(CLASSES)), fontsize=8)
    right.set_title("the first sample of each class", fontsize=9)
    return figure
