"""The information profile of a model: one curve from which every schedule's cost follows.

``g(i)`` is the expected cross-entropy per token, in nats, of a masked position when ``i`` uniformly random other
positions are revealed. From it alone the expected negative ELBO of *any* sizes ``n_1 + ... + n_K = length`` follows
exactly, with no further model call and no sampling:

    E[-log q(x | S)] = sum_k n_k g(N_{k-1}),     N_k = n_1 + ... + n_k,

where ``S`` is the uniform ordered partition by which a random-order sampler reveals ``n_k`` tokens at step ``k``
(arXiv 2510.25544). It holds for any model, its learning error included: ``DERIVATIONS.md``, beside this file.

A profile is a value: NumPy arrays in float64, on the host. ``evaluation.estimate_profile`` measures one.
"""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mdm_jax.support.errors import InputError, require, require_whole, verbatim
from mdm_jax.support.files import digest, to_json, write_json
from mdm_jax.support.text import printable, shortened
from mdm_jax.theory.numerics.given import as_json, brief, require_array, require_path
from mdm_jax.theory.profiles.interpolation import interpolated, interpolation_slopes

FORMAT = "mdm_jax profile 1"
"""What a profile file says it is."""
LOOKED_AT = 256
"""Counts up to which a covariance is looked at whole wherever a profile is made; in a file it always is."""
_SHOWN = 2**16
"""Tokens up to which the NELBO is computed only to be shown."""
_ROUNDED = 1e-6
"""By how much an exact cost may be below 0: what float32 may round."""
MOST_SHARES = 512
"""Rows whose shares a profile keeps one by one; of more it keeps the means of as many groups, or nearly."""
_SAME = 1e-6
"""By how much, relative to the largest, the mean of shares may differ from the profile's means."""
_ERRORS = 10
"""How many of the largest standard errors a measured one may be below 0 beyond that."""


@dataclasses.dataclass(frozen=True, eq=False)
class Profile:
    """``g`` measured at some counts, with a smooth curve between them that rises or falls only where they do.

    Attributes:
        length: number of positions of a sequence.
        counts: int[m], the numbers of revealed tokens at which ``g`` was measured: increasing, from 0 to
            ``length - 1``.
        means: float64[m], ``g`` there, nats per token.
        covariance: float64[m, m], covariance of ``means`` (zero for an exact profile). The counts share sequences, so
            it is not diagonal.
        provenance: where it came from, as JSON (model, data, number of sequences, seed). A profile of a model that goes
            by ranks is that of one kind of order: "order" says which.
        shares: float64[rows, m], what each sequence (or each of as many groups of them) says, so that their mean is
            ``means``; ``None`` where nobody kept them. Whoever chooses on some and judges on others needs them.

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> profile = mdm.profiles.from_values([1.0, 0.5, 0.25, 0.25])
        >>> profile.nelbo(), float(profile.expected_nelbo(np.array([2, 2])))  # 2 g(0) + 2 g(2)
        (2.0, 2.5)
    """

    length: int
    counts: Int[np.ndarray, " m"]
    means: Float[np.ndarray, " m"]
    covariance: Float[np.ndarray, "m m"]
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    shares: Float[np.ndarray, "rows m"] | None = None

    def __post_init__(self) -> None:
        require_whole("length", self.length, 1)
        whole = getattr(self.counts, "dtype", None) is not None and self.counts.dtype.kind in "iu"
        require(whole and self.counts.ndim == 1, "counts", self.counts, "an array of whole numbers, one axis")
        for name in ("means", "covariance"):
            given = getattr(self, name)
            require(getattr(getattr(given, "dtype", None), "kind", "") in "fiu", name, given, "an array of numbers")
        m = len(self.counts)
        rising = (
            m >= 1 and self.counts[0] == 0 and self.counts[-1] == self.length - 1 and np.all(np.diff(self.counts) > 0)
        )
        require(
            bool(rising),
            "counts",
            self.counts.tolist(),
            f"increasing from 0 to length - 1 = {self.length - 1}",
        )
        require(self.means.shape == (m,), "means", verbatim(f"shape {self.means.shape}"), f"of shape ({m},)")
        shape = self.covariance.shape
        require(shape == (m, m), "covariance", verbatim(f"shape {shape}"), f"of shape ({m}, {m})")
        finite = bool(np.isfinite(self.means).all() and (self.exact or np.isfinite(self.covariance).all()))
        require(finite, "means and covariance", verbatim("a NaN or an infinity"), "finite")
        variances = np.diagonal(self.covariance)
        good = self.exact or (bool((variances >= 0).all()) and is_covariance(self.covariance, m <= LOOKED_AT))
        # A list of a million numbers is not made for nothing.
        require(good, "covariance", () if good else self.covariance.tolist(), "symmetric, with no negative variance")
        least = -_ROUNDED - (0.0 if self.exact else _ERRORS * float(np.sqrt(variances.max())))
        lowest = float(self.means.min())
        require(lowest >= least, "means", lowest, "costs in nats: none is negative, but for errors of measurement")
        self._check_shares()
        require(isinstance(self.provenance, Mapping), "provenance", self.provenance, "a mapping")
        object.__setattr__(self, "provenance", as_json("provenance", self.provenance))

    def _check_shares(self) -> None:
        if self.shares is None:
            return
        kind = getattr(getattr(self.shares, "dtype", None), "kind", "")
        require(kind == "f", "shares", self.shares, "an array of numbers, or left out")
        shape, m = self.shares.shape, len(self.counts)
        wanted = f"of shape (rows, {m}), 2 to {2 * MOST_SHARES} rows (from_rows makes groups of more)"
        good = len(shape) == 2 and 2 <= shape[0] <= 2 * MOST_SHARES and shape[1] == m
        require(good, "shares", verbatim(f"shape {shape}"), wanted)
        apart = float(np.abs(self.shares.mean(axis=0) - self.means).max())
        close = apart <= _SAME * max(float(np.abs(self.shares).max()), 1e-300)
        require(close, "shares", verbatim(f"a mean {apart:.3g} away from means"), "finite, and means their mean")

    def __repr__(self) -> str:
        """How long it is, what it falls to, how it is known."""
        counts = len(self.counts)
        known = "known exactly" if self.exact else f"measured at {counts} count{'' if counts == 1 else 's'}"
        if self.believed:
            known = "a posterior mean"
        if "order" in self.provenance:
            known += f" in {shortened(printable(str(self.provenance['order'])), 32)} order"
        nelbo = f"; NELBO {self.bits_per_token():.4g} bits per token" if self.length <= _SHOWN else ""
        ends = f"g from {self.means[0]:.4g} to {self.means[-1]:.4g} nats per token"
        return f"Profile({self.length} tokens, {known}: {ends}{nelbo})"

    def _repr_html_(self) -> str:
        from mdm_jax.plot import charts, drawing  # a notebook alone pays for Matplotlib

        return drawing.fragment(charts.profile(self, axes=drawing.wide(2.6)), repr(self))

    @functools.cached_property
    def exact(self) -> bool:
        """Whether the means have no errors: a closed form, as a rule."""
        spread = self.covariance
        return not (spread[:1, :1] if spread.strides == (0, 0) else spread).any()  # one number, seen many times

    @property
    def believed(self) -> bool:
        """Whether this is the mean of a posterior: it has no errors of its own, and yet is not known exactly."""
        return "posterior_of" in self.provenance

    @property
    def standard_errors(self) -> Float[np.ndarray, " m"]:
        """Standard errors of ``means``, nats per token."""
        return np.sqrt(np.diagonal(self.covariance))

    @functools.cached_property
    def values(self) -> Float[np.ndarray, " length"]:
        """``g(0) .. g(length - 1)``, nats per token."""
        return interpolated(self.counts, self.means, self.length)

    @functools.cached_property
    def _interpolation(self) -> Float[np.ndarray, "length m"]:
        """How the values move with the means; it carries the covariance along."""
        return interpolation_slopes(self.counts, self.means, self.length)

    def expected_nelbo(self, sizes: Int[np.ndarray, "*stack steps"]) -> Float[np.ndarray, "*stack"]:
        """Expected NELBO ``sum_k n_k g(N_{k-1})`` of sampling with ``sizes``, nats per sequence.

        Args:
            sizes: tokens revealed at each step, summing to ``length`` along the last axis; zeros are idle steps.

        Raises:
            InputError: negative sizes, or a sum other than ``length``.

        Source: arXiv 2510.25544; ``DERIVATIONS.md``, "The expected cost of sizes".
        """
        sizes, before = self._steps(sizes)
        return np.asarray(np.sum(sizes * self.values[before], axis=-1))

    def standard_error(self, sizes: Int[np.ndarray, "*stack steps"]) -> Float[np.ndarray, "*stack"]:
        """Standard error of :meth:`expected_nelbo` from the measurement of the profile, nats per sequence."""
        sizes, before = self._steps(sizes)
        if self.exact:
            return np.zeros(sizes.shape[:-1])
        weights = np.einsum("...k,...km->...m", sizes, self._interpolation[before])
        return np.asarray(np.sqrt(np.maximum(np.einsum("...i,ij,...j->...", weights, self.covariance, weights), 0.0)))

    def standard_error_of(self, weights: Float[np.ndarray, " length"]) -> float:
        """Standard error of ``sum_i weights[i] g(i)``, any linear function of the profile, from its measurement."""
        if self.exact:
            return 0.0
        measured = weights @ self._interpolation
        return float(np.sqrt(max(measured @ self.covariance @ measured, 0.0)))

    def row_costs(self, sizes: Int[np.ndarray, "*stack steps"]) -> Float[np.ndarray, "*stack rows"]:
        """What each sequence says that ``sizes`` cost: numbers whose mean is :meth:`expected_nelbo`, nats.

        Their standard error is :meth:`standard_error`. Between measured counts a curve is not linear in its numbers, so
        that these are right to first order there.

        Raises:
            InputError: negative sizes, a sum other than ``length``, or a profile that does not hold its ``shares``.
        """
        if self.shares is None:
            raise InputError("the profile must hold its shares, which estimate_profile keeps; this one has none.")
        sizes, before = self._steps(sizes)
        weights = np.einsum("...k,...km->...m", sizes, self._interpolation[before])
        costs = np.sum(sizes * self.values[before], axis=-1)
        return np.asarray(costs[..., None] + weights @ (self.shares - self.shares.mean(axis=0)).T)

    def nelbo(self) -> float:
        """The NELBO at one token per step, ``sum_i g(i)``: the model's any-order bound, nats per sequence."""
        return float(self.values.sum())

    def bits_per_token(self) -> float:
        """:meth:`nelbo` in bits per token."""
        return self.nelbo() / (self.length * np.log(2))

    def _steps(self, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Checked sizes, and the number of tokens revealed before each step."""
        sizes = checked_sizes(sizes, self.length)
        # Idle steps after the last token would start at `length`; they weigh nothing wherever they are put.
        return sizes, np.minimum(np.cumsum(sizes, axis=-1) - sizes, self.length - 1)

    def to_json(self) -> dict[str, Any]:
        """The content of ``profile.json``."""
        return {
            "format": FORMAT,
            "length": self.length,
            "counts": self.counts.tolist(),
            "nats_per_token": self.means.tolist(),
            "standard_errors": self.standard_errors.tolist(),
            "covariance": None if self.exact else self.covariance.tolist(),
            "provenance": dict(self.provenance),
            **({} if self.shares is None else {"shares": self.shares.tolist()}),
        }

    def save(self, path: str | Path) -> Path:
        """Write ``profile.json`` atomically."""
        require_path("path", path)
        return write_json(path, self.to_json())

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the content."""
        return digest(to_json(self.to_json()))

    @property
    def measured_digest(self) -> str:
        """What a plan records: the digest, or that of the measured profile that this is the posterior mean of."""
        return str(self.provenance.get("posterior_of", self.digest))


def checked_profile(profile: Any, argument: str = "profile") -> Profile:
    """``profile``, if it is one.

    Args:
        profile: what was given.
        argument: its name, for the sentence.

    Raises:
        InputError: it is none.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.profiles.checked_profile("profile.json")
        Traceback (most recent call last):
        mdm_jax.support.errors.InputError: profile must be a Profile (... profiles.load ...); got 'profile.json'.
    """
    wanted = "a Profile (evaluation.estimate_profile, profiles.load, profiles.from_values ...)"
    require(isinstance(profile, Profile), argument, verbatim(brief(profile)), wanted)
    return profile


def is_covariance(matrix: np.ndarray, every: bool) -> bool:
    """Whether a matrix is symmetric and, if asked, no linear function has a negative variance, but for rounding.

    The latter takes its eigenvalues, seconds for thousands of counts.
    """
    if not np.allclose(matrix, matrix.T):
        return False
    scale = np.sqrt(np.diagonal(matrix))
    if matrix[scale == 0].any():
        return False
    if not every:
        return True
    scale = np.where(scale > 0, scale, 1.0)
    return bool(np.linalg.eigvalsh(matrix / np.outer(scale, scale))[0] >= -1e-6 * len(matrix))


def checked_sizes(sizes: Int[np.ndarray, "*stack steps"], length: int) -> Int[np.ndarray, "*stack steps"]:
    """``sizes`` as int64, after checking that they are non-negative and sum to ``length`` along the last axis.

    Raises:
        InputError: they are not, or no whole numbers.

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> mdm.profiles.checked_sizes(np.array([1, 3]), 4).tolist()
        [1, 3]
        >>> mdm.profiles.checked_sizes(np.array([3, 2]), 4)
        Traceback (most recent call last):
        mdm_jax.support.errors.InputError: sizes must be non-negative and sum to the length 4; got [3, 2].
    """
    sizes = require_array("sizes", sizes)
    require(sizes.ndim >= 1 and sizes.dtype.kind in "iu", "sizes", sizes.tolist(), "whole numbers, one per step")
    sizes = sizes.astype(np.int64)
    good = bool((sizes >= 0).all() and (sizes.sum(-1) == length).all())
    require(good, "sizes", sizes.tolist(), f"non-negative and sum to the length {length}")
    return sizes
