"""Checkpoints by Orbax: asynchronous, atomic, verified; the newest few are kept and the best."""

import errno
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from mdm_jax.models.denoiser import Params
from mdm_jax.support.errors import InputError
from mdm_jax.support.processes import agreed, together
from mdm_jax.training import tally
from mdm_jax.training.checkpoints import manifest
from mdm_jax.training.checkpoints.catalogue import NEWEST, Catalogue
from mdm_jax.training.step import TrainState
from mdm_jax.training.tally import Tally

_LOG = logging.getLogger(__name__)
_FORMERLY = "average"
"""What earlier versions called the item of the EMA."""
_TELLING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.EACCES, errno.EPERM)


class Checkpoints:
    """The checkpoints of one run, under ``directory``, one folder per step.

    The EMA of the parameters is an item of its own, so that sampling restores them without the optimiser. Every
    process of a run makes the same calls; process 0 verifies, writes manifests and deletes. Nothing is written before
    the first ``save``, so reading needs no permission to write. Use as a context manager: leaving it waits for the
    last save.

    Args:
        directory: the folder of checkpoints; need not exist.
        run: digest of the run's configuration, which manifests must agree with; ``None``: any will do.
        manifests: every complete checkpoint has a manifest. Runs begun by earlier versions have some without.
        earlier: digests of the configuration in the run's earlier stages, with which manifests may agree instead.

    Raises:
        InputError: ``directory`` is a file.

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> def unigram(params, tokens):  # one law for every position
        ...     return jnp.broadcast_to(params["logits"], (*tokens.shape, 2))
        >>> model, params = mdm.models.from_function(unigram, 2), {"logits": jnp.zeros(2)}
        >>> state = mdm.training.initial_state(model, mdm.training.Settings(length=8), params)
        >>> with mdm.training.checkpoints.Checkpoints("checkpoints") as kept:
        ...     kept.save(state)
        ...     kept.wait()
        ...     kept.latest(), kept.restore(state).step.shape
        (0, ())
    """

    def __init__(
        self, directory: str | Path, run: str | None = None, manifests: bool = True, earlier: tuple[str, ...] = ()
    ) -> None:
        self._directory = Path(directory).resolve()
        if self._directory.exists() and not self._directory.is_dir():
            raise InputError(f"{directory} must be a folder of checkpoints; it is a file.")
        self._run, self._catalogue = run, Catalogue(self._directory, run, manifests, earlier)
        self._filter = lambda record: _is_news(record)  # one's own: leaving one leaves the others' where they are
        logging.getLogger("absl").addFilter(self._filter)
        # Not its CheckpointManager: which checkpoints stay is decided here, once the manifest is there.
        self._orbax = ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler())
        self._here: int | None = None  # the step that was restored or saved last
        self._thread: threading.Thread | None = None
        self._failure: InputError | None = None
        self._tidied = False

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.wait()
        finally:
            self._orbax.close()
            logging.getLogger("absl").removeFilter(self._filter)

    def latest(self) -> int | None:
        """The step of the newest complete checkpoint, or ``None``; it has not been verified."""
        return agreed(self._catalogue.latest)

    def choose(self, checkpoint: int | str = NEWEST) -> int | None:
        """The step that ``checkpoint`` means ("newest", "best" or a step), or ``None`` if there are none at all.

        Raises:
            InputError: no such checkpoint, or no best one since none was measured.
        """
        return agreed(lambda: self._catalogue.choose(checkpoint))

    def save(self, state: TrainState, figure: float | None = None) -> None:
        """Save in the background; the state may be donated to the next step at once.

        The checkpoint counts when its manifest is written; only then older ones are deleted.

        Args:
            state: what is saved.
            figure: held-out bits per token at this very step, if they were measured; the lowest is the best.

        Raises:
            InputError: this save cannot begin, or the one before it failed; the sentence says why and what is left.
        """
        together(self.wait)
        step = int(state.step)
        if step == self._here:
            return  # the state is a function of the step: it is there already
        state = jax.tree.map(jnp.copy, state)  # the next step donates the other one
        self._write(step, _items(state), figure)

    def save_ema_params(self, params: Params, step: int = 0) -> None:
        """Save parameters alone, and wait until they are there: a checkpoint to be loaded, not to be trained on from.

        Args:
            params: what :meth:`restore_ema_params` is to give; not copied meanwhile.
            step: of the checkpoint.

        Raises:
            InputError: it cannot be written; the sentence says why and what is left.
        """
        together(self.wait)
        self._write(step, {"ema_params": params}, None)
        together(self.wait)

    def _write(self, step: int, items: dict[str, Any], figure: float | None) -> None:
        """Begin to save the items of a checkpoint, each by itself."""
        self._here = None
        saved = {name: ocp.args.StandardSave(item) for name, item in items.items()}
        folder = self._catalogue.folder(step)
        # Each by itself: Orbax's own part waits for all processes, so all must have come so far.
        together(lambda: self._begin(step, self._tidy))
        # force: what an interrupted save of this step left is replaced.
        together(
            lambda: self._begin(step, lambda: self._orbax.save(folder, args=ocp.args.Composite(**saved), force=True))
        )
        self._here = step
        self._thread = threading.Thread(target=self._commit, args=(step, figure), name=f"checkpoint {step}")
        self._thread.start()

    def wait(self) -> None:
        """Wait until the save in the background is done.

        Raises:
            InputError: it failed; the sentence says why and what is left.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        failure, self._failure = self._failure, None
        if failure is not None:
            self._here = None
            raise failure

    def check(self) -> None:
        """As :meth:`wait`, but without waiting: tells of a failure as soon as it is known (to this process)."""
        if self._thread is not None and not self._thread.is_alive():
            self.wait()

    def left(self) -> str:
        """Which checkpoint is the newest when no more are coming, as the end of a sentence on what went wrong."""
        if self._thread is not None:
            self._thread.join()
        return self._left()

    def _left(self) -> str:
        try:
            latest = self._catalogue.latest()
        except Exception as error:  # the sentence must be finished, whatever else fails
            _LOG.debug("%s", self._directory, exc_info=error)
            return "which checkpoints are left cannot be seen either"
        return (
            f"the last good one is {latest} in {self._directory}" if latest is not None else "there is none before it"
        )

    def restore(self, like: TrainState, step: int | None = None) -> TrainState:
        """The state at ``step`` (the newest if left out), verified.

        Args:
            like: arrays or ``ShapeDtypeStruct``; gives structure, shapes, types and, by its shardings, places. A leaf
                that says no place goes to this process's first device, whatever device wrote it.
            step: a step that :meth:`choose` gave.

        Raises:
            InputError: the checkpoint is damaged or another run's (the newest good one is offered), or does not fit
                ``like``.
        """
        step, items = self._found(step), _items(like)
        agreed(lambda: self._catalogue.verify(step))
        if not agreed((self._catalogue.folder(step) / "tally").exists):
            del items["tally"]  # written before tallies were kept: it starts anew
        ema_params = self._name_of_ema_params(step)
        if ema_params == _FORMERLY:
            items[_FORMERLY] = items.pop("ema_params")
            items["training"][_FORMERLY] = None  # stood where the EMA had been
        found = self._read(step, **items)
        training = {name: value for name, value in found["training"].items() if name != _FORMERLY}
        seen = Tally(**found["tally"]) if "tally" in items else _no_tally(like.tally)
        self._here = step
        return TrainState(**training, ema_params=found[ema_params], tally=seen)

    def restore_ema_params(self, like: Params, step: int | None = None) -> Params:
        """The EMA of the parameters alone; arguments and errors as for :meth:`restore`.

        Of the contents only theirs are verified, since only they are read: a model can be sampled at the cost of
        reading it, and when its optimiser is damaged too. Sizes are checked of all files.
        """
        step = self._found(step)
        name = self._name_of_ema_params(step)
        agreed(lambda: self._catalogue.verify(step, name))
        return self._read(step, **{name: like})[name]

    def set_aside(self, step: int) -> list[Path]:
        """Move the checkpoints after ``step`` out of the way, and delete nothing.

        Returns:
            where they are now: in ``damaged-checkpoints``, or ``later-checkpoints`` if nothing is wrong with them.
        """
        return [Path(path) for path in agreed(lambda: self._catalogue.set_aside(step))]

    def start_over(self, begun: Callable[[], bool]) -> None:
        """Before training starts at the first step: what lies there without a manifest must not be lost for it.

        A kill before the first manifest leaves one folder, which is moved to ``damaged-checkpoints``.

        Args:
            begun: whether the run has come so far that it reported; asked of process 0 alone.

        Raises:
            InputError: there are several, which no kill leaves.
        """
        agreed(lambda: self._catalogue.start_over() if begun() else None)

    def _commit(self, step: int, figure: float | None) -> None:
        """In the background: wait for Orbax, write the manifest, delete what is no longer kept.

        A thread of ours, since Orbax's ``post_finalization_callback`` runs before it renames the checkpoint.
        """
        try:
            self._orbax.wait_until_finished()
            if jax.process_index() == 0:
                manifest.write(self._catalogue.folder(step), step, self._run, figure)
        except Exception as error:  # Orbax and TensorStore raise many kinds
            self._failure = self._not_written(step, error)
            return
        try:
            if jax.process_index() == 0:
                self._catalogue.prune()
        except Exception as error:  # whatever it is: a thread that dies of it tells nobody
            named = isinstance(error, OSError) and error.filename is not None
            reason = f"{error.filename}: {error.strerror}" if named else _reason(error)  # pyright: ignore[reportAttributeAccessIssue]
            self._failure = InputError(f"old checkpoints in {self._directory} cannot be deleted: {reason}.")

    def _begin(self, step: int, act: Callable[[], Any]) -> None:
        """A part of what saving does before training goes on."""
        try:
            act()
        except Exception as error:  # Orbax and TensorStore raise many kinds
            failure = self._not_written(step, error)
        else:
            return
        raise failure

    def _tidy(self) -> None:
        if jax.process_index() == 0 and not self._tidied:
            self._catalogue.tidy()
            self._tidied = True

    def _not_written(self, step: int, error: BaseException) -> InputError:
        """What to say of a failed save; what it left is removed, so that the disk has room for a later one.

        It says so whatever else fails: a disk that cannot be written may not be readable either.
        """
        _LOG.debug("checkpoint %d", step, exc_info=error)
        if jax.process_index() == 0:
            try:
                self._catalogue.discard(step)
            except Exception as again:  # it is told in the sentence what is left
                _LOG.debug("checkpoint %d is still there", step, exc_info=again)
        return InputError(f"checkpoint {step} could not be written: {_reason(error)}; {self._left()}.")

    def _found(self, step: int | None) -> int:
        step = self.latest() if step is None else step
        if step is None:
            raise InputError(f"{self._directory} has no checkpoint yet.")
        return step

    def _name_of_ema_params(self, step: int) -> str:
        """What the item of the EMA is called in a checkpoint."""
        former = agreed((self._catalogue.folder(step) / _FORMERLY).exists)
        return _FORMERLY if former else "ema_params"

    def _read(self, step: int, **items: Any) -> Any:
        """Items of a checkpoint, by name, each like the value given."""
        wanted = {name: ocp.args.StandardRestore(jax.tree.map(_abstract, like)) for name, like in items.items()}
        try:
            return self._orbax.restore(self._catalogue.folder(step), args=ocp.args.Composite(**wanted))
        except Exception as error:  # Orbax and TensorStore raise many kinds, with pages of text
            raise InputError(
                f"checkpoint {step} in {self._directory} cannot be read, or is of another model: {_reason(error)}"
            ) from error


def _is_news(record: logging.LogRecord) -> bool:
    """Whether to log this: not the pages of Orbax on a failed save, which is told in a sentence."""
    return not (record.exc_info and "orbax" in record.pathname)


def _items(state: TrainState) -> dict[str, Any]:
    """What is kept, each by itself: the EMA of the parameters, the tally, all that training needs besides."""
    rest = {name: value for name, value in vars(state).items() if name not in ("ema_params", "tally")}
    return {"ema_params": state.ema_params, "tally": vars(state.tally), "training": rest}


def _abstract(leaf: jax.Array | jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """Shape, type and place."""
    place = leaf.sharding or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)


def _no_tally(like: Tally) -> Tally:
    return jax.tree.map(lambda leaf, of: jax.device_put(leaf, of.sharding), tally.empty(like.weight.shape[0]), like)


def _reason(error: BaseException) -> str:
    """The one line that matters of what Orbax, TensorStore or the system say."""
    text = str(error).strip() or type(error).__name__
    told = (os.strerror(number) for number in _TELLING)
    known = next((words for words in told if words in text), None)
    return known or text.splitlines()[0][:200].rstrip(".")
