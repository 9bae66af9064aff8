"""The command line of the benchmark: `python -m memlab.bench [--json] [--quick]`.

The result goes to standard output, one line about each step to standard error while it runs.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from time import perf_counter

from memlab.bench.report import FULL, QUICK, run, table


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark as `arguments` (of the process, if None) say, and print the result."""
    parser = argparse.ArgumentParser(prog="python -m memlab.bench", description="Measure memlab's speed and memory.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--quick", action="store_true", help="small arenas, a few seconds; goals are not judged")
    chosen = parser.parse_args(arguments)
    start = perf_counter()

    def say(line: str) -> None:
        print(f"{perf_counter() - start:6.1f} s  {line}", file=sys.stderr, flush=True)

    report = run(QUICK if chosen.quick else FULL, say)
    print(json.dumps(report, indent=2) if chosen.json else table(report))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("stopped; nothing was measured to the end.")
