"""Evacuation: descriptors that move to another page, so that the page they pin can be freed.  Bounded design only.

Used by descriptors.py.  The email does not go into it: a page of descriptors cannot be freed while one of them is live, and the descriptor of
a free block is live too.  But RAM shows who holds most descriptors, and what is known to be named in few places can move.
Never grows a cache; ``_migrate`` takes one free page for the one it frees.  Nothing moves while an interrupt is served: what it interrupted may
be about to use a descriptor that it knows the address of.  (In Linux: allocating and freeing take a lock shared, moving only tries to take it
alone.)  Imports slub and below.
"""

from __future__ import annotations

from typing import Final

from .cache_table import (
    CACHE,
    COUNTS,
    CPU_ROW,
    CPU_SLAB,
    FREELIST,
    FROZEN,
    LIST,
    OFFSET,
    ORDER_SHIFT,
    SIZE,
    SLAB_BUDDY,
    SLAB_TYPE,
    VIRT,
)
from .list_head import list_add, list_del, list_for_each, list_replace
from .memdesc import MemType
from .page_bugs import BUDDY, FREE, ORDER, PAGE
from .slub import Slub
from .structs import HELD, buddy, slab
from .zone import Entry, ZoneType

BUDDY_WORDS: Final = buddy.sizeof // 8
SLAB_WORDS: Final = slab.sizeof // 8
# types whose descriptor names its block's buddy at one fixed place
_NAMES_BUDDY: Final = frozenset({MemType.SLAB, MemType.FOLIO, MemType.ANONMEM, MemType.FILEMEM, MemType.PGTABLE})


class Evacuation(Slub):
    """SLUB whose slabs of descriptors can be emptied."""

    def _inuse(self, si: int) -> int:
        return self.w[si + COUNTS] & 0xFFFF

    def _evacuate_own(self, si: int) -> bool:
        """Move a slab's own descriptor out of its page, if it lies there, to a free one on hand.  Says whether it did."""
        w = self.w
        own = (w[si + SLAB_BUDDY] - self.B) >> 3
        if self._interrupted or own >> self.WS != (w[si + VIRT] - self.B) >> self.PS:
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
        free = {(obj - B) >> 3 for obj in self._walk_freelist(ci, w[si + FREELIST])}
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
        """Copy a movable struct buddy to word ``new`` and tell its holder: list neighbours and mem_desc words, or a descriptor."""
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

    # -- moving whole pages

    def _migrate_all(self, ci: int) -> bool:
        """Move each slab of descriptors, full ones too, to a better page, where there is one.  Says whether any moved."""
        return sum(self._migrate(ci, (address - self.B) >> 3) for address in self._slabs_of(ci)) > 0

    def _migrate(self, ci: int, si: int) -> bool:
        """Move a slab of descriptors, a single page, to a better page if there is one, and free its page.  Says whether it did."""
        w, B, MM, WS = self.w, self.B, self.MM, self.WS
        old = (w[si + VIRT] - B) >> self.PS
        if w[MM + old] != B + 8 * si | SLAB_TYPE:  # it went when an earlier one moved
            return False
        movable = self._buddy_movable if ci == self.KC_BUDDY else self._slab_movable
        if not all(movable(oi) for oi in self._live_in(ci, si) if oi != si):
            return False
        target = self._better_page(old, si)
        if target is None:
            return False
        e, block, order = target
        hand = [self._spare(self.KC_BUDDY, si if ci == self.KC_BUDDY else 0) + 1 for _ in range(order)]
        list_del(self, block)
        list_add(self, block, e.heads + 2 * order)
        li = self._take(e, order, 0, hand, B + 8 * si | SLAB_TYPE)
        new = (w[li + PAGE] - self.V) >> 3
        by = (new - old) << WS
        own = ((w[si + SLAB_BUDDY] - B) >> 3) + 1
        live = self._live_in(ci, si)
        self.map[new << self.PS : (new + 1) << self.PS] = self.map[old << self.PS : (old + 1) << self.PS]
        self.touched[new] = 1
        for oi in live:
            if oi not in (si, li - 1, own - 1):
                (self._move_buddy if ci == self.KC_BUDDY else self._move_slab)(oi, oi + by)
        li, own = (i + by if i >> WS == old else i for i in (li, own))  # where the two pages' own buddies are now
        if si >> WS == old:
            if w[si + FREELIST]:
                list_replace(self, si + LIST, si + by + LIST)
            si += by
        w[si] = w[li - 1]  # the flags, which name the zone
        w[si + VIRT], w[si + SLAB_BUDDY] = B + (new << self.PS), B + 8 * (li - 1)
        w[MM + new] = B + 8 * si | SLAB_TYPE
        at, link = si + FREELIST, w[ci + OFFSET]
        while w[at]:
            w[at] += 8 * by
            at = (w[at] + link - B) >> 3
        self._count(words_moved=1)
        if chain := self._free_one_page(own, old, 0, 0):
            self._give_back(chain)
        return True

    def _better_page(self, pfn: int, si: int) -> tuple[Entry, int, int] | None:
        """Find the lowest free block that the descriptors on hand can split and that is a better home than page ``pfn``.

        That is one in the node's NORMAL zone for a page of its DMA zones, else one below it in its own zone.  Returns zone, li, order.
        """
        z = self.zone_of[self.w[si]]
        normal = next((other for other in self.zones if other.node == z.node and other.type is ZoneType.NORMAL), z)
        if z.type < ZoneType.NORMAL and normal is not z:
            z, pfn = normal, normal.end
        others = [s for s in self._partial_slabs(self.KC_BUDDY) if s != si]
        spare = sum((self.w[s + COUNTS] >> 16 & 0xFFFF) - self._inuse(s) for s in others)
        found = [
            (self.w[li + PAGE], order, li)
            for order in range(min(self.max_order, spare) + 1)
            for li in list_for_each(self, z.heads + 2 * order)
            if (self.w[li + PAGE] - self.V) >> 3 < pfn
        ]
        if not found:
            return None
        _, order, li = min(found)
        return Entry(z.heads, z.free, 0, 0, 0, z), li, order
