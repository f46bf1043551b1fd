"""Which checkpoints a run has: the complete ones, the best, the good ones; which to delete and which to set aside.

Files only. In a run of several processes one of them looks (:func:`mdm_jax.support.processes.agreed`).
"""

import os
import re
import shutil
import time
from pathlib import Path

from mdm_jax.support.errors import InputError, require
from mdm_jax.training.checkpoints import manifest
from mdm_jax.training.checkpoints.manifest import Damaged, Manifest

KEPT = 2
"""Newest checkpoints that are kept; the best one is kept besides."""

NEWEST = "newest"
"""What :meth:`Catalogue.choose` takes for the last step."""
BEST = "best"
"""What :meth:`Catalogue.choose` takes for the step of the lowest held-out figure."""
_STEP = re.compile("0|[1-9][0-9]{0,17}")
_TRIES, _PAUSE = 20, 0.05  # seconds
_UNFINISHED, _DELETING = ".orbax-checkpoint-tmp", ".deleting"
_LATER, _DAMAGED = "later-checkpoints", "damaged-checkpoints"
_COMMITTED = "_CHECKPOINT_METADATA"  # Orbax writes it when it has written everything else


class Catalogue:
    """The checkpoints under ``directory``, one folder per step.

    Args:
        directory: the folder of checkpoints; need not exist.
        run: digest of the run's configuration, which manifests must agree with; ``None``: any will do.
        manifests: every complete checkpoint has a manifest. Runs begun by earlier versions have some without.
        earlier: digests of the configuration in the run's earlier stages, with which manifests may agree instead.

    Example:
        >>> from pathlib import Path
        >>> import mdm_jax as mdm
        >>> kept = mdm.training.checkpoints.Catalogue(Path("checkpoints"), None, manifests=True)
        >>> print(kept.latest(), kept.choose("newest"))  # nothing is there
        None None
    """

    def __init__(self, directory: Path, run: str | None, manifests: bool, earlier: tuple[str, ...] = ()) -> None:
        self._directory, self._run, self._manifests, self._earlier = directory, run, manifests, earlier

    def folder(self, step: int) -> Path:
        """Where the checkpoint of a step is, or would be."""
        return self._directory / str(step)

    def steps(self) -> list[int]:
        """The steps of complete checkpoints, ascending; what an interrupted save left is passed over."""
        return [step for step in self._folders() if manifest.present(self.folder(step)) or not self._manifests]

    def latest(self) -> int | None:
        """The newest of :meth:`steps`."""
        return max(self.steps(), default=None)

    def best(self) -> int | None:
        """The one of the lowest held-out figure, if any has one; of equal ones the newest."""
        said = ((step, self._said(step)) for step in self.steps())
        figures = {step: it.figure for step, it in said if it is not None and it.figure is not None}
        return min(figures, key=lambda step: (figures[step], -step), default=None)

    def choose(self, checkpoint: int | str) -> int | None:
        """The step that "newest", "best" or a step means, or ``None`` if there is no checkpoint at all.

        Raises:
            InputError: no such checkpoint, or none that was measured.
        """
        steps, best = self.steps(), self.best()
        wanted = f"{NEWEST}, {BEST} or one of the steps {', '.join(map(str, steps))} kept in {self._directory}"
        if not steps:
            wanted = f"left out, since there is no checkpoint in {self._directory} yet"
        if checkpoint == BEST and steps and best is None:
            raise InputError(f"no checkpoint in {self._directory} has a held-out figure to tell the best by.")
        meant = {NEWEST: max(steps, default=None), BEST: best}.get(checkpoint, checkpoint)  # pyright: ignore[reportArgumentType, reportCallIssue]
        known = checkpoint in (NEWEST, BEST) or (type(checkpoint) is int and checkpoint in steps)
        require(known, "checkpoint", checkpoint, wanted)
        return meant

    def verify(self, step: int, item: str | None = None) -> None:
        """Refuse a checkpoint that is not what was written, and offer the newest one that is.

        Args:
            step: of the checkpoint.
            item: compare the contents of this item alone (names and sizes of all files are compared all the same).

        Raises:
            InputError: it is damaged, or of another run.
        """
        try:
            self._compare(step, item)
        except Damaged as error:
            good = next((other for other in reversed(self.steps()) if other != step and self._is_good(other)), None)
            offer = (
                "no other checkpoint there is good."
                if good is None
                else f"the newest good one is {good}: go on from it with --checkpoint {good} "
                f"(load(..., checkpoint={good}), fit(..., checkpoint={good}))."
            )
            raise InputError(f"checkpoint {step} in {self._directory} {error}; {offer}") from None

    def set_aside(self, step: int) -> list[str]:
        """Move the checkpoints after ``step`` out of the way; returns where they are now."""
        later = [other for other in self.steps() if other > step]
        return [str(self._move(other, _LATER if self._is_good(other) else _DAMAGED)) for other in later]

    def start_over(self) -> None:
        """Move the folder that a kill before the first manifest left to ``damaged-checkpoints``.

        Raises:
            InputError: more than one is there, so their manifests have been lost; starting over would lose them too.
        """
        left = [step for step in self._folders() if (self.folder(step) / _COMMITTED).exists()]
        if len(left) > 1:
            raise InputError(
                f"the checkpoints {', '.join(map(str, left))} in {self._directory} have lost their {manifest.NAME}, "
                "so that none can be told to be good; put it back, or move them away to start at the first step."
            )
        for step in left:
            self._move(step, _DAMAGED)

    def tidy(self) -> None:
        """Make the folder, and remove what killed processes left half-written or half-deleted."""
        self._directory.mkdir(parents=True, exist_ok=True)
        for path in self._directory.iterdir():
            ours = path.is_dir() and not path.is_symlink()
            if ours and (_UNFINISHED in path.name or path.name.endswith(_DELETING)):
                shutil.rmtree(path)

    def discard(self, step: int) -> None:
        """Remove what a failed save of ``step`` left. On a disk that can only be read it stays, and does no harm."""
        for _ in range(_TRIES):
            left = list(self._directory.glob(f"{step}{_UNFINISHED}*"))
            if self.folder(step).exists() and not manifest.present(self.folder(step)):
                left.append(self.folder(step))  # Orbax had finished; there was no room for the manifest
            if not left:
                return
            for path in left:
                shutil.rmtree(path, ignore_errors=True)
            time.sleep(_PAUSE)  # other threads of the failed save may still be writing

    def prune(self) -> None:
        """Delete all but the newest ``KEPT`` and the best, and what has no manifest and is older than they are.

        A folder loses its name first: none is ever half there.
        """
        steps = self.steps()
        kept = {*steps[-KEPT:], self.best()}
        for step in self._folders():
            if step not in kept and step < max(steps, default=0):
                shutil.rmtree(self.folder(step).rename(self._directory / f"{step}{_DELETING}"))

    def _folders(self) -> list[int]:
        """The steps of all folders that are named like one, ascending."""
        if not self._directory.exists():
            return []
        named = (path for path in self._directory.iterdir() if _STEP.fullmatch(path.name))
        return sorted(int(path.name) for path in named if path.is_dir() and not path.is_symlink())

    def _said(self, step: int) -> Manifest | None:
        """A checkpoint's manifest; ``None`` if it is damaged (to be told when it is used) or was never written."""
        try:
            return manifest.read(self.folder(step)) if manifest.present(self.folder(step)) else None
        except Damaged:
            return None

    def _compare(self, step: int, item: str | None = None) -> None:
        folder = self.folder(step)
        if not manifest.present(folder):
            return  # of an earlier version, which wrote none
        try:
            said = manifest.read(folder)
            if said.step != step:
                raise Damaged(f"it was written as checkpoint {said.step}")
            manifest.check(folder, said, item)
        except Damaged as error:
            raise Damaged(f"is damaged: {error}") from None
        except OSError as error:
            raise Damaged(f"cannot be read: {error.filename}: {error.strerror}") from None
        if self._run is not None and said.run not in (None, self._run, *self._earlier):
            raise Damaged("belongs to a run of another configuration than the config.json beside it")

    def _is_good(self, step: int) -> bool:
        try:
            self._compare(step)
        except Damaged:
            return False
        return True

    def _move(self, step: int, where: str) -> Path:
        folder = self._directory.parent / where
        folder.mkdir(exist_ok=True)
        names = (f"{step}" if again == 0 else f"{step}-{again}" for again in range(10**6))
        place = next(folder / name for name in names if not os.path.lexists(folder / name))
        return self.folder(step).rename(place)
