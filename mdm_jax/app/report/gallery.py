"""The section of the report that shows samples: of tuned plans and of commands, most steps first, beside real rows."""

import bisect
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from mdm_jax.app.report import page, remarks
from mdm_jax.app.report.page import code, escape
from mdm_jax.app.report.run_files import RunFiles
from mdm_jax.evaluation.tuning import ROLES
from mdm_jax.sampling.result import FILLED, MISSING
from mdm_jax.support.text import shortened
from mdm_jax.tasks import Grid, Numbers
from mdm_jax.tasks.notations import is_number

_MOST_PIECES = 24_000
"""Positions of samples on the page altogether, which keeps it below two megabytes."""
_MOST_ROWS, _MOST_PICTURES = 3, 6
"""Samples shown of one drawing."""
_PLAY_SECONDS = 4.0
"""How long the first sample of each drawing takes to be written before the reader's eyes."""
_LONGEST_LINE = 240
"""Characters shown of a command."""


def samples(files: RunFiles) -> str:
    """What the model wrote, budget by budget with the drawings side by side."""
    drawn = files.samples
    if drawn is None or not drawn["panels"]:
        return remarks.missing("There are no samples yet.", files, "sample", "--steps", str(_usual_steps(files)))
    panels, blocks, seen = drawn["panels"], [], set()
    most = _MOST_PIECES // (len(panels) + 1)
    for i, budget in enumerate(sorted({panel["budget"] for panel in panels}, reverse=True)):
        row = sorted((p for p in panels if p["budget"] == budget), key=_rank)
        cells = "".join(_panel(panel, drawn, most, files, _is_new(panel["command"], seen)) for panel in row)
        real = _real(drawn, i, most, files)
        steps = f"{budget:,} step{'' if budget == 1 else 's'}"
        blocks.append(f'<h3>{steps}</h3>{page.again()}<div class="samples">{real}{cells}</div>')
    return f'{_introduction(drawn, files)}<div class="wide">{page.step_legend()}{"".join(blocks)}</div>'


def _is_new(line: str | None, seen: set[str | None]) -> bool:
    """Whether a command has not been shown yet; now it has."""
    new = line not in seen
    seen.add(line)
    return new


def _usual_steps(files: RunFiles) -> int:
    return min(16, files.block or files.config["task"]["length"])


def _rank(panel: Mapping[str, Any]) -> int:
    """Named schedules first, then optimal plans, then what commands drew, in the order of the file."""
    order = ("best hand-crafted", "best beta", "optimal")
    return order.index(panel["role"]) if panel["role"] in order else len(order)


def _introduction(drawn: Mapping[str, Any], files: RunFiles) -> str:
    picture, reference, name = files.shape is not None, drawn["reference_score"], drawn["score_name"]
    tuned = [panel for panel in drawn["panels"] if panel["role"] in ROLES]
    said = [f"{'Drawn' if picture else 'Written'} by the model, most steps first."]
    unseen = ", which training never saw," if files.source is None else ""
    said += [] if drawn["real"] is None else [f"Real rows of the test half{unseen} stand first."]
    said += [
        f"{'The colours beside a picture tell when each pixel was' if picture else 'Colour tells when each token was'} "
        "revealed; hover to read the step."
    ]
    if name is not None:
        said += [f"The score is {escape(name)}, {'lower' if drawn['lower_is_better'] else 'higher'} is better."]
        said += [] if reference is None else [f"Held-out {files.kind} (test half) scores {reference:.2f} on average."]
        # Of a grid, nothing scores better than a valid one.
        grid = isinstance(files.notation, Grid)
        said += [] if grid else ["A score far better than that is a sign of repetition, not of quality."]
    if tuned:
        how = (("temperature", tuned[0]["temperature"]), ("seed", tuned[0]["seed"]))
        known = ", ".join(f"{name} {value:g}" for name, value in how if value is not None)
        said += [f"Plans of one number of steps share their random numbers{f' ({known})' if known else ''}."]
    return f"<p>{' '.join(said)}</p>"


def _real(drawn: Mapping[str, Any], group: int, most: int, files: RunFiles) -> str:
    """Rows of the test half as a panel, other ones for each group as long as there are."""
    rows = drawn["real"] or ()
    if not rows:
        return ""
    each = min(2 if files.shape is None else _MOST_PICTURES, len(rows))
    chosen = [rows[(group * each + i) % len(rows)] for i in range(each)]
    shown = [(_plain(row["pieces"], most, files.notation), _told(row, drawn, files)) for row in chosen]
    again = " again" if group else ""
    listed = _listed(shown, most, files, chosen)
    return f'<div class="panel real{again}"><h4>real <small>held out, test half</small></h4>{listed}</div>'


def _panel(panel: Mapping[str, Any], drawn: Mapping[str, Any], most: int, files: RunFiles, first: bool = True) -> str:
    """The samples of one drawing, as many as fit into ``most`` positions but at least one; ``first`` of its command."""
    meaning = remarks.MEANINGS.get(panel["role"], "")
    small = f" <small>{escape(meaning)}</small>" if meaning else ""
    parts = [f'<div class="panel"><h4>{escape(remarks.named(panel["role"], panel["plan"]))}{small}</h4>']
    if panel["role"] not in ROLES and panel["command"] is not None:
        line = code(shortened(panel["command"], _LONGEST_LINE))
        parts.append(f'<p class="line">{line if first else "by the same command"}</p>')
    if panel["run_step"] is not None and files.log and panel["run_step"] != files.log[-1]["step"]:
        parts.append(
            f'<p class="mean">Drawn at step {panel["run_step"]:,} of the training, which is at '
            f"{files.log[-1]['step']:,} now.</p>"
        )
    if (mean := panel["mean_score"]) is not None and panel["scored_rows"]:
        error = panel["score_standard_error"]
        shown = f"{mean:.2f}" if error is None else f"{mean:.2f} ± {error:.2f}"
        own = panel["score_name"] not in (None, drawn["score_name"])
        what = f"mean {escape(panel['score_name'])}" if own else "mean score"
        parts.append(f'<p class="mean">{what} <strong>{shown}</strong> over {panel["scored_rows"]:,} samples</p>')
    pace = _PLAY_SECONDS / max(panel["budget"], 1)  # drawings side by side keep the same time
    rows = []
    about = {**drawn, "score_name": panel["score_name"] or drawn["score_name"]}
    for i, whole in enumerate(panel["rows"]):
        row = _ended(whole)
        steps = max(panel["steps"], 1 + max(row["reveal_step"] or (), default=0))  # those of all blocks, if any
        rows.append((one_sample(row, steps, most, files.notation, None if i else pace), _told(row, about, files)))
    return "".join(parts) + _listed(rows, most, files, panel["rows"]) + "</div>"


def _listed(rows: list[tuple[str, str]], most: int, files: RunFiles, of: Sequence[Mapping[str, Any]]) -> str:
    """Samples with a line below each; pictures in a line."""
    longest = max((len(row["pieces"]) for row in of), default=1)
    room = max(most // max(longest, 1), 1)
    shown = rows[: min(room, _MOST_ROWS if files.shape is None else _MOST_PICTURES)]
    if files.shape is None:
        return "".join(f"{drawn_html}<p>{told_html}</p>" for drawn_html, told_html in shown)
    cells = (f'<div class="shot">{drawn_html}<p>{told_html}</p></div>' for drawn_html, told_html in shown)
    return f'<div class="shots">{"".join(cells)}</div>'


def _told(row: Mapping[str, Any], drawn: Mapping[str, Any], files: RunFiles) -> str:
    """What stands below a sample: its label and score, its length where lengths differ, and what it took."""
    name = "score" if files.shape is not None else drawn["score_name"]
    said = [] if row.get("label") is None else [f"label {row['label']}"]
    said += [] if row["score"] is None else [f"{name}: {row['score']:.2f}"]
    length, whole = len(row["pieces"]), files.config["task"]["length"]
    said += [f"{length:,} tokens"] if length != whole else []
    calls = "call" if files.shape is not None else "model call"
    said += [f"{row['nfe']:,} {calls}{'' if row['nfe'] == 1 else 's'}"] if "nfe" in row else []
    return escape(" · ".join(said))


def _ended(row: dict[str, Any]) -> dict[str, Any]:
    """A sample up to its end: where its text stops, and without positions that no step was to reveal."""
    pieces, steps = row["pieces"], row["reveal_step"]
    length = len(pieces)
    while steps and length and steps[length - 1] in (FILLED, MISSING):
        length -= 1
    if row.get("text") is not None:
        ends = list(itertools.accumulate(map(len, pieces)))
        stop = bisect.bisect_left(ends, len(row["text"])) + 1
        length = min(length, stop) if "".join(pieces[:stop]) == row["text"] else length
    return row | {"pieces": pieces[:length], "reveal_step": None if steps is None else steps[:length]}


def _plain(pieces: list[str], most: int, notation: Numbers | Grid | None) -> str:
    """A row of which no steps are known, as a real one."""
    shape = notation.shape if isinstance(notation, Numbers) else None
    if isinstance(notation, Numbers) and shape and _is_picture(pieces, shape):
        return page.picture(_levels(pieces, notation), None, 1, notation.size - 1, shape[1])
    between = notation.lines() if isinstance(notation, Grid) and len(pieces) == notation.size**2 else None
    return page.marked(pieces, [False] * len(pieces), most, between)


def one_sample(
    row: Mapping[str, Any], steps: int, most: int, notation: Numbers | Grid | None, seconds: float | None = None
) -> str:
    """One sample as a picture or a grid, where it is one, or else as text; ``seconds`` per step if it is animated."""
    pieces = row["pieces"]
    if row["reveal_step"] is None:
        return _plain(pieces, most, notation)
    if isinstance(notation, Grid):
        whole = len(pieces) == notation.size**2
        return page.sample(pieces, row["reveal_step"], steps, most, seconds, notation.lines() if whole else None)
    shape = notation.shape if notation else None
    if notation and shape and _is_picture(pieces, shape):
        return page.picture(_levels(pieces, notation), row["reveal_step"], steps, notation.size - 1, shape[1], seconds)
    return page.sample(pieces, row["reveal_step"], steps, most, seconds)


def _is_picture(pieces: list[str], shape: tuple[int, int]) -> bool:
    return len(pieces) == shape[0] * shape[1] and all(map(is_number, pieces))


def _levels(pieces: list[str], notation: Numbers) -> list[int]:
    return [min(int(piece), notation.size - 1) for piece in pieces]
