"""Options of ``mdm-jax train`` and ``demo`` that choose a model and its objective: which go together, what they make.

What a bidirectional model may have besides, latents and hybrid noise, is :mod:`mdm_jax.app.options.latents`' to read.
"""

import math
from collections.abc import Mapping
from typing import Any

from mdm_jax import models, tasks
from mdm_jax.app.options import labels, latents
from mdm_jax.app.options.latents import Options, option
from mdm_jax.models.adapters import LinenDenoiser
from mdm_jax.support.errors import InputError, require
from mdm_jax.tasks import Task
from mdm_jax.training import AnyOrderNelbo, BlockNelbo, LabelDropout, Objective, Run, objectives

ANY_ORDER, BIDIRECTIONAL, BLOCK_CAUSAL = "any_order", "bidirectional", "block_causal"
BLOCK = 16
"""Positions of a block, unless others are asked for."""
_OF = {
    "ordered": (ANY_ORDER, "no other is trained in orders"),
    "order_block": (ANY_ORDER, "no other is trained in orders"),
    "progressive": (ANY_ORDER, "no other is trained in orders"),
    "block": (BLOCK_CAUSAL, "no other has blocks of its own"),
}
"""Which kind each option is for, and why for no other."""
NAMES = ("model", "label_dropout", *_OF)
"""What is said of the kind of model, beside the names of latents."""
_FAMILIES = {"any-order transformer": ANY_ORDER, "block-causal transformer": BLOCK_CAUSAL}
"""Kinds by the families of descriptions; every other family is bidirectional."""


def said_by(options: Any) -> Options:
    """Those that the command line gives, checked as far as that needs no run.

    Raises:
        InputError: a number that cannot be.
    """
    said = {name: value for name in NAMES if (value := getattr(options, name, None)) is not None}
    share, block = said.get("ordered", 0.0), said.get("order_block", 1)
    require(math.isfinite(share) and 0 <= share <= 1, "--ordered", share, "a share of the rows, from 0 to 1")
    require(1 <= block < 2**31, "--order-block", block, f"from 1 to {2**31 - 1:,}")
    require(said.get("block", 1) >= 1, "--block", said.get("block"), "at least 1")
    labels.check_dropout(said.get("label_dropout"))
    return {**said, **latents.said_by(options)}


def merged(said: Mapping[str, Any], there: Mapping[str, Any], usual: str) -> Options:
    """What is asked for: what is said, and else what is there where it still means something.

    Args:
        said: by the command line.
        there: of the run in the directory, as :func:`of_run` tells it; nothing if there is none.
        usual: the kind of model where nothing is said and nothing is there.

    Raises:
        InputError: one that is said does nothing for the chosen kind of model.
    """
    dropout = {name: parts[name] for name in ("label_dropout",) for parts in (there, said) if name in parts}
    said, there = ({k: v for k, v in parts.items() if k not in dropout} for parts in (said, there))
    of_latents = {name: value for name, value in said.items() if name in latents.NAMES}
    kind = said.get("model") or (BIDIRECTIONAL if of_latents else there.get("model", usual))
    if kind != BIDIRECTIONAL and of_latents:
        name = option(next(iter(of_latents)))
        raise InputError(f"{name} cannot be given beside --model {kind}: latents and hybrid noise are for models that "
                         f"see all tokens, --model {BIDIRECTIONAL}.")  # fmt: skip
    for name, (its, why) in _OF.items():
        if name in said and kind != its:
            raise InputError(f"{option(name)} must be given beside --model {its}: {why}.")
    kept = {name: value for name, value in there.items() if kind == there.get("model") and name != "model"}
    if kind == BIDIRECTIONAL:
        return {"model": kind, **latents.merged(of_latents, kept), **dropout}
    values = {**kept, **{name: value for name, value in said.items() if name != "model"}}
    for name in ("order_block", "progressive"):
        if name in said and not values.get("ordered"):
            raise InputError(f"{option(name)} must be given beside --ordered above 0: else all orders are random.")
    return {"model": kind, **values, **dropout}


def model_of(chosen: Mapping[str, Any], task: Task, sizes: Mapping[str, Any]) -> LinenDenoiser:
    """The model that the options describe.

    Args:
        chosen: as :func:`merged` returns them.
        task: its length, vocabulary and classes are the model's.
        sizes: width, depth and heads.
    """
    classes = labels.classes_of_task(task)
    if chosen["model"] == ANY_ORDER:
        return models.any_order(task.vocab_size, length=task.length, classes=classes, **sizes)
    if chosen["model"] == BLOCK_CAUSAL:
        block = chosen.get("block", min(BLOCK, task.length))
        require(block <= task.length, "--block", block, f"at most {task.length}, the length")
        if tasks.lengths_of(task.describe()) is not None:
            raise InputError(
                f"--model {BLOCK_CAUSAL} cannot be given for rows of different lengths: take {BIDIRECTIONAL} or "
                f"{ANY_ORDER}."
            )
        return models.block_causal(task.vocab_size, length=task.length, block=block, classes=classes, **sizes)
    return latents.model_of(chosen, task, sizes)


def objective_of(chosen: Mapping[str, Any], length: int, classes: int = 0) -> Objective:
    """The objective that the options describe; ``length`` of the sequences, and of how many classes they are."""
    return labels.with_dropout(_without_dropout(chosen, length), chosen.get("label_dropout"), classes)


def _without_dropout(chosen: Mapping[str, Any], length: int) -> Objective:
    if chosen["model"] == ANY_ORDER:
        block = chosen.get("order_block", 1)
        require(block < length, "--order-block", block, f"less than {length}, the length: one block is a random order")
        return AnyOrderNelbo(chosen.get("ordered", 0.0), block, chosen.get("progressive", False))
    return BlockNelbo() if chosen["model"] == BLOCK_CAUSAL else latents.objective_of(chosen, length)


def planned(trained: Run) -> int:
    """How many tokens a run's plans, budgets and profile are for: those of a block, of a model that goes by blocks."""
    return min(trained.settings.length, models.block_length(trained.denoiser) or trained.settings.length)


def refuse_masking_again(trained: Run, preset: str) -> None:
    """Refuse a preset that masks tokens again, of a run whose model keeps what it made of them.

    Raises:
        InputError: the model has a cache.
    """
    if models.can_extend(trained.denoiser):
        raise InputError(
            f"--preset {preset} masks tokens again, but the model of {trained.place.path} keeps what it made of them. "
            f"Take --preset mdlm, best or eb, or a run of --model {BIDIRECTIONAL} (in Python, models.without_cache "
            "encodes anew at each step)."
        )


def refuse_measuring(trained: Run, options: Any) -> None:
    """Refuse what ``profile`` cannot measure of a run's model.

    Raises:
        InputError: one sentence that names the option.
    """
    block = models.block_length(trained.denoiser)
    for name in ("given", "prompt"):
        if block is not None and getattr(options, name) is not None:
            raise InputError(
                f"{option(name)} must be left out for a run whose model goes by blocks: its profile is that of a block "
                "after those before it, whatever they hold."
            )
    if options.estimator == "increments" and (block is not None or models.by_rank(trained.denoiser)):
        raise InputError("--estimator must be loss for a run whose model has a cache; got 'increments'.")


def of_run(config: Mapping[str, Any]) -> Options:
    """The options that make the model and the objective of a run; of those that no options make, what there is."""
    if "classes" in (config.get("model") or {}):
        objective = objectives.from_description(config.get("objective"))
        rate = objective.rate if isinstance(objective, LabelDropout) else 0.0
        bare = objective and objectives.without_dropout(objective).describe()
        model = {name: value for name, value in config["model"].items() if name != "classes"}
        return {**of_run({**config, "model": model, "objective": bare}), "label_dropout": rate}
    kind = _FAMILIES.get(str((config.get("model") or {}).get("family")), BIDIRECTIONAL)
    if kind == BIDIRECTIONAL:
        return {"model": kind, **latents.of_run(config)}
    if kind == BLOCK_CAUSAL:
        return {"model": kind, "block": config["model"]["block"]}
    objective = objectives.from_description(config.get("objective"))
    if not isinstance(objective, AnyOrderNelbo):
        return {"model": kind}
    return {"model": kind, "ordered": objective.ordered, "order_block": objective.block,
            "progressive": objective.progressive}  # fmt: skip
