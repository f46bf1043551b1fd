"""Figures that pages quote, held against the results they link.

The rule is told at the end of ``experiments/README.md``. What is read of a page is its paragraphs, bullets and
table rows, one by one: a unit that links ``results/NAME.json`` or ``experiments/README.md#NAME`` quotes that result.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from experiments.tools.catalogue import Places
from experiments.tools.records import read

MINUS, EITHER_WAY = "\u2212", "\u00b1"
NUMBER = re.compile(
    rf"(?<![\w.,])([-+{MINUS}{EITHER_WAY}]?) ?"
    r"((?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:e-?\d{1,2})?)(?![\w]|[.,]\d)( ?%)?"
)
LINK = re.compile(r"\]\([^)\s]*?(?:results/([a-z0-9_]+)\.json|experiments/README\.md#([a-z0-9_]+))\)")
NOT_FIGURES = re.compile(
    r"`[^`]*`"  # code
    r"|\]\([^)]*\)"  # links' targets
    r"|<[^>]*>"  # tags
    r"|\b95 ?%"  # what an interval is
    r"|arXiv[: ]\d{4}\.\d{4,5}"
    r"|\b\d+(?:\.\d+){2,}\b"  # versions
)
BOLD = re.compile(r"\*\*(.+?)\*\*")
MEASURED = "measured"
SECTIONS = ("findings", "speed", "where a claim fails")
"""Headings under which every number with a decimal point needs a source."""


class Unit(NamedTuple):
    """A piece of a page that stands by itself; of a table, each row.

    Attributes:
        line: where it begins, from 1.
        text: of it.
        links: text whose links are the unit's sources: its own, and for a table's row the heading's.
        whole: what of it is compared in whole numbers too: bold text, a measured cell.
        section: the headings it stands under, in lower case.
    """

    line: int
    text: str
    links: str
    whole: str
    section: tuple[str, ...]


def units(page: str) -> Iterator[Unit]:
    """Paragraphs, bullets and table rows of a page, without what stands in fences and comments."""
    headings: dict[int, str] = {}
    heading, columns, held, begun, fenced = "", [], [], 0, False

    def paragraph() -> Iterator[Unit]:
        if held:
            text = " ".join(held)
            yield Unit(begun, text, text, " ".join(BOLD.findall(text)), tuple(headings.values()))
            held.clear()

    for number, line in enumerate(re.sub(r"<!--.*?-->", _blank, page, flags=re.S).splitlines(), 1):
        bare = line.strip()
        if bare.startswith("```"):
            yield from paragraph()
            fenced = not fenced
            continue
        if fenced:
            continue
        if not bare.startswith("|"):
            columns = []
        if not bare:
            yield from paragraph()
        elif bare.startswith("#"):
            yield from paragraph()
            level = len(bare) - len(bare.lstrip("#"))
            headings = {above: name for above, name in headings.items() if above < level}
            headings[level] = bare.lstrip("#").strip().lower()
        elif bare.startswith("|"):
            yield from paragraph()
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", bare.strip("|"))]
            if not columns:
                heading, columns = bare, [cell.lower() for cell in cells]
            elif not set(bare) <= set("|-: "):
                measured = [cell for name, cell in zip(columns, cells) if name == MEASURED]
                yield Unit(
                    number,
                    bare,
                    bare if LINK.search(bare) else heading,
                    " ".join(measured + BOLD.findall(bare)),
                    tuple(headings.values()),
                )
        else:
            if re.match(r"([-*+]|\d+\.) ", bare):
                yield from paragraph()
            begun = begun if held else number
            held.append(bare)
    yield from paragraph()


def _blank(found: re.Match[str]) -> str:
    return "\n" * found.group().count("\n")


def sources(unit: Unit) -> list[str]:
    """The experiments that a unit quotes."""
    return [name for found in LINK.finditer(unit.links) for name in found.groups() if name]


class Quoted(NamedTuple):
    """A number as a page writes it: its text, the sign that is told, its value, and half a unit of its last digit."""

    text: str
    sign: str
    value: float
    slack: float


def numbers(text: str, decimal: bool) -> list[Quoted]:
    """The numbers of a text: those with a decimal point or an exponent, and percentages; or all."""
    found = []
    for sign, digits, percent in NUMBER.findall(NOT_FIGURES.sub(" ", text)):
        if not any(map(str.isdigit, digits)) or (decimal and not (set(".e") & set(digits) or percent)):
            continue
        mantissa, _, exponent = digits.replace(",", "").partition("e")
        scale = float(f"1e{exponent or 0}") / (100 if percent else 1)
        places = len(mantissa.partition(".")[2])
        value = float(mantissa) * scale * (-1 if sign in ("-", MINUS) else 1)
        found.append(Quoted(sign + digits + percent, sign, value, 0.5 * 10.0**-places * scale))
    return found


def is_quoted(number: Quoted, figures: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Whether a number rounds one of the figures, half the width of one's interval, or is one of the settings."""

    def near(figure: float) -> bool:
        told = number.sign not in ("", EITHER_WAY)
        off = number.value - figure if told else abs(number.value) - abs(figure)
        return abs(off) <= number.slack * (1 + 1e-6)

    halves = [(one[2] - one[1]) / 2 for one in figures.values() if isinstance(one, list)]
    known = [*leaves(figures), *(halves if number.sign == EITHER_WAY else [])]
    return any(map(near, known)) or any(abs(number.value - one) <= 1e-12 * abs(one) for one in leaves(settings))


def leaves(tree: Any) -> list[float]:
    """All numbers of a tree of JSON."""
    if isinstance(tree, Mapping):
        return [leaf for one in tree.values() for leaf in leaves(one)]
    if isinstance(tree, list):
        return [leaf for one in tree for leaf in leaves(one)]
    return [float(tree)] if isinstance(tree, int | float) and not isinstance(tree, bool) else []


def wrong(page: str, records: Mapping[str, Mapping[str, Any]], under: Collection[str] = ()) -> list[str]:
    """What a page quotes that no result has: one sentence each, with the line.

    Args:
        page: Markdown.
        records: the committed records by name.
        under: headings in lower case; if any, only what stands under one of them is read.
    """
    found = []
    for unit in units(page):
        if under and not set(under) & set(unit.section):
            continue
        names = sources(unit)
        missing = [name for name in names if name not in records]
        found += [f"line {unit.line}: there is no result {name}" for name in missing]
        decimals = numbers(unit.text, decimal=True)
        if not names and decimals and set(unit.section) & set(SECTIONS):
            found.append(f"line {unit.line}: {decimals[0].text} has no source: link its results/NAME.json")
        if not names or missing:
            continue
        figures = {f"{name}: {figure}": value for name in names for figure, value in records[name]["figures"].items()}
        settings = {name: records[name]["config"] for name in names}
        for number in [*decimals, *numbers(unit.whole, decimal=False)]:
            if not is_quoted(number, figures, settings):
                found.append(f"line {unit.line}: {number.text} is no figure of {', '.join(names)}")
    return found


def all_records(places: Places) -> dict[str, dict[str, Any]]:
    """The committed records by name."""
    made = {path.stem: read(places, path.stem) for path in sorted(places.results.glob("*.json"))}
    return {name: one for name, one in made.items() if one is not None}
