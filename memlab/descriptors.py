"""Where descriptors come from and go: the place at which the page allocator and SLUB need each other, and what makes that end.

Used by slub.py (alloc_slab_page), page_alloc.py (give_back) and Machine (shrink, boot), all through ``m.``.  Functions of a machine ``m``; ``b`` is
a buddy, ``s`` a slab, ``c`` a cache, each by its first word (words.py).  Imports evacuate, slub and below.

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

from .addresses import B, V, address, pfn_of, word
from .cache_table import add_partial, discard, inuse, node_of, nodes, nr_slabs, partial_slabs, remove_partial, slots
from .config import Entry
from .evacuate import evacuate, migrate_all
from .gfp import GFP, nested
from .kernel import KERNEL, Kernel
from .list_head import list_first
from .ram import changes
from .slub import flush_all, init_slab, slab_free
from .slub_size import SLAB
from .structs import UNUSED
from .words import BUDDY_WORDS, LIST, ORDER_SHIFT, SLAB_TYPE, SLAB_WORDS

_ZONE_FLAGS: Final = {SLAB.CACHE_DMA: GFP.DMA, SLAB.CACHE_DMA32: GFP.DMA32}

# -- growing


def alloc_slab_page(m: Kernel, c: int, gfp: int, node: int | None) -> int:
    """Get a struct slab from kmem_cache_slab, then pages that it describes from the start.  Returns s or 0.

    Tries the cache's preferred order, then the smallest.  Unmade in reverse order when no pages can be had.
    """
    if c == m.KC_SLAB:
        return m.__alloc_slab(nested(gfp), node)
    slab = m._kmem_cache_alloc(m.KC_SLAB, nested(gfp), node)
    if not slab:
        return 0
    desc, used = slab | SLAB_TYPE, 0
    order, least = m.oo_of[c] >> 32, m.min_of[c] >> 32
    if c == m.KC_BUDDY and m.bounded:
        b, used = _carve(m, nested(gfp), node, desc)
    else:
        gfp = nested(gfp) | gfp & GFP.THISNODE | sum(bit for flag, bit in _ZONE_FLAGS.items() if m.cache_flags_of[c] & flag)
        b = m._alloc_pages(order, gfp | GFP.NOWARN | GFP.NORETRY, node, desc)
        if not b and least < order and not m._overflow:
            order = least
            b = m._alloc_pages(order, gfp, node, desc)
    if not b:
        m._kmem_cache_free(m.KC_SLAB, slab)
        return 0
    return describe(m, word(slab), b, order, used)


def __alloc_slab(m: Kernel, gfp: int, node: int | None) -> int:
    """Make a slab for kmem_cache_slab itself, from the smallest block there is.  Returns s or 0.  Calls nothing that allocates.

    Of order 0: the page describes itself, by a struct slab in its first bytes.  Of a higher order: its first page does so and holds a
    second struct slab, for the second page, which joins kmem_cache_buddy and holds the buddies of all the parts of the block.
    Locks in Linux: zone->lock throughout.
    """
    found = _smallest_or_reclaim(m, gfp, node)
    if found is None:
        return 0
    e, k = found
    pfn = _first_page(m, e, k)
    s = pfn << m.WS
    desc = address(s) | SLAB_TYPE
    m.touched[pfn] = 1  # its struct slab is written before it is cut into objects
    if k == 0:
        return describe(m, s, m._take(e, 0, 0, [], desc), 0, 1)
    second = s + SLAB_WORDS
    b = m._take(e, k, 0, _buddies_on(m, pfn + 1, k), desc)
    b2 = m._take(e, 0, 0, [], address(second) | SLAB_TYPE)
    if k == 1:  # the old descriptor stays with the first page; page 2 describes itself
        b, b2 = b2, b
        m.page_of[b], m.page_of[b2] = V + 8 * pfn, V + 8 * (pfn + 1)
    init_slab(m, m.KC_BUDDY, describe(m, second, b2, 0, k))
    add_partial(m, second, node_of(m, m.KC_BUDDY, second))
    return describe(m, s, b, 0, 2)


def _carve(m: Kernel, gfp: int, node: int | None, desc: int) -> tuple[int, int]:
    """Get a page for kmem_cache_buddy without calling anything that allocates.  Returns (b, buddies used on it) or (0, 0).

    It is an order-0 page as it is, or the first page of the smallest block, which then holds the buddies of the block's parts.
    """
    found = _smallest_or_reclaim(m, gfp, node)
    if found is None:
        return 0, 0
    e, k = found
    return m._take(e, k, 0, _buddies_on(m, _first_page(m, e, k), k), desc), k


def _first_page(m: Kernel, e: Entry, k: int) -> int:
    """Return the pfn of the first block of a free list."""
    return pfn_of(m.page_of[list_first(m, e.heads + 2 * k) - LIST])


def _buddies_on(m: Kernel, pfn: int, n: int) -> list[int]:
    """Return the first ``n`` buddies that will lie on a page, for a split: the last of the list is used first."""
    m.touched[pfn] = 1
    return [(pfn << m.WS) + i * BUDDY_WORDS for i in reversed(range(n))]


def describe(m: Kernel, s: int, b: int, order: int, used: int) -> int:
    """Fill a struct slab for the block of a buddy, with ``used`` leading objects in use.  Returns s."""
    m.flags_of[s] = m.flags_of[b]
    m.buddy_of[s] = address(b)
    m.counts_of[s] = used | order << ORDER_SHIFT
    m.virt_of[s] = B + (pfn_of(m.page_of[b]) << m.PS)
    m.count(slabs_allocated=1)
    return s


def _smallest_or_reclaim(m: Kernel, gfp: int, node: int | None) -> tuple[Entry, int] | None:
    """Find the smallest block; if there is none and the caller may wait, drain per-CPU pages, shrink caches, and look once more."""
    found = m._smallest(gfp, node)
    if found is None and gfp & GFP.DIRECT_RECLAIM:
        m.drain_all_pages()
        _shrink_all(m)
        found = m._smallest(gfp, node)
    return found


# -- giving back


def give_back(m: Kernel, chain: int) -> None:
    """Free descriptors and struct slabs chained through their list words.

    One may empty a slab, whose page is freed, which gives back more: those join the chain, so the depth is constant.  Never allocates.
    """
    outer, m._freeing = m._freeing, True
    try:
        while chain:
            entry = word(chain)
            o, chain = entry - LIST, m.next_of[entry]
            if o >= m.KA:
                m.flags_of[o] = UNUSED  # the static descriptor of boot
                continue
            s = word(m.desc_of[o >> m.WS])  # of the page that it lies in
            chain = slab_free(m, word(m.cache_of[s]), s, o, chain)
    finally:
        m._freeing = outer


# -- shrinking


@changes
def shrink(m: Kernel) -> int:
    """Shrink every cache until nothing changes (kmem_cache_shrink).  Returns the number of slabs released.

    In the bounded design, slabs of descriptors are emptied by moving the descriptors, and the last of them move to low pages.
    Locks in Linux: list_lock of each node.
    """
    released = _shrink_all(m)
    while m.bounded and not m._interrupted and any([migrate_all(m, m.KC_SLAB), migrate_all(m, m.KC_BUDDY)]):
        released += _shrink_all(m)
    return released


def _shrink_all(m: Kernel) -> int:
    released = 0
    while True:
        m.drain_all_pages()
        gone = sum(m._shrink(c) for c in slots(m) if m.serial_of[c] and nr_slabs(m, c))
        if not gone:
            return released
        released += gone


@changes
def shrink_cache(m: Kernel, c: int) -> int:
    """Release a cache's empty slabs and sort the partial lists, fullest first.  Returns the number of slabs released."""
    before = nr_slabs(m, c)
    if not before:
        return 0
    flush_all(m, c)
    empty = [s for s in partial_slabs(m, c) if inuse(m, s) <= m.own_of[c]]
    for s in empty:  # all off the list first: releasing one may empty others, which may then go by themselves
        remove_partial(m, s, node_of(m, c, s))
    for s in empty:
        if chain := discard(m, c, s, 0):
            m._give_back(chain)
    if m.bounded and not m._interrupted and c in (m.KC_BUDDY, m.KC_SLAB):
        # from the top of memory down, into the lowest pages: what stays then splits no high-order block that another place would spare
        _sort_partial(m, c, lambda s: m.virt_of[s])
        while any(evacuate(m, c, s) for s in reversed(partial_slabs(m, c))):
            _sort_partial(m, c, lambda s: m.virt_of[s])
    _sort_partial(m, c, lambda s: -inuse(m, s))
    return before - nr_slabs(m, c)


def _sort_partial(m: Kernel, c: int, key: Callable[[int], int]) -> None:
    for n in nodes(m, c):
        for s in sorted((s for s in partial_slabs(m, c) if node_of(m, c, s) == n), key=key):
            remove_partial(m, s, n)
            add_partial(m, s, n)


def boot_descriptor(m: Kernel, node: int) -> int:
    """Allocate a descriptor while free memory is being added.  Returns b, or 0 when there is too little."""
    buddy = m._kmem_cache_alloc(m.KC_BUDDY, KERNEL, node)
    return word(buddy) if buddy else 0
