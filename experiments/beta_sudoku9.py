"""Does a Beta schedule searched after training beat the usual ones in completing Sudokus of 9 x 9? (2509.13866)

Three trainings of a small model (``tools/rule_models.py``), and what ``tools/schedule_cells.py`` does in a cell: 16
Beta schedules draw completions of puzzles of the validation part, and the best of them is held against linear, sine and
sine squared on puzzles of the test part. Every puzzle has 26 clues and one solution, so that 55 cells are to be filled
in, in two to 28 passes; every sample has a puzzle of its own, and every training has other puzzles.

In the order of the largest probability a sample scores 1 if the puzzle is solved. Random order solves nearly nothing:
at most one puzzle in twenty in 50 passes, one in a hundred in five, which was known (``sudoku9``). Nothing can be
chosen by that. There the score is the share of free cells that are right.

The profile of the validation puzzles predicts the cost of every candidate in random order; how well it ranks them by
their samples, in either order, is measured besides.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from experiments.tools import rule_models
from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from experiments.tools.schedule_cells import VALIDATION, Sizes, World, measured, steps_of
from experiments.tools.schedule_tables import concluded, picture
from mdm_jax.evaluation import estimate_profile
from mdm_jax.tasks.grids import Puzzles

CLAIM = Claim(
    "on completing 9 x 9 Sudokus of 26 clues, the best of 16 Beta schedules by validation samples beats linear, sine "
    "and sine squared in test puzzles that the order by the largest probability solves, and in test cells that random "
    "order gets right, at each of the two smallest numbers of steps, in the mean over drawn and greedy, and gains more "
    "over linear at the fewest steps than at the most",
    source="arXiv 2509.13866, Tables 2 to 7; that random order solves nearly nothing was known",
    minutes=20,
    seeds=(0, 1, 2),
)
CLUES, ENCODINGS = 26, 4096
SOLVED, CELLS = "sudoku9, puzzles", "sudoku9, cells"
UNITS = {SOLVED: "solved", CELLS: "cells right"}
ORDERS = {SOLVED: ("max-probability",), CELLS: ("random",)}
SIZES, QUICK = Sizes(validation=64, test=256), Sizes(validation=2, test=4)


def run(experiment: Experiment) -> Run:
    """Train, search, judge: a part for each training."""
    found: dict[str, list[Any]] = {world: [] for world in UNITS}
    for seed in CLAIM.seeds[: 1 if experiment.quick else None]:
        part = experiment.part(f"training {seed}", lambda seed=seed: one(experiment.quick, seed))
        for world, cells in part.items():
            found[world].append(cells)
    worlds = {world: {"better": 1, "unit": UNITS[world], "trainings": each} for world, each in found.items()}
    return Run({"worlds": worlds}, picture(worlds))


def one(quick: bool, seed: int) -> dict[str, list[dict[str, Any]]]:
    """The cells of one training, by world."""
    trained, task = rule_models.sudokus(seed, quick)
    model, sizes = (trained.denoiser, trained.params), QUICK if quick else SIZES
    parts = [
        task.puzzles(count, seed=seed, clues=CLUES, part=part) for count, part in zip(sizes, ("validation", "test"))
    ]
    first, key = parts[VALIDATION], jax.random.key(100 + seed)
    given, encodings = first.canvas != trained.denoiser.mask_id, 64 if quick else ENCODINGS
    profile = estimate_profile(*model, first.solution, encodings, key=key, given=given)
    scores = {
        SOLVED: lambda tokens: task.is_valid(tokens).astype(np.float64),  # clues stay as they are
        CELLS: lambda tokens: cells_right(tokens, parts),
    }
    cells = {}
    for number, (world, score) in enumerate(scores.items()):
        made = World(
            *model,
            score,
            better=1,
            canvases=(first.canvas, parts[1].canvas),
            costs={"profile": lambda plan: float(profile.expected_nelbo(plan.sizes))},
            orders=ORDERS[world],
        )
        cells[world] = measured(made, sizes, 10 * seed + number, steps_of(made.free)[:2] if quick else None)
    return cells


def cells_right(tokens: Int[np.ndarray, "rows length"], parts: list[Puzzles]) -> Float[np.ndarray, " rows"]:
    """The share of free cells that are those of the solution; a grid's puzzle is the one whose clues it has.

    Example:
        >>> from mdm_jax import tasks
        >>> made = tasks.sudoku4().puzzles(2, clues=6)
        >>> wrong = made.solution[1:].copy()
        >>> wrong[0, np.flatnonzero(made.canvas[1] == 4)[:5]] = 4  # five of ten free cells
        >>> cells_right(np.concatenate([wrong, made.solution]), [made]).tolist()
        [0.5, 1.0, 1.0]
    """
    canvas, solution = (np.concatenate([getattr(part, what) for part in parts]) for what in ("canvas", "solution"))
    free = canvas > solution.max()  # the mask comes behind the digits
    has_clues = ((tokens[:, None] == canvas) | free).all(axis=-1)
    assert has_clues.any(axis=1).all(), "a sampler leaves clues as they are"
    mine = has_clues.argmax(axis=1)
    return ((tokens == solution[mine]) & free[mine]).sum(axis=1) / free[mine].sum(axis=1)


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """As :func:`~experiments.tools.schedule_tables.concluded` says."""
    return concluded(
        results["worlds"],
        f"{len(CLAIM.seeds)} trainings; {SIZES.validation} puzzles for each candidate choose in each cell, "
        f"{SIZES.test} for each of four judge",
    )
