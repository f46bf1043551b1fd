"""Why claims fail here: every failure has its reason, which quotes nothing but the result, and nothing else has one."""

import pytest
from made_up_experiment import Calls

from experiments.__main__ import main
from experiments.tools import beta_told, reasons
from experiments.tools.catalogue import Places
from experiments.tools.page import page
from experiments.tools.quoted import all_records, sources, units, wrong
from mdm_jax.support.errors import InputError

HERE = Places()
GENERATED = (reasons.SECTION.lower(), beta_told.SECTION.lower())
"""Headings of the page of results, under which text is compared with them."""


def test_every_claim_that_fails_has_its_reason_and_no_other_has_one() -> None:
    """``experiments/reasons.toml`` says how it is written."""
    failing = {name for name, made in all_records(HERE).items() if reasons.fails(made)}
    written = set(reasons.read(HERE))
    assert failing - written == set(), "without a reason"
    assert written - failing == set(), "of results that hold, or are none"


def test_reasons_and_the_search_over_all_tasks_quote_their_results() -> None:
    text, records = HERE.page.read_text(encoding="utf-8"), all_records(HERE)
    told = [sources(unit) for unit in units(text) if GENERATED[0] in unit.section]
    assert told == [[], *([name] for name, made in records.items() if reasons.fails(made))]
    assert wrong(text, records, GENERATED) == []


REASON = """
[made_up]
failed = "It is **10** and"
believed = "not 12.5, by -10.0;"
tried = "twice, with 9.5."
"""


def test_the_page_explains_a_failure_and_its_verdict_links_that(places: Places, calls: Calls) -> None:
    calls.LIMIT = 11
    assert main(["made_up"], places) == 0
    assert reasons.SECTION not in page(places).replace(f'"{reasons.SECTION}"', "")
    assert "| **does not** |" in page(places)  # and the page is written without a reason
    places.reasons.write_text(REASON)
    told = (
        '<a id="why-made_up"></a>**[made_up](#made_up)**, does not ([all figures](results/made_up.json)). *What '
        "failed:* It is **10** and *Believed:* not 12.5, by -10.0; *Tried:* twice, with 9.5."
    )
    assert told in " ".join(page(places).split())
    assert "| **[does not](#why-made_up)** |" in page(places)
    found = [one.partition(": ")[2] for one in wrong(page(places), all_records(places), GENERATED)]
    assert found == ["12.5 is no figure of made_up", "-10.0 is no figure of made_up"]
    calls.LIMIT = 9
    assert main(["report"], places) == 0
    assert "why-made_up" not in places.page.read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (REASON.replace("tried", "wanted"), r"\[made_up\] of reasons.toml must be a table of failed, shown, believed"),
        (REASON.replace("tried", "unknown"), "must have failed, tried and at least one"),
        (REASON.replace('believed = "not 12.5, by -10.0;"', ""), "at least one of shown, believed, unknown"),
        (REASON.replace("twice, with 9.5.", " "), "tried in .* must be text that is not empty; got ' '"),
        ("made_up = 1", "must be a table of failed"),
        ("[made_up", "reasons.toml must be TOML: "),
    ],
)
def test_a_reason_that_is_not_whole_is_refused(places: Places, text: str, said: str) -> None:
    places.reasons.write_text(text)
    with pytest.raises(InputError, match=said):
        reasons.read(places)
