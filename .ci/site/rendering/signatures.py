"""How things are called, in the words of their source, with the names of types as links."""

import html
from collections.abc import Iterable

import griffe

from rendering.site import Site, relative

_WIDEST = 76
"""A call that is longer has one parameter on a line."""

Part = tuple[str, int]
"""HTML, and how many characters it shows."""


def _text(shown: str) -> Part:
    return html.escape(shown, quote=False), len(shown)


def _expression(site: Site, value: str | griffe.Expr | None, page: str) -> Part:
    """A type or a default, its names as links where the site describes them."""
    if value is None:
        return "", 0
    if isinstance(value, str):
        return _text(value)
    made, length = [], 0
    for part in value.iterate(flat=True):
        if isinstance(part, griffe.ExprName):
            place = site.place_of(part.canonical_path)
            shown = html.escape(part.name, quote=False)
            made.append(f'<a href="{relative(place, page)}">{shown}</a>' if place else shown)
            length += len(part.name)
        else:
            shown, count = _text(str(part).replace("'", '"'))
            made.append(shown)
            length += count
    return "".join(made), length


def _joined(parts: Iterable[Part]) -> Part:
    parts = list(parts)
    return "".join(shown for shown, _ in parts), sum(length for _, length in parts)


def _parameters(site: Site, parameters: griffe.Parameters, page: str) -> list[Part]:
    made: list[Part] = []
    kinds = griffe.ParameterKind
    before = None
    for index, parameter in enumerate(parameters):
        if index == 0 and parameter.name in ("self", "cls"):
            continue
        if before == kinds.positional_only and parameter.kind != kinds.positional_only:
            made.append(_text("/"))
        if parameter.kind == kinds.keyword_only and before not in (kinds.keyword_only, kinds.var_positional):
            made.append(_text("*"))
        before = parameter.kind
        stars = {kinds.var_positional: "*", kinds.var_keyword: "**"}.get(parameter.kind, "")
        parts = [_text(stars + parameter.name)]
        if parameter.annotation is not None:
            parts += [_text(": "), _expression(site, parameter.annotation, page)]
        if parameter.default is not None and not stars:
            between = " = " if parameter.annotation is not None else "="
            parts += [_text(between), _expression(site, parameter.default, page)]
        made.append(_joined(parts))
    return made


def function_signature(site: Site, function: griffe.Function, name: str, page: str) -> str:
    """The head of a function; of a property, its type."""
    if "property" in function.labels or "cached_property" in function.labels:
        return _shown(_joined([_text(f"{name}: "), _expression(site, function.returns, page)])[0])
    parameters = _parameters(site, function.parameters, page)
    end = _joined([_text(") -> "), _expression(site, function.returns, page)]) if function.returns else _text(")")
    begin = f'<b class="called">{html.escape(name)}</b>('
    if len(name) + 1 + sum(length + 2 for _, length in parameters) + end[1] <= _WIDEST:
        return _shown(begin + ", ".join(shown for shown, _ in parameters) + end[0])
    lines = "".join(f"    {shown},\n" for shown, _ in parameters)
    return _shown(f"{begin}\n{lines}{end[0]}")


def class_signature(site: Site, thing: griffe.Class, page: str) -> str:
    """The head of a class, its fields, and how it is made where it says so itself."""
    bases = ", ".join(_expression(site, base, page)[0] for base in thing.bases)
    head = f'class <b class="called">{html.escape(thing.name)}</b>' + (f"({bases})" if bases else "")
    fields = []
    for below in thing.members.values():
        if isinstance(below, griffe.Attribute) and not below.name.startswith("_") and below.annotation is not None:
            if "property" in below.labels:
                continue
            value = (
                _joined([_text(" = "), _expression(site, below.value, page)]) if below.value is not None else ("", 0)
            )
            fields.append(f"    {html.escape(below.name)}: {_expression(site, below.annotation, page)[0]}{value[0]}\n")
    made = thing.members.get("__init__")
    if isinstance(made, griffe.Function) and "dataclass" not in thing.labels:
        parameters = ", ".join(shown for shown, _ in _parameters(site, made.parameters, page))
        fields.append(f"    __init__({parameters})\n")
    return _shown(head + (":\n" + "".join(fields).rstrip("\n") if fields else ""))


def value_signature(site: Site, thing: griffe.Attribute, name: str, page: str) -> str:
    """A value's name, its type, and what it is where that is short."""
    parts = [(f'<b class="called">{html.escape(name)}</b>', len(name))]
    if thing.annotation is not None:
        parts += [_text(": "), _expression(site, thing.annotation, page)]
    value = _expression(site, thing.value, page) if thing.value is not None else ("", 0)
    if 0 < value[1] <= _WIDEST and "property" not in thing.labels:
        parts += [_text(" = "), value]
    return _shown(_joined(parts)[0])


def _shown(code: str) -> str:
    return f'<pre class="signature" tabindex="0"><code>{code}</code></pre>\n'
