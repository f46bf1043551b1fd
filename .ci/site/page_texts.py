"""The checkout as the site sees it: where it begins, its pages, and what a page's Markdown holds."""

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_PLACES = ("*.md", "mdm_jax/**/*.md", "experiments/**/*.md", "tests/**/*.md")
_FENCED = re.compile(r"^( *)(```|~~~).*?^\1\2 *$", flags=re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", flags=re.DOTALL)
_HEADING = re.compile(r"^#{1,6} +(.+?)(?: +#+)? *$", flags=re.MULTILINE)
_LINK = re.compile(r"!?\[(?:[^\[\]]|!?\[[^\[\]]*\](?:\([^()]*\))?)*\]\(<?([^()\s>]+)>?(?: +\"[^\"]*\")?\)")
_NAMED = re.compile(r"\[`([A-Za-z_]\w*)(?:\(\))?`\]\(([^()\s#]+\.py)\)")
CITED = re.compile(r"((?:tests|mdm_jax|experiments|\.ci)/[\w./-]*)?(?:::(\w+)|(?<!/)(test_\w+))?")
"""What stands in backticks where a file is named (``tests/x.py``), something in it (``tests/x.py::test_y``), something
in the file that was named before (``::test_y``), or a test of any file (``test_y``)."""
_HTML_LINK = re.compile(r"<(?:a|img|source)\b[^>]*?\b(?:href|src|srcset)=\"([^\"]+)\"")


def pages(root: Path = ROOT) -> list[Path]:
    """Every page of Markdown, in the order of their paths."""
    return sorted({path for place in _PLACES for path in root.glob(place)})


@functools.cache
def read(path: Path) -> str:
    """The text of a file."""
    return path.read_text(encoding="utf-8")


def notebook_text(path: Path) -> str:
    """The Markdown of a notebook, its code left out."""
    cells = json.loads(read(path))["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def headings(text: str) -> list[str]:
    """The headings of a page as they are written, code in it left out."""
    return _HEADING.findall(_without(text, _FENCED))


def plain(heading: str) -> str:
    """A heading without its marks: the words that a reader sees."""
    seen = re.sub(r"!?\[([^\[\]]*)\]\([^()]*\)", r"\1", heading)
    return re.sub(r"[`*]", "", seen).strip()


def anchors(text: str) -> list[str]:
    """What the headings of a page are called in links, as code hosts name them."""
    found: list[str] = []
    for heading in headings(text):
        found.append(anchor(plain(heading), found))
    return found


def marks(text: str) -> set[str]:
    """Places of a page that ``<a id="...">`` names, for links like headings."""
    return set(re.findall(r'<a id="([^"]+)">', _without(text, _FENCED)))


def anchor(heading: str, before: list[str]) -> str:
    """The anchor of a heading after those ``before`` it: small letters, hyphens for blanks, a number if taken."""
    name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
    number, free = 0, name
    while free in before:
        number += 1
        free = f"{name}-{number}"
    return free


def links(text: str) -> Iterator[tuple[int, str]]:
    """Line and target of every link and picture of a page, those inside code left out."""
    text = _without(_without(text, _FENCED), _CODE)
    for found in sorted([*_LINK.finditer(text), *_HTML_LINK.finditer(text)], key=lambda found: found.start()):
        yield text.count("\n", 0, found.start()) + 1, found.group(1)
        # A picture that is a link: the picture's own target stands inside the brackets.
        for inner in re.finditer(r"!\[[^\[\]]*\]\(([^()\s]+)\)", found.group(0)[1:].rpartition("](")[0]):
            yield text.count("\n", 0, found.start()) + 1, inner.group(1)


def named_links(text: str) -> Iterator[tuple[int, str, str]]:
    """Line, name and target of every link whose text is the name of something in a Python file."""
    text = _without(text, _FENCED)
    for found in _NAMED.finditer(text):
        yield text.count("\n", 0, found.start()) + 1, found.group(1), found.group(2)


def citations(text: str) -> Iterator[tuple[int, str, str, bool]]:
    """Line, path and name ('' if none) of what a page cites in backticks outside of links; see :data:`CITED`.

    Last, whether the name must be in that file (``::test_y``), and not in any (``test_y``).
    """
    text = _without(_without(text, _FENCED), _LINK)
    path = ""
    for found in _CODE.finditer(text):
        cited = CITED.fullmatch(found.group(0).strip("`"))
        if cited and "NAME" not in found.group(0):
            path = cited.group(1) or path
            yield (
                text.count("\n", 0, found.start()) + 1,
                path,
                cited.group(2) or cited.group(3) or "",
                bool(cited.group(2)),
            )


@functools.cache
def defined(root: Path) -> dict[str, list[Path]]:
    """The files in which functions of a name are, and the test files of a name."""
    found: dict[str, list[Path]] = {}
    for path in sorted(path for place in ("tests", "mdm_jax", "experiments") for path in root.glob(f"{place}/**/*.py")):
        for name in {path.stem, *re.findall(r"^ *def (\w+)", read(path), flags=re.MULTILINE)}:
            found.setdefault(name, []).append(path)
    return found


def file_with(root: Path, path: str, name: str) -> Path | None:
    """The file that a citation means: the one named before if it has the name, or the only one that has it."""
    files = defined(root).get(name, [])
    named = [file for file in files if path and file == root / path]
    return named[0] if named else files[0] if len(files) == 1 else None


def _without(text: str, pattern: re.Pattern[str]) -> str:
    """The text with what matches made blank, so that lines keep their numbers."""
    return pattern.sub(lambda found: re.sub(r"[^\n]", " ", found.group(0)), text)
