"""What a model makes of the mask, asked of the model itself: NaN, or the same as of another token.

Both come of an embedding without a row for the mask. Flax's ``Embed`` and ``jnp.take`` fill with NaN what lies past the
end of an array; indexing as in ``table[tokens]`` reads its last row, so that a mask looks like the last token, and so
does every token beyond the last row.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mdm_jax.models.denoiser import Context, Denoiser, Params, logits
from mdm_jax.models.parameters import joined, parted
from mdm_jax.support.keys import key_of

_NOISE = 0.1


def nan_for_masks(denoiser: Denoiser, params: Params, length: int, context: Context = None) -> str | None:
    """What to say where the logits of a canvas of masks are NaN, as a sentence; ``None`` where they are not.

    Args:
        denoiser: the model.
        params: its parameters.
        length: of the canvas.
        context: passed to the denoiser, leading axis 1.
    """
    masks, tokens = (bool(_undefined(denoiser, length, params, context, token)) for token in (denoiser.mask_id, 0))
    if not masks:
        return None
    if tokens:
        return "the model's logits are NaN for masks and for tokens as well, so its parameters are NaN or lead to NaN."
    return (
        f"the model's logits are NaN where it sees the mask (id {denoiser.mask_id}), though not where it sees tokens: "
        f"its embedding must have a row for the mask, {denoiser.mask_id + 1} rows in all."
    )


def mask_taken_for_a_token(denoiser: Denoiser, params: Params, length: int, context: Context = None) -> str | None:
    """What to say where a mask looks to the model like the last token, as a sentence; ``None`` where it does not.

    Equal for the parameters as they are, and for others nearby, while token 0 is told apart: so it is not by chance,
    nor since outputs begin at zero, nor since the model looks at no token at all. Other models may be so on purpose,
    which nobody can see from outside.

    Args:
        denoiser: the model.
        params: its parameters.
        length: of a canvas.
        context: passed to the denoiser, leading axis 1.
    """
    if denoiser.mask_id < denoiser.vocab_size:
        return None  # it has a place among the tokens
    for noise in (0.0, _NOISE):
        same, blind = _alike(denoiser, length, params, context, noise)
        if not same:
            return None
    if blind:
        return None
    return (
        f"the model cannot tell the mask (id {denoiser.mask_id}) from token {denoiser.vocab_size - 1}: it returns the "
        f"same for both, whatever its parameters. An embedding needs {denoiser.mask_id + 1} rows: in JAX, indexing "
        "past the end of an array reads its last row."
    )


@functools.partial(jax.jit, static_argnums=(0, 1))
def _undefined(denoiser: Denoiser, length: int, params: Params, context: Context, token: Any) -> jax.Array:
    return jnp.any(jnp.isnan(logits(denoiser, params, jnp.full((1, length), token, jnp.int32), context)))


def _alike(denoiser: Denoiser, length: int, params: Params, context: Context, noise: float) -> tuple[bool, bool]:
    """Whether a canvas of masks is encoded as one of the last token, and that as one of token 0.

    Token 0 has a row in every embedding, and the last but one has none where several rows are missing.
    """
    with jax.debug_nans(False):  # an embedding of too few rows has its own sentence
        same, blind = _compared(denoiser, length, noise > 0, params, context)
    return bool(np.asarray(same)), bool(np.asarray(blind))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _compared(
    denoiser: Denoiser, length: int, moved: bool, params: Params, context: Context
) -> tuple[jax.Array, jax.Array]:
    if moved:
        trained, held = parted(denoiser, params)
        leaves, tree = jax.tree.flatten(trained)
        keys = jax.random.split(key_of(0), len(leaves))
        noisy = [
            leaf + jnp.asarray(_NOISE, leaf.dtype) * jax.random.normal(key, leaf.shape, leaf.dtype)
            for leaf, key in zip(leaves, keys)
        ]
        params = joined(jax.tree.unflatten(tree, noisy), held)
    last = denoiser.vocab_size - 1
    tokens = jnp.asarray([denoiser.mask_id, last, 0], jnp.int32)
    shared = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (3, *leaf.shape[1:])), context)
    hidden = denoiser.encode(params, jnp.repeat(tokens[:, None], length, axis=1), shared)
    return jnp.all(hidden[0] == hidden[1]), jnp.all(hidden[1] == hidden[2])
