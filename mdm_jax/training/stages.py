"""Stages: a run that was trained further, as its ``config.json`` tells it.

The first stage begins at step 0. Each further one begins at the checkpoint it went on from, and has a learning-rate
schedule of its own. ``"settings"`` holds the steps of the newest stage, and ``"stages"`` all of them, as in
``[{"begin": 0, "steps": 800}, {"begin": 800, "steps": 1600}]``. A run of one stage has no ``"stages"``.

Everything here is a function of the content of ``config.json``.
"""

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

from mdm_jax.support.errors import InputError
from mdm_jax.support.files import digest, to_json
from mdm_jax.training.settings import Settings

KEY = "stages"
_OF_A_STAGE = ("begin", "anneal_steps")  # settings that follow from the stages, and are not stored beside them
_LATER = ("objective", "shown", "context", "optimizer", "known", "given", "origin", "source")
"""Parts of a configuration that not every run's, or not every version's, has."""


class Stage(NamedTuple):
    """One stage of a training.

    Attributes:
        begin: the step of the checkpoint it went on from; 0 of the first stage.
        steps: the step it goes to, counted from the beginning of the run.
    """

    begin: int
    steps: int


def stages_of(config: Mapping[str, Any]) -> tuple[Stage, ...]:
    """The stages of a run, the first one first; at least one.

    Args:
        config: the content of ``config.json``.

    Raises:
        InputError: what it says of stages cannot be.

    Example:
        >>> from mdm_jax.training.stages import extended, stages_of
        >>> stages_of(extended({"settings": {"steps": 800}}, 800, 1600))
        (Stage(begin=0, steps=800), Stage(begin=800, steps=1600))
    """
    last = config["settings"].get("steps", Settings.steps)
    told = config.get(KEY)
    if told is None:
        return (Stage(0, last),)
    stages = _read(told)
    good = bool(stages) and stages[0].begin == 0 and stages[-1].steps == last
    good = good and all(0 <= stage.begin < stage.steps for stage in stages)
    good = good and all(one.begin < two.begin <= one.steps < two.steps for one, two in itertools.pairwise(stages))
    if not good:
        raise InputError(
            f'"{KEY}" of config.json must be the stages of the run, each from the step where it began to a later one '
            f"than the stage before it, the last to {last}, the steps of its settings."
        )
    return stages


def _read(told: Any) -> tuple[Stage, ...]:
    """The stages that JSON holds; none of what is no list of them."""
    if not isinstance(told, list) or not all(isinstance(one, dict) for one in told):
        return ()
    found = tuple(Stage(one.get("begin"), one.get("steps")) for one in told)
    return found if all(type(number) is int for stage in found for number in stage) else ()


def to_store(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of settings by name those that are stored as ``"settings"``: what the stages tell is stored there alone."""
    return {name: value for name, value in settings.items() if name not in _OF_A_STAGE}


def told_by(config: Mapping[str, Any]) -> dict[str, int]:
    """The settings that the stages tell, by name: where the newest one began, and over how many steps to anneal."""
    first, last = stages_of(config)[0], stages_of(config)[-1]
    return {} if last.begin == 0 else {"begin": last.begin, "anneal_steps": first.steps}


def extended(config: Mapping[str, Any], begin: int, steps: int) -> dict[str, Any]:
    """The configuration of the run with one more stage.

    Stages that would have begun at ``begin`` or later are forgotten: what they did is not gone on from. A stage that
    begins at step 0 is the first one.

    Args:
        config: as it is.
        begin: the step of the checkpoint that is gone on from; 0 if there is none.
        steps: to which step.
    """
    settings = {**config["settings"], "steps": steps}
    before = [stage for stage in stages_of(config) if stage.begin < begin]
    rest = {name: value for name, value in config.items() if name != KEY} | {"settings": settings}
    if not before:
        return rest
    return {**rest, KEY: [stage._asdict() for stage in (*before, Stage(begin, steps))]}


def identities(config: Mapping[str, Any]) -> tuple[str, ...]:
    """A SHA-256 for each stage: of task, model, settings, objective and the like, and of the stages up to it.

    Together with a step they determine the parameters. The first is that of a run that was never trained further.
    """
    stages = stages_of(config)
    known = {part: config.get(part) for part in ("task", "model")}
    more = {part: config[part] for part in _LATER if part in config}
    found = []
    for many in range(1, len(stages) + 1):
        settings = {**config["settings"], "steps": stages[0].steps} if KEY in config else config["settings"]
        history = {} if many == 1 else {KEY: [list(stage) for stage in stages[:many]]}
        found.append(digest(to_json({**known, "settings": settings, **more, **history})))
    return tuple(found)


def identity_at(config: Mapping[str, Any], step: int) -> str:
    """The one of :func:`identities` that a checkpoint of ``step`` was made under."""
    begun = [at for at, stage in zip(identities(config), stages_of(config), strict=True) if stage.begin < step]
    return begun[-1] if begun else identities(config)[0]
