"""What commands print: JSON for a script, text for a person, and nothing that a terminal would obey."""

import sys
from typing import Any

from mdm_jax.support.files import to_json
from mdm_jax.support.progress import remark
from mdm_jax.support.text import printable, printable_json


def show(result: dict[str, Any], text: str, as_json: bool) -> None:
    """Print ``result`` as JSON, or ``text``. Of what a terminal would obey, line ends and tabs alone are left."""
    print(printable_json(to_json(result)) if as_json else printable(text, lines=True))


def complain(text: str) -> None:
    """Say on standard error what is wrong, or may be."""
    print(f"mdm-jax: {printable(text)}", file=sys.stderr)


def note(text: str) -> None:
    """Say on standard error what helps to read the result, unless silence is asked for (``--quiet``)."""
    remark(f"mdm-jax: {text}")


def finite(value: Any) -> float | int | None:
    """``value`` if it is a number that JSON has: not infinite, not NaN, not missing."""
    known = isinstance(value, int | float) and abs(value) <= sys.float_info.max
    return value if known else None


def figure(value: float | None, form: str) -> str:
    """``value`` in the given format, or "unknown"."""
    return "unknown" if value is None else format(value, form)
