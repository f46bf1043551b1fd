"""Options of ``mdm-jax train`` that choose latents and an objective: which go together, and what they make."""

import math
from collections.abc import Mapping
from typing import Any

from mdm_jax import models, tasks
from mdm_jax.app.options.labels import classes_of_task
from mdm_jax.models import Denoiser, LatentModel
from mdm_jax.models.adapters import LinenDenoiser
from mdm_jax.sampling import Rule, rules
from mdm_jax.support.errors import InputError, require
from mdm_jax.tasks import Task
from mdm_jax.theory.plans import grids
from mdm_jax.theory.profiles import Profile
from mdm_jax.training import (
    FixedLatentBound,
    HybridNoise,
    LatentSurrogate,
    MaskedNelbo,
    Objective,
    Run,
    StepwiseLatentBound,
    objectives,
)

Options = dict[str, Any]
"""Values by the names of :data:`NAMES`; what is left out has its default."""
NAMES = (
    "latent", "latent_size", "latent_block", "latent_prior", "latent_objective", "latent_steps", "latent_draws",
    "kl_warmup", "free_bits", "uniform",
)  # fmt: skip
BLOCK, STEPS, SIZE, WARMUP = 8, 4, 16, 1.0
"""Positions of a block, steps of the stepwise bound, numbers of a latent, and the part of the training in which the
weight of the KL rises, unless others are asked for."""
TOLD = {"once": "one latent for each sample", "each-step": "a latent at each step"}
"""What ``--latent-draw`` says, in words."""
_NUMBERS = (
    ("latent_size", 1, 2**20, ""),
    ("latent_block", 1, 2**31 - 1, ""),
    ("latent_prior", 0, 2**16, " (0 is the standard normal law)"),
    ("latent_steps", 1, 2**31 - 1, ""),
    ("latent_draws", 1, 2**16, ""),
    ("kl_warmup", 0, 1, ", a fraction of the training"),
    ("free_bits", 0, 10**6, ", bits per sequence"),
    ("uniform", 0, 0.99, ", a share of the noise"),
)


def said_by(options: Any) -> Options:
    """Those that the command line gives, checked as far as that needs no run.

    Raises:
        InputError: a number that cannot be, or one that does nothing beside the others that are given.
    """
    said = {name: value for name in NAMES if (value := getattr(options, name, None)) is not None}
    for name, least, most, more in _NUMBERS:
        value = said.get(name, least)
        wanted = f"from {least:,} to {most:,}{more}"
        require(math.isfinite(value) and least <= value <= most, option(name), value, wanted)
    return said


def merged(said: Mapping[str, Any], there: Mapping[str, Any]) -> Options:
    """What is asked for: what is said, and else what is there where it still means something.

    Args:
        said: by the command line.
        there: of the run in the directory, as :func:`of_run` tells it; nothing if there is none.

    Raises:
        InputError: one that is said does nothing for the chosen kind of latent or objective.
    """
    values = {**there, **said}
    if "uniform" in said and "latent" not in said:
        values["latent"] = "none"
    kind, objective = values.get("latent", "none"), values.get("latent_objective", "surrogate")
    useful = {"latent"} | ({"uniform"} if kind == "none" else set(NAMES) - {"uniform"})
    for name in said:
        if name not in useful:
            raise InputError(_apart(name))
    if kind != "block":
        _refuse(said, "latent_block", "--latent block", "the only kind that has blocks")
        useful -= {"latent_block"}
    if objective != "stepwise":
        _refuse(said, "latent_steps", "--latent-objective stepwise", "the only one that counts steps")
        useful -= {"latent_steps"}
    if objective == "fixed":
        wanted = "--latent-objective surrogate or stepwise"
        _refuse(said, "latent_draws", wanted, "the fixed-latent bound draws one latent for each sequence")
        useful -= {"latent_draws"}
    chosen = {name: value for name, value in values.items() if name in useful}
    if chosen.get("latent_draws", 1) > 1 and chosen.get("free_bits", 0) > 0:
        raise InputError(
            "--free-bits cannot be given beside --latent-draws above 1: the KL of several draws is not counted apart."
        )
    return chosen


def model_of(chosen: Mapping[str, Any], task: Task, sizes: Mapping[str, Any]) -> LinenDenoiser:
    """The model that the options describe.

    Args:
        chosen: as :func:`merged` returns them.
        task: its length, vocabulary and classes are the model's, and whether its rows end early.
        sizes: width, depth and heads.

    Raises:
        InputError: latents for rows that have labels or different lengths, or blocks that do not fit.
    """
    length, kind, classes = task.length, chosen.get("latent", "none"), classes_of_task(task)
    ragged = tasks.lengths_of(task.describe()) is not None
    if kind == "none":
        return models.transformer(task.vocab_size, length=length, classes=classes, ragged=ragged, **sizes)
    if ragged:
        raise InputError(f"--latent {kind} cannot be given for rows of different lengths: models with latents see all.")
    if classes > 0:
        raise InputError(f"--latent {kind} cannot be given for a task with labels: models with latents take none.")
    block = None
    if kind == "block":
        block = chosen.get("latent_block", BLOCK)
        wanted = f"less than {length}, the length: a single block is --latent global"
        require(block < length, "--latent-block", block, wanted)
    more = {"latent_size": chosen.get("latent_size", SIZE), "prior": chosen.get("latent_prior", 0)}
    return models.latent_transformer(task.vocab_size, length=length, block=block, **more, **sizes)


def objective_of(chosen: Mapping[str, Any], length: int) -> Objective:
    """The objective that the options describe; ``length`` of the sequences."""
    if chosen.get("latent", "none") == "none":
        uniform = chosen.get("uniform")
        return MaskedNelbo() if uniform is None else HybridNoise(uniform=uniform)
    more = {"warmup": chosen.get("kl_warmup", WARMUP), "free_bits": chosen.get("free_bits", 0.0)}
    kind = chosen.get("latent_objective", "surrogate")
    if kind == "fixed":
        return FixedLatentBound(**more)
    more["draws"] = chosen.get("latent_draws", 1)
    if kind == "surrogate":
        return LatentSurrogate(**more)
    steps = chosen.get("latent_steps", max(1, min(STEPS, length // 2)))
    require(steps <= length, "--latent-steps", steps, f"at most {length}, the length")
    return StepwiseLatentBound(steps=steps, **more)


def of_run(config: Mapping[str, Any]) -> Options:
    """The options that make the model and the objective of a run; of those that no options make, what there is."""
    model = config.get("model") or {}
    objective = objectives.from_description(config.get("objective"))
    if model.get("family") != "latent transformer":
        return {"uniform": objective.uniform} if isinstance(objective, HybridNoise) else {}
    there: Options = {"latent": "global" if model.get("block") is None else "block"}
    there |= {"latent_size": model.get("latent_size"), "latent_prior": model.get("prior")}
    there |= {} if model.get("block") is None else {"latent_block": model["block"]}
    if isinstance(objective, LatentSurrogate | FixedLatentBound | StepwiseLatentBound):
        there |= {"kl_warmup": objective.warmup, "free_bits": objective.free_bits}
        kinds = {LatentSurrogate: "surrogate", FixedLatentBound: "fixed", StepwiseLatentBound: "stepwise"}
        there["latent_objective"] = kinds[type(objective)]
    if isinstance(objective, LatentSurrogate | StepwiseLatentBound):
        there["latent_draws"] = objective.draws
    if isinstance(objective, StepwiseLatentBound):
        there["latent_steps"] = objective.steps
    return there


def own_objective(trained: Run) -> Objective | None:
    """What the run was trained on, label dropout aside.

    ``None`` for an objective of the user's own, or of a run that is in memory alone.
    """
    if trained.directory is None:
        return None
    config = trained.directory.read_config()
    objective = objectives.from_description(config["objective"]) if "objective" in config else MaskedNelbo()
    return objective and objectives.without_dropout(objective)


def caution(trained: Run, profile: Profile) -> str | None:
    """What to say of costs given one latent of a run that was trained with several draws; nothing of others."""
    objective = own_objective(trained)
    several = isinstance(objective, LatentSurrogate | StepwiseLatentBound) and objective.draws > 1
    if not several or profile.provenance.get("latent") != "fixed":
        return None
    return (
        "this run was trained with several draws of the latent for each example. A single draw of its recognition "
        "network may fit a sequence badly, so that these costs are high: judge samplers by their samples (evaluate)."
    )


def own_bound(trained: Run) -> Objective | None:
    """The bound that a run with latents was trained on; ``None`` for others, which have one by default."""
    objective = own_objective(trained)
    if objective is None or not objective.is_bound or "latent" not in objective.describe()["name"]:
        return None
    return objective


def choose_predictor(trained: Run, predictor: str | None) -> str | None:
    """``--predictor`` with its default; ``None`` for a run without latents.

    Raises:
        InputError: something was said of the latents of a run that has none.
    """
    if isinstance(trained.denoiser, LatentModel):
        return predictor or "fixed"
    if predictor is not None:
        raise InputError(f"--predictor needs a run with latents (train --latent ...); {trained.place.path} has none.")
    return None


def hybrid_rule(trained: Run, steps: int, correct: int | None) -> Rule:
    """The reverse of the noise that a run was trained under, in so many steps, and its self-correction.

    Raises:
        InputError: a run that was not trained under hybrid noise.
    """
    objective = own_objective(trained)
    if not isinstance(objective, HybridNoise):
        raise InputError(
            f"--preset gidd needs a run trained under hybrid noise (train --uniform ...); {trained.place.path} was not."
        )
    return rules.hybrid(grids.uniform(steps), objective.uniform, correct or 0, gamma=objective.gamma)


def how_drawn(trained: Run, how: str | None) -> str | None:
    """``--latent-draw`` with its default; ``None`` for a run without latents."""
    return (how or "once") if isinstance(trained.denoiser, LatentModel) else None


def drawing(trained: Run, how: str | None) -> Denoiser:
    """The run's denoiser with its latents drawn as ``--latent-draw`` says: once, unless at each step.

    Raises:
        InputError: something was said of the latents of a run that has none.
    """
    if how is not None and not isinstance(trained.denoiser, LatentModel):
        raise InputError(f"--latent-draw needs a run with latents (train --latent ...); {trained.place.path} has none.")
    return models.redrawn(trained.denoiser) if how == "each-step" else trained.denoiser


def prompt_note(trained: Run) -> str | None:
    """What to say where something is given to a model whose latent depends on it, though it is drawn as if it did not;
    ``None`` of other models.
    """
    if isinstance(own_objective(trained), FixedLatentBound):
        return (
            "this run was trained on the fixed-latent bound, under which what is given tells of the latent. It is "
            "drawn from the prior all the same, so what follows is not drawn from the model's law given the prompt."
        )
    return None


def option(name: str) -> str:
    """The name of an option as it is typed."""
    return "--" + name.replace("_", "-")


def _apart(name: str) -> str:
    if name == "uniform":
        return "--uniform cannot be given beside --latent: hybrid noise is for models without latents."
    return f"{option(name)} must be given beside --latent global or block: without latents it does nothing."


def _refuse(said: Mapping[str, Any], name: str, wanted: str, why: str) -> None:
    if name in said:
        raise InputError(f"{option(name)} must be given beside {wanted}: {why}.")
