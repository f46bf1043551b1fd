"""Does a Beta schedule searched after training beat the usual ones, on text and on code? (2509.13866, Tables 2 to 7)

Three trainings of a small model of each (96 characters; ``tools/schedule_cells.py`` has what is done in a cell). Half
of the positions of held-out rows are given, drawn at random, and the others are filled in, drawn or greedily: from
nothing the greedy choice writes spaces alone (a pilot). Text is judged by the bits per character of a trigram, code by
the share of a window's whole lines that the tokenizer and the parser of Python accept (``tools/python_lines.py``; no
line at all counts as none). Rows of the validation part choose, rows of the test part judge.

The profile of the validation rows predicts the cost of every candidate in random order; how well it ranks them by
their samples, in either order, is measured besides.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from experiments.tools.python_lines import share_accepted
from experiments.tools.schedule_cells import Sizes, World, canvases_of, given_at_random, measured, steps_of
from experiments.tools.schedule_tables import concluded, picture
from mdm_jax import models, tasks
from mdm_jax.evaluation import estimate_profile
from mdm_jax.tasks.text_files import TextTask
from mdm_jax.training import Settings, fit

CLAIM = Claim(
    "on text and on code of which half is given, the best of 16 Beta schedules by validation samples beats linear, "
    "sine and sine squared on test samples at each of the two smallest numbers of steps (a 24th and a 16th of the free "
    "tokens), in the mean over orders and choices, and gains more over linear at the fewest steps than at the most",
    source="arXiv 2509.13866, Tables 2 to 7",
    minutes=30,
    seeds=(0, 1, 2),
)
LENGTH, WIDTH, DEPTH, STEPS, ENCODINGS, GIVEN_SEED = 96, 96, 3, 1600, 4096, 17
SIZES, QUICK = Sizes(validation=32, test=128), Sizes(validation=2, test=4)
UNITS = {"text": "bits per character", "code": "of lines accepted"}
BETTER = {"text": -1, "code": 1}


def run(experiment: Experiment) -> Run:
    """Train, search, judge: a part for each training."""
    found: dict[str, list[Any]] = {name: [] for name in UNITS}
    for seed in CLAIM.seeds[: 1 if experiment.quick else None]:
        for name in UNITS:
            found[name].append(
                experiment.part(f"{name} {seed}", lambda name=name, seed=seed: one(experiment, name, seed))
            )
    worlds = {name: {"better": BETTER[name], "unit": UNITS[name], "trainings": each} for name, each in found.items()}
    return Run({"worlds": worlds}, picture(worlds))


def one(experiment: Experiment, name: str, seed: int) -> list[dict[str, Any]]:
    """The cells of one training."""
    quick = experiment.quick
    task = tasks.text(length=LENGTH) if name == "text" else tasks.code(length=LENGTH)
    width, depth = (16, 1) if quick else (WIDTH, DEPTH)
    denoiser = models.transformer(task.vocab_size, length=LENGTH, width=width, depth=depth)
    settings = Settings(steps=2 if quick else STEPS, seed=seed)
    folder = None if quick else experiment.folder / "models" / f"{name}-{seed}"
    params = fit(denoiser, task, settings=settings, directory=folder, progress=False).params
    parts = task.validation, task.test
    given = [given_at_random(rows.shape, LENGTH // 2, seed=GIVEN_SEED + part) for part, rows in enumerate(parts)]
    key, encodings = jax.random.key(100 + seed), 64 if quick else ENCODINGS
    profile = estimate_profile(denoiser, params, parts[0], encodings, key=key, given=given[0])
    world = World(
        denoiser,
        params,
        score_of(name, task),
        better=BETTER[name],
        canvases=canvases_of(denoiser, parts, given),
        costs={"profile": lambda plan: float(profile.expected_nelbo(plan.sizes))},
    )
    return measured(world, QUICK if quick else SIZES, seed, steps_of(world.free)[:2] if quick else None)


def score_of(name: str, task: TextTask) -> Callable[[np.ndarray], np.ndarray]:
    """What samples are worth."""
    if name == "text":
        return task.score
    return lambda tokens: np.nan_to_num([share_accepted(task.show(row)) for row in tokens])


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """As :func:`~experiments.tools.schedule_tables.concluded` says."""
    return concluded(
        results["worlds"],
        f"{len(CLAIM.seeds)} trainings of each; {SIZES.validation} samples of each candidate choose in each cell, "
        f"{SIZES.test} of each of four judge",
    )
