"""Files are written whole or not at all, and read with suspicion."""

import json
import os
import resource
import stat
import subprocess
import sys

import pytest

from mdm_jax.support import files
from mdm_jax.support.errors import InputError


def _only(folder, *names):
    assert sorted(os.listdir(folder)) == sorted(names)


@pytest.mark.core
def test_write_and_read(tmp_path):
    path = files.write_json(tmp_path / "deep" / "er" / "value.json", {"π": [1, 2.5, None, "ü"]})
    assert files.read_json(path, "a value") == {"π": [1, 2.5, None, "ü"]}
    assert files.read_json(str(path), "a value") == {"π": [1, 2.5, None, "ü"]}
    assert path.read_bytes().endswith(b"}\n")
    assert "π" in path.read_text(encoding="utf-8")
    files.write_text(path, "new\r\nlines\n")
    assert path.read_bytes() == b"new\r\nlines\n"
    _only(path.parent, "value.json")


@pytest.mark.processes
@pytest.mark.core
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(mask, tmp_path):
    path = tmp_path / "file"
    script = f"import os; from mdm_jax.support import files; files.write_text({str(path)!r}, ''); print(os.umask(0))"
    done = subprocess.run([sys.executable, "-c", script], umask=mask, capture_output=True, text=True, check=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    assert int(done.stdout) == mask  # and the umask is as it was


@pytest.mark.core
def test_writing_leaves_the_umask_alone(tmp_path, monkeypatch):
    """Other threads make files meanwhile."""
    monkeypatch.setattr(os, "umask", lambda _: pytest.fail("the umask was changed"))
    files.write_text(tmp_path / "file", "text")


@pytest.mark.core
@pytest.mark.parametrize("moment", ["replace", "fsync", "chmod"])
def test_an_error_names_the_file_that_was_meant(moment, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device", "temporary", None, "other")

    monkeypatch.setattr(os, moment, fail)
    with pytest.raises(OSError, match="No space left on device") as caught:
        files.write_text(tmp_path / "file", "text")
    assert caught.value.filename == str(tmp_path / "file")
    assert caught.value.filename2 is None


class Interrupted(BaseException):
    pass


@pytest.mark.core
@pytest.mark.parametrize("moment", ["replace", "fsync", "chmod"])
@pytest.mark.parametrize("error", [OSError, Interrupted])
def test_a_failure_leaves_the_old_file_and_nothing_else(moment, error, tmp_path, monkeypatch):
    path = files.write_text(tmp_path / "file", "old")

    def fail(*_):
        raise error

    monkeypatch.setattr(os, moment, fail)
    with pytest.raises(error):
        files.write_text(path, "new")
    assert path.read_text() == "old"
    _only(tmp_path, "file")


@pytest.mark.core
@pytest.mark.parametrize(
    ("value", "error"),
    [
        ([float("nan")], ValueError),
        ({"x": float("-inf")}, ValueError),
        ({"x": object()}, TypeError),
        ("\ud800", UnicodeEncodeError),
    ],
    ids=["NaN", "infinity", "object", "lone surrogate"],
)
def test_a_value_that_json_refuses_leaves_the_old_file(value, error, tmp_path):
    path = files.write_json(tmp_path / "file", "old")
    with pytest.raises(error):
        files.write_json(path, value)
    assert files.read_json(path, "a value") == "old"
    _only(tmp_path, "file")


@pytest.mark.core
def test_a_reader_never_sees_a_part(tmp_path, monkeypatch):
    path = files.write_text(tmp_path / "file", "old")
    seen, replace = [], os.replace

    def look(source, target):
        seen.append((path.read_text(), len(open(source).read())))  # noqa: SIM115
        replace(source, target)

    monkeypatch.setattr(os, "replace", look)
    files.write_text(path, "new" * 10_000)
    assert seen == [("old", 30_000)]


def _message(path, what="a plan"):
    with pytest.raises(InputError) as caught:
        files.read_json(path, what)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert text.endswith(".")
    assert "\n" not in text
    assert "a plan" in text
    return text


@pytest.mark.core
def test_no_such_file(tmp_path):
    assert _message(tmp_path / "none.json") == f"{tmp_path / 'none.json'} does not exist; expected a plan."


@pytest.mark.core
def test_a_folder(tmp_path):
    assert "cannot be read as a plan: Is a directory" in _message(tmp_path)


@pytest.mark.core
def test_a_path_through_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    assert "Not a directory" in _message(tmp_path / "file" / "plan.json")


@pytest.mark.core
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"{'a': 1}", b"\xff\xfe{}", b"[1, 2]]", b"\x00", b"\xef\xbb\xbf{}", b"9" * 5000, b"-" + b"1" * 5000],
    ids=["empty", "open", "quotes", "UTF-16", "too much", "NUL", "BOM", "5,000 digits", "minus 5,000 digits"],
)
def test_not_json(content, tmp_path):
    path = tmp_path / "file.json"
    path.write_bytes(content)
    assert f"{path} is not a plan: not valid JSON (" in _message(path)


@pytest.mark.core
@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("form", ["{}", "[1, {}]", '{{"a": {}}}'])
def test_json_has_no_such_number(form, constant, tmp_path):
    path = tmp_path / "file.json"
    path.write_text(form.format(constant))
    assert _message(path) == f"{path} is not a plan: not valid JSON ({constant} is no number)."


@pytest.mark.core
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_nested_too_deeply(opening, tmp_path):
    path = tmp_path / "file.json"
    path.write_text(opening * 200_000)
    assert "nested too deeply" in _message(path)


@pytest.mark.core
def test_too_large(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    path.write_text("[1, 2, 3]")
    monkeypatch.setattr(files, "LARGEST_JSON", 9)
    assert files.read_json(path, "a plan") == [1, 2, 3]
    monkeypatch.setattr(files, "LARGEST_JSON", 8)
    assert _message(path) == f"{path} has 9 bytes, more than a plan can have (8)."


@pytest.mark.core
def test_unreadable(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    path.write_text("{}")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "read_text", refuse)
    assert _message(path) == f"{path} cannot be read as a plan: Permission denied."


@pytest.mark.core
def test_json_text_is_strict():
    assert files.to_json({"b": 1, "a": "é"}) == '{\n  "b": 1,\n  "a": "é"\n}'
    with pytest.raises(ValueError, match="JSON"):
        files.to_json(float("nan"))
    assert json.loads(files.to_json(0.1 + 0.2)) == 0.1 + 0.2


@pytest.mark.core
def test_digest():
    # the test vector "abc" of FIPS 180-2
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files.digest("abc") == files.digest(b"abc") == expected
    assert files.digest("ü") == files.digest("ü".encode())


@pytest.mark.core
def test_appending_is_all_or_nothing(tmp_path):
    """The system refuses beyond 20 bytes (a limit of this process; Python ignores the signal that goes with it)."""
    path = tmp_path / "log"
    files.append_text(path, "one ü\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
        with pytest.raises(OSError, match="File too large") as caught:
            files.append_text(path, "a line that does not fit\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.filename == str(path)
    assert path.read_text(encoding="utf-8") == "one ü\n"
    files.append_text(path, "two\n")
    assert path.read_text(encoding="utf-8") == "one ü\ntwo\n"
    files.write_bytes(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    _only(tmp_path, "log")
