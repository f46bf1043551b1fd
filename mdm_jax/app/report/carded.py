"""What a card says, in words: for what ``mdm-jax card`` prints, and for the report's section about it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mdm_jax.app.report import page, shapes
from mdm_jax.app.report.page import code, escape
from mdm_jax.app.report.run_files import RunFiles
from mdm_jax.evaluation.cards import FORMAT
from mdm_jax.plot import cards
from mdm_jax.support.errors import InputError
from mdm_jax.support.files import read_json
from mdm_jax.support.text import printable

BITS = 1 / math.log(2)
"""Bits in a nat."""
CAUTION = (
    "Cost is -log q of real rows under a sampler's own law: how probable it makes them, not how good its samples look."
)


_POINT = {"asked": int, "setting": str, "passes": float, "cost_nats": float, "low": float, "high": float}
_COMPARED = {"passes": int, "family": str, "over": str, "nats": float, "low": float, "high": float,
             "hindsight_loss_nats": (float, None)}  # fmt: skip
_SCORE = {"mean": float, "low": float, "high": float}
_SCORED = {"setting": str, "passes": float, "samples": int, "scores": {str: _SCORE}}
CARD = {"length": int, "passes": [int], "profile_digest": str, "exact": bool,
        "rows": {"chosen_on": int, "judged_on": int}, "run_step": (int, None),
        "families": [{"name": str, "kind": str, "points": [_POINT]}], "comparisons": [_COMPARED],
        "scored": [{"name": str, "kind": str, "points": [_SCORED]}]}  # fmt: skip
"""What ``card.json`` must hold for the report (see :mod:`mdm_jax.app.report.shapes`)."""
_SPOKEN = {
    "best Beta": "the best Beta schedule",
    "equal sizes": "a plan of equal sizes",
    "threshold": "a threshold",
    "entropy bound": "the entropy bound",
    "margin, optimal sizes": "the margin order with optimal sizes",
    "margin, equal sizes": "the margin order with equal sizes",
    "blocks, random inside": "random order in blocks",
}
"""Families as sentences name them."""
_SAME = 1e-6
"""Nats per token that exact costs may differ by from rounding alone."""


def told(card: Mapping[str, Any]) -> list[str]:
    """What was seen of the families beside the optimal plan, a sentence for each number of passes.

    Args:
        card: the content of ``card.json``: its "families" have "name" and "kind", its "comparisons" "passes",
            "family", "over", "nats", "low", "high", in nats per token.

    Example:
        >>> from mdm_jax.app.report.carded import told
        >>> one = {"passes": 16, "over": "optimal plan", "family": "threshold", "nats": 0.02, "low": 0.01, "high": 0.03}
        >>> card = {"families": [], "exact": False}
        >>> told({**card, "comparisons": [one]})
        ['At 16 passes a threshold costs 0.029 (0.014 to 0.043) bits per token more than the optimal plan.']
        >>> told({**card, "comparisons": [{**one, "low": -0.01}]})
        ['At 16 passes no difference seen: a threshold.']
    """
    passes = sorted({one["passes"] for one in card["comparisons"]})
    return [_at(number, card) for number in passes]


def _at(passes: float | int, card: Mapping[str, Any]) -> str:
    """All that cost less, or differ in nothing that was seen; of those that cost more the nearest rule, if any."""
    compared = [one for one in card["comparisons"] if one["passes"] == passes]
    less = sorted((one for one in compared if one["high"] < -_SAME), key=lambda one: one["nats"])
    more = sorted((one for one in compared if one["low"] > _SAME), key=lambda one: one["nats"])
    same = [one for one in compared if one not in less and one not in more]
    rules = {family["name"] for family in card["families"] if family["kind"] == "rule"}
    near = (
        [one for one in more if one["family"] in rules]
        if not any(one["family"] in rules for one in less + same)
        else []
    )
    said = [f"{_costs(one, card)} less than the {printable(one['over'])}" for one in less]
    said += [f"{_costs(one, card)} more than the {printable(one['over'])}" for one in (near or more)[:1]]
    if same:
        said.append(f"no difference{'' if card['exact'] else ' seen'}: {_names(same)}")
    if len(more) > 1:
        said.append("all others cost more")
    return f"At {passes_in_words(passes)} {'; '.join(said)}."


def passes_in_words(passes: float | int) -> str:
    """``1 pass``, ``2 passes``."""
    return f"{passes:g} {'pass' if passes == 1 else 'passes'}"


def _names(entries: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(spoken(one["family"]) for one in entries)


def spoken(family: str) -> str:
    """A family as a sentence names it."""
    return _SPOKEN.get(family, printable(family))


def _costs(one: Mapping[str, Any], card: Mapping[str, Any]) -> str:
    mean, low, high = (one[name] * BITS for name in ("nats", "low", "high"))
    if mean < 0:
        mean, low, high = -mean, -high, -low
    told = f"{mean:.4f}" if card["exact"] else interval(mean, low, high)
    return f"{spoken(one['family'])} costs {told} bits per token"


def interval(mean: float, low: float, high: float) -> str:
    """``0.021 (0.010 to 0.032)``, with as many decimals as the interval has use for: three or four."""
    decimals = 3 if high - low >= 0.004 else 4
    return f"{mean:.{decimals}f} ({low:.{decimals}f} to {high:.{decimals}f})"


def told_of_choosing(card: Mapping[str, Any]) -> str | None:
    """What choosing on few rows has cost against the best setting in hindsight, at most; ``None`` if not known."""
    known = [one for one in card["comparisons"] if one.get("hindsight_loss_nats") is not None]
    if not known:
        return None
    worst = max(known, key=lambda one: one["hindsight_loss_nats"])
    bits = worst["hindsight_loss_nats"] * BITS
    return (
        f"Against the best setting in hindsight the chosen ones cost at most {bits:z.4f} bits per token more "
        f"({spoken(worst['family'])} at {passes_in_words(worst['passes'])})."
    )


def section(files: RunFiles) -> str:
    """The report's section: the picture, what was seen, and costs by family; nothing where there is no card."""
    path = files.directory.card
    if not path.exists():
        return ""
    content = read_json(path, "a card")
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path} is not a card: its format must be {FORMAT!r}.")
    card = shapes.checked(content, CARD, f"{path} is not a card")
    stale = files.profile is not None and files.profile.digest != card["profile_digest"]
    again = f'<p class="note">The profile has changed since; make the card anew with {code(files.command("card"))}.</p>'
    rows = card["rows"]
    caption = (
        "Above, what each family of samplers costs on rows of the test half; the band is the 95% interval of the "
        "optimal plan's cost. Below, what each costs more than the optimal plan at as many model calls, with paired "
        "95% intervals: all families are judged on the same rows, so differences are known far better than costs."
    )
    caption += " Last, the score of samples." if card["scored"] else ""
    seen = "".join(f"<li>{escape(sentence)}</li>" for sentence in told(card))
    return (
        f"{again if stale else ''}<p>Plans reveal tokens in random order. Other samplers look at the model's "
        "predictions: all that is surer than a threshold, as many tokens as their entropies allow, the largest margin "
        f"first. The setting of each was chosen on {rows['chosen_on']:,} rows of the validation half, and judged on "
        f"{rows['judged_on']:,} of the test half. {escape(CAUTION)}</p>"
        + page.chart(cards.picture(card), "card", "what samplers cost against their model calls", caption)
        + f"<ul>{seen}</ul>{_by_family(card)}"
    )


def _by_family(card: Mapping[str, Any]) -> str:
    """Costs by family and number of passes, bits per token, with the setting of each."""
    body = []
    for family in card["families"]:
        points = {point["asked"]: point for point in family["points"]}
        cells = [f'<th scope="row">{escape(family["name"])}</th>']
        for point in (points.get(passes) for passes in card["passes"]):
            shown = ""
            if point is not None:
                setting = escape(point["setting"]).replace(", ", ",<br>").replace(" or ", "<br>or ")
                shown = f"{point['cost_nats'] * BITS:.3f}<br><small>{setting}</small>"
            cells.append(f"<td>{shown}</td>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    headings = ["bits per token, by", *map(passes_in_words, card["passes"])]
    return page.table(headings, body, "what samplers cost, by family and number of passes", "figures")
