"""``experiments/README.md``: one row a claim, written from the committed records."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from experiments.tools import beta_told, reasons
from experiments.tools.catalogue import Places, claims, fingerprint
from experiments.tools.experiment import Claim, spoken
from experiments.tools.markdown import filled, table
from experiments.tools.records import read
from experiments.tools.wheels import WHEELS
from mdm_jax.support.files import write_text

INTRODUCTION = """\
# Experiments

<!-- Written by `python -m experiments report` from the files in results/; do not edit. -->

Every claim of this project that needs measuring, with what came out. One module a claim. A claim was written down
before it was measured, but for what its source says was known, and stays as it was: the verdict says whether it holds.

```sh
python -m experiments                     # the list: claim, source, cost, last verdict
python -m experiments NAME                # a full run; finished parts are kept, so an interrupted one goes on
python -m experiments all                 # all that is not recorded of the present code: says first what that takes
python -m experiments all --quick         # seconds each: shows that they run, proves nothing, writes nothing here
python -m experiments report              # this page
```

A full run writes `results/NAME.json` (claim, verdict, figures, settings, seeds, versions, machine, commit),
`pictures/NAME.png` and this page. What is too large for git lies in `runs/experiments/NAME`.

Intervals are 95% unless a sentence says otherwise; in "15.2 (14.0 to 17.7)" of a ratio of times they are the least and
the greatest round. Times depend on the machine. What a run takes was measured on two processor cores that had other
work too, so yours may well need less. Newer results tell the processor time besides, of all cores together: other work
changes that little. Speed, all in one place: [SPEED.md](SPEED.md).
"""
RULES = """\
## Figures in pages

For authors. A paragraph, bullet or table row that links `results/NAME.json`, or a row of this page, quotes that result,
and a test compares; a table whose heading has the link quotes it in every row. Every number with a decimal
point must be a rounding of one of the `figures` (a value or an end of an interval; after ± half the width of one), or a
number of the `config`. A percentage quotes a share. A sign that is written must agree. Whole numbers are compared where
they stand in bold, or in a table's column "measured". Code, links' targets, arXiv numbers, versions and "95%" are not
looked at. Under the headings "Findings", "Speed" and "Where a claim fails" every number with a decimal point needs such
a link.
"""
OURS, HELD, CLAIMS = "ours alone", ("holds", *reasons.FAILS), "All claims"
HEADING = ("claim, and where it is from", "verdict", "figure, and of how many", "run")


def write_page(places: Places) -> Path:
    """Write the page that belongs to the committed records."""
    return write_text(places.page, page(places))


def page(places: Places) -> str:
    """The text of the page."""
    stated = claims(places)
    made = {name: read(places, name) for name in stated}
    why = {name: reason for name, reason in reasons.read(places).items() if reasons.fails(made.get(name))}
    rows = [row(name, claim, made[name], name in why) for name, claim in stated.items()]
    old = {name for name, record in made.items() if record and record["fingerprint"] != fingerprint(places, name)}
    papers = places.root / "mdm_jax" / "PAPERS.md"
    titles = papers.read_text(encoding="utf-8") if papers.exists() else ""
    listed = [by_paper(stated, made, titles), f"## {CLAIMS}\n", table(HEADING, *rows)]
    parts = [INTRODUCTION, needed(stated), repeated(stated, made, old), *listed, beta_told.section(made)]
    return "\n".join(filter(None, [*parts, failures(why, made), RULES]))


def by_paper(stated: Mapping[str, Claim], made: Mapping[str, Mapping[str, Any] | None], papers_page: str = "") -> str:
    """Which claims of which paper hold, hold in part, or do not; and how many in all.

    Args:
        stated: the claims.
        made: their records.
        papers_page: the text of ``PAPERS.md``, which has the titles.
    """
    papers = dict[str, list[str]]()
    for name, claim in stated.items():
        for paper in dict.fromkeys(re.findall(r"arXiv (\d{4}\.\d{5})", claim.source)) or [OURS]:
            papers.setdefault(paper, []).append(name)
    count = {verdict: sum(one is not None and one["verdict"] == verdict for one in made.values()) for verdict in HELD}
    rows = []
    for paper in sorted(papers, key=lambda one: (one == OURS, -len(papers[one]), one)):
        link = OURS if paper == OURS else f"[{paper}](../mdm_jax/PAPERS.md#{paper}){titled(paper, papers_page)}"
        of_paper = [(f"[{name}](#{name})", one["verdict"]) for name in papers[paper] if (one := made[name])]
        rows.append((link, *(", ".join(told for told, verdict in of_paper if verdict == held) for held in HELD)))
    whole, part, none = (count[verdict] for verdict in HELD)
    about = f"""{whole} claims hold, {part} hold partly, {none} do not. What rests on a paper, or is compared with it,
        stands with it."""
    return "\n".join(["## By paper\n", filled(about), table(("paper", *HELD), *rows)])


def titled(paper: str, papers_page: str) -> str:
    """The title of a paper behind a space, as ``PAPERS.md`` has it in a heading or a row; empty if it has none.

    Example:
        >>> titled("2502.00001", "| Short: A Long Title (One et al., [2502.00001](https://...)) | of it |")
        ' Short: A Long Title'
    """
    named = rf"^(?:###|\|) ([^|\n]*?) \((?:[^()|\n]*, )?\[{re.escape(paper)}\]"
    found = re.search(named, papers_page, flags=re.MULTILINE)
    return f" {found[1].rpartition('; ')[2]}" if found else ""


def failures(why: Mapping[str, reasons.Reason], made: Mapping[str, Mapping[str, Any] | None]) -> str:
    """The reasons of claims that fail, in a paragraph each."""
    told = [filled(reasons.told(name, record, why[name])) for name, record in made.items() if record and name in why]
    return "\n".join([f"## {reasons.SECTION}\n", filled(reasons.INTRODUCTION), *told]) if told else ""


def needed(stated: Mapping[str, Claim]) -> str:
    """What to install, or to download, for the experiments that a plain install cannot run."""
    extras, others = dict[str, list[str]](), list[str]()
    for name, claim in stated.items():
        for extra in sorted(set(claim.needs.values())):
            extras.setdefault(extra, []).append(name)
        others += [f"{name}: {' and '.join(claim.full_needs)}"] if claim.full_needs else []
        wheels = f"the wheel{'s' if len(claim.wheels) > 1 else ''} of {' and '.join(claim.wheels)}"
        others += [f"{name}: {wheels}, in the folder that `{WHEELS}` names"] if claim.wheels else []
    told = ""
    if extras:
        listed = "; ".join(f"`{extra}` for {', '.join(names)}" for extra, names in extras.items())
        told += f'Some need an extra, as in `pip install -e ".[{next(iter(extras))}]"`: {listed}. '
    if others:
        told += f"Full runs of some need more. {'; '.join(others)}. `pip download --no-deps` makes a folder of wheels. "
    return filled(f"{told}Without these they end in one sentence, and in `all` they are not tested.") if told else ""


def repeated(stated: Mapping[str, Claim], made: Mapping[str, Mapping[str, Any] | None], old: Collection[str]) -> str:
    """How many records are not of the present code, so that ``all`` repeats them, and what that takes."""
    hours = sum(seconds(stated[name], made[name]) for name in old) / 3600
    there = sum(record is not None for record in made.values())
    text = f"""**{len(old)} of the {there} results are of runs of an earlier form of the code**, so `all` would repeat
        them, in about {hours:.1f} hours: {", ".join(sorted(old))}."""
    return filled(text) if old else ""


def row(name: str, claim: Claim, made: Mapping[str, Any] | None, explained: bool) -> tuple[str, ...]:
    """One experiment: its record, or that there is none; the verdict links the reason of a failure."""
    text = f'<a id="{name}"></a>**{name}**: {claim.text} *({claim.source})*'
    if made is None:
        return _cells(text, "not run", "", f"`python -m experiments {name}` ({cost(claim, None)})")
    links = f"[all figures](results/{name}.json)"
    if made["picture"]:
        links += f", [picture]({made['picture']})"
    ran = f"`{made['command']}` ({cost(claim, made)}); {origin(made)}; {links}"
    verdict = f"[{made['verdict']}](#why-{name})" if explained else made["verdict"]
    return _cells(text, f"**{verdict}**", f"{made['headline']} *({made['sample_size']})*", ran)


def _cells(*texts: str) -> tuple[str, ...]:
    return tuple(text.replace("|", "\\|").replace("\n", " ") for text in texts)


def seconds(claim: Claim, made: Mapping[str, Any] | None) -> float:
    """What a full run takes: as measured, or as the claim says."""
    return (made["wall_seconds"] if made else None) or 60 * claim.minutes


def cost(claim: Claim, made: Mapping[str, Any] | None) -> str:
    """What a full run takes, in words; of processors too, where the record says that."""
    of_processors = made.get("processor_seconds") if made else None
    told = f", {spoken(of_processors)} of processor time" if of_processors is not None else ""
    return f"about {spoken(seconds(claim, made))}{told}"


def origin(made: Mapping[str, Any]) -> str:
    """The date of a record and the code that ran; of one that was only told, where."""
    if told := made.get("recorded"):
        return f"{made['date']}, told in {told['page']} of commit {told['commit']}; full output not kept"
    return f"{made['date']}, commit {made['commit']}"
