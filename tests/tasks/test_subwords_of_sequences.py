"""Sequences in the letters of a published model's vocabulary: those it has, whether they occur or not."""

import json

import numpy as np
import pytest

from mdm_jax import tasks
from mdm_jax.support.errors import InputError

pytestmark = pytest.mark.core

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
SPECIAL = ["<cls>", "<pad>", "<eos>", "<unk>"]
ESM = [*SPECIAL, *"LAGVSERTIDPKQNFYMHWC", *"XBUZO.-", "<null_1>", "<mask>"]


@pytest.fixture
def place(tmp_path):
    records = [f">{i}\nMKT{'AY' * (i % 4)}LL{'X' * (i % 10 == 3)}\n" for i in range(50)]
    (tmp_path / "few.fasta").write_text("".join(records))
    (tmp_path / "vocab.txt").write_text("\n".join(ESM))
    return tmp_path


def test_the_vocabulary_is_the_twenty_residues(place):
    task = tasks.from_spec(f"fasta:{place / 'few.fasta'}?vocabulary={place / 'vocab.txt'}")
    assert task.vocabulary == tasks.Vocabulary(RESIDUES)
    rows = [task.show(row) for part in ("train", "validation", "test") for row in getattr(task, part)]
    assert sorted(rows) == sorted(f"MKT{'AY' * (i % 4)}LL" for i in range(50) if i % 10 != 3)
    assert tasks.notes_of(task)[0] == f"5 records were left out for letters other than {RESIDUES}."
    plain = tasks.from_spec(f"fasta:{place / 'few.fasta'}")
    assert plain.vocabulary.characters == "AKLMTXY"
    assert plain.spec == f"fasta:{place / 'few.fasta'}"


def test_a_run_keeps_the_letters_and_not_the_file(place):
    task = tasks.from_spec(f"fasta:{place / 'few.fasta'}?vocabulary={place / 'vocab.txt'}", 11)
    assert task.spec == f"fasta:{place / 'few.fasta'}?letters={RESIDUES}"
    stored = json.loads(json.dumps(task.describe()))
    (place / "vocab.txt").unlink()
    again = tasks.restore(stored)
    assert again.describe() == task.describe()
    assert np.array_equal(again.train, task.train)


def test_other_letters_are_those_that_are_tokens(place):
    (place / "bases.txt").write_text("[MASK]\nN\nA\nC\nG\nT\nACG")
    records = [f">{i}\nGATTACA{'N' * (i % 3)}\n" for i in range(30)]
    (place / "dna.fasta").write_text("".join(records))
    task = tasks.fasta(place / "dna.fasta", vocabulary=place / "bases.txt")
    assert task.vocabulary.characters == "ACGNT"
    assert tasks.fasta(place / "dna.fasta", letters="TACGN").vocabulary.characters == "ACGNT"


def test_wrong_letters_are_refused_in_one_sentence(place):
    path = place / "few.fasta"
    (place / "atoms.txt").write_text("c\nn\no")
    for settings, says in (
        ({"letters": "AAC"}, "letters must be different capital letters, as in ACDEFGHIKLMNPQRSTVWY; got 'AAC'."),
        ({"letters": "a"}, "letters must be different capital letters"),
        ({"letters": "AC", "vocabulary": "x"}, "letters must be left out where a vocabulary is given; got 'AC'."),
        ({"vocabulary": place / "atoms.txt"}, "vocabulary must have tokens that are capital letters; "),
        ({"letters": "AC"}, "path must name at least 20 records (at least two are to choose by"),
    ):
        with pytest.raises(InputError) as caught:
            tasks.fasta(path, **settings)
        assert str(caught.value).startswith(says)
        assert str(caught.value).count(". ") == 0
