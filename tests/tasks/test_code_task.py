import os
from pathlib import Path

import numpy as np
import pytest

from mdm_jax.support.errors import InputError
from mdm_jax.support.files import digest
from mdm_jax.tasks import Task, code, from_spec, python_code, restore
from mdm_jax.tasks.python_code import MOST_CHARACTERS, library


@pytest.mark.core
def test_the_library_is_a_task():
    task = code(64)
    assert isinstance(task, Task)
    assert (task.spec, task.length) == ("code", 64)
    assert len(task.train) == MOST_CHARACTERS * 9 // 10
    assert task.vocabulary.characters.isascii()
    again = from_spec("code", 64)
    assert again.describe() == restore(task.describe()).describe() == task.describe()
    np.testing.assert_array_equal(again.test, task.test)
    assert from_spec("code").length == 128
    assert task.score(task.test).mean() < 3.2 < task.baselines(task.test)["unigram"].mean()
    assert task.show(task.test[0]) in task.vocabulary.decode(task.test.ravel())


@pytest.mark.core
def test_modules_come_whole_in_the_order_of_their_names_digests(tmp_path, monkeypatch):
    names = [f"module{i}.py" for i in range(8)]
    for name in names:
        (tmp_path / name).write_text(f"# {name}\r\nx = 1\n", newline="")
    (tmp_path / "umlaut.py").write_text("# \u00fc\n", encoding="utf-8")
    (tmp_path / "zero.py").write_bytes(b"\0")
    (tmp_path / "_sysconfigdata__linux.py").write_text("machine\n")
    (tmp_path / "notes.txt").write_text("notes\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "inner.py").write_text("inner\n")
    want = "".join(f"# {name}\nx = 1\n" for name in sorted(names, key=digest))
    assert library(tmp_path) == want
    monkeypatch.setattr(python_code, "MOST_CHARACTERS", 50)
    assert library(tmp_path) == want[:50]


@pytest.mark.core
def test_a_python_without_sources_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "__file__", str(tmp_path / "os.pyc"))
    with pytest.raises(InputError, match=r'The task "code" needs the sources .* has none; .* text:PATH instead\.$'):
        code()
    assert Path(os.__file__).parent == tmp_path
