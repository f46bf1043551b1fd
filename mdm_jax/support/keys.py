"""PRNG keys of one implementation, so that what is drawn depends on the key and on no global flag.

Everything here is keyed by ``fold_in`` for each row and position, under ``vmap``. JAX's ``threefry2x32`` keeps those
apart; ``rbg`` and ``unsafe_rbg`` do not promise to (a ``vmap`` over keys of theirs draws from the first one alone), so
that a row would depend on the rows beside it. Keys of theirs are *converted*, not refused.
"""

from typing import Any

import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from mdm_jax.support.errors import require, require_whole, verbatim
from mdm_jax.support.flags import loose

IMPLEMENTATION = "threefry2x32"
_KINDS: dict[tuple[int, ...], str] = {(2,): IMPLEMENTATION, (4,): "rbg"}
"""Of raw keys, by their shape."""


def key_of(seed: int) -> PRNGKeyArray:
    """The key of a seed from 0 to 2^31 - 1, whatever ``jax_default_prng_impl`` and ``jax_random_seed_offset`` say."""
    # JAX adds the offset. Words of one's own would be a constant of a compiled program that its text does not show.
    offset = jax.config.jax_random_seed_offset  # pyright: ignore[reportAttributeAccessIssue]
    return jax.random.key(seed - offset, impl=IMPLEMENTATION)


def key(seed: int) -> PRNGKeyArray:
    """The random key of a seed, as everything here takes it: ``mdm.key(0)``; its parts by ``jax.random.split``.

    It is ``jax.random.key(seed)`` of JAX's usual settings, whatever they are now.

    Raises:
        InputError: no whole number from 0 to 2^31 - 1.

    Example:
        >>> import jax, mdm_jax as mdm
        >>> bool(mdm.key(0) == jax.random.key(0))
        True
        >>> first, second = jax.random.split(mdm.key(0))
    """
    return key_of(require_whole("seed", seed, 0, 2**31 - 1))


def threefry(key: Any, argument: str = "key") -> PRNGKeyArray:
    """``key`` as one ``threefry2x32`` key.

    A key of another implementation gives the key of its first two words, the others folded in where they are no
    repetition. So ``jax.random.key(seed, impl="rbg")``, its splits and its folds give what those of the same threefry
    key give.

    Args:
        key: one typed key (``jax.random.key``), traced or not.
        argument: its name, for the sentence.

    Raises:
        InputError: no key, several, or the raw words of an old one (``jax.random.PRNGKey``).
    """
    key, wanted = loose(key), "one PRNG key, as jax.random.key(0) makes it"
    if not (isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        array = isinstance(key, jax.Array) or type(key).__module__ == "numpy"
        given = verbatim(f"{key.dtype} of shape {key.shape}") if array else key
        kind = _KINDS.get(key.shape) if array and str(key.dtype) == "uint32" else None
        if kind is not None:
            wanted += f' (of this raw one, jax.random.wrap_key_data({argument}, impl="{kind}") makes it)'
        require(False, argument, given, wanted)
    require(key.shape == (), argument, verbatim(f"keys of shape {key.shape}"), wanted)
    if str(jax.random.key_impl(key)) == IMPLEMENTATION:
        return key
    words = jax.random.key_data(key)
    first = jax.random.wrap_key_data(words[:2], impl=IMPLEMENTATION)
    folded = first
    for word in words[2:]:
        folded = jax.random.fold_in(folded, word)
    repeats = jnp.all(words[2:] == jnp.resize(words[:2], words[2:].shape))
    chosen = jnp.where(repeats, jax.random.key_data(first), jax.random.key_data(folded))
    return jax.random.wrap_key_data(chosen, impl=IMPLEMENTATION)
