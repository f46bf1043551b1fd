"""The files of four kinds of data, and what somebody types who has them: from a file to a report."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.tools import made_data

SCORE = '''"""Whether a sample could be a molecule."""

import numpy as np

import mdm_jax as mdm
from experiments.tools.made_data import is_balanced

task = mdm.tasks.lines("molecules.txt")


def balanced(tokens):
    return np.array([is_balanced(task.show(row)) for row in tokens], float)
'''


class Data(NamedTuple):
    """One kind of data and the way from its file to a report.

    Attributes:
        write: the files, into a folder; takes the folder and whether the run is a quick one.
        commands: what is typed; ``SIZE`` and ``FEW`` stand for options that a quick run chooses smaller.
        texts: the rows of the file as text, if lengths differ.
    """

    write: Callable[[Path, bool], None]
    commands: tuple[str, ...]
    texts: Callable[[Path], list[str]] | None = None


def write_molecules(folder: Path, quick: bool) -> None:
    lines = made_data.molecules(300 if quick else 6000, seed=0)
    (folder / "molecules.txt").write_text("\n".join(lines) + "\n")
    (folder / "chemistry.py").write_text(SCORE)


def write_pictures(folder: Path, quick: bool) -> None:
    pictures, labels = made_data.pictures(100 if quick else 4000, seed=0)
    np.save(folder / "pictures.npy", pictures)
    np.save(folder / "labels.npy", labels)


def write_proteins(folder: Path, quick: bool) -> None:
    (folder / "proteins.fasta").write_text(made_data.proteins(100 if quick else 2000, seed=0))


def write_scripts(folder: Path, quick: bool) -> None:
    (folder / "scripts.txt").write_text(made_data.many_scripts(10**5 if quick else 2 * 10**7, seed=0), "utf-8")


def molecule_lines(folder: Path) -> list[str]:
    return (folder / "molecules.txt").read_text().split()


def protein_sequences(folder: Path) -> list[str]:
    entries = (folder / "proteins.fasta").read_text().split(">")[1:]
    return ["".join(entry.splitlines()[1:]) for entry in entries]


DATA = {
    "molecules": Data(
        write_molecules,
        (
            'mdm-jax train runs/molecules --task "text:molecules.txt?lines" --steps 800 SIZE',
            "mdm-jax profile runs/molecules FEW",
            "mdm-jax evaluate runs/molecules linear --budgets 8,32 --score chemistry:balanced --samples 128",
            "mdm-jax report runs/molecules",
        ),
        molecule_lines,
    ),
    "pictures": Data(
        write_pictures,
        (
            'mdm-jax train runs/pictures --task "npy:pictures.npy?labels=labels.npy" --steps 300 --batch 8 SIZE',
            "mdm-jax profile runs/pictures FEW",
            "mdm-jax sample runs/pictures --label 0,1,2,3,4 --guidance 1 --steps 49 --rows 10",
            "mdm-jax report runs/pictures",
        ),
    ),
    "proteins": Data(
        write_proteins,
        (
            "mdm-jax train runs/proteins --task fasta:proteins.fasta --model bidirectional --steps 400 --batch 8 SIZE",
            "mdm-jax profile runs/proteins FEW",
            "mdm-jax tune runs/proteins --budgets 8,32",
            "mdm-jax report runs/proteins --samples",
        ),
        protein_sequences,
    ),
    "scripts": Data(
        write_scripts,
        (
            "mdm-jax train runs/scripts --task text:scripts.txt --length 32 --steps 400 SIZE",
            "mdm-jax profile runs/scripts FEW",
            "mdm-jax sample runs/scripts --steps 16",
            "mdm-jax report runs/scripts",
        ),
    ),
}
SIZES = {"SIZE": ("--width 48 --depth 2 --heads 2", "--width 16 --depth 1 --heads 2"), "FEW": ("--encodings 2048", "")}
QUICK = {"--steps 800": "--steps 4", "--samples 128": "--samples 2", "8,32": "4", "FEW": "--encodings 16"}
"""A quick run takes one kind of data, with the smaller sizes and with these changes."""


def as_typed(line: str, quick: bool) -> str:
    """A command with its sizes."""
    for short, long in QUICK.items() if quick else ():
        line = line.replace(short, long)
    for name, (full, small) in SIZES.items():
        line = line.replace(name, small if quick else full)
    return line
