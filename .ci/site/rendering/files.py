"""Files of the tree that pages link to, as pages: sources, results, folders, notebooks."""

import html
import json
from pathlib import Path
from typing import Any

import page_texts
import pygments.lexers
import pygments.util

from rendering.markdown import Heading, highlighted, render
from rendering.site import Site, relative

_COLOURED = 200_000
"""A longer text is shown without colours."""


def source(path: Path) -> str:
    """A file as it is, every line with a number and an anchor."""
    text = page_texts.read(path)
    try:
        name = pygments.lexers.get_lexer_for_filename(path.name).aliases[0] if len(text) <= _COLOURED else "text"
    except pygments.util.ClassNotFound:
        name = "text"
    return f'<div class="source-file" tabindex="0">{highlighted(text, name, lines=True)}</div>\n'


def folder(site: Site, path: Path, page: str) -> str:
    """The names in a folder, each a link."""
    rows = []
    for child in sorted(path.iterdir(), key=lambda child: (child.is_file(), child.name)):
        if not child.name.startswith((".", "__pycache__")):
            site.shown.add(child)
            name = child.name + ("/" if child.is_dir() else "")
            rows.append(f'<li><a href="{relative(site.page_of(child), page)}">{html.escape(name)}</a></li>\n')
    return f"<ul>\n{''.join(rows)}</ul>\n"


def notebook(site: Site, path: Path, page: str) -> tuple[str, list[Heading]]:
    """A notebook with its outputs, as it was executed."""
    made = [f'<p><a href="{path.name}" download>The notebook itself</a></p>\n']
    headings: list[Heading] = []
    cells = json.loads(page_texts.read(path))["cells"]
    if not any(cell.get("outputs") for cell in cells):
        site.faults.append(f"{path.relative_to(site.root)}: it was not executed.")
    for cell in cells:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            shown, found = render(site, text, path, page, before=headings)
            made.append(shown)
            headings += found
        elif cell["cell_type"] == "code":
            made.append(highlighted(text, "python"))
            made += [_output(site, path, output) for output in cell["outputs"]]
    return "".join(made), headings


def _output(site: Site, path: Path, output: dict[str, Any]) -> str:
    if output["output_type"] == "error":
        site.faults.append(f"{path.relative_to(site.root)}: a cell ended with {output['ename']}.")
        return ""
    data = {"text/plain": output["text"]} if output["output_type"] == "stream" else output["data"]
    if "image/png" in data:
        picture = "".join(data["image/png"]).strip()
        wide = output["metadata"].get("image/png", {}).get("width")  # of pictures with twice the dots
        width = f' width="{int(wide)}"' if wide else ""
        return f'<img alt="What the cell above draws"{width} src="data:image/png;base64,{picture}">\n'
    if "text/html" in data:
        return f'<div class="table output">{"".join(data["text/html"])}</div>\n'
    return f'<pre class="code text" tabindex="0"><code>{html.escape("".join(data["text/plain"]))}</code></pre>\n'
