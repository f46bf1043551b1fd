"""What the parts of the site know together: where everything lies, what is to be shown, and what went wrong."""

import dataclasses
import functools
import os
import re
import urllib.parse
from pathlib import Path

import griffe
import page_texts

PICTURES = (".png", ".svg", ".gif", ".jpg", ".webp")


@dataclasses.dataclass
class Entry:
    """One thing that a search can find.

    Attributes:
        title: what it is called.
        where: the page or module that has it.
        url: its place in the site.
        text: what is said there.
        weight: 1 for what readers look for, and less for what lies inside.
        names: what users write for it after ``mdm.``.
    """

    title: str
    where: str
    url: str
    text: str
    weight: float = 1.0
    names: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Site:
    """A site that is being built.

    Attributes:
        root: the checkout.
        package: the library as griffe read it.
        places: where an object of the library is described, by its path (``mdm_jax.sampling.orders.random_order``).
        offered: what users write after ``mdm.`` for it, by its path; what no face offers is not there.
        shown: the files of the tree to which something links: they are shown too.
        entries: what a search can find.
        faults: one sentence for each.
    """

    root: Path
    package: griffe.Module
    places: dict[str, str] = dataclasses.field(default_factory=dict)
    offered: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    shown: set[Path] = dataclasses.field(default_factory=set)
    entries: list[Entry] = dataclasses.field(default_factory=list)
    faults: list[str] = dataclasses.field(default_factory=list)

    def page_of(self, path: Path) -> str:
        """Where a file or a folder of the tree is shown: a path in the site."""
        path = path.relative_to(self.root)
        if path.name in ("README.md", "__init__.py") and (path.suffix == ".md" or path.parts[0] == "mdm_jax"):
            return (path.parent / "index.html").as_posix()
        if (self.root / path).is_dir():
            return (path / "index.html").as_posix()
        if path.suffix in PICTURES:
            return path.as_posix()
        if path.suffix in (".md", ".ipynb") or (path.suffix == ".py" and path.parts[0] == "mdm_jax"):
            return path.with_suffix(".html").as_posix()
        return f"{path.as_posix()}.html"

    def source_page(self, path: Path) -> str:
        """Where the text of a file is shown as it is."""
        self.shown.add(path)
        return f"{path.relative_to(self.root).as_posix()}.html"

    def link(self, origin: Path, target: str, page: str) -> str:
        """A link that stands in the file ``origin``, as it must be in the site's ``page``.

        ``site:PLACE`` is a place in the site; everything else is relative to the file, as on a code host.
        """
        if target.startswith("site:"):
            return relative(target.removeprefix("site:"), page)
        if re.match(r"[a-z][a-z+.-]*:|//", target) or target.startswith("#"):
            return target
        path, _, anchor = urllib.parse.unquote(target).partition("#")
        place = (origin.parent / path).resolve()
        if not place.exists() or not place.is_relative_to(self.root):
            self.faults.append(f"{origin.relative_to(self.root)}: the link to {target} leads nowhere.")
            return "#"
        if place.is_file() and place.suffix == ".py" and re.fullmatch(r"L\d+(-L\d+)?", anchor):
            return f"{relative(self.source_page(place), page)}#{anchor.partition('-')[0]}"
        self.shown.add(place)
        return relative(self.page_of(place), page) + (f"#{anchor}" if anchor else "")

    def place_of(self, path: str) -> str | None:
        """Where an object is described, by any path that leads to it (``mdm_jax.sampling.sample``)."""
        if path in self.places or not path.startswith("mdm_jax."):
            return self.places.get(path)
        try:
            return self.places.get(self.package[path.removeprefix("mdm_jax.")].canonical_path)
        except (KeyError, griffe.AliasResolutionError):
            # A member that a class has from its base, or an attribute of an instance: the place of what has it.
            owner = path.rpartition(".")[0]
            return self.place_of(owner) if owner.rpartition(".")[2][:1].isupper() else None

    @property
    def papers(self) -> Path:
        """Our index of papers."""
        return self.root / "mdm_jax" / "PAPERS.md"

    @functools.cached_property
    def paper_places(self) -> dict[str, str]:
        """Where our index has each paper, by its number in the arXiv."""
        numbers = re.findall(r'<a id="(\d{4}\.\d{5})">', page_texts.read(self.papers))
        return {number: f"{self.page_of(self.papers)}#{number}" for number in numbers}


def relative(target: str, page: str) -> str:
    """The way from one page of the site to another."""
    path, mark, anchor = target.partition("#")
    return os.path.relpath(path, os.path.dirname(page) or ".").replace(os.sep, "/") + mark + anchor
