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
    made = [tuple(line) for line in lines]
    heading, *rows = (f"| {' | '.join(line)} |" for line in made)
    columns = "|".join(["---"] * len(made[0]))
    return "\n".join([heading, f"|{columns}|", *rows]) + "\n"
