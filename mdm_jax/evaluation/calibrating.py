"""Temperatures that a model needs where much of a row is masked, found on held-out rows and judged on others.

At a fraction of masks the loss is a convex function of the inverse temperature, so each temperature has one best value.
The logits of a batch are computed once and their loss and its slope looked at for every temperature of a grid; between
two of those the loss is a cubic, which has both values and both slopes.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.interpolate
from jaxtyping import Array, Bool, Float, Float64, Int, Int32, PRNGKeyArray

from mdm_jax.evaluation.inputs import (
    LARGEST,
    context_of,
    known_positions,
    require_context,
    sequences,
    what_rules_out,
)
from mdm_jax.models.calibrating import Calibrated, Numbers, calibrated, checked_fractions
from mdm_jax.models.denoiser import Context, Denoiser, Params, logits, require_model
from mdm_jax.sampling.orders import first_hitting
from mdm_jax.support.errors import InputError, require_whole
from mdm_jax.support.flags import usual
from mdm_jax.support.intervals import Interval, mean_interval
from mdm_jax.support.keys import threefry
from mdm_jax.support.progress import bar
from mdm_jax.support.ragged import lengths

FRACTIONS = (0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95, 1.0)
"""Shares of a row that are masked, at which a temperature is sought."""
FEWEST_ROWS = 4
"""Two that choose temperatures, and two that judge them."""
BATCH = 32
_HELD = 2**25
"""Most logits at once: fewer sequences where vocabularies are large."""
_GRID = np.linspace(-math.log(16), math.log(16), 29)
"""Logarithms of the inverse temperatures that are looked at; that of 1 is among them."""
_LEAST_GAIN = 1e-6
"""Of the loss: where no temperature gains more, the logits stay as they are."""


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """What :func:`calibrate` finds.

    Attributes:
        denoiser: the model with its temperatures.
        fractions: of what is there of a row, the share that is masked.
        temperatures: the best at each, on half of the rows.
        before: the loss at each on the other half, nats per masked token, of the model as it was.
        after: the same of ``denoiser``.
        gain: by how much the NELBO of those other rows falls, nats per token that is not given, with a 95% interval;
            between the numbers of masks that were looked at, a row's losses are taken to lie on straight lines.
    """

    denoiser: Calibrated
    fractions: Float64[np.ndarray, " m"]
    temperatures: Float64[np.ndarray, " m"]
    before: Float64[np.ndarray, " m"]
    after: Float64[np.ndarray, " m"]
    gain: Interval

    def __repr__(self) -> str:
        """A line for each fraction."""
        gain = f"gain {self.gain.mean:.4f} ({self.gain.low:.4f} to {self.gain.high:.4f}) nats per token"
        lines = [f"Calibration({gain}, on rows that chose nothing"]
        for at, temperature, before, after in zip(self.fractions, self.temperatures, self.before, self.after):
            lines.append(f"    {at:.3f} masked: temperature {temperature:.3f}, loss {before:.4f} -> {after:.4f}")
        return "\n".join(lines) + ")"

    def to_json(self) -> dict[str, Any]:
        """What was found, without the model; losses and gain are in nats per token.

        Example:
            >>> import numpy as np
            >>> import mdm_jax as mdm
            >>> coins = mdm.oracles.polya(8, 1.0)
            >>> rows = np.asarray(coins.sample(mdm.key(0), rows=64))
            >>> found = mdm.evaluation.calibrate(coins.denoiser, coins.params, rows, key=mdm.key(1), fractions=[0.5])
            >>> sorted(found.to_json())
            ['after_nats', 'before_nats', 'fractions', 'gain_nats', 'temperatures']
        """
        return {
            "fractions": self.fractions.tolist(),
            "temperatures": self.temperatures.tolist(),
            "before_nats": self.before.tolist(),
            "after_nats": self.after.tolist(),
            "gain_nats": self.gain._asdict(),
        }


@usual()
def calibrate(
    denoiser: Denoiser,
    params: Params,
    tokens: Int[np.ndarray, "rows length"],
    *,
    key: PRNGKeyArray,
    fractions: Numbers = FRACTIONS,
    repeats: int = 1,
    given: Bool[np.ndarray, "*rows length"] | None = None,
    context: Context = None,
    progress: bool = False,
) -> Calibration:
    """Find the temperature of a model's logits for each share of a row that is masked, by the held-out loss.

    Half of the rows, drawn by the key, choose the temperatures; the other half judge them. Fractions become whole
    numbers of masked tokens, at least one; those that become the same count once. Where all rows have as many tokens
    and as many of them given, no loss at these fractions is above that at temperature 1 on the rows that chose.

    Where tokens are given, fractions are asked of the others. A temperature goes by the share of the whole row, so that
    rows with longer and shorter prompts get several for one fraction that was asked. They are judged by those, and the
    model may lose by them: ``gain`` tells.

    Args:
        denoiser: the model: one that is shown whole rows (see :func:`mdm_jax.models.calibrated`).
        params: its parameters.
        tokens: int32[rows, length], at least four held-out rows, of one length or not; a plan, or whatever else goes by
            the calibrated model's profile, is to be judged on yet others.
        key: a typed PRNG key; it draws the halves and what is masked.
        fractions: from 0 to 1, rising; of what is there of a row and not given.
        repeats: how many random orders of each row are looked at.
        given: bool[length] or bool[rows, length], positions that are known from the start (a prompt): they are never
            masked.
        context: passed to the denoiser: leading axis 1, the same for all rows; or ``rows``, one for each.
        progress: show a progress bar.

    Returns:
        Temperatures from 1/16 to 16, the model that has them, and what that is worth. It costs
        ``len(fractions) x rows x repeats`` encodings.

    Raises:
        InputError: what is no denoiser or goes by ranks or blocks; fewer than four rows, an id that is no token's; a
            token of the data that the model rules out, logits that are no numbers; rows of which nothing is left, a
            context for other rows.

    Source: temperature scaling is that of arXiv 1706.04599, here one for each number of masks.

    Example:
        >>> import numpy as np
        >>> import mdm_jax as mdm
        >>> coins = mdm.oracles.polya(8, 1.0)  # ones are likely where there are ones
        >>> rows = np.asarray(coins.sample(mdm.key(0), rows=2000))
        >>> sure = mdm.models.tempered(coins.denoiser, 0.5)  # too sure of itself, by a factor of 2
        >>> found = mdm.evaluation.calibrate(sure, coins.params, rows, key=mdm.key(1), fractions=[0.25, 0.5])
        >>> found.temperatures.round()
        array([2., 2.])
        >>> found.gain.low > 0
        True
    """
    require_model(denoiser, params)
    tokens, key = sequences(denoiser, tokens, least=FEWEST_ROWS), threefry(key)
    require_context(denoiser, context, len(tokens))
    repeats = require_whole("repeats", repeats, 1, LARGEST)
    known, free = known_positions(given, tokens)
    counts = _counts(checked_fractions(fractions), free)
    there = lengths(tokens)
    at = counts.sum(axis=1) / there.sum()
    calibrated(denoiser, at, np.ones(len(at)))  # refuses what cannot be calibrated before anything is measured
    halves = np.array_split(np.asarray(jax.random.permutation(jax.random.fold_in(key, LARGEST), len(tokens))), 2)
    look = _Look(denoiser, params, tokens, ~known, counts, context, key, repeats)
    steps = sum(look.batches(half) for half in halves) * len(at)
    with bar(steps, "calibrating", "batch", progress) as advance:
        chosen = []
        for i in range(len(at)):
            loss, slope = look(halves[0], i, np.broadcast_to(_GRID, (len(halves[0]), len(_GRID))), advance)
            weight = free[halves[0]] / free[halves[0]].sum()
            chosen.append(_least(weight @ loss, weight @ slope))
        judged = []
        for i in range(len(at)):
            own = np.interp(counts[i, halves[1]] / there[halves[1]], at, chosen)  # as Calibrated has it of each row
            judged.append(look(halves[1], i, np.stack([np.zeros_like(own), own], axis=1), advance)[0])
    weight = free[halves[1]] / free[halves[1]].mean()
    losses = np.stack(judged, axis=-1)  # rows, before and after, fractions
    before, after = np.mean(weight[:, None, None] * losses, axis=0)
    gains = _over_all_masks(losses[:, 0] - losses[:, 1], counts[:, halves[1]].T, free[halves[1]])
    mean = float(np.mean(weight * gains))
    gain = mean_interval(mean + weight * (gains - mean))
    temperatures = np.exp(-np.asarray(chosen))
    return Calibration(calibrated(denoiser, at, temperatures), at, temperatures, before, after, gain)


def _counts(fractions: Sequence[float], free: Int[np.ndarray, " rows"]) -> Int[np.ndarray, "m rows"]:
    """How many tokens of each row are masked at each fraction; fractions that mask as many in all count once."""
    asked = np.asarray(fractions, np.float64)[:, None] * free[None]
    counts = np.clip(np.rint(asked).astype(np.int64), 1, free[None])
    return counts[np.unique(counts.sum(axis=1), return_index=True)[1]]


def _over_all_masks(
    values: Float64[np.ndarray, "rows m"], counts: Int[np.ndarray, "rows m"], free: Int[np.ndarray, " rows"]
) -> Float64[np.ndarray, " rows"]:
    """Mean over ``1 .. free`` masks of a row's values at some counts; a count that comes twice has one value."""
    every = zip(values, counts, free, strict=True)
    return np.array([np.interp(np.arange(1, most + 1), known, row).mean() for row, known, most in every])


def _least(losses: Float64[np.ndarray, " grid"], slopes: Float64[np.ndarray, " grid"]) -> float:
    """Where on the grid's range a loss is least, between its points too; 0 where that gains nothing."""
    curve = scipy.interpolate.CubicHermiteSpline(_GRID, losses, slopes)
    flat = curve.derivative().roots(extrapolate=False)
    places = np.concatenate([_GRID[[0, -1]], flat[np.isfinite(flat)]])
    best = float(places[np.argmin(curve(places))])
    as_it_is = float(losses[len(_GRID) // 2])
    return best if curve(best) < as_it_is - _LEAST_GAIN * abs(as_it_is) else 0.0


@dataclasses.dataclass(frozen=True)
class _Look:
    """Rows and how they are looked at; called, it gives their losses at several temperatures."""

    denoiser: Denoiser
    params: Params
    tokens: Int32[np.ndarray, "all length"]
    free: Bool[np.ndarray, "all length"]
    counts: Int[np.ndarray, "m all"]
    context: Context
    key: PRNGKeyArray
    repeats: int

    @property
    def batch(self) -> int:
        """Rows of a model call."""
        each = self.tokens.shape[1] * self.denoiser.vocab_size
        return max(1, min(BATCH, len(self.tokens) // 2, _HELD // each))

    def batches(self, rows: Int[np.ndarray, " some"]) -> int:
        """Model calls for a fraction."""
        return -(-len(rows) // self.batch) * self.repeats

    def __call__(
        self, rows: Int[np.ndarray, " some"], at: int, logs: Float64[np.ndarray, "some grid"], advance: Any
    ) -> tuple[Float64[np.ndarray, "some grid"], Float64[np.ndarray, "some grid"]]:
        """Loss per masked token, and its slope in the logarithm of the inverse temperature, of each row.

        Args:
            rows: which.
            at: of the fraction, its index.
            logs: of each row, logarithms of the inverse temperatures.
            advance: told of each batch.
        """
        places = np.pad(np.arange(len(rows)), (0, -len(rows) % self.batch), mode="edge").reshape(-1, self.batch)
        total = np.zeros((2, *logs.shape))
        for repeat in range(self.repeats):
            key, found = jax.random.fold_in(self.key, repeat), []
            for place in places:
                ids = rows[place]
                shown, free = self.tokens[ids], self.free[ids]
                rank = np.asarray(first_hitting(key, jnp.asarray(free), jnp.asarray(ids, jnp.int32)))
                masked = free & (rank >= (free.sum(axis=1) - self.counts[at, ids])[:, None])
                theirs, inverses = context_of(self.context, ids), jnp.asarray(np.exp(logs[place]), jnp.float32)
                values = _losses(self.denoiser, self.params, jnp.asarray(shown), jnp.asarray(masked), theirs, inverses)
                found.append(np.asarray(values, np.float64))
                self._require_numbers(found[-1][0], ids, masked, theirs)
                advance(1)
            total += np.concatenate(found, axis=1)[:, : len(rows)]
        loss, slope = total / self.repeats
        return loss, slope

    def _require_numbers(
        self, loss: Float64[np.ndarray, "some grid"], ids: Int[np.ndarray, " some"], masked: np.ndarray, context: Any
    ) -> None:
        """Refuse losses that are not finite, and say why they are none."""
        for i in np.flatnonzero(~np.isfinite(loss).all(axis=1)).tolist():
            row, mine = int(ids[i]), context_of(context, np.asarray([i]))
            hidden = np.where(masked[i], self.denoiser.mask_id, self.tokens[row]).astype(np.int32)
            found = what_rules_out(self.denoiser, self.params, self.tokens[row], hidden, mine, row)
            raise found or InputError(f"the denoiser must give row {row} a finite cost; it gives none.")


@functools.partial(jax.jit, static_argnums=0)
def _losses(
    denoiser: Denoiser,
    params: Params,
    tokens: Int[Array, "rows length"],
    masked: Bool[Array, "rows length"],
    context: Context,
    inverses: Float[Array, "rows grid"],
) -> Float[Array, "two rows grid"]:
    """The loss per masked token at each inverse temperature of a row, and its slope in the logarithm of that."""
    scores = logits(denoiser, params, jnp.where(masked, denoiser.mask_id, tokens), context)
    truth = jnp.take_along_axis(scores, jnp.where(masked, tokens, 0)[..., None], axis=-1)[..., 0]
    many = jnp.sum(masked, axis=-1, dtype=jnp.float32)

    def at(inverse: Array) -> Array:
        scaled = scores * inverse[:, None, None]
        level = jax.nn.logsumexp(scaled, axis=-1)
        probabilities = jnp.exp(scaled - level[..., None])
        mean = jnp.sum(jnp.where(scores == -jnp.inf, 0.0, probabilities * scores), axis=-1)
        both = jnp.stack([level - truth * inverse[:, None], inverse[:, None] * (mean - truth)])
        return jnp.sum(jnp.where(masked[None], both, 0.0), axis=-1) / many[None]

    return jnp.moveaxis(jax.lax.map(at, inverses.T), 0, -1)
