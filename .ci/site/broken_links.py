"""Whether links lead somewhere: those of the Markdown pages as they lie in the tree, and those of the built site."""

import re
import urllib.parse
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import page_texts

_DEFINED = r"^ *(?:(?:async )?def|class) {0}\b|^{0}\b.*=|, {0} = "
"""A line that defines a name."""


def broken_in_pages(root: Path = page_texts.ROOT) -> Iterator[str]:
    """A sentence for every link of a page that leads nowhere on a code host."""
    for page in page_texts.pages(root):
        where = page.relative_to(root)
        for line, target in page_texts.links(page_texts.read(page)):
            fault = _fault(page, target)
            if fault:
                yield f"{where}, line {line}: {fault}"
        for line, name, target in page_texts.named_links(page_texts.read(page)):
            place = page.parent / target
            defined = re.compile(_DEFINED.format(name), flags=re.MULTILINE)
            if place.is_file() and name != place.stem and not defined.search(page_texts.read(place)):
                yield f"{where}, line {line}: {target} defines no {name}."


def _fault(page: Path, target: str) -> str | None:
    if _is_elsewhere(target):
        return None
    path, _, anchor = urllib.parse.unquote(target).partition("#")
    if path.startswith("/"):
        return f"the link to {target} is not relative."
    place = (page.parent / path).resolve() if path else page
    if not place.exists():
        return f"the link to {target} leads nowhere."
    if anchor and place.suffix == ".md":
        text = page_texts.read(place)
        if anchor not in {*page_texts.anchors(text), *page_texts.marks(text)}:
            return f"the link to {target} names no heading of {place.name}."
    lines = re.fullmatch(r"L(\d+)(?:-L(\d+))?", anchor)
    if lines and place.is_file() and int(lines.group(lines.lastindex or 1)) > page_texts.read(place).count("\n"):
        return f"the link to {target} names a line that {place.name} does not have."
    return None


def _is_elsewhere(target: str) -> bool:
    return bool(re.match(r"[a-z][a-z+.-]*:|//", target))


class _Html(HTMLParser):
    """The links and the anchors of a page of the site."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.twice: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.twice += [value] if value in self.anchors else []
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                self.links.append(value)


def broken_in_site(site: Path) -> Iterator[str]:
    """A sentence for every link of the built site that leads out of it or nowhere, and for every place that is two."""
    read: dict[Path, _Html] = {}
    for page in sorted(site.rglob("*.html")):
        read[page.resolve()] = parser = _Html()
        parser.feed(page.read_text(encoding="utf-8"))
    for page, parser in read.items():
        name = page.relative_to(site.resolve())
        yield from (f"{name}: two places are called {anchor}." for anchor in parser.twice)
        for target in dict.fromkeys(parser.links):
            if _is_elsewhere(target):
                continue
            path, _, anchor = urllib.parse.unquote(target).partition("#")
            place = (page.parent / path).resolve() if path else page
            if not place.is_relative_to(site.resolve()) or not place.is_file():
                yield f"{name}: the link to {target} leads nowhere."
            elif anchor and place in read and anchor not in read[place].anchors:
                yield f"{name}: the link to {target} names no place in that page."
