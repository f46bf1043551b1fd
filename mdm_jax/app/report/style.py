"""The style of the page: ``page.css``, and the colours of its two themes, which are those of the charts."""

from importlib import resources

import numpy as np
from matplotlib import colormaps

from mdm_jax.plot.drawing import COLOURS

LEVELS = 16
"""Number of colours from the first step of a sample to its last."""


def sheet() -> str:
    """All of it, as CSS; dark for whoever prefers that on a screen."""
    dark = f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {theme(dark=True)} }} }}"
    rules = resources.files("mdm_jax.app.report").joinpath("page.css").read_text(encoding="utf-8")
    steps = "".join(f".r{level} {{ background: var(--r{level}) }}\n" for level in range(LEVELS))
    return f":root {{ {theme(dark=False)} }}\n{dark}\n{rules}{steps}"


def theme(dark: bool) -> str:
    """The variables of one theme: page, charts, and viridis washed out far enough that text stays readable on it."""
    page = {"page": "#14191e", "card": "#1b2229", "on": "#ffffff", "shade": "#00000099"} if dark else {
        "page": "#fbfaf8", "card": "#ffffff", "on": "#10171d", "shade": "#00000033",
    }  # fmt: skip
    ground, share = (np.array([20, 25, 30]), 0.42) if dark else (np.array([255, 255, 255]), 0.46)
    ramp = 255 * np.asarray(colormaps["viridis"](np.linspace(0.0, 1.0, LEVELS)))[:, :3]
    mixed = np.rint(share * ramp + (1 - share) * ground).astype(int).tolist()
    washed = {f"r{level}": "#" + "".join(f"{part:02x}" for part in colour) for level, colour in enumerate(mixed)}
    named = {name: pair[int(dark)] for name, pair in COLOURS.items()}
    return " ".join(f"--{name}: {value};" for name, value in {**page, **named, **washed}.items())
