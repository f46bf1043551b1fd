"""Every figure that a page quotes is one of a committed result, and the page of all results is what they make it."""

import importlib
from pathlib import Path

import page_texts
import pytest

from experiments.tools.catalogue import Places, claims
from experiments.tools.experiment import plain
from experiments.tools.page import page
from experiments.tools.quoted import all_records, numbers, wrong
from experiments.tools.records import LARGEST

HERE = Places()
RECORDS = {
    "race": {"figures": {"gain": [0.0743, 0.0148, 0.1332], "less": -0.04, "samples": 384}, "config": {"BOUND": 0.5}},
    "kill": {"figures": {"kills": 50, "share": 0.1234}, "config": {}},
}


PAGES = [path for path in page_texts.pages(HERE.root) if path != HERE.page]
"""All but the generated one."""


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(HERE.root)))
def test_pages_quote_what_results_say(path: Path) -> None:
    assert wrong(path.read_text(encoding="utf-8"), all_records(HERE)) == []


def test_the_page_of_results_is_current() -> None:
    """``python -m experiments report`` writes it."""
    assert HERE.page.read_text(encoding="utf-8") == page(HERE)


def test_every_experiment_has_a_record_of_its_claim() -> None:
    records = all_records(HERE)
    stated = {name: (claim.text, claim.source) for name, claim in claims(HERE).items()}
    assert {name: (one["claim"], one["source"]) for name, one in records.items()} == stated
    for name, one in records.items():
        assert one["picture"] is None or (HERE.modules / one["picture"]).exists(), name
        assert (HERE.results / f"{name}.json").stat().st_size < LARGEST, name


@pytest.mark.parametrize(
    "text",
    [
        "It gains .074 (.015 to .133) bits at 0.5, see [race](experiments/results/race.json).",
        "It gains 0.07, ± .06: [race](../experiments/README.md#race).",
        "It is .04 worse, that is -.04, \u2212.04 or -0.040: [a](results/race.json), arXiv 2509.13866, `0.99`, 0.2.0.",
        "- **50** kills, 12.3% and 12 % of it in 95% intervals: [kill](results/kill.json); 7 is not looked at.",
        "| case | measured |\n|---|---|\n| 3 of [it](results/race.json) | 384 |",
        "| [case](results/race.json) | gain |\n|---|---|\n| one | .074 |\n| two | .133 |",
        "Of two: .074 and **50** ([a](results/race.json), [b](results/kill.json)).",
        "```text\n0.99\n```\n\n## Other\n\n0.99 without a link.",
    ],
)
def test_roundings_of_figures_pass(text: str) -> None:
    assert wrong(f"# Findings\n\n{text}\n" if "##" not in text else text, RECORDS) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("It gains .075: [race](results/race.json).", "line 3: .075 is no figure of race"),
        ("It gains -.074: [race](results/race.json).", "line 3: -.074 is no figure of race"),
        ("It gains .07431: [race](results/race.json).", "line 3: .07431 is no figure of race"),
        ("It gains ± .07 [race](results/race.json), or .08.", "line 3: .08 is no figure of race"),
        ("- **51** kills: [kill](results/kill.json)", "line 3: 51 is no figure of kill"),
        ("12.4% of [kill](results/kill.json)", "line 3: 12.4% is no figure of kill"),
        ("| case | measured |\n|---|---|\n| [it](results/race.json) | 385 |", "line 5: 385 is no figure of race"),
        ("| [it](results/race.json) | x |\n|---|---|\n| a | 0.2 |", "line 5: 0.2 is no figure of race"),
        ("A gain of .074.", "line 3: .074 has no source: link its results/NAME.json"),
        ("## More\n\nA gain of .074.", "line 5: .074 has no source: link its results/NAME.json"),
        ("See [it](results/none.json).", "line 3: there is no result none"),
    ],
)
def test_changed_figures_are_found(text: str, said: str) -> None:
    assert said in wrong(f"# Findings\n\n{text}\n", RECORDS)


def test_numbers_are_read_as_people_write_them() -> None:
    text = "15.2 (14.0 to 17.7), 1,036,800 pairs, 2e-6; .0009, 4.68 ± 0.06, x64, 3.0. 14.0-17.7"
    assert [one.value for one in numbers(text, decimal=True)] == [
        15.2, 14.0, 17.7, 2e-6, 0.0009, 4.68, 0.06, 3.0, 14.0, 17.7,
    ]  # fmt: skip
    assert 1036800 in [one.value for one in numbers(text, decimal=False)]


WHOLE = [name for name, one in all_records(HERE).items() if one["results"] and not one["left_out"]]


@pytest.mark.parametrize("name", WHOLE)
def test_figures_follow_from_the_committed_results(name: str) -> None:
    made = all_records(HERE)[name]
    concluded = importlib.import_module(f"experiments.{name}").conclude(made["results"])
    assert concluded.verdict == made["verdict"]
    assert concluded.headline == made["headline"]
    assert concluded.sample_size == made["sample_size"]
    assert plain(concluded.figures) == made["figures"]
