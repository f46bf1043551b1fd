"""A measurement that can go on: sequences in a fixed random order, each in one random order after the other.

All that was measured stays: a longer measurement with the same key holds the shorter one, and no shape changes, so that
nothing is compiled anew.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from mdm_jax.support.errors import InputError
from mdm_jax.support.progress import bar


@runtime_checkable
class Look(Protocol):
    """What looks at a batch of sequences in an order."""

    def __call__(
        self, key: PRNGKeyArray, ids: Int[np.ndarray, " batch"]
    ) -> tuple[Float[np.ndarray, "batch width"], Float[np.ndarray, "batch width"] | None]:
        """Losses of sequences in the order of a key, and falls if they are measured; nats per token."""
        ...

    def why_infinite(self, row: int, at: int, keys: Sequence[PRNGKeyArray]) -> InputError:
        """Why a row's loss of index ``at`` is no finite number in one of the orders of these keys."""
        ...


class Found(NamedTuple):
    """What a measurement has found so far.

    Attributes:
        rows: int[rows], numbers of the sequences measured, rising.
        orders: how many of each.
        losses: float64[rows, width], means over the orders, nats per token.
        falls: likewise; ``None`` if they are not measured.
    """

    rows: Int[np.ndarray, " rows"]
    orders: int
    losses: Float[np.ndarray, "rows width"]
    falls: Float[np.ndarray, "rows width"] | None


class Measurement:
    """Sums over the orders of each sequence, and how much orders of one sequence differ."""

    def __init__(
        self, look: Look, key: PRNGKeyArray, weights: Int[np.ndarray, " all"], each: int, batch: int, flat: bool = False
    ) -> None:
        """Nothing is measured yet.

        Args:
            look: asks the model.
            key: which sequences come first, and in which orders.
            weights: how many tokens each sequence has: what its mean counts.
            each: encodings that one order of a sequence counts as.
            batch: sequences at once, always.
            flat: :meth:`within` is asked about the mean of the losses alone.
        """
        rows_key, self._key = jax.random.split(key)
        self._permutation = np.asarray(jax.random.permutation(rows_key, len(weights)))
        self._look, self._weights, self.each, self.batch = look, weights, each, batch
        self._flat = flat
        self._batches: list[tuple[np.ndarray, int]] = []  # the numbers of the rows, the last repeated, and how many
        self._losses: list[np.ndarray] = []
        self._falls: list[np.ndarray | None] = []
        self._squares = 0.0  # of all losses of one order, weighted
        self._seconds, self._timed = 0.0, 0
        self.rows, self.orders = 0, 0

    @property
    def all_rows(self) -> int:
        """How many sequences there are."""
        return len(self._weights)

    @property
    def encodings(self) -> int:
        """How many have been made, without those that only fill a batch."""
        return self.rows * self.orders * self.each

    @property
    def seconds(self) -> float | None:
        """What an encoding takes; ``None`` before the second batch, as the first is compiled."""
        return self._seconds / self._timed if self._timed else None

    def grow(self, rows: int, orders: int, progress: bool = False, unit: str = "encoding") -> None:
        """Go on to so many sequences in so many orders each, neither fewer than before.

        Args:
            rows: sequences; where there are more afterwards, whole batches.
            orders: of each.
            progress: show a progress bar.
            unit: what it counts.
        """
        fresh = self._permutation[self.rows : rows]
        old = len(self._batches)
        # The last batch is filled with repeats of its last row, so that one shape serves; they are dropped afterwards.
        for start in range(0, len(fresh), self.batch):
            ids = fresh[start : start + self.batch]
            self._batches.append((np.pad(ids, (0, self.batch - len(ids)), mode="edge"), len(ids)))
        pairs = [(order, at) for order in range(orders) for at in range(len(self._batches))]
        todo = [(order, at) for order, at in pairs if order >= self.orders or at >= old]
        with bar(len(todo) * self.batch * self.each, "profile", unit, progress) as advance:
            for order, at in todo:
                began = time.perf_counter()
                self._add(order, at)
                if at + order > 0:
                    self._seconds += time.perf_counter() - began
                    self._timed += self.batch * self.each
                advance(self.batch * self.each)
        self.rows, self.orders = rows, orders

    def _add(self, order: int, at: int) -> None:
        ids, many = self._batches[at]
        losses, falls = self._look(jax.random.fold_in(self._key, order), ids)
        losses = np.asarray(losses, np.float64)[:many]
        falls = None if falls is None else np.asarray(falls, np.float64)[:many]
        weighted = self._pieces(losses) * self._weights[ids[:many], None]
        with np.errstate(invalid="ignore"):  # what is infinite is refused when it is asked for
            self._squares = self._squares + weighted.T @ weighted
        if at == len(self._losses):
            self._losses.append(losses)
            self._falls.append(falls)
        else:
            before = self._falls[at]
            self._losses[at] = self._losses[at] + losses
            self._falls[at] = None if falls is None or before is None else before + falls

    def found(self) -> Found:
        """What has been measured so far.

        Raises:
            InputError: a loss that is no finite number.
        """
        ids = np.concatenate([ids[:many] for ids, many in self._batches])
        rising = np.argsort(ids)
        losses = np.concatenate(self._losses)[rising] / self.orders
        falls = [fall for fall in self._falls if fall is not None]
        for row, at in np.argwhere(~np.isfinite(losses))[:1].tolist():
            keys = [jax.random.fold_in(self._key, order) for order in range(self.orders)]
            raise self._look.why_infinite(int(ids[rising][row]), at, keys)
        return Found(ids[rising], self.orders, losses, np.concatenate(falls)[rising] / self.orders if falls else None)

    def _pieces(self, losses: Float[np.ndarray, "rows width"]) -> Float[np.ndarray, "rows pieces"]:
        return losses.mean(axis=1, keepdims=True) if self._flat else losses

    def within(self, slopes: Float[np.ndarray, " pieces"]) -> float:
        """Variance of ``losses @ slopes`` from one order of a sequence to the next; needs two of each.

        Of a flat measurement it is that of their mean times the one slope. Rows count by their weights, in units of the
        mean weight.
        """
        ids = np.concatenate([ids[:many] for ids, many in self._batches])
        weights = self._weights[ids]
        sums = self._pieces(np.concatenate(self._losses)) * weights[:, None] @ slopes
        spread = slopes @ self._squares @ slopes - np.sum(sums**2) / self.orders
        return float(max(spread, 0.0) / (self.rows * (self.orders - 1)) / weights.mean() ** 2)
