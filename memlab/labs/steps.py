"""An operation recorded step by step, each step told in a sentence: every call, and every thing that the core does between calls.

``result, recording = steps(m, lambda: m.alloc_pages(0))``.  Used by the Bootstrap lab.  Imports the core and figures' words; never widgets.

A step is the words that one function of the core writes about one thing.  The core is watched as it writes and knows nothing of it:
what is in RAM when the step is over, and which function wrote, give the sentence.  A function that is not in the list at the end of this file
still makes a step, told by its name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from ..cache_table import CACHE, COUNTS, FREELIST, LIST, VIRT
from ..figures.blocks import block_of
from ..figures.picture import count
from ..machine import Machine
from ..memdesc import MemType
from ..page_bugs import ORDER, PAGE
from ..recording import Recording, Write
from ..structs import buddy, kmem_cache
from ..trace import Trace

T = TypeVar("T")
_BUDDY_BYTES: Final = buddy.sizeof


def steps(m: Machine, work: Callable[[], T]) -> tuple[T, Recording]:
    """Do some work on the machine; return its result, and the recording of its steps."""
    told = _Steps(m)
    with told.record, told, told.record.watch(told.before):
        result = work()
        told.finish()
        told.record.mark("Done: that is all that was written.")
    return result, told.record


class _Steps(Trace):
    """Calls and writes as they come.  ``_key`` says what the writes since the last mark are about."""

    def __init__(self, m: Machine) -> None:
        super().__init__(m._probes)
        self.m, self.record = m, Recording(m)
        self._key: tuple[object, ...] | None = None
        self._writes: list[Write] = []
        self._split = 0  # ``list`` word of the buddy of the block that was taken last

    def enter(self, name: str, cache: str, given: dict[str, int | None]) -> None:
        """Note that a call begins."""
        self.finish()
        super().enter(name, cache, given)
        self.record.mark(f"{self.calls[-1]} is called{self._found() if name == '__alloc_slab' else '.'}")

    def leave(self, result: object, failed: bool) -> None:
        """Note that a call returns."""
        self.finish()
        super().leave(result, failed)

    def before(self, write: Write) -> None:
        """Hear of a write before it is done; if it is about something new, the step before is over."""
        if write.word >= self.m.stat:
            return  # counters
        key = self._take_key(write) if write.where == "_take" else (write.where,)
        if key not in (None, self._key):
            self.finish()
            self._key = key
        self._writes.append(write)

    def finish(self) -> None:
        """Mark the step that is over, if it changed anything."""
        if self._key and any(write.old != write.new for write in self._writes):
            name = str(self._key[0])
            tell = _TELL.get(name)
            n = len({write.word for write in self._writes})
            self.record.mark(tell(self) if tell else f"{name.lstrip('_')} writes {count(n, 'word')}.")
        self._key = None
        self._writes = []

    # -- what a write is about

    def _take_key(self, write: Write) -> tuple[object, ...] | None:
        """Tell apart what _take does: the block leaves its list, each of its parts gets a buddy, and the mem_desc words are written.

        None: what the writes before were about.
        """
        m, i = self.m, write.word
        part = self._key[1] if self._key and self._key[0] == "part" else None
        if m.MM <= i < m.MM + m.nr_pages:
            return None if part and write.new & 15 == MemType.FREE else ("mem_desc", i)
        base = self._buddy_at(i)
        if base and i - base not in (0, 1):  # flags, order, page; a neighbour's links are another's business
            return None if base == part else ("part", base)
        if part:
            return None
        if not (self._key and self._key[0] == "unlink"):
            self._split = write.old - m.B >> 3
        return ("unlink",)

    def _buddy_at(self, i: int) -> int:
        """Return the ``list`` word of the struct buddy that word ``i`` is in (buddies fill their pages from the start), or 0."""
        m = self.m
        if i >= m.KA:
            start = m.static_at
            return start + 1 if 0 <= i - start < _BUDDY_BYTES // 8 else 0
        page = i >> m.WS << m.WS
        return page + (i - page) // (_BUDDY_BYTES // 8) * (_BUDDY_BYTES // 8) + 1

    # -- sentences

    def _found(self) -> str:
        found = self.m._smallest(0, None)
        if found is None:
            return ": no block is free."
        e, k = found
        li = self.m.w[e.heads + 2 * k] - self.m.B >> 3
        return f": the smallest free block has order {k}, and starts at page {self._pfn(li)}."

    def unlink(self) -> str:
        return f"The block of order {self._order(self._split)} at page {self._pfn(self._split)} is taken off its free list."

    def part(self) -> str:
        m, li = self.m, self._writes[0].word
        base = self._buddy_at(li)
        pages, order = self._pages(base), self._order(base)
        if base == self._split:
            return f"The block is split. Its old struct buddy keeps the upper half, {pages}, which goes on free list {order}."
        host = base >> m.WS
        listed = m.w[m.MM + self._pfn(base)] == m.B + 8 * (base - 1) | MemType.FREE
        then = f", and it goes on free list {order}" if listed else ""
        own = ": the page holds its own struct buddy" if host == self._pfn(base) else ""
        return f"A new struct buddy on page {host} describes {pages}, order {order}{then}{own}."

    def mem_desc(self) -> str:
        m = self.m
        pfn, word = self._writes[0].word - m.MM, self._writes[0].new
        kind = MemType(word & 15)
        if kind is not MemType.SLAB:
            return f"The mem_desc of page {pfn} now names its struct buddy, as that of an allocated block."
        host, at = divmod((word & ~15) - m.B, m.page_size)
        yet = "" if m.w[(word & ~15) - m.B + 8 * VIRT >> 3] else ", which is not written yet"
        itself = f"page {pfn} itself" if host == pfn else f"page {host}"
        return f"The mem_desc of page {pfn} now names a struct slab at byte {at} of {itself}{yet}."

    def alloc_slab(self) -> str:
        m = self.m
        one, two = (self._buddy_at(i) for i in dict.fromkeys(w.word for w in self._writes))
        return (
            f"The two descriptors change places: the old one, on {self._host(one)}, describes page {self._pfn(one)}, "
            f"and the new one, on page {two >> m.WS}, page {self._pfn(two)}: its own."
        )

    def describe(self) -> str:
        m, si = self.m, self._writes[0].word
        pfn, (host, at) = m.w[si + VIRT] - m.B >> m.PS, divmod(8 * si, m.page_size)
        used = m.w[si + COUNTS] & 0xFFFF
        if host == pfn:
            use = (
                "1 object on it is in use: this struct slab"
                if used == 1
                else f"{used} objects on it are in use: this struct slab, and the one after it"
            )
            return f"The first {8 * (CACHE + 1)} bytes of page {pfn} become its struct slab: the page describes itself. {use}."
        objects = f"; {count(used, 'object')} on it {'is' if used == 1 else 'are'} in use already" if used else ""
        return f"The struct slab at byte {at} of page {host} is written: it describes page {pfn}{objects}."

    def init_slab(self) -> str:
        m, si = self.m, self._writes[0].word - CACHE
        counts = m.w[si + COUNTS]
        used, objects = counts & 0xFFFF, counts >> 16 & 0xFFFF
        pfn = m.w[si + VIRT] - m.B >> m.PS
        return f"Page {pfn} joins {self._cache(m.w[si + CACHE])}: {objects} objects, {used} in use, the other {objects - used} linked into a freelist."

    def add_partial(self) -> str:
        si = self._writes[0].word - LIST
        free = (self.m.w[si + COUNTS] >> 16 & 0xFFFF) - (self.m.w[si + COUNTS] & 0xFFFF)
        pfn = self.m.w[si + VIRT] - self.m.B >> self.m.PS
        return f"Page {pfn} goes on the partial list of {self._cache(self.m.w[si + CACHE])}: from now on its {count(free, 'free object')} can be had."

    def activate(self) -> str:
        m, obj = self.m, self._writes[0].old
        si = self._writes[0].word - FREELIST
        pfn, at = divmod(obj - m.B, m.page_size)
        what = self._cache(m.w[si + CACHE])
        return f"The CPU takes over the freelist of page {pfn}, and hands out its first object, of {what}: the one at byte {at}."

    def refill(self) -> str:
        m, words = self.m, {write.word for write in self._writes}
        cache = self._open[-1].cache
        if any(m.kn_at <= i < m.cc_at for i in words):
            return f"The first partial slab of {cache} leaves its list, to become the CPU's."
        return self.taken() if len(words) == 1 else f"The CPU's slab of {cache} is full, and now belongs to nobody."

    def taken(self) -> str:
        return f"The CPU's freelist of {self._open[-1].cache} gives what was asked for."

    def remove_partial(self) -> str:
        return "Free memory is looked for, cache by cache: a slab leaves its partial list, to be sorted in anew."

    def deactivate(self) -> str:
        return "Free memory is looked for: the CPU gives back its slab, with what is left of its freelist."

    def freed(self) -> str:
        return f"The object that was taken from {self._open[-1].cache} goes back: there is nothing that it could describe."

    def alloc_pages(self) -> str:
        return "The first block of that order leaves its free list, and its mem_desc words change type: from free to allocated."

    def hold(self) -> str:
        return "Whoever asked marks the descriptor as held: its first word says so, and the others are cleared."

    def slab_free(self) -> str:
        return self.freed() if self._open and self._open[-1].name == "kmem_cache_free" else self.give_back()

    def give_back(self) -> str:
        return "Descriptors that are not needed after all go back to kmem_cache_buddy."

    def free_one_page(self) -> str:
        m = self.m
        pfns = [write.word - m.MM for write in self._writes if m.MM <= write.word < m.MM + m.nr_pages]
        block = block_of(m, min(pfns)) if pfns else None
        if block is None or block.order is None:
            return "A block goes back to the free pages."
        return f"The block of order {block.order} at page {block.start} is free again, and goes on free list {block.order}."

    def new_descriptor(self) -> str:
        return "The new descriptor is cleared."

    def user(self) -> str:
        return "The new descriptor is filled in: what it stands for, and where its pages' struct buddies are."

    def _pages(self, li: int) -> str:
        pfn, n = self._pfn(li), 1 << self._order(li)
        return f"page {pfn}" if n == 1 else f"pages {pfn} to {pfn + n - 1}"

    def _pfn(self, li: int) -> int:
        return self.m.w[li + PAGE] - self.m.V >> 3

    def _order(self, li: int) -> int:
        return self.m.w[li + ORDER] & 0xFFFF_FFFF

    def _host(self, li: int) -> str:
        return f"page {li >> self.m.WS}" if li < self.m.KA else "no page: it is the static one of boot"

    def _cache(self, address: int) -> str:
        return str(kmem_cache(self.m, address).name)


_TELL: Final[dict[str, Callable[[_Steps], str]]] = {
    "unlink": _Steps.unlink,
    "part": _Steps.part,
    "mem_desc": _Steps.mem_desc,
    "_alloc_slab": _Steps.alloc_slab,
    "_describe": _Steps.describe,
    "_init_slab": _Steps.init_slab,
    "_add_partial": _Steps.add_partial,
    "_activate": _Steps.activate,
    "_refill": _Steps.refill,
    "_kmem_cache_alloc": _Steps.taken,
    "_kmem_cache_alloc_bulk": _Steps.taken,
    "alloc_pages": _Steps.alloc_pages,
    "_hold": _Steps.hold,
    "_remove_partial": _Steps.remove_partial,
    "_deactivate": _Steps.deactivate,
    "_kmem_cache_free": _Steps.freed,
    "_chain": _Steps.give_back,
    "_slab_free": _Steps.slab_free,
    "_free_one_page": _Steps.free_one_page,
    "_new_descriptor": _Steps.new_descriptor,
    "_user_alloc": _Steps.user,
    "vmalloc": _Steps.user,
}
