"""What pictures are asked of that are none: run in a process of its own, where no checker of types objects first.
Prints, as JSON, what each call says."""

# pyright: reportArgumentType=false

import json
from types import SimpleNamespace

import numpy as np

import mdm_jax as mdm
from mdm_jax.support.errors import InputError

PROFILE, PLAN = mdm.profiles.from_values(np.linspace(2, 1, 8)), mdm.plans.uniform(8, 2)
DRAWN = SimpleNamespace(tokens=np.zeros((1, 8), int), reveal_step=np.zeros((1, 8), int))
A_PROFILE = "profile must be a profile, as mdm.estimate_profile returns it; got "
A_PLAN = "plan must be a plan or a grid, as mdm.plans and mdm.grids make them; got "
TUNED = "tuned must be what tune returned, or the content of tuning.json; got "
A_CARD = "found must be what evaluation.card returned, or the content of card.json; got "
CASES = {
    "profile plan": (lambda: mdm.plot.profile(PLAN), A_PROFILE + "Plan("),
    "profile None": (lambda: mdm.plot.profile(None), A_PROFILE + "None."),
    "profile values": (lambda: mdm.plot.profile(PROFILE.values[:2]), A_PROFILE + "array("),
    "profile, plan 8": (lambda: mdm.plot.profile(PROFILE, 8), "plan must be a plan, or left out; got 8."),
    "profile, grid": (lambda: mdm.plot.profile(PROFILE, mdm.grids.uniform(2)), "plan must be a plan, or left out; got"),
    "plan profile": (lambda: mdm.plot.plan(PROFILE), A_PLAN + "Profile("),
    "plan schedule": (lambda: mdm.plot.plan(mdm.schedules.sine()), A_PLAN),
    "plan None": (lambda: mdm.plot.plan(None), A_PLAN + "None."),
    "plan, profile plan": (lambda: mdm.plot.plan(PLAN, PLAN), A_PROFILE + "Plan("),
    "plan, profile 3": (lambda: mdm.plot.plan(PLAN, 3), A_PROFILE + "3."),
    "excess profile": (lambda: mdm.plot.excess(PROFILE), TUNED + "Profile("),
    "excess search": (lambda: mdm.plot.excess(mdm.plans.search_beta(PROFILE, [2], grid=2)), TUNED + "BetaSearch("),
    "excess None": (lambda: mdm.plot.excess(None), TUNED + "None."),
    "excess other": (lambda: mdm.plot.excess({"steps": [1]}), TUNED + "{'steps': [1]}."),
    "landscape None": (
        lambda: mdm.plot.landscape(None),
        "found must be what search_beta, tune, race or search_beta_by",
    ),
    "card None": (lambda: mdm.plot.card(None), A_CARD + "None."),
    "card, no content": (lambda: mdm.plot.card({"families": []}), A_CARD + "{'families': []}."),
    "samples plan": (lambda: mdm.plot.samples(PLAN), "sampled must be what sample returned; got Plan("),
    "samples tokens": (lambda: mdm.plot.samples([[1, 2]]), "sampled must be what sample returned; got [[1, 2]]."),
    "samples None": (lambda: mdm.plot.samples(None), "sampled must be what sample returned; got None."),
    "samples, words 7": (
        lambda: mdm.plot.samples(DRAWN, 7),
        "vocabulary must be a task's vocabulary, or left out; got",
    ),
}


def answer(call):
    try:
        call()
    except InputError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__} {error}"
    return "nothing"


if __name__ == "__main__":
    print(json.dumps({name: answer(call) for name, (call, _) in CASES.items()}))
