"""rxnmapper's ALBERT, a published model of chemical reactions, with temperatures and plans chosen after training.

The weights are those inside the package rxnmapper (MIT; .88 million parameters, 12 times one layer), read from its
wheel (:mod:`experiments.tools.published_models`); it was trained on the reactions of patents as a masked language
model. The reactions here are made from templates (:mod:`experiments.tools.made_reactions`), all of one length:
products copy what stands in their reactants. Substituted rings are split in two halves: reactions of the one choose, of
the other judge, and no ring is in two reactions, so that rows count as independent; the seven templates are in both.

* *Temperatures*, one for each share of masks (``evaluation.calibrate``), on the choosing rows;
* *plans* for 4, 8, 16 and 32 steps by the posterior of a profile of 512 passes, of the model with its temperatures;
* *judged* is the teacher-forced cost on the other rows: optimal, equal, cosine sizes and the best Beta schedule in
  random order, all on the same paths; and orders by confidence along their own path, at the passes that they take;
* *samples* in 8 steps, optimal and equal: whether they read as reactions at all, and whether the product has no more
  atoms of any element than the reactants.

In the quick form, where there is no wheel, a tiny model of the same names and random numbers takes its place.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

import mdm_jax as mdm
from experiments.tools import made_reactions, published_told
from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from experiments.tools.published_models import (
    Asked,
    answers,
    interval,
    made_up,
    of_real_tokens,
    real_tokens,
    unpacked,
    wheel_of,
)
from mdm_jax import models
from mdm_jax.support.progress import remark
from mdm_jax.theory import plans

CLAIM = Claim(
    "on held-out reactions rxnmapper's model with temperatures costs in 8 steps of optimal sizes at most .02 bits per "
    "token more than in 16 equal ones (upper end of the interval), the temperatures save at least .05 bits per token "
    "of its NELBO, and in 8 passes the order by the largest probability with equal sizes costs less than random order "
    "with optimal ones",
    source="ours",
    minutes=8,
    seeds=(0, 1, 2, 3, 4, 5),
    wheels=("rxnmapper",),
)
LENGTH, CHOOSING, JUDGING = 83, 64, 64
ASKED = Asked(samples=64)
QUICK = Asked(
    budgets=(4, 8), encodings=16, most=16, passes=(8,), margin=False, thresholds=(), bare=(8,), samples=4, grid=8
)
FOLDER = "rxnmapper/models/transformers/albert_heads_8_uspto_all_1310k/"
FILES = ("config.json", "pytorch_model.bin", "vocab.txt")


def run(experiment: Experiment) -> Run:
    """Rows, the model, the questions, and samples."""
    rings = made_reactions.rings()
    order = np.random.default_rng(0).permutation(len(rings))
    halves = [[rings[i] for i in order[half::2]] for half in (0, 1)]
    few = 4 if experiment.quick else None
    made = [
        made_reactions.reactions(half, few or most, LENGTH, seed)
        for half, most, seed in zip(halves, (CHOOSING, JUDGING), (1, 2))
    ]
    folder = experiment.folder / "checkpoint"
    if experiment.quick and wheel_of("rxnmapper") is None:
        remark("reactions: no wheel of rxnmapper in MDM_JAX_WHEELS; a made-up model takes its place.")
        every = sorted({token for half in made for _, tokens in half for token in tokens})
        source = made_up("albert", every, LENGTH, folder)
    else:
        source = unpacked("rxnmapper", [FOLDER + name for name in FILES], folder)
    loaded = models.load_pretrained(source)
    tokens = real_tokens(loaded)
    denoiser = of_real_tokens(loaded, tokens)
    number = {token: i for i, token in enumerate(tokens)}
    rows = [np.array([[number[token] for token in reaction] for _, reaction in half], np.int32) for half in made]
    asked = QUICK if experiment.quick else ASKED
    groups = [f"{i:03}" for i in range(len(rows[1]))]
    results = answers(denoiser, loaded.params, rows[0], rows[1], groups, asked, experiment.part)
    results["templates"] = {
        name: [[one for one, _ in half].count(name) for half in made] for name in made_reactions.TEMPLATES
    }
    results["vocabulary"] = len(tokens)
    results["samples"] = experiment.part("samples", lambda: samples(denoiser, loaded.params, results, tokens, asked))
    return Run(results, published_told.picture(results, "token"))


def samples(
    denoiser: models.Denoiser, params: Any, results: Mapping[str, Any], tokens: list[str], asked: Asked
) -> dict[str, Any]:
    """Reactions drawn in 8 steps, by optimal and by equal sizes."""
    warm = results["temperatures"]
    model = models.calibrated(denoiser, np.asarray(warm["fractions"]), np.asarray(warm["temperatures"]))
    best = next(one["sizes"] for one in results["compared"] if one["steps"] == 8)
    told = {}
    for name, plan in (
        ("optimal", plans.Plan(np.asarray(best), "optimal")),
        ("equal", plans.uniform(results["length"], 8)),
        ("one token", plans.uniform(results["length"], results["length"])),
    ):
        out = mdm.sample(model, params, plan, rows=asked.samples, key=mdm.key(5))
        drawn = [[tokens[i] for i in row] for row in np.asarray(out.tokens)]
        bits = -np.asarray(out.log_prob, np.float64) / (results["length"] * np.log(2))
        told[name] = {
            "readable": interval([float(made_reactions.is_readable(one)) for one in drawn]),
            "with a product of these atoms": interval([float(made_reactions.has_product(one)) for one in drawn]),
            "own bits per token": interval(bits),
            "shown": ["".join(one) for one in drawn[:3]],
        }
    return told


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """The verdict, and samples beside it."""
    more = {
        f"samples, {name}: {what}": value
        for name, one in results["samples"].items()
        for what, value in one.items()
        if what != "shown"
    }
    size = f"{results['choosing']} reactions choose, {results['judging']} judge; none shares a ring with another"
    return published_told.concluded(results, "token", size, more)
