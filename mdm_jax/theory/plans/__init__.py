"""Plans: how many tokens to reveal at each of K steps.

A plan is what a sampler runs and what tuning produces. It comes from a schedule and a rounding rule, or, best of
all, from a model's profile by dynamic programming, for every budget at once.

| wanted                                             | rule                                                        |
|----------------------------------------------------|-------------------------------------------------------------|
| the best sizes for ``K`` steps, or for every ``K`` | ``optimal``, ``optimal_for_every_budget``                   |
| the best ``K`` at a price per step                 | ``at_price``                                                |
| the fewest steps that lose at most so many nats    | ``within``                                                  |
| the best sizes in at most so many milliseconds     | ``within_time``                                             |
| nearly the best, by one sum                        | ``square_root``                                             |
| an error bounded by TC or DTC                      | ``total_correlation_plan``, ``dual_total_correlation_plan`` |
| what a schedule does, rounded as somebody rounds   | ``from_schedule``, ``round_sizes``, ``ROUNDINGS``           |
| a schedule that does what a plan does              | ``to_schedule``                                             |
| the best Beta schedules, for many budgets          | ``search_beta``                                             |
| equal sizes                                        | ``uniform``                                                 |
| what a plan costs more than the best, at most      | ``certify``                                                 |

Time grids of the ancestral sampler, whose sizes are random, are :mod:`mdm_jax.theory.plans.grids`.
"""

from mdm_jax.theory.plans.beta_search import BetaSearch
from mdm_jax.theory.plans.beta_search import search as search_beta
from mdm_jax.theory.plans.certificates import Certificate, certify
from mdm_jax.theory.plans.optimal_plans import (
    OptimalPlans,
    at_price,
    optimal,
    optimal_for_every_budget,
    within,
    within_time,
)
from mdm_jax.theory.plans.plan import FORMAT, Plan, load
from mdm_jax.theory.plans.rounding import ROUNDINGS, round_sizes
from mdm_jax.theory.plans.rules import (
    dual_total_correlation_plan,
    from_schedule,
    square_root,
    to_schedule,
    total_correlation_plan,
    uniform,
)

__all__ = [
    "FORMAT", "ROUNDINGS", "BetaSearch", "Certificate", "OptimalPlans", "Plan", "at_price", "certify",
    "dual_total_correlation_plan", "from_schedule", "load", "optimal", "optimal_for_every_budget", "round_sizes",
    "search_beta", "square_root", "to_schedule", "total_correlation_plan", "uniform", "within", "within_time",
]  # fmt: skip
