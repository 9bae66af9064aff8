"""The animals: allocators with one realistic fault each, in one function.  Everything else is the textbook machine's.

Used by the zoo's table, its tests and chapter 10, which shows an animal's function and asks for the line that is wrong: so nothing here may tell it.
What differs from the function of the same name in textbook.py, or in the core, is the fault.  Imports textbook and the core.
"""

from __future__ import annotations

from ...addresses import V, address, word
from ...cache_table import add_partial, discard, inuse, node_of, partial_slabs, percpu, remove_partial, walk_freelist
from ...config import Zonelist
from ...descriptors import alloc_slab_page, describe, shrink_cache
from ...gfp import GFP, nested
from ...kernel import Kernel, bind
from ...list_head import chain_add, list_add, list_del
from ...slub import activate, flush_all, refill
from ...words import FREE, FROZEN, LIST, SLAB_TYPE
from .textbook import Textbook


class Pelican(Textbook):
    """Swallows what is in its way."""

    def _free_one_page(self, b: int, pfn: int, order: int, chain: int) -> int:
        """Put a block on its free list, merged with its free buddies.  Returns ``chain`` with the descriptors that are of no use any more."""
        zone = self.zone_of[self.flags_of[b]]
        self.w[zone.free] += 1 << order
        while order < self.max_order:
            other = pfn ^ (1 << order)
            near = self._free_block_of(other)
            if not near:
                break
            list_del(self, near + LIST)
            chain = chain_add(self, b + LIST, chain)
            b, pfn, order = near, pfn & other, order + 1
            self.order_of[b] = order
            self.page_of[b] = V + 8 * pfn
        self.fill(pfn, 1 << order, address(b) | FREE)
        list_add(self, b + LIST, zone.heads + 2 * order)
        return chain


class Squirrel(Textbook):
    """Buries things."""

    def _free_one_page(self, b: int, pfn: int, order: int, chain: int) -> int:
        """Put a block on its free list, merged with its free buddies.  Returns ``chain`` with the descriptors that are of no use any more."""
        zone = self.zone_of[self.flags_of[b]]
        self.w[zone.free] += 1 << order
        while order < self.max_order:
            other = pfn ^ (1 << order)
            near = self._free_block_of(other)
            if not near or self.order_of[near] != order:
                return chain
            list_del(self, near + LIST)
            chain = chain_add(self, b + LIST, chain)
            b, pfn, order = near, pfn & other, order + 1
            self.order_of[b] = order
            self.page_of[b] = V + 8 * pfn
        self.fill(pfn, 1 << order, address(b) | FREE)
        list_add(self, b + LIST, zone.heads + 2 * order)
        return chain


class HermitCrab(Textbook):
    """Moves into the shell of another."""

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
        self.fill(pfn, 1 << order, address(b) | FREE)
        list_add(self, b + LIST, zone.heads + 2 * order)
        return chain


class Gull(Textbook):
    """Takes while it gives."""

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
            chain = chain_add(self, near + LIST, chain_add(self, b + LIST, chain))
            b = word(self._kmem_cache_alloc(self.KC_BUDDY, GFP.ATOMIC, zone.node))
            self.flags_of[b] = zone.flags
            pfn, order = pfn & other, order + 1
            self.order_of[b] = order
            self.page_of[b] = V + 8 * pfn
        self.fill(pfn, 1 << order, address(b) | FREE)
        list_add(self, b + LIST, zone.heads + 2 * order)
        return chain


class Goldfish(Textbook):
    """Remembers nothing for long."""

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
        b = self._take_block(found, order, hand, desc) if found else 0
        self._give_back(self._chain(hand))
        return b


class Cuckoo(Textbook):
    """Lays its eggs in any nest."""


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
    return activate(m, c, s, p)


bind(Cuckoo, ___slab_alloc)


class Hamster(Textbook):
    """Keeps what it has."""

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
            return 0
        return describe(self, word(slab), b, order, 0)


class Leech(Textbook):
    """Does not let go when it is full."""

    def _deactivate(self, c: int, p: int) -> None:
        """Take the slab from a CPU: its freelist goes back to the slab, and the slab to where it belongs."""
        s = word(self.cpu_slab_of[p])
        free = walk_freelist(self, c, self.cpu_freelist_of[p])
        self.cpu_freelist_of[p] = self.cpu_slab_of[p] = 0
        for obj in reversed(free):
            self.w[word(obj + self.offset_of[c])] = self.freelist_of[s]
            self.freelist_of[s] = obj
        self.counts_of[s] = (self.counts_of[s] - len(free)) & ~FROZEN
        add_partial(self, s, node_of(self, c, s))


class Snail(Textbook):
    """Lives in its own house."""

    def _shrink(self, c: int) -> int:
        """Release a cache's empty slabs.  Returns how many went."""
        if self.bounded:
            return shrink_cache(self, c)
        flush_all(self, c)
        empty = []
        for s in partial_slabs(self, c):
            own = self._lies_in(s, s) + self._lies_in(word(self.buddy_of[s]), s)
            if inuse(self, s) <= own:
                empty.append(s)
                remove_partial(self, s, node_of(self, c, s))
        for s in empty:
            chain = discard(self, c, s, 0)
            if chain:
                self._give_back(chain)
        return len(empty)
