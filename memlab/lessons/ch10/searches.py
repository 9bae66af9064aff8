"""What chapter 10 runs and prints: its searches, its hunts in the bug zoo, its sweep of faults; without times and rates, the same on every machine.

Used by the chapter's other files and its notebook.  Imports study and the core.
"""

from __future__ import annotations

from collections import Counter
from functools import cache

from ...check_rules import Corruption
from ...machine import Machine
from ...study.explore.choices import DEFAULT, OPERATIONS
from ...study.explore.report import Report
from ...study.explore.search import Search
from ...study.explore.steps import History, Setup, Step, tight
from ...study.explore.survey import Survey
from ...study.zoo import ANIMALS

STATES = 1000  # that the chapter's searches find, so that all of them together take a few seconds


@cache
def searched(design: str, interrupts: int = 0) -> Report:
    """Return the report of the chapter's search of a design; without interrupts, everything is freed from each state."""
    return Search(design, interrupts, return_every=16 if interrupts else 1).run(STATES)


@cache
def hunted(name: str, states: int = STATES) -> Report:
    """Return the report of the hunt for an animal of the zoo that is given up after so many states."""
    return ANIMALS[name].hunt(states)


@cache
def undisturbed(name: str) -> Report:
    """Return the report of the hunt for an animal without interrupts."""
    animal = ANIMALS[name]
    return Search(animal.design, 0, animal.operations, None, animal.orders, 0, animal.machine, animal.shape).run(STATES)


def outcome(report: Report) -> str:
    """Return what a search covered and found, in a few lines."""
    return "\n".join(
        (
            f"{report.design}, interrupts: {report.interrupts}",
            f"  states: {report.states:,}, transitions: {report.transitions:,}, complete up to {report.level} operations",
            f"  broken: {report.broken.rules if report.broken else 'nothing'}",
            f"  alloc_pages: {report.depth('alloc_pages')} frames deep at most; free_pages: {report.depth('free_pages')}",
            f"  all freed from {report.returned} states: pages stayed away after {report.lossy}, at most {report.lost}",
        )
    )


def levels(search: Search) -> list[int]:
    """Return how many states a search found after 0, 1, 2, ... operations; the last level may be unfinished."""
    found = Counter(len(search.history(state)) for state in range(search.report.states))
    return [found[n] for n in range(len(found))]


def roll_call() -> str:
    """Return a table of the zoo: what a search of a thousand states found of each animal, after how many operations."""
    lines = [f"{'animal':12}{'states':>7}  operations  what broke"]
    for name in ANIMALS:
        report = hunted(name)
        broken = report.broken
        if broken is None:
            lines.append(f"{name:12}{report.states:7,}              nothing: it got away")
        else:
            rule = ANIMALS[name].rule
            lines.append(f"{name:12}{report.states:7,}  {len(broken.history):10}  {rule}")
    return "\n".join(lines)


def numbered(source: str) -> str:
    """Return a source with the numbers of its lines."""
    return "\n".join(f"{n:3}  {line}".rstrip() for n, line in enumerate(source.splitlines(), 1))


def alive(m: Machine) -> tuple[dict[int, int], int, int]:
    """Return what a failure must leave as it is: allocated blocks, pfn -> order; how many descriptors others hold; and how many pages are free or could be."""
    survey = Survey(m)
    survey.look()
    return {pfn: order for pfn, (order, _) in survey.blocks.items()}, len(survey.held), survey.spare_pages()


def tight_machine(design: str = "as-written") -> Machine:
    """Boot 32 pages of 256 bytes, and take the low orders and all free descriptors: where one request needs all that there is to need."""
    return History(Setup(design), tight(design)).run()


def sweep(design: str = "as-written") -> list[tuple[str, int, int, int]]:
    """Let each call of each trace point inside one alloc_pages(0) of a tight machine fail, one at a time, each on a machine of its own.

    Returns a row for each point: its name, how many calls were made to fail, after how many of them the request failed as well, and after how many of
    those all was as before.
    """
    rows = []
    for point in (name for name, may_fail in Machine.TRACE_POINTS.items() if may_fail):
        made = failed = same = 0
        while True:
            m = tight_machine(design)
            before = alive(m)
            with m.fail(point, made + 1) as fault:
                pfn = m.alloc_pages(0)
            if not fault.fired:
                break
            m.check()
            made, failed = made + 1, failed + (pfn is None)
            same += pfn is None and alive(m) == before
        if made:
            rows.append((point, made, failed, same))
    return rows


def all_freed(history: History) -> Machine:
    """Do a sequence, then free all that is live, in order of address, and shrink; returns the machine."""
    m = history.run()
    survey = Survey(m)
    survey.look()
    for pfn in sorted(survey.blocks):
        m.free_pages(pfn)
    for name, address in survey.held:
        m.caches[name].free(address)
    m.shrink()
    return m


def broken_rules(m: Machine) -> list[str]:
    """Return the names of the rules of check() that are broken."""
    try:
        m.check()
    except Corruption as corruption:
        return corruption.rules
    return []


def next_steps(survey: Survey) -> list[Step]:
    """Return the operations that a search would try next on the machine of a survey, with orders up to 2."""
    survey.look()
    return [Step(name, what) for name in DEFAULT for what in OPERATIONS[name].on(survey, 2)]


def sequences(n: int, *before: Step) -> int:
    """Return how many sequences of ``n`` operations there are on a fresh machine, after the steps ``before``."""
    m = History(Setup(), before).run()
    steps = next_steps(Survey(m))
    return len(steps) if n == 1 else sum(sequences(n - 1, *before, step) for step in steps)
