"""What is drawn, as far as a picture looks at it: this floor knows no theory and no sampler."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int


@runtime_checkable
class Curve(Protocol):
    """A profile: ``g(i)`` in nats per token."""

    @property
    def length(self) -> int: ...
    @property
    def counts(self) -> Int[np.ndarray, " m"]: ...
    @property
    def means(self) -> Float[np.ndarray, " m"]: ...
    @property
    def standard_errors(self) -> Float[np.ndarray, " m"]: ...
    @property
    def values(self) -> Any:  # float64[length]; a cached property is no property to type checkers
        ...
    def nelbo(self) -> float: ...


@runtime_checkable
class Sizes(Protocol):
    """A plan: tokens to reveal at each step."""

    @property
    def name(self) -> str: ...
    @property
    def sizes(self) -> Int[np.ndarray, " steps"]: ...
    @property
    def knots(self) -> Int[np.ndarray, " knots"]: ...
    @property
    def length(self) -> int: ...
    @property
    def steps(self) -> int: ...


@runtime_checkable
class Fractions(Protocol):
    """A grid: revealed fractions between the steps."""

    @property
    def name(self) -> str: ...
    @property
    def fractions(self) -> Float[np.ndarray, " knots"]: ...


@runtime_checkable
class Searched(Protocol):
    """What a search over Beta schedules by a profile found."""

    @property
    def profile(self) -> Curve: ...
    @property
    def budgets(self) -> tuple[int, ...]: ...
    @property
    def values(self) -> Float[np.ndarray, " n"]: ...
    @property
    def landscape(self) -> Float[np.ndarray, "budgets n n"]: ...
    @property
    def best(self) -> Float[np.ndarray, "budgets 2"]: ...
    @property
    def nelbo(self) -> Float[np.ndarray, " budgets"]: ...
    def place(self, steps: int) -> int: ...


@runtime_checkable
class Compared(Protocol):
    """What tuning by a profile found."""

    @property
    def result(self) -> Mapping[str, Any]: ...
    @property
    def search(self) -> Searched: ...


@runtime_checkable
class SearchedByLaw(Protocol):
    """What a search over Beta schedules by exact laws found."""

    @property
    def divergence(self) -> str: ...
    @property
    def steps(self) -> int: ...
    @property
    def values(self) -> Float[np.ndarray, " n"]: ...
    @property
    def landscape(self) -> Float[np.ndarray, "n n"]: ...
    @property
    def a(self) -> float: ...
    @property
    def b(self) -> float: ...
    @property
    def value(self) -> float: ...


@runtime_checkable
class Contest(Protocol):
    """What a race between schedules found."""

    @property
    def plans(self) -> Mapping[str, Sizes]: ...
    @property
    def a(self) -> Float[np.ndarray, " a"]: ...
    @property
    def b(self) -> Float[np.ndarray, " b"]: ...
    @property
    def landscape(self) -> Float[np.ndarray, "a b"]: ...
    @property
    def counts(self) -> Int[np.ndarray, "a b"]: ...
    @property
    def lower_is_better(self) -> bool: ...


@runtime_checkable
class Measured(Protocol):
    """A card: what families of samplers cost. Its content is that of ``card.json``."""

    def to_json(self) -> dict[str, Any]: ...


@runtime_checkable
class Drawn(Protocol):
    """What a sampler returned."""

    @property
    def tokens(self) -> Any: ...
    @property
    def reveal_step(self) -> Any: ...


@runtime_checkable
class Words(Protocol):
    """A vocabulary: the text of each token."""

    def pieces(self, tokens: Any) -> list[str]: ...
