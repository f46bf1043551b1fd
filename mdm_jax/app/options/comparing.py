"""What ``evaluate`` and ``race`` share once their options are read: how rows are drawn, and what they go on from."""

import argparse
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int32

from mdm_jax import tasks
from mdm_jax.app.options.ends import cut_behind
from mdm_jax.app.options.labels import labels_of_rows
from mdm_jax.app.options.lengths import check_length, cut, is_ragged, row_lengths
from mdm_jax.app.options.sampler_checks import check_guidance, check_temperature
from mdm_jax.app.options.scoring import Score, Scoring, own_function
from mdm_jax.evaluation import Execution
from mdm_jax.evaluation.order_tuning import MEASURES
from mdm_jax.models.classes import LABEL
from mdm_jax.sampling import Blind, Rule, rules
from mdm_jax.support.errors import InputError, require, require_seed
from mdm_jax.support.ragged import lengths, present
from mdm_jax.tasks import Task
from mdm_jax.tasks.array_files import spread_windows, stays_in_file
from mdm_jax.tasks.rows import RowsTask
from mdm_jax.tasks.text_files import TextTask
from mdm_jax.theory.plans import Plan
from mdm_jax.training import Run

MOST, MOST_TOGETHER = 1_000_000, 65_536
"""Samples of a schedule, and rows of a batch."""
PROMPTS = "prompts"
"""``--given prompts``: what the data gives of each row."""
_WINDOWS = 4096
"""Of a stream of training data, at most so many are prompts."""
PARTS = ("train", "validation", "test")


def check(options: argparse.Namespace) -> None:
    """Refuse numbers that cannot be, before anything is loaded.

    Raises:
        InputError: one sentence that names the option.
    """
    check_temperature(options.temperature)
    require(2 <= options.samples <= MOST, "--samples", options.samples, f"from 2 (for a standard error) to {MOST:,}")
    batch, store = options.batch, options.store
    require(batch is None or 1 <= batch <= MOST_TOGETHER, "--batch", batch, f"from 1 to {MOST_TOGETHER:,}")
    require(store is None or Path(store).suffix == ".jsonl", "--store", store, "a .jsonl file")
    if options.end is not None and options.order == "left_to_right":
        raise InputError("--end cannot be given beside --order left_to_right, which draws all that its plan says.")
    given = options.given
    require(given in (None, PROMPTS) or given >= 0, "--given", given, f"a number of tokens, or {PROMPTS}")
    check_guidance(options.guidance)
    if options.guidance is not None and options.latent_draw == "each-step":
        raise InputError(
            "--guidance cannot be given beside --latent-draw each-step, which draws a latent of each input."
        )
    require_seed("--seed", options.seed)
    if options.score is not None:
        own_function(options.score)


def execution_of(trained: Run, options: argparse.Namespace, where: Mapping[str, Any]) -> Execution:
    """Where and how rows are drawn; those of another step of training are another model's, and have their own file, as
    those with a latent at each step have, and guided ones.
    """
    anew = "-each-step" if options.latent_draw == "each-step" else "-guided" if options.guidance is not None else ""
    store = options.store or trained.place.path / "evaluations" / f"step-{trained.step}{anew}.jsonl"
    return Execution(batch=options.batch, store=store, progress=True, **where)


def ordered(order: str, end: int | None = None) -> Callable[[Plan], Blind | Rule]:
    """From a plan to a sampler that follows it in the order of this name, up to ``end`` if that is a token."""
    ends: dict[str, Any] = {} if end is None else {"end": end}
    if order in MEASURES:
        return lambda plan: rules.surest(plan, MEASURES[order]).replace(**ends)  # pyright: ignore[reportAttributeAccessIssue]
    if end is not None:
        return lambda plan: rules.at_random(plan).replace(**ends)  # pyright: ignore[reportAttributeAccessIssue]
    return lambda plan: Blind(plan, "left_to_right" if order == "left_to_right" else "random")


@dataclasses.dataclass(frozen=True)
class Basis:
    """What the samples of a comparison go on from.

    Attributes:
        trained: the run.
        task: its data; ``None`` where nothing needs it and it cannot be read.
        given: ``None``, a number of tokens, or :data:`PROMPTS`.
        length: of the rows, as ``--length`` asks.
        seed: of rows' lengths.
        label: the classes of the samples, which take turns; held-out rows are of these.
        without_data: why there is no task.
    """

    trained: Run
    task: Task | None
    given: int | str | None
    length: int | None
    seed: int
    label: Sequence[int] | None = None
    without_data: str | None = None

    def canvases(self, part: str, most: int | None) -> Int32[np.ndarray, "rows length"] | None:
        """For each of at most ``most`` samples what is given; ``None`` where nothing is and all have one length.

        Where rows of the data are gone on from, there are no more than these; all of them if ``most`` is left out. A
        row that is given elsewhere than at its beginning keeps its length.
        """
        trained, (width, mask) = self.trained, (self.trained.settings.length, self.trained.denoiser.mask_id)
        seed = int(np.random.SeedSequence([self.seed, PARTS.index(part)]).generate_state(1)[0])
        if self.given is None:
            if most is None or not is_ragged(trained):
                return None
            blank = np.full((most, width), mask, np.int32)
            return cut(blank, row_lengths(trained, self.length, seed, np.zeros(most, np.int32)))
        rows, given = self.rows(part)
        rows, given = rows[:most], given[:most]
        canvas = np.where(given, rows, mask).astype(np.int32)
        if not is_ragged(trained):
            return canvas
        begun = given.sum(axis=1)
        at_first = (given == (np.arange(width) < begun[:, None])).all(axis=1)
        drawn = row_lengths(trained, self.length, seed, np.where(at_first, begun, 0).astype(np.int32))
        return cut(canvas, np.where(at_first, drawn, lengths(rows)).astype(np.int32))

    def rows(self, part: str) -> tuple[Int32[np.ndarray, "rows length"], Bool[np.ndarray, "rows length"]]:
        """Rows of the data that samples go on from, and what is given of each."""
        assert self.task is not None
        width = self.trained.settings.length
        held = getattr(self.task, part)
        # Of a file that is too large for memory: as many rows as of a stream. In int32, which holds the mask too.
        rows = np.asarray(spread_windows(held, width, _WINDOWS) if stays_in_file(held) else held, np.int32)
        if self.given is None:
            return self._of_label(part, rows, np.zeros(rows.shape, bool))
        if self.given == PROMPTS:
            given = tasks.given_of(self.task, part)
            assert given is not None
            return self._of_label(part, rows, given & present(rows))
        if rows.ndim == 1:  # a stream: disjoint windows, evenly spread over it
            windows = rows[: len(rows) // width * width].reshape(-1, width)
            rows = windows[np.linspace(0, len(windows) - 1, min(len(windows), _WINDOWS)).astype(int)]
        assert isinstance(self.given, int)
        rows, given = self._of_label(part, rows, np.broadcast_to(np.arange(width) < self.given, rows.shape))
        longer = lengths(rows) > self.given
        return rows[longer], given[longer]

    def _of_label(
        self, part: str, rows: Int32[np.ndarray, "rows length"], given: Bool[np.ndarray, "rows length"]
    ) -> tuple[Int32[np.ndarray, "mine length"], Bool[np.ndarray, "mine length"]]:
        """Those whose classes the samples are of; all where none is asked for."""
        known = None if self.task is None or self.label is None else tasks.context_of(self.task, part)
        if known is None or self.label is None:
            return rows, given
        mine = np.isin(known[LABEL], self.label)
        return rows[mine], given[mine]

    @property
    def told(self) -> str:
        """What the samples go on from and how long they are, as the end of a paragraph."""
        what = "the prompt" if self.given == PROMPTS else f"{self.given} tokens"
        said = "" if self.given is None else f" Each went on from {what} of a held-out sequence."
        if self.label is not None:
            several = len(self.label) > 1
            of = f"classes {', '.join(map(str, self.label))} in turn" if several else f"class {self.label[0]}"
            told = self.task is not None and tasks.context_of(self.task, "test") is not None
            said += f" They are of {of}" + (
                ", as the held-out rows are." if told else "; the data do not tell of which the held-out rows are."
            )
        if not is_ragged(self.trained):
            return said
        if self.length is not None:
            return f"{said} All have {self.length} tokens."
        return f"{said} Their lengths are drawn as those of the training rows are."

    def to_json(self) -> dict[str, Any]:
        """What results record of it."""
        ragged = {"rows_length": self.length} if is_ragged(self.trained) else {}
        return {"given": self.given, **ragged, **({} if self.label is None else {"label": list(self.label)})}


def basis_of(trained: Run, options: argparse.Namespace) -> Basis:
    """What ``--given`` and ``--length`` ask for; of a run that was trained on prompts these, unless it is told.

    Raises:
        InputError: no data where some is needed, no prompts in it, or numbers that cannot be.
    """
    check_length(trained, options.length)
    given, task, why = options.given, None, None
    try:
        task = trained.task
    except InputError as error:
        if options.score is None or given:
            raise
        why = str(error)
    prompted = task is not None and tasks.given_of(task, "test") is not None
    if given == PROMPTS and not prompted:
        raise InputError(
            "--given prompts needs a run whose data has prompts (train --task 'text:FILE?prompt=...'); take --given N."
        )
    if given is None and prompted:
        given = PROMPTS
    longest = trained.settings.length
    if isinstance(given, int):
        require(given < longest, "--given", given, f"less than {longest}, the model's length")
    labels_of_rows(trained, options, 1)
    if given and options.label is not None and len(options.label) > 1:
        raise InputError(
            "--label must be one class where samples go on from held-out sequences: each of these is of its own class."
        )
    if given and options.label is not None and tasks.context_of(trained.task, "test") is None:
        raise InputError(
            "--label cannot be given where samples go on from held-out sequences: the data do not tell their labels."
        )
    if options.guidance is not None and not given and options.label is None:
        raise InputError("--guidance needs --label or --given: it strengthens what is given.")
    return Basis(trained, task, given or None, options.length, options.seed, options.label, why)


def require_rows(basis: Basis, samples: int) -> None:
    """Refuse more samples than there are held-out sequences to go on from."""
    if basis.given is not None:
        held_out = len(basis.rows("test")[0])
        wanted = f"at most {held_out} beside --given: so many sequences there are"
        require(samples <= held_out, "--samples", samples, wanted)


def scoring_to_end(
    scoring: Scoring, basis: Basis, end: int | None, canvases: Sequence[Int32[np.ndarray, "_ length"] | None]
) -> Scoring:
    """The scores, of what stands before the end where they can take rows that end early.

    Args:
        scoring: of complete rows.
        basis: what samples go on from.
        end: the token of ``--end``.
        canvases: what the samples to be scored went on from, each array those of one evaluation.
    """
    if end is None or not cuts(basis, scoring):
        return scoring
    given_in = _given_in(basis, [canvas for canvas in canvases if canvas is not None])

    def before_end(score: Score) -> Score:
        return lambda tokens: score(cut_behind(tokens, end, given_in(tokens)))

    return dataclasses.replace(scoring, functions={name: before_end(one) for name, one in scoring.functions.items()})


def _given_in(
    basis: Basis, canvases: Sequence[Int32[np.ndarray, "_ length"]]
) -> Callable[[np.ndarray], Bool[np.ndarray, "... length"]]:
    """From complete rows to what of them was given: of several canvases the one that they agree with."""
    if not isinstance(basis.given, str):
        first = np.arange(basis.trained.settings.length) < (basis.given or 0)
        return lambda tokens: first

    def given_in(tokens: np.ndarray) -> Bool[np.ndarray, "rows length"]:
        for canvas in canvases:
            rows = canvas[: len(tokens)]
            given = (rows != basis.trained.denoiser.mask_id) & present(rows)
            if rows.shape == tokens.shape and (~given | (tokens == rows)).all():
                return given
        raise InputError("--end needs samples without masks, to find their ends behind prompts of their own.")

    return given_in


def cuts(basis: Basis, scoring: Scoring) -> bool:
    """Whether scores see rows cut at their ends: the user's own do, and those of text and of rows of numbers."""
    return scoring.source is not None or is_ragged(basis.trained) or isinstance(basis.task, TextTask | RowsTask)


def reference(scoring: Scoring, basis: Basis, samples: int) -> Mapping[str, Float[np.ndarray, " rows"]] | None:
    """The scores of held-out rows, at most as many as samples; those that are gone on from, where some are."""
    if basis.task is None:
        return None
    rows = basis.rows("test")[0][:samples]
    if len(rows) == 0:
        return None
    return {name: np.asarray(score(rows), np.float64) for name, score in scoring.functions.items()}
