"""What something took: by the clock, and of processors, which other work hardly changes."""

import os
import time
from typing import NamedTuple


class Took(NamedTuple):
    """Seconds.

    Attributes:
        wall: by the clock.
        processor: of all processors together, of this process and of its children that have ended; ``None`` where that
            is not known.
    """

    wall: float
    processor: float | None

    def plus(self, other: "Took") -> "Took":
        """Both together: what is not known of one is not known of the sum."""
        wall = self.wall + other.wall
        if self.processor is None or other.processor is None:
            return Took(wall, None)
        return Took(wall, self.processor + other.processor)

    def since(self, begun: "Took") -> "Took":
        """What lies between two readings of :func:`now`."""
        return self.plus(Took(-begun.wall, None if begun.processor is None else -begun.processor))


NOTHING = Took(0.0, 0.0)


def now() -> Took:
    """A reading of both clocks; their beginnings mean nothing."""
    used = os.times()
    return Took(time.perf_counter(), used.user + used.system + used.children_user + used.children_system)
