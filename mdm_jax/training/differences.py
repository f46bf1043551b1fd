"""What differs between the configurations of two runs, as a person should hear it."""

import json
from typing import Any

from mdm_jax.support.text import shortened

_OF_THE_TASK = ("length", "mean_tokens", "task length", "task vocab_size", "task lengths")
_TELLING = ("seed", "model", "model family", "objective name", "width", "depth", "heads")
_KIND = {"model": "family", "objective": "name"}  # what tells the rest of a part, where it differs
_FILES = ("text", "npy", "fasta", "bin")
_PARTS = {
    "task": "task",
    "settings": "settings",
    "model": "model",
    "objective": "objective",
    "context": "context",
    "known": "what the task knows of its rows",
    "given": "what the task says is given",
    "shown": "shown",
    "optimizer": "optimizer",
    "origin": "origin",
    "source": "where its parameters are from",
}
"""Parts of ``config.json`` that are compared, and what each is called."""


def told_differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """What differs in the configurations of two runs, the telling ones first: others are often left to defaults.

    Args:
        ours: the content of ``config.json`` as it would be written.
        theirs: as it is there.

    Example:
        >>> from mdm_jax.training.differences import told_differences
        >>> told_differences({"settings": {"seed": 1, "batch": 8}}, {"settings": {"seed": 0, "batch": 8}})
        ['seed (0, not 1)']
    """
    found: dict[str, str] = {}
    for part, called in _PARTS.items():
        one, other = ours.get(part), theirs.get(part)
        if part == "shown" and found.keys() & {_PARTS["context"], _PARTS["known"]}:
            continue  # what the model is shown follows from what is known
        if part == "origin" and one is None:
            continue  # who goes on need not say where it began
        if not (isinstance(one, dict) and isinstance(other, dict)):
            if one != other and part != "optimizer":  # of an own one and a recipe the settings tell
                found[called] = called
            continue
        names = [name for name in dict.fromkeys((*one, *other)) if one.get(name) != other.get(name)]
        if part == "task" and names == ["spec"] and _same_kind_of_file(one["spec"], other["spec"]):
            continue  # one file has many names; what is in it has one digest
        names = [_KIND[part]] if _KIND.get(part) in names else names  # of another kind all else is another
        if part == "origin":
            names = [name for name in names if name != "directory"]  # it may have moved
        for name in names:
            said = part in ("task", "objective", "optimizer", "origin") or name == "family"
            label = f"{part} {name}" if said else name
            found[label] = f"{label} ({_brief(other.get(name))}, not {_brief(one.get(name))})"
    # What follows from the task is told only where nothing else is: whoever gives another is not to hear of lengths.
    names = [name for name in found if name not in _OF_THE_TASK] or list(found)
    return [found[name] for name in sorted(names, key=_rank)]


def _rank(name: str) -> int:
    return 0 if name.startswith("task") else 1 if name in _TELLING else 2


def _same_kind_of_file(one: Any, other: Any) -> bool:
    kinds = [str(spec).partition(":")[0] for spec in (one, other) if ":" in str(spec)]
    return len(kinds) == 2 and kinds[0] == kinds[1] and kinds[0] in _FILES


def _brief(value: Any) -> str:
    return shortened(json.dumps(value, ensure_ascii=False), 60)
