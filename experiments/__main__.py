"""The experiments: ``python -m experiments`` lists them, ``python -m experiments NAME|all [--quick]`` runs them.

``python -m experiments report`` draws the conclusions of committed results anew and writes ``experiments/README.md``.
"""

import argparse
import os
import sys
import textwrap
from collections.abc import Sequence

from experiments.tools.catalogue import Places, claims, known
from mdm_jax.support.errors import InputError


def main(arguments: Sequence[str] | None = None, places: Places | None = None) -> int:
    """The exit status: 0 also where a verdict is 'does not', 1 if an experiment failed, 2 if there is none such."""
    parser = argparse.ArgumentParser(prog="python -m experiments", description=__doc__, allow_abbrev=False)
    parser.add_argument("name", nargs="?", help="an experiment, all, or report (default: list them)")
    parser.add_argument("--quick", action="store_true", help="seconds each: shows that they run, and proves nothing")
    parser.add_argument("--again", action="store_true", help="repeat what is recorded of the present code, all parts")
    parser.add_argument(
        "--processes",
        type=int,
        help="of all: how many at once (default: 1, since they take times; --quick: every processor)",
    )
    options = parser.parse_args(arguments)
    places = places or Places()
    try:
        return _do(options, places)
    except InputError as error:
        print(f"python -m experiments: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        on = "the same command goes on from them"
        if options.again:
            on = f"`python -m experiments {'NAME' if options.name == 'all' else options.name}` goes on from them"
        kept = "" if options.quick else f"; finished parts are kept, and {on}"
        print(f"\npython -m experiments: stopped{kept}.", file=sys.stderr)
        return 130


def _do(options: argparse.Namespace, places: Places) -> int:
    if options.name is None:
        print(listing(places))
        return 0
    if options.name not in ("all", "report"):
        known(places, options.name)
    from experiments.tools import page, running  # running needs JAX, the list does not

    if options.name == "report":
        running.conclude_again(places)
        page.write_page(places)
        print(f"written to {places.page}")
        return 0
    if options.name != "all":
        with running.terminated_as_interrupted():
            running.run_one(places, options.name, options.quick, options.again)
        return 0
    processes = options.processes or (os.cpu_count() or 1 if options.quick else 1)
    if processes < 1:
        raise InputError(f"--processes must be 1 or more; got {processes}.")
    with running.terminated_as_interrupted():
        return running.run_many(places, list(claims(places)), options.quick, options.again, processes)


def listing(places: Places) -> str:
    """Every experiment: its last verdict, when that was, what a full run costs, its claim and where that is from."""
    from experiments.tools.page import cost, origin
    from experiments.tools.records import read

    lines: list[str] = []
    for name, claim in claims(places).items():
        made = read(places, name)
        verdict = "not run" if made is None else f"{made['verdict']} ({origin(made)})"
        lines.append(f"{name}: {verdict}; {cost(claim, made)}")
        lines += textwrap.wrap(f"{claim.text} [{claim.source}]", 100, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
