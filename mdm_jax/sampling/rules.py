"""Rules for the adaptive loop: which positions are revealed, how many, and which are masked again.

| rule                    | reveals                                            | source                            |
|-------------------------|----------------------------------------------------|-----------------------------------|
| :func:`surest`          | a plan's number of the surest positions            | MaskGIT, Dream, Kim et al.        |
| :func:`quota`           | the same share of each block's masks at every step | LLaDA (arXiv 2502.09992)          |
| :func:`confident`       | every position above a confidence, at least one    | Fast-dLLM (arXiv 2505.22618)      |
| :func:`entropy_bounded` | as many as their joint entropies allow             | EB-Sampler (arXiv 2505.24857)     |
| :func:`at_random`       | a plan's number, at random (for blocks and end)    |                                   |
| :func:`remasked`        | by coins, and masks by coins                       | ReMDM (arXiv 2503.00307)          |
| :func:`self_planned`    | the surest of all, masked and revealed alike       | P2 (arXiv 2502.03540)             |
| :func:`self_corrected`  | the surest; masks what lost the model's confidence | FreeCorrection (arXiv 2602.02927) |
| :func:`hybrid`          | by coins; replaces tokens, masks them, corrects    | GIDD (arXiv 2503.04482)           |

Each returns a :class:`~mdm_jax.sampling.rule.Rule`; ``rule.replace(block=32, end=2, order_temperature=0.5)`` changes
the rest of it. Plans and grids may be sequences, one for each row. A plan is for the canvas's length, or with blocks
for one block's, and scaled to the positions that are free there; or for exactly as many as are free
(:func:`~mdm_jax.sampling.knots.require_fitting`).
"""

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jax.typing import ArrayLike
from jaxtyping import Array, Int

from mdm_jax.sampling.choosing import (
    choose_ancestral,
    choose_and_correct,
    choose_at_random,
    choose_bounded,
    choose_by_coins,
    choose_by_confidence,
    choose_by_plan,
    choose_by_quota,
    choose_confident,
    choose_surest_of_all,
    no_confidence,
    no_history,
    remember_confidence,
    remember_history,
    take_surest,
)
from mdm_jax.sampling.hybrid import hybrid
from mdm_jax.sampling.knots import PlanOrGrid, grid_fractions, listed, plan_knots
from mdm_jax.sampling.readings import (
    Measure,
    held_or_best_probability,
    held_probability,
    max_probability,
    negative_entropy,
    proposal_probability,
)
from mdm_jax.sampling.rule import Rule
from mdm_jax.support.arrays import as_array
from mdm_jax.support.errors import is_number, require, require_choice, require_number, require_whole
from mdm_jax.theory.plans import Plan
from mdm_jax.theory.plans.grids import Grid

__all__ = [
    "at_random",
    "confident",
    "entropy_bounded",
    "hybrid",
    "quota",
    "remasked",
    "self_corrected",
    "self_planned",
    "surest",
    "take_surest",
]

Plans = Plan | Sequence[Plan]
Grids = Grid | Sequence[Grid]

_SMALLEST, _LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


def surest(plan: Plans, score: Measure = max_probability) -> Rule:
    """Reveal the surest positions, as many per step as ``plan`` says.

    Args:
        plan: one for all rows, or one for each.
        score: a measure (:mod:`mdm_jax.sampling.readings`), or a function of one's own.

    Raises:
        InputError: what is no plan.

    Example:
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.polya(8, 0.5)
        >>> rule = mdm.rules.surest(mdm.plans.uniform(8, 4))
        >>> mdm.sample(world.denoiser, world.params, rule, rows=2, length=8, key=mdm.key(0)).nfe.tolist()
        [4, 4]
    """
    return Rule(choose=Partial(choose_by_plan, _knots(plan)), score=score, planned=_planned(plan), rows=_rows(plan))


def quota(steps: int, score: Measure = proposal_probability) -> Rule:
    """Reveal the surest positions, each block's masks shared evenly over ``steps`` steps, extra ones first (LLaDA).

    Ten masks in four steps are 3, 3, 2, 2; a block with fewer masks (a ragged prompt) has its own shares.

    Args:
        steps: of each block.
        score: LLaDA's own measure unless another is given.

    Raises:
        InputError: steps that are no whole number of at least 1.

    Example:
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.polya(8, 0.5)
        >>> out = mdm.sample(world.denoiser, world.params, mdm.rules.quota(3), rows=2, length=8, key=mdm.key(0))
        >>> [out.reveal_step[0].tolist().count(step) for step in range(3)]
        [3, 3, 2]
    """
    require_whole("steps", steps, 1, 2**31 - 1)
    return Rule(choose=Partial(choose_by_quota, jnp.int32(steps)), score=score)


def confident(threshold: float, score: Measure = max_probability) -> Rule:
    """Reveal every position whose largest probability exceeds ``threshold``, and always the surest one (Fast-dLLM).

    Args:
        threshold: a probability, from 0 to 1.
        score: decides which position is the surest.

    Raises:
        InputError: a threshold that is no probability.

    Example:
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.toy_left()  # five equal tokens: one tells the others
        >>> rule = mdm.rules.confident(0.9)
        >>> mdm.sample(world.denoiser, world.params, rule, rows=2, length=5, key=mdm.key(0)).nfe.tolist()
        [2, 2]
    """
    require_number("threshold", threshold, 0, 1, "a probability from 0 to 1")
    # On the host where it is infinite, since JAX refuses to make an infinity under jax_debug_infs.
    limit = jnp.log(jnp.float32(threshold)) if threshold > 0 else jax.device_put(np.float32(-np.inf))
    return Rule(choose=Partial(choose_confident, limit), score=score, measures=(max_probability,))


def entropy_bounded(bound: float, score: Measure = negative_entropy) -> Rule:
    """Reveal the surest positions while the sum of their entropies, but for the largest, stays within ``bound``.

    That sum bounds what revealing them together costs: ``sum H(X_l) - H(X_U) <= sum H(X_l) - max H(X_l)``, so for a
    perfect denoiser the law of the whole path is within ``bound x E[steps that reveal two or more]`` nats of the
    target (``DERIVATIONS.md``, "The entropy bound"). At 0 it reveals one position, and whatever is certain, per step.

    Args:
        bound: nats, 0 or more; .01 to 1 are usual.
        score: the order; any measure.

    Raises:
        InputError: a bound below 0.

    Source: arXiv 2505.24857; the rule as public code has it (``EntropyBoundScheduler`` of Hugging Face's diffusers).

    Example:
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.toy_left()  # five equal tokens: one tells the others
        >>> rule = mdm.rules.entropy_bounded(0.1)
        >>> out = mdm.sample(world.denoiser, world.params, rule, rows=2, length=5, key=mdm.key(0))
        >>> print(out.nfe, out.log_prob)  # log 1/2: exact in two passes
        [2 2] [-0.6931472 -0.6931472]
    """
    require_number("bound", bound, 0, np.inf, "0 or more (nats)")
    # No entropy is larger than float32's largest number, so that this is what an infinite bound means.
    return Rule(
        choose=Partial(choose_bounded, jnp.float32(min(bound, _LARGEST))), score=score, measures=(negative_entropy,)
    )


def at_random(plan: Plans) -> Rule:
    """Reveal a plan's number of positions at random: for blocks and ends of sequences (else the blind loop does it).

    Args:
        plan: one for all rows, or one for each; of a block where the rule has blocks.

    Raises:
        InputError: what is no plan.

    Example:
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.polya(8, 0.5)
        >>> rule = mdm.rules.at_random(mdm.plans.uniform(4, 2)).replace(block=4)  # two blocks, two steps each
        >>> out = mdm.sample(world.denoiser, world.params, rule, rows=2, length=8, key=mdm.key(0))
        >>> sorted(out.reveal_step[0].tolist())
        [0, 0, 1, 1, 2, 2, 3, 3]
    """
    choose = Partial(choose_at_random, _knots(plan))
    return Rule(choose=choose, reads="chosen", planned=_planned(plan), rows=_rows(plan))


def remasked(grid: Grids, strength: float, strategy: Literal["cap", "rescale", "confidence"] = "cap") -> Rule:
    """Ancestral sampling that masks again (ReMDM), in the steps of ``grid``.

    Between revealed fractions ``a`` and ``b`` a settled position is masked with probability ``sigma``, and a masked one
    revealed with probability ``(b - (1 - sigma) a) / (1 - a)``, which keeps the revealed fraction at ``b``. At most
    ``sigma_max = min(1, (1 - b) / a)``.

    Args:
        grid: revealed fractions, one grid for all rows or one for each.
        strength: ``eta``, from 0 (plain ancestral sampling) to 1.
        strategy: ``cap``: ``sigma = min(eta, sigma_max)``. ``rescale``: ``eta sigma_max``. ``confidence``:
            ``eta sigma_max`` shared among the settled positions by ``softmax(-p)``, ``p`` the probability of the token
            when it was drawn; masked ones are revealed as if ``sigma`` were 0, as in the authors' code, so the revealed
            fraction lags.

    Raises:
        InputError: what is no grid, a strength beyond 0 to 1, no such strategy.

    Source: arXiv 2503.00307 and its code (kuleshov-group/remdm); ``DERIVATIONS.md``, "ReMDM keeps the revealed
    fraction".

    Example:
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.polya(8, 0.5)
        >>> rule = mdm.rules.remasked(mdm.grids.uniform(4), strength=0.5)
        >>> out = mdm.sample(world.denoiser, world.params, rule, rows=2, length=8, key=mdm.key(0))
        >>> out.nfe.tolist(), out.remaining.tolist(), out.log_prob.tolist()  # what masks again has no path
        ([4, 4], [0, 0], [nan, nan])
    """
    require_number("strength", strength, 0, 1, "from 0 to 1")
    require_choice("strategy", strategy, ("cap", "rescale", "confidence"))
    grids = _checked("grid", grid, Grid)
    # Two arrays, so that the coins are thrown before anything is read: only what they reveal is read, and a step that
    # reveals nothing calls no model.
    fractions = grid_fractions(grids, len(grids)).astype(np.float64)
    before, after = fractions[:, :-1], fractions[:, 1:]
    most = np.minimum(1.0, (1.0 - after) / np.where(before > 0, before, 1.0))
    sigma = np.minimum(strength, most) if strategy == "cap" else strength * most
    numbers = jnp.asarray(fractions, jnp.float32), jnp.asarray(sigma, jnp.float32)
    steps = jnp.asarray([one.steps for one in grids], jnp.int32)
    if strength == 0:  # nothing is masked again, so that a path has a log-probability
        return Rule(choose=Partial(choose_ancestral, numbers[0]), reads="chosen", steps=steps, rows=_rows(grid))
    if strategy == "confidence":
        return Rule(
            choose=Partial(choose_by_confidence, *numbers),
            score=proposal_probability,
            reads="chosen",
            steps=steps,
            begin=no_confidence,
            remember=remember_confidence,
            rows=_rows(grid),
        )
    return Rule(choose=Partial(choose_by_coins, *numbers), reads="chosen", steps=steps, rows=_rows(grid))


def self_planned(plan: Plans, strength: float = 1.0, score: Measure = held_or_best_probability) -> Rule:
    """After each step the surest positions are the revealed ones: settled and masked positions compete (P2).

    A settled position is as sure as the token *held* there is probable, seen (the authors' code scores a resampled
    token instead): its log-probability times ``strength``. A masked one is as sure as its best token is; with
    ``score=held_or_proposal_probability`` as the token just drawn is, which is how it was published and the same at
    temperature 0. Above that it is biased towards what is likely anyway: on text it writes little but spaces
    (``experiments/remasking.py``).

    Args:
        plan: how many are revealed after each step. Each of its steps calls the model.
        strength: ``eta``: at 0 nothing settled is masked again, above 1 it is masked more readily than at 1.
        score: of both kinds of positions.

    Raises:
        InputError: what is no plan, a strength below 0 or beyond float32.

    Source: arXiv 2502.03540 and its code (pengzhangzhi/Path-Planning).

    Example:
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.polya(8, 0.5)
        >>> rule = mdm.rules.self_planned(mdm.plans.uniform(8, 4))
        >>> mdm.sample(world.denoiser, world.params, rule, rows=2, length=8, key=mdm.key(0)).nfe.tolist()
        [4, 4]
    """
    # What float32 rounds to 0 or to infinity, times a logarithm of -inf or of 0, would be no number.
    good = is_number(strength) and (strength == 0 or _SMALLEST <= strength <= _LARGEST)
    require(good, "strength", strength, f"0 or more, in float32: 0, or from {_SMALLEST:.2g} to {_LARGEST:.2g}")
    choose = Partial(choose_surest_of_all, _knots(plan), jnp.float32(strength))
    planned = _planned(plan)
    return Rule(choose=choose, score=score, reads="all", steps=_steps(plan), planned=planned, rows=_rows(plan))


def self_corrected(plan: Plans, most: Sequence[int] | ArrayLike = (16, 8, 4), score: Measure = max_probability) -> Rule:
    """As :func:`surest`, but late steps mask again what the model has lost confidence in (FreeCorrection).

    The confidence of a settled position is the mean, over the steps since it was revealed, of the probability of its
    token with the token visible. After two fifths of the steps, all but the last, the least confident ones are masked
    again, and as many more masked ones revealed, so that the number of steps is the plan's.

    Args:
        plan: how many are revealed after each step. Each of its steps calls the model.
        most: positions masked again per step after .4, from .6 and from .8 of the steps on (the authors' numbers).
        score: decides what is revealed. The authors take ``proposal_probability``, which is the same at temperature 0
            and biased above it (see :func:`self_planned`).

    Raises:
        InputError: what is no plan, other than three numbers of positions.

    Source: arXiv 2602.02927 and its code (huge123/FreeCorrection).

    Example:
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.polya(8, 0.5)
        >>> rule = mdm.rules.self_corrected(mdm.plans.uniform(8, 4), most=(4, 2, 1))
        >>> mdm.sample(world.denoiser, world.params, rule, rows=2, length=8, key=mdm.key(0)).nfe.tolist()
        [4, 4]
    """
    require(as_array(most).shape == (3,), "most", most, "three numbers of positions, 0 or more")
    numbers = list(most)  # pyright: ignore[reportArgumentType]
    for i, count in enumerate(numbers):
        require_whole(f"most[{i}]", count, 0, 2**31 - 1)
    choose = Partial(choose_and_correct, _knots(plan), _steps(plan), *(jnp.int32(count) for count in numbers))
    return Rule(
        choose=choose,
        score=score,
        measures=(held_probability,),
        reads="all",
        steps=_steps(plan),
        begin=no_history,
        remember=remember_history,
        planned=_planned(plan),
        rows=_rows(plan),
    )


def _knots(plan: Plans) -> Array:
    plans = _checked("plan", plan, Plan)
    knots = plan_knots(plans, len(plans))
    # Plans of blocks of different lengths share an executable, up to 64 tokens and then within powers of two.
    width = 1 + max(64, 1 << (knots.shape[1] - 2).bit_length())
    return jnp.asarray(np.pad(knots, ((0, 0), (0, width - knots.shape[1])), mode="edge"))


def _checked(name: str, given: Any, kind: type[PlanOrGrid]) -> list[PlanOrGrid]:
    """Plans or grids as a list."""
    many = [given] if isinstance(given, kind) else list(given) if isinstance(given, Sequence) else []
    good = len(many) > 0 and all(isinstance(one, kind) for one in many)
    require(good, name, given, f"a {kind.__name__} or a sequence of them")
    return many


def _planned(plan: Plans) -> Int[np.ndarray, " plans"]:
    """How many tokens each plan is for; on the host, so that it is known under ``jit`` too, where it is checked."""
    return np.asarray([one.length for one in listed(plan)], np.int32)


def _rows(plan: Plans | Grids) -> int | None:
    """How many rows there are plans for; ``None`` where one serves all."""
    return None if isinstance(plan, Plan | Grid) or len(plan) == 1 else len(plan)


def _steps(plan: Plans) -> Array:
    plans = listed(plan)
    return jnp.asarray([one.steps for one in plans], jnp.int32)
