"""Label dropout: some rows are shown without their label, so that one model learns both laws, for guidance."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from mdm_jax.models.classes import LABEL, check_labels, classes_of, require_classes
from mdm_jax.models.denoiser import Context, Denoiser, Params
from mdm_jax.support.errors import require, require_number, verbatim
from mdm_jax.training.corruption import spread
from mdm_jax.training.objective import MASKED_NELBO, Examples, Losses, Objective, check_objective

RATE = 0.1
"""The share of rows without label unless something else is asked for; arXiv 2207.12598 takes 0.1 or 0.2."""
_LABELS = 0x6C61626C  # of the key that says which rows keep their label; the objective's own keys are its own


class Dropped(NamedTuple):
    """What is shown of a batch.

    Attributes:
        keeps: bool[rows], the rows that are shown with their label.
        corrupted: what the objective inside makes of the batch.
    """

    keeps: Bool[Array, " rows"]
    corrupted: Any


@dataclasses.dataclass(frozen=True)
class LabelDropout:
    """An objective whose rows are, at random, shown without their label.

    Held-out rows (progress 1) keep their labels: the held-out figure, and whether it is a bound, is that of the
    objective inside, of the model that is told the label. A training profile is of the rows that kept theirs.

    Attributes:
        objective: any that hands the data's context to the denoiser, as ``MaskedNelbo``, ``AnyOrderNelbo`` and
            ``BlockNelbo`` do.
        rate: the share of rows without label, spread evenly over batches; below 1.

    Source: arXiv 2207.12598.

    Example:
        >>> import mdm_jax as mdm
        >>> objective = mdm.training.LabelDropout(rate=0.2)
        >>> objective.describe()
        {'name': 'label dropout', 'rate': 0.2, 'objective': {'name': 'masked NELBO'}}
        >>> objective.is_bound  # of held-out rows, which keep their labels
        True
    """

    objective: Objective = MASKED_NELBO
    rate: float | int = RATE

    def __post_init__(self) -> None:
        check_objective(self.objective)
        nested = isinstance(self.objective, LabelDropout)
        require(not nested, "objective", verbatim("LabelDropout"), "one that drops no labels itself")
        require_number("rate", self.rate, 0.0, 1.0 - 2.0**-23, "a share of the rows, from 0 to below 1")
        object.__setattr__(self, "rate", float(self.rate))

    @property
    def is_bound(self) -> bool:
        return self.objective.is_bound

    @property
    def terms(self) -> tuple[str, ...]:
        return self.objective.terms

    @property
    def partial(self) -> bool:
        """Whether it takes rows of different lengths and prompts: where the objective inside does."""
        return bool(getattr(self.objective, "partial", False))

    def describe(self) -> dict[str, Any]:
        return {"name": "label dropout", "rate": self.rate, "objective": self.objective.describe()}

    def context(self, given: Context) -> Context:
        return self.objective.context(given)

    def corrupt(self, key: PRNGKeyArray, denoiser: Denoiser, examples: Examples, progress: Float[Array, ""]) -> Dropped:
        """Which rows keep their label, and what the objective inside draws: the same as without dropout."""
        require_classes(denoiser)
        require(examples.context is not None, "context", None, "labels of the rows, for label dropout to drop some")
        check_labels(denoiser, examples.context)
        rate = jnp.where(jnp.asarray(progress, jnp.float32) < 1, jnp.float32(self.rate), 0.0)
        keeps = spread(jax.random.fold_in(key, _LABELS), examples.tokens.shape[0]) >= rate
        return Dropped(keeps, self.objective.corrupt(key, denoiser, examples, progress))

    def losses(self, denoiser: Denoiser, params: Params, examples: Examples, corrupted: Dropped) -> Losses:
        label = jnp.asarray(examples.context[LABEL], jnp.int32)
        shown = {LABEL: jnp.where(corrupted.keeps, label, jnp.int32(classes_of(denoiser)))}
        found = self.objective.losses(denoiser, params, examples._replace(context=shown), corrupted.corrupted)
        if found.cost is None:
            return found
        weight = jnp.ones_like(found.cost) if found.weight is None else found.weight
        keeps = corrupted.keeps.reshape(-1, *(1,) * (weight.ndim - 1))
        return found._replace(weight=jnp.where(keeps, weight, 0.0))


def without_dropout(objective: Objective) -> Objective:
    """The objective that is measured: the one inside of label dropout, or itself.

    Example:
        >>> import mdm_jax as mdm
        >>> from mdm_jax.training import objectives
        >>> objectives.without_dropout(mdm.training.LabelDropout(mdm.training.BlockNelbo()))
        BlockNelbo()
    """
    return objective.objective if isinstance(objective, LabelDropout) else objective
