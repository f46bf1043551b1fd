"""Which options of ``mdm-jax sample`` go together, and which numbers can be: all that needs no run to be judged."""

import argparse
import math

import numpy as np

from mdm_jax.evaluation.order_tuning import MEASURES
from mdm_jax.models.guiding import STRONGEST
from mdm_jax.sampling.rule import HOTTEST
from mdm_jax.support.errors import InputError, require

_AS_IT_TAKES = "it takes as many steps as the model's certainty allows"
_APART = (
    ("preset", ("order", "threshold", "entropy_bound", "plan", "schedule"), "a preset is a whole sampler"),
    ("threshold", ("entropy_bound",), "each says how many tokens a step reveals"),
    ("threshold", ("steps", "plan", "schedule"), _AS_IT_TAKES),
    ("entropy_bound", ("steps", "plan", "schedule"), _AS_IT_TAKES),
    ("plan", ("steps",), "a plan has its own number of steps"),
)


def check(options: argparse.Namespace) -> None:
    """Refuse options that cannot be together, and numbers that cannot be, before anything is loaded.

    Raises:
        InputError: one sentence that names both options.
    """
    given = {name for name, value in vars(options).items() if value is not None}
    for one, others, why in _APART:
        for other in others:
            if {one, other} <= given:
                raise InputError(f"{_option(other)} cannot be given beside {_option(one)}: {why}.")
    _check_numbers(options)
    preset, order = options.preset, options.order
    if preset == "eb" and "steps" in given:
        raise InputError(f"--steps cannot be given beside --preset eb: {_AS_IT_TAKES}.")
    if preset == "best" and "block" in given:
        raise InputError("--block cannot be given beside --preset best: its plan is made for the whole sequence.")
    if "correct" in given and preset != "gidd":
        raise InputError("--correct must be given beside --preset gidd: other samplers do not correct.")
    for name in ("block", "end"):
        if preset == "gidd" and name in given:
            raise InputError(f"{_option(name)} cannot be given beside --preset gidd: it changes all positions at once.")
    looking = order in MEASURES or preset in ("llada", "eb") or bool({"threshold", "entropy_bound"} & given)
    for bound in ("threshold", "entropy_bound"):
        if bound in given and order is not None and order not in MEASURES:
            wanted = ", ".join(MEASURES)
            raise InputError(f"--order must be one of {wanted} beside {_option(bound)}; got {order!r}.")
    if "order_temperature" in given and not looking:
        raise InputError(
            "--order-temperature needs an order that looks at the model: --order probability, margin or entropy, "
            "--threshold, --entropy-bound, or --preset llada or eb."
        )
    if order == "left_to_right" and "block" in given:
        raise InputError("--block cannot be given beside --order left_to_right: blocks are done so already.")
    if order == "left_to_right" and "end" in given:
        raise InputError(
            "--end cannot be given beside --order left_to_right; --block 1 goes from left to right token by token."
        )
    if "guidance" in given and not {"prompt", "infill", "label"} & given:
        raise InputError("--guidance needs --label, --prompt or --infill: it strengthens what is given.")
    if "guidance" in given and options.latent_draw == "each-step":
        raise InputError(
            "--guidance cannot be given beside --latent-draw each-step: it compares two predictions under one latent, "
            "and each would draw its own."
        )


def check_temperature(value: float) -> None:
    """Refuse a ``--temperature`` that is none, or of which float32 would make 0 or infinity: another law."""
    least, most = (float(value) for value in (np.finfo(np.float32).tiny, np.finfo(np.float32).max))
    wanted = f"0, or from {least:.2g} to {most:.2g}"
    require(value == 0 or least <= value <= most, "--temperature", value, wanted)


def check_guidance(weight: float | None) -> None:
    """Refuse a ``--guidance`` that is no finite weight."""
    wanted = f"a finite number, up to {STRONGEST:g} in size"
    require(weight is None or abs(weight) <= STRONGEST, "--guidance", weight, wanted)


def _check_numbers(options: argparse.Namespace) -> None:
    """Those that need no run to be judged."""
    bounds = (
        ("threshold", lambda value: 0 <= value <= 1, "a probability from 0 to 1"),
        ("entropy_bound", lambda value: 0 <= value < math.inf, "0 or more (nats), and finite"),
        ("order_temperature", lambda value: 0 <= value <= HOTTEST, f"0 or more, and at most {HOTTEST:g}"),
        ("top_p", lambda value: 0 < value <= 1, "above 0 and at most 1"),
        ("top_k", lambda value: value >= 1, "at least 1"),
        ("block", lambda value: value >= 1, "at least 1"),
        ("correct", lambda value: 0 <= value <= 2**20, f"from 0 to {2**20:,}"),
    )
    for name, good, wanted in bounds:
        value = getattr(options, name)
        require(value is None or good(value), _option(name), value, wanted)
    check_guidance(options.guidance)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
