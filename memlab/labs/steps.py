"""An operation recorded step by step, each step told in a sentence: every call, and every thing that the core does between calls.

``result, recording = steps(m, lambda: m.alloc_pages(0))``.  Used by the Bootstrap lab and the Machine lab.  Imports the core and figures' words;
never widgets.

A step is the words that one function of the core writes about one thing.  The core is watched as it writes and knows nothing of it:
what is in RAM when the step is over, and which function wrote, give the sentence.  The functions are named at the end of this file by themselves,
not by their names; one that is not there still makes a step, told by its name.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType
from typing import Final, TypeVar

from .. import cache_table, descriptors, page_alloc, slub, users
from ..addresses import address, pfn_of, word
from ..cache_table import free_objects, inuse, slab_pfn
from ..figures.blocks import block_of
from ..figures.picture import count
from ..gfp import GFP
from ..kmem_cache import DescriptorCache
from ..list_head import list_first
from ..machine import Machine
from ..memdesc import MemType
from ..recording import Recording, Write
from ..structs import kmem_cache, slab
from ..trace import Trace
from ..words import BUDDY_WORDS, LIST, SLAB_TYPE

T = TypeVar("T")
_SLAB_BYTES: Final = slab.used


def steps(m: Machine, work: Callable[[], T]) -> tuple[T, Recording]:
    """Do some work on the machine; return its result, and the recording of its steps."""
    told = _Steps(m)
    with told.record, told.record.watch(told.before), told:
        result = work()
        told.finish()
        told.record.mark("Done: that is all that was written.")
    return result, told.record


class _Steps(Trace):
    """Calls and writes as they come.  ``_key`` says what the writes since the last mark are about: a function, or what of ``take`` it is."""

    def __init__(self, m: Machine) -> None:
        super().__init__(m._probes)
        self.m, self.record = m, Recording(m)
        self._key: tuple[object, ...] | None = None
        self._writes: list[Write] = []
        self._split = 0  # the buddy of the block that was taken last
        self._asked: int | None = None  # the order that the simplest request, alloc_pages(order), asks for
        self._whole = False  # whether the block that was taken last has it, so that all is told at once

    def enter(self, name: str, cache: str, given: dict[str, int | None]) -> None:
        """Note that a call begins."""
        self.finish()
        super().enter(name, cache, given)
        simplest = name == "alloc_pages" and "desc" not in given and given.get("gfp") == GFP.KERNEL and given.get("node") is None
        self._asked = given.get("order") if simplest and not self.m.pcp else None
        self.record.mark(f"{self.calls[-1]} is called{self._found() if name == '__alloc_slab' else '.'}")

    def leave(self, result: object, failed: bool) -> None:
        """Note that a call returns."""
        self.finish()
        super().leave(result, failed)

    def before(self, write: Write) -> None:
        """Hear of a write before it is done; if it is about something new, the step before is over."""
        if write.word >= self.m.stat:
            return  # counters
        key = self._take_key(write) if write.where is page_alloc.take.__code__ else (write.where,)
        if key not in (None, self._key):
            self.finish()
            self._key = key
        self._writes.append(write)

    def finish(self) -> None:
        """Mark the step that is over, if it changed anything."""
        if self._key and any(write.old != write.new for write in self._writes):
            about = self._key[0]
            tell = _TELL.get(about)
            n = len({write.word for write in self._writes})
            name = about.co_name if isinstance(about, CodeType) else str(about)
            self.record.mark(tell(self) if tell else f"{name.lstrip('_')} writes {count(n, 'word')}.")
        self._key = None
        self._writes = []

    # -- what a write is about

    def _take_key(self, write: Write) -> tuple[object, ...] | None:
        """Tell apart what take does: the block leaves its list, each of its parts gets a buddy, and the mem_desc words are written.

        None: what the writes before were about.
        """
        m, i = self.m, write.word
        part = self._key[1] if self._key and self._key[0] == "part" else None
        if m.MM <= i < m.MM + m.nr_pages:
            return None if self._whole or (part and write.new & 15 == MemType.FREE) else ("mem_desc", i)
        b = self._buddy_at(i)
        if b and i - b not in (LIST, LIST + 1):  # flags, order, page; a neighbour's links are another's business
            return None if b == part else ("part", b)
        if part:
            return None
        if not (self._key and self._key[0] == "unlink"):
            self._split = word(write.old) - LIST
            self._whole = self._order(self._split) == self._asked
        return ("unlink",)

    def _buddy_at(self, i: int) -> int:
        """Return the struct buddy that word ``i`` is in (buddies fill their pages from the start), or 0."""
        m = self.m
        if i >= m.KA:
            return m.static_at if 0 <= i - m.static_at < BUDDY_WORDS else 0
        page = i >> m.WS << m.WS
        return page + (i - page) // BUDDY_WORDS * BUDDY_WORDS

    # -- sentences

    def _found(self) -> str:
        found = self.m._smallest(0, None)
        if found is None:
            return ": no block is free."
        e, k = found
        b = list_first(self.m, e.heads + 2 * k) - LIST
        return f": the smallest free block has order {k}, and starts at page {self._pfn(b)}."

    def unlink(self) -> str:
        if self._whole:
            return "The first block of that order leaves its free list, and its mem_desc words change type: from free to allocated."
        return f"The block of order {self._order(self._split)} at page {self._pfn(self._split)} is taken off its free list."

    def part(self) -> str:
        m, b = self.m, self._buddy_at(self._writes[0].word)
        pages, order = self._pages(b), self._order(b)
        if b == self._split:
            return f"The block is split. Its old struct buddy keeps the upper half, {pages}, which goes on free list {order}."
        host = b >> m.WS
        listed = m.desc_of[self._pfn(b)] == address(b) | MemType.FREE
        then = f", and it goes on free list {order}" if listed else ""
        own = ": the page holds its own struct buddy" if host == self._pfn(b) else ""
        return f"A new struct buddy on page {host} describes {pages}, order {order}{then}{own}."

    def mem_desc(self) -> str:
        m = self.m
        pfn, desc = self._writes[0].word - m.MM, self._writes[0].new
        if desc & 15 != SLAB_TYPE:
            return f"The mem_desc of page {pfn} now names its struct buddy, as that of an allocated block."
        host, at = divmod((desc & ~15) - m.B, m.page_size)
        yet = "" if m.virt_of[word(desc)] else ", which is not written yet"
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
        m, s = self.m, self._writes[0].word
        pfn, (host, at), used = slab_pfn(m, s), divmod(8 * s, m.page_size), inuse(m, s)
        if host == pfn:
            use = (
                "1 object on it is in use: this struct slab"
                if used == 1
                else f"{used} objects on it are in use: this struct slab, and the one after it"
            )
            return f"The first {_SLAB_BYTES} bytes of page {pfn} become its struct slab: the page describes itself. {use}."
        objects = f"; {count(used, 'object')} on it {'is' if used == 1 else 'are'} in use already" if used else ""
        return f"The struct slab at byte {at} of page {host} is written: it describes page {pfn}{objects}."

    def init_slab(self) -> str:
        m, s = self.m, self._writes[0].word - slab.slab_cache.word
        used, free = inuse(m, s), free_objects(m, s)
        return f"Page {slab_pfn(m, s)} joins {self._cache(m.cache_of[s])}: {used + free} objects, {used} in use, the other {free} linked into a freelist."

    def add_partial(self) -> str:
        m, s = self.m, self._writes[0].word - LIST
        return f"Page {slab_pfn(m, s)} goes on the partial list of {self._cache(m.cache_of[s])}: from now on its {count(free_objects(m, s), 'free object')} can be had."

    def activate(self) -> str:
        m, obj = self.m, self._writes[0].old
        s = self._writes[0].word - slab.freelist.word
        pfn, at = divmod(obj - m.B, m.page_size)
        return f"The CPU takes over the freelist of page {pfn}, and hands out its first object, of {self._cache(m.cache_of[s])}: the one at byte {at}."

    def refill(self) -> str:
        m, cache = self.m, self._open[-1].cache
        if any(m.kn_at <= write.word < m.cc_at for write in self._writes):
            return f"The first partial slab of {cache} leaves its list, to become the CPU's."
        return f"The CPU's slab of {cache} is full, and now belongs to nobody."

    def taken(self) -> str:
        return f"The CPU's freelist of {self._open[-1].cache} gives what was asked for."

    def remove_partial(self) -> str:
        return "Free memory is looked for, cache by cache: a slab leaves its partial list, to be sorted in anew."

    def deactivate(self) -> str:
        return "Free memory is looked for: the CPU gives back its slab, with what is left of its freelist."

    def hold(self) -> str:
        return "Whoever asked marks the descriptor as held: its first word says so, and the others are cleared."

    def slab_free(self) -> str:
        if self._open and self._open[-1].name == "kmem_cache_free":
            return f"The object that was taken from {self._open[-1].cache} goes back: there is nothing that it could describe."
        return self.give_back()

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

    def _pages(self, b: int) -> str:
        pfn, n = self._pfn(b), 1 << self._order(b)
        return f"page {pfn}" if n == 1 else f"pages {pfn} to {pfn + n - 1}"

    def _pfn(self, b: int) -> int:
        return pfn_of(self.m.page_of[b])

    def _order(self, b: int) -> int:
        return self.m.order_of[b] & 0xFFFF_FFFF

    def _host(self, b: int) -> str:
        return f"page {b >> self.m.WS}" if b < self.m.KA else "no page: it is the static one of boot"

    def _cache(self, cache: int) -> str:
        return str(kmem_cache(self.m, cache).name)


_TELL: Final[dict[object, Callable[[_Steps], str]]] = {
    "unlink": _Steps.unlink,
    "part": _Steps.part,
    "mem_desc": _Steps.mem_desc,
    page_alloc.get_pages.__code__: _Steps.give_back,
    page_alloc._merge.__code__: _Steps.free_one_page,
    slub._pop.__code__: _Steps.taken,
    slub.refill.__code__: _Steps.refill,
    slub.activate.__code__: _Steps.activate,
    slub.init_slab.__code__: _Steps.init_slab,
    slub.slab_free.__code__: _Steps.slab_free,
    slub.deactivate.__code__: _Steps.deactivate,
    cache_table.add_partial.__code__: _Steps.add_partial,
    cache_table.remove_partial.__code__: _Steps.remove_partial,
    descriptors.__alloc_slab.__code__: _Steps.alloc_slab,
    descriptors.describe.__code__: _Steps.describe,
    users._new_descriptor.__code__: _Steps.new_descriptor,
    users._alloc.__code__: _Steps.user,
    users.vmalloc.__code__: _Steps.user,
    DescriptorCache._hold.__code__: _Steps.hold,
}
