"""Grids as text: read in every form that puzzles have, shown with lines between boxes, replayed and reported so."""

import dataclasses
import json
import re

import jax
import numpy as np
import pytest

from mdm_jax import models
from mdm_jax.app.cli import main
from mdm_jax.app.report import gallery
from mdm_jax.app.terminal.replay import Recording, frames, look_of
from mdm_jax.support.errors import InputError
from mdm_jax.tasks import Grid, Notation, npy, restore, sudoku4, vocabulary_of
from mdm_jax.tasks.notations import from_json
from mdm_jax.training import Run, Settings

NINE = Grid(9, (3, 3))
PUZZLE = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
SHOWN = """\
5 3 · │ · 7 · │ · · ·
6 · · │ 1 9 5 │ · · ·
· 9 8 │ · · · │ · 6 ·
──────┼───────┼──────
8 · · │ · 6 · │ · · 3
4 · · │ 8 · 3 │ · · 1
7 · · │ · 2 · │ · · 6
──────┼───────┼──────
· 6 · │ · · · │ 2 8 ·
· · · │ 4 1 9 │ · · 5
· · · │ · 8 · │ · 7 9"""


def refusal(call, *words):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.core
def test_puzzles_are_read_in_every_form():
    want = [int(mark) - 1 if mark != "." else 9 for mark in PUZZLE]
    lines = "\n".join(PUZZLE[start : start + 9] for start in range(0, 81, 9))
    plain = SHOWN.replace("│", "|").replace("─", "-").replace("┼", "+")
    for text in (PUZZLE, " ".join(PUZZLE), lines, SHOWN, plain, PUZZLE.replace(".", "0"), PUZZLE.replace(".", "□")):
        tokens = NINE.encode(text, mask="□")
        assert tokens.dtype == np.int32
        assert tokens.tolist() == want
    assert NINE.encode(PUZZLE.replace(".", "x"), mask="x").tolist() == want
    assert NINE.decode(tokens) == SHOWN
    assert NINE.decode(tokens, mask="_") == SHOWN.replace("·", "_")
    assert NINE.encode("12 3").tolist() == [0, 1, 2]
    assert NINE.encode("").shape == (0,)


@pytest.mark.core
def test_boxes_of_other_shapes_are_drawn():
    wide = Grid(6, (2, 3)).decode(np.arange(36) % 6)
    assert wide.split("\n")[:4] == ["1 2 3 │ 4 5 6", "1 2 3 │ 4 5 6", "──────┼──────", "1 2 3 │ 4 5 6"]
    assert len(wide.split("\n")) == 8
    tall = Grid(6, (3, 2)).decode(np.arange(36) % 6)
    assert tall.split("\n")[2:5] == ["1 2 │ 3 4 │ 5 6", "────┼─────┼────", "1 2 │ 3 4 │ 5 6"]
    assert Grid(2, (1, 2)).decode(np.array([0, 1, 2, 0])) == "1 2\n───\n· 1"
    assert Grid(2, (2, 1)).decode(np.array([0, 1, 2, 0])) == "1 │ 2\n· │ 1"
    assert NINE.decode(np.array([0, 8, 9])) == "1 9 ·"  # no whole grid
    assert NINE.pieces(np.array([0, 8, 9])) == ["1", "9", "·"]
    assert isinstance(NINE, Notation)


@pytest.mark.core
def test_what_is_no_grid_is_refused_in_one_sentence():
    refusal(lambda: NINE.encode("12a"), "text must be a digit from 1 to 9 for each cell; got 'a' as cell 3")
    refusal(lambda: NINE.encode("1."), "got '.' as cell 2")
    refusal(lambda: NINE.encode("10"), "got '0' as cell 2")
    refusal(lambda: Grid(4, (2, 2)).encode("1□5", mask="□"), "from 1 to 4 for each cell, or '□' where it is blank; got")
    for mask in ("", "5", " ", "|", "ab", "─"):
        refusal(
            lambda mask=mask: NINE.encode("1", mask=mask), "mask must be one character that is no digit from 1 to 9"
        )
    refusal(lambda: NINE.decode(np.array([10])), "ids from 0 to 8 (the digits from 1 on) or the mask 9; got 10")
    refusal(lambda: Grid(9, (3, 2)), "box must be of 9 cells, one for each digit; got (3, 2)")
    refusal(lambda: Grid(10, (2, 5)), "size must be a whole number from 2 to 9")
    refusal(lambda: Grid(4, (0, 4)), "box must be a whole number, 1 or more; got 0")


@pytest.mark.core
def test_what_is_stored_is_read_back_or_refused():
    for grid in (NINE, Grid(6, (2, 3))):
        assert from_json(json.loads(json.dumps(grid.to_json()))) == grid
    for bad in ({"grid": 9}, {"grid": 9, "box": [3]}, {"grid": "9", "box": [3, 3]}, {"grid": 9, "box": [3.0, 3]}):
        refusal(lambda bad=bad: from_json(bad), "its vocabulary is malformed")
    refusal(lambda: from_json({"grid": 9, "box": [3, 2]}), "box must be of 9 cells")


@pytest.mark.core
def test_arrays_of_a_user_can_be_shown_as_grids(tmp_path):
    np.save(tmp_path / "grids.npy", sudoku4().test)
    task = dataclasses.replace(npy(tmp_path / "grids.npy"), vocabulary=Grid(4, (2, 2)))
    stored = json.loads(json.dumps(task.describe()))
    assert vocabulary_of(stored) == Grid(4, (2, 2))
    assert restore(stored).show(task.test[0]) == task.show(task.test[0])
    assert task.show(task.test[0]).count("─") == 8


@pytest.mark.core
def test_a_replay_keeps_the_lines_of_a_grid():
    grid, canvas = Grid(4, (2, 2)), np.full(16, 4, np.int32)
    canvas[:2] = [2, 0]
    after = np.stack([canvas, canvas])
    after[:, 5] = 3
    after[1, 8:] = [0, 1, 2, 3, 2, 3, 0, 1]
    made = Recording(canvas, after, np.arange(1, 3), np.zeros(16, bool), 4)
    look = look_of(made, grid)

    def lines(width, height=20, **options):
        every = frames(made, look, lambda: (width, height), **options)
        return [text.split("\n")[2:] for text in every]

    assert ["\n".join(each) for each in lines(40, colour=False)] == [
        grid.decode(canvas), grid.decode(after[0]), grid.decode(after[1]),
    ]  # fmt: skip
    coloured = lines(40, colour=True)
    assert [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in coloured[2]] == lines(40, colour=False)[2]
    assert coloured[2][2] == "────┼────"
    assert "\x1b[0m │ " in coloured[2][3]  # colour ends before a line between boxes
    assert max(len(line) for frame in lines(5, colour=False) for line in frame) <= 5
    assert len(lines(40, height=5, colour=False)[0]) == 3


@pytest.mark.core
def test_the_report_shows_grids_with_their_lines():
    grid = Grid(4, (2, 2))
    tokens = np.arange(16) % 5
    row = {"pieces": grid.pieces(tokens), "reveal_step": [-1] * 4 + [0] * 6 + [1] * 6}
    html = gallery.one_sample(row, 2, 100, grid)
    assert re.sub("<[^>]*>", "", html).strip() == grid.decode(tokens)
    assert '<u class="given" title="given">1</u> <u class="given" title="given">2</u> │ ' in html
    assert html.count('title="step 1"') == html.count('title="step 2"') == 6
    assert '"> ' not in html  # what is drawn between cells has no colour
    moving = gallery.one_sample(row, 2, 100, grid, seconds=1.0)
    assert moving.count("--s:") == 12
    short = gallery.one_sample({"pieces": ["1", "2"], "reveal_step": [0, 0]}, 2, 100, grid)
    assert ">12</i>" in short
    assert "… and 9 more tokens" in gallery.one_sample(row, 2, 7, grid)


@pytest.mark.thorough
def test_puzzles_are_given_on_the_command_line(monkeypatch, capsys):
    """The command on a model that has learnt nothing."""
    denoiser = models.transformer(4, length=16, width=8, depth=1, heads=1)
    params = denoiser.init(jax.random.key(0), 16)
    run = Run(denoiser, params, None, Settings(length=16), 0, sudoku4().describe())
    monkeypatch.setattr("mdm_jax.app.work.sampling.load", lambda *_, **__: run)
    sample = ["sample", "run", "--schedule", "linear", "--steps", "3", "--rows", "1"]
    capsys.readouterr()
    for text in ("12.. 34.. .... ...1", "1 2 □ □ 3 4" + " □" * 9 + " 1", "12003400000000 01"):
        assert main([*sample, "--infill", text, "--json"]) == 0
        row = json.loads(capsys.readouterr().out)["samples"][0]
        assert row["text"].split("\n")[2] == "────┼────"
        assert [row["pieces"][place] for place in (0, 1, 4, 5, 15)] == ["1", "2", "3", "4", "1"]
        assert [place for place, step in enumerate(row["reveal_step"]) if step == -1] == [0, 1, 4, 5, 15]
    assert main([*sample, "--prompt", "1234", "--replay"]) == 0
    shown = capsys.readouterr().out
    assert "1 2 │ 3 4\n· · │ · ·\n────┼────\n" in shown
    assert main([*sample, "--infill", "12.. 35"]) == 2
    assert "--infill must be a digit from 1 to 4 for each cell, or '□' where it is blank" in capsys.readouterr().err
    assert main([*sample, "--prompt", "1" * 17]) == 2
    assert "--prompt must be at most 16 cells long, as the model is; got 17." in capsys.readouterr().err
