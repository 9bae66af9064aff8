"""Chapter 07: one good answer to each exercise.  Shown to learners who ask for it, and tested."""


def host_of(word):
    return ((word & ~15) - 0xFFFF888000000000) >> 12


def words():
    return [("SLAB", 0), ("SLAB", 0), ("FREE", None), ("FREE", None)]


def plan(order):
    parts = [(0, 0), (1, 0)] + [(1 << k, k) for k in range(1, order)] if order else [(0, 0)]
    keeper = parts[0] if order < 2 else parts[-1]  # the first page of a pair, or the upper half
    return [(first, size, None if (first, size) == keeper else 1) for first, size in parts]


def describe(m, pfn):
    first, second = m.page_address(pfn), m.page_address(pfn + 1)
    old = m.buddy(m.mem_desc(pfn).address)
    old.order = 0
    new = m.buddy(second)
    new.flags, new.order, new.page = old.flags, 0, m.pfn_to_page(pfn + 1)
    for n, buddy in ((0, old), (1, new)):
        slab = m.slab(first + 64 * n)
        slab.flags, slab.buddy, slab.order = old.flags, buddy.address, 0
        slab.virt = m.page_address(pfn + n)
        m.page(pfn + n).mem_desc = slab.address | 3
