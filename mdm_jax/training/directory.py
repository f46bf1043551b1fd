"""Run directories: what training leaves behind and everything else reads.

config.json       task, model, settings, versions: enough to rebuild the run; its stages, if it was trained further; of
                  a published model its source: family, digests of its files, types and shapes
log.jsonl         one line of figures per report, cut back to the checkpoint on resuming
checkpoints/      Orbax checkpoints, each with a manifest (size and digest of every file); see ``catalogue``
damaged-checkpoints/, later-checkpoints/    checkpoints set aside by going on from an earlier one
.lock             held by the process that trains
training_profile.json           the profile of the training loss, as it was at the last report
non_finite_step_N.npz           the batch at which training stopped (see ``loop``)
profile.json, held_out.json     what ``mdm-jax profile`` measures
tuning.json, plans/, landscape.png, landscape.svg     what ``mdm-jax tune`` finds
card.json, card.png             what ``mdm-jax card`` measures
samples.json                    what ``sample``, ``evaluate``, ``race`` and ``report --samples`` drew
report.html                     the page about it all
evaluations/, races/            what ``mdm-jax evaluate`` and ``race`` drew (stores) and found
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from mdm_jax.models.denoiser import Context
from mdm_jax.support.errors import InputError
from mdm_jax.support.files import read_json, write_text
from mdm_jax.training import contexts, stages
from mdm_jax.training.checkpoints import Catalogue, Checkpoints
from mdm_jax.training.settings import Settings

FORMAT = "mdm_jax run 1"
_LONGEST = 1e12  # seconds of training
_FORMER = {"average": "ema_decay"}  # what settings were called, and are called now


@dataclasses.dataclass(frozen=True)
class RunDirectory:
    """The files of one run, by name.

    Attributes:
        path: the directory; it need not exist.

    Example:
        >>> from pathlib import Path
        >>> import mdm_jax as mdm
        >>> mdm.training.RunDirectory(Path("runs/text")).plan("best beta", 16).as_posix()
        'runs/text/plans/best-beta-16.json'
    """

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
    def lock(self) -> Path:
        """Held by the process that trains."""
        return self.path / ".lock"

    def non_finite(self, step: int) -> Path:
        """The batch at which training stopped since ``step`` was not finite."""
        return self.path / f"non_finite_step_{step}.npz"

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
    def card(self) -> Path:
        return self.path / "card.json"

    @property
    def samples(self) -> Path:
        return self.path / "samples.json"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    def read_config(self) -> dict[str, Any]:
        """``config.json``, checked to be one."""
        if not self.config.exists():
            raise InputError(
                f"{self.path} is not a run directory: it has no config.json (mdm-jax train and import make one)."
            )
        value = read_json(self.config, "the configuration of a run")
        parts = isinstance(value, dict) and all(isinstance(value.get(k), dict) for k in ("task", "settings"))
        if not parts or value.get("format") != FORMAT:
            raise InputError(f"{self.config} is not the configuration of a run: its format must be {FORMAT!r}.")
        try:
            stages.stages_of(value)
        except InputError as error:
            raise InputError(f"{self.config} is not the configuration of a run: {error}") from None
        return value

    def settings(self, config: dict[str, Any]) -> Settings:
        """The settings in ``config``, the content of ``config.json``: those of its newest stage."""
        try:
            return Settings(**{**of_today(config["settings"]), **stages.told_by(config)})
        except TypeError as error:
            raise InputError(f"{self.config} has settings of another version or type: {error}.") from None
        except InputError as error:
            raise InputError(f"{self.config} has settings that cannot be: {error}") from None

    def shown(self, config: dict[str, Any]) -> Context:
        """The shapes of one row of what the run's model gets as a context; ``None`` of one that gets none."""
        if "shown" not in config:
            return None
        if config["shown"] is None:
            raise InputError(
                f"{self.path} was trained with contexts in containers of your own: pass load(..., params=...), "
                "parameters of the same structure."
            )
        return contexts.from_json(config["shown"])

    def read_log(self) -> list[dict[str, Any]]:
        """The lines of ``log.jsonl``; a last line cut short by a crash is left out."""
        if not self.log.exists():
            return []
        if not self.log.is_file():  # a pipe may never end
            raise InputError(f"{self.log} is not the log of a run: it is not a regular file.")
        try:
            texts = self.log.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            raise InputError(f"{self.log} is not the log of a run: it is not UTF-8 text.") from None
        lines = []
        for number, text in enumerate(texts, start=1):
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):  # not JSON, a number of too many digits, nested too deeply
                if number == len(texts):
                    break
                raise InputError(f"{self.log} is not the log of a run: line {number} is not JSON.") from None
            if not isinstance(line, dict) or not isinstance(line.get("step"), int):
                raise InputError(f"{self.log} is not the log of a run: line {number} has no step.")
            seconds = line.get("seconds", 0)
            if not isinstance(seconds, int | float) or not 0 <= seconds < _LONGEST:
                raise InputError(f"{self.log} is not the log of a run: line {number} has impossible seconds.")
            lines.append(line)
        return lines

    def cut_log(self, step: int) -> list[dict[str, Any]]:
        """Drop what was logged after ``step``, and a line half-written: those steps will be taken again."""
        kept = [line for line in self.read_log() if line["step"] <= step]
        text = "".join(json.dumps(line) + "\n" for line in kept)
        if not self.log.exists() or self.log.read_text(encoding="utf-8") != text:
            write_text(self.log, text)
        return kept

    def cut_back(self, step: int) -> list[dict[str, Any]]:
        """Drop what was written after ``step``, to which training goes back; returns the log that is left."""
        if self.training_profile.exists() and self._measured_after(step):
            self.training_profile.unlink()  # the next report writes it anew
        return self.cut_log(step)

    def _measured_after(self, step: int) -> bool:
        """Whether the training profile is of a later step; one that cannot be read might be."""
        try:
            return read_json(self.training_profile, "a profile")["provenance"]["run_step"] > step
        except (InputError, KeyError, TypeError):
            return True

    def open_checkpoints(self) -> Checkpoints:
        """The run's checkpoints, which its configuration must fit; a context manager."""
        return Checkpoints(self.checkpoints, *_as_kept(self.read_config()))

    def catalogue(self, config: dict[str, Any]) -> Catalogue:
        """Which checkpoints there are of the run of ``config``, by its files alone."""
        return Catalogue(self.checkpoints, *_as_kept(config))


def of_today(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a ``config.json`` under their present names; one that is there under both is left to be refused.

    The file is left as it is: its digest is the run's identity.
    """
    taken = {old: new for old, new in _FORMER.items() if new not in settings}
    return {taken.get(name, name): value for name, value in settings.items()}


def _as_kept(config: dict[str, Any]) -> tuple[str, bool, tuple[str, ...]]:
    """What manifests are compared with: the identity, whether all have one, the identities of earlier stages."""
    *earlier, newest = stages.identities(config)
    return newest, config.get("manifests") is True, tuple(earlier)


def identity(directory: RunDirectory, step: int | None = None) -> str:
    """SHA-256 of task, model, settings, objective and the like, which determine a run; ``profile.json`` records it.

    Args:
        directory: of the run.
        step: of a run that was trained further, the stages that had begun before this step count; all if left out.
    """
    config = directory.read_config()
    return stages.identities(config)[-1] if step is None else stages.identity_at(config, step)
