"""Pages of Markdown as HTML: links lead to pages of the site, formulas are MathML, code has colours."""

import dataclasses
import html
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import page_texts
import pygments
import pygments.formatters
import pygments.lexers
import pygments.util
from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin

from rendering.mathematics import mathml
from rendering.site import Site, relative

_CALL = re.compile(r"([A-Za-z]\w*(?:\.\w+)*)(?:\(.*\))?")
_PAPER = re.compile(r"(?:\barXiv[: ])?\b(\d{4}\.\d{5})\b")


@dataclasses.dataclass
class Heading:
    """A heading: its level, what links call it, what it says as HTML and as text."""

    level: int
    anchor: str
    shown: str
    text: str


def highlighted(code: str, language: str, lines: bool = False) -> str:
    """Code in colours; with ``lines`` each has a number that links can name (``#L12``)."""
    try:
        lexer = pygments.lexers.get_lexer_by_name(language or "text", stripnl=False)
    except pygments.util.ClassNotFound:
        lexer = pygments.lexers.get_lexer_by_name("text", stripnl=False)
    numbers: dict[str, Any] = {"linenos": "inline", "lineanchors": "L", "anchorlinenos": True} if lines else {}
    made = pygments.highlight(code, lexer, pygments.formatters.HtmlFormatter(nowrap=not lines, **numbers))
    if lines:
        made = re.sub(r"\bL-(\d+)\b", r"L\1", made)
        return re.sub(r'<a id="(L\d+)" name="L\d+"></a>', r'<a id="\1"></a>', made)
    return f'<pre class="code {html.escape(language or "text")}" tabindex="0"><code>{made}</code></pre>\n'


def render(
    site: Site, text: str, origin: Path, page: str, markup: bool = True, before: Sequence[Heading] = ()
) -> tuple[str, list[Heading]]:
    """The HTML of a text of the file ``origin``, as it stands in the site's ``page``; and its headings.

    ``markup`` says whether HTML in the text is meant as such (pages) or as text (docstrings); ``before`` are headings
    that the page has already.
    """
    where = origin.relative_to(site.root).as_posix()
    parser = MarkdownIt(
        "commonmark", {"html": markup, "highlight": lambda code, name, _: _fence(site, where, code, name)}
    )
    parser.enable(["table", "strikethrough"])
    parser.use(
        dollarmath_plugin,
        allow_digits=False,
        allow_space=False,
        renderer=lambda tex, options: mathml(site, where, tex, options["display_mode"]),
    )
    parser.add_render_rule("code_inline", lambda _, tokens, i, *__: f"<code>{breakable(tokens[i].content)}</code>")
    parser.add_render_rule("table_open", lambda *_: '<div class="table" tabindex="0"><table>\n')
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    parser.add_render_rule("math_block", lambda _, tokens, i, *__: mathml(site, where, tokens[i].content, True))
    parser.add_render_rule("math_inline", lambda _, tokens, i, *__: mathml(site, where, tokens[i].content, False))
    tokens = parser.parse(text)
    found: list[Heading] = []
    papers, cited = site.paper_places(), ""
    for index, token in enumerate(tokens):
        if token.type == "heading_open":
            found.append(_heading(parser, token, tokens[index + 1], [heading.anchor for heading in (*before, *found)]))
        for part in [token, *(token.children or [])]:
            _lead(site, part, origin, page)
        _lead_to_names(site, token.children or [], origin, page)
        if markup:
            cited = _lead_to_files(site, token.children or [], page, cited)
            _lead_to_calls(site, token.children or [], origin, page)
        if origin.name != "PAPERS.md":
            _lead_to_papers(papers, token.children or [], page)
    return parser.renderer.render(tokens, parser.options, {}), found


def _fence(site: Site, where: str, code: str, language: str) -> str:
    if language == "math":
        return f"<pre>{mathml(site, where, code, True)}</pre>"  # what begins so is left as it is
    return highlighted(code, "pycon" if code.lstrip().startswith(">>>") else language)


def breakable(code: str) -> str:
    """Code within a line; a long name may be broken after its underscores."""
    shown = html.escape(code, quote=False)
    return shown.replace("_", "_<wbr>") if len(code) > 20 else shown


def _heading(parser: MarkdownIt, token: Token, inline: Token, before: list[str]) -> Heading:
    text = page_texts.plain(inline.content)
    anchor = page_texts.anchor(text, before)
    token.attrSet("id", anchor)
    shown = parser.renderer.renderInline(inline.children or [], parser.options, {})
    inline.children = [*(inline.children or []), Token("html_inline", "", 0, content=_permalink(anchor))]
    return Heading(int(token.tag[1]), anchor, re.sub(r"</?a\b[^>]*>", "", shown), text)


def _permalink(anchor: str) -> str:
    return f'<a class="here" href="#{anchor}" aria-label="Link to this place">#</a>'


def _lead(site: Site, token: Token, origin: Path, page: str) -> None:
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


def _lead_to_names(site: Site, parts: list[Token], origin: Path, page: str) -> None:
    """Let a link whose text is a name, and whose target the file that defines it, lead to what is said of it."""
    for part, text in pairwise(parts):
        target = part.meta.get("target", "") if part.type == "link_open" else ""
        if text.type == "code_inline" and target.endswith(".py"):
            inside = (origin.parent / target).resolve()
            module = ".".join(inside.relative_to(site.root).with_suffix("").parts).removesuffix(".__init__")
            place = site.places.get(f"{module}.{text.content.removesuffix('()')}")
            if place:
                part.attrSet("href", relative(place, page))


def _lead_to_files(site: Site, parts: list[Token], page: str, before: str) -> str:
    """Let a file of the tree that is named in backticks, or a test in it, be a link; the last one named."""
    depth = 0
    for part in parts:
        depth += part.nesting if part.type.startswith("link") else 0
        found = page_texts.CITED.fullmatch(part.content) if part.type == "code_inline" else None
        if found:
            before = found.group(1) or before
            path = site.root / before
            if path.exists() and depth == 0:
                place = _line_of(site, path, found.group(2) or "")
                code = f"<code>{breakable(part.content)}</code>"
                part.type, part.content = "html_inline", f'<a href="{relative(place, page)}">{code}</a>'
    return before


def _lead_to_calls(site: Site, parts: list[Token], origin: Path, page: str) -> None:
    """Let a name in backticks be a link: as users write it (``plans.optimal(...)``), or one of this room."""
    room = ".".join(origin.parent.relative_to(site.root).parts)
    depth = 0
    for part in parts:
        depth += part.nesting if part.type.startswith("link") else 0
        found = _CALL.fullmatch(part.content) if part.type == "code_inline" and depth == 0 else None
        if not found:
            continue
        name = found.group(1).removeprefix("mdm.")
        place = site.place_of(f"mdm_jax.{name}") if name != found.group(1) or "." in name else None
        place = place or site.places.get(f"{room}.{name}") or site.place_of(f"{room}.{name}")
        if place and place.partition("#")[2]:
            code = f"<code>{breakable(part.content)}</code>"
            part.type, part.content = "html_inline", f'<a href="{relative(place, page)}">{code}</a>'


def _line_of(site: Site, path: Path, name: str) -> str:
    if path.is_dir():
        site.shown.add(path)
        return site.page_of(path)
    lines = page_texts.read(path).splitlines() if path.suffix == ".py" else []
    line = next((i for i, text in enumerate(lines, 1) if re.match(rf" *def {name}\b", text)), 0) if name else 0
    site.shown.add(path)
    return site.source_page(path) + f"#L{line}" if line else site.page_of(path)


def _lead_to_papers(places: dict[str, str], parts: list[Token], page: str) -> None:
    """Let the number of a paper that stands in no link lead to our index of papers."""

    def link(found: re.Match[str]) -> str:
        place = places.get(found.group(1))
        return f'<a href="{relative(place, page)}">{found.group(0)}</a>' if place else found.group(0)

    depth = 0
    for part in parts:
        depth += part.nesting if part.type.startswith("link") else 0
        if part.type == "text" and depth == 0 and _PAPER.search(part.content):
            part.type, part.content = "html_inline", _PAPER.sub(link, html.escape(part.content, quote=False))
