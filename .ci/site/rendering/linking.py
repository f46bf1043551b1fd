"""What links of a page become on the site, and what becomes a link there: names, files, tests, papers in backticks."""

import html
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import page_texts
from markdown_it.token import Token

from rendering.site import Site, relative

_CALL = re.compile(r"([A-Za-z]\w*(?:\.\w+)*)(?:\(.*\))?")
_PAPER = re.compile(r"(?:\barXiv[: ])?\b(\d{4}\.\d{5})\b")


def breakable(code: str) -> str:
    """Code within a line; a long name may be broken after its underscores."""
    shown = html.escape(code, quote=False)
    return shown.replace("_", "_<wbr>") if len(code) > 20 else shown


def lead(site: Site, token: Token, origin: Path, page: str) -> None:
    """Let the links and pictures of a part lead to where the site has them."""
    for name in ("href", "src"):
        target = token.attrGet(name)
        if isinstance(target, str):
            token.meta["target"] = target
            token.attrSet(name, site.link(origin, target, page))
    if token.type in ("html_block", "html_inline"):
        token.content = re.sub(
            r"\b(href|src|srcset)=\"([^\"]+)\"",
            lambda found: f'{found.group(1)}="{site.link(origin, found.group(2), page)}"',
            token.content,
        )


def lead_to_names(site: Site, parts: list[Token], origin: Path, page: str) -> None:
    """Let a link whose text is a name, and whose target the file that defines it, lead to what is said of it."""
    for part, text in pairwise(parts):
        target = part.meta.get("target", "") if part.type == "link_open" else ""
        if text.type == "code_inline" and target.endswith(".py"):
            inside = (origin.parent / target).resolve()
            module = ".".join(inside.relative_to(site.root).with_suffix("").parts).removesuffix(".__init__")
            place = site.places.get(f"{module}.{text.content.removesuffix('()')}")
            if place:
                part.attrSet("href", relative(place, page))


def lead_to_files(site: Site, parts: list[Token], page: str, before: str) -> str:
    """Let a file of the tree that is named in backticks, or a test in it, be a link; the last one named."""
    for part in _outside_links(parts):
        found = page_texts.CITED.fullmatch(part.content) if part.type == "code_inline" else None
        if found:
            before, name = found.group(1) or before, found.group(2) or found.group(3) or ""
            path = page_texts.file_with(site.root, before, name) if name else site.root / before
            if path is not None and path.exists():
                _become_link(part, _line_of(site, path, name), page)
    return before


def lead_to_calls(site: Site, parts: list[Token], origin: Path, page: str) -> None:
    """Let a name in backticks be a link: as users write it (``plans.optimal(...)``), or one of this room."""
    room = ".".join(origin.parent.relative_to(site.root).parts)
    for part in _outside_links(parts):
        found = _CALL.fullmatch(part.content) if part.type == "code_inline" else None
        if found:
            name = found.group(1).removeprefix("mdm.")
            place = site.place_of(f"mdm_jax.{name}") if name != found.group(1) or "." in name else None
            place = place or site.places.get(f"{room}.{name}") or site.place_of(f"{room}.{name}")
            if place and "#" in place:
                _become_link(part, place, page)


def _become_link(code: Token, place: str, page: str) -> None:
    shown = f"<code>{breakable(code.content)}</code>"
    code.type, code.content = "html_inline", f'<a href="{relative(place, page)}">{shown}</a>'


def _line_of(site: Site, path: Path, name: str) -> str:
    if path.is_dir():
        site.shown.add(path)
        return site.page_of(path)
    lines = page_texts.read(path).splitlines() if path.suffix == ".py" else []
    line = next((i for i, text in enumerate(lines, 1) if re.match(rf" *def {name}\b", text)), 0) if name else 0
    site.shown.add(path)
    return site.source_page(path) + f"#L{line}" if line else site.page_of(path)


def lead_to_papers(site: Site, parts: list[Token], origin: Path, page: str) -> None:
    """Let the number of a paper that stands in no link lead to our index of papers."""
    if origin == site.papers:
        return

    def link(found: re.Match[str]) -> str:
        place = site.paper_places.get(found.group(1))
        return f'<a href="{relative(place, page)}">{found.group(0)}</a>' if place else found.group(0)

    for part in _outside_links(parts):
        if part.type == "text" and _PAPER.search(part.content):
            part.type, part.content = "html_inline", _PAPER.sub(link, html.escape(part.content, quote=False))


def _outside_links(parts: list[Token]) -> Iterator[Token]:
    depth = 0
    for part in parts:
        depth += part.nesting if part.type.startswith("link") else 0
        if depth == 0:
            yield part
