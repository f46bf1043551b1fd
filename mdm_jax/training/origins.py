"""Where a training begins that is no first one: at the parameters of another run, or at a new stage of its own."""

from typing import Any

from mdm_jax.models.denoiser import Params
from mdm_jax.support.errors import InputError
from mdm_jax.support.progress import remark
from mdm_jax.tasks import Task
from mdm_jax.training.matching import require_vocabulary
from mdm_jax.training.runs import Run, RunDirectory
from mdm_jax.training.settings import Settings


def begun_with(params: Params | Run | None, task: Task) -> tuple[Params | None, dict[str, Any] | None]:
    """The parameters to begin with, and what ``config.json`` says of the run they are of.

    Args:
        params: a run, or parameters alone, of which nothing is said.
        task: what they are to be trained on.

    Returns:
        The parameters, and of a run its directory, its identity and the step; ``None`` for both of a run in memory.

    Raises:
        InputError: the run's vocabulary is not the task's.
    """
    if not isinstance(params, Run):
        return params, None
    place = params.directory
    require_vocabulary(task, params.description, "the run" if place is None else f"the run in {place.path}")
    known = (
        {"directory": None, "run": None} if place is None else {"directory": str(place.path), "run": params.identity}
    )
    return params.params, {**known, "step": params.step}


def require_origin(place: RunDirectory, origin: dict[str, Any] | None) -> None:
    """Refuse to begin a run anew that began with another one's parameters, unless they are given again.

    Raises:
        InputError: they are not.
    """
    there = place.read_config().get("origin")
    if there is not None and origin is None:
        raise InputError(
            f"the run in {place.path} began with the parameters of {_named(there)} and has no checkpoint yet: give "
            "them again (fit(..., params=load(DIRECTORY)), or train --from DIRECTORY)."
        )


def opening(settings: Settings, origin: dict[str, Any] | None, log: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What the first line of a stage says in the log beside its figures; nothing if it has been said.

    Args:
        settings: of the run.
        origin: the run whose parameters it began with.
        log: the lines that are there.
    """
    if any(line["step"] > settings.begin for line in log):
        return {}
    if settings.begin > 0:
        return {"begins": {"step": settings.begin, "to": settings.steps}}
    return {} if origin is None else {"begins": {"step": 0, "to": settings.steps, "origin": origin}}


def tell(place: RunDirectory | None, begins: dict[str, Any]) -> None:
    """Say on standard error what :func:`opening` says in the log."""
    if not begins:
        return
    where = "this training" if place is None else f"{place.path}"
    step, to = begins["begins"]["step"], begins["begins"]["to"]
    if step > 0:
        remark(f"{where}: a new stage, from step {step} to {to}; the learning rate rises and falls anew.")
    else:
        remark(f"{where}: begins with the parameters of {_named(begins['begins']['origin'])}.")


def _named(origin: dict[str, Any]) -> str:
    where = "a run in memory" if origin.get("directory") is None else f"the run in {origin['directory']}"
    return f"{where} at step {origin.get('step')}"
