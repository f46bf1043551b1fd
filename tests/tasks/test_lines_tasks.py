"""Lines and FASTA: rows of their own lengths against loops over strings, laws against dictionaries, what is refused."""

import itertools
import json
from collections import Counter, defaultdict
from fractions import Fraction

import numpy as np
import pytest

from mdm_jax.support.errors import InputError
from mdm_jax.support.ragged import ABSENT, lengths
from mdm_jax.tasks import context_of, fasta, from_spec, given_of, lengths_of, lines, notes_of, restore, vocabulary_of
from mdm_jax.tasks.line_tasks.text_lines import LinesTask, up_to_first

pytestmark = pytest.mark.core
PARTS = ("train", "validation", "test")


def refusal(call, *words):
    with pytest.raises(InputError) as caught:
        call()
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    for word in words:
        assert word in sentence
    return sentence


def some_lines(number, seed=0, least=1, most=9, letters="abc"):
    random = np.random.default_rng(seed)
    return ["".join(random.choice(list(letters), random.integers(least, most + 1))) for _ in range(number)]


@pytest.fixture
def write(tmp_path):
    def written(content, name="some.txt"):
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    return written


def dealt(texts):
    """The split by its rule, in a loop: the first tenth of a permutation is validation, the second test."""
    order, held = np.random.RandomState(0).permutation(len(texts)).tolist(), len(texts) // 10
    return {
        "validation": [texts[place] for place in order[:held]],
        "test": [texts[place] for place in order[held : 2 * held]],
        "train": [texts[place] for place in order[2 * held :]],
    }


def written_rows(task, part):
    """The text of each row, from its tokens one by one."""
    letters = task.vocabulary.characters
    return ["".join(letters[token] for token in row if token != -1) for row in getattr(task, part).tolist()]


class Dictionary:
    """Witten-Bell within lines by the formula: ``following[h][c] = N(h c)``, where ``h`` may begin with "^"."""

    def __init__(self, texts, vocab_size, order):
        self.vocab_size, self.order = vocab_size, order
        self.following = defaultdict(Counter)
        for text in texts:
            symbols = ("^", *text)
            for place in range(1, len(symbols)):
                for k in range(min(order - 1, place) + 1):
                    self.following[symbols[place - k : place]][symbols[place]] += 1

    def probability(self, context, letter):
        context = tuple(context)[max(0, len(context) - self.order + 1) :]
        lower = self.probability(context[1:], letter) if context else Fraction(1, self.vocab_size)
        if context not in self.following:
            return lower
        counts = self.following[context]
        return (counts[letter] + len(counts) * lower) / (counts.total() + len(counts))

    def bits(self, text, begin=0):
        """Of each letter from ``begin`` on."""
        symbols = ("^", *text)
        return [
            -np.log2(float(self.probability(symbols[:place], symbols[place])))
            for place in range(1 + begin, len(symbols))
        ]


def test_each_line_is_a_row_of_its_own_length(write):
    texts = some_lines(60)
    for content in (
        "\n".join(texts),
        "\n".join(texts) + "\n",
        "\r\n".join(texts) + "\r\n",
        "\ufeff" + "\n".join(texts),
    ):
        task = lines(write(content))
        assert isinstance(task, LinesTask)
        assert (task.length, task.vocabulary.characters) == (9, "abc")
        for part, wanted in dealt(texts).items():
            rows = getattr(task, part)
            assert written_rows(task, part) == wanted
            assert [task.show(row) for row in rows] == wanted
            assert (rows.dtype, rows.flags.writeable) == (np.int32, False)
            assert lengths(rows).tolist() == [len(text) for text in wanted]
        assert given_of(task, "train") is context_of(task, "train") is None
    assert lines(texts).describe()["lengths"] == task.describe()["lengths"]
    np.testing.assert_array_equal(lines(texts).train, task.train)


def test_what_is_left_out_is_said(write):
    texts = some_lines(60, least=2)
    content = "\n".join(["", *texts[:30], "", "\u2028", *texts[30:], ""]) + "\n"
    task = lines(write(content))
    kept = [*texts[:30], "\u2028", *texts[30:]]  # only "\n" ends a line
    assert sorted(itertools.chain(*(written_rows(task, part) for part in PARTS))) == sorted(kept)
    assert notes_of(task)[0] == "3 empty lines were left out."
    short = [text for text in kept if len(text) <= 6]
    task = lines(write(content), length=6)
    assert sorted(itertools.chain(*(written_rows(task, part) for part in PARTS))) == sorted(short)
    assert task.length == 6
    count, longest = len(kept) - len(short), max(map(len, kept))
    assert task.notes[1] == f"{count} lines of more than 6 characters were left out; the longest has {longest}."
    mean = np.mean([len(text) for text in short])
    assert task.notes[2] == f"Rows have 1 to 6 tokens, {mean:.1f} on average."
    longer = lines(write(content), length=12)
    assert longer.train.shape[1] == 12
    np.testing.assert_array_equal(longer.train[:, :9], lines(write(content)).train)
    assert (longer.train[:, 9:] == ABSENT).all()


def test_duplicates_across_the_split_are_counted_by_brute_force():
    texts = some_lines(200, most=4)
    parts = dealt(texts)
    counts = [sum(text in parts["train"] for text in parts[part]) for part in ("validation", "test")]
    assert min(counts) > 0
    said = f"{counts[0]} of 20 validation rows and {counts[1]} of 20 test rows also stand among the training rows: "
    assert lines(texts).notes[-1].startswith(said)
    apart = [f"{number:04}" for number in range(200)]
    assert lines(apart).notes == ()


def test_few_long_lines_are_told_of():
    texts = [*some_lines(60, least=3, most=5), "ab" * 200]
    notes = lines(texts).notes
    assert notes[0].startswith(
        "Rows are computed as long as the longest, 400 tokens, and half of the lines have at most "
    )
    assert lines(texts, length=5).notes[0].startswith("1 line of more than 5 characters was left out")


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_the_laws_are_those_counted_by_dictionaries(order):
    texts = some_lines(80, letters="abcd")
    task = lines(texts)
    law = Dictionary(dealt(texts)["train"], 4, order)
    odd = ["a", "dddddddd", "abcdabcd", *dealt(texts)["test"]]
    rows = np.full((len(odd), 9), ABSENT)
    for row, text in zip(rows, odd):
        row[: len(text)] = ["abcd".index(letter) for letter in text]
    wanted = [np.mean(law.bits(text)) for text in odd]
    got = list(task.baselines(rows).values())[order - 1]
    np.testing.assert_allclose(got, wanted, rtol=1e-12)
    if order == 3:
        np.testing.assert_array_equal(task.score(rows), got)
        assert task.score_name == "trigram bits per character"


def test_lines_too_short_for_the_longest_grams():
    texts = some_lines(60, most=2)
    task, law = lines(texts), Dictionary(dealt(texts)["train"], 3, 5)
    wanted = [np.mean(law.bits(text)) for text in dealt(texts)["test"]]
    np.testing.assert_allclose(task.baselines(task.test)["5-gram"], wanted, rtol=1e-12)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_every_law_sums_to_one_given_the_length(length):
    task = lines(some_lines(60))
    every = np.array(list(itertools.product(range(3), repeat=length)))
    rows = np.full((len(every), task.length), ABSENT)
    rows[:, :length] = every
    for bits in task.baselines(rows).values():
        assert np.exp2(-length * bits).sum() == pytest.approx(1, abs=1e-12)


def asked(texts, separator="="):
    return [f"{text[: len(text) // 2]}{separator}{text[len(text) // 2 :]}" for text in texts]


def test_a_prompt_is_given_and_not_scored(write):
    texts = [text + "=b" * (place % 3 == 0) for place, text in enumerate(asked(some_lines(80, least=2)))]
    task = from_spec(f"text:{write(chr(10).join(texts))}?lines&prompt==")
    assert task.spec.endswith("?lines&prompt==")
    law = Dictionary(dealt(texts)["train"], 4, 3)
    for part, wanted in dealt(texts).items():
        given = given_of(task, part)
        assert given.sum(axis=1).tolist() == [text.index("=") + 1 for text in wanted]
        assert all(row[:count].all() for row, count in zip(given, given.sum(axis=1)))
    answers = [np.mean(law.bits(text, text.index("=") + 1)) for text in dealt(texts)["test"]]
    np.testing.assert_allclose(task.score(task.test), answers, rtol=1e-12)
    np.testing.assert_allclose(task.baselines(task.test)["trigram"], answers, rtol=1e-12)
    nothing = np.zeros(task.test.shape, bool)
    whole = [np.mean(law.bits(text)) for text in dealt(texts)["test"]]
    np.testing.assert_allclose(task.baselines(task.test, given=nothing)["trigram"], whole, rtol=1e-12)
    assert task.score_name == "trigram bits per character behind the prompt"
    plain = np.full((2, task.length), ABSENT)
    plain[:, :2] = task.vocabulary.encode("ab")
    plain[1, 2] = task.vocabulary.encode("=")[0]
    whole = [np.mean(law.bits(text)) for text in ("ab", "ab=")]  # no answer to count: all counts
    np.testing.assert_allclose(task.score(plain), whole, rtol=1e-12)


def test_prompts_of_several_characters_and_of_tabs(write):
    texts = asked(some_lines(40, least=2), " -> ")
    rows = lines(texts, prompt=" -> ")
    wanted = [text.index(" -> ") + 4 for text in dealt(texts)["train"]]
    assert rows.given("train").sum(axis=1).tolist() == wanted
    path = write("\n".join(asked(some_lines(40, least=2), "\t")))
    task = from_spec(rf"text:{path}?lines&prompt=\t")
    assert task.spec == rf"text:{path}?lines&prompt=\t"
    assert given_of(restore(task.describe()), "test").any()
    assert lines(path, prompt="\t").describe() == task.describe()
    np.testing.assert_array_equal(up_to_first(np.array([[1, 1, 2, 1]]), (1, 2)), [[True, True, True, False]])
    assert not up_to_first(np.array([[1]]), (1, 2)).any()


def test_lines_without_a_prompt_are_refused(write):
    texts = asked(some_lines(40, least=2))
    texts[6], texts[30], texts[9] = "abc", "b", "ab="
    path = write("\n".join(texts))
    refusal(
        lambda: lines(path, prompt="="),
        "prompt must be text that every line has, with something behind it; of the 40 lines of ",
        "2 do not have it, the first in line 7; got '='.",
    )
    texts[6] = texts[30] = "a=b"
    path = write("\n\n" + "\n".join(texts))
    refusal(lambda: lines(path, prompt="="), "1 do not have something behind it, the first in line 12")
    assert lines(path, prompt="=", end=True).given("train") is not None  # the end follows
    refusal(lambda: lines(texts, prompt=""), "prompt must be text; got ''")
    refusal(lambda: from_spec(f"text:{path}?prompt=x"), "spec must have lines where it has prompt")


def test_ends_that_are_learned(write):
    texts = some_lines(80, least=2, letters="abc")
    task = from_spec(f"text:{write(chr(10).join(texts))}?lines&end")
    assert task.vocabulary.characters == "abc⏎"
    assert (task.length, task.end, task.describe()["end"]) == (10, 3, 3)
    assert lengths_of(task.describe()) is None
    for part, wanted in dealt(texts).items():
        assert [task.show(row) for row in getattr(task, part)] == [text.ljust(10, "⏎") for text in wanted]
    law = Dictionary([text + "⏎" for text in dealt(texts)["train"]], 4, 3)
    bits = [law.bits(text + "⏎") for text in dealt(texts)["test"]]
    np.testing.assert_allclose(task.score(task.test), [np.mean(each) for each in bits], rtol=1e-12)
    trigram = task.baselines(task.test)["trigram"]  # ends behind the first are certain
    np.testing.assert_allclose(trigram, [np.sum(each) / 10 for each in bits], rtol=1e-12)
    cut = np.where(np.cumsum(task.test == 3, axis=1) > 1, ABSENT, task.test)
    np.testing.assert_allclose(task.score(cut), [np.mean(each) for each in bits], rtol=1e-12)
    shorter = lines(texts, length=6, end=True)
    assert sorted(itertools.chain(*(written_rows(shorter, part) for part in PARTS))) == sorted(
        text.ljust(6, "⏎") for text in texts if len(text) <= 5
    )
    refusal(lambda: lines([*texts, "a⏎b"], end=True), "end must be left out where a line has the character '⏎'")


def test_every_kind_of_line_is_restored_from_its_description(write):
    texts = asked(some_lines(60, least=2))
    path = write("\n".join(texts))
    for setting in ("lines", "lines&end", "lines&prompt==", "lines&end&prompt=="):
        for length in (None, 7, 12):
            task = from_spec(f"text:{path}?{setting}", length)
            description = json.loads(json.dumps(task.describe(), allow_nan=False))
            again = restore(description)
            assert again.describe() == description
            assert again.notes == task.notes
            for part in PARTS:
                np.testing.assert_array_equal(getattr(again, part), getattr(task, part))
                np.testing.assert_array_equal(given_of(again, part), given_of(task, part))
            np.testing.assert_array_equal(again.baselines(task.test)["5-gram"], task.baselines(task.test)["5-gram"])
            assert vocabulary_of(description) == task.vocabulary
    assert from_spec(f"text:{path}?prompt==&lines").spec == f"text:{path}?lines&prompt=="
    described = from_spec(f"text:{path}?lines").describe()
    assert lengths_of(described).tolist() == np.bincount([len(text) for text in dealt(texts)["train"]]).tolist()
    path.write_text("\n".join(texts[::-1]))
    refusal(lambda: restore(described), "its data has changed since")
    refusal(lambda: restore(lines(texts).describe()), "it is a task of your own")


def test_lines_that_are_none_are_refused_in_one_sentence(write, tmp_path):
    refusal(
        lambda: lines(write("a\n" * 19 + "\n\n")), "path must name at least 20 lines (at least two", "some.txt' has 19."
    )
    refusal(lambda: lines(write("abc\n" * 30), length=2), "at least 20 lines of at most 2 characters", "has 0.")
    refusal(lambda: lines(write("a\nb\n" * 30)), "path must name lines of two characters or more")
    refusal(lambda: lines(write("aa\n" * 30)), "path must name lines of at least two different characters", "has one.")
    refusal(lambda: lines(write("")), "is empty")
    refusal(lambda: lines(write(b"caf\xe9\n" * 30)), "which is not UTF-8")
    refusal(lambda: lines(tmp_path / "none.txt"), "does not exist")
    refusal(lambda: lines(""), "path must be the path of a UTF-8 text file")
    refusal(lambda: lines(some_lines(40), length=1), "length must be a whole number, 2 or more; got 1")
    refusal(lambda: lines(["ab"] * 10), "source must have at least 20 lines", "'the list' has 10")
    refusal(lambda: lines(["ab", "\ud800"] * 20), "source must be the path of a file, or a list of lines of text")
    task = lines(some_lines(40))
    row = task.test[:1].copy()
    row[0, 0] = 3
    refusal(lambda: task.score(row), "tokens must be ids from 0 to 2, without masks; got 3")
    row[0] = [0, ABSENT, 1, *[ABSENT] * 6]
    refusal(lambda: task.score(row), "tokens must have -1 (no token) at the end of rows alone")
    refusal(lambda: task.score(task.test[:, :5]), "tokens must be rows of length 9")


def test_too_many_tokens_are_refused_before_they_are_made(monkeypatch):
    monkeypatch.setattr("mdm_jax.tasks.line_tasks.line_texts.MOST_TOKENS", 1000)
    texts = [*some_lines(60), "ab" * 50]
    refusal(lambda: lines(texts), "length must be given, so that the longest lines are left out: 61 rows as long as")
    assert lines(texts, length=10).length == 10


RECORDS = [(f"protein {number}", text) for number, text in enumerate(some_lines(50, least=3, most=30, letters="ACDEK"))]


def test_fasta_sequences_are_rows(write):
    def wrapped(text, width):
        return "\n".join(text[start : start + width] for start in range(0, len(text), width))

    sequences = [text for _, text in RECORDS]
    plain = "".join(f">{name}\n{text}\n" for name, text in RECORDS)
    other = "; a comment\n" + "".join(f">{name}\r\n{wrapped(text.lower(), 7)}*\r\n\r\n" for name, text in RECORDS)
    spaced = "".join(f">{name}\n {wrapped(text, 3).replace(chr(10), ' ')} \n; more\n" for name, text in RECORDS)
    for content in (plain, other, spaced):
        task = fasta(write(content, "some.fasta"))
        for part, wanted in dealt(sequences).items():
            assert [task.show(row) for row in getattr(task, part)] == wanted
        assert task.vocabulary.characters == "ACDEK"
        assert task.spec.startswith("fasta:")
        assert restore(task.describe()).describe() == task.describe()
    assert from_spec(task.spec, 20).train.shape[1] == 20
    assert fasta(write(plain + ">stop\nAC*DX-\n", "x.fasta")).vocabulary.characters == "*-ACDEKX"
    empty = fasta(write(plain + ">none\n>neither\n*\n", "x.fasta"))
    assert empty.notes[0] == "2 empty records were left out."


def test_other_files_are_no_fasta(write):
    good = "".join(f">{name}\n{text}\n" for name, text in RECORDS)
    start = 'path must be a FASTA file, whose headers begin with ">"; '
    refusal(lambda: fasta(write("\nACGT\n" + good)), start, "has a sequence in line 2, before the first header")
    refusal(lambda: fasta(write(good + ">x\nAC\nA1\n")), start, f"has '1' in line {2 * 50 + 3}, which is no letter")
    refusal(lambda: fasta(write(good + ">x\nAÇ\n")), "has 'Ç' in line 102")
    refusal(lambda: fasta(write(">a\nAC\n" * 9)), "path must name at least 20 records", "has 9.")
    refusal(lambda: fasta(write("")), start, "is empty")
    refusal(lambda: fasta(""), "path must be the path of a FASTA file")
    refusal(
        lambda: from_spec(f"fasta:{write(good)}?lines"),
        "spec must have no settings but vocabulary=FILE, letters=LETTERS and held_out=SHARE behind fasta:PATH; got 'l",
    )
