"""Text from elsewhere (a plan's name, a vocabulary, a path), made fit for a terminal.

A terminal obeys some characters instead of showing them: control characters (``ESC ] 0 ;`` sets its title, U+009B moves
the cursor) and directions of writing, with which a line can be made to read as another one. Whatever a file or a user
named goes through here before it is printed.
"""

import json
import unicodedata
from collections.abc import Sequence

_KEPT = "\u200c\u200d"  # joiners: ordinary text in many scripts, and harmless
_OBEYED = ("Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp")


def printable(text: str, lines: bool = False) -> str:
    r"""``text`` with everything that a terminal would obey written as an escape: ``\x1b``, ``\u202e``.

    Args:
        text: any.
        lines: keep line ends and tabs, for text that is meant to have several lines.

    Example:
        >>> from mdm_jax.support.text import printable
        >>> printable("plan \x1b[31m")
        'plan \\x1b[31m'
    """
    kept = _KEPT + "\n\t" if lines else _KEPT
    return "".join(_escaped(c) if c not in kept and is_obeyed(c) else c for c in text)


def printable_json(text: str) -> str:
    r"""JSON of the same value without raw characters that a terminal would obey: JSON itself only forbids the first 32.

    Example:
        >>> from mdm_jax.support.text import printable_json
        >>> printable_json('"\x9b"')
        '"\\u009b"'
    """
    return "".join(json.dumps(c)[1:-1] if c != "\n" and is_obeyed(c) else c for c in text)


def is_obeyed(character: str) -> bool:
    """Whether a terminal may do something else with the character than show it (or knows no glyph for it)."""
    return unicodedata.category(character) in _OBEYED


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def shortened(text: str, most: int = 200) -> str:
    """``text`` on one line, or its beginning and three dots: at most ``most`` characters."""
    text = " ".join(line.strip() for line in text.splitlines() if line.strip())
    return text if len(text) <= most else text[: most - 3] + "..."


def in_words(items: Sequence[object]) -> str:
    """Several things as a sentence lists them.

    Example:
        >>> from mdm_jax.support.text import in_words
        >>> in_words([4, 8, 16]), in_words(["one"])
        ('4, 8 and 16', 'one')
    """
    shown = [str(item) for item in items]
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns under a heading: the first to the left, the others to the right."""
    lines = [list(heading), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heading))]
    texts = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(line, widths))
        )
        for line in lines
    ]
    return "\n".join([texts[0].rstrip(), "-" * len(texts[0]), *(text.rstrip() for text in texts[1:])])
