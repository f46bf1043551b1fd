"""What the report says of a model with a cache: what it keeps, and what steps cost with it."""

from collections.abc import Mapping
from typing import Any

from mdm_jax.app.report.page import escape
from mdm_jax.app.report.run_files import RunFiles


def about(files: RunFiles) -> str:
    """What kind of model it is; nothing of one that is encoded anew at each step."""
    if not files.has_cache:
        return ""
    return f"<p>{_any_order() if files.block is None else _block_causal(files.block)}{_measured(files)}</p>"


def _any_order() -> str:
    return (
        "This model is <strong>any-order</strong>: a revealed token sees those revealed before it, and none that come "
        "later. What the model makes of a token never changes, so it is kept. Each position goes through the network "
        "once as a question and once as a token, in however many steps: <strong>a further step costs a fraction of one "
        "encoding</strong>."
    )


def _block_causal(block: int) -> str:
    return (
        f"This model is <strong>block-causal</strong>: it goes from left to right in blocks of {block:,} positions, "
        "and a block sees itself and those before it. What the model makes of a finished block never changes, so it is "
        "kept, and a step encodes one block. Profile, plans and numbers of steps on this page are <strong>those of one "
        "block</strong>."
    )


def _measured(files: RunFiles) -> str:
    """How long the fewest and the most steps took, where samples say so."""
    panels = [] if files.samples is None else files.samples["panels"]
    timed = {panel["steps"]: panel for panel in panels if panel["seconds"] is not None and panel["scored_rows"]}
    if len(timed) < 2:
        return ""
    fewest, most = timed[min(timed)], timed[max(timed)]
    each = "" if files.block is None else " for each block"
    return (
        f" Here {fewest['scored_rows']:,} samples took <strong>{_seconds(fewest)}</strong> in {fewest['steps']:,} "
        f"step{'' if fewest['steps'] == 1 else 's'}{each}, and <strong>{_seconds(most)}</strong> in {most['steps']:,}."
    )


def _seconds(panel: Mapping[str, Any]) -> str:
    return escape(f"{panel['seconds']:.2g} s")
