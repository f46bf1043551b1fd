"""Runs: what makes two of them the same, whose directory it is, and a trained one from its directory."""

import dataclasses
import functools
import importlib.metadata
import platform
from collections.abc import Mapping
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
from mdm_jax.training import contexts, stages, tally
from mdm_jax.training.asked import require_task, run_directory
from mdm_jax.training.checkpoints import NEWEST
from mdm_jax.training.differences import told_differences
from mdm_jax.training.directory import FORMAT, RunDirectory, identity, of_today
from mdm_jax.training.matching import require_vocabulary
from mdm_jax.training.objective import MASKED_NELBO
from mdm_jax.training.objectives import from_description
from mdm_jax.training.optimizer import describe_state
from mdm_jax.training.settings import OWN, Settings
from mdm_jax.training.sources import KEY, shapes_of
from mdm_jax.training.step import TrainState, initial_params
from mdm_jax.training.tally import Tally
from mdm_jax.training.ways import Job

_FIRST = {**MASKED_NELBO.describe(), "is_bound": MASKED_NELBO.is_bound}  # the objective of runs that name none


def configuration(
    task: Task,
    job: Job,
    shapes: TrainState | None,
    shown: Context,
    context: tuple[Context, Context] | None,
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of ``config.json``.

    Args:
        task: what is learned from.
        job: what is trained.
        shapes: of its state; of what is not trained there is none.
        shown: one row of what the denoiser gets as a context.
        context: what is known of the data's rows, if it was given.
        more: of parts that not every run has: digests of what the task itself knows of its rows ("known") and says is
            given of them ("given"), the run whose parameters were begun with ("origin"), and what was imported
            ("source").
    """
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "mdm-jax")
    return {
        "format": FORMAT,
        "task": task.describe(),
        "model": models.describe(job.denoiser),
        "settings": stages.to_store(dataclasses.asdict(job.settings)),
        "objective": {**job.objective.describe(), "is_bound": job.objective.is_bound},
        **({} if shown is None else {"shown": contexts.to_json(shown)}),
        **({} if context is None else {"context": contexts.digest(context)}),
        **({} if job.optimizer is None or shapes is None else {"optimizer": describe_state(shapes.optimizer)}),
        **(more or {}),
        "manifests": True,  # every complete checkpoint has one; runs of earlier versions do not say so
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in packages}},
    }


def claim(
    directory: RunDirectory, config: dict[str, Any], further: bool = False, checkpoint: int | str = NEWEST
) -> None:
    """Write ``config.json``, or check that the run already there is the same one, or the same but for more steps.

    Args:
        directory: of the run.
        config: what would be written.
        further: more steps than the run has begin a new stage of it.
        checkpoint: where that goes on from. Later ones are moved aside, as ``fit`` says.

    Raises:
        InputError: the directory holds a run with another task, model or settings; or the checkpoint is damaged.
    """
    longer = examine(directory, config, further)
    if not directory.config.exists():
        write_json(directory.config, config)
    elif longer:
        _begin_stage(directory, config["settings"]["steps"], checkpoint)


def examine(directory: RunDirectory, config: dict[str, Any], further: bool = False) -> bool:
    """What :func:`claim` checks, without writing: a directory of somebody else's stays as it is.

    Returns:
        Whether a new stage is asked for.

    Raises:
        InputError: as for :func:`claim`.
    """
    if not directory.config.exists():
        # A kill while config.json was being written leaves a temporary file of ours.
        found = directory.path.iterdir() if directory.path.exists() else ()
        ours = (p == directory.lock or (p.name.startswith(".config.json.") and p.suffix == ".tmp") for p in found)
        require(all(ours), "directory", str(directory.path), "new, empty or a run directory")
        return False
    present = directory.read_config()
    # What did not exist when the run began is what it is by default.
    present = {"objective": _FIRST, **present}
    if KEY in present and KEY not in config:
        raise InputError(
            f"{directory.path} holds a published model, which is not trained where it lies: begin another run with it, "
            f"{command('train', 'DIRECTORY', '--from', str(directory.path))} (fit(..., params=load(...)))."
        )
    present["settings"] = {**stages.to_store(dataclasses.asdict(Settings())), **of_today(present["settings"])}
    ours, theirs = config["settings"]["steps"], present["settings"]["steps"]
    longer = further and isinstance(theirs, int) and ours > theirs
    asked = {**config, "settings": {**config["settings"], "steps": theirs}} if further else config
    found = told_differences(asked, present)
    if found:
        told = "" if further or ours == theirs else f" (fit(..., steps={ours}) would train it further)"
        raise InputError(
            f"{directory.path} holds a run that differs in {', '.join(found)}; name another directory, or use the "
            f"same settings (what is left out has its default){told}."
        )
    if further and ours != theirs and not longer:
        raise InputError(
            f"steps must be {theirs}, as in the run in {directory.path}, or more, to train it further; got {ours}."
        )
    return longer


def _begin_stage(directory: RunDirectory, steps: int, checkpoint: int | str) -> None:
    """Let a run go to more steps than it did, from a checkpoint; what cannot be gone on from changes nothing."""
    config = directory.read_config()
    kept = directory.catalogue(config)
    begin = kept.choose(checkpoint) or 0  # a state that never took a step is begun anew
    if begin:
        kept.verify(begin)
    elif directory.read_log():
        kept.start_over()
    kept.set_aside(begin or -1)
    write_json(directory.config, stages.extended(config, begin, steps))


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
        own_task: the task itself, where it was given to ``fit`` or ``load``.
    """

    denoiser: Denoiser
    params: Params
    directory: RunDirectory | None
    settings: Settings
    step: int
    description: dict[str, Any]
    tally: Tally | None = None
    own_task: Task | None = None

    def __repr__(self) -> str:
        where = "in memory" if self.directory is None else str(self.directory.path)
        task = shortened(str(self.description.get("spec")), 80)
        step = f"step {self.step} of {self.settings.steps}"
        return f"Run({where!r}, {step}, task={task!r}, params={summary(self.params)},\n    denoiser={self.denoiser!r})"

    @functools.cached_property
    def task(self) -> Task:
        """The task with its data: the one that was given, or else restored from its description.

        Refused with a sentence if it was not given, and the data is gone or has changed or no spec makes it.
        """
        return tasks.restore(self.description) if self.own_task is None else self.own_task

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
        block = models.block_length(self.denoiser)
        wanted = self.settings.length if block is None else min(block, self.settings.length)
        if profile.length != wanted:
            whose = "this run's" if block is None else "that of a block of this run"
            raise InputError(f"{path} has length {profile.length}; {whose} is {wanted}; {again}")
        self.check_origin(profile, path, again)
        return profile

    @property
    def identity(self) -> str:
        """:func:`identity` of the run's directory, at the step of its parameters."""
        return identity(self.place, self.step)

    def check_origin(self, profile: Profile, path: Path, again: str) -> None:
        """Refuse a profile that says it is another run's, or of another step (the training profile may be)."""
        step = profile.provenance.get("run_step", self.step)
        own = identity(self.place, step if isinstance(step, int) else self.step)
        if profile.provenance.get("run", own) != own:
            raise InputError(f"{path} is the profile of another run; {again}")
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
            found = tally.to_profile(self.tally, tally.about(self.denoiser, run_step=self.step))
        elif self.directory is not None and self.directory.training_profile.exists():
            path = self.directory.training_profile
            found = profiles.load(path)
            self.check_origin(found, path, "train this run further, and it is written anew.")
        if found is None:
            told = "it was too short, older than these profiles, or trained by an objective that measures none, as one "
            raise InputError(f"this run has no training profile: {told}of other orders than random ones does not.")
        return found


def load(
    directory: str | Path,
    denoiser: Denoiser | None = None,
    params: Params | None = None,
    checkpoint: int | str = NEWEST,
    task: Task | None = None,
) -> Run:
    """A run from its directory: denoiser, EMA of the parameters, task.

    Args:
        directory: what ``training.fit`` or ``mdm-jax train`` wrote.
        denoiser: your own model, if the run was trained with one; the library's models are rebuilt from the
            configuration.
        params: parameters of the same structure, for a denoiser that cannot make its own (NNX, plain functions).
        checkpoint: "newest", "best" (lowest held-out figure of those kept), or the step of one that is kept.
        task: the run's task, if it is your own, or one with other data: it becomes ``run.task``. The run must have been
            trained on the same vocabulary and length.

    Raises:
        InputError: no run there, no such checkpoint, a damaged one (the sentence names the newest good one), a model
            that only you can supply, or a task that is not of the run's vocabulary or length.

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
    if task is not None:
        require_task(task)
        require_vocabulary(task, config["task"], f"the run in {place.path}")
        require(task.length == settings.length, "task.length", task.length, f"that of the run, {settings.length}")
    if denoiser is None:
        if config.get("model") is None:
            raise InputError(f"{directory} was trained with a model of your own; pass it as load(directory, denoiser).")
        denoiser = models.from_description(config["model"])
    with usual(), place.open_checkpoints() as checkpoints:
        shown = None if params is not None else place.shown(config)
        like = shapes_of(config) if params is None else None
        if like is None:
            like = jax.eval_shape(functools.partial(initial_params, denoiser, settings), params, shown)
        if checkpoints.latest() is None:
            raise InputError(f"{directory} has no checkpoint yet; train it with: {command('train', directory)}")
        step = checkpoints.choose(checkpoint)
        assert step is not None  # there is one
        params = checkpoints.restore_ema_params(like, step)
    return Run(denoiser, params, place, settings, step, config["task"], own_task=task)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
