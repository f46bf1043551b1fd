"""Several processes of one run: what fails in one of them must not leave the others waiting."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np

from mdm_jax.support.errors import InputError

Made = TypeVar("Made")
_PIECE = 2**12  # bytes that process 0 tells the others at a time


def any_process(flag: bool) -> bool:
    """Whether the flag is set on any process; all of them must ask."""
    if jax.process_count() == 1:
        return flag
    from jax.experimental import multihost_utils  # slow to import, and rarely needed

    return bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))


def together(act: Callable[[], Made]) -> Made:
    """``act()`` in every process; if it fails in one, all raise: none is left waiting for the others.

    Every process must come here, and ``act`` must not communicate itself: one that fails would miss its turn.

    Raises:
        Exception: what ``act`` raised in this process.
        InputError: it failed in another process alone.
    """
    if jax.process_count() == 1:
        return act()
    failure: Exception | None = None
    made: list[Made] = []
    try:
        made.append(act())
    except Exception as error:  # raised again below, once the others know
        failure = error
    failed = any_process(failure is not None)
    if failure is not None:
        raise failure
    if failed:
        raise InputError("another process of this run has stopped; its message says why.")
    return made[0]


def agreed(decide: Callable[[], Any]) -> Any:
    """``decide()`` by process 0, told to all: its value (JSON) or its refusal. All processes must ask.

    Files are looked at by one process only: on a network file system others may see them later.

    Raises:
        InputError: what ``decide`` raised.
        OSError: likewise.
    """
    if jax.process_count() == 1:
        return decide()
    message = b""
    failure: Exception | None = None
    if jax.process_index() == 0:
        try:
            message = json.dumps({"value": decide()}).encode()
        except (InputError, OSError) as error:
            failure = error
            message = json.dumps({"refused": str(error)}).encode()
    told = _told(message)
    if failure is not None:
        raise failure
    outcome = json.loads(told)
    if "refused" in outcome:
        raise InputError(outcome["refused"])
    return outcome["value"]


def _told(message: bytes) -> bytes:
    """What process 0 says, on every process: in pieces of one size, so that one executable sends them all."""
    from jax.experimental import multihost_utils  # slow to import, and rarely needed

    received, size = b"", 1
    while len(received) < size:
        part = message[len(received) : len(received) + _PIECE]
        piece = np.zeros(1 + _PIECE, np.int32)
        piece[0] = len(message)
        piece[1 : 1 + len(part)] = np.frombuffer(part, np.uint8)
        piece = np.asarray(multihost_utils.broadcast_one_to_all(piece))
        size = int(piece[0])
        received += piece[1:].astype(np.uint8).tobytes()
    return received[:size]
