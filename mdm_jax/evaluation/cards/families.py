"""One family of rules on a card: settings chosen on some rows for each number of passes, and judged on others."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mdm_jax.evaluation.cards.decoders import OPTIMAL, Family, Setting
from mdm_jax.evaluation.cards.forced_costs import Judge
from mdm_jax.evaluation.cards.mixing import Mixture, cheapest
from mdm_jax.sampling.rule import Rule
from mdm_jax.support.intervals import Interval, mean_interval
from mdm_jax.theory import plans
from mdm_jax.theory.plans import Plan
from mdm_jax.theory.profiles import Profile

Rows = Int[np.ndarray, "rows length"]
Values = Float[np.ndarray, " rows"]
Weights = Float[np.ndarray, " rows"] | None
"""The probability of each row where these are all that there are; ``None`` where they are a sample."""


DIGITS = 1e-5
"""What exact expectations are known to, nats per token: the model's logits are float32."""


def mean_of(values: Values, weights: Weights) -> float:
    """The mean, or the exact expectation."""
    return float(np.mean(values)) if weights is None else round(float(weights @ values), 9)


def interval_of(values: Values, weights: Weights) -> Interval:
    """The mean with its 95 % interval, or the exact expectation with one as wide as its digits."""
    if weights is None:
        return mean_interval(values)
    exact = mean_of(values, weights)
    return Interval(exact, exact - DIGITS, exact + DIGITS)


class PlanCosts:
    """What plans cost on the judging rows, all of them told together: so their differences have the least noise.

    Args:
        judge: what forces rows.
        rows: those that judge.
        chosen: every plan that will be asked about.
        exact: the profile on these rows, where it is known: what a plan costs is then the same number for each row.
    """

    def __init__(self, judge: Judge, rows: Rows, chosen: Iterable[Plan], exact: Profile | None) -> None:
        every = {tuple(plan.sizes.tolist()): plan for plan in chosen}
        if exact is None:
            costs = judge.plans(rows, list(every.values()))
        else:
            told = [float(exact.expected_nelbo(plan.sizes)) for plan in every.values()]
            costs = np.repeat(np.asarray(told)[:, None], len(rows), axis=1)
        self._costs = dict(zip(every, costs, strict=True))

    def of(self, plan: Plan) -> Values:
        """The cost of each row, nats."""
        return self._costs[tuple(plan.sizes.tolist())]


def optimal_near(believed: Profile, passes: Iterable[float | int], each: int) -> list[Plan]:
    """The optimal plans of as many steps, and of the whole numbers on both sides of what is none; from few to many.

    Args:
        believed: the profile that plans are chosen by.
        passes: mean passes.
        each: passes of a step (blocks times passes of an encoding).
    """
    near = np.asarray(list(passes), np.float64) / each
    steps = np.unique(np.clip(np.concatenate([np.floor(near), np.ceil(near)]), 1, believed.length)).astype(int)
    best = plans.optimal_for_every_budget(believed, int(steps.max()))
    every = {plan.steps: plan for plan in map(best.plan, steps.tolist())}
    return [every[steps] for steps in sorted(every)]


class OptimalCosts:
    """What the optimal plans cost at any number of passes, between two plans by their mixture.

    Args:
        best: optimal plans, from few steps to many.
        costs: of these and others.
        each: passes of a step.
    """

    def __init__(self, best: Sequence[Plan], costs: PlanCosts, each: int) -> None:
        self.passes = np.asarray([plan.steps for plan in best], np.float64) * each
        self.costs = np.stack([costs.of(plan) for plan in best])

    def at(self, passes: float | int) -> tuple[Values, float]:
        """The cost of each row at so many passes, and the slope of its mean there, nats per pass."""
        right = int(np.searchsorted(self.passes, passes))
        if right == len(self.passes):
            return self.costs[-1], 0.0
        if right == 0 or self.passes[right] == passes:
            return self.costs[right], self._slope(right)
        share = (passes - self.passes[right - 1]) / (self.passes[right] - self.passes[right - 1])
        return (1 - share) * self.costs[right - 1] + share * self.costs[right], self._slope(right)

    def _slope(self, right: int) -> float:
        """Of the mean cost below a plan; above the first one for the first."""
        right = max(right, 1)
        if right >= len(self.passes):
            return 0.0
        fall = float((self.costs[right] - self.costs[right - 1]).mean())
        return fall / float(self.passes[right] - self.passes[right - 1])


class JudgedFamily:
    """A family of rules whose settings were chosen on some rows, and judged on others.

    Of a family that has at most one setting for each number of steps nothing is chosen: it has no point where it has no
    setting. Another one is tried from few passes to many; if its passes are not known beforehand, until one takes as
    many as the most that is asked for. A mixture could take a setting beyond, too; two more of them doubled the passes
    of choosing on an urn and a Markov chain of 32 tokens, and the cost of one choice in twelve changed, by .00005 nats.

    Args:
        family: of rules, from few passes to many.
        asked: mean passes for which settings are wanted.
        each: passes of a step (blocks times passes of an encoding).
        judge: what forces rows.
        choosing: rows that choose.
        judging: rows that judge.
        weights: their probabilities, where they are all that there are.
        hindsight: whether every setting is judged.
        advance: told of each setting that is done.
    """

    def __init__(
        self,
        family: Family,
        asked: Sequence[int],
        each: int,
        judge: Judge,
        choosing: Int[np.ndarray, "choosing length"],
        judging: Rows,
        weights: Weights,
        hindsight: bool,
        advance: Callable[[int], None],
    ) -> None:
        self.family, self.weights = family, weights
        self.chosen_on, self.judged_on = len(choosing), len(judging)
        self.choosing_passes = self.judging_passes = 0
        known = family.steps is not None and len(set(family.steps)) == len(family.steps)
        if family.steps is not None and known:  # some of the asked may have no setting
            self.tried = list(range(len(family.settings)))
            places = {steps * each: place for place, steps in enumerate(family.steps)}
            chosen = {wanted: Mixture(places[wanted], places[wanted], 1.0) for wanted in asked if wanted in places}
            self.chosen_on = 0
        else:
            means, costs = [], []
            for setting in family.settings:
                cost, passes = judge.rule(choosing, _rule(setting), _name(family, setting))
                means.append(passes.mean())
                costs.append(cost.mean())
                self.choosing_passes += int(passes.sum())
                advance(1)
                if family.steps is None and means[-1] >= max(asked):
                    break
            self.tried = list(range(len(means)))
            found = {wanted: cheapest(np.array(means), np.array(costs), wanted) for wanted in asked}
            chosen = {wanted: one for wanted, one in found.items() if one is not None}
        self.chosen: dict[int, Mixture] = chosen
        needed = {place for one in chosen.values() for place in (one.first, one.second)}
        self._costs: dict[int, Values] = {}
        self._passes: dict[int, Values] = {}
        for place in self.tried if hindsight else sorted(needed):
            setting = family.settings[place]
            cost, passes = judge.rule(judging, _rule(setting), _name(family, setting))
            self._costs[place], self._passes[place] = cost, passes.astype(np.float64)
            if place in needed:
                self.judging_passes += int(passes.sum())
            advance(1)
        self._hindsight = hindsight and not known

    def taken(self) -> list[float]:
        """Mean passes on the judging rows, of each choice."""
        return [mean_of(one.of(self._passes), self.weights) for one in self.chosen.values()]

    @property
    def all_passes(self) -> int:
        """Passes that judging every setting took; 0 where not every one was judged."""
        return int(sum(one.sum() for one in self._passes.values())) if self._hindsight else 0

    def main(self, wanted: int) -> Setting | None:
        """The setting that most rows are sampled by; ``None`` where the family cannot take so many passes."""
        if wanted not in self.chosen:
            return None
        one = self.chosen[wanted]
        return self.family.settings[one.first if one.weight >= 0.5 else one.second]

    def points(self, length: int) -> list[dict[str, Any]]:
        """Of each number of passes: the setting, the passes it took, what it cost per token."""
        return [
            point(
                wanted,
                self._told(one),
                mean_of(one.of(self._passes), self.weights),
                interval_of(one.of(self._costs) / length, self.weights),
                None,
                self.chosen_on,
                self.judged_on,
            )
            for wanted, one in self.chosen.items()
        ]

    def compared(self, best: OptimalCosts, length: int) -> list[dict[str, Any]]:
        """What each choice costs more than the optimal plan at as many passes as it took, row by row, per token.

        The passes are a mean over the rows, too: a row that took more than the mean is charged what they would have
        bought the optimal plan (to first order), so that the interval knows of their noise.
        """
        entries = []
        for wanted, one in self.chosen.items():
            costs, passes = one.of(self._costs), one.of(self._passes)
            mean = mean_of(passes, self.weights)
            rival, slope = best.at(mean)
            apart = (costs - rival - slope * (passes - mean)) / length
            told = interval_of(apart, self.weights)
            loss = self._loss(costs, mean) if self._hindsight else None
            entries.append(comparison(wanted, mean, self.family.name, told, None if loss is None else loss / length))
        return entries

    def _loss(self, costs: Values, passes: float) -> float | None:
        """What the choice costs more than the best of all settings on the judging rows, at as many passes: nats."""
        means, every = (
            np.array([mean_of(values[place], self.weights) for place in self.tried])
            for values in (self._passes, self._costs)
        )
        best = cheapest(means, every, passes)
        if best is None:  # no setting takes as many passes on these rows
            return None
        least = best.weight * every[best.first] + (1 - best.weight) * every[best.second]
        return mean_of(costs, self.weights) - float(least)

    def _told(self, one: Mixture) -> str:
        names = [self.family.settings[place].name for place in (one.first, one.second)]
        return names[0] if one.weight == 1 else f"{names[0]} ({one.weight:.0%}) or {names[1]}"


def point(
    asked: int,
    setting: str,
    passes: float,
    cost: Interval,
    predicted: float | None,
    chosen_on: int,
    judged_on: int,
) -> dict[str, Any]:
    """A point of a family's curve, as JSON."""
    return {
        "asked": asked,
        "setting": setting,
        "passes": passes,
        "cost_nats": cost.mean,
        "low": cost.low,
        "high": cost.high,
        "predicted_nats": predicted,
        "chosen_on_rows": chosen_on,
        "judged_on_rows": judged_on,
    }


def comparison(wanted: int, taken: float, family: str, told: Interval, loss: float | None) -> dict[str, Any]:
    """What a family costs more than the optimal plan at so many passes, as JSON."""
    return {
        "passes": wanted,
        "taken": taken,
        "family": family,
        "over": OPTIMAL,
        "nats": told.mean,
        "low": told.low,
        "high": told.high,
        "hindsight_loss_nats": loss,
    }


def _rule(setting: Setting) -> Rule:
    assert isinstance(setting.sampler, Rule)
    return setting.sampler


def _name(family: Family, setting: Setting) -> str:
    return f"{family.name}, {setting.name},"
