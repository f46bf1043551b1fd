"""What the front page shows of the command line is there; its examples are run by ``test_pages``."""

import re

import pytest
from examples import README

TEXT = README.read_text(encoding="utf-8")


@pytest.mark.core
def test_both_commands_are_there_and_every_shown_command_parses():
    from mdm_jax.app.cli import make_parser

    installs = re.findall(r"^python3 -m venv .*$", TEXT, flags=re.MULTILINE)
    assert [line.rsplit(" ", 1)[-1] for line in installs] == ["demo", "pytest"]
    shown = re.findall(r"^mdm-jax (.*?)(?:   .*)?$", TEXT, flags=re.MULTILINE)
    assert len(shown) >= 9
    for line in shown:
        words = [word.strip('"') for word in re.findall(r'"[^"]*"|\S+', line)]
        assert make_parser().parse_args(words).command == words[0]
