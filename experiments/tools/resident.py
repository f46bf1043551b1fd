"""How much memory a process had at its peak."""

import re
import resource
import sys
from pathlib import Path


def peak() -> int:
    """The most that this process has had resident since its program began, in bytes.

    Linux says it as VmHWM. What ``getrusage`` says there is no less than what the parent held when it started the
    process, so it is asked elsewhere alone (where macOS answers in bytes).
    """
    told = Path("/proc/self/status")
    if told.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", told.read_text(encoding="ascii"))):
        return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
