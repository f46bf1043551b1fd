"""Published weights, as packages on the package index carry them, against what their authors print.

The wheels are none of this library's dependencies and are never installed: they are read as zip archives from a folder
that the variable MDM_JAX_WHEELS names, made by

    pip download --no-deps -d FOLDER sapiens==1.0.5 rxnmapper==0.4.3 antiberty==0.1.3

Without it these tests are skipped.
"""

import importlib.util
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import assert_equal_logits

from experiments.tools import wheels
from mdm_jax import models
from mdm_jax.models.pretrained.families.vocabularies import read_vocabulary

SAPIENS = "sapiens/models/v1/"
ANTIBERTY = "antiberty/trained_models/"
RXNMAPPER = "rxnmapper/models/transformers/albert_heads_8_uspto_all_1310k/"


def unpacked(package, members, folder):
    """Some of a wheel's files, all in one folder."""
    if wheels.wheel_of(package) is None:
        pytest.skip(f"MDM_JAX_WHEELS names no folder with a wheel of {package}")
    return wheels.unpacked(package, members, folder)


def framed_ids(loaded, tokens):
    return [*loaded.published.prefix, *tokens, *loaded.published.suffix]


def raw_logits(loaded, tokens):
    """The network's own logits, of which the mask is not ruled out: [rows, length, vocabulary]."""
    module = loaded.published.module

    @jax.jit
    def logits(params, tokens):
        return module.apply(params, module.apply(params, tokens, method="encode"), method="readout")

    return np.asarray(logits(loaded.params, jnp.asarray(tokens, jnp.int32)))


def test_sapiens_scores_are_those_of_its_readme_to_the_printed_digits(tmp_path):
    """Its README prints the scores of A, C, D and E at the first five positions, and a chain that it completes."""
    folder = unpacked("sapiens", [f"{SAPIENS}checkpoint_vh.pt", f"{SAPIENS}dict.txt"], tmp_path)
    loaded = models.load_pretrained(folder)
    ids = read_vocabulary(folder)
    chain = (
        "**QLV*SGVEVKKPGASVKVSCKASGYTFTNYYMYWVRQAPGQGLEWMGGINPSNGGTNFNEKFKNRVTLTTDSSTTTAYMELKSLQFDDTAVYYCARRDYRFDMGFDYWGQG"
        "TTVTVSS"
    )
    tokens = framed_ids(loaded, [ids["<mask>"] if c == "*" else ids[c] for c in chain])
    scores = np.asarray(jax.nn.softmax(raw_logits(loaded, [tokens])[0]))[1:-1]
    printed = (
        "0.003272 0.004147 0.004011 0.004590",
        "0.012038 0.003854 0.006803 0.008174",
        "0.003384 0.003895 0.003726 0.004068",
        "0.004612 0.005325 0.004443 0.004641",
        "0.005519 0.003664 0.003555 0.005269",
    )
    for place, row in enumerate(printed):
        assert " ".join(f"{scores[place, ids[c]]:.6f}" for c in "ACDE") == row
    letters = {i: token for token, i in ids.items() if len(token) == 1}
    best = [letters[max(letters, key=lambda i: scores[place, i])] for place in range(len(chain))]
    completed = "".join(b if c == "*" else c for b, c in zip(best, chain))
    assert completed == chain.replace("**QLV*", "QVQLVQ")
    assert (loaded.published.mask_id, loaded.published.prefix, loaded.published.suffix) == (24, (0,), (2,))


@pytest.mark.thorough
def test_antiberty_completes_the_chains_of_its_readme(tmp_path):
    """Of the 17 masked residues of its README's two chains 15 are right."""
    model = f"{ANTIBERTY}AntiBERTy_md_smooth/"
    files = [f"{model}config.json", f"{model}pytorch_model.bin", f"{ANTIBERTY}vocab.txt"]
    folder = unpacked("antiberty", files, tmp_path)
    loaded = models.load_pretrained(folder)
    ids = read_vocabulary(folder)
    chains = (
        "EVQLVQSGPEVKKPGTSVKVSCKASGFTFMSSAVQWVRQARGQRLEWIGWIVIGSGNTNYAQKFQERVTITRDMSTSTAYMELSSLRSEDTAVYYCAAPYCSSISCNDGFDIWGQG"
        "TMVTVS",
        "DVVMTQTPFSLPVSLGDQASISCRSSQSLVHSNGNTYLHWYLQKPGQSPKLLIYKVSNRFSGVPDRFSGSGSGTDFTLKISRVEAEDLGVYFCSQSTHVPYTFGGGTKLEIK",
    )
    hidden = ((0, 1, 2, 3, 57, 74, 75, 111, 112, 113, 114), (13, 14, 37, 69, 105, 106))
    rows = []
    for chain, places in zip(chains, hidden):
        tokens = [ids["[MASK]"] if place in places else ids[c] for place, c in enumerate(chain)]
        rows.append(framed_ids(loaded, tokens))
    tokens = np.full((2, max(map(len, rows))), -1)
    for row, told in zip(tokens, rows):
        row[: len(told)] = told
    logits = raw_logits(loaded, tokens)
    right = [
        [int(logits[row, 1 + place, 5:].argmax()) + 5 == ids[chains[row][place]] for place in hidden[row]]
        for row in (0, 1)
    ]
    assert [sum(row) for row in right] == [9, 6]
    _assert_as_in_transformers("BertForMaskedLM", folder, tokens, logits)


def test_rxnmapper_knows_the_product_of_an_amide_coupling(tmp_path):
    """Each of the product's 20 tokens is right where it alone is masked, at .01 bits or less on average."""
    files = [f"{RXNMAPPER}{name}" for name in ("config.json", "pytorch_model.bin", "vocab.txt")]
    folder = unpacked("rxnmapper", files, tmp_path)
    loaded = models.load_pretrained(folder)
    ids = read_vocabulary(folder)
    reaction = "CC(C)C(=O)O.NCc1ccccc1>>CC(C)C(=O)NCc1ccccc1"
    told = framed_ids(loaded, [ids[token] for token in re.findall(">>|.", reaction)])
    first = told.index(ids[">>"]) + 1
    places = np.arange(first, len(told) - 1)
    tokens = np.tile(told, (len(places), 1))
    tokens[np.arange(len(places)), places] = ids["[MASK]"]
    logits = raw_logits(loaded, tokens)
    laws = np.asarray(jax.nn.log_softmax(logits))[np.arange(len(places)), places]
    assert len(places) == 20
    assert (laws.argmax(-1) == np.asarray(told)[places]).all()
    assert -laws[np.arange(20), np.asarray(told)[places]].mean() / np.log(2) < 0.01
    _assert_as_in_transformers("AlbertForMaskedLM", folder, tokens, logits)


def _assert_as_in_transformers(kind, folder, tokens, logits):
    """Where ``transformers`` is installed, its logits are the same."""
    if importlib.util.find_spec("transformers") is None:
        return
    import torch
    import transformers

    network = getattr(transformers, kind).from_pretrained(folder, attn_implementation="eager").eval()
    there = torch.from_numpy((tokens >= 0).astype(np.int64))
    with torch.no_grad():
        theirs = network(torch.from_numpy(np.maximum(tokens, 0)), attention_mask=there).logits.numpy()
    assert_equal_logits(logits, theirs, tokens, -1)
