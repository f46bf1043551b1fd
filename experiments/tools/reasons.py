"""Why claims fail here: ``experiments/reasons.toml``, whose head says how it is written."""

import tomllib
from collections.abc import Mapping
from typing import Any

from experiments.tools.catalogue import Places
from mdm_jax.support.errors import InputError

FAILS = ("partly", "does not")
"""Verdicts that ask for a reason."""
SAID = {"failed": "What failed", "shown": "Shown", "believed": "Believed", "unknown": "Not known", "tried": "Tried"}
"""The entries of a reason, and what the page calls them."""
REASONS = ("shown", "believed", "unknown")
SECTION = "Where a claim fails"
INTRODUCTION = """What failed, why, and what was tried. *Shown* is a reason that figures of the result show, *believed*
one that we hold likely and that no figure decides. *Not known* says what would decide it."""
Reason = Mapping[str, str]


def read(places: Places) -> dict[str, Reason]:
    """The reasons by experiment; none where there is no file.

    Raises:
        InputError: an entry is unknown, missing or empty, or the file is no TOML.
    """
    if not places.reasons.exists():
        return {}
    try:
        found = tomllib.loads(places.reasons.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{places.reasons.name} must be TOML: {error}.") from None
    for name, reason in found.items():
        _check(f"[{name}] of {places.reasons.name}", reason)
    return found


def _check(where: str, reason: Any) -> None:
    if not isinstance(reason, dict) or not set(reason) <= set(SAID):
        raise InputError(f"{where} must be a table of {', '.join(SAID)}; got {reason}.")
    if not {"failed", "tried"} <= set(reason) or not set(REASONS) & set(reason):
        raise InputError(f"{where} must have failed, tried and at least one of {', '.join(REASONS)}.")
    for entry, text in reason.items():
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{entry} in {where} must be text that is not empty; got {text!r}.")


def fails(made: Mapping[str, Any] | None) -> bool:
    """Whether a record asks for a reason."""
    return made is not None and made["verdict"] in FAILS


def told(name: str, made: Mapping[str, Any], reason: Reason) -> str:
    """A failure in one paragraph, which the row of the experiment links."""
    said = [f"*{heading}:* {reason[entry].strip()}" for entry, heading in SAID.items() if entry in reason]
    link = f"[all figures](results/{name}.json)"
    return f'<a id="why-{name}"></a>**[{name}](#{name})**, {made["verdict"]} ({link}). {" ".join(said)}'
