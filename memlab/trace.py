"""Trace: what is recorded at the trace points -- call chains with the kernel's names.

Used through ``m.trace()``; probes.py calls what is here while a trace is on.  Imports recording and below.

Source: the email (its call chain).
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from .kernel import Kernel
from .recording import Recording


class _Listened(Protocol):
    """What a trace needs of a machine's probes: to be told of each call from ``listen`` to ``ignore``."""

    machine: Kernel
    traces: list[Trace]

    def listen(self, listeners: list[Any], who: object) -> None: ...
    def ignore(self, listeners: list[Any], who: object) -> None: ...


class _Frame(NamedTuple):
    depth: int
    name: str
    cache: str


class Call(_Frame):
    """One call: how deep (1 is the outermost of its context), the kernel's name of the function, and the cache it works on, or "".

    ``order``: unsigned int, asked for.  ``gfp``: gfp_t.  ``n``: how many (size_t).  ``size``: bytes.  Each None where the function takes none.
    ``result``: what it returned, as its caller in the kernel sees it (a pfn, an address, a list, or None for NULL).  ``failed``: it may fail, and did.
    ``context``: 0 for the task, n for the trace's nth interrupt.  ``level``: frames below it in all contexts, and itself.
    ``start``, ``end``: when it was called and returned, in calls and returns since the trace began (``end`` is 0 while it runs).
    """

    order: int | None = None
    gfp: int | None = None
    n: int | None = None
    size: int | None = None
    result: object = None
    failed: bool = False
    context: int = 0
    level: int = 0
    start: int = 0
    end: int = 0

    def __str__(self) -> str:
        return f"{self.name}({self.cache})"


class Arrival(NamedTuple):
    """One interrupt: its number, the call it came in, "call" or "return" of it, its CPU, and when (as Call's ``start``)."""

    number: int
    call: Call
    when: str
    cpu: int
    start: int

    def __str__(self) -> str:
        return f"interrupt {self.number} on CPU {self.cpu} at the {self.when} of {self.call}"


class Trace:
    """The calls of a ``with m.trace() as t:`` block, in order: ``t.calls``, ``t.max_depth``, and ``str(t)``, the chain as a tree.

    ``t.max_depth``: frames of the deepest single context; an interrupt's frames are not added to the task's.  ``t.interrupts``: each Arrival.
    ``t.recording``: None; with ``m.trace(frames=True)`` a Recording with a mark at each call and return, such as "new_slab(dentry) called".
    """

    def __init__(self, probes: _Listened, frames: bool = False) -> None:
        self._probes = probes
        self._frames = frames
        self._open: list[Call] = []
        self._contexts: list[tuple[int, int]] = [(0, 0)]  # (number of the interrupt, frames below it)
        self._time = 0
        self.calls: list[Call] = []
        self.interrupts: list[Arrival] = []
        self.max_depth = 0
        self.recording: Recording | None = None

    def enter(self, name: str, cache: str, given: dict[str, int | None]) -> None:
        """Note that a call begins.  ``given``: its arguments by name."""
        context, below = self._contexts[-1]
        call = Call(len(self._open) - below + 1, name, cache)
        call.order, call.gfp, call.n, call.size = given.get("order"), given.get("gfp"), given.get("n"), given.get("size")
        call.context, call.level, call.start = context, len(self._open) + 1, self._time
        self._time += 1
        self._open.append(call)
        self.max_depth = max(self.max_depth, call.depth)
        self.calls.append(call)
        if self.recording is not None:
            self.recording.mark(f"{call} called")

    def leave(self, result: object, failed: bool) -> None:
        """Note that a call returns."""
        call = self._open.pop()
        call.result, call.failed, call.end = result, failed, self._time
        self._time += 1
        if self.recording is not None:
            self.recording.mark(f"{call} returned")

    def interrupted(self, when: str, cpu: int) -> None:
        """Note that an interrupt comes in the innermost call."""
        number = len(self.interrupts) + 1
        self.interrupts.append(Arrival(number, self._open[-1], when, cpu, self._time))
        self._contexts.append((number, len(self._open)))

    def resumed(self) -> None:
        """Note that the interrupt's handler is done."""
        self._contexts.pop()

    def __enter__(self) -> Self:
        if self._frames:
            self.recording = Recording(self._probes.machine)
        self._probes.listen(self._probes.traces, self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._probes.ignore(self._probes.traces, self)
        if self.recording is not None:
            self.recording.end()

    def __str__(self) -> str:
        lines, told = [], 0
        for call in self.calls:
            for arrival in self.interrupts[told:]:
                if arrival.start <= call.start:
                    lines.append(f"{'  ' * arrival.call.level}-- {arrival}")
                    told += 1
            lines.append(f"{'  ' * (call.level - 1)}{call}")
        return "\n".join([*lines, *(f"{'  ' * arrival.call.level}-- {arrival}" for arrival in self.interrupts[told:])])

    def __repr__(self) -> str:
        return f"<Trace: {len(self.calls)} calls, {self.max_depth} deep>"
