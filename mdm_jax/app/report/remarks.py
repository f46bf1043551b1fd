"""What several sections say: what is missing and what makes it, and what plans are called."""

from mdm_jax.app.report.page import code, escape
from mdm_jax.app.report.run_files import RunFiles
from mdm_jax.evaluation.tuning import ROLES

MEANINGS = {"best beta": "the best of all Beta schedules", "best hand-crafted": "the cheapest of the named schedules"}
"""What the roles of tuned plans are, where the plan's name does not say it."""

FEW_ROWS = 64
"""With fewer, further rows tell more than further encodings of the same."""


def missing(sentence: str, files: RunFiles, command: str, *more: str) -> str:
    """What is not there, and what makes it, or else what comes before that."""
    if files.own_model:
        return note(f"{sentence} No command can make it, since the model is your own: load the run from Python.")
    untrained = not files.log and not files.directory.checkpoints.exists()
    unmeasured = files.source is not None and files.profile is None  # a training leaves a first profile, an import none
    before = {
        "sample": "train" if untrained else "profile" if unmeasured else None,
        "tune": "profile" if files.profile is None else None,
    }.get(command)
    line = files.command(command, *more) if before is None else files.command(before)
    return f'<p class="missing">{escape(sentence)} {"Make it" if before is None else "Begin"} with {code(line)}.</p>'


def note(sentence: str) -> str:
    """What is not there, and nothing can be done about."""
    return f'<p class="missing">{escape(sentence)}</p>'


def named(role: str, plan: str) -> str:
    """What a plan is called: "optimal", or the schedule that it follows; what is no tuned plan by its own words."""
    return plan if role in ROLES and plan else role
