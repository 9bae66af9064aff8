"""Recording: what RAM was at marked moments, kept as changed words, and RAM put back to such a moment for a look.

Used through ``m.trace(frames=True)`` and by the labs, which scrub through an operation.  While it records it keeps a copy of RAM to compare with;
afterwards only the words that changed.  Nothing of it exists, or costs anything, unless asked for.  Imports kernel and below.

    mark     0              1              2                     RAM as it was at mark 1 is RAM at the end,
    changes  | before 0     | 0 to 1       | 1 to 2     | rest   with the rest and the changes of mark 2 taken back
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, TracebackType
from typing import Any, Final, NamedTuple, Self, cast

from .kernel import Kernel
from .layout import Field, Struct
from .list_head import chain_add, init_list_head, list_add, list_add_tail, list_del, list_replace
from .ram import Ram

_CHUNK: Final = 512  # words that are compared at once
_WORD_BYTES: Final = 150  # that a dictionary needs for a word's index and value, about


class Change(NamedTuple):
    """One word of RAM that changed: its virtual address (as if HIGHMEM had addresses too), and its value before and after."""

    address: int
    old: int
    new: int


class Write(NamedTuple):
    """One word that is about to be written: the code of the core's function that does it, the word (its index in ``m.w``), its value before and after."""

    where: CodeType
    word: int
    old: int
    new: int


class Recording:
    """What RAM was at each mark: ``with Recording(m) as r: ...; r.mark("the block is taken")``; later ``with r.at(0): ...`` for a look.

    ``marks``: the words of each mark; ``len()``, how many.  Without a with block, ``end()`` ends it; it then keeps changed words only.
    """

    def __init__(self, machine: Ram) -> None:
        self._machine = machine
        self.marks: list[str] = []
        self._deltas: list[array[int]] = []  # index, old, new, index, old, new, ... that led to each mark
        self._last: dict[int, int] = {}  # the newest value of each word that ever changed
        self._pending: dict[int, tuple[int, int]] = {}  # what changed since the last mark: index -> (old, new)
        self._away = False
        self._copy: dict[int, bytes] | None = {}  # first word of each chunk -> its bytes; None once ended
        for at, words in self._chunks():
            self._copy[at] = machine.map[at << 3 : (at + words) << 3]

    def mark(self, words: str) -> None:
        """Mark this moment: remember it by some words, with what changed since the mark before.  ValueError once ended, or within ``at``."""
        if self._copy is None:
            raise ValueError("this recording has ended; a new Recording(m) takes marks again")
        if self._away:
            raise ValueError("RAM is shown as it was at another mark; leave that with block first")
        self._look()
        self.marks.append(words)
        self._deltas.append(array("Q", [n for i, (old, new) in sorted(self._pending.items()) for n in (i, old, new)]))
        self._pending.clear()

    def changes(self, k: int) -> list[Change]:
        """Return the words that changed between the mark before and mark ``k``, by address.  IndexError if there is no such mark."""
        delta, B = self._deltas[self._index(k)], self._machine.B
        return [Change(B + 8 * i, old, new) for i, old, new in _triples(delta)]

    @contextmanager
    def at(self, k: int) -> Iterator[None]:
        """Have RAM as it was at mark ``k`` within a with block, for looking only; then it is put back exactly, whatever happens in the block.

        IndexError if there is no such mark; ValueError if RAM is not as it was at the recording's end (the counters apart), so that mark ``k``
        cannot be shown.
        """
        k = self._index(k)
        if self._away:
            raise ValueError("RAM is shown as it was at another mark already; leave that with block first")
        if self._copy is not None:
            self._look()
        m = self._machine
        w = m.w
        counters = m._kernel_end - m._stat_bytes >> 3  # to the end of RAM
        if any(w[i] != new for i, new in self._last.items() if i < counters):
            raise ValueError("RAM has changed since this recording ended; go back to that state to look inside it")
        then = {i: old for i, (old, _) in self._pending.items()}
        for delta in reversed(self._deltas[k + 1 :]):
            then.update((i, old) for i, old, _ in _triples(delta))
        now = {i: w[i] for i in then}
        pages = {i >> m.WS for i in then if i < m.KA and not m.MM <= i < m.MM + m.mem_map_words}
        touched = {pfn: m.touched[pfn] for pfn in pages}
        self._away = True
        try:
            for pfn in pages:
                m.touched[pfn] = 1
            self._put(then)
            yield
        finally:
            self._put(now)
            for pfn, byte in touched.items():
                m.touched[pfn] = byte
            self._away = False

    @contextmanager
    def watch(self, told: Callable[[Write], object]) -> Iterator[None]:
        """Have ``told`` called before each word that the core writes in a with block, as it is written, so that it can mark the moment before.

        Writes of a value that is there already are told of too.  Slow: for single operations.
        """
        m = self._machine
        words, room = m.w, m.map

        def written(index: int, new: int) -> None:
            frame = sys._getframe(2)
            while frame.f_code in _CARRIERS and frame.f_back:
                frame = frame.f_back
            told(Write(frame.f_code, index, words[index], new))

        m.see(cast("Any", _Words(words, written)))
        m.map = cast("Any", _Bytes(room, written))
        try:
            yield
        finally:
            m.see(words)
            m.map = room

    @property
    def nbytes(self) -> int:
        """About how many bytes it keeps once it is ended."""
        return sum(8 * len(delta) for delta in self._deltas) + _WORD_BYTES * len(self._last)

    def end(self) -> None:
        """End the recording: no more marks, and the copy of RAM goes.  Does nothing the second time."""
        if self._copy is not None:
            self._look()
            self._copy = None

    def __len__(self) -> int:
        return len(self.marks)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.end()

    def __repr__(self) -> str:
        return f"<Recording: {len(self)} marks, {len(self._last)} words changed>"

    def _chunks(self) -> Iterator[tuple[int, int]]:
        """Yield (first word, words) of all of RAM that may not be zero: kernel area, mem_map, touched pages."""
        m = self._machine
        for start, stop in ((m.KA, len(m.w)), (m.MM, m.MM + m.mem_map_words)):
            for at in range(start, stop, _CHUNK):
                yield at, min(_CHUNK, stop - at)
        pfn = m.touched.find(b"\1")
        while pfn >= 0:
            yield pfn << m.WS, 1 << m.WS
            pfn = m.touched.find(b"\1", pfn + 1)

    def _look(self) -> None:
        """Add what changed since the last look to what is pending."""
        copy, m = cast("dict[int, bytes]", self._copy), self._machine
        for at, words in self._chunks():
            copy.setdefault(at, bytes(8 * words))  # a page that was not touched before was zero
        for at, before in copy.items():
            now = m.map[at << 3 : (at << 3) + len(before)]
            if now != before:
                copy[at] = now
                for i, (old, new) in enumerate(zip(memoryview(before).cast("Q"), memoryview(now).cast("Q"), strict=True), at):
                    if old != new:
                        self._pending[i] = self._pending.get(i, (old,))[0], new
                        self._last[i] = new

    def _put(self, values: dict[int, int]) -> None:
        """Write words of RAM, and have what is kept beside it follow."""
        for i, value in values.items():
            self._machine.w[i] = value
        self._machine.follow(values)

    def _index(self, k: int) -> int:
        if not isinstance(k, int) or not 0 <= k < len(self.marks):
            raise IndexError(f"this recording has marks 0 to {len(self.marks) - 1}, not {k!r}")
        return k


class _Words:
    """RAM as 64-bit words from ``first`` on, with somebody told of each write: stands in for the memoryview ``m.w`` and for the columns over it."""

    def __init__(self, words: memoryview[int], told: Callable[[int, int], None], first: int = 0) -> None:
        self._words, self._told, self._first = words, told, first

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            start, stop, step = at.indices(len(self._words))
            return _Words(self._words[start:stop], self._told, self._first + start) if step == 1 else self._words[at]
        return self._words[at]

    def __setitem__(self, index: int, value: int) -> None:
        self._told(self._first + index, value)
        self._words[index] = value

    def __len__(self) -> int:
        return len(self._words)

    def __iter__(self) -> Iterator[int]:
        return iter(self._words)


class _Bytes:
    """All of RAM as bytes, with somebody told of each word of a write: stands in for the mmap ``m.map``."""

    def __init__(self, room: Any, told: Callable[[int, int], None]) -> None:
        self._room, self._told = room, told

    def __getitem__(self, at: Any) -> Any:
        return self._room[at]

    def __setitem__(self, span: slice, data: bytes) -> None:
        for at in range(span.start & -8, span.stop, 8):
            word = bytearray(self._room[at : at + 8])
            first, last = max(at, span.start), min(at + 8, span.stop)
            word[first - at : last - at] = data[first - span.start : last - span.start]
            self._told(at >> 3, int.from_bytes(word, "little"))
        self._room[span] = data


def _triples(delta: array[int]) -> Iterator[tuple[int, int, int]]:
    words = iter(delta)
    return zip(words, words, words, strict=True)


# they write for whoever calls them
_CARRIERS: Final = frozenset(
    function.__code__
    for function in (
        *(Ram.write, Ram._zero, Kernel.fill, Kernel.count, Field.__set__, Struct.__setattr__),
        *(init_list_head, list_add, list_add_tail, list_del, list_replace, chain_add),
    )
)
