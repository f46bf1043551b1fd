"""Models of tasks with one right answer that several experiments share: trained once for each seed, and kept.

The network of Sudokus, its steps and its batch are those of the experiment ``sudoku9`` (no latent); those of additions
are the experiment ``beta_rules``'s. A quick run has two steps of a tiny model, in memory.
"""

from experiments.tools.catalogue import Places
from experiments.tools.units import plain_cells
from mdm_jax import models, tasks
from mdm_jax.tasks.grids import SudokuTask
from mdm_jax.tasks.rules import ArithmeticTask
from mdm_jax.training import Run, Settings, fit

BATCH, QUICK_STEPS = 32, 2
SUDOKU_STEPS, SUDOKU_WIDTH, SUDOKU_DEPTH = 1600, 70, 8
SUM_STEPS, SUM_WIDTH, SUM_DEPTH, SUM_RATE = 800, 64, 3, 0.02


def sudokus(seed: int, quick: bool) -> tuple[Run, SudokuTask]:
    """The model of 9 x 9 Sudokus (90 processor seconds the first time), and its task."""
    task = tasks.sudoku9()
    denoiser = plain_cells(SUDOKU_WIDTH, 1 if quick else SUDOKU_DEPTH)
    settings = Settings(steps=QUICK_STEPS if quick else SUDOKU_STEPS, batch=BATCH, seed=seed)
    folder = None if quick else Places().folder("models", quick) / f"sudoku9-{seed}"
    return fit(denoiser, task, settings=settings, directory=folder, progress=False), task


def sums(seed: int, quick: bool) -> tuple[Run, ArithmeticTask]:
    """The model of additions of two numbers of 16 digits (a minute the first time), and its task."""
    task = tasks.arithmetic()
    width, depth = (16, 1) if quick else (SUM_WIDTH, SUM_DEPTH)
    denoiser = models.transformer(task.vocab_size, length=task.length, width=width, depth=depth, heads=4)
    steps = QUICK_STEPS if quick else SUM_STEPS
    settings = Settings(steps=steps, batch=BATCH, learning_rate=SUM_RATE, seed=seed)
    folder = None if quick else Places().folder("models", quick) / f"arithmetic-{seed}"
    return fit(denoiser, task, settings=settings, directory=folder, progress=False), task
