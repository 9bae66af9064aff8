"""Steps: operations with the interrupts that come meanwhile, and sequences of them from a fresh machine, that can be run again.

Used by gauge.py, search.py, the bug zoo, the Nesting lab and chapter 10.  Imports choices, consumers and the core.

An event is a call or a return of a trace point inside an operation, counted from 1: before the outermost call, and after its return, an interrupt is
just another operation.  A handler's own calls are no events: in a search, handlers are not interrupted in turn.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Final, NamedTuple

from ...machine import Machine
from ...probes import Handler
from ...trace import Trace
from ..consumers import free_descriptors
from .choices import HANDLERS, OPERATIONS

TINY: Final[dict[str, Any]] = {"memory": "8K", "page_size": 256, "max_order": 4}


_MOST_LINES: Final = 200_000  # of Python that a call may run on a machine that is not quite Machine; the real one's run a few hundred


class RunsAway(Exception):
    """A call on an allocator with a fault did not end within its budget."""


class Step(NamedTuple):
    """One operation: its name in OPERATIONS, what it works on, and the interrupts that come: (event, name in HANDLERS) each."""

    operation: str
    what: int = 0
    interrupts: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class Setup:
    """The machine that a search starts from.  ``machine``: Machine, or a class derived from it; ``shape``: what it is booted with."""

    design: str = "as-written"
    shape: dict[str, Any] = field(default_factory=lambda: dict(TINY))
    machine: type[Machine] = Machine

    def boot(self) -> Machine:
        """Return a fresh machine."""
        return self.machine(**self.shape, design=self.design)

    @property
    def code(self) -> str:
        """The same as Python."""
        size = ", ".join([repr(self.shape["memory"]), *(f"{k}={v!r}" for k, v in self.shape.items() if k != "memory")])
        return f"m = {self.machine.__name__}({size}, design={self.design!r})"


def tight(design: str = "as-written", below: int = 2, setup: Setup | None = None) -> tuple[Step, ...]:
    """Return the steps that make a fresh machine tight: no free block below order ``below``, no free struct buddy, no free struct slab.

    That is where the email's worst call chain starts.  ``setup``: of the machine, None for the usual one.
    """
    m = (setup or Setup(design)).boot()
    blocks = m.buddyinfo()[0, "Normal"]
    steps = [Step("alloc_pages", order) for order in range(below) for _ in range(blocks[order])]
    for step in steps:
        do(m, step)
    steps += [Step("take a struct buddy")] * free_descriptors(m, "kmem_cache_buddy")
    return (*steps, *[Step("take a struct slab")] * free_descriptors(m, "kmem_cache_slab"))


def bounded_call(m: Machine, call: Callable[..., object], *args: Any) -> object:
    """Return ``call(*args)``.  RunsAway if ``m`` is no plain Machine, and the call runs more lines of Python than any in order would.

    A damaged list may run in a circle, and it must not hang the search that is to find the damage.
    """
    if type(m) is Machine:
        return call(*args)
    left = _MOST_LINES

    def watch(_frame: FrameType, _event: str, _arg: object) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise RunsAway("the call does not end")
        return watch

    before = sys.gettrace()
    sys.settrace(watch)
    try:
        return call(*args)
    finally:
        sys.settrace(before)


class History(Sequence[Step]):
    """A sequence of steps from a fresh machine, that can be run again: ``print(history)``, ``m = history.run()``, ``t = history.trace()``."""

    def __init__(self, setup: Setup, steps: Sequence[Step]) -> None:
        self.setup, self.steps = setup, tuple(steps)

    def run(self, steps: int | None = None) -> Machine:
        """Return a machine on which the first ``steps`` steps, or all, were done."""
        m = self.setup.boot()
        for step in self.steps[:steps]:
            do(m, step)
        return m

    def trace(self) -> Trace:
        """Return the trace of the last step, after all steps before it.  ValueError if there is none."""
        if not self.steps:
            raise ValueError("this history has no step to trace")
        m = self.run(len(self) - 1)
        with m.trace() as t:
            do(m, self.steps[-1])
        return t

    def __getitem__(self, at: Any) -> Any:
        return self.steps[at]

    def __len__(self) -> int:
        return len(self.steps)

    def __str__(self) -> str:
        m = self.setup.boot()
        lines = [self.setup.code]
        for step in self.steps:
            told: list[str] = []
            try:
                result = _result(do(m, step, told))
            except Exception as error:  # noqa: BLE001 - an animal of the zoo may raise anything
                result = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            lines.append(f"{code_of(step):<44}  # {result}")
            lines += [f"    # {words}" for words in told]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<History: {len(self)} steps>"


def code_of(step: Step) -> str:
    """Return a step as Python (its interrupts left out)."""
    return OPERATIONS[step.operation].code.format(step.what)


def do(m: Machine, step: Step, told: list[str] | None = None) -> object:
    """Do a step, interrupts included, and return what its call returned.  ``told``: a list for words about each interrupt that came.

    What the machine raises, "kernel stack overflow" too, is raised; RunsAway if a machine with a fault does not come to an end.
    """
    operation, schedule = OPERATIONS[step.operation], _Schedule(m, step, told)
    if not step.interrupts:
        return bounded_call(m, operation.run, m, step.what)
    probes = m._probes
    probes.listen(probes.interrupts, schedule)
    try:
        return bounded_call(m, operation.run, m, step.what)
    finally:
        probes.ignore(probes.interrupts, schedule)


class _Schedule:
    """Interrupts at numbered events, for the probes of a machine: the slow way, which a trace can see."""

    cpu: int | None = None

    def __init__(self, m: Machine, step: Step, told: list[str] | None) -> None:
        self._m, self._busy, self._due, self._told = m, busy_block(step), dict(step.interrupts), told
        self._event, self._inside = 0, False
        self._now = ""

    def due(self, name: str, cache: str, when: str) -> bool:
        if self._inside or len(self._m._probes._chain) < 2:
            return False
        self._event += 1
        self._now = self._due.get(self._event, "")
        if self._now and self._told is not None:
            self._told.append(f"interrupt at the {when} of {name}({cache}), event {self._event}: {self._now}")
        return bool(self._now)

    @property
    def handler(self) -> Handler:
        def run() -> None:
            self._inside = True
            try:
                HANDLERS[self._now].run(self._m, self._busy)
            finally:
                self._inside = False

        return run


def busy_block(step: Step) -> int:
    """Return the pfn of the block that a step works on while it can be interrupted, or -1."""
    return step.what if step.operation == "split_page" else -1


def _result(result: object) -> str:
    if result is None:
        return "None"
    if isinstance(result, int):
        return f"{result:#x}" if result > 1 << 32 else str(result)
    return str(result)
