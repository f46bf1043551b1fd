"""One token at a time in random order is what ancestral sampling becomes as its grid gets fine (arXiv 2409.02908).

* Exact: the total variation between the output law of ancestral sampling on uniform grids of 2 to 1,024 steps and that
  of one token at a time in random order, where the two differ most: random conditional laws that no joint law has.
* The demo recipe's ``text`` model: bits per character of samples under n-grams, the samples' own entropy, and nfe.
  All samplers share keys: the number that places a token on a grid is the one that ranks it in the order, and a
  position's token comes from a number of its own. So rows whose tokens all fall into different steps are identical, and
  differences by row are paired.

Empty steps call no model: a grid of K steps needs ``sum_k 1 - (1 - 1/K)^length`` calls, never more than the length. The
steps that a row does not use are left out before the loop, row by row (the model is not told the time, so nothing
changes but the waiting: with several rows ``sample`` makes a pass wherever *any* of them reveals something).

Claimed before measuring: the total variation falls like 1/K (a slope of -1 within .1 on logarithmic axes, from 16 steps
on, for every table), and on the finest grid the samples' trigram score is that of first hitting within two standard
errors. Partly: one of the two.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run, plain
from experiments.tools.judging import BATCH, judged, model_of, summary
from mdm_jax.evaluation import exact
from mdm_jax.models.denoiser import Denoiser, Params
from mdm_jax.sampling import ancestral_order, blind_loop, first_hitting, grid_fractions
from mdm_jax.tasks.text_files import TextTask
from mdm_jax.theory.plans import grids

CLAIM = Claim(
    "the total variation between ancestral sampling and one token at a time in random order falls like 1/K (slope -1 "
    "within .1, every table), and on a grid of 2,048 steps the text samples' trigram score is that of one at a time "
    "within two standard errors",
    source="arXiv 2409.02908",
    minutes=4,
    seeds=(0, 1, 2, 3, 4, 5, 6, 7),
)
LENGTH, VOCABULARY, TABLES, SPREAD = 5, 3, 8, 1.5
EXACT = tuple(2**k for k in range(1, 11))
FIT_FROM = 16
STEPS = (8, 32, 128, 512, 2048)
ROWS = 32
HITTING = "first hitting"
Z = 1.96


def variations(seed: int) -> list[float]:
    """Total variation between ancestral sampling and first hitting for each number of steps: one random denoiser."""
    states = (VOCABULARY + 1) ** LENGTH
    logits = SPREAD * jax.random.normal(jax.random.key(seed), (states, LENGTH, VOCABULARY))
    one_by_one = exact.random_order_law(logits, np.ones(LENGTH, np.int64))
    found = []
    for steps in EXACT:
        grid = np.pad(grids.uniform(steps).fractions, (0, EXACT[-1] - steps), mode="edge")  # one executable
        found.append(float(exact.total_variation(exact.ancestral_law(logits, grid), one_by_one)))
    return found


def slope(values: list[float]) -> float:
    """Of the logarithm of values against that of steps, from ``FIT_FROM`` on."""
    steps = np.array(EXACT)
    late = steps >= FIT_FROM
    return float(np.polyfit(np.log(steps[late]), np.log(np.array(values)[late]), 1)[0])


def drawn(denoiser: Denoiser, params: Params, length: int, steps: int | None, rows: int) -> dict[str, np.ndarray]:
    """Samples on a grid, or one token at a time (``None``), with common keys; and the model calls of each row."""
    tokens, nfe = [], []
    for start in range(0, rows, BATCH):
        count = min(BATCH, rows - start)
        order_key, token_key = jax.random.split(jax.random.fold_in(jax.random.key(0), start))
        free = jnp.ones((count, length), bool)
        if steps is None:
            order = first_hitting(order_key, free)
        else:
            order = ancestral_order(order_key, jnp.asarray(grid_fractions([grids.uniform(steps)], count)), free)
        canvas = jnp.full((count, length), denoiser.mask_id, jnp.int32)
        made = blind_loop(denoiser, params, canvas, order, key=token_key)
        tokens.append(np.asarray(made.tokens))
        nfe.append(np.asarray(made.nfe))
    return {"tokens": np.concatenate(tokens), "nfe": np.concatenate(nfe)}


def of_samples(experiment: Experiment) -> dict[str, Any]:
    """Scores, entropies and model calls of the text model's samples."""
    denoiser, params, task = model_of("text", experiment.quick)
    assert isinstance(task, TextTask)
    rows = 8 if experiment.quick else ROWS

    def sampled(steps: int | None) -> dict[str, np.ndarray]:
        name = HITTING if steps is None else f"a grid of {steps} steps"
        made = experiment.part(name, lambda: drawn(denoiser, params, task.length, steps, rows))
        return {what: np.asarray(values, np.int32) for what, values in made.items()}

    base = sampled(None)
    reference = judged(task, base["tokens"]) | {"5-gram": task.baselines(base["tokens"])["5-gram"]}
    found: dict[str, Any] = {}
    for steps in (None, *((8, 2048) if experiment.quick else STEPS)):
        mine = base if steps is None else sampled(steps)
        values = judged(task, mine["tokens"]) | {"5-gram": task.baselines(mine["tokens"])["5-gram"]}
        found[HITTING if steps is None else str(steps)] = {
            "nfe": summary(mine["nfe"]),
            "most_nfe": int(mine["nfe"].max()),
            "expected_nfe": task.length if steps is None else grids.uniform(steps).expected_steps(task.length),
            "identical_rows": float(np.mean(np.all(mine["tokens"] == base["tokens"], axis=1))),
            **{name: summary(x) for name, x in values.items()},
            "less_first_hitting": {name: summary(x - reference[name]) for name, x in values.items()},
        }
    return {"rows": rows, "length": task.length, "samplers": found}


def run(experiment: Experiment) -> Run:
    """The exact laws, then samples."""
    seeds = range(1 if experiment.quick else TABLES)
    laws = experiment.part("exact laws", lambda: [variations(seed) for seed in seeds])
    exact_ = {"steps": EXACT, "total_variation": laws, "slopes": [slope(values) for values in laws]}
    results = plain({"exact": exact_, "samples": of_samples(experiment)})
    return Run(results, picture(laws, results["samples"]))


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """The slopes, and how far the finest grid's samples are from first hitting's."""
    slopes, samples = results["exact"]["slopes"], results["samples"]
    finest = samples["samplers"][str(STEPS[-1])]
    gap = finest["less_first_hitting"]["score"]
    low, high = gap["mean"] - Z * gap["error"], gap["mean"] + Z * gap["error"]
    held = [all(abs(one + 1) <= 0.1 for one in slopes), abs(gap["mean"]) <= 2 * gap["error"]]
    return Conclusion(
        "holds" if all(held) else "partly" if any(held) else "does not",
        f"slopes {min(slopes):.3f} to {max(slopes):.3f}; on {STEPS[-1]:,} steps the trigram score differs by "
        f"{gap['mean']:+.3f} bits ({low:+.3f} to {high:+.3f})",
        {
            "slope": [float(np.median(slopes)), min(slopes), max(slopes)],
            "trigram bits above one at a time, finest grid": [gap["mean"], low, high],
            "share of identical rows, finest grid": finest["identical_rows"],
            **{f"model calls, {name}": one["nfe"]["mean"] for name, one in samples["samplers"].items()},
            **{f"model calls expected, {name}": one["expected_nfe"] for name, one in samples["samplers"].items()},
            **{f"trigram bits, {name}": one["score"]["mean"] for name, one in samples["samplers"].items()},
        },
        f"{len(slopes)} random denoisers, exactly; {samples['rows']} samples of {samples['length']} tokens a grid",
    )


def picture(laws: list[list[float]], samples: dict[str, Any]) -> Figure:
    """Total variation against steps; score and model calls of samples against steps."""
    figure = Figure(figsize=(9.5, 3.2), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for values in laws:
        left.plot(EXACT, values, "o-", color="#1d6fb8", markersize=3, linewidth=0.8, alpha=0.7)
    anchor = float(np.median([values[-1] for values in laws])) * EXACT[-1]
    left.plot(EXACT, anchor / np.array(EXACT), "--", color="#111111", linewidth=1, label="1 / K")
    left.set(xscale="log", yscale="log", title="total variation from one at a time, exact")
    left.legend(fontsize=8, frameon=False)
    found = samples["samplers"]
    steps = [int(name) for name in found if name != HITTING]
    base = found[HITTING]["score"]
    score = [found[str(k)]["score"] for k in steps]
    middle.errorbar(
        steps, [s["mean"] for s in score], [Z * s["error"] for s in score],
        fmt="o-", color="#c2410c", markersize=4, capsize=2, linewidth=1, label="ancestral",
    )  # fmt: skip
    middle.axhspan(
        base["mean"] - Z * base["error"], base["mean"] + Z * base["error"],
        color="#111111", alpha=0.12, linewidth=0,
    )  # fmt: skip
    middle.axhline(base["mean"], color="#111111", linewidth=1, label="one at a time")
    middle.set(xscale="log", title="trigram bits per character of samples")
    middle.legend(fontsize=8, frameon=False)
    right.plot(steps, [found[str(k)]["expected_nfe"] for k in steps], "-", color="#c2410c", linewidth=1)
    right.plot(steps, [found[str(k)]["nfe"]["mean"] for k in steps], "o", color="#c2410c", markersize=4)
    right.axhline(samples["length"], color="#111111", linewidth=1)
    right.set(xscale="log", title="nfe per sequence (line: expected)", ylim=(0, samples["length"] * 1.08))
    for axes in (left, middle, right):
        axes.set_xlabel("steps K of the grid", fontsize=8)
        axes.title.set_fontsize(9)
        axes.tick_params(which="both", labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
