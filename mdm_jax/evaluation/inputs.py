"""What measurements are given: sequences of a model's tokens, contexts for them, and costs that are finite."""

from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Int, Int32

from mdm_jax.models.classes import check_labels
from mdm_jax.models.denoiser import Context, Denoiser, Params, checked_tokens, layers, logits
from mdm_jax.models.latent import LatentModel, Marginal, Redrawn
from mdm_jax.support.arrays import as_array
from mdm_jax.support.errors import InputError, require, require_whole, verbatim
from mdm_jax.support.ragged import present
from mdm_jax.theory.plans import Plan

LARGEST = 2**31 - 1
"""Of what is counted in 32 bits: encodings, repeats, rows."""


def sequences(
    denoiser: Denoiser, tokens: Any, least: int = 1, argument: str = "tokens"
) -> Int32[np.ndarray, "rows length"]:
    """``tokens`` as int32[rows, length], each of them a real token of the denoiser's.

    Raises:
        InputError: no token ids, another shape, or fewer rows than ``least``.
    """
    ids = np.asarray(checked_tokens(denoiser, tokens, argument))
    good = ids.ndim == 2 and len(ids) >= least and ids.shape[1] >= 1
    rows = "at least 1 row" if least == 1 else f"at least {least} rows"
    require(good, argument, verbatim(f"shape {ids.shape}"), f"of shape [rows, length] with {rows}")
    return ids


def checked_plans(plans: Any, length: int, wanted: str) -> list[Plan]:
    """Plans of ``length`` as a list.

    Raises:
        InputError: no plans, or plans of another length; ``wanted`` says which.
    """
    require(isinstance(plans, Iterable) and not isinstance(plans, str | bytes), "plans", plans, "a list of plans")
    plans = list(plans)
    for plan in plans:
        require(isinstance(plan, Plan), "plans", plan, "a list of plans")
        require(plan.length == length, "plans", verbatim(f"one for {plan.length} tokens"), wanted)
    return plans


def require_costs(costs: Float[np.ndarray, "plans rows"], plans: Sequence[Plan]) -> None:
    """Refuse costs of paths that are no numbers.

    Raises:
        InputError: one is NaN.
    """
    for plan, row in np.argwhere(np.isnan(costs)).tolist():
        raise InputError(
            "the denoiser's logits must be finite, or -inf for tokens that it rules out, but not for all; they are not "
            f"along the path of row {row} under {plans[plan].name!r}."
        )


def known_positions(
    given: ArrayLike | None, tokens: np.ndarray
) -> tuple[Bool[np.ndarray, "rows length"], Int[np.ndarray, " rows"]]:
    """Which positions of each row are known from the start, or not there, and how many are left.

    Raises:
        InputError: ``given`` is no mask of the rows, or nothing is left in one of them.
    """
    known = ~present(tokens)
    if given is not None:
        mask = as_array(given)
        fits = mask.dtype == bool and mask.shape in (tokens.shape, tokens.shape[1:])
        wanted = f"bool of shape [{tokens.shape[1]}] or {list(tokens.shape)}"
        require(bool(fits), "given", verbatim(f"{mask.dtype} of shape {mask.shape}"), wanted)
        known = known | mask
    free = tokens.shape[1] - known.sum(axis=1)
    shown = verbatim(f"row {int(np.argmin(free))}, of which nothing is left")
    require(bool((free >= 1).all()), "tokens" if given is None else "given", shown, "rows with something left to tell")
    return known, free


def per_token(
    costs: Float[np.ndarray, "*plans rows"], tokens: Int[np.ndarray, " rows"]
) -> Float[np.ndarray, "*plans rows"]:
    """Numbers of rows of so many tokens whose mean is the cost per token, and whose standard error is its.

    Example:
        >>> import numpy as np
        >>> from mdm_jax.evaluation.inputs import per_token
        >>> per_token(np.array([2.0, 6.0]), np.array([2, 6]))  # one nat per token, whatever the length
        array([1., 1.])
    """
    mean = costs.sum(axis=-1, keepdims=True) / tokens.sum()
    return mean + (costs - mean * np.broadcast_to(tokens, costs.shape)) / tokens.mean()


def reference_length(left: Int[np.ndarray, " rows"], most: int, asked: int | None = None) -> tuple[int, bool]:
    """The length of a profile, and whether every row has as many positions to tell.

    Raises:
        InputError: another length than there can be.
    """
    alike = int(left.min()) if left.min() == left.max() else None
    length = asked if asked is not None else most if alike is None else alike
    return require_whole("length", length, 1, most), length == alike


def require_context(denoiser: Denoiser, context: Context, rows: int) -> None:
    """Refuse a context that is neither one for all rows nor one for each, and none where latents are needed.

    Args:
        denoiser: whose context it is.
        context: a pytree of arrays, each with a leading axis of 1 or ``rows``.
        rows: how many there are.

    Raises:
        InputError: another leading axis; wrong labels; a model with latents without any, or one that draws them while
            it samples.
    """
    require_for_rows(denoiser, context, rows)
    require_not_redrawn(denoiser)
    ways = "evaluation.latent_profile and posterior_latents take the recognition network's; models.marginal needs none"
    wanted = f"latents for a model that has them ({ways})"
    require(context is not None or not needs_latents(denoiser), "context", context, wanted)


def require_for_rows(denoiser: Denoiser, context: Context, rows: int) -> None:
    """The same, but for latents.

    Raises:
        InputError: another leading axis, or wrong labels.
    """
    leaves = jax.tree.leaves(context)
    shapes = [np.shape(leaf) for leaf in leaves]
    good = all(isinstance(leaf, np.ndarray | jax.Array) and _is_number(leaf.dtype) for leaf in leaves)
    good = good and all(shape[:1] in ((1,), (rows,)) for shape in shapes)
    wanted = (
        f"arrays of numbers, one for all rows, with a leading axis of 1, or one for each, with a leading axis of {rows}"
    )
    require(good, "context", verbatim(f"leaves of shapes {shapes}"), wanted)
    check_labels(denoiser, context)


def _is_number(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.number) or jnp.issubdtype(dtype, jnp.bool_)


def require_not_redrawn(denoiser: Denoiser) -> None:
    """Refuse a model whose latents are drawn by a sampler's steps: nothing is predicted without them.

    Raises:
        InputError: it is one.
    """
    wanted = "one that predicts by itself: the model without models.redrawn, or models.marginal(model)"
    shown = verbatim("one that draws its latents while it samples")
    require(not isinstance(_latent_layer(denoiser), Redrawn), "denoiser", shown, wanted)


def context_of(context: Context, rows: Int[np.ndarray, " chosen"]) -> Context:
    """The context of some rows, of one that :func:`require_context` took: one shape, shared or not."""

    def one(leaf: Any) -> Any:
        if leaf.shape[0] == 1:
            return jnp.broadcast_to(leaf, (len(rows), *leaf.shape[1:]))
        return jnp.asarray(leaf[rows])

    return jax.tree.map(one, context)


def _latent_layer(denoiser: Denoiser) -> Any:
    """The layer that decides what becomes of latents: the model, or what redraws them; ``None`` if none are needed."""
    found = (layer for layer in layers(denoiser) if isinstance(layer, Marginal | Redrawn | LatentModel))
    first = next(found, None)
    return None if isinstance(first, Marginal) else first


def needs_latents(denoiser: Denoiser) -> bool:
    """Whether the denoiser's context is a latent."""
    return _latent_layer(denoiser) is not None


def what_rules_out(
    denoiser: Denoiser,
    params: Params,
    tokens: Int32[np.ndarray, " length"],
    corrupted: Int32[np.ndarray, " length"],
    context: Context,
    row: int,
) -> InputError | None:
    """Why predicting the masked tokens of a row costs no finite number of nats; ``None`` if it does.

    Args:
        denoiser: the model.
        params: its parameters.
        tokens: the truth.
        corrupted: what the model sees.
        context: passed to the denoiser, leading axis 1.
        row: its number, for the sentence.
    """
    scores = np.asarray(logits(denoiser, params, jnp.asarray(corrupted)[None], context))[0]
    masked = corrupted == denoiser.mask_id
    return why_infinite(scores, tokens, np.full(len(tokens), (~masked).sum()), np.flatnonzero(masked), row)


def why_infinite(
    scores: Float[np.ndarray, "length vocab_size"],
    tokens: Int[np.ndarray, " length"],
    seen: Int[np.ndarray, " length"],
    positions: Int[np.ndarray, " asked"],
    row: int,
) -> InputError | None:
    """Why tokens of a row cost no finite number of nats by their logits; ``None`` if they do.

    Args:
        scores: logits at every position.
        tokens: the truth.
        seen: how many tokens are revealed where each position is predicted.
        positions: which of them are.
        row: its number, for the sentence.
    """
    for position in positions.tolist():
        here, token = scores[position], int(tokens[position])
        where = f"at position {position} of row {row}, where {seen[position]} tokens are revealed"
        if np.isnan(here).any() or (here == np.inf).any() or (here == -np.inf).all():
            return InputError(
                "the denoiser's logits must be finite, or -inf for tokens that it rules out, but not for all; "
                f"{where}, they are {np.array2string(here, threshold=8)}."
            )
        if here[token] == -np.inf:
            return InputError(
                f"tokens must be possible under the denoiser, else their cost is infinite; it gives token {token} "
                f"probability 0 {where}."
            )
    return None
