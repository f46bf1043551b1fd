"""What pages say of the command line: every command that is shown parses, none is missing, statuses are these."""

import re
import shlex
import signal

import pytest
from page_texts import ROOT, pages

from mdm_jax.app import cli
from mdm_jax.app.commands import COMMANDS

PAGE = ROOT / "mdm_jax" / "app" / "README.md"
TEXTS = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in pages()}
pytestmark = pytest.mark.core


def shown_in(text):
    """The words of every command in a page's blocks, up to a comment, and of those in its prose."""
    blocks = "".join(re.findall(r"^```[a-z]*\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)).splitlines()
    parts = [part for line in blocks for part in line.split(" && ")]
    commands = [re.match(r"(?:\$ |srun )?(?:\.venv/bin/)?mdm-jax (.+)", part) for part in parts]
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    lines = [command[1] for command in commands if command] + re.findall(r"`mdm-jax ([a-z]+ [^`]+)`", prose)
    return [shlex.split(line, comments=True) for line in lines]


WITH_COMMANDS = [name for name, text in TEXTS.items() if shown_in(text)]


@pytest.mark.parametrize("name", WITH_COMMANDS)
def test_every_command_that_a_page_shows_parses(name):
    parser = cli.make_parser()
    for words in shown_in(TEXTS[name]):
        assert parser.parse_args(words).command == words[0]


def test_the_command_line_s_page_shows_every_command():
    assert {words[0] for words in shown_in(PAGE.read_text(encoding="utf-8"))} == set(COMMANDS)


def test_commands_are_found_in_blocks_and_in_lines():
    text = '# Page\nSee `mdm-jax tune D --grid 3` and `mdm-jax`.\n```\n$ mdm-jax sample D --prompt "a b"  # said\n```\n'
    assert shown_in(text) == [["sample", "D", "--prompt", "a b"], ["tune", "D", "--grid", "3"]]
    assert shown_in("```sh\n.venv/bin/mdm-jax demo && .venv/bin/mdm-jax report D\n```\n") == [["demo"], ["report", "D"]]


def test_the_exit_statuses_are_these():
    (told,) = re.findall(
        r"^\* \*\*Exit status\*\*:(.*?)^\*", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    statuses = {0, cli.FAILED, cli.BAD_INPUT, cli.INTERRUPTED, cli.SIGNALLED + signal.SIGTERM}
    assert {int(number) for number in re.findall(r"\d+", told)} == statuses


def test_an_option_that_a_command_lacks_is_answered_with_the_usage_of_that_command(capsys):
    with pytest.raises(SystemExit):
        cli.main(["evaluate", "runs/x", "linear", "--rows", "3"])
    told = capsys.readouterr().err
    assert told.startswith("usage: mdm-jax evaluate ")
    assert told.endswith("mdm-jax evaluate: error: unrecognized arguments: --rows 3\n")
