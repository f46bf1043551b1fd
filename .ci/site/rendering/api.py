"""The library's modules, as griffe reads them, as HTML: what there is, how it is called, what its docstring says."""

import dataclasses
import html
import re
from collections.abc import Iterator
from pathlib import Path

import griffe

from rendering.docstrings import docstring_html, first_sentence
from rendering.linking import breakable
from rendering.markdown import Heading
from rendering.signatures import class_signature, function_signature, value_signature
from rendering.site import Entry, Site, relative

Member = griffe.Object | griffe.Alias
_INTERNAL = 0.02
"""What a name that no face offers counts in a search, against 1: found if one writes it, and behind what is offered."""


def modules(module: griffe.Module) -> Iterator[griffe.Module]:
    """A module and all below it."""
    yield module
    for name in sorted(module.modules):
        below = module.modules[name]
        if isinstance(below, griffe.Module):
            yield from modules(below)


def public(module: griffe.Module) -> list[tuple[str, Member]]:
    """What a module offers: what its ``__all__`` names, or what is defined in it without an underscore."""
    if module.exports is not None:
        named = [str(name) for name in module.exports]
        return [(name, module.members[name]) for name in named if is_found(module.members.get(name))]
    return [
        (name, member)
        for name, member in module.members.items()
        if not name.startswith("_") and not member.is_alias and not member.is_module
    ]


def is_found(member: Member | None) -> bool:
    """Whether griffe found where something is defined."""
    try:
        return member is not None and bool(member.canonical_path)
    except griffe.AliasResolutionError:
        return False


def file_of(thing: Member) -> Path:
    """The file in which something is defined."""
    path = thing.filepath
    assert isinstance(path, Path), f"{thing.path} is in no single file"
    return path


def settle(site: Site) -> None:
    """Decide where every object is described: on the page of the deepest face that names it, or else of its module."""
    faces = sorted(modules(site.package), key=lambda module: (module.exports is None, -module.path.count(".")))
    for module in faces:
        page = site.page_of(file_of(module))
        site.places[module.path] = page
        for name in module.exports or ():
            if not is_found(module.members.get(str(name))):
                site.faults.append(f"{module.path}.{name}: where it is defined cannot be seen from the source.")
        for name, member in public(module):
            if member.is_module:
                continue
            anchor = f"{module.path}.{name}"
            site.places.setdefault(member.canonical_path, f"{page}#{anchor}")
            if member.is_class:
                for below in member.members:
                    within = f"{anchor}.{below}" if shown_member(member.members[below]) else anchor
                    site.places.setdefault(f"{member.canonical_path}.{below}", f"{page}#{within}")


def offered(site: Site) -> dict[str, list[str]]:
    """What users write after ``mdm.`` for everything that a face offers, by its path (``plans.optimal``, ``fit``).

    Faces are the front door, the modules that a face names, and all others with an ``__all__``.
    """
    found: dict[str, list[str]] = {}

    def visit(written: str, face: griffe.Module) -> None:
        for name, member in public(face):
            dotted = f"{written}.{name}".lstrip(".")
            names = found.setdefault(member.canonical_path, [])
            if dotted not in names:
                names.append(dotted)
                thing = member.final_target if isinstance(member, griffe.Alias) else member
                if isinstance(thing, griffe.Module):
                    visit(dotted, thing)

    for face in modules(site.package):
        if face.exports is not None:
            found.setdefault(face.path, []).append(_written(face.path))
            visit(_written(face.path), face)
    return {path: list(dict.fromkeys(filter(None, names))) for path, names in found.items()}


def _written(path: str) -> str:
    """A path of the library as it stands after ``mdm.``; nothing for the library itself."""
    return path.removeprefix("mdm_jax").removeprefix(".")


def shown_member(member: Member) -> bool:
    """Whether a class's member has a place of its own: public methods, and values with a docstring.

    A method without a docstring does what that of a base does, where it is described.
    """
    if member.name.startswith("_"):
        return False
    is_method = member.is_function or "property" in member.labels
    return bool(member.docstring) or (is_method and not _is_described_in_base(member))


def _is_described_in_base(member: Member) -> bool:
    owner = member.parent
    bases = owner.mro() if isinstance(owner, griffe.Class) else []
    return any(bool(base.members[member.name].docstring) for base in bases if member.name in base.members)


def resolver(site: Site, scope: griffe.Object):
    """A function from names, as docstrings in ``scope`` write them, to places."""

    def resolve(name: str) -> str | None:
        tried = [f"{scope.path}.{name}", name]
        above = scope.parent
        while above is not None:
            tried.append(f"{above.path}.{name}")
            above = above.parent
        for path in tried:
            place = site.place_of(path)
            if place:
                return place
        return None

    return resolve


@dataclasses.dataclass
class Reference:
    """A module's reference: HTML and the headings in it."""

    shown: str
    headings: list[Heading]


def reference(site: Site, module: griffe.Module, page: str, level: int) -> Reference:
    """What a module offers, first as a list, then one by one; what another page describes is in the list alone."""
    groups: dict[str, list[tuple[str, Member]]] = {"Modules": [], "Functions": [], "Classes": [], "Values": []}
    for name, member in public(module):
        groups[_group(member)].append((name, member))
    rows, described, headings = [], [], []
    for title, members in groups.items():
        if members:
            rows.append(f"<h{level + 1}>{title}</h{level + 1}>\n{_table(site, module, members, page)}")
        for name, member in members:
            anchor = f"{module.path}.{name}"
            if site.places.get(member.canonical_path, "") == f"{page}#{anchor}":
                described.append(_described(site, name, anchor, member, page, level + 1))
                headings.append(Heading(level + 1, anchor, f"<code>{breakable(name)}</code>", name))
                _findable(site, name, anchor, member, f"{page}#{anchor}")
    return Reference("".join(rows + described), headings)


def _group(member: Member) -> str:
    if member.is_module:
        return "Modules"
    return "Functions" if member.is_function else "Classes" if member.is_class else "Values"


def _table(site: Site, module: griffe.Module, members: list[tuple[str, Member]], page: str) -> str:
    made = []
    for name, member in members:
        place = site.places.get(member.canonical_path)
        link = f'<a href="{relative(place, page)}">{html.escape(name)}</a>' if place else html.escape(name)
        said = first_sentence(member.docstring.value) if member.docstring else ""
        scope = member.final_target if isinstance(member, griffe.Alias) else member
        row = docstring_html(site, said, file_of(module), page, resolver(site, scope)) if said else ""
        made.append(f"<tr><td><code>{link}</code></td><td>{row}</td></tr>\n")
    return f'<div class="table names"><table>{"".join(made)}</table></div>\n'


def _described(site: Site, name: str, anchor: str, member: Member, page: str, level: int) -> str:
    thing = member.final_target if isinstance(member, griffe.Alias) else member
    assert isinstance(thing, griffe.Function | griffe.Class | griffe.Attribute)
    resolve = resolver(site, thing)
    if isinstance(thing, griffe.Function):
        signature = function_signature(site, thing, name, page)
    elif isinstance(thing, griffe.Class):
        signature = class_signature(site, thing, page)
    else:
        signature = value_signature(site, thing, name, page)
    made = [_title(site, name, anchor, thing, page, level), signature]
    if thing.docstring:
        made.append(docstring_html(site, thing.docstring.value, file_of(thing), page, resolve))
    if isinstance(thing, griffe.Class):
        made += [_member(site, anchor, below, page, level + 1) for below in _own(thing)]
        made.append(_inherited(site, thing, page))
    return f'<section class="member {thing.kind.value}">{"".join(made)}</section>\n'


def _own(thing: griffe.Class) -> Iterator[griffe.Function | griffe.Attribute]:
    for below in thing.members.values():
        if isinstance(below, griffe.Function | griffe.Attribute) and shown_member(below):
            yield below


def _member(site: Site, owner: str, thing: griffe.Function | griffe.Attribute, page: str, level: int) -> str:
    if isinstance(thing, griffe.Function):
        signature = function_signature(site, thing, thing.name, page)
    else:
        signature = value_signature(site, thing, thing.name, page)
    said = thing.docstring.value if thing.docstring else ""
    shown = docstring_html(site, said, file_of(thing), page, resolver(site, thing)) if said else ""
    title = _title(site, thing.name, f"{owner}.{thing.name}", thing, page, level)
    return f'<section class="member below">{title}{signature}{shown}</section>\n'


def _title(site: Site, name: str, anchor: str, thing: griffe.Object, page: str, level: int) -> str:
    source = f"{relative(site.source_page(file_of(thing)), page)}#L{thing.lineno}"
    return (
        f'<h{level} id="{anchor}"><code>{html.escape(name)}</code>'
        f'<a class="here" href="#{anchor}" aria-label="Link to this place">#</a>'
        f'<a class="source" href="{source}">source</a></h{level}>\n'
    )


def _inherited(site: Site, thing: griffe.Class, page: str) -> str:
    """What a class has from bases in the library, by name."""
    made, known = [], {below.name for below in _own(thing)}
    for base in thing.mro():
        names = [below.name for below in _own(base) if below.name not in known]
        known.update(names)
        place = site.places.get(base.path)
        if names and place:
            page_of_base = relative(place, page)
            links = ", ".join(f'<a href="{page_of_base}.{name}"><code>{name}</code></a>' for name in names)
            made.append(
                f'<p class="inherited">From <a href="{page_of_base}"><code>{base.name}</code></a>: {links}.</p>\n'
            )
    return "".join(made)


def findable(site: Site, title: str, where: str, url: str, member: Member, path: str) -> None:
    """Let a search find something by its title, and by what users write for it; ``path`` is where it is described."""
    names = site.offered.get(member.canonical_path, [])
    written = list(dict.fromkeys([*names, _written(path)]))
    site.entries.append(Entry(title, where, url, plain_sentence(member), 1.0 if names else _INTERNAL, written))


def _findable(site: Site, name: str, path: str, member: Member, place: str) -> None:
    where = path.removesuffix(f".{name}")
    findable(site, name, where, place, member, path)
    if member.is_class:
        owner = site.entries[-1]
        for below in member.members.values():
            if shown_member(below) and below.is_function:
                names = [f"{written}.{below.name}" for written in owner.names]
                found, said = f"{place}.{below.name}", plain_sentence(below)
                site.entries.append(Entry(f"{name}.{below.name}", where, found, said, owner.weight, names))


def plain_sentence(member: Member) -> str:
    """What a docstring says first, without its marks."""
    said = first_sentence(member.docstring.value) if member.docstring else ""
    return re.sub(r":\w+:`~?([^`]*)`|`+", r"\1", said)


def module_text(site: Site, module: griffe.Module, page: str) -> str:
    """A module's own docstring."""
    if not module.docstring:
        return ""
    return docstring_html(site, module.docstring.value, file_of(module), page, resolver(site, module))


def inside(site: Site, module: griffe.Module, page: str) -> str:
    """The modules of a room that are not its wings, each with what it says of itself first."""
    named = {str(name) for name in module.exports or ()}
    below: list[tuple[str, Member]] = [
        (name, module.modules[name]) for name in sorted(module.modules) if name not in named
    ]
    return _table(site, module, below, page) if below else ""
