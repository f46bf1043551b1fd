"""``samples.json``: what commands drew, each with the command that drew it, for the report to show."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int32

from mdm_jax import tasks
from mdm_jax.app.report import sample_file
from mdm_jax.app.terminal.output import finite, note
from mdm_jax.evaluation import Evaluation
from mdm_jax.evaluation.tuning import ROLES
from mdm_jax.support.errors import InputError
from mdm_jax.support.files import write_json
from mdm_jax.support.ragged import present
from mdm_jax.tasks import Notation, Numbers, Task
from mdm_jax.training import Run, RunDirectory, ways

SENTENCES, PICTURES = 2, 6
"""Rows that are kept of one drawing: a picture takes less room."""
MOST_PANELS = 24
"""Drawings that are kept beside those of the tuned plans: of more, the oldest go."""
REAL = 8
"""Rows of the test half that are kept beside them."""
SCORED = 1024
"""Held-out rows at most whose mean score stands beside that of samples."""


def rows_kept(vocabulary: Notation) -> int:
    """How many rows of a drawing :func:`leave` keeps."""
    return PICTURES if isinstance(vocabulary, Numbers) and vocabulary.shape is not None else SENTENCES


def panel(rows: Sequence[Mapping[str, Any]], role: str, budget: int, plan: str = "", **figures: Any) -> dict[str, Any]:
    """One drawing, as ``samples.json`` keeps it.

    Args:
        rows: the samples, as ``work.rows.as_rows`` gives them.
        role: what drew them, in words; or the role of a tuned plan.
        budget: steps; where a sampler has no number of them, the model calls that were made.
        plan: name of the plan, where ``role`` does not tell it.
        figures: "temperature" and "seed"; "scored_rows", "mean_score" and "score_standard_error" if rows were scored;
            "steps" of a plan that takes fewer than its budget.
    """
    known = {"budget": budget, "steps": budget, "scored_rows": 0, **figures}
    return {"role": role, "plan": plan, **known, "rows": [dict(row) for row in rows]}


def judged(
    trained: Run,
    found: Evaluation,
    canvas: Int32[np.ndarray, "rows length"] | None,
    end: int | None,
    budgets: Mapping[str, int],
    names: Mapping[str, str] | None = None,
    **figures: Any,
) -> list[dict[str, Any]]:
    """The samples of an evaluation as drawings, one for each sampler. Which step revealed a token it does not keep.

    Args:
        trained: the run.
        found: the evaluation.
        canvas: what was given; ``None``: nothing.
        end: the token behind which nothing counts, if there is one.
        budgets: steps of each sampler; the model calls made where it is not among them.
        names: which samplers, and what to call them; all if left out.
        figures: "temperature" and "seed".
    """
    score, vocabulary = next(iter(found.scores)), trained.vocabulary
    names = {name: name for name in found.names} if names is None else names
    many = min(rows_kept(vocabulary), found.samples)
    panels = []
    for name, title in names.items():
        i = found.index(name)
        tokens, values = found.tokens[i, :many], found.values()[i, :many]
        given = np.zeros(tokens.shape, bool) if canvas is None else canvas[:many] != trained.denoiser.mask_id
        rows = [
            {"pieces": vocabulary.pieces(_until(row, end, known)), "reveal_step": None, "nfe": int(nfe),
             "score": finite(float(value))}
            for row, known, nfe, value in zip(tokens, given, found.nfe[i], values)
        ]  # fmt: skip
        steps = budgets.get(name, max(round(float(found.nfe[i].mean())), 1))
        about = {"scored_rows": found.samples, "mean_score": finite(float(found.means()[i])), "score_name": score}
        about |= {"score_standard_error": finite(float(found.standard_errors()[i]))}
        panels.append(panel(rows, title.rpartition("/")[2], steps, **figures, **about))
    return panels


def _until(
    tokens: Int32[np.ndarray, " length"], end: int | None, given: Bool[np.ndarray, " length"]
) -> Int32[np.ndarray, " written"]:
    """A row up to its end, without what is not there."""
    row, known = tokens[present(tokens)], given[present(tokens)]
    ends = np.flatnonzero((row == end) & ~known)
    return row[: ends[0] + 1] if len(ends) else row


def leave(
    trained: Run, line: str, panels: Sequence[Mapping[str, Any]], latents: Mapping[str, Any] | None = None
) -> None:
    """Put drawings into the run's ``samples.json``; what the same command drew before is replaced.

    A run that cannot be written to, or a file there that is none of ours, costs a note: the samples are drawn.

    Args:
        trained: the run.
        line: the command, as it was typed.
        panels: what :func:`panel` made.
        latents: samples that share latents, where those of the tuned plans are drawn.
    """
    if trained.directory is None or not ways.is_writer():
        return
    try:
        write_json(trained.place.samples, _with(trained, line, panels, latents))
    except (InputError, OSError) as error:
        note(f"the report will not show these samples: {error}")


def complete(place: RunDirectory) -> None:
    """Put real rows and their score beside samples that were drawn without the data, if the data can be read."""
    there = sample_file.read(place.samples)
    if there is None or there["real"] is not None:
        return
    description = place.read_config()["task"]
    try:
        task = tasks.restore(description)
    except InputError as error:
        note(f"the report shows no held-out row beside the samples: {error}")
        return
    write_json(place.samples, there | _told_by(task, tasks.vocabulary_of(description)))


def _with(
    trained: Run, line: str, panels: Sequence[Mapping[str, Any]], latents: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The new content of ``samples.json``."""
    there = sample_file.read(trained.place.samples) or {"format": sample_file.FORMAT, "panels": []}
    is_tuned = any(one["role"] in ROLES for one in panels)
    tuned = [one for one in there["panels"] if one["role"] in ROLES and not is_tuned]
    others = [one for one in there["panels"] if one["role"] not in ROLES and one["command"] != line]
    new = [{**one, "command": line, "run_step": trained.step} for one in panels]
    room = max(MOST_PANELS - len(new), 0) if not is_tuned else MOST_PANELS
    kept = rows_kept(trained.vocabulary)
    made = tuned + others[len(others) - min(room, len(others)) :] + (new if is_tuned else new[:MOST_PANELS])
    there |= {"panels": [{**one, "rows": one["rows"][:kept]} for one in made]}
    there |= {"latents": latents} if is_tuned else {}
    # What needs the data is told where it has been read, and else by :func:`complete`.
    return there | (_told_by(trained.task, trained.vocabulary) if "task" in vars(trained) else {})


def _told_by(task: Task, vocabulary: Notation) -> dict[str, Any]:
    """What the data say: the first rows of the test half, and the mean score of its first :data:`SCORED` rows."""
    rows = np.asarray(task.test[:SCORED])
    scores = np.asarray(task.score(rows), np.float64)
    real = [
        {"pieces": vocabulary.pieces(row[present(row)]), "score": finite(float(score))}
        for row, score in zip(rows[:REAL], scores)
    ]
    return {
        "score_name": task.score_name,
        "lower_is_better": task.lower_is_better,
        "reference_score": finite(float(scores.mean())),
        "reference_rows": len(rows),
        "real": real,
    }
