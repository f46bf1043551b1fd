"""A published model as a run like any other: imported once, then loaded, measured, tuned and sampled like those."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mdm_jax import models, tasks
from mdm_jax.models import Denoiser, Pretrained
from mdm_jax.models.denoiser import Params, require_denoiser
from mdm_jax.models.framing import Framed
from mdm_jax.support.errors import InputError, require, verbatim
from mdm_jax.support.flags import usual
from mdm_jax.support.locks import exclusive
from mdm_jax.support.text import shortened
from mdm_jax.tasks import Numbers, Subwords, Task
from mdm_jax.training.asked import require_task, run_directory, writing
from mdm_jax.training.checks import checked_data, mean_tokens
from mdm_jax.training.objective import require_partial
from mdm_jax.training.objectives import fitting_objective
from mdm_jax.training.runs import Run, RunDirectory, claim, configuration, examine
from mdm_jax.training.settings import Settings
from mdm_jax.training.sources import KEY, source_of
from mdm_jax.training.ways import Job

Adapt = Callable[[Denoiser, Params], tuple[Denoiser, Mapping[str, Any]]]
"""What makes another model of one: the model, and what ``config.json`` is to say of how it was made."""


def import_pretrained(
    folder: str | Path,
    directory: str | Path,
    task: Task,
    *,
    ids: Sequence[int] | None = None,
    adapt: Adapt | None = None,
    **settings: Any,
) -> Run:
    """A run directory of a published model: what :func:`~mdm_jax.training.load` and every command take.

    The model becomes one of the task's tokens alone (:func:`~mdm_jax.models.framed`): each is found in the checkpoint's
    vocabulary by its text, and around every row stands what the family has there (CLS and SEP, say). A task of the
    checkpoint's own ids needs none of that. Nothing is trained; to train it on, begin another run with it
    (``fit(..., params=run)``, ``mdm-jax train --from``).

    Args:
        folder: as :func:`~mdm_jax.models.load_pretrained` takes it.
        directory: of the run; new or empty, or the run that was imported before from the same files.
        task: what the model is to be measured and tuned on.
        ids: the checkpoint's id of each of the task's tokens, where they cannot be told by their texts.
        adapt: a function of the model of the task's tokens and its parameters, called once all fits and before anything
            is written. It returns the run's model, with the same parameters and tokens, and what "source" is to say of
            that (JSON, by name). :func:`mdm_jax.evaluation.calibrate` finds temperatures so. It is part of what an
            import must repeat to find its run again.
        settings: what :func:`~mdm_jax.models.load_pretrained` takes besides ("shift", "mask_id", "prefix", ...).

    Returns:
        The run, at step 0. ``config.json`` says under "source" what it is from: the digest of every file too.

    Raises:
        InputError: what ``load_pretrained`` refuses; a task with a token that the checkpoint has not, or rows longer
            than the model; a shifted model without a prefix, whose first position was never trained (by blocks it can
            have none); an "end_id" that is none of the task's tokens; an adapted model of other tokens, or that
            ``config.json`` cannot describe; a directory that holds something else, is in use or cannot be written.

    Example:
        >>> import mdm_jax as mdm
        >>> task = mdm.tasks.text(length=32)
        >>> mdm.training.import_pretrained("no/such/folder", "runs/imported", task)
        Traceback (most recent call last):
        mdm_jax.support.errors.InputError: folder must be a folder with config.json and weights, or a file of ...
    """
    require_task(task)
    place = run_directory(directory)
    if not place.config.exists():
        examine(place, {})  # before gigabytes are read
    with usual():
        published = models.load_pretrained(folder, **settings)
        denoiser = _fitted(published, task, ids)
        train, validation = checked_data(denoiser, task)
        _require_rows(denoiser, published.params, task)
        job = Job(denoiser, _settings(task, mean_tokens(train)), fitting_objective(denoiser), None)
        for part in (train, validation):
            require_partial(job.objective, part)
        end, adapted = _end_of(published, denoiser, task), {}
        if adapt is not None:
            denoiser, adapted = _adapted(denoiser, published.params, adapt)
            job = Job(denoiser, job.settings, fitting_objective(denoiser), None)
        config = _configuration(task, job, source_of(published.provenance, published.params, end, adapted))
        with writing(place), ExitStack() as stack:
            examine(place, config)
            stack.enter_context(exclusive(place.lock, f"the run in {place.path}"))
            claim(place, config)
            _save(place, published.params)
    return Run(denoiser, published.params, place, job.settings, 0, config["task"], own_task=task)


def _settings(task: Task, tokens: float) -> Settings:
    return Settings(steps=1, length=task.length, mean_tokens=tokens)


def _configuration(task: Task, job: Job, source: Mapping[str, Any]) -> dict[str, Any]:
    config = configuration(task, job, None, None, None, {KEY: source})
    if config["model"] is None:
        raise InputError("ids and adapt must make a model that config.json can describe; got one of your own.")
    return config


def _save(place: RunDirectory, params: Params) -> None:
    with place.open_checkpoints() as checkpoints:
        if checkpoints.latest() is None:
            checkpoints.save_ema_params(params)


def _fitted(published: Pretrained, task: Task, ids: Sequence[int] | None) -> Denoiser:
    """The model of the task's tokens alone; of a task of the checkpoint's own ids as it is."""
    theirs = _ids_of(published, task) if ids is None else tuple(ids)
    if theirs is None:
        for name in ("prefix", "suffix"):
            said = published.provenance["settings"].get(name)
            if said:
                raise InputError(
                    f"{name} must be left out with a task of the checkpoint's own ids, whose rows hold all that the "
                    f"model is to see; got {said}."
                )
        return published.denoiser
    if len(theirs) != task.vocab_size:
        raise InputError(f"ids must be as many as the task has tokens, {task.vocab_size}; got {len(theirs)}.")
    said = published.published
    if said.shift and models.block_length(published.denoiser) is not None:
        raise InputError(
            f"task must be one of the checkpoint's {published.denoiser.vocab_size} ids for a model that goes by blocks "
            "and predicts each token one position earlier: it can have no prefix, so that the first token of a row "
            f"must be of the rows' own, as its texts begin; got one of {task.vocab_size} tokens."
        )
    if said.shift and not said.prefix:
        raise InputError(
            "prefix (--prefix) must be given for a model that predicts each token one position earlier, as the id that "
            "its texts begin with: the first token of a row would have no trained prediction; got none."
        )
    return models.framed(published.denoiser, theirs, said.prefix, said.suffix)


def _adapted(denoiser: Denoiser, params: Params, adapt: Adapt) -> tuple[Denoiser, Mapping[str, Any]]:
    """What ``adapt`` makes of a model, seen to be another model of the same tokens."""
    made = adapt(denoiser, params)
    pair = isinstance(made, tuple) and len(made) == 2 and isinstance(made[1], Mapping)
    require(pair, "adapt", verbatim(type(made).__name__), "a function that returns a model and a dictionary")
    require_denoiser(made[0])
    sizes = [(one.vocab_size, one.mask_id) for one in (denoiser, made[0])]
    shown = verbatim(f"one of {sizes[1][0]} tokens with the mask {sizes[1][1]}")
    require(sizes[0] == sizes[1], "adapt", shown, f"a function that returns a model of the same {sizes[0][0]} tokens")
    return made


def _end_of(published: Pretrained, denoiser: Denoiser, task: Task) -> int | None:
    """The task's token that is the checkpoint's end of a text, if it has it."""
    theirs = published.published.end_id
    ids = denoiser.ids if isinstance(denoiser, Framed) else range(denoiser.vocab_size)
    end = None if theirs is None or theirs == published.denoiser.mask_id or theirs not in ids else ids.index(theirs)
    own = task.describe().get("end")
    said = published.provenance["settings"].get("end_id")
    if said is not None and (end is None or (isinstance(own, int) and own != end)):
        wanted = "the id of one of the task's tokens" if end is None else f"that of the task's own end, its token {own}"
        raise InputError(f"end_id must be left out or {wanted}; got {said}.")
    return end


def _ids_of(published: Pretrained, task: Task) -> tuple[int, ...] | None:
    """The checkpoint's id of each of the task's tokens; ``None`` where they are the same ids."""
    notation = tasks.vocabulary_of(task.describe())
    size = published.denoiser.vocab_size
    if isinstance(notation, Numbers):
        if notation.size == size:
            return None
        raise InputError(
            f"task must be one of the checkpoint's {size} ids, or of tokens with texts; got one of {notation.size} "
            "numbers: give the checkpoint's id of each as ids."
        )
    if published.vocabulary is None:
        raise InputError(
            "vocabulary must be given, a folder with the checkpoint's file of tokens: there is none beside its "
            "weights, and the task's tokens are found by their texts."
        )
    if isinstance(notation, Subwords):
        return _same_ids(published.vocabulary, notation)
    texts = notation.pieces(np.arange(notation.size, dtype=np.int32))
    lacking = [text for text in texts if text not in published.vocabulary]
    if lacking:
        shown = shortened(", ".join(map(repr, lacking)), 60)
        raise InputError(
            f"task must be one of tokens that the checkpoint has; its vocabulary lacks {shown} "
            "(tokens:PATH?tokenizer=FILE with its own file reads a text in its tokens)."
        )
    return tuple(published.vocabulary[text] for text in texts)


def _same_ids(vocabulary: Mapping[str, int], words: Subwords) -> tuple[int, ...]:
    """The ids of a task's tokenizer, which must be the checkpoint's."""
    for name, own in zip(words.names, words.ids):
        if vocabulary.get(name) != own:
            raise InputError(
                "task must be tokenized as the checkpoint is (tokens:PATH?tokenizer=FILE with its own file); its token "
                f"{shortened(repr(name), 60)} has id {own}, and {vocabulary.get(name, 'none')} in the checkpoint's "
                "vocabulary."
            )
    return words.ids


def _require_rows(denoiser: Denoiser, params: Params, task: Task) -> None:
    """Refuse rows that the model cannot take: too long, with what stands around them, or of different lengths."""
    tokens = jax.ShapeDtypeStruct((1, task.length), jnp.int32)
    try:
        jax.eval_shape(lambda params, tokens: models.logits(denoiser, params, tokens), params, tokens)
    except InputError as error:
        raise InputError(f"task must be one whose rows of {task.length} the model takes: {error}") from None
