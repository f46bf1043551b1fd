"""Mathematics as browsers show it without help: TeX to MathML."""

import re

from latex2mathml import converter, exceptions

from rendering.site import Site

_FAILURES = tuple(
    value for value in vars(exceptions).values() if isinstance(value, type) and issubclass(value, Exception)
)
_BETTER = {
    "<mi>&#x0007E;</mi>": '<mo lspace="0.28em" rspace="0.28em">&#x0223C;</mo>',  # ~ as a relation
    "<mi>&#x02016;</mi>": '<mo stretchy="false" lspace="0.28em" rspace="0.28em">&#x02016;</mo>',  # and the double bar
    '<mo stretchy="false">&#x0007C;</mo>': '<mo stretchy="false" lspace="0" rspace="0">&#x0007C;</mo>',  # as a bracket
    "<mo>max</mo>": '<mo lspace="0" rspace="0.17em">max</mo>',
    "<mo>min</mo>": '<mo lspace="0" rspace="0.17em">min</mo>',
}
_FUNCTION = re.compile(r"(?<!<msu[bp]>)(<mi>(?:arcsin|cos|exp|log|sin)</mi>)(?=<m(?!o))")
_ENDED = re.compile(
    r'((?:<span class="wide">)?<math\b[^>]*display="inline"[^>]*>(?:(?!</math>).)*</math>(?:</span>)?)([.,;:)]+)'
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
    made = _spaced(made)
    unknown = re.search(r"\\[A-Za-z]+", re.sub(r"<[^>]*>", " ", made))
    if unknown:
        site.faults.append(f"{where}: {unknown.group(0)} in the formula {shown} is not known.")
    if display:
        return f'<div class="formula">{made}</div>'
    return f'<span class="wide">{made}</span>' if len(tex) > _LONG else made


def _spaced(made: str) -> str:
    """What the converter leaves without its space, and a thin space between a function and what it is of."""
    for plain, better in _BETTER.items():
        made = made.replace(plain, better)
    return _FUNCTION.sub(r'\1<mspace width="0.17em"/>', made)


def with_its_stop(html: str) -> str:
    """No line begins with the full stop (or comma ...) that stands after a formula."""
    return _ENDED.sub(r'<span class="kept">\1\2</span>', html)
