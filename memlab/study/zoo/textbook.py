"""Textbook: the machine with those hard steps that can be shorter still than in the core, as tiny machines need no more.  It has no fault.

Used by animals.py, whose animals each spoil one function of it or of the core: what differs is the fault.  Imports the core.

It leaves out what tiny machines do not have: per-CPU page lists, __GFP_ZERO, debug caches, slabs of two possible orders.
``b`` is the first word of a struct buddy, ``s`` of a struct slab, ``c`` of a kmem_cache, ``p`` of a kmem_cache_cpu; 0 is NULL.
"""

from __future__ import annotations

from ...addresses import V, address, word
from ...cache_table import add_partial, discard, inuse, node_of, partial_slabs, percpu, remove_partial, slab_pfn, walk_freelist
from ...config import Entry, Zonelist
from ...descriptors import alloc_slab_page, describe, shrink_cache
from ...gfp import nested
from ...kernel import Kernel, bind
from ...list_head import chain_add, list_add, list_del, list_first
from ...machine import Machine
from ...page_alloc import find
from ...slub import activate, flush_all, refill
from ...words import FREE, FROZEN, LIST, SLAB_TYPE

Found = tuple[Entry, int, int]  # a free block: its zone, its order, its buddy


class Textbook(Machine):
    """A Machine of one node whose hard steps can be read at a glance; Machine's parameters."""

    # -- pages

    def _free_one_page(self, b: int, pfn: int, order: int, chain: int) -> int:
        """Put a block on its free list, merged with its free buddies.  Returns ``chain`` with the descriptors that are of no use any more."""
        zone = self.zone_of[self.flags_of[b]]
        self.w[zone.free] += 1 << order
        while order < self.max_order:
            other = pfn ^ (1 << order)
            near = self._free_block_of(other)
            if not near or self.order_of[near] != order:
                break
            list_del(self, near + LIST)
            chain = chain_add(self, b + LIST, chain)
            b, pfn, order = near, pfn & other, order + 1
            self.order_of[b] = order
            self.page_of[b] = V + 8 * pfn
        self.fill(pfn, 1 << order, address(b) | FREE)
        list_add(self, b + LIST, zone.heads + 2 * order)
        return chain

    def _get_pages(self, order: int, gfp: int, zonelist: Zonelist, desc: int) -> int:
        """Find a free block, get the descriptors that splitting it takes, then take it.  Returns its buddy, or 0."""
        hand: list[int] = []
        found = self._find_block(order, gfp, zonelist)
        while found and found[1] - order > len(hand):
            zone, k, _ = found
            got = self._kmem_cache_alloc_bulk(self.KC_BUDDY, k - order - len(hand), nested(gfp), zone.zone.node)
            if got is None:
                found = None
                break
            hand += [word(a) for a in got]
            found = self._find_block(order, gfp, zonelist)
        b = self._take_block(found, order, hand, desc) if found else 0
        self._give_back(self._chain(hand))
        return b

    # -- slabs

    def _alloc_slab_page(self, c: int, gfp: int, node: int | None) -> int:
        """Get a struct slab, and then the pages that it describes.  Returns s, or 0."""
        if c == self.KC_SLAB or self.bounded:
            return alloc_slab_page(self, c, gfp, node)
        slab = self._kmem_cache_alloc(self.KC_SLAB, nested(gfp), node)
        if not slab:
            return 0
        order = self.oo_of[c] >> 32
        b = self._alloc_pages(order, nested(gfp), node, slab | SLAB_TYPE)
        if not b:
            self._kmem_cache_free(self.KC_SLAB, slab)
            return 0
        return describe(self, word(slab), b, order, 0)

    def _deactivate(self, c: int, p: int) -> None:
        """Take the slab from a CPU: its freelist goes back to the slab, and the slab to where it belongs."""
        s = word(self.cpu_slab_of[p])
        free = walk_freelist(self, c, self.cpu_freelist_of[p])
        self.cpu_freelist_of[p] = self.cpu_slab_of[p] = 0
        for obj in reversed(free):
            self.w[word(obj + self.offset_of[c])] = self.freelist_of[s]
            self.freelist_of[s] = obj
        self.counts_of[s] = (self.counts_of[s] - len(free)) & ~FROZEN
        if not self.freelist_of[s]:
            return
        add_partial(self, s, node_of(self, c, s))

    def _shrink(self, c: int) -> int:
        """Release a cache's empty slabs.  Returns how many went."""
        if self.bounded:
            return shrink_cache(self, c)
        flush_all(self, c)
        empty = []
        for s in partial_slabs(self, c):
            own = self._lies_in(s, s)
            if inuse(self, s) <= own:
                empty.append(s)
                remove_partial(self, s, node_of(self, c, s))
        for s in empty:
            chain = discard(self, c, s, 0)
            if chain:
                self._give_back(chain)
        return len(empty)

    # -- small things that the steps above are made of

    def _free_block_of(self, pfn: int) -> int:
        """Return the buddy of the free block that a page belongs to, or 0."""
        desc = self.desc_of[pfn] if pfn < self.nr_pages else 0
        return word(desc) if desc & 15 == FREE else 0

    def _find_block(self, order: int, gfp: int, zonelist: Zonelist) -> Found | None:
        """Return the smallest free block of at least this order, or None."""
        found = find(self, order, gfp, zonelist)
        if found is None:
            return None
        zone, k = found
        return zone, k, list_first(self, zone.heads + 2 * k) - LIST

    def _take_block(self, found: Found, order: int, hand: list[int], desc: int) -> int:
        """Take a block that was found off its list, and split it with descriptors from ``hand``.  Returns the buddy of the part that is taken."""
        zone, k, block = found
        list_del(self, block + LIST)
        list_add(self, block + LIST, zone.heads + 2 * k)
        return self._take(zone, k, order, hand, desc)

    def _chain(self, hand: list[int]) -> int:
        """Return the chain of descriptors that were not needed."""
        chain = 0
        for b in hand:
            chain = chain_add(self, b + LIST, chain)
        return chain

    def _lies_in(self, at: int, s: int) -> bool:
        """Say whether the word ``at`` lies in the first page of a slab."""
        return at >> self.WS == slab_pfn(self, s)


def ___slab_alloc(m: Kernel, c: int, gfp: int, node: int | None) -> int:
    """Take an object from the CPU's slab, or from a partial slab, or from a new one.  Returns its address, or 0."""
    node = m.node if node is None else node
    obj = refill(m, c, node)
    if obj:
        return obj
    s = m._new_slab(c, gfp, node)
    if not s:
        return 0 if m._overflow else refill(m, c, node)
    p = percpu(m, c)
    if m.cpu_slab_of[p]:
        add_partial(m, s, node_of(m, c, s))
        return refill(m, c, node)
    return activate(m, c, s, p)


bind(Textbook, ___slab_alloc)
