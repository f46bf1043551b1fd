"""What commands print: JSON for a script, a table for a person."""

import sys
from collections.abc import Sequence
from typing import Any

from mdm_jax.support.files import to_json


def show(result: dict[str, Any], text: str, as_json: bool) -> None:
    """Print ``result`` as JSON, or ``text``, to standard output."""
    print(to_json(result) if as_json else text)


def finite(value: Any) -> float | int | None:
    """``value`` if it is a number that JSON has: not infinite, not NaN, not missing."""
    known = isinstance(value, int | float) and abs(value) <= sys.float_info.max
    return value if known else None


def figure(value: float | None, form: str) -> str:
    """``value`` in the given format, or "unknown"."""
    return "unknown" if value is None else format(value, form)


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns: the first to the left, the others to the right."""
    lines = [list(heading), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heading))]
    texts = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(line, widths))
        )
        for line in lines
    ]
    return "\n".join([texts[0].rstrip(), "-" * len(texts[0]), *(text.rstrip() for text in texts[1:])])
