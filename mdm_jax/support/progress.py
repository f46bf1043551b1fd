"""Progress: bars that are live on a terminal and in a notebook and a line now and then in a log; remarks; silence."""

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from tqdm import TqdmWarning

from mdm_jax.support.text import printable

with warnings.catch_warnings():
    # In a notebook without ipywidgets a bar of text is what there is: no reason to complain.
    warnings.simplefilter("ignore", TqdmWarning)
    from tqdm.auto import tqdm

_silent = ContextVar("silent", default=False)


@contextlib.contextmanager
def silence(wanted: bool = True) -> Iterator[None]:
    """Within it no bar and no remark is shown, whatever ``progress=`` says. Warnings still are."""
    before = _silent.set(wanted or _silent.get())
    try:
        yield
    finally:
        _silent.reset(before)


def remark(text: str) -> None:
    """Say on standard error, on a line of its own, what is going on; nothing a terminal would obey."""
    if not _silent.get():
        print(printable(text), file=sys.stderr, flush=True)


@contextlib.contextmanager
def bar(total: int, description: str, unit: str, show: bool = True, start: int = 0) -> Iterator[Callable[..., None]]:
    """A progress bar; the value is ``advance(steps, **figures)``, whose figures are shown behind the bar.

    Args:
        total: steps in all.
        description: what is going on, one word.
        unit: what a step is.
        show: draw nothing if false, nor within :func:`silence`.
        start: steps already done (a resumed run).
    """
    # A log file gets a line every twenty seconds instead of ten a second.
    interval = 0.2 if sys.stderr.isatty() or "ipykernel.zmqshell" in sys.modules else 20.0
    shown = tqdm(
        total=total,
        initial=start,
        desc=description,
        unit=unit,
        disable=not show or _silent.get(),
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
