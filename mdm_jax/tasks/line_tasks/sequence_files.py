"""FASTA files as a task: each record's sequence a row of its own length."""

import re
from pathlib import Path

from mdm_jax.support.errors import require
from mdm_jax.support.files import digest
from mdm_jax.tasks.line_tasks.line_texts import Texts
from mdm_jax.tasks.line_tasks.text_lines import LinesTask, task_of
from mdm_jax.tasks.source_files import SourceFile, read_text
from mdm_jax.tasks.text_files import LARGEST_FILE

_NO_SEQUENCE = re.compile(r"[^A-Z*\-]")


def fasta(path: str | Path, length: int | None = None) -> LinesTask:
    r"""The sequences of a FASTA file: eight tenths to train on, a tenth each to choose and to judge.

    A sequence is what stands between its header, a line that begins with ">", and the next: its lines are joined and
    written in capitals, and a "*" at its end is dropped. Headers are not used; lines that begin with ";" are comments.
    Rows end where their sequences do, as those of :func:`mdm_jax.tasks.lines`; the vocabulary is what occurs.

    Args:
        path: a file of letters, "-" and "*" with headers between.
        length: letters in the longest row; longer sequences are left out. By default that of the longest.

    Raises:
        InputError: the file cannot be read or is something else, which the sentence says with the number of the line;
            fewer than ``FEWEST_ROWS`` sequences.

    Example:
        >>> import pathlib, mdm_jax as mdm
        >>> records = [f">protein {number}\nmkt{'ay' * (number % 4)}\nLL*\n" for number in range(40)]
        >>> pathlib.Path("few.fasta").write_text("".join(records)) > 0
        True
        >>> task = mdm.tasks.fasta("few.fasta")
        >>> task.train.shape, task.vocabulary.characters, task.show(task.test[0])
        ((32, 11), 'AKLMTY', 'MKTAYAYLL')
    """
    require(str(path) != "", "path", str(path), "the path of a FASTA file")
    file = SourceFile(path, 'a FASTA file, whose headers begin with ">"')
    content = read_text(file, LARGEST_FILE)
    return task_of(_records(file, content), f"fasta:{file.path}", digest(content), length)


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
