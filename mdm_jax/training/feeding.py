"""What feeds the steps: data in memory are put on the devices once, data in a file are read ahead of them by a thread.

The rows of a step are the same both ways, a pure function of (seed, step): the thread draws the places that the
compiled step would draw (:mod:`mdm_jax.training.batches`), for a block of steps at a time. So it has no state to save,
and a run resumes bitwise. In a run of several processes each reads the rows of its own devices.
"""

import contextlib
import functools
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32, Int64, Integer

from mdm_jax.support.errors import InputError
from mdm_jax.support.flags import usual
from mdm_jax.support.processes import together
from mdm_jax.support.progress import remark
from mdm_jax.tasks.array_files import Read, first_byte, opened, stays_in_file
from mdm_jax.training import batches
from mdm_jax.training.batches import Drawn
from mdm_jax.training.objective import Examples
from mdm_jax.training.settings import Settings
from mdm_jax.training.step import BLOCK, Data
from mdm_jax.training.ways import Job, Way

AHEAD = 2
"""Blocks of steps that are read before they are needed: one is ready while the next is being read."""


def abstract(train: Examples, settings: Settings) -> Data:
    """The shapes of what a step is given: of the data, or of one batch where batches are read."""
    if not stays_in_file(train.tokens):
        return train

    def one(leaf: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((settings.batch, *leaf.shape[1:]), leaf.dtype)

    tokens = jax.ShapeDtypeStruct((settings.batch, settings.length), jnp.int32)
    return Drawn(jax.tree.map(one, train._replace(tokens=None))._replace(tokens=tokens))


@contextlib.contextmanager
def fed(
    job: Job, way: Way, train: Examples, spans: Iterator[tuple[int, int]], show: bool = False
) -> Iterator[Callable[[], Data]]:
    """Inside, a call gives the data of the next block of steps, where ``way`` wants them.

    Where they come from a file, a thread reads ahead; it ends with the block, whatever ends that.

    Args:
        job: what is trained.
        way: how it runs.
        train: all data, as NumPy arrays.
        spans: of each block the steps done before it, and the number of its steps.
        show: say where the data are read from a file.

    Raises:
        InputError: by a call: the file cannot be read or holds an id that is no token's; in all processes of a run.
    """
    if not stays_in_file(train.tokens):
        data = way.put(train)
        yield lambda: data
        return
    if show:
        name, count = train.tokens.filename, train.tokens.size
        remark(f"{name}: its {count:,} training tokens stay in the file; a thread reads those of the next steps ahead.")
    with contextlib.ExitStack() as stack:
        read = together(lambda: stack.enter_context(reading(train.tokens, job.denoiser.vocab_size)))
        pool = stack.enter_context(ThreadPoolExecutor(1, "reader"))
        ahead: deque[Future[Data]] = deque()

        def ask() -> None:
            span = next(spans, None)
            if span is not None:
                ahead.append(pool.submit(block, job.settings, way, train, read, *span))

        def take() -> Data:
            ask()
            return together(lambda: ahead.popleft().result())

        try:
            for _ in range(AHEAD):
                ask()
            yield take
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def block(settings: Settings, way: Way, train: Examples, read: Read, first: int, count: int) -> Drawn:
    """The batches of a block of steps, on their devices; this process reads the rows of its own devices alone.

    Args:
        settings: how to train.
        way: how it runs.
        train: all data.
        read: from the file.
        first: steps done before it.
        count: its steps, at most ``BLOCK``; the shape is that of so many.
    """
    mine = way.rows_here(settings.batch)
    chosen = places(settings, train.tokens.shape, first)[:count, mine]
    stride = settings.length if train.tokens.ndim == 2 else 1

    def of_block(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values, np.zeros((BLOCK - count, *values.shape[1:]), values.dtype)])

    tokens = read(chosen * stride, settings.length).astype(np.int32)
    others = jax.tree.map(lambda leaf: np.asarray(leaf)[chosen], train._replace(tokens=None))
    return way.put_rows(Drawn(jax.tree.map(of_block, others._replace(tokens=tokens))), settings.batch)


def places(settings: Settings, shape: tuple[int, ...], first: int) -> Int64[np.ndarray, "steps batch"]:
    """Where the rows of ``BLOCK`` steps are: the places that a step draws of data in memory.

    Args:
        settings: how to train.
        shape: of the training tokens.
        first: steps done before them.
    """
    count = batches.places_in(shape, settings.length)
    far = count > batches.LARGEST
    # Not on an accelerator, which would first end what it is doing; flags of JAX are those of a thread.
    with usual(), jax.default_device(_host()):
        drawn = np.asarray(_drawn(settings.seed, jnp.int32(first), None if far else count, settings.batch))
    return batches.far_places(drawn, count) if far else drawn.astype(np.int64)


@contextlib.contextmanager
def reading(tokens: np.memmap, vocab_size: int) -> Iterator[Read]:
    """Inside, a function that reads from the file of a map (:func:`mdm_jax.tasks.array_files.opened`), ids checked.

    Args:
        tokens: a map for which ``stays_in_file`` holds.
        vocab_size: ids are below it.

    Raises:
        InputError: the file cannot be opened; by the function: it cannot be read, is too short now, or holds an id that
            is no token's.
    """
    start = first_byte(tokens)
    with opened(tokens) as read:

        def checked(chosen: Int64[np.ndarray, "*any"], length: int) -> Integer[np.ndarray, "*any length"]:
            found = read(chosen, length)
            if found.size and not 0 <= int(found.min()) <= int(found.max()) < vocab_size:
                *row, column = np.argwhere((found < 0) | (found >= vocab_size))[0]
                place, given = int(chosen[tuple(row)]) + int(column), found[(*row, column)]
                raise InputError(
                    f"{tokens.filename} must hold token ids from 0 to {vocab_size - 1}; token {place} of the training "
                    f"part, at byte {start + place * tokens.itemsize} of the file, is {given}."
                )
            return found

        yield checked


def _host() -> Any:
    """The processor of this process as JAX's device; ``None``, the default device, where JAX was told to have none."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None


@functools.partial(jax.jit, static_argnums=(0, 2, 3))
def _drawn(seed: int, first: Int32[Array, ""], count: int | None, rows: int) -> Array:
    """Of each step of a block the places below ``count``, or the words that make them if that is ``None``."""

    def one(step: Int32[Array, ""]) -> Array:
        key = batches.keys(seed, step)[0]
        return batches.words(key, rows) if count is None else batches.places(key, count, rows)

    return jax.vmap(one)(first + jnp.arange(BLOCK, dtype=jnp.int32))
