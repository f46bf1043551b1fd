"""A picture of what is none gets one sentence."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import bad_pictures
import pytest

pytestmark = pytest.mark.processes


@functools.cache
def answers():
    done = subprocess.run(
        [sys.executable, bad_pictures.__file__],
        env={
            **os.environ,
            "MPLBACKEND": "agg",
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path]),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", bad_pictures.CASES)
def test_what_is_none_gets_one_sentence(name):
    said = answers()[name]
    assert said.startswith(bad_pictures.CASES[name][1])
    assert said.endswith(".")
    assert "\n" not in said
