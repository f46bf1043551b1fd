"""What ``evaluate`` and ``race`` judge samples by: the task's score, or a function of the user's own."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from mdm_jax.evaluation import own_entropy
from mdm_jax.support.arrays import as_array
from mdm_jax.support.errors import InputError, require, verbatim
from mdm_jax.support.own_code import own_object, told
from mdm_jax.tasks import Task
from mdm_jax.training import Run

OWN_ENTROPY = "own bigram entropy (bits)"
"""Beside every score: a sampler that writes little but the likeliest phrases scores well, and is poor in this."""
_TAKEN = ("name", "rows", "nfe", "remaining", "log_prob", "without_score", "less_baseline", OWN_ENTROPY)
"""What else stands beside scores where results are kept."""

Score = Callable[..., Any]
"""From int[rows, length] to float[rows]."""


@dataclasses.dataclass(frozen=True)
class Scoring:
    """The score that matters, and what stands beside it.

    Attributes:
        name: of the score, as a column heading.
        lower_is_better: its direction.
        functions: by name, the first the one that matters.
        source: ``MODULE:FUNCTION`` of a score of the user's own; ``None`` of the task's.
    """

    name: str
    lower_is_better: bool
    functions: Mapping[str, Score]
    source: str | None = None

    @property
    def better(self) -> str:
        """The direction as a word: lower or higher."""
        return "lower" if self.lower_is_better else "higher"

    def to_json(self) -> dict[str, Any]:
        """What results record beside the numbers."""
        return {"lower_is_better": self.lower_is_better, "own_score": self.source}


def own_function(text: str) -> Score:
    """The function that ``--score`` names.

    Raises:
        InputError: one sentence that says what is wrong with it.
    """
    function = own_object("--score", text)
    wanted = "MODULE:FUNCTION, a function from int[rows, length] to float[rows]"
    require(callable(function), "--score", verbatim(f"{text}, a {type(function).__name__}"), wanted)
    return function


def scoring_of(trained: Run, text: str | None) -> Scoring:
    """The run's own score, or that of ``--score``, and the samples' own entropy.

    A function of the user's own may have two attributes: ``score_name``, a column heading, and ``lower_is_better``.

    Raises:
        InputError: no data for the task's score, no such function, or attributes that cannot be.
    """
    if text is None:
        return Scoring(trained.task.score_name, bool(trained.task.lower_is_better), scores_of(trained.task))
    function = own_function(text)
    name, lower = getattr(function, "score_name", text), getattr(function, "lower_is_better", False)
    fits = isinstance(name, str) and name.strip() != "" and name not in _TAKEN
    require(fits, f"--score {text}: its score_name", name, f"a text, and none of {', '.join(_TAKEN)}")
    require(isinstance(lower, bool), f"--score {text}: its lower_is_better", lower, "True or False")
    return Scoring(name, lower, {name: _checked(function, text), **_entropy(trained.denoiser.vocab_size)}, text)


def scores_of(task: Task) -> dict[str, Score]:
    """The task's score, and what tells whether it was had by drawing less."""
    return {task.score_name: task.score, **_entropy(task.vocab_size)}


def _entropy(vocab_size: int) -> dict[str, Score]:
    return {OWN_ENTROPY: lambda tokens: own_entropy(tokens, vocab_size)}


def _checked(function: Score, text: str) -> Score:
    """The function, with what goes wrong in it as one sentence."""

    def score(tokens: np.ndarray) -> np.ndarray:
        try:
            found = function(np.array(tokens))  # a copy: whatever it does to its argument, the samples stay
        except Exception as error:
            raise InputError(f"--score {text} fails on {len(tokens)} rows of samples: {told(error)}.") from error
        values = as_array(found)
        real = values.dtype.kind in "biuf" or jnp.issubdtype(values.dtype, np.floating)  # bfloat16 is of kind V
        shown, wanted = verbatim(f"{values.dtype} of shape {values.shape}"), f"a number for each of {len(tokens)} rows"
        require(real and values.shape == (len(tokens),), f"what --score {text} returns", shown, wanted)
        values = values.astype(np.float64)
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise InputError(f"--score {text} must be finite for every row; row {bad[0]} has {values[bad[0]]}.")
        return values

    return score
