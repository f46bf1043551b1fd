"""FASTA files as a task: each record's sequence a row of its own length."""

import dataclasses
import re
from pathlib import Path

from mdm_jax.support.errors import InputError, require
from mdm_jax.support.files import digest
from mdm_jax.tasks import dealing
from mdm_jax.tasks.line_tasks.line_texts import Texts
from mdm_jax.tasks.line_tasks.text_lines import LinesTask, task_of
from mdm_jax.tasks.source_files import SourceFile, read_text
from mdm_jax.tasks.spelling import Settings, spelled
from mdm_jax.tasks.subwords import read_tokenizer
from mdm_jax.tasks.text_files import LARGEST_FILE

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
"""The twenty amino acids."""
SETTINGS = {"vocabulary": "FILE", "letters": "LETTERS", **dealing.SETTING}
"""What may stand behind ``fasta:PATH?``; of the first two, one."""
_NO_SEQUENCE = re.compile(r"[^A-Z*\-]")


def fasta(
    path: str | Path,
    length: int | None = None,
    *,
    vocabulary: str | Path | None = None,
    letters: str | None = None,
    held_out: float = dealing.HELD_OUT,
) -> LinesTask:
    r"""The sequences of a FASTA file: eight tenths to train on, a tenth each to choose and to judge.

    A sequence is what stands between its header, a line that begins with ">", and the next: its lines are joined and
    written in capitals, and a "*" at its end is dropped. Headers are not used; lines that begin with ";" are comments.
    Rows end where their sequences do, as those of :func:`mdm_jax.tasks.lines`; the vocabulary is what occurs.

    Args:
        path: a file of letters, "-" and "*" with headers between.
        length: letters in the longest row; longer sequences are left out. By default that of the longest.
        vocabulary: the ``vocab.txt`` or ``tokenizer.json`` of a published model: the vocabulary is that of the twenty
            amino acids if they are all there, else every capital letter that is a token. Sequences with others are left
            out. A run keeps the letters, not the file.
        letters: the same, letter by letter.
        held_out: the share of sequences to choose by and to judge by, half of it each. The rest is to train on.

    Raises:
        InputError: a file cannot be read or is something else, which the sentence says with the number of the line;
            fewer than ``FEWEST_ROWS`` sequences; letters that are none, or both ways to say them.

    Example:
        >>> import pathlib, mdm_jax as mdm
        >>> records = [f">protein {number}\nmkt{'ay' * (number % 4)}\nLL*\n" for number in range(40)]
        >>> pathlib.Path("few.fasta").write_text("".join(records)) > 0
        True
        >>> task = mdm.tasks.fasta("few.fasta")
        >>> task.train.shape, task.vocabulary.characters, task.show(task.test[0])
        ((32, 11), 'AKLMTY', 'MKTAYAYLL')
    """
    held_out = dealing.require_held_out(held_out)
    require(str(path) != "", "path", str(path), "the path of a FASTA file")
    file = SourceFile(path, 'a FASTA file, whose headers begin with ">"')
    content = read_text(file, LARGEST_FILE)
    known = _records(file, content)
    if vocabulary is not None:
        require(letters is None, "letters", letters, "left out where a vocabulary is given")
        letters = _letters_of(vocabulary)
    settings = {"letters": letters, **dealing.spelled_share(held_out)}
    spec = spelled("fasta", str(file.path), settings, SETTINGS)
    if letters is None:
        return task_of(known, spec, digest(content), length, held_out=held_out)
    good = len(set(letters)) == len(letters) >= 2 and not _NO_SEQUENCE.search(letters)
    require(good, "letters", letters, f"different capital letters, as in {RESIDUES}")
    kept = [(text, number) for text, number in zip(known.texts, known.numbers) if set(text) <= set(letters)]
    some = dataclasses.replace(known, texts=[text for text, _ in kept], numbers=[number for _, number in kept])
    made = task_of(some, spec, digest(content), length, letters=letters, held_out=held_out)
    if more := len(known.texts) - len(kept):
        told = f"{more:,} {'record was' if more == 1 else 'records were'} left out for letters other than {letters}."
        made = dataclasses.replace(made, notes=(told, *made.notes))
    return made


def from_settings(path: str, settings: Settings, length: int | None) -> LinesTask:
    """:func:`fasta` of a file and its settings, as a spec "fasta:PATH?vocabulary=FILE" has them.

    Raises:
        InputError: as :func:`fasta`.
    """
    chosen = {name: settings.get(name) for name in ("vocabulary", "letters")}
    return fasta(path, length, **chosen, held_out=dealing.share_of(settings))


def _letters_of(vocabulary: str | Path) -> str:
    """The letters of sequences that a published model knows."""
    words = read_tokenizer(vocabulary)
    found = {text for text in words.texts if len(text) == 1 and "A" <= text <= "Z"}
    if len(found) < 2:
        raise InputError(f"vocabulary must have tokens that are capital letters; {str(vocabulary)!r} has {len(found)}.")
    return RESIDUES if found >= set(RESIDUES) else "".join(sorted(found))


def _records(file: SourceFile, content: str) -> Texts:
    sequences: list[list[str]] = []
    numbers: list[int] = []
    for number, line in enumerate(content.split("\n"), start=1):
        if line.startswith(">"):
            sequences.append([])
            numbers.append(number)
            continue
        letters = "".join(line.split()).upper()
        if not letters or line.startswith(";"):
            continue
        if not sequences:
            raise file.refused(f"has a sequence in line {number}, before the first header")
        if wrong := _NO_SEQUENCE.search(letters):
            raise file.refused(f"has {wrong[0]!r} in line {number}, which is no letter of a sequence")
        sequences[-1].append(letters)
    texts = ["".join(parts).removesuffix("*") for parts in sequences]
    return Texts(texts, numbers, str(file.path), "record")
