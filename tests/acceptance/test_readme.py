"""The front page: its two commands, and that it stays one page."""

import re

import pytest
from examples import README

TEXT = README.read_text(encoding="utf-8")


@pytest.mark.core
def test_both_commands_are_there():
    installs = re.findall(r"^python3 -m venv .*$", TEXT, flags=re.MULTILINE)
    assert [line.rsplit(" ", 1)[-1] for line in installs] == ["demo", "pytest"]


@pytest.mark.core
def test_it_is_short():
    assert len(TEXT.splitlines()) <= 120
