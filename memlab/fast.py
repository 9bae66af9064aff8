"""The common cases of page_alloc.py and slub.py written out in line, for speed: same RAM, same results, fewer calls.

Used by machine.py: a Machine and its caches have these functions in the place of the plain ones of the same name, as long as nobody is to see
every call (probes.py) or every write (recording.py), or takes steps back (undo.py).  A class derived from Machine, which may replace any step,
runs the plain text.  Whatever is not common, bad input first of all, is left to the plain function before anything is written; so is all that
a function kept from before is asked meanwhile.  tests/test_fast.py holds both to each other.  Imports page_alloc, kmem_cache and below.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from . import page_alloc, slub
from .addresses import B, V
from .cache_table import add_partial
from .kernel import KERNEL, Kernel
from .kmem_cache import KmemCache
from .structs import NODE_SHIFT, vm_stat
from .words import BUDDY, FREE, FROZEN, INUSE, LIST, NODE_WORDS, ORDER_0, SLAB_TYPE

_LIST: Final = 8 * LIST  # from the address of a buddy to that of its list_head
_TAKEN: Final = BUDDY - _LIST  # from there to the mem_desc of the buddy's pages while they are in use
_FREED: Final = FREE - BUDDY  # from one mem_desc of a buddy to the other


def in_line(m: Kernel) -> tuple[dict[str, Callable[..., Any]], Callable[[KmemCache], dict[str, Callable[..., Any]]]]:
    """Return the functions of one machine by the names that they have on it, and what returns those of one of its caches."""
    w, next_of, prev_of, desc_of, fill = m.w, m.next_of, m.prev_of, m.desc_of, m.fill
    flags_of, order_of, page_of = m.flags_of, m.order_of, m.page_of
    cache_of, freelist_of, counts_of, cpu_slab_of = m.cache_of, m.freelist_of, m.counts_of, m.cpu_slab_of
    lists_of, shape_of, nr_pages, last = m.lists_of, m.shape_of, m.nr_pages, m.max_order
    PS, WS, KA, KC_BUDDY, page_mask, top = m.PS, m.WS, m.KA, m.KC_BUDDY, m.page_mask, B + (m.highmem_pfn << m.PS)
    typed, splits, merges, words_split, words_merged, allocated, freed = (
        m.stat + getattr(vm_stat, name).word
        for name in ("words_typed", "splits", "merges", "words_split", "words_merged", "buddies_allocated", "buddies_freed")
    )

    def alloc_pages(order: int, gfp: int = KERNEL, node: int | None = None) -> int | None:
        """In line: a block of the order itself in the first zone, or one that is split with descriptors of the CPU's freelist."""
        lists, free, low = m.here
        try:
            head, head_address, n, _ = lists[order]
        except (IndexError, TypeError):
            return page_alloc.alloc_pages(m, order, gfp, node)
        left = w[free] - n
        if left < low or type(order) is not int or gfp != KERNEL or node is not None or order < 0 or not m._runs_in_line:
            return page_alloc.alloc_pages(m, order, gfp, node)
        first = w[head]
        if first == head_address:
            return split(order)
        entry = (first - B) >> 3
        w[head] = after = w[entry]
        prev_of[(after - B) >> 3] = head_address
        w[free] = left
        pfn: int = (page_of[entry - LIST] - V) >> 3
        if n == 1:
            desc_of[pfn] = first + _TAKEN
        elif n == 2:
            desc_of[pfn] = desc_of[pfn + 1] = first + _TAKEN
        else:
            fill(pfn, n, first + _TAKEN)
        w[typed] += n
        return pfn

    def split(order: int) -> int | None:
        """Take the smallest larger block of the first zone and split it; the lists between are empty."""
        lists, free, _ = m.here
        for k in range(order + 1, last + 1):
            head, head_address, n, _ = lists[k]
            first = w[head]
            if first != head_address:
                break
        else:
            return page_alloc.alloc_pages(m, order)
        percpu, link, _, _, _ = shape_of[KC_BUDDY]
        p = m.percpu + percpu
        obj, hand = w[p], []
        for _ in range(k - order):
            if not obj:
                return page_alloc.alloc_pages(m, order)
            hand.append(obj)
            obj = w[(obj - link) >> 3]
        w[p] = obj
        address = first - _LIST
        b = (address - B) >> 3
        w[head] = after = next_of[b + LIST]
        prev_of[(after - B) >> 3] = head_address
        w[free] -= 1 << order
        flags, pfn, half, old = flags_of[b], (page_of[b] - V) >> 3, n >> 1, b
        w[allocated] += k - order
        w[splits] += k - order
        w[words_split] += half
        for head, head_address, half, _ in lists[order:k][::-1]:
            order_of[b], page_of[b] = half.bit_length() - 1, V + 8 * (pfn + half)
            next_of[b + LIST] = prev_of[b + LIST] = head_address
            next_of[head] = prev_of[head] = address + _LIST
            if b != old:
                if half == 1:
                    desc_of[pfn + 1] = address + FREE
                else:
                    fill(pfn + half, half, address + FREE)
            address = hand.pop()
            b = (address - B) >> 3
            flags_of[b] = flags
        order_of[b], page_of[b] = order, V + 8 * pfn
        if half == 1:
            desc_of[pfn] = address + BUDDY
        else:
            fill(pfn, half, address + BUDDY)
        return pfn

    def free_pages(pfn: int) -> None:
        """In line: a block that merges or does not, if the descriptors of merged ones go back to slabs that stay as they are."""
        try:
            desc = desc_of[pfn]
            b = (desc - B) >> 3
            order = order_of[b]
            head, head_address, n, free = lists_of[flags_of[b]][order]
        except (TypeError, IndexError, KeyError):
            return page_alloc.free_pages(m, pfn)
        if desc & 15 != BUDDY or type(pfn) is not int or pfn < 0 or not m._runs_in_line or (n != 1 and page_of[b] != V + 8 * pfn):
            return page_alloc.free_pages(m, pfn)
        near = pfn ^ n
        if near < nr_pages and (near_desc := desc_of[near]) & 15 == FREE and order_of[(near_desc - B) >> 3] == order < last:
            return merge(b, pfn, order)
        if n == 1:
            desc_of[pfn] = desc + _FREED
        elif n == 2:
            desc_of[pfn] = desc_of[pfn + 1] = desc + _FREED
        else:
            fill(pfn, n, desc + _FREED)
        w[typed] += n
        w[free] += n
        w[b + LIST] = first = w[head]
        prev_of[b + LIST] = head_address
        w[head] = prev_of[(first - B) >> 3] = desc - _TAKEN
        return None

    def merge(b: int, pfn: int, order: int) -> None:
        """Merge a block with its free buddies, put it on its list, and give back the descriptors of the merged ones."""
        flags, chain, begin = flags_of[b], 0, order
        lists = lists_of[flags]
        while order < last:
            other = pfn ^ (1 << order)
            if other >= nr_pages or (desc := desc_of[other]) & 15 != FREE:
                break
            near = (desc - B) >> 3
            if order_of[near] != order or flags_of[near] != flags:
                break
            after, before = next_of[near + LIST], prev_of[near + LIST]
            next_of[(before - B) >> 3] = after
            prev_of[(after - B) >> 3] = before
            next_of[b + LIST] = chain
            chain = B + 8 * (b + LIST)
            b, pfn, order = near, pfn & other, order + 1
        if order == begin:  # the free block of the same order is of another zone
            return page_alloc.free_pages(m, pfn)
        merged, half, address = order - begin, 1 << order - 1, B + 8 * b
        w[lists[begin][3]] += 1 << begin
        w[merges] += merged
        w[freed] += merged
        w[words_merged] += half
        other = (page_of[b] - V) >> 3 ^ half
        if half == 1:
            desc_of[other] = address + FREE
        else:
            fill(other, half, address + FREE)
        order_of[b], page_of[b] = order, V + 8 * pfn
        head, head_address, _, _ = lists[order]
        w[b + LIST] = first = w[head]
        prev_of[b + LIST] = head_address
        w[head] = prev_of[(first - B) >> 3] = address + _LIST
        return give_back(chain)

    def give_back(chain: int) -> None:
        """Free descriptors into the CPU's slab, or into one that stays on its partial list; from the first other one on, leave them to give_back."""
        percpu, link, _, _, _ = shape_of[KC_BUDDY]
        p = m.percpu + percpu
        while chain:
            entry, obj = (chain - B) >> 3, chain - _LIST
            slab = desc_of[entry >> WS] - SLAB_TYPE if entry < KA else 0
            if slab == cpu_slab_of[p] != 0:
                chain, w[(obj - link) >> 3] = w[entry], w[p]
                w[p] = obj
                continue
            s = (slab - B) >> 3
            if not slab or not freelist_of[s] or counts_of[s] >= ORDER_0 or counts_of[s] & INUSE <= 2:
                return m._give_back(chain)
            chain, w[(obj - link) >> 3] = w[entry], freelist_of[s]
            freelist_of[s] = obj
            counts_of[s] -= 1
        return None

    def kmem_cache_alloc(c: int, gfp: int, node: int | None) -> int:
        """In line: the first object of the CPU's freelist."""
        percpu, link, _, _, _ = shape_of[c]
        obj = w[p := m.percpu + percpu]
        if not B <= obj < top:  # none, or a wild pointer
            return slub.kmem_cache_alloc(m, c, gfp, node)
        w[p] = w[(obj - link) >> 3]
        return obj

    def of_cache(cache: KmemCache) -> dict[str, Callable[..., Any]]:
        """The alloc and free of one cache, with no call in between: an object of the CPU's freelist, or of a slab that stays on its partial list."""
        c = cache._c
        percpu, link, starts, address_of_cache, nodes = shape_of[c]

        def alloc(gfp: int = KERNEL) -> int | None:
            if gfp != KERNEL or not m._runs_in_line:
                return KmemCache.alloc(cache, gfp)
            obj = w[p := m.percpu + percpu]
            if not B <= obj < top:
                return m.___slab_alloc(c, gfp, None) or m.null_or_overflow()
            w[p] = w[(obj - link) >> 3]
            return obj

        def free(address: int) -> None:
            at = address - B if type(address) is int else -1
            try:
                s = (desc_of[at >> PS] - B) >> 3
                counts = counts_of[s]
            except IndexError:  # a page without descriptor, whose mem_desc 0 leads nowhere
                return KmemCache.free(cache, address)
            prior = freelist_of[s]
            # only a struct slab has a cache's address in this word, so this asks for the page's type as well
            if cache_of[s] != address_of_cache or at < 0 or at & page_mask not in starts or prior == address or not m._runs_in_line:
                return KmemCache.free(cache, address)
            if counts < ORDER_0 and counts & INUSE > 2:
                w[(address - link) >> 3] = prior
                freelist_of[s] = address
                counts_of[s] = counts - 1
                if not prior:
                    add_partial(m, s, nodes + (flags_of[s] >> NODE_SHIFT) * NODE_WORDS)
                return None
            first = w[p := m.percpu + percpu]
            if not FROZEN <= counts < FROZEN | ORDER_0 or cpu_slab_of[p] != B + 8 * s or first == address:
                return KmemCache.free(cache, address)
            w[(address - link) >> 3] = first
            w[p] = address
            return None

        alloc.__doc__, free.__doc__ = KmemCache.alloc.__doc__, KmemCache.free.__doc__
        return {"alloc": alloc, "free": free}

    alloc_pages.__doc__, free_pages.__doc__ = page_alloc.alloc_pages.__doc__, page_alloc.free_pages.__doc__  # people ask for these
    functions: dict[str, Callable[..., Any]] = {"_kmem_cache_alloc": kmem_cache_alloc}
    if not m.pcp:  # per-CPU lists of pages come first
        functions |= {"alloc_pages": alloc_pages, "free_pages": free_pages}
    return functions, of_cache
