"""The Python examples of our guides, by name: ``<!-- example: NAME -->`` stands before every block of Python."""

import re
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
_BLOCK = re.compile(r"(?:^<!-- example: ([a-z][a-z _-]*) -->\n)?^```python\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)


def guides() -> list[Path]:
    """Every page that may have examples: the front page, and those of rooms and wings."""
    return [README, *sorted((ROOT / "mdm_jax").rglob("README.md"))]


def examples(text: str) -> dict[str, str]:
    """Every block of Python in a page, by its name; none is without a name, and no two have one."""
    found: dict[str, str] = {}
    for name, code in _BLOCK.findall(text):
        assert name, f"no name stands before the example that begins with {code.splitlines()[0]!r}"
        assert name not in found, f"two examples are called {name!r}"
        found[name] = code
    return found


def example(name: str, instead: Mapping[str, str] | None = None, page: Path = README) -> str:
    """One example of a page, word for word but for what is run instead of what it shows (and must show)."""
    code = examples(page.read_text(encoding="utf-8"))[name]
    for shown, put in (instead or {}).items():
        assert shown in code, f"the example {name!r} does not show {shown!r}"
        code = code.replace(shown, put)
    return code
