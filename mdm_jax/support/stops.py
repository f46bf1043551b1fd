"""Ways in which long work stops before its end, with what it has done saved."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or a termination signal during training; the state was saved, and the message says how to go on.

    Attributes:
        signal: the signal's number; the command line exits with 128 more, as shells do.
    """

    def __init__(self, message: str, number: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.signal = int(number)


class NonFinite(ArithmeticError):
    """A step of training whose loss, gradient or update is not finite; the message says where the state was saved."""


class Dead(NonFinite):
    """A training whose gradient has become exactly zero though its loss has not: no step would change anything."""


class Notice:
    """What :func:`listening` yields."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def is_set(self) -> bool:
        """Whether a signal has come."""
        return self.signal is not None


@contextmanager
def listening() -> Iterator[Notice]:
    """Note Ctrl-C (SIGINT) and SIGTERM instead of acting on them, so that a step is never torn.

    A second one of the same kind acts at once, as it did before. In a thread other than the main one, which gets no
    signals, nothing is noted.
    """
    notice = Notice()
    if threading.current_thread() is not threading.main_thread():
        yield notice
        return
    # A handler that was not installed by Python is None: it cannot be called back, so the default takes its place.
    before = {one: signal.getsignal(one) or signal.SIG_DFL for one in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _: object) -> None:
        notice.signal = number
        signal.signal(number, before[signal.Signals(number)])

    try:
        for one in before:
            signal.signal(one, note)
        yield notice
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
