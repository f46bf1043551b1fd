"""The front page: its two commands, and that it stays one page; and that what a release names is the same version."""

import re

import pytest
from examples import README
from page_texts import ROOT

from mdm_jax.support.version import VERSION

TEXT = README.read_text(encoding="utf-8")


@pytest.mark.core
def test_both_commands_are_there():
    installs = re.findall(r"^python3 -m venv .*$", TEXT, flags=re.MULTILINE)
    assert [line.rsplit(" ", 1)[-1] for line in installs] == ["demo", "pytest"]


@pytest.mark.core
def test_it_is_short():
    assert len(TEXT.splitlines()) <= 120


@pytest.mark.core
def test_citation_and_changes_are_of_this_version():
    cited = re.search(r"^version: (.*)\ndate-released: (.*)$", (ROOT / "CITATION.cff").read_text(), flags=re.MULTILINE)
    newest = re.search(r"^## (.*) \((.*)\)$", (ROOT / "mdm_jax" / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert cited
    assert newest
    assert cited.groups() == newest.groups()
    assert cited[1] == VERSION
