"""Where descriptors come from and go: the place at which the page allocator and SLUB need each other, and what makes that end.

Used by slub.py (alloc_slab_page), page_alloc.py (_give_back) and Machine (shrink, boot).  Imports slub and below.

A new slab of            gets its struct slab              and its pages
  an ordinary cache      from kmem_cache_slab              from alloc_pages
  kmem_cache_slab        on its own first bytes            the smallest block there is: __alloc_slab
  kmem_cache_buddy       from kmem_cache_slab              as written: from alloc_pages; bounded: carved, which calls nothing

Beyond the email (the design notes say why): in the bounded design kmem_cache_buddy grows by carving, and a descriptor may move to another
slab ("evacuation") so that the page it pins can go.

Sources: the email (alloc_slab_page, __alloc_slab); mm/slub.c for the names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .gfp import GFP, NESTED_STRIP
from .list_head import list_replace
from .memdesc import MemType
from .page_bugs import BUDDY, FLAGS, FREE, ORDER, PAGE
from .slub import (
    CACHE,
    CACHE_WORDS,
    COUNTS,
    CPU_ROW,
    CPU_SLAB,
    FREELIST,
    FROZEN,
    LIST,
    NR_SLABS,
    OFFSET,
    ORDER_SHIFT,
    OWN,
    SERIAL,
    SIZE,
    SLAB_BUDDY,
    SLAB_TYPE,
    VIRT,
    Slub,
)
from .slub_size import SLAB
from .structs import HELD, NR_CACHES, UNUSED, buddy, slab
from .zone import Entry

BUDDY_WORDS: Final = buddy.sizeof // 8
SLAB_WORDS: Final = slab.sizeof // 8
_ZONE_FLAGS: Final = {SLAB.CACHE_DMA: GFP.DMA, SLAB.CACHE_DMA32: GFP.DMA32}
# types whose descriptor names its block's buddy at one fixed place
_NAMES_BUDDY: Final = frozenset({MemType.SLAB, MemType.FOLIO, MemType.ANONMEM, MemType.FILEMEM, MemType.PGTABLE})


class Descriptors(Slub):
    """SLUB with the two caches of descriptors, ``KC_BUDDY`` and ``KC_SLAB``, and both designs."""

    # -- growing

    def _alloc_slab_page(self, ci: int, gfp: int, node: int | None) -> int:
        """alloc_slab_page: a struct slab from kmem_cache_slab, then pages that it describes from the start.  Returns si or 0.

        Tries the cache's preferred order, then the smallest.  Unmade in reverse order when no pages can be had.
        """
        if ci == self.KC_SLAB:
            return self._alloc_slab(gfp & ~NESTED_STRIP, node)
        w, B = self.w, self.B
        address = self._kmem_cache_alloc(self.KC_SLAB, gfp & ~NESTED_STRIP, node)
        if not address:
            return 0
        desc, used = address | SLAB_TYPE, 0
        cache = self._cache(ci)
        order = cache.order
        if ci == self.KC_BUDDY and self.bounded:
            li, used = self._carve(gfp & ~NESTED_STRIP, node, desc)
        else:
            zone = sum(bit for flag, bit in _ZONE_FLAGS.items() if cache.flags & flag)
            gfp = gfp & ~(NESTED_STRIP & ~GFP.THISNODE) | zone
            li = self._alloc_pages(order, gfp | GFP.NOWARN | GFP.NORETRY, node, desc)
            if not li and cache.min_order < order and not self._overflow:
                order = cache.min_order
                li = self._alloc_pages(order, gfp, node, desc)
        if not li:
            self._kmem_cache_free(self.KC_SLAB, address)
            return 0
        return self._describe((address - B) >> 3, li, order, used)

    def _alloc_slab(self, gfp: int, node: int | None) -> int:
        """__alloc_slab: a slab for kmem_cache_slab itself, from the smallest block there is.  Returns si or 0.  Calls nothing that allocates.

        Of order 0: the page describes itself, by a struct slab in its first bytes.  Of a higher order: its first page does so and holds a
        second struct slab, for the second page, which joins kmem_cache_buddy and holds the buddies of all the parts of the block.
        Locks in Linux: zone->lock throughout.
        """
        found = self._smallest_or_reclaim(gfp, node)
        if found is None:
            return 0
        w, B, V = self.w, self.B, self.V
        e, k = found
        pfn = (w[((w[e.heads + 2 * k] - B) >> 3) + PAGE] - V) >> 3
        si = pfn << self.WS
        desc = B + 8 * si | SLAB_TYPE
        if k == 0:
            return self._describe(si, self._take(e, 0, 0, [], desc), 0, 1)
        second = si + SLAB_WORDS
        page2 = pfn + 1 << self.WS
        li = self._take(e, k, 0, self._objects_of_page(page2, k), desc)
        li2 = self._take(e, 0, 0, [], B + 8 * second | SLAB_TYPE)
        if k == 1:  # the old descriptor stays with the first page; page 2 describes itself
            li, li2 = li2, li
            w[li + PAGE], w[li2 + PAGE] = V + 8 * pfn, V + 8 * (pfn + 1)
        self._init_slab(self.KC_BUDDY, self._describe(second, li2, 0, k))
        self._add_partial(second, self._node_of(self.KC_BUDDY, second))
        return self._describe(si, li, 0, 2)

    def _carve(self, gfp: int, node: int | None, desc: int) -> tuple[int, int]:
        """Get a page for kmem_cache_buddy without calling anything that allocates: an order-0 page as it is, or the first page of the
        smallest block, which then holds the buddies of the block's parts.  Returns (li, buddies used on it) or (0, 0).
        """
        found = self._smallest_or_reclaim(gfp, node)
        if found is None:
            return 0, 0
        e, k = found
        page = (self.w[((self.w[e.heads + 2 * k] - self.B) >> 3) + PAGE] - self.V >> 3) << self.WS
        return self._take(e, k, 0, self._objects_of_page(page, k), desc), k

    def _objects_of_page(self, page: int, n: int) -> list[int]:
        """Return the ``list`` words of the first ``n`` buddies that will lie in the page at word ``page``."""
        self.touched[page >> self.WS] = 1
        return [page + i * BUDDY_WORDS + buddy.list.word for i in reversed(range(n))]

    def _describe(self, si: int, li: int, order: int, used: int) -> int:
        """Fill a struct slab for the block of the buddy at ``li``, with ``used`` leading objects in use.  Returns si."""
        w = self.w
        w[si] = w[li + FLAGS]
        w[si + SLAB_BUDDY] = self.B + 8 * (li - buddy.list.word)
        w[si + COUNTS] = used | order << ORDER_SHIFT
        w[si + VIRT] = self.B + ((w[li + PAGE] - self.V >> 3) << self.PS)
        self._count(slabs_allocated=1)
        return si

    def _smallest_or_reclaim(self, gfp: int, node: int | None) -> tuple[Entry, int] | None:
        """Find the smallest block; if there is none and the caller may wait, drain per-CPU pages, shrink caches, and look once more."""
        found = self._smallest(gfp, node)
        if found is None and gfp & GFP.DIRECT_RECLAIM:
            self.drain_all_pages()
            self._shrink_all()
            found = self._smallest(gfp, node)
        return found

    # -- giving back

    def _give_back(self, chain: int) -> None:
        """Free descriptors and struct slabs chained through their list words.

        One may empty a slab, whose page is freed, which gives back more: those join the chain, so the depth is constant.  Never allocates.
        """
        w, B = self.w, self.B
        nested, self._freeing = self._freeing, True
        try:
            while chain:
                oi = ((chain - B) >> 3) - 1
                chain = w[oi + 1]
                if oi >= self.KA:
                    w[oi] = UNUSED  # the static descriptor of boot
                    continue
                si = (w[self.MM + (oi >> self.WS)] - B) >> 3
                chain = self._slab_free((w[si + CACHE] - B) >> 3, si, oi, chain)
        finally:
            self._freeing = nested

    # -- shrinking

    def shrink(self) -> int:
        """Shrink every cache until nothing changes (kmem_cache_shrink).  Returns the number of slabs released.

        In the bounded design, slabs of kmem_cache_buddy are emptied by moving their descriptors.  Locks in Linux: list_lock of each node.
        """
        return self._shrink_all()

    def _shrink_all(self) -> int:
        caches = [self.kc_at + i * CACHE_WORDS for i in range(NR_CACHES)]
        released = 0
        while True:
            self.drain_all_pages()
            gone = sum(self._shrink(ci) for ci in caches if self.w[ci + SERIAL])
            if not gone:
                return released
            released += gone

    def _shrink(self, ci: int) -> int:
        """Release a cache's empty slabs and sort the partial lists, fullest first.  Returns the number of slabs released."""
        w = self.w
        before = sum(w[ni + NR_SLABS] for ni in self._nodes(ci))
        self._flush_all(ci)
        empty = [si for si in self._partial_slabs(ci) if self._inuse(si) <= w[ci + OWN]]
        for si in empty:  # all off the list first: releasing one may empty others, which may then go by themselves
            self._remove_partial(si, self._node_of(ci, si))
        for si in empty:
            if chain := self._discard(ci, si, 0):
                self._give_back(chain)
        if self.bounded and ci in (self.KC_BUDDY, self.KC_SLAB):
            # from the top of memory down, into the lowest pages: what stays then splits no high-order block that another place would spare
            self._sort_partial(ci, lambda si: w[si + VIRT])
            while any(self._evacuate(ci, si) for si in reversed(self._partial_slabs(ci))):
                self._sort_partial(ci, lambda si: w[si + VIRT])
        self._sort_partial(ci, lambda si: -self._inuse(si))
        return before - sum(w[ni + NR_SLABS] for ni in self._nodes(ci))

    def _inuse(self, si: int) -> int:
        return self.w[si + COUNTS] & 0xFFFF

    def _sort_partial(self, ci: int, key: Callable[[int], int]) -> None:
        for ni in self._nodes(ci):
            slabs = [si for si in self._partial_slabs(ci) if self._node_of(ci, si) == ni]
            for si in sorted(slabs, key=key):
                self._remove_partial(si, ni)
                self._add_partial(si, ni)

    # -- evacuation (bounded design)

    def _evacuate_own(self, si: int) -> bool:
        """Move a slab's own descriptor out of its page, if it lies there, to a free one on hand.  Says whether it did."""
        w = self.w
        own = (w[si + SLAB_BUDDY] - self.B) >> 3
        if own >> self.WS != (w[si + VIRT] - self.B) >> self.PS:
            return False
        spare = self._spare(self.KC_BUDDY, si)
        if not spare:
            return False
        self._move_buddy(own, spare)
        w[si + COUNTS] -= 1
        return True

    def _evacuate(self, ci: int, si: int) -> bool:
        """Move all live descriptors of a slab to free ones of other slabs, its own last, and release it.  Says whether it did.

        ``ci`` is kmem_cache_buddy or kmem_cache_slab; a struct slab in its own page stays, and goes with the page.
        """
        w = self.w
        movable, move = (self._buddy_movable, self._move_buddy) if ci == self.KC_BUDDY else (self._slab_movable, self._move_slab)
        live = [oi for oi in self._live_in(ci, si) if oi != si]
        others = sum((w[s + COUNTS] >> 16 & 0xFFFF) - self._inuse(s) for s in self._partial_slabs(ci) if s != si)
        if others < len(live) or not all(movable(oi) for oi in live):
            return False
        own = (w[si + SLAB_BUDDY] - self.B) >> 3
        for oi in sorted(live, key=lambda oi: oi == own):
            move(oi, self._spare(ci, si))
            w[si + COUNTS] -= 1
        self._remove_partial(si, self._node_of(ci, si))
        if chain := self._discard(ci, si, 0):
            self._give_back(chain)
        return True

    def _live_in(self, ci: int, si: int) -> list[int]:
        """Return the word indices of a slab's objects that are not on its freelist."""
        w, B = self.w, self.B
        free, obj = set(), w[si + FREELIST]
        while obj:
            free.add((obj - B) >> 3)
            obj = w[(obj - B + w[ci + OFFSET]) >> 3]
        first, step = (w[si + VIRT] - B) >> 3, w[ci + SIZE] >> 3
        return [oi for oi in range(first, first + (w[si + COUNTS] >> 16 & 0xFFFF) * step, step) if oi not in free]

    def _spare(self, ci: int, not_si: int) -> int:
        """Take a free descriptor that lies in another slab, without growing.  Returns its word index, or 0."""
        w, B = self.w, self.B
        p = self.percpu + w[ci + CPU_SLAB]
        if w[p] and w[p + 1] != B + 8 * not_si:
            at = w[p] - B
            w[p] = w[(at + w[ci + OFFSET]) >> 3]
            return at >> 3
        for si in self._partial_slabs(ci):
            if si != not_si:
                at = w[si + FREELIST] - B
                w[si + FREELIST] = w[(at + w[ci + OFFSET]) >> 3]
                w[si + COUNTS] += 1
                if not w[si + FREELIST]:
                    self._remove_partial(si, self._node_of(ci, si))
                return at >> 3
        return 0

    def _buddy_movable(self, oi: int) -> bool:
        """Say whether RAM shows who holds a live struct buddy: its block's mem_desc words, or the descriptor that they name."""
        w, B = self.w, self.B
        pfn = (w[oi + 1 + PAGE] - self.V) >> 3
        if w[oi] & HELD or not 0 <= pfn < self.nr_pages:
            return False
        kind, address = w[self.MM + pfn] & 15, w[self.MM + pfn] & ~15
        if kind in (FREE, BUDDY):
            return address == B + 8 * oi
        return kind in _NAMES_BUDDY and w[((address - B) >> 3) + SLAB_BUDDY] == B + 8 * oi

    def _move_buddy(self, old: int, new: int) -> None:
        """Copy a movable struct buddy to the free one at word ``new`` and tell its holder: list neighbours and mem_desc words, or descriptor."""
        w, B = self.w, self.B
        pfn = (w[old + 1 + PAGE] - self.V) >> 3
        kind, address = w[self.MM + pfn] & 15, w[self.MM + pfn] & ~15
        self._copy(old, new, BUDDY_WORDS)
        if kind in (FREE, BUDDY):
            n = 1 << w[new + 1 + ORDER]
            if kind == FREE:
                list_replace(self, old + 1, new + 1)
            self._fill(pfn, n, B + 8 * new | kind)
            self._count(words_moved=n)
        else:
            w[((address - B) >> 3) + SLAB_BUDDY] = B + 8 * new
        self._count(buddies_moved=1)

    def _slab_movable(self, oi: int) -> bool:
        """Say whether a live struct slab describes pages: then the mem_desc words, a list and a CPU are all that name it."""
        pfn = (self.w[oi + VIRT] - self.B) >> self.PS
        return not self.w[oi] & HELD and 0 <= pfn < self.highmem_pfn and self.w[self.MM + pfn] == self.B + 8 * oi | SLAB_TYPE

    def _move_slab(self, old: int, new: int) -> None:
        """Copy a movable struct slab to the free one at word ``new`` and tell its pages, its partial list and its CPU."""
        w, B = self.w, self.B
        c, ci = w[old + COUNTS], (w[old + CACHE] - B) >> 3
        if w[old + FREELIST] and not c & FROZEN:
            list_replace(self, old + LIST, new + LIST)
        self._copy(old, new, SLAB_WORDS)
        for cpu in range(self.config.cpus if c & FROZEN else 0):
            p = self.cc_at + cpu * CPU_ROW + w[ci + CPU_SLAB]
            if w[p + 1] == B + 8 * old:
                w[p + 1] = B + 8 * new
        n = 1 << (c >> ORDER_SHIFT & 0xFF)
        self._fill((w[new + VIRT] - B) >> self.PS, n, B + 8 * new | SLAB_TYPE)
        self._count(words_moved=n, slabs_moved=1)

    def _copy(self, old: int, new: int, words: int) -> None:
        w = self.w
        for i in range(words):
            w[new + i] = w[old + i]

    def _boot_descriptor(self, node: int) -> int:
        """Allocate a descriptor while free memory is being added.  ValueError when there is too little."""
        address = self._kmem_cache_alloc(self.KC_BUDDY, GFP.KERNEL, node)
        if not address:
            raise self._too_little()
        self._count(buddies_allocated=1)
        return ((address - self.B) >> 3) + buddy.list.word

    def _too_little(self) -> ValueError:
        return ValueError(
            f"{self.config.memory} bytes of memory, {self.highmem_pfn * self.page_size} of them lowmem, are too little to boot: "
            "the descriptors do not fit; give a few pages more, or less HIGHMEM"
        )
