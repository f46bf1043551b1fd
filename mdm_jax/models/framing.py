"""A vocabulary of real tokens alone, and what stands around every row: the wrapper for models with special ids.

A published model has ids that no data holds (padding, unknown, unused rows of its head) and was trained between others
(CLS and SEP, BOS and EOS). Framed, it is an ordinary denoiser of the real tokens: samplers, profiles, exact laws,
``path_nelbo`` and the n-gram baselines of tasks speak of nothing else.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mdm_jax.models.denoiser import Context, Denoiser, Params, layers, require_denoiser, takes_absent
from mdm_jax.models.extending import Cache, block_length
from mdm_jax.models.guiding import Guided
from mdm_jax.models.wrappers import Hidden, Slots, Tokens, Wrapper
from mdm_jax.support.errors import require, require_whole, verbatim
from mdm_jax.support.ragged import ABSENT, present


@dataclasses.dataclass(frozen=True, repr=False)
class Framed(Wrapper):
    """What :func:`framed` makes.

    Attributes:
        ids: of the wrapped denoiser, of each token.
        prefix: its ids before every row.
        suffix: its ids after every row.
    """

    ids: tuple[int, ...]
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]

    def __repr__(self) -> str:
        return f"Framed({self.denoiser!r}, {len(self.ids)} ids, prefix={self.prefix}, suffix={self.suffix})"

    @property
    def vocab_size(self) -> int:
        return len(self.ids)

    @property
    def mask_id(self) -> int:
        return len(self.ids)

    @property
    def extends(self) -> bool:
        """Another vocabulary changes nothing in what may be kept; what stands around rows is not absorbed."""
        return not self.prefix and not self.suffix

    def encode(self, params: Params, tokens: Tokens, context: Context = None) -> Hidden:
        hidden = self.denoiser.encode(params, self._framed(self._theirs(tokens)), context)
        return hidden[:, len(self.prefix) : len(self.prefix) + tokens.shape[1]]

    def extend(
        self, params: Params, cache: Cache, positions: Slots, tokens: Slots, revealed: Array, context: Context = None
    ) -> tuple[Cache, Hidden]:
        return super().extend(params, cache, positions, self._theirs(tokens), revealed, context)

    def encode_ranked(
        self, params: Params, tokens: Tokens, rank: Tokens, bound: Tokens, context: Context = None
    ) -> Hidden:
        return super().encode_ranked(params, self._theirs(tokens), rank, bound, context)

    def encode_blocks(self, params: Params, tokens: Tokens, noisy: Tokens, context: Context = None) -> Hidden:
        return super().encode_blocks(params, self._theirs(tokens), self._theirs(noisy), context)

    def readout(self, params: Params, hidden: Float[Array, "*any d"]) -> Float[Array, "*any vocab_size"]:
        return jnp.take(super().readout(params, hidden), jnp.asarray(self.ids, jnp.int32), axis=-1)

    def _theirs(self, tokens: Int[Array, "rows any"]) -> Int[Array, "rows any"]:
        """The wrapped denoiser's ids of tokens and masks; what is not there stays so."""
        table = jnp.asarray((*self.ids, self.denoiser.mask_id), jnp.int32)
        there = present(tokens)
        return jnp.where(there, table[jnp.where(there, tokens, 0)], ABSENT)

    def _framed(self, tokens: Tokens) -> Int[Array, "rows framed"]:
        """Rows with what stands around them: a shorter row's suffix follows its last token."""
        before, after = ((len(tokens), len(part)) for part in (self.prefix, self.suffix))
        start = jnp.broadcast_to(jnp.asarray(self.prefix, jnp.int32)[None], before)
        end = jnp.broadcast_to(jnp.asarray(self.suffix, jnp.int32)[None], after)
        if not self.suffix or not takes_absent(self.denoiser):
            return jnp.concatenate([start, tokens, end], axis=1)
        place = jnp.arange(tokens.shape[1] + len(self.suffix), dtype=jnp.int32)[None]
        last = jnp.max(jnp.where(present(tokens), place[:, : tokens.shape[1]] + 1, 0), axis=1, keepdims=True)
        beyond = place - last  # from 0 on in the suffix
        at = jnp.clip(beyond, 0, len(self.suffix) - 1)
        ended = jnp.where(beyond < len(self.suffix), jnp.take_along_axis(end, at, axis=1), ABSENT)
        wide = jnp.concatenate([tokens, jnp.full(after, ABSENT, jnp.int32)], axis=1)
        return jnp.concatenate([start, jnp.where(beyond < 0, wide, ended)], axis=1)


def framed(denoiser: Denoiser, ids: Sequence[int], prefix: Sequence[int] = (), suffix: Sequence[int] = ()) -> Framed:
    """A denoiser of the tokens ``0 .. len(ids) - 1`` alone, each row framed as the wrapped denoiser was trained.

    Token ``v`` is the wrapped denoiser's ``ids[v]``, the mask is ``len(ids)``, and no other id is ever predicted.
    Around each row it is shown ``prefix`` and ``suffix``, which cost nothing and are never revealed, for they are no
    positions. Where it takes rows of different lengths, the suffix follows each row's last token. Contexts pass through
    as they are. :func:`~mdm_jax.models.shifted` belongs inside, so that the last id of the prefix predicts the first
    token; :func:`~mdm_jax.models.guided` belongs outside, since what is given is told by the row's own positions.

    Args:
        denoiser: the model.
        ids: its ids of the real tokens, in the order of the new ones, each once.
        prefix: its ids before every row (CLS, BOS); they may be among ``ids``.
        suffix: its ids after every row (SEP, EOS).

    Raises:
        InputError: what is no denoiser, or a guided one; no ids, one that is none of the denoiser's or its mask, or
            stands there twice; a frame around a model that goes by blocks, which would no longer be its own.

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> def counting(params, tokens):  # logits that tell how many of each id are there
        ...     counts = (tokens[..., None] == jnp.arange(6)).sum(axis=1)
        ...     return params + jnp.broadcast_to(counts[:, None], (*tokens.shape, 6))
        >>> inner = mdm.models.from_function(counting, 6, mask_id=4)
        >>> model = mdm.models.framed(inner, [5, 3, 0], prefix=[1], suffix=[2, 2])
        >>> model.vocab_size, model.mask_id
        (3, 3)
        >>> print(mdm.models.logits(model, jnp.zeros(6), jnp.asarray([[0, 0, 1, 3]]))[0, 3])  # ids 1 5 5 3 4 2 2
        [2. 1. 0.]
    """
    require_denoiser(denoiser)
    inside = any(isinstance(layer, Guided) for layer in layers(denoiser))
    require(not inside, "denoiser", verbatim("a guided one"), "one that is guided from outside: guided(framed(model))")
    ours = _ids_of(denoiser, "ids", ids)
    require(bool(ours), "ids", ids, "at least one token's id")
    ordered = sorted(ours)
    twice = next((one for one, following in itertools.pairwise(ordered) if one == following), None)
    require(twice is None, "ids", verbatim(f"{twice} more than once"), "ids of tokens, each of them once")
    around = _ids_of(denoiser, "prefix", prefix), _ids_of(denoiser, "suffix", suffix)
    alone = not any(around) or block_length(denoiser) is None
    wanted = "left out for a model that goes by blocks, or put around models.without_cache of it"
    require(alone, "prefix" if prefix else "suffix", prefix or suffix, wanted)
    return Framed(denoiser, ours, *around)


def _ids_of(denoiser: Denoiser, argument: str, ids: Sequence[int]) -> tuple[int, ...]:
    """Ids that a denoiser knows, the mask's not among them."""
    require(np.iterable(ids) and not isinstance(ids, str | bytes), argument, ids, "a sequence of token ids")
    checked = tuple(require_whole(argument, token, 0, denoiser.vocab_size - 1) for token in ids)
    wanted = f"ids of tokens, without the mask's ({denoiser.mask_id})"
    require(denoiser.mask_id not in checked, argument, ids, wanted)
    return checked
