"""The worst case for some bounds: explore's search on both designs by turns, in slices so short that somebody can say stop between two.

Used by the Nesting lab.  Imports explore.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from .explore.choices import DEFAULT, HANDLERS
from .explore.report import Deepest, Report
from .explore.search import Search

MEALS: Final = tuple(name for name in HANDLERS if name.startswith("eat all"))  # what interrupts do in this search
_EVERY: Final = 64  # transitions, of a slice


class WorstCase:
    """An iterator whose items are sentences of progress; it ends when the bounds are reached, and can be dropped at any time.

    ``operation``: out of explore's OPERATIONS.  ``interrupts``: int, how many an operation may meet at most.  ``states``: int, how many distinct
    states to look at with each design.  ValueError or TypeError as Search raises them.
    """

    def __init__(self, operation: str, interrupts: int, states: int) -> None:
        self.operation, self.interrupts = operation, interrupts
        operations = DEFAULT if operation in DEFAULT else (*DEFAULT, operation)
        searches = [Search(design, interrupts, operations, MEALS, return_every=0) for design in ("as-written", "bounded")]
        self.reports = [search.report for search in searches]
        self._slices: list[Iterator[Report]] = [search.slices(states=states, every=_EVERY) for search in searches]
        self._turn = 0

    def __iter__(self) -> WorstCase:
        return self

    def __next__(self) -> str:
        """Do a slice; return how far it is.  StopIteration when both designs are done."""
        while self._slices:
            self._turn = (self._turn + 1) % len(self._slices)
            if next(self._slices[self._turn], None) is not None:
                return self.progress()
            del self._slices[self._turn]
        raise StopIteration

    def progress(self) -> str:
        """Return how far it is, in a sentence."""
        return (
            "; ".join(
                f"{_words(r)} {r.states:,} states, {r.transitions:,} steps tried, {r.depth(self.operation)} frames" for r in self.reports
            )
            + "."
        )

    def deepest(self) -> list[Deepest | None]:
        """Return the deepest chain found with each design, by the fewest interrupts; None where the operation was not tried yet."""
        found = []
        for r in self.reports:
            kinds = [(d.depth, -n, d) for (name, n), d in r.deepest.items() if name == self.operation]
            found.append(max(kinds, key=lambda kind: kind[:2])[2] if kinds else None)
        return found

    def told(self) -> str:
        """Return what was covered and found, in a sentence."""
        parts = []
        for r, deepest in zip(self.reports, self.deepest(), strict=True):
            all_of = "all of " if r.complete else ""
            depth = f"{deepest.depth} frames" if deepest else "not tried yet"
            broken = f"; a rule broke: {r.broken.words.splitlines()[0]}" if r.broken else ""
            parts.append(f"{_words(r)} {depth} ({all_of}{r.states:,} states{broken})")
        count = f"up to {self.interrupts} interrupt{'s' * (self.interrupts > 1)}" if self.interrupts else "no interrupt"
        return f"The deepest chain of {self.operation} that was found, with {count}: {', '.join(parts)}."


def _words(report: Report) -> str:
    return report.design.replace("-", " ")


def steps_of(deepest: Deepest) -> list[list[Any]]:
    """Return the sequence to a chain as JSON can hold it: for ``Nesting.follow``."""
    return [[step.operation, step.what, [list(interrupt) for interrupt in step.interrupts]] for step in deepest.history]
