"""Pictures of what the library finds, each on Matplotlib axes: given ones, or those of a new figure.

>>> axes = profile(mdm_jax.profiles.from_values([2.0, 1.0, 0.5, 0.4]))
>>> axes.get_xlabel()
'i: tokens already revealed'

| function    | shows                                                                                |
|-------------|--------------------------------------------------------------------------------------|
| `profile`   | the information profile, and a plan's cost as a staircase over it                      |
| `plan`      | how much each step reveals, and what it loses                                          |
| `excess`    | what families of schedules cost above the least possible, against the number of steps |
| `landscape` | what every Beta(a, b) schedule costs: of a search, a tuning, a race                    |
| `samples`   | when each token was revealed                                                           |

Without ``axes`` the figure is one of pyplot's, so that a notebook shows it; ``axes.figure.savefig`` writes it.
"""

from mdm_jax.plot.charts import excess, plan, profile
from mdm_jax.plot.cost_landscapes import landscape
from mdm_jax.plot.tokens import samples

__all__ = ["excess", "landscape", "plan", "profile", "samples"]
