"""What ``import`` says of rows that are few, and of tokens that are pieces of words."""

import json

import numpy as np
import pytest

from experiments.tools.made_checkpoints import made_up
from mdm_jax import tasks
from mdm_jax.app import cli
from mdm_jax.app.work.import_notes import told_of_few_rows, told_of_pieces

pytestmark = pytest.mark.core


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [f"{'abcd'[i % 4]}{'abcd'[i // 4 % 4]}{'abcd'[i // 16 % 4]}cd" for i in range(59)]
    (tmp_path / "lines.txt").write_text("\n".join(lines))
    return tmp_path


def test_few_rows_are_told_with_what_gives_more_and_that_is_so(place, capsys):
    made_up("bert", [*"abcd", "##d"], 8, place / "published")
    assert cli.main(["import", "published", "run", "--task", "text:lines.txt?lines"]) == 0
    said = capsys.readouterr().err
    few = (
        "mdm-jax: plans are chosen on 5 rows and judged on 5 others, so intervals are wide; the model is trained on "
        "none, so held_out=0.8 in the settings of --task (as in fasta:PATH?held_out=0.8) takes about 23 for each.\n"
    )
    assert said.count(few) == 1
    assert said.count("as '##d'") == 1
    task = tasks.from_spec("text:lines.txt?lines&held_out=0.8")
    assert (len(task.validation), len(task.test)) == (23, 23)
    assert told_of_few_rows(task) == (
        "plans are chosen on 23 rows and judged on 23 others, so intervals are wide; more data have more."
    )
    assert cli.main(["import", "published", "other", "--task", "text:lines.txt?lines", "--quiet", "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert json.loads(captured.out)["length"] == 5


def test_lines_too_long_are_left_out_after_dealing_so_that_the_advice_says_about(place):
    (place / "vocab.txt").write_text("[MASK]\na\nb\nc\nd")
    words = [f"{'abcd'[i % 4]}{'abcd'[i // 4 % 4]}{'abcd'[i // 16 % 4]}" * (1 + i % 3) for i in range(64)]
    (place / "lines.txt").write_text("\n".join(words))
    spec = "tokens:lines.txt?tokenizer=vocab.txt&lines"
    assert "takes about 17 for each" in str(told_of_few_rows(tasks.from_spec(spec, 6)))
    task = tasks.from_spec(f"{spec}&held_out=0.8", 6)
    assert (len(task.validation), len(task.test)) == (18, 17)


def test_windows_and_many_rows(place):
    (place / "long.txt").write_text("ab cd " * 400)
    said = told_of_few_rows(tasks.from_spec("text:long.txt", 8))
    assert said is not None
    assert said.endswith("; a longer text has more, or a smaller --length.")
    np.save("rows.npy", np.arange(3_000).reshape(1_000, 3) % 7)
    assert told_of_few_rows(tasks.from_spec("npy:rows.npy")) is None
    assert "held_out=0.8" in str(told_of_few_rows(tasks.from_spec("npy:rows.npy?held_out=0.1")))


@pytest.mark.parametrize(
    ("tokens", "says"),
    [
        (["a", "b", "##b"], "tokens that go on a word, as '##b'; the characters of this task are those that begin one"),
        (["a", "b", "Ġa"], "tokens that begin a word, as 'Ġa'; the characters of this task are those that go on one"),
        (["a", "b", "▁b"], "tokens that begin a word, as '▁b'; the characters of this task are those that go on one"),
        (["a", "b", "##c", "▁"], None),
        (None, None),
    ],
)
def test_which_pieces_stand_for_characters(tokens, says):
    told = told_of_pieces(tasks.lines(["abba", "baab"] * 10), tokens)
    assert (told is None) == (says is None)
    assert says is None or says in str(told)


def test_a_task_in_the_checkpoint_s_own_tokens_needs_no_such_note(place):
    (place / "vocab.txt").write_text("[MASK]\na\nb\nc\nd")
    task = tasks.from_spec("tokens:lines.txt?tokenizer=vocab.txt&lines")
    assert told_of_pieces(task, ["a", "b", "c", "d", "##d"]) is None
