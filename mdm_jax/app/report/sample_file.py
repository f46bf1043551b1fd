"""``samples.json`` as the report reads it, with what files of older runs lack worked out from the rows."""

import math
from pathlib import Path
from typing import Any

from mdm_jax.app.report import shapes
from mdm_jax.support.errors import InputError

FORMAT = "mdm_jax samples 1"


def read(path: Path) -> dict[str, Any] | None:
    """The content of ``samples.json``, checked; ``None`` if there is none.

    Raises:
        InputError: something else is there.
    """
    samples = shapes.read(path, shapes.SAMPLES, FORMAT)
    if samples is None:
        return None
    shown = [row for panel in samples["panels"] for row in panel["rows"]]
    shown += [row for group in (samples["latents"] or {"groups": []})["groups"] for row in group]
    for row in shown:
        if row["reveal_step"] is not None and len(row["pieces"]) != len(row["reveal_step"]):
            raise InputError(
                f"{path} is not a samples file: pieces and reveal_step must have one entry for each position; "
                f"got {len(row['pieces'])} and {len(row['reveal_step'])}."
            )
    return samples | {"panels": [_completed(panel, samples) for panel in samples["panels"]]}


def _completed(panel: dict[str, Any], samples: dict[str, Any]) -> dict[str, Any]:
    """A panel of samples with what older files lack: the budget, the mean score over the rows in the file, and what
    was said once for all.
    """
    scores = [row["score"] for row in panel["rows"] if row["score"] is not None]
    mean = math.fsum(scores) / len(scores) if scores else None
    older = {"budget": panel["steps"], "scored_rows": len(panel["rows"]), "mean_score": mean}
    older |= {name: samples[name] for name in ("temperature", "seed")}
    return panel | {name: value for name, value in older.items() if panel[name] is None}
