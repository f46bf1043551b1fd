"""Rotary positions: angles by which queries and keys are turned, so that they see how far they are apart."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

Turns = tuple[Float[np.ndarray, "most half"], Float[np.ndarray, "most half"]]


def frequencies(features: int, base: float, scales: tuple[float, ...] = ()) -> Float[Array, " half"]:
    """Radians per position of each pair of features, wavelengths from 2 pi to 2 pi ``base``.

    Args:
        features: an even number.
        base: of the wavelengths.
        scales: what each frequency is multiplied by; 1 if left out.
    """
    half = features // 2
    # float32 by name: no promotion of whole numbers, and the same angles under jax_enable_x64.
    plain = base ** (-jnp.arange(half, dtype=jnp.float32) / half)
    return plain * jnp.asarray(scales, jnp.float32) if scales else plain


@functools.lru_cache(maxsize=64)
def rotations(length: int, features: int, base: float, scales: tuple[float, ...] = ()) -> Turns:
    """Cosines and sines of the rotary positions' angles: see :func:`frequencies`.

    They are constants: XLA on CPU would make them anew for each head, row and layer, a fifth of an encoding.
    """
    if length == 1:  # position 0 is not turned: so a network's shapes, which take one position, compile nothing
        return np.ones((1, features // 2), np.float32), np.zeros((1, features // 2), np.float32)
    with jax.ensure_compile_time_eval():
        found = frequencies(features, base, scales)
        angles = jnp.arange(length, dtype=jnp.float32)[:, None] * found[None, :]
        return np.asarray(jnp.cos(angles)), np.asarray(jnp.sin(angles))


def rotate(
    inputs: Float[Array, "rows length heads features"],
    turns: Turns,
    positions: Int[Array, "some length"] | None = None,
) -> Float[Array, "rows length heads features"]:
    """Rotary position embedding (arXiv 2104.09864) in half-split form.

    Args:
        inputs: queries or keys.
        turns: :func:`rotations` of at least so many positions.
        positions: of the inputs; 0, 1, 2, ... if left out.
    """
    length, half = inputs.shape[1], inputs.shape[-1] // 2
    if positions is None:
        cosine, sine = (jnp.asarray(one[None, :length, None], inputs.dtype) for one in turns)
    else:
        found = (jnp.take(jnp.asarray(one, inputs.dtype), positions, axis=0, mode="clip") for one in turns)
        cosine, sine = (one[:, :, None] for one in found)
    first, second = inputs[..., :half], inputs[..., half:]
    return jnp.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)
