"""Runs: what makes two of them the same, whose directory it is, and a trained one from its directory."""

import dataclasses
import functools
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

import jax

from mdm_jax import models, tasks
from mdm_jax.models.denoiser import Context, Denoiser, Params
from mdm_jax.models.parameters import summary
from mdm_jax.support.commands import command
from mdm_jax.support.errors import InputError, require
from mdm_jax.support.files import write_json
from mdm_jax.support.flags import usual
from mdm_jax.support.text import shortened
from mdm_jax.tasks import Notation, Task
from mdm_jax.theory import profiles
from mdm_jax.theory.profiles import Profile
from mdm_jax.training import contexts, tally
from mdm_jax.training.asked import run_directory
from mdm_jax.training.checkpoints import NEWEST
from mdm_jax.training.directory import FORMAT, RunDirectory, identity, of_today
from mdm_jax.training.objective import MASKED_NELBO
from mdm_jax.training.objectives import from_description
from mdm_jax.training.optimizer import describe_state
from mdm_jax.training.settings import OWN, Settings
from mdm_jax.training.step import TrainState, initial_params
from mdm_jax.training.tally import Tally
from mdm_jax.training.ways import Job

_FIRST = {**MASKED_NELBO.describe(), "is_bound": MASKED_NELBO.is_bound}  # the objective of runs that name none
_OF_THE_TASK = ("length", "vocab_size")
_TELLING = ("seed", "model", "model family", "objective name", "width", "depth", "heads")
_KIND = {"model": "family", "objective": "name"}  # what tells the rest of a part, where it differs


def configuration(
    task: Task, job: Job, shapes: TrainState, shown: Context, context: tuple[Context, Context] | None
) -> dict[str, Any]:
    """The content of ``config.json``.

    Args:
        task: what is learned from.
        job: what is trained.
        shapes: of its state.
        shown: one row of what the denoiser gets as a context.
        context: what is known of the data's rows, if it was given.
    """
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "mdm-jax")
    return {
        "format": FORMAT,
        "task": task.describe(),
        "model": models.describe(job.denoiser),
        "settings": dataclasses.asdict(job.settings),
        "objective": {**job.objective.describe(), "is_bound": job.objective.is_bound},
        **({} if shown is None else {"shown": contexts.to_json(shown)}),
        **({} if context is None else {"context": contexts.digest(context)}),
        **({} if job.optimizer is None else {"optimizer": describe_state(shapes.optimizer)}),
        "manifests": True,  # every complete checkpoint has one; runs of earlier versions do not say so
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in packages}},
    }


def claim(directory: RunDirectory, config: dict[str, Any]) -> None:
    """Write ``config.json``, or check that the run already there is the same one.

    Raises:
        InputError: the directory holds a run with another task, model or settings.
    """
    examine(directory, config)
    if not directory.config.exists():
        write_json(directory.config, config)


def examine(directory: RunDirectory, config: dict[str, Any]) -> None:
    """What :func:`claim` checks, without writing: a directory of somebody else's stays as it is.

    Raises:
        InputError: as for :func:`claim`.
    """
    if not directory.config.exists():
        # A kill while config.json was being written leaves a temporary file of ours.
        found = directory.path.iterdir() if directory.path.exists() else ()
        ours = (p == directory.lock or (p.name.startswith(".config.json.") and p.suffix == ".tmp") for p in found)
        require(all(ours), "directory", str(directory.path), "new, empty or a run directory")
        return
    present = directory.read_config()
    # What did not exist when the run began is what it is by default.
    present = {"objective": _FIRST, **present}
    present["settings"] = {**dataclasses.asdict(Settings()), **of_today(present["settings"])}
    differences = _differences(config, present)
    if differences:
        ours, theirs = config["settings"]["steps"], present["settings"]["steps"]
        longer = isinstance(theirs, int) and ours > theirs
        told = " to train longer (from Python fit(..., params=run.params) begins with this run's parameters)"
        raise InputError(
            f"{directory.path} holds a run that differs in {', '.join(differences)}; name another directory"
            f"{told if longer else ''}, or use the same settings (what is left out has its default)."
        )


def own_part(config: dict[str, Any], settings: Settings) -> str | None:
    """What of a run can be made by nobody but who gave it to ``fit``: model, optimizer or objective.

    Args:
        config: the content of ``config.json``.
        settings: of the run.
    """
    if config.get("model") is None:
        return "a model"
    if settings.optimizer == OWN:
        return "an optimizer"
    return None if from_description(config.get("objective", _FIRST)) is not None else "an objective"


def _differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """What differs in the configurations of two runs, the telling ones first: others are often left to defaults."""
    found: dict[str, str] = {}
    for part in ("task", "settings", "model", "objective", "context", "shown", "optimizer"):
        one, other = ours.get(part), theirs.get(part)
        if part == "shown" and "context" in found:
            continue  # what the model is shown follows from what is known
        if not (isinstance(one, dict) and isinstance(other, dict)):
            if one != other and part != "optimizer":  # of an own one and a recipe the settings tell
                found[part] = part
            continue
        names = [name for name in dict.fromkeys((*one, *other)) if one.get(name) != other.get(name)]
        if part == "task" and names == ["spec"] and _same_kind_of_file(one["spec"], other["spec"]):
            continue  # one file has many names; what is in it has one digest
        names = [_KIND[part]] if _KIND.get(part) in names else names  # of another kind all else is another
        for name in names:
            label = f"{part} {name}" if part in ("task", "objective", "optimizer") or name == "family" else name
            found[label] = f"{label} ({_brief(other.get(name))}, not {_brief(one.get(name))})"
    # What follows from the task is told only where nothing else is: whoever gives another is not to hear of lengths.
    names = [name for name in found if name not in _OF_THE_TASK] or list(found)
    return [found[name] for name in sorted(names, key=_rank)]


def _rank(name: str) -> int:
    return 0 if name.startswith("task") else 1 if name in _TELLING else 2


def _same_kind_of_file(one: Any, other: Any) -> bool:
    kinds = [str(spec).partition(":")[0] for spec in (one, other) if ":" in str(spec)]
    return len(kinds) == 2 and kinds[0] == kinds[1] and kinds[0] in ("text", "npy")


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained model with all that it needs.

    Attributes:
        denoiser: the model.
        params: the EMA of its parameters.
        directory: where it lives, or ``None`` if it was trained in memory.
        settings: how it was trained.
        step: steps done.
        description: the task as stored with the run.
        tally: losses by number of revealed tokens, of a run that has just been trained.
    """

    denoiser: Denoiser
    params: Params
    directory: RunDirectory | None
    settings: Settings
    step: int
    description: dict[str, Any]
    tally: Tally | None = None

    def __repr__(self) -> str:
        where = "in memory" if self.directory is None else str(self.directory.path)
        task = shortened(str(self.description.get("spec")), 80)
        step = f"step {self.step} of {self.settings.steps}"
        return f"Run({where!r}, {step}, task={task!r}, params={summary(self.params)},\n    denoiser={self.denoiser!r})"

    @functools.cached_property
    def task(self) -> Task:
        """The task with its data; refused with a sentence if the data is gone or has changed."""
        return tasks.restore(self.description)

    @functools.cached_property
    def vocabulary(self) -> Notation:
        """The vocabulary, stored with the run: showing and prompting need no data."""
        return tasks.vocabulary_of(self.description)

    @property
    def place(self) -> RunDirectory:
        """The directory of a run that has one."""
        if self.directory is None:
            raise InputError("this run was trained in memory; it has no directory.")
        return self.directory

    @functools.cached_property
    def profile(self) -> Profile:
        """The profile stored with the run.

        Raises:
            InputError: none there, or one of another run, or of this one before it was trained further.
        """
        path = self.place.profile
        again = f"measure it with: {command('profile', self.place.path)}"
        if not path.exists():
            raise InputError(f"{self.place.path} has no profile yet; {again}")
        profile = profiles.load(path)
        if profile.length != self.settings.length:
            raise InputError(f"{path} has length {profile.length}; this run's is {self.settings.length}; {again}")
        self.check_origin(profile, path, again)
        return profile

    @property
    def identity(self) -> str:
        """:func:`identity` of the run's directory."""
        return identity(self.place)

    def check_origin(self, profile: Profile, path: Path, again: str) -> None:
        """Refuse a profile that says it is another run's, or of another step (the training profile may be)."""
        if profile.provenance.get("run", self.identity) != self.identity:
            raise InputError(f"{path} is the profile of another run; {again}")
        step = profile.provenance.get("run_step", self.step)
        if step != self.step and path != self.place.training_profile:
            raise InputError(f"{path} was measured at step {step}; the run is at {self.step}; {again}")

    @functools.cached_property
    def training_profile(self) -> Profile:
        """The profile that training measured as it went (:mod:`mdm_jax.training.tally`).

        Raises:
            InputError: a run too short for one, or trained before these were kept.
        """
        found = None
        if self.tally is not None:
            found = tally.to_profile(self.tally, {"run_step": self.step})
        elif self.directory is not None and self.directory.training_profile.exists():
            path = self.directory.training_profile
            found = profiles.load(path)
            self.check_origin(found, path, "train this run further, and it is written anew.")
        if found is None:
            raise InputError("this run has no training profile: it was too short, or older than these profiles.")
        return found


def load(
    directory: str | Path,
    denoiser: Denoiser | None = None,
    params: Params | None = None,
    checkpoint: int | str = NEWEST,
) -> Run:
    """A run from its directory: denoiser, EMA of the parameters, task.

    Args:
        directory: what ``training.fit`` or ``mdm-jax train`` wrote.
        denoiser: your own model, if the run was trained with one; the library's models are rebuilt from the
            configuration.
        params: parameters of the same structure, for a denoiser that cannot make its own (NNX, plain functions).
        checkpoint: "newest", "best" (lowest held-out figure of those kept), or the step of one that is kept.

    Raises:
        InputError: no run there, no such checkpoint, a damaged one (the sentence names the newest good one), or a model
            that only you can supply.

    Example:
        >>> import numpy as np
        >>> import mdm_jax as mdm
        >>> np.save("bits.npy", np.asarray(mdm.oracles.polya(8, 0.5).sample(mdm.key(0), rows=80)))
        >>> task = mdm.tasks.npy("bits.npy")  # any array of tokens
        >>> model = mdm.models.transformer(task.vocab_size, length=8, width=16, depth=1, heads=2)
        >>> run = mdm.fit(model, task, steps=4, directory="runs/bits", progress=False)
        >>> again = mdm.load("runs/bits")
        >>> again.step, again.denoiser == model, again.task.vocab_size  # model and task are rebuilt
        (4, True, 2)
    """
    place = run_directory(directory)
    config = place.read_config()
    settings = place.settings(config)
    if denoiser is None:
        if config.get("model") is None:
            raise InputError(f"{directory} was trained with a model of your own; pass it as load(directory, denoiser).")
        denoiser = models.from_description(config["model"])
    with usual(), place.open_checkpoints() as checkpoints:
        shown = None if params is not None else place.shown(config)
        like = jax.eval_shape(functools.partial(initial_params, denoiser, settings), params, shown)
        if checkpoints.latest() is None:
            raise InputError(f"{directory} has no checkpoint yet; train it with: {command('train', directory)}")
        step = checkpoints.choose(checkpoint)
        assert step is not None  # there is one
        params = checkpoints.restore_ema_params(like, step)
    return Run(denoiser, params, place, settings, step, config["task"])


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _brief(value: Any) -> str:
    return shortened(json.dumps(value, ensure_ascii=False), 60)
