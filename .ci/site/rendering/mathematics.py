"""Mathematics as browsers show it without help: TeX to MathML."""

import re

from latex2mathml import converter, exceptions

from rendering.site import Site

_FAILURES = tuple(
    value for value in vars(exceptions).values() if isinstance(value, type) and issubclass(value, Exception)
)
_LONG = 45
"""A longer formula within a line may be wider than a telephone."""


def mathml(site: Site, where: str, tex: str, display: bool) -> str:
    """A formula; one that cannot be read is shown as it was written, and is a fault."""
    shown = " ".join(tex.split())
    try:
        made = converter.convert(tex, display="block" if display else "inline")
    except (*_FAILURES, IndexError, KeyError, ValueError) as error:
        site.faults.append(f"{where}: the formula {shown} cannot be read ({type(error).__name__}).")
        return f"<code>{shown}</code>"
    unknown = re.search(r"\\[A-Za-z]+", re.sub(r"<[^>]*>", " ", made))
    if unknown:
        site.faults.append(f"{where}: {unknown.group(0)} in the formula {shown} is not known.")
    if display:
        return f'<div class="formula">{made}</div>'
    return f'<span class="wide">{made}</span>' if len(tex) > _LONG else made
