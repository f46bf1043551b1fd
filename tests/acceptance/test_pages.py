"""Every page is true: its examples run, and print what it shows (``test_site`` looks at links, and at named tests).

A page's examples run in its order and share their names. ``PAGES`` says what is not run as it stands.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import examples as reading
import pytest
from examples import ROOT, examples, run_example
from matplotlib import pyplot
from page_texts import pages

import mdm_jax
from mdm_jax import theory


@dataclass(frozen=True)
class Page:
    """How a page is run: ``instead`` of what its examples show, after what ``before`` makes; ``after`` looks again.

    ``otherwise`` are the examples that print something else then.
    """

    instead: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    otherwise: Collection[str] = ()
    before: Callable[[pytest.MonkeyPatch], dict[str, Any]] = lambda patch: {}
    after: Callable[[dict[str, Any], Path], None] = lambda names, folder: None
    marks: tuple[pytest.MarkDecorator, ...] = (pytest.mark.thorough,)


FEW = {"task.validation, key=key)": "task.validation, 96, key=key)"}
"""Profiles of few sequences."""
WINGS = (
    "evaluation/exact",
    "evaluation/samples",
    "models/cached",
    "models/latent",
    *(f"theory/{wing}" for wing in theory.__all__ if wing != "grids"),
)
PLAIN = Page(marks=())
"""A page that takes a second or two."""
PAGES = {
    "README.md": Page(
        otherwise=("tour",),
        instead={"tour": {"width=128, depth=3": "width=16, depth=1", "steps=1600": "steps=3", **FEW}},
    ),
    "mdm_jax/evaluation/exact/README.md": PLAIN,
    "mdm_jax/footprint/README.md": Page(marks=(pytest.mark.thorough, pytest.mark.processes)),
    "mdm_jax/tasks/README.md": PLAIN,
    "mdm_jax/theory/numerics/README.md": PLAIN,
    "mdm_jax/theory/profiles/README.md": PLAIN,
    "mdm_jax/theory/schedules/README.md": PLAIN,
}
WITH_EXAMPLES = {
    str(page.relative_to(ROOT)): page for page in pages() if examples(page.read_text(encoding="utf-8"))
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=PAGES.get(name, Page()).marks, id=name) for name in WITH_EXAMPLES]
)
def test_every_example_prints_what_its_page_shows(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = PAGES.get(name, Page())
    names = page.before(monkeypatch)
    for example in examples(WITH_EXAMPLES[name].read_text(encoding="utf-8")):
        run_example(WITH_EXAMPLES[name], example, names, page.instead.get(example), example not in page.otherwise)
    page.after(names, tmp_path)
    pyplot.close("all")


ROOMS = sorted(
    {ROOT / "mdm_jax" / room / "README.md" for room in mdm_jax.__all__ if (ROOT / "mdm_jax" / room).is_dir()}
    | {ROOT / "mdm_jax" / "app" / "README.md"}
    | {ROOT / "mdm_jax" / wing / "README.md" for wing in WINGS}
)
WITHOUT_EXAMPLES = ("support",)
"""What is used through other rooms."""


@pytest.mark.core
@pytest.mark.parametrize("page", ROOMS, ids=lambda page: page.parent.name)
def test_every_room_has_a_page_with_a_tour_and_its_promises(page):
    """A promise is a row of a table, and names the test that shows it; theory's are its wings'."""
    text, room = page.read_text(encoding="utf-8"), page.parent.name
    assert bool(examples(text)) != (room in WITHOUT_EXAMPLES)
    promises = text.partition("## What it promises\n")[2].partition("\n## ")[0]
    assert len(re.findall(r"^\| .*test_\w+", promises, flags=re.MULTILINE)) >= 3 or room in ("support", "theory")


@pytest.mark.core
@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_lines_of_pages_are_not_long(page):
    """But for tables, headings, pictures, and what is shown as it is printed."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    assert [line for line in prose.splitlines() if len(line) > 120 and not line.startswith(("|", "#", "![", "<"))] == []


@pytest.mark.core
def test_what_is_run_otherwise_is_there():
    assert [name for name in PAGES if name not in WITH_EXAMPLES] == []
    for name, page in PAGES.items():
        there = examples(WITH_EXAMPLES[name].read_text(encoding="utf-8"))
        assert [example for example in (*page.instead, *page.otherwise) if example not in there] == []


@pytest.mark.core
def test_every_example_has_a_name_of_its_own_and_what_follows_is_its_output():
    shown = "text\n<!-- example: one -->\n```python\n1\n```\n\n```text\nA 1\n```\n"
    assert examples(shown) == {"one": ("1\n", "A 1\n")}
    assert examples(shown.replace("\n\n", "\n")) == examples(shown)
    assert examples(shown.replace("\n\n", "\nAnd so:\n")) == {"one": ("1\n", "")}
    for wrong in (
        "```python\n2\n```\n",
        "<!-- example: one -->\n```python\n2\n```\n",
        "<!-- note -->\n```python\n3\n```\n",
    ):
        with pytest.raises(AssertionError, match=r"no name|two examples"):
            examples(shown + wrong)


@pytest.fixture
def page(tmp_path, monkeypatch):
    """A page of two examples."""
    monkeypatch.setattr(reading, "ROOT", tmp_path)
    monkeypatch.delenv(reading.REFRESH, raising=False)
    path = tmp_path / "page.md"
    path.write_text(
        "# Page\n<!-- example: one -->\n```python\nx = 5\nprint('x is', x / 7)\n```\n\n```text\nx is 0.714\n```\n\n"
        "<!-- example: two -->\n```python\nprint(x)\n```\nThe end.\n"
    )
    return path


@pytest.mark.core
def test_what_an_example_prints_is_compared_and_can_be_written(page, monkeypatch):
    names = {}
    before = page.read_text()
    assert run_example(page, "one", names) == "x is 0.7142857142857143\n"
    with pytest.raises(AssertionError, match=r"example 'two' of page.md: 0 words are shown and 1 printed"):
        run_example(page, "two", names)
    assert run_example(page, "one", names, {"5": "6"}, compare=False) == "x is 0.8571428571428571\n"
    for instead in ({"5": "6"}, {"8": "9"}):
        with pytest.raises(AssertionError, match=r"is shown and|does not show"):
            run_example(page, "one", names, instead)
    with pytest.raises(AssertionError, match="prints nothing"):
        run_example(page, "one", names, {"print('x is', x / 7)": "x / 7"}, compare=False)
    assert page.read_text() == before
    monkeypatch.setenv(reading.REFRESH, "1")
    for example in ("one", "two"):
        run_example(page, example, names, {"x": "x * 2"} if example == "two" else None, compare=False)
    assert page.read_text() == before.replace("print(x)\n```\n", "print(x)\n```\n\n```text\n5\n```\n")
    monkeypatch.delenv(reading.REFRESH)
    run_example(page, "two", names)
