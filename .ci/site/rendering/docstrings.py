"""Docstrings as HTML: Google's sections, references of reStructuredText as links, Markdown in between."""

import html
import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import dangling_references
import page_texts

from rendering.markdown import render
from rendering.site import Site

_SECTION = re.compile(r"(Args|Returns|Raises|Warns|Yields|Attributes|Examples?|Notes?)::?$")
_ITEM = re.compile(r"(\*{0,2}[A-Za-z_][\w.]*(?:(?:, | and | / )\*{0,2}[A-Za-z_][\w.]*)*)(?: \([^)]*\))?:\s+(.*)$")
_ROLE = re.compile(r":(?:func|class|mod|data|meth|attr|obj|exc):`(~?)([^`]+)`")
_CODE = re.compile(r"^ {4}.*|^```.*?^```|`[^`]+`", flags=re.DOTALL | re.MULTILINE)

Resolve = Callable[[str], str | None]
"""Where a name that a docstring names is described: a place in the site, or None."""


def docstring_html(site: Site, text: str, origin: Path, page: str, resolve: Resolve) -> str:
    """A docstring of the file ``origin`` as it stands in ``page``."""

    def prose(lines: str) -> str:
        return render(site, _markdown(site, lines, origin, resolve), origin, page, markup=False)[0]

    made = []
    for title, body in sections(text):
        if not title:
            made.append(prose(body))
        elif title in ("Args", "Raises", "Warns", "Attributes"):
            made.append(f"<h5>{title}</h5>\n{_listed(items(body), prose)}")
        else:
            made.append(f"<h5>{title}</h5>\n{prose(body)}")
    return "".join(made)


def sections(text: str) -> list[tuple[str, str]]:
    """The parts of a docstring: each with its title ('' for plain text) and its text, no longer indented."""
    parts: list[tuple[str, list[str]]] = [("", [])]
    for line in text.splitlines():
        begun = _SECTION.match(line)
        if begun:
            parts.append((begun.group(1), []))
        elif parts[-1][0] and line and not line.startswith(" "):
            parts.append(("", [line]))
        else:
            parts[-1][1].append(line)
    return [(title, textwrap.dedent("\n".join(lines)).strip("\n")) for title, lines in parts if any(lines)]


def items(body: str) -> list[tuple[str, str]]:
    """The entries of a section: name and description; an entry without a name goes on with plain text."""
    found: list[tuple[str, list[str]]] = []
    for line in body.splitlines():
        begun = _ITEM.match(line)
        if begun:
            found.append((begun.group(1), [begun.group(2)]))
        elif found and (not line or line.startswith(" ") or not found[-1][0]):
            found[-1][1].append(line)
        else:
            found.append(("", [line]))
    return [(name, f"{lines[0]}\n{textwrap.dedent(chr(10).join(lines[1:]))}".strip("\n")) for name, lines in found]


def _listed(entries: list[tuple[str, str]], prose: Callable[[str], str]) -> str:
    rows = [
        f"<dt><code>{html.escape(name)}</code></dt>\n<dd>{prose(said)}</dd>" if name else f"<dd>{prose(said)}</dd>"
        for name, said in entries
    ]
    return f"<dl>{''.join(rows)}</dl>\n"


def first_sentence(text: str) -> str:
    """What a docstring says first, for lists."""
    return re.split(r"\n\s*\n|:\n", text.strip() + "\n\n")[0].replace("\n", " ").rstrip(":")


def _markdown(site: Site, text: str, origin: Path, resolve: Resolve) -> str:
    """Roles, references to pages, papers and examples in Markdown's own form."""
    text = re.sub(r"::$", ":", text, flags=re.MULTILINE)
    text = re.sub(r"^>>> .*?(?=\n\s*\n|\Z)", r"```pycon\n\g<0>\n```", text, flags=re.DOTALL | re.MULTILINE)

    def role(found: re.Match[str]) -> str:
        short, name = found.groups()
        place = resolve(name)
        said = name.rpartition(".")[2] if short or name.startswith("mdm_jax.") else name
        return f"[`{said}`](site:{place})" if place else f"`{said}`"

    def reference(found: re.Match[str]) -> str:
        pages = dangling_references.find(origin, found.group(1), site.root)
        if len(pages) != 1:
            return found.group(0)
        headings = [page_texts.plain(heading) for heading in page_texts.headings(page_texts.read(pages[0]))]
        heading = " ".join((found.group(2) or "").split())
        anchor = (
            f"#{page_texts.anchors(page_texts.read(pages[0]))[headings.index(heading)]}" if heading in headings else ""
        )
        said = found.group(1) + (f", “{heading}”" if heading else "")
        return f"[{said}](site:{site.page_of(pages[0])}{anchor})"

    return _outside_code(dangling_references.REFERENCE, reference, _ROLE.sub(role, text))


def _outside_code(pattern: re.Pattern[str], put: Callable[[re.Match[str]], str], text: str) -> str:
    """Replace what matches and does not lie inside of code or a link; a page's name in backticks is no code."""
    kept = [found.span() for found in _CODE.finditer(text) if not pattern.fullmatch(found.group(0).strip("`"))]
    return pattern.sub(
        lambda found: found.group(0) if any(a <= found.start() < b for a, b in kept) else put(found), text
    )
