import os
import re
import signal
import subprocess
import sys
import termios
import time

import jax.numpy as jnp
import numpy as np
import pytest

from mdm_jax import models
from mdm_jax.app.terminal import replay
from mdm_jax.app.terminal.replay import Recording, columns_of, frames, look_of, printable
from mdm_jax.sampling import FILLED, GIVEN, Sampled
from mdm_jax.tasks import Numbers
from mdm_jax.tasks.notations import Vocabulary

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
LETTERS = Vocabulary("\n\x1b abc\u0301あ")
MASK = LETTERS.size


def recording(canvas, *after, filled=None):
    """A recording from texts, "·" where masked: one pass per step."""
    rows = [LETTERS.encode(text, mask="·") for text in (canvas, *after)]
    behind = np.zeros(len(canvas), bool)
    behind[slice(filled, None) if filled is not None else slice(0)] = True
    return Recording(
        rows[0],
        np.array(rows[1:], np.int32).reshape(len(after), len(canvas)),
        np.arange(1, len(after) + 1),
        behind,
        MASK,
    )


def drawn(made, width=40, height=10, **options):
    """The frames of a recording in the letters' vocabulary, each as (status, lines)."""
    look = look_of(made, LETTERS)
    split = [text.split("\n") for text in frames(made, look, lambda: (width, height), **options)]
    assert all(blank == "" for _, blank, *_ in split)
    return [(status, lines) for status, _, *lines in split]


@pytest.mark.core
def test_frames_show_what_is_masked_what_came_and_what_was_masked_again():
    made = recording("a···", "ab··", "ab·c", "a··c", "abcc")
    assert [lines for _, lines in drawn(made, colour=False)] == [["a···"], ["ab··"], ["ab·c"], ["a◦·c"], ["abcc"]]
    statuses = [status for status, _ in drawn(made, width=80, title="sample 0 · ")]
    assert statuses[0].startswith("sample 0 · step 0 of 4 · nfe 0 · 0% revealed  ░░░")
    assert statuses[1].startswith("sample 0 · step 1 of 4 · nfe 1 · 33% revealed  █")
    assert statuses[4].endswith("· 100% revealed  " + "█" * 24)
    coloured = [lines[0] for _, lines in drawn(made)]
    assert coloured[1] == "\x1b[4ma\x1b[0m\x1b[30;42mb\x1b[0m\x1b[2m··\x1b[0m"  # given, new, masked
    assert coloured[2] == "\x1b[4ma\x1b[0mb\x1b[2m·\x1b[0m\x1b[30;42mc\x1b[0m"
    assert coloured[3] == "\x1b[4ma\x1b[0m\x1b[97;41m◦\x1b[0m\x1b[2m·\x1b[0mc"


@pytest.mark.core
def test_what_lies_behind_the_end_is_dim_and_what_is_given_is_never_new():
    made = recording("····", "bc··", "bcaa", filled=3)
    assert drawn(made)[-1][1] == ["bc\x1b[30;42ma\x1b[0m\x1b[2ma\x1b[0m"]
    nothing = recording("abab")
    assert drawn(nothing)[0][0].startswith("step 0 of 0 · nfe 0 · 100% revealed")


@pytest.mark.core
def test_lines_break_where_the_finished_text_breaks_them_from_the_start():
    made = recording("·····", "a··b·", "a\n·bc")
    assert [lines for _, lines in drawn(made, colour=False)] == [["··", "···"], ["a·", "·b·"], ["a⏎", "·bc"]]
    passing = recording("···", "\n··", "···", "abc")  # a line break that did not last
    assert [lines for _, lines in drawn(passing, colour=False)] == [["···"], ["⏎··"], ["◦··"], ["abc"]]
    narrow = drawn(recording("·" * 7, "abcabca"), width=3, colour=False)
    assert narrow[-1] == ("ste", ["abc", "abc", "a"])


@pytest.mark.core
def test_wide_combining_and_control_characters_keep_their_places():
    made = recording("····", "·あ··", "\x1bあ\u0301a")
    assert [lines for _, lines in drawn(made, colour=False)] == [["·····"], ["·あ··"], ["␛あ◌\u0301a"]]
    assert [lines for _, lines in drawn(recording("··", "·あ", "··", "·a"), colour=False)][1:] == [
        ["·あ"],
        ["·◦◦"],
        ["· a"],
    ]
    shown = [printable(c) for c in "\t\r\x7f\x85\u200d\u202e\u2028\ud800é"]
    assert shown == ["␉", "␍", *"������", "é"]
    assert [columns_of(text) for text in ("é", "あ", "◌\u0301", "⏎", "")] == [1, 2, 1, 1, 0]


@pytest.mark.core
def test_any_text_stays_within_the_terminal_and_holds_no_other_control_codes():
    generator = np.random.default_rng(0)
    for _ in range(60):
        length, steps = generator.integers(1, 60), generator.integers(1, 6)
        rows = generator.integers(0, MASK + 1, (steps, length)).astype(np.int32)
        canvas = np.where(generator.random(length) < 0.2, 2, MASK).astype(np.int32)
        made = Recording(canvas, rows, np.arange(1, steps + 1), np.zeros(length, bool), MASK)
        width, height = int(generator.integers(2, 50)), int(generator.integers(3, 12))
        for status, lines in drawn(made, width, height):
            plain = [COLOUR.sub("", line) for line in (status, *lines)]
            assert len(lines) <= height - 2
            assert max(map(columns_of, plain)) <= width
            assert "\x1b" not in "".join(plain)
            assert not re.search(r"[\x00-\x1f\x7f-\x9f]", "".join(plain))


@pytest.mark.core
def test_a_text_longer_than_the_terminal_scrolls_to_what_happens():
    texts = ["·" * 40, "·" * 35 + "aaaaa", "b" * 5 + "·" * 30 + "aaaaa"]
    shown = [lines for _, lines in drawn(recording(*texts), width=5, height=5, colour=False)]
    assert shown == [["·" * 5] * 3, ["·" * 5, "·" * 5, "aaaaa"], ["bbbbb", "·" * 5, "·" * 5]]


@pytest.mark.core
def test_fewer_frames_than_steps_miss_nothing():
    made = recording("·" * 6, "a·····", "aa····", "·a····", "·aa···", "·aaa··", "aaaaaa")
    few = drawn(made, most=3)
    assert [re.findall(r"step \d", status)[0] for status, _ in few] == ["step 0", "step 3", "step 6"]
    assert COLOUR.sub("", few[1][1][0]) == "◦a····"  # it came and went between two frames
    assert "\x1b[30;42ma" in few[2][1][0]
    assert len(drawn(made, most=100)) == 7


@pytest.mark.core
def test_pictures_and_numbers():
    after = np.array([[0, 17, 16, 17], [0, 4, 16, 17], [0, 17, 16, 1]], np.int32)
    made = Recording(np.full(4, 17, np.int32), after, np.arange(1, 4), np.zeros(4, bool), 17)

    def lines(vocabulary, width=40):
        look = look_of(made, vocabulary)
        return [text.split("\n")[2:] for text in frames(made, look, lambda: (width, 9), colour=False)]

    assert lines(Numbers(17, (2, 2))) == [["····", "····"], ["  ··", "██··"], ["  ░░", "██··"], ["  ◦◦", "██░░"]]
    assert lines(Numbers(17)) == [["·· ·· ·· ··"], [" 0 ·· 16 ··"], [" 0  4 16 ··"], [" 0 ◦◦ 16  1"]]
    assert lines(Numbers(17, (3, 2)), width=6)[-1] == [" 0 ◦◦", "16  1"]


@pytest.mark.core
def test_recordings_are_what_each_row_went_through():
    """Two rows, of which one is done earlier; room for more steps than there were; a step in which nothing is read."""
    canvas = np.array([MASK, MASK, 2], np.int32)
    tokens = np.array([[[3, 8, 2], [3, 8, 2]], [[8, 8, 2], [3, 3, 2]], [[3, 4, 2], [3, 3, 2]], [[0] * 3] * 2], np.int32)
    steps = jnp.array([[2, 2, GIVEN], [0, FILLED, GIVEN]])
    zero = jnp.zeros(2, jnp.int32)
    result = Sampled(
        jnp.asarray(tokens[2]), zero, zero[0], zero, steps, jnp.zeros(2), jnp.int32(3), jnp.asarray(tokens)
    )

    guided = models.guided(models.from_function(lambda params, tokens: jnp.zeros((*tokens.shape, MASK)), MASK))
    one, two = replay.recordings(canvas, result, guided)
    assert one.tokens.tolist() == [[3, 8, 2], [8, 8, 2], [3, 4, 2]]
    assert one.nfe.tolist() == [2, 2, 4]
    assert two.tokens.tolist() == [[3, 8, 2], [3, 3, 2]]
    assert two.nfe.tolist() == [2, 2]
    assert two.filled.tolist() == [False, True, False]


@pytest.mark.core
def test_without_a_terminal_some_frames_are_printed_without_control_codes(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    made = recording("·" * 30, *("a" * k + "·" * (30 - k) for k in range(1, 31)))
    replay.show([made, made], LETTERS, 60.0)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    blocks = out.rstrip("\n").split("\n\n")
    assert len(blocks) == 2 * replay.PRINTED
    assert blocks[-1].splitlines()[1:] == ["a" * 20, "a" * 10]
    assert max(map(len, out.splitlines())) == 20


@pytest.mark.core
@pytest.mark.parametrize(
    ("term", "no_color", "tty", "shown"),
    [("xterm", "", True, True), ("xterm", "1", True, False), ("dumb", "", True, False), ("xterm", "", False, False)],
)
def test_control_codes_are_for_terminals_that_want_them(term, no_color, tty, shown, monkeypatch, capsys):
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: tty)
    replay.show([recording("··", "ab")], LETTERS, 0.0)
    assert ("\x1b[?25l" in capsys.readouterr().out) == shown


# A shell that starts tests in the background has them ignore Ctrl-C, and children inherit that.
SCRIPT = """
import fcntl, signal, sys, termios, types
signal.signal(signal.SIGINT, signal.default_int_handler)
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
import numpy as np
from mdm_jax.app import cli
from mdm_jax.app.terminal import replay
from mdm_jax.tasks.notations import Vocabulary
steps = np.where(np.arange(40) <= np.arange(40)[:, None], np.arange(40) % 3, 3).astype(np.int32)
made = replay.Recording(np.full(40, 3, np.int32), steps, np.arange(1, 41), np.zeros(40, bool), 3)
def run(options):
    replay.show([made, made], Vocabulary("\\nab"), options.replay_seconds)
    print("the end")
sys.modules["mdm_jax.app.work.sampling"] = types.SimpleNamespace(run=run)
sys.exit(cli.main(sys.argv[1:]))
"""


def at_a_terminal(seconds, columns, lines, press=None):
    """The script under a pseudo-terminal of its own: what it wrote, its status, and whether the terminal is as it was.

    ``press`` is sent as a key as soon as the first frame is there.
    """
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (lines, columns))
    before = termios.tcgetattr(theirs)
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "sample", "run", "--replay", "--replay-seconds", str(seconds)],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, env=env | {"TERM": "xterm"},
    )  # fmt: skip
    os.set_blocking(ours, False)
    written, deadline = b"", time.monotonic() + 120
    try:
        while True:
            done = process.poll() is not None
            try:
                written += os.read(ours, 65536)
            except BlockingIOError:
                if done:
                    break
                time.sleep(0.01)
            if press is not None and b"\x1b[J" in written:
                os.write(ours, press)
                press = None
            assert time.monotonic() < deadline, written[-2000:]
        return written.decode(), process.returncode, termios.tcgetattr(theirs) == before
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
        os.close(ours)
        os.close(theirs)


@pytest.mark.processes
@pytest.mark.core
def test_a_real_terminal_shows_every_frame_on_a_screen_of_its_own():
    written, status, same = at_a_terminal(0.3, columns=12, lines=6)
    assert (status, same) == (0, True)
    before, _, rest = written.partition(replay.ENTER)
    screens, _, after = rest.partition(replay.LEAVE)
    assert (before, after) == ("", "the end\r\n")
    screens = screens.split("\x1b[H")[1:]
    assert len(screens) == 2 * 9  # thirty a second
    for screen in screens:
        lines = re.sub(r"\x1b\[[0-9;]*[mKJ]", "", screen).split("\r\n")
        assert len(lines) <= 6
        assert max(map(columns_of, lines)) <= 12
    assert "⏎" in screens[-1]


@pytest.mark.processes
@pytest.mark.core
def test_ctrl_c_in_a_replay_gives_the_terminal_back():
    written, status, same = at_a_terminal(600, columns=80, lines=24, press=b"\x03")
    assert (status, same) == (130, True)
    assert written.count(replay.LEAVE) == 1
    assert "\x1b" not in written[written.index(replay.LEAVE) + len(replay.LEAVE) :]
    assert written.endswith("mdm-jax: interrupted.\r\n")
    assert "Traceback" not in written
