"""Pages of Markdown as HTML: links lead to pages of the site, formulas are MathML, code has colours."""

import dataclasses
import html
import re
from collections.abc import Sequence
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

from rendering import linking
from rendering.mathematics import mathml, with_its_stop
from rendering.site import Site


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
    parser.add_render_rule(
        "code_inline", lambda _, tokens, i, *__: f"<code>{linking.breakable(tokens[i].content)}</code>"
    )
    parser.add_render_rule("table_open", lambda *_: '<div class="table" tabindex="0"><table>\n')
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    parser.add_render_rule("math_block", lambda _, tokens, i, *__: mathml(site, where, tokens[i].content, True))
    parser.add_render_rule("math_inline", lambda _, tokens, i, *__: mathml(site, where, tokens[i].content, False))
    tokens = parser.parse(text)
    found: list[Heading] = []
    cited = ""
    for index, token in enumerate(tokens):
        if token.type == "heading_open":
            found.append(_heading(parser, token, tokens[index + 1], [heading.anchor for heading in (*before, *found)]))
        linking.lead(site, token, origin, page)
        parts = token.children or []
        for part in parts:
            linking.lead(site, part, origin, page)
        linking.lead_to_names(site, parts, origin, page)
        if markup:
            cited = linking.lead_to_files(site, parts, page, cited)
            linking.lead_to_calls(site, parts, origin, page)
        linking.lead_to_papers(site, parts, origin, page)
    return with_its_stop(parser.renderer.render(tokens, parser.options, {})), found


def _fence(site: Site, where: str, code: str, language: str) -> str:
    if language == "math":
        return f"<pre>{mathml(site, where, code, True)}</pre>"  # what begins so is left as it is
    return highlighted(code, "pycon" if code.lstrip().startswith(">>>") else language)


def _heading(parser: MarkdownIt, token: Token, inline: Token, before: list[str]) -> Heading:
    text = page_texts.plain(inline.content)
    anchor = page_texts.anchor(text, before)
    token.attrSet("id", anchor)
    shown = parser.renderer.renderInline(inline.children or [], parser.options, {})
    inline.children = [*(inline.children or []), Token("html_inline", "", 0, content=_permalink(anchor))]
    return Heading(int(token.tag[1]), anchor, re.sub(r"</?a\b[^>]*>", "", shown), text)


def _permalink(anchor: str) -> str:
    return f'<a class="here" href="#{anchor}" aria-label="Link to this place">#</a>'
