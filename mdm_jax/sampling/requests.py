"""What sampling is asked for, looked at before it begins: prompts as a canvas, the temperature, the numbers of rows."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Int, Int32

from mdm_jax.support.arrays import as_array
from mdm_jax.support.errors import is_number, require, require_whole, verbatim
from mdm_jax.support.ragged import ABSENT


def canvas_of(
    prompts: Sequence[ArrayLike | Sequence[int]],
    length: int,
    mask_id: int,
    lengths: ArrayLike | Sequence[int] | None = None,
) -> Int32[np.ndarray, "rows length"]:
    """Prompts of different lengths as one canvas: each row begins with its prompt and is masked behind it.

    Args:
        prompts: token ids, each int[at most length], arrays or lists; whether they are tokens of a denoiser is for the
            sampler to see.
        length: of the sequences.
        mask_id: the denoiser's.
        lengths: of each sequence, at most ``length``, for a model that takes rows of different lengths: what is behind
            is not there (-1).

    Returns:
        int32[prompts, length], as ``sample(..., canvas=)`` takes it.

    Raises:
        InputError: no prompt, or one that is too long or not one row of token ids; numbers that are no whole ones;
            lengths that are not one for each prompt, or shorter than it.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.sampling.canvas_of([[1, 0, 1], [1]], length=5, mask_id=2)
        array([[1, 0, 1, 2, 2],
               [1, 2, 2, 2, 2]], dtype=int32)
        >>> mdm.sampling.canvas_of([[1, 0, 1], [1]], length=5, mask_id=2, lengths=[5, 3])
        array([[ 1,  0,  1,  2,  2],
               [ 1,  2,  2, -1, -1]], dtype=int32)
    """
    several = isinstance(prompts, Sequence | np.ndarray | jax.Array) and np.iterable(prompts) and len(prompts) >= 1
    require(several, "prompts", prompts, "at least one row of token ids")
    require_whole("length", length, 1, 2**31 - 1)
    require_whole("mask_id", mask_id, 0, 2**31 - 1)
    canvas = np.full((len(prompts), length), mask_id, np.int32)
    for i, prompt in enumerate(prompts):
        tokens = as_array(prompt)
        good = tokens.ndim == 1 and (tokens.size == 0 or tokens.dtype.kind in "iu")
        text = " (task.vocabulary.encode makes them of text)" if tokens.dtype.kind in "SU" else ""
        shown = verbatim(f"{tokens.dtype} of shape {tokens.shape}")
        require(good, f"prompts[{i}]", prompt if text else shown, f"one row of token ids{text}")
        require(len(tokens) <= length, f"prompts[{i}]", verbatim(f"{len(tokens)} tokens"), f"at most {length} long")
        bad = tokens[(tokens < 0) | (tokens >= 2**31)] if tokens.size else tokens
        require(bad.size == 0, f"prompts[{i}]", bad[:1].tolist(), "token ids, from 0 to 2^31 - 1")
        canvas[i, : len(tokens)] = tokens
    if lengths is not None:
        many = as_array(lengths)
        shown = verbatim(f"{many.dtype} of shape {many.shape}")
        good = many.dtype.kind in "iu" and many.shape == (len(prompts),)
        require(good, "lengths", shown, f"whole numbers, one for each of {len(prompts)} prompts")
        for i, own in enumerate(many.tolist()):
            least = max(1, len(as_array(prompts[i])))
            require(least <= own <= length, f"lengths[{i}]", own, f"from {least}, that of its prompt, to {length}")
        canvas[np.arange(length)[None] >= many[:, None]] = ABSENT
    return canvas


def require_temperature(temperature: Any) -> None:
    """Refuse what is not one number that float32 holds: one rounded to 0 is no argmax; traced ones pass."""
    if isinstance(temperature, jax.core.Tracer):
        require(temperature.ndim == 0, "temperature", verbatim(f"shape {temperature.shape}"), "one number")
        return
    require(np.ndim(temperature) == 0, "temperature", verbatim(f"shape {np.shape(temperature)}"), "one number")
    least, most = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
    good = is_number(temperature) and (temperature == 0 or least <= temperature <= most)
    require(
        good, "temperature", temperature, f"0 or more, and finite (in float32: 0, or from {least:.2g} to {most:.2g})"
    )


def checked_row_ids(row_ids: Any, rows: int) -> Int[Array, " rows"]:
    """Ids as int32; the last one that int32 holds is taken (see :data:`mdm_jax.sampling.blind._TOKENS`)."""
    traced = isinstance(row_ids, jax.core.Tracer)
    ids = row_ids if traced else as_array(row_ids)
    require(ids.shape == (rows,), "row_ids", row_ids, f"one for each of {rows} rows")
    whole = ids.dtype.kind in "iu" and (traced or bool(np.all((ids >= 0) & (ids < 2**31 - 1))))
    require(whole, "row_ids", row_ids, "whole numbers from 0 to 2^31 - 2")
    return jnp.asarray(ids, jnp.int32)
