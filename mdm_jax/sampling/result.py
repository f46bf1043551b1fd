"""What a sampler returns."""

from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float, Int

from mdm_jax.support.arrays import described, is_here

GIVEN = -1
"""The reveal step of a position that is not to be sampled."""
FILLED = -2
"""The reveal step of a position behind the end of a sequence: filled with the end token, never read or drawn."""

MISSING = -3
"""The reveal step of a position that is not there (``ABSENT``)."""


class Sampled(NamedTuple):
    """Sequences and what they cost.

    Attributes:
        tokens: int32[rows, length]; -1 where the canvas says that there is no position.
        nfe: int32[rows], model calls that each row needed: its steps in which anything was read, times
            ``denoiser.passes``, what one encoding costs (two with guidance).
        batch_nfe: int32[], model calls that the whole batch took: the largest of ``nfe`` in the blind loop; more in the
            adaptive one where rows skip different steps.
        remaining: int32[rows], positions still masked (0 unless a rule stopped early or the denoiser returned a mask).
        reveal_step: int32[rows, length], the step of the loop at which each position was (last) revealed; in the blind
            loop steps that reveal nothing are left out, row by row. :data:`GIVEN`, :data:`FILLED`, :data:`MISSING`,
            or the mask's -1 where it never was.
        log_prob: float32[rows], log-probability of the drawn tokens along the path that was taken, nats; 0 where
            nothing was to be drawn; NaN where it is not defined (the order looked at the draws, tokens were masked
            again, or what was to be drawn was not, since the logits were no law).
        steps: int32[], steps of the loop, those that read nothing included: so many frames has the trajectory.
        trajectory: what the caller's ``record`` returned at every step, stacked on a new leading axis; else ``None``.

    Example:
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.polya(8, 0.5)
        >>> out = mdm.sample(world.denoiser, world.params, mdm.plans.uniform(8, 4), rows=2, key=mdm.key(0))
        >>> out
        Sampled(tokens=int32[2, 8], nfe=int32[2] of 4, batch_nfe=4, remaining=int32[2] of 0, ..., steps=4)
        >>> sorted(out.reveal_step[0].tolist())
        [0, 0, 1, 1, 2, 2, 3, 3]
    """

    tokens: Int[Array, "rows length"]
    nfe: Int[Array, " rows"]
    batch_nfe: Int[Array, ""]
    remaining: Int[Array, " rows"]
    reveal_step: Int[Array, "rows length"]
    log_prob: Float[Array, " rows"]
    steps: Int[Array, ""]
    trajectory: Any = None

    def __repr__(self) -> str:
        """Shapes and ranges: tokens are looked at as ``.tokens``."""
        parts = {name: jax.tree.map(described, value) for name, value in self._asdict().items() if value is not None}
        return f"Sampled({', '.join(f'{name}={value}' for name, value in parts.items())})"

    def _repr_html_(self) -> str | None:
        """When each token was revealed, as a picture with ids; ``None`` where numbers cannot be looked at."""
        known = is_here(self.tokens) and is_here(self.reveal_step)
        if not known or self.tokens.ndim != 2 or self.tokens.size == 0:
            return None
        from mdm_jax.plot import drawing, tokens  # a notebook alone pays for Matplotlib

        return drawing.fragment(tokens.of_rows(self), repr(self))
