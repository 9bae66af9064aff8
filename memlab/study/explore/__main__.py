"""The command line of the search: ``python -m memlab.study.explore --design bounded --interrupts 1 --states 100000``.

Used by people and by the commands of FINDINGS.md.  Prints progress to stderr while it runs, and the report to stdout.  Exit status 1 if a rule broke.
"""

import argparse
import os
import sys

from ...config import DESIGNS
from .choices import DEFAULT, EVERYTHING, HANDLERS, OPERATIONS
from .report import Report
from .search import Search


def main(argv: list[str] | None = None) -> int:
    """Search as the arguments say; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m memlab.study.explore", description="Try all sequences of operations on a machine of 32 pages of 256 bytes."
    )
    parser.add_argument("--design", choices=DESIGNS, default="as-written")
    parser.add_argument("--interrupts", type=int, default=0, metavar="N", help="how many an operation may meet (default 0)")
    parser.add_argument(
        "--states", type=int, metavar="N", help="end at so many distinct states (default 100,000, unless --seconds is given)"
    )
    parser.add_argument("--seconds", type=float, metavar="N", help="end after so many seconds")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, metavar="N", help="default: one for each CPU")
    parser.add_argument("--orders", type=int, default=2, metavar="N", help="the highest order that is asked for (default 2)")
    parser.add_argument(
        "--return-every", type=int, default=16, metavar="N", help="free everything from one state in N (default 16; 0: never)"
    )
    parser.add_argument("--operation", action="append", choices=[*OPERATIONS, "everything"], help=f"default: {', '.join(DEFAULT)}")
    parser.add_argument("--handler", action="append", choices=list(HANDLERS), help="what interrupts do (default: all kinds)")
    parser.add_argument("--histories", action="store_true", help="print the shortest sequence to each figure")
    args = parser.parse_args(argv)
    operations = EVERYTHING if args.operation and "everything" in args.operation else args.operation
    try:
        search = Search(args.design, args.interrupts, operations, args.handler, args.orders, args.return_every)
        budget = 100_000 if args.states is None and args.seconds is None else args.states
        report = search.run(budget, args.seconds, args.processes, _tell if sys.stderr.isatty() else None)
    except (TypeError, ValueError) as error:
        parser.error(str(error))
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")  # the progress goes, the report comes in its place
    sys.stdout.write(f"{report}\n")
    if args.histories:
        for (name, n), deepest in sorted(report.deepest.items()):
            sys.stdout.write(f"\n{name}, {n} interrupts, {deepest.depth} frames:\n{deepest.history}\n")
        if report.losing:
            sys.stdout.write(f"\n{report.lost} pages stay away after\n{report.losing}\n")
    return 1 if report.broken else 0


def _tell(report: Report) -> None:
    sys.stderr.write(f"\r\x1b[K{report.progress()}, {report.rate:,.0f} a second")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
