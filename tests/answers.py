"""What a script of bad calls answers, in a process of its own: under pytest beartype objects before the library."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


@functools.cache
def answers_of(script: str) -> Any:
    """The JSON that the script (its path) prints last."""
    done = subprocess.run(
        [sys.executable, script],
        env={**os.environ, "MPLBACKEND": "agg", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])
