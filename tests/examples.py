"""The Python examples of our pages, by name: ``<!-- example: NAME -->`` stands before every block of Python.

What an example prints stands in a block of ``text`` directly after it.
"""

import contextlib
import io
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
from page_texts import ROOT
from printed import difference

README = ROOT / "README.md"
REFRESH = "REFRESH_PAGES"
"""With this variable set, what an example prints is written into its page instead of held against it."""
_BLOCK = re.compile(
    r"(?:^<!-- example: (?P<name>[a-z][a-z _-]*) -->\n)?"
    r"^```python\n(?P<code>.*?)^```\n(?:\n?```text\n(?P<output>.*?)^```\n)?",
    flags=re.DOTALL | re.MULTILINE,
)


class Example(NamedTuple):
    """A block of Python, and what the page says that it prints (empty: nothing)."""

    code: str
    output: str


def examples(text: str) -> dict[str, Example]:
    """Every block of Python in a page, by its name; none is without a name, and no two have one."""
    found: dict[str, Example] = {}
    for block in _BLOCK.finditer(text):
        name, code = block["name"], block["code"]
        assert name, f"no name stands before the example that begins with {code.splitlines()[0]!r}"
        assert name not in found, f"two examples are called {name!r}"
        found[name] = Example(code, block["output"] or "")
    return found


def run_example(
    page: Path, name: str, names: dict[str, Any], instead: Mapping[str, str] | None = None, compare: bool = True
) -> str:
    """What an example of a page prints; ``names`` get what it defines.

    ``instead`` says what is run instead of what is shown (and must be shown). What it prints must be what the page
    shows; with ``compare=False``, for substitutions that change it, anything where something is shown.
    """
    code, shown = examples(page.read_text(encoding="utf-8"))[name]
    where = f"the example {name!r} of {page.relative_to(ROOT)}"
    refresh = bool(os.environ.get(REFRESH))
    for text, put in (instead or {}).items():
        assert text in code, f"{where} does not show {text!r}"
        code = code if refresh else code.replace(text, put)
    with jax.numpy_rank_promotion("allow"), contextlib.redirect_stdout(io.StringIO()) as stream:  # a user's setting
        exec(compile(code, str(page), "exec"), names)
    printed = "".join(line.rstrip() + "\n" for line in stream.getvalue().splitlines())
    if not compare and not refresh:
        assert printed or not shown, f"{where} prints nothing and shows {shown!r}"
        return printed
    wrong = difference(shown, printed)
    if wrong and refresh:
        page.write_text(_with_output(page.read_text(encoding="utf-8"), name, printed), encoding="utf-8")
    else:
        assert wrong is None, f"{where}: {wrong}"
    return printed


def _with_output(text: str, name: str, printed: str) -> str:
    """A page in which the example shows what was printed."""
    block = next(block for block in _BLOCK.finditer(text) if block["name"] == name)
    code_ends = block.end("code") + len("```\n")
    output = f"\n```text\n{printed}```\n" if printed else ""
    return text[:code_ends] + output + text[block.end() :]
