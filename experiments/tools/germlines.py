"""Human germlines of antibodies' V regions, as the package anarci (BSD) has them, and how far sequences are from them.

A *gene* (IGHV3-23) has alleles that differ by a few residues; genes belong to *families* (IGHV3), which resemble each
other, too, but less. Duplicates of a locus (IGKV1D) are counted with the family that they repeat.
"""

import ast
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"


def germlines(wheel: Path) -> dict[str, str]:
    """Every human heavy, kappa and lambda V region of the wheel by its allele's name, without gaps.

    The module that holds them is read as text: a dictionary of literals, which is not run.
    """
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read("anarci/germlines.py").decode()
    tree = ast.parse(text)
    every = next(ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign))["V"]
    return {
        name: sequence.replace("-", "")
        for chain in "HKL"
        for name, sequence in every[chain]["human"].items()
        if set(sequence) <= {*RESIDUES, "-"}
    }


def gene_of(allele: str) -> str:
    """The gene of an allele: ``IGKV1D-39*01`` is one of ``IGKV1D-39``."""
    return allele.split("*")[0]


def family_of(allele: str) -> str:
    """The family of an allele: ``IGKV1D-39*01`` is of ``IGKV1``.

    Example:
        >>> from experiments.tools.germlines import family_of
        >>> family_of("IGKV1D-39*01"), family_of("IGLV10-54*02"), family_of("IGHV3/OR16-9*01")
        ('IGKV1', 'IGLV10', 'IGHV3')
    """
    found = re.match(r"IG[HKL]V\d+", allele)
    assert found is not None, allele
    return found[0]


def genes_of_families(alleles: Mapping[str, str], length: int, most: int) -> dict[str, dict[str, str]]:
    """Of each family at most so many genes, the first allele of each, cut to its first residues; none twice.

    Genes are taken evenly from those of the family, in the order of their names.
    """
    by_family: dict[str, dict[str, str]] = {}
    for allele in sorted(alleles):
        genes = by_family.setdefault(family_of(allele), {})
        cut = alleles[allele][:length]
        if len(cut) == length and gene_of(allele) not in genes and cut not in genes.values():
            genes[gene_of(allele)] = cut
    chosen = {}
    for family, genes in by_family.items():
        names = sorted(genes)
        places = np.unique(np.linspace(0, len(names) - 1, min(most, len(names))).round().astype(int))
        chosen[family] = {names[i]: genes[names[i]] for i in places.tolist()}
    return chosen


def halves_of(families: Sequence[str]) -> tuple[list[str], list[str]]:
    """Every other family, locus by locus, and the rest.

    Example:
        >>> from experiments.tools.germlines import halves_of
        >>> halves_of(["IGHV1", "IGHV2", "IGHV10", "IGKV1", "IGKV2"])
        (['IGHV1', 'IGHV10', 'IGKV1'], ['IGHV2', 'IGKV2'])
    """
    halves: tuple[list[str], list[str]] = ([], [])
    for locus in ("IGHV", "IGKV", "IGLV"):
        mine = sorted((one for one in families if one.startswith(locus)), key=lambda one: int(one[4:]))
        halves[0].extend(mine[::2])
        halves[1].extend(mine[1::2])
    return halves


def edits(one: str, others: Sequence[str]) -> Int[np.ndarray, " others"]:
    """The least number of residues put in, left out or replaced that turn a sequence into each of others, equally long.

    Example:
        >>> from experiments.tools.germlines import edits
        >>> edits("QVQL", ["QVQL", "EVQL", "VQLA"])
        array([0, 1, 2])
    """
    table = np.array([list(other) for other in others])  # others, length
    width = table.shape[1]
    above = np.tile(np.arange(width + 1), (len(others), 1))
    for i, letter in enumerate(one, 1):
        same = table == letter
        reached = np.minimum(above[:, 1:] + 1, above[:, :-1] + ~same)
        row = np.concatenate([np.full((len(others), 1), i), reached], axis=1)
        # What is put in along the row: each place is at most one more than the one before.
        above = np.minimum.accumulate(row - np.arange(width + 1), axis=1) + np.arange(width + 1)
    return above[:, -1]


def nearest(one: str, alleles: Mapping[str, str], but: str | None = None) -> tuple[str, float]:
    """The germline nearest to a sequence and the share of residues that are the same.

    Args:
        one: of as many residues as are compared.
        alleles: germlines, cut to as many.
        but: a family that is left out.
    """
    names = [name for name in alleles if but is None or family_of(name) != but]
    apart = edits(one, [alleles[name] for name in names])
    return names[int(apart.argmin())], 1 - float(apart.min()) / len(one)


def made_up_germlines(seed: int) -> dict[str, str]:
    """Two families for each locus, of three genes and two alleles each, at random: for a quick form."""
    random, made = np.random.default_rng(seed), {}
    for family in ("IGHV1", "IGHV2", "IGKV1", "IGKV2", "IGLV1", "IGLV2"):
        ancestor = random.integers(0, 20, 100)
        for gene in range(1, 4):
            of_gene = np.where(random.random(100) < 0.1, random.integers(0, 20, 100), ancestor)
            for allele in ("01", "02"):
                of_allele = np.where(random.random(100) < 0.02, random.integers(0, 20, 100), of_gene)
                made[f"{family}-{gene}*{allele}"] = "".join(RESIDUES[i] for i in of_allele)
    return made
