"""What families of masked language models read from a configuration, a vocabulary and names, and what they refuse."""

import functools
import json

import pytest
from golden_cases import golden

from mdm_jax.models.pretrained.families import albert, bert, esm, modernbert, roberta
from mdm_jax.models.pretrained.families.vocabularies import read_vocabulary
from mdm_jax.support.errors import InputError

CASES = golden("encoders")
SPECIALS = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 12, "[unused1]": 4, "a": 5}


def told(family, name, settings=None, without=(), **config):
    """What the family says of a golden case with other entries in its configuration."""
    case = CASES[name]
    kept = {key: value for key, value in {**case["config"], **config}.items() if key not in without}
    return family.published(kept, tuple(case["tensors"]), case["settings"] if settings is None else settings)


of_bert = functools.partial(told, bert, "BERT")
of_roberta = functools.partial(told, roberta, "RoBERTa")
of_fairseq = functools.partial(told, roberta, "RoBERTa of fairseq")
of_albert = functools.partial(told, albert, "ALBERT")
of_esm = functools.partial(told, esm, "ESM, token dropout")
of_modern = functools.partial(told, modernbert, "ModernBERT")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: of_bert(is_decoder=True),
            "config.json's is_decoder must be False or None for this network; got True.",
        ),
        (
            lambda: of_bert(position_embedding_type="relative_key"),
            "config.json's position_embedding_type must be 'absolute' or None for this network; got 'relative_key'.",
        ),
        (lambda: of_bert(hidden_act="mish"), "config.json's hidden_act must be 'gelu' or .*; got 'mish'."),
        (lambda: of_roberta(hidden_act="relu"), "config.json's hidden_act must be 'gelu' or .*; got 'relu'."),
        (lambda: of_albert(num_hidden_groups=2), "config.json's num_hidden_groups must be 1 for this network; got 2."),
        (lambda: of_albert(inner_group_num=2), "config.json's inner_group_num must be 1 for this network; got 2."),
        (lambda: of_esm(is_folding_model=True), "config.json's is_folding_model must be False or None .*; got True."),
        (
            lambda: of_esm(architectures=["EsmForDPLM2"]),
            "the checkpoint is of DPLM-2, which .*: no network here does.",
        ),
        (lambda: of_modern(norm_bias=True), "config.json's norm_bias must be False for this network; got True."),
        (
            lambda: of_modern(classifier_activation="silu"),
            "config.json's classifier_activation must be 'gelu' for this network; got 'silu'.",
        ),
        (
            lambda: of_modern(rope_scaling={"factor": 2}),
            "config.json's rope_scaling must be absent for this network; .*",
        ),
        (
            lambda: of_modern(rope_parameters={"full_attention": {"rope_type": "yarn"}}),
            "config.json's rope_type must be 'default' for this network; got 'yarn'.",
        ),
        (
            lambda: of_modern(layer_types=["full_attention"]),
            r"config.json's layer_types must be a list of num_hidden_layers = 5, .*; got \['full_attention'\].",
        ),
        (lambda: of_bert(settings={}), "mask_id must be given, as config.json has no 'mask_token_id'; got None."),
        (lambda: of_bert(settings={"mask_id": 13}), "mask_id must be a whole number from 0 to 12; got 13."),
        (
            lambda: of_bert(settings={"mask_id": 4, "block": 8}),
            "block must be left out, as this network has none; got 8.",
        ),
        (lambda: of_bert(settings={"mask_id": 4, "length": 8}), "length must be left out, as .* table .*; got 8."),
        (
            lambda: of_bert(settings={"mask_id": 4, "banned": [99]}),
            "banned must be a whole number from 0 to 12; got 99.",
        ),
        (
            lambda: of_esm(settings={"vocabulary": {"<mask>": 4}}),
            "mask_id must be given, as the vocabulary says that it is 4; got 12.",
        ),
        (lambda: of_fairseq(settings={"mask_id": 12}), "vocabulary must be there, as dict.txt .*; got None."),
        (lambda: of_bert(without=["hidden_size"]), "config.json's hidden_size must be a whole number, .*; got None."),
        (
            lambda: bert.published(CASES["BERT"]["config"], ["model.weight"], {"mask_id": 4}),
            "the checkpoint must have one tensor whose name ends in 'embeddings.word_embeddings.weight'; it has 0.",
        ),
    ],
)
def test_what_no_network_here_is_is_refused_in_one_sentence(make, sentence):
    with pytest.raises(InputError, match=f"^{sentence}$"):
        make()


def test_a_vocabulary_tells_the_mask_the_frame_and_what_is_never_predicted():
    found = of_bert(settings={"vocabulary": SPECIALS})
    assert (found.mask_id, found.prefix, found.suffix, found.banned) == (12, (2,), (3,), (0, 1, 2, 3, 4))
    assert found.end_id is None


def test_the_user_has_the_last_word():
    said = {"vocabulary": SPECIALS, "mask_id": 6, "prefix": [], "suffix": [5], "banned": [7], "end_id": 3}
    found = of_bert(settings=said)
    assert (found.mask_id, found.prefix, found.suffix, found.banned, found.end_id) == (6, (), (5,), (7,), 3)


def test_ids_of_a_configuration_frame_where_no_vocabulary_does():
    assert (of_roberta().prefix, of_roberta().suffix, of_roberta().banned) == ((0,), (2,), (0, 2))
    assert (of_modern().prefix, of_modern().suffix) == ((2,), (3,))
    assert of_albert(bos_token_id=0, eos_token_ids=0).prefix == ()  # rxnmapper's, which are another model's


def test_the_alphabet_of_esm_is_known_where_its_folder_does_not_say_it():
    config = {**CASES["ESM of fair-esm"]["config"]}
    found = esm.published(config, tuple(CASES["ESM of fair-esm"]["tensors"]), {})
    letters = [token for i, token in enumerate(esm.ALPHABET) if i not in found.banned and i != found.mask_id]
    assert len(esm.ALPHABET) == 33
    assert "".join(letters) == "LAGVSERTIDPKQNFYMHWCBUZO"
    assert (esm.ALPHABET[4], esm.ALPHABET[23], esm.ALPHABET[24], esm.ALPHABET[31]) == ("L", "C", "X", "<null_1>")
    assert (found.mask_id, found.prefix, found.suffix) == (32, (0,), (2,))


def test_dplm_is_told_from_esm_by_its_configuration():
    assert of_esm().family == "ESM"
    assert of_esm(architectures=["EsmForMaskedLM"]).family == "ESM"
    assert of_esm(architectures=["EsmForDPLM"]).family == "DPLM"


def test_bases_of_modernbert_by_each_way_of_telling_them():
    assert (of_modern().module.full_base, of_modern().module.local_base) == (160000.0, 10000.0)
    bases = {"global_rope_theta": 80000.0, "local_rope_theta": None}  # no own: as everywhere
    assert of_modern(**bases).module.local_base == 80000.0
    newer = told(modernbert, "ModernBERT, newer configuration").module
    assert (newer.full_base, newer.local_base, newer.full) == (500.0, 50.0, (True, False, False, True, False))


def test_lengths_are_those_of_the_table_or_of_the_user():
    assert of_bert().module.length == 16
    assert of_roberta().module.length == 14  # behind padding's id, which is 1
    assert of_fairseq().module.length == 14
    assert of_esm(settings={"length": 9}).module.length == 9
    assert of_modern(settings={"mask_id": 4, "length": 9}).module.length == 9


def test_a_head_of_its_own_counts_and_a_stray_prefix_is_understood():
    case = CASES["BERT"]
    names = [f"module.{name}" for name in (*case["tensors"], "cls.predictions.decoder.weight")]
    found = bert.published(case["config"], names, case["settings"])
    assert found.sources["head/weight"].names == ("module.cls.predictions.decoder.weight",)
    assert found.sources["embedding/weight"].names == ("module.bert.embeddings.word_embeddings.weight",)
    assert not found.module.tied


LINES = "[PAD]\n[MASK]\nA\n\tb c\n"
TOKENIZER = {
    "model": {"type": "WordPiece", "vocab": {"[PAD]": 0, "A": 1}},
    "added_tokens": [{"id": 2, "content": "[MASK]"}],
}
UNIGRAM = {"model": {"type": "Unigram", "vocab": [["<pad>", 0.0], ["A", -1.5]]}, "added_tokens": None}


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("vocab.txt", LINES, {"[PAD]": 0, "[MASK]": 1, "A": 2, "\tb c": 3}),
        ("vocab.txt", LINES.replace("\n", "\r\n")[:-2], {"[PAD]": 0, "[MASK]": 1, "A": 2, "\tb c": 3}),
        ("vocab.json", json.dumps({"A": 1, "<mask>": 0}), {"A": 1, "<mask>": 0}),
        ("tokenizer.json", json.dumps(TOKENIZER), {"[PAD]": 0, "A": 1, "[MASK]": 2}),
        ("tokenizer.json", json.dumps(UNIGRAM), {"<pad>": 0, "A": 1}),
        ("tokenizer.json", json.dumps({"model": {"type": "other"}}), None),
        ("readme.md", "", None),
    ],
)
def test_a_vocabulary_is_read_from_the_file_that_the_folder_has(tmp_path, name, text, wanted):
    (tmp_path / name).write_bytes(text.encode())
    assert read_vocabulary(tmp_path) == wanted


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("vocab.txt", b"\xff\xfe", "cannot be read as text: UnicodeDecodeError"),
        ("vocab.json", b'{"A": "1"}', "must say of each token which id it has, a whole number"),
        ("vocab.json", b"[]", "must say of each token which id it has, a whole number"),
        ("tokenizer.json", b"{", "tokenizer.json"),
    ],
)
def test_a_damaged_vocabulary_is_refused_in_one_sentence(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        read_vocabulary(tmp_path)
