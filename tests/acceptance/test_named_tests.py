"""Pages that say "shown by a test" name one that there is."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(page for place in ("*.md", "mdm_jax/**/*.md", "experiments/**/*.md") for page in ROOT.glob(place))
NAMED = re.compile(r"`((?:tests/[\w/]+\.py)?)(?:::)?(test_\w+)?`")
"""A file, a test of it, a further test of the file named last (``::test_name``), or a test or file by its bare name."""


def named(text):
    """File (or ``None``) and test (or ``None``) of everything that a page names."""
    file = None
    for found in NAMED.finditer(text):
        if found[1]:
            file = found[1]
        if found[1] or found[2]:
            yield file if found[1] or "::" in found[0] else None, found[2]


def functions_of(path):
    return set(re.findall(r"^def (test_\w+)\(", path.read_text(encoding="utf-8"), flags=re.MULTILINE))


def test_every_test_that_a_page_names_is_there():
    files = {str(path.relative_to(ROOT)): functions_of(path) for path in (ROOT / "tests").rglob("*.py")}
    anywhere = set().union(*files.values()) | {Path(name).stem for name in files}
    missing, count = [], 0
    for page in PAGES:
        for file, test in named(page.read_text(encoding="utf-8")):
            count += 1
            known = anywhere if file is None else files.get(file)
            if known is None or (test is not None and test not in known):
                missing.append(f"{page.relative_to(ROOT)}: {file or ''}::{test or ''}")
    assert not missing
    assert count > 100


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name == "DERIVATIONS.md"], ids=lambda page: page.parent.name
)
def test_every_claim_of_a_derivation_names_a_test_that_shows_it(page):
    for claim in re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        _, shown, tests = claim.partition("Shown by")
        assert shown, claim
        assert any(test for _, test in named(tests)), claim


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("`tests/a/test_b.py::test_c`", [("tests/a/test_b.py", "test_c")]),
        (
            "`tests/a/test_b.py`: `::test_c`,\n`::test_d`",
            [("tests/a/test_b.py", t) for t in (None, "test_c", "test_d")],
        ),
        ("[`test_c`] and `plans.test`", [(None, "test_c")]),
    ],
)
def test_names_are_read_as_pages_write_them(text, found):
    assert list(named(text)) == found
