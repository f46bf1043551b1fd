"""Progress bars on standard error: live on a terminal, a line now and then in a log."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from tqdm import tqdm


@contextlib.contextmanager
def bar(total: int, description: str, unit: str, show: bool = True, start: int = 0) -> Iterator[Callable[..., None]]:
    """A progress bar; the value is ``advance(steps, **figures)``, whose figures are shown behind the bar.

    Args:
        total: steps in all.
        description: what is going on, one word.
        unit: what a step is.
        show: draw nothing if false.
        start: steps already done (a resumed run).
    """
    # A log file gets a line every twenty seconds instead of ten a second.
    interval = 0.2 if sys.stderr.isatty() else 20.0
    shown = tqdm(
        total=total,
        initial=start,
        desc=description,
        unit=unit,
        disable=not show,
        mininterval=interval,
        maxinterval=max(interval, 10.0),
        dynamic_ncols=True,
        smoothing=0.05,
        file=sys.stderr,
    )

    def advance(steps: int = 1, **figures: Any) -> None:
        if figures:
            shown.set_postfix(figures, refresh=False)
        shown.update(steps)

    try:
        yield advance
    finally:
        shown.close()
