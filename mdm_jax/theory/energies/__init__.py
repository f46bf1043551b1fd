"""Energies of schedules: the paper's three, the action and the geodesic of any metric, minimisers, a proof by counting.

``README.md`` beside this file is the guide, ``THEOREM.md`` what the theorem says and does not.
"""

from mdm_jax.theory.energies import enumeration, least_flows
from mdm_jax.theory.energies.actions import action
from mdm_jax.theory.energies.batches import batch
from mdm_jax.theory.energies.finite_steps import angle_energy, chord_energy
from mdm_jax.theory.energies.geodesics import Geodesic, arc_length, geodesic
from mdm_jax.theory.energies.mask_energies import (
    LogMultiplicity,
    chi_squared,
    closed_form,
    conditional_kinetic,
    geodesic_energy,
    kinetic,
    log_multiplicity,
)
from mdm_jax.theory.energies.metrics import Metric, fisher, flat
from mdm_jax.theory.energies.optimising import Minimum, minimise

__all__ = [
    "Geodesic", "LogMultiplicity", "Metric", "Minimum", "action", "angle_energy", "arc_length", "batch", "chi_squared",
    "chord_energy", "closed_form", "conditional_kinetic", "enumeration", "fisher", "flat", "geodesic",
    "geodesic_energy", "kinetic", "least_flows", "log_multiplicity", "minimise",
]  # fmt: skip
