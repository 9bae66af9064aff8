"""Per-CPU page lists: free single pages that a CPU keeps at hand, an option of the machine (``pcp=True``).

Used by page_alloc.py.  A page on such a list is a free block of order 0 whose buddy is marked PCP, so that nothing merges with it.
Imports page_bugs and below.

Source: mm/page_alloc.c (rmqueue_pcplist, free_unref_page, drain_all_pages).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .config import Config
from .gfp import GFP
from .page_bugs import BUDDY, FLAGS, FREE, PAGE, PageBugs
from .structs import PCP, per_cpu_pages
from .zone import Entry, Zone, Zonelist

_PCP_WORDS: Final = per_cpu_pages.sizeof // 8


class PerCpuPages(PageBugs):
    """Zones with per-CPU page lists, which are in use while ``pcp`` is true."""

    if TYPE_CHECKING:  # what page_alloc.py provides
        WORDS_TYPED: int
        ALLOCATED_FREEING: int
        _freeing: bool

        def _free_one_page(self, li: int, pfn: int, order: int, chain: int) -> int: ...
        def _give_back(self, chain: int) -> None: ...

    def __init__(self, config: Config, kernel_bytes: int, stat_bytes: int) -> None:
        self.pcp = config.pcp
        self.pcp_at = 0
        super().__init__(config, kernel_bytes, stat_bytes)

    def drain_all_pages(self) -> None:
        """Give all per-CPU free pages back to the free lists.  Locks in Linux: pcp->lock, then zone->lock."""
        lists = [self.pcp_at + i * _PCP_WORDS for i in range(len(self.zones) * self.config.cpus)]
        while held := [at for at in lists if self.w[at]]:  # giving descriptors back may free a slab's page, to such a list
            for at in held:
                if chain := self._drain(at, 1 << 62, 0):
                    self._give_back(chain)

    def _pcp_of(self, zone: Zone) -> int:
        return self.pcp_at + (self.cpu * len(self.zones) + self.zones.index(zone)) * _PCP_WORDS

    def _pcp_batch(self, zone: Zone) -> int:
        return max(1, min(63, (zone.end - zone.start) >> 10))

    def _pcp_get(self, zonelist: Zonelist) -> int:
        """Take a page from this CPU's lists, refilled with single pages that need no split.  Returns li, or 0."""
        w, B = self.w, self.B
        for e in zonelist:
            at = self._pcp_of(e.zone)
            if w[at] == 0 and w[e.free] - 1 >= e.low:
                self._pcp_refill(e, at)
            if w[at]:
                li = (w[at + 1] - B) >> 3
                self._pcp_unlink(li, at)
                return li
            if w[e.free] - 1 >= e.low:
                return 0  # this zone is to give a page, by a split
        return 0

    def _pcp_refill(self, e: Entry, at: int) -> None:
        w, B = self.w, self.B
        for _ in range(self._pcp_batch(e.zone)):
            li = (w[e.heads] - B) >> 3
            if li == e.heads:
                return
            after = w[li]
            w[e.heads] = after
            w[((after - B) >> 3) + 1] = B + 8 * e.heads
            w[e.free] -= 1
            self._pcp_link(li, at)

    def _pcp_put(self, li: int, pfn: int, zone: Zone, chain: int) -> int:
        """Keep a freed page on this CPU's list; drain a batch when it holds more than six."""
        w = self.w
        w[self.MM + pfn] = self.B + 8 * li - 8 + FREE
        w[self.WORDS_TYPED] += 1
        at, batch = self._pcp_of(zone), self._pcp_batch(zone)
        self._pcp_link(li, at)
        return self._drain(at, batch, chain) if w[at] > 6 * batch else chain

    def _pcp_link(self, li: int, at: int) -> None:
        w, B = self.w, self.B
        first = w[at + 1]
        w[li], w[li + 1] = first, B + 8 * (at + 1)
        w[at + 1] = w[((first - B) >> 3) + 1] = B + 8 * li
        w[li + FLAGS] |= PCP
        w[at] += 1

    def _pcp_unlink(self, li: int, at: int) -> None:
        w, B = self.w, self.B
        after, before = w[li], w[li + 1]
        w[(before - B) >> 3] = after
        w[((after - B) >> 3) + 1] = before
        w[li + FLAGS] &= ~PCP
        w[at] -= 1

    def _drain(self, at: int, n: int, chain: int) -> int:
        """Move up to ``n`` pages, the longest unused first, from a per-CPU list to the free lists; extends ``chain``."""
        w, B = self.w, self.B
        self.pcp = False  # _free_one_page is to put them on the zone's lists
        try:
            while n and w[at]:
                li = (w[at + 2] - B) >> 3
                self._pcp_unlink(li, at)
                chain = self._free_one_page(li, (w[li + PAGE] - self.V) >> 3, 0, chain)
                n -= 1
        finally:
            self.pcp = self.config.pcp
        return chain

    def _handed_out(self, li: int, gfp: int, desc: int) -> int:
        w = self.w
        pfn = (w[li + PAGE] - self.V) >> 3
        w[self.MM + pfn] = desc or self.B + 8 * li - 8 + BUDDY
        w[self.WORDS_TYPED] += 1
        if self._freeing:
            w[self.ALLOCATED_FREEING] += 1
        if gfp & GFP.ZERO:
            self._zero(pfn, 1)
        return li
