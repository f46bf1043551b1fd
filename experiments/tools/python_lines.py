"""Which lines of a piece of Python code the tokenizer and the parser of this Python accept, each by itself.

A sample is a window of a file, so its first and its last line are cut, and blocks lack their heads. Judged are the
lines between: dedented, with what a line that opens or goes on with a block needs before and behind it.
"""

import ast
import io
import tokenize
import warnings

_AROUND = (
    ("", ""),
    ("", " pass"),
    ("if 0: pass\n", " pass"),
    ("try: pass\n", " pass"),
    ("def f():\n ", ""),
    ("while 0:\n ", ""),
    ("class C:\n ", "\n  pass"),
    ("async def f():\n ", ""),
)
"""What may stand before and behind a line: nothing; a body; an ``if`` or ``try`` before; a function, a loop around."""


def accepted(line: str) -> bool:
    """Whether the tokenizer takes a line and the parser takes it somewhere.

    Example:
        >>> [accepted(line) for line in ("    return x + 1", "else:", "for i in x:", "x = = 1", "f(a,")]
        [True, True, True, False, False]
    """
    bare = line.strip()
    return is_tokenized(bare + "\n") and any(_parses(before + bare + behind) for before, behind in _AROUND)


def is_tokenized(source: str) -> bool:
    """Whether Python's tokenizer takes it to the end.

    Example:
        >>> [is_tokenized(source) for source in ("x = 1\\n", "return", "f(1,\\n")]
        [True, True, False]
    """
    try:
        for _ in tokenize.generate_tokens(io.StringIO(source).readline):
            pass
    except (tokenize.TokenError, SyntaxError):  # an indentation that does not fit is a SyntaxError
        return False
    return True


def share_accepted(text: str) -> float:
    """The share of a window's whole, not blank lines that are accepted; NaN where it has none.

    Example:
        >>> share_accepted("cut\\nx = 1\\n\\ny = = 2\\nalso cu")
        0.5
    """
    lines = [line for line in text.split("\n")[1:-1] if line.strip()]
    return sum(map(accepted, lines)) / len(lines) if lines else float("nan")


def _parses(source: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
