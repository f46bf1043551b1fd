"""What an evaluation found: scores of samples under common random numbers, with errors and paired differences."""

import dataclasses
import html
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.special
from jaxtyping import Float, Int

from mdm_jax.support.arrays import described
from mdm_jax.support.errors import require, require_choice, require_whole, verbatim
from mdm_jax.support.ragged import present
from mdm_jax.support.statistics import standard_error, standard_errors
from mdm_jax.support.text import printable, shortened, table
from mdm_jax.tasks.task import token_ids

FORMAT = "mdm_jax evaluation 2"
MOST_ROWS = 64
"""Samplers that a notebook shows."""
_LONGEST = 48
"""Characters of a cell there."""
_RECORDED = ("nfe", "remaining", "log_prob")
HELD_OUT = "held-out rows (test half)"
"""What real rows are called in the table, beside the samplers."""


class Difference(NamedTuple):
    """A sampler's mean score less another's, over samples that share their random numbers.

    Attributes:
        name: the sampler.
        baseline: the other.
        mean: of the differences.
        standard_error: of that mean; NaN with fewer than two samples.
        low: of the 95 % interval (Student's t, ``samples - 1`` degrees of freedom).
        high: likewise.
    """

    name: str
    baseline: str
    mean: float
    standard_error: float
    low: float
    high: float

    @property
    def decided(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """Samples of several samplers and their scores.

    A row without a score (masks were left, or the score itself is NaN) makes the means that it belongs to NaN, and
    :meth:`table` counts it: nothing is averaged over the rest without a word.

    Attributes:
        names: of the samplers.
        scores: what :func:`~mdm_jax.evaluation.evaluate` was asked to score, by name, float64[samplers, samples]; the
            first is the one that matters.
        nfe: int32[samplers, samples], model calls.
        remaining: int32[samplers, samples], masks left.
        log_prob: float32[samplers, samples], log-probability along the path, nats; NaN where that is not defined.
        tokens: int32[samplers, samples, length].
        baseline: what the others are compared with in :meth:`table`: a name, or a name for each name; or ``None``.
        drawn: rows that were drawn now, the others having been in the store.
        reference: the same scores of held-out rows of the data, float64[rows] each, which :meth:`table` shows in its
            last line; ``None`` where there are none.
    """

    names: tuple[str, ...]
    scores: Mapping[str, Float[np.ndarray, "samplers samples"]]
    nfe: Int[np.ndarray, "samplers samples"]
    remaining: Int[np.ndarray, "samplers samples"]
    log_prob: Float[np.ndarray, "samplers samples"]
    tokens: Int[np.ndarray, "samplers samples length"]
    baseline: str | Mapping[str, str] | None = None
    drawn: int = 0
    reference: Mapping[str, Float[np.ndarray, " rows"]] | None = None

    def __repr__(self) -> str:
        """What was evaluated, and the range of the means; :meth:`table` has all of them."""
        samplers, samples, length = self.tokens.shape
        means = {name: described(self.means(name)) for name in (*self.scores, "nfe")}
        told = ", ".join(f"{name!r} {text.partition(' ')[2]}" for name, text in means.items())
        return f"Evaluation({samplers} samplers x {samples} samples of {length} tokens; means: {told})"

    @property
    def samples(self) -> int:
        """Of each sampler."""
        return self.nfe.shape[1]

    def values(self, score: str | None = None) -> Float[np.ndarray, "samplers samples"]:
        """A score (the first if none is named), or ``nfe``, ``remaining``, ``log_prob``, as float64."""
        name = next(iter(self.scores)) if score is None else score
        require_choice("score", name, (*self.scores, *_RECORDED))
        return np.asarray(self.scores[name] if name in self.scores else getattr(self, name), np.float64)

    def means(self, score: str | None = None) -> Float[np.ndarray, " samplers"]:
        """Mean over the samples of each sampler; NaN where any of them has no score."""
        return self.values(score).mean(axis=1)

    def standard_errors(self, score: str | None = None) -> Float[np.ndarray, " samplers"]:
        """Of :meth:`means`, from the spread of the samples (``n - 1``); NaN for a single sample."""
        return standard_errors(self.values(score), axis=1)

    def difference(self, name: str, baseline: str, score: str | None = None) -> Difference:
        """One sampler less another, paired sample by sample.

        Raises:
            InputError: an unknown name.
        """
        with np.errstate(invalid="ignore"):  # of infinite scores the difference is NaN
            apart = self.values(score)[self.index(name)] - self.values(score)[self.index(baseline, "baseline")]
        mean, error = float(apart.mean()), standard_error(apart)
        half = float(scipy.special.stdtrit(max(len(apart) - 1, 1), 0.975)) * error
        return Difference(name, baseline, mean, error, mean - half, mean + half)

    def differences(
        self, baseline: str | Mapping[str, str] | None = None, score: str | None = None
    ) -> tuple[Difference, ...]:
        """:meth:`difference` of every sampler, in order.

        Args:
            baseline: a name, or a name for each name; the evaluation's own if left out.
            score: which; the first if left out.
        """
        base = self.baseline if baseline is None else baseline
        require(base is not None, "baseline", base, "given, since the evaluation was made without one")
        assert base is not None
        others = dict.fromkeys(self.names, base) if isinstance(base, str) else base
        missing = [name for name in self.names if name not in others]
        require(not missing, "baseline", list(others), f"one for every sampler; {missing[:3]} lack theirs")
        return tuple(self.difference(name, others[name], score) for name in self.names)

    def incomplete(self, score: str | None = None) -> Int[np.ndarray, " samplers"]:
        """How many samples of each sampler have no score."""
        return np.isnan(self.values(score)).sum(axis=1)

    def index(self, name: str, argument: str = "name") -> int:
        """The place of a sampler.

        Raises:
            InputError: there is none of this name; ``argument`` is what it is called then.
        """
        require(name in self.names, argument, name, f"one of the samplers, as in {self.names[0]!r}")
        return self.names.index(name)

    def to_json(self) -> dict[str, Any]:
        """Names, sample size, and of each sampler means, standard errors and differences; no tokens."""
        entries: list[dict[str, Any]] = [{"name": name} for name in self.names]
        for score in (*self.scores, *_RECORDED):
            for entry, mean, error in zip(entries, self.means(score), self.standard_errors(score)):
                entry[score] = {"mean": _finite(mean), "standard_error": _finite(error)}
        for entry, left in zip(entries, self.incomplete()):
            entry["without_score"] = int(left)
        if self.baseline is not None:
            for score in self.scores:
                for entry, one in zip(entries, self.differences(score=score)):
                    numbers = {"mean": one.mean, "standard_error": one.standard_error, "low": one.low, "high": one.high}
                    less = {key: _finite(value) for key, value in numbers.items()}
                    entry.setdefault("less_baseline", {"baseline": one.baseline})[score] = less
        return {
            "format": FORMAT,
            "samples": self.samples,
            "score": next(iter(self.scores)),
            "drawn": self.drawn,
            "samplers": entries,
            **({} if self.reference is None else {"held_out_rows": _summaries(self.reference)}),
        }

    def table(self) -> str:
        """Of each sampler nfe, scores and paired differences, each with its standard error, as aligned text."""
        return table(*self._cells())

    def _repr_html_(self) -> str:
        """The table for notebooks, of very many samplers the first ones."""
        heading, rows = self._cells()
        more = f"\nand {len(rows) - MOST_ROWS} more samplers" if len(rows) > MOST_ROWS else ""
        return _html(heading, rows[:MOST_ROWS], repr(self) + more)

    def _cells(self) -> tuple[list[str], list[tuple[str, ...]]]:
        """Heading and rows of the table."""
        heading = ["sampler", "nfe", *map(printable, self.scores)]
        columns = [list(map(printable, self.names)), [f"{mean:.1f}" for mean in self.means("nfe")]]
        for score in self.scores:
            columns.append(with_errors(self.means(score), self.standard_errors(score)))
        if self.baseline is not None:
            differences = self.differences()
            heading.append("less " + (printable(self.baseline) if isinstance(self.baseline, str) else "its baseline"))
            cells = with_errors([d.mean for d in differences], [d.standard_error for d in differences], "+")
            columns.append(["" if d.name == d.baseline else cell for d, cell in zip(differences, cells)])
        if (left := self.incomplete()).any():
            heading.append("without score")
            columns.append([f"{count} of {self.samples}" if count else "" for count in left])
        if self.reference is None:
            return heading, list(zip(*columns))
        real = [np.asarray(self.reference[score], np.float64) for score in self.scores]
        cells = with_errors([one.mean() for one in real], [standard_error(one) for one in real])
        last = (HELD_OUT, "", *cells, *[""] * (len(columns) - 2 - len(cells)))
        return heading, [*zip(*columns), last]


def _summaries(scores: Mapping[str, Float[np.ndarray, " rows"]]) -> dict[str, Any]:
    """How many rows, and of each score mean and standard error."""
    told = {name: {"mean": _finite(one.mean()), "standard_error": _finite(standard_error(one))}
            for name, one in scores.items()}  # fmt: skip
    return {"rows": len(next(iter(scores.values()))), **told}


def _html(heading: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """A table whose first column stands to the left, the others to the right."""

    def line(tag: str, cells: Sequence[str]) -> str:
        sides = ["left", *["right"] * (len(cells) - 1)]
        return "".join(
            f'<{tag} style="text-align: {side}; white-space: nowrap">{html.escape(shortened(cell, _LONGEST))}</{tag}>'
            for side, cell in zip(sides, cells)
        )

    body = "".join(f"<tr>{line('td', row)}</tr>" for row in rows)
    return (
        f"<table><thead><tr>{line('th', heading)}</tr></thead><tbody>{body}</tbody></table>"
        f'<div style="font-size: 80%; white-space: pre-wrap">{html.escape(caption)}</div>'
    )


def with_errors(means: Any, errors: Any, sign: str = "") -> list[str]:
    """``2.493 ± 0.011`` of each mean and its error; "undefined" for NaN, and no error where there is none."""

    def cell(mean: float, error: float) -> str:
        shown = "undefined" if math.isnan(mean) else f"{mean:{sign}.3f}"
        return f"{shown} ± {error:.3f}" if math.isfinite(error) else shown

    return [cell(mean, error) for mean, error in zip(means, errors)]


def own_entropy(tokens: Int[Any, "rows length"], vocab_size: int) -> Float[np.ndarray, " rows"]:
    """Entropy of the samples' own bigrams, bits per token: what is left of a score that was had by drawing less.

    ``H(x_{j+1} | x_j)`` under the pooled counts of all rows. Its mean over the result is that entropy, its spread the
    jackknife's, so it can stand beside scores of single rows. The plug-in estimate is too low with few rows: compare it
    at equal numbers of rows only.

    Args:
        tokens: int[rows, length], complete; rows may end in ``ABSENT``, which is in no bigram.
        vocab_size: number of real tokens.

    Returns:
        float64[rows], bits per token.

    Raises:
        InputError: ids that are no real tokens (masks among them), no rows, or rows without a pair.

    Example:
        >>> import numpy as np
        >>> import mdm_jax as mdm
        >>> mdm.evaluation.own_entropy(np.asarray([[0, 0, 1, 1, 0]]), vocab_size=2)  # each follows each once
        array([1.])
        >>> mdm.evaluation.own_entropy(np.asarray([[0, 1, 0, 1, 0]]), vocab_size=2)
        array([0.])
    """
    vocab_size = require_whole("vocab_size", vocab_size, 1)
    rows = token_ids(tokens, "rows length", vocab_size, f"token ids from 0 to {vocab_size - 1}", ragged=True)
    pairs = present(rows[:, 1:])
    require(bool(pairs.any()), "tokens", verbatim(f"shape {rows.shape}"), "at least 1 row of at least 2 tokens")
    rows = rows.astype(np.int64)
    return _pooled_entropy(rows[:, :-1] * vocab_size + rows[:, 1:], pairs) - _pooled_entropy(rows[:, :-1], pairs)


def _pooled_entropy(codes: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """The plug-in entropy of all rows' codes together, bits, as one number per row: jackknife pseudo-values."""
    kinds, found = np.unique(codes[counted], return_inverse=True)
    places = np.full(codes.shape, -1)
    places[counted] = found.ravel()
    whole = np.bincount(places[counted], minlength=len(kinds))
    without = np.array([_entropy(whole - np.bincount(row[row >= 0], minlength=len(kinds))) for row in places])
    return _entropy(whole) - (len(codes) - 1) * (without - without.mean())


def _entropy(counts: np.ndarray) -> float:
    share = counts / max(counts.sum(), 1)
    return float(scipy.special.entr(share).sum() / np.log(2))


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
