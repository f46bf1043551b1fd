"""Whether what code and pages refer to by name is there: pages, their headings, files, tests and papers.

``THEOREM.md``, ``THEOREM.md, "What it says"``; in pages also ``tests/x.py`` and ``tests/x.py::test_y`` in backticks.
References stand in docstrings, comments and prose, where a code host makes no link of them. A path is sought beside
the file, in the folders above it (a test's: above what it tests), and by its end in the whole tree. A paper that the
library names must be in the index of papers, ``PAPERS.md``.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import page_texts

_PLACES = (*(f"{folder}/**/*.py" for folder in ("mdm_jax", "tests", "experiments", ".ci")), "*.toml", "*.yaml", "*.cff")
REFERENCE = re.compile(r"`{0,2}((?:[\w.-]+/)*[A-Z][A-Z_]+\.md)`{0,2}(?:(?:,|:| under)\s+\\?[\"“]([^\"“”\\]+)\\?[\"”])?")
_PAPER = re.compile(r"arXiv[:\s]+(\d{4}\.\d{5})")
_NOTES = re.compile(r"\bnotes [A-Z]\d+|\.\./shared/")


def dangling(root: Path = page_texts.ROOT) -> Iterator[str]:
    """A sentence for every reference to something that is not in the tree."""
    for path in (*page_texts.pages(root), *sorted({path for place in _PLACES for path in root.glob(place)})):
        where = path.relative_to(root)
        for line, fault in sorted({*_no_page(path, root), *_no_file(path, root), *_no_paper(path, root)}):
            yield f"{where}, line {line}: {fault}"


def _no_page(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    text = page_texts.read(path)
    for line, page, heading in references(text):
        fault = _fault(path, page, heading, root)
        if fault:
            yield line, fault
    for found in _NOTES.finditer(text):
        yield _line(text, found), f"{found.group(0)!r} is not in the tree."


def _no_file(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    for line, cited, name, is_there in page_texts.citations(page_texts.read(path)) if path.suffix == ".md" else ():
        found = page_texts.file_with(root, cited, name) if name else None
        if not (root / cited).exists():
            yield line, f"there is no {cited}."
        elif name and is_there and found != root / cited:
            yield line, f"there is no {name} in {cited}."
        elif name and found is None:
            yield line, f"there is no {name}, or there are several and the page does not say where."


def _no_paper(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    index, library = root / "mdm_jax" / "PAPERS.md", root / "mdm_jax"
    known = page_texts.read(index) if index.exists() else ""
    for found in _PAPER.finditer(page_texts.read(path)) if path.is_relative_to(library) else ():
        if f'id="{found.group(1)}"' not in known:
            yield _line(page_texts.read(path), found), f"PAPERS.md does not have arXiv {found.group(1)}."


def references(text: str) -> Iterator[tuple[int, str, str]]:
    """Line, page and heading ('' if none is named) of every reference; one may go over a line's end."""
    # A line that goes on in a comment or a docstring: what stands before its first word becomes one blank, and the
    # newline is kept, so that lines can be counted.
    joined = re.sub(r"\n[ \t]*(?:#[ \t]?|>[ \t])?", "\n", text)
    for found in REFERENCE.finditer(joined):
        heading = re.sub(r"\s+", " ", found.group(2) or "")
        yield _line(joined, found), found.group(1), heading


def _line(text: str, found: re.Match[str]) -> int:
    return text.count("\n", 0, found.start()) + 1


def find(origin: Path, page: str, root: Path = page_texts.ROOT) -> list[Path]:
    """The pages that a reference in ``origin`` can mean: the nearest one, or all that end so."""
    folders = list(origin.relative_to(root).parents)
    if folders[-2:-1] == [Path("tests")]:  # tests mirror the library
        folders += [Path("mdm_jax", *folder.parts[1:]) for folder in folders[:-1]]
    for folder in folders:
        if (root / folder / page).is_file():
            return [root / folder / page]
    return [path for path in page_texts.pages(root) if f"/{path.relative_to(root)}".endswith(f"/{page}")]


def _fault(origin: Path, page: str, heading: str, root: Path) -> str | None:
    found = find(origin, page, root)
    if not found:
        return f"there is no page {page}."
    if heading and len(found) > 1:
        return f"{page} can be {' or '.join(str(path.relative_to(root)) for path in found)}."
    if heading and heading not in [page_texts.plain(name) for name in page_texts.headings(page_texts.read(found[0]))]:
        return f"{found[0].relative_to(root)} has no heading {heading!r}."
    return None
