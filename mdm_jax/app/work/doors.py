"""Which door to take next: the one line behind what ``tune`` prints, after the page ``evaluation/WHICH.md``."""

from collections.abc import Mapping, Sequence
from typing import Any

from mdm_jax.app.options.cards import not_for_cards
from mdm_jax.support.commands import command
from mdm_jax.support.text import in_words
from mdm_jax.training import Run


def door_hint(result: Mapping[str, Any], trained: Run | None = None, source: str | None = None) -> str:
    """Which plan is worth taking by what was judged, and the command that looks at other orders.

    Args:
        result: the content of ``tuning.json``: its "advantages" say what was judged, each with "steps", "over",
            "low" and "high".
        trained: the run, if plans are for one.
        source: as the command line names an oracle, ``oracle:...``, if plans are for one.

    Returns:
        One line that begins with "Which door?".

    Example:
        >>> from mdm_jax.app.work.doors import door_hint
        >>> door_hint({"advantages": [{"steps": 8, "low": -0.2, "high": 0.3}]})
        'Which door? Of plans of as many steps any will do: no difference between them was seen.'
        >>> seen = {"advantages": [{"steps": 8, "low": 0.2, "high": 0.3}]}
        >>> door_hint(seen, source="oracle:toy_left").partition(" Thresholds")[2]
        ' and other orders beside it: mdm-jax card oracle:toy_left'
    """
    said = f"Which door? {_by_advantages(result.get('advantages'))}"
    if trained is not None and not_for_cards(trained) is not None:
        looking = command("evaluate", trained.place.path, "linear", "--order", "margin")
        return f"{said} Other orders by their samples: {looking}"
    place = source if trained is None else trained.place.path
    return said if place is None else f"{said} Thresholds and other orders beside it: {command('card', place)}"


def _by_advantages(advantages: Sequence[Mapping[str, Any]] | None) -> str:
    """The plan to take, by the intervals of what it saves over the others."""
    if not advantages:
        return "The optimal plan; what it saves has not been judged."
    compared = sorted({one["steps"] for one in advantages})
    beaten = {one["steps"]: one["over"] for one in advantages if one["high"] < 0}
    if beaten:
        told = "; ".join(f"at {steps} steps {name}" for steps, name in sorted(beaten.items()))
        return f"{told[0].upper()}{told[1:]}, which was seen to cost less than the optimal plan."
    seen = [steps for steps in compared if any(one["low"] > 0 for one in advantages if one["steps"] == steps)]
    if not seen:
        return "Of plans of as many steps any will do: no difference between them was seen."
    if seen == compared:
        return "The optimal plan."
    return f"The optimal plan at {in_words(seen)} steps; at others any plan of as many steps will do."
