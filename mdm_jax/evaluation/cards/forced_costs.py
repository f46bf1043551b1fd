"""What given rows cost under plans and rules alike, and how many passes that takes: the two numbers of a card."""

from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from mdm_jax.evaluation.expected_paths import plan_costs
from mdm_jax.evaluation.forced_paths import rule_costs
from mdm_jax.models.denoiser import Context, Denoiser, Params
from mdm_jax.sampling.rule import Rule
from mdm_jax.support.errors import InputError
from mdm_jax.theory.plans import Plan


class Judge:
    """A model that judges samplers by rows of the data.

    Args:
        denoiser: the model.
        params: its parameters.
        key: of orders.
        context: passed to the denoiser, leading axis 1.
        blocks: how many blocks a row has, for a model that goes by blocks; plans are then of one block.
    """

    def __init__(self, denoiser: Denoiser, params: Params, key: PRNGKeyArray, context: Context, blocks: int) -> None:
        self.denoiser, self.params, self.context, self.blocks = denoiser, params, context, blocks
        self._plan_key, self._rule_key = jax.random.split(key)

    def rule(
        self, rows: Int[np.ndarray, "rows length"], rule: Rule, name: str
    ) -> tuple[Float[np.ndarray, " rows"], Int[np.ndarray, " rows"]]:
        """``-log q`` of each row along the rule's own path, nats, and its model calls.

        Args:
            rows: complete sequences.
            rule: one that can be forced.
            name: what it is called where it is refused.

        Raises:
            InputError: a row that the rule never draws, or logits that are no law.
        """
        return rule_costs(self.denoiser, self.params, rows, rule, name, key=self._rule_key, context=self.context)

    def plans(self, rows: Int[np.ndarray, "rows length"], plans: Sequence[Plan]) -> Float[np.ndarray, "plans rows"]:
        """The cost of each row under each plan in random order, nats: one order for all plans of a row.

        With a model that goes by blocks each block of a row has an order, the same for all plans.

        Raises:
            InputError: as :meth:`rule`.
        """
        of_block = plan_costs(self.denoiser, self.params, rows, plans, key=self._plan_key, context=self.context)
        costs = of_block * self.blocks  # of a model by blocks they are the mean over the blocks of a row
        for at, row in np.argwhere(~np.isfinite(costs)).tolist():
            why = f"under the plan {plans[at].name!r} row {row} is none: its probability is 0"
            raise InputError(f"rows must be such as every sampler can draw; {why}.")
        return costs
