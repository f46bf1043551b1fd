r"""Samplers by their exact laws, in small worlds, and schedules tuned by them: no samples, no noise, a derivative.

* partial states: :func:`all_states`; what a denoiser says in each: :func:`conditionals`; its :func:`exact_profile`
* laws (output distributions) of samplers: :func:`ancestral_law`, :func:`random_order_law`, :func:`adaptive_law`,
  :func:`selective_law`; of one with a latent: :func:`latent_law`
* how far they are from the target: :func:`total_variation`, :func:`kl_divergence`, :func:`jensen_shannon`

What a profile only bounds, small worlds let one minimise itself, since the law of an ancestral sampler is a
differentiable function of its grid:

| searched                                       | by                                   | here                        |
|------------------------------------------------|--------------------------------------|-----------------------------|
| Beta(a, b) schedules in ``K`` equal time steps | every pair of a grid, then gradients | :func:`search_beta_by_law`  |
| any revealed fractions of ``K`` steps          | gradients from random starts         | :func:`optimal_grid_by_law` |
| one grid                                       | its law                              | :func:`law_divergence`      |

The profile's cost (:func:`mdm_jax.theory.plans.grids.ancestral_nelbo`), less the target's entropy, is an upper bound
on the KL divergence found here, and another schedule may be best for it; it is what remains to tune by where there are
too many states to list.

The search over a grid is one executable in float32, run over chunks. Gradients are followed in float64 on the host by
L-BFGS; divergence and slope by the fractions are one executable for Beta schedules and free fractions alike.

Source: choosing ``(a, b)`` from a grid is arXiv 2509.13866 (section 3.3, appendix E.1); law and gradient are ours.
"""

from mdm_jax.evaluation.exact.beta_tuning import BetaByLaw, affordable_points, search_beta_by_law
from mdm_jax.evaluation.exact.divergences import (
    DIVERGENCES,
    jensen_shannon,
    kl_divergence,
    law_divergence,
    total_variation,
)
from mdm_jax.evaluation.exact.grid_tuning import GridByLaw, optimal_grid_by_law
from mdm_jax.evaluation.exact.latent_laws import latent_law
from mdm_jax.evaluation.exact.laws import (
    RULES,
    adaptive_law,
    ancestral_law,
    random_order_law,
    selective_law,
    surest,
)
from mdm_jax.evaluation.exact.states import MOST_STATES, all_states, checked_target, conditionals, exact_profile

__all__ = [
    "DIVERGENCES",
    "MOST_STATES",
    "RULES",
    "BetaByLaw",
    "GridByLaw",
    "adaptive_law",
    "affordable_points",
    "all_states",
    "ancestral_law",
    "checked_target",
    "conditionals",
    "exact_profile",
    "jensen_shannon",
    "kl_divergence",
    "latent_law",
    "law_divergence",
    "optimal_grid_by_law",
    "random_order_law",
    "search_beta_by_law",
    "selective_law",
    "surest",
    "total_variation",
]
