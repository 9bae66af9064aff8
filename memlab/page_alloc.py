"""The page allocator: free lists of buddies whose ``struct buddy`` lives elsewhere in RAM.

Used by SLUB, the users of descriptors and, through Machine, by everybody.  It needs descriptors to split a block, so it calls SLUB, which
calls it: descriptors.py holds what makes that end.  This is all of it, in plain text; fast.py has the most common cases written out in line.
Functions of a machine ``m``; ``b`` is a buddy's first word (words.py).  Imports pcp and page_bugs.

A free block of order k is on its zone's list k, and the mem_desc of all its 2^k pages names its buddy.

Sources: the email (descriptors are had before a split, and given back at a merge); mm/page_alloc.c for names and order of work.
"""

from __future__ import annotations

from typing import Final

from . import gfp as gfp_flags
from . import memdesc, page_bugs, pcp
from .addresses import B, V, address, pfn_of, word
from .cache_table import held_slab
from .config import Entry, Zone, Zonelist
from .gfp import GFP, nested
from .kernel import KERNEL, Kernel
from .list_head import chain_add, list_add, list_add_tail, list_del, list_empty, list_first, list_for_each
from .memdesc import MemType
from .number import whole
from .ram import KernelBug, changes
from .structs import HELD
from .words import BUDDY, FREE, LIST, SLAB_TYPE

_NO_LIMIT: Final = -(1 << 62)

# -- allocation


@changes
def alloc_pages(m: Kernel, order: int, gfp: int = KERNEL, node: int | None = None) -> int | None:
    """Allocate a block of 2^order pages.

    ``order``: unsigned int, 0 to max_order.  ``gfp``: gfp_t.  ``node``: preferred node, None for that of the running CPU.
    Returns the pfn of the first page, or None when no memory can be had.  ValueError or TypeError for a bad argument.
    Locks in Linux: zone->lock for each look at the lists, dropped while descriptors are allocated.
    Source: the email; mm/page_alloc.c.
    """
    order, gfp, node = page_bugs.check_request(m, order, gfp, node)
    b = m._get_pages(order, gfp, zonelist_of(m, gfp, node), 0)
    return pfn_of(m.page_of[b]) if b else m.null_or_overflow()


@changes
def alloc_pages_bulk(m: Kernel, n: int, gfp: int = KERNEL) -> list[int]:
    """Allocate up to ``n`` single pages; returns their pfns, fewer than ``n`` when memory runs out.

    ``n``: int, 0 or more.  ``gfp``: gfp_t.  ValueError or TypeError for a bad argument.  Source: mm/page_alloc.c.
    """
    n = whole(n, "the number of pages is a whole number")
    if n < 0:
        raise ValueError(f"the number of pages is 0 or more, not {n}")
    pfns, gfp = list[int](), gfp_flags.check(gfp)
    try:
        while len(pfns) < n and (pfn := m.alloc_pages(0, gfp)) is not None:
            pfns.append(pfn)
    except KernelBug:  # the kernel's stack overflowed, and all of the call is to be unmade
        for pfn in pfns:
            m.free_pages(pfn)
        raise
    return pfns


@changes
def get_free_page(m: Kernel, gfp: int = KERNEL) -> int | None:
    """Allocate one page and return its virtual address, or None.  ``__GFP_HIGHMEM`` is ignored: such a page has no address.

    ``gfp``: gfp_t.  ValueError or TypeError for a bad argument.  Source: the email's simplest case; mm/page_alloc.c (__get_free_page).
    """
    pfn = m.alloc_pages(0, gfp_flags.check(gfp) & ~GFP.HIGHMEM)
    return None if pfn is None else B + (pfn << m.PS)


@changes
def alloc_pages_desc(m: Kernel, order: int, desc: int, gfp: int = KERNEL) -> int | None:
    """Allocate a block whose pages' mem_desc words are ``desc`` from the start; returns the address of its struct buddy, or None.

    ``order``: unsigned int.  ``desc``: unsigned long, a descriptor of your own with its type (memdesc.tag).  ``gfp``: gfp_t.
    The caller keeps the buddy, and gives it to ``free_pages_desc``.  ValueError or TypeError for a bad argument.  Source: the email.
    """
    return alloc_pages_node_desc(m, None, order, desc, gfp)


@changes
def alloc_pages_node_desc(m: Kernel, node: int | None, order: int, desc: int, gfp: int = KERNEL) -> int | None:
    """Do what alloc_pages_desc does, with ``node`` preferred (int, or None for that of the running CPU).

    Returns and raises as alloc_pages_desc.  Source: the email.
    """
    order, gfp, node = page_bugs.check_request(m, order, gfp, node)
    desc = whole(desc, "desc is a mem_desc word, a whole number")
    kind, owner = memdesc.untag(desc)
    if kind in (MemType.NONE, MemType.FREE, MemType.BUDDY):
        raise ValueError(
            f"desc {desc:#x} must name a descriptor of yours, of a type from SLAB on; the page allocator makes the buddies itself"
        )
    if kind is not MemType.SLAB:
        b = m._alloc_pages(order, gfp, node, desc)
    else:
        s = held_slab(m, owner, gfp)
        m.buddy_of[s] = owner  # promised: nobody else's block gets it while descriptors are allocated
        b = 0
        try:
            b = m._alloc_pages(order, gfp, node, desc)
        finally:
            m.buddy_of[s] = address(b) if b else 0
    if not b:
        return m.null_or_overflow()
    m.flags_of[b] |= HELD
    return address(b)


@changes
def split_page(m: Kernel, pfn: int) -> tuple[int, int] | None:
    """Make two allocated blocks of one: its halves, each freed by itself.  Takes one descriptor.

    ``pfn``: unsigned long, of a block of order 1 or more from alloc_pages.  Returns both pfns, or None when no descriptor can be had (the
    block is then as it was).  KernelBug if ``pfn`` is not the first page of such a block.  Source: mm/page_alloc.c (which splits to order 0).
    """
    flags_of, order_of, page_of, pfn = m.flags_of, m.order_of, m.page_of, whole(pfn, "a pfn is a whole number")
    zone = m.zone_of[flags_of[page_bugs.to_split(m, pfn)]]
    new = m._kmem_cache_alloc(m.KC_BUDDY, KERNEL, zone.node)
    if not new:
        return m.null_or_overflow()
    lower = word(new)
    try:
        b = page_bugs.to_split(m, pfn)  # look again: the descriptor may have moved meanwhile
    except KernelBug:  # an interrupt freed the block, or split it
        m._give_back(chain_add(m, lower + LIST, 0))
        raise
    order = order_of[b] - 1
    half = 1 << order
    flags_of[lower], order_of[lower], page_of[lower] = zone.flags, order, page_of[b]
    order_of[b], page_of[b] = order, V + 8 * (pfn + half)
    m.fill(pfn, half, new | BUDDY)
    m.count(buddies_allocated=1, splits=1, words_split=half)
    return pfn, pfn + half


def alloc_pages_for(m: Kernel, order: int, gfp: int, node: int | None, desc: int) -> int:
    """alloc_pages for descriptors: returns b, or 0.  ``desc`` 0 makes a block that only its buddy describes."""
    return m._get_pages(order, gfp, zonelist_of(m, gfp, node), desc)


def get_pages(m: Kernel, order: int, gfp: int, zonelist: Zonelist, desc: int) -> int:
    """Find a block, have the descriptors for its split in hand, and only then take it.  Returns b, or 0.

    Getting descriptors may use the very block that was found, or free better ones: so after each time the search starts again.
    """
    if m.pcp and order == 0 and (b := pcp.get(m, zonelist)):
        return _handed_out(m, b, gfp, desc)
    hand: list[int] = []
    b = 0
    drained = not (m.pcp and gfp & GFP.DIRECT_RECLAIM)
    while True:
        found = find(m, order, gfp, zonelist)
        if found is None:
            if drained:
                break
            m.drain_all_pages()
            drained = True
            continue
        e, k = found
        need = k - order - len(hand)
        if need <= 0:
            b = m._take(e, k, order, hand, desc)
            break
        got = m._kmem_cache_alloc_bulk(m.KC_BUDDY, need, nested(gfp), e.zone.node)
        if got is None:
            break
        hand += [word(a) for a in got]
    chain = 0
    for spare in hand:
        chain = chain_add(m, spare + LIST, chain)
    if chain:
        m._give_back(chain)
    if b and gfp & GFP.ZERO:
        m._zero(pfn_of(m.page_of[b]), 1 << order)
    return b


def find(m: Kernel, order: int, gfp: int, zonelist: Zonelist) -> tuple[Entry, int] | None:
    """Return the first zone that may give 2^order pages, and the smallest order there that has a block.

    First each zone down to its low watermark; then, as the slow path asks, down to its min watermark, or what the flags make of it.
    """
    n, orders = 1 << order, range(order, m.max_order + 1)
    for e in zonelist:
        if m.w[e.free] - n >= e.low:
            for k in orders:
                if not list_empty(m, e.heads + 2 * k):
                    return e, k
    if m.config.watermarks is not None:
        for e in zonelist:
            if watermark_ok(m, e, n, gfp):
                for k in orders:
                    if not list_empty(m, e.heads + 2 * k):
                        return e, k
    return None


def watermark_ok(m: Kernel, e: Entry, n: int, gfp: int) -> bool:
    """Say whether a zone may give ``n`` pages down to its min watermark, as the slow path asks (__zone_watermark_ok)."""
    mark = e.min
    if gfp & GFP.MEMALLOC:
        mark = _NO_LIMIT
    elif mark > 0 and gfp & GFP.HIGH:
        mark -= mark // 2
        if not gfp & GFP.DIRECT_RECLAIM:
            mark -= mark // 4
    return m.w[e.free] - n >= mark + e.reserve


def smallest(m: Kernel, gfp: int, node: int | None) -> tuple[Entry, int] | None:
    """Find the smallest lowmem block there is or, given the flags, can be made: the email's new interface.

    Returns its zone and order, or None.  Zones are asked in the zonelist's order, and give only down to their watermarks.
    """
    return find(m, 0, gfp, zonelist_of(m, gfp & ~GFP.HIGHMEM, node))


def take(m: Kernel, e: Entry, k: int, order: int, hand: list[int], desc: int) -> int:
    """Take the first block of order k, splitting it down to ``order`` with descriptors from ``hand``.  Returns its buddy (expand).

    Each time the lower half is split further, and the upper half goes on its free list: by the old descriptor first, then by new ones.
    """
    flags_of, order_of, page_of = m.flags_of, m.order_of, m.page_of
    old = b = list_first(m, e.heads + 2 * k) - LIST
    list_del(m, b + LIST)
    m.w[e.free] -= 1 << order
    if m._freeing:
        m.count(pages_allocated_while_freeing=1 << order)
    pfn = pfn_of(page_of[b])
    if k == order:
        m.count(words_typed=1 << order)
    else:
        m.count(buddies_allocated=k - order, splits=k - order, words_split=1 << k - 1)
    while k > order:
        k -= 1
        half = 1 << k
        order_of[b], page_of[b] = k, V + 8 * (pfn + half)
        list_add(m, b + LIST, e.heads + 2 * k)
        if b != old:  # whose name these pages have already
            m.fill(pfn + half, half, address(b) | FREE)
        b = hand.pop()
        flags_of[b], order_of[b], page_of[b] = flags_of[old], k, V + 8 * pfn
    m.fill(pfn, 1 << order, desc or address(b) | BUDDY)
    return b


# -- freeing


@changes
def free_pages(m: Kernel, pfn: int) -> None:
    """Free the block that starts at page ``pfn``; its descriptor knows the order.  Merges it with free buddies.  Never allocates.

    ``pfn``: unsigned long.  KernelBug, and RAM untouched, for a page that is free already, is a tail page of its block, is owned by a slab
    or another descriptor, or does not exist.  Locks in Linux: zone->lock while blocks are merged, then list_lock to give descriptors back.
    Source: the email; mm/page_alloc.c (__free_one_page).
    """
    free_block(m, page_bugs.allocated(m, pfn, "freed"))


@changes
def free_page(m: Kernel, address: int) -> None:
    """Free one page by its virtual address (unsigned long), as get_free_page returned it.  KernelBug if it is none such."""
    address = whole(address, "an address is a whole number")
    if address & (m.page_size - 1):
        raise KernelBug(f"{address:#x} is not the address of a page: those are multiples of {m.page_size:#x}")
    pfn = (address - B) >> m.PS
    if not 0 <= pfn < m.highmem_pfn:
        raise KernelBug(f"{address:#x} is no virtual address of this machine's memory")
    desc = m.desc_of[pfn]
    if desc & 15 == BUDDY and m.order_of[word(desc)]:
        raise KernelBug(f"{address:#x} is in a block of more than one page; free_pages({pfn}) frees the block")
    m.free_pages(pfn)


@changes
def free_pages_desc(m: Kernel, buddy_address: int) -> None:
    """Free the block of a buddy that alloc_pages_desc returned (struct buddy *).  KernelBug if it is none such."""
    b = page_bugs.held_buddy(m, buddy_address)
    m.flags_of[b] &= ~HELD
    desc = m.desc_of[pfn_of(m.page_of[b])]
    if desc & 15 == SLAB_TYPE:
        m.buddy_of[word(desc)] = 0
    m._free_block(b)


def free_block(m: Kernel, b: int) -> None:
    """Free the block of a buddy, whatever its pages' mem_desc words say, and give back the descriptors that merging frees."""
    if chain := m._free_one_page(b, pfn_of(m.page_of[b]), m.order_of[b], 0):
        m._give_back(chain)


def free_one_page(m: Kernel, b: int, pfn: int, order: int, chain: int) -> int:
    """Put a block on its free list, merged with its free buddies, or a single page on the CPU's list, where there is one.

    Returns ``chain`` with the descriptors that are of no use any more in front.  KernelBug if the buddy is damaged.
    """
    zone = m.zone_of.get(m.flags_of[b])
    if zone is None or order > m.max_order:
        raise page_bugs.bad_buddy(m, b, pfn)
    if not m.pcp or order:
        return _merge(m, zone, b, pfn, order, chain)
    q, batch = pcp.put(m, b, pfn, zone)
    return _drain(m, q, batch, chain) if m.count_of[q] > 6 * batch else chain


def _merge(m: Kernel, zone: Zone, b: int, pfn: int, order: int, chain: int) -> int:
    """Merge a block with its free buddies as far as it goes, and put it on its free list (__free_one_page).  Returns ``chain`` as free_one_page.

    The last merged neighbour's descriptor survives, so that the pages of its half need no new mem_desc.
    """
    w, flags_of, order_of, page_of, desc_of = m.w, m.flags_of, m.order_of, m.page_of, m.desc_of
    typed, merged = 1 << order, 0
    w[zone.free] += typed
    while order < m.max_order:
        other = pfn ^ (1 << order)
        if other >= m.nr_pages or desc_of[other] & 15 != FREE:
            break
        near = word(desc_of[other])
        if order_of[near] != order or flags_of[near] != zone.flags:
            break
        list_del(m, near + LIST)
        chain = chain_add(m, b + LIST, chain)
        b, pfn, order = near, pfn & other, order + 1
        merged += 1
    if merged:
        half = 1 << order - 1
        m.fill(pfn_of(page_of[b]) ^ half, half, address(b) | FREE)
        order_of[b], page_of[b] = order, V + 8 * pfn
        m.count(merges=merged, buddies_freed=merged, words_merged=half)
    else:
        m.fill(pfn, typed, address(b) | FREE)
        m.count(words_typed=typed)
    list_add(m, b + LIST, zone.heads + 2 * order)
    return chain


# -- per-CPU page lists: what goes to and from them (pcp.py)


@changes
def drain_all_pages(m: Kernel) -> None:
    """Give all per-CPU free pages back to the free lists.  Locks in Linux: pcp->lock, then zone->lock."""
    while held := [q for q in pcp.lists(m) if m.count_of[q]]:  # giving descriptors back may free a slab's page, to such a list
        for q in held:
            if chain := _drain(m, q, m.nr_pages, 0):
                m._give_back(chain)


def _drain(m: Kernel, q: int, n: int, chain: int) -> int:
    """Move up to ``n`` pages, the longest unused first, from a per-CPU list to the free lists; extends ``chain``."""
    while n and m.count_of[q]:
        b = pcp.last(m, q)
        pcp.unlink(m, b, q)
        chain = _merge(m, m.zone_of[m.flags_of[b]], b, pfn_of(m.page_of[b]), 0, chain)
        n -= 1
    return chain


def _handed_out(m: Kernel, b: int, gfp: int, desc: int) -> int:
    """Mark a page that came from a per-CPU list as allocated."""
    pfn = pfn_of(m.page_of[b])
    m.desc_of[pfn] = desc or address(b) | BUDDY
    m.count(words_typed=1)
    if m._freeing:
        m.count(pages_allocated_while_freeing=1)
    if gfp & GFP.ZERO:
        m._zero(pfn, 1)
    return b


# -- looking, and boot


def buddyinfo(m: Kernel) -> dict[tuple[int, str], list[int]]:
    """Return {(node, zone name): [number of free blocks of order 0, 1, ...]}, counted on the lists.  Source: /proc/buddyinfo."""
    return {(z.node, z.name): [sum(1 for _ in list_for_each(m, z.heads + 2 * order)) for order in range(m.max_order + 1)] for z in m.zones}


def add_free_block(m: Kernel, zone: Zone, pfn: int, order: int, b: int) -> None:
    """Put the pages of a block that was never free before at the end of their free list, described by the buddy ``b``."""
    m.flags_of[b], m.order_of[b], m.page_of[b] = zone.flags, order, V + 8 * pfn
    list_add_tail(m, b + LIST, zone.heads + 2 * order)
    m.w[zone.free] += 1 << order
    m.fill(pfn, 1 << order, address(b) | FREE)


def zonelist_of(m: Kernel, gfp: int, node: int | None) -> Zonelist:
    """Return the zones that a request may use, in order: by distance from the node, then from its highest zone down."""
    kind = 0 if gfp & GFP.DMA else 1 if gfp & GFP.DMA32 else 3 if gfp & GFP.HIGHMEM else 2
    return m.zonelists[bool(gfp & GFP.THISNODE), m.node if node is None else node, kind]
