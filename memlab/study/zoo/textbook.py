"""Textbook: the machine with its hard steps written for reading instead of speed.  It has no fault.

Used by animals.py, whose animals each spoil one method of it: what differs is the fault.  Imports the core.

It leaves out what tiny machines do not have: per-CPU page lists, __GFP_ZERO, debug caches, slabs of two possible orders.
``li`` is the word index of a buddy's ``list`` member, ``si`` that of a struct slab, ``ci`` of a kmem_cache, ``p`` of a kmem_cache_cpu; 0 is NULL.
"""

from __future__ import annotations

from ...cache_table import C_ORDER, COUNTS, FREELIST, FROZEN, OFFSET, SLAB_BUDDY, SLAB_TYPE, VIRT
from ...gfp import GFP, NESTED_STRIP
from ...list_head import list_add, list_del
from ...machine import Machine
from ...page_bugs import BUDDY, FLAGS, FREE, ORDER, PAGE
from ...zone import Entry, Zonelist

Found = tuple[Entry, int, int]  # a free block: its zone, its order, li


class Textbook(Machine):
    """A Machine of one node whose hard steps can be read at a glance; Machine's parameters."""

    # -- pages

    def free_pages(self, pfn: int) -> None:
        """Free the block that starts at page ``pfn``, and give back the descriptors that merging frees.  KernelBug if none starts there."""
        li = self._allocated(pfn, "freed")
        chain = self._free_one_page(li, pfn, self.w[li + ORDER], 0)
        if chain:
            self._give_back(chain)

    def _free_one_page(self, li: int, pfn: int, order: int, chain: int) -> int:
        """Put a block on its free list, merged with its free buddies.  Returns ``chain`` with the descriptors that are of no use any more."""
        w = self.w
        zone = self.zone_of[w[li + FLAGS]]
        w[zone.free] += 1 << order
        while order < self.max_order:
            other = pfn ^ (1 << order)
            near = self._free_block_of(other)
            if not near or w[near + ORDER] != order:
                break
            list_del(self, near)
            chain = self._put_in_front(chain, li)
            li, pfn, order = near, pfn & other, order + 1
            w[li + ORDER] = order
            w[li + PAGE] = self.V + 8 * pfn
        self._fill(pfn, 1 << order, self.B + 8 * (li - 1) + FREE)
        list_add(self, li, zone.heads + 2 * order)
        return chain

    def _get_pages(self, order: int, gfp: int, zonelist: Zonelist, desc: int) -> int:
        """Find a free block, get the descriptors that splitting it takes, then take it.  Returns li, or 0."""
        hand: list[int] = []
        found = self._find_block(order, gfp, zonelist)
        while found and found[1] - order > len(hand):
            zone, k, _ = found
            got = self._kmem_cache_alloc_bulk(self.KC_BUDDY, k - order - len(hand), gfp & ~NESTED_STRIP, zone.zone.node)
            if got is None:
                found = None
                break
            hand += [((address - self.B) >> 3) + 1 for address in got]
            found = self._find_block(order, gfp, zonelist)
        li = self._take_block(found, order, hand, desc) if found else 0
        self._give_back(self._chain(hand))
        return li

    def split_page(self, pfn: int) -> tuple[int, int] | None:
        """Make two allocated blocks of one, with one new descriptor.  Returns both pfns, or None."""
        w = self.w
        li = self._allocated(pfn, "split")
        new = self._kmem_cache_alloc(self.KC_BUDDY, GFP.KERNEL, self.zone_of[w[li + FLAGS]].node)
        if not new:
            return self._nothing()
        li = self._allocated(pfn, "split")
        half = w[li + ORDER] - 1
        lower = (new - self.B >> 3) + 1
        w[lower + FLAGS], w[lower + ORDER], w[lower + PAGE] = w[li + FLAGS], half, w[li + PAGE]
        w[li + ORDER], w[li + PAGE] = half, self.V + 8 * (pfn + (1 << half))
        self._fill(pfn, 1 << half, new + BUDDY)
        return pfn, pfn + (1 << half)

    # -- slabs

    def _slab_alloc(self, ci: int, gfp: int, node: int | None) -> int:
        """Take an object from the CPU's slab, or from a partial slab, or from a new one.  Returns its address, or 0."""
        node = self.node if node is None else node
        obj = self._refill(ci, node)
        if obj:
            return obj
        si = self._new_slab(ci, gfp, node)
        if not si:
            return 0 if self._overflow else self._refill(ci, node)
        cpu_slab, link, *_ = self.shape_of[ci]
        p = self.percpu + cpu_slab
        if self.w[p + 1]:
            self._add_partial(si, self._node_of(ci, si))
            return self._refill(ci, node)
        return self._activate(si, p, link)

    def _alloc_slab_page(self, ci: int, gfp: int, node: int | None) -> int:
        """Get a struct slab, and then the pages that it describes.  Returns si, or 0."""
        if ci == self.KC_SLAB or self.bounded:
            return super()._alloc_slab_page(ci, gfp, node)
        address = self._kmem_cache_alloc(self.KC_SLAB, gfp & ~NESTED_STRIP, node)
        if not address:
            return 0
        order = self.w[ci + C_ORDER] >> 32
        li = self._alloc_pages(order, gfp & ~NESTED_STRIP, node, address | SLAB_TYPE)
        if not li:
            self._kmem_cache_free(self.KC_SLAB, address)
            return 0
        return self._describe((address - self.B) >> 3, li, order, 0)

    def _deactivate(self, ci: int, p: int) -> None:
        """Take the slab from a CPU: its freelist goes back to the slab, and the slab to where it belongs."""
        w, link = self.w, self.w[ci + OFFSET]
        si = (w[p + 1] - self.B) >> 3
        free = self._walk_freelist(ci, w[p])
        w[p] = w[p + 1] = 0
        for obj in reversed(free):
            w[(obj - self.B + link) >> 3] = w[si + FREELIST]
            w[si + FREELIST] = obj
        w[si + COUNTS] = (w[si + COUNTS] - len(free)) & ~FROZEN
        if not w[si + FREELIST]:
            return
        self._add_partial(si, self._node_of(ci, si))

    def _shrink(self, ci: int) -> int:
        """Release a cache's empty slabs.  Returns how many went."""
        if self.bounded:
            return super()._shrink(ci)
        self._flush_all(ci)
        empty = []
        for si in self._partial_slabs(ci):
            own = self._lies_in(si, si)
            if self._inuse(si) <= own:
                empty.append(si)
                self._remove_partial(si, self._node_of(ci, si))
        for si in empty:
            chain = self._discard(ci, si, 0)
            if chain:
                self._give_back(chain)
        return len(empty)

    # -- small things that the steps above are made of

    def _free_block_of(self, pfn: int) -> int:
        """Return li of the free block that a page belongs to, or 0."""
        word = self.w[self.MM + pfn] if pfn < self.nr_pages else 0
        return ((word - self.B) >> 3) + 1 if word & 15 == FREE else 0

    def _find_block(self, order: int, gfp: int, zonelist: Zonelist) -> Found | None:
        """Return the smallest free block of at least this order, or None."""
        found = self._find(order, gfp, zonelist)
        if found is None:
            return None
        zone, k = found
        return zone, k, (self.w[zone.heads + 2 * k] - self.B) >> 3

    def _take_block(self, found: Found, order: int, hand: list[int], desc: int) -> int:
        """Take a block that was found off its list, and split it with descriptors from ``hand``.  Returns li of the part that is taken."""
        zone, k, block = found
        head = zone.heads + 2 * k
        list_del(self, block)
        list_add(self, block, head)
        return self._take(zone, k, order, hand, desc)

    def _put_in_front(self, chain: int, li: int) -> int:
        """Return the chain of descriptors that are to be given back, with one more in front."""
        self.w[li] = chain
        return self.B + 8 * li

    def _lies_in(self, at: int, si: int) -> bool:
        """Say whether the word ``at`` lies in the first page of a slab."""
        return at >> self.WS == (self.w[si + VIRT] - self.B) >> self.PS

    def _buddy_of(self, si: int) -> int:
        """Return the word index of a slab's struct buddy."""
        return (self.w[si + SLAB_BUDDY] - self.B) >> 3
