"""Profiles: what a hidden token costs when so many others are known; curves through them, and bounds by them."""

from mdm_jax.theory.profiles import bounds
from mdm_jax.theory.profiles.curves import (
    bernstein,
    bernstein_slope,
    bernstein_weights,
    dual_total_correlation,
    falling,
    information_metric,
    total_correlation,
)
from mdm_jax.theory.profiles.interpolation import default_counts, interpolated, interpolation_slopes
from mdm_jax.theory.profiles.making import LONGEST, from_rows, from_values, load
from mdm_jax.theory.profiles.posterior import ProfilePosterior, posterior_profile
from mdm_jax.theory.profiles.profile import FORMAT, Profile, checked_profile, checked_sizes

__all__ = [
    "FORMAT", "LONGEST", "Profile", "ProfilePosterior", "bernstein", "bernstein_slope", "bernstein_weights", "bounds",
    "checked_profile", "checked_sizes", "default_counts", "dual_total_correlation", "falling", "from_rows",
    "from_values", "information_metric", "interpolated", "interpolation_slopes", "load", "posterior_profile",
    "total_correlation",
]  # fmt: skip
