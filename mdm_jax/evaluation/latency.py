"""What sampling takes: so much for each step, and so much besides, measured."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, PRNGKeyArray

from mdm_jax.models.denoiser import Context, Denoiser, Params, require_model
from mdm_jax.models.extending import block_length
from mdm_jax.sampling import sample
from mdm_jax.support.errors import require, require_whole
from mdm_jax.theory.plans import uniform

_USUAL = 4, 8, 16, 32
"""Numbers of steps that are timed unless others are asked for."""
_OF_A_MEDIAN = float(np.sqrt(np.pi / 2))
"""The standard error of the median of normal numbers, over that of their mean."""


class StepCost(NamedTuple):
    """Sampling in ``K`` steps takes ``milliseconds_per_step * K + milliseconds_besides``.

    Attributes:
        milliseconds_per_step: what a step costs whatever it reveals: a whole encoding of a bidirectional model, the
            latency of a pass of one with a cache.
        milliseconds_besides: what all steps together cost whatever their number: drawing every token, and, of a model
            with a cache, passing every token through the network twice.
        per_step_error: standard error.
        besides_error: likewise.
        steps: int64[n], the numbers of steps that were timed.
        milliseconds: float64[n], their times, medians over the repeats.
    """

    milliseconds_per_step: float
    milliseconds_besides: float
    per_step_error: float
    besides_error: float
    steps: np.ndarray
    milliseconds: Float[np.ndarray, " n"]

    def of(self, steps: int) -> float:
        """The milliseconds of so many steps."""
        return self.milliseconds_per_step * steps + self.milliseconds_besides

    @property
    def residual(self) -> float:
        """The largest distance of a measured time from the line, as a share of that time."""
        line = self.milliseconds_per_step * self.steps + self.milliseconds_besides
        return float(np.max(np.abs(line - self.milliseconds) / self.milliseconds))


def sampling_time(
    denoiser: Denoiser,
    params: Params,
    length: int,
    rows: int,
    *,
    key: PRNGKeyArray,
    steps: Sequence[int] | None = None,
    repeats: int = 5,
    context: Context = None,
    temperature: ArrayLike = 1.0,
    clock: Callable[[], float] = time.perf_counter,
) -> StepCost:
    """Time ``sample`` in random order with equal sizes, for several numbers of steps, and put a line through the times.

    All run once before the clock starts: one executable serves them. They take turns, and each round gives a line by
    least squares of the relative distances; what is told is the median of the rounds, and its standard error.

    A model with a cache works in slots of few widths, so that its time is not quite straight in ``K``: see
    ``residual``, and time the steps that are in question.

    Args:
        denoiser: the model.
        params: its parameters.
        length: of the sequences.
        rows: sequences drawn together. The times are those of all of them.
        key: a PRNG key for the draws.
        steps: at least two different numbers of steps, from 1 to the length; those of a block for a model that goes by
            blocks, as its plans are. 4, 8, 16 and 32 if left out, or what of them and the length there can be.
        repeats: rounds, at least 2.
        context: passed to the denoiser.
        temperature: divides the logits.
        clock: wall-clock seconds; or ``time.process_time``, which other processes disturb less.

    Returns:
        :class:`StepCost`, for :func:`mdm_jax.plans.within_time`.

    Raises:
        InputError: fewer than two numbers of steps, one that no plan has, or fewer than two repeats.

    Example:
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.polya(8, 0.5)
        >>> cost = mdm.evaluation.sampling_time(world.denoiser, world.params, 8, 2, key=mdm.key(0), steps=(1, 8))
        >>> cost.steps.tolist(), len(cost.milliseconds)
        ([1, 8], 2)
    """
    require_model(denoiser, params)
    length, rows = require_whole("length", length, 1, 2**31 - 1), require_whole("rows", rows, 1, 2**31 - 1)
    repeats = require_whole("repeats", repeats, 2, 2**31 - 1)
    planned = min(length, block_length(denoiser) or length)
    steps = sorted({*(number for number in _USUAL if number < planned), planned})[:4] if steps is None else steps
    numbers = np.array(sorted({require_whole("steps", number, 1, planned) for number in steps}))
    require(len(numbers) >= 2, "steps", tuple(steps), "at least two different numbers of steps")

    def draw(number: int) -> float:
        plan, start = uniform(planned, number), clock()
        out = sample(
            denoiser, params, plan, rows, key=key, length=length, context=context, temperature=temperature
        )  # fmt: skip
        jax.block_until_ready(out.tokens)
        return 1e3 * (clock() - start)

    for number in numbers:
        draw(int(number))
    rounds = np.array([[draw(int(number)) for number in numbers] for _ in range(repeats)])
    lines = np.maximum([_line(numbers, one) for one in rounds], 0.0)  # noise alone would make a time negative
    slope, intercept = np.median(lines, axis=0)
    errors = _OF_A_MEDIAN * lines.std(axis=0, ddof=1) / np.sqrt(repeats)
    told = float(slope), float(intercept), float(errors[0]), float(errors[1])
    return StepCost(*told, numbers, np.median(rounds, axis=0))


def _line(steps: np.ndarray, milliseconds: np.ndarray) -> np.ndarray:
    """Slope and intercept of least squares, distances as shares of the times."""
    columns = np.stack([steps, np.ones(len(steps))], axis=1) / milliseconds[:, None]
    return np.linalg.lstsq(columns, np.ones(len(steps)), rcond=None)[0]
