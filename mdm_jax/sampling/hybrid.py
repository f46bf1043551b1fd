"""Sampling of models that were trained under hybrid noise (GIDD): tokens are written, replaced, masked, corrected."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int

from mdm_jax.sampling.choosing import at_clock, take_surest
from mdm_jax.sampling.knots import grid_fractions
from mdm_jax.sampling.readings import held_probability
from mdm_jax.sampling.rule import Rule
from mdm_jax.sampling.view import Choice, View
from mdm_jax.support.errors import require, require_number, require_whole
from mdm_jax.theory.plans.grids import Grid
from mdm_jax.theory.schedules.hybrid import require_hybrid, uniform_odds


class Steps(NamedTuple):
    """The numbers of each step from time ``a`` to ``b``, one row for each grid; made in float64.

    Attributes:
        leave: float32[grids, steps], the probability that a mask is drawn anew.
        odds: float32[grids, steps], all uniform noise at ``a``, relative to ``alpha``.
        drop: float32[grids, steps], how much of that has gone at ``b``.
        to_mask: float32[grids, steps], the share of masks among what is drawn anew.
        to_token: float32[grids, steps], that of masks and of the model's tokens; the rest are random ones.
    """

    leave: Float[Array, "grids steps"]
    odds: Float[Array, "grids steps"]
    drop: Float[Array, "grids steps"]
    to_mask: Float[Array, "grids steps"]
    to_token: Float[Array, "grids steps"]


def hybrid(
    grid: Grid | Sequence[Grid],
    uniform: float = 0.2,
    correct: int = 0,
    temperature: float = 0.1,
    gamma: float = 1.0,
) -> Rule:
    """GIDD's sampler in the steps of ``grid``, and its self-correction: for models trained under hybrid noise.

    Each step draws from the reverse of the noise exactly, given what the model predicts: a position holds on to what
    stands there, or is drawn anew from the noise of the later time around the model's prediction: a mask, a token of
    the model's, or a random one. So settled tokens are replaced and masked as well. With ``uniform=0`` it is ancestral
    sampling. Every step reads every free position and calls the model.

    Self-correction follows, once all is settled: each step draws a second token everywhere at a low temperature and
    commits, of those that differ from what stands there, the one that the model finds the most probable (the published
    code compares probabilities at the low temperature, of which many are 1 to all digits). A row ends with the first
    step in which none differs.

    Args:
        grid: times, as revealed fractions: one grid for all rows or one for each.
        uniform: the share of uniform noise that the model was trained under (``training.HybridNoise``), from 0 to .99.
        correct: steps of self-correction, at most; each calls the model.
        temperature: of self-correction, which divides the model's logits; 0 takes the most probable tokens.
        gamma: as the model was trained.

    Raises:
        InputError: what is no grid, numbers beyond their ranges.

    A temperature of the call (``sample(..., temperature=)``) is one of the draws alone. ``models.tempered`` makes a
    model of it whose reverse process this follows exactly.

    Source: arXiv 2503.04482 (GIDD) and its code; ``DERIVATIONS.md``, "A step of hybrid noise".

    Example:
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.polya(8, 0.5)
        >>> rule = mdm.rules.hybrid(mdm.grids.uniform(4), uniform=0.1, correct=2)
        >>> out = mdm.sample(world.denoiser, world.params, rule, rows=2, length=8, key=mdm.key(0))
        >>> out.remaining.tolist(), out.nfe.max() <= 6, out.log_prob.tolist()  # what is replaced has no path
        ([0, 0], Array(True, dtype=bool), [nan, nan])
    """
    require_hybrid(uniform, gamma)
    correct = require_whole("correct", correct, 0, 2**20)
    require_number("temperature", temperature, 0, 1e6, "0 or more, and at most a million")
    grids = [grid] if isinstance(grid, Grid) else list(grid) if isinstance(grid, Sequence) else []
    good = len(grids) > 0 and all(isinstance(one, Grid) for one in grids)
    require(good, "grid", grid, "a Grid or a sequence of them")
    steps = jnp.asarray([one.steps for one in grids], jnp.int32)
    numbers = _numbers(grid_fractions(grids, len(grids)).astype(np.float64), uniform, gamma)
    choose = Partial(choose_hybrid, numbers) if correct == 0 else Partial(choose_and_rewrite, numbers, steps)
    return Rule(
        choose=choose,
        measures=(held_probability,),
        reads="all",
        steps=steps + correct,
        second_temperature=None if correct == 0 else temperature,
        rows=None if len(grids) == 1 else len(grids),
    )


def _numbers(fractions: Float[np.ndarray, "grids knots"], uniform: float, gamma: float) -> Steps:
    # One more step at the end, for masks that could not be drawn in time: they are drawn, and nothing else is changed.
    times = np.concatenate([fractions, np.ones((len(fractions), 1))], axis=1)
    left = 1 - times
    amount = uniform_odds(times, left, uniform, gamma)
    odds = np.divide(amount, times, out=np.zeros_like(times), where=times > 0)  # at 0 nothing is settled
    (a, b), (left_a, left_b) = ((one[:, :-1], one[:, 1:]) for one in (times, left))
    leave = np.divide(b - a, b * left_a, out=np.where(left_a > 0, 0.0, 1.0), where=(b > 0) & (left_a > 0))
    total = 1 + amount[:, 1:]
    drop = np.where(a > 0, odds[:, :-1] - odds[:, 1:], 0.0)
    numbers = leave, odds[:, :-1], drop, left_b / total, 1 / total
    return Steps(*(jnp.asarray(one, jnp.float32) for one in numbers))


def choose_hybrid(numbers: Steps, view: View) -> Choice:
    """What each position holds at the later time."""
    return Choice(jnp.zeros_like(view.open), write=_drawn(numbers, view))


def choose_and_rewrite(numbers: Steps, steps: Int[Array, " grids"], view: View) -> Choice:
    """The same; after ``steps`` of it, self-correction. Masks that could not be drawn in time are drawn in it."""
    late = view.clock >= steps
    second, log_prob = view.second
    differs = view.settled & (second != view.tokens) & late[:, None]
    surest = take_surest(log_prob, differs, jnp.ones_like(view.clock))
    corrected = jnp.where(surest, second, view.tokens)
    written = jnp.where(late[:, None] & ~view.open, corrected, _drawn(numbers, view))
    return Choice(jnp.zeros_like(view.open), write=written, done=late & ~jnp.any(differs, axis=-1))


def _drawn(numbers: Steps, view: View) -> Int[Array, "rows length"]:
    """A step of the reverse process: what stands there stays, or is drawn anew at the later time."""
    model: Any = view.denoiser
    real = model.vocab_size - (model.mask_id < model.vocab_size)
    leave, odds, drop, to_mask, to_token = (at_clock(one, view.clock)[:, None] for one in numbers)
    held = jnp.exp(view.measures[0])
    # Noise that has gone since, over all that explains the token: what the model says and the noise.
    explained = jnp.maximum(held + odds / real, jnp.finfo(jnp.float32).tiny)
    anew = view.uniform(0) < jnp.where(view.open, leave, drop / real / explained)
    kind = view.uniform(1)
    token = jnp.where(kind < to_token, view.proposal, view.random_tokens(2))
    return jnp.where(anew, jnp.where(kind < to_mask, model.mask_id, token), view.tokens)
