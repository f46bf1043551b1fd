"""Every claim of a derivation says which test shows it (``test_site`` looks whether what pages name is there)."""

import re

import page_texts
import pytest

PAGES = [page for page in page_texts.pages() if page.name == "DERIVATIONS.md"]


@pytest.mark.core
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_every_claim_of_a_derivation_names_a_test_that_shows_it(page):
    claims = re.split(r"^## ", page_texts.read(page), flags=re.MULTILINE)[1:]
    assert claims
    for claim in claims:
        _, shown, tests = claim.partition("Shown by")
        assert shown, claim
        assert any(name.startswith("test_") for _, _, name, _ in page_texts.citations(tests)), claim
