"""Pictures of what the library finds, each on Matplotlib axes: given ones, or those of a new figure.

| function      | shows                                                                                 |
|---------------|---------------------------------------------------------------------------------------|
| ``profile``   | the information profile, and a plan's cost as a staircase over it                     |
| ``plan``      | how much each step reveals, and what it loses                                         |
| ``excess``    | what families of schedules cost above the least possible, against the number of steps |
| ``landscape`` | what every Beta(a, b) schedule costs: of a search, a tuning, a race                   |
| ``samples``   | when each token was revealed                                                          |
| ``card``      | what families of samplers, orders that look too, cost against their model calls       |

``README.md`` beside this file is the guide. Without ``axes`` the figure is one of pyplot's, which notebooks show.

>>> import mdm_jax as mdm
>>> mdm.plot.plan(mdm.plans.uniform(10, 4)).get_ylabel()
'tokens revealed'
"""

from mdm_jax.plot.cards import card
from mdm_jax.plot.charts import excess, plan, profile
from mdm_jax.plot.cost_landscapes import landscape
from mdm_jax.plot.tokens import samples

__all__ = ["card", "excess", "landscape", "plan", "profile", "samples"]
