"""Expanding a state: every operation that can be done in it is tried, and what it leads to is surveyed.

Used by search.py, in its own process or in several.  Imports choices, gauge, steps and survey.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import signal
import zlib
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, Final, NamedTuple, cast

from ...check_rules import Corruption
from ...memdesc import MemType
from ...ram import KernelBug
from ...structs import vm_stat
from .choices import DEFAULT, HANDLERS, OPERATIONS, survey_for
from .gauge import Gauge
from .steps import Setup, Step, bounded_call, busy_block, do

_MOST_KEYS: Final = 300_000
_WINDOW: Final = 10  # bits, of zlib's
_SLAB_RUNS: Final = re.compile(b"[" + b"".join(re.escape(bytes([i << 4 | MemType.SLAB])) for i in range(16)) + b"]+")


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
        gauge.reset(step.interrupts, busy_block(step), plan.handlers if len(step.interrupts) < plan.interrupts else ())
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
        self.gauge.reset()
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


def _digest(form: bytes) -> bytes:
    return hashlib.blake2b(form, digest_size=16).digest()


# -- on several processes: what comes out is what one process would give, in the same order

_mine: list[Expander] = []  # of a worker process: one


def _begin(plan: Plan) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started the search ends it
    _mine[:] = [Expander(plan)]


def _expand(images: list[bytes]) -> list[list[Edge]]:
    return [list(_mine[0].expand(image)) for image in images]


def expanded(
    plan: Plan, processes: int, image: Callable[[int], bytes | None], first: int, chunk: int
) -> Iterator[tuple[int, Iterable[Edge]]]:
    """Yield (state, its transitions) in order of states, from ``first`` on.  ``image``: of a state, None if there is no such state yet."""
    from concurrent.futures import ProcessPoolExecutor  # noqa: PLC0415 - there are no processes in a browser

    with ProcessPoolExecutor(processes, initializer=_begin, initargs=(plan,)) as pool:
        waiting: deque[tuple[list[int], Future[list[list[Edge]]]]] = deque()
        try:
            while True:
                while len(waiting) < 2 * processes:
                    ids: list[int] = []
                    while len(ids) < chunk and image(first) is not None:
                        ids.append(first)
                        first += 1
                    if not ids:
                        break
                    waiting.append((ids, pool.submit(_expand, [image(i) or b"" for i in ids])))
                if not waiting:
                    return
                ids, future = waiting.popleft()
                yield from zip(ids, future.result(), strict=True)
        finally:
            for _, future in waiting:
                future.cancel()
