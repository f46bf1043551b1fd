"""A temperature for each share of a row that is masked: the wrapper for models that were trained at few of them.

A masked language model saw some 15% of a row masked. Where nearly all is masked it is too sure of itself, by more than
a nat per token; a temperature mends that. How much is masked is seen in the tokens, so that samplers, profiles and
exact laws need to know nothing. :func:`mdm_jax.evaluation.calibrate` finds the temperatures.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mdm_jax.models.denoiser import Context, Denoiser, Params, require_denoiser
from mdm_jax.models.extending import require_unordered
from mdm_jax.models.wrappers import Hidden, Tokens, Wrapper
from mdm_jax.support.errors import is_number, require, verbatim
from mdm_jax.support.ragged import present

Numbers = Sequence[float | int] | Float[np.ndarray, " fractions"]
MOST = 1000.0
"""The highest temperature; the lowest is its inverse."""


@dataclasses.dataclass(frozen=True)
class Calibrated(Wrapper):
    """What :func:`calibrated` makes. Hidden: the wrapped denoiser's, and the inverse temperature in two numbers.

    Attributes:
        fractions: of what is there of a row, the share that is masked, rising.
        temperatures: at each of them.
    """

    fractions: tuple[float, ...]
    temperatures: tuple[float, ...]

    @property
    def extends(self) -> bool:
        """How much of a row is masked is seen in whole rows."""
        return False

    def encode(self, params: Params, tokens: Tokens, context: Context = None) -> Hidden:
        hidden = self.denoiser.encode(params, tokens, context)
        inverse = jnp.exp(-self._log_temperature(tokens))
        # reduce_precision, since XLA may drop a rounding that is written as two conversions.
        kind = jnp.finfo(hidden.dtype)
        rounded = jax.lax.reduce_precision(inverse, min(int(kind.nexp), 8), min(int(kind.nmant), 23))
        numbers = jnp.stack([rounded, inverse - rounded], axis=-1).astype(hidden.dtype)
        numbers = jnp.broadcast_to(numbers[:, None], (*tokens.shape, 2))
        return jnp.concatenate([hidden, numbers], axis=-1)

    def readout(self, params: Params, hidden: Float[Array, "*any d"]) -> Float[Array, "*any vocab_size"]:
        inverse = jnp.sum(hidden[..., -2:].astype(jnp.float32), axis=-1, keepdims=True)
        return super().readout(params, hidden[..., :-2]) * inverse

    def _log_temperature(self, tokens: Tokens) -> Float[Array, " rows"]:
        """Of each row, on the straight line between the two fractions around its own."""
        masked = jnp.sum(tokens == self.mask_id, axis=1, dtype=jnp.float32)
        there = jnp.sum(present(tokens), axis=1, dtype=jnp.float32)
        logs = jnp.asarray(np.log(self.temperatures), jnp.float32)
        if len(self.fractions) == 1:
            return jnp.broadcast_to(logs, len(tokens))
        return jnp.interp(masked / jnp.maximum(there, 1), jnp.asarray(self.fractions, jnp.float32), logs)


def calibrated(denoiser: Denoiser, fractions: Numbers, temperatures: Numbers) -> Calibrated:
    """A denoiser whose logits are divided by a temperature that goes by how much of the row is masked.

    Between two fractions the logarithm of the temperature lies on a straight line; before the first and after the last
    it is theirs. Of a row with positions that are not there, or with a prompt, the fraction is that of masks among the
    positions that are there. Put :func:`~mdm_jax.models.framed` and :func:`~mdm_jax.models.shifted` inside.

    Args:
        denoiser: the model.
        fractions: from 0 to 1, rising.
        temperatures: at each of them, from 1/1000 to 1000; 1 leaves the logits as they are.

    Raises:
        InputError: what is no denoiser; one that goes by ranks or by blocks, which is never shown how much is masked;
            fractions that do not rise or lie outside of 0 to 1, temperatures outside their range, or not as many.

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> def biased(params, tokens):  # logits 0, 1, 2 everywhere
        ...     return jnp.broadcast_to(params, (*tokens.shape, 3))
        >>> model = mdm.models.calibrated(mdm.models.from_function(biased, 3), [0.5, 1.0], [1.0, 4.0])
        >>> rows = jnp.asarray([[3, 0, 0, 0], [3, 3, 3, 0], [3, 3, 3, 3]])  # 1/4, 3/4 and all of it masked
        >>> print(mdm.models.logits(model, jnp.arange(3.0), rows)[:, 0])
        [[0.  1.  2. ]
         [0.  0.5 1. ]
         [0.  0.25 0.5 ]]
    """
    require_denoiser(denoiser)
    require_unordered(denoiser, "one that is shown whole rows: models.without_cache(denoiser)")
    at = checked_fractions(fractions)
    values = _numbers("temperatures", temperatures, 1 / MOST, MOST, f"numbers from 1/{MOST:.0f} to {MOST:.0f}")
    shown = verbatim(f"{len(values)} for {len(at)} fractions")
    require(len(values) == len(at), "temperatures", shown, "one for each fraction")
    return Calibrated(denoiser, at, values)


def checked_fractions(fractions: Numbers) -> tuple[float, ...]:
    """Shares of a row that are masked.

    Raises:
        InputError: they do not rise, or lie outside of 0 to 1.
    """
    wanted = "rising numbers from 0 to 1"
    at = _numbers("fractions", fractions, 0.0, 1.0, wanted)
    require(all(a < b for a, b in itertools.pairwise(at)), "fractions", fractions, wanted)
    return at


def _numbers(argument: str, given: Any, least: float, most: float, wanted: str) -> tuple[float, ...]:
    """One or more numbers in a range."""
    require(np.iterable(given) and not isinstance(given, str | bytes), argument, given, wanted)
    require(all(is_number(one) for one in given), argument, given, wanted)
    values = tuple(float(one) for one in given)
    require(bool(values) and all(least <= one <= most for one in values), argument, given, wanted)
    return values
