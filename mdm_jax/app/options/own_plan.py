"""A run's own plan: the file that ``mdm-jax tune`` wrote, or, where there is none, the optimum by the profile."""

import dataclasses
import math
import os
import shlex

from mdm_jax.support.commands import command
from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans, profiles
from mdm_jax.theory.plans import Plan
from mdm_jax.theory.profiles import Profile
from mdm_jax.training import Run

ROLE = "optimal"
_ROUNDING = 1e-6
"""Of what a plan costs, relatively: sums in another order."""


@dataclasses.dataclass(frozen=True)
class OwnPlan:
    """A plan and where it is from.

    Attributes:
        plan: the cheapest for the model, by its profile or as measured in an order.
        source: the file that holds it, or the profile that it was computed from, in the run directory.
        note: what to tell the user, if anything.
    """

    plan: Plan
    source: str
    note: str | None = None

    @property
    def told(self) -> str:
        """Where it is from, in words."""
        return self.source if self.source.startswith("plans") else f"computed from {self.source}"


def own_plan(trained: Run, steps: int, order: str | None = None) -> OwnPlan:
    """The run's own plan of at most ``steps`` steps. A file is followed if it is one of the present profile.

    For an order that looks it is the plan that was measured in that order, where ``tune --order`` wrote one. Else it is
    the optimal plan in random order. Before a profile has been measured that is computed from the profile of the
    training loss, which costs nothing.
    A run that was imported has neither.

    Raises:
        InputError: no profile, one of another model, or a plan file that was changed since it was written.
    """
    place = trained.place
    if not os.path.lexists(place.profile):
        if not os.path.lexists(place.training_profile):
            raise InputError(
                f"{place.path} has no profile yet, by which the sizes of steps are chosen: measure it with "
                f"{command('profile', place.path)}, or say the sizes, as in "
                f"{command('sample', place.path, '--schedule', 'linear', '--steps', str(steps))} (--plan takes a file)."
            )
        return _by_training_profile(trained, steps)
    profile = trained.profile
    role, words = ROLE, ()
    if order is not None and os.path.lexists(place.plan(order, steps)):
        role, words = order, ("--order", order)
    path = place.plan(role, steps)
    if not os.path.lexists(path):
        return OwnPlan(plans.optimal(_believed(profile), steps), place.profile.name)
    plan = plans.load(path)
    if plan.origin.get("profile_digest") != profile.digest:
        said = (
            f"{path} was made from another profile than {place.profile} is now, so the plan was computed from that; "
            f"{command('tune', place.path, *words)} makes the files anew."
        )
        return OwnPlan(plans.optimal(_believed(profile), steps), place.profile.name, said)
    told = plan.origin.get("expected_nelbo_nats")
    fits = plan.length == profile.length and plan.steps <= steps and plan.origin.get("rule") == role
    fits = fits and isinstance(told, int | float)
    if not (fits and _costs_as_told(profile, plan, told)):  # pyright: ignore[reportArgumentType]
        raise InputError(
            f"{path} is not the plan that mdm-jax tune writes there: it was changed, or another version wrote it. "
            f"Delete it, or sample by it as it is with --plan {shlex.quote(str(path))}."
        )
    return OwnPlan(plan, str(path.relative_to(place.path)))


def _costs_as_told(profile: Profile, plan: Plan, told: float) -> bool:
    """Whether a plan costs what its file says: by the profile as ``tune`` believes it, or, until 0.2, as measured."""
    return any(
        math.isclose(one.expected_nelbo(plan.sizes), told, rel_tol=_ROUNDING) for one in (_believed(profile), profile)
    )


def _believed(profile: Profile) -> Profile:
    """The profile by which ``tune`` chooses plans."""
    return profiles.posterior_profile(profile).profile


def _by_training_profile(trained: Run, steps: int) -> OwnPlan:
    """The optimal plan by the profile that training kept, and what to say of it."""
    place, profile = trained.place, trained.training_profile
    said = (
        f"{place.path} has no profile yet, so the plan was computed from {place.training_profile.name}: the training "
        f"loss, which cost nothing; {command('profile', place.path)} measures it on held-out rows."
    )
    return OwnPlan(plans.optimal(_believed(profile), steps), place.training_profile.name, said)
