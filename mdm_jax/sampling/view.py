"""What a rule sees at a step of the adaptive loop, and what it decides."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mdm_jax.models.denoiser import Denoiser
from mdm_jax.sampling import draws
from mdm_jax.support.errors import InputError

_COIN = 2  # a rule's coins, beside what ``readout`` draws


class Choice(NamedTuple):
    """What a rule decides at a step.

    Attributes:
        reveal: bool[rows, length], masked positions that take their proposal; others of them stay masked. Only
            positions that are ``open`` count.
        remask: bool[rows, length], revealed positions to be masked again, or ``None``. Only ``settled`` ones count.
        write: int32[rows, length], what each position is to hold after the step, a token or the mask, or ``None``. Only
            positions that are ``open`` or ``settled`` count; where it is given, ``reveal`` and ``remask`` do not.
        done: bool[rows], rows that need no more of the steps that their block was to take; those with masks left go
            on. ``None``: none.
    """

    reveal: Bool[Array, "rows length"]
    remask: Bool[Array, "rows length"] | None = None
    write: Int[Array, "rows length"] | None = None
    done: Bool[Array, " rows"] | None = None


class View:
    """What a rule sees at a step, all before it.

    Attributes:
        tokens: int32[rows, length].
        open: bool[rows, length], masked positions of each row's current block: those that may be revealed.
        settled: bool[rows, length], positions of the current block that were drawn and are not masked now.
        clock: int32[rows], steps that the row has spent in its current block.
        score: float32[rows, length], the rule's measure, -inf where nothing was read (with an order temperature, plus
            noise).
        measures: the rule's further measures, each float32[rows, length], -inf where nothing was read.
        memory: the rule's own memory.
        denoiser: the model, for its ``vocab_size`` and ``mask_id``; ``None`` where none is there to ask.
    """

    def __init__(
        self,
        tokens: Array,
        open_: Array,
        settled: Array,
        clock: Array,
        memory: Any,
        key: Array,
        denoiser: Denoiser | None = None,
    ) -> None:
        self.tokens = tokens
        self.open = open_
        self.settled = settled
        self.clock = clock
        self.memory = memory
        self.denoiser = denoiser
        self.looked_at_draw = False
        self._key = key
        self._proposal: Array | None = None
        self._second: tuple[Array, Array] | None = None
        self._measured: tuple[Array, ...] = ()

    def read(self, proposal: Array, measured: tuple[Array, ...], second: tuple[Array, Array] | None = None) -> None:
        """Add what was read (the loop calls this)."""
        self._proposal, self._measured, self._second = proposal, measured, second

    @property
    def score(self) -> Float[Array, "rows length"]:
        return self._what_was_read()[0]

    @property
    def measures(self) -> tuple[Float[Array, "rows length"], ...]:
        return self._what_was_read()[1:]

    @property
    def proposal(self) -> Int[Array, "rows length"]:
        """The tokens drawn for what was read, int32[rows, length]."""
        if self._proposal is None:
            raise InputError(_TOO_EARLY)
        self.looked_at_draw = True
        return self._proposal

    @property
    def second(self) -> tuple[Int[Array, "rows length"], Float[Array, "rows length"]]:
        """Second proposals, of a rule with a ``second_temperature``, and their log-probabilities at temperature 1."""
        if self._second is None:
            raise InputError("a rule has second proposals only where it has a second_temperature and reads first.")
        self.looked_at_draw = True
        return self._second

    def uniform(self, stream: int = 0) -> Float[Array, "rows length"]:
        """A random number in [0, 1) for every position, the same each time that it is asked for in one step.

        Args:
            stream: which of them, 0, 1, 2, ...: those of different streams are independent.
        """
        return draws.uniform(self._bits(stream))

    def random_tokens(self, stream: int) -> Int[Array, "rows length"]:
        """A real token for every position, uniformly drawn from all of them.

        Args:
            stream: as of :meth:`uniform`, and apart from what is asked of that.
        """
        if self.denoiser is None:
            raise InputError("random tokens need the model's vocabulary, and this view was made without a denoiser.")
        vocab_size, mask_id = self.denoiser.vocab_size, self.denoiser.mask_id
        drawn = (self._bits(stream) % jnp.uint32(vocab_size - (mask_id < vocab_size))).astype(jnp.int32)
        return jnp.where(drawn >= mask_id, drawn + 1, drawn)

    def _bits(self, stream: int) -> Array:
        keys = jax.vmap(jax.vmap(lambda key: jax.random.fold_in(key, _COIN + stream)))(self._key)
        return draws.bits_of(keys)

    def _what_was_read(self) -> tuple[Array, ...]:
        if not self._measured:
            raise InputError(_TOO_EARLY)
        return self._measured


_TOO_EARLY = "a rule that reads 'chosen' positions chooses before anything is read: it has no scores and no proposals."
