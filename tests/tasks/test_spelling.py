"""Settings behind a path: what is read, what is refused, and that what is written is read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdm_jax.support.errors import InputError
from mdm_jax.tasks import from_spec, lines, text
from mdm_jax.tasks.spelling import parsed, spelled, whole

pytestmark = pytest.mark.core
KNOWN = {"size": "N", "name": "FILE", "flat": None, "end": None}


def refusal(call, *words):
    with pytest.raises(InputError) as caught:
        call()
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    for word in words:
        assert word in sentence


@pytest.mark.parametrize(
    ("line", "path", "settings"),
    [
        ("a.npy", "a.npy", {}),
        ("a.npy?size=5", "a.npy", {"size": "5"}),
        ("a?flat&size=5&end", "a", {"flat": "", "size": "5", "end": ""}),
        ("a?b?size=5", "a?b", {"size": "5"}),
        ("a?size=5?end", "a?size=5", {"end": ""}),  # the last one
        ("a?name=b?c.npy", "a", {"name": "b?c.npy"}),
        ("a?name==", "a", {"name": "="}),
        ("a?name=?", "a", {"name": "?"}),
        ("a?name=", "a", {"name": ""}),
        ("a?name=x y%20z", "a", {"name": "x y%20z"}),  # nothing is encoded
        (r"a?name=\t|", "a", {"name": "\t|"}),
        ("why?", "why?", {}),
        ("why? because.txt", "why? because.txt", {}),
        ("a?Size=5", "a?Size=5", {}),
        ("?flat", "", {"flat": ""}),
    ],
)
def test_the_last_question_mark_before_known_names_begins_the_settings(line, path, settings):
    assert parsed("kind", line, KNOWN) == (path, settings)


def test_unknown_and_odd_settings_are_refused():
    listed = "spec must have no settings but size=N, name=FILE, flat and end behind kind:PATH; got 'siz' in kind:a?"
    refusal(lambda: parsed("kind", "a?siz=5", KNOWN), listed)
    refusal(lambda: parsed("kind", "a?size=5&siz", KNOWN), listed)
    refusal(lambda: parsed("kind", "a?x", {"flat": None}), "no setting but flat behind kind:PATH; got 'x'")
    refusal(lambda: parsed("kind", "a?x", {}), "spec must have no settings behind kind:PATH; got 'x' in kind:a?x.")
    refusal(lambda: parsed("kind", "a?flat=1", KNOWN), "spec must give flat, without a value; got 'flat=1'.")
    refusal(lambda: parsed("kind", "a?size", KNOWN), "spec must give size=N; got 'size'.")
    refusal(lambda: parsed("kind", "a?end&end", KNOWN), "spec must give a setting of kind: once; 'end' comes twice.")


def test_a_file_whose_name_ends_as_settings_do_is_told_of(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a?lines").write_text("some text\n" * 100)
    refusal(lambda: from_spec("text:a?lines"), "is read as the file 'a' with the settings 'lines', and there is a file")
    refusal(lambda: text(8, "a?lines"), "spec must be read back as it is written", "rename the file")
    (tmp_path / "b?c").write_text("some text\n" * 100)
    assert from_spec("text:b?c", 8).spec == text(8, "b?c").spec == f"text:{tmp_path.resolve()}/b?c"
    assert from_spec("text:b?c?lines").spec == lines("b?c").spec == f"text:{tmp_path.resolve()}/b?c?lines"


@given(
    path=st.text("ab?&=. size", min_size=1, max_size=12),
    settings=st.fixed_dictionaries(
        {},
        optional={
            "size": st.integers(-9, 99),
            "name": st.text("ab?&=\\\t.", max_size=6),
            "flat": st.booleans(),
            "end": st.booleans(),
        },
    ),
)
def test_what_is_written_is_read_back_or_refused(path, settings):
    try:
        line = spelled("kind", path, settings, KNOWN)
    except InputError:
        line = None
    if line is None:
        assert any(mark in f"{path}{settings.get('name', '')}" for mark in ("?", "&", "\\t"))
        return
    told = {name: "" if value is True else str(value) for name, value in settings.items() if value is not False}
    assert parsed("kind", line.removeprefix("kind:"), KNOWN) == (path, told)


def test_whole_numbers():
    assert whole({"size": "-07"}, "size", "x") == -7
    assert whole({}, "size", "x") is None
    for bad in ("", "-", "1.5", "x", "--1", "1e3", "²", "1" * 11):
        refusal(
            lambda bad=bad: whole({"size": bad}, "size", "npy:PATH?size=3"), "size must be a whole number, as in npy"
        )
