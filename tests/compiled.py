"""How many programs JAX makes: counted where it says so itself, whoever asks for them and wherever they come from."""

import contextlib
from collections.abc import Iterator

import jax

_MADE: list[str] = []
"""The names of all programs of this process, as they are made."""


def _listen(event: str, seconds: float, **about: str | int) -> None:
    # Said of every program that a process has not had yet, be it compiled or found in the compilation cache.
    if event == "/jax/core/compile/backend_compile_duration":
        _MADE.append(str(about.get("fun_name", "?")))


jax.monitoring.register_event_duration_secs_listener(_listen)


@contextlib.contextmanager
def programs() -> Iterator[list[str]]:
    """The names of the programs that are made within, once it is left.

    ``with programs() as made: ...``, then ``made == []`` where everything was there already.
    """
    made: list[str] = []
    before = len(_MADE)
    try:
        yield made
    finally:
        made.extend(_MADE[before:])
