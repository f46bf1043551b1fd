"""Kernel locks between real processes: refused while held, free after any death."""

import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from mdm_jax.support.errors import InputError
from mdm_jax.support.locks import exclusive

# The module alone, without the package: importing JAX takes seconds and locks nothing.
_HOLD = """
import sys
from mdm_jax.support.locks import exclusive
with exclusive(sys.argv[1], "the run in somewhere"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds ``tmp_path / "new" / ".lock"`` until its standard input ends."""
    path = tmp_path / "new" / ".lock"
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield path, process
    process.kill()
    process.communicate()


@pytest.mark.processes
@pytest.mark.core
def test_a_second_process_is_refused_until_the_first_has_ended(holder):
    path, process = holder
    says = f"the run in here is in use by process {process.pid} on {re.escape(socket.gethostname())}; wait until"
    with pytest.raises(InputError, match=says), exclusive(path, "the run in here"):
        pytest.fail("two hold one lock")
    process.communicate()  # its standard input ends
    with exclusive(path, "the run in here"):
        assert path.read_text().split() == [str(os.getpid()), socket.gethostname()]
    assert path.read_text() == ""


@pytest.mark.processes
def test_a_killed_process_leaves_no_lock(holder):
    path, process = holder
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert path.read_text().split()[0] == str(process.pid)  # it had no time to tidy up
    with exclusive(path, "the run"):
        pass


def test_once_is_enough_in_one_process_too(tmp_path):
    path = tmp_path / ".lock"
    with exclusive(path, "the run"):
        with (
            pytest.raises(InputError, match=f"the run is in use by process {os.getpid()} on "),
            exclusive(path, "the run"),
        ):
            pytest.fail("two hold one lock")
        with pytest.raises(InputError), exclusive(path, "the run"):  # the refused one has not let the first one's go
            pytest.fail("two hold one lock")
    with pytest.raises(KeyError), exclusive(path, "the run"):
        raise KeyError
    with exclusive(path, "the run"):
        pass


@pytest.mark.parametrize("content", [b"dear", b"12 hosts and more\n", b"7 host\nletter\n" * 500])
def test_what_is_no_lock_file_is_left_as_it_is(tmp_path, content):
    path = tmp_path / ".lock"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"\.lock must be a lock file; it holds something else"), exclusive(path, "it"):
        pytest.fail("locked")
    assert path.read_bytes() == content


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "letter").write_text("dear")
    (tmp_path / ".lock").symlink_to(tmp_path / "letter")
    with pytest.raises(OSError, match=r"\.lock"), exclusive(tmp_path / ".lock", "the run"):
        pytest.fail("followed")
    assert (tmp_path / "letter").read_text() == "dear"
