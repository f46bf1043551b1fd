"""Does a Beta schedule searched after training beat the usual ones, where samples are right or wrong? (2509.13866)

Three trainings of a small model of each task, and what ``tools/schedule_cells.py`` does in a cell. ``brackets`` (32
tokens) is drawn from nothing, and filled in greedily where a quarter of the positions of held-out rows are given, drawn
at random: from nothing the greedy choice in the order of the largest probability has one outcome. ``arithmetic``
(two numbers of 16 digits, given; 33 tokens of carries and sum) is found both ways. The score is the share of samples
that are right. Rows of the validation part choose, rows of the test part judge.

The profile of the validation rows predicts the cost of every candidate in random order; how well it ranks them by their
samples, in either order, is measured besides.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from experiments.tools.schedule_cells import Sizes, World, canvases_of, given_at_random, measured, steps_of
from experiments.tools.schedule_tables import concluded, picture
from mdm_jax import models, tasks
from mdm_jax.evaluation import estimate_profile
from mdm_jax.training import Settings, fit

CLAIM = Claim(
    "on brackets (from nothing, and with a quarter given) and on arithmetic, the best of 16 Beta schedules by "
    "validation samples beats linear, sine and sine squared in test samples that are right, at each of the two "
    "smallest numbers of steps, in the mean over orders and choices, and gains more over linear at the fewest steps "
    "than at the most",
    source="arXiv 2509.13866, Tables 2 to 7",
    minutes=30,
    seeds=(0, 1, 2),
)
LENGTH, DIGITS, DEPTH, ENCODINGS, GIVEN_SEED = 32, 16, 3, 4096, 17
WIDTHS, STEPS = {"brackets": 128, "arithmetic": 64}, {"brackets": 3000, "arithmetic": 800}
BATCH, RATE = 32, 0.02
NOTHING, QUARTER, SUMS = "brackets", "brackets with a quarter given", "arithmetic"
WORLDS = {"brackets": {NOTHING: ("drawn",), QUARTER: ("greedy",)}, "arithmetic": {SUMS: ("drawn", "greedy")}}
"""Of each task, and how tokens are chosen in them."""
SIZES, QUICK = Sizes(validation=96, test=256), Sizes(validation=2, test=4)


def run(experiment: Experiment) -> Run:
    """Train, search, judge: a part for each training."""
    found: dict[str, list[Any]] = {world: [] for of_task in WORLDS.values() for world in of_task}
    for seed in CLAIM.seeds[: 1 if experiment.quick else None]:
        for name in WORLDS:
            part = experiment.part(f"{name} {seed}", lambda name=name, seed=seed: one(experiment, name, seed))
            for world, cells in part.items():
                found[world].append(cells)
    worlds = {world: {"better": 1, "unit": "right", "trainings": each} for world, each in found.items()}
    return Run({"worlds": worlds}, picture(worlds))


def one(experiment: Experiment, name: str, seed: int) -> dict[str, list[dict[str, Any]]]:
    """The cells of one training, by world."""
    quick = experiment.quick
    task = tasks.brackets(LENGTH) if name == "brackets" else tasks.arithmetic(DIGITS)
    width, depth = (16, 1) if quick else (WIDTHS[name], DEPTH)
    denoiser = models.transformer(task.vocab_size, length=task.length, width=width, depth=depth, heads=4)
    settings = Settings(steps=2 if quick else STEPS[name], batch=BATCH, learning_rate=RATE, seed=seed)
    folder = None if quick else experiment.folder / "models" / f"{name}-{seed}"
    params = fit(denoiser, task, settings=settings, directory=folder, progress=False).params
    parts = [np.asarray(rows, np.int32) for rows in (task.validation, task.test)]
    cells = {}
    for number, (world, choices) in enumerate(WORLDS[name].items()):
        given = [given_of(world, rows, part) for part, rows in enumerate(parts)]
        key, encodings = jax.random.key(100 + seed), 64 if quick else ENCODINGS
        profile = estimate_profile(denoiser, params, parts[0], encodings, key=key, given=given[0])
        made = World(
            denoiser,
            params,
            lambda tokens: task.is_valid(tokens).astype(np.float64),
            better=1,
            canvases=canvases_of(denoiser, parts, given),
            costs={"profile": lambda plan, profile=profile: float(profile.expected_nelbo(plan.sizes))},
            choices=choices,
        )
        steps = steps_of(made.free)[:2] if quick else None
        cells[world] = measured(made, QUICK if quick else SIZES, 10 * seed + number, steps)
    return cells


def given_of(world: str, rows: np.ndarray, part: int) -> np.ndarray:
    """Which positions of held-out rows are given, bool[rows, length]."""
    if world == QUARTER:
        return given_at_random(rows.shape, rows.shape[1] // 4, seed=GIVEN_SEED + part)
    return np.broadcast_to(np.arange(rows.shape[1]) < (2 * DIGITS + 2 if world == SUMS else 0), rows.shape)


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """As :func:`~experiments.tools.schedule_tables.concluded` says."""
    return concluded(
        results["worlds"],
        f"{len(CLAIM.seeds)} trainings of each task; {SIZES.validation} samples of each candidate choose in each cell, "
        f"{SIZES.test} of each of four judge",
    )
