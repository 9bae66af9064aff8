"""The zoo on the command line: ``python -m memlab.study.zoo [name ...]`` hunts the animals, and prints what broke after which shortest sequence.

Used by people.  Exit status 1 if an animal got away.
"""

import argparse
import sys

from . import ANIMALS


def main(argv: list[str] | None = None) -> int:
    """Hunt the animals that the arguments name, or all; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m memlab.study.zoo", description="Hunt allocators that have one fault each.")
    parser.add_argument("name", nargs="*", help=f"of animals: {', '.join(ANIMALS)}; default: all")
    parser.add_argument("--states", type=int, default=20_000, metavar="N", help="give an animal up after so many states (default 20,000)")
    args = parser.parse_args(argv)
    unknown = [name for name in args.name if name not in ANIMALS]
    if unknown:
        parser.error(f"there is no animal {unknown[0]!r}; there are {', '.join(ANIMALS)}")
    if args.states < 1:
        parser.error(f"--states is 1 or more, not {args.states}")
    status = 0
    for name in args.name or ANIMALS:
        animal = ANIMALS[name]
        report = animal.hunt(args.states)
        sys.stdout.write(f"the {name}: {animal.fault}\n")
        if report.broken is None:
            status = 1
            sys.stdout.write(f"got away: {report.progress()}\n\n")
            continue
        sys.stdout.write(f"found after {report.states:,} states: {report.broken.sentence(animal.rule)}\n{report.broken.history}\n\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
