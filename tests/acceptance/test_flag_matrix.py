"""Global flags of JAX against commands: each works under each, and what comes out is what comes out without it."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from compiler_flags import with_devices
from under_flags import COMMANDS, FLAGS

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
VOLATILE = {"seconds", "tokens_per_second", "versions", "run", "digest", "profile_digest", "written", "path", "task"}
"""Entries that differ from one run to the next or by rounding (digests of rounded numbers)."""
NUMBER = re.compile(r"\d+(?:\.\d+)?")
CLOSE = 2e-4
"""Relative: float32 against float64, or one device against two, after twenty steps of training."""


@pytest.fixture(scope="session")
def outcome(tmp_path_factory):
    """What the commands came to under a flag, by name; each flag is tried once."""
    found = {}

    def under(name):
        if name not in found:
            folder = tmp_path_factory.mktemp("flags")
            where = {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": with_devices(2)}
            worker = [sys.executable, str(Path(__file__).with_name("under_flags.py")), name, str(folder)]
            done = subprocess.run(worker, capture_output=True, text=True, timeout=900, env=where, cwd=ROOT)
            assert done.returncode == 0, done.stderr[-3000:]
            found[name] = json.loads(done.stdout)
        return found[name]

    return under


@pytest.mark.thorough
def test_without_a_flag_every_command_works(outcome):
    assert {what: told for what, told in outcome("no flag").items() if told["status"] != 0} == {}
    assert set(outcome("no flag")) >= set(COMMANDS)


@pytest.mark.thorough
@pytest.mark.parametrize("name", [name for name in FLAGS if name != "no flag"])
def test_a_flag_changes_nothing(outcome, name):
    """Tokens, plans, counts and texts are equal; figures but for rounding."""
    found, expected = outcome(name), outcome("no flag")
    assert {what: told for what, told in found.items() if told["status"] != 0} == {}
    differences = {what: list(differing(told["result"], expected[what]["result"])) for what, told in found.items()}
    assert {what: some[:3] for what, some in differences.items() if some} == {}


def differing(found, expected, where=""):
    """What differs, place by place."""
    if isinstance(expected, dict) and isinstance(found, dict):
        if found.keys() != expected.keys():
            yield f"{where}: keys {sorted(found.keys() ^ expected.keys())}"
        for key in found.keys() & expected.keys():
            if key not in VOLATILE:
                yield from differing(found[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, list) and isinstance(found, list):
        if len(found) != len(expected):
            yield f"{where}: {len(found)} entries, not {len(expected)}"
        for i, (one, other) in enumerate(zip(found, expected)):
            yield from differing(one, other, f"{where}[{i}]")
    elif isinstance(expected, float) or isinstance(found, float):
        numbers = isinstance(found, int | float) and isinstance(expected, int | float)
        if not numbers or not math.isclose(found, expected, rel_tol=CLOSE, abs_tol=CLOSE):
            yield f"{where}: {found}, not {expected}"
    elif isinstance(expected, str) and isinstance(found, str):
        # Names of schedules hold numbers: those of float64 have more digits.
        if NUMBER.sub("#", found) != NUMBER.sub("#", expected):
            yield f"{where}: {found!r}, not {expected!r}"
        pairs = zip(map(float, NUMBER.findall(found)), map(float, NUMBER.findall(expected)))
        yield from (
            f"{where}: {one}, not {other}" for one, other in pairs if not math.isclose(one, other, rel_tol=1e-6)
        )
    elif found != expected:
        yield f"{where}: {found!r}, not {expected!r}"
