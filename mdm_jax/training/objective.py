"""What is learned, as a value: how a batch is corrupted, what an example costs, what is tallied and logged beside it.

Every objective goes through the one ``train_step``, in each of its ways, accumulated or not, and its runs go on from
where they stopped. To write one, write a frozen dataclass with the members of :class:`Objective`; :class:`MaskedNelbo`
is the shortest there is.

All randomness belongs to ``corrupt``, which sees the whole batch: what it draws is an array with a leading axis of
rows, so that a batch is the same however its rows are divided. ``losses`` is a function of arrays alone.
"""

import dataclasses
import functools
from collections.abc import Hashable
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from mdm_jax.models.denoiser import Context, Denoiser, Params, is_readable
from mdm_jax.support.errors import require, verbatim
from mdm_jax.support.ragged import present
from mdm_jax.tasks.array_files import stays_in_file
from mdm_jax.training.corruption import Corrupted, free_positions, mask_counts
from mdm_jax.training.losses import in_chunks, nelbo


class Examples(NamedTuple):
    """Rows of data; of training data that is a stream, one long row.

    Attributes:
        tokens: int32[rows, length] (int32[tokens], a stream); -1 where a position is not there.
        context: what is known of each row: a pytree of arrays with a leading axis of rows, or ``None``.
        given: bool[rows, length], positions that are never masked (a prompt), or ``None``.
    """

    tokens: Any  # NumPy's arrays before they are put where they are used
    context: Context = None
    given: Any = None

    @property
    def free(self) -> Bool[Any, "rows length"]:
        """The positions that are to be predicted: there, and not given."""
        return free_positions(self.tokens, self.given)


class Losses(NamedTuple):
    """What examples cost, row by row.

    Attributes:
        loss: float32[rows], nats per sequence. Its mean is what training lowers.
        terms: figures that are logged beside it, by the objective's names for them: float32[rows], nats per sequence.
        revealed: int32[rows, *draws]: how many tokens the model saw when it predicted the others; ``None`` of an
            objective to which that means nothing, whose runs have no training profile then.
        cost: float32[rows, *draws]: mean cross-entropy of what it predicted there, nats per token. Unbiased for the
            profile ``g(revealed)``, or ``None``. Of a row with fewer positions to predict ``revealed`` is that of the
            same share of a whole row.
        weight: float32[rows, *draws], how much each of these counts in a profile: tokens of its row, as a share of a
            whole row; ``None``: alike.
    """

    loss: Float[Array, " rows"]
    terms: dict[str, Float[Array, " rows"]]
    revealed: Array | None = None
    cost: Array | None = None
    weight: Array | None = None


@runtime_checkable
class Objective(Hashable, Protocol):
    """The contract. Static: hashable, and equal to another of the same settings, so that compiled code is shared.

    One that counts :attr:`Examples.free` positions alone says so by an attribute ``partial = True``: it takes rows of
    different lengths, and rows of which something is given.
    """

    @property
    def is_bound(self) -> bool:
        """Whether the expected loss of held-out rows is an upper bound of ``-log p(tokens)``, at progress 1.

        A surrogate is not called one.
        """
        ...

    @property
    def terms(self) -> tuple[str, ...]:
        """The names of the terms that are logged beside the loss."""
        ...

    def describe(self) -> dict[str, Any]:
        """What ``config.json`` keeps (JSON): a "name", and all settings. A run goes on with an equal one only."""
        ...

    def context(self, given: Context) -> Context:
        """A context as the denoiser gets it, one row, for one row of the data's own: fresh parameters are made for it.

        An objective that makes contexts itself (a time, a latent) returns zeros of their shape.
        """
        ...

    def corrupt(self, key: PRNGKeyArray, denoiser: Denoiser, examples: Examples, progress: Float[Array, ""]) -> Any:
        """What the model is shown of a batch, and whatever else is random: a pytree of arrays of numbers, no keys, each
        with a leading axis of rows.

        Args:
            key: of this batch.
            denoiser: the model.
            examples: the whole batch.
            progress: the fraction of the training that is done, below 1; of one that goes on further, that of its first
                stage, and behind it the largest float32 below 1. It is 1 where held-out rows are scored, there alone.
        """
        ...

    def losses(self, denoiser: Denoiser, params: Params, examples: Examples, corrupted: Any) -> Losses:
        """What some rows of a batch cost. No row may look at another: a device sees its own only."""
        ...


@dataclasses.dataclass(frozen=True)
class MaskedNelbo:
    """The NELBO of a masked diffusion model, which no schedule changes; mask counts stratified over the batch.

    The data's own context, if there is one, is the denoiser's.

    Source: MDLM (arXiv 2406.07524), MD4 (arXiv 2406.04329); arXiv 2509.13866, C.2.

    Example:
        >>> import mdm_jax as mdm
        >>> objective = mdm.training.MaskedNelbo()
        >>> objective.describe(), objective.is_bound
        ({'name': 'masked NELBO'}, True)
        >>> isinstance(objective, mdm.training.Objective)
        True
    """

    partial: ClassVar[bool] = True

    @property
    def is_bound(self) -> bool:
        return True

    @property
    def terms(self) -> tuple[str, ...]:
        return ()

    def describe(self) -> dict[str, Any]:
        return {"name": "masked NELBO"}

    def context(self, given: Context) -> Context:
        return given

    def corrupt(
        self, key: PRNGKeyArray, denoiser: Denoiser, examples: Examples, progress: Float[Array, ""]
    ) -> Corrupted:
        del progress
        return mask_counts(key, examples.tokens, denoiser.mask_id, examples.given)

    def losses(self, denoiser: Denoiser, params: Params, examples: Examples, corrupted: Corrupted) -> Losses:
        loss = nelbo(denoiser, params, examples.tokens, corrupted, examples.context)
        many = jnp.sum(examples.free, axis=-1, dtype=jnp.float32)
        # With these weights a row's NELBO per token is its mean loss over the hidden tokens.
        weight = many / examples.tokens.shape[-1]
        return Losses(loss, {}, corrupted.revealed, loss / jnp.maximum(many, 1), weight)


MASKED_NELBO = MaskedNelbo()


def check_objective(objective: Any) -> None:
    """Refuse what is no objective.

    Raises:
        InputError: it lacks a member, cannot be hashed, or is a class instead of a value.
    """
    good = isinstance(objective, Objective) and not isinstance(objective, type)
    require(good, "objective", objective, "an objective, as training.MaskedNelbo() is one")
    try:
        hash(objective)
    except TypeError as error:
        require(False, "objective", verbatim(str(error)), "hashable, since compiled functions are kept by it")


def check_losses(objective: Objective, losses: Any, rows: int) -> None:
    """Refuse an objective whose losses are not what it says: one mean for all rows would be a number like any other.

    Args:
        objective: whose they are.
        losses: of a batch, or the shapes of it.
        rows: of the batch.

    Raises:
        InputError: they are of another kind, shape or names.
    """
    shown = verbatim(type(losses).__name__)
    require(isinstance(losses, Losses), "objective.losses", shown, "a function that returns training.Losses")
    names = verbatim(f"those of {', '.join(losses.terms) or 'nothing'}")
    wanted = f"terms by the names that objective.terms says: {', '.join(objective.terms) or 'none'}"
    require(set(losses.terms) == set(objective.terms), "objective.losses", names, wanted)
    for name, one in {"loss": losses.loss, **losses.terms}.items():
        shown = verbatim(f"{name} of shape {one.shape}")
        require(one.shape == (rows,), "objective.losses", shown, f"of shape ({rows},), one number for each row")
    if losses.revealed is None or losses.cost is None:
        require(losses.revealed is losses.cost, "objective.losses", losses, "both of revealed and cost, or neither")
        return
    shapes = losses.revealed.shape, losses.cost.shape
    shapes += () if losses.weight is None else (losses.weight.shape,)
    good = len(set(shapes)) == 1 and shapes[0][:1] == (rows,)
    require(good, "objective.losses", verbatim(f"shapes {shapes}"), f"revealed and cost of one shape, ({rows}, ...)")


def require_partial(objective: Objective, examples: Examples) -> None:
    """Refuse rows of different lengths, or of which something is given, for an objective that would count it all.

    Raises:
        InputError: it would; traced rows pass.
    """
    if getattr(objective, "partial", False) or not is_readable(examples.tokens) or stays_in_file(examples.tokens):
        return  # rows in a file are whole
    shown = verbatim(str(objective.describe().get("name", type(objective).__name__)))
    wanted = "one that takes rows of different lengths and prompts, as training.MaskedNelbo() and AnyOrderNelbo() do"
    require(examples.given is None and bool(np.all(present(examples.tokens))), "objective", shown, wanted)


@runtime_checkable
class Monitored(Protocol):
    """An objective with figures of a whole set of held-out rows, for the log: whether a latent has collapsed, say."""

    def monitor(
        self, denoiser: Denoiser, params: Params, examples: Examples, key: PRNGKeyArray
    ) -> dict[str, Float[Array, ""]]:
        """Figures by name; a name says its unit."""
        ...


@functools.partial(jax.jit, static_argnums=(0, 2))
def monitored(
    objective: Objective, key: PRNGKeyArray, denoiser: Denoiser, params: Params, examples: Examples
) -> dict[str, Float[Array, ""]]:
    """What an objective says of held-out rows beside their losses; nothing unless it is :class:`Monitored`."""
    return objective.monitor(denoiser, params, examples, key) if isinstance(objective, Monitored) else {}


@functools.partial(jax.jit, static_argnums=(0, 2))
def score(objective: Objective, key: PRNGKeyArray, denoiser: Denoiser, params: Params, examples: Examples) -> Losses:
    """What held-out rows cost, once each: a few rows at a time, so that memory does not grow with their number."""
    corrupted = objective.corrupt(key, denoiser, examples, jnp.ones((), jnp.float32))
    return in_chunks(lambda *chunk: objective.losses(denoiser, params, *chunk), (examples, corrupted))
