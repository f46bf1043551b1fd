"""The frame that every page stands in: rooms on the left, the page, what is on it on the right."""

import dataclasses
import html
from pathlib import Path

import griffe
import page_texts

from rendering.markdown import Heading
from rendering.site import Site, relative

ROOMS = ("tasks", "models", "training", "sampling", "evaluation", "theory", "oracles", "footprint", "plot", "app")
"""In the order in which a reader needs them; what is not named here follows."""


@dataclasses.dataclass
class Place:
    """A line of the navigation, and the lines below it; those of wings are always shown."""

    label: str
    page: str
    is_wing: bool = False
    below: list["Place"] = dataclasses.field(default_factory=list)

    def has(self, page: str) -> bool:
        """Whether a page is this one or below it."""
        return page == self.page or any(place.has(page) for place in self.below)


def navigation(site: Site) -> list[tuple[str, list[Place]]]:
    """The site's pages, in groups."""
    library = site.root / "mdm_jax"
    found = {name: module for name, module in site.package.modules.items() if isinstance(module, griffe.Module)}
    names = [name for name in ROOMS if name in found] + sorted(set(found) - set(ROOMS))
    rooms = [_room(site, found[name]) for name in names]
    front = Place("mdm_jax: the front door", site.page_of(library / "__init__.py"))
    claims = site.root / "experiments"
    notebooks = sorted(claims.glob("notebooks/*.ipynb"))
    site.shown.update(notebooks)
    return [
        ("", [Place("Home", "index.html")]),
        ("Rooms", [front, *rooms]),
        (
            "Experiments",
            [Place(_label(path), site.page_of(path)) for path in (*sorted(claims.glob("*.md")), *notebooks)],
        ),
        (
            "More",
            [
                Place(_label(path), site.page_of(path))
                for path in (*sorted(library.glob("*.md")), site.root / "BUILD.md")
            ],
        ),
    ]


def _label(path: Path) -> str:
    """What a page is called in the navigation; a notebook as it calls itself."""
    known = {"BUILD.md": "For developers", "README.md": "All claims"}
    if path.suffix == ".ipynb":
        return title_of(page_texts.notebook_text(path), path.stem)
    return known.get(path.name, path.stem.replace("_", " ").capitalize())


def _room(site: Site, module: griffe.Module) -> Place:
    """A room: its pages, then its wings and the modules that it names."""
    path = module.filepath
    assert isinstance(path, Path)
    place = Place(
        module.name, site.page_of(path), is_wing=(path.parent / "README.md").exists() and path.name == "__init__.py"
    )
    if path.name == "__init__.py":
        pages = [page for page in sorted(path.parent.glob("*.md")) if page.name != "README.md"]
        place.below += [Place(_label(page), site.page_of(page)) for page in pages]
        named = [str(name) for name in module.exports or ()]
        for name in sorted(module.modules):
            below = module.modules[name]
            if isinstance(below, griffe.Module) and (name in named or _is_wing(below)):
                place.below.append(_room(site, below))
    return place


def _is_wing(module: griffe.Module) -> bool:
    path = module.filepath
    assert isinstance(path, Path)
    return path.name == "__init__.py" and (module.exports is not None or (path.parent / "README.md").exists())


def frame(
    site: Site, groups: list[tuple[str, list[Place]]], page: str, title: str, body: str, headings: list[Heading]
) -> str:
    """A whole page."""
    version = str(site.package["support.version.VERSION"].value).strip("\"'")
    root = relative("index.html", page).removesuffix("index.html")
    shown = "mdm_jax" if page == "index.html" else f"{html.escape(title)} · mdm_jax"
    return f"""<!DOCTYPE html>
<html lang="en" data-root="{root}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{shown}</title>
<link rel="stylesheet" href="{root}assets/style.css">
<link rel="icon" href="data:,">
<script src="{root}assets/theme.js"></script>
<script src="{root}assets/search_index.js" defer></script>
<script src="{root}assets/ranking.js" defer></script>
<script src="{root}assets/search.js" defer></script>
</head>
<body>
<a class="skip" href="#content">To the text</a>
<header>
<button id="menu" type="button" aria-expanded="false" aria-controls="rooms">Menu</button>
<a class="brand" href="{root}index.html">mdm_jax <small>{version}</small></a>
<div class="search">
<input id="search" type="search" placeholder="Search  ( / )" aria-label="Search" autocomplete="off">
<ol id="found" hidden></ol>
</div>
<button id="theme" type="button" aria-label="Light or dark" title="Light or dark">◐</button>
</header>
<div class="columns">
<nav id="rooms" aria-label="Rooms">
{_groups(groups, page)}</nav>
<main id="content">
{body}</main>
{_toc(headings)}</div>
</body>
</html>
"""


def _groups(groups: list[tuple[str, list[Place]]], page: str) -> str:
    made = []
    for title, places in groups:
        if places:
            made.append((f"<h2>{title}</h2>\n" if title else "") + _places(places, page))
    return "".join(made)


def _places(places: list[Place], page: str) -> str:
    made = []
    for place in places:
        here = ' aria-current="page"' if place.page == page else ""
        link = f'<a href="{relative(place.page, page)}"{here}>{html.escape(place.label)}</a>'
        inner = place.below if place.has(page) else [wing for wing in place.below if wing.is_wing]
        below = _places(inner, page) if inner else ""
        made.append(f"<li>{link}{below}</li>\n")
    return f"<ul>\n{''.join(made)}</ul>\n"


def _toc(headings: list[Heading]) -> str:
    listed = [heading for heading in headings if 2 <= heading.level <= 3]
    if len(listed) < 2:
        return ""
    rows = "".join(
        f'<li class="level{heading.level}"><a href="#{html.escape(heading.anchor)}">{heading.shown}</a></li>\n'
        for heading in listed
    )
    return f'<nav class="toc" aria-label="On this page">\n<h2>On this page</h2>\n<ul>\n{rows}</ul>\n</nav>\n'


def title_of(text: str, otherwise: str) -> str:
    """What a page of Markdown is called: its first heading."""
    return next((page_texts.plain(heading) for heading in page_texts.headings(text)), otherwise)
