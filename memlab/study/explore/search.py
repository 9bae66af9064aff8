"""Explore: breadth-first search over all sequences of operations on a tiny machine, with an interrupt possible at every trace point.

Used by FINDINGS.md (``python -m memlab.study.explore``), the tests, the bug zoo, the Nesting lab and chapter 10.  Imports choices, gauge, steps, survey, report.

A state is RAM in its canonical form (survey.py); a transition is one operation with the interrupts that come in it.  Every state that a transition
leads to is surveyed, so the first rule to break is found by a shortest sequence.  What a search covers is what its Report says, no more.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import time
import zlib
from array import array
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import suppress
from typing import Any, Final, NamedTuple, cast

from ...check_rules import Corruption
from ...machine import Machine
from ...memdesc import MemType
from ...ram import KernelBug
from ...structs import vm_stat
from .choices import DEFAULT, HANDLERS, OPERATIONS, survey_for
from .gauge import Gauge
from .report import Broken, Deepest, Report
from .steps import History, Setup, Step, bounded_call, do

_MOST_KEYS: Final = 300_000
_WINDOW: Final = 10  # bits, of zlib's
_SLAB_RUNS: Final = re.compile(b"[" + b"".join(re.escape(bytes([i << 4 | MemType.SLAB])) for i in range(16)) + b"]+")
_CHUNK: Final = 32  # states that are expanded by one message to a worker
_SLICE: Final = 512  # transitions between two looks at the clock


class Plan(NamedTuple):
    """What a search tries: where it starts, how many interrupts an operation may meet, and of what kinds."""

    setup: Setup = Setup()
    interrupts: int = 0
    operations: tuple[str, ...] = DEFAULT
    handlers: tuple[str, ...] = tuple(HANDLERS)
    orders: int = 2
    return_every: int = 16
    start: tuple[Step, ...] = ()


class Edge(NamedTuple):
    """One transition: its step, the key and packed image of the state it leads to, and what was noticed on the way."""

    step: Step
    key: bytes
    image: bytes
    depth: int
    broken: tuple[str, str] | None
    lost: int | None  # None: not tried


class Expander:
    """A machine that is put into one state after another, to try everything there.

    ``known``: keys of states whose images are not wanted; None for those that it found itself.
    """

    def __init__(self, plan: Plan, known: Container[bytes] | None = None) -> None:
        self.plan = plan
        self._found: set[bytes] = set()
        self._known = self._found if known is None else known
        self.m = m = plan.setup.boot()
        self.fresh_pages = m.free_pages_count
        m.touched[:] = b"\1" * len(m.touched)  # what free pages hold does not matter here
        self.survey = survey_for(m, plan.operations)
        for step in plan.start:
            do(m, step)
        # what of RAM matters, in bytes: the words of the kernel area that change, and the mem_map; then slabs' pages, which the mem_map names
        self._spans = _joined([*self.survey.spans, (m.MM, m.MM + m.nr_pages)])
        self.gauge = Gauge(m)
        self.whole = 8 * m.stat  # bytes, counters left out
        self._allocated_freeing = m.stat + vm_stat.pages_allocated_while_freeing.word
        form = self.survey.look()
        self.start = b"" if form is None else _digest(form)
        self._caches = m.caches
        self.start_image = _packed(self._raw())
        self._keys: dict[bytes, bytes] = {}  # of what RAM holds -> of its canonical form

    def expand(self, image: bytes) -> Iterator[Edge]:
        """Yield every transition from a state."""
        m, survey, plan = self.m, self.survey, self.plan
        self.unpack(image)
        form = survey.look() or b""
        here = m.map[: self.whole]
        before = _digest(form), here
        steps = [Step(name, what) for name in plan.operations for what in OPERATIONS[name].on(survey, plan.orders)]
        for plain in steps:
            schedules: list[tuple[tuple[int, str], ...]] = [()]
            while schedules:
                schedule = schedules.pop()
                m.map[: self.whole] = here
                yield self._try(plain._replace(interrupts=schedule), before)
                if len(schedule) < plan.interrupts:
                    schedules += [(*schedule, chance) for chance in reversed(self.gauge.chances)]

    def _try(self, step: Step, before: tuple[bytes, bytes]) -> Edge:
        """Do a step; return its edge.  ``before``: key and RAM of the state it starts from."""
        m, gauge, operation, plan = self.m, self.gauge, OPERATIONS[step.operation], self.plan
        gauge.reset(step, plan.handlers if len(step.interrupts) < plan.interrupts else ())
        counted = m.w[self._allocated_freeing]
        try:
            result = bounded_call(m, operation.run, m, step.what)
        except KernelBug as bug:
            if "kernel stack overflow" not in str(bug):
                return self._bad(step, "bug", f"{type(bug).__name__}: {bug}")
            result = None
        except Exception as error:  # noqa: BLE001 - a broken allocator may raise anything
            return self._bad(step, "bug", f"{type(error).__name__}: {error}")
        if operation.only_depth:
            return Edge(step, before[0], b"", gauge.depth, None, None)
        if operation.frees and (gauge.allocations or m.w[self._allocated_freeing] != counted):
            return self._bad(step, "allocating free", "a free called what allocates")
        raw = self._raw()
        digest = _digest(raw)
        key = self._keys.get(digest)
        if key is None or not self.survey.fixed():
            form = self.survey.look()
            if form is None:
                return self._bad(step, "rule", self._rules())
            if len(self._keys) > _MOST_KEYS:
                self._keys.clear()
            key = self._keys[digest] = _digest(form)
        if result is None and not operation.frees and not step.interrupts and key != before[0]:
            now = self._kept()
            after, m.map[: self.whole] = m.map[: self.whole], before[1]
            then = self._kept()
            m.map[: self.whole] = after
            if now != then:
                return self._bad(step, "failure", f"a failed allocation changed what is live or can be had: {then} became {now}")
        if key in self._known:
            return Edge(step, key, b"", gauge.depth, None, None)
        if self._known is self._found:
            self._found.add(key)
        image, depth, lost = _packed(raw), gauge.depth, None
        if plan.return_every and int.from_bytes(key[:4], "little") % plan.return_every == 0:
            chances = gauge.chances.copy()
            self.survey.look()
            try:
                lost = cast("int", bounded_call(m, self.lost))
            except Exception as error:  # noqa: BLE001 - as above
                return self._bad(step, "bug", f"{type(error).__name__} when all is freed after it: {error}")
            gauge.chances = chances
        return Edge(step, key, image, depth, None, lost)

    def _kept(self) -> tuple[Any, ...]:
        """Return what a failed allocation must leave as it is."""
        s = self.survey
        s.look()
        return sorted(s.blocks.items()), sorted(s.held), sorted(s.objects), s.spare_pages()

    def _bad(self, step: Step, kind: str, words: str) -> Edge:
        return Edge(step, b"", b"", self.gauge.depth, (kind, words), None)

    def _rules(self) -> str:
        """Return what is wrong with an image that the survey refused: what check() says, if it is not a word of which check() knows no rule."""
        try:
            self.m.check()
        except Corruption as corruption:
            return str(corruption)
        if not self.survey.fixed():
            return "kernel-area: a word of the kernel area was written that no operation changes"
        raise AssertionError("a survey refused an image in which check() finds nothing")

    def lost(self) -> int:
        """Free everything that is live, shrink, and return how many pages fewer are free than on the fresh machine."""
        m, s = self.m, self.survey
        self.gauge.reset(Step(""))
        for pfn, (_, kind) in sorted(s.blocks.items()):
            if kind == MemType.BUDDY:
                m.free_pages(pfn)
        for address in list(s.users):
            m.folio_put(address)
        for name, address in (*s.objects, *s.held):
            self._caches[name].free(address)
        m.shrink()
        return self.fresh_pages - m.free_pages_count

    def _raw(self) -> bytes:
        """Return what RAM holds that matters."""
        room = self.m.map
        parts = [room[a:b] for a, b in self._spans]
        parts += [room[a:b] for a, b in self._slab_pages()]
        return b"".join(parts)

    def unpack(self, image: bytes) -> None:
        """Put RAM into a state."""
        data, at = zlib.decompress(image, -_WINDOW), 0
        for a, b in itertools.chain(self._spans, self._late_slab_pages()):
            self.m.map[a:b] = data[at : at + b - a]
            at += b - a

    def _late_slab_pages(self) -> Iterator[tuple[int, int]]:
        """Yield what _slab_pages returns, asked when the first is wanted: the mem_map, which tells, is in place by then."""
        yield from self._slab_pages()

    def _slab_pages(self) -> list[tuple[int, int]]:
        """Return where in RAM the pages of slabs are, in bytes; neighbours are joined."""
        m = self.m
        types = m.map[m.MM << 3 : (m.MM + m.nr_pages) << 3 : 8]  # the lowest byte of each mem_desc
        return [(run.start() << m.PS, run.end() << m.PS) for run in _SLAB_RUNS.finditer(types)]


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return spans of words, which may touch, as spans of bytes, which do not."""
    found: list[tuple[int, int]] = []
    for a, b in sorted(spans):
        if found and found[-1][1] == a << 3:
            found[-1] = found[-1][0], b << 3
        else:
            found.append((a << 3, b << 3))
    return found


def _packed(raw: bytes) -> bytes:
    """Return bytes compressed; small tables suffice for so little, and are quickly set up."""
    packer = zlib.compressobj(1, zlib.DEFLATED, -_WINDOW, 2)
    return packer.compress(raw) + packer.flush()


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
        from .workers import expanded  # noqa: PLC0415 - there are no processes in a browser

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


def _digest(form: bytes) -> bytes:
    return hashlib.blake2b(form, digest_size=16).digest()


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
