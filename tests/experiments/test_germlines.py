"""Families do not cross the split, and edits are those of the textbook's table."""

import numpy as np

from experiments.tools.germlines import edits, family_of, genes_of_families, halves_of, made_up_germlines, nearest


def by_table(one, two):
    """The edit distance, cell by cell."""
    table = np.add.outer(np.arange(len(one) + 1), np.arange(len(two) + 1))
    for i in range(1, len(one) + 1):
        for j in range(1, len(two) + 1):
            changed = table[i - 1, j - 1] + (one[i - 1] != two[j - 1])
            table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, changed)
    return table[-1, -1]


def test_edits_are_those_of_the_table():
    random = np.random.default_rng(0)
    words = ["".join(random.choice(list("ACD"), 9)) for _ in range(12)]
    for word in [*words[:4], "ACDACDACDAC", "A"]:
        assert edits(word, words).tolist() == [by_table(word, other) for other in words]


def test_a_family_is_on_one_side_of_the_split_and_a_gene_is_there_once():
    alleles = made_up_germlines(0)
    families = genes_of_families(alleles, 91, 2)
    choosing, judging = halves_of(list(families))
    assert sorted(choosing + judging) == sorted(families) == sorted({family_of(name) for name in alleles})
    assert not set(choosing) & set(judging)
    for family, genes in families.items():
        assert list(genes) == [f"{family}-1", f"{family}-3"]  # the first and the last of three
        assert [alleles[f"{gene}*01"][:91] for gene in genes] == list(genes.values())


def test_the_nearest_germline_can_be_asked_of_other_families():
    alleles = {"IGHV1-2*01": "QVQLV", "IGHV1-3*01": "QVQLQ", "IGKV1-5*01": "DIQMV"}
    assert nearest("QVQLV", alleles) == ("IGHV1-2*01", 1.0)
    assert nearest("QVQLV", alleles, but="IGHV1") == ("IGKV1-5*01", 1 - 3 / 5)
