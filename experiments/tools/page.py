"""``experiments/README.md``: one row a claim, written from the committed records."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.tools.catalogue import Places, claims
from experiments.tools.experiment import Claim, spoken
from experiments.tools.records import read
from mdm_jax.support.files import write_text

INTRODUCTION = """\
# Experiments

<!-- Written by `python -m experiments report` from the files in results/; do not edit. -->

Every claim of this project that needs measuring, with what came out. One module a claim. A claim was written down
before it was measured, and stays as it was: the verdict says whether it holds.

```sh
python -m experiments                     # the list: claim, source, cost, last verdict
python -m experiments NAME                # a full run; finished parts are kept, so an interrupted one goes on
python -m experiments all                 # all that is not recorded of the present code; --again: all
python -m experiments all --quick         # seconds each: shows that they run, proves nothing, writes nothing here
python -m experiments report              # this page
```

A full run writes `results/NAME.json` (claim, verdict, figures, settings, seeds, versions, machine, commit),
`pictures/NAME.png` and this page. What is too large for git lies in `runs/experiments/NAME`.

**Figures in pages.** A paragraph, bullet or table row that links `results/NAME.json`, or a row of this page, quotes
that result, and a test compares; a table whose heading has the link quotes it in every row. Every number with a decimal
point must be a rounding of one of the `figures` (a value or an end of an interval; after ± half the width of one), or a
number of the `config`. A percentage quotes a share. A sign that is written must agree. Whole numbers are compared where
they stand in bold, or in a table's column "measured". Code, links' targets, arXiv numbers, versions and "95%" are not
looked at. Under the headings "Findings" and "Speed" every number with a decimal point needs such a link. Speed, all in
one place: [SPEED.md](SPEED.md).

Intervals are 95% unless a sentence says otherwise; in "15.2 (14.0 to 17.7)" of a ratio of times they are the least and
the greatest round. Times depend on the machine and on what else it did.
"""
HEADING = ("claim, and where it is from", "verdict", "figure, and of how many", "run")


def write_page(places: Places) -> Path:
    """Write the page that belongs to the committed records."""
    return write_text(places.page, page(places))


def page(places: Places) -> str:
    """The text of the page."""
    rows = [row(name, claim, read(places, name)) for name, claim in claims(places).items()]
    lines = [HEADING, ("---",) * len(HEADING), *rows]
    return INTRODUCTION + "\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def row(name: str, claim: Claim, made: Mapping[str, Any] | None) -> tuple[str, ...]:
    """One experiment: its record, or that there is none."""
    text = f'<a id="{name}"></a>**{name}**: {claim.text} *({claim.source})*'
    if made is None:
        return _cells(text, "not run", "", f"`python -m experiments {name}` ({cost(claim, None)})")
    links = f"[all figures](results/{name}.json)"
    if made["picture"]:
        links += f", [picture]({made['picture']})"
    ran = f"`{made['command']}` ({cost(claim, made)}); {when(made)}, commit {made['commit']}; {links}"
    return _cells(text, f"**{made['verdict']}**", f"{made['headline']} *({made['sample_size']})*", ran)


def _cells(*texts: str) -> tuple[str, ...]:
    return tuple(text.replace("|", "\\|").replace("\n", " ") for text in texts)


def cost(claim: Claim, made: Mapping[str, Any] | None) -> str:
    """What a full run takes: as measured, or about."""
    measured: float | None = made["wall_seconds"] if made else None
    return spoken(measured) if measured else f"about {spoken(60 * claim.minutes)}"


def when(made: Mapping[str, Any]) -> str:
    """The date of a record; of one that was only told, where."""
    told = made.get("recorded")
    return f"{made['date']}, told in {told['page']}, full output not kept" if told else made["date"]
