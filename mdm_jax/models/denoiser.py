"""What a sampler, a loss and a profile need of a model: the denoiser contract.

A denoiser is *pure* and comes in two halves, so that a sampler pays only for the positions it needs:

* ``encode(params, tokens, context) -> hidden[rows, length, d]`` sees the whole sequence, masks included;
* ``readout(params, hidden) -> logits`` turns any hidden vectors, gathered from anywhere, into logits over the real
  tokens. Everything that depends on ``context`` (a latent, a class, a time) belongs to ``encode``.

The object itself holds no arrays: it is hashable and equal to another made from the same settings, so compiled
functions are shared between them. Parameters are a pytree passed in by the caller.
"""

from collections.abc import Hashable, Iterator
from typing import Any, Protocol, runtime_checkable

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mdm_jax.support.arrays import as_array
from mdm_jax.support.errors import InputError, require, uncalled, verbatim
from mdm_jax.support.ragged import ABSENT, present

Params = Any
"""A pytree of arrays."""
Context = Any
"""``None`` or a pytree whose leaves have a leading ``rows`` axis."""
_SLICE = 2**22  # ids looked at together


@runtime_checkable
class Denoiser(Hashable, Protocol):
    """The contract; ``models.from_linen``, ``from_nnx`` and ``from_function`` make one from what you have.

    Attributes:
        vocab_size: number of real tokens, ids ``0 .. vocab_size - 1``: the width of the logits.
        mask_id: the id that stands for a masked position in ``tokens``. It is never predicted: where it lies below
            ``vocab_size``, its logit is ``-inf``.
        passes: network evaluations that one ``encode`` costs (1, unless a wrapper makes more).

    Example:
        >>> import mdm_jax as mdm
        >>> model = mdm.oracles.polya(8, 0.5).denoiser
        >>> isinstance(model, mdm.models.Denoiser), model.vocab_size, model.mask_id, model.passes
        (True, 2, 2, 1)
    """

    @property
    def vocab_size(self) -> int: ...

    @property
    def mask_id(self) -> int: ...

    @property
    def passes(self) -> int: ...

    def encode(
        self, params: Params, tokens: Int[Array, "rows length"], context: Context = None
    ) -> Float[Array, "rows length d"]:
        """Hidden vectors of every position, ``float[rows, length, d]``."""
        ...

    def readout(self, params: Params, hidden: Float[Array, "*any d"]) -> Float[Array, "*any vocab_size"]:
        """Logits over the real tokens, in float32, for hidden vectors gathered from anywhere."""
        ...


def logits(
    denoiser: Denoiser, params: Params, tokens: Int[Array, "rows length"], context: Context = None
) -> Float[Array, "rows length vocab_size"]:
    """Logits at every position: ``readout`` of ``encode``.

    Args:
        denoiser: the model.
        params: its parameters.
        tokens: int32[rows, length], the mask's id where masked. Ids are not checked (see :func:`checked_tokens`).
        context: passed to the denoiser.

    Returns:
        float32[rows, length, vocab_size]; -inf for tokens that are ruled out.

    Raises:
        InputError: at trace time, a denoiser that returns another shape.

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.polya(3, 0.5)
        >>> tokens = jnp.asarray([[1, 1, 2]])  # 2 is the mask
        >>> print(jnp.exp(mdm.models.logits(world.denoiser, world.params, tokens))[0, 2])  # 1/6, 5/6
        [0.16666667 0.8333333 ]
    """
    wanted = (*tokens.shape, denoiser.vocab_size)
    values = _returned(denoiser.readout(params, denoiser.encode(params, tokens, context)), f"logits of shape {wanted}")
    require(values.shape == wanted, "the denoiser's logits", verbatim(f"shape {values.shape}"), f"of shape {wanted}")
    return values


def begun(denoiser: Denoiser, params: Params, keys: Any, context: Context = None) -> Context:
    """The context that a sampler's rows begin with: the caller's, with what the denoiser draws itself added to it.

    A denoiser may have a method ``begin(params, keys, context) -> context``, of one key for each row: what differs
    between rows by chance and stays while a row is sampled, as a latent does. Both loops call it once.

    Args:
        denoiser: the model.
        params: its parameters.
        keys: typed keys[rows].
        context: what the caller gave; a denoiser that begins keeps it.

    Example:
        >>> import jax, mdm_jax as mdm
        >>> model = mdm.models.latent_transformer(4, length=8, width=16, depth=1, heads=2, latent_size=3)
        >>> params, keys = model.init(mdm.key(0), length=8), jax.random.split(mdm.key(1), 5)
        >>> mdm.models.begun(model, params, keys).shape  # rows, latents, latent size
        (5, 1, 3)
    """
    begin = getattr(denoiser, "begin", None)
    return context if begin is None else begin(params, keys, context)


def require_model(denoiser: Denoiser, params: Params) -> None:
    """Refuse what is no denoiser, and parameters that are no pytree of arrays.

    Raises:
        InputError: one of the two.
    """
    require_denoiser(denoiser)
    for leaf in jax.tree.leaves(params):
        require(_is_array(leaf), "params", leaf, "a pytree of arrays (a run's are run.params)")


def require_denoiser(denoiser: Any) -> None:
    """Refuse what is no denoiser.

    Raises:
        InputError: it is none.
    """
    makers = "models.from_function, from_linen, from_nnx and transformer"
    good = isinstance(denoiser, Denoiser) and not isinstance(denoiser, type)
    require(good, "denoiser", uncalled(denoiser), f"a denoiser, as {makers} make them (a run's is run.denoiser)")


def _is_array(leaf: Any) -> bool:
    numbers = isinstance(leaf, np.ndarray | np.generic) and leaf.dtype.kind not in "OSUMm"
    return numbers or isinstance(leaf, jax.Array | int | float | complex) or hasattr(leaf, "__jax_array__")


def layers(denoiser: Any) -> Iterator[Any]:
    """The denoiser, the one that it wraps, and so on to the innermost."""
    yield denoiser
    while hasattr(denoiser, "denoiser"):
        denoiser = denoiser.denoiser
        yield denoiser


def takes_absent(denoiser: Any) -> bool:
    """Whether a denoiser takes rows of different lengths: positions that hold ``ABSENT`` (-1), which it does not see.

    It says so by an attribute ``ragged``, its own or its module's; a wrapper does as what it wraps.

    Example:
        >>> import mdm_jax as mdm
        >>> sizes = {"length": 8, "width": 16, "depth": 1, "heads": 2}
        >>> mdm.models.takes_absent(mdm.models.transformer(4, **sizes))
        False
        >>> mdm.models.takes_absent(mdm.models.transformer(4, **sizes, ragged=True))
        True
    """
    return next((bool(layer.ragged) for layer in layers(denoiser) if hasattr(layer, "ragged")), False)


def require_absent(denoiser: Any, tokens: Any, argument: str = "tokens") -> None:
    """Refuse rows of different lengths for a denoiser that would take what is not there for tokens.

    Raises:
        InputError: it is one, and there are such rows; traced tokens pass.
    """
    if takes_absent(denoiser) or not is_readable(tokens) or bool(np.all(present(as_array(tokens)))):
        return
    wanted = "rows of one length, or given to a model that takes others: models.transformer(..., ragged=True), "
    wanted += "models.any_order, or models.padded(denoiser, token) where a token of yours stands for what is not there"
    require(False, argument, verbatim("rows of different lengths (-1: a position that is not there)"), wanted)


def checked_logits(values: Any, vocab_size: int, mask_id: int, before: tuple[int, ...]) -> Array:
    """Logits in float32 with the mask ruled out; another shape is the model's author's error, said at trace time.

    Args:
        values: what the model returned.
        vocab_size: their last axis.
        mask_id: the mask's id.
        before: the axes before it, those of the tokens or of the hidden vectors: one row or position for all would be
            spread over them, and give numbers like any other.
    """
    values, wanted = _returned(values, f"logits of shape {(*before, vocab_size)}"), (*before, vocab_size)
    if values.shape[-1:] != (vocab_size,):
        hint = " (does it predict the mask token? count it in vocab_size)"
        hint = hint if values.shape[-1:] == (vocab_size + 1,) else ""
        raise InputError(
            f"the denoiser must return logits over vocab_size = {vocab_size} tokens; got shape {values.shape}{hint}."
        )
    if values.shape != wanted:
        raise InputError(
            f"the denoiser must return logits of shape {wanted}, a row of them for each of {before}; "
            f"got shape {values.shape}."
        )
    if not (jnp.issubdtype(values.dtype, jnp.floating) or jnp.issubdtype(values.dtype, jnp.integer)):
        raise InputError(f"the denoiser must return logits that are real numbers; got {values.dtype}.")
    values = values.astype(jnp.float32)
    if mask_id < vocab_size:
        values = values.at[..., mask_id].set(-jnp.inf)
    return values


def checked_hidden(values: Any, shape: tuple[int, ...]) -> Array:
    """Hidden vectors of tokens of ``shape``; another shape is the model's author's error, said at trace time."""
    wanted = f"hidden vectors of shape ({', '.join(map(str, shape))}, d)"
    values = _returned(values, wanted)
    if values.shape[:-1] != shape or values.ndim != len(shape) + 1:
        raise InputError(f"the denoiser's encode must return {wanted}; got shape {values.shape}.")
    return values


def _returned(values: Any, wanted: str) -> Array:
    """What a model returned, as an array."""
    if not (isinstance(values, jax.Array | np.ndarray) or hasattr(values, "__jax_array__")):
        kind = type(values).__name__
        raise InputError(f"the denoiser must return one array, {wanted}; got something of type {kind}.")
    return jnp.asarray(values)


def is_readable(given: Any) -> bool:
    """Whether this process can read the values: not of what is traced, nor of what lies on others' devices."""
    if isinstance(given, jax.core.Tracer):
        return False
    return not isinstance(given, jax.Array) or given.is_fully_addressable or given.is_fully_replicated


def checked_tokens(denoiser: Denoiser, tokens: Any, argument: str = "tokens", masks: bool = False) -> Any:
    """Token ids as int32, each of them checked; what this process cannot read passes unchecked.

    That is what is traced, and what lies in part on other processes' devices.

    A cast would make other tokens of floats and of ids beyond 32 bits, and a loss or a profile of ids that are none
    would be a number like any other.

    Args:
        denoiser: whose vocabulary it is.
        tokens: an array of any shape, or nested lists.
        argument: its name, for the sentence.
        masks: whether ``denoiser.mask_id`` may stand in it, as in a canvas.

    Returns:
        int32, of the same shape; a JAX array if it was one, else a NumPy array. ``ABSENT`` (-1) may stand in it where
        the denoiser takes rows of different lengths (:func:`takes_absent`).

    Raises:
        InputError: no whole numbers, or one that is no token's id; the sentence says where it stands.

    Example:
        >>> import mdm_jax as mdm
        >>> model = mdm.oracles.polya(3, 0.5).denoiser
        >>> mdm.models.checked_tokens(model, [[0, 1, 2]], masks=True)
        array([[0, 1, 2]], dtype=int32)
        >>> mdm.models.checked_tokens(model, [[0, 1, 2]])
        Traceback (most recent call last):
        mdm_jax.support.errors.InputError: tokens must be token ids from 0 to 1; got 2 at (0, 2) (the mask's id).
    """
    if not is_readable(tokens):
        return tokens
    ids = as_array(tokens)
    if ids.dtype.kind not in "iu":
        shown, wanted = verbatim(f"{ids.dtype} of shape {ids.shape}"), "an array of token ids (whole numbers)"
        if ids.dtype.kind in "SU":
            shown, wanted = tokens, f"{wanted}; task.vocabulary.encode makes them of text"
            wanted += ", and sampling.canvas_of a canvas of them" if masks else ""
        elif hasattr(tokens, "validation"):
            shown, wanted = tokens, f"{wanted}, as those of a task are task.validation"
        require(False, argument, shown, wanted)
    at = _first_wrong(ids, denoiser, masks)
    if at is not None:
        where = tuple(int(i) for i in np.unravel_index(at, ids.shape))
        wanted = f"token ids from 0 to {denoiser.vocab_size - 1}"
        if masks:
            wanted += f", or mask_id {denoiser.mask_id}"
        elif denoiser.mask_id < denoiser.vocab_size:
            wanted += f", without mask_id {denoiser.mask_id}"
        if ids[where] == ABSENT:
            require_absent(denoiser, ids, argument)
        told = " (the mask's id)" if ids[where] == denoiser.mask_id else ""
        require(False, argument, verbatim(f"{ids[where]} at {where}{told}"), wanted)
    return tokens.astype(jnp.int32) if isinstance(tokens, jax.Array) else ids.astype(np.int32, copy=False)


def _first_wrong(ids: np.ndarray, denoiser: Denoiser, masks: bool) -> int | None:
    """Where the first id that is no token's stands in the flat array; a slice at a time, since data may be large."""
    flat, ragged = ids.reshape(-1), takes_absent(denoiser)
    for start in range(0, flat.size, _SLICE):
        part = flat[start : start + _SLICE]
        # An int32 view of a larger id may be another token's: compare before any cast.
        wrong = (part < 0) | (part >= denoiser.vocab_size)
        wrong = wrong & (part != ABSENT) if ragged else wrong
        wrong = wrong & (part != denoiser.mask_id) if masks else wrong | (part == denoiser.mask_id)
        if wrong.any():
            return start + int(np.argmax(wrong))
    return None


class Initialisable(Denoiser, Protocol):
    """A denoiser that can make its own parameters, as training needs."""

    def init(self, key: PRNGKeyArray, length: int, context: Context = None) -> Params:
        """Fresh parameters for sequences of ``length`` tokens, and for contexts like ``context``, one row of it."""
        ...
