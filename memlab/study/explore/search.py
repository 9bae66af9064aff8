"""Explore: breadth-first search over all sequences of operations on a tiny machine, with an interrupt possible at every trace point.

Used by FINDINGS.md (``python -m memlab.study.explore``), the tests, the bug zoo, the Nesting lab and chapter 10.  Imports choices, gauge, steps, survey, report.

A state is RAM in its canonical form (survey.py); a transition is one operation with the interrupts that come in it.  Every state that a transition
leads to is surveyed, so the first rule to break is found by a shortest sequence.  What a search covers is what its Report says, no more.
"""

from __future__ import annotations

import itertools
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, Final

from ...check_rules import Corruption
from ...machine import Machine
from .choices import DEFAULT, HANDLERS, OPERATIONS
from .expand import Edge, Expander, Plan, expanded
from .report import Broken, Deepest, Report
from .steps import History, Setup, Step

_CHUNK: Final = 32  # states that are expanded by one message to a worker
_SLICE: Final = 512  # transitions between two looks at the clock


class Search:
    """A search that can be run on: ``Search(design="as-written", interrupts=1).run(states=100_000)`` returns the Report so far.

    ``design``: "as-written" or "bounded".  ``interrupts``: int, how many an operation may meet, 0 or more.  ``operations``, ``handlers``: names out of
    OPERATIONS and HANDLERS; None for the usual ones.  ``orders``: int, the highest order that is asked for.  ``return_every``: from one state in so many
    everything is freed, to see whether all memory comes back; 0 for none.  ``machine``: Machine or a class derived from it, such as an animal of
    the bug zoo.  ``shape``: what it is booted with, in words of Machine's parameters; None for 32 pages of 256 bytes.  ``start``: steps that lead from
    the fresh machine to where the search starts, such as ``tight(design)``.
    ValueError or TypeError for a bad argument, with the list of names that exist.
    """

    def __init__(
        self,
        design: str = "as-written",
        interrupts: int = 0,
        operations: Iterable[str] | None = None,
        handlers: Iterable[str] | None = None,
        orders: int = 2,
        return_every: int = 16,
        machine: type[Machine] = Machine,
        shape: dict[str, Any] | None = None,
        start: Iterable[Step] = (),
    ) -> None:
        for value, what in ((interrupts, "interrupts"), (orders, "orders"), (return_every, "return_every")):
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{what} is a whole number, not {value!r}")
            if value < 0:
                raise ValueError(f"{what} is 0 or more, not {value}")
        names = _known(operations, OPERATIONS, "operation", DEFAULT), _known(handlers, HANDLERS, "handler", tuple(HANDLERS))
        setup = Setup(design, machine=machine) if shape is None else Setup(design, shape, machine)
        self.plan = Plan(setup, interrupts, *names, orders, return_every, _start(start))
        self._ids: dict[bytes, int] = {}
        self._expander = e = Expander(self.plan, self._ids)
        if orders > e.m.max_order:
            raise ValueError(f"orders is 0 to {e.m.max_order} on this machine, not {orders}")
        if not e.start:
            with suppress(Corruption):  # a rule that is broken from the start on is found by the first transition
                e.m.check()
                raise ValueError(
                    "a survey cannot look at the state that these steps lead to; what they do must be among the operations, and none that is tried for its depth alone"
                )
        self._ids[e.start] = 0
        self._parents, self._via = array("I", [0]), array("I", [0])  # of each state: where it was come from, and by which step
        self._steps: list[Step] = [Step("")]
        self._step_ids: dict[Step, int] = {self._steps[0]: 0}
        self._images = {0: e.start_image}  # of the states that are still to be expanded
        self._next, self._noted = 0, 0  # the state whose transitions are being tried, and how many of them were
        self._level, self._level_end = 0, 1
        self.report = Report(self.plan.setup.design, interrupts, states=1)

    def run(
        self,
        states: int | None = None,
        seconds: float | None = None,
        processes: int = 1,
        progress: Callable[[Report], object] | None = None,
    ) -> Report:
        """Search on until there are ``states`` states, ``seconds`` have passed, a rule broke or everything is tried; returns the Report.

        ``processes``: how many expand states at once; what is found does not depend on it.  ``progress``: called with the Report about once a second.
        An interrupt from the keyboard ends the search like a budget: the Report says what was covered.
        """
        if states is None and seconds is None:
            raise ValueError("a search wants a budget: states=100_000, or seconds=60")
        for value, what, kinds in ((states, "states", int), (seconds, "seconds", (int, float)), (processes, "processes", int)):
            if value is None and what != "processes":
                continue
            if not isinstance(value, kinds) or isinstance(value, bool):
                raise TypeError(f"{what} is a {'number' if what == 'seconds' else 'whole number'}, not {value!r}")
            if not value > 0:
                raise ValueError(f"{what} is more than 0, not {value}")
        begin, told, before = time.monotonic(), time.monotonic(), self.report.seconds
        try:
            for _ in self.slices(processes, states):
                now = time.monotonic()
                self.report.seconds = before + now - begin
                if progress and now - told >= 1:
                    told = now
                    progress(self.report)
                if seconds is not None and now - begin >= seconds:
                    self.report.stopped = f"after {seconds:g} seconds"
                    break
        except KeyboardInterrupt:
            self.report.stopped = "from the keyboard"
        self.report.seconds = before + time.monotonic() - begin
        return self.report

    def slices(self, processes: int = 1, states: int | None = None, every: int = _SLICE) -> Iterator[Report]:
        """Search on in slices of ``every`` transitions: yields the Report after each, and can be dropped at any of them."""
        r = self.report
        r.stopped = ""
        if states is not None and r.states >= states and not r.broken:
            r.stopped = f"at {r.states:,} states"
            yield r
            return
        for parent, edges in () if r.broken else self._expanded(processes):
            for edge in itertools.islice(edges, self._noted, None):
                self._note(parent, edge)
                self._noted += 1
                if r.broken or (states is not None and r.states >= states):
                    r.stopped = "" if r.broken else f"at {r.states:,} states"
                    yield r
                    return
                if r.transitions % every == 0:
                    yield r
            self._images.pop(parent, None)
            self._next, self._noted = parent + 1, 0
            if self._next == self._level_end:
                self._level, self._level_end = self._level + 1, r.states
                r.level = self._level
        r.complete = not r.broken
        yield r

    def history(self, state: int, *more: Step) -> History:
        """Return a shortest sequence to a state, and some steps more."""
        steps: list[Step] = []
        while state:
            steps.append(self._steps[self._via[state]])
            state = self._parents[state]
        return History(self.plan.setup, [*self.plan.start, *reversed(steps), *more])

    # -- the work behind it

    def _expanded(self, processes: int) -> Iterator[tuple[int, Iterable[Edge]]]:
        """Yield (state, its transitions) for every state that is still to be expanded, in order; states are added meanwhile."""
        if processes == 1:
            while self._next in self._images:
                yield self._next, self._expander.expand(self._images[self._next])
            return
        yield from expanded(self.plan, processes, self._images.get, self._next, _CHUNK)

    def _note(self, parent: int, edge: Edge) -> None:
        r = self.report
        r.transitions += 1
        step = edge.step
        kind = (step.operation, len(step.interrupts))
        known = r.deepest.get(kind)
        if known is None or edge.depth > known.depth:
            r.deepest[kind] = Deepest(edge.depth, self.history(parent, step))
        if edge.broken:
            r.broken = Broken(*edge.broken, self.history(parent, step))
            return
        if edge.key in self._ids:
            return
        self._ids[edge.key] = r.states
        self._images[r.states] = edge.image
        self._parents.append(parent)
        if step not in self._step_ids:
            self._step_ids[step] = len(self._steps)
            self._steps.append(step)
        self._via.append(self._step_ids[step])
        r.states += 1
        if edge.lost is not None:
            r.returned += 1
            if edge.lost > 0:
                r.lossy += 1
                r.losses.setdefault(edge.lost, self.history(r.states - 1))


def _start(steps: Iterable[Step]) -> tuple[Step, ...]:
    chosen = tuple(steps)
    for step in chosen:
        if not isinstance(step, Step):
            raise TypeError(f"a search starts with steps, as tight() gives them, not {step!r}")
        _known(step.operation, OPERATIONS, "operation", ())
        _known([name for _, name in step.interrupts] or None, HANDLERS, "handler", ())
    return chosen


def _known(names: Iterable[str] | None, table: dict[str, Any], what: str, usual: tuple[str, ...]) -> tuple[str, ...]:
    if names is None:
        return usual
    if isinstance(names, str):
        names = (names,)
    chosen = tuple(names)
    for name in chosen:
        if name not in table:
            raise ValueError(f"there is no {what} {name!r}; there are {', '.join(map(repr, table))}")
    if not chosen:
        raise ValueError(f"give at least one {what}; there are {', '.join(map(repr, table))}")
    return chosen
