"""What the report says of a published model that was imported: where it is from, and that nothing was trained here."""

from typing import Any

from mdm_jax.app.report.page import code, escape, words
from mdm_jax.app.report.run_files import RunFiles
from mdm_jax.support.commands import command
from mdm_jax.support.text import shortened

_LONGEST_LIST = 400
"""Characters shown of the tensors that were not taken."""


def about(source: dict[str, Any], files: RunFiles) -> str:
    """What the run is, as the beginning of its first sentence."""
    return f"A published model, {escape(source['family'])}, as a masked diffusion model of {code(files.data)}:"


def where_from(source: dict[str, Any]) -> str:
    """What was read, and what of it was not taken."""
    arrays = source["parameters"].values()
    kinds = words(sorted({array["type"] for array in arrays}))
    names = words([*source["files"]])
    ignored = shortened(", ".join(map(str, source["ignored"])), _LONGEST_LIST)
    found = source.get("calibration")
    warm = "" if not isinstance(found, dict) else (
        " Beside its parameters it has a temperature for each share of masks, found on "
        f"{escape(found.get('rows'))} rows of the training part."
    )  # fmt: skip
    more = f" Not needed, and not taken: {escape(ignored)}." if ignored else ""
    return (
        f"<p>{escape(source['family'])}, imported from {names} as it was published, its parameters in {kinds}. Nothing "
        f"was trained here, so there is no curve of a training.{warm}{more}</p>"
    )


def going_on(source: dict[str, Any], files: RunFiles) -> tuple[str, list[tuple[str, str]]]:
    """What can be done about what the model has not learnt: a sentence, and commands with what they do."""
    if {array["type"] for array in source["parameters"].values()} != {"float32"}:
        return "", []
    line = command("train", "NEW", "--from", str(files.directory.path), "--steps", "1000")
    return " For that, train it on, as a run of its own.", [(line, "train it on: a new run begins with its parameters")]


def told(source: dict[str, Any]) -> dict[str, Any]:
    """What the run has stored of the import, but for the shapes of the parameters."""
    rest = {name: value for name, value in source.items() if name not in ("parameters", "files", "ignored") and value}
    return {**rest, **source["files"], **({"not taken": ", ".join(source["ignored"])} if source["ignored"] else {})}
