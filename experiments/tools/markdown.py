"""Pieces of pages: paragraphs in lines, tables."""

import textwrap
from collections.abc import Iterable


def filled(text: str) -> str:
    """A paragraph in lines of a page."""
    return textwrap.fill(" ".join(text.split()), 120, break_long_words=False, break_on_hyphens=False) + "\n"


def table(*lines: Iterable[str]) -> str:
    """A table, the first line being its heading.

    Example:
        >>> print(table(("a", "b"), ("1", "2")), end="")
        | a | b |
        |---|---|
        | 1 | 2 |
    """
    heading, *rows = (f"| {' | '.join(line)} |" for line in lines)
    columns = "|".join(["---"] * len(tuple(lines[0])))
    return "\n".join([heading, f"|{columns}|", *rows]) + "\n"
