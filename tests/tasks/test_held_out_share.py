"""Another share of rows that is held out: dealt by its rule, stored only where it is not the usual one, or refused."""

import json

import numpy as np
import pytest

from mdm_jax import tasks
from mdm_jax.support.errors import InputError
from mdm_jax.tasks.dealing import deal, require_held_out

pytestmark = pytest.mark.core
ROWS = 59
PARTS = ("train", "validation", "test")


def dealt(rows, half):
    """The split by its rule, in a loop: the first of a permutation are validation, as many more are test."""
    order = np.random.RandomState(0).permutation(len(rows)).tolist()
    places = order[2 * half :], order[:half], order[half : 2 * half]
    return {part: [rows[place] for place in found] for part, found in zip(PARTS, places)}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    draw = np.random.default_rng(0)
    rows = ["".join(draw.choice(list("ACDE"), draw.integers(3, 9))) for _ in range(ROWS)]
    (folder / "rows.txt").write_text("\n".join(f"{text[0]}={text}" for text in rows))
    (folder / "rows.fasta").write_text("".join(f">{text}\n{text}\n" for text in rows))
    (folder / "vocab.txt").write_text("[MASK]\nA\nC\nD\nE\n=\nAC")
    np.save(folder / "rows.npy", draw.integers(0, 4, (ROWS, 6)))
    np.save(folder / "labels.npy", draw.integers(0, 3, ROWS))
    return folder


def kinds(place):
    """Specs, and the text of each row."""
    lines = (place / "rows.txt").read_text().split("\n")
    numbers = [" ".join(map(str, row)) for row in np.load(place / "rows.npy")]
    return {
        f"text:{place}/rows.txt?lines": lines,
        f"text:{place}/rows.txt?lines&prompt==": lines,
        f"tokens:{place}/rows.txt?tokenizer={place}/vocab.txt&lines": lines,
        f"fasta:{place}/rows.fasta?letters=ACDE": [line[2:] for line in lines],
        f"npy:{place}/rows.npy?labels={place}/labels.npy": numbers,
    }


@pytest.mark.parametrize("kind", range(5))
def test_rows_are_dealt_by_the_share_and_a_run_finds_them_again(place, kind):
    spec, rows = list(kinds(place).items())[kind]
    task = tasks.from_spec(f"{spec}&held_out=0.5")
    for part, wanted in dealt(rows, 14).items():  # half of 29.5, rounded down
        assert [task.show(row) for row in getattr(task, part)] == wanted
    stored = json.loads(json.dumps(task.describe()))
    assert stored["held_out"] == 0.5
    assert stored["spec"].endswith("&held_out=0.5")
    again = tasks.restore(stored)
    assert again.describe() == stored
    assert all(np.array_equal(getattr(again, part), getattr(task, part)) for part in PARTS)
    usual = tasks.from_spec(f"{spec}&held_out=.2").describe()
    assert usual == tasks.from_spec(spec).describe()  # as runs from before have it
    assert "held_out" not in json.dumps(usual)
    assert {name for name in usual if usual[name] != stored.get(name)} <= {"spec", "lengths"}


def test_what_is_known_of_rows_is_dealt_with_them(place):
    spec = f"npy:{place}/rows.npy?labels={place}/labels.npy&held_out=0.3"
    task = tasks.from_spec(spec)
    for part, wanted in dealt(np.load(place / "labels.npy").tolist(), 8).items():
        assert tasks.context_of(task, part)["label"].tolist() == wanted
    behind = tasks.from_spec(f"text:{place}/rows.txt?lines&prompt==&held_out=0.3")
    for part in PARTS:
        assert {int(row.sum()) for row in np.asarray(tasks.given_of(behind, part))} == {2}
    assert tasks.fasta(place / "rows.fasta", held_out=0.3).spec.endswith("rows.fasta?held_out=0.3")


def test_a_list_of_lines_says_its_share():
    lines = ["ab", "ba", "aab", "bba"] * 10
    task = tasks.lines(lines, held_out=0.6)
    assert [len(getattr(task, part)) for part in PARTS] == [16, 12, 12]
    assert task.describe() == tasks.lines(lines).describe() | {
        "held_out": 0.6,
        "lengths": np.bincount([len(task.show(row)) for row in task.train]).tolist(),
    }


@pytest.mark.parametrize(("share", "rows", "half"), [(0.58, 100, 29), (0.2, 29, 2), (0.9, 20, 9), (1e-1, 40, 2)])
def test_half_of_the_share_is_rounded_down_as_it_is_written(share, rows, half):
    train, validation, test = deal(np.arange(rows), held_out=share)
    assert (len(train), len(validation), len(test)) == (rows - 2 * half, half, half)
    assert sorted(np.concatenate([train, validation, test]).tolist()) == list(range(rows))


@pytest.mark.parametrize(("share", "leaves"), [(1.5, None), (0.05, "57, 1 and 1"), (0.99, "1, 29 and 29")])
def test_a_share_that_is_none_is_one_sentence(place, share, leaves):
    says = "held_out must be a number above 0 and below 1, the share of rows that is held out; got 1.5."
    if leaves is not None:
        says = "held_out must leave two of the 59 rows or more to train on, to choose by and to judge by; "
        says += f"{share} leaves {leaves}."
    for make in (
        lambda: tasks.fasta(place / "rows.fasta", held_out=share),
        lambda: tasks.lines(place / "rows.txt", held_out=share),
        lambda: tasks.tokenized_lines(place / "rows.txt", place / "vocab.txt", held_out=share),
        lambda: tasks.npy(place / "rows.npy", held_out=share),
    ):
        with pytest.raises(InputError) as caught:
            make()
        assert str(caught.value) == says


@pytest.mark.parametrize("share", [0, 0.0, 1, 1.0, -0.5, float("nan"), 10**400, True, "0.5", None, np.ones(2) / 2])
def test_what_is_no_share_is_refused(share):
    with pytest.raises(InputError, match="held_out must be a number above 0 and below 1, the share of rows that is"):
        require_held_out(share)


@pytest.mark.parametrize(
    "share", ["0", "1", "1.5", "-0.5", "half", "nan", "", "50%", "0_5", " .5", "1e-400", "\u0660.5"]
)
def test_a_share_of_a_spec_that_is_none_is_one_sentence(place, share):
    with pytest.raises(InputError) as caught:
        tasks.from_spec(f"fasta:{place}/rows.fasta?held_out={share}")
    assert str(caught.value) == f"held_out must be a number above 0 and below 1, as in held_out=0.5; got {share!r}."


def test_windows_have_no_such_share(place):
    for spec, says in (
        (f"text:{place}/rows.txt?held_out=0.5", "spec must have lines where it has held_out, as in "),
        (f"tokens:{place}/rows.txt?bpe=300&held_out=0.5", "spec must be given lines too, as in "),
        (f"bin:{place}/rows.npy?held_out=0.5", "spec must have no settings but dtype=TYPE and vocab=SIZE"),
    ):
        with pytest.raises(InputError) as caught:
            tasks.from_spec(spec)
        assert str(caught.value).startswith(says)
    np.save(place / "stream.npy", np.arange(500) % 7)
    with pytest.raises(InputError, match=r"that file is one stream of tokens; got .* with held_out"):
        tasks.from_spec(f"npy:{place}/stream.npy?held_out=0.5", 4)
