"""The animals: allocators with one realistic fault each, in one method.  Everything else is the textbook machine's.

Used by the zoo's table, its tests and chapter 10, which shows an animal's method and asks for the line that is wrong: so nothing here may tell it.
What differs from the method of the same name in textbook.py is the fault.  Imports textbook and the core.
"""

from __future__ import annotations

from ...cache_table import C_ORDER, COUNTS, FREELIST, FROZEN, OFFSET, SLAB_TYPE
from ...gfp import GFP, NESTED_STRIP
from ...list_head import list_add, list_del
from ...page_bugs import FLAGS, FREE, ORDER, PAGE
from ...zone import Zonelist
from .textbook import Textbook


class Pelican(Textbook):
    """Swallows what is in its way."""

    def _free_one_page(self, li: int, pfn: int, order: int, chain: int) -> int:
        """Put a block on its free list, merged with its free buddies.  Returns ``chain`` with the descriptors that are of no use any more."""
        w = self.w
        zone = self.zone_of[w[li + FLAGS]]
        w[zone.free] += 1 << order
        while order < self.max_order:
            other = pfn ^ (1 << order)
            near = self._free_block_of(other)
            if not near:
                break
            list_del(self, near)
            chain = self._put_in_front(chain, li)
            li, pfn, order = near, pfn & other, order + 1
            w[li + ORDER] = order
            w[li + PAGE] = self.V + 8 * pfn
        self._fill(pfn, 1 << order, self.B + 8 * (li - 1) + FREE)
        list_add(self, li, zone.heads + 2 * order)
        return chain


class Squirrel(Textbook):
    """Buries things."""

    def _free_one_page(self, li: int, pfn: int, order: int, chain: int) -> int:
        """Put a block on its free list, merged with its free buddies.  Returns ``chain`` with the descriptors that are of no use any more."""
        w = self.w
        zone = self.zone_of[w[li + FLAGS]]
        w[zone.free] += 1 << order
        while order < self.max_order:
            other = pfn ^ (1 << order)
            near = self._free_block_of(other)
            if not near or w[near + ORDER] != order:
                return chain
            list_del(self, near)
            chain = self._put_in_front(chain, li)
            li, pfn, order = near, pfn & other, order + 1
            w[li + ORDER] = order
            w[li + PAGE] = self.V + 8 * pfn
        self._fill(pfn, 1 << order, self.B + 8 * (li - 1) + FREE)
        list_add(self, li, zone.heads + 2 * order)
        return chain


class HermitCrab(Textbook):
    """Moves into the shell of another."""

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
        self._fill(pfn, 1 << order, self.B + 8 * (li - 1) + FREE)
        list_add(self, li, zone.heads + 2 * order)
        return chain


class Gull(Textbook):
    """Takes while it gives."""

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
            chain = self._put_in_front(self._put_in_front(chain, li), near)
            li = ((self._kmem_cache_alloc(self.KC_BUDDY, GFP.ATOMIC, zone.node) - self.B) >> 3) + 1
            w[li + FLAGS] = zone.flags
            pfn, order = pfn & other, order + 1
            w[li + ORDER] = order
            w[li + PAGE] = self.V + 8 * pfn
        self._fill(pfn, 1 << order, self.B + 8 * (li - 1) + FREE)
        list_add(self, li, zone.heads + 2 * order)
        return chain


class Goldfish(Textbook):
    """Remembers nothing for long."""

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
        li = self._take_block(found, order, hand, desc) if found else 0
        self._give_back(self._chain(hand))
        return li


class Cuckoo(Textbook):
    """Lays its eggs in any nest."""

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
        return self._activate(si, p, link)


class Hamster(Textbook):
    """Keeps what it has."""

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
            return 0
        return self._describe((address - self.B) >> 3, li, order, 0)


class Leech(Textbook):
    """Does not let go when it is full."""

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
        self._add_partial(si, self._node_of(ci, si))


class Snail(Textbook):
    """Lives in its own house."""

    def _shrink(self, ci: int) -> int:
        """Release a cache's empty slabs.  Returns how many went."""
        if self.bounded:
            return super()._shrink(ci)
        self._flush_all(ci)
        empty = []
        for si in self._partial_slabs(ci):
            own = self._lies_in(si, si) + self._lies_in(self._buddy_of(si), si)
            if self._inuse(si) <= own:
                empty.append(si)
                self._remove_partial(si, self._node_of(ci, si))
        for si in empty:
            chain = self._discard(ci, si, 0)
            if chain:
                self._give_back(chain)
        return len(empty)
