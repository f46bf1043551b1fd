"""Subword vocabularies and tasks against the package ``tokenizers`` itself, and against splitting by hand."""

import json
import re

import numpy as np
import pytest

import mdm_jax as mdm
from mdm_jax import tasks
from mdm_jax.support.errors import InputError
from mdm_jax.tasks.subwords import tokenizer_files
from mdm_jax.training.matching import require_vocabulary

tokenizers = pytest.importorskip("tokenizers")
pytestmark = pytest.mark.core

TEXT = "Über the naïve café, 北京 and 🙂 again: once upon a time there was a token. " * 60
WORDS = ["once", "upon", "a", "time", "there", "was", "a", "token", "in", "a", "café"]


def byte_level():
    return tokenizer_files.trained_on(TEXT, 300)


def json_of(model, decoder, pre_tokenizer, special=("[PAD]", "[MASK]"), normalizer=None):
    """A tokenizer.json of the package's own making."""
    made = tokenizers.Tokenizer(model)
    made.decoder, made.pre_tokenizer = decoder, pre_tokenizer
    if normalizer is not None:
        made.normalizer = normalizer
    made.add_special_tokens(list(special))
    return made.to_str()


def word_pieces():
    names = ["[UNK]", *WORDS, "to", "##ken", "##s", "."]
    model = tokenizers.models.WordPiece({name: i for i, name in enumerate(dict.fromkeys(names))}, unk_token="[UNK]")
    return json_of(model, tokenizers.decoders.WordPiece(cleanup=False), tokenizers.pre_tokenizers.Whitespace())


def unigram():
    names = ["<unk>", "▁", *(f"▁{word}" for word in WORDS), "s", "t", "o", "k", "e", "n", "."]
    model = tokenizers.models.Unigram([(name, -float(i)) for i, name in enumerate(dict.fromkeys(names))], 0)
    return json_of(model, tokenizers.decoders.Metaspace(), tokenizers.pre_tokenizers.Metaspace())


def llama():
    """Byte fallback, with the sequence of decoders that Llama's files have."""
    names = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"abcdeinopstuwhrmkf.", "▁a"]
    model = tokenizers.models.BPE(
        {name: i for i, name in enumerate(names)}, [("▁", "a")], unk_token="<unk>", byte_fallback=True, fuse_unk=True
    )
    decoder = tokenizers.decoders.Sequence(
        [
            tokenizers.decoders.Replace("▁", " "),
            tokenizers.decoders.ByteFallback(),
            tokenizers.decoders.Fuse(),
            tokenizers.decoders.Strip(" ", 1, 0),
        ]
    )
    prepended = tokenizers.normalizers.Sequence(
        [tokenizers.normalizers.Prepend("▁"), tokenizers.normalizers.Replace(" ", "▁")]
    )
    made = tokenizers.Tokenizer(model)
    made.decoder, made.normalizer = decoder, prepended
    made.add_special_tokens(["<s>", "</s>"])
    return made.to_str()


CASES = {
    "byte level": (lambda: byte_level().content, "the café, 🙂 北京 upon"),
    "word pieces": (word_pieces, "once upon a time tokens"),
    "unigram": (unigram, "once upon a café tokens."),
    "llama": (llama, "a café 🙂 in the woods."),
}


@pytest.mark.parametrize("name", CASES)
def test_ids_and_text_are_those_of_the_package(name):
    make, text = CASES[name]
    content = make()
    words, theirs = tasks.Subwords("tokenizer.json", content), tokenizers.Tokenizer.from_str(content)
    ids = theirs.encode(text, add_special_tokens=False).ids
    ours = words.encode(text)
    assert np.array(words.ids)[ours].tolist() == ids
    assert words.decode(ours) == theirs.decode(ids) == text
    pieces = words.pieces(ours)
    assert (len(pieces), "".join(pieces)) == (len(ids), text)
    assert words.byte_lengths[ours].sum() == len(text.encode()) + words._tokens.opens
    # Every token that is not special has an id of ours, and no other has.
    special = {one["id"] for one in json.loads(content)["added_tokens"]}
    special |= {theirs.token_to_id(unknown) for unknown in ("[UNK]", "<unk>")}
    assert list(words.ids) == [i for i in range(theirs.get_vocab_size()) if i not in special]


def test_masks_inside_a_character_survive():
    """Each of the three bytes of a character in turn is a mask; what is left of it is no character."""
    words = tasks.Subwords("tokenizer.json", byte_level().content)
    ids = np.concatenate([words.encode(" a"), [words.encode("a")[0]], words.encode("b京c")])
    bytes_of = [words._tokens.texts[token] for token in ids]
    assert b"".join(bytes_of) == " aab京c".encode()
    for place in range(len(ids)):
        masked = ids.copy()
        masked[place] = words.size
        shown = words.decode(masked, mask="_")
        runs = (b"".join(bytes_of[:place]), b"".join(bytes_of[place + 1 :]))
        assert shown == "_".join(run.decode("utf-8", "replace") for run in runs)
        assert shown.count("_") == 1
        assert "".join(words.pieces(masked)) == shown.replace("_", "·")
    assert words.decode(np.append(ids, -1)) == " aab京c"
    assert words.decode(np.full(3, words.size)) == "···"


def test_a_canvas_is_written_with_marks():
    words = byte_level()
    canvas = words.encode("once □□ a time", mask="□")
    assert (canvas == words.size).sum() == 2
    assert words.decode(canvas) == "once ·· a time"
    assert words.encode("", mask="□").tolist() == []


def test_a_list_takes_the_longest_token_that_fits():
    names = ["[PAD]", "[UNK]", "C", "N", "Cl", "(", ")", "[nH]", "c", "<mask>"]
    words = tasks.Subwords("vocab.txt", "\n".join(names) + "\n")
    assert words.ids == (2, 3, 4, 5, 6, 7, 8)
    text = "CCl(c[nH]c)N"
    split = re.findall(r"\[nH\]|Cl|.", text)  # by hand
    assert [names[words.ids[i]] for i in words.encode(text)] == split
    assert words.decode(words.encode(text)) == text
    with pytest.raises(InputError, match="it has none that begins at character 2, 'F'"):
        words.encode("CCF")


@pytest.fixture
def texts(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    tasks.train_tokenizer(tmp_path / "text.txt", 320, save=tmp_path / "tokenizer.json")
    return tmp_path


def test_a_text_in_subwords_is_a_task(texts):
    task = tasks.from_spec(f"tokens:{texts / 'text.txt'}?tokenizer={texts / 'tokenizer.json'}", 8)
    assert isinstance(task, tasks.Task)
    cut = len(TEXT) - len(TEXT) // 10
    theirs = tokenizers.Tokenizer.from_file(str(texts / "tokenizer.json"))
    assert np.array(task.vocabulary.ids)[task.train].tolist() == theirs.encode(TEXT[:cut]).ids
    assert task.show(task.train) == TEXT[:cut]
    held = [tuple(row) for row in (*task.validation.tolist(), *task.test.tolist())]
    windows = np.array(theirs.encode(TEXT[cut:]).ids)
    back = {number: i for i, number in enumerate(task.vocabulary.ids)}
    whole = [back[number] for number in windows.tolist()]
    assert sorted(held) == sorted(tuple(whole[i : i + 8]) for i in range(0, len(whole) - 7, 8))
    # Bits per byte: a law's bits per row over the bytes that the row writes.
    told = [sum(len(task.vocabulary._tokens.texts[token]) for token in row) for row in task.test.tolist()]
    assert task.bytes_of(task.test).tolist() == told
    assert set(task.baselines(task.test)) == {"unigram", "bigram", "trigram"}
    assert (task.score(task.test) == task.baselines(task.test)["trigram"]).all()
    assert "bytes on average" in tasks.notes_of(task)[0]


def test_the_bigram_is_that_of_dictionaries(texts):
    """The unigram of Witten and Bell, counted by hand."""
    task = tasks.tokenized(texts / "text.txt", 280, length=8)
    counts = np.bincount(task.train, minlength=task.vocab_size)
    kinds = (counts > 0).sum()
    law = (counts + kinds / task.vocab_size) / (counts.sum() + kinds)
    wanted = -np.log2(law[task.test]).mean(axis=1)
    np.testing.assert_allclose(task.baselines(task.test)["unigram"], wanted)


def test_a_run_keeps_the_tokenizer_and_is_restored_without_its_file(texts):
    for way in (f"tokenizer={texts / 'tokenizer.json'}", "bpe=290"):
        task = tasks.from_spec(f"tokens:{texts / 'text.txt'}?{way}", 8)
        stored = json.loads(json.dumps(task.describe()))
        (texts / "tokenizer.json").rename(texts / "moved.json")
        again = tasks.restore(stored)
        (texts / "moved.json").rename(texts / "tokenizer.json")
        assert again.describe() == task.describe()
        assert np.array_equal(again.test, task.test)
        assert tasks.vocabulary_of(stored) == task.vocabulary
        require_vocabulary(task, stored, "the run")
    other = tasks.tokenized(texts / "text.txt", 280, length=8)
    with pytest.raises(InputError, match="task must be of the vocabulary of the run"):
        require_vocabulary(other, stored, "the run")
    (texts / "text.txt").write_text(TEXT + "more", encoding="utf-8")
    with pytest.raises(InputError, match="its data has changed since"):
        tasks.restore(stored)


def test_training_again_makes_the_same_tokens():
    assert byte_level() == byte_level()
    every = bytes(range(256)).decode("latin-1")
    words = byte_level()
    assert words.decode(words.encode(every)) == every  # a token for each byte


def test_a_published_vocabulary_is_framed_by_its_ids(texts):
    """The tokens of the task are those of a denoiser of the tokenizer's ids, in its order."""
    task = tasks.tokenized(texts / "text.txt", texts / "tokenizer.json", length=8)
    names = json.loads((texts / "tokenizer.json").read_text())["model"]["vocab"]

    def by_name(params, ids):
        import jax.numpy as jnp

        return params + jnp.broadcast_to(jnp.arange(float(len(names))), (*ids.shape, len(names)))

    model = mdm.models.framed(mdm.models.from_function(by_name, len(names)), task.vocabulary.ids)
    assert (model.vocab_size, model.mask_id) == (task.vocab_size, task.vocab_size)


def bad_list(tmp_path, content, name="vocab.txt"):
    (tmp_path / name).write_text(content, encoding="utf-8")
    return tmp_path / name


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("vocab.txt", "a\nb\na\n", "; it has 'a' more than once (in "),
        ("vocab.txt", "a\n\nb\n", "; it has an empty line (in "),
        ("vocab.txt", "[PAD]\na\n", "; it has 1 that are not special (in "),
        ("vocab.txt", "[PAD]\na\n##b\n", "; it is a list of word pieces (##), and how text is split into words"),
        ("tokenizer.json", "{}", "; it is JSON without a model and its vocabulary, or no JSON (in "),
        ("tokenizer.json", "[" * 100_000, "; it is JSON without a model and its vocabulary, or no JSON (in "),
        ("tokenizer.json", '{"model": {"vocab": {"a": "x"}}}', "; its tokens are malformed (ValueError("),
        (
            "tokenizer.json",
            '{"model": {"vocab": {"a": 0, "b": 1}}, "decoder": {"type": "CTC"}}',
            ", whose decoder is ByteLevel, WordPiece, Metaspace or that of Llama; its decoder is 'CTC' (in ",
        ),
        (
            "tokenizer.json",
            '{"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}}, "decoder": null}',
            ", which has a token for every text or for what is unknown; this one would leave out characters",
        ),
    ],
)
def test_bad_tokenizers_are_refused_in_one_sentence(tmp_path, name, content, says):
    with pytest.raises(InputError) as caught:
        tasks.read_tokenizer(bad_list(tmp_path, content, name))
    told = str(caught.value)
    assert says in told
    assert told.startswith("tokenizer must name a tokenizer.json of the package tokenizers")
    assert told.count(". ") == 0


def test_what_cannot_be_tokenized_is_said(tmp_path, texts):
    spec = f"tokens:{texts / 'text.txt'}"
    few, wordy = bad_list(tmp_path, "a\nb", "few.txt"), bad_list(tmp_path, word_pieces(), "w.json")
    for wrong, says in (
        (spec, "spec must be given one way to tokenize, as in tokens:PATH?tokenizer=tokenizer.json or"),
        (f"{spec}?bpe=300&tokenizer=x", "spec must be given one way to tokenize"),
        (f"{spec}?bpe=200", "bpe must be a whole number from 257 to 1048576; got 200."),
        (f"{spec}?tokenizer=absent.json", "tokenizer must be a tokenizer.json, or a vocab.txt with a token on each"),
        (
            f"{spec}?size=300",
            "spec must have no settings but tokenizer=FILE, bpe=SIZE, lines and held_out=SHARE behind tokens:PATH;",
        ),
        (f"{spec}?tokenizer={few}", "text must be such that the tokenizer has"),
        (f"{spec}?tokenizer={wordy}", "text must be such that the tokenizer has"),
    ):
        with pytest.raises(InputError) as caught:
            tasks.from_spec(wrong, 8)
        assert str(caught.value).startswith(says)
    with pytest.raises(InputError, match="length 4000 needs a text whose last tenth has at least 16000 tokens"):
        tasks.tokenized(texts / "text.txt", 280, length=4000)


def test_a_missing_package_is_named(monkeypatch):
    words = byte_level()
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(InputError, match=r"pip install 'mdm-jax\[pretrained\]'"):
        tasks.Subwords(words.kind, words.content).encode("a")
    assert words.decode(np.arange(3)) == tasks.Subwords(words.kind, words.content).decode(np.arange(3))
    listed = tasks.Subwords("vocab.txt", "a\nb")
    assert listed.encode("ab").tolist() == [0, 1]


def test_lines_in_subwords_are_rows_of_their_own_length(tmp_path):
    molecules = [f"C{'Cl' * (i % 3)}({'O' * (1 + i % 5)})c[nH]" for i in range(40)]
    path, listed = tmp_path / "molecules.txt", bad_list(tmp_path, "[MASK]\nC\nCl\n(\n)\nO\nc\n[nH]")
    path.write_text("\n".join(["", *molecules, ""]), encoding="utf-8")
    task = tasks.from_spec(f"tokens:{path}?tokenizer={listed}&lines")
    rows = np.concatenate([task.train, task.validation, task.test])
    assert sorted(task.show(row) for row in rows) == sorted(molecules)
    split = {text: re.findall(r"\[nH\]|Cl|.", text) for text in molecules}
    assert all((row >= 0).sum() == len(split[task.show(row)]) for row in rows)
    assert (task.bytes_of(rows) == [len(task.show(row)) for row in rows]).all()
    again = tasks.restore(json.loads(json.dumps(task.describe())))
    assert np.array_equal(again.train, task.train)
    assert again.describe() == task.describe()
    fewer = tasks.from_spec(f"tokens:{path}?tokenizer={listed}&lines", 9)
    assert fewer.train.shape[1] == 9
    long = sum(len(split[text]) > 9 for text in molecules)
    assert tasks.notes_of(fewer)[0] == f"{long} lines of more than 9 tokens left out."
    learned = tasks.from_spec(f"tokens:{path}?bpe=270&lines")
    assert sorted(learned.show(row) for part in ("train", "validation", "test") for row in getattr(learned, part)) == (
        sorted(molecules)
    )
    path.write_text("\n".join([*molecules, "CF"]), encoding="utf-8")
    with pytest.raises(InputError, match=r"it has none that begins at character 1, 'F' \(line 41 in "):
        tasks.from_spec(f"tokens:{path}?tokenizer={listed}&lines")
    with pytest.raises(InputError, match="path must name at least 20 lines of at most 2 tokens"):
        tasks.tokenized_lines(path, 270, 2)


def test_a_bpe_of_lines_sees_no_line_that_is_held_out(tmp_path, monkeypatch):
    """Also where long lines are left out, which shifts nothing: all that is trained on is noted as it is trained."""
    from mdm_jax.tasks.subwords import subword_lines

    draw, seen = np.random.default_rng(0), []
    lines = ["".join(draw.choice(list("abcdefgh"), draw.integers(8, 30))) for _ in range(400)]
    (tmp_path / "lines.txt").write_text("\n".join(lines))
    choose = subword_lines.chosen
    monkeypatch.setattr(subword_lines, "chosen", lambda size, text, spec: seen.append(text) or choose(size, text, spec))
    task = tasks.tokenized_lines(tmp_path / "lines.txt", 280, length=12)
    assert tasks.notes_of(task)[0].endswith("lines of more than 12 tokens left out.")
    learned = set(seen[0].split("\n"))
    train, *held = ({task.show(row) for row in part} for part in (task.train, task.validation, task.test))
    assert train < learned
    assert all(len(part) >= 2 and not part & learned for part in held)
    assert learned | set.union(*held) < set(lines)
    assert not any(part.flags.writeable for part in (task.train, task.validation, task.test))
    again = tasks.restore(json.loads(json.dumps(task.describe())))
    assert np.array_equal(again.test, task.test)
    with pytest.raises(InputError, match=r"to train on, \d+ to choose by, \d+ to judge by"):
        tasks.tokenized_lines(tmp_path / "lines.txt", 280, length=3)
