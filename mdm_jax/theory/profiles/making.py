"""Profiles from what there is: known values, what sequences say, a file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mdm_jax.support.errors import require, verbatim
from mdm_jax.support.files import known, listed, made_from, read_json, told
from mdm_jax.theory.numerics.given import require_array, require_path
from mdm_jax.theory.profiles.profile import FORMAT, LOOKED_AT, MOST_SHARES, Profile, is_covariance

LONGEST = 2**24
"""Positions of a profile in a file; a longer one would take its memory from a few bytes."""
_MOST_WEIGHTS = 2**26
"""Likewise of the matrix by which errors are carried from the counts to all positions."""
_MOST_NATS = 1e6
"""A larger cost of a token is none, and its sums would overflow before they are told."""


def from_values(
    values: Float[np.ndarray, " length"] | Sequence[float], provenance: Mapping[str, Any] | None = None
) -> Profile:
    """The profile whose every ``g(i)`` is known exactly.

    Args:
        values: ``g(0) .. g(length - 1)``, nats per token.
        provenance: where they came from, as JSON.

    Raises:
        InputError: no list of finite, non-negative numbers.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.profiles.from_values([1.0, 0.5, 0.25, 0.25]).nelbo()
        2.0
    """
    given = require_array("values", values)
    require(given.ndim == 1 and len(given) > 0 and given.dtype.kind in "fiu", "values", values, "a list of numbers")
    values = given.astype(np.float64)
    return Profile(
        length=len(values),
        counts=np.arange(len(values)),
        means=values,
        covariance=np.broadcast_to(0.0, (len(values), len(values))),
        provenance=provenance or {},
    )


def from_rows(
    length: int,
    counts: Int[np.ndarray, " m"],
    values: Float[np.ndarray, "rows m"],
    provenance: Mapping[str, Any] | None = None,
) -> Profile:
    """The profile that is the mean over independent sequences, with the covariance of that mean.

    The sequences' own numbers are kept as ``shares``, of up to 512 sequences; of more, those of as many groups of
    neighbours, or nearly, whose mean is the same.

    Args:
        length: number of positions of a sequence.
        counts: int[m], as in :class:`Profile`.
        values: of each sequence at each count, nats per token; two sequences or more.
        provenance: where it came from, as JSON.

    Raises:
        InputError: fewer than two rows, or what makes no profile.

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> rows = np.array([[2.0, 1.0], [4.0, 2.0]])
        >>> profile = mdm.profiles.from_rows(2, np.array([0, 1]), rows)
        >>> profile.means.tolist(), profile.standard_errors.tolist()
        ([3.0, 1.5], [1.0, 0.5])
        >>> profile.row_costs(np.array([1, 1])).tolist()
        [3.0, 6.0]
    """
    values = np.asarray(require_array("values", values), np.float64)
    wanted = "of shape (rows, counts), two rows or more"
    require(values.ndim == 2 and len(values) >= 2, "values", verbatim(f"shape {values.shape}"), wanted)
    rows, m = values.shape
    means = values.mean(axis=0)
    covariance = np.cov(values, rowvar=False, ddof=1).reshape(m, m) / rows
    return Profile(length, counts, means, covariance, provenance or {}, _grouped(values - means) + means)


def _grouped(apart: Float[np.ndarray, "rows m"]) -> Float[np.ndarray, "groups m"]:
    """What rows are apart from their mean, of groups of equal sizes or nearly: numbers whose mean is still 0."""
    rows = len(apart)
    size = -(-rows // MOST_SHARES)
    if size == 1:
        return apart
    groups = rows // size
    ends = np.linspace(0, rows, groups + 1).round().astype(int)
    return np.add.reduceat(apart, ends[:-1], axis=0) * groups / rows


def load(path: str | Path) -> Profile:
    """Read ``profile.json``.

    Raises:
        InputError: no such file, not a profile, or numbers that make no profile.

    Example:
        >>> import mdm_jax as mdm
        >>> path = mdm.profiles.from_values([1.0, 0.5, 0.25, 0.25]).save("profile.json")
        >>> mdm.profiles.load("profile.json").values.tolist()
        [1.0, 0.5, 0.25, 0.25]
    """
    require_path("path", path)
    return made_from(path, read_json(path, "a profile"), "a profile", FORMAT, _from_json)


def _from_json(value: dict[str, Any]) -> Profile:
    length, counts = value["length"], np.array(listed(value, "counts", int), np.int64)
    covariance = value["covariance"]  # null: known exactly
    require(type(length) is int and length <= LONGEST, "length", length, f"a whole number of at most {LONGEST}")
    means = np.array(listed(value, "nats_per_token", float))
    good = bool((np.abs(means) <= _MOST_NATS).all())
    require(good, "nats_per_token", value["nats_per_token"], f"numbers of at most {_MOST_NATS:g}")
    if covariance is None:
        spread = np.broadcast_to(0.0, (len(counts),) * 2)
    else:
        weights, wanted = length * len(counts), f"at most {_MOST_WEIGHTS} where it was measured with errors"
        require(weights <= _MOST_WEIGHTS, "length times the number of counts", weights, wanted)
        rows = isinstance(covariance, list) and all(isinstance(row, list) for row in covariance)
        require(rows, "covariance", covariance, "a list of lists of numbers")
        spread = np.array([listed({"covariance": row}, "covariance", float) for row in covariance])
        good = bool((np.abs(spread) <= _MOST_NATS**2).all())
        require(good, "covariance", covariance, f"numbers of at most {_MOST_NATS**2:g}")
    made = Profile(length, counts, means, spread, told(value, "provenance"), _shares(value, len(counts)))
    good = made.exact or len(counts) <= LOOKED_AT or is_covariance(spread, every=True)
    require(good, "covariance", () if good else covariance, "symmetric, with no negative variance")
    if "standard_errors" in value:
        given = np.array(listed(value, "standard_errors", float))
        ours = made.standard_errors
        good = given.shape == ours.shape and np.allclose(given, ours, rtol=1e-6, atol=1e-12 * max(ours.max(), 1e-300))
        require(bool(good), "standard_errors", value["standard_errors"], "the roots of the covariance's diagonal")
    known(value, made.to_json())
    return made


def _shares(value: dict[str, Any], m: int) -> Float[np.ndarray, "rows m"] | None:
    """The shares in a file, if it has them."""
    if "shares" not in value:
        return None
    given = value["shares"]
    rows = isinstance(given, list) and all(isinstance(row, list) and len(row) == m for row in given)
    require(rows, "shares", given, f"a list of lists of {m} numbers")
    shares = np.array([listed({"shares": row}, "shares", float) for row in given])
    good = bool((np.abs(shares) <= _MOST_NATS).all())
    require(good, "shares", verbatim("larger ones"), f"numbers of at most {_MOST_NATS:g}")
    return shares
