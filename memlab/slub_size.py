"""How SLUB lays an object out and how many pages it takes for a slab: pure arithmetic, as Linux does it.

Used by slub.py when a cache is created, and by the chapters.  Imports nothing of memlab.

Source: mm/slub.c and mm/slab_common.c of Linux 6.x (calculate_alignment, calculate_sizes, calculate_order, set_min_partial).
"""

from __future__ import annotations

from typing import Final, NamedTuple

MAX_OBJECTS: Final = 32767  # struct slab counts its objects in 15 bits
MAX_SLAB_ORDER: Final = 3  # PAGE_ALLOC_COSTLY_ORDER: what SLUB prefers not to exceed
CACHE_LINE: Final = 64
WORD: Final = 8


class SLAB:
    """Flags of a cache, with Linux's bits (include/linux/slab.h); DEBUG is what ``slub_debug=FZP`` sets."""

    CONSISTENCY_CHECKS: Final = 0x100
    RED_ZONE: Final = 0x400
    POISON: Final = 0x800
    HWCACHE_ALIGN: Final = 0x2000
    CACHE_DMA: Final = 0x4000
    CACHE_DMA32: Final = 0x8000
    TYPESAFE_BY_RCU: Final = 0x80000
    DEBUG: Final = CONSISTENCY_CHECKS | RED_ZONE | POISON


ALL_FLAGS: Final = SLAB.DEBUG | SLAB.HWCACHE_ALIGN | SLAB.CACHE_DMA | SLAB.CACHE_DMA32 | SLAB.TYPESAFE_BY_RCU


class Sizes(NamedTuple):
    """An object's layout in bytes.

    ``size`` is what one object takes in the slab; ``offset`` is where a free object, counted from its
    own start, keeps the link to the next; ``inuse`` is where its right red zone ends; ``red_left_pad`` lies in front of it.
    """

    size: int
    align: int
    inuse: int
    offset: int
    red_left_pad: int


def align_up(n: int, to: int) -> int:
    """Return ``n`` rounded up to a multiple of ``to``."""
    return -(-n // to) * to


def calculate_sizes(object_size: int, align: int = 0, flags: int = 0, ctor: bool = False) -> Sizes:
    """Return how an object of ``object_size`` bytes lies in its slab."""
    if flags & SLAB.HWCACHE_ALIGN:
        line = CACHE_LINE
        while object_size <= line // 2:
            line //= 2
        align = max(align, line)
    align = align_up(max(align, WORD), WORD)
    size = align_up(object_size, WORD)
    if flags & SLAB.RED_ZONE and size == object_size:
        size += WORD
    inuse = size
    if flags & (SLAB.POISON | SLAB.TYPESAFE_BY_RCU) or ctor:
        offset = size
        size += WORD
    else:
        offset = object_size // 2 // WORD * WORD
    left = align_up(WORD, align) if flags & SLAB.RED_ZONE else 0
    return Sizes(align_up(size + left, align), align, inuse, offset, left)


def get_order(nbytes: int, page_size: int = 4096) -> int:
    """Return the order of the smallest block that holds ``nbytes`` bytes."""
    return max(0, (nbytes - 1) // page_size).bit_length()


def objects_per_slab(size: int, order: int, page_size: int = 4096) -> int:
    """Return how many objects of ``size`` bytes a slab of an order holds; on huge pages, no more than struct slab can count."""
    return min(MAX_OBJECTS, (page_size << order) // size)


def calculate_order(size: int, nr_cpus: int, page_size: int = 4096, max_order: int = MAX_SLAB_ORDER) -> int:
    """Return the order of a cache's slabs: the first that holds enough objects for this many CPUs and wastes little.

    ``size``: bytes an object takes.  The fraction that may be wasted grows from 1/16 to 1/2 until an order up to ``max_order`` fits.
    """
    most = max(1, (page_size << max_order) // size)
    enough = min(4 * (nr_cpus.bit_length() + 1), most)
    first = get_order(enough * size, page_size)
    if (page_size << first) // size > MAX_OBJECTS:
        return max(0, get_order(size * MAX_OBJECTS, page_size) - 1)
    for fraction in (16, 8, 4, 2):
        for order in range(first, max_order + 1):
            slab = page_size << order
            if slab % size <= slab // fraction:
                return order
    return get_order(size, page_size)


def min_partial(size: int) -> int:
    """Return how many partial slabs a node keeps even when they are empty."""
    return min(10, max(5, (size.bit_length() - 1) // 2))
