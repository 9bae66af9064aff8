"""The fault sweep: every call at every point that allocates is made to fail, one at a time, and nothing may be lost by it.

For each operation of the public face, from each of many states: run it once to count its calls at every trace point that may fail; then, for each of
those calls, put the state back, make that one call fail, and look.  If the operation failed: check() is clean, the state is equivalent to the one
before (see equivalence.py for what that means), and the same operation succeeds when tried again, if it would have before
(unless pages that were to be had became empty slabs of descriptors on the way, which the report counts).  If it found another way:
check() is clean, and freeing what it got gives a state equivalent to the one after the same without a fault.

    python -m memlab.study.faults            every operation from some hundred states
    python -m memlab.study.faults --seeds 9  from nine times as many

Used by the tests, chapter 10 and FINDINGS.  Imports equivalence, operations and the core.  Source: Documentation/fault-injection.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from time import perf_counter
from typing import Any, Final, NamedTuple

from ..cache_table import nr_slabs
from ..check import Corruption
from ..machine import Machine
from ..points import TRACE_POINTS
from ..ram import KernelBug, Snapshot
from .equivalence import Essence, differences, essence
from .operations import OPERATIONS, Step, Work, steps

MAY_FAIL: Final = tuple(name for name, may_fail in TRACE_POINTS.items() if may_fail)
DESIGNS: Final = ("as-written", "bounded")
SHAPES: Final[dict[str, dict[str, Any]]] = {
    "32 pages of 256 bytes": {"memory": "8K", "page_size": 256, "max_order": 4},
    "32 pages, 2 CPUs with page lists": {"memory": "8K", "page_size": 256, "max_order": 4, "cpus": 2, "pcp": True},
    "128 pages, HIGHMEM": {"memory": "32K", "page_size": 256, "max_order": 4, "highmem": "8K"},
    "2 nodes, 3 CPUs, DMA": {"memory": "64K", "page_size": 512, "max_order": 6, "nodes": 2, "cpus": 3, "dma": "8K"},
    "watermarks": {"memory": "64K", "page_size": 512, "max_order": 5, "watermarks": (4, 8, 12)},
    "64 pages of 4 KiB": {"memory": "256K"},
}
# what makes a state hard, as further steps
PRESSURES: Final[dict[str, tuple[str, ...]]] = {
    "": (),
    "no struct buddy": ("eat struct buddys",),
    "no struct slab": ("eat struct slabs",),
    "no descriptor": ("eat struct buddys", "eat struct slabs"),
    "no single page and no descriptor": ("keep low orders empty", "eat struct buddys", "eat struct slabs"),
    "tight": ("fill",),
}
_MOST_CALLS: Final = 12  # of one operation at one point: of more, these at both ends and some between are made to fail


class State(NamedTuple):
    """How a state is reached: the shape of the machine, its design, and the steps."""

    shape: str
    design: str
    steps: tuple[Step, ...]

    def work(self, kind: Callable[..., Machine] = Machine) -> Work:
        """Reach it, on a machine of class ``kind``."""
        work = Work(kind(**SHAPES[self.shape], design=self.design))
        for step in self.steps:
            work.do(step)
        return work


class Leak(NamedTuple):
    """What one fault did that it must not: the state, the operation, the call that failed, and what is wrong."""

    state: State
    operation: str
    at: str
    nth: int
    wrong: str

    def __str__(self) -> str:
        done = [f"  {i}. {step}" for i, step in enumerate(self.state.steps, 1)]
        fails = f"  {len(done) + 1}. {self.operation}, of which call {self.nth} at {self.at} fails"
        return "\n".join([f"{self.state.shape}, {self.state.design}:", *done, fails, f"  -> {self.wrong}"])


@dataclass
class Report:
    """What a sweep did: ``operations`` (name -> faults), ``points`` (name -> faults), ``states``, ``survived``, ``retried``, ``skipped``, ``leaks``.

    ``survived``: faults after which the operation found another way.  ``retried``: retries that succeeded, those among them whose RAM was that of one before.  ``skipped``: calls
    that were not made to fail, as the operation had very many at the point.  ``spent``: faults after which nothing was lost and yet the retry
    failed, as pages that were to be had had become empty slabs of descriptors (the smallest case is in the tests).  ``example``: the first leak, its way made as short as could be.
    """

    operations: Counter[str] = field(default_factory=Counter)
    points: Counter[str] = field(default_factory=Counter)
    states: int = 0
    survived: int = 0
    retried: int = 0
    skipped: int = 0
    spent: list[Leak] = field(default_factory=list)
    leaks: list[Leak] = field(default_factory=list)
    example: Leak | None = None

    @property
    def faults(self) -> int:
        """How many calls were made to fail."""
        return sum(self.points.values())

    def __str__(self) -> str:
        lines = [f"{name:24} {self.points[name]:9,} faults" for name in MAY_FAIL]
        lines += [
            f"{self.faults:,} faults at {sum(n > 0 for n in self.points.values())} points in {len(self.operations)} operations from {self.states:,} states",
            f"{self.survived:,} the operation got round; {self.faults - self.survived:,} it failed by, and {self.retried:,} retries succeeded",
            f"{self.skipped:,} calls left out, of operations with more than {3 * _MOST_CALLS} at one point",
            f"{len(self.spent)} retries failed, as pages had become empty slabs of descriptors",
            f"{len(self.leaks)} leaks",
        ]
        return "\n".join([*lines, *([str(self.example)] if self.example else [])])


def states(seeds: Iterable[int] = (0,), moments: Sequence[int] = (0, 20, 60), designs: Sequence[str] = DESIGNS) -> Iterator[State]:
    """Yield states: of each shape and design, after so many ``moments`` steps of a random work from each seed, under each of PRESSURES."""
    for design in designs:
        for shape in SHAPES:
            m = Machine(**SHAPES[shape], design=design)
            for seed in seeds:
                done = tuple(steps(m, seed, max(moments)))
                for moment in moments:
                    for pressure in PRESSURES.values():
                        yield State(shape, design, done[:moment] + tuple(Step(what, 0, seed) for what in pressure))


def sweep(
    over: Iterable[State],
    sample: int | None = None,
    kind: Callable[..., Machine] = Machine,
    progress: Callable[[Report], object] = lambda _report: None,
) -> Report:
    """Sweep the states ``over``: each operation of OPERATIONS from each, or ``sample`` of them, dealt as from a shuffled pack.

    ``kind``: the class of machine.  ``progress``: is called with the Report after each state.  Stops at the first leak of a state, and makes
    the first of all shorter.  Returns the Report.
    """
    report, dice, deck = Report(), Random(0), list[str]()  # noqa: S311 - nothing secret
    for state in over:
        work = state.work(kind)
        if sample is not None and len(deck) < sample:
            deck += dice.sample(list(OPERATIONS), len(OPERATIONS))
        names = list(OPERATIONS) if sample is None else [deck.pop(0) for _ in range(sample)]
        for name in names:
            found = list(_sweep_one(work, state, name, report))
            report.leaks += found
            if found and report.example is None:
                report.example = _shortened(found[0], kind)
        report.states += 1
        progress(report)
    return report


def storm(state: State, seed: int, length: int, at: str, every: int, kind: Callable[..., Machine] = Machine) -> tuple[int, list[str]]:
    """Go on from a state with ``length`` random steps while every ``every``-th call at a point fails; then free all.

    Returns how many calls failed and what is wrong: check() during and after, and whether each page is again one that nobody holds anything in.
    """
    work = state.work(kind)
    m = work.m
    fresh = essence(Work(kind(**SHAPES[state.shape], design=state.design)).m)
    wrong: list[str] = []
    with m.fail(at, every, every) as fault:
        for number, step in enumerate(steps(m, seed, length)):
            work.do(step)
            if number % 10 == 0:
                wrong += _checked(m)
    while work.held:
        work.free(*work.held.pop())
    return fault.count, [*wrong, *_checked(m), *differences(fresh, essence(m))]


def _sweep_one(work: Work, state: State, name: str, report: Report) -> Iterator[Leak]:
    """Make each call of one operation fail in turn; the state is the same afterwards.  Yields what is wrong."""
    m = work.m
    start, before = m.snapshot(), essence(m)
    with m.trace() as trace:
        got = work.call(name)
    calls = Counter(call.name for call in trace.calls)
    size, freed = _size(got), before
    if got is not None:
        work.free(name, got)
        freed = essence(m)
    m.restore(start)
    fine: list[Snapshot] = []
    for at in MAY_FAIL:
        chosen = _chosen(calls[at])
        report.skipped += calls[at] - len(chosen)
        for nth in chosen:
            report.points[at] += 1
            report.operations[name] += 1
            wrong = _fault(work, state, name, at, nth, size, before, freed, fine, report)
            m.restore(start)
            if wrong:
                yield Leak(state, name, at, nth, "; ".join(wrong))
    if not calls:
        report.operations[name] += 0


def _fault(
    work: Work, state: State, name: str, at: str, nth: int, size: int, before: Essence, freed: Essence, fine: list[Snapshot], report: Report
) -> list[str]:
    """Make one call fail, and return what is wrong afterwards.

    ``fine``: what RAM was after faults of the same operation by which nothing was lost; the same RAM again is not looked at again.
    """
    m = work.m
    slabs = _descriptor_slabs(m)
    try:
        with m.fail(at, nth) as fault:
            got = work.call(name)
        if not fault.fired:
            return ["the call that was to fail did not come"]
        if got is not None:
            report.survived += 1
            wrong = _checked(m)
            work.free(name, got)
            return wrong + differences(freed, essence(m))
        after = m.snapshot()
        if after in fine:
            report.retried += size > 0
            return []
        wrong = _checked(m) + differences(before, essence(m))
        more = _descriptor_slabs(m) > slabs
        if size and not wrong:
            again = work.call(name)
            if _size(again) < size:
                wrong = [f"the retry got {_size(again)} of {size}"]
                if more:
                    report.spent.append(Leak(state, name, at, nth, wrong[0]))
                    return []
                return wrong
            report.retried += 1
            work.free(name, again)
            wrong = differences(freed, essence(m))
        if not wrong:
            fine.append(after)
    except (KernelBug, ArithmeticError, LookupError, TypeError, ValueError) as error:
        return [f"{type(error).__name__}: {error}"]
    return wrong


def _checked(m: Machine) -> list[str]:
    try:
        m.check()
    except Corruption as broken:
        return [str(broken)]
    return []


def _descriptor_slabs(m: Machine) -> int:
    return nr_slabs(m, m.KC_BUDDY) + nr_slabs(m, m.KC_SLAB)


def _size(got: Any) -> int:
    return len(got) if isinstance(got, list) else int(got is not None)


def _chosen(n: int) -> list[int]:
    """Return which of ``n`` calls are made to fail: all, or of very many those at both ends and as many between."""
    if n <= 3 * _MOST_CALLS:
        return list(range(1, n + 1))
    between = range(_MOST_CALLS, n - _MOST_CALLS, (n - 2 * _MOST_CALLS) // _MOST_CALLS)
    return sorted({*range(1, _MOST_CALLS + 1), *between, *range(n - _MOST_CALLS + 1, n + 1)})


def _shortened(leak: Leak, kind: Callable[..., Machine]) -> Leak:
    """Leave out steps as long as the operation leaks at the same point."""
    part = max(1, len(leak.state.steps) // 2)
    while part:
        at = 0
        while at < len(leak.state.steps):
            fewer = leak.state._replace(steps=leak.state.steps[:at] + leak.state.steps[at + part :])
            found = next((other for other in _sweep_one(fewer.work(kind), fewer, leak.operation, Report()) if other.at == leak.at), None)
            if found:
                leak = found
            else:
                at += part
        part //= 2
    return leak


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sweep as ``arguments`` (of the process, if None) say and print the report; returns 1 if there is a leak."""
    parser = argparse.ArgumentParser(prog="python -m memlab.study.faults", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seeds", type=int, default=1, help="random works from which states are taken (default 1)")
    parser.add_argument("--sample", type=int, help="operations tried from each state (default: all of them)")
    parser.add_argument("--design", choices=DESIGNS, help="one design only")
    chosen = parser.parse_args(arguments)
    if chosen.seeds < 1 or (chosen.sample is not None and not 1 <= chosen.sample <= len(OPERATIONS)):
        parser.error(f"--seeds is 1 or more, --sample 1 to {len(OPERATIONS)}")
    begin = perf_counter()

    def progress(report: Report) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{report.states:,} states, {report.faults:,} faults, {len(report.leaks)} leaks")

    report = sweep(states(range(chosen.seeds), designs=[chosen.design] if chosen.design else DESIGNS), chosen.sample, progress=progress)
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
    sys.stdout.write(f"{report}\n")
    sys.stderr.write(f"{perf_counter() - begin:.0f} seconds\n")
    return int(bool(report.leaks))


if __name__ == "__main__":
    sys.exit(main())
