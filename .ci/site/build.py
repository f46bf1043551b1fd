"""Build the documentation site from the pages in the rooms and the docstrings; nothing is fetched, nothing imported.

``python .ci/site/build.py [--output runs/site] [--check]``: open ``runs/site/index.html``, or serve the folder.
``--check`` also looks at what the site stands on (links, references, public names without docstring or example), says
in a sentence what is wrong with each, and fails if anything is.
"""

import argparse
import dataclasses
import html
import json
import re
import shutil
import sys
import time
from pathlib import Path

import broken_links
import dangling_references
import griffe
import page_texts
from rendering import api, files, layout
from rendering.markdown import Heading, render
from rendering.site import PICTURES, Entry, Site

ASSETS = Path(__file__).parent / "assets"
INDEX = Path("assets", "search_index.js")
"""What a search reads; every site has one."""


def build(root: Path, output: Path) -> Site:
    """Write the site of a checkout into a folder; a site that was there is replaced."""
    if output.exists() and any(output.iterdir()) and not (output / INDEX).exists():
        raise SystemExit(f"--output must be a new or empty folder, or one that holds a site; got {output}.")
    package = griffe.load("mdm_jax", search_paths=[str(root)], try_relative_path=False, resolve_aliases=True)
    assert isinstance(package, griffe.Module)
    site = Site(root, package)
    api.settle(site)
    site.offered = api.offered(site)
    shutil.rmtree(output, ignore_errors=True)
    shutil.copytree(ASSETS, output / "assets")
    groups = layout.navigation(site)

    def write(page: str, title: str, body: str, headings: list[Heading]) -> None:
        (output / page).parent.mkdir(parents=True, exist_ok=True)
        (output / page).write_text(layout.frame(site, groups, page, title, body, headings), encoding="utf-8")

    modules = {site.page_of(api.file_of(module)): module for module in api.modules(package)}
    for path in page_texts.pages(root):
        page = site.page_of(path)
        write(page, *_written(site, path, page, modules.pop(page, None)))
    for page, module in modules.items():
        write(page, module.path, *_module(site, module, page, level=1))
    done: set[Path] = set()
    while site.shown - done:  # a folder or a notebook that is shown has links of its own
        for path in sorted(site.shown - done):
            done.add(path)
            page = site.page_of(path)
            if path.suffix in (*PICTURES, ".ipynb"):
                name = path.relative_to(root)
                (output / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, output / name)
            if path.suffix == ".ipynb":
                write(page, *_notebook(site, path, page))
            elif path.is_file() and path.suffix not in PICTURES and path.suffix != ".md":
                write(site.source_page(path), *_file(site, path, files.source(path)))
            elif path.is_dir() and not (output / page).exists():
                write(page, *_file(site, path, files.folder(site, path, page)))
    found = [list(dataclasses.astuple(entry)) for entry in site.entries]
    (output / INDEX).write_text(f"window.SEARCH = {json.dumps(found)};\n", encoding="utf-8")
    return site


def _notebook(site: Site, path: Path, page: str) -> tuple[str, str, list[Heading]]:
    shown, headings = files.notebook(site, path, page)
    title = headings[0].text if headings else path.name
    _sections(site, page, title, shown, headings)
    return title, shown, headings


def _file(site: Site, path: Path, shown: str) -> tuple[str, str, list[Heading]]:
    name = path.relative_to(site.root).as_posix()
    return name, f"<h1><code>{html.escape(name)}</code></h1>\n{shown}", []


def _written(site: Site, path: Path, page: str, module: griffe.Module | None) -> tuple[str, str, list[Heading]]:
    """A page of Markdown, followed by the reference of the room in which it lies."""
    text = page_texts.read(path)
    shown, headings = render(site, text, path, page)
    title = layout.title_of(text, path.stem)
    _sections(site, page, title, shown, headings)
    if module is None:
        return title, shown, headings
    reference, below = _module(site, module, page, level=2)
    return title, shown + reference, [*headings, *below]


def _module(site: Site, module: griffe.Module, page: str, level: int) -> tuple[str, list[Heading]]:
    """The reference of a module, under a heading of its own."""
    anchor = "reference-of-" + module.path.replace(".", "-")
    name = f"<code>{module.path}</code>"
    said = name if level == 1 else f"Reference: {name}"
    source = layout.relative(site.source_page(api.file_of(module)), page)
    made = [
        f'<h{level} id="{anchor}">{said}<a class="here" href="#{anchor}" aria-label="Link to this place">#</a>'
        f'<a class="source" href="{source}">source</a></h{level}>\n',
        api.module_text(site, module, page),
    ]
    reference = api.reference(site, module, page, level)
    made.append(reference.shown)
    inside = api.inside(site, module, page)
    if inside:
        made.append(f"<h{level + 1}>Inside</h{level + 1}>\n{inside}")
    api.findable(site, module.path, "module", f"{page}#{anchor}", module, module.path)
    return "".join(made), [Heading(level, anchor, "Reference", "Reference"), *reference.headings]


def _sections(site: Site, page: str, title: str, shown: str, headings: list[Heading]) -> None:
    """Let every section of a page be found."""
    parts = re.split(r"<h[1-6] id=\"([^\"]+)\"", shown)
    for anchor, part in zip(parts[1::2], parts[2::2], strict=True):
        said = next(heading.text for heading in headings if heading.anchor == anchor)
        within = re.sub(r"</?(?:span|code|a|b|strong|em|wbr)\b[^>]*>", "", part.partition("</h")[2].partition(">")[2])
        text = html.unescape(re.sub(r"<[^>]*>", " ", within))
        site.entries.append(Entry(said, title, f"{page}#{anchor}", " ".join(text.split())))


def check(site: Site, output: Path) -> list[str]:
    """A sentence for everything that is wrong with the site or with what it stands on."""
    import undocumented  # imports the library, which the site alone does not need

    return [
        *site.faults,
        *broken_links.broken_in_pages(site.root),
        *broken_links.broken_in_site(output),
        *dangling_references.dangling(site.root),
        *(str(lack) for lack in undocumented.missing()),
    ]


def main() -> int:
    """Build, and check if asked."""
    parser = argparse.ArgumentParser(description="Build the documentation site.")
    parser.add_argument("--output", type=Path, default=page_texts.ROOT / "runs" / "site", help="the folder to write")
    parser.add_argument("--check", action="store_true", help="fail on broken links and undocumented names")
    given = parser.parse_args()
    begun = time.monotonic()
    output = given.output.resolve()
    site = build(page_texts.ROOT, output)
    count = sum(1 for _ in output.rglob("*.html"))
    print(f"{count} pages in {time.monotonic() - begun:.1f} s: {output / 'index.html'}")
    faults = list(dict.fromkeys(check(site, output) if given.check else site.faults))
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults and given.check else 0


if __name__ == "__main__":
    sys.exit(main())
