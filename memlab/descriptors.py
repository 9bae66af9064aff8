"""Where descriptors come from and go: the place at which the page allocator and SLUB need each other, and what makes that end.

Used by slub.py (alloc_slab_page), page_alloc.py (_give_back) and Machine (shrink, boot).  Imports evacuate and below.

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

from .cache_table import (
    C_FLAGS,
    C_MIN_ORDER,
    C_ORDER,
    CACHE,
    CACHE_WORDS,
    COUNTS,
    ORDER_SHIFT,
    OWN,
    SERIAL,
    SLAB_BUDDY,
    SLAB_TYPE,
    VIRT,
)
from .evacuate import BUDDY_WORDS, SLAB_WORDS, Evacuation
from .gfp import GFP, NESTED_STRIP
from .page_bugs import FLAGS, PAGE
from .slub_size import SLAB
from .structs import NR_CACHES, UNUSED, buddy
from .zone import Entry

_ZONE_FLAGS: Final = {SLAB.CACHE_DMA: GFP.DMA, SLAB.CACHE_DMA32: GFP.DMA32}


class Descriptors(Evacuation):
    """SLUB with the two caches of descriptors, ``KC_BUDDY`` and ``KC_SLAB``, and both designs."""

    # -- growing

    def _alloc_slab_page(self, ci: int, gfp: int, node: int | None) -> int:
        """alloc_slab_page: a struct slab from kmem_cache_slab, then pages that it describes from the start.  Returns si or 0.

        Tries the cache's preferred order, then the smallest.  Unmade in reverse order when no pages can be had.
        """
        if ci == self.KC_SLAB:
            return self._alloc_slab(gfp & ~NESTED_STRIP, node)
        address = self._kmem_cache_alloc(self.KC_SLAB, gfp & ~NESTED_STRIP, node)
        if not address:
            return 0
        desc, used = address | SLAB_TYPE, 0
        w = self.w
        order, least = w[ci + C_ORDER] >> 32, w[ci + C_MIN_ORDER] >> 32
        if ci == self.KC_BUDDY and self.bounded:
            li, used = self._carve(gfp & ~NESTED_STRIP, node, desc)
        else:
            zone = sum(bit for flag, bit in _ZONE_FLAGS.items() if w[ci + C_FLAGS] & flag)
            gfp = gfp & ~(NESTED_STRIP & ~GFP.THISNODE) | zone
            li = self._alloc_pages(order, gfp | GFP.NOWARN | GFP.NORETRY, node, desc)
            if not li and least < order and not self._overflow:
                order = least
                li = self._alloc_pages(order, gfp, node, desc)
        if not li:
            self._kmem_cache_free(self.KC_SLAB, address)
            return 0
        return self._describe((address - self.B) >> 3, li, order, used)

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
        self.touched[pfn] = 1  # its struct slab is written before it is cut into objects
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
        """Get a page for kmem_cache_buddy without calling anything that allocates.  Returns (li, buddies used on it) or (0, 0).

        It is an order-0 page as it is, or the first page of the smallest block, which then holds the buddies of the block's parts.
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

        In the bounded design, slabs of descriptors are emptied by moving the descriptors, and the last of them move to low pages.
        Locks in Linux: list_lock of each node.
        """
        released = self._shrink_all()
        while self.bounded and not self._interrupted and any([self._migrate_all(self.KC_SLAB), self._migrate_all(self.KC_BUDDY)]):
            released += self._shrink_all()
        return released

    def _shrink_all(self) -> int:
        caches = [self.kc_at + i * CACHE_WORDS for i in range(NR_CACHES)]
        released = 0
        while True:
            self.drain_all_pages()
            gone = sum(self._shrink(ci) for ci in caches if self.w[ci + SERIAL] and self._nr_slabs(ci))
            if not gone:
                return released
            released += gone

    def _shrink(self, ci: int) -> int:
        """Release a cache's empty slabs and sort the partial lists, fullest first.  Returns the number of slabs released."""
        w = self.w
        before = self._nr_slabs(ci)
        if not before:
            return 0
        self._flush_all(ci)
        empty = [si for si in self._partial_slabs(ci) if self._inuse(si) <= w[ci + OWN]]
        for si in empty:  # all off the list first: releasing one may empty others, which may then go by themselves
            self._remove_partial(si, self._node_of(ci, si))
        for si in empty:
            if chain := self._discard(ci, si, 0):
                self._give_back(chain)
        if self.bounded and not self._interrupted and ci in (self.KC_BUDDY, self.KC_SLAB):
            # from the top of memory down, into the lowest pages: what stays then splits no high-order block that another place would spare
            self._sort_partial(ci, lambda si: w[si + VIRT])
            while any(self._evacuate(ci, si) for si in reversed(self._partial_slabs(ci))):
                self._sort_partial(ci, lambda si: w[si + VIRT])
        self._sort_partial(ci, lambda si: -self._inuse(si))
        return before - self._nr_slabs(ci)

    def _sort_partial(self, ci: int, key: Callable[[int], int]) -> None:
        for ni in self._nodes(ci):
            slabs = [si for si in self._partial_slabs(ci) if self._node_of(ci, si) == ni]
            for si in sorted(slabs, key=key):
                self._remove_partial(si, ni)
                self._add_partial(si, ni)

    def _boot_descriptor(self, node: int) -> int:
        """Allocate a descriptor while free memory is being added.  ValueError when there is too little."""
        address = self._kmem_cache_alloc(self.KC_BUDDY, GFP.KERNEL, node)
        if not address:
            raise self._too_little()
        return ((address - self.B) >> 3) + buddy.list.word

    def _too_little(self) -> ValueError:
        return ValueError(
            f"{self.config.memory} bytes of memory, {self.highmem_pfn * self.page_size} of them lowmem, are too little to boot: "
            "the descriptors do not fit; give a few pages more, or less HIGHMEM"
        )
