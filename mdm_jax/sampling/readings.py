"""What is read at a position, and how sure the denoiser is of it: the scores of adaptive orders.

A *measure* is a function of a :class:`Reading` that returns one number per position; the largest comes first where it
serves as a score. All work on float32 logits before the sampler's temperature, and on ``log1p`` of what is *not* the
best token, so that positions that are nearly certain keep their order: a probability of ``1 - 1e-9`` and one of
``1 - 1e-8`` are the same number in float32 and, as ``softmax`` in bfloat16, so are whole groups of positions.

| measure                        | also called                                     | looks at the draw |
|--------------------------------|-------------------------------------------------|-------------------|
| :func:`max_probability`        | confidence, top probability                     | no                |
| :func:`margin`                 | top-k margin (Kim et al., arXiv 2502.06768)     | no                |
| :func:`negative_entropy`       | entropy (Dream; EB-Sampler, arXiv 2505.24857)   | no                |
| :func:`proposal_probability`   | low_confidence (LLaDA), maskgit_plus, MaskGIT's | **yes: biased**   |
| :func:`held_probability`       | of the token that stands there                  | no                |

:func:`held_or_best_probability` and :func:`held_or_proposal_probability` score masked and revealed positions alike.

**A score that looks at the draw is biased** unless the temperature is 0, even at one token per step with a perfect
denoiser. Take two independent coins that show 1 with probability .1, and reveal first whichever proposal is more
probable: a proposed 1 loses against a proposed 0, is thrown away and drawn anew. So (1, 1) needs both proposals to be 1
at the first step and then a 1 again: probability .1^3 = .001 instead of .01, and the coin that wins ties shows 1 with
probability .019, the other with .091, instead of .1. The measures that do not look at it are exact there
(``DERIVATIONS.md``, "One token at a time gives the target, whatever the order").
"""

import functools
from collections.abc import Callable

import jax.numpy as jnp
from jax.scipy.special import entr
from jaxtyping import Array, Bool, Float, Int

from mdm_jax.sampling import draws

__all__ = [
    "Measure",
    "Reading",
    "held_or_best_probability",
    "held_or_proposal_probability",
    "held_probability",
    "margin",
    "max_probability",
    "negative_entropy",
    "proposal_probability",
]


class Reading:
    """Logits at some positions and what follows from them; nothing is computed that no measure asks for.

    Attributes:
        logits: float32[positions, vocab_size], before the sampler's temperature.
        held: int32[positions], the token that stands there, or the mask's id.
        masked: bool[positions], whether it is the mask.
        looked_at_draw: whether anything asked for :attr:`proposal`.

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> logits, drawn, mask = jnp.log(jnp.asarray([[0.7, 0.2, 0.1]])), jnp.asarray([1]), jnp.asarray([3])
        >>> reading = mdm.sampling.readings.Reading(logits, drawn, held=mask, masked=jnp.asarray([True]))
        >>> print(reading.best, reading.proposal, reading.log_prob(drawn))  # log 0.2
        [0] [1] [-1.609438]
    """

    def __init__(
        self,
        logits: Float[Array, "positions vocab_size"],
        proposal: Int[Array, " positions"],
        held: Int[Array, " positions"],
        masked: Array,
    ) -> None:
        self.logits = logits
        self.held = held
        self.masked = masked
        self.looked_at_draw = False
        self._proposal = proposal

    @property
    def proposal(self) -> Int[Array, " positions"]:
        """The tokens just drawn for these positions, int32[positions]."""
        self.looked_at_draw = True
        return self._proposal

    @functools.cached_property
    def blocks(self) -> Float[Array, "positions blocks width"]:
        """The logits cut into blocks (see :func:`mdm_jax.sampling.draws.in_blocks`)."""
        return draws.in_blocks(self.logits)

    @functools.cached_property
    def _best(self) -> tuple[Array, Array]:
        return draws.best_of_blocks(self.blocks)

    @property
    def best(self) -> Int[Array, " positions"]:
        """The most probable token, the first among equals."""
        return self._best[0]

    @property
    def largest(self) -> Float[Array, " positions"]:
        """Its logit."""
        return self._best[1]

    @functools.cached_property
    def rest(self) -> Float[Array, " positions"]:
        """What all other tokens weigh together, the best one weighing 1."""
        width = self.blocks.shape[-1]
        weights = jnp.sum(jnp.exp(self.blocks - self.largest[:, None, None]), axis=-1)
        which = self.best // width
        block = jnp.exp(jnp.take_along_axis(self.blocks, which[:, None, None], axis=1)[:, 0] - self.largest[:, None])
        without = jnp.sum(jnp.where(_is_at(self.best % width, width), 0.0, block), axis=-1)
        others = jnp.where(_is_at(which, weights.shape[1]), 0.0, weights)
        return jnp.sum(others, axis=-1) + without

    def log_prob(self, tokens: Int[Array, " positions"]) -> Float[Array, " positions"]:
        """``log p`` of one token at each position, nats; ids outside the vocabulary are clipped into it."""
        at = jnp.clip(tokens, 0, self.logits.shape[-1] - 1)
        return jnp.take_along_axis(self.logits, at[:, None], axis=-1)[:, 0] - self.largest - jnp.log1p(self.rest)


def _is_at(places: Int[Array, " positions"], width: int) -> Bool[Array, "positions width"]:
    """Which of ``width`` columns is each position's."""
    return jnp.arange(width, dtype=jnp.int32)[None, :] == places[:, None]


Measure = Callable[[Reading], Float[Array, " positions"]]
"""``measure(reading) -> float32[positions]``; the larger, the surer."""


def max_probability(reading: Reading) -> Float[Array, " positions"]:
    """Logarithm of the largest probability: float32[positions], nats, at most 0.

    Example:
        >>> import jax.numpy as jnp
        >>> from mdm_jax.sampling.readings import Reading, max_probability
        >>> logits, drawn = jnp.log(jnp.asarray([[0.7, 0.2, 0.1]])), jnp.asarray([1])
        >>> reading = Reading(logits, drawn, held=jnp.asarray([3]), masked=jnp.asarray([True]))
        >>> print(max_probability(reading))  # log 0.7
        [-0.35667497]
    """
    return -jnp.log1p(reading.rest)


def margin(reading: Reading) -> Float[Array, " positions"]:
    """Logarithm of the largest probability minus the second largest: float32[positions], at most 0, -inf for a tie.

    Source: Kim et al., *Train for the Worst, Plan for the Best* (arXiv 2502.06768), top probability margin; the
    logarithm has the same order and keeps near-certainties apart.

    Example:
        >>> import jax.numpy as jnp
        >>> from mdm_jax.sampling.readings import Reading, margin
        >>> logits, drawn = jnp.log(jnp.asarray([[0.7, 0.2, 0.1]])), jnp.asarray([1])
        >>> reading = Reading(logits, drawn, held=jnp.asarray([3]), masked=jnp.asarray([True]))
        >>> print(margin(reading))  # log (0.7 - 0.2)
        [-0.6931472]
    """
    width = reading.blocks.shape[-1]
    which = reading.best // width
    maxima = jnp.max(reading.blocks, axis=-1)
    block = jnp.take_along_axis(reading.blocks, which[:, None, None], axis=1)[:, 0]
    within = jnp.where(_is_at(reading.best % width, width), -jnp.inf, block)
    others = jnp.where(_is_at(which, maxima.shape[1]), -jnp.inf, maxima)
    second = jnp.maximum(jnp.max(others, axis=-1), jnp.max(within, axis=-1))
    behind = second - reading.largest
    # log(1 - e^behind), each form where it is precise
    gap = jnp.where(behind > -0.7, jnp.log(-jnp.expm1(behind)), jnp.log1p(-jnp.exp(behind)))
    return gap - jnp.log1p(reading.rest)


def negative_entropy(reading: Reading) -> Float[Array, " positions"]:
    """Minus the entropy: float32[positions], nats, at most 0. A token of probability 0 contributes nothing.

    Example:
        >>> import jax.numpy as jnp
        >>> from mdm_jax.sampling.readings import Reading, negative_entropy
        >>> logits, drawn = jnp.log(jnp.asarray([[0.7, 0.2, 0.1]])), jnp.asarray([1])
        >>> reading = Reading(logits, drawn, held=jnp.asarray([3]), masked=jnp.asarray([True]))
        >>> print(negative_entropy(reading))
        [-0.8018186]
    """
    weights = jnp.exp(reading.blocks - reading.largest[:, None, None])
    # sum p log p = sum w log w / (1 + rest) - log(1 + rest), both terms of one sign
    return -jnp.sum(jnp.sum(entr(weights), axis=-1), axis=-1) / (1.0 + reading.rest) - jnp.log1p(reading.rest)


def proposal_probability(reading: Reading) -> Float[Array, " positions"]:
    """Log-probability of the token that was drawn: float32[positions], nats. Biased above temperature 0, see above.

    Source: LLaDA's ``low_confidence`` (arXiv 2502.09992), MaskGIT (arXiv 2202.04200).

    Example:
        >>> import jax.numpy as jnp
        >>> from mdm_jax.sampling.readings import Reading, proposal_probability
        >>> logits, drawn = jnp.log(jnp.asarray([[0.7, 0.2, 0.1]])), jnp.asarray([1])
        >>> reading = Reading(logits, drawn, held=jnp.asarray([3]), masked=jnp.asarray([True]))
        >>> print(proposal_probability(reading))  # log 0.2
        [-1.609438]
    """
    return reading.log_prob(reading.proposal)


def held_or_best_probability(reading: Reading) -> Float[Array, " positions"]:
    """Log-probability of the token that stands there, or of the best one where there is none: float32[positions].

    Example:
        >>> import jax.numpy as jnp
        >>> from mdm_jax.sampling.readings import Reading, held_or_best_probability
        >>> logits, drawn = jnp.log(jnp.asarray([[0.7, 0.2, 0.1]])), jnp.asarray([1])
        >>> reading = Reading(logits, drawn, held=jnp.asarray([3]), masked=jnp.asarray([True]))
        >>> print(held_or_best_probability(reading))  # log 0.7: it is masked
        [-0.35667497]
    """
    return jnp.where(reading.masked, max_probability(reading), held_probability(reading))


def held_or_proposal_probability(reading: Reading) -> Float[Array, " positions"]:
    """Log-probability of the token that stands there, or was drawn where there is none. Biased, see above.

    Source: Path Planning (arXiv 2502.03540), but for scoring what stands there.

    Example:
        >>> import jax.numpy as jnp
        >>> from mdm_jax.sampling.readings import Reading, held_or_proposal_probability
        >>> logits, drawn = jnp.log(jnp.asarray([[0.7, 0.2, 0.1]])), jnp.asarray([1])
        >>> reading = Reading(logits, drawn, held=jnp.asarray([3]), masked=jnp.asarray([True]))
        >>> print(held_or_proposal_probability(reading))  # log 0.2: it is masked
        [-1.609438]
    """
    return reading.log_prob(jnp.where(reading.masked, reading.proposal, reading.held))


def held_probability(reading: Reading) -> Float[Array, " positions"]:
    """Log-probability of the token that stands there, float32[positions], nats; of no meaning where it is masked.

    Example:
        >>> import jax.numpy as jnp
        >>> from mdm_jax.sampling.readings import Reading, held_probability
        >>> logits, drawn = jnp.log(jnp.asarray([[0.7, 0.2, 0.1]])), jnp.asarray([1])
        >>> reading = Reading(logits, drawn, held=jnp.asarray([2]), masked=jnp.asarray([False]))
        >>> print(held_probability(reading))  # log 0.1
        [-2.3025851]
    """
    return reading.log_prob(reading.held)
