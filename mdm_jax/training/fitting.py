"""``fit``: a training in memory, or in a run directory that it goes on with."""

import dataclasses
import functools
import math
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from mdm_jax.models.calling import asking_for_context
from mdm_jax.models.denoiser import Context, Denoiser, Params
from mdm_jax.support.errors import InputError, require, require_whole
from mdm_jax.support.flags import usual
from mdm_jax.support.locks import exclusive
from mdm_jax.support.processes import agreed, together
from mdm_jax.tasks import Task, context_of
from mdm_jax.training import contexts, stages, ways
from mdm_jax.training.asked import require_pair, require_settings, run_directory, writing
from mdm_jax.training.checkpoints import NEWEST, Checkpoints
from mdm_jax.training.checks import check_mask, check_model, checked_data, mean_tokens
from mdm_jax.training.endings import Kept
from mdm_jax.training.loop import Pace, run_steps
from mdm_jax.training.matching import require_same_shapes
from mdm_jax.training.objective import Examples, Objective, check_objective, require_partial
from mdm_jax.training.objectives import fitting_objective
from mdm_jax.training.optimizer import check_optimizer
from mdm_jax.training.origins import begun_with, opening, require_origin, tell
from mdm_jax.training.reports import HELD_OUT_ROWS, Figures, Reporter
from mdm_jax.training.runs import Run, RunDirectory, claim, configuration, examine
from mdm_jax.training.settings import OWN, Settings
from mdm_jax.training.step import initial_params
from mdm_jax.training.ways import Job


def fit(
    denoiser: Denoiser,
    task: Task,
    steps: int | None = None,
    *,
    directory: str | Path | None = None,
    settings: Settings | None = None,
    params: Params | Run | None = None,
    objective: Objective | None = None,
    context: tuple[Context, Context] | None = None,
    optimizer: str | optax.GradientTransformation | optax.MultiSteps | None = None,
    report_every: int | None = None,
    checkpoint_every: int | None = None,
    on_report: Callable[[int, Figures], object] | None = None,
    devices: int | None = None,
    mesh: Mesh | None = None,
    held_out_rows: int = HELD_OUT_ROWS,
    checkpoint: int | str = NEWEST,
    progress: bool = True,
) -> Run:
    """Train ``denoiser`` on ``task.train``.

    With a ``directory`` the run is saved as it goes, and calling again with the same arguments continues from the
    newest checkpoint: a killed run ends bitwise equal to an uninterrupted one on the same machine and flags, since
    data and masks depend on (seed, step) alone (on GPU if XLA_FLAGS has ``--xla_gpu_deterministic_ops=true``). A
    finished run is loaded, not trained again. With more ``steps`` than it had, it is trained further: a new stage
    begins at the newest checkpoint, or the one that ``checkpoint`` names, with a learning rate that rises and falls
    anew; all else goes on, the optimiser's moments, the EMA and the order of the data.

    Args:
        denoiser: the model.
        task: what to learn.
        steps: optimiser steps, counted from the beginning of the run; shorthand for ``settings=Settings(steps=...)``.
            Given here, they may be more than those of the run in the directory.
        directory: where to keep the run; nothing is written if left out.
        settings: everything else about the training, as in ``Settings(batch=4, learning_rate=0.01, seed=1)``; its
            ``length`` and ``mean_tokens`` are taken from the task, ``begin`` and ``anneal_steps`` from the directory.
        params: where to start: a run whose parameters are to be trained on (``mdm.load(...)``; the task must have its
            vocabulary), which ``config.json`` then names; or parameters, as denoisers need them that cannot make their
            own (``from_nnx``, ``from_function``).
        objective: what is learned; the NELBO of the denoiser's kind if left out, of a model with classes under label
            dropout (:func:`~mdm_jax.training.objectives.fitting_objective`).
        context: what is known of each row of the data (its class, say), as (of ``task.train``, of ``task.validation``):
            two pytrees of arrays with a leading axis of rows. The objective says what the denoiser sees of it; the
            NELBO shows it all.
        optimizer: "muon" or "adamw", shorthand for ``settings=Settings(optimizer=...)``; or any
            ``optax.GradientTransformation`` (or ``optax.MultiSteps``). It takes the place of all that ``settings`` say
            of learning rates, warm-up, weight decay and clipping; the EMA of the parameters (``ema_decay``) is kept
            beside it, and a step that is not finite is not taken. Such a run records the shapes of its state: two
            transformations of equal shapes cannot be told apart, and which rate a run goes on with is then yours to
            know.
        report_every: steps between lines of the log and held-out figures; a twentieth of the stage if left out.
        checkpoint_every: steps between checkpoints; a tenth of the stage if left out. One is always written at the end
            and on Ctrl-C.
        on_report: called as ``on_report(step, figures)`` after each line of the log, with its figures by name, in the
            process that writes alone. What it raises ends the training, with the state saved as on Ctrl-C.
        devices: so many devices of this process share every batch, by ``pmap``; the default device alone if left out.
        mesh: instead, a mesh (:func:`mdm_jax.support.devices.make_mesh`) whose axis "data" shares every batch and whose
            axes both share the parameters, by ``jit``; in a run of several processes one over all their devices, and
            then the directory is one that all of them see. What is learned is the same up to rounding, and a run may go
            on in another way than it began.
        held_out_rows: at most so many rows of ``task.validation``, evenly spread over it, are scored for these figures.
            Which checkpoint is the best one is told by them: keep the number over a run.
        checkpoint: where to go on from: "newest", "best", or the step of a checkpoint that is kept. Later ones are
            moved to ``damaged-checkpoints``, or ``later-checkpoints`` if nothing is wrong with them.
        progress: show loss, tokens per second, time left and held-out bits per token.

    Returns:
        The :class:`~mdm_jax.training.runs.Run`; its ``params`` are the EMA of its parameters (over a mesh they stay
        where they are).

    Raises:
        InputError: a task that does not fit the model, ids that are no token's, a model that is not pure (dropout,
            running statistics) or gives NaN for masks, parameters that are not finite or of less than 32 bits, an
            objective or an optimizer that is none, an optimizer that asks for more than a step has, contexts that do
            not fit the rows, parameters of other shapes than the model's, a run of another vocabulary to begin with, a
            directory that holds another run (another objective, context or optimiser too), one of more steps, or is in
            use by another process, a damaged checkpoint (the newest good one is named), checkpoints that have all lost
            their manifest, or a checkpoint or log that cannot be written (what is left is named).
        Interrupted: Ctrl-C or SIGTERM; the state is saved first.
        NonFinite: a step's loss, gradient or update is not finite; the state before it is saved first, and the batch.
        Dead: the gradient has been exactly zero for several steps though the loss has not, as happens after a blow-up
            (a kind of NonFinite); the state is saved first.

    Warns:
        RuntimeWarning: training ended at several times the loss of a uniform guess.
        UserWarning: the model does not tell the mask from the last token.

    Example:
        >>> import numpy as np
        >>> import mdm_jax as mdm
        >>> np.save("bits.npy", np.asarray(mdm.oracles.polya(8, 0.5).sample(mdm.key(0), rows=80)))
        >>> task = mdm.tasks.npy("bits.npy")  # any array of tokens
        >>> model = mdm.models.transformer(task.vocab_size, length=8, width=16, depth=1, heads=2)
        >>> run = mdm.fit(model, task, steps=4, directory="runs/bits", progress=False)
        >>> run.step, len(run.place.read_log()), run.place.path.as_posix()
        (4, 4, 'runs/bits')
        >>> again = mdm.fit(model, task, steps=4, directory="runs/bits", progress=False)  # finished: loaded
        >>> longer = mdm.fit(model, task, steps=6, directory="runs/bits", progress=False)  # two steps more
        >>> longer.step, longer.settings.begin
        (6, 4)
    """
    require_pair(denoiser, task)
    require_settings(settings)
    params, origin = begun_with(params, task)
    known = _known(task) if context is None else None
    train, validation = checked_data(denoiser, task, known if context is None else context)
    of_the_data = {"length": task.length, "mean_tokens": mean_tokens(train)}
    settings = dataclasses.replace(settings or Settings(), **of_the_data, begin=0, anneal_steps=0)
    if steps is not None:
        settings = dataclasses.replace(settings, steps=steps)
    own = None if optimizer is None else check_optimizer(optimizer)
    if optimizer is not None:
        settings = dataclasses.replace(settings, optimizer=optimizer if own is None else OWN)
    objective = fitting_objective(denoiser) if objective is None else objective
    check_objective(objective)
    require(on_report is None or callable(on_report), "on_report", on_report, "a function of step and figures")
    report_every = None if report_every is None else require_whole("report_every", report_every, 1)
    checkpoint_every = None if checkpoint_every is None else require_whole("checkpoint_every", checkpoint_every, 1)
    held_out_rows = require_whole("held_out_rows", held_out_rows, 2)
    for part in (train, validation):
        require_partial(objective, part)
    way, job = ways.choose(devices, mesh), Job(denoiser, settings, objective, own)
    ways.check(way, settings)

    place = None if directory is None else run_directory(directory)
    with ExitStack() as stack:
        stack.enter_context(usual())
        shown = objective.context(contexts.first_row(train.context))  # what the denoiser gets, for one row
        with asking_for_context(shown, lambda: ways.encoded(job, params)):
            _require_own_params(job, params, shown)
            shapes = check_model(job, params, shown, train, kept=directory is not None)
        more = _more(known, (train, validation), origin)
        config = configuration(task, job, shapes, shown, context and (train.context, validation.context), more)
        checkpoints, state, log = None, None, []
        if place is not None:
            further = agreed(lambda: _occupy(place, config, stack, steps is not None, checkpoint))
            job = job._replace(settings=dataclasses.replace(settings, **further))
            checkpoints = together(lambda: _open(place, stack))
            start = checkpoints.choose(checkpoint)
            if start is not None:
                state = checkpoints.restore(way.abstract(job, params, shown), start)
                checkpoints.set_aside(start)
            else:
                agreed(lambda: require_origin(place, origin))
                checkpoints.start_over(lambda: bool(place.read_log()))
            agreed(lambda: log.extend(place.cut_back(start or 0)))
        begins = opening(job.settings, origin, log)
        reporter = Reporter(job, validation, place, log, on_report, begins, held_out_rows)
        if state is None:
            state = way.initial(job, params, shown)
            check_mask(job, state, shown, reporter.measure(state).figure is not None)
        stage = job.settings.steps - job.settings.begin
        pace = Pace(report_every or max(1, stage // 20), checkpoint_every or max(1, math.ceil(stage / 10)), progress)
        if progress and ways.is_writer() and int(state.step) == job.settings.begin:
            tell(place, begins)
        state = run_steps(job, way, train, state, reporter, Kept(place, checkpoints), pace)
        seen = ways.fetch(state.tally)
    params = way.released(state.ema_params)
    return Run(denoiser, params, place, job.settings, int(state.step), config["task"], seen, task)


def _known(task: Task) -> tuple[Context, Context] | None:
    """What a task itself knows of its rows, as ``fit`` takes it."""
    known = context_of(task, "train"), context_of(task, "validation")
    return None if all(one is None for one in known) else known


def _require_own_params(job: Job, params: Params | None, shown: Context) -> None:
    """Refuse parameters that are not those of a denoiser that could make its own; of others nothing is known."""
    if params is not None and hasattr(job.denoiser, "init"):
        fresh = jax.eval_shape(functools.partial(initial_params, job.denoiser, job.settings, None), shown)
        require_same_shapes(params, fresh)


def _more(
    known: tuple[Context, Context] | None, parts: tuple[Examples, Examples], origin: dict[str, Any] | None
) -> dict[str, Any]:
    """What ``config.json`` says of parts that not every run has."""
    train, validation = parts
    given = None if train.given is None and validation.given is None else (train.given, validation.given)
    told = {
        "known": known and contexts.digest((train.context, validation.context)),
        "given": given and contexts.digest(given),
        "origin": origin,
    }
    return {name: value for name, value in told.items() if value is not None}


def _occupy(
    place: RunDirectory, config: dict[str, Any], stack: ExitStack, further: bool, checkpoint: int | str
) -> dict[str, int]:
    """Make the directory this process's to write, until ``stack`` is left; returns where the newest stage began."""
    with writing(place):
        examine(place, config, further)  # before anything is written: it may be somebody else's
        stack.enter_context(exclusive(place.lock, f"the run in {place.path}"))
        claim(place, config, further, checkpoint)
    return stages.told_by(place.read_config())


def _open(place: RunDirectory, stack: ExitStack) -> Checkpoints:
    """The checkpoints, closed when ``stack`` is left; whether every process sees what process 0 wrote is seen here."""
    if not place.config.exists():
        raise InputError(
            f"{place.path} must be a directory that all processes see; process {jax.process_index()} does not see the "
            f"{place.config.name} that process 0 has written there."
        )
    return stack.enter_context(place.open_checkpoints())
