"""The page allocator: free lists of buddies whose ``struct buddy`` lives elsewhere in RAM.

Used by SLUB, the users of descriptors and, through Machine, by everybody.  It needs descriptors to split a block, so it calls SLUB, which
calls it: descriptors.py holds what makes that end.  Imports pcp and below.

Conventions of the hot paths: ``li`` is the word index of a buddy's ``list`` member; the other members are found from there.
A free block of order k is on its zone's list k, and the mem_desc of all its 2^k pages names its buddy.

Sources: the email (descriptors are had before a split, and given back at a merge); mm/page_alloc.c for names and order of work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import gfp as gfp_flags
from . import memdesc
from .config import Config
from .gfp import GFP, NESTED_STRIP
from .list_head import list_for_each
from .memdesc import MemType
from .page_bugs import BUDDY, FLAGS, FREE, ORDER, PAGE
from .pcp import PerCpuPages
from .ram import KernelBug
from .structs import HELD, buddy, vm_stat
from .zone import Entry, Zone, Zonelist

KERNEL: Final = GFP.KERNEL
LIST_TO_BUDDY: Final = 8 * buddy.list.word - BUDDY  # from the address of a list member to the mem_desc of an allocated block


class PageAllocator(PerCpuPages):
    """Zones with alloc_pages, free_pages and their kin.  ``stat`` is the word index of the counters."""

    if TYPE_CHECKING:  # what the layers above provide

        def _kmem_cache_alloc(self, ci: int, gfp: int, node: int | None) -> int: ...
        def _kmem_cache_alloc_bulk(self, ci: int, n: int, gfp: int, node: int | None) -> list[int] | None: ...
        def _nothing(self) -> None: ...

    def __init__(self, config: Config, kernel_bytes: int, stat_bytes: int) -> None:
        self.stat = 0
        self._freeing = False
        super().__init__(config, kernel_bytes, stat_bytes)

    # -- allocation

    def alloc_pages(self, order: int, gfp: int = KERNEL, node: int | None = None) -> int | None:
        """Allocate a block of 2^order pages.

        ``order``: unsigned int, 0 to max_order.  ``gfp``: gfp_t.  ``node``: preferred node, None for that of the running CPU.
        Returns the pfn of the first page, or None when no memory can be had.  ValueError or TypeError for a bad argument.
        Locks in Linux: zone->lock for each look at the lists, dropped while descriptors are allocated.
        Source: the email; mm/page_alloc.c.
        """
        if gfp != KERNEL or node is not None:
            self._check_request(order, gfp, node)
            li = self._get_pages(order, gfp, self._request_zonelist(gfp, node), 0)
            return (self.w[li + PAGE] - self.V) >> 3 if li else self._nothing()
        try:
            head, head_address, n = self.fast_lists[order]
        except (IndexError, TypeError):
            raise self._bad_order(order) from None
        if order < 0:  # a list is indexed from its end too
            raise self._bad_order(order)
        w = self.w
        first = w[head]
        left = w[self.fast_free] - n
        if first == head_address or left < self.fast_low:
            li = self._get_pages(order, gfp, self.kernel_zonelist, 0)
            return (w[li + PAGE] - self.V) >> 3 if li else self._nothing()
        # the common case in line: a block of just this order, in the first zone of the zonelist
        li = (first - self.B) >> 3
        after = w[li]
        w[head] = after
        w[(after - self.B8) >> 3] = head_address
        w[self.fast_free] = left
        pfn: int = (w[li + PAGE] - self.V) >> 3
        if n == 1:
            w[self.MM + pfn] = first - LIST_TO_BUDDY
        else:
            self._fill(pfn, n, first - LIST_TO_BUDDY)
        w[self.WORDS_TYPED] += n
        return pfn

    def alloc_pages_bulk(self, n: int, gfp: int = KERNEL) -> list[int]:
        """Allocate up to ``n`` single pages; returns their pfns, fewer than ``n`` when memory runs out.

        ``n``: int, 0 or more.  ``gfp``: gfp_t.  ValueError or TypeError for a bad argument.  Source: mm/page_alloc.c.
        """
        if not isinstance(n, int):
            raise TypeError(f"the number of pages is a whole number, not {n!r}")
        if n < 0:
            raise ValueError(f"the number of pages is 0 or more, not {n}")
        pfns: list[int] = []
        gfp_flags.check(gfp)
        try:
            while len(pfns) < n and (pfn := self.alloc_pages(0, gfp)) is not None:
                pfns.append(pfn)
        except KernelBug:  # the kernel's stack overflowed, and all of the call is to be unmade
            for pfn in pfns:
                self.free_pages(pfn)
            raise
        return pfns

    def get_free_page(self, gfp: int = KERNEL) -> int | None:
        """Allocate one page and return its virtual address, or None.  ``__GFP_HIGHMEM`` is ignored: such a page has no address.

        ``gfp``: gfp_t.  ValueError or TypeError for a bad argument.  Source: the email's simplest case; mm/page_alloc.c (__get_free_page).
        """
        gfp_flags.check(gfp)
        pfn = self.alloc_pages(0, gfp & ~GFP.HIGHMEM)
        return None if pfn is None else self.B + (pfn << self.PS)

    def alloc_pages_desc(self, order: int, desc: int, gfp: int = KERNEL) -> int | None:
        """Allocate a block whose pages' mem_desc words are ``desc`` from the start; returns the address of its struct buddy, or None.

        ``order``: unsigned int.  ``desc``: unsigned long, a descriptor of your own with its type (memdesc.tag).  ``gfp``: gfp_t.
        The caller keeps the buddy, and gives it to ``free_pages_desc``.  ValueError or TypeError for a bad argument.  Source: the email.
        """
        return self.alloc_pages_node_desc(None, order, desc, gfp)

    def alloc_pages_node_desc(self, node: int | None, order: int, desc: int, gfp: int = KERNEL) -> int | None:
        """Do what alloc_pages_desc does, with ``node`` preferred (int, or None for that of the running CPU).

        Returns and raises as alloc_pages_desc.  Source: the email.
        """
        self._check_request(order, gfp, node)
        if not isinstance(desc, int):
            raise TypeError(f"desc is a mem_desc word, a whole number, not {desc!r}")
        kind, address = memdesc.untag(desc)
        if kind in (MemType.NONE, MemType.FREE, MemType.BUDDY):
            raise ValueError(
                f"desc {desc:#x} must name a descriptor of yours, of a type from SLAB on; the page allocator makes the buddies itself"
            )
        if kind is MemType.SLAB and not self._is_object(address, self.KC_SLAB):
            raise ValueError(f"desc {desc:#x} names no struct slab; take one with m.caches['kmem_cache_slab'].alloc() first")
        li = self._alloc_pages(order, gfp, node, desc)
        if not li:
            return self._nothing()
        self.w[li + FLAGS] |= HELD
        return self.B + 8 * (li - buddy.list.word)

    def split_page(self, pfn: int) -> tuple[int, int] | None:
        """Make two allocated blocks of one: its halves, each freed by itself.  Takes one descriptor.

        ``pfn``: unsigned long, of a block of order 1 or more from alloc_pages.  Returns both pfns, or None when no descriptor can be had (the
        block is then as it was).  KernelBug if ``pfn`` is not the first page of such a block.  Source: mm/page_alloc.c (which splits to order 0).
        """
        zone = self.zone_of[self.w[self._to_split(pfn) + FLAGS]]
        new = self._kmem_cache_alloc(self.KC_BUDDY, KERNEL, zone.node)
        if not new:
            return self._nothing()
        lower = (new - self.B >> 3) + buddy.list.word
        try:
            li = self._to_split(pfn)  # look again: the descriptor may have moved meanwhile
        except KernelBug:  # an interrupt freed the block, or split it
            self._give_back(self._chain([lower]))
            raise
        w, half = self.w, 1 << (w_order := self.w[li + ORDER] - 1)
        w[lower + FLAGS], w[lower + ORDER], w[lower + PAGE] = zone.flags, w_order, w[li + PAGE]
        w[li + ORDER], w[li + PAGE] = w_order, self.V + 8 * (pfn + half)
        self._fill(pfn, half, new + BUDDY)
        self._count(buddies_allocated=1, splits=1, words_split=half)
        return pfn, pfn + half

    # -- freeing

    def free_pages(self, pfn: int) -> None:
        """Free the block that starts at page ``pfn``; its descriptor knows the order.  Merges it with free buddies.  Never allocates.

        ``pfn``: unsigned long.  KernelBug, and RAM untouched, for a page that is free already, is a tail page of its block, is owned by a slab
        or another descriptor, or does not exist.  Locks in Linux: zone->lock while blocks are merged, then list_lock to give descriptors back.
        Source: the email; mm/page_alloc.c (__free_one_page).
        """
        w, MM = self.w, self.MM
        try:
            md = w[MM + pfn] if 0 <= pfn < self.nr_pages else 0
        except TypeError:
            md = 0
        if md & 15 != BUDDY:
            raise self._bad_page(pfn, "freed")
        B = self.B
        li = (md - B + LIST_TO_BUDDY) >> 3
        order = w[li + ORDER]
        if order and w[li + PAGE] - self.V != pfn << 3:
            raise self._bad_page(pfn, "freed")
        try:
            head, head_address, n, free = self.lists_of[w[li + FLAGS]][order]
        except (KeyError, IndexError):
            raise self._bad_buddy(li, pfn) from None
        near = pfn ^ n
        if near < self.nr_pages:
            near_md = w[MM + near]
            if (near_md & 15 == FREE and w[((near_md - B) >> 3) + ORDER + 1] == order) or self.pcp:
                if chain := self._free_one_page(li, pfn, order, 0):
                    self._give_back(chain)
                return
        # the common case in line: nothing to merge with
        if n == 1:
            w[MM + pfn] = md - BUDDY + FREE
        else:
            self._fill(pfn, n, md - BUDDY + FREE)
        w[self.WORDS_TYPED] += n
        w[free] += n
        first = w[head]
        w[li] = first
        w[li + 1] = head_address
        w[head] = w[(first - self.B8) >> 3] = md + LIST_TO_BUDDY

    def free_page(self, address: int) -> None:
        """Free one page by its virtual address (unsigned long), as get_free_page returned it.  KernelBug if it is none such."""
        if not isinstance(address, int):
            raise TypeError(f"an address is a whole number, not {address!r}")
        if address & (self.page_size - 1):
            raise KernelBug(f"{address:#x} is not the address of a page: those are multiples of {self.page_size:#x}")
        pfn = (address - self.B) >> self.PS
        if not 0 <= pfn < self.highmem_pfn:
            raise KernelBug(f"{address:#x} is no virtual address of this machine's memory")
        md = self.w[self.MM + pfn]
        if md & 15 == BUDDY and self.w[((md - self.B) >> 3) + 1 + ORDER]:
            raise KernelBug(f"{address:#x} is in a block of more than one page; free_pages({pfn}) frees the block")
        self.free_pages(pfn)

    def free_pages_desc(self, buddy_address: int) -> None:
        """Free the block of a buddy that alloc_pages_desc returned (struct buddy *).  KernelBug if it is none such."""
        li = self._held_buddy(buddy_address)
        w = self.w
        w[li + FLAGS] &= ~HELD
        self._free_block(li)

    # -- looking

    def buddyinfo(self) -> dict[tuple[int, str], list[int]]:
        """Return {(node, zone name): [number of free blocks of order 0, 1, ...]}, counted on the lists.  Source: /proc/buddyinfo."""
        return {
            (z.node, z.name): [sum(1 for _ in list_for_each(self, z.heads + 2 * order)) for order in range(self.max_order + 1)]
            for z in self.zones
        }

    # -- the work behind it, for the layers above too

    def _to_split(self, pfn: int) -> int:
        """Return li of the allocated block that starts at page ``pfn`` and has two halves.  KernelBug if none does."""
        li = self._allocated(pfn, "split")
        if self.w[li + ORDER] == 0:
            raise KernelBug(f"page {pfn} is a block of order 0, a single page, which cannot be split; a block to split has order 1 or more")
        return li

    def _alloc_pages(self, order: int, gfp: int, node: int | None, desc: int) -> int:
        """alloc_pages for descriptors: returns li, or 0.  ``desc`` 0 makes a block that only its buddy describes."""
        return self._get_pages(order, gfp, self._request_zonelist(gfp, node), desc)

    def _get_pages(self, order: int, gfp: int, zonelist: Zonelist, desc: int) -> int:
        """Find a block, have the descriptors for its split in hand, and only then take it.  Returns li, or 0.

        Getting descriptors may use the very block that was found, or free better ones: so after each time the search starts again.
        """
        if self.pcp and order == 0 and (li := self._pcp_get(zonelist)):
            return self._handed_out(li, gfp, desc)
        hand: list[int] = []
        li = 0
        drained = not (self.pcp and gfp & GFP.DIRECT_RECLAIM)
        while True:
            found = self._find(order, gfp, zonelist)
            if found is None:
                if drained:
                    break
                self.drain_all_pages()
                drained = True
                continue
            e, k = found
            need = k - order - len(hand)
            if need <= 0:
                li = self._take(e, k, order, hand, desc)
                break
            got = self._kmem_cache_alloc_bulk(self.KC_BUDDY, need, gfp & ~NESTED_STRIP, e.zone.node)
            if got is None:
                break
            B = self.B
            hand += [((a - B) >> 3) + 1 for a in got]
        if hand:
            self._give_back(self._chain(hand))
        if li and gfp & GFP.ZERO:
            self._zero((self.w[li + PAGE] - self.V) >> 3, 1 << order)
        return li

    def _find(self, order: int, gfp: int, zonelist: Zonelist) -> tuple[Entry, int] | None:
        """Return the first zone that may give 2^order pages, and the smallest order there that has a block."""
        w, B, n, last = self.w, self.B, 1 << order, self.max_order
        for e in zonelist:
            if w[e.free] - n >= e.low:
                head = e.heads + 2 * order
                for k in range(order, last + 1):
                    if w[head] != B + 8 * head:
                        return e, k
                    head += 2
        if self.config.watermarks is not None:
            for e in zonelist:
                if self._watermark_ok(e, n, gfp):
                    for k in range(order, last + 1):
                        head = e.heads + 2 * k
                        if w[head] != B + 8 * head:
                            return e, k
        return None

    def _take(self, e: Entry, k: int, order: int, hand: list[int], desc: int) -> int:
        """Take the first block of order k, splitting it down to ``order`` with descriptors from ``hand``.  Returns li (expand)."""
        w, B, V = self.w, self.B, self.V
        head = e.heads + 2 * k
        li = (w[head] - B) >> 3
        after = w[li]
        w[head] = after
        w[((after - B) >> 3) + 1] = B + 8 * head
        n = 1 << order
        w[e.free] -= n
        if self._freeing:
            w[self.ALLOCATED_FREEING] += n
        pfn = (w[li + PAGE] - V) >> 3
        if k == order:
            self._fill(pfn, n, desc or B + 8 * li - 8 + BUDDY)
            w[self.WORDS_TYPED] += n
            return li
        flags, part = w[li + FLAGS], li
        s = self.stat
        w[s + _BUDDIES_ALLOCATED] += k - order
        w[s + _SPLITS] += k - order
        w[s + _WORDS_SPLIT] += 1 << k - 1
        while True:
            # ``part`` becomes the upper half: the old descriptor first, then new ones
            k -= 1
            n = 1 << k
            upper = pfn + n
            w[part + ORDER] = k
            w[part + PAGE] = V + 8 * upper
            head -= 2
            first = w[head]
            address = B + 8 * part
            w[part] = first
            w[part + 1] = B + 8 * head
            w[head] = w[((first - B) >> 3) + 1] = address
            if part != li:
                self._fill(upper, n, address - 8 + FREE)
            part = hand.pop()
            w[part + FLAGS] = flags
            if k == order:
                break
        w[part + ORDER] = order
        w[part + PAGE] = V + 8 * pfn
        self._fill(pfn, n, desc or B + 8 * part - 8 + BUDDY)
        return part

    def _free_block(self, li: int) -> None:
        """Free the block of a buddy, whatever its pages' mem_desc words say, and give back the descriptors that merging frees."""
        pfn = (self.w[li + PAGE] - self.V) >> 3
        chain = self._free_one_page(li, pfn, self.w[li + ORDER], 0)
        if chain:
            self._give_back(chain)

    def _free_one_page(self, li: int, pfn: int, order: int, chain: int) -> int:
        """Put a block on its free list, merged with its free buddies; returns ``chain`` with the descriptors that merging freed in front.

        The last merged neighbour's descriptor survives, so that the pages of its half need no new mem_desc.
        """
        w, B, V, MM = self.w, self.B, self.V, self.MM
        flags = w[li + FLAGS]
        if flags not in self.zone_of or order > self.max_order:
            raise self._bad_buddy(li, pfn)
        zone = self.zone_of[flags]
        if self.pcp and order == 0:
            return self._pcp_put(li, pfn, zone, chain)
        n = 1 << order
        w[zone.free] += n
        merged = 0
        last = self.max_order
        while order < last:
            other = pfn ^ (1 << order)
            if other >= self.nr_pages:
                break
            md = w[MM + other]
            if md & 15 != FREE:
                break
            near = ((md - B) >> 3) + 1
            if w[near + ORDER] != order or w[near + FLAGS] != flags:
                break
            after, before = w[near], w[near + 1]
            w[(before - B) >> 3] = after
            w[((after - B) >> 3) + 1] = before
            w[li] = chain
            chain = B + 8 * li
            li = near
            pfn &= other
            order += 1
            merged += 1
        address = B + 8 * li
        if merged:
            half = 1 << order - 1
            other = (w[li + PAGE] - V) >> 3 ^ half
            self._fill(other, half, address - 8 + FREE)
            w[li + ORDER] = order
            w[li + PAGE] = V + 8 * pfn
            s = self.stat
            w[s + _MERGES] += merged
            w[s + _BUDDIES_FREED] += merged
            w[s + _WORDS_MERGED] += half
        else:
            if n == 1:
                w[MM + pfn] = address - 8 + FREE
            else:
                self._fill(pfn, n, address - 8 + FREE)
            w[self.WORDS_TYPED] += n
        head = zone.heads + 2 * order
        first = w[head]
        w[li] = first
        w[li + 1] = B + 8 * head
        w[head] = w[((first - B) >> 3) + 1] = address
        return chain

    def _chain(self, hand: list[int]) -> int:
        """Chain descriptors through their list words, as _give_back takes them."""
        chain = 0
        for li in hand:
            self.w[li] = chain
            chain = self.B + 8 * li
        return chain

    def _fill(self, pfn: int, n: int, md: int) -> None:
        """Write the mem_desc word ``md`` for ``n`` pages."""
        w, i = self.w, self.MM + pfn
        if n <= 4:
            w[i] = md
            if n > 1:
                w[i + 1] = md
                if n > 2:
                    w[i + 2] = w[i + 3] = md
        else:
            self.map[i << 3 : (i + n) << 3] = md.to_bytes(8, "little") * n

    def _count(self, **by: int) -> None:
        """Add to counters of vm_stat by name."""
        for name, n in by.items():
            self.w[self.stat + _COUNTERS[name]] += n

    def _smallest(self, gfp: int, node: int | None) -> tuple[Entry, int] | None:
        """Find the smallest lowmem block there is or, given the flags, can be made: the email's new interface.

        Returns its zone and order, or None.  Zones are asked in the zonelist's order, and give only down to their watermarks.
        """
        zonelist = self._request_zonelist(gfp & ~GFP.HIGHMEM, node)
        return self._find(0, gfp, zonelist)

    def _on_cpu_changed(self) -> None:
        """Set what the hot path of alloc_pages keeps: the first zone's lists, count and low watermark (out of reach with per-CPU lists)."""
        super()._on_cpu_changed()
        e = self.kernel_zonelist[0]
        self.fast_lists = [entry[:3] for entry in self.lists_of[e.zone.flags]]
        self.fast_free, self.fast_low = e.free, 1 << 62 if self.pcp else e.low

    def _plan_stats(self, at: int) -> None:
        """Fix where the counters are; the hottest get a name of their own."""
        self.stat = at
        self.WORDS_TYPED = at + vm_stat.words_typed.word
        self.ALLOCATED_FREEING = at + vm_stat.pages_allocated_while_freeing.word

    def _add_free_block(self, zone: Zone, pfn: int, order: int, li: int) -> None:
        """Put the pages of a block that was never free before at the end of their free list, described by the buddy at ``li``."""
        w, B, n = self.w, self.B, 1 << order
        address = B + 8 * li
        head = zone.heads + 2 * order
        last = w[head + 1]
        w[li + FLAGS] = zone.flags
        w[li + ORDER] = order
        w[li + PAGE] = self.V + 8 * pfn
        w[li] = B + 8 * head
        w[li + 1] = last
        w[head + 1] = w[(last - B) >> 3] = address
        w[zone.free] += n
        at = (self.MM + pfn) << 3
        self.map[at : at + 8 * n] = (address - 8 + FREE).to_bytes(8, "little") * n


_COUNTERS: Final = {field.name: field.word for field in vm_stat.fields}
_BUDDIES_ALLOCATED: Final = vm_stat.buddies_allocated.word
_BUDDIES_FREED: Final = vm_stat.buddies_freed.word
_SPLITS: Final = vm_stat.splits.word
_MERGES: Final = vm_stat.merges.word
_WORDS_SPLIT: Final = vm_stat.words_split.word
_WORDS_MERGED: Final = vm_stat.words_merged.word
