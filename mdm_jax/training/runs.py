"""Run directories: what training leaves behind and everything else reads.

config.json       task, model, settings, versions: enough to rebuild the run
log.jsonl         one line of figures per report, cut back to the checkpoint on resuming
checkpoints/      Orbax checkpoints
training_profile.json           the profile of the training loss, as it was at the last report
profile.json, held_out.json     what ``mdm-jax profile`` measures
tuning.json, plans/, landscape.png     what ``mdm-jax tune`` finds
samples.json, report.html       what ``mdm-jax demo`` adds
"""

import dataclasses
import functools
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

import jax

from mdm_jax import models, tasks
from mdm_jax.models.denoiser import Denoiser, Params
from mdm_jax.support.errors import InputError, require
from mdm_jax.support.files import digest, read_json, to_json, write_json, write_text
from mdm_jax.tasks import Notation, Task
from mdm_jax.theory import profiles
from mdm_jax.theory.profiles import Profile
from mdm_jax.training import tally
from mdm_jax.training.checkpoints import Checkpoints
from mdm_jax.training.step import Settings, initial_state
from mdm_jax.training.tally import Tally

FORMAT = "mdm_jax run 1"


@dataclasses.dataclass(frozen=True)
class RunDirectory:
    """The files of one run, by name."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def log(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def profile(self) -> Path:
        return self.path / "profile.json"

    @property
    def profile_given(self) -> Path:
        """Where the profile of what follows something given is put."""
        return self.path / "profile_given.json"

    @property
    def training_profile(self) -> Path:
        return self.path / "training_profile.json"

    @property
    def held_out(self) -> Path:
        return self.path / "held_out.json"

    @property
    def plans(self) -> Path:
        return self.path / "plans"

    def plan(self, role: str, budget: int) -> Path:
        """The plan file of a role ("optimal", "best beta", ...) at a budget of steps."""
        return self.plans / f"{role.replace(' ', '-')}-{budget}.json"

    @property
    def tuning(self) -> Path:
        return self.path / "tuning.json"

    @property
    def landscape(self) -> Path:
        return self.path / "landscape.png"

    @property
    def samples(self) -> Path:
        return self.path / "samples.json"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    def read_config(self) -> dict[str, Any]:
        """``config.json``, checked to be one."""
        if not self.config.exists():
            raise InputError(f"{self.path} is not a run directory: it has no config.json (mdm-jax train makes one).")
        value = read_json(self.config, "the configuration of a run")
        parts = isinstance(value, dict) and all(isinstance(value.get(k), dict) for k in ("task", "settings"))
        if not parts or value.get("format") != FORMAT:
            raise InputError(f"{self.config} is not the configuration of a run: its format must be {FORMAT!r}.")
        return value

    def settings(self, config: dict[str, Any]) -> Settings:
        """The settings in ``config``, the content of ``config.json``."""
        try:
            return Settings(**config["settings"])
        except TypeError as error:
            raise InputError(f"{self.config} has settings of another version or type: {error}.") from None
        except InputError as error:
            raise InputError(f"{self.config} has settings that cannot be: {error}") from None

    def read_log(self) -> list[dict[str, Any]]:
        """The lines of ``log.jsonl``; a last line cut short by a crash is left out."""
        if not self.log.exists():
            return []
        try:
            texts = self.log.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            raise InputError(f"{self.log} is not the log of a run: it is not UTF-8 text.") from None
        lines = []
        for number, text in enumerate(texts, start=1):
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                if number == len(texts):
                    break
                raise InputError(f"{self.log} is not the log of a run: line {number} is not JSON.") from None
            if not isinstance(line, dict) or not isinstance(line.get("step"), int):
                raise InputError(f"{self.log} is not the log of a run: line {number} has no step.")
            lines.append(line)
        return lines

    def cut_log(self, step: int) -> list[dict[str, Any]]:
        """Drop what was logged after ``step``: those steps will be taken again."""
        kept = [line for line in self.read_log() if line["step"] <= step]
        write_text(self.log, "".join(json.dumps(line) + "\n" for line in kept))
        return kept


def configuration(task: Task, denoiser: Denoiser, settings: Settings) -> dict[str, Any]:
    """The content of ``config.json``."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "mdm-jax")
    return {
        "format": FORMAT,
        "task": task.describe(),
        "model": models.describe(denoiser),
        "settings": dataclasses.asdict(settings),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in packages}},
    }


def identity(directory: RunDirectory) -> str:
    """SHA-256 of task, model and settings, which determine a run; ``profile.json`` records it."""
    config = directory.read_config()
    return digest(to_json({part: config.get(part) for part in ("task", "model", "settings")}))


def claim(directory: RunDirectory, config: dict[str, Any]) -> None:
    """Write ``config.json``, or check that the run already there is the same one.

    Raises:
        InputError: the directory holds a run with another task, model or settings.
    """
    if not directory.config.exists():
        # A kill while config.json was being written leaves a temporary file of ours.
        found = directory.path.iterdir() if directory.path.exists() else ()
        ours = (path.name.startswith(".config.json.") and path.suffix == ".tmp" for path in found)
        require(all(ours), "directory", str(directory.path), "new, empty or a run directory")
        write_json(directory.config, config)
        return
    present = directory.read_config()
    for part in ("task", "model", "settings"):
        ours, theirs = config[part], present.get(part)
        if ours == theirs:
            continue
        detail = part
        if isinstance(ours, dict) and isinstance(theirs, dict):
            name = next(k for k in (*ours, *theirs) if ours.get(k) != theirs.get(k))
            detail = f"{part} {name} = {_brief(theirs.get(name))}, not {_brief(ours.get(name))}"
        raise InputError(
            f"{directory.path} holds a run with another {detail}; name another directory, or use the same settings."
        )


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained model with all that it needs.

    Attributes:
        denoiser: the model.
        params: its averaged parameters.
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
        again = f"measure it with: mdm-jax profile {self.place.path}"
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


def load(directory: str | Path, denoiser: Denoiser | None = None, params: Params | None = None) -> Run:
    """A run from its directory: denoiser, averaged parameters, task.

    Args:
        directory: what ``training.fit`` or ``mdm-jax train`` wrote.
        denoiser: your own model, if the run was trained with one; the library's models are rebuilt from the
            configuration.
        params: parameters of the same structure, for a denoiser that cannot make its own (NNX, plain functions).

    Raises:
        InputError: no run there, no checkpoint yet, an unreadable one, or a model that only you can supply.
    """
    place = RunDirectory(Path(directory))
    config = place.read_config()
    settings = place.settings(config)
    if denoiser is None:
        if config.get("model") is None:
            raise InputError(f"{directory} was trained with a model of your own; pass it as load(directory, denoiser).")
        denoiser = models.from_description(config["model"])
    like = jax.eval_shape(functools.partial(initial_state, denoiser, settings), params)
    if not place.checkpoints.exists():
        raise InputError(f"{directory} has no checkpoint yet; train it with: mdm-jax train {directory}")
    with Checkpoints(place.checkpoints) as checkpoints:
        step = checkpoints.latest()
        if step is None:
            raise InputError(f"{directory} has no checkpoint yet; train it with: mdm-jax train {directory}")
        average = checkpoints.restore_average(like.average)
    return Run(denoiser, average, place, settings, step, config["task"])


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
