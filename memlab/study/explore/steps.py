"""Steps: the operations that a search tries on a small machine, what interrupts do meanwhile, and sequences of both that can be run again.

Used by explore.py, the bug zoo's tests, the Nesting lab and chapter 10.  Imports survey, consumers and the core.

An event is a call or a return of a trace point inside an operation, counted from 1: before the outermost call, and after its return, an interrupt is
just another operation.  A handler's own calls are no events: in a search, handlers are not interrupted in turn.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Final, NamedTuple

from ...cache_table import COUNTS, LIST, PARTIAL
from ...gfp import GFP
from ...machine import Machine
from ...memdesc import MemType
from ...probes import Handler
from ...ram import KernelBug
from ...trace import POINTS, Trace
from ..consumers import EatBuddies, EatSlabs, descriptor_cache, free_descriptors
from .survey import Survey

TINY: Final[dict[str, Any]] = {"memory": "8K", "page_size": 256, "max_order": 4}


_MOST_LINES: Final = 200_000  # of Python that a call may run on a machine that is not quite Machine; the real one's run a few hundred


class RunsAway(Exception):
    """A call on an allocator with a fault did not end within its budget."""


class Step(NamedTuple):
    """One operation: its name in OPERATIONS, what it works on, and the interrupts that come: (event, name in HANDLERS) each."""

    operation: str
    what: int = 0
    interrupts: tuple[tuple[int, str], ...] = ()


class Operation(NamedTuple):
    """Something that a search may do next.

    ``on``: what it can work on in the state a survey just saw.  ``code``: the same as Python.  ``only_depth``: a survey cannot look at what it
    makes, so that a search measures how deep it goes and then takes it back.
    """

    run: Callable[[Machine, int], object]
    on: Callable[[Survey, int], Iterator[int]]
    code: str
    frees: bool = False
    only_depth: bool = False


def _orders(_survey: Survey, most: int) -> Iterator[int]:
    yield from range(most + 1)


def _blocks(survey: Survey, _most: int) -> Iterator[int]:
    yield from (pfn for pfn, (_, kind) in survey.blocks.items() if kind == MemType.BUDDY)


def _larger_blocks(survey: Survey, _most: int) -> Iterator[int]:
    yield from (pfn for pfn, (order, kind) in survey.blocks.items() if kind == MemType.BUDDY and order)


def _once(_survey: Survey, _most: int) -> Iterator[int]:
    yield 0


def _held(cache: str) -> Callable[[Survey, int], Iterator[int]]:
    def one_of_each_page(survey: Survey, _most: int) -> Iterator[int]:
        m = survey.m
        found = {(address - m.B) >> m.PS: address for name, address in (*survey.held, *survey.objects) if name == cache}
        yield from found.values()

    return one_of_each_page


def _folios(survey: Survey, _most: int) -> Iterator[int]:
    yield from (address for address, kind in survey.users.items() if kind == MemType.FOLIO)


def _cache(name: str, short: str) -> dict[str, Operation]:
    return {
        f"take a {short}": Operation(lambda m, _: descriptor_cache(m, name).alloc(), _once, f'm.caches["{name}"].alloc()'),
        f"give back a {short}": Operation(
            lambda m, a: descriptor_cache(m, name).free(a), _held(name), f'm.caches["{name}"].free({{:#x}})', frees=True
        ),
    }


_FOREIGN: Final = 0xFFFF_C900_0000_0000 | MemType.FOLIO  # a descriptor that lies in no memory of the machine

OPERATIONS: Final[dict[str, Operation]] = {
    "alloc_pages": Operation(lambda m, order: m.alloc_pages(order), _orders, "m.alloc_pages({})"),
    "free_pages": Operation(lambda m, pfn: m.free_pages(pfn), _blocks, "m.free_pages({})", frees=True),
    "split_page": Operation(lambda m, pfn: m.split_page(pfn), _larger_blocks, "m.split_page({})"),
    **_cache("kmem_cache_slab", "struct slab"),
    **_cache("kmem_cache_buddy", "struct buddy"),
    "shrink": Operation(lambda m, _: m.shrink(), _once, "m.shrink()", frees=True),
    "get_free_page": Operation(lambda m, _: m.get_free_page(), _once, "m.get_free_page()"),
    "kmalloc": Operation(lambda m, _: m.kmalloc(64), _once, "m.kmalloc(64)"),
    "kfree": Operation(lambda m, a: m.kfree(a), _held("kmalloc-64"), "m.kfree({:#x})", frees=True),
    "folio_alloc": Operation(lambda m, order: m.folio_alloc(order), _orders, "m.folio_alloc({})"),
    "folio_put": Operation(lambda m, a: m.folio_put(a), _folios, "m.folio_put({:#x})", frees=True),
    "anonmem_alloc": Operation(lambda m, order: m.anonmem_alloc(order), _orders, "m.anonmem_alloc({})", only_depth=True),
    "filemem_alloc": Operation(lambda m, order: m.filemem_alloc(order), _orders, "m.filemem_alloc({})", only_depth=True),
    "pgtable_alloc": Operation(lambda m, _: m.pgtable_alloc(), _once, "m.pgtable_alloc()", only_depth=True),
    "vmalloc": Operation(lambda m, _: m.vmalloc(2 * m.page_size), _once, "m.vmalloc(2 * m.page_size)", only_depth=True),
    "alloc_pages_desc": Operation(
        lambda m, order: m.alloc_pages_desc(order, _FOREIGN), _orders, f"m.alloc_pages_desc({{}}, {_FOREIGN:#x})", only_depth=True
    ),
    "alloc_pages_bulk": Operation(lambda m, _: m.alloc_pages_bulk(3), _once, "m.alloc_pages_bulk(3)", only_depth=True),
    "kmem_cache_alloc_bulk": Operation(
        lambda m, _: m._view(m.KC_BUDDY).alloc_bulk(6), _once, 'm.caches["kmem_cache_buddy"].alloc_bulk(6)', only_depth=True
    ),
}
# what a search tries unless it is told otherwise, and what it can try besides
PAGES: Final = ("alloc_pages", "free_pages", "split_page")
DESCRIPTORS: Final = ("take a struct slab", "give back a struct slab", "take a struct buddy", "give back a struct buddy")
DEFAULT: Final = (*PAGES, *DESCRIPTORS, "shrink")
EVERYTHING: Final = tuple(OPERATIONS)
_CACHES: Final = {"kmalloc": "kmalloc-64", "folio_alloc": "folio"}


class HandlerKind(NamedTuple):
    """Something that an interrupt may do.  ``run(m, busy)``; ``busy``: a block that it must leave alone, or -1.

    ``of_use(m, busy, slabs, buddys)``: whether it would do anything now that no other kind does, with so many free struct slabs and buddys
    on hand (2 stands for more as well).
    """

    run: Callable[[Machine, int], object]
    of_use: Callable[[Machine, int, int, int], bool]


def _first_block(m: Machine, busy: int) -> int | None:
    """Return the first allocated block that the interrupted operation does not work on."""
    words = m.w[m.MM : m.MM + m.nr_pages].tolist()
    other = words[busy] if busy >= 0 else 0
    return next((pfn for pfn, word in enumerate(words) if word & 15 == MemType.BUDDY and word != other), None)


def _free_a_block(m: Machine, busy: int) -> None:
    pfn = _first_block(m, busy)
    if pfn is not None:
        m.free_pages(pfn)


def _eat_both(m: Machine, _busy: int) -> None:
    EatSlabs(m)()
    EatBuddies(m)()


def on_hand(m: Machine, ci: int) -> int:
    """Return how many objects of a cache of descriptors the running CPU can take before it must grow: 0, 1, or 2 for more (free_descriptors counts)."""
    w = m.w
    cpu_slab, link, _, _, node = m.shape_of[ci]
    p = m.percpu + cpu_slab
    n, obj = w[node], w[p]  # a partial slab has one at least
    if obj:
        n += 2 if w[(obj - link) >> 3] else 1
    active = w[p + 1]
    if active and n < 2:
        c = w[((active - m.B) >> 3) + COUNTS]
        n += (c >> 16 & 0xFFFF) - (c & 0xFFFF)
    if n == 1 and w[node]:
        c = w[((w[node + PARTIAL] - m.B) >> 3) - LIST + COUNTS]
        n = (c >> 16 & 0xFFFF) - (c & 0xFFFF)
    return min(n, 2)


HANDLERS: Final[dict[str, HandlerKind]] = {
    "eat all struct slabs": HandlerKind(lambda m, _: EatSlabs(m)(), lambda _m, _b, slabs, _: slabs > 0),
    "eat all struct buddys": HandlerKind(lambda m, _: EatBuddies(m)(), lambda _m, _b, _, buddys: buddys > 0),
    "eat all struct slabs and struct buddys": HandlerKind(_eat_both, lambda _m, _b, slabs, buddys: slabs > 0 < buddys),
    "eat a struct slab": HandlerKind(lambda m, _: EatSlabs(m, 1)(), lambda _m, _b, slabs, _: slabs > 1),
    "eat a struct buddy": HandlerKind(lambda m, _: EatBuddies(m, 1)(), lambda _m, _b, _, buddys: buddys > 1),
    "take a page": HandlerKind(lambda m, _: m.alloc_pages(0, GFP.ATOMIC), lambda m, _b, _s, _: m.free_pages_count > 0),
    "free a block": HandlerKind(_free_a_block, lambda m, busy, _s, _: _first_block(m, busy) is not None),
}


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


def survey_for(m: Machine, operations: Sequence[str]) -> Survey:
    """Return a Survey that knows the caches which these operations use."""
    return Survey(m, [cache for operation, cache in _CACHES.items() if operation in operations])


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
        self._m, self._busy, self._due, self._told = m, _busy(step), dict(step.interrupts), told
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


def _busy(step: Step) -> int:
    """Return the pfn of the block that a step works on while it can be interrupted, or -1."""
    return step.what if step.operation == "split_page" else -1


def _result(result: object) -> str:
    if result is None:
        return "None"
    if isinstance(result, int):
        return f"{result:#x}" if result > 1 << 32 else str(result)
    return str(result)


class Gauge:
    """Lean wrappers on a machine's trace points, for a search: the depth of the chain, numbered events, allocation within a free.

    ``depth``: frames of the deepest chain since ``reset()``; ``events``: how many; ``allocations``: calls of points that may fail.
    ``chances``: (event, handler) for each of ``handlers`` that would have been of use at an event after the last interrupt.
    """

    def __init__(self, m: Machine) -> None:
        self.m = m
        self.depth = self.events = self.allocations = self._now = 0
        self.chances: list[tuple[int, str]] = []
        self._due: dict[int, str] = {}
        self._last = 0
        self._handlers: list[tuple[str, Callable[[Machine, int, int, int], bool]]] = []
        self._busy = -1
        self._inside = self._watched = False
        for points in POINTS.values():
            for point in points:
                setattr(m, point.attribute, self._wrap(getattr(m, point.attribute), point.may_fail))

    def reset(self, step: Step, handlers: tuple[str, ...] = ()) -> None:
        """Begin to count for a step.  ``handlers``: whose chances are of interest."""
        self.depth = self.events = self.allocations = self._now = 0
        self.chances.clear()
        self._due = dict(step.interrupts)
        self._handlers = [(name, HANDLERS[name].of_use) for name in handlers]
        self._last = step.interrupts[-1][0] if step.interrupts else 0
        self._watched = bool(step.interrupts or handlers)
        self._busy = _busy(step)

    def _wrap(self, call: Callable[..., object], may_fail: bool) -> Callable[..., object]:
        def gauged(*args: Any, **kwargs: Any) -> object:
            if self._inside:
                return call(*args, **kwargs)
            now = self._now + 1
            self._now = now
            if now > self.depth:  # noqa: PLR1730 - a call of max() costs more than all else here
                self.depth = now
            if may_fail:
                self.allocations += 1
            if now > 1 and self._watched:
                self._event()
                result = call(*args, **kwargs)
                self._event()
            else:
                result = call(*args, **kwargs)
            self._now = now - 1
            return result

        return gauged

    def _event(self) -> None:
        self.events = event = self.events + 1
        if event in self._due:
            self._interrupt(HANDLERS[self._due[event]])
        elif self._handlers and event > self._last:
            m, busy = self.m, self._busy
            slabs, buddys = on_hand(m, m.KC_SLAB), on_hand(m, m.KC_BUDDY)
            self.chances += [(event, name) for name, of_use in self._handlers if of_use(m, busy, slabs, buddys)]

    def _interrupt(self, handler: HandlerKind) -> None:
        m = self.m
        kept = m._nesting, m._overflow, m._freeing
        m._nesting, m._overflow, m._freeing = 0, False, False
        m._interrupted += 1
        self._inside = True
        try:
            handler.run(m, self._busy)
        except KernelBug as bug:
            if "kernel stack overflow" not in str(bug):  # it got nothing, as a handler may
                raise
        finally:
            self._inside = False
            m._interrupted -= 1
            m._nesting, m._overflow, m._freeing = kept
