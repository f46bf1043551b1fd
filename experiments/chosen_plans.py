"""What a plan chosen by a measured profile loses: by its posterior, as measured, as a Beta schedule, or not chosen.

A profile is measured with few passes of the model; a plan of K steps is chosen on it; its *regret* is what it costs
under the true profile beyond the best plan of at most K steps, exactly, in nats per sequence. On five exact laws
(:mod:`experiments.tools.profile_laws`) the truth is known. On two models, trained here for a few hundred steps, it is
what 512 held-out sequences say in 65,536 passes, and a measurement is that of some of these sequences, drawn without
replacement.

* ``posterior``: optimal for the mean of ``profiles.posterior_profile``;
* ``measured``: optimal for the measured profile, as it was done before;
* ``best beta``: the best of a grid of 24 x 24 Beta schedules by the measured profile, from sizes made once (a test
  compares with ``plans.search_beta``);
* ``uniform`` and ``sine``: not chosen at all.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Int
from matplotlib.figure import Figure

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from experiments.tools.profile_laws import Law, laws
from mdm_jax import models, tasks
from mdm_jax.evaluation import estimate_profile
from mdm_jax.evaluation.measuring import chosen_counts
from mdm_jax.support.statistics import standard_error, standard_errors
from mdm_jax.theory import plans, profiles, schedules
from mdm_jax.theory.plans import beta_search, round_sizes
from mdm_jax.theory.plans.rules import beta_fractions
from mdm_jax.theory.profiles import Profile
from mdm_jax.training import Settings, fit

CLAIM = Claim(
    "at 64 to 4,096 passes the plan chosen by the posterior of a profile never has a larger expected regret than the "
    "better of best beta and uniform by more than a standard error, and at 64 passes at most half that of the plan "
    "which is optimal for the measured profile",
    source="ours",
    minutes=6,
    seeds=(2000, 2001),
)
PASSES = (64, 256, 1024, 4096)
BUDGETS = (4, 8, 16)
SEEDS, SEEDS_OF_MODELS = 100, 60
METHODS = ("posterior", "measured", "best beta", "uniform", "sine")
RIVALS = ("best beta", "uniform")
GRID = 24
LENGTH, TRAINING_STEPS, SEQUENCES = 64, 300, 512
TEXTS = ("text", "code")


def run(experiment: Experiment) -> Run:
    """Regrets of all methods, law by law, then model by model."""
    seeds, passes = (3, PASSES[::3]) if experiment.quick else (SEEDS, PASSES)
    found = {}
    for number, law in enumerate(laws().values()):
        found[law.name] = experiment.part(law.name, lambda law=law, n=number: of_law(law, passes, seeds, n))
    for number, name in enumerate(TEXTS[:1] if experiment.quick else TEXTS):
        few = 3 if experiment.quick else SEEDS_OF_MODELS
        found[f"model of {name}"] = experiment.part(
            f"model of {name}", lambda name=name, n=number, few=few: of_model(name, passes, few, experiment.quick, n)
        )
    cells = [cell for every in found.values() for cell in every]
    for cell in cells:
        print(
            f"{cell['law']:14} {cell['passes']:5} passes, {cell['steps']:2} steps: "
            + ", ".join(f"{name} {cell['regret'][name]:.4f}" for name in METHODS)
            + f"; than {cell['rival']}: {cell['more']:+.4f} +- {cell['more_error']:.4f}"
        )
    return Run({"cells": cells, "seeds": seeds}, picture(cells))


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """Every cell against the better rival; the cells of fewest passes against the measured profile."""
    cells = results["cells"]
    worse = [cell for cell in cells if cell["more"] > cell["more_error"]]
    fewest = min(cell["passes"] for cell in cells)
    first = [times(cell) for cell in cells if cell["passes"] == fewest]
    least, typical = min(first), float(np.exp(np.mean(np.log(first))))
    ours = sum(cell["regret"]["posterior"] for cell in cells)
    rival = sum(cell["regret"][cell["rival"]] for cell in cells)
    holds = not worse and least >= 2
    most = max(cell["more"] for cell in cells)
    exact = [cell for cell in cells if not cell["law"].startswith("model")]
    return Conclusion(
        "holds" if holds else "partly" if len(worse) <= len(cells) / 10 and typical >= 2 else "does not",
        f"{len(worse)} of {len(cells)} cells lose more than the better of best beta and uniform by over a standard "
        f"error; at {fewest} passes the regret is {least:.1f} to {max(first):.1f} times smaller than that of the plan "
        "optimal for the measured profile",
        {
            "cells": len(cells),
            "cells worse than the better rival by over a standard error": len(worse),
            "most that a cell loses beyond the better rival, nats": most,
            "times less than by the measured profile at the fewest passes, least": least,
            "times less than by the measured profile at the fewest passes, typically": typical,
            "times less than by the measured profile, typically": float(
                np.exp(np.mean(np.log(list(map(times, cells)))))
            ),
            "times less than the better rival, all cells together": rival / ours,
            "regret by the posterior at the fewest passes, exact laws, nats": float(
                np.mean([cell["regret"]["posterior"] for cell in exact if cell["passes"] == fewest])
            ),
        },
        f"{len(exact)} cells of {results['seeds']} profiles on five exact laws, {len(cells) - len(exact)} on models",
    )


def times(cell: Mapping[str, Any]) -> float:
    """How many times less the posterior's plan loses than the plan optimal for the measured profile."""
    tiny = 1e-6  # nats: some plans are the best there is, every time
    return float((cell["regret"]["measured"] + tiny) / (cell["regret"]["posterior"] + tiny))


def of_law(law: Law, passes: tuple[int, ...], seeds: int, number: int) -> list[dict[str, Any]]:
    """The cells of an exact law."""
    truth, found = profiles.from_values(law.profile), []
    for many in passes:
        rngs = (np.random.default_rng([2000, number, many, seed]) for seed in range(seeds))
        found += cells_of(law.name, truth, many, (law.measured(rng, many) for rng in rngs))
    return found


def of_model(name: str, passes: tuple[int, ...], seeds: int, quick: bool, number: int) -> list[dict[str, Any]]:
    """The cells of a model trained briefly, measured on some of the sequences that tell the truth."""
    length, steps, width = (16, 10, 16) if quick else (LENGTH, TRAINING_STEPS, 64)
    task = tasks.text(length=length) if name == "text" else tasks.code(length=length)
    denoiser = models.transformer(task.vocab_size, length=length, width=width, depth=1 if quick else 2)
    params = fit(denoiser, task, settings=Settings(steps=steps, batch=16)).params
    tokens = np.concatenate([task.validation, task.test])[: 64 if quick else SEQUENCES]
    every = np.arange(length)
    measured = [
        estimate_profile(denoiser, params, tokens, len(tokens) * length, counts=every, key=key)
        for key in jax.random.split(jax.random.key(2001), 2)
    ]
    truth = profiles.from_values((measured[0].means + measured[1].means) / 2)
    rows, found = measured[0].shares, []
    assert rows is not None
    for many in passes:
        counts = chosen_counts(many, length)
        some = min(many // len(counts), len(rows))
        rngs = (np.random.default_rng([2001, number, many, seed]) for seed in range(seeds))
        drawn = (rows[rng.choice(len(rows), some, replace=False)][:, counts] for rng in rngs)
        found += cells_of(
            f"model of {name}", truth, many, (profiles.from_rows(length, counts, values) for values in drawn)
        )
    return found


def cells_of(law: str, truth: Profile, passes: int, measurements: Any) -> list[dict[str, Any]]:
    """A cell for each budget: the expected regrets, their standard errors, and the better rival."""
    budgets = [steps for steps in BUDGETS if steps <= truth.length]
    least = plans.optimal_for_every_budget(truth, budgets[-1]).nelbo
    regrets = []  # [seeds, budgets, methods]
    for measured in measurements:
        mean = profiles.posterior_profile(measured).profile
        best, naive = (plans.optimal_for_every_budget(one, budgets[-1]) for one in (mean, measured))
        chosen = [(best.sizes(k), naive.sizes(k), best_beta(measured, k), *unchosen(truth.length, k)) for k in budgets]
        regrets.append([
            [float(truth.expected_nelbo(sizes) - least[k - 1]) for sizes in every] for k, every in zip(budgets, chosen)
        ])  # fmt: skip
    values, cells = np.array(regrets), []
    for place, steps in enumerate(budgets):
        mine = values[:, place]
        means, errors = mine.mean(axis=0), standard_errors(mine)
        rival = min(RIVALS, key=lambda name, means=means: means[METHODS.index(name)])
        more = mine[:, 0] - mine[:, METHODS.index(rival)]
        cells.append({
            "law": law, "passes": passes, "steps": steps, "seeds": len(values),
            "regret": dict(zip(METHODS, rounded(means))), "error": dict(zip(METHODS, rounded(errors))),
            "rival": rival, "more": float(more.mean()), "more_error": standard_error(more),
        })  # fmt: skip
    return cells


def rounded(values: np.ndarray) -> list[float]:
    """To what is worth keeping."""
    return [round(float(one), 6) for one in values]


def best_beta(profile: Profile, steps: int) -> Int[np.ndarray, " steps"]:
    """The sizes of least expected cost among those of the grid's Beta schedules."""
    sizes = beta_sizes(profile.length, steps)
    return sizes[np.argmin(profile.expected_nelbo(sizes))]


@functools.cache
def beta_sizes(length: int, steps: int) -> Int[np.ndarray, "plans steps"]:
    """The sizes of every Beta schedule of the grid, each once."""
    values = beta_search.beta_values(GRID)
    fractions = [beta_fractions(a, b, steps) for a in values[:, None] for b in values[:, None]]
    return np.unique(round_sizes(np.stack(fractions), length), axis=0)


@functools.cache
def unchosen(length: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The sizes that look at no profile: equal ones, and those of sine squared."""
    return plans.uniform(length, steps).sizes, plans.from_schedule(schedules.sine_squared(), length, steps).sizes


def picture(cells: list[dict[str, Any]]) -> Figure:
    """The regret against passes, a panel for each law and budget."""
    names = list(dict.fromkeys(cell["law"] for cell in cells))
    figure = Figure(figsize=(2.1 * len(names), 5.2), layout="constrained")
    axes = np.atleast_2d(figure.subplots(len(BUDGETS), len(names), sharex=True, squeeze=False))
    colours = ("#1d6fb8", "#c2410c", "#2f855a", "#6b7280", "#a78bfa")
    for column, name in enumerate(names):
        for row, steps in enumerate(BUDGETS):
            panel = axes[row, column]
            mine = [cell for cell in cells if cell["law"] == name and cell["steps"] == steps]
            if not mine:
                panel.set_axis_off()
                continue
            for method, colour in zip(METHODS, colours):
                panel.errorbar(
                    [cell["passes"] for cell in mine],
                    [max(cell["regret"][method], 1e-5) for cell in mine],
                    [cell["error"][method] for cell in mine],
                    color=colour,
                    marker=".",
                    lw=1,
                    label=method,
                )
            panel.set_xscale("log", base=2)
            panel.set_yscale("log")
            panel.set_ylim(bottom=1e-3)
            panel.tick_params(labelsize=7)
            panel.spines[["top", "right"]].set_visible(False)
            if row == 0:
                panel.set_title(name, fontsize=8)
            if column == 0:
                panel.set_ylabel(f"{steps} steps: regret, nats", fontsize=8)
    axes[-1, len(names) // 2].set_xlabel("passes of the model that the profile took", fontsize=8)
    axes[0, 0].legend(fontsize=6, frameon=False)
    return figure
