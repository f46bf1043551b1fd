"""How to train: every field changes the run, and all of them are saved with it."""

import dataclasses
import operator
from typing import Any

import numpy as np

from mdm_jax.support.errors import is_number, require, require_choice

_LEAST, _MOST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
RECIPES = ("adamw", "muon")
"""The optimizers that settings can name."""
OWN = "own"
"""The optimizer of settings whose run was given a transformation of the user's own."""
_REPLACED = ("learning_rate", "adam_fraction", "warmup", "weight_decay", "clip")
_HELD = f"from {_LEAST:.2g} to {_MOST:.2g}: it is computed with in float32"


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to train. Every field changes the run; all of them are saved with it.

    Attributes:
        steps: optimiser steps.
        batch: sequences per step.
        length: tokens per sequence.
        mean_tokens: mean number of tokens of a sequence that are to be predicted, where it is not the length: by it
            losses per token are counted. ``fit`` takes it from the task, as it takes the length; 0: the length.
        optimizer: "muon" (Muon for the matrices between hidden layers, Adam for everything else) or "adamw"; "own"
            where ``fit`` is given a transformation, which decides all that the next five say: they are left out then.
        learning_rate: at its peak; of Muon, or of AdamW.
        adam_fraction: the learning rate of the parameters that Muon leaves to Adam, as a fraction of Muon's.
        warmup: fraction of the steps of a stage over which the learning rate rises linearly; it then falls linearly
            towards 0.
        weight_decay: decoupled; under Muon on the matrices between hidden layers, under AdamW on every parameter of
            two axes or more.
        clip: global gradient norm.
        ema_decay: of the exponential moving average (EMA) of the parameters, which is what is evaluated and sampled;
            at step ``n`` no more than ``(1 + n) / (10 + n)``, so that the start is soon forgotten.
        seed: of the parameters, the data order and the masks.
        accumulate: parts that the batch is worked on one after the other, their gradients added up: the same step in
            less memory.
        begin: the step at which this stage of the training began, where it goes on further than it once did: warm-up
            and decay of the learning rate are over the steps from there. ``fit`` takes it from the run's directory.
        anneal_steps: over how many steps, from the first, objectives anneal (weights of a KL, shares of orders); 0: all
            ``steps``. Likewise: the steps of the first stage, so that nothing is annealed twice.
        compute: "float32", or "bfloat16": forward and backward passes in bfloat16, where matrix products are faster on
            GPU and TPU; parameters, norms, attention weights, losses and the optimiser stay float32.

    Raises:
        InputError: a value that cannot be; the sentence names it.

    Example:
        >>> import mdm_jax as mdm
        >>> settings = mdm.training.Settings(steps=400, batch=16, accumulate=4)
        >>> settings.optimizer, settings.learning_rate
        ('muon', 0.02)
        >>> mdm.training.Settings(batch=8, accumulate=3)
        Traceback (most recent call last):
        mdm_jax.support.errors.InputError: accumulate must be a divisor of the batch, 8; got 3.
    """

    steps: int = 2000
    batch: int = 8
    length: int = 128
    mean_tokens: float = 0.0
    optimizer: str = "muon"
    learning_rate: float = 0.02
    adam_fraction: float = 0.25
    warmup: float = 0.03
    weight_decay: float = 0.0
    clip: float = 1.0
    ema_decay: float = 0.99
    seed: int = 0
    accumulate: int = 1
    compute: str = "float32"
    begin: int = 0
    anneal_steps: int = 0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = _plain(field.name, getattr(self, field.name), type(field.default))
            object.__setattr__(self, field.name, value)
        require(self.steps >= 1, "steps", self.steps, "at least 1")
        require(self.batch >= 1, "batch", self.batch, "at least 1")
        require(self.length >= 2, "length", self.length, "at least 2")
        for name in ("steps", "batch", "length"):
            value = getattr(self, name)
            require(value < 2**31, name, value, "below 2^31: they are counted in 32 bits")
        rates = {name: getattr(self, name) for name in ("learning_rate", "adam_fraction", "clip")}
        if self.optimizer == "muon":
            product = rates["learning_rate"] * rates["adam_fraction"] if all(map(_is_held, rates.values())) else 1.0
            rates["learning_rate * adam_fraction"] = product
        for name, value in rates.items():
            require(_is_held(value), name, value, f"positive and finite, {_HELD}")
        require(0 <= self.warmup < 1, "warmup", self.warmup, "a fraction of the steps, from 0 to below 1")
        require(self.optimizer in (*RECIPES, OWN), "optimizer", self.optimizer, " or ".join(RECIPES))
        for field in dataclasses.fields(self):
            if self.optimizer == OWN and field.name in _REPLACED:
                value = getattr(self, field.name)
                require(value == field.default, field.name, value, "left out where the optimizer is one of your own")
        good = self.weight_decay == 0 or _is_held(self.weight_decay)
        require(good, "weight_decay", self.weight_decay, f"0 or more, and finite, {_HELD}")
        require(0 <= self.ema_decay < 1, "ema_decay", self.ema_decay, "from 0 to below 1")
        require(0 <= self.seed < 2**31, "seed", self.seed, "from 0 to 2^31 - 1")
        parts = 1 <= self.accumulate <= self.batch and self.batch % self.accumulate == 0
        require(parts, "accumulate", self.accumulate, f"a divisor of the batch, {self.batch}")
        require_choice("compute", self.compute, ("bfloat16", "float32"))
        require(0 <= self.begin < self.steps, "begin", self.begin, f"from 0 to below the steps, {self.steps}")
        within = 0 <= self.anneal_steps <= self.steps
        require(within, "anneal_steps", self.anneal_steps, f"from 0 to the steps, {self.steps}")
        counted = 0 <= self.mean_tokens <= self.length
        require(counted, "mean_tokens", self.mean_tokens, f"from 0 to the length, {self.length}")

    @property
    def tokens_per_row(self) -> float | int:
        """Mean number of tokens of a sequence that are to be predicted."""
        return self.mean_tokens or self.length


def _plain(name: str, value: Any, kind: type) -> Any:
    """A setting as Python has it: one of NumPy or JAX would be another in files and in comparisons."""
    if kind is int:
        try:
            whole = None if isinstance(value, bool) else operator.index(value)
        except TypeError:
            whole = None
        require(whole is not None, name, value, "a whole number")
        return whole
    if kind is str:
        told = " (a transformation of your own is given to fit itself, as optimizer)" if name == "optimizer" else ""
        require(isinstance(value, str), name, value, f"text{told}")
        return str(value)
    require(is_number(value), name, value, "a number")
    return value if type(value) is int else float(value)


def _is_held(value: float | int) -> bool:
    """Whether float32 holds it as a normal number; what it does not is 0 or infinite to the compiled step."""
    return _LEAST <= value <= _MOST
